"""Member by member: batches of instances, domain by domain, each watched before the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import define, field, frozen

from noodle_upgrade_core import Observation, Probe, Revert, Rollout, Shift, Step, Strategy, UpgradePlan, Wait, checks
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.staged import Member
from noodle_upgrade_core.strategies import Immediate, watched
from noodle_upgrade_deployment.strategies.needs import with_members
from noodle_upgrade_deployment.strategies.through import Carrying, GaveUpError, a_strategy, through

__all__ = ["Rolling"]


@frozen(kw_only=True)
class Rolling:
    """Change members in batches of `surge` + `unavailable`, never two domains in one, and watch each for `bake` s.

    `surge` is how many members may run the new version beside the old one of theirs while they change, `unavailable`
    how many may be out of service: both 0 could never begin. `inner` is the strategy that says how far to go: its share
    of the traffic becomes that share of the members, rounded up.
    """

    surge: int = field(default=1, validator=checks.count_or_none)
    unavailable: int = field(default=0, validator=checks.count_or_none)
    bake: float = field(default=10.0, validator=checks.seconds)
    inner: Strategy = field(factory=Immediate, validator=a_strategy)

    def __attrs_post_init__(self) -> None:
        if not self.surge + self.unavailable:
            raise InvalidRequestError(
                "surge and unavailable are both 0: no member could ever change.", hint="Raise one of them."
            )

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Carry out the steps of the inner strategy, with its shares as batches of members."""
        with_members(plan, "rolling")
        # Nothing moves by it; but what is seen names the members.
        seen = yield Wait(0.0)
        turn = _Turn(most=self.surge + self.unavailable, bake=self.bake, seen=seen)
        seen = yield from through(self.inner, plan, turn.carry)
        if seen.harm:
            yield Revert(seen.reasons)


@define(kw_only=True)
class _Turn:
    """Where one rollout stands: what was seen last, and whose turn it was."""

    most: int
    bake: float
    seen: Observation
    done: tuple[str, ...] = ()

    def carry(self, step: Step) -> Carrying:
        """Carry out one step of the inner strategy; a share as batches of members."""
        if not isinstance(step, Shift) or not step.weight:
            self.seen = yield step
            return self.seen
        while batch := self._batch(step.weight):
            yield from self._change(batch)
        if step.weight == 1.0:
            # Also members that came up just now, and whoever calls the component past them.
            self.seen = yield step
        return self.seen

    def _change(self, batch: tuple[str, ...]) -> Carrying:
        first, living = not self.done, {member.name for member in self.seen.members}
        self.done = (*(name for name in self.done if name in living), *batch)
        self.seen = yield Shift(len(self.done) / len(living), members=self.done)
        if first:
            self.seen = yield Probe()
        if not self.seen.harm:
            self.seen = yield from watched(self.bake)
        if self.seen.harm:
            raise GaveUpError(self.seen.reasons)
        return self.seen

    def _batch(self, weight: float) -> tuple[str, ...]:
        """Return the names of those that are to change next, all of one domain; none when enough have."""
        members, changed = self.seen.members, set(self.done)
        left = [member for member in members if member.name not in changed]
        most = min(self.most, math.ceil(weight * len(members)) - (len(members) - len(left)))
        if most <= 0:
            return ()
        domain = _domain_at_hand(members, left)
        return tuple([member.name for member in left if member.domain == domain][:most])


def _domain_at_hand(members: Sequence[Member], left: Sequence[Member]) -> str:
    """Return the domain that was begun, as long as it has members left: only one is in two versions at any time."""
    waiting = {member.name for member in left}
    begun = {member.domain for member in members if member.name not in waiting}
    return next((member.domain for member in left if member.domain in begun), left[0].domain)
