import sys
import zoneinfo
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from policy_files import utc
from wall_clocks import MINUTE, cases, shows_a_time_in

from noodle_upgrade_core.errors import InvalidRequestError, SettingsError
from noodle_upgrade_deployment.policies.windows import Window, read_window
from noodle_upgrade_deployment.policies.zones import zone_of


def first_minute(window, at, *, is_open):
    """Go from minute to minute."""
    moment = at
    while shows_a_time_in(window, moment) is not is_open:
        moment = moment.replace(second=0, microsecond=0) + MINUTE
        if moment - at > timedelta(days=16):
            return None
    return moment


@given(cases)
@settings(max_examples=100, deadline=None)
def test_it_is_open_exactly_while_the_wall_clock_shows_a_time_in_it(case):
    window, at = case
    for minutes in range(0, 2 * 24 * 60, 7):
        moment = at + minutes * MINUTE
        assert window.is_open(moment) is shows_a_time_in(window, moment)


@given(cases)
@settings(max_examples=100, deadline=None)
def test_it_opens_at_the_first_minute_at_which_it_is_open(case):
    window, at = case
    assert window.next_open(at) == first_minute(window, at, is_open=True)


@given(cases)
@settings(max_examples=100, deadline=None)
def test_it_closes_at_the_first_minute_at_which_it_is_closed(case):
    window, at = case
    assert window.closes(at) == first_minute(window, at, is_open=False)


def test_the_end_minute_belongs_to_it():
    window = read_window("02:00-04:00")
    assert window.is_open(utc("2026-05-05T04:00:59.999999"))
    assert not window.is_open(utc("2026-05-05T04:01"))
    assert not window.is_open(utc("2026-05-05T01:59:59.999999"))
    assert window.closes(utc("2026-05-05T02:00")) == utc("2026-05-05T04:01")
    assert window.length == timedelta(minutes=121)


def test_one_that_crosses_midnight_belongs_to_the_day_on_which_it_starts():
    window = read_window("22:00-04:00", days=["sunday"])
    assert window.is_open(utc("2026-11-29T22:00"))
    assert window.is_open(utc("2026-11-30T04:00"))
    assert not window.is_open(utc("2026-11-29T03:00"))
    assert not window.is_open(utc("2026-11-30T22:00"))
    assert window.length == timedelta(minutes=361)


def test_one_until_the_last_minute_of_the_day_closes_at_midnight():
    assert read_window("22:00-23:59").closes(utc("2026-11-29T22:30")) == utc("2026-11-30T00:00")


def test_a_whole_day_never_closes():
    assert read_window("00:00-23:59").closes(utc("2026-11-29T22:30")) is None
    assert read_window("07:00-06:59").closes(utc("2026-11-29T22:30")) is None


def test_a_start_that_the_clock_leaves_out_is_the_first_instant_after_it():
    window = read_window("02:30-04:00", timezone="Europe/Berlin")
    assert window.next_open(utc("2026-03-28T12:00")) == utc("2026-03-29T01:00")
    assert window.closes(utc("2026-03-29T01:00")) == utc("2026-03-29T02:01")


def test_one_that_the_clock_leaves_out_altogether_does_not_open_that_day():
    window = read_window("02:10-02:50", timezone="Europe/Berlin")
    assert window.next_open(utc("2026-03-28T12:00")) == utc("2026-03-30T00:10")
    weekly = read_window("02:10-02:50", days=["sunday"], timezone="Europe/Berlin")
    assert weekly.next_open(utc("2026-03-28T12:00")) == utc("2026-04-05T00:10")


def test_it_is_open_during_both_passes_of_an_hour_that_lies_in_it():
    window = read_window("02:00-02:59", timezone="Europe/Berlin")
    assert window.next_open(utc("2026-10-24T12:00")) == utc("2026-10-25T00:00")
    assert window.closes(utc("2026-10-25T00:00")) == utc("2026-10-25T02:00")


def test_one_that_ends_within_an_hour_that_comes_twice_opens_twice():
    window = read_window("01:00-02:30", timezone="Europe/Berlin")
    assert window.closes(utc("2026-10-24T23:00")) == utc("2026-10-25T00:31")
    assert window.next_open(utc("2026-10-25T00:31")) == utc("2026-10-25T01:00")
    assert window.closes(utc("2026-10-25T01:00")) == utc("2026-10-25T01:31")


def test_a_clock_that_is_set_by_half_an_hour_is_followed():
    window = read_window("01:30-01:59", timezone="Australia/Lord_Howe")
    opens = window.next_open(utc("2026-04-04T12:00"))
    assert opens == utc("2026-04-04T14:30")
    assert window.closes(opens) - opens == timedelta(hours=1)


def test_a_day_that_the_calendar_leaves_out_opens_what_starts_on_it_at_the_first_instant_after_it():
    window = read_window("22:00-04:00", days=["friday"], timezone="Pacific/Apia")
    assert window.next_open(utc("2011-12-29T00:00")) == utc("2011-12-30T10:00")


def test_moments_in_any_zone_are_the_same_moments():
    window = read_window("02:00-04:00", timezone="Europe/Berlin")
    at = utc("2026-10-25T00:30")
    assert window.closes(at) == window.closes(at.astimezone(ZoneInfo("Asia/Kathmandu")))
    assert window.closes(at).tzinfo is UTC


def test_days_are_those_that_it_starts_on_each_once_and_in_order():
    assert Window("02:00", "04:00", ["sunday", "monday", "sunday"]).days == ("monday", "sunday")


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(InvalidRequestError, match="must have a time zone"):
        read_window("02:00-04:00").is_open(utc("2026-01-01").replace(tzinfo=None))


@pytest.mark.parametrize("at", ["0001-01-01T00:00", "1899-12-31T23:59", "9000-01-01T00:00", "9999-12-31T23:59"])
def test_a_moment_at_the_ends_of_the_calendar_is_refused(at):
    with pytest.raises(InvalidRequestError, match="between 1900 and 8999"):
        read_window("02:00-04:00", timezone="Europe/Berlin").next_open(utc(at))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("25:00-26:00", "start must be a time of day, not '25:00'"),
        ("22:00-24:00", "Write 23:59"),
        ("2:00-4:00", "start must be a time of day, not '2:00'"),
        ("02:60-04:00", "start must be a time of day, not '02:60'"),
        ("02:00-\u06604:00", "end must be a time of day"),
        ("02:00", "is no window"),
        ("", "is no window"),
        ("02:00\u201304:00", "is no window"),
        ("02:00-04:00-06:00", "end must be a time of day"),
        ("02:00-02:00", "which means one minute or a whole day. Write 00:00-23:59"),
    ],
)
def test_a_text_that_is_no_window_is_refused_with_what_to_write(text, words):
    with pytest.raises(SettingsError) as caught:
        read_window(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ([], "days must name a day"),
        (["sunday", "mondy"], "Did you mean 'monday'?"),
        (["Sunday"], "Did you mean 'sunday'?"),
    ],
)
def test_days_that_are_none_are_refused(days, words):
    with pytest.raises(SettingsError) as caught:
        Window("02:00", "04:00", days)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Europe/Berln", "", "../../etc/passwd", "/etc/passwd", "Europe", "a" * 10_000, "a\0b"]
)
def test_a_time_zone_that_is_none_is_refused_by_name(name):
    with pytest.raises(SettingsError, match="timezone"):
        zone_of(name)


def test_a_time_zone_is_found_by_its_likeness():
    with pytest.raises(SettingsError) as caught:
        zone_of("Europe/Berln")
    assert caught.value.hint == "Did you mean 'Europe/Berlin'?"


@pytest.fixture
def no_zone_files(monkeypatch):
    """A system without time zones, and without the package that brings them."""
    for name in [name for name in sys.modules if name.startswith("tzdata.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath(to=[])
    ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath()
    ZoneInfo.clear_cache()


def test_without_zone_files_utc_is_known_all_the_same_and_for_any_other_it_is_said_what_to_install(no_zone_files):
    assert read_window("02:00-04:00").next_open(utc("2026-11-27T07:00")) == utc("2026-11-28T02:00")
    with pytest.raises(SettingsError) as caught:
        read_window("02:00-04:00", timezone="Europe/Berlin")
    assert caught.value.hint == "This system has no time zones: install the package tzdata."
