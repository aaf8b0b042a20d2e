"""Weak references to what gives way: nobody can change where one leads, but its holder can hold another one."""

from __future__ import annotations

import abc
import gc
import weakref
from typing import Any

from noodle_upgrade_runtime.asking import is_a, namespace_of
from noodle_upgrade_runtime.heap import Heap

__all__ = ["WEAK", "caches_of_abstract_classes", "is_list_of_subclasses", "registered_with", "renewed"]

WEAK = (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
"""What holds its members weakly, by references of its own."""


_dump: Any = vars(abc)["_get_dump"]
"""There is no public way."""


def _registry_of(cls: abc.ABCMeta) -> set[weakref.ref[Any]]:
    """Return the references to what an abstract class has registered."""
    found: set[weakref.ref[Any]] = _dump(cls)[0]
    return found


def registered_with(cls: type) -> list[type]:
    """Return what a class has registered that is still there, none for one that is not abstract."""
    references = _registry_of(cls) if is_a(cls, abc.ABCMeta) else set()
    return [one for reference in references if (one := reference()) is not None]


def renewed(reference: Any, new: Any) -> Any:
    """Return a reference of the same kind to another object, None where there can be none, or the kind is not known."""
    kind = type(reference)
    try:
        if kind is weakref.ref:
            return weakref.ref(new, reference.__callback__)
        if kind is weakref.KeyedRef:
            return weakref.KeyedRef(new, reference.__callback__, reference.key)
    except TypeError:
        return None  # nothing can refer to it weakly
    return None


def is_list_of_subclasses(holder: Any, old: Any) -> bool:
    """Return whether this is what a class knows its subclasses by, of which `old` is and stays one."""
    if type(holder) is not dict:
        return False
    reference = dict.get(holder, id(old))
    return type(reference) is weakref.ref and reference() is old


def caches_of_abstract_classes(heap: Heap) -> set[int]:
    """Return the ids of the sets in which abstract classes remember their answers, and not what was registered.

    Those hold for a time that only CPython knows: what it remembers of the old class stays true of that.
    """
    found: set[int] = set()
    for value in heap.classes():
        if not is_a(value, abc.ABCMeta) or "_abc_impl" not in (own := namespace_of(value)):
            continue
        sets = [held for held in gc.get_referents(own["_abc_impl"]) if type(held) is set]
        # Visited in the order of registry, cache and negative cache; what is not there yet is left out.
        found.update(map(id, sets[1:] if _registry_of(value) else sets))
    return found
