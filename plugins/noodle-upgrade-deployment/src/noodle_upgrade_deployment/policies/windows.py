"""Maintenance windows: times of a wall clock at which traffic may be moved.

A window is open whenever the clock on the wall shows a time in it, so that:

- the end minute belongs to it: `02:00-04:00` closes at 04:01;
- one whose end is before its start crosses midnight, and its days are those on which it starts;
- where the clock is set forward over its start it opens at the first instant after, and one that lies in the gap
  altogether does not open that day;
- where the clock is set back it is open during both passes of the times that lie in it.

A start that is its own end would mean either one minute or a whole day, so it is refused. `00:00-23:59` is a whole day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

from attrs import field, frozen

from noodle_upgrade_core.settings import Problem, settings_error, shown, suggestion
from noodle_upgrade_deployment.policies.zones import in_utc, turns, zone_of

__all__ = ["DAYS", "Window", "read_window"]

DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_MINUTE = timedelta(minutes=1)
_DAY_MINUTES = 24 * 60


def _clock(value: str | time, attribute: str) -> time:
    if isinstance(value, time):
        return value.replace(second=0, microsecond=0, tzinfo=None, fold=0)
    if isinstance(value, str) and (found := _TIME.fullmatch(value)):
        return time(int(found[1]), int(found[2]))
    hint = (
        "Write 23:59: the end minute belongs to the window." if value == "24:00" else "Write hours and minutes: 02:00."
    )
    raise settings_error([Problem(key=attribute, problem=f"must be a time of day, not {shown(value)}", hint=hint)])


def _start(value: str | time) -> time:
    return _clock(value, "start")


def _end(value: str | time) -> time:
    return _clock(value, "end")


def _in_order(value: Iterable[str]) -> tuple[str, ...]:
    given = (value,) if isinstance(value, str) else tuple(value)
    for day in given:
        if day not in DAYS:
            hint = suggestion(day, DAYS) or f"The days are {', '.join(DAYS)}."
            raise settings_error([Problem(key="days", problem=f"has no day {shown(day)}", hint=hint)])
    if not given:
        hint = "Leave it out for every day."
        raise settings_error([Problem(key="days", problem="must name a day: with none it never opens", hint=hint)])
    return tuple(day for day in DAYS if day in given)


@frozen
class Window:
    """A time of day, on some days, by the wall clock of an IANA time zone; raises `SettingsError` for what is none."""

    start: time = field(converter=_start)
    end: time = field(converter=_end)
    days: tuple[str, ...] = field(default=DAYS, converter=_in_order)
    timezone: str = "UTC"

    def __attrs_post_init__(self) -> None:
        zone_of(self.timezone)
        if self.start == self.end:
            problem = f"is the start as well ({self.start:%H:%M}), which means one minute or a whole day"
            hint = "Write 00:00-23:59 for a whole day: the end minute belongs to the window."
            raise settings_error([Problem(key="end", problem=problem, hint=hint)])

    def __str__(self) -> str:
        span = f"{self.start:%H:%M}-{self.end:%H:%M}"
        return span if self.days == DAYS else f"{span} on {', '.join(self.days)}"

    @property
    def zone(self) -> tzinfo:
        """The time zone."""
        return zone_of(self.timezone)

    @property
    def length(self) -> timedelta:
        """How long it is open on a day on which the clock is not set, the end minute included."""
        start, end = _minutes(self.start), _minutes(self.end)
        return ((end - start) % _DAY_MINUTES + 1) * _MINUTE

    def is_open(self, at: datetime) -> bool:
        """Return whether it is open at an aware moment."""
        wall = in_utc(at).astimezone(self.zone)
        minute, day = wall.hour * 60 + wall.minute, wall.weekday()
        start, end = _minutes(self.start), _minutes(self.end)
        if start < end:
            return start <= minute <= end and DAYS[day] in self.days
        return (minute >= start and DAYS[day] in self.days) or (minute <= end and DAYS[day - 1] in self.days)

    def next_open(self, at: datetime) -> datetime | None:
        """Return the first moment from `at` on, in UTC, at which it is open; None if there is none within 32 days."""
        return self._first(at, is_open=True)

    def closes(self, at: datetime) -> datetime | None:
        """Return the first moment from `at` on, in UTC, at which it is closed; None if there is none within 32 days."""
        return self._first(at, is_open=False)

    def _first(self, at: datetime, *, is_open: bool) -> datetime | None:
        begin = in_utc(at)
        if self.is_open(begin) is is_open:
            return begin
        end = _minutes(self.end) + 1
        after_end = time(end // 60 % 24, end % 60)
        return next(
            (turn for turn in turns(self.zone, (self.start, after_end), begin) if self.is_open(turn) is is_open), None
        )


def _minutes(clock: time) -> int:
    return clock.hour * 60 + clock.minute


def read_window(text: str, *, days: Iterable[str] = DAYS, timezone: str = "UTC") -> Window:
    """Return the window that a text such as `22:00-04:00` says; raises `SettingsError` for any other text."""
    start, dash, end = text.partition("-")
    if not dash or not start or not end:
        hint = 'Write start and end as "22:00-04:00".'
        raise settings_error([Problem(key=repr(text[:40]), problem="is no window", hint=hint)])
    return Window(start, end, tuple(days), timezone)
