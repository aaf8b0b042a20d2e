"""The blocking twin of the Upgrader, for programs with threads: its own event loop in its own thread.

with BlockingUpgrader.open(settings) as upgrader:
    plan = upgrader.plan(UpgradeRequest(component_name="markdown-it-py", target_version="3.0.0"))
    upgrader.upgrade(plan, approved_by="alice").raise_for_error()
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from noodle_upgrade_core.config.loading import Settings
from noodle_upgrade_core.documents import BlockingDocuments
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.events import EventBus
from noodle_upgrade_core.hookspecs import Operation
from noodle_upgrade_core.journal.contract import Journal
from noodle_upgrade_core.model import (
    ComponentDescriptor,
    FeasibilityResult,
    Finding,
    RollbackPoint,
    UpgradePlan,
    UpgradeRequest,
    UpgradeResult,
    UpgradeStatus,
)
from noodle_upgrade_core.plugins.loading import PluginSet
from noodle_upgrade_core.store.content import ContentStore
from noodle_upgrade_core.traffic import Gauge
from noodle_upgrade_core.upgrade import Upgrader

__all__ = ["BlockingUpgrader"]

T = TypeVar("T")


class BlockingUpgrader:
    """Every public method of `Upgrader`, callable from any thread; made by `BlockingUpgrader.open`.

    The program's own threads and event loops are not used: a plugin that is slow delays upgrades, not requests. Only
    what `open` itself does, to renew the lease and to close, is not there.
    """

    def __init__(self, upgrader: Upgrader, loop: asyncio.AbstractEventLoop) -> None:
        self.upgrader = upgrader
        self.loop = loop

    @classmethod
    @contextlib.contextmanager
    def open(cls, settings: Settings | None = None, **options: Any) -> Iterator[BlockingUpgrader]:
        """Open an Upgrader on a loop of its own; takes what `Upgrader.open` takes, raises what it raises."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="noodle-upgrader", daemon=True)
        thread.start()
        try:
            manager = Upgrader.open(settings, **options)
            opening = asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop)
            try:
                yield cls(opening.result(), loop)
            finally:
                # Also where only the wait for it was interrupted: what is half open by then is closed once it is open.
                concurrent.futures.wait([opening])
                if not opening.cancelled() and opening.exception() is None:
                    asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result()
        finally:
            asyncio.run_coroutine_threadsafe(_drain(loop), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the Upgrader on its loop and wait for it; never call it from that loop.

        Who stops waiting, by Ctrl-C, has given up what was waited for: it is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        finally:
            future.cancel()  # nothing, where it has ended

    def _ask(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a plain method of the Upgrader on its loop."""

        async def ask() -> T:
            return function(*arguments, **options)

        return self.call(ask())

    # --- what it was made of -------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The effective settings."""
        return self.upgrader.settings

    @property
    def directory(self) -> Path:
        """The state directory."""
        return self.upgrader.directory

    @property
    def journal(self) -> Journal:
        """The durable state; its methods may be called from any thread."""
        return self.upgrader.journal

    @property
    def store(self) -> ContentStore:
        """Where the bytes of versions are kept."""
        return self.upgrader.store

    @property
    def drivers(self) -> Drivers:
        """The drivers that may be used."""
        return self.upgrader.drivers

    @property
    def plugins(self) -> PluginSet:
        """The plugins that take part, and those that were left out."""
        return self.upgrader.plugins

    @property
    def events(self) -> EventBus:
        """What happens, as it happens."""
        return self.upgrader.events

    @property
    def closing(self) -> bool:
        """Whether it is being closed: nothing begins any more, and what runs goes back."""
        return self.upgrader.closing

    @property
    def gauge(self) -> Gauge:
        """Where calls that enter the program are counted while a deployment runs."""
        return self.upgrader.gauge

    # --- looking -------------------------------------------------------------------------------------------------

    def components(self) -> tuple[ComponentDescriptor, ...]:
        """See `Upgrader.components`."""
        return self.call(self.upgrader.components())

    def register_component(self, component: ComponentDescriptor) -> None:
        """See `Upgrader.register_component`."""
        self._ask(self.upgrader.register_component, component)

    def discover_components(self) -> tuple[ComponentDescriptor, ...]:
        """See `Upgrader.discover_components`."""
        return self.call(self.upgrader.discover_components())

    def request(self, component_name: str, target_version: str, **fields: Any) -> UpgradeRequest:
        """See `Upgrader.request`."""
        return self._ask(self.upgrader.request, component_name, target_version, **fields)

    def plan(self, request: UpgradeRequest | Sequence[UpgradeRequest]) -> UpgradePlan:
        """See `Upgrader.plan`."""
        return self.call(self.upgrader.plan(request))

    def list_versions(self, component_name: str) -> tuple[str, ...]:
        """See `Upgrader.list_versions`."""
        return self.call(self.upgrader.list_versions(component_name))

    def analyze_upgrade_feasibility(self, request: UpgradeRequest) -> FeasibilityResult:
        """See `Upgrader.analyze_upgrade_feasibility`."""
        return self.call(self.upgrader.analyze_upgrade_feasibility(request))

    def get_upgrade_status(self, upgrade_id: str = "") -> dict[str, Any]:
        """See `Upgrader.get_upgrade_status`."""
        return self._ask(self.upgrader.get_upgrade_status, upgrade_id)

    def get_upgrade_history(self, limit: int = 50, *, component_name: str = "") -> tuple[dict[str, Any], ...]:
        """See `Upgrader.get_upgrade_history`."""
        return self._ask(self.upgrader.get_upgrade_history, limit, component_name=component_name)

    def list_rollback_points(self, component_name: str = "") -> tuple[RollbackPoint, ...]:
        """See `Upgrader.list_rollback_points`."""
        return self._ask(self.upgrader.list_rollback_points, component_name)

    def documents(self, owner: str) -> BlockingDocuments:
        """See `Upgrader.documents`."""
        return BlockingDocuments(self.journal, owner, self.call)

    def verify_rollback_point(self, rollback_id: str) -> tuple[Finding, ...]:
        """See `Upgrader.verify_rollback_point`."""
        return self.call(self.upgrader.verify_rollback_point(rollback_id))

    def expire_rollback_points(self) -> int:
        """See `Upgrader.expire_rollback_points`."""
        return self.call(self.upgrader.expire_rollback_points())

    def collect_garbage(self) -> int:
        """See `Upgrader.collect_garbage`."""
        return self.call(self.upgrader.collect_garbage())

    def doctor(self) -> tuple[Finding, ...]:
        """See `Upgrader.doctor`."""
        return self.call(self.upgrader.doctor())

    # --- changing ------------------------------------------------------------------------------------------------

    def upgrade(self, plan: UpgradePlan | UpgradeRequest, *, approved_by: str = "") -> UpgradeResult:
        """See `Upgrader.upgrade`."""
        return self.call(self.upgrader.upgrade(plan, approved_by=approved_by))

    def start(self, plan: UpgradePlan | UpgradeRequest, *, approved_by: str = "") -> str:
        """See `Upgrader.start`."""
        return self.call(self.upgrader.start(plan, approved_by=approved_by))

    def result(self, upgrade_id: str) -> UpgradeResult:
        """See `Upgrader.result`."""
        return self.call(self.upgrader.result(upgrade_id))

    def approve(self, upgrade_id: str, *, by: str, plan_digest: str = "") -> None:
        """See `Upgrader.approve`."""
        self.call(self.upgrader.approve(upgrade_id, by=by, plan_digest=plan_digest))

    def cancel_upgrade(self, upgrade_id: str, *, by: str = "") -> UpgradeStatus:
        """See `Upgrader.cancel_upgrade`."""
        return self.call(self.upgrader.cancel_upgrade(upgrade_id, by=by))

    def pause_upgrade(self, upgrade_id: str, *, by: str) -> None:
        """See `Upgrader.pause_upgrade`."""
        self.call(self.upgrader.pause_upgrade(upgrade_id, by=by))

    def resume_upgrade(self, upgrade_id: str, *, by: str) -> None:
        """See `Upgrader.resume_upgrade`."""
        self.call(self.upgrader.resume_upgrade(upgrade_id, by=by))

    def promote_upgrade(self, upgrade_id: str, *, by: str, full: bool = False) -> None:
        """See `Upgrader.promote_upgrade`."""
        self.call(self.upgrader.promote_upgrade(upgrade_id, by=by, full=full))

    def operate(self, name: str, arguments: Mapping[str, Any] | None = None, *, by: str) -> Any:
        """See `Upgrader.operate`."""
        return self.call(self.upgrader.operate(name, arguments, by=by))

    def list_operations(self) -> tuple[Operation, ...]:
        """See `Upgrader.list_operations`."""
        return self.call(self.upgrader.list_operations())

    def rollback(self, component_name: str, *, rollback_id: str = "", requested_by: str = "system") -> UpgradeResult:
        """See `Upgrader.rollback`."""
        return self.call(self.upgrader.rollback(component_name, rollback_id=rollback_id, requested_by=requested_by))

    def resume(self) -> tuple[Finding, ...]:
        """See `Upgrader.resume`."""
        return self.call(self.upgrader.resume())


async def _drain(loop: asyncio.AbstractEventLoop) -> None:
    """Let what the loop still holds come to its end, so that nothing is destroyed while it is pending."""
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
