"""Giving new fields to instances that live already.

A value that all instances share becomes an attribute of the class, at no cost. Any other is made when it is first read, by a
descriptor that stores it in the instance; a sweep after the commit fills what is left and takes the descriptor away. A
class may bring `__noodle_migrate__(self, added, removed, old_values, from_version, to_version)`, which is then called
once for each instance instead.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from noodle_upgrade_core.errors import MigrationError
from noodle_upgrade_runtime.patch.fields import AddedField

__all__ = ["HOOK", "Growth", "LazyField", "Migration", "instances_of", "lazy_fields", "sweep"]

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
    _lock: threading.RLock = field(factory=threading.RLock)
    _under_way: set[int] = field(factory=set)

    def __call__(self, instance: Any) -> None:
        with self._lock:
            if id(instance) in self._under_way:
                return
            self._under_way.add(id(instance))
            try:
                values = dict(getattr(instance, "__dict__", {}))
                self.hook(instance, self.added, self.removed, values, *self.versions)
            finally:
                self._under_way.discard(id(instance))


class LazyField:
    """A field of instances that were made before there was one: made at the first read, and then the instance's own.

    Not a data descriptor: an instance that has the field never comes here.
    """

    __slots__ = ("_lock", "_make", "_migration", "name")

    def __init__(
        self, name: str, *, make: Callable[[Any], Any] | None = None, migration: Migration | None = None
    ) -> None:
        self.name = name
        self._make = make
        self._migration = migration
        self._lock = threading.RLock()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            raise AttributeError(f"type object {getattr(owner, '__name__', '?')!r} has no attribute {self.name!r}")
        with self._lock:
            own = object.__getattribute__(instance, "__dict__")
            if self.name in own:
                return own[self.name]
            if self._migration is not None:
                self._migration(instance)
                if self.name in own:
                    return own[self.name]
            if self._make is None:
                raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}")
            value = self._make(instance)
            object.__setattr__(instance, self.name, value)
            return value


def lazy_fields(growth: Growth, migration: Migration | None) -> dict[str, Any]:
    """Return what the class has to bind for each field: the shared value, or what makes it.

    Raises `MigrationError` for a field that cannot be derived when there is no hook.
    """
    found: dict[str, Any] = {}
    for added in growth.fields:
        if migration is None and added.problem:
            raise MigrationError(
                f"Live instances of {growth.cls.__qualname__} cannot get the field {added.name}: {added.problem}.",
                hint=f"Give the class a method {HOOK}, or restart.",
            )
        if added.same and migration is None:
            found[added.name] = added.same[0]
        else:
            found[added.name] = LazyField(added.name, make=added.make, migration=migration)
    return found


def instances_of(classes: Sequence[type], heap: Iterable[Any]) -> Mapping[type, list[Any]]:
    """Return the instances of each class, those of its subclasses included."""
    found: dict[type, list[Any]] = {cls: [] for cls in classes}
    kinds: dict[type, tuple[type, ...]] = {}
    for value in heap:
        kind = type(value)
        if kind not in kinds:
            kinds[kind] = tuple(cls for cls in classes if cls in kind.__mro__)
        for cls in kinds[kind]:
            found[cls].append(value)
    return found


def sweep(cls: type, names: Sequence[str]) -> int:
    """Read the lazy fields of all instances of a class, then take the descriptors away; return how many there were."""
    for instance in (found := instances_of([cls], gc.get_objects())[cls]):
        for name in names:
            getattr(instance, name, None)
    for name in names:
        if isinstance(vars(cls).get(name), LazyField):
            type.__delattr__(cls, name)
    return len(found)


