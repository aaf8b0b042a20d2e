"""What is upgraded here: packages that are written to order, in as many versions as a measurement needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from noodle_upgrade_core.model import ComponentDescriptor
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.patch.patch import PatchEngine
from noodle_upgrade_runtime.swap import Quiet, RuntimeSwap

__all__ = ["Subject", "functions_source", "service_source"]


@frozen
class Subject:
    """A distribution with one package of its name; `source(n)` is the text of version `n.0`."""

    folder: Path
    name: str
    source: Callable[[int], str]

    def write(self, number: int) -> Path:
        """Write a version and return its folder, as a source would have put it into the store."""
        tree = self.tree(number)
        package, info = tree / self.name, tree / f"{self.name}-{number}.0.dist-info"
        package.mkdir(parents=True)
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {number}.0\n")
        (info / "RECORD").write_text(f"{self.name}/__init__.py,,\n")
        (package / "__init__.py").write_text(f"__version__ = '{number}.0'\n{self.source(number)}")
        return tree

    def tree(self, number: int) -> Path:
        """Return the folder of a version."""
        return self.folder / self.name / str(number)

    def run(self, number: int) -> None:
        """Make this the version that imports find."""
        sys.path.insert(0, str(self.write(number)))

    def change(self, old: int, new: int) -> Change:
        """Write the new version and return the change to it; the old one was written before."""
        tree = self.tree(new)
        if not tree.is_dir():
            self.write(new)
        return Change(
            component=ComponentDescriptor(name=self.name, version=f"{old}.0"),
            from_version=f"{old}.0",
            to_version=f"{new}.0",
            top_levels=(self.name,),
            new_tree=tree,
            old_tree=self.tree(old),
            path=(f"{old}.0", f"{new}.0"),
            trees={f"{old}.0": self.tree(old), f"{new}.0": tree},
        )

    def stage(self, old: int, new: int, *, engine: Any = None) -> RuntimeSwap:
        """Stage a change with the engine alone: no journal, no rehearsal, no waiting for a quiet moment."""
        part: Any = (engine or PatchEngine()).stage((self.change(old, new),), cancelled=lambda: False)
        return RuntimeSwap([part], versions={self.name: (f"{old}.0", f"{new}.0")}, quiet=Quiet(), ledger={})


def functions_source(count: int) -> Callable[[int], str]:
    """Return a source with `count` functions, each of which differs between any two versions."""

    def source(number: int) -> str:
        return "\n".join(_FUNCTION.format(index=index, number=number) for index in range(count))

    return source


_FUNCTION = '''
def function_{index}(first, second=1, *, third=None):
    """Return something of {index}."""
    total = first * second + {number}
    for step in range(3):
        if total > step:
            total -= {index}
    return (total, third or "version {number}")
'''


def service_source(number: int) -> str:
    """Return a class and functions whose calls cost next to nothing: what is measured is the way to them."""
    # Small numbers only: an answer above 256 would be a new object, and cost more than the call.
    return _SERVICE.format(number=number % 100)


_SERVICE = '''
class Service:
    """Steps."""

    def __init__(self):
        self.seen = 0

    def step(self, value):
        return value + {number}

    def state(self):
        return {number}


def step(value):
    return value + {number}
'''
