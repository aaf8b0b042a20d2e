"""The settings of the runtime plugin: the section `runtime`."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from noodle_upgrade_core.model import ValidationLevel
from noodle_upgrade_core.settings import setting

__all__ = ["ComponentSettings", "CoordinationSettings", "IntegrationSettings", "RuntimeSettings"]


@frozen(kw_only=True)
class IntegrationSettings:
    """How this program takes part in upgrades."""

    enabled: bool = setting(
        True,
        env="NOODLE_RUNTIME_UPGRADE_INTEGRATION",
        help="Whether running code may be changed here; versions that are active already are restored all the same.",
    )
    auto_sync: bool = setting(
        True, env="NOODLE_RUNTIME_UPGRADE_SYNC", help="Whether RuntimeUpgradeIntegration re-reads what is loaded."
    )
    sync_interval: float = setting(
        60.0, env="NOODLE_RUNTIME_UPGRADE_SYNC_INTERVAL", gt=0, le=86400, help="Seconds between two readings."
    )
    max_concurrent_upgrades: int = setting(
        3, ge=1, le=1000, help="How many upgrades RuntimeUpgradeIntegration runs at once."
    )
    enable_runtime_coordination: bool = setting(
        True, help="Whether code is changed only at an instant in which no thread is inside it."
    )
    enable_performance_monitoring: bool = setting(
        True, help="Whether calls, errors and latency are counted per version while a deployment runs."
    )
    enable_error_recovery: bool = setting(
        True, help="Whether an upgrade that was left half-way is rolled back without being asked."
    )


@frozen(kw_only=True)
class ComponentSettings:
    """What counts as a component."""

    auto_discovery: bool = setting(
        True, help="Whether loaded distributions and modules are components without being declared."
    )
    hot_swappable_default: bool = setting(
        True, help="Whether a component that does not say so itself may be changed while it runs."
    )
    critical_components: tuple[str, ...] = setting(
        (), env="NOODLE_CRITICAL_COMPONENTS", help="Components whose findings stop an upgrade at every level."
    )


@frozen(kw_only=True)
class CoordinationSettings:
    """Limits of the upgrades that RuntimeUpgradeIntegration asks for, and of staging."""

    upgrade_timeout: float = setting(
        30.0, env="NOODLE_RUNTIME_UPGRADE_TIMEOUT", gt=0, le=86400, help="Seconds for one upgrade, staging included."
    )
    rollback_timeout: float = setting(60.0, gt=0, le=86400, help="Seconds for one rollback.")
    validation_level: ValidationLevel = setting(
        ValidationLevel.STRICT, help="Which findings stop: strict, normal, permissive."
    )


@frozen(kw_only=True)
class RuntimeSettings:
    """The section `runtime`."""

    upgrade_integration: IntegrationSettings = field(factory=IntegrationSettings)
    components: ComponentSettings = field(factory=ComponentSettings)
    coordination: CoordinationSettings = field(factory=CoordinationSettings)
    quiesce: float = setting(
        5.0, env="NOODLE_RUNTIME_QUIESCE", ge=0, le=3600, help="Seconds to wait for an instant with no call inside."
    )
    on_busy: Literal["refuse", "force"] = setting(
        "refuse", env="NOODLE_RUNTIME_ON_BUSY", help="What to do when there is no such instant."
    )
    rehearsal: bool = setting(
        True,
        env="NOODLE_RUNTIME_REHEARSAL",
        help="Whether a plan tries each change in an interpreter of its own first.",
    )
    drain_timeout: float = setting(
        30.0,
        env="NOODLE_RUNTIME_DRAIN_TIMEOUT",
        ge=0,
        le=86400,
        help="Seconds until whoever is still inside the old version is named.",
    )
    on_drain_timeout: Literal["extend", "rollback", "force"] = setting(
        "extend",
        env="NOODLE_RUNTIME_ON_DRAIN_TIMEOUT",
        help="Then: go on waiting beside the program; or wait before the commit, and go back; or commit with a mark.",
    )
