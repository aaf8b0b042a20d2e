"""The deployment plugin: its hooks, thin; the work lies in the modules named for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import ClassVar

from noodle_upgrade_core import (
    Finding,
    Host,
    Operation,
    Outcome,
    Severity,
    UpgradeContext,
    UpgradePlan,
    Upgrader,
    hookimpl,
)
from noodle_upgrade_core.hookspecs import Stage
from noodle_upgrade_core.model import now
from noodle_upgrade_deployment.deploying.carrying import carried_out, environment_of
from noodle_upgrade_deployment.integration import DeploymentRuntimeUpgradeIntegration
from noodle_upgrade_deployment.operations import operations_of
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["DeploymentPlugin"]

_MOST_AT_ONCE = 256
"""More upgrades than ever run at once: of which it is known that their traffic was moved here."""


class DeploymentPlugin:
    """Deploys by policy and evidence to the program that it runs in."""

    settings: ClassVar[type[DeploymentSettings]] = DeploymentSettings
    section: ClassVar[str] = "deployment"

    def __init__(self, host: Host, *, clock: Callable[[], datetime] = now) -> None:
        self._clock = clock
        self._settings: DeploymentSettings = host.settings
        self._core = host.core
        self._loop: asyncio.AbstractEventLoop | None = None
        self._carried: deque[str] = deque(maxlen=_MOST_AT_ONCE)
        self.integration: DeploymentRuntimeUpgradeIntegration | None = None

    @hookimpl
    async def opened(self, upgrader: Upgrader) -> None:
        """Find deployments of an earlier process again, and attend to those that wait."""
        if self._settings.upgrade_integration.enabled:
            self._loop = asyncio.get_running_loop()
            self.integration = DeploymentRuntimeUpgradeIntegration(upgrader, settings=self._settings, clock=self._clock)
            await self.integration.initialize()

    @hookimpl
    async def validate(self, plan: UpgradePlan, stage: Stage, context: UpgradeContext) -> Iterable[Finding]:
        """Hold an upgrade to the policy of its environment, and the new version to being well."""
        if self.integration is None:
            return ()
        governed = environment_of(self._settings, context.parameters)
        if stage == "after" and governed and context.upgrade_id not in self._carried:
            return (_carried_otherwise(governed),)
        return await self.integration.findings(plan, stage, context.parameters)

    @hookimpl
    async def deploy(self, plan: UpgradePlan, context: UpgradeContext) -> Outcome | None:
        """Move the traffic as the policy of the upgrade's environment says."""
        if not self._settings.upgrade_integration.enabled:
            return None
        self._carried.append(context.upgrade_id)
        percentage = getattr(self._core, "gradual_rollout_percentage", 10.0)
        defaults = {"gradual": {"percentage": percentage}}
        return await carried_out(plan, context, settings=self._settings, defaults=defaults, clock=self._clock)

    @hookimpl
    def operations(self) -> Iterable[Operation]:
        """Say what `noodle deploy` asks for."""
        return operations_of(lambda: self.integration)

    def close(self) -> None:
        """Attend to nothing any more; what is under way is found again by the next process."""
        if self.integration is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                asyncio.run_coroutine_threadsafe(self.integration.close(), self._loop)


def _carried_otherwise(environment: str) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="deployment.carried_otherwise",
        message=f"Another plugin moved the traffic, and not as the policy of {environment} says.",
        hint="Remove that plugin, or have it come after this one: after = ('deployment',).",
    )
