"""Bets against a hypothesis about two versions: capital that grows, beyond chance, only when the hypothesis is false.

Bad events come in incidents of `n`, `c` of them of the new version. While the new version is at most `bound` times as
bad as the old one, and gets the share ρ of the calls, it has on average no more than ρ′ = ρ·bound / (ρ·bound + 1 − ρ)
of an incident. So the stake λ·(c/n − ρ′) is a fair game at best, for any λ between 0 and 1/ρ′ that was chosen before,
and by Ville's inequality capital that starts at 1 ever reaches 1/α with a probability of α at most, however often
anybody looks. Only averages over whole incidents are needed: events may come in clumps, as long as a clump is in one.

What λ earns most depends on how bad the version is, which nobody knows: several gamblers bet on different ratios, and
each lends a little to all others after every incident, so that a change late in a long rollout is noticed, too
(Herbster and Warmuth's fixed share, with one gambler who keeps his money).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["Bets", "SoloBets", "fair_share", "log_mean"]

_MOST = 0.95
"""The part of its capital that a gambler risks at most."""
_LENT = 0.005
_KEPT = 0.02
_LOG_2 = math.log(2.0)


def fair_share(share: float, ratio: float) -> float:
    """Return the new version's part of the bad events when it gets `share` of the calls and is `ratio` times as bad."""
    return share * ratio / (share * ratio + 1.0 - share)


class Bets:
    """Bets that the ratio of the two versions' bad shares lies beyond `bound`, on the side of the `ratios`.

    `ratios` gives each gambler's favourite ratio and its part of the capital at the beginning: all above the bound, or
    all below it.
    """

    __slots__ = ("_begin", "_parts", "_ratios", "_side", "bound", "log_capital")

    def __init__(self, bound: float, ratios: Mapping[float, float]) -> None:
        whole = sum(ratios.values())
        self.bound = bound
        self._ratios = tuple(ratios)
        self._side = 1.0 if self._ratios[0] > bound else -1.0
        self._begin = tuple((1.0 - _KEPT) * part / whole for part in ratios.values())
        self.log_capital = 0.0
        self._parts = self._begin

    def settle(self, new: int, bad: int, share: float) -> None:
        """Pay out for an incident: `new` of its `bad` events were the new version's, which had `share` of the calls.

        `share` and the number of events may be known before the bet; whose they were may not.
        """
        if not 0.0 < share < 1.0:
            return  # without both versions there is nothing to compare
        fair = fair_share(share, self.bound)
        won = self._side * (new / bad - fair)
        parts, kept = [], 1.0 - sum(self._parts)
        capital = kept
        for ratio, part in zip(self._ratios, self._parts, strict=True):
            after = part * (1.0 + won * self._stake(fair, fair_share(share, ratio), bad))
            parts.append(after)
            capital += after
        self.log_capital += math.log(capital)
        keep, lend = (1.0 - _LENT) / capital, _LENT
        self._parts = tuple(keep * part + lend * begin for part, begin in zip(parts, self._begin, strict=True))

    def _stake(self, fair: float, expected: float, bad: int) -> float:
        """Return the stake of a gambler who expects this part of `bad` events to be the new version's."""
        edge = self._side * (expected - fair)
        most = _MOST / (fair if self._side > 0.0 else 1.0 - fair)
        return min(most, edge / (expected * (1.0 - expected) / bad + edge * edge))

    def growth(self, share: float, ratio: float) -> float:
        """Return by how much the logarithm of the capital grows with a single bad event, were `ratio` the truth.

        That of a gambler who believes in it: what can be expected in the long run.
        """
        if not 0.0 < share < 1.0:
            return 0.0
        fair, truth = fair_share(share, self.bound), fair_share(share, ratio)
        if self._side * (truth - fair) <= 0.0:
            return 0.0
        won = self._side * self._stake(fair, truth, 1)
        return truth * math.log1p(won * (1.0 - fair)) + (1.0 - truth) * math.log1p(-won * fair)


class SoloBets:
    """Bets on the bad share of one version alone: that it is below `limit`, or `above` it.

    Below, for versions that are hardly ever bad: two of them cannot be compared, and need not be. Above, for when there
    is no other version left to compare with.
    """

    __slots__ = ("_pays",)

    def __init__(self, limit: float, *, above: bool = False) -> None:
        # What a good event and a bad one do to a gambler's capital: some dare much and some do not.
        bold = _MOST / limit
        stakes = [min(ratio - 1.0, bold) for ratio in (3.0, 10.0)] if above else [-0.5, -0.9]
        self._pays = tuple((math.log1p(-stake * limit), math.log1p(stake * (1.0 - limit))) for stake in stakes)

    def log_capital(self, events: int, bad: int) -> float:
        """Return the logarithm of what the gamblers have together after so many events; each began with the same."""
        good = events - bad
        (timid_good, timid_bad), (bold_good, bold_bad) = self._pays
        return log_mean(good * timid_good + bad * timid_bad, good * bold_good + bad * bold_bad)

    def at_most(self, events: int, bad: int) -> float:
        """Return what the logarithm of their capital does not exceed: that of whoever has more."""
        good = events - bad
        (timid_good, timid_bad), (bold_good, bold_bad) = self._pays
        return max(good * timid_good + bad * timid_bad, good * bold_good + bad * bold_bad)

    @property
    def growth(self) -> float:
        """By how much it grows with a good event, in the long run."""
        return max(when_good for when_good, _ in self._pays)


def log_mean(one: float, other: float) -> float:
    """Return the logarithm of the mean of what these are logarithms of."""
    return max(one, other) + math.log1p(math.exp(-abs(one - other))) - _LOG_2
