"""What the old version did while it served: all there is to compare with once the new one has all calls."""

from __future__ import annotations

from noodle_upgrade_deployment.judging.bets import SoloBets
from noodle_upgrade_deployment.judging.counts import Counts
from noodle_upgrade_deployment.judging.incidents import Incident

__all__ = ["Record"]

_ALLOWED = 2.0
"""Times change: what is not twice as bad as before proves nothing."""
_FEWEST_CALLS = 100


class Record:
    """How often incidents happened to the old version, and whether they happen to the new one much more often.

    Nothing here tells a bad version from a bad hour, so it takes more than a comparison of two versions side by side.
    """

    def __init__(self) -> None:
        self._old = 0
        self._new = 0
        self._begin: Counts | None = None
        self._bets: SoloBets | None = None

    def turn(self, counts: Counts) -> None:
        """The old version has left all calls to the new one."""
        self._begin, self._new = counts, 0
        if counts.old >= _FEWEST_CALLS:
            usual = (self._old + 1) / counts.old
            self._bets = SoloBets(min(0.5, _ALLOWED * usual), above=True)

    def settle(self, over: Incident) -> None:
        """Take in an incident."""
        self._old += over.bad > over.new
        self._new += over.new > 0

    def log_capital(self, counts: Counts) -> float:
        """Return the logarithm of the capital of who bets that the new version is worse than the old one was."""
        if self._bets is None or self._begin is None:
            return 0.0
        return self._bets.log_capital(counts.new - self._begin.new, self._new)
