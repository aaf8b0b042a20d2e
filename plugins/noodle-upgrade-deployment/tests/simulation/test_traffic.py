import itertools
import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.simulation.traffic import Disturbance, Traffic, TrafficModel

models = st.builds(
    TrafficModel,
    rate=st.floats(1.0, 20.0),
    bad=st.floats(0.0, 0.05),
    worse=st.floats(0.0, 5.0),
    clump=st.floats(1.0, 10.0),
    slow=st.floats(0.0, 0.05),
    slower=st.floats(0.0, 5.0),
    drift=st.floats(0.1, 10.0),
    disturbances=st.lists(st.builds(Disturbance, begin=st.floats(0, 60), seconds=st.floats(0, 60)), max_size=2),
)


def over(model: TrafficModel, weight: float, seconds: float, seed: int = 1) -> Traffic:
    traffic = Traffic(model, Random(seed))
    traffic.weight = weight
    traffic.advance(seconds)
    return traffic


@settings(max_examples=50, deadline=None)
@given(models, st.floats(0.0, 1.0), st.integers(0, 99), st.lists(st.floats(0.0, 120.0), max_size=20))
def test_the_same_seed_gives_the_same_course_however_often_one_stops_on_the_way(model, weight, seed, stops):
    straight, stopping = over(model, weight, 120.0, seed), Traffic(model, Random(seed))
    stopping.weight = weight
    for stop in sorted(stops):
        stopping.advance(stop)
    stopping.advance(120.0)
    assert (stopping.measure().old.errors, stopping.measure().new.errors) == (
        straight.measure().old.errors,
        straight.measure().new.errors,
    )
    assert stopping.measure().new.latency == straight.measure().new.latency


@settings(max_examples=50, deadline=None)
@given(models, st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 30.0)), max_size=10))
def test_counts_only_grow_and_bad_calls_are_calls(model, shares):
    traffic, before, at = Traffic(model, Random(3)), None, 0.0
    for weight, seconds in shares:
        traffic.weight = weight
        at += seconds
        traffic.advance(at)
        now = traffic.measure()
        for arm in (now.old, now.new):
            assert arm.calls >= arm.errors >= 0
            assert sum(arm.latency) == arm.calls
        if before is not None:
            assert now.new.calls >= before.new.calls
            assert now.old.errors >= before.old.errors
        before = now


def test_nothing_bad_happens_to_a_version_that_serves_nobody():
    assert over(TrafficModel(bad=0.5, slow=0.5), 0.0, 600.0).measure().new.errors == 0
    assert over(TrafficModel(bad=0.5, slow=0.5), 1.0, 600.0).measure().old.errors == 0


@pytest.mark.parametrize("clump", [1.0, 5.0])
def test_shares_of_bad_calls_are_what_the_model_says(clump):
    seen = over(
        TrafficModel(rate=1000.0, bad=0.01, worse=3.0, clump=clump, slow=0.02, slower=0.5), 0.25, 2000.0
    ).measure()
    assert seen.new.calls / seen.old.calls == pytest.approx(1 / 3, rel=0.05)
    assert seen.old.errors == pytest.approx(15_000, rel=0.05)
    assert seen.new.errors == pytest.approx(15_000, rel=0.05)
    assert seen.old.latency[-1] == 0
    assert sum(seen.old.latency[18:]) == pytest.approx(30_000, rel=0.05)
    assert sum(seen.new.latency[18:]) == pytest.approx(5_000, rel=0.1)


def test_a_disturbance_is_bad_for_both_versions_alike_and_for_its_time_only():
    model = TrafficModel(rate=1000.0, bad=0.01, disturbances=[Disturbance(begin=100.0, seconds=100.0, times=8.0)])
    before, within, after = (over(model, 0.5, at).measure() for at in (100.0, 200.0, 300.0))
    assert before.new.errors == pytest.approx(500, rel=0.15)
    for version in ("old", "new"):
        first, second, third = (getattr(one, version).errors for one in (before, within, after))
        assert second - first == pytest.approx(4000, rel=0.1)
        assert third - second == pytest.approx(500, rel=0.15)


def test_drift_makes_both_versions_worse_from_hour_to_hour():
    model = TrafficModel(rate=100.0, bad=0.01, drift=4.0)
    one, two = over(model, 0.5, 3600.0).measure().old.errors, over(model, 0.5, 7200.0).measure().old.errors
    assert (two - one) / one == pytest.approx(4.0, rel=0.15)


def test_drift_that_goes_to_nothing_ends():
    assert math.isinf(over(TrafficModel(rate=0.001, bad=0.001, drift=1e-3), 0.5, 10.0).next_event)


@pytest.mark.parametrize("slow", [5e-324, 1e-300, 1e-9])
def test_drift_that_grows_beyond_all_numbers_ends(slow):
    model = TrafficModel(rate=5.0, bad=0.0, slow=slow, drift=999.0, disturbances=[Disturbance(begin=0.0, seconds=60.0)])
    assert over(model, 0.5, 60.0).next_event > 60.0


def test_a_client_that_tries_again_does_so_at_once_and_at_the_same_version():
    model = TrafficModel(rate=1.0, bad=0.001, clump=50.0, spacing=0.01)
    traffic = Traffic(model, Random(5))
    traffic.weight = 0.5
    times = []
    while len(times) < 200:
        traffic.advance(traffic.next_event)
        times.append(traffic.at)
    assert sum(later - earlier < 0.2 for earlier, later in itertools.pairwise(times)) > 150


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"bad": 2}, {"clump": 0.5}, {"drift": 0}, {"spacing": -1}])
def test_a_model_that_makes_no_sense_is_refused_by_name(wrong):
    with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
        TrafficModel(**wrong)
