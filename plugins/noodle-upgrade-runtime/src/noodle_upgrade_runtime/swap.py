"""The staged swap of this plugin: what several engines have prepared, as one change."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from attrs import evolve, field, frozen
from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import DrainTimeoutError, RollbackUnavailableError
from noodle_upgrade_core.staged import COUNTS, WEIGHTS, Arm, Measurement
from noodle_upgrade_runtime.discovery import Ledger
from noodle_upgrade_runtime.engine import Prepared
from noodle_upgrade_runtime.gate import Gate
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.operations import Call, Operation, Script
from noodle_upgrade_runtime.quiescence import (
    LEAST_ALONE,
    NOBODY,
    Alone,
    Blocker,
    at_quiescence,
    in_one_go,
    when_quiet,
)

__all__ = ["Leaving", "Quiet", "RuntimeSwap"]

_TIMES_EXPECTED = 2.0
"""For how many times as long as a change was planned when it was staged no other thread runs, at most, to make it.

To plan it again takes half as long, or less, and twice as long where the processors are busy. Beside threads that never
stop, to get such a time takes as long as it is, for each of them.
"""
MOST_WAIT_BACK = 5.0
"""Seconds that going back waits for a moment with no call inside."""
_MOST_TRIES_BACK = 6


@frozen(kw_only=True)
class Quiet:
    """When code may be changed: `within` seconds an instant must come in which no thread is inside the modules `names`.

    Nor, for those in `suspended`, a call that is suspended.
    """

    names: Names = NOBODY
    suspended: Names = NOBODY
    within: float = 5.0
    force: bool = False
    forced: Callable[[Sequence[str]], Any] = field(default=lambda _: None)


@frozen(kw_only=True)
class Leaving:
    """How long a commit waits for the calls inside the old version; with `force` it is then made, and told."""

    within: float
    force: bool = False
    forced: Callable[[Sequence[str]], Any] = field(default=lambda _: None)


class RuntimeSwap:
    """Parts of one or several engines, committed and taken back in one atomic step.

    With weights in every part traffic is routed; without, the first share is everything. The old version stays warm
    until `release`, so that going back is one flip at any time before.
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
        self._released = False
        self._lock = threading.Lock()
        self._started = time.monotonic()
        capabilities = reduce(frozenset.__and__, (part.capabilities for part in self.parts))
        self._capabilities = capabilities if counting else capabilities - {COUNTS}

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
            if WEIGHTS in self._capabilities and self._script is None:
                self._route(weight)
            elif weight > 0.0:
                self._apply()
            else:
                self._take_back()
            self._weight = weight

    def commit(self) -> None:
        """Leave the new version in place and end all routing and counting."""
        with self._lock:
            self._check_held()
            self._apply()
            for part in self.parts:
                part.settle()
            self._weight = 1.0
        self._committed(self)

    def drain(self) -> None:
        """Wait for the calls that are inside the old version, where the settings want that before a commit.

        Raises `DrainTimeoutError` that names them.
        """
        leaving = self._leaving
        if leaving is None:
            return
        until = time.monotonic() + leaving.within
        for part in self.parts:
            old = getattr(part, "in_flight", None)
            inside = old().wait(max(0.0, until - time.monotonic())) if old is not None else ()
            if not inside:
                continue
            names = [str(one) for one in inside]
            if not leaving.force:
                raise DrainTimeoutError(
                    f"After {leaving.within:g} s calls are still inside the old version: {'; '.join(names)}.",
                    hint="Wait for them, raise runtime.drain_timeout, or set runtime.on_drain_timeout to extend or"
                    " force: they then end in the old version, which stays until they have.",
                    details={"blockers": names},
                )
            leaving.forced(names)

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

    def _apply(self) -> None:
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
                inside = _at(change, quiet, alone)
            else:
                inside = _moving(change, movers, gates, quiet, alone)
        if inside:
            quiet.forced([str(blocker) for blocker in inside])

    # --- back ----------------------------------------------------------------------------------------------------

    def revert(self) -> None:
        """Go back to the old version, from wherever this is; does nothing when it serves already."""
        with self._lock:
            self._check_held()
            self._take_back()
            self._weight = 0.0

    def _take_back(self) -> None:
        if self._script is not None and self._script.applied:
            script = self._script

            # A version that hangs is what going back is for: whoever is still inside then ends in a mixture, or loses
            # what it does to the state. The journal remembers who that was.
            quiet = evolve(self._quiet, within=min(self._quiet.within, MOST_WAIT_BACK), force=True)
            noted: list[str] = []
            alone = self._alone("returning_seconds", 1.0)
            lead_back, is_short = self._leading_back(alone, noted), alone.seconds <= LEAST_ALONE

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
        for part in self.parts:
            if WEIGHTS in part.capabilities:
                part.route(0.0)

    def _leading_back(self, alone: Alone, noted: list[str]) -> Callable[[], bool]:
        """Return what leads back whoever has taken something of the version that was left, and notes what it could not.

        It is to be called again while it returns False, because others have run meanwhile.
        """
        left = [went_back for part in self.parts if (went_back := getattr(part, "went_back", None)) is not None]
        tries = itertools.count(1)

        def lead_back() -> bool:
            # It is carried through: where no time is long enough, in the one that there is.
            is_over = alone.is_over if next(tries) < _MOST_TRIES_BACK else _never
            while left:
                said = left[0](is_over)
                if said is None:
                    return False
                noted.extend(said)
                del left[0]
            return True

        return lead_back

    # --- looking -------------------------------------------------------------------------------------------------

    def measure(self) -> Measurement | None:
        """Return the counts of all parts together, or None without the capability `counts`."""
        if COUNTS not in self._capabilities:
            return None
        pairs = [arms for part in self.parts if (arms := part.arms()) is not None]
        if not pairs:
            return None
        old, new = (reduce(_added, (pair[side] for pair in pairs)) for side in (0, 1))
        return Measurement(at=time.monotonic() - self._started, weight=self._weight, old=old, new=new)

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


def _at(
    change: Callable[[], bool | None],
    quiet: Quiet,
    alone: Alone,
    within: float | None = None,
    *,
    at_once: bool = False,
) -> tuple[Blocker, ...]:
    if not quiet.names:
        change()
        return ()
    left = quiet.within if within is None else within
    return at_quiescence(
        change, quiet.names, suspended=quiet.suspended, within=left, force=quiet.force, at_once=at_once, alone=alone
    )


def _when(quiet: Quiet, alone: Alone, within: float) -> tuple[Blocker, ...]:
    if not quiet.names:
        return ()
    return when_quiet(quiet.names, suspended=quiet.suspended, within=within, force=quiet.force, alone=alone)


def _moving(
    change: Callable[[], bool | None],
    movers: Sequence[Callable[[], None]],
    gates: Sequence[Gate],
    quiet: Quiet,
    alone: Alone,
) -> tuple[Blocker, ...]:
    """Move state and make the change with it; once more for as long as calls pass a gate meanwhile."""
    until = time.monotonic() + quiet.within
    while True:
        # Not while the others are stopped: a call on an event loop would fall due during every look, and pass a gate
        # right after the count is read.
        inside = _when(quiet, alone, max(0.0, until - time.monotonic()))
        late = time.monotonic() >= until
        attempt = _Attempt(change, gates, alone, forced=late and quiet.force)
        for move in movers:
            move()
        inside = (*inside, *_at(attempt.make, quiet, alone, max(0.0, until - time.monotonic()), at_once=True))
        if attempt.made:
            return inside
        if attempt.lacked_time:
            alone.longer()
        if late:
            raise DrainTimeoutError(
                f"For {quiet.within:g} s calls kept coming that could not wait: plain ones, on a thread whose event"
                " loop runs.",
                hint="Make the methods that change its state async, call them from threads, or give runtime.on_busy ="
                " force: what those calls do to the state meanwhile is lost.",
            )


class _Attempt:
    """One try of a change that was prepared a moment ago: it is made unless a call has passed a gate since."""

    def __init__(self, change: Callable[[], bool | None], gates: Sequence[Gate], alone: Alone, *, forced: bool) -> None:
        self._change = change
        self._gates = gates
        self._alone = alone
        self._forced = forced
        self._passed = [gate.mark[0] for gate in gates]
        self.made = False
        self.lacked_time = False
        """Whether the look at who is inside took longer than the time alone: the call may have passed during it."""

    def make(self) -> bool:
        """Make it; False when there was not enough time for it."""
        if self._forced or [gate.mark for gate in self._gates] == [(passed, 0) for passed in self._passed]:
            self.made = self._change() is not False
            return self.made
        self.lacked_time = self._alone.is_over()
        return True


def _never() -> bool:
    return False


def _added(one: Arm, other: Arm) -> Arm:
    return Arm(
        version=one.version,
        calls=one.calls + other.calls,
        errors=one.errors + other.errors,
        in_flight=one.in_flight + other.in_flight,
        stalled=max(one.stalled, other.stalled),
        latency=tuple(a + b for a, b in zip(one.latency, other.latency, strict=True)),
        last_error=one.last_error or other.last_error,
    )
