"""Whether the traffic is split as was asked for: else a version is judged by calls that are not like the other's."""

from __future__ import annotations

import math

from noodle_upgrade_core.staged import Measurement
from noodle_upgrade_deployment.judging.bets import Bets

__all__ = ["Split"]

_BLOCK_SECONDS = 5.0
"""Users come back within seconds and stick to a version: their calls are taken together."""
_OFF = 1.25
_SURE = math.log(1000.0)


class Split:
    """Bets that the odds of a call to meet the new version are more than a quarter off, at one share."""

    def __init__(self, seen: Measurement) -> None:
        # Where nobody chooses who gets a call, no split was asked for.
        self._asked = seen.weight if seen.routed else 1.0
        self._begin = self._block = seen
        self._more = Bets(_OFF, {1.6 * _OFF: 0.5, 4.0 * _OFF: 0.5})
        self._fewer = Bets(1.0 / _OFF, {1.0 / (1.6 * _OFF): 0.5, 1.0 / (4.0 * _OFF): 0.5})

    def look(self, seen: Measurement) -> str:
        """Return how the split is off, in words; "" when it is not, or when it is too early to say."""
        if not 0.0 < self._asked < 1.0:
            return ""
        if seen.at - self._block.at >= _BLOCK_SECONDS:
            new = seen.new.calls - self._block.new.calls
            calls = new + seen.old.calls - self._block.old.calls
            self._block = seen
            if calls:
                self._more.settle(new, calls, self._asked)
                self._fewer.settle(new, calls, self._asked)
        if max(self._more.log_capital, self._fewer.log_capital) < _SURE:
            return ""
        new = seen.new.calls - self._begin.new.calls
        calls = new + seen.old.calls - self._begin.old.calls
        return f"the new version got {new / max(1, calls):.1%} of {calls} calls, where {self._asked:.1%} was asked for"
