"""What people may want of a rollout under way, and what holds traffic back."""

import asyncio
import contextlib

import pytest

from noodle_upgrade_core.clocks import RealClock, VirtualClock
from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.judges import KillSwitch
from noodle_upgrade_core.rollout import Conductor
from noodle_upgrade_core.staged import MEMBERS, SHADOW, WEIGHTS, Arm, Measurement, Member, Shadow
from noodle_upgrade_core.steps import Gate, Judge, Observation, Revert, Shift, Wait

from .test_rollout import Traffic


class Script:
    """Gives a command when the virtual clock passes a moment."""

    def __init__(self, clock, traffic, *entries):
        self._clock = clock
        self._left = sorted(entries, key=lambda entry: entry[0])
        self._flow = traffic.flow
        clock.on_sleep = self.passed

    def passed(self, seconds):
        self._flow(seconds)
        while self._left and self._left[0][0] <= self._clock.now():
            self._left.pop(0)[1]()


def conducted(steps, *, script=(), controls=None, failing=0.0, **options):
    """Carry steps out in virtual time; returns the outcome, the traffic and the events."""
    clock, controls, events = VirtualClock(), controls or Controls(), []
    traffic = Traffic(clock, failing=failing)
    Script(clock, traffic, *((at, command(controls)) for at, command in script))
    conductor = Conductor(
        staged=traffic,
        judge=options.pop("judge", Never()),
        clock=clock,
        controls=controls,
        emit=lambda kind, **said: events.append((kind, said.get("message", ""))),
        **options,
    )
    return asyncio.run(conductor.carry_out(steps())), traffic, events, clock


class Never:
    """A judge that is never sure."""

    def observe(self, seen):
        return Observation()


class Alarm:
    """A judge that sees harm from a moment on."""

    def __init__(self, at):
        self._at = at

    def observe(self, seen):
        return Observation(harm=seen.at >= self._at, reasons=("it burns",) if seen.at >= self._at else ())


def two_waits():
    yield Shift(0.1)
    yield Judge(budget=1000)
    yield Shift(0.5)
    yield Wait(1000)
    yield Shift(1.0)


def test_a_pause_keeps_the_share_until_somebody_resumes():
    outcome, traffic, events, clock = conducted(
        two_waits,
        script=[
            (10, lambda c: lambda: c.pause("paused by alice")),
            (2500, lambda c: c.resume),
        ],
    )
    assert outcome.promoted
    assert traffic.shifts == [0.1, 0.5, 1.0]
    assert clock.now() == pytest.approx(3500, abs=1)
    assert ("upgrade.held", "held before shift to 50%: paused by alice") in events


def test_time_that_stands_still_is_not_the_rollouts():
    outcome, _, _, _ = conducted(
        two_waits,
        script=[(10, lambda c: lambda: c.pause("paused")), (9000, lambda c: c.resume)],
        deadline=2500.0,
    )
    assert outcome.promoted


def test_time_in_which_it_is_judged_while_it_is_paused_is_not_the_rollouts():
    def until_sure():
        yield Shift(0.1)
        while not (yield Judge(until="safe", budget=100.0)).safe:
            pass
        yield Shift(1.0)

    class Late:
        def observe(self, seen):
            return Observation(safe=seen.at > 9500)

    told = [(10, lambda c: lambda: c.pause("paused")), (9400, lambda c: c.resume)]
    outcome, _, _, _ = conducted(until_sure, script=told, judge=Late(), deadline=500.0)
    assert outcome.promoted


def test_a_promotion_ends_no_wait_at_a_share_that_was_not_reached_yet():
    told = [(10, lambda c: lambda: [c.promote("alice"), c.promote("alice")])]
    outcome, _, _, clock = conducted(two_waits, script=told)
    assert outcome.promoted
    assert clock.now() >= 1000


def test_harm_that_is_seen_while_it_is_paused_takes_the_version_back():
    outcome, traffic, _, clock = conducted(
        two_waits, script=[(10, lambda c: lambda: c.pause("paused"))], judge=Alarm(at=4000)
    )
    assert not outcome.promoted
    assert outcome.reasons == ("it burns",)
    assert traffic.shifts == [0.1]
    assert clock.now() == pytest.approx(4000, abs=1)


def test_one_promotion_ends_one_wait():
    outcome, _, _, clock = conducted(two_waits, script=[(10, lambda c: lambda: c.promote("alice"))])
    assert outcome.promoted
    assert clock.now() == pytest.approx(1010, abs=1)


def test_a_full_promotion_ends_every_wait():
    outcome, traffic, _, clock = conducted(two_waits, script=[(10, lambda c: lambda: c.promote("alice", full=True))])
    assert outcome.promoted
    assert traffic.shifts == [0.1, 0.5, 1.0]
    assert clock.now() == pytest.approx(10, abs=1)


def test_a_promotion_ends_a_pause():
    outcome, _, _, clock = conducted(
        two_waits,
        script=[
            (10, lambda c: lambda: c.pause("paused")),
            (1500, lambda c: lambda: c.promote("alice", full=True)),
        ],
    )
    assert outcome.promoted
    assert clock.now() == pytest.approx(1500, abs=1)


def test_a_promotion_does_not_make_a_version_safe_that_does_harm():
    def careful():
        yield Shift(0.1)
        seen = yield Judge(budget=1000)
        if seen.harm:
            yield Revert(seen.reasons)
        else:
            yield Shift(1.0)

    outcome, traffic, _, _ = conducted(
        careful, script=[(10, lambda c: lambda: c.promote("alice", full=True))], judge=Alarm(at=10)
    )
    assert not outcome.promoted
    assert traffic.shifts == [0.1]


def test_an_abort_beats_a_full_promotion_whichever_came_first():
    for commands in (("abort", "promote"), ("promote", "abort")):

        def both(controls, order=commands):
            def give():
                for one in order:
                    controls.abort("enough") if one == "abort" else controls.promote("alice", full=True)

            return give

        outcome, traffic, _, _ = conducted(two_waits, script=[(10, both)])
        assert not outcome.promoted
        assert outcome.reasons == ("enough",)
        assert traffic.shifts == [0.1]


def test_a_gate_is_not_opened_by_a_promotion():
    asked = []

    def gated():
        yield Shift(0.1)
        seen = yield Gate("qa")
        if seen.harm:
            yield Revert(seen.reasons)
        else:
            yield Shift(1.0)

    async def refuse(gate):
        asked.append(gate.name)
        return False

    controls = Controls()
    controls.promote("alice", full=True)
    outcome, _, _, _ = conducted(gated, controls=controls, gate=refuse)
    assert asked == ["qa"]
    assert not outcome.promoted


def test_what_holds_traffic_back_is_asked_before_each_increase_and_never_before_a_decrease():
    asked = []

    def hold(step):
        asked.append(step.weight)
        return ""

    def up_and_down():
        yield Shift(0.5)
        yield Shift(0.2)
        yield Shift(1.0)

    outcome, traffic, _, _ = conducted(up_and_down, hold=hold)
    assert outcome.promoted
    assert asked == [0.5, 1.0]
    assert traffic.shifts == [0.5, 0.2, 1.0]


def test_a_hold_waits_as_long_as_it_gives_a_reason_and_is_told_once():
    closed = {"left": 50}

    def hold(step):
        closed["left"] -= step.weight == 1.0
        return "the window is closed" if step.weight == 1.0 and closed["left"] > 0 else ""

    def straight():
        yield Shift(0.5)
        yield Shift(1.0)

    entered = []

    @contextlib.contextmanager
    def standing():
        entered.append("in")
        yield
        entered.append("out")

    outcome, _, events, _ = conducted(straight, hold=hold, standing=standing)
    assert outcome.promoted
    assert [kind for kind, _ in events if kind in {"upgrade.held", "upgrade.released"}] == [
        "upgrade.held",
        "upgrade.released",
    ]
    assert entered == ["in", "out"]


def test_an_abort_ends_a_hold_on_the_real_clock_at_once():
    async def go():
        controls = Controls()
        clock = VirtualClock()
        conductor = Conductor(
            staged=Traffic(clock),
            judge=KillSwitch(),
            clock=RealClock(),
            controls=controls,
            hold=lambda _: "never",
            interval=60.0,
        )

        def rollout():
            yield Shift(1.0)

        task = asyncio.create_task(conductor.carry_out(rollout()))
        await asyncio.sleep(0.01)
        controls.abort("enough")
        return await asyncio.wait_for(task, 5)

    assert asyncio.run(go()).reasons == ("enough",)


class Fleet(Traffic):
    """Traffic over members, and copies of it for a shadow."""

    def __init__(self, clock):
        super().__init__(clock)
        self.capabilities = frozenset({WEIGHTS, MEMBERS, SHADOW})
        self.on_new = ()
        self.shadowed = []

    def members(self):
        return (Member(name="a", domain="x"), Member(name="b", domain="y"))

    def shift_members(self, names):
        self.on_new = names

    def shadow(self, share):
        self.shadowed.append(share)

    def measure(self):
        return Measurement(
            at=0.0, weight=0.5, old=Arm(version="1"), new=Arm(version="2"), shadow=Shadow(share=1.0, ran=3)
        )


def test_a_strategy_learns_the_members_and_moves_them_one_by_one():
    fleet, seen = Fleet(VirtualClock()), []

    def one_by_one():
        known = yield Shift(0.0)
        seen.append(known.members)
        yield Shift(0.5, members=("b",))
        yield Shift(1.0)

    assert asyncio.run(Conductor(staged=fleet, judge=Never(), clock=VirtualClock()).carry_out(one_by_one())).promoted
    assert [member.name for member in seen[0]] == ["a", "b"]
    assert fleet.on_new == ("b",)
    assert fleet.shifts == [1.0]


def test_after_a_shadow_even_a_weight_of_none_is_carried_out_so_that_the_shadow_ends():
    fleet, events = Fleet(VirtualClock()), []

    def watch():
        yield Shift(0.0, shadow=0.25)
        yield Judge(budget=0)
        yield Shift(0.0)

    def emit(kind, **said):
        events.append((kind, said.get("data", {})))

    asyncio.run(Conductor(staged=fleet, judge=Never(), clock=VirtualClock(), emit=emit).carry_out(watch()))
    assert fleet.shadowed == [0.25]
    assert fleet.shifts == [0.0]
    measured = next(data for kind, data in events if kind == "upgrade.measured")
    assert measured["shadow"]["ran"] == 3


@pytest.mark.parametrize("step", [Shift(0.0, shadow=0.5), Shift(0.5, members=("a",))])
def test_what_a_swap_cannot_do_is_refused_with_what_it_can(step):
    def rollout():
        yield step

    with pytest.raises(InvalidRequestError, match="the strategy asks for that") as refused:
        conducted(rollout)
    assert refused.value.details["capabilities"] == ["weights"]


def test_a_shadow_goes_with_no_traffic_and_no_members():
    with pytest.raises(InvalidRequestError, match="copies"):
        Shift(0.5, shadow=0.5)
    with pytest.raises(InvalidRequestError, match="copies"):
        Shift(0.0, shadow=0.5, members=("a",))


def test_a_virtual_clock_leaves_out_the_looks_that_would_see_nothing():
    happens, looks = [100.0, 250.0, 700.0], []
    clock = VirtualClock(next_event=lambda: next((at - clock.now() for at in happens if at > clock.now()), None))

    class Looking:
        next_look = 500.0

        def observe(self, seen):
            looks.append(round(seen.at))
            return Observation()

    def watch():
        yield Shift(1.0)
        yield Judge(budget=1000)

    traffic = Traffic(clock)
    asyncio.run(Conductor(staged=traffic, judge=Looking(), clock=clock).carry_out(watch()))
    assert looks == [0, 100, 250, 500, 700, 1000]


def test_counts_only_grow_for_who_judges_although_a_shadow_counts_for_itself():
    class Anew(Fleet):
        """Counts anew when a shadow has ended, as engines do."""

        def __init__(self, clock):
            super().__init__(clock)
            self.calls = 0
            clock.on_sleep = self.passed

        def passed(self, seconds):
            self.calls += round(seconds * 100)

        def shift(self, weight):
            super().shift(weight)
            self.calls = 0

        def measure(self):
            arms = [Arm(version=name, calls=self.calls) for name in ("1", "2")]
            return Measurement(at=clock.now(), weight=0.5, old=arms[0], new=arms[1])

    clock, seen = VirtualClock(), []

    class Watching:
        def observe(self, measured):
            seen.append((measured.new.calls, measured.since_shift().new.calls))
            return Observation()

    def shadow_first():
        yield Shift(0.0, shadow=1.0)
        yield Judge(budget=1.0)
        yield Shift(0.5)
        yield Judge(budget=1.0)

    fleet = Anew(clock)
    asyncio.run(Conductor(staged=fleet, judge=Watching(), clock=clock).carry_out(shadow_first()))
    totals = [total for total, _ in seen]
    assert totals == sorted(totals)
    assert totals[-1] == pytest.approx(200, abs=2)
    assert seen[-1][1] == pytest.approx(100, abs=2)
