"""What the evidence says of a metric from elsewhere: readings of each version, a pair of them now and then.

The questions are those of `comparison`, where bad calls are counted, and so are the answers. They are decided by bets
on pairs (see `pairs`): against "at most `allowed` times as bad" for harm, against "at least `margin` times as bad" for
safe. There is no clock in it: who reads, and when, is the business of whoever supplies the pairs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.staged import Measurement
from noodle_upgrade_deployment.judging.comparison import Levels
from noodle_upgrade_deployment.judging.pairs import PairBets, lead
from noodle_upgrade_deployment.judging.repeats import Repeats
from noodle_upgrade_deployment.judging.spans import Span
from noodle_upgrade_deployment.metrics.metric import Metric, MetricUnreadableError, Pair, Supply

__all__ = ["ReadingComparison", "Readings"]

_REMEMBERED = 256
_LEAST_GROWTH = 1e-6
_NEGATIVE = (
    "some of its readings are below 0, where no ratio of two says anything: it can do harm, and never be safe; give a"
    " metric that does not go below 0"
)


class Readings:
    """A metric from elsewhere as `Betting` takes it: made anew for each rollout, as its supply is."""

    def __init__(self, supply: Supply) -> None:
        self.supply = supply
        self.metric = supply.metric
        self.name = supply.metric.name
        self._negative = False

    def read(self, seen: Measurement) -> tuple[Pair, ...] | None:
        """Return the readings that came since the last time; None before the new version serves.

        Once all calls are the new version's, it alone is read: nobody can tell what the old one would have had.
        Raises `MetricUnreadableError` while there is none, which has those from before in `made`.
        """
        if seen.weight <= 0.0:
            return None
        self.supply.begin(seen.old.version, seen.new.version, both=seen.weight < 1.0)
        pairs, problem = self.supply.take()
        self._negative = self._negative or any(pair.new < 0.0 or (pair.old or 0.0) < 0.0 for pair in pairs)
        if problem := problem or (_NEGATIVE if self._negative else ""):
            error = MetricUnreadableError(problem)
            error.made = pairs
            raise error
        return pairs

    def comparison(self, levels: Levels) -> ReadingComparison:
        """Return what judges them, with the metric's own bounds in place of the judge's where it has some.

        Raises `InvalidRequestError` where what is allowed is not below the margin.
        """
        metric = self.metric
        allowed = levels.allowed if metric.allowed is None else metric.allowed
        margin = levels.margin if metric.margin is None else metric.margin
        if allowed >= margin:
            raise InvalidRequestError(
                f"the metric {self.name!r}: allowed ({allowed:g}) must be below margin ({margin:g}).",
                hint="What is allowed does no harm; from the margin on it is not safe.",
            )
        return ReadingComparison(metric, evolve(levels, allowed=allowed, margin=margin))


class ReadingComparison:
    """One metric's readings from the beginning of a rollout; `harm` and `safe` as in `Comparison`."""

    due: float | None = None
    """Nothing is due without a reading."""

    def __init__(self, metric: Metric, levels: Levels) -> None:
        self._metric = metric
        self._levels = levels
        ways = (True, False) if metric.worse == "either" else (metric.worse == "higher",)
        self._sides = tuple(_Side(levels, higher=higher) for higher in ways)
        # Whichever side says harm counts, so each may be wrong that much more rarely.
        self._to_harm = levels.to_harm + math.log(len(ways))
        self._repeats = Repeats()
        self._span = Span()
        self._recent: deque[Pair] = deque(maxlen=_REMEMBERED)
        self._pairs = self._telling = 0
        self._means = _Means()
        self._evidence: dict[str, Any] | None = None
        self._wanting: str | None = None
        self.harm = self.safe = False

    def turn(self, share: float) -> None:  # noqa: ARG002 - readings do not depend on it
        """The new version gets another share: what went well at a small one says nothing of a larger one."""
        self.safe = False
        self._evidence = self._wanting = None
        for side in self._sides:
            side.turn()

    def take(self, at: float, pairs: Iterable[Pair]) -> None:  # noqa: ARG002 - as counts are taken
        """Take in readings, in the order in which they were made."""
        for pair in pairs:
            self._evidence = self._wanting = None
            self._means.add(pair)
            if pair.old is not None:
                self._judge(pair, pair.old)

    def _judge(self, pair: Pair, old: float) -> None:
        block = self._repeats.block
        for side in self._sides:
            side.take(old, pair.new, block)
        self._pairs += 1
        if old >= 0.0 and pair.new >= 0.0 and (old or pair.new):
            self._telling += 1
            self._span.add(old, pair.new, block)
            self._recent.append(pair)
        self._repeats.add(old, lead(pair.new, old))
        self.harm = self.harm or any(side.harm.log_capital >= self._to_harm for side in self._sides)
        self.safe = self.safe or all(side.safe.log_capital >= self._levels.to_safe for side in self._sides)

    def in_words(self) -> str:
        """Say how high both versions' readings are."""
        means = self._means
        old = "none" if means.old is None else f"{means.old:.4g}"
        new = "none" if means.new is None else f"{means.new:.4g}"
        return f"{new} of the new version, {old} of the old one, on average of {means.count} readings"

    def readings_to_safe(self) -> int | None:
        """Return how many more readings it takes to be safe, were both versions alike but for chance.

        None where no end is in sight: where readings spread too much for the margin, or all of them are 0.
        """
        wanting = self._levels.to_safe - min(side.safe.log_capital for side in self._sides)
        if wanting <= 0.0:
            return 0
        if self._pairs and not self._telling:
            return None
        growth = min(side.growth(self._recent, self._span.ratio()) for side in self._sides)
        growth *= self._telling / self._pairs if self._pairs else 1.0
        return math.ceil(wanting / growth) if growth > _LEAST_GROWTH else None

    def evidence(self) -> dict[str, Any]:
        """Return the numbers, as `Comparison.evidence` does.

        `old` and `new` are means, `ratio` is that of the new version's readings to the old one's.
        """
        if self._evidence is None:
            low, high = self._span.limits()
            self._evidence = {
                "old": self._means.old,
                "new": self._means.new,
                "ratio": self._span.ratio(),
                "low": low,
                "high": None if math.isinf(high) else high,
                "harm": max(side.harm.log_capital for side in self._sides) / self._to_harm,
                "safe": min(side.safe.log_capital for side in self._sides) / self._levels.to_safe,
                "calls_to_safe": None,
                "readings": self._means.count,
                "readings_to_safe": self.readings_to_safe(),
            }
        return self._evidence.copy()

    def wanting(self) -> str:
        """Say how many readings it takes to be safe; "" when it is."""
        if self.safe:
            return ""
        if self._wanting is None:
            self._wanting = self._in_need()
        return self._wanting

    def _in_need(self) -> str:
        left = self.readings_to_safe()
        if left is None:
            return f"{self._metric.name}: its readings do not tell the versions apart, and no end is in sight"
        seconds = left * self._metric.every
        return f"{self._metric.name}: about {left} more readings are needed ({seconds:.0f} s)"


class _Side:
    """One way of being worse: higher, or lower."""

    __slots__ = ("_higher", "_levels", "harm", "safe")

    def __init__(self, levels: Levels, *, higher: bool) -> None:
        self._levels = levels
        self._higher = higher
        self.harm, self.safe = PairBets(), PairBets()

    def turn(self) -> None:
        self.safe = PairBets()

    def take(self, old: float, new: float, block: int) -> None:
        worse, better = (new, old) if self._higher else (old, new)
        plain = worse >= 0.0 and better >= 0.0
        # Below 0 "so many times as bad" means nothing: only where no more than the same is allowed is there a bet.
        if plain or self._levels.allowed <= 1.0:
            self.harm.take(lead(worse, better, self._levels.allowed), block)
        if plain:
            self.safe.take(-lead(worse, better, self._levels.margin), block)

    def growth(self, recent: Sequence[Pair], ratio: float | None) -> float:
        """Return by how much a pair brings it nearer to safe, were both alike and did they spread as they do."""
        margin, centre = self._levels.margin, ratio or 1.0
        leads = [-lead(pair.new, pair.old * centre, margin) for pair in recent if pair.old is not None]
        if not self._higher:
            leads = [-lead(pair.old * centre, pair.new, margin) for pair in recent if pair.old is not None]
        return PairBets.growth(leads or [-lead(1.0, 1.0, margin)])


class _Means:
    """The means of both versions' readings; they do not overflow."""

    __slots__ = ("_olds", "count", "new", "old")

    def __init__(self) -> None:
        self.count = self._olds = 0
        self.old: float | None = None
        self.new: float | None = None

    def add(self, pair: Pair) -> None:
        self.count += 1
        self.new = _mean(self.new, pair.new, self.count)
        if pair.old is not None:
            self._olds += 1
            self.old = _mean(self.old, pair.old, self._olds)


def _mean(before: float | None, value: float, count: int) -> float:
    return value if before is None else before * ((count - 1) / count) + value / count
