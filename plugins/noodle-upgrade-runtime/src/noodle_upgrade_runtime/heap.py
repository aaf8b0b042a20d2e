"""The objects of this process, without harm to those who are making some of them at this moment.

`gc.get_objects` also shows tuples that another thread is still filling (`tuple(rows())`). Whoever holds such a tuple
makes its thread fail: `SystemError: Objects/tupleobject.c: bad argument to internal function`, because only a tuple
with a single reference may be resized. So nothing here gives the interpreter's lock away while it holds such a tuple.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import operator
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from noodle_upgrade_runtime.asking import COMPILED, HEAP_TYPE, mro_of, namespace_of, subclasses_of

__all__ = [
    "Heap",
    "Moment",
    "Since",
    "UnknownTupleError",
    "looking_seconds",
    "shows_instances",
    "tracked",
    "untracked_in",
    "with_tuples",
]

_BATCH = 256
_PART = 10_000
_AT_ONCE = 32
"""Each object's referents are compared with so many targets one by one."""
_SECONDS_PER_OBJECT = 2.5e-7
"""What a look costs in which no other thread runs, with the collection that comes of it: 0.15 to 0.23 µs measured."""


def looking_seconds() -> float:
    """Return about how long every thread stands still when the objects of this process are looked at."""
    # One call, so that the list is gone before another thread can run: it holds tuples that are being filled.
    return sum(map(len, map(gc.get_objects, (None,)))) * _SECONDS_PER_OBJECT


class Heap:
    """Objects of this process, chosen by what they are and by what they hold, in C: there are many.

    Their kinds are told apart by their ids, because a metaclass may have a hash of its own.
    """

    __slots__ = ("_ids", "_is_whole", "_kinds", "objects")

    def __init__(self, objects: list[Any]) -> None:
        self.objects = objects
        self._is_whole = False
        self._kinds: dict[int, type] = {}
        self._ids: list[int] = []

    @property
    def kinds(self) -> dict[int, type]:
        """The kinds of these objects, by their ids."""
        for start in range(len(self._ids), len(self.objects), _PART):
            part = self.objects[start : start + _PART]  # a part at a time: nobody else runs meanwhile
            ids = list(map(id, map(type, part)))
            self._ids += ids
            self._kinds.update(zip(ids, map(type, part), strict=True))
        return self._kinds

    def whole(self) -> Heap:
        """Have the tuples among these objects that they hold, which are complete: in the one list that there is."""
        if not self._is_whole:
            self._is_whole = True
            self.objects += with_tuples(self.objects)[len(self.objects) :]
        return self

    def of(self, kinds: Iterable[type]) -> list[Any]:
        """Return the objects of just these kinds."""
        wanted = set(map(id, kinds)) & self.kinds.keys()
        return list(itertools.compress(self.objects, map(wanted.__contains__, self._ids))) if wanted else []

    def kinds_below(self, base: type) -> list[type]:
        """Return the kinds of these objects that derive from a class, or are it."""
        return [kind for kind in self.kinds.values() if any(one is base for one in mro_of(kind))]

    def classes(self) -> list[type]:
        """Return the classes among these objects; a weak proxy of one only says that it is one."""
        return self.of(self.kinds_below(type))

    def has_holders_of(self, targets: Iterable[Any]) -> bool:
        """Return whether all that hold one of `targets` are among these objects."""
        del targets
        return True

    def holders(self, targets: Sequence[Any]) -> list[Any]:
        """Return the objects that refer directly to one of `targets`.

        Modules are not asked: their names are a dict, which is among the objects itself, and a compiled one may show
        objects that are dead. CPython 3.12's `_asyncio` visits its list of freed futures, and whoever holds one breaks
        the heap.
        """
        if not targets:
            return []
        referents, wanted = gc.get_referents, frozenset(map(id, targets))
        modules = set(map(id, self.kinds_below(types.ModuleType)))
        found = []
        for start in range(0, len(self.objects), _BATCH):
            batch, kinds = (part[start : start + _BATCH] for part in (self.objects, self._ids))
            if not modules.isdisjoint(kinds):
                batch = [value for value in batch if id(type(value)) not in modules]
            if not wanted.isdisjoint(map(id, referents(*batch))):
                found += [value for value in batch if not wanted.isdisjoint(map(id, referents(value)))]
        return found


def shows_instances(cls: type) -> bool:
    """Return whether the collector's way from an instance leads to its class, so that it tells of the instances.

    A class that C code makes at run time has to see to that itself, for those that derive from it too; exceptions that
    it makes (`csv.Error`) do not.
    """
    above = [base for base in mro_of(cls) if base.__flags__ & HEAP_TYPE]
    if any(type(value) in COMPILED for base in above for value in namespace_of(base).values()):
        return False
    if not issubclass(cls, BaseException):
        return True
    layout: Any = next(base for base in mro_of(cls) if not base.__flags__ & HEAP_TYPE)
    try:
        made = layout.__new__(cls)
    except TypeError:
        return False
    return any(one is cls for one in gc.get_referents(made))


class UnknownTupleError(Exception):
    """A tuple holds something: somebody may hold it, or it is just being filled. Only a look at everything tells."""


class Moment(Heap):
    """The process as it is just now: who holds one of `targets`, or of `others`: instances of classes, too.

    To ask for that takes a fraction of a look at everything. Exact tuples are not among the objects, because one may be
    just being filled: where it matters, raises `UnknownTupleError` for one that holds one of the `targets`, and whose
    id is not one of `known`.
    """

    __slots__ = ("_classes", "_known", "_targets")

    def __init__(self, targets: Sequence[Any], known: set[int] | None = None, *, others: Sequence[Any] = ()) -> None:
        gc.unfreeze()
        self._targets = frozenset(map(id, (*targets, *others)))
        self._known = known
        self._classes: list[type] = []
        found = {id(one): one for one in self._holding(targets)}
        found |= {id(one): one for one in _referrers(others)[0]}
        super().__init__(list(found.values()))

    def classes(self) -> list[type]:
        """Return the classes of the process."""
        if not self._classes:
            self._classes = [object, *subclasses_of(object)]
        return self._classes

    def has_holders_of(self, targets: Iterable[Any]) -> bool:
        """Return whether these were asked for."""
        return self._targets.issuperset(map(id, targets))

    def holders(self, targets: Sequence[Any]) -> list[Any]:
        """Return the objects that refer directly to one of these, exact tuples left out; who asks is among them."""
        if self.has_holders_of(targets):
            return super().holders(targets)
        return _but_modules(self._holding(targets))

    def _holding(self, targets: Sequence[Any]) -> list[Any]:
        found, tuples = _referrers(targets)
        if self._known is not None and not tuples <= self._known:
            raise UnknownTupleError(f"{len(tuples - self._known)} tuple(s)")
        return found


def _referrers(targets: Sequence[Any]) -> tuple[list[Any], set[int]]:
    """Return what refers to one of some objects, but exact tuples, and the ids of these; see `tracked` for how."""
    found: dict[int, Any] = {}
    tuples: set[int] = set()
    for start in range(0, len(targets), _AT_ONCE):
        asked = tuple(targets[start : start + _AT_ONCE])
        every: list[Any] = []
        others: list[Any] = []
        marks: list[int] = []
        number = iter((asked,))
        joined = itertools.chain.from_iterable(itertools.starmap(gc.get_referrers, number))
        first, second, third, fourth = iter(every), iter(every), iter(every), iter(every)
        chosen = itertools.compress(second, map(operator.is_not, map(type, first), itertools.repeat(tuple)))
        left_out = itertools.compress(map(id, fourth), map(operator.is_, map(type, third), itertools.repeat(tuple)))
        was_on = gc.isenabled()
        gc.disable()
        try:
            every += joined; others += chosen; marks += left_out; every *= 0  # fmt: skip  # noqa: E702 - as there
        finally:
            if was_on:
                gc.enable()
        tuples.update(marks)
        tuples.discard(id(asked))
        found |= {id(one): one for one in others if one is not targets}
    return list(found.values()), tuples


class Since:
    """Knows what has come into being since a moment: the collector stands still, so that it is all still young.

    A look at the young stops the program for microseconds, where one at everything takes as long as there are objects.
    """

    def __init__(self) -> None:
        self._moment = 0
        self.begin()

    def begin(self) -> None:
        """Begin at this moment; the collector has to stand still from now on."""
        gc.unfreeze()  # as the look at everything does: CPython 3.12 begins with some objects put aside
        self._moment = _collections()

    @classmethod
    @contextlib.contextmanager
    def now(cls) -> Iterator[Since]:
        """Begin at this moment, and let the collector go on at the end."""
        was_on = gc.isenabled()
        gc.disable()
        try:
            yield cls()
        finally:
            if was_on:
                gc.enable()

    def young(self) -> list[Any] | None:
        """Return all that is new, with some that is not; None when somebody has let the collector run meanwhile."""
        return None if gc.isenabled() or _collections() != self._moment else tracked(generation=0)


def _collections() -> int:
    """Return a number that another collection, or a freeze, changes."""
    collections: int = sum([one["collections"] for one in gc.get_stats()])
    return gc.get_freeze_count() * 1_000_003 + collections


def tracked(generation: int | None = None) -> list[Any]:
    """Return what the garbage collector tracks, but exact tuples, as it was at one moment; of a generation, or all.

    CPython gives the lock away, and runs signal handlers, after calls and jumps back only, and the collector is off: so
    the line that holds the tuples makes no call. All that it needs is made before, and waits to be iterated over.

    What `gc.freeze` has put aside would not be found: it is put back, and stays, because to freeze again would take
    much more along.
    """
    if generation is None:
        gc.unfreeze()
    every: list[Any] = []
    found: list[Any] = []
    number = iter((generation,))
    lists = map(gc.get_objects, number)
    joined = itertools.chain.from_iterable(lists)
    first, second = iter(every), iter(every)
    kinds = map(type, first)
    wanted = itertools.repeat(tuple)
    others = map(operator.is_not, kinds, wanted)
    chosen = itertools.compress(second, others)
    was_on = gc.isenabled()
    gc.disable()
    try:
        every += joined; found += chosen; every *= 0  # fmt: skip  # noqa: E702 - a tracing function is asked per line
    finally:
        if was_on:
            gc.enable()
    # What was made to look is no part of what there is; its ids soon are those of other objects. It is young, and the
    # young come first.
    own = {id(one) for one in (every, found, number, lists, joined, first, second, kinds, wanted, others, chosen)}
    places = list(itertools.islice((place for place, one in enumerate(found) if id(one) in own), len(own)))
    for place in reversed(places):
        del found[place]
    return found


def with_tuples(found: list[Any]) -> list[Any]:
    """Return objects with the tuples that they hold, and those that these hold."""
    tuples: dict[int, Any] = {}
    fresh: Sequence[Any] = found
    while fresh:
        known = len(tuples)
        more = _tuples_in(fresh)
        tuples.update(zip(map(id, more), more, strict=True))
        # What was there already keeps its place: all that is behind it is new.
        fresh = list(itertools.islice(tuples.values(), known, None))
    return [*found, *tuples.values()]


def untracked_in(heap: list[Any]) -> list[Any]:
    """Return the dicts and tuples in these objects that the collector does not track.

    They hold nothing that it tracks; so only who looks for an `object()` or the like needs them.
    """
    seen: set[int] = set()
    found: list[Any] = []
    fresh = heap
    while fresh:
        fresh = list({id(one): one for one in _untracked(fresh) if id(one) not in seen}.values())
        seen.update(map(id, fresh))
        found += fresh
    return found


def _untracked(values: list[Any]) -> Iterable[Any]:
    asked = _but_modules(values)
    for start in range(0, len(asked), _BATCH):
        for one in gc.get_referents(*asked[start : start + _BATCH]):
            if type(one) in {dict, tuple} and not gc.is_tracked(one):
                yield one


def _tuples_in(values: Sequence[Any]) -> list[Any]:
    """Return the tuples that objects hold and the collector tracks; in C, because there are many."""
    asked, found = _but_modules(values), list[Any]()
    for start in range(0, len(asked), _BATCH):
        held = gc.get_referents(*asked[start : start + _BATCH])
        chosen = itertools.compress(held, map(operator.is_, map(type, held), itertools.repeat(tuple)))
        found += filter(gc.is_tracked, chosen)
    return found


def _but_modules(values: Sequence[Any]) -> list[Any]:
    # Modules are not asked: see `Heap.holders`.
    kinds = {kind for kind in set(map(type, values)) if issubclass(kind, types.ModuleType)}
    return list(itertools.compress(values, map(operator.not_, map(kinds.__contains__, map(type, values)))))
