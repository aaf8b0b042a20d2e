"""What an admission has to know, looked at: the clock, other deployments, what runs, the resources and the health."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from noodle_upgrade_core import Finding
from noodle_upgrade_core.model import now
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_deployment.deploying.admission import Surroundings
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState
from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy

__all__ = ["Surveyor"]


class Surveyor:
    """Looks at this process and this machine for one Upgrader."""

    def __init__(self, upgrader: Upgrader, *, register: Register, clock: Callable[[], datetime] = now) -> None:
        self._upgrader = upgrader
        self._register = register
        self._clock = clock

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
            ill=await self.ill(policy),
            running={component.name: component.version for component in running},
        )

    async def pressed(self, policy: DeploymentUpgradePolicy) -> tuple[Finding, ...]:
        """Return the resources that are used beyond the policy's thresholds."""
        return ()

    async def ill(self, policy: DeploymentUpgradePolicy) -> tuple[Finding, ...]:
        """Return the health checks that fail, where the policy wants them."""
        return ()
