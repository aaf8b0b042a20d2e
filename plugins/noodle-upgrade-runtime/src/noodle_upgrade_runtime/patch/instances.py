"""Giving new fields to instances that live already.

A value that all instances share becomes an attribute of the class, at no cost. Any other is made when it is first read,
by a descriptor that stores it in the instance; a sweep after the commit fills what is left and takes the descriptor
away. A class may bring `__noodle_migrate__(self, added, removed, old_values, from_version, to_version)`, which is then
called once for each instance instead.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from noodle_upgrade_runtime.asking import binding_of, deleter_of, is_a, mro_of
from noodle_upgrade_runtime.heap import Heap, tracked
from noodle_upgrade_runtime.patch.correspondence import instance_dict
from noodle_upgrade_runtime.patch.fields import AddedField
from noodle_upgrade_runtime.patch.filled import Filled

__all__ = [
    "HOOK",
    "Growth",
    "LazyField",
    "Migration",
    "has_own",
    "instances_of",
    "lazy_fields",
    "never_constructed",
    "problem_of",
    "sweep",
]

HOOK = "__noodle_migrate__"
"""The method by which a class brings its live instances to the new version itself."""


@frozen(eq=False)
class Growth:
    """A class whose live instances gain fields."""

    cls: type
    fields: tuple[AddedField, ...]


@define(eq=False)
class Migration:
    """Runs a class's own hook, once for each instance."""

    hook: Callable[..., Any]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    versions: tuple[str, str]
    filled: Filled
    _under_way: set[int] = field(factory=set)

    def __call__(self, instance: Any) -> None:
        """Run the hook, unless it is its own reading that leads here; the caller holds the class's lock."""
        if id(instance) in self._under_way:
            return
        self._under_way.add(id(instance))
        try:
            values = dict(instance_dict(instance) or {})
            self.hook(instance, self.added, self.removed, values, *self.versions)
            self.filled.changed(instance, values)
        finally:
            self._under_way.discard(id(instance))


class LazyField:
    """A field of instances that were made before there was one: made at the first read, and then the instance's own.

    Not a data descriptor: an instance that has the field never comes here. `lock` is shared by the fields of a class.
    """

    __slots__ = ("_filled", "_looking", "_make", "_migration", "lock", "name")

    def __init__(
        self,
        name: str,
        lock: threading.RLock,
        *,
        make: Callable[[Any], Any] | None = None,
        migration: Migration | None = None,
        filled: Filled | None = None,
    ) -> None:
        self.name = name
        self.lock = lock
        self._make = make
        self._migration = migration
        self._filled = filled
        self._looking = False

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            raise AttributeError(f"type object {getattr(owner, '__name__', '?')!r} has no attribute {self.name!r}")
        with self.lock:
            if self._looking:
                raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}")
            found = self._own(instance)
            if found:
                return found[0]
            if self._migration is not None:
                self._migration(instance)
                if found := self._own(instance):
                    return found[0]
            if self._make is None:
                raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}")
            value = self._make(instance)
            if self._filled is not None:
                self._filled.note(instance, self.name)
            # Not through the instance's __dict__: to make that slows every later read on 3.11 and 3.12.
            object.__setattr__(instance, self.name, value)
            return value

    def _own(self, instance: Any) -> tuple[Any, ...]:
        """Return what the instance itself has got meanwhile, as a one-tuple, or nothing."""
        self._looking = True
        try:
            return (object.__getattribute__(instance, self.name),)
        except AttributeError:
            return ()
        finally:
            self._looking = False


def problem_of(growth: Growth, migration: Migration | None) -> str:
    """Say which field cannot be derived, and why; "" when all can."""
    problems = [f"{added.name} ({added.problem})" for added in growth.fields if added.problem and migration is None]
    return ", ".join(problems)


def lazy_fields(growth: Growth, migration: Migration | None, filled: Filled) -> dict[str, Any]:
    """Return what the class has to bind for each field: the value that all share, or what makes it, and notes it."""
    lock = threading.RLock()
    found: dict[str, Any] = {}
    for added in growth.fields:
        if added.same and migration is None:
            found[added.name] = added.same[0]
        elif migration is not None or not added.problem:
            found[added.name] = LazyField(added.name, lock, make=added.make, migration=migration, filled=filled)
    return found


def instances_of(classes: Sequence[type], heap: Heap) -> Mapping[type, list[Any]]:
    """Return the instances of each class, those of its subclasses included."""
    found: dict[type, list[Any]] = {cls: [] for cls in classes}
    wanted = set(classes)
    if not classes:
        return found
    kinds = {kind: [cls for cls in mro_of(kind) if cls in wanted] for kind in heap.kinds.values()}
    for value in heap.of([kind for kind, below in kinds.items() if below]):
        for cls in kinds[type(value)]:
            found[cls].append(value)
    return found


def never_constructed(instances: Sequence[Any], given: Collection[str]) -> set[int]:
    """Return the ids of the instances that have nothing of what their constructor gives: it was never run on them."""
    return {id(one) for one in instances if given and not any(has_own(one, name) for name in given)}


def has_own(instance: Any, name: str) -> bool:
    """Return whether an instance has an attribute, by itself or by its class; no code of the class is run.

    Its `__dict__` is not asked for: to make that slows every later read on 3.11 and 3.12.
    """
    found = binding_of(type(instance), name)
    if found is not None and type(found) is not types.MemberDescriptorType:
        return True
    try:
        # No class binds it but as a slot: this finds what the instance holds, and nothing else.
        object.__getattribute__(instance, name)
    except AttributeError:
        return False
    return True


def sweep(cls: type, names: Sequence[str], given: Collection[str] = ()) -> int:
    """Give the lazy fields to all instances of a class, then take the descriptors away; return how many there were.

    Instances that have nothing of what is `given` to each were never constructed, and get nothing. A field that cannot
    be made for one keeps its descriptor, so that whoever reads it is told why.
    """
    found = instances_of([cls], Heap(tracked()))[cls]
    bare = never_constructed(found, given)
    lazy = {name: field for name in names if is_a(field := vars(cls).get(name), LazyField)}
    failed = set()
    for instance in found:
        for name, field in lazy.items() if id(instance) not in bare else ():
            try:
                # Not by `getattr`: the class may have a `__getattr__`, which is not what is asked for.
                field.__get__(instance, cls)
            except AttributeError:
                continue  # the constructor would not have given it either
            except Exception:  # noqa: BLE001 - the package's own code
                failed.add(name)
    for name in lazy.keys() - failed:
        if vars(cls).get(name) is lazy[name]:
            deleter_of(cls)(cls, name)
    return len(found)
