"""What is wrong with a source, for people and for editors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from attrs import frozen

from noodle_upgrade_compiler.contract import Problem, column_of, line_of

__all__ = ["Diagnostic", "diagnosed", "diagnostic_of", "for_editors", "for_language_servers", "shown"]

_SEVERITIES = {"error": 1, "warning": 2}
_WIDEST = 160


@frozen(kw_only=True)
class Diagnostic:
    """One error or warning. Lines and columns count from 1, columns in characters; the end is behind the last one."""

    phase: str
    severity: str
    code: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    hint: str = ""

    @property
    def is_error(self) -> bool:
        """Whether it keeps the source from being compiled."""
        return self.severity == "error"

    @property
    def location(self) -> str:
        """The place as `path:line:column`."""
        return ":".join(map(str, filter(None, (self.path, self.line, self.column))))

    def to_wire(self) -> dict[str, Any]:
        """Return JSON values: phase, message and location first, which every consumer knows."""
        return {
            "phase": self.phase, "message": self.message, "location": self.location, "severity": self.severity,
            "code": self.code, "path": self.path, "line": self.line, "column": self.column, "end_line": self.end_line,
            "end_column": self.end_column, "hint": self.hint,
        }  # fmt: skip


def diagnostic_of(wire: Mapping[str, Any]) -> Diagnostic:
    """Return what `to_wire` has made JSON values of."""
    names = {name for name in wire if name != "location"}
    return Diagnostic(**{name: wire[name] for name in names})


def diagnosed(problems: Iterable[Problem], *, phase: str, path: str, source: str) -> tuple[Diagnostic, ...]:
    """Return what a phase has said about a source, with columns as people count them."""
    found = tuple(problems)
    if not found:
        return ()
    lines = source.split("\n")
    return tuple(
        Diagnostic(
            phase=phase,
            severity=severity,
            code=code,
            message=message,
            path=path,
            line=line_of(start),
            column=_characters(lines, start) + 1,
            end_line=line_of(end),
            end_column=_characters(lines, end) + 1,
            hint=hint,
        )
        for severity, code, message, start, end, hint in found
    )


def _characters(lines: Sequence[str], position: int) -> int:
    line, column = line_of(position), column_of(position)
    if not 1 <= line <= len(lines):
        return 0
    text = lines[line - 1]
    if text.isascii():
        return min(column, len(text))
    return len(text.encode(errors="surrogatepass")[:column].decode(errors="ignore"))


# --- for people ------------------------------------------------------------------------------------------------------


def shown(diagnostic: Diagnostic, source: str) -> str:
    """Return it with the line that it is about, and a caret under the place."""
    head = f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"
    lines = _lines_of(source)
    if not 1 <= diagnostic.line <= len(lines):
        return "\n".join([head, *([f"  --> {diagnostic.path}"] if diagnostic.path else []), *_hinted(diagnostic, 1)])
    text, column, width = _window(lines[diagnostic.line - 1], diagnostic)
    number = str(diagnostic.line)
    margin = " " * len(number)
    # Tabs stay tabs, so that the caret stands under its place however wide they are shown.
    under = "".join("\t" if character == "\t" else " " for character in text[: column - 1])
    told = [
        head,
        f"{margin}--> {diagnostic.location}",
        f"{margin} |",
        f"{number} | {text}",
        f"{margin} | {under}{'^' * width}",
        *_hinted(diagnostic, len(number)),
    ]
    return "\n".join(told)


@lru_cache(1)
def _lines_of(source: str) -> list[str]:
    """Return the lines of a source, of which there may be as many as things to be said."""
    return source.split("\n")


def _window(line: str, diagnostic: Diagnostic) -> tuple[str, int, int]:
    """Return what of a line is shown, the column in it, and how many carets."""
    text = line.rstrip("\r")
    column = min(diagnostic.column, len(text) + 1)
    end = diagnostic.end_column if diagnostic.end_line == diagnostic.line else len(text) + 1
    width = max(1, min(end, len(text) + 1) - column)
    if len(text) <= _WIDEST:
        return text, column, width
    begin = max(0, column - 1 - _WIDEST // 2)
    shown_ = text[begin : begin + _WIDEST]
    return f"…{shown_}…", column - begin + 1, min(width, _WIDEST)


def _hinted(diagnostic: Diagnostic, margin: int) -> list[str]:
    return [f"{' ' * margin} = {diagnostic.hint}"] if diagnostic.hint else []


# --- for editors -----------------------------------------------------------------------------------------------------


def for_editors(diagnostic: Diagnostic) -> str:
    """Return one line in the form that compilers have had since ever, and every editor reads."""
    return f"{diagnostic.location}: {diagnostic.severity}: {diagnostic.message} [{diagnostic.code}]"


def for_language_servers(diagnostic: Diagnostic, source: str) -> dict[str, Any]:
    """Return it as the Language Server Protocol has it: from 0, in UTF-16 code units."""
    lines = source.split("\n")
    return {
        "range": {
            "start": _utf16(lines, diagnostic.line, diagnostic.column),
            "end": _utf16(lines, diagnostic.end_line, diagnostic.end_column),
        },
        "severity": _SEVERITIES[diagnostic.severity],
        "code": diagnostic.code,
        "source": f"noodle {diagnostic.phase}",
        "message": diagnostic.message + (f"\n{diagnostic.hint}" if diagnostic.hint else ""),
    }


def _utf16(lines: Sequence[str], line: int, column: int) -> dict[str, int]:
    text = lines[line - 1][: column - 1] if 1 <= line <= len(lines) else ""
    return {"line": max(0, line - 1), "character": len(text.encode("utf-16-le", errors="surrogatepass")) // 2}
