"""Bets on pairs of readings: capital that grows, beyond chance, only when one version's readings are higher.

Two readings x and y, taken at about the same moment, have the lead (y − x) / (y + x): between −1 and 1, and 0 where
they are alike. While it does not matter which of them is whose, the lead is as often above 0 as it is as far below, so
the stake λ·lead is a fair game for any λ from 0 to 1 that was chosen before, and by Ville's inequality capital that
starts at 1 ever reaches 1/α with a probability of α at most. Nothing is supposed of how readings spread, nor of how
they move, as long as they move together. Against the hypothesis that y is at most b times x, the lead is that of y/b.

A bold gambler is nearly ruined by a single pair that goes against him, and wins in seven pairs where nothing does. With
him plays a timid one, and each lends a little to the other after every bet (fixed share), so that a change late in a
long rollout is noticed, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["PairBets", "lead"]

GAMBLERS: Final[Mapping[float, float]] = {0.99: 0.92, 0.3: 0.08}
"""Their stakes, and the part of the capital that each begins with."""
_LENT = 0.005
_KEPT = 0.02


def lead(one: float, other: float, bound: float = 1.0) -> float:
    """Return by how much `one` is more than `bound` times the other: from −1 to 1, 0 for two readings of 0.

    Readings below 0 have no ratio. Theirs is the lead of the plain readings, which is as fair as long as it does not
    matter which is whose.
    """
    if one < 0.0 or other < 0.0:
        most = max(abs(one), abs(other))
        one, other = one / most, other / most
        return (one - other) / (abs(one) + abs(other))
    # In this form nothing overflows, however large the readings are.
    if one >= other:
        part = other / one if one else 1.0 / bound
        return (1.0 - bound * part) / (1.0 + bound * part)
    part = one / other
    return (part - bound) / (part + bound)


class PairBets:
    """Bets that a lead is above 0 on average, on the mean of each block of leads."""

    __slots__ = ("_left", "_parts", "_size", "_sum", "log_capital")

    def __init__(self) -> None:
        self.log_capital = 0.0
        self._parts = _BEGIN
        self._size = self._left = 0
        self._sum = 0.0

    def take(self, ahead: float, block: int) -> None:
        """Take in a lead; one that begins a block makes it as long as `block` says, which must be known before."""
        if not self._left:
            self._size = self._left = block
            self._sum = 0.0
        self._sum += ahead
        self._left -= 1
        if not self._left:
            self._settle(self._sum / self._size)

    def _settle(self, won: float) -> None:
        after = [part * (1.0 + stake * won) for stake, part in zip(GAMBLERS, self._parts, strict=True)]
        capital = 1.0 - sum(self._parts) + sum(after)
        self.log_capital += math.log(capital)
        keep = (1.0 - _LENT) / capital
        self._parts = tuple(keep * part + _LENT * begin for part, begin in zip(after, _BEGIN, strict=True))

    @staticmethod
    def growth(leads: Iterable[float]) -> float:
        """Return by how much the logarithm of the capital grows with a pair, were the leads such ones.

        That of the gambler who does best with them: what can be expected in the long run.
        """
        known = tuple(leads)
        return max(sum(math.log1p(stake * one) for one in known) / max(1, len(known)) for stake in GAMBLERS)


_BEGIN: Final = tuple((1.0 - _KEPT) * part / sum(GAMBLERS.values()) for part in GAMBLERS.values())
