"""The phases as components: what runs, and what each declares."""

from __future__ import annotations

from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.settings import CompilerSettings, ComponentSettings
from noodle_upgrade_core.model import ComponentDescriptor, ComponentType, Dependency

__all__ = ["components_of"]

SOURCES = ("phases", "directory")
"""Where versions of phases come from: never an index, on which `parser` is somebody else's."""


def components_of(compiler: Compiler, settings: CompilerSettings) -> tuple[ComponentDescriptor, ...]:
    """Return the four phases with the versions that compilations begin with now."""
    found, before = [], None
    for running in compiler.serving:
        told = settings.components.get(running.phase, ComponentSettings(critical=running.phase != "optimizer"))
        constraint = settings.version_awareness.version_constraints.get(before or "", "")
        found.append(
            ComponentDescriptor(
                name=running.phase,
                version=running.version,
                description=f"The {running.phase.replace('_', ' ')} of the Noodle compiler",
                component_type=ComponentType.COMPILER,
                dependencies=() if before is None else (Dependency(before, constraint),),
                hot_swappable=told.hot_swappable and settings.upgrade_integration.hot_swap_enabled,
                critical=told.critical,
                metadata={
                    "engine": "phases",
                    "sources": list(SOURCES),
                    "features": list(running.features),
                    "digest": running.digest,
                    **({"upgrade_impact": told.upgrade_impact} if told.upgrade_impact else {}),
                    **({} if told.hot_swappable else {"reason": "its settings say so: hot_swappable = false"}),
                },
            )
        )
        before = running.phase
    assert before == PHASES[-1]  # noqa: S101 - a set has all four
    return tuple(found)
