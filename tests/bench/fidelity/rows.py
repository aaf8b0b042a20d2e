"""A row of the table: what came out for one case on one Python, and whether that reaches the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import asdict, define

__all__ = ["Row", "as_table"]


@define(kw_only=True)
class Row:
    """One row of `build/fidelity.json`; None is what was not measured.

    `verdict` is `live`, `refused: <reason>`, or `error: <reason>` where the case could not be run at all.
    """

    package: str
    old: str
    new: str
    python: str
    mechanism: str
    verdict: str
    fresh_passed: int | None = None
    live_passed: int | None = None
    rollback_fresh_passed: int | None = None
    rollback_live_passed: int | None = None
    held_right: int | None = None
    held_wrong: int | None = None
    state_kept: int | None = None
    state_lost: int | None = None
    undo_differences: int | None = None
    generation_passed: int | None = None
    swap_ms: float | None = None
    commit_us: float | None = None
    wrong_in_canary: int = 0
    """Not in the file, which has the columns that it was asked for; the details have it."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as the file has it."""
        return {
            {"old": "from", "new": "to"}.get(name, name): value
            for name, value in asdict(self).items()
            if name != "wrong_in_canary"
        }

    def missed(self) -> list[str]:
        """Return the targets that it does not reach."""
        if self.verdict.startswith("error"):
            return [self.verdict]
        if self.verdict.startswith("refused"):
            return []  # whether a refusal is right, and how many there are, is for people and for the whole table
        return [*self._missed_by_generation(), *self._missed_by_patch()]

    def _missed_by_patch(self) -> list[str]:
        if self.mechanism != "patch":
            return []
        pairs = {"suite": (self.fresh_passed, self.live_passed)}
        pairs["old suite after rollback"] = (self.rollback_fresh_passed, self.rollback_live_passed)
        found = [f"{name} {live} of {fresh}" for name, (fresh, live) in pairs.items() if not fresh or live != fresh]
        counts = {name: getattr(self, name) for name in ("held_wrong", "state_lost", "undo_differences")}
        return [*found, *(f"{name} {count}" for name, count in counts.items() if count != 0)]

    def _missed_by_generation(self) -> list[str]:
        if self.generation_passed is None or not self.fresh_passed:
            return []
        wrong = [f"{self.wrong_in_canary} wrong in the canary"] if self.wrong_in_canary else []
        share = self.generation_passed / self.fresh_passed
        return [*wrong, *([f"generation {share:.1%}"] if share < LEAST_GENERATION else [])]


LEAST_GENERATION = 0.995
MOST_REFUSED = 1 / 12
_HEAD = ("case", "python", "new suite", "old suite", "held", "state", "undo", "generation", "swap", "commit", "")


def as_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table of fixed width, and a line on what was missed."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    shown = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(shown)


def _cells(row: Row) -> tuple[str, ...]:
    missed = row.missed()
    word = row.verdict[:100] if row.verdict != "live" else "ok" if not missed else "MISSED"
    return (
        f"{row.package} {row.old} → {row.new}",
        row.python,
        _share(row.live_passed, row.fresh_passed),
        _share(row.rollback_live_passed, row.rollback_fresh_passed),
        _wrong(row.held_wrong, row.held_right),
        _wrong(row.state_lost, row.state_kept),
        "" if row.undo_differences is None else str(row.undo_differences),
        _share(row.generation_passed, row.fresh_passed),
        "" if row.swap_ms is None else f"{row.swap_ms:.0f} ms",
        "" if row.commit_us is None else f"{row.commit_us:.0f} µs",
        word,
    )


def _share(some: int | None, all_of: int | None) -> str:
    return "" if some is None else f"{some}/{all_of}"


def _wrong(wrong: int | None, right: int | None) -> str:
    return "" if wrong is None or right is None else f"{right}" if not wrong else f"{right}, {wrong} WRONG"
