"""The compiler of the Noodle language, whose phases are upgraded while it runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noodle_upgrade_compiler.compiler import Compiler, process_compiler
    from noodle_upgrade_compiler.results import CompilationResult

__all__ = ["CompilationResult", "Compiler", "process_compiler"]

_HOME = {"CompilationResult": "results", "Compiler": "compiler", "process_compiler": "compiler"}


def __getattr__(name: str) -> Any:
    # Compiled programs import `support` alone: they pay for nothing else.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
