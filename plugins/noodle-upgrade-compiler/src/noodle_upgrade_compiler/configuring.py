"""A compiler as the settings want it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.contract import DEFAULT_VERSIONS, PHASES
from noodle_upgrade_compiler.settings import CompilerSettings
from noodle_upgrade_compiler.store import Store
from noodle_upgrade_compiler.versions import Library

__all__ = ["configure", "store_of"]


def configure(compiler: Compiler, settings: CompilerSettings, directory: Path, core: Any = None) -> None:
    """Set a compiler up: where versions lie, which it begins with, what it keeps, and how it lets itself be changed.

    Raises `VersionUnknownError` for a version that there is not.
    """
    registry = getattr(getattr(core, "components", None), "registry_path", None)
    compiler.library = Library([Path(registry).expanduser()] if registry else [])
    compiler.checks = settings.upgrade_integration.validate_compiler_compatibility
    compiler.pauses = settings.upgrade_integration.pause_compilation_during_upgrade
    compiler.pause_within = settings.upgrade_integration.upgrade_timeout
    compiler.version_aware = settings.upgrade_integration.version_aware_compilation
    told = {phase: settings.components[phase].version for phase in PHASES if phase in settings.components}
    chosen = [compiler.library.get(phase, told.get(phase) or DEFAULT_VERSIONS[phase]) for phase in PHASES]
    compiler.current = compiler.current.having(*chosen)
    compiler.store = store_of(settings, directory)


def store_of(settings: CompilerSettings, directory: Path) -> Store | None:
    """Return the store that the settings want, None where they want none."""
    kept = settings.version_awareness
    if not kept.cache_enabled:
        return None
    folder = kept.cache_directory or directory
    return Store(folder / "outputs.db", entries=kept.cache_size, max_bytes=kept.cache_bytes)
