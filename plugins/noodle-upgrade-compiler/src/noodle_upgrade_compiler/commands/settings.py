"""What the commands take from the settings, which need no running program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.configuring import configure
from noodle_upgrade_compiler.settings import CompilerSettings
from noodle_upgrade_compiler.store import Store
from noodle_upgrade_core.config import default_files, load_settings

__all__ = ["compiler_of", "store_for"]


def _settings(ctx: click.Context) -> tuple[CompilerSettings, Any]:
    files = getattr(ctx.obj, "config", ()) or default_files()
    settings = load_settings(files, sections={"compiler": CompilerSettings})
    return settings.section("compiler"), settings.runtime_upgrade


def compiler_of(ctx: click.Context, versions: tuple[str, ...]) -> Compiler:
    """Return a compiler as the settings here want it, with the versions that are asked for."""
    settings, core = _settings(ctx)
    compiler = Compiler()
    configure(compiler, settings, Path(), core)
    compiler.store = None
    chosen = []
    for asked in versions:
        phase, sign, version = asked.partition("=")
        if not sign:
            raise click.BadParameter(f"{asked!r} is not PHASE=VERSION, as lexer=1.1.0 is.", param_hint="--use")
        chosen.append(compiler.library.get(phase, version))
    compiler.current = compiler.current.having(*chosen)
    return compiler


def store_for(ctx: click.Context) -> Store:
    """Return the store that a program of this folder has as well."""
    settings, core = _settings(ctx)
    kept = settings.version_awareness
    folder = kept.cache_directory or Path(core.state_directory) / "plugins" / "compiler"
    return Store(folder / "outputs.db", entries=kept.cache_size, max_bytes=kept.cache_bytes)
