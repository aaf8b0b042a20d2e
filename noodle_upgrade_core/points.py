"""Rollback points: what to go back to, made before the swap, checked before use, kept and expired as configured."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from datetime import timedelta

from attrs import frozen

from noodle_upgrade_core.config.loading import Settings
from noodle_upgrade_core.errors import ComponentUnknownError, JournalFullError, RollbackUnavailableError, UpgradeError
from noodle_upgrade_core.journal.contract import Journal
from noodle_upgrade_core.model import ArtifactRef, Finding, Phase, PlanStep, RollbackPoint, Severity, UpgradePlan, now
from noodle_upgrade_core.sources.chain import Sources
from noodle_upgrade_core.store.content import ContentStore

__all__ = ["RollbackPoints"]

_REVERSIBLE = frozenset({Phase.DONE, Phase.SOAKING, Phase.STUCK})


@frozen(kw_only=True)
class RollbackPoints:
    """Makes, finds, verifies and expires rollback points."""

    journal: Journal
    store: ContentStore
    sources: Sources
    settings: Settings

    async def create(self, plan: UpgradePlan, upgrade_id: str) -> tuple[RollbackPoint, ...]:
        """Return a point for every step, its bytes already in the store; the journal gets them with the intent.

        A component whose running version has no bytes that could be kept gets a point without an artefact: it can be
        gone back to as long as the process lives.
        """
        if not (plan.request.rollback_enabled and self.settings.runtime_upgrade.rollback.enabled):
            return ()
        made = now()
        expires = made + timedelta(days=self.settings.runtime_upgrade.rollback.rollback_retention_days)
        return tuple(
            [
                RollbackPoint(
                    upgrade_id=upgrade_id,
                    component_name=step.name,
                    from_version=step.from_version,
                    to_version=step.to_version,
                    created_at=made,
                    expires_at=expires,
                    artifact=await asyncio.to_thread(self._keep, step),
                )
                for step in plan.steps
            ]
        )

    def _keep(self, step: PlanStep) -> ArtifactRef | None:
        active = self.journal.active_of(step.name)
        if active is not None and active.artifact is not None and active.version == step.from_version:
            return active.artifact
        captured = self.sources.capture(step.component)
        if captured is not None:
            return captured
        try:
            return self.sources.fetch(step.component, step.from_version)
        except JournalFullError:
            # A source has it, and there is no room to keep it: nothing is visible yet, and making room mends it.
            raise
        except UpgradeError:
            # No source has it: the point says so by having no artefact, and `verify` tells it as a warning.
            return None

    def choose(self, component_name: str, rollback_id: str = "") -> tuple[RollbackPoint, ...]:
        """Return the points to go back to: of the named component first, then of those that changed with it.

        Without an id it is the newest point that leads away from the version that is active now. Raises
        `RollbackUnavailableError` when there is none, it has expired, or its bytes are damaged.
        """
        active = self.journal.active_of(component_name)
        points = self.journal.rollback_points(component_name)
        if active is None and not points:
            known = sorted(one.component_name for one in self.journal.active())
            meant = difflib.get_close_matches(component_name, known, n=1)
            raise ComponentUnknownError(
                f"No component {component_name!r} is known here.",
                hint=f"Did you mean {meant[0]!r}?" if meant else "`noodle components` lists them.",
                details={"component_name": component_name},
            )
        stuck = [point for point in points if self._phase(point) is Phase.STUCK]
        if rollback_id:
            fitting = [point for point in points if point.rollback_id == rollback_id]
        else:
            # An upgrade that is stuck holds its component until it has been taken back: it comes first.
            leading = [point for point in points if active is not None and point.to_version == active.version]
            fitting = stuck or leading
        open_points = [point for point in fitting if self._phase(point) in _REVERSIBLE]
        if not open_points:
            raise RollbackUnavailableError(
                f"{component_name} has nothing to go back to"
                + (f" under {rollback_id!r}." if rollback_id else f" from {active.version if active else 'here'}."),
                hint="`noodle rollback-points` lists what is kept; `noodle upgrade` can go to any version.",
            )
        chosen = open_points[0]
        if chosen not in stuck and active is not None and chosen.to_version != active.version:
            raise RollbackUnavailableError(
                f"{chosen.rollback_id} leads from {chosen.to_version} back to {chosen.from_version},"
                f" and {active.version} is active.",
                hint=f"Go back step by step, or upgrade to {chosen.from_version}.",
            )
        others = [
            point
            for point in self.journal.rollback_points("")
            if point.upgrade_id == chosen.upgrade_id and point.component_name != chosen.component_name
        ]
        self._check_together(chosen, others)
        return (chosen, *others)

    def _check_together(self, chosen: RollbackPoint, others: Sequence[RollbackPoint]) -> None:
        """What was committed as one goes back as one: not when some of it has moved on since."""
        for other in others if self._phase(chosen) is not Phase.STUCK else ():
            active = self.journal.active_of(other.component_name)
            if active is not None and active.version != other.to_version:
                raise RollbackUnavailableError(
                    f"{chosen.component_name} was upgraded together with {other.component_name},"
                    f" which has moved on to {active.version}.",
                    hint=f"Roll {other.component_name} back first, or upgrade {chosen.component_name}"
                    f" to {chosen.from_version}.",
                )

    def _phase(self, point: RollbackPoint) -> Phase | None:
        record = self.journal.record(point.upgrade_id)
        return None if record is None else record.phase

    def verify(self, rollback_id: str) -> tuple[Finding, ...]:
        """Check the bytes of a point; an error finding for what is missing or damaged."""
        for point in self.journal.rollback_points(""):
            if point.rollback_id == rollback_id:
                return self._verify(point)
        raise RollbackUnavailableError(f"No rollback point has the id {rollback_id!r}.")

    def _verify(self, point: RollbackPoint) -> tuple[Finding, ...]:
        if point.artifact is None:
            message = f"{point.component_name} {point.from_version} has no bytes in the store: warm rollback only."
            return (
                Finding(
                    severity=Severity.WARNING, code="rollback.warm_only", message=message, subject=point.component_name
                ),
            )
        try:
            self.store.verify(point.artifact.digest)
        except UpgradeError as error:
            return (
                Finding(
                    severity=Severity.ERROR,
                    code=error.code,
                    message=error.message,
                    hint=error.hint,
                    subject=point.component_name,
                ),
            )
        return ()

    def expire(self) -> int:
        """Drop points beyond the configured number and age; returns how many went."""
        most = self.settings.runtime_upgrade.rollback.max_rollback_points
        return len(self.journal.expire_rollback_points(most))
