"""Where each place of the generated Python comes from, as a source map of version 3 (ECMA-426).

The text is read back: its tree has the shape of the one that it was written from, so that the two can be walked side by
side, and each node knows both places.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

__all__ = ["source_map"]

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def source_map(module: ast.Module, text: str, filename: str) -> str:
    """Return the map of a text that was made of a module, as JSON."""
    places: dict[tuple[int, int], tuple[int, int]] = {}
    for written, origin in _pairs(ast.parse(text), module):
        if written.lineno:
            places.setdefault((written.lineno - 1, written.col_offset), (origin.lineno - 1, origin.col_offset))
    return json.dumps(
        {
            "version": 3,
            "file": _python_name(filename),
            "sources": [filename],
            "names": [],
            "mappings": _mappings(places),
        }
    )


def _python_name(filename: str) -> str:
    return f"{filename.rpartition('/')[2].removesuffix('.noodle')}.py"


def _pairs(written: Any, origin: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the nodes of two trees that correspond; where they have another shape it goes no deeper."""
    waiting = [(written, origin)]
    while waiting:
        one, other = waiting.pop()
        if isinstance(one, list) and isinstance(other, list):
            # Imports of our own library stand before the text of the program, in both.
            if len(one) == len(other):
                waiting.extend(zip(one, other, strict=True))
        elif isinstance(one, ast.AST) and isinstance(other, type(one)):
            if "lineno" in one.__dict__ and "lineno" in other.__dict__:
                yield one, other
            waiting.extend((getattr(one, name, None), getattr(other, name, None)) for name in one._fields)
        elif isinstance(one, ast.UnaryOp) and isinstance(other, ast.Constant):
            yield one, other  # a negative number is written with an operator


def _mappings(places: dict[tuple[int, int], tuple[int, int]]) -> str:
    lines: list[list[str]] = []
    source_line = source_column = 0
    column = 0
    for (line, at), (from_line, from_column) in sorted(places.items()):
        while len(lines) <= line:
            lines.append([])
            column = 0
        fields = (at - column, 0, from_line - source_line, from_column - source_column)
        lines[line].append("".join(map(_vlq, fields)))
        column, source_line, source_column = at, from_line, from_column
    return ";".join(",".join(line) for line in lines)


def _vlq(number: int) -> str:
    """Return a number in Base64 VLQ: five bits a digit, the lowest of the first is the sign."""
    rest = abs(number) << 1 | (number < 0)
    digits = ""
    while True:
        rest, low = rest >> 5, rest & 31
        digits += _DIGITS[low | (32 if rest else 0)]
        if not rest:
            return digits
