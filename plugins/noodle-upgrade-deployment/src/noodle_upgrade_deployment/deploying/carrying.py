"""What the hook `deploy` does for an upgrade that a policy governs: strategy, mode, judge and windows together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from attrs import define, frozen

from noodle_upgrade_core import Finding, Measurement, Observation, Outcome, Shift, UpgradeContext, UpgradePlan
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError
from noodle_upgrade_core.isolation import attempt, blame, overdue
from noodle_upgrade_core.model import now
from noodle_upgrade_core.steps import JudgeDriver, Rollout
from noodle_upgrade_core.strategies import rollout_of
from noodle_upgrade_deployment.deploying.attempts import ENVIRONMENT
from noodle_upgrade_deployment.deploying.surroundings import PROBE_SECONDS, fresh
from noodle_upgrade_deployment.health import HealthChecks
from noodle_upgrade_deployment.policies.choice import calendar_for, policy_for
from noodle_upgrade_deployment.policies.composition import composed
from noodle_upgrade_deployment.policies.policy import JUDGE, DeploymentUpgradePolicy
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["Life", "Watchful", "carried_out", "environment_of", "judge_of"]

T = TypeVar("T")
PLUGIN = "deployment"
_CLOSE_SECONDS = 5.0


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

    def made() -> tuple[Rollout, JudgeDriver, HealthChecks]:
        rollout = rollout_of(composed(policy, context.drivers, defaults), plan)
        return rollout, judge_of(policy, context.drivers), fresh(policy.health_checks)

    rollout, judge, checks = await _apart(f"the policy of {environment}", made, limit=context.remaining())
    life = Life(checks)
    watching = asyncio.create_task(life.watch(), name="noodle health")
    try:
        name = f"strategy {policy.strategy}"
        return await context.conduct(rollout, judge=Watchful(judge, life), hold=hold, name=name)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        if callable(close := getattr(judge, "close", None)):
            # What it says to that, or whether it comes back, is no longer anybody's affair.
            with contextlib.suppress(UpgradeError):
                await _apart(f"the judge {policy.judge or JUDGE}", close, limit=_CLOSE_SECONDS)


async def _apart(what: str, function: Callable[[], T], *, limit: float) -> T:
    """Call what others wrote in a thread of its own, that may be left behind: this loop may serve requests."""
    tried = await asyncio.to_thread(attempt, function, limit=limit, name=f"noodle {what}")
    if tried.hung:
        raise overdue(plugin=PLUGIN, doing=what, limit=limit)
    if tried.error is not None:
        raise blame(tried.error, plugin=PLUGIN, doing=what)
    value: Any = tried.value
    return value  # type: ignore[no-any-return]


def judge_of(policy: DeploymentUpgradePolicy, drivers: Drivers) -> JudgeDriver:
    """Make the judge of a policy.

    Raises `DriverUnknownError` with those that are installed, and `InvalidRequestError` for parameters and metrics that
    cannot be meant.
    """
    given = {**policy.judge_parameters, **({"metrics": policy.metrics} if policy.metrics else {})}
    made: JudgeDriver = drivers.make("judges", policy.judge or JUDGE, **given)
    return made


@define
class Life:
    """Whether the program lives, as its checks say; `failing` are those that fail."""

    checks: HealthChecks
    failing: tuple[Finding, ...] = ()

    async def watch(self) -> None:
        """Ask for ever; each check as often as it may be."""
        while True:
            self.failing = await self.checks.ask("live")
            await asyncio.sleep(PROBE_SECONDS)


@frozen
class Watchful:
    """A judge that says harm as soon as the program does not live any more, and else what another one says.

    It asks nothing itself: what it is made of may hang, and is called where that stops nobody.
    """

    judge: JudgeDriver
    life: Life

    def observe(self, seen: Measurement) -> Observation | Awaitable[Observation]:
        """Look at the checks, then ask the other judge."""
        if failing := self.life.failing:
            return Observation(harm=True, reasons=tuple(finding.message for finding in failing))
        return self.judge.observe(seen)
