"""How much worse the new version is: the ratio of the bad shares, with an interval that holds whenever one looks."""

from __future__ import annotations

import math

from noodle_upgrade_deployment.judging.bets import Bets
from noodle_upgrade_deployment.judging.counts import Counts

__all__ = ["Interval", "Ratio"]

_BOUNDS = tuple(2.0 ** (step / 4.0) for step in range(-16, 25))
"""The ratios that are asked about: from a sixteenth to 64, in quarters of a doubling."""
_FURTHER = (1.6, 4.0)
_WAITING = 1000


class Ratio:
    """The common ratio of bad shares over all shares of traffic so far (Mantel and Haenszel's).

    Each share is a table of its own: a disturbance while the new version had few calls would else count as its doing.
    """

    __slots__ = ("_above", "_below")

    def __init__(self) -> None:
        self._above = self._below = 0.0

    def add(self, table: Counts) -> None:
        """Take in what was counted at one share."""
        if table.events:
            self._above += table.new_bad * table.old / table.events
            self._below += table.old_bad * table.new / table.events

    def value(self, table: Counts) -> float | None:
        """Return the ratio with the table at hand; None while it could be anything."""
        whole = Ratio()
        whole._above, whole._below = self._above, self._below
        whole.add(table)
        return whole._above / whole._below if whole._below else None


class Interval:
    """Which ratios are not ruled out at a level of 95 %: each that bets were not won against.

    Reckoned when somebody asks, for it takes as long as sixty judgements; what came meanwhile is kept.
    """

    __slots__ = ("_high", "_low", "_need", "_not_less", "_not_more", "_waiting")

    def __init__(self, level: float = 0.95) -> None:
        self._need = math.log(2.0 / (1.0 - level))
        self._not_more = [Bets(bound, {bound * by: 0.5 for by in _FURTHER}) for bound in _BOUNDS]
        self._not_less = [Bets(bound, {bound / by: 0.5 for by in _FURTHER}) for bound in _BOUNDS]
        self._low, self._high = 0.0, math.inf
        self._waiting: list[tuple[int, int, float]] = []

    def add(self, new: int, bad: int, share: float) -> None:
        """Take in an incident, as `Bets.settle` does."""
        self._waiting.append((new, bad, share))
        if len(self._waiting) >= _WAITING:
            self._reckon()

    def limits(self) -> tuple[float, float]:
        """Return the lower and the upper limit: 0 and infinity while nothing is known."""
        self._reckon()
        return self._low, self._high

    def _reckon(self) -> None:
        waiting, self._waiting = self._waiting, []
        for incident in waiting:
            for bets in self._not_more:
                bets.settle(*incident)
                if bets.log_capital >= self._need:
                    self._low = max(self._low, bets.bound)
            for bets in self._not_less:
                bets.settle(*incident)
                if bets.log_capital >= self._need:
                    self._high = min(self._high, bets.bound)
