"""The strategies that the core brings: generators of steps, without I/O or a clock."""

from __future__ import annotations

from collections.abc import Generator

from attrs import field, frozen

from noodle_upgrade_core import checks
from noodle_upgrade_core.errors import PluginBrokenError, UpgradeError
from noodle_upgrade_core.model import UpgradePlan
from noodle_upgrade_core.staged import WEIGHTS
from noodle_upgrade_core.steps import Judge, Observation, Probe, Revert, Rollout, Shift, Strategy

__all__ = ["Gradual", "Immediate", "rollout_of"]


_LEAST_PERCENTAGE = 0.1
"""Less is more steps than anybody waits for, and in the end more than memory holds."""


@frozen(kw_only=True)
class Immediate:
    """All traffic at once; then the new version is asked whether it is well, and watched for `bake` seconds."""

    bake: float = field(default=0.0, validator=checks.seconds)

    def rollout(self, plan: UpgradePlan) -> Rollout:  # noqa: ARG002 - the same steps for every plan
        """Shift, probe, watch."""
        yield Shift(1.0)
        seen = yield Probe()
        if not seen.harm and self.bake:
            seen = yield Judge(until="budget", budget=self.bake)
            while _unanswered(seen):
                seen = yield Judge(until="safe", budget=max(self.bake, 1.0))
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
        probed = False
        for weight in weights:
            yield Shift(weight)
            if not probed:
                seen: Observation = yield Probe()
                probed = True
                if seen.harm:
                    yield Revert(seen.reasons)
                    return
            seen = yield Judge(until="safe", budget=self.bake)
            while _unanswered(seen) or (self.require_evidence and not seen.safe and not seen.harm):
                seen = yield Judge(until="safe", budget=max(self.bake, 1.0))
            if seen.harm:
                yield Revert(seen.reasons)
                return

    def weights(self) -> tuple[float, ...]:
        """Return the shares from the first step to 1."""
        count = int(100 // self.percentage)
        shares = [min(1.0, step * self.percentage / 100) for step in range(1, count + 1)]
        return (*shares, 1.0) if not shares or shares[-1] < 1.0 else tuple(shares)


def _unanswered(seen: Observation) -> bool:
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
