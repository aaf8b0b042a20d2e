"""Real traffic split by weights from the first share on, whatever strategy goes on from there."""

from __future__ import annotations

from attrs import evolve, field, frozen

from noodle_upgrade_core import Observation, Probe, Revert, Rollout, Shift, Step, Strategy, UpgradePlan, checks
from noodle_upgrade_core.strategies import watched
from noodle_upgrade_deployment.strategies.needs import with_weights
from noodle_upgrade_deployment.strategies.through import Carrying, a_strategy, through

__all__ = ["FirstShare"]


@frozen(kw_only=True)
class FirstShare:
    """Give `share` percent to the new version and wait for evidence, then carry out `inner` from there: never down.

    What makes a canary of any strategy, also of one that moves everything at once.
    """

    inner: Strategy = field(validator=a_strategy)
    share: float = field(default=5.0, validator=checks.between(0.01, 100.0))
    budget: float = field(default=60.0, validator=checks.seconds)
    require_evidence: bool = True

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Shift, watch, and leave out the inner steps that would take traffic back."""
        with_weights(plan, "the canary")
        reached = self.share / 100

        def each(step: Step) -> Carrying:
            nonlocal reached
            if isinstance(step, Shift):
                if step.weight <= reached:
                    return evolve(seen, weight=reached)
                reached = step.weight
            return (yield step)

        yield Shift(reached)
        seen: Observation = yield Probe()
        if not seen.harm:
            seen = yield from watched(self.budget, sure=self.require_evidence)
        if not seen.harm:
            seen = yield from through(self.inner, plan, each)
        if seen.harm:
            yield Revert(seen.reasons)
