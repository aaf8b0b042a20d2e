from __future__ import annotations

import importlib.metadata
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from noodle_upgrade_core.model import ComponentDescriptor
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.generation import GenerationEngine
from noodle_upgrade_runtime.handles import Handles, handle
from noodle_upgrade_runtime.swap import Quiet, RuntimeSwap


class Fable:
    """A distribution `fable` with one package of that name, in as many versions as a test writes."""

    name = "fable"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handles = Handles()
        self.engine = GenerationEngine(handles=self.handles)
        self.ledger: dict[str, str] = {}

    def write(self, version: str, source: str = "", **files: str) -> Path:
        tree = self.folder / version
        package = tree / self.name
        info = tree / f"{self.name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{self.name}/__init__.py,,\n")
        for path, text in {"__init__": source, **files}.items():
            file = package / f"{path.replace('__in__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            stated, body = f"__version__ = {version!r}\n", textwrap.dedent(text)
            file.write_text(body + stated if "from __future__" in body else stated + body)
        return tree

    def run(self, version: str) -> None:
        """Make this the version that plain imports find."""
        sys.path.insert(0, str(self.folder / version))

    def handle(self, entry_point: str = "fable:Service", **kwargs):
        return handle(self.name, entry_point, handles=self.handles, **kwargs)

    def change(self, old: str, new: str, *between: str) -> Change:
        path = (old, *between, new)
        return Change(
            component=ComponentDescriptor(name=self.name, version=old),
            from_version=old,
            to_version=new,
            top_levels=(self.name,),
            new_tree=self.folder / new,
            old_tree=self.folder / old,
            path=path,
            trees={version: self.folder / version for version in path},
        )

    def stage(self, old: str, new: str, *between: str, within: float = 5.0) -> RuntimeSwap:
        part = self.engine.stage((self.change(old, new, *between),), cancelled=lambda: False)
        quiet = Quiet(names=part.quiet_names, suspended=part.stateful_names, within=within)
        return RuntimeSwap([part], versions={self.name: (old, new)}, quiet=quiet, ledger=self.ledger)


@pytest.fixture
def fable(tmp_path):
    path, modules, finders = list(sys.path), set(sys.modules), list(sys.meta_path)
    yield Fable(tmp_path / "fable")
    sys.path[:] = path
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        if name.partition(".")[0].partition("@")[0] == "fable":
            del sys.modules[name]


_PLUGIN = Path(__file__).parents[1]


@pytest.fixture
def announced(tmp_path, monkeypatch):
    """Make the core's and this plugin's entry points visible where they run from a checkout without being installed."""
    for folder in (_PLUGIN.parents[1], _PLUGIN):
        name = "noodle-upgrade-runtime" if folder is _PLUGIN else "noodle-upgrade-core"
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
            info = tmp_path / "announced" / f"{name.replace('-', '_')}-{project['version']}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
            lines = []
            for group, entries in project["entry-points"].items():
                lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
            (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
            (info / "top_level.txt").write_text(name.replace("-", "_") + "\n")
            if str(info.parent) not in sys.path:
                monkeypatch.syspath_prepend(str(info.parent))
