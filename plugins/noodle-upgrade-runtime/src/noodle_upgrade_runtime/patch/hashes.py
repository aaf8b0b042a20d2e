"""Instances that are keys: a table finds them by the hash that they had when they were put there.

A patch gives a class another `__hash__`, and no table is told: it would not find its keys any more. To put every table
in order would run code of the package while calls are held back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from noodle_upgrade_runtime.asking import mro_of, namespace_of
from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.patch.census import of_instances
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
        now, old, then = (_hash_of(cls) for cls in (live, twin, new))
        # One that differs with every import, as attrs makes them, is this process's own, and stays.
        stays = now is not old and not same(now, old)
        if not (stays or old is then or same(old, then)):
            found.append(live)
    return found


def _hash_of(cls: type) -> Any:
    spaces = (namespace_of(base) for base in mro_of(cls))
    return next(space["__hash__"] for space in spaces if "__hash__" in space)


def key_blockers(classes: Sequence[type], heap: Heap) -> list[str]:
    """Say which living instances of these classes are keys of tables, or members of sets."""
    return [
        f"{of_instances(cls, len(keys), 'are keys of tables')}, which would not find them: the new version hashes them"
        " in another way (runtime.instances=keep makes the change all the same)."
        for cls, keys in _keys_of(classes, heap).items()
        if keys
    ]


def _keys_of(classes: Sequence[type], heap: Heap) -> dict[type, set[int]]:
    found = {cls: set(map(id, values)) for cls, values in instances_of(classes, heap).items()}
    every = set().union(*found.values())
    if not every:
        return {}
    instances = [one for values in instances_of(classes, heap).values() for one in values]
    # A tuple as a key has the hash of what it holds.
    inside = {id(one): one for one in heap.whole().holders(instances) if type(one) is tuple}
    kinds = [kind for kind in heap.kinds.values() if any(base in _TABLES for base in mro_of(kind))]
    keys: set[int] = set()
    for table in heap.of(kinds):
        for key in _keys(table):
            if id(key) in every:
                keys.add(id(key))
            elif id(key) in inside:
                keys.update(every.intersection(map(id, inside[id(key)])))
    return {cls: ids & keys for cls, ids in found.items()}


def _keys(table: Any) -> Iterable[Any]:
    kind = next(base for base in _TABLES if isinstance(table, base))
    return list(kind.__iter__(table))
