"""What comes of a compilation."""

from __future__ import annotations

import importlib.util
import marshal
from collections.abc import Mapping
from types import CodeType
from typing import Any

from attrs import field, frozen

from noodle_upgrade_compiler.diagnostics import Diagnostic

__all__ = ["CompilationResult", "Facts", "files_of"]

_HEAD = 12
"""Bytes behind the magic number of a `.pyc`: flags, time, size. Zeros: by time, of a source that is not looked at."""


@frozen(kw_only=True)
class Facts:
    """What is to be known of a source without looking into it."""

    words: tuple[str, ...] = ()
    """The kinds of tokens in it, which a new version of a phase may be about; collected where a store keeps it."""
    imports: tuple[str, ...] = ()
    """The modules that it imports."""
    takes: tuple[str, ...] = ()
    """What it takes from them by name, as `module:name`."""
    offers: tuple[str, ...] = ()
    """The names of its top level, which others may take."""


@frozen(kw_only=True)
class CompilationResult:
    """One source, compiled or not. What was not asked for is None, and so is everything where `success` is false.

    `bytecode` is a code object of the interpreter that runs, `nbc_bytecode` the bytes of an NBC file. `statistics` says
    which versions did it, how long each phase took and what came out of the cache; times are seconds.
    """

    success: bool
    target: tuple[str, ...]
    filename: str = ""
    bytecode: CodeType | None = None
    nbc_bytecode: bytes | None = None
    python_code: str | None = None
    source_map: str | None = None
    errors: tuple[Diagnostic, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    statistics: Mapping[str, Any] = field(factory=dict)
    compilation_time: float = 0.0
    phases_completed: tuple[str, ...] = ()
    facts: Facts = Facts()

    def to_wire(self) -> dict[str, Any]:
        """Return JSON values: everything but the code itself, of which it says how large it is."""
        return {
            "success": self.success,
            "filename": self.filename,
            "target": list(self.target),
            "errors": [one.to_wire() for one in self.errors],
            "warnings": [one.to_wire() for one in self.warnings],
            "statistics": dict(self.statistics),
            "compilation_time": self.compilation_time,
            "phases_completed": list(self.phases_completed),
            "imports": list(self.facts.imports),
            "nbc_bytes": None if self.nbc_bytecode is None else len(self.nbc_bytecode),
            "python_code": self.python_code,
            "source_map": self.source_map,
        }


def files_of(result: CompilationResult, stem: str) -> dict[str, bytes]:
    """Return what was made as files, by ending: what `noodle compile -o` writes beside one another."""
    found = {}
    if result.bytecode is not None:
        found[".pyc"] = importlib.util.MAGIC_NUMBER + bytes(_HEAD) + marshal.dumps(result.bytecode)
    if result.python_code is not None:
        text = result.python_code
        if result.source_map is not None:
            found[".py.map"] = result.source_map.encode()
            text += f"# sourceMappingURL={stem}.py.map\n"
        found[".py"] = text.encode()
    if result.nbc_bytecode is not None:
        found[".nbc"] = result.nbc_bytecode
    return found
