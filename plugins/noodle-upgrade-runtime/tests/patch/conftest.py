from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import textwrap
from pathlib import Path

import pytest

from noodle_upgrade_core.model import ComponentDescriptor
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.patch import PatchEngine

_NUMBERS = itertools.count()


class Package:
    """A package with a name of its own, in two versions that a test writes; `upgrade` and `rollback` patch it live."""

    def __init__(self, folder: Path) -> None:
        self.name = f"changeling{next(_NUMBERS)}"
        self.folder = folder
        self.engine = PatchEngine()
        self.parameters: dict[str, object] = {}
        self.script: Script | None = None
        self.prepared = None

    def write(self, version: str, source: str = "", **modules: str) -> None:
        package = self.folder / version / self.name
        package.mkdir(parents=True)
        info = self.folder / version / f"{self.name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {version}\n")
        for module, text in {"__init__": source, **modules}.items():
            (package / f"{module}.py").write_text(textwrap.dedent(text).replace("PKG", self.name))

    def load(self, old: str = "", new: str = "", **modules: tuple[str, str]):
        """Write both versions, import the old one, return it; `modules` are (old text, new text)."""
        self.write("1.0", old, **{name: texts[0] for name, texts in modules.items() if texts[0]})
        self.write("2.0", new, **{name: texts[1] for name, texts in modules.items() if texts[1]})
        sys.path.insert(0, str(self.folder / "1.0"))
        importlib.invalidate_caches()
        found = importlib.import_module(self.name)
        for name, (text, _) in modules.items():
            if text:
                importlib.import_module(f"{self.name}.{name}")
        return found

    def change(self, old: str = "1.0", new: str = "2.0") -> Change:
        return Change(
            component=ComponentDescriptor(name=self.name, version=old),
            from_version=old,
            to_version=new,
            top_levels=(self.name,),
            new_tree=self.folder / new,
            old_tree=self.folder / old,
            path=(old, new),
            parameters=self.parameters,
        )

    def stage(self, old: str = "1.0", new: str = "2.0"):
        self.prepared = self.engine.stage((self.change(old, new),), cancelled=lambda: False)
        return self.prepared

    def upgrade(self, old: str = "1.0", new: str = "2.0") -> None:
        self.script = Script(self.stage(old, new).operations())
        self.script.apply()

    def again(self) -> None:
        self.script = Script(self.prepared.operations())
        self.script.apply()

    def rollback(self) -> None:
        self.script.revert()


@contextlib.contextmanager
def imports_undone():
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("changeling"):
            del sys.modules[name]


@pytest.fixture
def package(tmp_path):
    with imports_undone():
        yield Package(tmp_path)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Make packages that live as long as the tests of a module."""
    with imports_undone():
        yield lambda: Package(tmp_path_factory.mktemp("package"))
