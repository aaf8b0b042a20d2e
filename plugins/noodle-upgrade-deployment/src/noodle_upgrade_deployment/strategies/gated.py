"""Gates before shares: people who must agree before so much traffic goes to the new version."""

from __future__ import annotations

from attrs import frozen

from noodle_upgrade_core import Gate, Revert, Rollout, Shift, Step, Strategy, UpgradePlan
from noodle_upgrade_deployment.strategies.through import Carrying, GaveUpError, through

__all__ = ["Gated"]


@frozen(kw_only=True)
class Gated:
    """Carry out `inner`, and stop before a step that reaches the share of a gate; a gate at 0 is before everything.

    `gates` are pairs of a share, from 0 to 1, and a gate. One that is not opened takes everything back.
    """

    inner: Strategy
    gates: tuple[tuple[float, Gate], ...]

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Pass the inner steps on, each behind the gates that stand before its share."""
        shut = sorted(self.gates, key=lambda pair: pair[0])

        def each(step: Step) -> Carrying:
            reached = step.weight if isinstance(step, Shift) else 0.0
            while shut and shut[0][0] <= reached:
                opened = yield shut.pop(0)[1]
                if opened.harm:
                    raise GaveUpError(opened.reasons)
            return (yield step)

        seen = yield from through(self.inner, plan, each)
        if seen.harm:
            yield Revert(seen.reasons)
