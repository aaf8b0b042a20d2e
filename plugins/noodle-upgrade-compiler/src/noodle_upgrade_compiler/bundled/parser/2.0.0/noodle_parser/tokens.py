"""The tokens of the lexer phase as Lark takes them, and what is said where they do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from lark import Token
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

__all__ = ["PROBLEM_LIMIT", "Columns", "TokenLexer", "next_statement", "unexpected"]

PROBLEM_LIMIT = 100
_TERMINALS = {
    "->": "ARROW", "::": "COLONS", "==": "EQ", "!=": "NE", "<=": "LE", ">=": "GE", "&&": "AND", "||": "OR", "+": "PLUS",
    "-": "MINUS", "*": "STAR", "/": "SLASH", "%": "PERCENT", "=": "ASSIGN", "<": "LT", ">": "GT", "!": "NOT",
    "(": "LPAR", ")": "RPAR", "[": "LSQB", "]": "RSQB", "{": "LBRACE", "}": "RBRACE", ",": "COMMA", ";": "SEMICOLON",
    ":": "COLON", ".": "DOT",
}  # fmt: skip
_WORDS = {terminal: text for text, terminal in _TERMINALS.items()}
_BEFORE_OPERAND = frozenset(
    "-> == != <= >= && || + - * / % = < > ! ( [ , : return yield in if while match case await".split()
)
_BEGINNINGS = frozenset(
    "let def return if for while break continue import from class struct interface type enum match".split()
)
_NAMES = {"NAME": "a name", "INT": "a number", "FLOAT": "a number", "STRING": "a string", "$END": "the end of the file",
    "WORD": "a name", "OBJECT": "'{'",
}  # fmt: skip
_COMPARE = frozenset("== != < <= > >=".split())


@frozen
class Columns:
    """The tokens of a file from one of them on."""

    kinds: Sequence[str]
    texts: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]
    first: int = 0

    def since(self, first: int) -> Columns:
        """Return the same tokens from another one on."""
        return Columns(self.kinds, self.texts, self.starts, self.ends, first)


class TokenLexer(Lexer):
    """Hands Lark the tokens that are there already."""

    def __init__(self, _conf: Any) -> None:
        pass

    def lex(self, data: Any) -> Iterator[Token]:  # type: ignore[override]
        """Yield the tokens; their positions are those of the lexer, their column is their index."""
        columns: Columns = getattr(data, "text", data)
        before = ""
        for index in range(columns.first, len(columns.kinds) - 1):
            kind = columns.kinds[index]
            if before in (".", "::") and kind != "name" and columns.texts[index].isidentifier():
                terminal = "WORD"
            elif kind == "{" and before in _BEFORE_OPERAND:
                terminal = "OBJECT"
            else:
                terminal = _TERMINALS.get(kind) or kind.upper()
            yield Token(
                terminal, columns.texts[index], columns.starts[index], column=index, end_pos=columns.ends[index]
            )
            before = kind


def unexpected(columns: Columns, error: UnexpectedToken, first: int) -> tuple[int, tuple[str, str, str, int, int, str]]:
    """Return the index of the token that does not fit, and the problem that it is."""
    token = error.token
    index = len(columns.kinds) - 1 if token.type == "$END" or token.column is None else token.column
    index = max(index, first)
    kind, text = columns.kinds[index], columns.texts[index]
    accepts = set(error.accepts or ())
    if "SEMICOLON" in accepts and columns.starts[index] >> 20 > columns.ends[index - 1] >> 20:
        before = columns.ends[index - 1]
        return index, ("error", "parser.semicolon", "A statement ends with ';'.", before, before, "Put ';' here.")
    if kind in _COMPARE and "PLUS" in accepts:
        told = "Comparisons cannot be chained."
        hint = "Write a < b && b < c, or put brackets."
        return index, ("error", "parser.chained", told, columns.starts[index], columns.ends[index], hint)
    wanted = sorted({_NAMES.get(name) or f"'{_WORDS.get(name) or name.lower()}'" for name in accepts})
    shown = ", ".join(wanted[:5]) + (" or others" if len(wanted) > 5 else "")  # noqa: PLR2004
    found = "the end of the file" if kind == "end" else repr(text[:30])
    message = f"{shown or 'Something else'} should stand here, and not {found}."
    return index, ("error", "parser.expected", message, columns.starts[index], columns.ends[index], "")


def next_statement(columns: Columns, index: int) -> int:
    """Return where a statement at the top level begins behind one that could not be read."""
    kinds = columns.kinds
    index += kinds[index] != "end"
    while kinds[index] != "end":
        begins_line = columns.starts[index] >> 20 > columns.ends[index - 1] >> 20
        at_margin = columns.starts[index] & 0xFFFFF == 0
        if kinds[index - 1] == ";" or (begins_line and (kinds[index] in _BEGINNINGS or at_margin)):
            break
        index += 1
    while kinds[index] == "}":
        index += 1
    return index
