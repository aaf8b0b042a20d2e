"""From pairs to operations: what has to be done to each live object so that it is what its new counterpart says."""

from __future__ import annotations

import collections
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from noodle_upgrade_core.errors import StateConflictError
from noodle_upgrade_runtime.asking import is_a, is_class, mro_of, setter_of
from noodle_upgrade_runtime.operations import Call, Operation, held_for_undo
from noodle_upgrade_runtime.patch import contents, definitions, weakly
from noodle_upgrade_runtime.patch.callversions import CallVersions
from noodle_upgrade_runtime.patch.closures import Closures
from noodle_upgrade_runtime.patch.copies import Copied
from noodle_upgrade_runtime.patch.correspondence import Correspondence
from noodle_upgrade_runtime.patch.counters import Counters
from noodle_upgrade_runtime.patch.matching import Matching
from noodle_upgrade_runtime.patch.noted import Noted
from noodle_upgrade_runtime.patch.pairing import own_items
from noodle_upgrade_runtime.patch.settled import Parts, Seen
from noodle_upgrade_runtime.patch.state import MISSING, Merge, Take, merge_names

__all__ = ["Again", "Planner", "store_call"]


@frozen(eq=False)
class Again:
    """One more import of the old version: its `twins` by the ids of live objects, and `links` that know them too."""

    links: Correspondence
    twins: Mapping[int, Any]


_CONTAINERS = (dict, list, set, collections.deque)


_SOON_PLANNED = frozenset({types.FunctionType, types.CellType, types.MethodType, property, staticmethod, classmethod})
"""To plan for these takes no longer than to see whether they have changed."""


class Planner:
    """Plans the operations for matched objects; `again()` imports the old version once more, when that is needed.

    `untried` are the operations that leave a trace even when they are taken back, and are not for a trial. What a plan
    found for an object stands for the next one as well, until `forget`, where nothing has changed of what it has read.
    """

    def __init__(
        self,
        matching: Matching,
        again: Callable[[], Again],
        versions: CallVersions,
    ) -> None:
        self._matching = matching
        self._again = again
        self.links = matching.links
        self.image = matching.translator.image
        self.versions = versions
        self.fleeting: set[int] = set()
        """The ids of containers whose contents must not be held: whoever is only in there shall be found so."""
        self.noted = Noted.of(matching.pairs)
        self.counters = Counters(matching.pairs)
        self._hidden: dict[int, types.FunctionType] = {}
        self._settled: dict[int, Parts] = {}
        self._moving: frozenset[int] = frozenset()
        self._clear()

    def forget(self) -> None:
        """Let go of what was found, and of what it was read from."""
        self._settled.clear()

    def _clear(self) -> None:
        self.closures = Closures()
        self.learned: list[tuple[types.CodeType, types.CodeType]] = []
        self.operations: list[Operation] = []
        self.first: list[Operation] = []
        self.untried: list[Operation] = []
        self.conflicts: list[str] = []
        self.initialised: list[int] = []
        self._copies: dict[int, Any] = {}
        self._held: list[Any] = []

    def plan(self, copies: Sequence[tuple[Any, Copied]] = ()) -> list[Operation]:
        """Return all operations, classes' bases first; raises `StateConflictError` for what both sides changed.

        `copies` are what instances have copied from tables: each is merged like its table.
        """
        self._clear()
        if self._moving != self._matching.moving:
            self._moving = self._matching.moving
            self.forget()
        gone = {id(staged) for _, staged in (*self._matching.replaced, *self._matching.passing)}
        for live, staged in self._matching.pairs:
            if id(staged) not in gone:
                self._settle(live, staged)
        for held, copied in copies:
            self._copies[id(held)] = copied.base
            self._pair(held, copied.staged)
        self._others()
        self._touch_classes()
        self._matching.translator.finish()
        if self.conflicts:
            raise StateConflictError(
                f"The program and the new version both changed {', '.join(self.conflicts[:5])}.",
                hint="Take the program's change back, or restart on the new version.",
                details={"conflicts": list(self.conflicts), "blockers": [f"conflict: {c}" for c in self.conflicts]},
            )
        return [*self._matching.translator.operations, *self.first, *self.operations]

    def _others(self) -> None:
        """Plan for what keeps its identity, or its place, by passing calls on."""
        for live, staged in self._matching.replaced:
            definitions.replace(self, live, staged)
        for live, staged in self._matching.passing:
            definitions.keep(self, live, staged)
        for live, staged in self._matching.taken_off:
            definitions.taken_off(self, live, staged)
        for parted in self._matching.parted:
            if is_a(parted.live, types.FunctionType):
                definitions.pass_on(self, parted.live, parted.staged)

    def _settle(self, live: Any, staged: Any) -> None:
        """Plan for a pair, unless everything is as it was when that was done before."""
        known = self._settled.get(id(live))
        if known is not None and known.staged is staged and known.seen.holds():
            for mine, theirs in zip(self._lists(), known.added, strict=True):
                mine.extend(theirs)
            for old, new in known.added[0]:
                self.closures.learn(old, new)
            return
        if type(live) in _SOON_PLANNED:
            self._pair(live, staged)
            return
        sizes, undecided = [len(one) for one in self._lists()], len(self.conflicts)
        seen = Seen([live])
        self.links.opened = seen.add
        try:
            self._pair(live, staged)
        finally:
            self.links.opened = None
        if seen.is_certain() and len(self.conflicts) == undecided and id(live) not in self.fleeting:
            added = tuple(one[size:] for one, size in zip(self._lists(), sizes, strict=True))
            self._settled[id(live)] = Parts(staged, seen, added)

    def _lists(self) -> tuple[list[Any], ...]:
        """Return the lists that planning for one object adds to."""
        warnings = self._matching.warnings
        return self.learned, self.operations, self.first, self.untried, self.initialised, self._held, warnings

    def records(self) -> set[int]:
        """Return the ids of what this remembers of objects, which must stay as it is."""
        found = {id(one) for parts in self._settled.values() for one in parts.seen.records()}
        found |= held_for_undo([*self.operations, *self.first])
        return found | set(map(id, (*self.learned, *self.closures.parts.values(), *self.noted.records())))

    def learn(self, old: types.CodeType, new: types.CodeType) -> None:
        """Note that code takes the place of other code, also where a call has made a function of it."""
        self.learned.append((old, new))
        self.closures.learn(old, new)

    def _pair(self, live: Any, staged: Any) -> None:
        # Not by `isinstance`, which asks a proxy for the class of what it stands for.
        order = mro_of(type(live))
        for kind, handler in (*definitions.HANDLERS.items(), *weakly.HANDLERS.items(), *contents.HANDLERS.items()):
            if kind in order:
                handler(self, live, staged)
                return
        contents.instance(self, live, staged)

    def _touch_classes(self) -> None:
        """Classes whose properties were initialised again: the interpreter's caches must not keep what they held."""
        initialised = set(self.initialised)
        if not initialised:
            return
        for live, _ in self._matching.pairs:
            for name, value in own_items(live).items() if is_class(live) else ():
                if id(value) in initialised:
                    call: Call = (setter_of(live), live, name, value)
                    self.add(call, call, f"{live.__qualname__}.{name}")

    def add(self, do: Call, undo: Call, subject: str) -> None:
        """Plan one call with its inverse."""
        self.operations.append(Operation(do, undo, subject))

    def store(self, namespace: dict[Any, Any], key: Any, new: Any, subject: str) -> None:
        """Plan `namespace[key] = new`; `MISSING` takes the key away."""
        old = namespace.get(key, MISSING)
        self.add(store_call(namespace, key, new), store_call(namespace, key, old), subject)

    def present(self, value: Any) -> Any:
        """Return the image of a staged value, or `MISSING` for what is absent."""
        return MISSING if value is MISSING else self.image(value)

    def refused(self, value: Any, why: str) -> Exception:
        """Return the error for an object that cannot be carried over."""
        return self._matching.translator.refuse(value, why)

    def hidden(self, staged: types.FunctionType) -> types.FunctionType:
        """Return the function that calls of a live one are passed on to; nobody else holds it."""
        if id(staged) not in self._hidden:
            translator = self._matching.translator
            self._hidden[id(staged)] = made = translator.function(staged)
            if made is staged:
                translator.fix_later(made)
        return self._hidden[id(staged)]

    def moves(self, live: Any) -> bool:
        """Return whether an object moves to the class that takes the place of its own."""
        return id(type(live)) in self._matching.moving

    def twin(self, live: Any) -> Any:
        """Return the pristine twin; where there is none the live object itself, as if nobody had changed it."""
        found = self._copies.get(id(live), MISSING)
        return self._matching.pristine.get(id(live), live) if found is MISSING else found

    def merge(
        self, owner: Any, live: Mapping[Any, Any], staged: Mapping[Any, Any], base: Mapping[Any, Any], where: str
    ) -> Merge:
        """Merge what `owner` binds; conflicts are noted, unless each import makes another value."""
        merged = merge_names(self.links, base, live, staged)
        if is_a(owner, (type, types.ModuleType)):
            gone = [Take(name, MISSING) for name in self.counters.gone(live, staged, base)]
            merged = evolve(merged, takes=(*merged.takes, *gone))
        for take in merged.takes:
            self._check_kept(
                live.get(take.key, MISSING), base.get(take.key, MISSING), take.value, f"{where}.{take.key}"
            )
        # What the program put into a copy of its own would be put over the new table, too, if it were made anew.
        for conflict in () if id(owner) in self._copies else merged.conflicts:
            if self.counters.goes_on(conflict.key, live, staged):
                continue
            # Where each import makes another value, the live one is this process's own, and stays.
            again = self._again()
            other = again.twins.get(id(owner))
            value = contents.part_of(other, conflict.key, again.links)
            if other is None or again.links.alike(value, base.get(conflict.key, MISSING)):
                self.conflicts.append(f"{where}.{conflict.key}")
        return merged

    def _check_kept(self, live: Any, base: Any, staged: Any, name: str) -> None:
        """Note a container that gives way to an object of another kind, with what the program has put into it."""
        if staged is MISSING or not is_a(live, _CONTAINERS) or self.links.canonical(base) is not live:
            return
        if self.links.canonical(staged) is not live and not self.links.contents_alike(live, base):
            self.conflict(live, name, staged)

    def hold(self, value: Any) -> None:
        """Keep an object for going back that nothing else may hold."""
        self._held.append(value)

    def warn(self, what: str) -> None:
        """Note something that a person should know."""
        self._matching.warnings.append(what)

    def conflict(self, live: Any, what: str, staged: Any) -> None:
        """Note that both sides changed a whole container, unless each import makes another one."""
        again = self._again()
        other, base = again.twins.get(id(live)), self.twin(live)
        if other is None or again.links.contents_alike(other, base):
            self.conflicts.append(what)
        elif is_a(staged, _CONTAINERS) and len(other) == len(base) != len(staged):
            # Not only other values of the same kind.
            sizes = f"{len(staged)} instead of {len(base)}"
            self.warn(
                f"{what} goes on as it is, for each import makes another: a new process would have {sizes} in it."
            )


def store_call(namespace: dict[Any, Any], key: Any, value: Any) -> Call:
    """Return the call that binds a key; `MISSING` takes it away, also when it is gone already."""
    return (dict.pop, namespace, key, None) if value is MISSING else (dict.__setitem__, namespace, key, value)
