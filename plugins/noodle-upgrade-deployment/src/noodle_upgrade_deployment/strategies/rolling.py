"""Member by member: batches of instances, domain by domain, each watched before the next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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
    """Where one rollout stands: what was seen last, whose turn it was, and who is left in the order of their turns."""

    most: int
    bake: float
    seen: Observation
    done: dict[str, None] = field(factory=dict)
    _known: Sequence[Member] = ()
    _left: list[Member] = field(factory=list)

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
        first = not self.done
        self.done.update(dict.fromkeys(batch))
        self.seen = yield Shift(len(self.done) / len(self._known), members=tuple(self.done))
        if first:
            self.seen = yield Probe()
        if not self.seen.harm:
            self.seen = yield from watched(self.bake)
        if self.seen.harm:
            raise GaveUpError(self.seen.reasons)
        return self.seen

    def _batch(self, weight: float) -> tuple[str, ...]:
        """Return the names of those that are to change next, all of one domain; none when enough have."""
        self._look_who_is_there()
        most = min(self.most, math.ceil(weight * len(self._known)) - len(self.done))
        if most <= 0 or not self._left:
            return ()
        # Their order is by domain, the one that was begun first; the next in turn is the last of the list.
        domain = self._left[-1].domain
        names: list[str] = []
        while self._left and len(names) < most and self._left[-1].domain == domain:
            names.append(self._left.pop().name)
        return tuple(names)

    def _look_who_is_there(self) -> None:
        """Bring the order up to date where members have come or gone; there may be a million of them."""
        members = self.seen.members
        if members is self._known or members == self._known:
            return
        living = {member.name for member in members}
        self.done = {name: None for name in self.done if name in living}
        self._left = _in_turn(members, self.done)
        self._known = members


def _in_turn(members: Sequence[Member], done: Mapping[str, None]) -> list[Member]:
    """Return those that are left, the next one last: domain by domain, and first the rest of one that was begun."""
    domains: dict[str, list[Member]] = {}
    begun: dict[str, None] = {}
    for member in members:
        if member.name in done:
            begun[member.domain] = None
        else:
            domains.setdefault(member.domain, []).append(member)
    order = [*(domain for domain in begun if domain in domains), *(domain for domain in domains if domain not in begun)]
    return [member for domain in reversed(order) for member in reversed(domains[domain])]
