"""What becomes of a version that does harm where a policy does not want it to be taken back by itself."""

from __future__ import annotations

from attrs import define, field, frozen

from noodle_upgrade_core import Gate, Revert, Rollout, Shift, Step, Strategy, UpgradePlan, Wait, checks
from noodle_upgrade_deployment.policies.vocabulary import HARM_GATE
from noodle_upgrade_deployment.strategies.through import Carrying, a_strategy, through

__all__ = ["HARM_GATE", "AskOnHarm"]


@frozen(kw_only=True)
class AskOnHarm:
    """Where `inner` gives up, leave the traffic as it is and ask people: who opens the gate lets it go on from there.

    It goes back when nobody does within `expires` seconds, and whenever somebody aborts it.
    """

    inner: Strategy = field(validator=a_strategy)
    expires: float = field(default=7 * 86_400.0, validator=checks.seconds)

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Carry out the inner strategy; each time that it gave up and people said so, once more from where it was."""
        reached = _Reached()
        while (seen := (yield from through(self.inner, plan, reached.carry))).harm:
            asked = yield Gate(HARM_GATE, expires=self.expires)
            if asked.harm:
                yield Revert(seen.reasons)
                return


@define
class _Reached:
    """How far traffic has moved: a strategy that begins anew must not take it back first."""

    weight: float = 0.0
    members: frozenset[str] = frozenset()

    def carry(self, step: Step) -> Carrying:
        """Carry out one step, but never one that takes traffic back."""
        if not isinstance(step, Shift) or not (self.weight or step.weight):
            return (yield step)
        if step.members is None and step.weight < self.weight:
            return (yield Wait(0.0))
        self.weight = max(self.weight, step.weight)
        if step.members is None:
            return (yield step)
        self.members |= frozenset(step.members)
        return (yield Shift(self.weight, members=tuple(sorted(self.members))))
