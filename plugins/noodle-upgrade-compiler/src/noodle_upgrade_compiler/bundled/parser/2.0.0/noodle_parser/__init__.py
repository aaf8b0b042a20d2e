"""The parser of Noodle by its grammar: what `noodle.lark` says, read by Lark's LALR(1) parser.

It gives the very trees of parser 1.0, so that an upgrade from one to the other compiles nothing again. It is several
times as slow, and tells of one fault in each statement at the top level: it is for those who change the language, and
write down what they mean instead of how it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lark import Lark
from lark.exceptions import UnexpectedToken

from .building import Trees
from .names import Names
from .tokens import PROBLEM_LIMIT, Columns, TokenLexer, next_statement, unexpected

__version__ = "2.0.0"
__hot_swappable__ = True
__critical__ = True

__all__ = ["Parsed", "parse"]

Problem = tuple[str, str, str, int, int, str]

_GRAMMAR = Lark(
    (Path(__file__).parent / "noodle.lark").read_text(encoding="utf-8"),
    parser="lalr",
    lexer=TokenLexer,
    propagate_positions=True,
    maybe_placeholders=True,
    keep_all_tokens=True,
)


class Parsed(NamedTuple):
    """A tree and what is wrong with the source; without a problem of severity "error" the tree is whole."""

    tree: tuple[Any, ...]
    problems: tuple[Problem, ...]


def parse(kinds: Sequence[str], texts: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> Parsed:
    """Return the tree of a file's tokens."""
    columns = Columns(kinds, texts, starts, ends)
    problems: list[Problem] = []
    body: list[Any] = []
    first = 0
    while True:
        try:
            read = _GRAMMAR.parse(columns.since(first))
        except UnexpectedToken as error:
            index, problem = unexpected(columns, error, first)
            problems.append(problem)
            first = next_statement(columns, index)
            if kinds[first] == "end" or len(problems) >= PROBLEM_LIMIT:
                break
        else:
            trees = Trees(problems)
            body = list(trees.statements(read))
            break
    module = ("module", starts[0], ends[-1], tuple(body), ())
    if not any(problem[0] == "error" for problem in problems):
        names = Names()
        module = names.resolved(module)
        problems += names.problems
    return Parsed(module, tuple(sorted(problems, key=lambda problem: problem[3])[:PROBLEM_LIMIT]))
