"""The compiler plugin: its hooks, thin; the work lies in the modules named for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from noodle_upgrade_compiler.compiler import Compiler, process_compiler
from noodle_upgrade_compiler.configuring import configure
from noodle_upgrade_compiler.discovery import components_of
from noodle_upgrade_compiler.gates import findings_of
from noodle_upgrade_compiler.operations import operations_of
from noodle_upgrade_compiler.rebuilding import rebuilt
from noodle_upgrade_compiler.settings import CompilerSettings
from noodle_upgrade_compiler.watching import Watch
from noodle_upgrade_core import (
    ArtifactRef,
    ComponentDescriptor,
    Finding,
    Host,
    Operation,
    UpgradeContext,
    UpgradePlan,
    Upgrader,
    hookimpl,
)
from noodle_upgrade_core.hookspecs import Stage

__all__ = ["CompilerPlugin"]


class CompilerPlugin:
    """Makes the phases of this process's compiler components that can be upgraded."""

    settings: ClassVar[type[CompilerSettings]] = CompilerSettings
    section: ClassVar[str] = "compiler"
    time_limits: ClassVar[dict[str, float]] = {"recompile": 600.0}

    def __init__(self, host: Host) -> None:
        self._settings: CompilerSettings = host.settings if host.settings is not None else CompilerSettings()
        self._watch: Watch | None = None
        self.compiler: Compiler = process_compiler()
        configure(self.compiler, self._settings, host.directory, host.core)

    @hookimpl
    def discover(self) -> Iterable[ComponentDescriptor]:
        """Return the phases that run."""
        if not self._settings.upgrade_integration.enabled:
            return ()
        return components_of(self.compiler, self._settings)

    @hookimpl
    def validate(self, plan: UpgradePlan, stage: Stage, context: UpgradeContext) -> Iterable[Finding]:
        """Hold versions of phases to the constraints and the features that the settings name."""
        del context
        return findings_of(plan, stage, self._settings)

    @hookimpl
    def recompile(self, plan: UpgradePlan, context: UpgradeContext) -> Iterable[ArtifactRef]:
        """Build the files that a new version affects, before it serves."""
        if not self._settings.upgrade_integration.auto_recompile_on_upgrade:
            return ()
        return rebuilt(plan, context, self.compiler)

    @hookimpl
    def operations(self) -> Iterable[Operation]:
        """Say what the compiler can be asked for."""
        return operations_of(self.compiler)

    @hookimpl
    async def opened(self, upgrader: Upgrader) -> None:
        """Take a version back, from now on, that fails after it was taken into use."""
        self._watch = Watch(upgrader, self.compiler)
        self._watch.begin()

    def close(self) -> None:
        """Close the file of the store; the compiler goes on without it."""
        if self._watch is not None:
            self._watch.end()
        if self.compiler.store is not None:
            self.compiler.store.close()
