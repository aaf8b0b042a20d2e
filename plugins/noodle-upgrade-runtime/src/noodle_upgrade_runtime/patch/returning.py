"""What going back needs besides the inverses: instances that the new version has made meet the old code again.

Its constructor has not given them what only the old one gives. What can be derived from what they have is given to
them; what cannot is dropped from caches, which make it anew, and named where somebody else holds it.
"""

from __future__ import annotations

import collections
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from noodle_upgrade_runtime.patch.correspondence import instance_dict
from noodle_upgrade_runtime.patch.fields import AddedField, added_fields

__all__ = ["Bindings", "Returning"]

_CONTAINERS = (dict, list, set, collections.deque)


class Returning:
    """What the old constructors give that the new ones do not, by living class.

    `classes` are (living class, its twin in a fresh import of the old version, the new version's).
    """

    def __init__(self, classes: Iterable[tuple[type, type, type]]) -> None:
        self._lost: dict[type, tuple[AddedField, ...]] = {}
        for live, twin, new in classes:
            namespace = vars(sys.modules[live.__module__]) if live.__module__ in sys.modules else {}
            fields = tuple(f for f in added_fields(new, twin, namespace) if not f.conditional)
            if fields:
                self._lost[live] = fields

    def __bool__(self) -> bool:
        return bool(self._lost)

    def bring_back(
        self, heap: Sequence[Any], pairs: Iterable[tuple[Any, Any]], twins: Mapping[int, Any]
    ) -> tuple[str, ...]:
        """Give the instances of `heap` what they lack, empty caches of those that cannot have it; name what is left."""
        lacking: dict[int, tuple[Any, str]] = {}
        for instance in heap:
            for cls in type(instance).__mro__:
                for added in self._lost.get(cls, ()):
                    if not _has(instance, added.name) and not _give(instance, added):
                        lacking[id(instance)] = (instance, added.name)
        if not lacking:
            return ()
        dropped = _empty_caches(set(lacking), pairs, twins)
        counts = collections.Counter(
            f"{type(one).__module__}.{type(one).__qualname__} lack(s) {name}" for one, name in lacking.values()
        )
        left = [f"{count} instance(s) of {what}, made by the version that was left" for what, count in counts.items()]
        return (*left, *(f"emptied: {what}" for what in dropped))


class Bindings:
    """What the names of modules were bound to before the change: functions and classes.

    A program may have reloaded a module since, which binds them to new ones, and no inverse knows of those; nor of a
    module that it has imported for the first time from the version that was left.
    """

    def __init__(self, modules: Iterable[types.ModuleType], trees: Sequence[str]) -> None:
        self._trees = tuple(trees)
        self._bound = [
            (vars(module), name, value)
            for module in modules
            if isinstance(module, types.ModuleType)
            for name, value in vars(module).items()
            if isinstance(value, types.FunctionType | type)
        ]

    def bring_back(self) -> None:
        """Bind again what the version that was left has bound; what the program has put there itself stays."""
        for name in [name for name, module in list(sys.modules.items()) if self._came_from_new(module)]:
            module = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            namespace = vars(sys.modules[parent]) if parent in sys.modules else {}
            if namespace.get(child) is module:
                del namespace[child]
        for namespace, name, value in self._bound:
            found = namespace.get(name)
            if found is not value and found is not None and self._is_of_new(found):
                namespace[name] = value

    def _came_from_new(self, module: Any) -> bool:
        path = vars(module).get("__file__") if isinstance(module, types.ModuleType) else None
        return isinstance(path, str) and path.startswith(self._trees)

    def _is_of_new(self, value: Any) -> bool:
        if isinstance(value, types.FunctionType):
            return value.__code__.co_filename.startswith(self._trees)
        functions = (
            [f for f in vars(value).values() if isinstance(f, types.FunctionType)] if isinstance(value, type) else []
        )
        return any(function.__code__.co_filename.startswith(self._trees) for function in functions)


def _has(instance: Any, name: str) -> bool:
    try:
        object.__getattribute__(instance, name)
    except AttributeError:
        return False
    return True


def _give(instance: Any, added: AddedField) -> bool:
    try:
        if added.same:
            value = added.same[0]
        elif added.make is not None:
            value = added.make(instance)
        else:
            return False
        object.__setattr__(instance, added.name, value)
    except Exception:  # noqa: BLE001 - the expression is the package's own: what it cannot make is named
        return False
    return True


def _empty_caches(lacking: set[int], pairs: Iterable[tuple[Any, Any]], twins: Mapping[int, Any]) -> list[str]:
    """Empty what was empty when it was imported and holds such instances by now, whole: an LRU cache has two parts."""
    emptied = []
    for live, _ in pairs:
        own = [live] if isinstance(live, _CONTAINERS) else list((instance_dict(live) or {}).values())
        caches = [one for one in own if isinstance(one, _CONTAINERS) and id(one) in twins and not twins[id(one)]]
        if any(id(value) in lacking for cache in caches for value in _values(cache)):
            for cache in caches:
                cache.clear()
            emptied.append(f"a cache of type {type(live).__module__}.{type(live).__qualname__}")
    return emptied


def _values(cache: Any) -> list[Any]:
    return list(dict.values(cache)) if isinstance(cache, dict) else list(cache)
