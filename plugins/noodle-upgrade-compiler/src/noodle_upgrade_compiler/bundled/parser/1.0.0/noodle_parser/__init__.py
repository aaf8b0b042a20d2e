"""The parser of Noodle: tokens to a tree, by precedence climbing, with recovery at statements.

A tree is tuples of plain values: `(kind, start, end, …)`, where start and end are positions as the lexer packs them.
The shapes are the contract between versions of the phases, which are loaded apart and share no class; the reference
"Phases and their values" lists them. Names are resolved while they are read: what is not declared is an error here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .cursor import Problem
from .statements import Statements

__version__ = "1.0.0"
__hot_swappable__ = True
__critical__ = True

__all__ = ["Parsed", "parse"]


class Parsed(NamedTuple):
    """A tree and what is wrong with the source; without a problem of severity "error" the tree is whole."""

    tree: tuple[Any, ...]
    problems: tuple[Problem, ...]


def parse(kinds: Sequence[str], texts: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> Parsed:
    """Return the tree of a file's tokens."""
    statements = Statements(kinds, texts, starts, ends)
    tree = statements.module()
    return Parsed(tree, tuple(sorted(statements.problems, key=lambda problem: problem[3])))
