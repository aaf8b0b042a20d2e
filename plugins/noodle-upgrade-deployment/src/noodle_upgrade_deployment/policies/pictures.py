"""A calendar as a picture in text: a line for each day, a sign for each half hour."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Final

from noodle_upgrade_deployment.policies.calendars import Calendar
from noodle_upgrade_deployment.policies.zones import in_utc, instants_of

__all__ = ["CLOSED", "FROZEN", "OPEN", "week"]

OPEN: Final = "█"
CLOSED: Final = "·"
FROZEN: Final = "x"
_NEVER: Final = " "
_DAYS = 7
_SLOTS = 48
_SLOT = timedelta(minutes=30)
_MINUTE = timedelta(minutes=1)
_MARKS = ("00", "06", "12", "18", "24")
_LABEL = len("Mon 2026-01-01  ")


def week(calendar: Calendar, at: datetime) -> tuple[str, ...]:
    """Return a line of hours, and seven days from the local day of `at` on, by the wall clock of the calendar's zone.

    A half hour is `█` when traffic may be moved at some time in it (the last minute of a window aside), else `x` when a
    freeze lies in it, else `·`; it is blank when the clock is set forward over it.
    """
    first = in_utc(at).astimezone(calendar.zone).date()
    days = (first + timedelta(days=number) for number in range(_DAYS))
    hours = "".join(mark.ljust(_SLOTS // (len(_MARKS) - 1)) for mark in _MARKS).rstrip()
    lines = [f"{day:%a %Y-%m-%d}  {''.join(_signs(calendar, day))}" for day in days]
    return (" " * (_LABEL - 1) + " " + hours, *lines)


def _signs(calendar: Calendar, day: date) -> Iterator[str]:
    for slot in range(_SLOTS):
        begins = instants_of(datetime.combine(day, time()) + slot * _SLOT, calendar.zone)
        signs = {_sign(calendar, begin) for begin in begins}
        yield next((sign for sign in (OPEN, FROZEN, CLOSED) if sign in signs), _NEVER)


def _sign(calendar: Calendar, begin: datetime) -> str:
    opens, end = calendar.opens(_without_last_minute(calendar, begin)), begin + _SLOT
    if opens is not None and opens < end:
        return OPEN
    return FROZEN if any(freeze.start < end and begin < freeze.end for freeze in calendar.freezes) else CLOSED


def _without_last_minute(calendar: Calendar, begin: datetime) -> datetime:
    """Return where to look from: a window until 04:00 is open in that minute still, and would seem so until 04:30."""
    closes = calendar.closes(begin)
    over = closes is not None and closes <= begin + _MINUTE and calendar.is_open(begin - _MINUTE)
    return closes if over and closes is not None else begin
