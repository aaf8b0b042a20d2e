"""Instances that are keys: a table finds them by the hash that they had when they were put there.

A patch gives a class another `__hash__`, and no table is told: it would not find its keys any more. To put every table
in order would run code of the package while calls are held back.
"""

from __future__ import annotations

import itertools
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from noodle_upgrade_runtime.asking import binding_of, codes_of, is_a, mro_of
from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.patch.census import of_instances
from noodle_upgrade_runtime.patch.functions import plain_function
from noodle_upgrade_runtime.patch.instances import instances_of

__all__ = ["key_blockers", "rehashed"]

_TABLES = (dict, set, frozenset)


def rehashed(classes: Iterable[tuple[type, type, type]], same: Callable[[Any, Any], bool]) -> list[type]:
    """Return the classes whose instances the new version hashes in another way.

    `classes` are (living class, its twin in a fresh import of the old version, the new version's); `same` tells whether
    two objects hold the same.
    """
    found = []
    for live, twin, new in classes:
        now, old, then = (binding_of(cls, "__hash__") for cls in (live, twin, new))
        # One that differs with every import, as attrs makes them, is this process's own, and stays.
        stays = now is not old and not same(now, old)
        alike = old is then or same(old, then) or _is_moved(old, then)
        if not (stays or (alike and _same_asked(_asked_by(old, twin), _asked_by(then, new)))):
            found.append(live)
    return found


def _is_moved(old: Any, then: Any) -> bool:
    """Whether two functions that hold nothing but their code differ in no more than where they stand."""
    both = (old, then)
    plain = all(type(one) is types.FunctionType and not (one.__closure__ or one.__defaults__) for one in both)
    return plain and _same_code(old.__code__, then.__code__)


def _asked_by(made: Any, cls: type) -> dict[str, types.FunctionType]:
    """Return the functions that one which makes a hash asks, by name: the class's own, and its module's."""
    found: dict[str, types.FunctionType] = {}
    fresh = [made]
    while fresh:
        one = fresh.pop()
        if type(one) is not types.FunctionType:
            continue
        names = {name for code in codes_of(one.__code__) for name in code.co_names}
        for name in sorted(names - found.keys()):
            function = plain_function(binding_of(cls, name)) or plain_function(one.__globals__.get(name))
            if function is not None:
                found[name] = function
                fresh.append(function)
    return found


def _same_asked(before: Mapping[str, types.FunctionType], after: Mapping[str, types.FunctionType]) -> bool:
    return before.keys() == after.keys() and all(_same_code(before[n].__code__, after[n].__code__) for n in before)


def _same_code(left: types.CodeType, right: types.CodeType) -> bool:
    """Whether code does the same, wherever in its file it stands."""
    return all(
        one.co_code == other.co_code
        and one.co_names == other.co_names
        and [c for c in one.co_consts if not is_a(c, types.CodeType)]
        == [c for c in other.co_consts if not is_a(c, types.CodeType)]
        for one, other in itertools.zip_longest(codes_of(left), codes_of(right), fillvalue=_NOTHING)
    )


_NOTHING = compile("", "", "exec")


def key_blockers(classes: Sequence[type], heap: Heap) -> list[str]:
    """Say which living instances of these classes are keys of tables, or members of sets."""
    return [
        f"{of_instances(cls, len(keys), 'are keys of tables')}, which would not find them: the new version hashes them"
        " in another way (runtime.instances=keep makes the change all the same)."
        for cls, keys in _keys_of(classes, heap).items()
        if keys
    ]


def _keys_of(classes: Sequence[type], heap: Heap) -> dict[type, set[int]]:
    instances = instances_of(classes, heap)
    found = {cls: set(map(id, values)) for cls, values in instances.items()}
    every = set().union(*found.values())
    if not every:
        return {}
    inside = _tuples_with([one for values in instances.values() for one in values], heap)
    kinds = [kind for kind in heap.kinds.values() if any(base in _TABLES for base in mro_of(kind))]
    keys: set[int] = set()
    for table in heap.of(kinds):
        for key in _keys(table):
            # A weak reference has the hash of what it leads to.
            one = key() if is_a(key, weakref.ref) else key
            if id(one) in every:
                keys.add(id(one))
            else:
                keys.update(inside.get(id(one), ()))
    return {cls: ids & keys for cls, ids in found.items()}


def _tuples_with(instances: Sequence[Any], heap: Heap) -> dict[int, set[int]]:
    """Return the ids of the tuples that hold some of these, however deep, with theirs: it has the hash of these.

    The heap holds the tuples, so that their ids stay theirs.
    """
    held = {id(one): {id(one)} for one in instances}
    found: dict[int, set[int]] = {}
    fresh = instances
    while fresh:
        fresh = [one for one in heap.whole().holders(fresh) if type(one) is tuple and id(one) not in found]
        found |= {id(one): set().union(*(held[id(part)] for part in one if id(part) in held)) for one in fresh}
        held |= found
    return found


def _keys(table: Any) -> Iterable[Any]:
    kind = next(base for base in _TABLES if is_a(table, base))
    return list(kind.__iter__(table))
