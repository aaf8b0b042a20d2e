import math
from statistics import NormalDist

import pytest
from arrivals import Traffic, at_share, seen
from hypothesis import assume, given
from hypothesis import strategies as st

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_deployment.judging.mannwhitney import MannWhitney, shift_of

readings = st.lists(st.integers(0, 50).map(float), min_size=2, max_size=12)


def test_the_interval_is_that_of_kayenta():
    shift = shift_of([10, 20, 30, 40], [1, 2, 3, 4], 0.95)
    assert shift == pytest.approx((6.0, 39.0, 22.5), abs=1e-9)


def off(new: list[float], old: list[float], shift: float) -> float:
    """How many standard deviations the rank sum is off when `new` is moved down, reckoned as R does it."""
    moved, count, whole = [one - shift for one in new], len(new) * len(old), len(new) + len(old)
    rank_sum = sum((one > other) + 0.5 * (one == other) for one in moved for other in old) - count / 2
    every = [*moved, *old]
    ties = sum(every.count(one) ** 3 - every.count(one) for one in set(every))
    return (rank_sum - math.copysign(0.5, rank_sum)) / math.sqrt(
        count / 12 * (whole + 1 - ties / (whole * (whole - 1)))
    )


@given(readings, readings, st.sampled_from([0.5, 0.9, 0.98]))
def test_beyond_the_ends_of_the_interval_the_rank_sum_is_too_far_off_and_within_it_is_not(new, old, level):
    assume(min(new) - max(old) != max(new) - min(old))
    wanted, shift, between = NormalDist().inv_cdf(0.5 + level / 2), shift_of(new, old, level), 1 / 4
    if shift.low > min(new) - max(old):
        assert off(new, old, shift.low - between) > wanted
    assert off(new, old, shift.low + between) <= wanted
    if shift.high < max(new) - min(old):
        assert off(new, old, shift.high + between) < -wanted
    assert off(new, old, shift.high - between) >= -wanted


@given(readings, readings)
def test_the_estimate_lies_in_the_interval_and_the_other_way_round_it_is_the_negative(new, old):
    assume(min(new) - max(old) != max(new) - min(old))
    there, back = shift_of(new, old, 0.9), shift_of(old, new, 0.9)
    assert there.low - 1e-6 <= there.estimate <= there.high + 1e-6
    assert (-there.high, -there.low) == pytest.approx((back.low, back.high), abs=1e-6)


@given(readings, readings, st.integers(1, 1000))
def test_what_is_higher_by_a_constant_has_a_shift_that_is_higher_by_it(new, old, more):
    assume(min(new) - max(old) != max(new) - min(old))
    there, more_there = shift_of(new, old, 0.9), shift_of([one + more for one in new], old, 0.9)
    assert [one + more for one in there] == pytest.approx(list(more_there), abs=1e-6)


def test_without_an_interval_it_says_so():
    with pytest.raises(ValueError, match="alike"):
        shift_of([1.0, 1.0], [1.0, 1.0], 0.98)
    with pytest.raises(ValueError, match="something in them"):
        shift_of([], [1.0], 0.98)


def harm_after(traffic: Traffic, seconds: float) -> float | None:
    judge = Drivers().make("judges", "mannwhitney")
    return next((one.at for one in traffic.moments(seconds, step=1.0) if judge.observe(one).harm), None)


def test_a_version_four_times_as_bad_is_harm_at_a_judgement_and_not_before():
    at = [harm_after(Traffic(rate=50.0, worse=4.0, seed=seed), 1200) for seed in range(10)]
    assert all(one is not None and one % 300 == 0 for one in at)


def test_a_good_version_is_safe_at_the_end_of_its_lifetime():
    judge = MannWhitney(lifetime=900.0)
    said = [(one.at, judge.observe(one)) for one in Traffic(rate=50.0, seed=2).moments(900, step=1.0)]
    assert not any(one.harm for _, one in said)
    assert [at for at, one in said if one.safe] == [900.0]


def test_versions_without_calls_are_not_judged():
    judge, begin = MannWhitney(), seen(0.0, (0,), (0,))
    said = [judge.observe(at_share(begin, seen(minute * 60.0, (minute * 100,), (0,)))) for minute in range(8)]
    assert said[-1].starved
    assert not any(one.harm or one.safe for one in said)


def test_readings_far_outside_of_the_others_are_left_out():
    judge, begin = MannWhitney(interval=600.0), seen(0.0, (0,), (0,))
    old_errors = new_errors = 0
    judge.observe(begin)
    for minute in range(1, 11):
        old_errors += 10 + minute % 3
        new_errors += 0 if minute in (3, 7) else 50 + minute % 3
        said = judge.observe(
            at_share(begin, seen(60.0 * minute, (1000 * minute, old_errors), (1000 * minute, new_errors)))
        )
    assert said.harm
