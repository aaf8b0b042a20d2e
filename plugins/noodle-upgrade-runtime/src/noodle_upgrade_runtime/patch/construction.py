"""What a constructor builds its instances from: an instance that lives is not built again when that changes.

A patch gives live instances new code and new fields, but it does not run their constructors again. Where a constructor
fills an instance from a table of its module (rules, handlers, defaults), and the new version has another table, the
instances that live would serve the new code with the old contents, and nothing would say so. Such classes are found
here, by following what their constructors refer to; what follows for a change is for the caller to say.
"""

from __future__ import annotations

import ast
import collections
import dis
import types
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.asking import codes_of, is_a, is_class
from noodle_upgrade_runtime.patch.forms import TABLES, contents_of, fits
from noodle_upgrade_runtime.patch.functions import plain_function
from noodle_upgrade_runtime.patch.sources import definition_of, once

__all__ = ["Differing", "outdated", "tables_of"]

_CONSTRUCTORS = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")


@frozen(eq=False)
class Differing:
    """A table that the two versions have with other contents, by its qualified name."""

    name: str
    base: Any
    staged: Any

    def fits(self) -> bool:
        """Whether what was built from the old table is of a form that the new version knows."""
        return fits(self.base, self.staged)


def outdated(pairs: Iterable[tuple[type, type]]) -> dict[str, tuple[Differing, ...]]:
    """Return, for each class whose constructor builds from a table that differs, those tables.

    `pairs` are classes of the old version, freshly imported, and of the new one. Keys are qualified names.
    """
    found = {}
    for old, new in pairs:
        before, after = tables_of(old), tables_of(new)
        changed = tuple(
            Differing(name, before[name], after[name])
            for name in sorted(before.keys() & after.keys())
            if contents_of(before[name]) != contents_of(after[name])
        )
        if changed:
            found[f"{old.__module__}.{old.__qualname__}"] = changed
    return found


def tables_of(cls: type) -> dict[str, Any]:
    """Return the tables that constructing an instance refers to, by qualified name."""
    return dict(_Walk(cls.__module__.partition(".")[0]).from_class(cls))


class _Walk:
    """Follows constructors through the functions and classes of one package."""

    def __init__(self, top_level: str) -> None:
        self._top = top_level
        self._seen: set[int] = set()

    def from_class(self, cls: type) -> Iterator[tuple[str, Any]]:
        if id(cls) in self._seen or not self._ours(cls):
            return
        self._seen.add(id(cls))
        for name in _CONSTRUCTORS:
            function = plain_function(next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None))
            if function is not None:
                yield from self._from_function(function, cls)

    def _from_function(self, function: types.FunctionType, cls: type | None) -> Iterator[tuple[str, Any]]:
        if id(function) in self._seen or not self._ours(function):
            return
        self._seen.add(id(function))
        names = set(_names(function.__code__)) - _only_asked(function)
        for name in names & function.__globals__.keys():
            yield from self._from_value(f"{function.__module__}.{name}", function.__globals__[name], names)
        for name in names if cls is not None else ():
            value = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None) if cls else None
            method = plain_function(value)
            if method is not None:
                yield from self._from_function(method, cls)
            elif is_a(value, TABLES) and value:
                yield f"{function.__module__}.{cls.__qualname__ if cls else ''}.{name}", value

    def _from_value(self, name: str, value: Any, names: set[str]) -> Iterator[tuple[str, Any]]:
        if is_class(value):
            yield from self.from_class(value)
        elif is_a(value, types.FunctionType):
            yield from self._from_function(value, None)
        elif is_a(value, types.ModuleType):
            if value.__name__.partition(".")[0] == self._top:
                for inner in names & vars(value).keys():
                    if not is_a(vars(value)[inner], types.ModuleType):
                        yield from self._from_value(f"{value.__name__}.{inner}", vars(value)[inner], names)
        elif is_a(value, TABLES) and value:
            yield name, value

    def _ours(self, value: type | types.FunctionType) -> bool:
        module = getattr(value, "__module__", None)
        return is_a(module, str) and module.partition(".")[0] == self._top


@once
def _only_asked(function: types.FunctionType) -> set[str]:
    """Return the names that a function only asks whether they contain something: nothing is built from these."""
    node = definition_of(function) if _asks(function.__code__) else None
    if node is None:
        return set()
    asked: list[str] = []
    for part in ast.walk(node):
        if isinstance(part, ast.Compare):
            inside = [c for o, c in zip(part.ops, part.comparators, strict=True) if isinstance(o, ast.In | ast.NotIn)]
            asked += filter(None, map(_name_in, inside))
    used = collections.Counter(filter(None, map(_name_in, ast.walk(node))))
    return {name for name, count in collections.Counter(asked).items() if used[name] == count}


def _asks(code: types.CodeType) -> bool:
    """Whether code asks of anything whether it contains something; few do, and the others need not be read."""
    return any(_CONTAINS in one.co_code[::2] for one in codes_of(code))


_CONTAINS = dis.opmap["CONTAINS_OP"]


def _name_in(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _names(code: types.CodeType) -> Iterator[str]:
    return (name for one in codes_of(code) for name in one.co_names)
