import time

import pytest
from policy_files import DRIVERS, document, settings_of, utc

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import Severity
from noodle_upgrade_core.steps import Judge, Shift
from noodle_upgrade_deployment.policies import courses
from noodle_upgrade_deployment.policies.lint import lint
from noodle_upgrade_deployment.policies.stages import Staged

AT = utc("2026-11-27T07:00")
JUDGED = {"upgrade_strategy": "gradual"}


def findings(section, *, drivers=DRIVERS, at=AT):
    return lint(settings_of(section), drivers, at=at)


def of_policy(**policy):
    return findings({"policies": {"production": {**JUDGED, **policy}}})


def only(found):
    (one,) = found
    assert one.subject.startswith("deployment.policies.production.")
    assert one.message.startswith("production: ")
    assert one.message.endswith(".")
    return one.severity, one.code, one.subject.removeprefix("deployment.policies.production."), one.message, one.hint


def test_a_policy_that_is_all_right_has_no_findings():
    assert of_policy() == ()
    steps = [{"shift": 5}, {"judge": 300}, {"shift": 100}, {"judge": 600}]
    assert of_policy(upgrade_strategy="", steps=steps, deployment_mode="canary", judge="betting") == ()


def test_of_the_document_only_its_two_kinds_of_windows_and_its_immediate_strategies_are_told():
    found = findings(document()["deployment"])
    assert [(one.severity, one.code, one.subject) for one in found] == [
        (Severity.WARNING, "policy.settings", "deployment.maintenance_windows.production"),
        (Severity.WARNING, "policy.unjudged", "deployment.policies.staging.upgrade_strategy"),
        (Severity.WARNING, "policy.unjudged", "deployment.policies.development.upgrade_strategy"),
    ]


def test_an_unknown_strategy_is_told_with_those_installed():
    severity, code, key, message, hint = only(of_policy(upgrade_strategy="gradul"))
    assert (severity, code, key) == (Severity.ERROR, "driver.unknown", "upgrade_strategy")
    assert "no strategy 'gradul'; installed: " in message
    assert {"gradual", "immediate"} <= set(message.partition("installed: ")[2].rstrip(".").split(", "))
    assert hint == "Did you mean 'gradual'?"


def test_an_unknown_judge_is_told_with_those_installed():
    severity, code, key, message, hint = only(of_policy(judge="beting"))
    assert (severity, code, key) == (Severity.ERROR, "driver.unknown", "judge")
    assert "betting, killswitch, mannwhitney, threshold" in message
    assert hint == "Did you mean 'betting'?"


def test_a_parameter_that_strategy_or_judge_does_not_take_is_told():
    severity, code, key, message, hint = only(of_policy(parameters={"percentge": 5}))
    assert (severity, code, key) == (Severity.ERROR, "request.invalid", "upgrade_strategy")
    assert "Did you mean 'percentage'?" in hint
    severity, code, key, message, _ = only(of_policy(parameters={"percentage": 0}))
    assert (severity, key) == (Severity.ERROR, "upgrade_strategy")
    assert "percentage must be at least 0.1" in message
    severity, code, key, message, _ = only(of_policy(judge="betting", judge_parameters={"alpha": 2}))
    assert (severity, key) == (Severity.ERROR, "judge")
    assert "alpha" in message


@pytest.mark.parametrize("name", ["cpu_usage", "memory_usage", "disk_usage"])
def test_a_threshold_that_lets_nothing_or_hardly_anything_start_is_told(name):
    severity, code, key, message, _ = only(of_policy(resource_threshold={name: 0}))
    assert (severity, code, key) == (Severity.ERROR, "policy.threshold", f"resource_threshold.{name}")
    assert "no deployment can ever start" in message
    assert only(of_policy(resource_threshold={name: 4}))[0] is Severity.WARNING
    assert of_policy(resource_threshold={name: 5}) == ()


def test_a_freeze_that_lasts_longer_than_a_year_is_told_and_one_that_is_over_as_well():
    severity, code, *_, message, _ = only(of_policy(freezes=[{"start": "2026-01-01", "end": "2099-12-31"}]))
    assert (severity, code) == (Severity.ERROR, "policy.never_open")
    assert "not before Fri 2100-01-01 00:00 UTC" in message
    severity, code, *_ = only(of_policy(freezes=[{"start": "2026-01-01", "end": "2026-02-01"}]))
    assert (severity, code) == (Severity.INFO, "policy.freeze_over")
    assert of_policy(freezes=[{"start": "2026-12-24", "end": "2026-12-26"}]) == ()


def test_freezes_that_between_them_cover_every_window_of_a_year_are_told():
    windows = {"maintenance_windows": ["02:00-04:00"]}
    freezes = [{"start": f"{year}-01-01T04:01", "end": f"{year + 1}-01-01T04:00:59"} for year in (2026, 2027)]
    # They leave a second open, at 04:00:59 on New Year's Day.
    assert of_policy(timing_constraints=windows, freezes=freezes) == ()
    freezes[0]["end"] = "2027-01-01T04:01:00"
    assert only(of_policy(timing_constraints=windows, freezes=freezes))[1] == "policy.never_open"


def test_an_interval_that_is_longer_than_every_window_is_told():
    times = {"maintenance_windows": ["02:00-04:00", "22:00-23:59"], "min_interval_between_upgrades": 7261}
    severity, code, key, message, _ = only(of_policy(timing_constraints=times))
    assert (severity, code) == (Severity.WARNING, "policy.interval")
    assert key == "timing_constraints.min_interval_between_upgrades"
    assert "2 hours 1 minute 1 s is longer than every window (2 hours 1 minute at most)" in message
    times["min_interval_between_upgrades"] = 7260
    assert of_policy(timing_constraints=times) == ()


def staged(*steps, **policy):
    return of_policy(upgrade_strategy="", steps=list(steps), **policy)


def test_steps_that_are_never_judged_are_told():
    severity, code, key, message, _ = only(staged({"shift": 5}, {"wait": 60}, {"shift": 100}))
    assert (severity, code, key) == (Severity.WARNING, "policy.unjudged", "steps")
    assert "no step is judged" in message


def test_two_shares_without_a_judge_between_them_are_told():
    *_, message, _ = only(
        staged({"shift": 5}, {"judge": 9}, {"shift": 25}, {"probe": True}, {"shift": 100}, {"judge": 9})
    )
    assert "between 25% and 100% of the traffic nothing is judged" in message


def test_all_traffic_at_once_is_judged_while_it_bakes():
    assert only(of_policy(upgrade_strategy="immediate"))[1] == "policy.unjudged"
    assert of_policy(upgrade_strategy="immediate", bake=60) == ()


def test_a_strategy_that_is_not_there_is_told_beside_a_gate_that_nobody_can_open():
    found = of_policy(upgrade_strategy="canry", gates=[{"name": "qa", "approvals": 2, "of": ["bob"]}])
    assert {one.code for one in found} == {"policy.gate", "driver.unknown"}


def test_the_end_of_a_shadow_is_no_share_that_is_given_twice():
    assert "policy.share_twice" not in [one.code for one in of_policy(upgrade_strategy="shadow", bake=60)]


def test_a_share_that_is_given_twice_in_a_row_is_told():
    assert (
        only(staged({"shift": 5}, {"judge": 9}, {"shift": 5}, {"judge": 9}, {"shift": 100}))[1] == "policy.share_twice"
    )


def test_a_gate_that_nobody_can_open_is_told():
    gate = {"name": "qa", "approvals": 3, "of": ["ann", "bob", " ANN "]}
    severity, code, key, message, _ = only(of_policy(gates=[{"name": "go"}, gate]))
    assert (severity, code, key) == (Severity.ERROR, "policy.gate", "gates[1].approvals")
    assert "nobody can open the gate 'qa': 3 of 2 have to approve" in message
    assert of_policy(gates=[{**gate, "approvals": 2}]) == ()
    assert of_policy(gates=[{"name": "qa", "approvals": 3}]) == ()


def test_a_gate_that_shares_its_name_with_a_step_is_told():
    steps = [{"gate": "qa"}, {"shift": 100}, {"judge": 9}]
    assert only(staged(*steps, gates=[{"name": "qa"}]))[:3] == (Severity.WARNING, "policy.gate", "gates[0].name")


def test_a_bake_that_outlives_the_history_is_told():
    section = {
        "upgrade_integration": {"history_days": 1, "upgrade_timeout": 1_000_000},
        "policies": {"production": JUDGED},
    }
    section["policies"]["production"] = {**JUDGED, "bake": 86_401}
    assert only(findings(section))[:3] == (Severity.WARNING, "policy.bake", "bake")
    section["policies"]["production"]["bake"] = 86_400
    assert findings(section) == ()


def test_a_time_limit_that_is_shorter_than_steps_and_bake_is_told():
    steps = [{"shift": 5}, {"judge": 600}, {"wait": 600}, {"shift": 100}, {"judge": 500}]
    *_, message, _ = only(staged(*steps, bake=101))
    assert "may take 30 minutes 1 s, and a deployment may take only 30 minutes" in message
    assert staged(*steps, bake=100) == ()


def test_a_deadline_that_is_shorter_than_a_step_is_told():
    steps = [{"shift": 5}, {"judge": 600}, {"shift": 100}]
    assert only(staged(*steps, progress_deadline=599))[1] == "policy.deadline"
    assert staged(*steps, progress_deadline=600) == ()


def test_the_mode_canary_makes_shares_and_evidence_of_a_strategy_without_any():
    assert of_policy(deployment_mode="canary", upgrade_strategy="immediate", bake=60) == ()


@pytest.mark.parametrize(
    ("policy", "key"), [({"warm": 61}, "warm"), ({"surge": 2}, "surge"), ({"unavailable": 2}, "surge")]
)
def test_what_has_no_effect_in_this_mode_is_told(policy, key):
    assert only(of_policy(**policy))[:3] == (Severity.WARNING, "policy.no_effect", key)
    assert of_policy(**policy, deployment_mode="blue_green" if key == "warm" else "rolling") == ()


def test_triggers_that_are_all_switched_off_are_told_where_a_policy_counts_on_them():
    triggers = dict.fromkeys(document()["deployment"]["triggers"], False)
    section = {"triggers": triggers, "policies": {"production": {**JUDGED, "auto_trigger": True}}}
    assert only(findings(section))[2] == "auto_trigger"
    triggers["manual"] = True
    assert only(findings(section))[2] == "auto_trigger"
    triggers["health_degradation"] = True
    assert findings(section) == ()


def test_environments_that_wait_for_one_another_are_told():
    waits = {"a": {"depends_on": [{"environment": "b"}]}, "b": {"depends_on": [{"environment": "a"}]}, "c": {}}
    (found,) = findings({"policies": waits})
    assert (found.severity, found.code) == (Severity.ERROR, "policy.circle")
    assert found.message == "these environments wait for one another, so that none can begin: a, b."
    waits["a"]["depends_on"][0]["component"] = "database"
    assert findings({"policies": waits}) == ()
    assert [one.code for one in findings({"policies": {"a": {"depends_on": [{"environment": "a"}]}}})] == [
        "policy.circle"
    ]


def test_an_environment_that_is_waited_for_and_has_no_policy_is_told():
    section = {"policies": {"production": {**JUDGED, "depends_on": [{"environment": "stagging"}]}, "staging": JUDGED}}
    severity, code, key, _, hint = only(findings(section))
    assert (severity, code, key, hint) == (
        Severity.WARNING,
        "policy.depends_on",
        "depends_on[0]",
        "Did you mean 'staging'?",
    )


# --- other people's strategies -----------------------------------------------------------------------------------


class Raises:
    def rollout(self, plan):
        yield Shift(0.1)
        raise RuntimeError("out of luck")


class Endless:
    def rollout(self, plan):
        while True:
            yield Judge(budget=1)


class Hangs:
    def rollout(self, plan):
        yield Shift(0.1)
        time.sleep(30)


class NoGenerator:
    def rollout(self, plan):
        return [Shift(1.0)]


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (Raises, "RuntimeError: out of luck"),
        (Endless, "without coming to an end"),
        (Hangs, "still busy"),
        (NoGenerator, "must return a generator"),
    ],
)
def test_a_strategy_that_cannot_be_asked_for_its_steps_is_told_and_stops_nothing(monkeypatch, strategy, words):
    monkeypatch.setattr(courses, "_LIMIT", 0.5)
    drivers = Drivers(extra={"strategies": {"odd": strategy, "staged": Staged}})
    policies = {"production": {"upgrade_strategy": "odd"}, "qa": {"upgrade_strategy": "none"}}
    odd, unknown = findings({"policies": policies}, drivers=drivers)
    assert (odd.severity, unknown.code) == (Severity.WARNING, "driver.unknown")
    assert words in odd.message


class ByMembers:
    def rollout(self, plan):
        if "wings" not in plan.steps[0].verdict.capabilities:
            raise InvalidRequestError("it needs wings.")
        yield Shift(1.0)


def test_a_strategy_that_goes_by_what_the_component_can_is_no_mistake():
    drivers = Drivers(extra={"strategies": {"by_members": ByMembers}})
    severity, code, key, message, _ = only(
        findings({"policies": {"production": {"upgrade_strategy": "by_members"}}}, drivers=drivers)
    )
    assert (severity, code, key) == (Severity.INFO, "deployment.steps_unknown", "upgrade_strategy")
    assert "the steps of the strategy 'by_members' depend on the component that is upgraded" in message


def test_a_strategy_of_the_program_s_own_is_known_by_its_name():
    class Careful:
        def rollout(self, plan):
            yield Shift(1.0)
            yield Judge()

    drivers = Drivers(extra={"strategies": {"careful": Careful}})
    assert findings({"policies": {"production": {"upgrade_strategy": "careful"}}}, drivers=drivers) == ()
