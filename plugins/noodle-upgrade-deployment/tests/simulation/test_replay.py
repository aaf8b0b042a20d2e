import itertools
import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Steps, Undecided, recorded

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.steps import Shift, Wait
from noodle_upgrade_core.strategies import Gradual
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.simulation.fleet import FleetModel
from noodle_upgrade_deployment.simulation.replay import ReplayModel
from noodle_upgrade_deployment.simulation.rollouts import Scenario, simulate


def an_hour(*, bad=0.005, rate=20.0, incident=(), keys=0, seed=5):
    """An hour of calls; in the incident a third of them fails."""
    rng, at, calls, callers = Random(seed), 0.0, [], []
    while at < 3600.0:
        within = bool(incident) and incident[0] <= at < incident[1]
        calls.append((at, rng.lognormvariate(-4.0, 0.5), rng.random() < (1 / 3 if within else bad)))
        callers.append(rng.randrange(keys) if keys else None)
        at += rng.expovariate(rate)
    return recorded(calls, keys=callers if keys else None)


HOUR = an_hour()


def whole(model, share=0.5, seed=1):
    """Replay everything once at one share."""
    replay = model.calls(Random(seed))
    replay.split(share)
    replay.advance(model.recording.span * (1.0 - 1e-9))
    return replay.measure()


recordings = (
    st.lists(
        st.tuples(st.integers(0, 5000).map(lambda tenths: tenths / 10.0), st.floats(0.0, 5.0), st.booleans()),
        min_size=2,
        max_size=60,
    )
    .map(sorted)
    .filter(lambda calls: calls[-1][0] - calls[0][0] >= 1.0)
)


@settings(max_examples=200, deadline=None)
@given(recordings, st.floats(0.0, 1.0), st.booleans(), st.integers(0, 9), st.floats(0.0, 4.0), st.integers(1, 3))
def test_every_recorded_call_is_the_old_versions_or_the_new_ones_and_none_is_lost(
    calls, share, keyed, seed, worse, laps
):
    keys = [number % 3 for number in range(len(calls))] if keyed else None
    model = ReplayModel(recording=recorded(calls, keys=keys), worse=worse)
    replay = model.calls(Random(seed))
    replay.split(share)
    replay.advance(model.recording.span * (laps - 0.5))
    middle = replay.measure()
    replay.advance(model.recording.span * laps * (1 + 1e-12) + 1e-9)
    end = replay.measure()
    # Those of one moment come together, and one moment may lie on the edge.
    at_once = max(Counter(at for at, _, _ in calls).values())
    assert end.old.calls + end.new.calls == pytest.approx(len(calls) * laps, abs=at_once)
    for arm, before in ((end.old, middle.old), (end.new, middle.new)):
        assert sum(arm.latency) == arm.calls >= before.calls
        assert arm.errors >= before.errors
        assert arm.errors <= arm.calls


def test_recorded_calls_come_when_they_came():
    recording = recorded([(0.0, 0.1, False), (1.0, 0.1, True), (4.0, 0.1, False)])
    replay = ReplayModel(recording=recording).calls(Random(0))
    moments = []
    for tenth in range(1, 121):
        replay.advance(tenth / 10.0)
        moments.append(replay.measure().old.calls)
    steps = [index / 10.0 for index, (a, b) in enumerate(itertools.pairwise(moments), 2) if b > a]
    pauses = {round(b - a, 1) for a, b in itertools.pairwise(steps)}
    assert pauses == {1.0, 2.0, 3.0}


def test_the_old_version_once_more_fails_where_it_failed():
    seen = whole(ReplayModel(recording=HOUR))
    assert seen.old.errors + seen.new.errors == sum(HOUR.bad)
    assert seen.new.errors == pytest.approx(seen.old.errors, rel=0.25)


@pytest.mark.parametrize("worse", [0.0, 0.5, 2.0, 2.5, 10.0])
def test_a_worse_version_fails_so_many_times_as_often(worse):
    model = ReplayModel(recording=HOUR, worse=worse)
    assert sum(model.new_bad) == pytest.approx(worse * sum(HOUR.bad), rel=0.1, abs=1)
    seen = whole(model, share=1.0)
    assert (seen.old.calls, seen.new.errors) == (0, sum(model.new_bad))


def test_incidents_stay_where_they_were():
    recording = an_hour(incident=(1200.0, 1320.0))
    model = ReplayModel(recording=recording, worse=2.0)
    minutes = Counter(int(at // 60) for at, bad in zip(recording.at, model.new_bad, strict=True) if bad)
    before = Counter(int(at // 60) for at, bad in zip(recording.at, recording.bad, strict=True) if bad)
    assert minutes[20] + minutes[21] > 1.3 * (before[20] + before[21])
    assert sum(minutes[minute] for minute in range(30, 60)) < 3.0 * sum(before[minute] for minute in range(30, 60))


def test_a_clump_of_failures_has_clumps_like_it():
    clump = [(100.0 + step / 10.0, 0.01, True) for step in range(8)]
    calls = sorted([(float(step) / 5.0, 0.01, False) for step in range(3000)] + clump)
    model = ReplayModel(recording=recorded(calls), worse=2.0)
    failed = [
        at
        for at, bad, old in zip(model.recording.at, model.new_bad, model.recording.bad, strict=True)
        if bad and not old
    ]
    assert len(failed) == 8
    assert max(failed) - min(failed) < 3.0
    assert 38.0 < failed[0] < 163.0


def test_a_slower_version_takes_so_much_longer():
    slow = whole(ReplayModel(recording=HOUR, slower=4.0))
    old = [index for index, count in enumerate(slow.old.latency) for _ in range(count)]
    new = [index for index, count in enumerate(slow.new.latency) for _ in range(count)]
    assert sorted(new)[len(new) // 2] - sorted(old)[len(old) // 2] == 2


def test_who_has_a_key_stays_at_a_version_and_never_goes_back_while_the_share_rises():
    recording = an_hour(keys=40)
    replay = ReplayModel(recording=recording).calls(Random(3))
    new_before = set()
    for share in (0.1, 0.4, 0.8):
        replay.split(share)
        new = {key for key in range(40) if replay._places[key] < share}
        assert new_before <= new
        new_before = new
        began, calls = replay._next, replay.measure().new.calls
        replay.advance(replay.at + 30.0)
        mine = sum(recording.key[number] in new for number in range(began, replay._next))
        assert replay._next < began or replay.measure().new.calls - calls == mine


def test_calls_that_a_judge_must_see_are_told_beforehand_and_no_others():
    model = ReplayModel(recording=recorded([(float(at), 5.0 if at == 30 else 0.01, at == 70) for at in range(100)]))
    replay = model.calls(Random(0))
    replay.split(0.5)
    events = []
    while len(events) < 4:
        replay.advance(replay.next_event)
        events.append(replay.at)
    pauses = [round(b - a) for a, b in itertools.pairwise(events)]
    assert sorted(pauses[:2]) == [40, 60]
    quiet = ReplayModel(recording=recorded([(float(at), 0.01, False) for at in range(100)]))
    assert math.isinf(quiet.calls(Random(0)).next_event)


def test_a_copy_is_different_where_one_version_fails_and_the_other_does_not():
    same, worse = (ReplayModel(recording=HOUR, worse=worse) for worse in (1.0, 3.0))
    for model, different in ((same, 0), (worse, 2 * sum(HOUR.bad))):
        replay = model.calls(Random(1))
        replay.shadow(1.0)
        replay.advance(HOUR.span * (1.0 - 1e-9))
        seen = replay.measure()
        assert seen.old.calls == seen.new.calls == seen.shadow.ran
        assert seen.shadow.different == seen.new.errors == pytest.approx(different, rel=0.15)
        assert replay.suffered == 0


def test_a_rollout_over_recorded_calls_finds_the_worse_version_and_promotes_the_same_one():
    for worse, end in ((1.0, "promoted"), (10.0, "harm")):
        model = ReplayModel(recording=HOUR, worse=worse)
        course = simulate(Gradual(bake=120.0), Betting(), Scenario(calls=model), Random(2))
        assert course.end == end
        assert course.old_calls + course.new_calls == pytest.approx(20.0 * course.at, rel=0.15)


def test_a_rollout_longer_than_its_recording_begins_it_again():
    short = recorded([(float(at) / 10.0, 0.01, at % 90 == 0) for at in range(900)])
    course = simulate(
        Steps(Shift(0.5), Wait(600.0)), Undecided(), Scenario(calls=ReplayModel(recording=short)), Random(1)
    )
    assert course.old_calls + course.new_calls == pytest.approx(6000, abs=2)


def test_a_fleet_serves_recorded_calls():
    scenario = Scenario(calls=ReplayModel(recording=HOUR), fleet=FleetModel(replicas=10))
    course = simulate(Gradual(bake=60.0), Betting(), scenario, Random(1))
    assert course.promoted
    assert course.fleet.changed == 10


@pytest.mark.parametrize("wrong", [{"worse": -1.0}, {"slower": math.nan}, {"worse": 1e6}])
def test_a_difference_that_makes_no_sense_is_refused_by_name(wrong):
    with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
        ReplayModel(recording=HOUR, **wrong)
