"""What two versions did, counted, and what follows from counts alone."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NOTHING", "Counts", "Share"]


class Counts(NamedTuple):
    """What both versions did since the rollout began: events, and the bad ones among them. They only grow."""

    old: int
    old_bad: int
    new: int
    new_bad: int

    @property
    def events(self) -> int:
        """Those of both versions."""
        return self.old + self.new

    def since(self, earlier: Counts) -> Counts:
        """Return what came after an earlier count."""
        return Counts(
            self.old - earlier.old,
            self.old_bad - earlier.old_bad,
            self.new - earlier.new,
            self.new_bad - earlier.new_bad,
        )


NOTHING = Counts(0, 0, 0, 0)


class Share:
    """Which share of the events is the new version's: the one that was asked for, corrected by what came.

    Users who stick to a version, or who come and go, move it: only the last five to ten thousand events count.
    """

    ASKED_COUNTS = 50.0
    """How many events the word of whoever routes is worth."""
    REMEMBERED = 10_000

    __slots__ = ("_asked", "_from", "_middle")

    def __init__(self, asked: float, begin: Counts) -> None:
        self._asked = asked
        self._from = self._middle = begin

    def estimate(self, now: Counts) -> float:
        """Return the new version's share by now."""
        if now.events - self._middle.events > self.REMEMBERED // 2:
            self._from, self._middle = self._middle, now
        seen = now.since(self._from)
        return (self.ASKED_COUNTS * self._asked + seen.new) / (self.ASKED_COUNTS + seen.events)
