import json
import math
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import Broken, Calm

from noodle_upgrade_core.errors import InvalidRequestError, PluginBrokenError
from noodle_upgrade_core.judges import KillSwitch
from noodle_upgrade_core.strategies import Gradual, Immediate
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.simulation.fleet import FleetModel
from noodle_upgrade_deployment.simulation.many import Samples, simulate_many
from noodle_upgrade_deployment.simulation.models import MODELS, model_named
from noodle_upgrade_deployment.simulation.rates import Share, rates_of
from noodle_upgrade_deployment.simulation.report import simulate_with
from noodle_upgrade_deployment.simulation.rollouts import Course, MadeUp, Scenario, simulate
from noodle_upgrade_deployment.simulation.traffic import TrafficModel

STEPS = partial(Gradual, percentage=25.0, bake=30.0)
GOOD = Scenario(calls=MadeUp(TrafficModel(rate=50.0)))
BAD = Scenario(calls=MadeUp(TrafficModel(rate=50.0, worse=20.0)))


def test_many_courses_are_the_same_on_one_processor_and_on_several():
    alone, together = (simulate_many(STEPS, Betting, BAD, runs=20, seed=7, processes=some) for some in (1, 3))
    assert alone == together
    assert len({course.at for course in alone}) == 20


def test_each_course_is_that_of_its_seed_and_number():
    courses = simulate_many(STEPS, Betting, BAD, runs=6, seed=3, processes=1, samples=Samples(runs=2, notes=10))
    assert courses[5] == simulate(STEPS(), Betting(), BAD, Random("3/5"), kept=0)
    assert courses[1] == simulate(STEPS(), Betting(), BAD, Random("3/1"), kept=10)
    assert courses != simulate_many(STEPS, Betting, BAD, runs=6, seed=4, processes=1)


def test_progress_is_told_and_ends_with_the_number_of_runs():
    told: list[int] = []
    simulate_many(STEPS, KillSwitch, GOOD, runs=40, processes=2, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 40
    assert len(told) > 5


@pytest.mark.parametrize("processes", [1, 2])
def test_what_fails_in_a_process_is_the_error_of_all(processes):
    with pytest.raises(PluginBrokenError, match="by zero"):
        simulate_many(STEPS, Broken, GOOD, runs=10, processes=processes)


def test_what_cannot_be_sent_to_another_process_is_refused_with_what_to_do():
    with pytest.raises(InvalidRequestError, match="use one process"):
        simulate_many(lambda: Gradual(), KillSwitch, GOOD, runs=10, processes=2)
    assert simulate_many(lambda: Gradual(), KillSwitch, GOOD, runs=2, processes=1)


@pytest.mark.parametrize("runs", [0, -1])
def test_no_runs_are_refused(runs):
    with pytest.raises(InvalidRequestError, match="runs"):
        simulate_many(STEPS, KillSwitch, GOOD, runs=runs)


@pytest.mark.parametrize("name", MODELS)
def test_a_version_that_is_the_old_one_is_taken_back_no_more_often_than_alpha_says(name):
    """By the lower bound of a hundred whole rollouts, on each of the models."""
    scenario = Scenario(calls=MadeUp(model_named(name, TrafficModel(rate=50.0, bad=0.02))), deadline=3600.0)
    courses = simulate_many(STEPS, Betting, scenario, runs=100, samples=Samples(runs=0))
    assert rates_of(courses).harm.bounds[0] <= 0.01


def test_a_bad_version_is_nearly_always_taken_back_on_every_model():
    for name in MODELS:
        scenario = Scenario(calls=MadeUp(model_named(name, TrafficModel(rate=50.0, bad=0.01, worse=10.0))))
        rates = rates_of(simulate_many(partial(Gradual, bake=120.0), Betting, scenario, runs=30))
        assert rates.harm.hits >= 29, name
        assert rates.to_harm.median < 200.0


def test_an_unknown_model_is_refused_with_what_was_meant():
    with pytest.raises(InvalidRequestError, match="Did you mean 'clumped'"):
        model_named("clumpd", TrafficModel())


def course(end="harm", at=1.0, **more):
    return Course(end=end, at=at, back_at=more.pop("back_at", at), **more)


def test_rates_are_counted_over_all_rollouts_and_those_that_never_came_count_as_endless():
    rates = rates_of(
        [
            course(at=10.0, bad_calls=4),
            course(at=30.0, bad_calls=8),
            course("promoted", 60.0),
            course("out of time", 99.0),
        ]
    )
    assert (rates.harm.hits, rates.harm.of, rates.promoted.value) == (2, 4, 0.25)
    assert dict(rates.ends) == {"harm": 2, "out of time": 1, "promoted": 1}
    assert (rates.to_harm.median, rates.to_harm.mean) == (30.0, 20.0)
    assert math.isinf(rates.to_harm.p90)
    assert math.isinf(rates.to_promote.median)
    assert (rates.bad_calls.median, rates.bad_calls.p90) == (0.0, 8.0)
    assert rates.capacity is None


@given(st.integers(1, 10_000), st.floats(0.0, 1.0))
def test_a_share_lies_within_its_bounds_and_these_within_0_and_1(of, part):
    share = Share(round(part * of), of)
    low, high = share.bounds
    assert 0.0 <= low <= share.value + 1e-12
    assert share.value - 1e-12 <= high <= 1.0


def test_a_report_is_plain_json_and_the_same_for_the_same_seed():
    def report(processes):
        return simulate_with(
            STEPS, Betting, good=GOOD, bad=BAD, runs=8, processes=processes, subject={"judge": "betting"}
        )

    one, same = (json.dumps(report(processes).to_wire(), allow_nan=False) for processes in (1, 2))
    assert one == same
    wire = json.loads(one)
    assert wire["good"]["harm"]["of"] == wire["bad"]["harm"]["of"] == wire["runs"] == 8
    assert wire["bad"]["harm"]["hits"] >= 7
    assert wire["good"]["to_harm"]["median"] is None
    assert len(wire["bad"]["courses"]) == 5
    assert wire["bad"]["courses"][0]["evidence"]


def test_only_one_version_is_simulated_where_only_one_is_asked_for():
    report = simulate_with(Immediate, Calm, good=GOOD, bad=None, runs=2, processes=1)
    assert report.to_wire()["bad"] is None
    assert report.good.rates.promoted.value == 1.0


def test_what_a_fleet_went_through_is_the_worst_of_all_rollouts():
    scenario = Scenario(calls=GOOD.calls, fleet=FleetModel(replicas=10, surge=0.0, unavailable=0.2))
    rates = rates_of(simulate_many(STEPS, Calm, scenario, runs=4, processes=1))
    assert rates.capacity == 0.8
    assert rates.across == 0
