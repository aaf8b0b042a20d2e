"""One attempt of a deployment: the upgrade that it asks for, and how a later process finds it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve
from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import UpgradeCancelledError
from noodle_upgrade_core.journal.contract import AuditRow, UpgradeRecord
from noodle_upgrade_core.model import Phase, UpgradeRequest
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy

__all__ = ["DEPLOYMENT", "ENVIRONMENT", "found_after", "is_attempt", "request_ids", "requests_of", "upgrade_of"]

DEPLOYMENT = "deployment.id"
ENVIRONMENT = "deployment.environment"
"""The parameters of a request that say whose upgrade it is, and under which policy."""


def requests_of(
    state: DeploymentUpgradeState, policy: DeploymentUpgradePolicy, *, time_limit: float
) -> tuple[UpgradeRequest, ...]:
    """Return what the attempt of this number asks for: each with an id that the journal commits at most once."""
    parameters: dict[str, Any] = {DEPLOYMENT: state.deployment_id, ENVIRONMENT: state.environment}
    if policy.bake:
        parameters["soak"] = policy.bake
    return tuple(
        evolve(
            request,
            request_id=request_id,
            strategy=policy.strategy,
            # The core makes the strategy when it plans: one that lacks a parameter is refused before anything begins.
            parameters={**policy.strategy_parameters, **_others(request.parameters), **parameters},
            timeout_seconds=request.time_limit(time_limit),
            requested_by=state.requested_by,
        )
        for request_id, request in zip(request_ids(state), state.requests, strict=True)
    )


def request_ids(state: DeploymentUpgradeState) -> tuple[str, ...]:
    """Return the ids of what the present attempt asks for, in the order of its requests."""
    return tuple(f"{state.deployment_id}.{state.attempt}.{number}" for number in range(len(state.requests)))


def is_attempt(requests: Sequence[UpgradeRequest], state: DeploymentUpgradeState) -> bool:
    """Whether requests are those of an attempt that is just beginning: anybody can name a deployment in parameters."""
    wished = [(one.request_id, canonicalize_name(one.component_name), one.target_version) for one in requests]
    own = [
        (request_id, canonicalize_name(one.component_name), one.target_version)
        for request_id, one in zip(request_ids(state), state.requests, strict=True)
    ]
    # A plan has them in its own order.
    return state.stage is Stage.PREPARING and sorted(wished) == sorted(own)


def _others(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are for other plugins: those of strategy and judge are the policy's to give."""
    return {name: value for name, value in parameters.items() if "." in name and not name.startswith("judge.")}


def upgrade_of(state: DeploymentUpgradeState, records: Iterable[UpgradeRecord]) -> UpgradeRecord | None:
    """Return the upgrade of the present attempt, by the ids of its requests: also when nobody could note its own."""
    wanted = set(request_ids(state))
    return next((record for record in records if wanted & set(record.nonces)), None)


def found_after(record: UpgradeRecord | None, rows: Sequence[AuditRow]) -> tuple[Stage, str]:
    """Return what a restart finds of a deployment whose process ended, by what the journal made of its upgrade.

    `rows` are the upgrade's audit. `ABORTING` means that the end of the process alone took it back, or kept it from
    beginning: it is to be resumed, or given up, as its policy says. `BAKING` means that it goes on.
    """
    if record is None:
        return Stage.ABORTING, "its upgrade had not begun when the program ended"
    match record.phase:
        case Phase.DONE:
            return Stage.SUCCEEDED, "its upgrade had been committed when the program ended"
        case Phase.COMMITTED | Phase.SOAKING:
            return Stage.BAKING, "its upgrade had been committed, and is watched on"
        case Phase.STUCK:
            return Stage.ROLLBACK_FAILED, "going back had failed when the program ended"
        case Phase.REJECTED:
            return Stage.REJECTED, "its upgrade had been rejected when the program ended"
        case _:
            return _taken_back(record, rows)


def _taken_back(record: UpgradeRecord, rows: Sequence[AuditRow]) -> tuple[Stage, str]:
    """Tell what its process took with it from what had a reason of its own to go back, and must not begin anew."""
    error = record.error or {}
    code, why = str(error.get("code", "")), str(error.get("message", ""))
    phases = {row.phase for row in rows}
    if code == UpgradeCancelledError.code and Phase.COMMITTED not in phases:
        # Who called it off is in the deployment itself: this was the program, which was closed.
        return Stage.ABORTING, why
    if code == "upgrade.timeout" and record.phase is Phase.ROLLED_BACK:
        return Stage.INCONCLUSIVE, why
    if code:
        return (Stage.ROLLED_BACK if record.phase is Phase.ROLLED_BACK else Stage.REJECTED), why
    if phases & {Phase.COMMITTED, Phase.ROLLING_BACK}:
        # Before a commit nobody but the upgrade itself writes that it goes back.
        said = next((row.why for row in rows if row.phase is Phase.ROLLING_BACK), "")
        return Stage.ROLLED_BACK, said or "its upgrade had been taken back"
    return Stage.ABORTING, "its upgrade was taken back when the program ended"
