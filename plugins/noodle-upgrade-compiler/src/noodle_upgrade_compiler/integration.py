"""The compiler of a program as something that can be asked: the programmatic way in.

async with CompilerRuntimeUpgradeIntegration(upgrader) as compiler:
result = await compiler.compile_with_version_awareness(source, "app.noodle", {"lexer": "1.1.0"})
await compiler.upgrade_compiler_component("parser", "2.0.0", auto_approve=True)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from noodle_upgrade_compiler.compiler import Compiler, process_compiler
from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.recompiling import Recompiled, recompile
from noodle_upgrade_compiler.results import CompilationResult
from noodle_upgrade_compiler.settings import CompilerSettings
from noodle_upgrade_core.errors import (
    ComponentUnknownError,
    InvalidRequestError,
    SettingsError,
    UpgradeBusyError,
    UpgradeDisabledError,
)
from noodle_upgrade_core.model import UpgradeRequest, UpgradeResult
from noodle_upgrade_core.upgrade import Upgrader

__all__ = ["CompilerRuntimeUpgradeIntegration"]

_APPROVER = "CompilerRuntimeUpgradeIntegration (auto_approve)"


class CompilerRuntimeUpgradeIntegration:
    """Compiles by versions, and upgrades them, through an Upgrader. Belongs to the Upgrader's event loop."""

    def __init__(
        self, upgrader: Upgrader, *, compiler: Compiler | None = None, settings: CompilerSettings | None = None
    ) -> None:
        self._upgrader = upgrader
        self._settings = settings or _settings_of(upgrader)
        self._busy: set[str] = set()
        self.compiler = compiler or process_compiler()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave everything as it is: compilations and upgrades go on."""

    async def initialize(self) -> None:
        """Look whether the phases are components here. Raises `UpgradeDisabledError`, `ComponentUnknownError`."""
        if not self._settings.upgrade_integration.enabled:
            raise UpgradeDisabledError(
                "The compiler integration is switched off.",
                hint="Set compiler.upgrade_integration.enabled, or NOODLE_COMPILER_UPGRADE_INTEGRATION=1.",
                details={"setting": "compiler.upgrade_integration.enabled"},
            )
        found = {component.name for component in await self._upgrader.components()}
        if missing := [phase for phase in PHASES if phase not in found]:
            raise ComponentUnknownError(
                f"{', '.join(missing)} cannot be upgraded here.",
                hint="The plugin noodle-upgrade-compiler has to take part: `noodle plugins list`.",
                details={"missing": missing},
            )

    async def compile_with_version_awareness(
        self,
        source: str | bytes,
        filename: str,
        target_versions: Mapping[str, str] | None = None,
        *,
        targets: tuple[str, ...] = ("python",),
    ) -> CompilationResult:
        """Compile a source beside the event loop, by the versions that it asks for and those that serve for the rest.

        What is wrong with the source is in the result. Raises `VersionUnknownError`, `InvalidRequestError`.
        """
        return await asyncio.to_thread(
            self.compiler.compile, source, filename, targets=targets, target_versions=target_versions
        )

    async def upgrade_compiler_component(
        self,
        component_name: str,
        target_version: str,
        strategy: str = "gradual",
        auto_approve: bool = False,  # noqa: FBT001, FBT002 - as in the runtime's integration
    ) -> UpgradeResult:
        """Upgrade a phase and return how it ended.

        Raises `ComponentUnknownError` for what is no phase, `UpgradeBusyError` when it is being changed, or as many as
        may are, and what planning raises.
        """
        if component_name not in PHASES:
            raise ComponentUnknownError(
                f"{component_name!r} is no phase of the compiler.", hint=f"They are {', '.join(PHASES)}."
            )
        limits = self._settings.upgrade_integration
        if component_name in self._busy or len(self._busy) >= limits.max_concurrent_upgrades:
            raise UpgradeBusyError(
                f"{', '.join(sorted(self._busy))} is being changed, and {component_name} cannot be now.",
                hint="Wait, or raise compiler.upgrade_integration.max_concurrent_upgrades.",
                details={"busy": sorted(self._busy)},
            )
        self._busy.add(component_name)
        try:
            request = UpgradeRequest(
                component_name=component_name,
                target_version=target_version,
                strategy=strategy,
                timeout_seconds=limits.upgrade_timeout,
                requested_by="CompilerRuntimeUpgradeIntegration",
            )
            plan = await self._upgrader.plan(request)
            return await self._upgrader.upgrade(plan, approved_by=_APPROVER if auto_approve else "")
        finally:
            self._busy.discard(component_name)

    async def trigger_recompilation_for_upgrade(
        self, upgrade_id: str, affected_files: Sequence[str] | None = None
    ) -> Recompiled:
        """Build the files that an upgrade affects, and what imports them, by the versions that serve now.

        Without `affected_files` all that the store knows. Raises `UpgradeUnknownError` for an upgrade that there never
        was, `InvalidRequestError` where nothing is kept, `CompilationError`.
        """
        await self._upgrader.result(upgrade_id)
        store = self.compiler.store
        if store is None or store.path is None:
            raise InvalidRequestError(
                "Nothing that was compiled is kept here.", hint="Set compiler.version_awareness.cache_enabled."
            )
        serving = self.compiler.serving
        files = tuple(store.files()) if affected_files is None else tuple(affected_files)
        return await asyncio.to_thread(recompile, serving, serving, store, files=files)

    def get_integration_status(self) -> dict[str, Any]:
        """Return JSON values: which versions serve, which there are, and what is being changed."""
        return {
            "enabled": self._settings.upgrade_integration.enabled,
            "component_versions": self.compiler.serving.versions,
            "available_versions": {phase: list(self.compiler.library.versions(phase)) for phase in PHASES},
            "active_upgrades": sorted(self._busy),
            "cache_enabled": self.compiler.store is not None,
        }


def _settings_of(upgrader: Upgrader) -> CompilerSettings:
    try:
        found = upgrader.settings.section("compiler")
    except SettingsError:
        return CompilerSettings()
    return found if isinstance(found, CompilerSettings) else CompilerSettings()
