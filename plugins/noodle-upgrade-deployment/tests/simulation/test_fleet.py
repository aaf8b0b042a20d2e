from random import Random

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import ByMembers, Calm, HarmAt, Steps, Undecided

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.steps import Judge, Shift, Wait
from noodle_upgrade_core.strategies import Gradual, Immediate
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.simulation.fleet import FleetModel
from noodle_upgrade_deployment.simulation.rollouts import MadeUp, Scenario, simulate
from noodle_upgrade_deployment.simulation.staging import Command
from noodle_upgrade_deployment.simulation.traffic import TrafficModel
from noodle_upgrade_deployment.strategies.rolling import Rolling

CALLS = MadeUp(TrafficModel(rate=100.0))


def run(strategy, judge, fleet, seed=1, **more):
    return simulate(strategy, judge, Scenario(calls=more.pop("calls", CALLS), fleet=fleet, **more), Random(seed))


fleets = st.builds(
    FleetModel,
    replicas=st.integers(2, 60),
    domains=st.integers(1, 5),
    start=st.floats(0.0, 60.0),
    spread=st.floats(0.0, 1.0),
    fails=st.sampled_from([0.0, 0.0, 0.3]),
    tolerated=st.just(1.0),
    surge=st.floats(0.01, 1.0),
    unavailable=st.floats(0.0, 0.5),
)


@settings(max_examples=50, deadline=None)
@given(fleets, st.sampled_from([7.0, 25.0, 100.0]), st.booleans(), st.integers(1, 20), st.integers(0, 9))
def test_no_more_replicas_change_or_are_missing_than_may(fleet, percentage, by_members, batch, seed):
    strategy = ByMembers(batch) if by_members else Gradual(percentage=percentage, bake=5.0)
    course = run(strategy, Calm(), fleet, seed)
    seen = course.fleet
    assert seen.in_flux <= fleet.extra + fleet.missing
    assert seen.capacity >= (fleet.replicas - fleet.missing) / fleet.replicas
    if not fleet.fails:
        assert course.promoted
        assert (seen.changed, seen.failed) == (fleet.replicas, 0)
        assert course.share == 1.0


@settings(max_examples=30, deadline=None)
@given(fleets, st.integers(1, 20))
def test_one_domain_after_the_other_changes_where_shares_are_asked_for(fleet, seed):
    assert run(Gradual(percentage=30.0, bake=5.0), Calm(), fleet, seed).fleet.across == 0


def test_a_strategy_that_does_not_look_at_domains_is_found_out():
    fleet = FleetModel(replicas=30, surge=0.5)
    assert run(ByMembers(10, by_domain=False), Calm(), fleet).fleet.across == 10
    assert run(ByMembers(10), Calm(), fleet).fleet.across == 0


def test_rolling_changes_a_whole_fleet_within_its_limits():
    course = run(Rolling(surge=3, bake=5.0), Calm(), FleetModel(replicas=40, surge=0.1))
    assert course.promoted
    assert (course.fleet.changed, course.fleet.capacity, course.fleet.across, course.fleet.in_flux) == (40, 1.0, 0, 3)


def test_starts_take_their_time_and_so_does_the_way_back():
    """One domain after the other there, all at once back: each start takes a hundred seconds, and a tick at most."""
    fleet = FleetModel(replicas=9, domains=3, start=100.0, spread=0.0, surge=1.0)
    course = run(Steps(Shift(1.0), Judge(budget=60.0)), HarmAt(0.0), fleet)
    assert course.end == "harm"
    assert 300.0 <= course.at <= 306.0
    assert 100.0 <= course.back_at - course.at <= 102.0


def test_a_bad_version_costs_calls_until_the_last_replica_is_back():
    slow, quick = (FleetModel(replicas=20, start=start, surge=0.1) for start in (120.0, 1.0))
    bad = MadeUp(TrafficModel(rate=100.0, worse=10.0))
    costly, cheap = (run(Gradual(percentage=20.0, bake=300.0), Betting(), one, calls=bad) for one in (slow, quick))
    assert costly.end == cheap.end == "harm"
    assert costly.bad_calls > 2 * cheap.bad_calls
    assert costly.fleet.changed == cheap.fleet.changed == 0
    assert costly.shares[-1][1] == 0.0


def test_starts_that_fail_are_tried_again_and_then_given_up():
    fleet = FleetModel(replicas=400, fails=0.3, attempts=3, tolerated=0.1, surge=0.25)
    seen = run(Immediate(), Calm(), fleet).fleet
    assert seen.failed == pytest.approx(400 * (0.3 + 0.09 + 0.027), rel=0.25)
    assert seen.given_up == pytest.approx(400 * 0.027, abs=12)
    assert seen.changed == 400 - seen.given_up


@pytest.mark.parametrize(("surge", "capacity"), [(0.0, 0.9), (0.25, 1.0), (0.05, 0.9)])
def test_a_version_that_cannot_start_is_taken_back_and_every_replica_serves_again(surge, capacity):
    """Ten replicas are to change at once: those for which there is no room beside are missing meanwhile."""
    course = run(Gradual(percentage=25.0), Calm(), FleetModel(replicas=40, fails=1.0, surge=surge, unavailable=0.1))
    assert course.end == "broken"
    assert "10 of 10 replicas could not begin" in course.reasons[0]
    assert course.fleet.failed == 3 * 10
    assert (course.fleet.changed, course.fleet.given_up, course.bad_calls, course.share) == (0, 10, 0, 0.0)
    assert course.fleet.capacity == capacity
    assert course.shares[-1][1] == 0.0


def test_who_aborts_in_the_middle_of_a_shift_lets_what_has_begun_end_and_all_goes_back():
    fleet = FleetModel(replicas=100, start=30.0, spread=0.0, surge=0.1)
    course = run(Steps(Shift(1.0), Wait(10.0)), Undecided(), fleet, commands=[Command(75.0, "abort")])
    assert course.end == "aborted"
    assert course.at == pytest.approx(90.0, abs=3.0)
    assert 0.2 < course.share < 0.35
    assert course.fleet.changed == 0
    assert course.back_at > course.at


def test_exactly_the_members_that_are_named_serve_the_new_version():
    shares = []

    class Picky:
        def rollout(self, plan):
            seen = yield Shift(0.0)
            names = [member.name for member in seen.members]
            for some in (names[:6], names[4:8], (), names):
                seen = yield Shift(len(some) / len(names), members=tuple(some))
                seen = yield Judge(budget=1.0)
                shares.append((seen.measured.weight, seen.members is not None))

    course = run(Picky(), Calm(), FleetModel(replicas=10, surge=0.3))
    assert course.fleet.changed == 10
    assert [share for share, _ in shares] == [0.6, 0.4, 0.0, 1.0]


def test_a_member_that_is_not_there_is_refused_by_name():
    with pytest.raises(InvalidRequestError, match="replica-99"):
        run(Steps(Shift(0.1, members=("replica-99",))), Calm(), FleetModel(replicas=10))


def test_members_are_the_same_tuple_at_every_step_for_a_million_take_their_time():
    seen = []

    class Looks:
        def rollout(self, plan):
            seen.append((yield Shift(0.5)))
            seen.append((yield Shift(1.0)))

    run(Looks(), Calm(), FleetModel(replicas=10))
    assert seen[0].members is seen[1].members
    assert [member.domain for member in seen[0].members[:4]] == ["domain-0", "domain-1", "domain-2", "domain-0"]


def test_the_same_random_numbers_give_the_same_fleet():
    fleet = FleetModel(replicas=50, fails=0.1, tolerated=1.0)
    one, same, other = (run(Gradual(bake=10.0), Betting(), fleet, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_hundred_thousand_replicas_are_changed_with_the_judge_watching():
    course = run(Gradual(percentage=25.0, bake=60.0), Betting(), FleetModel(replicas=100_000, surge=0.1, fails=0.001))
    assert course.promoted
    assert course.fleet.in_flux == 10_000
    assert course.fleet.capacity == 1.0


def test_a_shadow_runs_beside_a_fleet_and_nobody_has_its_bad_calls():
    bad = MadeUp(TrafficModel(rate=100.0, worse=20.0))
    course = run(Steps(Shift(0.0, shadow=1.0), Wait(60.0), Shift(0.0)), Undecided(), FleetModel(), calls=bad)
    assert (course.bad_calls, course.share) == (0, 0.0)
    assert course.new_calls > 5000


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"surge": 0.0, "unavailable": 0.0}, "surge and unavailable"),
        ({"surge": 0.0, "unavailable": 1.0}, "nobody would serve"),
        ({"replicas": 1, "surge": 0.0, "unavailable": 0.1}, "nobody would serve"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": 1_000_001}, "replicas"),
        ({"fails": 1.5}, "fails"),
        ({"start": -1.0}, "start"),
        ({"attempts": 0}, "attempts"),
    ],
)
def test_a_fleet_that_makes_no_sense_is_refused_by_name(wrong, said):
    with pytest.raises(InvalidRequestError, match=said):
        evolve(FleetModel(), **wrong)
