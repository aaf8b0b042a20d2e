"""Copies of calls first, with no effect that anybody sees; traffic only when they went well."""

from __future__ import annotations

from attrs import field, frozen

from noodle_upgrade_core import Probe, Revert, Rollout, Shift, Strategy, UpgradePlan, checks
from noodle_upgrade_core.strategies import Immediate, watched
from noodle_upgrade_deployment.strategies.needs import with_shadow
from noodle_upgrade_deployment.strategies.through import a_strategy, through

__all__ = ["Shadow"]


@frozen(kw_only=True)
class Shadow:
    """Run copies of `share` percent of the calls on the new version for at most `budget` s, then go on by `inner`.

    With `require_evidence` it shadows until the judge has evidence, or the request's time is over.
    """

    share: float = field(default=100.0, validator=checks.between(0.1, 100.0))
    budget: float = field(default=60.0, validator=checks.seconds)
    require_evidence: bool = False
    inner: Strategy = field(factory=Immediate, validator=a_strategy)

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Shadow, watch, end the shadow, go on."""
        with_shadow(plan, "shadow")
        yield Shift(0.0, shadow=self.share / 100)
        seen = yield Probe()
        if not seen.harm:
            seen = yield from watched(self.budget, sure=self.require_evidence)
        if not seen.harm:
            yield Shift(0.0)
            seen = yield from through(self.inner, plan)
        if seen.harm:
            yield Revert(seen.reasons)
