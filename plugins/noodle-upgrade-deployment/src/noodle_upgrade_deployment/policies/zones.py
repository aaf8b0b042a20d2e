"""Wall clocks: time zones by name, and the instants at which a clock on the wall shows a time, or is set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from noodle_upgrade_core.errors import InvalidRequestError, SettingsError
from noodle_upgrade_core.settings import Problem, settings_error, suggestion

__all__ = ["HORIZON", "begin_of", "end_of", "in_utc", "instants_of", "passes", "turns", "zone_of"]

HORIZON = timedelta(days=32)
"""How far ahead windows are looked for: they recur weekly, and a clock that is set can hide one or two of them."""

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
# Clocks are not set twice within so short a time.
_PROBE = timedelta(hours=3)
_LONGEST_NAME = 64
# At either end of the calendar there is no room to look for what comes before or after.
_YEARS = range(1900, 9000)


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name; raises `SettingsError` for one that this system does not know.

    UTC is known everywhere, also where there are no zone files.
    """
    if name == "UTC":
        return UTC
    try:
        if not 0 < len(name) <= _LONGEST_NAME:
            raise ValueError(name)  # noqa: TRY301 - refused like any other that is no name
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise _unknown(name) from None


def _unknown(name: str) -> SettingsError:
    import zoneinfo  # noqa: PLC0415 - only a mistake needs the list

    known = zoneinfo.available_timezones()
    if not known:
        hint = "This system has no time zones: install the package tzdata."
    else:
        hint = suggestion(name, known) or "Use an IANA name such as Europe/Berlin."
    return settings_error([Problem(key="timezone", problem=f"{name[:_LONGEST_NAME]!r} is unknown", hint=hint)])


def in_utc(at: datetime) -> datetime:
    """Return an aware moment in UTC; raises `InvalidRequestError` for one without an offset, or outside 1900 to 8999.

    Moments of one zone are compared by their wall time, which is wrong where a clock is set back: here all are in UTC.
    """
    if at.tzinfo is None or at.utcoffset() is None:
        raise InvalidRequestError(f"A moment must have a time zone, got {at!r}.", hint="Use datetime.now(UTC).")
    if at.year not in _YEARS:
        raise InvalidRequestError(f"A moment must lie between 1900 and 8999, got {at!s}.", hint="Check the year.")
    return at.astimezone(UTC)


def passes(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the earliest and the latest instant, in UTC, that a wall time without an offset can mean.

    They differ where the clock is set back and shows it twice, and where it is set forward and never shows it.
    """
    found = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return found[0], found[1]


def instants_of(wall: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    """Return the instants, in UTC, at which the wall clock shows this: one, two where it is set back, none in a gap."""
    found = dict.fromkeys(passes(wall, zone))
    return tuple(one for one in found if one.astimezone(zone).replace(tzinfo=None, fold=0) == wall)


def begin_of(day: date, zone: tzinfo) -> datetime:
    """Return the earliest instant, in UTC, that the midnight before a day can mean."""
    return passes(datetime.combine(day, time()), zone)[0]


def end_of(day: date, zone: tzinfo) -> datetime:
    """Return the latest instant, in UTC, that the midnight after a day can mean."""
    return passes(datetime.combine(day + _DAY, time()), zone)[1]


def turns(zone: tzinfo, times: Iterable[time], after: datetime) -> Iterator[datetime]:
    """Yield in order the instants, in UTC, at which the wall clock shows one of these times or is set.

    They are later than `after`, and within `HORIZON` of it.
    """
    wanted, begin = tuple(times), after
    while begin < after + HORIZON:
        end = begin + _DAY
        first, last = (one.astimezone(zone).date() for one in (begin, end))
        found = set(_set_between(zone, begin, end))
        # Where the clock is set the local day may begin before, or end after, the one that the instants lie in.
        for number in range(-1, (last - first).days + 2):
            for one in wanted:
                found.update(instants_of(datetime.combine(first + number * _DAY, one), zone))
        yield from sorted(one for one in found if begin < one <= end)
        begin = end


def _set_between(zone: tzinfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the instants after `begin` and up to `end` at which the clock is set forward or back."""
    left = begin
    while left < end:
        right = min(left + _PROBE, end)
        if _offset(zone, left) != _offset(zone, right):
            yield _first_with_another(zone, left, right)
        left = right


def _first_with_another(zone: tzinfo, left: datetime, right: datetime) -> datetime:
    low, high = left.replace(microsecond=0), right
    before = _offset(zone, low)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2 or 1)
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    # Clocks are set at whole seconds; `right` need not be one.
    return high.replace(microsecond=0)


def _offset(zone: tzinfo, at: datetime) -> timedelta | None:
    return at.astimezone(zone).utcoffset()
