"""Both versions live: the new one is asked before it serves, all switch, and the old one stays warm for a while."""

from __future__ import annotations

from attrs import field, frozen

from noodle_upgrade_core import Probe, Revert, Rollout, Strategy, UpgradePlan, checks
from noodle_upgrade_core.strategies import Immediate, watched
from noodle_upgrade_deployment.strategies.through import a_strategy, through

__all__ = ["BlueGreen"]


@frozen(kw_only=True)
class BlueGreen:
    """Ask the new version whether it is well while it has no traffic, switch by `inner`, watch for `warm` seconds.

    Until those are over the old version waits beside the new one, so that going back is one flip. `inner` says how the
    traffic switches: at once, unless another strategy is given.
    """

    warm: float = field(default=60.0, validator=checks.seconds)
    inner: Strategy = field(factory=Immediate, validator=a_strategy)

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Probe, switch, watch."""
        seen = yield Probe()
        if not seen.harm:
            seen = yield from through(self.inner, plan)
        if not seen.harm and self.warm:
            seen = yield from watched(self.warm, until="budget")
        if seen.harm:
            yield Revert(seen.reasons)
