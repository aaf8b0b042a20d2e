"""A plugin of coverage.py, which knows the lines of Noodle sources: `plugins = noodle_upgrade_compiler.coverage`.

Statements are measured, not branches. A line with `# pragma: no cover` is left out, with the block that it begins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any

from coverage import CoveragePlugin, FileReporter, FileTracer

from noodle_upgrade_compiler.compiler import process_compiler
from noodle_upgrade_compiler.graph import SUFFIX
from noodle_upgrade_compiler.pipeline import decoded

__all__ = ["NoodleCoverage", "coverage_init"]

_LEFT_OUT = re.compile(r"#\s*pragma:\s*no\s*cover")
_SIMPLE = frozenset({"let", "assign", "expression", "return", "yield", "import", "from", "field", "member"})
"""Nodes that are one statement, on however many lines."""


def coverage_init(reg: Any, options: Any) -> None:
    """Take part: coverage.py calls this."""
    del options
    reg.add_file_tracer(NoodleCoverage())


class NoodleCoverage(CoveragePlugin):
    """Takes care of files with the ending `.noodle`."""

    def file_tracer(self, filename: str) -> FileTracer | None:
        """Return what follows the lines of a file, None for one that is none of ours."""
        return _Tracer(filename) if filename.endswith(SUFFIX) else None

    def file_reporter(self, filename: str) -> FileReporter:
        """Return what knows the lines of a file."""
        return _Reporter(filename)

    def find_executable_files(self, src_dir: str) -> Iterator[str]:
        """Yield the sources below a folder: those that never ran are reported too."""
        for folder, folders, names in os.walk(src_dir):
            folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
            yield from (os.path.join(folder, name) for name in names if name.endswith(SUFFIX))  # noqa: PTH118 - texts


class _Tracer(FileTracer):
    def __init__(self, filename: str) -> None:
        self._filename = filename

    def source_filename(self) -> str:
        return self._filename


class _Reporter(FileReporter):
    @cached_property
    def _text(self) -> str:
        return decoded(Path(self.filename).read_bytes())[0]

    @cached_property
    def _tokens(self) -> Any:
        return process_compiler().current.lexer.call(self._text)

    @cached_property
    def _nodes(self) -> list[Any]:
        tokens = self._tokens
        tree = process_compiler().current.parser.call(tokens.kinds, tokens.texts, tokens.starts, tokens.ends).tree
        return list(_nodes_of(tree))

    @cached_property
    def _first_lines(self) -> dict[int, int]:
        """The first line of a statement, for the others that it has."""
        found: dict[int, int] = {}
        for kind, start, end, *_ in self._nodes:
            if kind in _SIMPLE:
                found.update(dict.fromkeys(range((start >> 20) + 1, (end >> 20) + 1), start >> 20))
        return found

    def source(self) -> str:
        return self._text

    def lines(self) -> set[int]:
        result = process_compiler().compile(self._text, self.filename)
        # Where a line has no token stands what the compiler adds at the beginning of a file.
        with_tokens = {start >> 20 for start in self._tokens.starts[:-1]}
        found = set() if result.bytecode is None else set(_lines_of(result.bytecode))
        return self.translate_lines(found & with_tokens) - self.excluded_lines()

    def translate_lines(self, lines: Iterable[int]) -> set[int]:
        return {self._first_lines.get(line, line) for line in lines}

    def excluded_lines(self) -> set[int]:
        marked = {number for number, line in enumerate(self._text.split("\n"), 1) if _LEFT_OUT.search(line)}
        found = set(marked)
        for _, start, end, *_ in self._nodes:
            if start >> 20 in marked:
                found.update(range(start >> 20, (end >> 20) + 1))
        return found


def _lines_of(code: CodeType) -> Iterator[int]:
    yield from (line for _, _, line in code.co_lines() if line)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _lines_of(constant)


def _nodes_of(part: Any) -> Iterator[Any]:
    """Yield the nodes inside of a tree; not the module, which begins on a line of something else."""
    waiting = list(part[3])
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple) and one:
            if isinstance(one[0], str) and len(one) > 2 and isinstance(one[1], int):  # noqa: PLR2004
                yield one
            waiting.extend(inner for inner in one if isinstance(inner, tuple))
