"""Upgrades asked for by name, within the limits that the section `runtime` sets: the programmatic way in.

async with RuntimeUpgradeIntegration(upgrader) as runtime:
    result = await runtime.upgrade_component("markdown-it-py", "3.0.0", strategy="immediate", auto_approve=True)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import (
    ComponentUnknownError,
    SettingsError,
    UpgradeBusyError,
    UpgradeDisabledError,
    UpgradeError,
    UpgradeTimeoutError,
)
from noodle_upgrade_core.events import Event, EventKind
from noodle_upgrade_core.model import ComponentDescriptor, Phase, RollbackPoint, UpgradeRequest, UpgradeResult
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_runtime.settings import RuntimeSettings

__all__ = ["RuntimeUpgradeIntegration"]

_APPROVER = "RuntimeUpgradeIntegration (auto_approve)"


class RuntimeUpgradeIntegration:
    """Upgrades the components of this program through an Upgrader. Belongs to the Upgrader's event loop."""

    def __init__(self, upgrader: Upgrader, *, settings: RuntimeSettings | None = None) -> None:
        self._upgrader = upgrader
        self._settings = settings or _settings_of(upgrader)
        self._components: dict[str, ComponentDescriptor] = {}
        self._busy: set[str] = set()
        self._last: dict[str, UpgradeResult] = {}
        self._sync: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._recovered: set[str] = set()
        self._recovering: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def initialize(self) -> None:
        """Read what is loaded, and go on doing so every `sync_interval` seconds where `auto_sync` says so.

        Raises `UpgradeDisabledError` when the integration is switched off.
        """
        if not self._settings.upgrade_integration.enabled:
            raise UpgradeDisabledError(
                "The runtime integration is switched off.",
                hint="Set runtime.upgrade_integration.enabled, or NOODLE_RUNTIME_UPGRADE_INTEGRATION=1.",
                details={"setting": "runtime.upgrade_integration.enabled"},
            )
        await self.sync()
        if self._settings.upgrade_integration.auto_sync and self._sync is None:
            self._sync = asyncio.create_task(self._keep_in_sync(), name="noodle runtime sync")
        if self._settings.upgrade_integration.enable_error_recovery and self._unsubscribe is None:
            self._loop = asyncio.get_running_loop()
            self._unsubscribe = self._upgrader.events.subscribe(self._notice)

    def stop(self) -> None:
        """Read no more, from any thread; upgrades that run go on."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._sync is not None:
            sync, self._sync = self._sync, None
            with contextlib.suppress(RuntimeError):  # its loop has ended before, and it with that
                sync.get_loop().call_soon_threadsafe(sync.cancel)

    async def close(self) -> None:
        """Read no more; upgrades that run go on."""
        sync = self._sync
        self.stop()
        if sync is not None:
            await asyncio.wait([sync])

    def _notice(self, event: Event) -> None:
        """An upgrade is stuck: it is taken back once more, by itself, as soon as it has ended."""
        stuck = event.kind == EventKind.PHASE_CHANGED and event.data.get("to") == Phase.STUCK
        loop = self._loop
        if stuck and event.component_name and event.upgrade_id not in self._recovered and loop is not None:
            self._recovered.add(event.upgrade_id)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._recover_later, event.upgrade_id, event.component_name)

    def _recover_later(self, upgrade_id: str, component_name: str) -> None:
        async def recover() -> None:
            with contextlib.suppress(UpgradeError):
                await self._upgrader.result(upgrade_id)
            await self._recover(component_name)

        task = asyncio.ensure_future(recover())
        self._recovering.add(task)
        task.add_done_callback(self._recovering.discard)

    async def sync(self) -> tuple[ComponentDescriptor, ...]:
        """Read what is loaded now, and return it."""
        found = await self._upgrader.components()
        self._components = {canonicalize_name(component.name): component for component in found}
        return found

    # --- changing ------------------------------------------------------------------------------------------------

    async def upgrade_component(
        self,
        component_name: str,
        target_version: str,
        strategy: str = "gradual",
        auto_approve: bool = False,  # noqa: FBT001, FBT002 - SPEC's signature
    ) -> UpgradeResult:
        """Upgrade one component and return how it ended.

        `auto_approve` is the approval that the settings may ask for; without it somebody else has to give one. Raises
        `UpgradeBusyError` when the component is being changed, or as many as may are, and what planning raises.
        """
        coordination = self._settings.coordination
        request = UpgradeRequest(
            component_name=component_name,
            target_version=target_version,
            strategy=strategy,
            timeout_seconds=coordination.upgrade_timeout,
            validation_level=coordination.validation_level,
            requested_by="RuntimeUpgradeIntegration",
        )
        with self._claimed(component_name):
            plan = await self._upgrader.plan(request)
            result = await self._upgrader.upgrade(plan, approved_by=_APPROVER if auto_approve else "")
            self._last[canonicalize_name(component_name)] = result
            if self._recovering:
                await asyncio.wait(tuple(self._recovering))
            await self.sync()
            return result

    async def rollback_component(
        self, component_name: str, rollback_point: RollbackPoint | str | None = None
    ) -> UpgradeResult:
        """Go back to a rollback point, or to the version before the last upgrade.

        Raises `RollbackUnavailableError`, `UpgradeBusyError`, and `UpgradeTimeoutError` when it takes longer than
        `rollback_timeout`; it then goes on by itself.
        """
        chosen = rollback_point.rollback_id if isinstance(rollback_point, RollbackPoint) else rollback_point or ""
        limit = self._settings.coordination.rollback_timeout
        with self._claimed(component_name):
            going = self._upgrader.rollback(
                component_name, rollback_id=chosen, requested_by="RuntimeUpgradeIntegration"
            )
            try:
                result = await asyncio.wait_for(going, limit)
            except TimeoutError as error:
                raise UpgradeTimeoutError(
                    f"The rollback of {component_name} did not end within {limit:g} s.",
                    hint="It goes on: `noodle status` shows it. The limit is runtime.coordination.rollback_timeout.",
                    safe="One of the two versions serves.",
                ) from error
            self._last[canonicalize_name(component_name)] = result
            await self.sync()
            return result

    async def _recover(self, component_name: str) -> None:
        """Try once to leave one version, and not two halves; what comes of it is in the journal."""
        with contextlib.suppress(UpgradeError):
            self._last[canonicalize_name(component_name)] = await self._upgrader.rollback(
                component_name, requested_by="RuntimeUpgradeIntegration (error recovery)"
            )

    # --- looking -------------------------------------------------------------------------------------------------

    def get_component_status(self, component_name: str) -> dict[str, Any]:
        """Return what was last read of a component: the keys of SPEC, JSON values only.

        `upgrade_status` is that of the upgrade that runs, else of the last one, else None; `runtime_status` is
        `upgrading` or `running`. Raises `ComponentUnknownError`.
        """
        key = canonicalize_name(component_name)
        component = self._components.get(key)
        if component is None:
            raise ComponentUnknownError(
                f"No component {component_name!r} is loaded.",
                hint="It may have been loaded since the last reading: `await integration.sync()`.",
                details={"component": component_name},
            )
        active = self._active(component.name)
        last = self._last.get(key)
        return {
            "name": component.name,
            "version": component.version,
            "type": str(component.component_type),
            "hot_swappable": component.hot_swappable,
            "critical": component.critical,
            "upgrade_status": active or (None if last is None else str(last.status)),
            "runtime_status": "upgrading" if active else "running",
        }

    def _active(self, name: str) -> str:
        for one in self._upgrader.get_upgrade_status()["active"]:
            if name in one["components"]:
                return str(one["status"])
        return ""

    # --- inside --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _claimed(self, component_name: str) -> Iterator[None]:
        key, most = canonicalize_name(component_name), self._settings.upgrade_integration.max_concurrent_upgrades
        if key in self._busy:
            raise UpgradeBusyError(
                f"{component_name} is being changed already.",
                hint="Wait for it, or cancel it: `noodle status`, `noodle cancel`.",
                details={"busy": [component_name]},
            )
        if len(self._busy) >= most:
            raise UpgradeBusyError(
                f"{most} upgrades run already, and no more may at once.",
                hint="Wait, or raise runtime.upgrade_integration.max_concurrent_upgrades.",
            )
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    async def _keep_in_sync(self) -> None:
        while True:
            await asyncio.sleep(self._settings.upgrade_integration.sync_interval)
            try:
                await self.sync()
            except UpgradeError as error:
                self._upgrader.events.emit("runtime.sync_failed", message=error.message, data=error.to_wire())


def _settings_of(upgrader: Upgrader) -> RuntimeSettings:
    try:
        found = upgrader.settings.section("runtime")
    except SettingsError:
        return RuntimeSettings()
    return found if isinstance(found, RuntimeSettings) else RuntimeSettings()
