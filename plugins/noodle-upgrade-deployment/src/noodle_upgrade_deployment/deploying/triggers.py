"""What begins deployments that wait for something: each trigger seen from something real, each switched off at will."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.events import Event, EventKind
from noodle_upgrade_core.isolation import blame_ourselves
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.deploying.surroundings import Surveyor
from noodle_upgrade_deployment.policies.choice import calendar_for, policy_for
from noodle_upgrade_deployment.policies.vocabulary import DeploymentUpgradeTrigger
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["Lookout"]

logger = logging.getLogger("noodle_upgrade")

_BY_EVENT: Mapping[str, DeploymentUpgradeTrigger] = {
    EventKind.UPGRADE_STARTED: DeploymentUpgradeTrigger.DEPLOYMENT_START,
    EventKind.UPGRADE_COMPLETED: DeploymentUpgradeTrigger.DEPLOYMENT_SUCCESS,
    EventKind.UPGRADE_FAILED: DeploymentUpgradeTrigger.DEPLOYMENT_FAILURE,
    EventKind.UPGRADE_ROLLED_BACK: DeploymentUpgradeTrigger.DEPLOYMENT_ROLLBACK,
}

LetBegin = Callable[[DeploymentUpgradeState, str, str], Awaitable[Any]]
"""Lets a deployment begin that waited: who, and why."""


class Lookout:
    """Watches the events of the core, the clock, the health and the resources, for deployments that wait for them.

    Every upgrade of this program counts, whoever asked for it. What holds all the time lets each deployment that waits
    for it begin once: at the first look at which it holds.
    """

    def __init__(
        self,
        upgrader: Upgrader,
        *,
        settings: DeploymentSettings,
        register: Register,
        surveyor: Surveyor,
        clock: Callable[[], datetime],
        let_begin: LetBegin,
    ) -> None:
        self._upgrader = upgrader
        self._settings = settings
        self._register = register
        self._surveyor = surveyor
        self._clock = clock
        self._let_begin = let_begin
        self._looking: asyncio.Task[None] | None = None
        self._firing: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._unsubscribe: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Look from now on, every `sync_interval` seconds."""
        self._unsubscribe = self._upgrader.events.subscribe(self._notice)
        self._looking = asyncio.create_task(self._look(), name="noodle deployment triggers")

    async def close(self) -> None:
        """Look no more."""
        self._unsubscribe()
        tasks = [task for task in (self._looking, *self._firing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- what the core tells -------------------------------------------------------------------------------------

    def _notice(self, event: Event) -> None:
        if (trigger := _BY_EVENT.get(event.kind)) is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._fire_later, trigger, event)

    def _fire_later(self, trigger: DeploymentUpgradeTrigger, event: Event) -> None:
        task = asyncio.ensure_future(self._fire_for(trigger, event))
        self._firing.add(task)
        task.add_done_callback(self._firing.discard)

    async def _fire_for(self, trigger: DeploymentUpgradeTrigger, event: Event) -> None:
        if not any(state.trigger == trigger for state in self._pending()):
            return
        names = {event.component_name}
        try:
            # An event names the first of the components that an upgrade changes together.
            record = await asyncio.to_thread(self._upgrader.journal.record, event.upgrade_id)
            names |= set(() if record is None else record.components)
        except UpgradeError as error:
            self._failed(error)
        await self._fire(trigger, components=names)

    async def _fire(
        self, trigger: DeploymentUpgradeTrigger, *, components: Collection[str] = (), environment: str = ""
    ) -> None:
        if trigger not in self._settings.triggers.allowed:
            return
        about = f" of {', '.join(sorted(components))}" if components else ""
        for state in self._waiting_for(trigger, components):
            if environment and state.environment != environment:
                continue
            try:
                if policy_for(self._settings, state.environment).auto_trigger:
                    await self._let_begin(state, trigger.value, f"triggered by {trigger}{about}")
            except UpgradeError as error:
                self._failed(error)

    def _waiting_for(
        self, trigger: DeploymentUpgradeTrigger, components: Collection[str]
    ) -> list[DeploymentUpgradeState]:
        names = set(map(canonicalize_name, components))
        return [
            state
            for state in self._pending()
            if state.trigger == trigger and (not state.trigger_of or canonicalize_name(state.trigger_of) in names)
        ]

    def _pending(self) -> list[DeploymentUpgradeState]:
        return [state for state in self._register.active() if state.stage is Stage.PENDING]

    # --- what is looked at ---------------------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            for environment in dict.fromkeys(state.environment for state in self._pending()):
                try:
                    await self._look_at(environment)
                except UpgradeError as error:
                    self._failed(error)
                except Exception as error:
                    logger.exception("the triggers of %s could not be looked at", environment)
                    self._failed(blame_ourselves(error))
            await asyncio.sleep(self._settings.upgrade_integration.sync_interval)

    async def _look_at(self, environment: str) -> None:
        wanted = {state.trigger for state in self._pending() if state.environment == environment}
        policy = policy_for(self._settings, environment)
        conditions: Mapping[DeploymentUpgradeTrigger, Callable[[], Awaitable[Any]]] = {
            DeploymentUpgradeTrigger.SCHEDULED_MAINTENANCE: partial(self._is_maintained, environment),
            DeploymentUpgradeTrigger.HEALTH_DEGRADATION: partial(self._surveyor.ill, policy),
            DeploymentUpgradeTrigger.RESOURCE_PRESSURE: partial(self._surveyor.pressed, policy),
        }
        for trigger, asked in conditions.items():
            if trigger in wanted and await asked():
                await self._fire(trigger, environment=environment)

    async def _is_maintained(self, environment: str) -> bool:
        calendar = calendar_for(self._settings, environment)
        # Without a window there is no maintenance that could begin.
        return bool(calendar.windows) and calendar.is_open(self._clock())

    def _failed(self, error: UpgradeError) -> None:
        self._upgrader.events.emit("deployment_upgrade.failed", message=error.message, data=error.to_wire())
