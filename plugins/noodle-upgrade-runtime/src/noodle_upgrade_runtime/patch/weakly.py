"""Planning for what holds others weakly: weak sets and mappings, and what abstract classes have registered.

Their insides are references, each an object of its own that equals no other version's: they are merged by what they
lead to.
"""

from __future__ import annotations

import abc
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from noodle_upgrade_runtime.asking import is_a
from noodle_upgrade_runtime.operations import Call
from noodle_upgrade_runtime.patch.classes import paired_calls
from noodle_upgrade_runtime.patch.keys import by_key
from noodle_upgrade_runtime.patch.state import MISSING, merge_sets
from noodle_upgrade_runtime.patch.weak import registered_with

if TYPE_CHECKING:
    from noodle_upgrade_runtime.patch.planner import Planner

__all__ = ["HANDLERS", "registered"]

_abc: dict[str, Any] = vars(abc)
"""What `_abc` gives to `abc`: there is no public way to take back what was registered."""


def _weak_set(planner: Planner, live: Any, staged: Any) -> None:
    base, now, new = (list(one) for one in (planner.twin(live), live, staged))
    add, remove = merge_sets(planner.links, base, now, new)
    for value in add:
        reference = weakref.ref(planner.image(value), live._remove)  # noqa: SLF001 - as the class itself does
        planner.add((set.add, live.data, reference), (set.discard, live.data, reference), "a weak set")
    for value in remove:
        reference = weakref.ref(value, live._remove)  # noqa: SLF001 - likewise
        planner.add((set.discard, live.data, reference), (set.add, live.data, reference), "a weak set")
        # Nothing else may hold it, and going back must find it.
        planner.hold(value)


def _weak_mapping(planner: Planner, live: Any, staged: Any) -> None:
    links = planner.links
    is_by_key = is_a(live, weakref.WeakKeyDictionary)
    items = [list(one.items()) for one in (planner.twin(live), live, staged)]
    base, now, new = (by_key(links, one) for one in items)
    keys = dict(zip(new, [planner.image(key) for key, _ in items[2]], strict=True))
    keys |= dict(zip(now, [key for key, _ in items[1]], strict=True))
    for take in planner.merge(live, now, new, base, "a weak mapping").takes:
        key, old = keys[take.key], now.get(take.key, MISSING)
        image = planner.present(take.value)
        planner.hold(old)

        def store(value: Any, key: Any = key) -> Call:
            place = weakref.ref(key, live._remove) if is_by_key else key  # noqa: SLF001 - likewise
            if value is MISSING:
                return (dict.pop, live.data, place, None)
            held = value if is_by_key else weakref.KeyedRef(value, live._remove, key)  # noqa: SLF001 - likewise
            return (dict.__setitem__, live.data, place, held)

        planner.add(store(image), store(old), "a weak mapping")


def registered(planner: Planner, live: abc.ABCMeta, staged: abc.ABCMeta) -> None:
    """Plan what an abstract class has registered by the new version, and what by the program."""
    twin = planner.twin(live)
    if not is_a(twin, abc.ABCMeta):
        return
    base, now, new = (registered_with(one) for one in (twin, live, staged))
    add, remove = merge_sets(planner.links, base, now, new)
    if not (add or remove):
        return
    gone = set(map(id, remove))
    after = [one for one in now if id(one) not in gone] + [planner.image(one) for one in add]
    planner.operations += paired_calls(
        _registering(live, after), _registering(live, now), f"what {live.__qualname__} has registered"
    )


def forgotten(planner: Planner, live: abc.ABCMeta) -> None:
    """Plan that an abstract class forgets its answers: `__subclasshook__` may be another, or a protocol ask more."""
    call: Call = (_abc["_reset_caches"], live)
    planner.add(call, call, f"what {live.__qualname__} remembers")


def _registering(cls: abc.ABCMeta, classes: list[Any]) -> list[Call]:
    again: list[Call] = [(_abc["_abc_register"], cls, one) for one in classes]
    return [(_abc["_reset_registry"], cls), (_abc["_reset_caches"], cls), *again]


HANDLERS: dict[Any, Callable[[Planner, Any, Any], None]] = {
    weakref.WeakSet: _weak_set,
    weakref.WeakKeyDictionary: _weak_mapping,
    weakref.WeakValueDictionary: _weak_mapping,
}
"""How an object of each kind is planned for: `(planner, live, staged)`."""
