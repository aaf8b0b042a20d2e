"""What the plugin can be asked for by name: a program that has it is a compile server for whoever may control it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from noodle_upgrade_compiler.building import sources_under
from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.linking import unresolved
from noodle_upgrade_compiler.results import files_of
from noodle_upgrade_compiler.stamps import digest_of_source
from noodle_upgrade_core import Operation
from noodle_upgrade_core.wire import from_wire

__all__ = ["operations_of"]

_SECONDS = 600.0


@frozen(kw_only=True)
class _Compile:
    """Files and folders, as the program sees them, and by which versions other than those that serve."""

    places: tuple[str, ...]
    targets: tuple[str, ...] = ("python",)
    versions: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class _None:
    """No arguments."""


def operations_of(compiler: Compiler) -> Iterable[Operation]:
    """Return what a compiler can be asked for."""

    async def compile_files(arguments: dict[str, Any], by: str) -> dict[str, Any]:
        del by
        asked = from_wire(_Compile, arguments)
        return await asyncio.to_thread(_compiled, compiler, asked)

    def status(arguments: dict[str, Any], by: str) -> dict[str, Any]:
        del by
        from_wire(_None, arguments)
        return {
            "serving": compiler.serving.versions,
            "available": {phase: list(compiler.library.versions(phase)) for phase in PHASES},
        }

    return (
        Operation(
            name="compiler.compile",
            call=compile_files,
            seconds=_SECONDS,
            help="Compile files and folders by the versions that serve; returns each file's errors and digests.",
        ),
        Operation(name="compiler.status", call=status, help="Which versions of the phases serve, and which there are."),
    )


def _compiled(compiler: Compiler, asked: _Compile) -> dict[str, Any]:
    """Compile one file after the other, each by the set that serves when it begins."""
    files: dict[str, dict[str, Any]] = {}
    for path in sources_under([Path(place) for place in asked.places]):
        result = compiler.compile_file(str(path), targets=asked.targets, target_versions=dict(asked.versions) or None)
        files[str(path)] = {
            "path": str(path),
            "success": result.success,
            "errors": [one.to_wire() for one in result.errors],
            "warnings": [one.to_wire() for one in result.warnings],
            "component_versions": result.statistics.get("component_versions", {}),
            "phases_run": result.statistics.get("phases_run", []),
            "seconds": result.compilation_time,
            "outputs": {ending: digest_of_source(data).hex() for ending, data in files_of(result, path.stem).items()},
        }
    store = compiler.store
    if store is not None and not asked.versions:
        sound = [path for path, one in files.items() if one["success"]]
        failed = files.keys() - set(sound)
        for one, diagnostics in unresolved(
            sound, lambda path: None if path in failed else store.file(path), compiler.serving.lexer
        ):
            files[one]["success"] = False
            files[one]["errors"] += [diagnostic.to_wire() for diagnostic in diagnostics]
    return {"success": all(one["success"] for one in files.values()), "files": list(files.values())}
