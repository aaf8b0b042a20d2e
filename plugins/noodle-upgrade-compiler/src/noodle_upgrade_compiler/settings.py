"""The settings of the compiler plugin: the section `compiler`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_core import versions
from noodle_upgrade_core.settings import Problem, setting

__all__ = ["CompilerSettings", "ComponentSettings", "IntegrationSettings", "VersionSettings"]


@frozen(kw_only=True)
class IntegrationSettings:
    """How the compiler of this program takes part in upgrades."""

    enabled: bool = setting(
        True,
        env="NOODLE_COMPILER_UPGRADE_INTEGRATION",
        help="Whether the phases of this program's compiler are components that can be upgraded.",
    )
    hot_swap_enabled: bool = setting(
        True, env="NOODLE_COMPILER_HOT_SWAP_ENABLED", help="Whether phases may be changed while the program runs."
    )
    version_aware_compilation: bool = setting(
        True,
        env="NOODLE_COMPILER_VERSION_AWARE",
        help="Whether a compilation may ask for other versions than those that run.",
    )
    auto_recompile_on_upgrade: bool = setting(
        True,
        env="NOODLE_COMPILER_AUTO_RECOMPILE",
        help="Whether the files that an upgrade affects are compiled again before the new version serves.",
    )
    pause_compilation_during_upgrade: bool = setting(
        True,
        env="NOODLE_COMPILER_PAUSE_ON_UPGRADE",
        help="Whether a change of versions waits until no compilation runs; else each ends as it began.",
    )
    validate_compiler_compatibility: bool = setting(
        True, help="Whether a new version has to compile a program with every construct before it is taken into use."
    )
    max_concurrent_upgrades: int = setting(
        2,
        env="NOODLE_COMPILER_MAX_CONCURRENT_UPGRADES",
        ge=1,
        le=1000,
        help="How many upgrades of phases CompilerRuntimeUpgradeIntegration runs at once.",
    )
    upgrade_timeout: float = setting(
        30.0, env="NOODLE_COMPILER_UPGRADE_TIMEOUT", gt=0, le=86_400, help="Seconds for one upgrade of a phase."
    )


@frozen(kw_only=True)
class ComponentSettings:
    """One phase."""

    version: str = setting("", help="The version to begin with, until an upgrade; the default one where it is empty.")
    hot_swappable: bool = setting(True, help="Whether it may be changed while the program runs.")
    critical: bool = setting(True, help="Whether findings about it stop an upgrade at every level.")
    features: tuple[str, ...] = setting((), help="What its version has to offer.")
    upgrade_impact: str = setting("", help="What an upgrade means for those who compile, for people to read.")


@frozen(kw_only=True)
class VersionSettings:
    """Which versions may be used, and what is kept of what they made."""

    cache_enabled: bool = setting(True, help="Whether outputs of phases are kept.")
    cache_size: int = setting(100, ge=1, le=1_000_000, help="How many files' outputs are kept in memory.")
    cache_directory: Path | None = setting(
        None, help="The folder of the store on the disk; in the plugin's folder where there is none."
    )
    cache_bytes: int = setting(
        1 << 30, ge=1 << 20, le=1 << 50, help="Bytes of outputs on the disk: what was used last is kept."
    )
    version_constraints: Mapping[str, str] = setting(
        factory=dict, help="Specifiers that versions of a phase have to meet: parser = '>=1.0'."
    )


def _components() -> Mapping[str, ComponentSettings]:
    return {phase: ComponentSettings(critical=phase != "optimizer") for phase in PHASES}


@frozen(kw_only=True)
class CompilerSettings:
    """The section `compiler`."""

    upgrade_integration: IntegrationSettings = field(factory=IntegrationSettings)
    components: Mapping[str, ComponentSettings] = setting(factory=_components, help="The phases, by name.")
    version_awareness: VersionSettings = field(factory=VersionSettings)

    def __attrs_post_init__(self) -> None:
        for names in (self.components, self.version_awareness.version_constraints):
            if unknown := sorted(set(names).difference(PHASES)):
                raise ValueError(f"there is no phase {', '.join(unknown)}: they are {', '.join(PHASES)}")
        for phase, component in self.components.items():
            if component.version and not versions.is_version(component.version):
                raise ValueError(f"components.{phase}.version {component.version!r} is no version")
        for phase, constraint in self.version_awareness.version_constraints.items():
            if not versions.is_specifier(constraint):
                raise ValueError(f"version_constraints.{phase} {constraint!r} is no specifier, as '>=1.0' is")

    def problems(self) -> Iterator[Problem]:
        """Yield what is allowed and cannot be meant."""
        for phase, component in self.components.items():
            constraint = self.version_awareness.version_constraints.get(phase, "")
            if component.version and constraint and not versions.latest((component.version,), constraint):
                yield Problem(
                    key=f"components.{phase}.version",
                    problem=f"{component.version} does not meet the constraint {constraint}",
                    hint="One of the two decides: the constraint, and the version is not used.",
                )
