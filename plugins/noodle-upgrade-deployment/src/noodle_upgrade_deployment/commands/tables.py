"""A simulation as a table for people."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from noodle_upgrade_deployment.simulation.rates import Rates, Share, Spread
from noodle_upgrade_deployment.simulation.report import Report

__all__ = ["show"]

_MINUTES_FROM, _HOURS_FROM = 120.0, 7200.0
_WIDTH = 120


def show(report: Report) -> None:
    """Print it to stdout."""
    console = Console(
        file=sys.stdout, highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDTH
    )
    strategy, judge, calls = (report.subject.get(name, "") for name in ("strategy", "judge", "calls"))
    what = f"{strategy} with {judge} over {calls} calls"
    console.print(Text(f"{what}: {report.runs:,} rollouts of each version, seed {report.seed}"))
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    columns = [(name, one.rates) for name, one in (("good", report.good), ("bad", report.bad)) if one is not None]
    for name, _ in columns:
        table.add_column(Text(f"{name} version", style="bold"), justify="right")
    rows = [list(_rows(rates)) for _, rates in columns]
    for cells in zip(*rows, strict=True):
        table.add_row(Text(cells[0][0]), *(Text(value) for _, value in cells))
    console.print(table)


def _rows(rates: Rates) -> Iterator[tuple[str, str]]:
    yield "taken back as harmful", _share(rates.harm)
    yield "promoted", _share(rates.promoted)
    other = [f"{end} {count:,}" for end, count in rates.ends.items() if end not in {"harm", "promoted"}]
    yield "other ends", ", ".join(other) or "none"
    yield "time to detect, median (p90)", _spread(rates.to_harm)
    yield "until all was back, median (p90)", _spread(rates.to_go_back)
    yield "bad calls until the end, median (p90)", f"{rates.bad_calls.median:,.0f} ({rates.bad_calls.p90:,.0f})"
    yield "time to promote, median (p90)", _spread(rates.to_promote)
    if rates.capacity is not None:
        yield "capacity that was there at worst", f"{rates.capacity:.2%}"
        yield "replicas changing in several domains", f"{rates.across or 0:,}"


def _share(share: Share) -> str:
    low, high = share.bounds
    return f"{share.value:.2%} ({low:.2%} to {high:.2%})"


def _spread(times: Spread) -> str:
    return f"{_time(times.median)} ({_time(times.p90)})" if math.isfinite(times.median) else "in fewer than half"


def _time(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "never"
    if seconds < _MINUTES_FROM:
        return f"{seconds:.1f} s"
    return f"{seconds / 60.0:.1f} min" if seconds < _HOURS_FROM else f"{seconds / 3600.0:.1f} h"
