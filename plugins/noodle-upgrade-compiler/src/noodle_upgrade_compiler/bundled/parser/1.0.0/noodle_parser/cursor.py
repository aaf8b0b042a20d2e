"""Where the parser is in the tokens, what it expects there, and what it says when that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

__all__ = ["MOST_PROBLEMS", "Cursor", "Problem", "Unexpected"]

Problem = tuple[str, str, str, int, int, str]
"""Severity, code, message, start, end, hint."""

MOST_PROBLEMS = 100
"""More are not told: by then one is the consequence of another."""
_NAMES = {"name": "a name", "int": "a number", "float": "a number", "string": "a string", "end": "the end of the file"}


class Unexpected(Exception):  # noqa: N818 - it never leaves the parser
    """A statement cannot be read on; the problem has been noted."""


class Cursor:
    """The tokens of a file and the index of the next one."""

    __slots__ = ("_given_up", "_told_at", "ends", "kinds", "next", "problems", "starts", "texts")

    def __init__(self, kinds: Sequence[str], texts: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> None:
        self.kinds, self.texts, self.starts, self.ends = kinds, texts, starts, ends
        self.next = 0
        self.problems: list[Problem] = []
        self._told_at = -1
        self._given_up = False

    def expect(self, kind: str, where: str) -> int:
        """Step over a token of this kind and return its index; `where` says what it belongs to."""
        index = self.next
        if self.kinds[index] != kind:
            self.unexpected(_NAMES.get(kind, f"'{kind}'"), where)
        self.next = index + 1
        return index

    def semicolon(self, where: str) -> int:
        """Step over the end of a statement; return where the statement ends.

        Where it was forgotten at the end of a line there is nothing else to repair, and nothing is left out.
        """
        index = self.next
        if self.kinds[index] == ";":
            self.next = index + 1
            return self.ends[index]
        before = self.ends[index - 1]
        if self.starts[index] >> 20 > before >> 20 or self.kinds[index] in ("}", "end"):
            self.problem("parser.semicolon", f"{where} ends with ';'.", before, before, "Put ';' here.")
            return before
        return self.unexpected("';'", where)

    def unexpected(self, wanted: str, where: str) -> NoReturn:
        """Say what is there in place of what was wanted, and give the statement up."""
        index = self.next
        kind, text = self.kinds[index], self.texts[index]
        found = "the end of the file" if kind == "end" else repr(text) if len(text) <= 30 else f"{text[:27]!r}…"  # noqa: PLR2004
        hint = "" if kind != "=" or wanted != "';'" else "'==' compares, '=' assigns."
        self.problem(
            "parser.expected",
            f"{where} needs {wanted} here, and not {found}.",
            self.starts[index],
            self.ends[index],
            hint,
        )
        raise Unexpected

    def problem(self, code: str, message: str, start: int, end: int, hint: str = "") -> None:
        """Note a problem; of several at one token the first is told."""
        if start != self._told_at and len(self.problems) < MOST_PROBLEMS and not self._given_up:
            self.problems.append(("error", code, message, start, end, hint))
            self._told_at = start

    def give_up(self, code: str, message: str, index: int) -> NoReturn:
        """Say why the rest of the file is not read: all that is open here is broken, each level would tell of it."""
        self.problem(code, message, self.starts[index], self.ends[index])
        self._given_up = True
        self.next = len(self.kinds) - 1
        raise Unexpected

    def behind(self, opened: int) -> None:
        """Go behind the bracket that closes the one at this index; nowhere where there is none."""
        depth, index, kinds = 0, opened, self.kinds
        while kinds[index] != "end":
            if kinds[index] in ("(", "[", "{"):
                depth += 1
            elif kinds[index] in (")", "]", "}"):
                depth -= 1
                if depth == 0:
                    self.next = index + 1
                    return
            index += 1

    def skip_statement(self, first: int) -> None:
        """Go behind a statement that could not be read: over its ';', or to where another one or its block's end is."""
        depth = 0
        index = max(self.next, first)
        kinds = self.kinds
        while (kind := kinds[index]) != "end":
            if kind in ("(", "[", "{"):
                depth += 1
            elif kind in (")", "]", "}"):
                if depth == 0 and kind == "}":
                    break
                depth = max(0, depth - 1)
                if depth == 0 and kind == "}":
                    index += 1
                    break
            elif depth == 0 and kind == ";":
                index += 1
                break
            elif index > first and kind in _BEGINNINGS and self.starts[index] >> 20 > self.ends[index - 1] >> 20:
                # A line that begins like a statement is one: a bracket that was never closed swallows no more.
                break
            index += 1
        self.next = index


_BEGINNINGS = frozenset(
    "let def return if for while break continue import from class struct interface type enum match".split()
)
