"""State on its way from one version to the other: behind gates, and at an instant with no call inside."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import evolve, field, frozen

from noodle_upgrade_core.errors import DrainTimeoutError
from noodle_upgrade_runtime.crossing import Crossing
from noodle_upgrade_runtime.double import Double
from noodle_upgrade_runtime.gate import Gate
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.quiescence import NOBODY, Alone, Blocker, Looks, at_quiescence, when_quiet

__all__ = ["Quiet", "at", "begin", "cross", "moving"]


@frozen(kw_only=True)
class Quiet:
    """When code may be changed: `within` seconds an instant must come in which no thread is inside the modules `names`.

    Nor, for those in `suspended`, a call that is suspended. `looks` returns another way to see who is inside.
    """

    names: Names = NOBODY
    suspended: Names = NOBODY
    within: float = 5.0
    force: bool = False
    looks: Callable[[], Looks] | None = None
    forced: Callable[[Sequence[str]], Any] = field(default=lambda _: None)


def cross(crossing: Crossing, quiet: Quiet) -> None:
    """Have members change their versions; those with state when no call is inside of them, whoever is in the others.

    Raises `DrainTimeoutError`, `MigrationError`: nothing has changed then.
    """
    alone = Alone()

    def change() -> bool:
        script = Script(crossing.operations())
        if alone.is_over():
            return False
        script.apply()
        return True

    if not crossing.carries_state:
        change()
        return
    looks = partial(crossing.looks, quiet.names, quiet.suspended)
    with crossing.gate(quiet.within) as gate:
        inside = moving(change, [crossing.carry], [gate], evolve(quiet, looks=looks), alone)
    if inside:
        quiet.forced([str(blocker) for blocker in inside])


def begin(double: Double, gate: Callable[[float], Gate], quiet: Quiet) -> None:
    """Begin to take copies of calls: where there is state, from the very instant at which that was copied.

    Raises `DrainTimeoutError`, `MigrationError`: no copy has been taken then.
    """
    if not double.has_state:
        double.lay()
        return
    alone = Alone()

    def change() -> bool:
        if alone.is_over():
            return False
        double.lay()
        return True

    with gate(quiet.within) as closed:
        inside = moving(change, [double.take_state], [closed], quiet, alone)
    if inside:
        quiet.forced([str(blocker) for blocker in inside])


def at(
    change: Callable[[], bool | None],
    quiet: Quiet,
    alone: Alone,
    within: float | None = None,
    *,
    at_once: bool = False,
) -> tuple[Blocker, ...]:
    """Make a change when nobody is inside; return who was, where it was forced. Raises `DrainTimeoutError`."""
    if not quiet.names:
        change()
        return ()
    return at_quiescence(
        change,
        quiet.names,
        suspended=quiet.suspended,
        within=quiet.within if within is None else within,
        force=quiet.force,
        at_once=at_once,
        alone=alone,
        looks=None if quiet.looks is None else quiet.looks(),
    )


def _when(quiet: Quiet, alone: Alone, within: float) -> tuple[Blocker, ...]:
    if not quiet.names:
        return ()
    looks = None if quiet.looks is None else quiet.looks()
    return when_quiet(
        quiet.names, suspended=quiet.suspended, within=within, force=quiet.force, alone=alone, looks=looks
    )


def moving(
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
        inside = (*inside, *at(attempt.make, quiet, alone, max(0.0, until - time.monotonic()), at_once=True))
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
