"""The gates of an upgrade: findings that stop it, votes, and people who approve."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from attrs import define, evolve, field

from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.deciders import Decider
from noodle_upgrade_core.driven import DrivenDecider
from noodle_upgrade_core.errors import SwapRefusedError, UpgradeError, UpgradeRejectedError, ValidationFailedError
from noodle_upgrade_core.model import Ballot, Decision, Finding, UpgradePlan, Verdict, Vote, stops
from noodle_upgrade_core.phases.runner import Reply
from noodle_upgrade_core.staged import settle
from noodle_upgrade_core.steps import Gate

__all__ = ["People", "check_findings", "decide", "in_one", "refusal", "votes_of"]


def in_one(reasons: Iterable[str]) -> str:
    """Return reasons as parts of one sentence, each without its own end."""
    return "; ".join(reason.rstrip().removesuffix(".") for reason in reasons)


def refusal(verdicts: Mapping[str, Verdict]) -> UpgradeError | None:
    """Return what these verdicts on components amount to, with every reason; None when nothing stands against them.

    It is a `SwapRefusedError`, or the error whose code all that refuse agree on.
    """
    refused = [verdict for verdict in verdicts.values() if verdict.blockers or not verdict.feasible]
    if not refused:
        return None
    blocked = [f"{name}: {blocker}" for name, verdict in verdicts.items() for blocker in verdict.blockers]
    codes = {verdict.code for verdict in refused}
    kind = UpgradeError.by_code.get(codes.pop(), SwapRefusedError) if len(codes) == 1 else SwapRefusedError
    hints = dict.fromkeys(verdict.hint for verdict in refused if verdict.hint)
    return kind(
        f"This change cannot be made safely: {in_one(blocked) or 'no mechanism fits'}.",
        hint=" ".join(hints) or "Restart the program on the new version, or change the parts that are named.",
        details={"blockers": blocked},
    )


def check_findings(plan: UpgradePlan, findings: Sequence[Finding], stage: str) -> None:
    """Raise `ValidationFailedError` when a finding stops the plan at its request's validation level."""
    critical = {step.name for step in plan.steps if step.component.critical}
    level = plan.request.validation_level
    stopping = [finding for finding in findings if stops(finding, level, critical)]
    if stopping:
        raise ValidationFailedError(
            f"{len(stopping)} finding(s) stop the upgrade at level {level}: {stopping[0].message}",
            hint=stopping[0].hint or "Mend what the findings name, or choose a lower validation level.",
            details={"findings": [f"{f.severity} {f.code}: {f.message}" for f in stopping], "stage": stage},
        )


def votes_of(replies: Sequence[Reply]) -> tuple[Vote, ...]:
    """Return the votes; a plugin whose vote failed has vetoed, one that said nothing has stood aside."""
    votes = []
    for reply in replies:
        if reply.error is not None:
            why = f"its vote failed: {reply.error.message}"
            votes.append(Vote(ballot=Ballot.REJECT, reasons=(why,), voter=reply.plugin))
        elif reply.value is not None:
            votes.append(evolve(reply.value, voter=reply.plugin, processing_time=reply.seconds))
    return tuple(votes)


@define(kw_only=True)
class People:
    """Who approved, and the gates that wait for people; belongs to one upgrade and its event loop."""

    controls: Controls
    approvals: list[str] = field(factory=list)
    _changed: asyncio.Event = field(factory=asyncio.Event)
    _gates: dict[str, set[str]] = field(factory=dict)
    _allowed: dict[str, frozenset[str]] = field(factory=dict)

    @property
    def waiting_at(self) -> str:
        """The gates of the strategy that wait for people, in words; "" when none does."""
        return ", ".join(f"the gate {name!r}" for name in self._gates)

    def approve(self, who: str) -> None:
        """Count an approval of the plan, and of the gate that it waits at; nobody counts twice by another spelling."""
        person = _same_person(who)
        for name, people in self._gates.items():
            if not self._allowed[name] or person in self._allowed[name]:
                people.add(person)
        if _same_person(who) not in map(_same_person, self.approvals):
            self.approvals.append(who.strip())
        self._changed.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until somebody approves, or it is aborted, or the seconds are over."""
        self._changed.clear()
        waits = [asyncio.ensure_future(self._changed.wait()), asyncio.ensure_future(self.controls.stopped.wait())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def open(self, gate: Gate) -> bool:
        """Wait at a gate of a strategy; returns whether enough people approved before it expired."""
        people = self._gates.setdefault(gate.name, set())
        self._allowed[gate.name] = frozenset(map(_same_person, gate.of))
        until = time.monotonic() + gate.expires
        try:
            while len(people) < gate.approvals and not self.controls.aborted and time.monotonic() < until:
                await self.wait(until - time.monotonic())
        finally:
            self._gates.pop(gate.name, None)
        return len(people) >= gate.approvals


def _same_person(who: str) -> str:
    return unicodedata.normalize("NFKC", who).strip().casefold()


async def decide(
    plan: UpgradePlan,
    votes: Sequence[Vote],
    *,
    decider: Decider | DrivenDecider,
    people: People,
    waiting: Callable[[Decision, int], Awaitable[None]],
) -> Decision:
    """Return the decision to go on; raises `UpgradeRejectedError` for any other.

    As long as the decider awaits people, `waiting` waits for more approvals than those that it was shown, and it is
    asked again; an abort returns what it said last.
    """
    while True:
        given = tuple(people.approvals)
        decision = await settle(decider.combine(plan, votes, given))
        if not decision.awaits or people.controls.aborted:
            break
        await waiting(decision, len(given))
    if not decision.approved and not people.controls.aborted:
        raise UpgradeRejectedError(
            f"The upgrade was rejected: {in_one(decision.reasons) or 'no reason was given'}.",
            hint="See the alternatives with `noodle plan`." if decision.alternatives else "",
            details={"reasons": list(decision.reasons)},
        )
    return decision
