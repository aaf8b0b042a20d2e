"""Which bad events belong together: those that are much closer to one another than bad events usually are.

A client that tries again, a full queue, a lost connection: bad events come in clumps, and each clump hits whichever
version it happens to hit. Counted one by one they would prove anything. How events are grouped is decided by when they
happened, never by whose they were, so that grouping favours nobody.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

__all__ = ["Incident", "Incidents"]

_SHORTEST_GAP = 0.6
"""Seconds without a bad event that end an incident at least: tries of one client are closer than that."""
_CLOSE = 0.25
"""Events are close that are closer than this part of what is usual: 22 in a hundred, where they come by chance."""
_CLOSE_BY_CHANCE, _CLOSE_IN_CLUMPS, _LONGER = 0.22, 0.3, 4.0
"""Where more of them are close they come in clumps, and it takes so much longer a silence to end an incident."""
_FORGOTTEN = 1 / 24
_LONGEST_GAP = 30.0
_PART_OF_USUAL = 0.35
_PART_OF_PAST, _LONGEST_OF_PAST = 1 / 40, 3.0
"""What is very bad shows at once; later there is time to let longer clumps end."""
_MOST_GAPS, _FEWEST_GAPS, _LONGEST = 6.0, 2.0, 5.0
"""How long an incident lasts at most, in gaps and in seconds: where bad events never cease, it is cut."""
_REMEMBERED = 64


class Incident(NamedTuple):
    """Bad events that count as one: how many there were, and how many of them were the new version's."""

    bad: int
    new: int


class Incidents:
    """Groups a stream of bad events; moments are seconds on any clock that does not go back.

    `due` is when the open incident ends if nothing bad happens any more: infinity when none is open.
    """

    __slots__ = ("_bad", "_began", "_close", "_first", "_new", "_times", "due")

    def __init__(self, first: float) -> None:
        self._first = self._began = first
        self._times: deque[float] = deque((first,), maxlen=_REMEMBERED)
        self._bad = self._new = 0
        self._close = _CLOSE_BY_CHANCE
        self.due = math.inf

    def close(self, at: float) -> Incident | None:
        """Return the incident that is over by now; to be asked before what happens at this moment is taken in."""
        if at < self.due or not self._bad:
            return None
        over = Incident(self._bad, self._new)
        self._bad = self._new = 0
        self.due = math.inf
        return over

    def take(self, at: float, old: int, new: int) -> None:
        """Take in the bad events of one moment."""
        if not self._bad:
            self._began = at
        # The silence before an event says how long silences usually are, too.
        usual = (at - self._times[0]) / len(self._times)
        self._close += _FORGOTTEN * ((at - self._times[-1] < _CLOSE * usual) - self._close)
        longer = 1.0 + _LONGER * max(0.0, self._close - _CLOSE_IN_CLUMPS)
        past = min(_LONGEST_OF_PAST, _PART_OF_PAST * (at - self._first))
        gap = min(_LONGEST_GAP, max(_SHORTEST_GAP * longer, _PART_OF_USUAL * usual, past))
        self._times.extend([at] * min(old + new, _REMEMBERED))
        self._bad += old + new
        self._new += new
        self.due = min(at + gap, self._began + min(_MOST_GAPS * gap, max(_FEWEST_GAPS * gap, _LONGEST)))
