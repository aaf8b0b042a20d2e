"""All deployments of a program in a few numbers, for people who look."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["overview"]

_DAY = timedelta(days=1)


def overview(settings: DeploymentSettings, register: Register, *, at: datetime) -> dict[str, Any]:
    """Return the keys of SPEC: JSON values only; see `get_integration_status`."""
    active = register.active()
    stages = [state.stage.value for state in active]
    day = at - _DAY
    recent = sum(
        event.at >= day
        for state in register.all()
        if state.updated_at >= day
        for event in register.events(state.deployment_id)
    )
    return {
        "enabled": settings.upgrade_integration.enabled,
        "environment": settings.environment,
        "active_deployments": [state.shown() for state in active if not state.stage.waiting],
        "pending_upgrades": [state.shown() for state in active if state.stage.waiting],
        "active_states": {stage: stages.count(stage) for stage in sorted(set(stages))},
        "recent_events_24h": recent,
        "policies_count": len(settings.policies),
    }
