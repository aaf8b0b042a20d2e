"""By how much the new version's readings are higher: their ratio, with an interval that holds whenever one looks."""

from __future__ import annotations

import math
from collections import deque

from noodle_upgrade_deployment.judging.pairs import PairBets, lead

__all__ = ["Span"]

_BOUNDS = tuple(2.0 ** (step / 8.0) for step in range(-32, 49))
"""The ratios that are asked about: from a sixteenth to 64, in eighths of a doubling."""
_REMEMBERED = 256
_FURTHEST = 40.0
_MOST_STEPS = 60
_EXACT = 1e-9


class Span:
    """The ratio of the readings at which neither version leads, and which ratios are not ruled out at 95 %.

    Reckoned when somebody asks, for it takes as long as a hundred and sixty bets; what came meanwhile is kept.
    """

    __slots__ = ("_high", "_low", "_need", "_not_less", "_not_more", "_recent", "_waiting")

    def __init__(self, level: float = 0.95) -> None:
        self._need = math.log(2.0 / (1.0 - level))
        self._not_more = [(bound, PairBets()) for bound in _BOUNDS]
        self._not_less = [(bound, PairBets()) for bound in _BOUNDS]
        self._low, self._high = 0.0, math.inf
        self._recent: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._waiting: list[tuple[float, float, int]] = []

    def add(self, old: float, new: float, block: int) -> None:
        """Take in a pair of readings, neither below 0 and not both of them 0."""
        self._waiting.append((old, new, block))
        self._recent.append((old, new))
        if len(self._waiting) >= _REMEMBERED:
            self._reckon()

    def ratio(self) -> float | None:
        """Return the ratio of new to old over the last readings; None while it could be anything."""
        if not self._recent or not self._leads(-_FURTHEST)[0] > 0.0 > self._leads(_FURTHEST)[0]:
            return None
        low, high, middle = -_FURTHEST, _FURTHEST, 0.0
        for _ in range(_MOST_STEPS):
            ahead, steepness = self._leads(middle)
            low, high = (middle, high) if ahead > 0.0 else (low, middle)
            # Newton's step, or half of what is left where that leads astray.
            step = 2.0 * ahead / steepness if steepness > 0.0 else math.inf
            further = middle + step if low < middle + step < high else (low + high) / 2.0
            if abs(further - middle) < _EXACT:
                break
            middle = further
        return math.exp(middle)

    def limits(self) -> tuple[float, float]:
        """Return the lower and the upper limit: 0 and infinity while nothing is known."""
        self._reckon()
        return self._low, self._high

    def _leads(self, log_bound: float) -> tuple[float, float]:
        """Return the sum of the leads at a bound, and by how much it falls with the bound's logarithm, twice."""
        bound = math.exp(log_bound)
        leads = [lead(new, old, bound) for old, new in self._recent]
        return sum(leads), sum(1.0 - one * one for one in leads)

    def _reckon(self) -> None:
        waiting, self._waiting = self._waiting, []
        for old, new, block in waiting:
            for bound, bets in self._not_more:
                ahead = lead(new, old, bound)
                bets.take(ahead, block)
                if bets.log_capital >= self._need:
                    self._low = max(self._low, bound)
            for bound, bets in self._not_less:
                bets.take(-lead(new, old, bound), block)
                if bets.log_capital >= self._need:
                    self._high = min(self._high, bound)
