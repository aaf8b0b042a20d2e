import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core.clocks import RealClock, VirtualClock
from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.errors import InvalidRequestError, PluginBrokenError, UpgradeTimeoutError
from noodle_upgrade_core.judges import KillSwitch
from noodle_upgrade_core.model import Finding, Severity
from noodle_upgrade_core.rollout import Conductor, quantile
from noodle_upgrade_core.staged import LATENCY_BOUNDS, WEIGHTS, Arm, Measurement
from noodle_upgrade_core.steps import Gate, Judge, Observation, Probe, Revert, Shift, Wait
from noodle_upgrade_core.strategies import Gradual, Immediate, rollout_of


class Traffic:
    """A staged swap over modelled traffic: so many calls a virtual second, some of which fail on the new version."""

    def __init__(self, clock, *, weights=True, per_second=100, failing=0.0):
        self.capabilities = frozenset({WEIGHTS}) if weights else frozenset()
        self.weight = 0.0
        self.shifts = []
        self.per_second = per_second
        self.failing = failing
        self.old = self.new = self.bad = 0.0
        clock.on_sleep = self.flow
        self.clock = clock

    def flow(self, seconds):
        calls = self.per_second * seconds
        self.new += calls * self.weight
        self.old += calls * (1 - self.weight)
        self.bad += calls * self.weight * self.failing

    def shift(self, weight):
        self.weight = weight
        self.shifts.append(weight)

    def measure(self):
        return Measurement(
            at=self.clock.now(),
            weight=self.weight,
            old=Arm(version="1", calls=int(self.old)),
            new=Arm(version="2", calls=int(self.new), errors=int(self.bad), last_error="boom"),
        )


class PlanWith:
    def __init__(self, *capabilities):
        verdict = type("V", (), {"capabilities": frozenset(capabilities)})
        self.steps = (type("S", (), {"verdict": verdict}),)


def carry_out(steps, traffic, clock, **options):
    conductor = Conductor(staged=traffic, judge=KillSwitch(), clock=clock, **options)
    return asyncio.run(conductor.carry_out(steps))


def test_a_good_version_gets_all_traffic_step_by_step():
    clock = VirtualClock()
    traffic = Traffic(clock)
    outcome = carry_out(Gradual(percentage=25).rollout(PlanWith(WEIGHTS)), traffic, clock)
    assert outcome.promoted
    assert traffic.shifts == [0.25, 0.5, 0.75, 1.0]


def test_a_version_that_fails_is_given_up_with_the_evidence_at_the_first_share():
    clock = VirtualClock()
    traffic = Traffic(clock, failing=0.5)
    outcome = carry_out(Gradual(percentage=10).rollout(PlanWith(WEIGHTS)), traffic, clock)
    assert not outcome.promoted
    assert "boom" in outcome.reasons[0]
    assert traffic.shifts == [0.1]
    assert outcome.evidence["new_error_share"] > 0.4


def test_without_weights_every_share_above_none_is_everything_once():
    clock = VirtualClock()
    traffic = Traffic(clock, weights=False)

    def three_shares():
        yield Shift(0.1)
        yield Shift(0.5)
        yield Shift(1.0)

    assert carry_out(three_shares(), traffic, clock).promoted
    assert traffic.shifts == [1.0]


def test_a_strategy_that_ends_before_all_traffic_has_moved_is_not_promoted():
    clock = VirtualClock()

    def half():
        yield Shift(0.5)

    outcome = carry_out(half(), Traffic(clock), clock)
    assert not outcome.promoted
    assert "50%" in outcome.reasons[0]


def test_no_traffic_is_neither_safe_nor_harm():
    clock = VirtualClock()
    seen = []

    def watch():
        yield Shift(1.0)
        seen.append((yield Judge(until="safe", budget=5)))

    carry_out(watch(), Traffic(clock, per_second=0), clock)
    assert seen[0].starved
    assert not seen[0].safe
    assert not seen[0].harm
    assert clock.now() == pytest.approx(5, abs=0.2)


def test_a_strategy_that_raises_is_named_as_the_fault():
    clock = VirtualClock()

    def broken():
        yield Shift(0.5)
        raise KeyError("weights")

    with pytest.raises(PluginBrokenError, match="strategy raised KeyError"):
        carry_out(broken(), Traffic(clock), clock)


def test_something_that_is_no_step_is_refused():
    clock = VirtualClock()

    def wrong():
        yield 0.5

    with pytest.raises(PluginBrokenError, match="not a step"):
        carry_out(wrong(), Traffic(clock), clock)


def test_a_strategy_without_an_end_is_stopped(monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.rollout.MOST_STEPS", 50)
    clock = VirtualClock()

    def endless():
        while True:
            yield Wait(0)

    with pytest.raises(PluginBrokenError, match="without coming to an end"):
        carry_out(endless(), Traffic(clock), clock)


def test_the_requests_time_ends_a_rollout():
    clock = VirtualClock()

    def slow():
        yield Wait(100)
        yield Shift(1.0)

    with pytest.raises(UpgradeTimeoutError):
        carry_out(slow(), Traffic(clock), clock, deadline=10.0)


def test_abort_beats_a_wait_that_has_hours_to_go():
    controls = Controls()

    def long():
        yield Shift(1.0)
        yield Wait(3600)

    async def run():
        clock = RealClock()
        traffic = Traffic(VirtualClock())
        conductor = Conductor(staged=traffic, judge=KillSwitch(), clock=clock, controls=controls)
        task = asyncio.create_task(conductor.carry_out(long()))
        while not traffic.shifts:
            await asyncio.sleep(0)
        controls.abort("alice changed her mind")
        return await asyncio.wait_for(task, 5)

    outcome = asyncio.run(run())
    assert not outcome.promoted
    assert outcome.reasons == ("alice changed her mind",)


def test_a_probe_that_finds_an_error_is_harm():
    clock = VirtualClock()

    async def sick():
        return (Finding(severity=Severity.ERROR, code="acme.sick", message="it has a fever"),)

    outcome = carry_out(Immediate().rollout(PlanWith()), Traffic(clock), clock, probe=sick)
    assert not outcome.promoted
    assert outcome.reasons == ("it has a fever",)


def test_a_gate_where_nobody_can_be_asked_is_an_error_and_not_a_yes():
    clock = VirtualClock()

    def gated():
        yield Gate("go on")
        yield Shift(1.0)

    traffic = Traffic(clock)
    with pytest.raises(PluginBrokenError, match="go on"):
        carry_out(gated(), traffic, clock)
    assert traffic.shifts == []


def test_a_strategy_is_closed_however_it_ends():
    clock = VirtualClock()
    closed = []

    def careful():
        try:
            yield Shift(1.0)
            yield Probe()
            yield Wait(1)
        finally:
            closed.append(True)

    async def explode():
        raise UpgradeTimeoutError("no answer")

    with pytest.raises(UpgradeTimeoutError):
        carry_out(careful(), Traffic(clock), clock, probe=explode)
    assert closed == [True]


@given(st.floats(min_value=0.1, max_value=100))
def test_gradual_never_lowers_the_share_and_always_ends_at_everything(percentage):
    weights = Gradual(percentage=percentage).weights()
    assert list(weights) == sorted(weights)
    assert weights[-1] == 1.0
    assert weights[0] <= max(percentage / 100 * 1.0001, 1e-9) or len(weights) == 1


@pytest.mark.parametrize("percentage", [0, 1e-9, 0.09, -1, 100.1, float("nan"), float("inf"), True, "10"])
def test_a_share_that_no_rollout_could_come_to_an_end_with_is_refused(percentage):
    with pytest.raises(InvalidRequestError, match="percentage"):
        Gradual(percentage=percentage)


def test_the_smallest_share_has_a_thousand_steps():
    assert len(Gradual(percentage=0.1).weights()) == 1000


@pytest.mark.parametrize("answer", [None, [Shift(1.0)], iter([Shift(1.0)])], ids=lambda value: type(value).__name__)
def test_a_strategy_that_returns_no_generator_is_told_to_write_yield(answer):
    class Odd:
        def rollout(self, plan):
            return answer

    with pytest.raises(PluginBrokenError, match="Odd must return a generator of steps") as caught:
        rollout_of(Odd(), PlanWith())
    assert "yield" in caught.value.hint


def test_a_strategy_is_asked_for_each_step_where_the_conductor_is_told_to_ask():
    clock = VirtualClock()
    asked = []

    async def ask(function, *arguments):
        asked.append(arguments[1])
        return function(*arguments)

    outcome = carry_out(Immediate(bake=1).rollout(PlanWith()), Traffic(clock), clock, ask=ask)
    assert outcome.promoted
    assert len(asked) == len(outcome.steps) + 1
    assert asked[0] is None


@given(st.lists(st.integers(0, 50), min_size=len(LATENCY_BOUNDS) + 1, max_size=len(LATENCY_BOUNDS) + 1))
def test_quantiles_never_fall_as_the_share_rises(buckets):
    arm = Arm(version="1", latency=tuple(buckets))
    values = [quantile(arm, share) for share in (0.1, 0.5, 0.9, 0.99)]
    if sum(buckets):
        assert values == sorted(values)
    else:
        assert values == [None] * 4


def test_revert_takes_one_reason_or_many():
    assert Revert("no").reasons == ("no",)
    assert Revert(["a", "b"]).reasons == ("a", "b")


class Recording:
    """A judge that keeps what it is shown, and never makes up its mind."""

    def __init__(self):
        self.seen = []

    def observe(self, seen):
        self.seen.append(seen)
        return Observation()


def test_a_judge_can_tell_what_was_counted_at_the_present_share():
    clock = VirtualClock()
    traffic, judge = Traffic(clock, per_second=100), Recording()

    def rollout():
        yield Shift(0.5)
        yield Judge(until="budget", budget=2)
        yield Shift(1.0)
        yield Judge(until="budget", budget=1)

    assert asyncio.run(Conductor(staged=traffic, judge=judge, clock=clock).carry_out(rollout())).promoted
    last = judge.seen[-1]
    assert (last.new.calls, last.since_shift().new.calls) == (
        pytest.approx(200, abs=2),
        pytest.approx(100, abs=2),
    )
    assert (last.old.calls, last.since_shift().old.calls) == (pytest.approx(100, abs=2), 0)


def test_a_good_first_share_does_not_let_the_next_ones_pass_unseen():
    clock = VirtualClock()
    traffic = Traffic(clock, per_second=100)
    waited = []

    def rollout():
        for weight in (0.5, 1.0):
            yield Shift(weight)
            before = clock.now()
            seen = yield Judge(until="safe", budget=60)
            assert seen.safe
            waited.append(clock.now() - before)

    carry_out(rollout(), traffic, clock)
    assert waited == [pytest.approx(4, abs=0.2), pytest.approx(2, abs=0.2)]


class Slow:
    """A judge that is asked over a network, say."""

    async def observe(self, seen):
        await asyncio.sleep(0)
        return Observation(harm=True, reasons=("the metric says so",))


def test_a_judge_may_be_async():
    clock = VirtualClock()

    def rollout():
        yield Shift(1.0)
        seen = yield Judge()
        yield Revert(seen.reasons)

    outcome = asyncio.run(Conductor(staged=Traffic(clock), judge=Slow(), clock=clock).carry_out(rollout()))
    assert outcome.reasons == ("the metric says so",)


class Hanging(Traffic):
    """The new version takes calls and answers none of them."""

    def flow(self, seconds):
        self.stalled = getattr(self, "stalled", 0.0) + (seconds if self.weight else 0.0)

    def measure(self):
        seen = super().measure()
        new = Arm(version="2", in_flight=3, stalled=getattr(self, "stalled", 0.0))
        return Measurement(at=seen.at, weight=seen.weight, old=seen.old, new=new)


@pytest.mark.parametrize("strategy", [Gradual(bake=2), Immediate(bake=2)])
def test_a_version_that_answers_no_call_is_not_gone_on_with_and_taken_back_in_the_end(strategy):
    clock = VirtualClock()
    traffic = Hanging(clock)
    outcome = carry_out(strategy.rollout(PlanWith(WEIGHTS)), traffic, clock)
    assert not outcome.promoted
    assert "none was answered" in outcome.reasons[0]
    assert 30 <= clock.now() <= 35
    assert len(traffic.shifts) == 1
