"""The deciders that the core brings: what turns the votes of the plugins into one decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from noodle_upgrade_core.model import Ballot, Decision, UpgradePlan, Vote

__all__ = ["Approval", "Decider", "Unanimous"]


class Decider(Protocol):
    """A driver of `noodle_upgrade.deciders`: made once per upgrade, without arguments."""

    def combine(self, plan: UpgradePlan, votes: Sequence[Vote], approvals: Sequence[str]) -> Decision:
        """Make one decision of the votes; `approvals` are the people who approved exactly this plan.

        A decision with `awaits` asks for more approvals: it is made again when one comes.
        """


class Unanimous:
    """One rejection rejects; otherwise the plan is approved, also when nobody has an opinion."""

    def combine(self, plan: UpgradePlan, votes: Sequence[Vote], approvals: Sequence[str]) -> Decision:  # noqa: ARG002
        """Reject with every reason and alternative that was given, or approve with the least confidence."""
        against = [vote for vote in votes if vote.ballot is Ballot.REJECT]
        counted = against or [vote for vote in votes if vote.ballot is Ballot.APPROVE]
        return Decision(
            ballot=Ballot.REJECT if against else Ballot.APPROVE,
            confidence=min((vote.confidence for vote in counted), default=1.0),
            reasons=tuple(f"{vote.voter}: {reason}" for vote in counted for reason in vote.reasons),
            alternatives=tuple(other for vote in against for other in vote.alternatives),
            recommendation=next((vote.recommendation for vote in votes if vote.recommendation), None),
            processing_time=sum(vote.processing_time for vote in votes),
            votes=tuple(votes),
        )


class Approval(Unanimous):
    """What `Unanimous` approves must also be approved by a person."""

    def combine(self, plan: UpgradePlan, votes: Sequence[Vote], approvals: Sequence[str]) -> Decision:
        """Ask for a person unless one has approved this very plan."""
        decision = super().combine(plan, votes, approvals)
        if not decision.approved:
            return decision
        if approvals:
            said = tuple(f"approved by {who}" for who in approvals)
            return Decision(
                ballot=Ballot.APPROVE,
                confidence=decision.confidence,
                reasons=(*decision.reasons, *said),
                recommendation=decision.recommendation,
                processing_time=decision.processing_time,
                votes=decision.votes,
            )
        return Decision(
            ballot=Ballot.ABSTAIN,
            confidence=decision.confidence,
            reasons=decision.reasons,
            recommendation=decision.recommendation,
            processing_time=decision.processing_time,
            votes=decision.votes,
            awaits="the approval of a person",
        )
