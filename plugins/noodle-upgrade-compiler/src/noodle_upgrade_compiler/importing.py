"""Noodle modules imported by Python: `import shapes.circle` finds `shapes/circle.noodle` on `sys.path`.

    from noodle_upgrade_compiler import importing
    importing.install()

A module of Python's of the same name comes first. What has errors is a `SyntaxError` with its place, so that tools that
show those show these.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import linecache
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from noodle_upgrade_compiler.compiler import process_compiler
from noodle_upgrade_compiler.diagnostics import Diagnostic
from noodle_upgrade_compiler.graph import SUFFIX
from noodle_upgrade_compiler.pipeline import decoded
from noodle_upgrade_compiler.results import CompilationResult

__all__ = ["NoodleFinder", "NoodleLoader", "install", "syntax_error", "uninstall"]

_MOST_NOTES = 20


class NoodleFinder(MetaPathFinder):
    """Finds `.noodle` files where Python looks for modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return where a module is, None for what is no Noodle file."""
        del target
        name = fullname.rpartition(".")[2]
        places: Sequence[Any] = sys.path if path is None else path
        for entry in places:
            if not isinstance(entry, str):
                continue
            place = Path(entry or ".") / f"{name}{SUFFIX}"
            try:
                is_there = place.is_file()
            except (OSError, ValueError):
                # A name that is too long, or a folder that may not be looked into: nothing is found there.
                continue
            if is_there:
                loader = NoodleLoader(fullname, str(place.absolute()))
                return importlib.util.spec_from_file_location(fullname, loader.path, loader=loader)
        return None


class NoodleLoader(InspectLoader):
    """Loads one module, by the compiler of this process."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path

    def get_filename(self, fullname: str) -> str:
        """Return the path of the source."""
        del fullname
        return self.path

    def get_source(self, fullname: str) -> str:
        """Return the source: for tracebacks, debuggers and whoever inspects functions."""
        del fullname
        return decoded(Path(self.path).read_bytes())[0]

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the module. Raises `SyntaxError`."""
        del fullname
        result = process_compiler().compile_file(self.path)
        if result.bytecode is None:
            raise syntax_error(result)
        for warning in result.warnings:
            warnings.warn_explicit(warning.message, SyntaxWarning, warning.path, warning.line)
        return result.bytecode

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        exec(self.get_code(self.name), module.__dict__)  # noqa: S102 - to run it is what an import is

    def is_package(self, fullname: str) -> bool:
        """Return false: folders of Noodle files are namespaces."""
        del fullname
        return False


def syntax_error(result: CompilationResult) -> SyntaxError:
    """Return the first error of a source as Python has them; the others are its notes."""
    first, *others = result.errors
    line = linecache.getline(first.path, first.line)
    place = (first.path, first.line, first.column, line, first.end_line, first.end_column)
    error = SyntaxError(_said(first), place)
    for one in others[:_MOST_NOTES]:
        error.add_note(f"{one.location}: {_said(one)}")
    if len(others) > _MOST_NOTES:
        error.add_note(f"and {len(others) - _MOST_NOTES} more")
    return error


def _said(diagnostic: Diagnostic) -> str:
    return f"{diagnostic.message} {diagnostic.hint}".rstrip()


def install() -> NoodleFinder:
    """Have Python find Noodle modules, behind its own; once is enough."""
    for found in sys.meta_path:
        if isinstance(found, NoodleFinder):
            return found
    finder = NoodleFinder()
    sys.meta_path.append(finder)
    return finder


def uninstall() -> None:
    """Have Python find no more of them; what is imported stays."""
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, NoodleFinder)]
