"""How many instances of a class live on, told apart from those that a call is just using."""

from __future__ import annotations

import collections
import gc
import time
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from noodle_upgrade_runtime.heap import Heap, tracked
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.patch.caches import Cache, held_alone
from noodle_upgrade_runtime.patch.instances import HOOK, instances_of, never_constructed
from noodle_upgrade_runtime.quiescence import NOBODY, Looks

__all__ = [
    "cared_for",
    "counted",
    "instance_blockers",
    "instance_notes",
    "long_lived",
    "of_instances",
    "unfit_blockers",
    "would_lack",
]

_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 0.5
"""How long instances may take to go that a call is just using."""
_MOST_PATIENCE_SECONDS = 3.0
"""How long they may take while a thread is inside the code that has made them: calls are slow on a busy machine."""


def built_from(
    tables: Mapping[type, Sequence[str]], imported: Mapping[type, int], names: Names = NOBODY
) -> dict[type, str]:
    """Return a sentence for each class with instances that live on, built from tables that the new version changed.

    `imported` tells how many instances of a class importing its version makes by itself: they are cared for. `names`
    are the packages whose calls may be using some just now, here as below.
    """
    if not tables:
        return {}
    found = long_lived(list(tables), within=_PATIENCE_SECONDS, names=names)
    counts = {cls: count - imported.get(cls, 0) for cls, count in found.items() if count > imported.get(cls, 0)}
    return {
        cls: of_instances(cls, count, f"were built from {', '.join(tables[cls])}, which differs in the new version")
        for cls, count in counts.items()
    }


def instance_blockers(
    outdated: Mapping[type, Sequence[str]], imported: Mapping[type, int], names: Names = NOBODY
) -> tuple[str, ...]:
    """Say which living instances stand against a change: a constructor is not run again."""
    return tuple(
        f"{said}, and a constructor is not run again (runtime.instances=keep goes on with them as they are)"
        for said in built_from(outdated, imported, names).values()
    )


def instance_notes(
    kept: Mapping[type, Sequence[str]], imported: Mapping[type, int], names: Names = NOBODY
) -> tuple[str, ...]:
    """Say which living instances go on with what they were built from."""
    return tuple(f"{said}: they go on with what they have." for said in built_from(kept, imported, names).values())


def unfit_blockers(
    unfit: Mapping[type, str],
    imported: Mapping[type, int],
    names: Names = NOBODY,
    *,
    exactly: bool = False,
    known: Collection[int] = (),
) -> tuple[str, ...]:
    """Return a sentence for each class with instances that live on and that the new version could not work with.

    `unfit` says of each what its instances are: "would lack …". `exactly` leaves out instances of subclasses, `known`
    are the ids of those that are cared for.
    """
    if not unfit:
        return ()
    found = long_lived(list(unfit), within=_PATIENCE_SECONDS, names=names, exactly=exactly, known=known)
    counts = {cls: count - imported.get(cls, 0) for cls, count in found.items()}
    return tuple(of_instances(cls, count, unfit[cls]) for cls, count in counts.items() if count > 0)


def of_instances(cls: type, count: int, what: str) -> str:
    """Say something of the instances of a class that live."""
    return f"{count} live instance(s) of {cls.__module__}.{cls.__qualname__} {what}"


def would_lack(problem: str) -> str:
    """Say that instances cannot be given a field that the new version's constructor gives them."""
    return f"would lack {problem}; a method {HOOK} of the class could give it to them"


def cared_for(given: Mapping[type, Collection[str]], caches: Sequence[Cache]) -> set[int]:
    """Return the ids of the instances that only caches hold, which a change empties, or that were never constructed.

    `given` has the fields that each class's constructor gives.
    """
    if not given:
        return set()
    heap = Heap(tracked())  # kept: whether something else holds an instance is told by counting, this list counted in
    found = instances_of(list(given), heap)
    bare = {one for cls, values in found.items() for one in never_constructed(values, given[cls])}
    ids = {id(value) for values in found.values() for value in values}
    del found
    return bare | set(held_alone(ids, caches)) if caches else bare


def counted(classes: Sequence[type]) -> dict[type, int]:
    """Return how many instances of each class (of its subclasses too) there are now."""
    return _counts(map(type, _instances(classes, ())), classes, exactly=False)


def _counts(kinds: Iterable[type], classes: Sequence[type], *, exactly: bool) -> dict[type, int]:
    counts: collections.Counter[type] = collections.Counter()
    for kind in kinds:
        counts.update(cls for cls in classes if (kind is cls if exactly else issubclass(kind, cls)))
    return dict(counts)


def long_lived(
    classes: Sequence[type],
    *,
    within: float,
    names: Names = NOBODY,
    known: Collection[int] = (),
    exactly: bool = False,
) -> dict[type, int]:
    """Return how many instances of each class (of its subclasses too, unless `exactly`) are there after `within` s.

    Instances that a request made and lets go of are not counted: what is found is looked at again until it has gone or
    the time is over; that may take longer while a thread is inside the packages `names`. `known` are the ids of
    instances that are cared for otherwise. Instances that the collector does not track, or that cannot be referred to
    weakly, are counted when they are there at the first look.
    """
    weak, fixed = _weakly(_instances(classes, known))
    begun, calls = time.monotonic(), Looks(names, NOBODY)
    while weak := [reference for reference in weak if reference() is not None]:
        waited = time.monotonic() - begun
        if waited >= within and (waited >= _MOST_PATIENCE_SECONDS or not calls.busy()):
            break
        time.sleep(_LOOK_SECONDS)
    if weak:
        # Once only, because it stops every thread: what is in circles goes, what somebody holds stays.
        gc.collect()
    left = [*fixed, *(type(value) for reference in weak if (value := reference()) is not None)]
    return _counts(left, classes, exactly=exactly)


def _instances(classes: Sequence[type], known: Collection[int]) -> list[Any]:
    found = instances_of(classes, Heap(tracked())).values()
    # An instance is one of several of these classes, where one derives from another.
    return list({id(value): value for values in found for value in values if id(value) not in known}.values())


def _weakly(found: Sequence[Any]) -> tuple[list[weakref.ref[Any]], list[type]]:
    weak, fixed = [], []
    for value in found:
        try:
            weak.append(weakref.ref(value))
        except TypeError:
            fixed.append(type(value))
    return weak, fixed
