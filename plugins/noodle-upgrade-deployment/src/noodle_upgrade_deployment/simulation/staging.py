"""A staged swap whose calls are simulated, and the plan that strategies see of it."""

from __future__ import annotations

import bisect
from random import Random
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core import ComponentDescriptor, Measurement, UpgradePlan, UpgradeRequest, checks
from noodle_upgrade_core.clocks import VirtualClock
from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import ArtifactRef, PlanStep, Verdict
from noodle_upgrade_core.settings import suggestion
from noodle_upgrade_core.staged import COUNTS, SHADOW, WEIGHTS
from noodle_upgrade_deployment.simulation.records import Record
from noodle_upgrade_deployment.simulation.traffic import Calls

__all__ = ["BY_SHARES", "NEW", "OLD", "Command", "CommandedClock", "Router", "SimulatedSwap", "plan_for"]

OLD, NEW = "1.0.0", "2.0.0"
_SAID = ("abort", "pause", "resume", "promote")
BY_SHARES = frozenset({WEIGHTS, COUNTS, SHADOW})
"""What a swap can do whose calls are routed; one over a fleet has members besides."""


def plan_for(capabilities: frozenset[str]) -> UpgradePlan:
    """Return the plan of one component whose staged swap can do this: strategies look at nothing else."""
    component = ComponentDescriptor(name="simulated", version=OLD, hot_swappable=True)
    artifact = ArtifactRef(name="simulated", version=NEW, digest="", kind="simulated", size=0, tree="")
    verdict = Verdict(feasible=True, mechanism="simulated", capabilities=capabilities)
    step = PlanStep(
        component=component,
        from_version=OLD,
        to_version=NEW,
        path=(OLD, NEW),
        artifacts=(artifact,),
        verdict=verdict,
    )
    request = UpgradeRequest(component_name="simulated", target_version=NEW, current_version=OLD)
    return UpgradePlan(requests=(request,), steps=(step,))


class Router:
    """Which share of the calls the new version really gets when one is asked for.

    As many `users` as there are call equally often, and each is sent by a number of its own: whoever met the new
    version meets it again at any larger share. With 0 users every share is hit.
    """

    def __init__(self, users: int, rng: Random) -> None:
        self._users = sorted(rng.random() for _ in range(users))

    def share(self, asked: float) -> float:
        """Return the share that the new version gets."""
        if not self._users:
            return asked
        return bisect.bisect_left(self._users, asked) / len(self._users)


class SimulatedSwap:
    """Calls that are routed by shares, at once."""

    capabilities = BY_SHARES

    def __init__(self, calls: Calls, router: Router, shares: Record) -> None:
        self.calls = calls
        self.shares = shares
        self.largest = 0.0
        self._router = router
        self._note(0.0)

    def shift(self, weight: float) -> None:
        """Route this share to the new version, as well as the router can."""
        share = self._router.share(weight)
        self.calls.split(share, asked=weight)
        self._note(share)

    def shadow(self, share: float) -> None:
        """Run copies of this share of the calls on the new version; 0 ends it."""
        if share:
            self.calls.shadow(share)
        else:
            self.calls.split(0.0)
        self._note(0.0)

    def measure(self) -> Measurement:
        """Return what both versions did so far."""
        return self.calls.measure()

    async def revert(self) -> None:
        """Route everything to the old version, at once."""
        self.shift(0.0)

    def commit(self) -> None:
        """Let the new version have it: nothing more moves."""

    def running(self) -> dict[str, str]:
        """Return the version that gets the calls."""
        return {"simulated": NEW if self.calls.measure().weight == 1.0 else OLD}

    def _note(self, share: float) -> None:
        self.largest = max(self.largest, share)
        self.shares.add(self.calls.at, share)


@frozen(order=True)
class Command:
    """What somebody says, and when, in seconds since the rollout began: see `Controls`."""

    at: float = field(validator=checks.seconds)
    said: str = field()
    why: str = "simulated"

    @said.validator
    def _known(self, _: Any, said: str) -> None:
        if said not in _SAID:
            raise InvalidRequestError(
                f"nobody can say {said!r}; there are: {', '.join(_SAID)}.", hint=suggestion(said, _SAID)
            )

    def give(self, controls: Controls) -> None:
        """Give it."""
        match self.said:
            case "abort":
                controls.abort(self.why)
            case "pause":
                controls.pause(self.why)
            case "resume":
                controls.resume()
            case "promote":
                controls.promote(self.why)


class CommandedClock(VirtualClock):
    """Virtual time in which calls go on while somebody sleeps, and in which people give commands meanwhile.

    `step` is the longest time between two looks of a judge, in seconds.
    """

    def __init__(self, calls: Calls, *, step: float, commands: tuple[Command, ...] = ()) -> None:
        super().__init__(next_event=self._until_next)
        self._calls = calls
        self._step = step
        self._commands = sorted(commands, reverse=True)
        self.on_sleep = self._pass

    async def sleep(self, seconds: float, controls: Controls) -> None:
        """Advance, but no further than to the next command, which is given then."""
        due = self._commands[-1].at - self.now() if self._commands else seconds
        await super().sleep(max(0.0, min(due, seconds)), controls)
        while self._commands and self._commands[-1].at <= self.now():
            self._commands.pop().give(controls)

    def _until_next(self) -> float | None:
        return min(self._step, self._calls.next_event - self.now())

    def _pass(self, _seconds: float) -> None:
        self._calls.advance(self.now())
