"""Counters: numbers that the package's own code counts on with, whatever they are called.

Nobody has set them, so that one which has come further here than importing the new version brings it is no conflict: it
goes on. One that the new version knows nothing of goes, like everything else that it does not have any more.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field

from noodle_upgrade_runtime.asking import is_a
from noodle_upgrade_runtime.patch.pairing import own_items

__all__ = ["Counters"]

_LOADS = frozenset({"LOAD_ATTR", "LOAD_GLOBAL", "LOAD_NAME"})
_STORES = frozenset({"STORE_ATTR", "STORE_GLOBAL", "STORE_NAME"})
_NEAR = 6
"""From where a name is read to where it is stored, when what lies between is a sum with a number or a variable."""


@define(eq=False)
class Counters:
    """Tells the counters of what lives by the code of both versions; `pairs` are what lives and its counterparts."""

    pairs: Sequence[tuple[Any, Any]]
    _known: dict[str, bool] = field(factory=dict)
    _codes: list[list[types.CodeType]] = field(factory=list)
    _mentioned: set[Any] = field(factory=set)

    def goes_on(self, name: Any, live: Mapping[Any, Any], staged: Mapping[Any, Any]) -> bool:
        """Whether this is a counter that has come further than importing the new version brings it."""
        mine, theirs = live.get(name), staged.get(name)
        return type(mine) is int and type(theirs) is int and mine >= theirs and self._counts(name)

    def gone(self, live: Mapping[Any, Any], staged: Mapping[Any, Any], base: Mapping[Any, Any]) -> Iterator[Any]:
        """Yield the counters that have counted here, and that nothing of the new version speaks of."""
        for name, mine in live.items():
            began = base.get(name)
            if name not in staged and type(mine) is int and type(began) is int and mine > began and self._counts(name):
                if not self._mentioned:
                    self._mentioned |= set(_spoken_of(self._of_both()[1]))
                if name not in self._mentioned:
                    yield name

    def _counts(self, name: Any) -> bool:
        if name not in self._known:
            self._known[name] = is_a(name, str) and any(_counts(code, name) for code in self._of_both()[0])
        return self._known[name]

    def _of_both(self) -> list[list[types.CodeType]]:
        if not self._codes:
            self._codes += ([*_codes(one for pair in self.pairs for one in pair[side : side + 1])] for side in (0, 1))
        return self._codes


def _counts(code: types.CodeType, name: str) -> bool:
    if name not in code.co_names:
        return False
    steps = list(dis.get_instructions(code))
    for place, step in enumerate(steps):
        if step.opname in _STORES and step.argval == name:
            before = steps[max(0, place - _NEAR) : place]
            added = any(one.opname == "BINARY_OP" and one.argrepr in {"+", "+="} for one in before)
            if added and any(one.opname in _LOADS and one.argval == name for one in before):
                return True
    return False


def _spoken_of(codes: Iterable[types.CodeType]) -> Iterator[Any]:
    for code in codes:
        yield from code.co_names
        yield from (one for one in code.co_consts if is_a(one, str))


def _codes(owners: Iterable[Any]) -> Iterator[types.CodeType]:
    """Yield the code of functions, and of those that classes and modules bind, with what is inside of it."""
    seen: set[int] = set()
    for owner in owners:
        bound = list(own_items(owner).values()) if is_a(owner, (type, types.ModuleType)) else [owner]
        parts = [part for one in bound for part in _parts(one)]
        pending = [one.__code__ for one in parts if is_a(one, types.FunctionType)]
        while pending:
            code = pending.pop()
            if id(code) not in seen:
                seen.add(id(code))
                yield code
                pending += [one for one in code.co_consts if is_a(one, types.CodeType)]


def _parts(value: Any) -> tuple[Any, ...]:
    if is_a(value, (staticmethod, classmethod)):
        return (value.__func__,)
    return (value.fget, value.fset, value.fdel) if is_a(value, property) else (value,)
