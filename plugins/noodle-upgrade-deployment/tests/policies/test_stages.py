import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_files import policy_of

from noodle_upgrade_core.clocks import VirtualClock
from noodle_upgrade_core.config import load_settings
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.judges import KillSwitch
from noodle_upgrade_core.rollout import Conductor
from noodle_upgrade_core.staged import Arm, Measurement
from noodle_upgrade_core.steps import Gate, Judge, Observation, Probe, Revert, Shift, Wait
from noodle_upgrade_core.testing import FakeStaged, check_strategy, sample_plan, sample_step, sample_verdict
from noodle_upgrade_deployment.policies.stages import Staged, read_steps, unjudged
from noodle_upgrade_deployment.settings import DeploymentSettings

TABLES = [
    {"wait": 10},
    {"shift": 5},
    {"probe": True},
    {"judge": {"until": "budget", "budget": 300}},
    {"gate": {"name": "qa", "approvals": 2, "expires": 3600}},
    {"shift": 50},
    {"judge": 600},
    {"gate": "release"},
    {"shift": 100},
    {"judge": 60.5},
]
STEPS = (
    Wait(10),
    Shift(0.05),
    Probe(),
    Judge(until="budget", budget=300),
    Gate(name="qa", approvals=2, expires=3600),
    Shift(0.5),
    Judge(until="safe", budget=600),
    Gate(name="release"),
    Shift(1.0),
    Judge(budget=60.5),
)
ALL_OR_NOTHING = sample_plan(steps=(sample_step(verdict=sample_verdict(capabilities=frozenset())),))
SAFE = Observation(safe=True)
TOML = """
[deployment.policies.production]
steps = [
  { wait = 10 },
  { shift = 5 },
  { probe = true },
  { judge = { until = "budget", budget = 300 } },
  { gate = { name = "qa", approvals = 2, expires = 3600 } },
  { shift = 50 },
  { judge = 600 },
  { gate = "release" },
  { shift = 100 },
  { judge = 60.5 },
]
"""


def test_steps_of_a_file_are_the_same_objects_as_in_code():
    assert read_steps(TABLES) == STEPS
    assert Staged(steps=TABLES) == Staged(steps=STEPS)


def test_toml_and_json_give_equal_steps(tmp_path):
    toml, plain = tmp_path / "policy.toml", tmp_path / "policy.json"
    toml.write_text(TOML)
    plain.write_text(json.dumps({"deployment": {"policies": {"production": {"steps": TABLES}}}}))
    policies = [
        load_settings([file], environ={}, sections={"deployment": DeploymentSettings})
        .section("deployment")
        .policies["production"]
        for file in (toml, plain)
    ]
    assert policies[0] == policies[1]
    assert Staged(**policies[0].strategy_parameters).steps == STEPS


@given(st.lists(st.floats(0.1, 99.9), max_size=10))
def test_shares_that_grow_are_taken_and_any_that_goes_down_is_refused(shares):
    tables = [{"shift": share} for share in [*shares, 100]]
    if shares == sorted(shares):
        assert [step.weight * 100 for step in read_steps(tables)] == pytest.approx([*shares, 100])
    else:
        with pytest.raises(InvalidRequestError, match="goes down from"):
            read_steps(tables)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([], "the steps end at 0 percent of the traffic"),
        ([{"judge": 60}], "the steps end at 0 percent of the traffic"),
        ([{"shift": 5}, {"shift": 99}], "the steps end at 99 percent of the traffic. The last share must be 100."),
        ([{"shift": 50}, {"shift": 10}, {"shift": 100}], "steps[1] goes down from 50 percent to 10 percent"),
        ([{"shift": 100}, {"shift": 50}], "steps[1] goes down from 100 percent to 50 percent"),
        ([{"shft": 5}], "steps[0] is no step: 'shft'. Did you mean 'shift'?"),
        ([{"revert": True}], "The steps are shift, judge, wait, probe, gate."),
        ([{"shift": 5, "judge": 3}], "steps[0] must be a table of one key, not one of shift, judge"),
        ([{}], "steps[0] must be a table of one key, not one of none"),
        ([5], "steps[0] must be a table of one key, not 5"),
        ([["shift", 5]], "steps[0] must be a table of one key, not a list"),
        (["shift"], "steps[0] must be a table of one key, not 'shift'"),
        ([{"shift": 101}], "steps[0].shift: must be a share above 0 and at most 100 percent, not 101"),
        ([{"shift": 0}], "must be a share above 0"),
        ([{"shift": -5}], "must be a share above 0"),
        ([{"shift": True}], "must be a share in percent, not true"),
        ([{"shift": "5"}], "must be a share in percent, not '5'"),
        ([{"shift": float("nan")}], "must be a share above 0"),
        ([{"shift": 10**400}], "must be a share above 0"),
        ([{"probe": False}], "must be true, not false. Leave the step out"),
        ([{"probe": 1}], "must be true, not 1"),
        ([{"wait": -1}], "steps[0].wait: seconds must be a number of seconds, 0 or more"),
        ([{"wait": None}], "must be a number of seconds, not null"),
        ([{"judge": {"budgt": 3}}], "steps[0].judge: has no key 'budgt'. Did you mean 'budget'?"),
        ([{"judge": {"until": "sure"}}], "until must be safe or budget, not 'sure'"),
        ([{"judge": -3}], "budget must be a number of seconds, 0 or more"),
        ([{"gate": {"name": ""}}], "name must be a text that is not empty"),
        ([{"gate": ""}], "name must be a text that is not empty"),
        ([{"gate": 3}], "must be a name, or a table of name, approvals, expires and of"),
        ([{"gate": {"approvals": 0}}], "approvals must be a whole number above 0"),
        ([{"gate": {"approvals": 1.5}}], "approvals must be a whole number above 0"),
        ({"shift": 100}, "steps must be a list of tables"),
        ("shift", "steps must be a list of tables"),
        ([Shift(1.0), Revert()], "steps[1] always reverts"),
    ],
)
def test_steps_that_make_no_sense_are_refused_with_their_number(tables, words):
    with pytest.raises(InvalidRequestError) as caught:
        Staged(steps=tables)
    assert words in str(caught.value)


@pytest.mark.parametrize("require_evidence", [False, True])
def test_it_keeps_every_rule_of_a_strategy(require_evidence):
    check_strategy(Staged, {"steps": TABLES, "require_evidence": require_evidence})
    check_strategy(Staged, {"steps": [{"shift": 100}]})


def carry_out(staged, *, gate=True, probe=(), require_evidence=False):
    async def opened(_):
        return gate

    async def findings():
        return probe

    conductor = Conductor(staged=staged, judge=KillSwitch(), clock=VirtualClock(), gate=opened, probe=findings)
    plan = sample_plan() if "weights" in staged.capabilities else ALL_OR_NOTHING
    return asyncio.run(conductor.carry_out(Staged(steps=TABLES, require_evidence=require_evidence).rollout(plan)))


def shifts(staged):
    return [entry[1] for entry in staged.log if entry[0] == "shift"]


def test_a_good_version_goes_through_all_steps():
    staged = FakeStaged(calls_per_shift=10_000)
    outcome = carry_out(staged)
    assert outcome.promoted
    assert shifts(staged) == [0.05, 0.5, 1.0]
    assert outcome.steps == tuple(map(str, STEPS))


def test_a_bad_version_is_given_up_at_the_first_share_with_the_judge_s_reasons():
    staged = FakeStaged(calls_per_shift=10_000, harm=0.5)
    outcome = carry_out(staged)
    assert not outcome.promoted
    assert shifts(staged) == [0.05]
    assert "calls of the new version failed" in outcome.reasons[0]


def test_a_gate_that_stays_shut_holds_the_share_below_it():
    staged = FakeStaged(calls_per_shift=10_000)
    outcome = carry_out(staged, gate=False)
    assert outcome.reasons == ("the gate 'qa' was not opened",)
    assert shifts(staged) == [0.05]


def test_where_a_swap_is_all_or_nothing_a_gate_that_stays_shut_holds_up_everything():
    staged = FakeStaged(capabilities=("counts",))
    assert not carry_out(staged, gate=False).promoted
    assert shifts(staged) == []


def test_where_a_swap_is_all_or_nothing_everything_looks_after_the_one_shift():
    steps = list(steps_of(Staged(steps=TABLES), ALL_OR_NOTHING))
    assert steps == [STEPS[0], STEPS[4], STEPS[7], Shift(1.0), Probe(), STEPS[3], STEPS[6], STEPS[9]]


def steps_of(strategy, plan, answer=SAFE):
    rollout = strategy.rollout(plan)
    step = next(rollout)
    while True:
        yield step
        try:
            step = rollout.send(answer)
        except StopIteration:
            return


def waiting(calls, stalled):
    return Measurement(at=1.0, weight=0.05, old=Arm(version="1"), new=Arm(version="2", calls=calls, stalled=stalled))


def first_of(strategy, count, **observation):
    steps = steps_of(strategy, sample_plan(), Observation(**observation))
    return [step for step, _ in zip(steps, range(count), strict=False)]


def test_it_does_not_go_on_while_calls_are_under_way_and_none_was_answered():
    strategy = Staged(steps=[{"shift": 5}, {"judge": {"until": "budget", "budget": 0}}, {"shift": 100}])
    stuck = first_of(strategy, 50, measured=waiting(calls=0, stalled=3.0))
    assert stuck[2:] == [Judge(until="safe", budget=1.0)] * 48
    assert first_of(strategy, 50, measured=waiting(calls=1, stalled=3.0))[-1] == Shift(1.0)
    assert first_of(strategy, 50, starved=True, measured=waiting(calls=0, stalled=0.0))[-1] == Shift(1.0)


def test_with_require_evidence_no_answer_is_no_reason_to_go_on():
    tables = [{"shift": 5}, {"judge": 30}, {"shift": 100}]
    strict = first_of(Staged(steps=tables, require_evidence=True), 50, starved=True)
    assert strict[1:] == [Judge(until="safe", budget=30)] * 49
    assert first_of(Staged(steps=tables, require_evidence=True), 50, safe=True)[-1] == Shift(1.0)


def test_shares_that_nobody_judges_are_found():
    steps = read_steps([{"shift": 5}, {"judge": 1}, {"shift": 20}, {"wait": 60}, {"probe": True}, {"shift": 100}])
    assert list(unjudged(steps)) == [(0.2, 1.0)]
    assert list(unjudged(STEPS)) == []
    assert list(unjudged(read_steps([{"shift": 100}]))) == []


def test_a_policy_hands_its_steps_to_the_strategy_as_they_are_written():
    assert Staged(**policy_of(steps=TABLES).strategy_parameters).steps == STEPS
