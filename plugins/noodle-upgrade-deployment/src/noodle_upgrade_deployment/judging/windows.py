"""What was counted from one fixed look to the next: for judges that look every so many seconds, and not before."""

from __future__ import annotations

from attrs import evolve

from noodle_upgrade_core import Measurement

__all__ = ["Stretch", "Windows", "stretch_of"]

Stretch = tuple[float, float | None]
"""What tells the time at one share from that at another: the share, and when it was set."""


def stretch_of(seen: Measurement) -> Stretch:
    """Return at which share something was measured."""
    return seen.weight, None if seen.base is None else seen.base.at


class Windows:
    """Cuts measurements at one share into windows of `seconds`; a change of the share begins anew."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begin: Measurement | None = None
        self._stretch: Stretch | None = None

    def turned(self, seen: Measurement) -> bool:
        """Return whether this is the first measurement at another share, or the very first one."""
        stretch = stretch_of(seen)
        if stretch == self._stretch:
            return False
        self._stretch = stretch
        self._begin = seen.base or seen
        return True

    @property
    def due(self) -> float | None:
        """When the window is over; None before the first measurement."""
        return None if self._begin is None else self._begin.at + self._seconds

    def over(self, seen: Measurement) -> Measurement | None:
        """Return the window that is over by now, as the counts within it; None while it lasts."""
        begin = self._begin
        if begin is None or seen.at < begin.at + self._seconds:
            return None
        self._begin = seen
        return evolve(seen, old=seen.old.since(begin.old), new=seen.new.since(begin.new), base=None)
