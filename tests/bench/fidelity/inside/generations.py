"""Running a suite against a version that is loaded privately, beside the one that the process runs."""

from __future__ import annotations

import contextlib
import importlib.machinery
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from fidelity.inside.upgrade import Refused
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.trees import member_of

__all__ = ["given_to_suite", "load_beside"]


def load_beside(package: str, version: str, tree: Path, name: str, others: Sequence[str]) -> Space:
    """Load a version into a private space; raises `Refused` when it cannot be loaded so.

    With what the process has imported of the version that it runs: a suite may take no warning of an import.
    """
    space = Space([member_of(package, version, tree)])
    try:
        space.load(name)
    except UpgradeError as error:
        raise Refused(error, "load") from error
    for other in others:
        with contextlib.suppress(UpgradeError):  # it has no such module any more
            space.load(other)
    return space


def given_to_suite(space: Space, folder: Path, homes: Mapping[str, str]) -> None:
    """Have a suite use the private version: its modules import it, as the code of the space itself does.

    So do the two tools that take the names of what they patch from a suite. Everything else in the process goes on with
    the public one. `homes` has the packages whose modules the tests of some folders are.
    """
    import unittest.mock

    from _pytest import monkeypatch
    from _pytest.assertion.rewrite import AssertionRewritingHook

    place = folder.resolve()
    packages = {place / name: package for name, package in homes.items()}
    for loader in (AssertionRewritingHook, importlib.machinery.SourceFileLoader):
        _with_builtins(loader, space, place, packages)
    mock: Any = unittest.mock
    mock.pkgutil = space.substitutes.of(mock.pkgutil, "")
    resolve: Callable[[str], object] = monkeypatch.resolve
    monkeypatch.resolve = lambda name: resolve(space.private_name(name))


def _with_builtins(loader: Any, space: Space, inside: Path, packages: Mapping[Path, str]) -> None:
    create: Callable[[Any, ModuleSpec], ModuleType | None] = loader.create_module

    def create_module(self: Any, spec: ModuleSpec) -> ModuleType | None:
        # Before the module is executed, and not around it: a warning of its imports counts the frames.
        file = Path(spec.origin or "")
        if not file.is_relative_to(inside):
            return create(self, spec)
        module = ModuleType(spec.name)
        own = vars(module)
        own["__builtins__"] = space.builtins
        # It may look the modules that it tests up.
        space.substitutes.reads_import_system(spec.name)
        for place, package in packages.items():
            if file.is_relative_to(place):
                name = ".".join([package, *file.parent.relative_to(place).parts])
                own["__package__"] = ModuleName(name, space.private_name(name))
        return module

    loader.create_module = create_module
