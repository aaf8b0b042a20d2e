"""The core's own sections of the settings: `runtime_upgrade` and `stack`."""

from __future__ import annotations

from attrs import frozen

from noodle_upgrade_core.model import ValidationLevel
from noodle_upgrade_core.settings import setting

__all__ = [
    "ApprovalSettings",
    "ComponentsSettings",
    "DriverSettings",
    "HotSwapSettings",
    "LimitSettings",
    "PluginSettings",
    "RollbackSettings",
    "RuntimeUpgradeSettings",
    "SoakSettings",
    "SourceSettings",
    "StackSettings",
    "ValidationSettings",
    "WheelSettings",
]

_MIB = 1 << 20
# What waits longer than threads can (292 years) fails only when it waits; a year is long enough to mean "no limit".
_YEAR = 366 * 86_400.0


@frozen(kw_only=True)
class HotSwapSettings:
    """Live swaps."""

    enabled: bool = setting(True, env="NOODLE_HOT_SWAP_ENABLED", help="Whether code may change while it runs.")
    max_concurrent_swaps: int = setting(3, ge=1, help="Swaps at the same time, at most.")
    swap_timeout: float = setting(30.0, gt=0, le=_YEAR, help="Seconds to stage one new version.")


@frozen(kw_only=True)
class RollbackSettings:
    """Rollback points, and whether going back is possible at all."""

    enabled: bool = setting(True, env="NOODLE_ROLLBACK_ENABLED", help="Whether rollback points are made and used.")
    max_rollback_points: int = setting(10, ge=1, help="Rollback points kept for a component.")
    rollback_retention_days: float = setting(30.0, gt=0, le=36_500, help="Days until a rollback point expires.")


@frozen(kw_only=True)
class ValidationSettings:
    """Checks before and after a swap."""

    level: ValidationLevel = setting(
        ValidationLevel.STRICT, env="NOODLE_UPGRADE_VALIDATION_LEVEL", help="Which findings stop an upgrade."
    )
    pre_upgrade_checks: bool = setting(True, help="Whether plugins validate the plan before anything is staged.")
    post_upgrade_validation: bool = setting(True, help="Whether plugins validate again after the swap is staged.")


@frozen(kw_only=True)
class ComponentsSettings:
    """What can be upgraded, and where its versions lie."""

    registry_path: str = setting("runtime_components", blank=False, help="Folder of the source `directory`.")
    auto_discovery: bool = setting(True, help="Whether plugins are asked which components there are.")
    dependency_resolution: bool = setting(True, help="Whether a plan takes dependencies into account.")


@frozen(kw_only=True)
class ApprovalSettings:
    """Who has to agree."""

    automatic: bool = setting(
        False, env="NOODLE_AUTO_UPGRADE_APPROVAL", help="Whether an upgrade goes ahead without a person's approval."
    )
    expires: float = setting(
        3600.0,
        gt=0,
        le=_YEAR,
        help="Seconds that an upgrade waits for a person; then it ends as if it never was.",
    )


@frozen(kw_only=True)
class SoakSettings:
    """How long a committed version stays under watch."""

    seconds: float = setting(0.0, ge=0, le=_YEAR, help="Seconds to watch the new version after the commit.")
    tries: int = setting(3, ge=1, help="Restarts that a soak survives; one more goes back.")


@frozen(kw_only=True)
class WheelSettings:
    """The source `wheel`."""

    locations: tuple[str, ...] = setting((), help="Wheels, or folders of wheels.")
    index: bool = setting(True, help="Whether pip may be asked for a version that is not there.")
    pip_timeout: float = setting(120.0, gt=0, le=_YEAR, help="Seconds that pip may take.")


@frozen(kw_only=True)
class SourceSettings:
    """Where new versions come from."""

    order: tuple[str, ...] = setting(("directory", "wheel"), blank=False, help="Sources, the first that knows counts.")
    wheel: WheelSettings = WheelSettings()


@frozen(kw_only=True)
class LimitSettings:
    """The most that an artefact may be."""

    max_artifact_bytes: int = setting(200 * _MIB, ge=1, help="Bytes of one artefact.")
    max_unpacked_bytes: int = setting(1024 * _MIB, ge=1, help="Bytes of one artefact, unpacked.")
    max_files: int = setting(50_000, ge=1, help="Files in one artefact.")


@frozen(kw_only=True)
class PluginSettings:
    """Which installed plugins take part; `enabled` empty means all of them."""

    enabled: tuple[str, ...] = setting((), help="Plugins that take part; none named: all.")
    disabled: tuple[str, ...] = setting((), help="Plugins that are not even imported.")
    required: tuple[str, ...] = setting((), help="Plugins without which nothing starts.")
    hook_timeout: float = setting(30.0, gt=0, le=_YEAR, help="Seconds that one hook of one plugin may take.")
    import_timeout: float = setting(
        30.0, gt=0, le=_YEAR, help="Seconds that the import of one plugin may take at the start, and its making."
    )

    def __attrs_post_init__(self) -> None:
        shut = sorted(set(self.required) & set(self.disabled))
        if shut:
            raise ValueError(f"{', '.join(shut)} is both required and disabled")
        left_out = sorted(set(self.required) - set(self.enabled)) if self.enabled else []
        if left_out:
            raise ValueError(f"{', '.join(left_out)} is required and not among those that take part")


@frozen(kw_only=True)
class DriverSettings:
    """The drivers by name; an empty decider is `approval`, or `unanimous` when approval is automatic."""

    decider: str = setting("", help="What makes one decision of the votes.")
    judge: str = setting("killswitch", blank=False, help="What reads the measurements of a deployment.")
    journal: str = setting("sqlite", blank=False, help="Where durable state is kept.")
    strategy: str = setting("gradual", blank=False, help="How traffic moves when a request does not say.")


@frozen(kw_only=True)
class RuntimeUpgradeSettings:
    """The section `runtime_upgrade`: the core's own."""

    enabled: bool = setting(True, env="NOODLE_RUNTIME_UPGRADE_ENABLED", help="The switch for every upgrade.")
    upgrade_timeout: float = setting(
        300.0, env="NOODLE_UPGRADE_TIMEOUT", gt=0, le=_YEAR, help="Seconds that one upgrade may take, at most."
    )
    hot_swap: HotSwapSettings = HotSwapSettings()
    rollback: RollbackSettings = RollbackSettings()
    validation: ValidationSettings = ValidationSettings()
    components: ComponentsSettings = ComponentsSettings()
    approval: ApprovalSettings = ApprovalSettings()
    critical_components: tuple[str, ...] = setting(
        (), env="NOODLE_CRITICAL_COMPONENTS", help="Components that count as critical, whatever they say themselves."
    )
    gradual_rollout_percentage: float = setting(
        10.0, env="NOODLE_GRADUAL_ROLLOUT_PERCENTAGE", gt=0, le=100, help="Points of traffic in one step of `gradual`."
    )
    state_directory: str = setting(
        ".noodle", env="NOODLE_STATE_DIRECTORY", blank=False, help="Folder of the journal and the artefacts."
    )
    log_level: str = setting(
        "INFO",
        env="NOODLE_LOG_LEVEL",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        help="What is logged.",
    )
    max_concurrent_upgrades: int = setting(
        3, env="NOODLE_MAX_CONCURRENT_UPGRADES", ge=1, help="Upgrades at the same time, at most."
    )
    soak: SoakSettings = SoakSettings()
    sources: SourceSettings = SourceSettings()
    limits: LimitSettings = LimitSettings()
    plugins: PluginSettings = PluginSettings()
    drivers: DriverSettings = DriverSettings()


@frozen(kw_only=True)
class StackSettings:
    """The section `stack`: which plugins and drivers make up this system; empty means that the stack does not say."""

    plugins: tuple[str, ...] = setting((), help="Plugins that take part.")
    decider: str = setting("", help="Wins over runtime_upgrade.drivers.decider.")
    strategy: str = setting("", help="Wins over runtime_upgrade.drivers.strategy.")
    journal: str = setting("", help="Wins over runtime_upgrade.drivers.journal.")
    judge: str = setting("", help="Wins over runtime_upgrade.drivers.judge.")
