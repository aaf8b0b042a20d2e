import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_files import utc
from wall_clocks import MINUTE, cases, shows_a_time_in, windows

from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_deployment.policies.calendars import Calendar
from noodle_upgrade_deployment.policies.freezes import Freeze, Frozen
from noodle_upgrade_deployment.policies.pictures import week
from noodle_upgrade_deployment.policies.windows import read_window

BERLIN = ZoneInfo("Europe/Berlin")


def may_move(calendar, at):
    frozen = any(freeze.start <= at < freeze.end for freeze in calendar.freezes)
    return not frozen and (not calendar.windows or any(shows_a_time_in(one, at) for one in calendar.windows))


@st.composite
def calendars(draw, window, at):
    minutes = st.integers(-600, 4000)
    spans = draw(st.lists(st.tuples(minutes, st.integers(1, 2000)), max_size=3))
    begin = at.replace(second=0, microsecond=0)
    freezes = tuple(Frozen(start=begin + a * MINUTE, end=begin + (a + b) * MINUTE) for a, b in spans)
    return Calendar(
        windows=(*draw(st.lists(windows(), max_size=2)), *draw(st.sampled_from([(window,), ()]))), freezes=freezes
    )


@given(st.data(), cases)
@settings(max_examples=60, deadline=None)
def test_it_opens_and_closes_at_the_first_minute_at_which_it_does(data, case):
    window, at = case
    calendar = data.draw(calendars(window, at))
    for find, wanted in ((calendar.opens, True), (calendar.closes, False)):
        moment, found = at, find(at)
        while may_move(calendar, moment) is not wanted and moment - at < timedelta(days=12):
            moment = moment.replace(second=0, microsecond=0) + MINUTE
        if may_move(calendar, moment) is wanted:
            assert found == moment
        else:
            assert found is None or found > moment


@given(st.data(), cases)
@settings(max_examples=60, deadline=None)
def test_the_spans_in_which_it_is_open_are_in_order_and_neither_touch_nor_miss_any(data, case):
    window, at = case
    calendar = data.draw(calendars(window, at))
    before = at
    for opens, closes in itertools.islice(calendar.openings(at), 4):
        assert may_move(calendar, opens)
        assert all(not may_move(calendar, opens - k * MINUTE) for k in (1, 2, 5) if opens - k * MINUTE >= before)
        if closes is None:
            break
        assert opens < closes
        assert not may_move(calendar, closes)
        assert may_move(calendar, closes - timedelta(microseconds=1))
        before = closes


def test_without_windows_and_freezes_it_is_always_open():
    at = utc("2026-11-27T07:00")
    assert Calendar().why_closed(at) == ""
    assert Calendar().opens(at) == at
    assert Calendar().closes(at) is None
    assert list(Calendar().openings(at)) == [(at, None)]


def test_windows_that_take_over_from_one_another_are_one_opening():
    calendar = Calendar(windows=(read_window("22:00-23:59"), read_window("00:00-02:00"), read_window("01:00-03:00")))
    assert next(calendar.openings(utc("2026-11-27T12:00"))) == (utc("2026-11-27T22:00"), utc("2026-11-28T03:01"))


def test_why_it_is_closed_says_when_it_opens_by_the_clock_of_its_zone():
    window = read_window("02:00-04:00", timezone="Europe/Berlin")
    calendar = Calendar(windows=(window,), timezone="Europe/Berlin")
    assert calendar.why_closed(utc("2026-11-27T07:00")) == (
        "outside of the maintenance windows 02:00-04:00 (Europe/Berlin); opens Sat 2026-11-28 02:00 CET"
    )
    assert calendar.why_closed(utc("2026-11-28T01:30")) == ""


def test_a_freeze_closes_an_open_window_and_says_why():
    holidays = Freeze(start="2026-12-24", end="2026-12-26", reason="holidays").span(ZoneInfo("UTC"))
    calendar = Calendar(windows=(read_window("02:00-04:00"),), freezes=(holidays,))
    assert calendar.why_closed(utc("2026-12-25T03:00")) == (
        "frozen until Sun 2026-12-27 00:00 UTC (holidays); opens Sun 2026-12-27 02:00 UTC"
    )
    assert calendar.closes(utc("2026-12-26T03:00")) == utc("2026-12-26T03:00")


def test_a_window_that_a_freeze_begins_in_closes_with_the_freeze():
    freeze = Freeze(start="2026-12-24T03:00", end="2026-12-24T03:30").span(ZoneInfo("UTC"))
    calendar = Calendar(windows=(read_window("02:00-04:00"),), freezes=(freeze,))
    spans = itertools.islice(calendar.openings(utc("2026-12-24T00:00")), 2)
    assert [(a.hour, a.minute, b.hour, b.minute) for a, b in spans] == [(2, 0, 3, 0), (3, 30, 4, 1)]


def test_a_freeze_of_thousands_of_years_closes_for_so_long():
    frozen = Freeze(start="1970-01-01", end="7999-12-31").span(BERLIN)
    calendar = Calendar(windows=(read_window("02:00-04:00"),), freezes=(frozen,), timezone="Europe/Berlin")
    assert calendar.opens(utc("2026-12-25T03:00")) == utc("8000-01-01T02:00")
    assert calendar.why_closed(utc("2026-12-25T03:00")).startswith("frozen until Sat 8000-01-01 00:00 CET; opens")


def test_of_freezes_that_overlap_the_one_that_ends_last_is_told():
    freezes = [
        Freeze(start="2026-12-01", end=end, reason=end).span(ZoneInfo("UTC")) for end in ("2026-12-05", "2026-12-09")
    ]
    assert "2026-12-10 00:00 UTC (2026-12-09)" in Calendar(freezes=tuple(freezes)).why_closed(utc("2026-12-03T00:00"))


# --- freezes as they are written ---------------------------------------------------------------------------------


def test_dates_are_whole_days_by_the_clock_of_the_zone():
    frozen = Freeze(start="2026-12-24", end="2026-12-26").span(BERLIN)
    assert (frozen.start, frozen.end) == (utc("2026-12-23T23:00"), utc("2026-12-26T23:00"))


def test_a_date_with_a_time_is_that_moment_and_an_offset_wins_over_the_zone():
    frozen = Freeze(start="2026-12-24T18:00", end="2026-12-24T18:00:01+00:00").span(BERLIN)
    assert (frozen.start, frozen.end) == (utc("2026-12-24T17:00"), utc("2026-12-24T18:00:01"))


def test_where_the_clock_shows_a_time_twice_the_longer_freeze_counts():
    frozen = Freeze(start="2026-10-25T02:30", end="2026-10-25T02:30:30").span(BERLIN)
    assert (frozen.start, frozen.end) == (utc("2026-10-25T00:30"), utc("2026-10-25T01:30:30"))


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2026-12-26", "2026-12-24", "not after the start"),
        ("2026-12-26T10:00", "2026-12-26T10:00", "not after the start"),
        ("soon", "2026-12-24", "start must be an ISO date"),
        ("2026-12-24", "2026-13-01", "end must be an ISO date"),
        ("2026-12-24", "9999-12-31", "end must be an ISO date"),
        ("0001-01-01", "2026-12-31", "start must be an ISO date"),
        ("", "2026-12-31", "start must be an ISO date"),
    ],
)
def test_a_freeze_that_makes_no_sense_is_refused(start, end, words):
    with pytest.raises(SettingsError) as caught:
        Freeze(start=start, end=end)
    assert words in str(caught.value)


# --- pictures ----------------------------------------------------------------------------------------------------


def test_the_picture_shows_windows_and_freezes_by_half_hours():
    freeze = Freeze(start="2026-11-28", end="2026-11-28").span(ZoneInfo("UTC"))
    calendar = Calendar(windows=(read_window("02:00-04:00"), read_window("22:00-23:59")), freezes=(freeze,))
    hours, friday, saturday, sunday, *rest = week(calendar, utc("2026-11-27T07:00"))
    assert hours.index("06") == friday.index("·") + 12
    assert friday == "Fri 2026-11-27  " + "····████" + "·" * 36 + "████"
    assert saturday == "Sat 2026-11-28  " + "x" * 48
    assert sunday == friday.replace("Fri 2026-11-27", "Sun 2026-11-29")
    assert len(rest) == 4


def test_the_picture_leaves_blank_what_the_clock_leaves_out_and_its_day_is_the_local_one():
    calendar = Calendar(timezone="Europe/Berlin")
    _, sunday, *_ = week(calendar, datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
    assert sunday == "Sun 2026-03-29  ████  " + "█" * 42


def test_a_window_of_two_minutes_is_in_the_picture():
    _, friday, *_ = week(Calendar(windows=(read_window("02:29-02:30"),)), utc("2026-11-27T07:00"))
    assert friday.count("█") == 1
