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

from noodle_upgrade_runtime.asking import is_a, is_class, mro_of
from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.patch.correspondence import instance_dict
from noodle_upgrade_runtime.patch.fields import AddedField, added_fields, given_fields
from noodle_upgrade_runtime.patch.instances import has_own, never_constructed
from noodle_upgrade_runtime.patch.pairing import MODULE_PLUMBING

__all__ = ["Bindings", "Returning"]

_CONTAINERS = (dict, list, set, collections.deque)
_TABLES = frozenset({*_CONTAINERS, tuple, frozenset})


class Returning:
    """What the old constructors give that the new ones do not, by living class.

    `classes` are (living class, its twin in a fresh import of the old version, the new version's).
    """

    def __init__(self, classes: Iterable[tuple[type, type, type]]) -> None:
        self._lost: dict[type, tuple[AddedField, ...]] = {}
        self._given: dict[type, frozenset[str]] = {}
        for live, twin, new in classes:
            namespace = vars(sys.modules[live.__module__]) if live.__module__ in sys.modules else {}
            fields = tuple(f for f in added_fields(new, twin, namespace) if f.certain or f.make is not None)
            if fields:
                self._lost[live] = fields
                self._given[live] = given_fields(new)

    def __bool__(self) -> bool:
        return bool(self._lost)

    def bring_back(self, heap: Heap, pairs: Iterable[tuple[Any, Any]], twins: Mapping[int, Any]) -> tuple[str, ...]:
        """Give the instances of `heap` what they lack, empty caches of those that cannot have it; name what is left."""
        lacking: dict[int, tuple[Any, str]] = {}
        for instance in heap.of([kind for kind in heap.kinds.values() if self._lost.keys() & set(mro_of(kind))]):
            for cls in self._lost.keys() & set(mro_of(type(instance))):
                if never_constructed([instance], self._given[cls]):
                    continue
                for added in self._lost[cls]:
                    if not has_own(instance, added.name) and not _give(instance, added):
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
    """What the names of modules were bound to before the change, and which modules there were.

    A program may have reloaded a module since, which binds them to new ones, and no inverse knows of those; nor of
    modules that it has first imported from the version that is left, whose files are in `trees`.
    """

    def __init__(self, modules: Iterable[types.ModuleType], trees: Sequence[str]) -> None:
        self._trees = tuple(trees)
        self._modules = frozenset(sys.modules)
        spaces = [vars(module) for module in modules if is_a(module, types.ModuleType)]
        self._bound = [(space, dict(space), _definitions(space)) for space in spaces]

    def bring_back(self) -> None:
        """Bind again what the version that was left has bound; what the program has put there itself stays."""
        gone = self._forget_modules()
        for namespace, before, defined in self._bound:
            for name in namespace.keys() - before.keys() if gone else ():
                if id(namespace[name]) in gone:
                    del namespace[name]  # taken from one of those, as a lazy module does
            if not any(self._is_made_since(namespace.get(name), value) for name, value in defined):
                continue
            for name in before.keys() - MODULE_PLUMBING:
                if self._comes_of_reload(namespace.get(name), before[name]):
                    namespace[name] = before[name]

    def _comes_of_reload(self, found: Any, before: Any) -> bool:
        """Whether what a name of a module is bound to was made by reloading that: its tables and objects go with it."""
        if self._is_made_since(found, before):
            return True
        return found is not before and (type(found) in _TABLES or self._is_of_new(type(found)))

    def _is_made_since(self, found: Any, before: Any) -> bool:
        return found is not before and found is not None and self._is_of_new(found)

    def _forget_modules(self) -> dict[int, Any]:
        """Take away the modules that were first imported since, so that an import finds those of the old version.

        Returns what they define, by its id.
        """
        defined: dict[int, Any] = {}
        for name in sys.modules.keys() - self._modules:
            module = sys.modules[name]
            file = (instance_dict(module) or {}).get("__file__")
            if is_a(file, str) and file.startswith(self._trees):
                sys.modules.pop(name, None)
                defined |= {id(value): value for _, value in _definitions(instance_dict(module) or {})}
                above, _, child = name.rpartition(".")
                namespace = instance_dict(sys.modules.get(above)) or {}
                if namespace.get(child) is module:
                    namespace.pop(child, None)
        return defined

    def _is_of_new(self, value: Any) -> bool:
        if is_a(value, types.FunctionType):
            return value.__code__.co_filename.startswith(self._trees)
        functions = [f for f in vars(value).values() if is_a(f, types.FunctionType)] if is_class(value) else []
        return any(function.__code__.co_filename.startswith(self._trees) for function in functions)


def _definitions(space: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in space.items() if is_a(value, (types.FunctionType, type))]


def _give(instance: Any, added: AddedField) -> bool:
    try:
        if added.same:
            value = added.same[0]
        elif added.make is not None:
            value = added.make(instance)
        else:
            return False
        object.__setattr__(instance, added.name, value)
    except AttributeError:
        return not added.certain  # as it is: the old constructor would not have given it either
    except Exception:  # noqa: BLE001 - the expression is the package's own: what it cannot make is named
        return False
    return True


def _empty_caches(lacking: set[int], pairs: Iterable[tuple[Any, Any]], twins: Mapping[int, Any]) -> list[str]:
    """Empty what was empty when it was imported and holds such instances by now, whole: an LRU cache has two parts."""
    emptied = []
    for live, _ in pairs:
        own = [live] if is_a(live, _CONTAINERS) else list((instance_dict(live) or {}).values())
        caches = [one for one in own if is_a(one, _CONTAINERS) and id(one) in twins and not twins[id(one)]]
        if any(id(value) in lacking for cache in caches for value in _values(cache)):
            for cache in caches:
                cache.clear()
            emptied.append(f"a cache of type {type(live).__module__}.{type(live).__qualname__}")
    return emptied


def _values(cache: Any) -> list[Any]:
    return list(dict.values(cache)) if is_a(cache, dict) else list(cache)
