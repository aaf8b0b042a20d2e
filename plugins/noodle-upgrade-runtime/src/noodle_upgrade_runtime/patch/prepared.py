"""A set of changes that is staged and planned, and what puts it into effect."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.errors import SwapRefusedError, UpgradeError
from noodle_upgrade_core.staged import Arm
from noodle_upgrade_runtime.asking import is_class
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.heap import (
    Heap,
    Moment,
    Since,
    UnknownTupleError,
    looking_seconds,
    shows_instances,
    tracked,
)
from noodle_upgrade_runtime.operations import Operation, Script, collector_paused, held_for_undo
from noodle_upgrade_runtime.patch.caches import drop
from noodle_upgrade_runtime.patch.callversions import CallVersions
from noodle_upgrade_runtime.patch.census import of_instances
from noodle_upgrade_runtime.patch.classes import own_slots
from noodle_upgrade_runtime.patch.constructors import name_of
from noodle_upgrade_runtime.patch.correspondence import Correspondence
from noodle_upgrade_runtime.patch.elsewhere import held_elsewhere
from noodle_upgrade_runtime.patch.finders import counterparts, gone_operations
from noodle_upgrade_runtime.patch.hashes import key_blockers
from noodle_upgrade_runtime.patch.instances import (
    sweep,
)
from noodle_upgrade_runtime.patch.inventory import Inventory
from noodle_upgrade_runtime.patch.living import Living
from noodle_upgrade_runtime.patch.matching import Matching, match
from noodle_upgrade_runtime.patch.newslot import take_away_stand_ins
from noodle_upgrade_runtime.patch.planner import Again, Planner, store_call
from noodle_upgrade_runtime.patch.registries import Registered, gone_from_registries
from noodle_upgrade_runtime.patch.retiring import retire
from noodle_upgrade_runtime.patch.returning import Bindings, Returning
from noodle_upgrade_runtime.patch.sources import reading
from noodle_upgrade_runtime.patch.state import MISSING, merge_names
from noodle_upgrade_runtime.patch.surroundings import Effect, Item, effect_operations
from noodle_upgrade_runtime.patch.taken import Taken
from noodle_upgrade_runtime.patch.takers import values_that_change
from noodle_upgrade_runtime.quiescence import LEAST_ALONE, Alone, in_one_go

__all__ = ["MECHANISM", "PatchPrepared", "Worlds"]

MECHANISM = "patch"

_MANY_YOUNG = 2_000
_SECONDS_TO_ASK = 1e-7
"""For each object, to ask who holds something: 0.06 to 0.1 µs measured."""
_RETURNING_SECONDS, _LOOKS_TO_RETURN = 0.25, 6.0
"""What it takes to lead back what was taken: 0.15 s for what we remember ourselves, and 5 looks at each object."""
_FEW = 64
"""For so many things it is asked who holds one of them, while calls are held back, rather than looked at everything."""


@frozen(kw_only=True, eq=False)
class Worlds:
    """The same packages three times: as they live, as the old version is when just imported, as the new one is.

    `inventory` says what the private loads made. `effects` is what importing the old and the new version does outside
    of them. `shared` are views of namespaces that other components have modules in, each with the real one. `hooks` is
    what each has in the lists of the import system and of loggers; `views` stood for such lists while a version was
    loaded. `several` has the names that a module defines more than once, `registered` what each has put into
    registries of other packages. `behind` are the modules whose code has put another object in their place, live ones
    with those of the old and with those of the new version. `abstract` are the classes that become abstract.
    """

    live: dict[str, types.ModuleType]
    pristine: dict[str, types.ModuleType]
    staged: dict[str, types.ModuleType]
    inventory: Inventory
    effects: tuple[Sequence[Effect], Sequence[Effect]] = ((), ())
    shared: Sequence[tuple[types.ModuleType, types.ModuleType]] = ()
    hooks: tuple[Sequence[Item], Sequence[Item], Sequence[Item]] = ((), (), ())
    views: Sequence[tuple[Any, Any]] = ()
    behind: tuple[Sequence[tuple[Any, Any]], Sequence[tuple[Any, Any]]] = ((), ())
    several: Mapping[str, frozenset[str]] = field(factory=dict)
    abstract: Sequence[str] = ()
    registered: tuple[Sequence[Registered], Sequence[Registered]] = ((), ())

    def defines_again(self, function: types.FunctionType) -> bool:
        """Return whether a private module defines several functions of this one's name."""
        return function.__qualname__ in self.several.get(str(function.__globals__.get("__name__")), ())


@frozen
class Looked:
    """What was found by a look at every object: functions that calls made, and the classes that have instances.

    Those of interest then, when instances of the classes with the ids `moving` were to move.
    """

    moving: frozenset[int]
    since: Since | None = None
    functions: Sequence[Any] = ()
    present: frozenset[type] = frozenset()

    def heap(self) -> Heap | None:
        """Return the objects that matter now, None when all have to be looked at again."""
        young = self.since.young() if self.since is not None else []
        return None if young is None else Heap([*self.functions, *young])


class PatchPrepared:
    """The changes of one set, staged and planned; nothing of it is visible yet."""

    mechanism = MECHANISM
    capabilities: frozenset[str] = frozenset()

    def __init__(
        self,
        changes: tuple[Change, ...],
        worlds: Worlds,
        heap: Heap,
        load_again: Callable[[Correspondence], Again],
        notes: Sequence[str] = (),
    ) -> None:
        self._changes = changes
        self.component_names = tuple(change.component.name for change in changes)
        self._worlds = worlds
        self._load_again = load_again
        self._again: Again | None = None
        self._looked: Looked | None = None
        self.sweeper: threading.Thread | None = None
        living, old, new = worlds.hooks
        with collector_paused():
            self._matching = matching = match(
                worlds.live,
                worlds.pristine,
                worlds.staged,
                made=worlds.inventory.made,
                several=worlds.defines_again,
                shared=worlds.shared,
                views=worlds.views,
                behind=worlds.behind,
                others=(list(counterparts(living, old)), list(counterparts(living, new))),
                elsewhere=lambda functions: held_elsewhere(functions, heap.whole(), worlds.live.values()),
            )
        self._planner = Planner(matching, self._import_again, CallVersions())
        self.living = Living(changes, matching)
        self._planner.fleeting.update(id(one) for cache in self.living.caches for one in cache.containers)
        self._returning = Returning(self.living.classes())
        self._bindings: Bindings | None = None
        self._taken = Taken(matching, self._planner)
        self._plan: list[Operation] = []
        self.planning_seconds = 0.0
        """About how long calls are held back for the next plan."""
        self._tuples: list[Any] = []
        self._dropped: list[str] = []
        with collector_paused():
            self._plan = self._operations(heap)
        if matching.giving_way():
            self._tuples = [one for one in heap.whole().holders(self._told()) if type(one) is tuple]
        self.warnings: tuple[str, ...] = tuple(dict.fromkeys([*notes, *matching.warnings]))
        self.evidence: dict[str, Any] = {
            "operations": len(self._plan),
            "pairs": len(matching.pairs),
            "retired": [f"{name_of(r.live)}: {r.reason}" for r in matching.retired],
            "passing": [name_of(live) for live, _ in matching.passing],
            "parted": [f"{p.name}: {p.reason}" for p in matching.parted],
            "abstract": list(worlds.abstract),
            "plain": bool(notes),
            "unslotted": [name_of(old) for old, new in matching.pairs if _lacks_slots(old, new)],
            "values": values_that_change(matching),
            **self.living.evidence(),
        }

    def try_out(self) -> None:
        """Put everything into effect and take it back in one atomic step: what CPython refuses, it refuses here.

        For when nobody holds a list of all objects any more: whether something else holds an instance is told by
        counting.
        """
        alone = Alone(max(LEAST_ALONE, 2 * self.planning_seconds))

        def attempt() -> bool:
            # Planned once more: what the program has put somewhere since would be taken back with the trial.
            with collector_paused():
                self._plan = self._operations()
            if alone.is_over():
                return False
            untried = set(map(id, self._planner.untried))
            Script([operation for operation in self._plan if id(operation) not in untried]).trial()
            return True

        try:
            in_one_go(attempt, alone)
        except UpgradeError:
            raise
        except Exception as error:
            raise SwapRefusedError(
                f"The change cannot be made in place: {error}",
                hint="Use the generation mechanism for it (a handle), or restart.",
                details={"blockers": [f"a trial of the change failed: {type(error).__name__}: {error}"]},
            ) from error

    def check_instances(self) -> None:
        """Refuse where instances live on that the new version could not work with; for when it has been tried out."""
        refuse(self.living.blockers())

    @property
    def returning_seconds(self) -> float:
        """About how long `went_back` takes."""
        return _RETURNING_SECONDS + _LOOKS_TO_RETURN * looking_seconds() if self._taken.needs() else 0.0

    def went_back(self, is_over: Callable[[], bool] = lambda: False) -> tuple[str, ...] | None:
        """Make instances that the new version made fit for the old one; say what could not be.

        Those that lived before get back what they had. None when `is_over` said before it was done that others may have
        run since it was looked at what there is: it is then to be asked for again.
        """
        self.living.filled.take_back()
        take_away_stand_ins(self._classes())
        if self._bindings is not None:
            self._bindings.bring_back()
        image = self._matching.translator.image
        self._dropped += drop(self.living.caches, {image(one.staged) for one in self._matching.retired})
        noted: tuple[str, ...] | None = ()
        if self._taken.needs():
            with collector_paused():
                worlds = self._worlds
                ours = worlds.inventory.made_in([*worlds.pristine.values(), *worlds.staged.values()])
                ours |= _ids_of(self._matching, worlds)
                noted = self._taken.lead_back(
                    Heap(tracked()).whole(), skip=lambda value: id(value) in ours, is_over=is_over
                )
        if noted is None:
            return None
        noted = (*noted, *(f"emptied: {name}" for name in self._dropped))
        self._dropped.clear()
        if not self._returning:
            return noted
        return (*noted, *self._returning.bring_back(Heap(tracked()), self._matching.pairs, self._matching.pristine))

    def leaves_instances(self) -> bool:
        """Whether instances that live stay what they are, of classes that others take the place of."""
        return bool(self._matching.left)

    def foreseen(self) -> dict[str, Any]:
        """Return what would stand against this where instances live; for a rehearsal, in which nothing lives."""
        return self.living.foreseen(self._worlds.abstract)

    def _import_again(self) -> Again:
        if self._again is None:
            self._again = self._load_again(self._matching.links)
        return self._again

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look at the objects of the process, so that planning the commit needs to look at what is young only.

        Who holds what gives way is asked then only, and with it for the rest, where that is little.
        """
        matching = self._matching
        if not self._plan or len(self._wanted()) <= (_FEW if matching.giving_way() else 0):
            yield
            return
        try:
            if gc.get_count()[0] > _MANY_YOUNG:
                # What is young now would be looked at twice, and the second time while calls are held back.
                gc.collect(0)
            with Since.now() as since:
                heap = Heap(tracked())
                functions = [*self._planner.closures.among(heap), *self._planner.noted.among(heap)]
                self._looked = Looked(matching.moving, since, functions, self.living.present(heap))
                del heap
                yield
        finally:
            self._looked = None

    def _operations(self, heap: Heap | None = None, *, now: bool = False) -> list[Operation]:
        """Plan everything anew against the process as it is now; `heap` are its objects, where they are at hand.

        `now` says that it is done at once, by this thread. Where not, instances that the new version could not work
        with do not stand against it yet: running calls may let go of them until it is.
        """
        matching = self._matching
        begun = time.thread_time()  # beside busy threads others run meanwhile
        matching.blockers.clear()
        matching.unfit.clear()
        holders: list[Operation] = []
        matching.blockers += matching.split
        ours = self._records() if matching.giving_way() else set()
        where, moved = heap or self._moment(ours | set(map(id, self._tuples))), matching.moving
        if matching.giving_way():
            holders, where = self._retire(where if heap is None else heap.whole(), ours, now=now)
        if matching.moving != moved and heap is None:
            where = Heap(tracked())  # other instances are of interest now
        if hashed_anew := self.living.hashed_anew():
            matching.blockers += key_blockers(hashed_anew, Heap(tracked()) if heap is None else heap)
        if heap is not None:
            # The next plan looks for itself, and not at everything.
            begun = time.thread_time()
        lacking = self.living.counted(where)
        planned = self._planner.plan(self.living.copies(where))
        seen, present = self._seen(where)
        known = {id(old) for old, _ in matching.pairs}
        planned += self._planner.closures.plan(seen, known, self._planner.versions)
        planned += self._planner.noted.plan(seen)
        planned += self.living.grow(lacking, seen, present)
        alike, image = matching.links.alike, matching.translator.image
        effects = effect_operations(*self._worlds.effects, alike=alike, image=image)
        effects += effect_operations(*self._worlds.registered, alike=alike, image=image)
        effects += gone_from_registries(*self._worlds.registered, alike=alike, image=image)
        # An exit function that is registered and taken back leaves a gap: not for a trial.
        self._planner.untried += effects
        planned += effects
        planned += gone_operations(*self._worlds.hooks, image=matching.translator.image)
        matching.translator.finish()
        kept = self._planner.closures.kept
        matching.warnings += [f"{name}, made by a call before, goes on as it is: {why}." for name, why in kept.items()]
        modules = self._modules()
        matching.translator.finish()
        if now:
            matching.blockers += [of_instances(one.cls, one.count, one.what) for one in matching.unfit]
        refuse(matching.blockers)
        self.planning_seconds = time.thread_time() - begun
        if matching.giving_way() and heap is not None:
            self.planning_seconds += len(seen.objects) * _SECONDS_TO_ASK
        return [*self._paths(), *modules, *holders, *planned]

    def _records(self) -> set[int]:
        """Return the ids of what this remembers of objects: it must stay as it is."""
        found = _ids_of(self._matching, self._worlds) | held_for_undo(self._plan) | self._planner.records()
        return found | {id(self._tuples)}

    def _retire(self, where: Heap, ours: set[int], *, now: bool) -> tuple[list[Operation], Heap]:
        """Plan for who holds what gives way, where everything has to be looked at for it; return where it was found."""

        def planned(where: Heap) -> list[Operation]:
            return retire(self._matching, where, lambda value: id(value) in ours, now=now).operations

        with contextlib.suppress(UnknownTupleError):
            return planned(where), where
        where = Heap(tracked()).whole()
        return planned(where), where

    def _paths(self) -> list[Operation]:
        trees = [str(change.new_tree) for change in self._changes]
        return [Operation((sys.path.insert, 0, tree), (sys.path.remove, tree), "sys.path") for tree in trees]

    def _modules(self) -> list[Operation]:
        """Modules that are new, modules that are gone, and other names for modules of others.

        A module that both versions have keeps its identity: where it cannot, its holders would go on with the old one.
        """
        worlds, translator = self._worlds, self._matching.translator
        merged = merge_names(self._matching.links, worlds.pristine, worlds.live, worlds.staged)
        come = {take.key: translator.image(take.value) for take in merged.takes if take.value is not MISSING}
        gone = {take.key: worlds.live[take.key] for take in merged.takes if take.value is MISSING}
        torn = [name for name in come if name in worlds.live and worlds.inventory.made(worlds.pristine.get(name))]
        self._matching.blockers += [
            f"sys.modules[{name!r}] is an object of its own, which the new version makes anew." for name in torn
        ]
        self._matching.blockers += [
            f"The program and the new version both put a module at {conflict.key}." for conflict in merged.conflicts
        ]
        return [
            *(_swap_entry(name, new=module, old=sys.modules.get(name, MISSING)) for name, module in come.items()),
            *(_swap_entry(name, new=MISSING, old=module) for name, module in gone.items()),
            *self._in_namespaces(come, gone),
        ]

    def _in_namespaces(
        self, come: Mapping[str, types.ModuleType], gone: Mapping[str, types.ModuleType]
    ) -> Iterator[Operation]:
        """Bind in a namespace that others share what has come, and take away what is gone."""
        shared = {live.__name__: vars(live) for _, live in self._worlds.shared}
        for name in (*come, *gone):
            parent, _, child = name.rpartition(".")
            if parent in shared:
                new, old = come.get(name, MISSING), shared[parent].get(child, MISSING)
                yield Operation(store_call(shared[parent], child, new), store_call(shared[parent], child, old), name)

    def operations(self) -> Sequence[Operation]:
        """Return what puts the new version in the place of the old one, complete at this moment."""
        if self._plan:
            self._taken.forget()
            self._bindings = None  # of an attempt that lacked time: it holds what it is asked for who holds it
            with collector_paused(), reading():
                self._plan = self._operations(now=True)
                self._planner.forget()
                trees = [str(change.new_tree) for change in self._changes]
                self._bindings = Bindings(self._worlds.live.values(), trees)
        return self._plan

    def _moment(self, known: set[int]) -> Heap:
        """Return who holds what gives way, and the instances that a plan is about, as they are just now.

        Everything, where a tuple holds some of it whose id is not one of `known`, or instances do not show their class.
        """
        matching = self._matching
        if matching.is_about_untracked():
            return Heap(tracked()).whole()
        targets, others = self._told(), self._asked_for()
        if not all(shows_instances(one) for one in (*targets, *others) if is_class(one)):
            return Heap(tracked()).whole()
        moment = _moment_or_none(targets, known, others)
        # What is ours of the attempt has gone by now, and is not among the objects.
        return moment or Heap(tracked()).whole()

    def _told(self) -> list[Any]:
        """Return what gives way, with its parts: whoever holds one of these is told."""
        matching = self._matching
        givers = matching.giving_way()
        references = [reference for one in givers for reference in weakref.getweakrefs(one)]
        return [*givers, *references, *(part for part, _ in matching.rebuilt)]

    def _asked_for(self) -> list[Any]:
        """Return that of which a plan must know the instances, or the functions that are made of it."""
        return [*self.living.asked_for(), *(self._wanted() if self._looked is None else ())]

    def _wanted(self) -> list[Any]:
        """Return that of which functions and instances are made that a plan must know of."""
        return [*self._planner.closures.codes(), *self._planner.noted.codes(), *self.living.growing()]

    def _seen(self, where: Heap) -> tuple[Heap, frozenset[type]]:
        """Return the objects that a plan must know of, and the classes that have instances for certain."""
        looked = self._looked
        if where.has_holders_of(self._wanted()):
            return where, frozenset()
        if looked is not None and looked.moving == self._matching.moving and (heap := looked.heap()) is not None:
            return heap, looked.present
        return Heap(tracked()), frozenset()

    def route(self, weight: float) -> None:
        """Patch is all or nothing."""
        raise SwapRefusedError(f"Patch cannot move a share of calls ({weight}).", hint="Use the generation mechanism.")

    def arms(self) -> tuple[Arm, Arm] | None:
        """Patch counts nothing."""
        return None

    def settle(self) -> None:
        """Fill the fields that nobody has read yet, beside the program; reads then cost what they always did."""
        take_away_stand_ins(self._classes())
        lazy = {cls: names for cls, names in self.living.lazy.items() if names}
        if lazy and self.sweeper is None:

            def fill() -> None:
                for cls, names in lazy.items():
                    sweep(cls, names, self.living.given(cls))

            self.sweeper = threading.Thread(target=fill, name="noodle-upgrade-fields", daemon=True)
            self.sweeper.start()

    def _classes(self) -> list[type]:
        return [live for live, _ in self._matching.pairs if is_class(live)]

    def running(self) -> dict[str, str]:
        """Return the version that each component really runs: where its live modules say that they came from."""
        found = {}
        for change in self._changes:
            top = next((root for root in change.names if root in sys.modules), "")
            origin = str(getattr(sys.modules.get(top), "__file__", "") or "")
            is_new = origin.startswith(str(change.new_tree))
            found[change.component.name] = change.to_version if is_new else change.from_version
        return found

    def release(self) -> None:
        """Let go of what only an undo needs."""
        self._plan = []
        self._bindings = None
        self.living.filled.clear()


def _moment_or_none(targets: list[Any], known: set[int], others: list[Any]) -> Moment | None:
    try:
        return Moment(targets, known, others=others)
    except UnknownTupleError:
        return None


def _swap_entry(name: str, *, new: Any, old: Any) -> Operation:
    return Operation(store_call(sys.modules, name, new), store_call(sys.modules, name, old), name)


def _lacks_slots(live: Any, staged: Any) -> bool:
    """Whether instances of a class keep in a dict what those of the new version have slots for."""
    both = is_class(live) and is_class(staged)
    return both and bool(own_slots(staged) - own_slots(live))


def _ids_of(matching: Matching, worlds: Worlds) -> set[int]:
    """Return the ids of our own records, which refer to everything that changes and must not be changed."""
    records = [*matching.records(), worlds.live, *worlds.hooks]
    return {id(held) for record in records for held in (record, *_members(record))}


def _members(record: Any) -> Sequence[Any]:
    return list(record.values()) if isinstance(record, dict) else list(record)


def refuse(blockers: Sequence[str]) -> None:
    if blockers:
        raise SwapRefusedError(
            f"The change cannot be made in place: {blockers[0]}",
            hint="Use the generation mechanism for it (a handle), or restart.",
            details={"blockers": list(blockers)},
        )
