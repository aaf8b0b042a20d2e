"""What a change means for instances that live: what they gain, what they go on with, and what stands against it.

A patch gives them new code. Their constructors are not run again: fields that these would give are made, copies of
tables are merged or filled up, and where neither is possible, they stand against the change.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.asking import is_a, is_class, mro_of, subclasses_of
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.patch.caches import Cache, caches_in, held_alone
from noodle_upgrade_runtime.patch.census import (
    cared_for,
    counted,
    instance_blockers,
    of_instances,
    unfit_blockers,
    would_lack,
)
from noodle_upgrade_runtime.patch.classes import attribute_calls, paired_calls
from noodle_upgrade_runtime.patch.construction import outdated
from noodle_upgrade_runtime.patch.constructors import name_of
from noodle_upgrade_runtime.patch.copies import Additions, Copied, additions, copied_tables, held_copies, with_all_of
from noodle_upgrade_runtime.patch.fields import added_fields, given_fields, removed_fields
from noodle_upgrade_runtime.patch.filled import Filled
from noodle_upgrade_runtime.patch.hashes import rehashed
from noodle_upgrade_runtime.patch.instances import (
    HOOK,
    Growth,
    LazyField,
    Migration,
    instances_of,
    lazy_fields,
    never_constructed,
    problem_of,
)
from noodle_upgrade_runtime.patch.matching import Matching, Unfit
from noodle_upgrade_runtime.patch.retiring import staying
from noodle_upgrade_runtime.patch.state import MISSING

__all__ = ["Living"]


@frozen(eq=False)
class Growing:
    """A class whose instances gain fields: the live one, its twin in a fresh import, the new version's.

    `given` are the fields that the old constructors gave to every instance.
    """

    live: type
    twin: type
    new: type
    growth: Growth
    given: frozenset[str]


class Living:
    """The instances of the classes that a set of changes is about.

    `lazy` are, after planning, the classes that get descriptors, with their names; `caches` are those of the packages.
    """

    def __init__(self, changes: Sequence[Change], matching: Matching) -> None:
        self._changes = changes
        self._matching = matching
        self._said = {change.parameters.get("runtime.instances", "") for change in changes}
        self.lazy: dict[type, list[str]] = {}
        self.filled = Filled()
        self.caches = caches_in(matching)
        self._emptied: dict[str, Cache] = {}
        self._shared: dict[type, list[str]] = {}
        self._growths: dict[tuple[int, int, int], Growth] = {}
        self._givens: dict[int, frozenset[str]] = {}
        self._migrations: dict[type, Migration] = {}
        self._copied: dict[type, tuple[Copied, ...]] = {}
        self._added: dict[type, tuple[Additions, ...]] = {}
        self._outdated: dict[type, tuple[str, ...]] = {}
        self._kept: dict[type, tuple[str, ...]] = {}
        self._grown: tuple[frozenset[int] | None, list[Growing]] = (None, [])
        same = matching.links.contents_alike
        self.rehashed = [] if self._keeps() else rehashed(self.classes(), same)
        self._rehashed_anew = [] if self._keeps() else rehashed(self._giving_way(), same)
        self._find_outdated()
        self._imported = self._count_imported()

    def classes(self) -> list[tuple[type, type, type]]:
        """Return every class that keeps its identity: the live one, its twin in a fresh import, and the new one."""
        twins = self._matching.pristine
        return [
            (old, twin, new)
            for old, new in self._matching.pairs
            if is_class(old) and not issubclass(old, type) and is_class(twin := twins.get(id(old)))
        ]

    def _giving_way(self) -> list[tuple[type, type, type]]:
        """Return every class that another one takes the place of, in the same way."""
        twins = self._matching.pristine
        return [
            (entry.live, twin, entry.staged)
            for entry in self._matching.retired
            if is_class(twin := twins.get(id(entry.live)))
        ]

    def hashed_anew(self) -> list[type]:
        """Return the classes whose instances get another hash: they keep their class, or move to its successor."""
        left = set(map(id, self._matching.left))
        return [*self.rehashed, *(cls for cls in self._rehashed_anew if id(cls) not in left)]

    def evidence(self) -> dict[str, Any]:
        """Return what a plan can be told of it, as plain data."""
        return {
            "outdated": {name_of(cls): list(tables) for cls, tables in self._outdated.items()},
            "kept": {name_of(cls): list(tables) for cls, tables in self._kept.items()},
            "shared": {name_of(cls): names for cls, names in self._shared.items() if names},
            "imported": {name_of(cls): count for cls, count in self._imported.items()},
            "rehashed": [name_of(cls) for cls in self.rehashed],
            "caches": [cache.name for cache in self.caches],
            "copied": {name_of(cls): [one.attribute for one in copied] for cls, copied in self._copied.items()},
        }

    # --- what they were built from -------------------------------------------------------------------------------

    def _find_outdated(self) -> None:
        """Find the live classes whose constructors build from tables that differ: a constructor is not run again.

        A mere copy of a table is merged like the table. Anything else stays as it is, with what the table has got put
        to it, where it has a form that the new version knows; where not, living instances stand against the change.
        """
        classes = self.classes()
        found = outdated((twin, new) for _, twin, new in classes)
        for old, twin, new in classes:
            tables = {one.name: one for one in found.get(name_of(old), ())}
            copied = copied_tables(twin, new) if tables else ()
            if tables and tables.keys() <= {one.table for one in copied}:
                self._copied[old] = tuple(one for one in copied if one.table in tables)
                continue
            known = {name for name, one in tables.items() if not self._is_strict() and one.fits()}
            if left := sorted(tables.keys() - known):
                self._outdated[old] = tuple(left)
            if known:
                self._kept[old] = tuple(sorted(known))
                grown = [additions(name, tables[name].base, tables[name].staged) for name in sorted(known)]
                self._added[old] = tuple(one for one in grown if one is not None)

    def copies(self, heap: Heap) -> list[tuple[Any, Copied]]:
        """Return what living instances have copied from tables that differ."""
        if not self._copied and not any(self._added.values()):
            return []
        paired = {id(old) for old, _ in self._matching.pairs}
        found: dict[int, tuple[Any, Copied]] = {}
        classes = {*self._copied, *self._added}
        for instance in heap.of([kind for kind in heap.kinds.values() if classes.intersection(mro_of(kind))]):
            for cls in classes.intersection(mro_of(type(instance))):
                held = [(held_copies(instance, one), one) for one in self._copied.get(cls, ())]
                for one in self._added.get(cls, ()):
                    held += [(own, one.added) for own in with_all_of(instance, one)]
                found |= {id(own): (own, one) for own, one in held if own is not None and id(own) not in paired}
        return list(found.values())

    def _count_imported(self) -> dict[type, int]:
        """Return how many instances of the outdated classes importing the old version makes by itself."""
        twins = {self._matching.pristine[id(old)]: old for old in (*self._outdated, *self._kept)}
        return {twins[twin]: count for twin, count in counted(list(twins)).items()} if twins else {}

    def blockers(self) -> tuple[str, ...]:
        """Return what stands against the change: instances that live on and that the new version would do nothing with.

        Either it would have built them otherwise, or they are unfit by what the last plan has found. For when nobody
        holds a list of all objects: what a running call has goes with the call.
        """
        names = Names(root for change in self._changes for root in change.names)
        unfit = self._matching.unfit
        stuck = {one.cls: one.what for one in unfit if one.exactly}
        lacking = {one.cls: one for one in unfit if not one.exactly}
        known = {id(old) for old, _ in self._matching.pairs}
        known |= cared_for({cls: one.given for cls, one in lacking.items()}, self.caches)
        return (
            *(() if self._keeps() else instance_blockers(self._outdated, self._imported, names)),
            *unfit_blockers(stuck, {}, names, exactly=True),
            *unfit_blockers({cls: one.what for cls, one in lacking.items()}, {}, names, known=known),
        )

    def _is_strict(self) -> bool:
        """Whether somebody said that no instance may go on with what it was built from, where that differs."""
        return "strict" in self._said

    def _keeps(self) -> bool:
        """Whether somebody said that live instances may go on as they are."""
        return "keep" in self._said

    # --- what they gain ------------------------------------------------------------------------------------------

    def asked_for(self) -> list[type]:
        """Return the classes whose instances a plan must see, with those that derive from them."""
        classes = [*self._copied, *(cls for cls, added in self._added.items() if added)]
        classes += [one.live for one in self._growing() if self._problem(one)]
        return _with_subclasses(classes)

    def growing(self) -> list[type]:
        """Return the classes whose instances would be given more, with those that derive from them."""
        classes = [one.live for one in self._growing()]
        return _with_subclasses(classes)

    def given(self, cls: type) -> frozenset[str]:
        """Return what the old constructors gave every instance of a growing class."""
        return next((one.given for one in self._growing() if one.growth.cls is cls), frozenset())

    def present(self, heap: Heap) -> frozenset[type]:
        """Return the growing classes that have instances, other than those that are cared for by name."""
        growing = {one.live for one in self._growing()}
        kinds = set(heap.kinds.values()) if growing else set()
        named = {type(old) for old, _ in self._matching.pairs}
        clear = {cls for kind in kinds - named for cls in growing.intersection(mro_of(kind))}
        unclear = {cls for kind in kinds & named for cls in growing.intersection(mro_of(kind))} - clear
        if unclear:
            paired = {id(old) for old, _ in self._matching.pairs}
            found = instances_of(list(unclear), heap)
            clear |= {cls for cls, values in found.items() if any(id(one) not in paired for one in values)}
        return frozenset(clear)

    def counted(self, heap: Heap) -> dict[type, int]:
        """Return how many instances there are of each class that cannot be given to them what they lack.

        `heap` has the instances that are asked for, and nobody else has listed any: references are counted.
        """
        self._emptied.clear()
        return self._counts([one for one in self._growing() if self._problem(one)], heap)

    def grow(self, counts: Mapping[type, int], heap: Heap, present: frozenset[type] = frozenset()) -> list[Operation]:
        """Plan that live instances get the fields that the new constructors would have given them.

        `counts` are those of `counted`. `present` are classes of which there are instances for certain, whatever `heap`
        shows.
        """
        operations: list[Operation] = []
        self.lazy.clear()
        self._shared.clear()
        growing = self._growing()
        if not growing:
            return operations
        present |= self.present(heap)
        for one in growing:
            count = counts.get(one.live, int(one.live in present))
            operations += self._grow_class(one, count)
        return [*operations, *(operation for cache in self._emptied.values() for operation in cache.emptied())]

    def _counts(self, lacking: Sequence[Growing], heap: Heap) -> dict[type, int]:
        """Return how many instances there are of each class that cannot be given to them what they lack."""
        found = instances_of([one.live for one in lacking], heap)
        paired = {id(old) for old, _ in self._matching.pairs}
        ids = {
            one.live: {id(value) for value in found[one.live]} - paired - never_constructed(found[one.live], one.given)
            for one in lacking
        }
        # By their ids alone: whether something else holds one is told by counting.
        del found
        return {one.live: self._uncached(one, ids[one.live]) for one in lacking}

    def _growing(self) -> list[Growing]:
        """Return the classes whose instances the new version's constructors would have given more."""
        moving, found = self._grown
        if moving != self._matching.moving:
            found = self._find_growing()
            self._grown = (self._matching.moving, found)
        return found

    def _find_growing(self) -> list[Growing]:
        pairs = [(old, new, old) for old, new in self._matching.pairs if is_class(old)]
        # Also of those of which nothing moves yet: instances may come, and to read sources takes long.
        pairs += [(entry.live, entry.staged, entry.staged) for entry in self._matching.retired]
        found = []
        for old, new, cls in pairs:
            twin = self._matching.pristine.get(id(old))
            if is_class(twin):
                growth = self._growth(cls, twin, new)
                given = self._given(twin) if growth.fields else frozenset()
                if growth.fields and (cls is old or id(old) in self._matching.moving):
                    found.append(Growing(old, twin, new, growth, given))
        return found

    def _given(self, twin: type) -> frozenset[str]:
        if id(twin) not in self._givens:
            self._givens[id(twin)] = given_fields(twin)
        return self._givens[id(twin)]

    def _problem(self, one: Growing) -> str:
        """Say what instances cannot be given, "" when they can be given everything, or need not."""
        return "" if self._keeps() else problem_of(one.growth, self._migration(one.growth, one.twin, one.new))

    def _uncached(self, one: Growing, ids: set[int]) -> int:
        """Return how many instances there are to be made fit; where only caches hold them, these are emptied."""
        if not self.caches:
            return len(ids)
        alone = held_alone(ids, self.caches)
        if not ids or len(alone) < len(ids):
            return len(ids)
        self._emptied |= {cache.name: cache for cache in alone.values()}
        names = ", ".join(sorted({cache.name for cache in alone.values()}))
        said = of_instances(one.growth.cls, len(alone), "are made anew")
        self._matching.warnings.append(f"{names} is emptied: {said}.")
        return 0

    def foreseen(self, abstract: Sequence[str] = ()) -> dict[str, Any]:
        """Return what would stand against this where instances live; for a rehearsal, in which nothing lives.

        `unfit` is about classes with their subclasses, and how many an import itself makes; `stuck` about instances of
        just these classes. Whoever has the program can then look for such instances there.
        """
        unfit: dict[type, str] = {}
        given: dict[type, list[str]] = {}
        for old, twin, new in self.classes():
            growth = self._growth(old, twin, new)
            if growth.fields and (problem := problem_of(growth, self._migration(growth, twin, new))):
                unfit[old] = would_lack(problem)
                given[old] = sorted(given_fields(twin))
        retired = [one for one in self._matching.retired if not _is_of(one.staged, abstract)]
        stuck = {one.live: what for one in retired if (what := staying(self._matching, one))}
        counts = counted(list(unfit))
        return {
            "unfit": {name_of(cls): what for cls, what in unfit.items()},
            "given": {name_of(cls): names for cls, names in given.items()},
            "unfit_imported": {name_of(cls): counts.get(cls, 0) for cls in unfit},
            "stuck": {name_of(cls): what for cls, what in stuck.items()},
        }

    def _growth(self, cls: type, twin: type, new: type) -> Growth:
        key = (id(cls), id(twin), id(new))
        if key not in self._growths:
            namespace = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
            self._growths[key] = Growth(cls, added_fields(twin, new, namespace))
        return self._growths[key]

    def _grow_class(self, one: Growing, count: int) -> list[Operation]:
        if not count:
            return []
        growth, cls = one.growth, one.growth.cls
        migration = self._migration(growth, one.twin, one.new)
        if problem := self._problem(one):
            self._matching.unfit.append(Unfit(one.live, count, would_lack(problem), given=one.given))
            return []
        bound = lazy_fields(growth, migration, self.filled)
        self._shared[cls] = [n for n, value in bound.items() if not is_a(value, LazyField)]
        self.lazy.setdefault(cls, []).extend(n for n, value in bound.items() if is_a(value, LazyField))
        calls = []
        for name, value in bound.items():
            do, undo = attribute_calls(cls, name, value, MISSING, MISSING)
            calls += paired_calls(do, undo, f"{name_of(cls)}.{name}")
        return calls

    def _migration(self, growth: Growth, twin: type, new: type) -> Migration | None:
        if not hasattr(new, HOOK):
            return None
        if growth.cls not in self._migrations:
            change = next(c for c in self._changes if growth.cls.__module__ in c.names)
            names, removed = tuple(added.name for added in growth.fields), removed_fields(twin, new)
            versions = change.from_version, change.to_version
            self._migrations[growth.cls] = Migration(_own_hook, names, removed, versions, self.filled)
        return self._migrations[growth.cls]


def _with_subclasses(classes: Sequence[type]) -> list[type]:
    return [*classes, *(one for cls in classes for one in subclasses_of(cls))]


def _own_hook(instance: Any, *arguments: Any) -> None:
    getattr(instance, HOOK)(*arguments)


def _is_of(cls: type, names: Sequence[str]) -> bool:
    return any(name_of(base) in names for base in (*mro_of(cls), *mro_of(type(cls))))
