"""Freezes: spans of time in which nothing may be moved, whatever the windows say.

A date means the whole of that day, the last one as well; a date with a time means that moment. Without an offset both
are read by the wall clock of the policy's time zone; where that shows a time twice or never, the longer span counts.
"""

from __future__ import annotations

from datetime import date, datetime, tzinfo

from attrs import frozen

from noodle_upgrade_core.settings import Problem, setting, settings_error, shown
from noodle_upgrade_deployment.policies.zones import begin_of, end_of, in_utc, passes, zone_of

__all__ = ["Freeze", "Frozen"]

_YEARS = range(1970, 8000)


@frozen(kw_only=True)
class Frozen:
    """A freeze as moments in UTC: from `start` on, up to `end` and not at it."""

    start: datetime
    end: datetime
    reason: str = ""

    def covers(self, at: datetime) -> bool:
        """Return whether nothing may be moved at a moment."""
        return self.start <= at < self.end


@frozen(kw_only=True)
class Freeze:
    """A freeze as it is written down; raises `SettingsError` where it ends before it begins."""

    start: str = setting(help="ISO date, or date and time, from which on nothing moves.")
    end: str = setting(help="ISO date, the last day of the freeze, or date and time at which it is over.")
    reason: str = setting("", help="Why, for people.")

    def __attrs_post_init__(self) -> None:
        start, end = _parsed(self.start, "start"), _parsed(self.end, "end")
        # With one offset only, which of them is first depends on the zone that the other is read in.
        if _has_offset(start) is _has_offset(end):
            self.span(zone_of("UTC"))

    def span(self, zone: tzinfo) -> Frozen:
        """Return the moments that it means by the wall clock of a zone."""
        start, end = _moment(self.start, "start", zone), _moment(self.end, "end", zone)
        if end[1] <= start[0]:
            problem = f"is {shown(self.end)}, and that is not after the start {shown(self.start)}"
            raise settings_error([Problem(key="end", problem=problem, hint="Exchange them, or mend one.")])
        return Frozen(start=start[0], end=end[1], reason=self.reason)


def _moment(text: str, key: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return when what a text names begins and is over, at the earliest and the latest that it can mean."""
    found = _parsed(text, key)
    if not isinstance(found, datetime):
        return begin_of(found, zone), end_of(found, zone)
    if not _has_offset(found):
        return passes(found, zone)
    utc = in_utc(found)
    return utc, utc


def _parsed(text: str, key: str) -> date | datetime:
    for kind in (date, datetime):
        try:
            found = kind.fromisoformat(text)
        except ValueError:
            continue
        if found.year in _YEARS:
            return found
    hint = "Write 2026-12-24, or 2026-12-24T18:00, or 2026-12-24T18:00+01:00."
    raise settings_error([Problem(key=key, problem=f"must be an ISO date or date-time, not {shown(text)}", hint=hint)])


def _has_offset(found: date | datetime) -> bool:
    return isinstance(found, datetime) and found.tzinfo is not None
