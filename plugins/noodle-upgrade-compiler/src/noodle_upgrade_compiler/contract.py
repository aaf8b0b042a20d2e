"""What the phases of the compiler are to one another: the names, the calls, and the plain values that go between them.

Versions of a phase are loaded apart from one another and share no class. All that goes between them are tuples, strings
and numbers; the reference "Phases and their values" lists the shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType
from typing import Any, Protocol

__all__ = [
    "COLUMN",
    "DEFAULT_VERSIONS",
    "ENTRY_POINTS",
    "PHASES",
    "TARGETS",
    "Generated",
    "Generator",
    "Lexer",
    "Optimized",
    "Optimizer",
    "Parsed",
    "Parser",
    "Problem",
    "Tokens",
    "Tree",
    "column_of",
    "line_of",
]

PHASES = ("lexer", "parser", "optimizer", "bytecode_generator")
"""The components, each of which depends on the one before."""
DEFAULT_VERSIONS = dict.fromkeys(PHASES, "1.0.0")
"""What a compiler begins with when nobody says otherwise."""
ENTRY_POINTS = {"lexer": "scan", "parser": "parse", "optimizer": "optimize", "bytecode_generator": "generate"}
"""The function of each phase, at the top of its module."""
TARGETS = ("python", "python_source", "nbc", "source_map")

COLUMN = (1 << 20) - 1
"""A position is `line << 20 | column`: lines count from 1, columns are bytes of UTF-8 from 0."""

Tree = tuple[Any, ...]
Problem = tuple[str, str, str, int, int, str]
"""Severity ("error" or "warning"), code, message, start, end, hint."""


def line_of(position: int) -> int:
    """Return the line of a position, from 1."""
    return position >> 20


def column_of(position: int) -> int:
    """Return the column of a position, in bytes from 0."""
    return position & COLUMN


class Tokens(Protocol):
    """What a lexer gives: columns of equal length, and what is wrong. The last token is of the kind "end"."""

    kinds: Sequence[str]
    texts: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]
    problems: Sequence[Problem]


class Parsed(Protocol):
    """What a parser gives."""

    tree: Tree
    problems: Sequence[Problem]


class Optimized(Protocol):
    """What an optimizer gives: its problems are warnings."""

    tree: Tree
    problems: Sequence[Problem]


class Generated(Protocol):
    """What a generator gives: what was not asked for is None."""

    python: CodeType | None
    python_source: str | None
    nbc: tuple[Any, ...] | None
    source_map: str | None


class Lexer(Protocol):
    """The function `scan` of a lexer."""

    def __call__(self, text: str) -> Tokens:
        """Return the tokens of a source; never raises for what is in it."""


class Parser(Protocol):
    """The function `parse` of a parser."""

    def __call__(
        self, kinds: Sequence[str], texts: Sequence[str], starts: Sequence[int], ends: Sequence[int]
    ) -> Parsed:
        """Return the tree of the tokens, whole where no problem is an error; never raises for what is in them."""


class Optimizer(Protocol):
    """The function `optimize` of an optimizer."""

    def __call__(self, tree: Tree) -> Optimized:
        """Return a tree that does the same."""


class Generator(Protocol):
    """The function `generate` of a byte-code generator."""

    def __call__(self, tree: Tree, filename: str, targets: tuple[str, ...]) -> Generated:
        """Return what was asked for."""
