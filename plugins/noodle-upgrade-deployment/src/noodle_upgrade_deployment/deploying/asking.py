"""What may be asked of deployments, and whether two ask for the same."""

from __future__ import annotations

import asyncio
from typing import Any

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import UpgradeRequest
from noodle_upgrade_core.settings import suggestion
from noodle_upgrade_core.wire import dumps
from noodle_upgrade_deployment.deploying.attempts import DEPLOYMENT
from noodle_upgrade_deployment.deploying.carrying import judge_of
from noodle_upgrade_deployment.deploying.errors import DeploymentRefusedError
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState
from noodle_upgrade_deployment.health import HealthChecks
from noodle_upgrade_deployment.policies.calendars import Calendar
from noodle_upgrade_deployment.policies.choice import policy_for
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.policies.vocabulary import DeploymentUpgradeTrigger, UpgradeDeploymentMode
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = [
    "asks_the_same",
    "check_needs_no_plugin",
    "checked_id",
    "checked_policy",
    "checked_requests",
    "checked_trigger",
    "switched_off",
]

_MOST_ID = 120
_SAYS_WHO_WAITS = frozenset({UpgradeDeploymentMode.SYNCHRONOUS, UpgradeDeploymentMode.ASYNCHRONOUS})
_MOST_ASKED = 256 * 1024
"""Bytes of requests as JSON: a deployment is written whole at every change, with more besides."""


def checked_id(deployment_id: str) -> str:
    """Return the id of a deployment that can be one; raises `InvalidRequestError`."""
    if not deployment_id.strip() or not deployment_id.isprintable() or len(deployment_id) > _MOST_ID:
        raise InvalidRequestError(f"The id of a deployment must be 1 to {_MOST_ID} printable characters.")
    return deployment_id


def checked_requests(requests: tuple[UpgradeRequest, ...]) -> tuple[UpgradeRequest, ...]:
    """Return requests that can be one deployment; raises `InvalidRequestError`."""
    if not requests:
        raise InvalidRequestError("A deployment needs at least one request.")
    if named := [request for request in requests if DEPLOYMENT in request.parameters]:
        raise InvalidRequestError(f"{DEPLOYMENT} of {named[0].component_name} is given by the deployment itself.")
    try:
        dumps(list(requests), max_bytes=_MOST_ASKED)
    except InvalidRequestError as error:
        error.message = f"What is asked for cannot be written down: {error.message}"
        error.args = (error.message,)
        raise
    return requests


async def checked_policy(settings: DeploymentSettings, environment: str, drivers: Drivers) -> DeploymentUpgradePolicy:
    """Return an environment's policy, after its judge, metrics and health checks were made once.

    What is wrong with them is told to who asks, and no version is blamed for it. Functions that they name are imported.
    Raises as `policy_for` and `judge_of` do, and `InvalidRequestError` for checks
    that cannot be meant.
    """
    policy = policy_for(settings, environment)
    judge = await asyncio.to_thread(judge_of, policy, drivers)
    if callable(close := getattr(judge, "close", None)):
        close()
    await asyncio.to_thread(HealthChecks, policy.health_checks)
    return policy


def asks_the_same(known: DeploymentUpgradeState, state: DeploymentUpgradeState) -> bool:
    """Whether two ask for the same versions in the same environment, at the same trigger."""

    def wanted(one: DeploymentUpgradeState) -> Any:
        return (
            one.environment,
            one.trigger,
            one.trigger_of,
            [(r.component_name, r.target_version) for r in one.requests],
        )

    return bool(wanted(known) == wanted(state))


def check_needs_no_plugin(policy: DeploymentUpgradePolicy, calendar: Calendar) -> None:
    """Raise `InvalidRequestError` for a policy that would be carried out in part only where the plugin does not run.

    The plugin's hooks move the traffic: without them the core does, by the name of the strategy alone.
    """
    given = {
        "deployment_mode": policy.deployment_mode not in _SAYS_WHO_WAITS,
        "parameters or steps": bool(policy.strategy_parameters),
        "gates": bool(policy.gates),
        "on_failure": policy.reaction != "rollback",
        "judge or metrics": bool(policy.judge or policy.judge_parameters or policy.metrics),
        "health_checks": bool(policy.health_checks),
        "windows or freezes": bool(calendar.windows or calendar.freezes),
    }
    if lost := [name for name, is_given in given.items() if is_given]:
        raise InvalidRequestError(
            f"The policy of {policy.deployment_environment} has {', '.join(lost)}, which only the deployment plugin"
            " carries out, and it does not run in this program.",
            hint="Enable the plugin 'deployment' (runtime_upgrade.plugins.enabled).",
        )


def switched_off(trigger: DeploymentUpgradeTrigger) -> DeploymentRefusedError:
    """Return the refusal of a trigger that is switched off."""
    return DeploymentRefusedError(
        f"The trigger {trigger.value!r} is switched off.", hint=f"Set deployment.triggers.{trigger.value}."
    )


def checked_trigger(trigger: str, settings: DeploymentSettings, policy: DeploymentUpgradePolicy) -> str:
    """Return a trigger that may begin deployments here; raises `DeploymentRefusedError`, `InvalidRequestError`."""
    try:
        known = DeploymentUpgradeTrigger(trigger)
    except ValueError:
        names = [one.value for one in DeploymentUpgradeTrigger]
        raise InvalidRequestError(
            f"There is no trigger {trigger!r}.",
            hint=suggestion(trigger, names) or f"There are: {', '.join(names)}.",
        ) from None
    if known not in settings.triggers.allowed:
        raise switched_off(known)
    if known is not DeploymentUpgradeTrigger.MANUAL and not policy.auto_trigger:
        raise DeploymentRefusedError(
            f"The policy of {policy.deployment_environment} lets only people begin deployments.",
            hint="Set auto_trigger, or leave the trigger out.",
        )
    return known.value
