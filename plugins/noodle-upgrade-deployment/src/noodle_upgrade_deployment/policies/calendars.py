"""When a policy lets traffic be moved: its windows and its freezes together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from attrs import frozen

from noodle_upgrade_deployment.policies.freezes import Frozen
from noodle_upgrade_deployment.policies.windows import Window
from noodle_upgrade_deployment.policies.zones import HORIZON, in_utc, zone_of

__all__ = ["Calendar"]


@frozen(kw_only=True)
class Calendar:
    """Open in any of the windows, or always where there are none, but never in a freeze.

    It gates the start and every increase of traffic, never a way back. `timezone` is the one that people are told
    times in.
    """

    windows: tuple[Window, ...] = ()
    freezes: tuple[Frozen, ...] = ()
    timezone: str = "UTC"

    @property
    def zone(self) -> tzinfo:
        """The time zone that people are told times in."""
        return zone_of(self.timezone)

    def is_open(self, at: datetime) -> bool:
        """Return whether traffic may be moved at an aware moment."""
        return self.frozen_by(at) is None and self._in_window(at)

    def frozen_by(self, at: datetime) -> Frozen | None:
        """Return the freeze that holds at an aware moment, the one that ends last; None where there is none."""
        moment = in_utc(at)
        return max((one for one in self.freezes if one.covers(moment)), key=lambda one: one.end, default=None)

    def why_closed(self, at: datetime) -> str:
        """Return "" when it is open at an aware moment, else why it is not and when it opens again."""
        if self.is_open(at):
            return ""
        freeze = self.frozen_by(at)
        if freeze is not None:
            because = f" ({freeze.reason})" if freeze.reason else ""
            why = f"frozen until {self.words(freeze.end)}{because}"
        else:
            why = f"outside of the maintenance windows {'; '.join(map(str, self.windows))} ({self.timezone})"
        again = self.opens(at)
        return f"{why}; " + ("it does not open again" if again is None else f"opens {self.words(again)}")

    def opens(self, at: datetime) -> datetime | None:
        """Return the first moment from `at` on, in UTC, at which it is open; None if no window ever opens again."""
        moment: datetime | None = in_utc(at)
        while moment is not None and not self.is_open(moment):
            freeze = self.frozen_by(moment)
            moment = freeze.end if freeze is not None else self._window_after(moment)
        return moment

    def closes(self, at: datetime) -> datetime | None:
        """Return the first moment from `at` on, in UTC, at which it is closed; None if it is open for as long as told.

        Windows are followed for 32 days: where they leave no gap in that time they leave none.
        """
        begin = in_utc(at)
        if not self.is_open(begin):
            return begin
        ends = [freeze.start for freeze in self.freezes if freeze.start > begin]
        ends += [] if (end := self._gap_after(begin)) is None else [end]
        return min(ends, default=None)

    def openings(self, at: datetime) -> Iterator[tuple[datetime, datetime | None]]:
        """Yield the spans in which it is open, in order: from when (at `at` or later), until when (None: for good)."""
        begin = self.opens(at)
        while begin is not None:
            end = self.closes(begin)
            yield begin, end
            begin = None if end is None else self.opens(end)

    def words(self, at: datetime) -> str:
        """Return a moment as people are told it: to the minute, in this calendar's zone."""
        return f"{at.astimezone(self.zone):%a %Y-%m-%d %H:%M %Z}"

    def _in_window(self, at: datetime) -> bool:
        return not self.windows or any(window.is_open(at) for window in self.windows)

    def _window_after(self, at: datetime) -> datetime | None:
        return min((found for one in self.windows if (found := one.next_open(at)) is not None), default=None)

    def _gap_after(self, at: datetime) -> datetime | None:
        """Return the first moment at which no window is open; windows may take over from one another."""
        if not self.windows:
            return None
        moment, limit = at, at + HORIZON
        while moment < limit:
            ends = [window.closes(moment) for window in self.windows if window.is_open(moment)]
            if not ends:
                return moment
            told = [end for end in ends if end is not None]
            if len(told) < len(ends):
                return None
            moment = max(told)
        return None
