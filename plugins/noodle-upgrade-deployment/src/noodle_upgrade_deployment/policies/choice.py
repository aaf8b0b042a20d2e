"""Which policy counts for an environment, and when it lets traffic be moved."""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve

from noodle_upgrade_core.errors import UpgradeRejectedError
from noodle_upgrade_core.settings import suggestion
from noodle_upgrade_deployment.policies.calendars import Calendar
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.settings import DEFAULT, DeploymentSettings

__all__ = ["EnvironmentUnknownError", "calendar_for", "policy_for", "policy_name_for"]


class EnvironmentUnknownError(UpgradeRejectedError):
    """An environment has no policy, and there is no policy `default`; `details["known"]` names those that have one."""

    code: ClassVar[str] = "deployment.environment_unknown"


def policy_name_for(settings: DeploymentSettings, environment: str) -> str:
    """Return the name that an environment's policy stands under: its own, else `default`.

    Raises `EnvironmentUnknownError` when there is neither.
    """
    for name in (environment, DEFAULT):
        if name in settings.policies:
            return name
    known = sorted(settings.policies)
    which = f"the environment {environment!r}" if environment else "a program without an environment"
    add = f"Policies: {', '.join(known) or 'none'}. Add one, or one that is called {DEFAULT!r}."
    raise EnvironmentUnknownError(
        f"there is no policy for {which}.",
        hint=" ".join(part for part in (suggestion(environment, known), add) if part),
        details={"environment": environment, "known": known},
    )


def policy_for(settings: DeploymentSettings, environment: str) -> DeploymentUpgradePolicy:
    """Return an environment's policy, with the environment that it is for; raises as `policy_name_for` does."""
    policy = settings.policies[policy_name_for(settings, environment)]
    return evolve(policy, deployment_environment=environment)


def calendar_for(settings: DeploymentSettings, environment: str) -> Calendar:
    """Return when an environment lets traffic be moved; raises as `policy_name_for` does.

    The policy's own windows win over the one that the section has for the environment, and that over the one that it
    has for the policy's name.
    """
    name = policy_name_for(settings, environment)
    policy = settings.policies[name]
    told = settings.maintenance_windows.get(environment) or settings.maintenance_windows.get(name)
    zone = policy.timezone or settings.timezone
    return policy.calendar(settings.timezone, () if told is None else (told.window(zone),))
