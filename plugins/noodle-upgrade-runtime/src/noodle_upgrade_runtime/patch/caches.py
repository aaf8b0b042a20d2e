"""Caches of a package: emptied where the instances in them could not be made fit for the new version.

A cache is what a module binds to a name, or makes of a class, that says so, or what a parameter of one of its functions
has as its default, and what is empty in a fresh import of either version. What such a thing holds, and nobody else
does, may be dropped at any time: it is made anew. A registry looks just the same inside, so that the name has to tell.
"""

from __future__ import annotations

import collections
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.asking import defaults_of, is_a
from noodle_upgrade_runtime.operations import Call, Operation
from noodle_upgrade_runtime.patch.classes import paired_calls
from noodle_upgrade_runtime.patch.correspondence import instance_dict
from noodle_upgrade_runtime.patch.matching import Matching
from noodle_upgrade_runtime.patch.pairing import own_items

__all__ = ["Cache", "caches_in", "caches_of", "drop", "held_alone"]

_KINDS: tuple[Any, ...] = (dict, list, set, collections.deque, collections.OrderedDict)


@frozen(eq=False)
class Cache:
    """A cache by the name that binds it, with the containers that it is made of."""

    name: str
    containers: tuple[Any, ...]

    def emptied(self) -> list[Operation]:
        """Return what empties it; going back puts what it held in the place of what it holds by then."""
        found: list[Operation] = []
        for one in self.containers:
            kind: Any = type(one)
            fill = kind.extend if hasattr(kind, "extend") else kind.update
            # Filled by the commit: a plan that held what the cache holds would be one more holder of it.
            kept = kind()
            do: list[Call] = [(fill, kept, one), (kind.clear, one)]
            undo: list[Call] = [(kind.clear, one), (fill, one, kept), (kind.clear, kept)]
            found += paired_calls(do, undo, f"the cache {self.name}")
        return found


def caches_in(matching: Matching) -> list[Cache]:
    """Return the caches of the packages that change."""
    staged = {id(live): new for live, new in matching.pairs}
    found = []
    for module, _ in matching.pairs:
        if is_a(module, types.ModuleType):
            for name, value in _named(module):
                containers = tuple(
                    one
                    for one in _containers(name, value)
                    if id(one) in matching.pristine and not matching.pristine[id(one)] and not staged.get(id(one), one)
                )
                if containers:
                    found.append(Cache(f"{module.__name__}.{name}", containers))
    return found


def caches_of(names: Iterable[str]) -> list[Cache]:
    """Return the caches of these names in this process, as another one has found them."""
    found = []
    for full in names:
        home, _, name = full.partition(":")[0].rpartition(".")
        module = sys.modules.get(home)
        own = dict(_named(module)) if is_a(module, types.ModuleType) else {}
        name = full.removeprefix(f"{home}.")
        value = own.get(name)
        if containers := tuple(_containers(name, value)):
            found.append(Cache(full, containers))
    return found


def _named(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield what a module binds, and the defaults of its functions as `function:parameter`."""
    for name, value in own_items(module).items():
        yield name, value
        if type(value) is types.FunctionType:
            yield from ((f"{name}:{parameter}", default) for parameter, default in defaults_of(value).items())


def _containers(name: str, value: Any) -> list[Any]:
    if "cache" not in name.rpartition(":")[2].lower() and "cache" not in type(value).__qualname__.lower():
        return []
    own = [value] if type(value) in _KINDS else list((instance_dict(value) or {}).values())
    return [one for one in own if type(one) in _KINDS]


def drop(caches: Iterable[Cache], classes: AbstractSet[type]) -> list[str]:
    """Empty the caches that hold instances of just these classes; return their names."""
    found = [
        cache for cache in caches if any(type(one) in classes for held in cache.containers for one in _values(held))
    ]
    for cache in found:
        for one in cache.containers:
            one.clear()
    return [cache.name for cache in found]


def held_alone(wanted: set[int], caches: Sequence[Cache]) -> dict[int, Cache]:
    """Return by their ids the instances that a cache holds and nothing else does, with that cache.

    `wanted` are the ids of instances, which the caller holds by one list of the heap. The references are counted: what
    a running call has in its names is in no heap.
    """
    found: dict[int, Cache] = {}
    times: collections.Counter[int] = collections.Counter()
    for cache in caches:
        held = [id(value) for one in cache.containers for value in _values(one) if id(value) in wanted]
        found |= dict.fromkeys(held, cache)
        times.update(held)
    for cache in caches:
        for one in cache.containers:
            for value in _values(one):
                if id(value) in found and sys.getrefcount(value) > times[id(value)] + _OURS:
                    del found[id(value)]
    return found


_OURS = 3
"""The caller's list of the heap, the name in the loop, and the argument of `sys.getrefcount`."""


def _values(container: Any) -> Iterable[Any]:
    return dict.values(container) if is_a(container, dict) else container
