import math
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import Measurement, Observation
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.judges import KillSwitch
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.judging.mannwhitney import MannWhitney
from noodle_upgrade_deployment.judging.threshold import Threshold
from noodle_upgrade_deployment.simulation.traffic import TrafficModel
from noodle_upgrade_deployment.simulation.watching import Watch, watch, watch_many, wilson

BETTING = partial(Betting, metrics=("errors",))
WORSE = Watch(model=TrafficModel(worse=10.0), seconds=600.0)


@pytest.mark.parametrize("make", [BETTING, Threshold, MannWhitney, KillSwitch])
def test_every_judge_sees_that_a_version_which_fails_half_of_its_calls_is_harmful(make):
    model = TrafficModel(rate=100.0, bad=0.02, worse=25.0)
    course = watch(make(), Watch(model=model, seconds=900.0, until="budget"), Random(1))
    assert course.said == "harm"
    assert course.bad_calls > 0


def test_looking_every_tenth_of_a_second_comes_to_the_same_as_looking_when_something_happens():
    seldom = watch(BETTING(), Watch(model=WORSE.model, seconds=600.0, until="budget", step=math.inf), Random(4))
    often = watch(BETTING(), Watch(model=WORSE.model, seconds=600.0, until="budget", step=0.1), Random(4))
    assert seldom.said == often.said == "harm"
    assert seldom.at == pytest.approx(often.at, abs=0.1)


def test_without_an_answer_it_ends_with_its_time():
    course = watch(BETTING(), Watch(model=TrafficModel(rate=1.0), seconds=10.0), Random(1))
    assert course == ("", 10.0, course.bad_calls)


def test_many_courses_are_the_same_on_one_processor_and_on_several():
    alone, together = (watch_many(BETTING, WORSE, runs=20, seed=7, jobs=jobs) for jobs in (1, 2))
    assert alone == together
    assert len({course.at for course in alone.courses}) == 20


def test_progress_is_told_and_ends_with_the_number_of_runs():
    told: list[int] = []
    courses = watch_many(BETTING, WORSE, runs=10, jobs=1, progress=told.append)
    assert told[-1] == len(courses.courses) == 10
    assert told == sorted(told)


def test_what_many_courses_come_to():
    courses = watch_many(BETTING, WORSE, runs=40, jobs=1)
    assert courses.share("harm") == 1.0
    assert 10 < courses.median_at("harm") < 60
    assert math.isinf(courses.median_at("safe"))
    assert courses.mean_bad_calls() > 5


class Slow:
    async def observe(self, seen: Measurement) -> Observation:
        return Observation(harm=seen.at > 1)


def test_a_judge_that_is_asynchronous_is_refused():
    with pytest.raises(InvalidRequestError, match="virtual time"):
        watch(Slow(), WORSE, Random(1))


@given(st.integers(1, 100_000), st.floats(0.0, 1.0))
def test_wilsons_interval_holds_the_share_and_stays_within_0_and_1(of, part):
    hits = round(part * of)
    low, high = wilson(hits, of)
    assert -1e-12 <= low <= hits / of + 1e-12
    assert hits / of - 1e-12 <= high <= 1 + 1e-12


def test_wilsons_interval_is_that_of_the_books():
    assert wilson(100, 10_000) == pytest.approx((0.0082286, 0.0121478), abs=1e-6)
