"""The staged swap of this plugin: what several engines have prepared, as one change."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from attrs import evolve
from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import InvalidRequestError, RollbackUnavailableError
from noodle_upgrade_core.staged import COUNTS, MEMBERS, SHADOW, WEIGHTS, Measurement, Member
from noodle_upgrade_runtime.departures import Leaving, leading_back
from noodle_upgrade_runtime.discovery import Ledger
from noodle_upgrade_runtime.engine import Prepared
from noodle_upgrade_runtime.handover import Quiet, at, begin, cross, moving
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.operations import Call, Operation, Script
from noodle_upgrade_runtime.quiescence import (
    LEAST_ALONE,
    Alone,
    in_one_go,
)
from noodle_upgrade_runtime.routing import added

__all__ = ["Leaving", "Quiet", "RuntimeSwap"]

_TIMES_EXPECTED = 2.0
"""For how many times as long as a change was planned when it was staged no other thread runs, at most, to make it.

To plan it again takes half as long, or less, and twice as long where the processors are busy. Beside threads that never
stop, to get such a time takes as long as it is, for each of them.
"""
MOST_WAIT_BACK = 5.0
"""Seconds that going back waits for a moment with no call inside."""


class RuntimeSwap:
    """Parts of one or several engines, committed and taken back in one atomic step.

    With weights in every part traffic is routed; without, the first share is everything. The old version stays warm
    until `release`, so that going back is one flip at any time before. Where one part is all there is, and that one has
    members or can have a shadow, so has this.
    """

    def __init__(
        self,
        parts: Sequence[Prepared],
        *,
        versions: Mapping[str, tuple[str, str]],
        quiet: Quiet,
        leaving: Leaving | None = None,
        ledger: Ledger,
        counting: bool = True,
        extra: Callable[[list[Operation]], list[Operation]] = lambda _: [],
        committed: Callable[[RuntimeSwap], None] = lambda _: None,
        revert_seconds: float = 60.0,
        noted: Callable[[Sequence[str]], Any] = lambda _: None,
    ) -> None:
        self.parts = tuple(parts)
        self.versions = dict(versions)
        self._quiet = quiet
        self._leaving = leaving
        self._ledger = ledger
        self._extra = extra
        self._committed = committed
        self.revert_seconds = revert_seconds
        self._noted = noted
        self._script: Script | None = None
        self.pause_seconds = 0.0
        """How long calls were held back for the last commit, once nobody was inside any more."""
        self._weight = 0.0
        self._by_members = False
        self._released = False
        self._lock = threading.Lock()
        self._started = time.monotonic()
        capabilities = reduce(frozenset.__and__, (part.capabilities for part in self.parts))
        if len(self.parts) > 1:
            capabilities -= {MEMBERS, SHADOW}
        # A shadow is there to be measured.
        self._capabilities = capabilities if counting else capabilities - {COUNTS, SHADOW}

    @property
    def capabilities(self) -> frozenset[str]:
        """What every part can do."""
        return self._capabilities

    @property
    def components(self) -> tuple[str, ...]:
        """The components that change."""
        return tuple(self.versions)

    @property
    def released(self) -> bool:
        """Whether it was let go of."""
        return self._released

    @property
    def serving(self) -> bool:
        """Whether calls go to the new version, some or all."""
        return self._weight > 0.0

    # --- forth ---------------------------------------------------------------------------------------------------

    def shift(self, weight: float) -> None:
        """Move a share of traffic; when it raises, nothing has changed."""
        with self._lock:
            self._check_held()
            self._end_shadow()
            if WEIGHTS in self._capabilities and self._script is None:
                self._route(weight)
            elif weight > 0.0 and self._moves_members:
                self._cross(None)
            elif weight > 0.0:
                self._apply()
            else:
                self._take_back()
            self._weight, self._by_members = weight, False

    def commit(self) -> None:
        """Leave the new version in place and end all routing and counting."""
        with self._lock:
            self._check_held()
            self._end_shadow()
            if moved := self._moves_members:
                self._cross(None)
            self._apply(moved=moved)
            for part in self.parts:
                part.settle()
            self._weight = 1.0
        self._committed(self)

    # --- members, and a shadow -----------------------------------------------------------------------------------

    def members(self) -> tuple[Member, ...]:
        """Return the handles of the component, each of which is one that serves it."""
        with self._lock:
            self._check_held()
            found: tuple[Member, ...] = self._able(MEMBERS).members()
            return found

    def shift_members(self, names: Iterable[str]) -> None:
        """Have exactly these members serve the new version; when it raises, nothing has changed.

        State moves with its member, when no call is inside that one: `DrainTimeoutError` names who is for too long.
        Raises `InvalidRequestError` for a name that no member has.
        """
        with self._lock:
            self._check_held()
            part = self._able(MEMBERS)
            self._check_open("its members")
            self._cross(tuple(names))
            self._weight, self._by_members = part.share, True

    def shadow(self, share: float) -> None:
        """Run copies of this share of the calls on the new version besides; 0 ends it.

        All traffic is on the old version then. Where there is state a copy of it is taken when no call is inside.
        """
        with self._lock:
            self._check_held()
            part = self._able(SHADOW)
            if not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
                raise InvalidRequestError(f"A shadow takes copies of a share of the calls, 0 to 1, not {share!r}.")
            if share == 0.0:
                part.end_shadow()
                return
            self._check_open("a shadow")
            if part.double is not None:
                part.double.resize(share)
                return
            self._take_back()
            self._weight = 0.0
            double = part.begin_shadow(share)
            try:
                begin(double, part.gate, self._quiet)
            except BaseException:
                double.end()
                raise
            part.keep_shadow(double)

    def _able(self, capability: str) -> Any:
        """Return the one part of a change that has a capability."""
        if capability not in self._capabilities:
            raise InvalidRequestError(
                f"This change has no capability {capability!r}.",
                hint="The plan says what it can do, and why not more.",
                details={"wanted": capability, "capabilities": sorted(self._capabilities)},
            )
        return self.parts[0]

    def _check_open(self, what: str) -> None:
        if self._script is not None:
            raise InvalidRequestError(
                f"The new version is committed: it is too late for {what}.", hint="revert() goes back to the old one."
            )

    @property
    def _moves_members(self) -> bool:
        """Whether traffic moves by members only, because each has a state of its own."""
        return MEMBERS in self._capabilities and WEIGHTS not in self._capabilities and self._script is None

    def _cross(self, names: Sequence[str] | None, quiet: Quiet | None = None) -> None:
        cross(self._able(MEMBERS).crossing(names), self._quiet if quiet is None else quiet)

    def _end_shadow(self) -> None:
        if SHADOW in self._capabilities and self.parts:
            self._able(SHADOW).end_shadow()

    def drain(self) -> None:
        """Wait for the calls that are inside the old version, where the settings want that before a commit.

        Raises `DrainTimeoutError` that names them.
        """
        if self._leaving is not None:
            self._leaving.wait(self.parts)

    def _route(self, weight: float) -> None:
        done = []
        try:
            for part in self.parts:
                part.route(weight)
                done.append(part)
        except BaseException:
            for part in done:
                part.route(self._weight)
            raise

    def _apply(self, *, moved: bool = False) -> None:
        """Make the change at once; where all state has `moved` already, no call has to be waited for."""
        if self._script is not None and self._script.applied:
            return

        alone = self._alone()

        def change() -> bool:
            begun = time.perf_counter()
            operations = [operation for part in self.parts for operation in part.operations()]
            script = Script([*operations, *self._extra(operations), *self._notes()])
            if alone.is_over():
                return False  # others may have run since it was looked at who is inside
            script.apply(tuned=False)
            self._script = script
            self.pause_seconds = time.perf_counter() - begun
            return True

        with contextlib.ExitStack() as stack:
            # What takes long is looked at while calls still come in.
            for part in self.parts:
                if (looking := getattr(part, "looking", None)) is not None:
                    stack.enter_context(looking())
            if moved:
                change()
            else:
                self._quietly(change, self._quiet, alone, moves="hand_over")
        if self._script is not None:
            self._script.tune()

    def _notes(self) -> list[Operation]:
        """The ledger says what runs in the same step in which it comes to run."""
        made = []
        for name, (_, new) in self.versions.items():
            key = canonicalize_name(name)
            before = self._ledger.get(key)
            undo: Call = (dict.pop, self._ledger, key, None)
            if before is not None:
                undo = (dict.__setitem__, self._ledger, key, before)
            made.append(Operation((dict.__setitem__, self._ledger, key, new), undo, f"version of {name}"))
        return made

    def _alone(self, expected: str = "planning_seconds", times: float = _TIMES_EXPECTED) -> Alone:
        """Return a time without other threads in which a change can be planned and made, by what the parts expect."""
        seconds = sum(float(getattr(part, expected, 0.0)) for part in self.parts)
        return Alone(max(LEAST_ALONE, times * seconds))

    def _quietly(self, change: Callable[[], bool | None], quiet: Quiet, alone: Alone, *, moves: str) -> None:
        """Make a change while no call is inside, with the state that it moves, by the method `moves` of the parts."""
        movers = [move for part in self.parts if (move := getattr(part, moves, None)) is not None]
        with contextlib.ExitStack() as stack:
            made = [part.gate(quiet.within) for part in self.parts if hasattr(part, "gate")]
            gates = [stack.enter_context(gate) for gate in made if gate.handles]
            if not gates:
                for move in movers:
                    move()
                inside = at(change, quiet, alone)
            else:
                inside = moving(change, movers, gates, quiet, alone)
        if inside:
            quiet.forced([str(blocker) for blocker in inside])

    # --- back ----------------------------------------------------------------------------------------------------

    def revert(self) -> None:
        """Go back to the old version, from wherever this is; does nothing when it serves already."""
        with self._lock:
            self._check_held()
            self._end_shadow()
            self._take_back()
            self._weight = 0.0

    @property
    def _going_back(self) -> Quiet:
        # A version that hangs is what going back is for: whoever is still inside then ends in a mixture, or loses
        # what it does to the state. The journal remembers who that was.
        return evolve(self._quiet, within=min(self._quiet.within, MOST_WAIT_BACK), force=True)

    def _take_back(self) -> None:
        if self._script is not None and self._script.applied:
            script = self._script

            quiet = self._going_back
            noted: list[str] = []
            alone = self._alone("returning_seconds", 1.0)
            lead_back, is_short = leading_back(self.parts, alone, noted), alone.seconds <= LEAST_ALONE

            def change() -> None:
                script.revert(tuned=False)
                if is_short:
                    lead_back()

            try:
                # To wait for a time that is long enough to lead back as well would keep the old version away for long
                # beside busy threads.
                self._quietly(change, quiet, self._alone(), moves="hand_back")
                if not is_short:
                    in_one_go(lead_back, alone)
            finally:
                script.tune()
            if noted:
                self._noted(noted)
            self._script = None
        elif self._moves_members and self._able(MEMBERS).share:
            self._cross((), self._going_back)
        for part in self.parts:
            if part.capabilities & {WEIGHTS, MEMBERS}:
                part.route(0.0)

    # --- looking -------------------------------------------------------------------------------------------------

    def measure(self) -> Measurement | None:
        """Return the counts of all parts together, or None without the capability `counts`."""
        if COUNTS not in self._capabilities:
            return None
        at = time.monotonic() - self._started
        if SHADOW in self._capabilities and self.parts and (double := self._able(SHADOW).double) is not None:
            old, new, shadow = double.seen()
            weight = shadow.share / (1.0 + shadow.share)
            return Measurement(at=at, weight=weight, old=old, new=new, shadow=shadow, routed=False)
        pairs = [arms for part in self.parts if (arms := part.arms()) is not None]
        if not pairs:
            return None
        old, new = (reduce(added, (pair[side] for pair in pairs)) for side in (0, 1))
        return Measurement(at=at, weight=self._weight, old=old, new=new, routed=not self._by_members)

    def running(self) -> dict[str, str]:
        """Return the version that each component really runs, by asking its part."""
        return {name: version for part in self.parts for name, version in part.running().items()}

    def space_of(self, component: str) -> Space | None:
        """Return the private space in which the new version of a component lies, where it has one."""
        asked = (getattr(part, "space_of", None) for part in self.parts)
        return next((space for ask in asked if ask is not None and (space := ask(component)) is not None), None)

    @property
    def evidence(self) -> dict[str, Any]:
        """Numbers of all parts, by mechanism."""
        return {part.mechanism: dict(part.evidence) for part in self.parts}

    # --- letting go ----------------------------------------------------------------------------------------------

    def release(self) -> tuple[Any, ...]:
        """Let go of the version that is not used: the old one, or the new one after a revert.

        Returns the drains of the parts that have one. Going back by this swap is over then.
        """
        with self._lock:
            if self._released:
                return ()
            self._released = True
            forward = self._weight > 0.0
            self._end_shadow()
        drains = []
        for part in self.parts:
            let_go = part.release if forward else getattr(part, "discard", None)
            drains.append(let_go() if let_go is not None else None)
        self._script = None
        self.parts = ()
        return tuple(drain for drain in drains if drain is not None)

    def _check_held(self) -> None:
        if self._released:
            raise RollbackUnavailableError(
                "The old version was released: a later upgrade has taken its place.",
                hint="Upgrade to the version that you want, or choose its rollback point.",
            )
