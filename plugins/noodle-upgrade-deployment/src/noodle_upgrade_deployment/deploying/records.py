"""What is kept of a deployment, and the words for where it stands."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.model import UpgradeRequest, UpgradeStatus, now
from noodle_upgrade_core.wire import to_wire

__all__ = ["CalledOff", "DeploymentUpgradeEvent", "DeploymentUpgradeState", "Stage"]


class Stage(enum.StrEnum):
    """Where a deployment stands."""

    PENDING = "pending"
    """Waits for its trigger."""
    QUEUED = "queued"
    """Waits for what stands against its start to pass."""
    REJECTED = "rejected"
    PREPARING = "preparing"
    """Its upgrade is planned, decided on and staged."""
    WARMING = "warming"
    """The new version lies beside the old one, without traffic."""
    RUNNING = "running"
    """A step moves traffic, waits or asks the new version."""
    PAUSED = "paused"
    GATED = "gated"
    JUDGING = "judging"
    STARVED = "starved"
    """Judged, and there is too little traffic to say anything."""
    PROMOTING = "promoting"
    BAKING = "baking"
    """All traffic is on the new version, and it is watched on."""
    SUCCEEDED = "succeeded"
    ABORTING = "aborting"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    FROZEN = "frozen"
    """It does harm, and nothing moves any more, neither it nor anything else in its environment."""
    SUPERSEDED = "superseded"
    INCONCLUSIVE = "inconclusive"
    """Its time was over before there was evidence; the old version serves."""
    CANCELLED = "cancelled"
    """It was called off before it had begun."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self in _ENDED

    @property
    def waiting(self) -> bool:
        """Whether its upgrade has not begun yet."""
        return self in {Stage.PENDING, Stage.QUEUED}

    @property
    def status(self) -> UpgradeStatus:
        """The same in the core's six words."""
        return _STATUS.get(self, UpgradeStatus.IN_PROGRESS)


_ENDED = frozenset(
    {
        Stage.REJECTED,
        Stage.SUCCEEDED,
        Stage.ROLLED_BACK,
        Stage.ROLLBACK_FAILED,
        Stage.SUPERSEDED,
        Stage.INCONCLUSIVE,
        Stage.CANCELLED,
    }
)
_STATUS: Mapping[Stage, UpgradeStatus] = {
    Stage.PENDING: UpgradeStatus.PENDING,
    Stage.QUEUED: UpgradeStatus.PENDING,
    Stage.REJECTED: UpgradeStatus.FAILED,
    Stage.SUCCEEDED: UpgradeStatus.COMPLETED,
    Stage.ROLLED_BACK: UpgradeStatus.ROLLED_BACK,
    Stage.ROLLBACK_FAILED: UpgradeStatus.FAILED,
    Stage.SUPERSEDED: UpgradeStatus.CANCELLED,
    Stage.INCONCLUSIVE: UpgradeStatus.ROLLED_BACK,
    Stage.CANCELLED: UpgradeStatus.CANCELLED,
}


@frozen(kw_only=True)
class CalledOff:
    """That somebody, or something, wants a deployment to end, and as what if it had begun."""

    stage: Stage
    who: str
    why: str

    def ends(self, *, begun: bool) -> Stage:
        """Return what it ends as: what moved no traffic was cancelled, unless a newer one took its place."""
        return self.stage if begun or self.stage is Stage.SUPERSEDED else Stage.CANCELLED


@frozen(kw_only=True)
class DeploymentUpgradeState:
    """One deployment as the journal keeps it.

    `requests` are what it changes, all or nothing. `attempt` counts its upgrades: each has a request id of its own,
    which the journal lets through once. `step` and `weight` are where its present upgrade is, `why` what brought it to
    its stage. `trigger_of` narrows a trigger to what happens to one component. `turn` counts the deployments in the
    order in which they were let begin; 0 while it waits for its trigger. `called_off` is written before anything is
    done about it, so that no restart begins anew what was to end.

    `harmful` says that it was taken back because its version did not do well, and not because somebody wanted that.
    """

    deployment_id: str
    environment: str
    requests: tuple[UpgradeRequest, ...]
    mode: str
    strategy: str
    stage: Stage = Stage.PENDING
    trigger: str = "manual"
    trigger_of: str = ""
    turn: int = 0
    attempt: int = 0
    harmful: bool = False
    called_off: CalledOff | None = None
    upgrade_id: str = ""
    step: str = ""
    weight: float = 0.0
    why: str = ""
    requested_by: str = "system"
    approved_by: str = ""
    began_at: datetime | None = None
    created_at: datetime = field(factory=now)
    updated_at: datetime = field(factory=now)

    @property
    def components(self) -> tuple[str, ...]:
        """What it changes, by name."""
        return tuple(request.component_name for request in self.requests)

    @property
    def priority(self) -> int:
        """The highest of its requests'."""
        return max(request.priority for request in self.requests)

    def shown(self) -> dict[str, Any]:
        """Return a deployment as people look at it: JSON values."""
        return {
            "deployment_id": self.deployment_id,
            "environment": self.environment,
            "components": {request.component_name: request.target_version for request in self.requests},
            "mode": self.mode,
            "strategy": self.strategy,
            "stage": self.stage.value,
            "status": self.stage.status.value,
            "trigger": self.trigger,
            "upgrade_id": self.upgrade_id,
            "attempt": self.attempt,
            "step": self.step,
            "weight": self.weight,
            "why": self.why,
            "requested_by": self.requested_by,
            "created_at": to_wire(self.created_at),
            "updated_at": to_wire(self.updated_at),
        }


@frozen(kw_only=True)
class DeploymentUpgradeEvent:
    """One change of a deployment: `sequence` grows, `stage` is what it came to, and `evidence` what spoke for it."""

    sequence: int
    deployment_id: str
    at: datetime
    stage: str
    who: str
    why: str
    evidence: Mapping[str, Any] = field(factory=dict)
