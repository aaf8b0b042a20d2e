"""A small share first, and more only on evidence."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from noodle_upgrade_core import Rollout, UpgradePlan, checks
from noodle_upgrade_core.strategies import by_shares
from noodle_upgrade_deployment.strategies.needs import shares_of, with_weights

__all__ = ["Canary", "Ramp"]

_LOOK_SECONDS = 60.0


@frozen(kw_only=True)
class Canary:
    """Raise the share through `steps`, in percent, each only when the judge says that the one before was safe.

    It looks for `budget` seconds at a time, and without evidence it stays where it is until the request's time is over,
    which takes it back. With `require_evidence` false a step is left after `budget` seconds all the same.
    """

    steps: tuple[float, ...] = field(default=(5.0, 25.0, 50.0, 100.0), converter=shares_of)
    budget: float = field(default=60.0, validator=checks.seconds)
    require_evidence: bool = True

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Shift, watch, shift further."""
        with_weights(plan, "canary")
        yield from by_shares((step / 100 for step in self.steps), budget=self.budget, sure=self.require_evidence)


@frozen(kw_only=True)
class Ramp:
    """Raise the share as soon as the evidence says safe: from `start` percent, each time `factor` times as much.

    It never goes on by the clock: where there is no traffic it waits, until the request's time is over.
    """

    start: float = field(default=1.0, validator=checks.between(0.01, 100.0))
    factor: float = field(default=3.0, validator=checks.between(1.1, 100.0))

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Shift, wait for the evidence, shift further."""
        with_weights(plan, "ramp")
        yield from by_shares(self.weights(), budget=_LOOK_SECONDS, sure=True)

    def weights(self) -> Iterable[float]:
        """Return the shares from the first to 1."""
        share = self.start / 100
        while share < 1.0:
            yield round(share, 6)
            share *= self.factor
        yield 1.0
