"""What was planned for an object, for as long as nothing has changed of what that was read from.

A plan is made when a change is staged, and must hold at the instant of the commit, while calls are held back. Most
objects are then what they were, which is told much faster than what is to be done with them.
"""

from __future__ import annotations

import abc
import collections
import functools
import gc
import operator
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.asking import COMPILED, HEAP_TYPE, is_a, is_class, mro_of, namespace_of
from noodle_upgrade_runtime.patch.becoming import is_plain
from noodle_upgrade_runtime.patch.classes import effective_new
from noodle_upgrade_runtime.patch.correspondence import ATOMS, instance_dict, slot_values
from noodle_upgrade_runtime.patch.weak import WEAK

__all__ = ["Parts", "Seen"]


@frozen(eq=False)
class Parts:
    """What planning for one object has added to a plan, in the order of the planner's lists."""

    staged: Any
    seen: Seen
    added: tuple[Sequence[Any], ...]


class Seen:
    """What some objects hold, to tell later whether they still do.

    Everything is told by identity, and held, so that nothing else can have its place. Each is to be added before it is
    read: what another thread changes between the two makes another plan necessary, and nothing is overlooked.
    """

    __slots__ = ("_held", "_ids")

    def __init__(self, values: Iterable[Any]) -> None:
        self._held: list[tuple[Any, Sequence[Any] | None]] = []
        self._ids: set[int] = set()
        self.add(*values)

    def add(self, *values: Any) -> None:
        """Take in what more objects hold."""
        for value in values:
            if id(value) not in self._ids:
                self._ids.add(id(value))
                self._held.append((value, _held_by(value)))

    def records(self) -> Iterator[Any]:
        """Yield what this consists of, and refers to the objects."""
        yield self._held
        for entry in self._held:
            yield entry
            yield entry[1]

    def is_certain(self) -> bool:
        """Return whether a change of any of them would be seen."""
        return all(held is not None for _, held in self._held)

    def holds(self) -> bool:
        """Return whether all of them hold what they held."""
        return all(_same(held, _held_by(value)) for value, held in self._held)


def _same(before: Sequence[Any] | None, now: Sequence[Any] | None) -> bool:
    if before is None or now is None or len(before) != len(now):
        return False
    return all(map(operator.is_, before, now))


_TOLD = frozenset({
    types.FunctionType, types.CellType, types.MethodType, types.BuiltinFunctionType,
    staticmethod, classmethod, property, functools.partial, list, collections.deque,
})  # fmt: skip
"""Kinds of which the collector's own way to what they hold misses nothing but what is in their dicts."""


def _held_by(value: Any) -> list[Any] | None:
    """Return what an object holds, in an order of its own; None where that would not show every change."""
    kind, keys = type(value), ()
    if kind in _EMPTY:
        return []
    if kind in _KEYED:
        own, keys = value if kind is not set else {}, value
    elif is_a(value, (abc.ABCMeta, *WEAK)):
        return None  # what it has registered, or holds weakly, is out of sight
    elif is_class(value):
        own = namespace_of(value)
    elif kind is types.ModuleType:
        own = vars(value)
    elif kind in _TOLD or (is_plain(value) and not any(map(_is_compiled, mro_of(kind)))):
        # Of slots also the names: the same value may have gone from one to another.
        own = {**slot_values(value), **(instance_dict(value) or {})}
    else:
        return None
    if not ATOMS.issuperset(map(type, keys)):
        return None
    more = [effective_new(value.__mro__)] if is_class(value) else []
    return [*own.keys(), *own.values(), *gc.get_referents(value), *more]


def _is_compiled(cls: type) -> bool:
    """Whether C code has made a class, so that its instances may hold something that they do not show."""
    if not cls.__flags__ & HEAP_TYPE:
        return cls is not object
    return any(
        type(value) in COMPILED or (type(value) is types.BuiltinFunctionType and value.__self__ is cls)
        for value in namespace_of(cls).values()
    )


_KEYED = frozenset({dict, collections.defaultdict, set})
_EMPTY = ATOMS | {tuple, frozenset}
