import asyncio
import time
from random import Random

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Broken, Calm, HarmAt, Slow, Steps, Undecided

from noodle_upgrade_core.clocks import RealClock
from noodle_upgrade_core.errors import InvalidRequestError, PluginBrokenError
from noodle_upgrade_core.judges import KillSwitch
from noodle_upgrade_core.rollout import Conductor
from noodle_upgrade_core.steps import Gate, Judge, Shift, Wait
from noodle_upgrade_core.strategies import Gradual, Immediate
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.simulation.records import Record
from noodle_upgrade_deployment.simulation.rollouts import MadeUp, Scenario, simulate
from noodle_upgrade_deployment.simulation.staging import BY_SHARES, Command, Router, SimulatedSwap, plan_for
from noodle_upgrade_deployment.simulation.traffic import Traffic, TrafficModel
from noodle_upgrade_deployment.strategies.blue_green import BlueGreen
from noodle_upgrade_deployment.strategies.canary import Canary, Ramp
from noodle_upgrade_deployment.strategies.rolling import Rolling
from noodle_upgrade_deployment.strategies.shadow import Shadow

BUSY = Scenario(calls=MadeUp(TrafficModel(rate=100.0)))
BAD = Scenario(calls=MadeUp(TrafficModel(rate=100.0, worse=10.0)))


def run(strategy, judge, scenario=BUSY, seed=1, **more):
    return simulate(strategy, judge, scenario, Random(seed), **more)


def test_a_good_version_gets_all_calls_step_by_step():
    course = run(Gradual(percentage=25.0, bake=30.0), Betting())
    assert course.promoted
    assert [share for _, share in course.shares] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert course.at == course.back_at
    assert course.share == 1.0
    assert course.reasons == ()


def test_a_bad_version_is_taken_back_for_the_judges_reasons_and_what_it_cost_is_told():
    course = run(Gradual(bake=60.0), Betting(), BAD)
    assert course.end == "harm"
    assert "errors" in course.reasons[0]
    assert 5 <= course.bad_calls < 60
    assert course.shares[-1] == (course.back_at, 0.0)
    assert course.share < 0.5


@pytest.mark.parametrize(
    "strategy", [Immediate(bake=300.0), Gradual(bake=60.0), Canary(), Ramp(), BlueGreen(), Shadow()]
)
def test_every_strategy_by_shares_is_simulated_as_it_is_and_takes_a_terrible_version_back(strategy):
    terrible = Scenario(calls=MadeUp(TrafficModel(rate=100.0, bad=0.02, worse=45.0)), deadline=3600.0)
    assert run(strategy, KillSwitch(), terrible).end == "harm"
    flawless = Scenario(calls=MadeUp(TrafficModel(rate=100.0, bad=0.0)), deadline=3600.0)
    assert run(strategy, KillSwitch(), flawless).promoted


def test_the_same_random_numbers_give_the_same_course_and_others_another_one():
    one, same, other = (run(Gradual(bake=60.0), Betting(), BAD, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("worse", [1.0, 100.0])
def test_a_course_is_what_the_conductor_does_in_real_time(worse):
    """Twenty times as fast: the same calls, the same judge, on the real clock and on an event loop."""
    model, speed = TrafficModel(rate=100.0, bad=0.004, worse=worse), 20.0
    virtual = run(Gradual(percentage=50.0, bake=60.0), KillSwitch(ratio=10.0), Scenario(calls=MadeUp(model)))
    traffic, began = Traffic(model, Random(1)), time.monotonic()

    class Live(SimulatedSwap):
        def measure(self):
            traffic.advance((time.monotonic() - began) * speed)
            return super().measure()

    staged = Live(traffic, Router(0, Random(1)), Record(100))
    conductor = Conductor(staged=staged, judge=KillSwitch(ratio=10.0), clock=RealClock(), interval=0.1 / speed)
    rollout = Gradual(percentage=50.0, bake=60.0 / speed).rollout(plan_for(BY_SHARES))
    outcome = asyncio.run(conductor.carry_out(rollout))
    if not outcome.promoted:
        asyncio.run(staged.revert())
    assert outcome.promoted == virtual.promoted == (worse == 1.0)
    assert [share for _, share in staged.shares.notes()] == [share for _, share in virtual.shares]
    # A machine that is busy looks late: never too soon, and half a second of its time at most.
    assert -1.0 <= outcome.measured.at - virtual.at <= 10.0


class Restless(Betting):
    """Wants to look twenty times a second."""

    at = 0.0

    def observe(self, seen):
        self.at = seen.at
        return super().observe(seen)

    @property
    def next_look(self):
        due = super().next_look
        return self.at + 0.05 if due is None else min(due, self.at + 0.05)


@pytest.mark.parametrize("scenario", [BUSY, BAD])
def test_leaving_out_looks_that_tell_nothing_changes_no_course(scenario):
    exact = evolve(scenario, interval=1e-6)
    seldom, often = (run(Gradual(bake=60.0), judge(), exact) for judge in (Betting, Restless))
    assert seldom.end == often.end
    assert seldom.at == pytest.approx(often.at, abs=0.2 * len(seldom.shares))
    assert seldom.bad_calls == pytest.approx(often.bad_calls, abs=3)


def test_an_abort_ends_it_at_once_also_in_the_middle_of_a_wait():
    for step in (Wait(1000.0), Judge(budget=1000.0)):
        scenario = evolve(BUSY, commands=[Command(12.5, "abort", "enough")])
        course = run(Steps(Shift(0.5), step, Shift(1.0)), Undecided(), scenario)
        assert (course.end, course.at, course.reasons) == ("aborted", 12.5, ("enough",))
        assert course.shares[-1] == (12.5, 0.0)


def test_a_pause_holds_the_next_rise_until_somebody_resumes():
    scenario = evolve(BUSY, commands=[Command(5.0, "pause"), Command(100.0, "resume")])
    course = run(Steps(Shift(0.5), Wait(10.0), Shift(1.0)), Undecided(), scenario)
    assert course.promoted
    assert course.shares[-1][0] == pytest.approx(100.0, abs=0.2)


def test_harm_during_a_pause_takes_it_back():
    scenario = evolve(BUSY, commands=[Command(5.0, "pause")])
    course = run(Steps(Shift(0.5), Wait(10.0), Shift(1.0)), HarmAt(50.0), scenario)
    assert (course.end, course.reasons) == ("harm", ("it is late",))
    assert course.at == pytest.approx(50.0, abs=0.2)


def test_a_promotion_ends_a_wait():
    course = run(Steps(Shift(1.0), Wait(1000.0)), Undecided(), evolve(BUSY, commands=[Command(7.0, "promote")]))
    assert (course.end, course.at) == ("promoted", 7.0)


def test_an_abort_beats_a_promotion_of_the_same_moment():
    commands = [Command(7.0, "promote"), Command(7.0, "abort")]
    assert run(Steps(Shift(1.0), Wait(1000.0)), Undecided(), evolve(BUSY, commands=commands)).end == "aborted"


def test_what_people_cannot_say_is_refused():
    with pytest.raises(InvalidRequestError, match="promote"):
        Command(1.0, "explode")


def test_people_open_a_gate_after_their_time_or_never_if_it_expires_before():
    steps = Steps(Shift(1.0), Gate("ready", expires=100.0))
    assert run(steps, Calm(), evolve(BUSY, gate=60.0)).at == 60.0
    late = run(steps, Calm(), evolve(BUSY, gate=160.0))
    assert (late.end, late.at) == ("gave up", 100.0)


def test_a_rollout_that_never_ends_is_out_of_time():
    course = run(Canary(), Undecided(), evolve(BUSY, deadline=500.0))
    assert course.end == "out of time"
    assert course.at == pytest.approx(500.0, abs=61.0)


def test_what_ends_with_less_than_all_calls_has_not_promoted():
    assert run(Steps(Shift(0.4)), Calm()).end == "gave up"
    assert run(Steps(Shift(0.4), Judge()), Calm()).end == "gave up"


def test_what_is_asynchronous_is_refused():
    with pytest.raises(InvalidRequestError, match="virtual time"):
        run(Gradual(), Slow())


def test_a_judge_that_raises_is_named():
    with pytest.raises(PluginBrokenError, match="judge raised ZeroDivisionError"):
        run(Gradual(), Broken())


def test_a_strategy_for_members_needs_a_fleet():
    with pytest.raises(InvalidRequestError, match="rolling"):
        run(Rolling(), Betting())


def test_nobody_has_the_bad_calls_of_a_shadow():
    course = run(Steps(Shift(0.0, shadow=1.0), Wait(60.0), Shift(0.0)), Undecided(), BAD)
    assert course.bad_calls == 0
    assert course.new_calls == pytest.approx(6000, abs=2)
    assert course.old_calls == pytest.approx(6000, abs=2)


def test_a_shadow_is_measured_as_the_share_that_copies_are_of_all_calls():
    seen = []

    class Looks(Calm):
        def observe(self, measured):
            seen.append(measured)
            return super().observe(measured)

    run(Steps(Shift(0.0, shadow=0.5), Wait(600.0), Judge(budget=1.0), Shift(1.0), Wait(10.0), Judge()), Looks(), BAD)
    copied, served = seen[0], seen[-1]
    assert copied.weight == pytest.approx(1 / 3)
    assert copied.new.calls / (copied.new.calls + copied.old.calls) == pytest.approx(1 / 3, abs=0.01)
    assert copied.shadow.different == copied.new.errors > 100
    assert served.shadow is None
    assert served.new.errors > copied.new.errors


models = st.builds(
    TrafficModel,
    rate=st.floats(1.0, 50.0),
    bad=st.floats(0.0, 0.1),
    worse=st.floats(0.0, 5.0),
    slow=st.floats(0.0, 0.1),
)


@settings(max_examples=50, deadline=None)
@given(models, st.sampled_from([5.0, 20.0, 33.0, 100.0]), st.integers(0, 99), st.integers(0, 50))
def test_every_call_is_the_old_versions_or_the_new_ones(model, percentage, seed, users):
    scenario = Scenario(calls=MadeUp(model), users=users)
    course = run(Gradual(percentage=percentage, bake=20.0), Betting(), scenario, seed)
    # Each version's calls are whole ones, and one that fails at a moment counts from then on.
    assert course.old_calls + course.new_calls == pytest.approx(
        model.rate * course.back_at, abs=3 + 0.05 * course.old_calls
    )
    assert course.bad_calls <= course.new_calls
    assert course.at <= course.back_at


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.lists(st.floats(0.0, 1.0), max_size=20), st.integers(0, 9))
def test_a_router_never_takes_a_user_back_and_comes_near_what_is_asked(users, asked, seed):
    router = Router(users, Random(seed))
    shares = [router.share(one) for one in sorted(asked)]
    assert shares == sorted(shares)
    assert (router.share(0.0), router.share(1.0)) == (0.0, 1.0)
    assert all(abs(router.share(one) - one) <= 4.0 * (0.25 / users) ** 0.5 for one in asked)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 20), st.integers(0, 200))
def test_a_record_keeps_no_more_than_it_may_and_always_the_last(most, count):
    record = Record(most)
    for number in range(count):
        record.add(float(number), number)
    notes = record.notes()
    assert len(notes) <= max(2, most)
    assert list(notes) == sorted(notes)
    if most and count:
        assert notes[-1] == (float(count - 1), count - 1)
    if not most:
        assert notes == ()


def test_evidence_is_that_of_its_moment_and_bounded():
    course = run(Gradual(bake=60.0), Betting(), kept=20)
    assert 5 <= len(course.evidence) <= 20
    times = [at for at, _ in course.evidence]
    assert times == sorted(times)
    ways = [numbers["errors"]["harm"] for _, numbers in course.evidence]
    assert len(set(ways)) > 3
    assert run(Gradual(bake=60.0), Betting(), kept=0).evidence == ()
