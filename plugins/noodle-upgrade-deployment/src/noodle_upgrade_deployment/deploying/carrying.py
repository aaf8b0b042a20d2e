"""What the hook `deploy` does for an upgrade that a policy governs: strategy, mode, judge and windows together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from noodle_upgrade_core import Outcome, Shift, UpgradeContext, UpgradePlan
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import now
from noodle_upgrade_core.steps import JudgeDriver
from noodle_upgrade_core.strategies import rollout_of
from noodle_upgrade_deployment.deploying.attempts import ENVIRONMENT
from noodle_upgrade_deployment.policies.choice import calendar_for, policy_for
from noodle_upgrade_deployment.policies.composition import composed
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["carried_out", "environment_of", "judge_of"]

JUDGE = "betting"
"""The judge of a policy that names none."""


def environment_of(settings: DeploymentSettings, parameters: Mapping[str, Any]) -> str:
    """Return the environment whose policy governs an upgrade: what its request names, else what this program is.

    Empty: none does.
    """
    named = parameters.get(ENVIRONMENT, settings.environment)
    if not isinstance(named, str):
        raise InvalidRequestError(f"{ENVIRONMENT} must be the name of an environment, got {named!r}.")
    return named


async def carried_out(
    plan: UpgradePlan,
    context: UpgradeContext,
    *,
    settings: DeploymentSettings,
    defaults: Mapping[str, Mapping[str, Any]],
    clock: Callable[[], datetime] = now,
) -> Outcome | None:
    """Move the traffic as the policy of the upgrade's environment says; None where no policy governs it."""
    environment = environment_of(settings, context.parameters)
    if not environment or context.conduct is None:
        return None
    policy, calendar = policy_for(settings, environment), calendar_for(settings, environment)

    def hold(_: Shift) -> str:
        return calendar.why_closed(clock())

    strategy = composed(policy, context.drivers, defaults)
    rollout = rollout_of(strategy, plan)
    judge = judge_of(policy, context.drivers)
    return await context.conduct(rollout, judge=judge, hold=hold, name=f"strategy {policy.strategy}")


def judge_of(policy: DeploymentUpgradePolicy, drivers: Drivers) -> JudgeDriver:
    """Make the judge of a policy."""
    made: JudgeDriver = drivers.make("judges", policy.judge or JUDGE, **policy.judge_parameters)
    return made
