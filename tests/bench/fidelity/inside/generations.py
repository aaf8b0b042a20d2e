"""Running a suite against a version that is loaded privately, beside the one that the process runs."""

from __future__ import annotations

import importlib.machinery
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from fidelity.inside.upgrade import Refused
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.trees import member_of

__all__ = ["given_to_suite", "load_beside"]


def load_beside(package: str, version: str, tree: Path, names: Sequence[str]) -> Space:
    """Load a version into a private space; raises `Refused` when it cannot be loaded so."""
    space = Space([member_of(package, version, tree)])
    try:
        for name in names:
            space.load(name)
    except UpgradeError as error:
        raise Refused(error, "load") from error
    return space


def given_to_suite(space: Space, folder: Path) -> None:
    """Have a suite use the private version: its modules import it, as the code of the space itself does.

    So do the two tools that take the names of what they patch from a suite. Everything else in the process goes on with
    the public one.
    """
    import unittest.mock

    from _pytest import monkeypatch
    from _pytest.assertion.rewrite import AssertionRewritingHook

    inside = str(folder.resolve()) + os.sep
    for loader in (AssertionRewritingHook, importlib.machinery.SourceFileLoader):
        _with_builtins(loader, space, inside)
    mock: Any = unittest.mock
    mock.pkgutil = space.substitutes.of(mock.pkgutil, "")
    resolve: Callable[[str], object] = monkeypatch.resolve
    monkeypatch.resolve = lambda name: resolve(space.private_name(name))


def _with_builtins(loader: Any, space: Space, inside: str) -> None:
    execute: Callable[[Any, ModuleType], None] = loader.exec_module

    def exec_module(self: Any, module: ModuleType) -> None:
        if str(getattr(module, "__file__", "") or "").startswith(inside):
            module.__dict__["__builtins__"] = space.builtins
        execute(self, module)

    loader.exec_module = exec_module
