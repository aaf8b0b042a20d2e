"""What importing a package puts into the registries of other packages: taken back, and put there by the commit.

A plugin registers itself with its host when it is imported. A private load would do so once more, for everybody to see,
with functions and classes of its own. So the containers of other packages are looked at before and after it: those that
a module, one of its classes or one of its objects binds.
"""

from __future__ import annotations

import functools
import gc
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from noodle_upgrade_runtime.asking import is_a, namespace_of
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.patch.surroundings import Entry, Item, Member

__all__ = ["Registered", "Registries", "gone_from_registries"]

Registered = Entry | Item | Member
"""What a load has put into a container of another package."""

_KINDS = (dict, list, set)
_DEEPEST = 3


class Registries:
    """The containers of other packages as they were when this was made; `owned` tells what a private load has made.

    Only what is owned is taken back: the program may write to the same containers meanwhile.
    """

    def __init__(self, names: Names, owned: Callable[[Any], bool]) -> None:
        self._owned = owned
        self._before = [(one, one.copy()) for one in _containers(names)]

    def take_back(self) -> list[Registered]:
        """Make everything as it was; returns what the load had put there."""
        effects: list[Registered] = []
        for container, before in self._before:
            if is_a(container, dict):
                effects += self._from_dict(container, before)
            elif is_a(container, list):
                effects += self._from_list(container, before)
            else:
                effects += self._from_set(container, before)
        return effects

    def _from_dict(self, container: dict[Any, Any], before: dict[Any, Any]) -> Iterator[Registered]:
        for key, value in list(container.items()):
            known = key in before
            if (known and before[key] is value) or not (self._is_ours(value) or self._is_ours(key)):
                continue
            yield Entry(container, key, value)
            if known:
                container[key] = before[key]
            else:
                container.pop(key, None)

    def _from_list(self, container: list[Any], before: list[Any]) -> Iterator[Registered]:
        known = set(map(id, before))
        for value in list(container):
            if id(value) not in known and self._is_ours(value):
                yield Item(container, value, in_front=container[0] is value)
                _remove(container, value)

    def _from_set(self, container: set[Any], before: set[Any]) -> Iterator[Registered]:
        known = set(map(id, before))
        for value in list(container):
            if id(value) not in known and self._is_ours(value):
                yield Member(container, value)
                container.discard(value)

    def _is_ours(self, value: Any, depth: int = _DEEPEST) -> bool:
        """Return whether a value is of a private load, or one that holds such."""
        if self._owned(value):
            return True
        if not depth:
            return False
        kind = type(value)
        if kind in {tuple, list, set, frozenset}:
            return any(self._is_ours(one, depth - 1) for one in value)
        if kind is dict:
            return any(self._is_ours(one, depth - 1) for pair in value.items() for one in pair)
        if kind in _WRAPPERS:
            return any(self._is_ours(getattr(value, name), depth - 1) for name in _WRAPPERS[kind])
        return False


_WRAPPERS: dict[type, tuple[str, ...]] = {
    types.MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
}


def _remove(container: list[Any], value: Any) -> None:
    place = next((place for place, one in enumerate(container) if one is value), None)
    if place is not None:
        del container[place]


def _containers(names: Names) -> list[Any]:
    found: dict[int, Any] = {}
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if type(module) is not types.ModuleType or name in names or top in sys.stdlib_module_names:
            continue
        if top.startswith("noodle_upgrade"):
            continue
        for value in list(vars(module).values()):
            if type(value) not in _WITHOUT:
                found.update((id(one), one) for one in _in(value, name))
    return list(found.values())


_WITHOUT = frozenset({
    types.FunctionType, types.BuiltinFunctionType, types.ModuleType, str, bytes, int, bool, float, type(None), tuple,
})  # fmt: skip
"""Kinds of most values of modules, which have nothing in them that is meant here."""


def _in(value: Any, module: str) -> Iterator[Any]:
    kind = type(value)
    if kind in _KINDS:
        yield value
    elif issubclass(kind, type):
        if type.__getattribute__(value, "__module__") == module:
            yield from (one for one in namespace_of(value).values() if type(one) in _KINDS)
    elif getattr(kind, "__module__", "builtins") not in sys.stdlib_module_names and not callable(value):
        # By what it refers to: to ask an instance for its `__dict__` would slow it down.
        for one in gc.get_referents(value):
            if type(one) in _KINDS:
                yield one
                yield from (inner for inner in (one.values() if type(one) is dict else ()) if type(inner) in _KINDS)


def gone_from_registries(
    old: Sequence[Registered],
    new: Sequence[Registered],
    *,
    alike: Callable[[Any, Any], bool],
    image: Callable[[Any], Any],
) -> list[Operation]:
    """Plan that what the old version has put into a registry, and the new one does not, is there no more."""
    operations = []
    places: list[tuple[int, Item]] = []
    for effect in old:
        container, told_by = _place(effect)
        if any(found[0] is container and alike(told_by, found[1]) for found in map(_place, new)):
            continue
        value = image(effect.value)
        if is_a(effect, Item):
            places += [(place, effect) for place, one in enumerate(effect.sequence) if one is value]
        elif is_a(effect, Member):
            if any(one is value for one in container):
                do, undo = (set.discard, container, value), (set.add, container, value)
                operations.append(Operation(do, undo, "a registry"))
        elif container.get(key := image(told_by), effect) is value:
            taken: tuple[Any, ...] = (dict.pop, container, key, None)
            operations.append(Operation(taken, (dict.__setitem__, container, key, value), "a registry"))
    # From behind, so that each comes back to where it was.
    for place, effect in sorted(places, key=lambda pair: -pair[0]):
        sequence, value = effect.sequence, effect.sequence[place]
        operations.append(
            Operation((list.remove, sequence, value), (list.insert, sequence, place, value), "a registry")
        )
    return operations


def _place(effect: Registered) -> tuple[Any, Any]:
    """Return the container of an effect, and what tells it from others there."""
    match effect:
        case Entry():
            return effect.mapping, effect.key
        case Item():
            return effect.sequence, effect.value
        case Member():
            return effect.members, effect.value
