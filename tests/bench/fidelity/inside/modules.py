"""The package as it is imported here: its modules, and what they offer to others."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Symbol", "home_of", "import_all", "imported", "is_ours", "public_symbols"]

NOT_USED = frozenset({"__main__", "setup", "conftest"})
TESTS = frozenset({"tests", "test"})


@dataclass(frozen=True)
class Symbol:
    """Something that a module offers under a name."""

    module: str
    name: str
    value: Any

    @property
    def key(self) -> str:
        """How it is called in a report."""
        return f"{self.module}:{self.name}"


def import_all(names: Iterable[str]) -> dict[str, str]:
    """Import these packages and every module in them, as far as that can be done; return what could not, and why."""
    failed: dict[str, str] = {}
    for name in names:
        _import(name, failed)
        module = sys.modules.get(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}.", onerror=lambda _: None):
            parts = found.name.split(".")
            # Folders with tests are no part of what a program uses; a module of that name may well be (jinja2.tests).
            is_tests = any(part in TESTS for part in parts[1:-1]) or (found.ispkg and parts[-1] in TESTS)
            if not is_tests and parts[-1] not in NOT_USED:
                _import(found.name, failed)
    return failed


def _import(name: str, failed: dict[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # Whatever a module says when it is not meant to be imported, also what no program is meant to catch.
            failed[name] = f"{type(error).__name__}: {error}"


def imported(tops: Sequence[str]) -> dict[str, types.ModuleType]:
    """Return the package's modules that are imported now."""
    return {
        name: module
        for name, module in sorted(sys.modules.items())
        if isinstance(module, types.ModuleType) and is_ours(name, tops)
    }


def is_ours(name: Any, tops: Sequence[str]) -> bool:
    """Return whether a module of this name belongs to the package."""
    return isinstance(name, str) and any(name == top or name.startswith(f"{top}.") for top in tops)


def home_of(value: Any) -> Any:
    """Return the name of the module that something says it was defined in."""
    if isinstance(value, type):
        return type.__getattribute__(value, "__module__")
    try:
        return object.__getattribute__(value, "__module__")
    except AttributeError:
        return getattr(type(value), "__module__", None)


def public_symbols(modules: dict[str, types.ModuleType], tops: Sequence[str]) -> list[Symbol]:
    """Return what the package offers, each thing where it is defined, or else where it is found first."""
    found: dict[int, Symbol] = {}
    for module_name, module in modules.items():
        listed = vars(module).get("__all__")
        wanted = set(listed) if isinstance(listed, list | tuple) and all(isinstance(n, str) for n in listed) else None
        for name, value in list(vars(module).items()):
            if name.startswith("__") or (name.startswith("_") and name not in (wanted or ())):
                continue
            if isinstance(value, types.ModuleType) or not _is_offered(value, tops):
                continue
            symbol = Symbol(module_name, name, value)
            if id(value) not in found or (home_of(value) == module_name and found[id(value)].module != module_name):
                found[id(value)] = symbol
    return sorted(found.values(), key=lambda symbol: symbol.key)


def _is_offered(value: Any, tops: Sequence[str]) -> bool:
    """Functions, classes and objects of the package's own; what it has from elsewhere follows somebody else."""
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return is_ours(home_of(value), tops)
    kind = type(value)
    return is_ours(getattr(kind, "__module__", None), tops) or (
        callable(value) and is_ours(getattr(value, "__module__", None), tops)
    )
