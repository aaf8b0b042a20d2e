"""The strategies that the core brings: generators of steps, without I/O or a clock."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Literal

from attrs import field, frozen

from noodle_upgrade_core import checks
from noodle_upgrade_core.errors import PluginBrokenError, UpgradeError
from noodle_upgrade_core.model import UpgradePlan
from noodle_upgrade_core.staged import WEIGHTS
from noodle_upgrade_core.steps import Judge, Observation, Probe, Revert, Rollout, Shift, Step, Strategy

__all__ = ["Gradual", "Immediate", "by_shares", "rollout_of", "unanswered", "watched"]


_LEAST_PERCENTAGE = 0.1
"""Less is more steps than anybody waits for, and in the end more than memory holds."""


def watched(
    budget: float, *, until: Literal["safe", "budget"] = "safe", sure: bool = False
) -> Generator[Step, Observation, Observation]:
    """Watch for `budget` seconds at most, and longer while calls are under way of which none was answered yet.

    For strategies: `seen = yield from watched(60)`. With `sure` it goes on until there is evidence for harm or for
    safe, or the request's time is over: no traffic is then no reason to go on.
    """
    seen: Observation = yield Judge(until=until, budget=budget)
    while unanswered(seen) or (sure and not seen.safe and not seen.harm):
        seen = yield Judge(until="safe", budget=max(budget, 1.0))
    return seen


@frozen(kw_only=True)
class Immediate:
    """All traffic at once; then the new version is asked whether it is well, and watched for `bake` seconds."""

    bake: float = field(default=0.0, validator=checks.seconds)

    def rollout(self, plan: UpgradePlan) -> Rollout:  # noqa: ARG002 - the same steps for every plan
        """Shift, probe, watch."""
        yield Shift(1.0)
        seen = yield Probe()
        if not seen.harm and self.bake:
            seen = yield from watched(self.bake, until="budget")
        if seen.harm:
            yield Revert(seen.reasons)


@frozen(kw_only=True)
class Gradual:
    """Raise the share by `percentage` points at a time, as long as the judge sees no harm.

    Each step is left as soon as the judge says safe, or after `bake` seconds when there is too little traffic to say
    anything, but not while calls are under way and none was answered. With `require_evidence` such a step goes on until
    there is an answer or the request's time is over. A swap that is all or nothing has one step.
    """

    percentage: float = field(default=10.0, validator=checks.between(_LEAST_PERCENTAGE, 100.0))
    bake: float = field(default=2.0, validator=checks.seconds)
    require_evidence: bool = False

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Shift, watch, shift further."""
        weights = self.weights() if all(WEIGHTS in s.verdict.capabilities for s in plan.steps) else (1.0,)
        yield from by_shares(weights, budget=self.bake, sure=self.require_evidence)

    def weights(self) -> tuple[float, ...]:
        """Return the shares from the first step to 1."""
        count = int(100 // self.percentage)
        shares = [min(1.0, step * self.percentage / 100) for step in range(1, count + 1)]
        return (*shares, 1.0) if not shares or shares[-1] < 1.0 else tuple(shares)


def by_shares(weights: Iterable[float], *, budget: float, sure: bool = False) -> Rollout:
    """Raise the share through these weights, each watched before the next; on harm everything goes back.

    At the first share the new version is asked whether it is well. For strategies: `yield from by_shares(…)`.
    """
    for number, weight in enumerate(weights):
        yield Shift(weight)
        if number == 0:
            seen: Observation = yield Probe()
            if seen.harm:
                yield Revert(seen.reasons)
                return
        seen = yield from watched(budget, sure=sure)
        if seen.harm:
            yield Revert(seen.reasons)
            return


def unanswered(seen: Observation) -> bool:
    """Whether calls have entered the new version and none was answered: no reason to go on, however long it takes."""
    if seen.harm or seen.safe or seen.measured is None:
        return False
    new = seen.measured.since_shift().new
    return new.calls == 0 and new.stalled > 0


def rollout_of(strategy: Strategy, plan: UpgradePlan) -> Rollout:
    """Begin a strategy's rollout; raises `PluginBrokenError` when what it returns is no generator of steps."""
    name = type(strategy).__name__
    try:
        rollout = strategy.rollout(plan)
    except UpgradeError:
        raise
    except Exception as error:
        raise PluginBrokenError(f"The strategy {name} raised {type(error).__name__}: {error}") from error
    if not isinstance(rollout, Generator):
        raise PluginBrokenError(
            f"The strategy {name} must return a generator of steps; it returned {type(rollout).__name__}.",
            hint="Write `rollout` with `yield`.",
        )
    return rollout
