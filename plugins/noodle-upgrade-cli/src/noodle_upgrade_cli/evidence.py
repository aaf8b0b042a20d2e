"""A judge's numbers on a screen: how far the evidence is from harm and from safe, or whatever numbers it has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from noodle_upgrade_cli.text import clean

__all__ = ["bar", "evidence_view"]

_BAR = 8
_NAME = 12
_MOST_ROWS = 5
_HARM, _SAFE = "red", "green"


def evidence_view(evidence: Mapping[str, Any], *, plain: bool = False) -> list[RenderableType]:
    """Return a judge's evidence, a line for each number or metric.

    A metric whose numbers have `harm` and `safe`, as parts of the way there, is shown with its ratio, the ratio's
    interval and a bar for each; all other numbers as they are called.
    """
    compared = [(name, numbers) for name, numbers in evidence.items() if _is_comparison(numbers)]
    others = [(name, value) for name, value in evidence.items() if not _is_comparison(value)]
    parts: list[RenderableType] = []
    if compared:
        parts.append(_comparisons(compared[:_MOST_ROWS], plain=plain))
    if others:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, style="dim", max_width=24, overflow="ellipsis")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for name, value in others[:_MOST_ROWS]:
            table.add_row(Text(clean(name, limit=200)), Text(_in_words(value)))
        parts.append(table)
    if left := max(0, len(compared) - _MOST_ROWS) + max(0, len(others) - _MOST_ROWS):
        parts.append(Text(f"and {left} more; `noodle watch --json` has all of them", style="dim"))
    return parts


def _is_comparison(numbers: Any) -> bool:
    return isinstance(numbers, Mapping) and all(_number(numbers.get(key)) is not None for key in ("harm", "safe"))


def _comparisons(rows: list[tuple[str, Any]], *, plain: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("Metric", "Ratio", "95 % interval", "to HARM", "to SAFE", "Calls left"):
        table.add_column(Text(heading, style="bold"), no_wrap=True, overflow="ellipsis")
    for name, numbers in rows:
        table.add_row(*_comparison(name, numbers, plain=plain))
    return table


def _comparison(name: str, numbers: Mapping[str, Any], *, plain: bool) -> list[Text]:
    low, high = (_number(numbers.get(key)) for key in ("low", "high"))
    endless = "inf" if plain else "∞"
    interval = "-" if low is None else f"{low:.3g} to {endless if high is None else f'{high:.3g}'}"
    ratio, left = _number(numbers.get("ratio")), _number(numbers.get("calls_to_safe"))
    return [
        Text(clean(name, limit=200)[:_NAME]),
        Text("-" if ratio is None else f"{ratio:.3g}x"),
        Text(interval),
        _part(_number(numbers.get("harm")), _HARM, plain=plain),
        _part(_number(numbers.get("safe")), _SAFE, plain=plain),
        Text("-" if left is None else f"{left:,.0f}"),
    ]


def _part(value: float | None, style: str, *, plain: bool) -> Text:
    """Return a part of the way as a bar; evidence for the contrary is no part of it."""
    part = min(1.0, max(0.0, value or 0.0))
    reached = value is not None and value >= 1.0
    # What is not quite there must not read as if it were.
    words = "100%" if reached else f"{min(99, int(part * 100))}%"
    return Text.assemble(bar(part, _BAR, style, plain=plain), (f" {words:>4}", f"{style} bold" if reached else ""))


def bar(share: float, width: int, style: str, *, plain: bool = False) -> Text:
    """Return a bar of `width` characters, filled by `share` of it."""
    full = round(min(1.0, max(0.0, share)) * width)
    filled, empty = ("#", ".") if plain else ("█", "░")
    return Text.assemble((filled * full, style), (empty * (width - full), "dim"))


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return clean(", ".join(f"{key} {_in_words(one)}" for key, one in list(value.items())[:20]), limit=400)
    if isinstance(value, list | tuple):
        return clean(", ".join(_in_words(one) for one in value[:20]), limit=400)
    number = _number(value)
    if number is not None:
        return f"{value:,}" if isinstance(value, int) else f"{number:.4g}"
    return "-" if value is None else clean(value, limit=400)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
