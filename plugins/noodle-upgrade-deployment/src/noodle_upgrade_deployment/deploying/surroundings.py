"""What an admission has to know, looked at: the clock, other deployments, what runs, the resources and the health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import evolve

from noodle_upgrade_core import Finding, Severity
from noodle_upgrade_core.model import now
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_deployment.deploying.admission import Surroundings
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState
from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.health import KINDS, HealthChecks
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.resources import ResourceError, Resources, exceeded

__all__ = ["Surveyor", "fresh"]

PROBE_SECONDS = 0.5
"""How soon a version that does not say that it is well is asked once more."""
_ALL = 100.0


class Surveyor:
    """Looks at this process and this machine for one Upgrader."""

    def __init__(self, upgrader: Upgrader, *, register: Register, clock: Callable[[], datetime] = now) -> None:
        self._upgrader = upgrader
        self._register = register
        self._clock = clock
        self._resources = Resources(upgrader.directory)
        self._health: dict[str, HealthChecks] = {}

    async def survey(self, state: DeploymentUpgradeState, policy: DeploymentUpgradePolicy) -> Surroundings:
        """Return what stands around one deployment now."""
        others = [other for other in self._register.all() if other.deployment_id != state.deployment_id]
        ended = [
            other.updated_at
            for other in others
            if other.environment == state.environment and other.stage.ended and other.began_at is not None
        ]
        running = await self._upgrader.components() if policy.depends_on else ()
        return Surroundings(
            at=self._clock(),
            others=others,
            last_end=max(ended, default=None),
            pressed=await self.pressed(policy),
            ill=await self.ill(policy) if policy.health_check_required else (),
            busy={
                name: str(one["upgrade_id"])
                for one in self._upgrader.get_upgrade_status()["active"]
                for name in one["components"]
            },
            running={component.name: component.version for component in running},
        )

    async def pressed(self, policy: DeploymentUpgradePolicy) -> tuple[Finding, ...]:
        """Return the resources that are used beyond the policy's thresholds; one that cannot be read is one of them."""
        limits = policy.resource_threshold
        if min(limits.cpu_usage, limits.memory_usage, limits.disk_usage) >= _ALL:
            return ()
        try:
            return exceeded(await self._resources.read(), limits)
        except ResourceError as error:
            said = {"code": error.code, "message": error.message, "hint": error.hint}
            return (Finding(severity=Severity.ERROR, **said),)

    async def ill(self, policy: DeploymentUpgradePolicy) -> tuple[Finding, ...]:
        """Return the health checks of this program that fail now: whether it is ready, and lives."""
        checks = self._checks_of(policy)
        return (*await checks.ask("live"), *await checks.ask("ready"))

    async def probe(self, policy: DeploymentUpgradePolicy) -> tuple[Finding, ...]:
        """Ask the new version whether it is well: it has to start, to be ready and to live, or fail as often as it may.

        What was said before it had any traffic was said by another version, and does not count.
        """
        checks = fresh(policy.health_checks)
        tries = max((check.failures for check in checks.checks), default=1)
        findings: tuple[Finding, ...] = ()
        for number in range(tries):
            if number:
                await asyncio.sleep(PROBE_SECONDS)
            findings = tuple([finding for kind in KINDS for finding in await checks.ask(kind)])
            if not findings:
                break
        return findings

    def _checks_of(self, policy: DeploymentUpgradePolicy) -> HealthChecks:
        """Return the checks of an environment, with how they have gone so far."""
        key = policy.deployment_environment
        known = self._health.get(key)
        if known is None:
            known = self._health[key] = HealthChecks(policy.health_checks)
        return known


def fresh(given: Mapping[str, Any]) -> HealthChecks:
    """Return checks that nobody has asked yet, and that may be asked again soon."""
    often = [evolve(check, every=min(check.every, PROBE_SECONDS)) for check in HealthChecks(given).checks]
    return HealthChecks(often)
