"""What the evidence says of one metric: the new version is worse than the old one, it is as good, or it is too early.

The metric is a count of events, calls say, and of those among them that were bad. Both questions are answered by bets
(see `bets`), on incidents of bad events (see `incidents`), so that one may look as often as one likes.
"""

from __future__ import annotations

import math

from attrs import field, frozen

from noodle_upgrade_deployment.judging.bets import Bets, SoloBets, log_mean
from noodle_upgrade_deployment.judging.counts import NOTHING, Counts, Share
from noodle_upgrade_deployment.judging.incidents import Incident, Incidents
from noodle_upgrade_deployment.judging.ratios import Interval, Ratio
from noodle_upgrade_deployment.judging.records import Record

__all__ = ["Comparison", "Levels"]

_WORSE = {2.0: 0.2, 4.0: 0.2, 12.0: 0.6}
"""How much worse a worse version turns out: the gamblers' favourites, as multiples of what is allowed."""
_AS_GOOD = {1.0: 0.8, 0.5: 0.2}
_LEAST_GROWTH = 1e-9


@frozen(kw_only=True)
class Levels:
    """How sure one must be, and of what.

    `alpha` is the chance that a version which is at most `allowed` times as bad as the old one is ever called harmful;
    none is while no more than `tolerable` of its events are bad. `beta` is the chance, at each share, that one which is
    at least `margin` times as bad, and bad in `tolerable` or more of its events, is called safe. A `tolerable` of 0
    means that no number of bad events is too small to matter.
    """

    alpha: float = 0.01
    beta: float = 0.05
    allowed: float = 1.0
    margin: float = 1.5
    tolerable: float = 0.0
    to_harm: float = field(init=False)
    to_safe: float = field(init=False)

    @to_harm.default
    def _log_harm(self) -> float:
        return -math.log(self.alpha)

    @to_safe.default
    def _log_safe(self) -> float:
        return -math.log(self.beta)


class Comparison:
    """One metric from the beginning of a rollout.

    `harm` is true once the new version has turned out to be worse than allowed, and stays so. `safe` is true once it
    has turned out to be good enough at the share at hand: what evidence has shown at any time is shown.
    """

    __slots__ = (
        "_begin",
        "_harm",
        "_incidents",
        "_interval",
        "_last",
        "_levels",
        "_ratio",
        "_record",
        "_safe",
        "_share",
        "_share_then",
        "_solo",
        "harm",
        "safe",
    )

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._harm = Bets(levels.allowed, {ratio * levels.allowed: part for ratio, part in _WORSE.items()})
        self._solo = SoloBets(levels.tolerable) if levels.tolerable else None
        self._incidents: Incidents | None = None
        self._interval = Interval()
        self._ratio = Ratio()
        self._record = Record()
        self._last = self._begin = NOTHING
        self.harm = False
        self.turn(0.0)

    def turn(self, share: float) -> None:
        """The new version gets another share: what went well at a small one says nothing of a larger one."""
        self._ratio.add(self._last.since(self._begin))
        self._begin = self._last
        self._share = Share(share, self._last)
        self._share_then = share
        self._safe = Bets(self._levels.margin, _AS_GOOD)
        self.safe = False
        if share >= 1.0:
            self._record.turn(self._last)
            # How far apart bad events are by now is another question than how far apart those of the old version were.
            self._incidents = None

    def take(self, at: float, counts: Counts) -> None:
        """Take in the counts of a moment; `at` is in seconds, and does not go back."""
        incidents, last = self._incidents, self._last
        if incidents is None:
            incidents = self._incidents = Incidents(at)
        over = incidents.close(at) if at >= incidents.due else None
        if over is not None:
            self._settle(over)
        old_bad, new_bad = counts.old_bad - last.old_bad, counts.new_bad - last.new_bad
        if old_bad or new_bad:
            if math.isinf(incidents.due):
                self._share_then = self._share.estimate(last)
            incidents.take(at, old_bad, new_bad)
        self._last = counts
        if over is not None:
            self.harm = self.harm or (self._log_harm >= self._levels.to_harm and self._matters)
        if not self.safe and (over is not None or self._hardly_ever_bad):
            self.safe = self._log_safe >= self._levels.to_safe

    @property
    def due(self) -> float | None:
        """When the open incident ends, if there is one."""
        due = math.inf if self._incidents is None else self._incidents.due
        return None if math.isinf(due) else due

    def _settle(self, over: Incident) -> None:
        share = self._share_then
        self._harm.settle(over.new, over.bad, share)
        self._safe.settle(over.new, over.bad, share)
        self._interval.add(over.new, over.bad, share)
        self._record.settle(over)

    @property
    def _log_harm(self) -> float:
        # One of them stands still: either both versions serve, or only one does.
        return self._harm.log_capital + self._record.log_capital(self._last)

    @property
    def _matters(self) -> bool:
        """Whether more of the new version's events are bad than never matter: a worse version may still be good enough.

        A version that has few calls is colder than one that has most of them, and a little slower for that alone.
        """
        return self._last.new_bad > self._levels.tolerable * self._last.new

    @property
    def _log_safe(self) -> float:
        """Two ways to be safe: nearly as good as the old version, or hardly ever bad."""
        return self._safe.log_capital if self._solo is None else log_mean(self._safe.log_capital, self._log_solo)

    @property
    def _log_solo(self) -> float:
        if self._solo is None:
            return -math.inf
        seen, begin = self._last, self._begin
        return self._solo.log_capital(seen.new - begin.new, seen.new_bad - begin.new_bad)

    @property
    def _hardly_ever_bad(self) -> bool:
        """Whether that alone may be enough by now: asked at every look, and so without logarithms."""
        if self._solo is None:
            return False
        seen, begin = self._last, self._begin
        return self._solo.at_most(seen.new - begin.new, seen.new_bad - begin.new_bad) >= self._levels.to_safe

    def in_words(self) -> str:
        """Say how bad both versions are."""
        seen = self._last.since(self._begin)
        return f"{_part(seen.new_bad, seen.new)} of the new version, {_part(seen.old_bad, seen.old)} of the old one"

    def calls_to_safe(self) -> int | None:
        """Return how many more calls in all it takes to be safe, were both versions alike; None for no end in sight."""
        wanting = self._levels.to_safe - self._log_safe
        if wanting <= 0.0:
            return 0
        share, seen = self._share.estimate(self._last), self._last
        bad = (seen.old_bad + seen.new_bad) / seen.events if seen.events else 0.0
        growth = bad * self._safe.growth(share, 1.0)
        if self._solo is not None:
            growth = max(growth, share * self._solo.growth)
        return math.ceil(wanting / growth) if growth > _LEAST_GROWTH else None

    def evidence(self) -> dict[str, float | int | None]:
        """Return the numbers: bad shares, their ratio with its interval at 95 %, and how far it is to harm and to safe.

        `harm` and `safe` are parts of the way there, 1 and above meaning that it is reached; harm only counts once more
        of the new version's events are bad than never matter.
        """
        seen = self._last
        low, high = self._interval.limits()
        return {
            "old": seen.old_bad / seen.old if seen.old else None,
            "new": seen.new_bad / seen.new if seen.new else None,
            "ratio": self._ratio.value(seen.since(self._begin)),
            "low": low,
            "high": None if math.isinf(high) else high,
            "harm": self._log_harm / self._levels.to_harm,
            "safe": self._log_safe / self._levels.to_safe,
            "calls_to_safe": self.calls_to_safe(),
        }


def _part(bad: int, events: int) -> str:
    return f"{bad} of {events} ({bad / events:.1%})" if events else "none of none"
