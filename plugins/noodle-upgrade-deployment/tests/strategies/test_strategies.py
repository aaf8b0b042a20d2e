"""What each strategy does with the traffic, carried out by the core's own conductor in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage import EVERYTHING, PlanWith, Scene, play

from noodle_upgrade_core import Finding, Gate, Severity
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError, UpgradeTimeoutError
from noodle_upgrade_core.staged import WEIGHTS
from noodle_upgrade_core.strategies import Gradual, Immediate
from noodle_upgrade_deployment.strategies.blue_green import BlueGreen
from noodle_upgrade_deployment.strategies.canary import Canary, Ramp
from noodle_upgrade_deployment.strategies.failing import HARM_GATE, AskOnHarm
from noodle_upgrade_deployment.strategies.gated import Gated
from noodle_upgrade_deployment.strategies.rolling import Rolling
from noodle_upgrade_deployment.strategies.shadow import Shadow
from noodle_upgrade_deployment.strategies.split import FirstShare

ALL = pytest.mark.parametrize(
    "made",
    [
        Canary(),
        Ramp(),
        Rolling(),
        BlueGreen(),
        Shadow(),
        FirstShare(inner=Immediate()),
        Gated(inner=Gradual(percentage=50.0), gates=((0.0, Gate("start")), (1.0, Gate("all")))),
        BlueGreen(inner=Gradual(percentage=25.0)),
        Rolling(inner=Gradual(percentage=50.0)),
        Shadow(inner=Canary()),
    ],
    ids=lambda made: f"{type(made).__name__} {type(getattr(made, 'inner', None)).__name__}",
)
ZONES = (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b"), ("b3", "b"))


async def ill():
    return (Finding(severity=Severity.ERROR, code="x", message="it is not well"),)


# --- every one of them ----------------------------------------------------------------------------------------------


@ALL
def test_a_good_version_ends_with_all_traffic(made):
    scene = Scene(members_=ZONES)
    assert play(made, scene).promoted
    assert scene.weight == 1.0
    assert scene.log[-1] == ("shift", 1.0)


@ALL
def test_one_that_is_not_well_is_given_up_for_that_reason(made):
    outcome = play(made, Scene(members_=ZONES), probe=ill)
    assert not outcome.promoted
    assert outcome.reasons == ("it is not well",)


@ALL
@given(share=st.floats(0.0, 1.0))
def test_one_that_does_harm_from_some_share_on_is_given_up_at_the_first_step_that_reaches_it(made, share):
    scene = Scene(members_=ZONES)

    def harm(at):
        moved = max(at.weight, len(at.on_new) / len(ZONES))
        return moved > 0.0 and moved >= share

    outcome = play(made, scene, harm=harm)
    # What moves the rest at once by `Immediate` does not watch it, unless it is told to bake.
    ends_blindly = isinstance(made, Shadow | FirstShare) and isinstance(made.inner, Immediate)
    assert not outcome.promoted or ends_blindly
    assert outcome.promoted or outcome.reasons == ("it burns",)
    moved = [weight for what, weight in scene.log if what == "shift" and weight]
    assert all(weight < share for weight in moved[:-1])


@ALL
def test_the_share_never_goes_down_on_the_way(made):
    scene = Scene(members_=ZONES)
    play(made, scene)
    shares = [value for what, value in scene.log if what == "shift"]
    assert shares == sorted(shares)


# --- canary and ramp -------------------------------------------------------------------------------------------------


def test_a_canary_goes_through_its_steps_each_only_when_the_one_before_was_safe():
    scene = Scene()
    play(Canary(steps=(1, 10, 100)), scene, safe_after=300.0)
    assert scene.log == [("shift", 0.01), ("shift", 0.1), ("shift", 1.0)]
    assert scene.clock.now() == pytest.approx(900, rel=0.01)


def test_a_canary_without_evidence_stays_where_it_is_until_its_time_is_over():
    scene = Scene()
    with pytest.raises(UpgradeTimeoutError):
        play(Canary(), scene, safe_after=float("inf"))
    assert scene.log == [("shift", 0.05)]


def test_a_canary_that_needs_no_evidence_goes_on_by_the_clock():
    scene = Scene()
    assert play(Canary(require_evidence=False, budget=20), scene, safe_after=float("inf")).promoted
    assert scene.clock.now() == pytest.approx(80, abs=2)


def test_a_ramp_multiplies_its_share_whenever_the_evidence_says_safe():
    scene = Scene()
    assert play(Ramp(start=4, factor=3), scene).promoted
    assert [share for _, share in scene.log] == pytest.approx([0.04, 0.12, 0.36, 1.0])


@pytest.mark.parametrize("steps", [(), (50,), (50, 20, 100), (0, 100), (5, 5, 100), (5, 101), ("5", 100), "100", 5])
def test_steps_that_go_down_never_end_or_are_no_shares_are_refused(steps):
    with pytest.raises(InvalidRequestError, match="steps must"):
        Canary(steps=steps)


@pytest.mark.parametrize("made", [Canary(), Ramp(), FirstShare(inner=Immediate())])
def test_what_needs_shares_is_refused_where_traffic_moves_at_once(made):
    with pytest.raises(InvalidRequestError, match="by shares of the traffic"):
        next(made.rollout(PlanWith()))


# --- rolling ---------------------------------------------------------------------------------------------------------


def test_members_change_one_by_one_one_domain_after_the_other():
    scene = Scene(members_=(("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b")))
    assert play(Rolling(), scene).promoted
    assert [names for what, names in scene.log if what == "members"] == [("a1",), ("a2",), ("b1",), ("b2",)]


def test_a_batch_is_as_large_as_surge_and_unavailable_allow_and_never_of_two_domains():
    scene = Scene(members_=ZONES)
    play(Rolling(surge=2, unavailable=1), scene)
    assert [names for what, names in scene.log if what == "members"] == [("a1", "a2"), ("b1", "b2", "b3")]


def test_shares_of_the_inner_strategy_become_shares_of_the_members():
    scene = Scene(members_=tuple((str(number), "") for number in range(10)))
    log, shares = scene.log, []
    play(Rolling(surge=10, inner=Gradual(percentage=30.0)), scene)
    for what, names in log:
        if what == "members":
            shares.append(len(names))
    assert shares == [3, 3, 3, 1]


def test_harm_at_one_member_leaves_all_others_where_they_were():
    scene = Scene(members_=ZONES)
    outcome = play(Rolling(), scene, harm=lambda at: "a2" in at.on_new)
    assert not outcome.promoted
    assert scene.on_new == {"a1", "a2"}


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    surge=st.integers(0, 9),
    unavailable=st.integers(0, 9),
)
def test_every_member_changes_exactly_once_in_batches_of_one_domain(sizes, surge, unavailable):
    members = tuple((f"{domain}-{n}", str(domain)) for domain, size in enumerate(sizes) for n in range(size))
    scene = Scene(members_=members)
    if surge + unavailable == 0:
        with pytest.raises(InvalidRequestError, match="both 0"):
            Rolling(surge=surge, unavailable=unavailable)
        return
    play(Rolling(surge=surge, unavailable=unavailable, bake=0), scene)
    batches = [names for what, names in scene.log if what == "members"]
    assert sorted(name for names in batches for name in names) == sorted(name for name, _ in members)
    domains = dict(members)
    assert all(len({domains[name] for name in names}) == 1 for names in batches)
    assert all(len(names) <= surge + unavailable for names in batches)


def test_members_that_come_and_go_meanwhile_are_taken_along_or_left_out():
    scene = Scene(members_=ZONES)

    def harm(at):
        if at.on_new == {"a1"}:
            at.members_ = (("a1", "a"), ("b1", "b"), ("new", "c"))
        return False

    assert play(Rolling(), scene, harm=harm).promoted
    assert scene.on_new == {"a1", "b1", "new"}


def test_rolling_is_refused_where_there_are_no_members():
    with pytest.raises(InvalidRequestError, match="member by member"):
        next(Rolling().rollout(PlanWith(WEIGHTS)))


# --- blue_green and shadow -------------------------------------------------------------------------------------------


def test_the_new_version_is_asked_before_it_has_any_traffic():
    scene = Scene()
    play(BlueGreen(), scene, probe=ill)
    assert scene.log == []


def test_the_old_version_stays_warm_until_the_time_is_over():
    scene = Scene()
    assert play(BlueGreen(warm=600), scene).promoted
    assert scene.log == [("shift", 1.0)]
    assert scene.clock.now() == pytest.approx(600, abs=2)


def test_harm_in_the_last_second_of_the_warm_time_still_goes_back():
    scene = Scene()
    assert not play(BlueGreen(warm=600), scene, harm=lambda at: at.clock.now() >= 599).promoted


def test_a_shadow_that_is_no_worse_is_ended_before_any_traffic_moves():
    scene = Scene()
    assert play(Shadow(share=50), scene).promoted
    assert scene.log == [("shadow", 0.5), ("shift", 0.0), ("shift", 1.0)]


def test_a_shadow_that_answers_wrongly_never_gets_traffic():
    scene = Scene()
    assert not play(Shadow(), scene, harm=lambda at: at.shadowed > 0).promoted
    assert scene.log == [("shadow", 1.0)]


# --- gates and the first share ---------------------------------------------------------------------------------------


def test_a_gate_stands_before_the_first_step_that_reaches_its_share():
    scene = Scene()
    play(Gated(inner=Gradual(percentage=50.0), gates=((0.6, Gate("most")), (0.0, Gate("start")))), scene)
    assert scene.log == [("gate", "start"), ("shift", 0.5), ("gate", "most"), ("shift", 1.0)]


def test_a_gate_that_stays_shut_takes_everything_back():
    async def shut(gate):
        return False

    scene = Scene()
    outcome = play(Gated(inner=Gradual(percentage=50.0), gates=((0.6, Gate("most")),)), scene, gate=shut)
    assert outcome.reasons == ("the gate 'most' was not opened",)
    assert scene.log == [("shift", 0.5)]


def test_the_first_share_makes_a_canary_of_a_strategy_that_moves_all_at_once():
    scene = Scene()
    play(FirstShare(inner=Immediate(), share=2), scene)
    assert scene.log == [("shift", 0.02), ("shift", 1.0)]


def test_inner_steps_below_the_first_share_are_left_out():
    scene = Scene()
    play(FirstShare(inner=Gradual(percentage=25.0), share=40), scene)
    assert scene.log == [("shift", 0.4), ("shift", 0.5), ("shift", 0.75), ("shift", 1.0)]


# --- as drivers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["blue_green", "canary", "ramp", "rolling", "shadow"])
def test_each_is_a_driver_that_can_be_made_without_parameters(name):
    scene = Scene(capabilities=EVERYTHING, members_=ZONES)
    assert play(Drivers().make("strategies", name), scene).promoted


def test_an_inner_strategy_cannot_be_given_as_text():
    with pytest.raises(InvalidRequestError, match="must be a strategy"):
        Drivers().make("strategies", "blue_green", inner="gradual")


def test_a_third_partys_strategy_takes_ten_lines():
    class Careful:
        def rollout(self, plan):
            yield from Canary(steps=(1, 100)).rollout(plan)

    assert play(Careful(), Scene()).promoted


# --- harm that people decide on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [Gradual(percentage=25.0), Canary(), BlueGreen(), Rolling()])
def test_harm_leaves_the_traffic_as_it_is_until_people_say_what_becomes_of_it(inner):
    scene, frozen_at = Scene(members_=ZONES), []

    async def asked(gate):
        frozen_at.append((gate.name, scene.weight, scene.on_new))
        return True

    # Well again as soon as somebody has looked.
    def harm(at):
        return not frozen_at and bool(at.weight >= 0.25 or len(at.on_new) == 2)

    assert play(AskOnHarm(inner=inner), scene, harm=harm, gate=asked).promoted
    (name, weight, members), moved = frozen_at[0], [value for what, value in scene.log if what == "shift"]
    assert name == HARM_GATE
    assert moved == sorted(moved)
    assert weight >= 0.25 or len(members) == 2
    batches = [names for what, names in scene.log if what == "members" and names]
    assert len(batches) == len(set(batches))


def test_nobody_who_answers_means_going_back_for_the_first_reason():
    async def silent(gate):
        return False

    outcome = play(AskOnHarm(inner=Canary()), Scene(), harm=lambda at: at.weight > 0, gate=silent)
    assert outcome.reasons == ("it burns",)
