"""The runtime plugin: its hooks, thin; the work lies in the modules named for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from noodle_upgrade_core.hookspecs import ActiveVersion, Host, Receipt, Stage, UpgradeContext, hookimpl
from noodle_upgrade_core.model import ComponentDescriptor, Finding, Phase, PlanStep, UpgradePlan, Verdict
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_runtime.runtime import Runtime
from noodle_upgrade_runtime.settings import RuntimeSettings
from noodle_upgrade_runtime.swap import RuntimeSwap

__all__ = ["RuntimePlugin"]


class RuntimePlugin:
    """Changes code of the program that it runs in."""

    settings: ClassVar[type[RuntimeSettings]] = RuntimeSettings
    section: ClassVar[str] = "runtime"

    def __init__(self, host: Host) -> None:
        self.runtime = Runtime(host)

    @hookimpl
    def discover(self) -> Iterable[ComponentDescriptor]:
        """Return the components that this process has loaded."""
        return self.runtime.components()

    @hookimpl
    def restore(self, active: tuple[ActiveVersion, ...], context: UpgradeContext) -> Iterable[Finding]:
        """Make this process import, or run, the active versions."""
        return self.runtime.restore(active, context)

    @hookimpl
    def assess(self, step: PlanStep, context: UpgradeContext) -> Verdict | None:
        """Choose an engine for a step and say whether it fits."""
        return self.runtime.assess(step, context)

    @hookimpl
    def validate(self, plan: UpgradePlan, stage: Stage, context: UpgradeContext) -> Iterable[Finding]:
        """Check the steps that this plugin carries out."""
        return self.runtime.validate(plan, stage, context)

    @hookimpl
    def swap(self, steps: tuple[PlanStep, ...], context: UpgradeContext) -> RuntimeSwap | None:
        """Stage all steps as one change."""
        return self.runtime.stage(steps, context)

    @hookimpl
    def rollback(self, plan: UpgradePlan, reached: Phase, context: UpgradeContext) -> Receipt | None:
        """Let go of what was staged for a plan and is not in use."""
        del plan, reached
        return self.runtime.drop(context.upgrade_id)

    @hookimpl
    async def opened(self, upgrader: Upgrader) -> None:
        """Begin to re-read what is loaded, and to recover from what was left half-way, as the settings say."""
        await self.runtime.begin(upgrader)

    def close(self) -> None:
        """Look for components no more; what runs goes on running."""
        self.runtime.close()
