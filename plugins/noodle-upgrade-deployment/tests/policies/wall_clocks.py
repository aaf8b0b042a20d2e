"""Moments and windows to try, and a reading of windows as dates and times that nothing else here shares."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from noodle_upgrade_deployment.policies.windows import DAYS, Window

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "Africa/Cairo"]
MINUTE = timedelta(minutes=1)
# When clocks are set in 2026, in the zones above: where it is most likely to go wrong.
TURNS = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 21, tzinfo=UTC)),
]

clocks = st.builds(time, st.integers(0, 23), st.integers(0, 59))
small_hours = st.builds(time, st.integers(0, 3), st.sampled_from([0, 10, 30, 59]))
moments = st.integers(1_420_000_000, 2_050_000_000).map(lambda at: datetime.fromtimestamp(at, UTC))


@st.composite
def windows(draw):
    start, end = draw(st.lists(clocks, min_size=2, max_size=2, unique=True))
    days = draw(st.sets(st.sampled_from(DAYS), min_size=1))
    return Window(start, end, days, draw(st.sampled_from(ZONES)))


@st.composite
def at_a_turn(draw):
    """A window and a moment within hours of a clock that is set."""
    zone, turn = draw(st.sampled_from(TURNS))
    start, end = draw(st.lists(small_hours | clocks, min_size=2, max_size=2, unique=True))
    return Window(start, end, timezone=zone), turn + timedelta(seconds=draw(st.integers(-30_000, 10_000)))


cases = at_a_turn() | st.tuples(windows(), moments)


def shows_a_time_in(window, at):
    """Whether the wall clock shows a time between start and end, written down as dates and times."""
    wall = at.astimezone(ZoneInfo(window.timezone)).replace(tzinfo=None, fold=0, second=0, microsecond=0)
    for days_before in (0, 1):
        day = wall.date() - timedelta(days=days_before)
        first = datetime.combine(day, window.start)
        last = datetime.combine(day, window.end)
        if last < first:
            last = datetime.combine(day + timedelta(days=1), window.end)
        if DAYS[day.weekday()] in window.days and first <= wall <= last:
            return True
    return False
