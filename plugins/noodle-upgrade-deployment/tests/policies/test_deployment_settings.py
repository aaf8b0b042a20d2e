import json

import attrs
import pytest
from policy_files import DOCUMENT, document, policy_of, policy_refused, refused, settings_of, whole, with_policy

from noodle_upgrade_core.config import load_settings
from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_deployment.policies.vocabulary import DeploymentUpgradeTrigger, UpgradeDeploymentMode
from noodle_upgrade_deployment.settings import DeploymentSettings


def claimed(*files, **environ):
    return load_settings(files, environ=environ).claim({"deployment": DeploymentSettings})


def leaves(value, key=""):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


def test_the_document_is_accepted_exactly_as_it_is_and_every_value_lands():
    settings = claimed(DOCUMENT)
    rows = {row.key: row.value for row in settings.explain()}
    for key, value in leaves(document()):
        assert rows[key] == value, key
    production = settings.section("deployment").policies["production"]
    assert production.deployment_mode is UpgradeDeploymentMode.BLUE_GREEN
    assert production.resource_threshold.memory_usage == 85.0
    assert production.timing_constraints.maintenance_windows == ("02:00-04:00", "22:00-23:59")
    assert settings.section("deployment").triggers.allowed == frozenset(DeploymentUpgradeTrigger)


def test_what_it_makes_of_a_document_can_be_written_and_read_again(tmp_path):
    section = document()["deployment"]
    section["policies"]["production"] |= {
        "steps": [{"shift": 5}, {"judge": {"until": "budget", "budget": 300}}, {"shift": 100}],
        "upgrade_strategy": "",
        "gates": [{"name": "qa", "before": 5, "of": ["ann"]}],
        "freezes": [{"start": "2026-12-24", "end": "2026-12-26"}],
        "metrics": {"queue": {"kind": "gauge", "limits": [1, 2.5]}},
        "known_bad": {"api": [">=3.0,<3.1", "3.2.0"]},
    }
    settings = whole(section)
    file = tmp_path / "again.json"
    file.write_text(json.dumps(settings.to_wire()))
    assert claimed(file).section("deployment") == settings.section("deployment")


def test_the_variables_win_over_the_document():
    integration = (
        claimed(
            DOCUMENT,
            NOODLE_DEPLOYMENT_UPGRADE_SYNC_INTERVAL="5",
            NOODLE_UPGRADE_DEPLOYMENT_TIMEOUT="60.5",
            NOODLE_DEPLOYMENT_UPGRADE_HISTORY_DAYS="7",
        )
        .section("deployment")
        .upgrade_integration
    )
    assert (integration.sync_interval, integration.upgrade_timeout, integration.history_days) == (5.0, 60.5, 7.0)


def test_a_variable_says_which_environment_a_program_is():
    assert claimed(DOCUMENT, NOODLE_DEPLOYMENT_ENVIRONMENT="staging").section("deployment").environment == "staging"


def test_a_section_that_is_left_out_has_no_policy_and_does_nothing():
    settings = claimed().section("deployment")
    assert (settings.policies, settings.maintenance_windows, settings.environment) == ({}, {}, "")
    assert settings.timezone == "UTC"
    assert list(settings.problems()) == []


def test_what_is_left_out_of_a_policy_does_nothing():
    policy = policy_of()
    assert (policy.strategy, policy.strategy_parameters, policy.deployment_mode) == ("gradual", {}, "synchronous")
    assert (policy.reaction, policy.restart, policy.concurrency) == ("rollback", "rollback", "queue")
    assert (policy.bake, policy.warm, policy.progress_deadline, policy.surge, policy.unavailable) == (0, 60, 0, 0, 1)
    assert (policy.judge, policy.gates, policy.freezes, policy.depends_on, policy.known_bad) == ("", (), (), (), {})
    assert policy.remember_failures
    assert not policy.auto_trigger
    assert set(attrs.astuple(policy.resource_threshold)) == {100.0}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"polices": {}}, "Did you mean 'policies'?"),
        ({"policies": {"production": {"freeze": []}}}, "Did you mean 'freezes'?"),
        ({"policies": {"production": {"gates": [{"name": "qa", "approval": 2}]}}}, "Did you mean 'approvals'?"),
        ({"policies": {"production": {"resource_threshold": {"cpu_use": 3}}}}, "Did you mean 'cpu_usage'?"),
        ({"triggers": {"manuel": True}}, "Did you mean 'manual'?"),
        (
            {"maintenance_windows": {"production": {"start": "02:00", "end": "04:00", "day": []}}},
            "Did you mean 'days'?",
        ),
    ],
)
def test_a_key_that_nobody_knows_is_refused_with_the_one_that_was_meant(section, words):
    assert words in refused(section)


@pytest.mark.parametrize("name", ["cpu_usage", "memory_usage", "disk_usage"])
@pytest.mark.parametrize("percent", [-1, -0.01, 100.5, 9000])
def test_a_threshold_below_0_or_above_100_percent_is_refused_with_its_key(name, percent):
    words = policy_refused(resource_threshold={name: percent})
    assert words.startswith(
        f"deployment.policies.production.resource_threshold.{name} must be at least 0 and at most 100"
    )


@pytest.mark.parametrize("percent", [True, "80", None, [80]])
def test_a_threshold_that_is_no_number_is_refused(percent):
    assert "must be a number" in policy_refused(resource_threshold={"cpu_usage": percent})


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        (["02:00-02:00"], "which means one minute or a whole day"),
        (["02:00-04:00", "25:00-26:00"], "start must be a time of day, not '25:00'"),
        (["all night"], "is no window"),
    ],
)
def test_windows_that_contradict_themselves_are_refused_with_their_key(windows, words):
    said = policy_refused(timing_constraints={"maintenance_windows": windows})
    assert said.startswith("deployment.policies.production.timing_constraints cannot be used")
    assert words in said


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({"start": "02:00", "end": "02:00"}, "which means one minute or a whole day"),
        ({"start": "02:00", "end": "24:30"}, "end must be a time of day, not '24:30'"),
        ({"start": "02:00", "end": "04:00", "days": []}, "days must name a day"),
        ({"start": "02:00", "end": "04:00", "days": ["sunday", "funday"]}, "Did you mean 'sunday'?"),
    ],
)
def test_a_window_of_an_environment_that_contradicts_itself_is_refused_with_its_key(window, words):
    said = refused({"maintenance_windows": {"production": window}})
    assert said.startswith("deployment.maintenance_windows.production cannot be used")
    assert words in said


def test_a_window_needs_its_start_and_its_end():
    assert "maintenance_windows.production.end is needed" in refused(
        {"maintenance_windows": {"production": {"start": "02:00"}}}
    )


def test_a_time_zone_that_nobody_knows_is_refused_of_the_section_and_of_a_policy():
    assert "Did you mean 'Europe/Berlin'?" in refused({"timezone": "Europe/Berln"})
    assert "Did you mean 'Europe/Berlin'?" in policy_refused(timezone="Europe/Berln")


def test_a_freeze_is_checked_by_the_clock_that_it_is_read_by():
    freeze = {"start": "2026-12-24T18:00", "end": "2026-12-24T17:30+00:00"}
    policies = {"production": {"freezes": [freeze]}}
    assert settings_of({"policies": policies, "timezone": "Europe/Berlin"}).policies["production"].freezes
    assert "not after the start" in refused({"policies": policies})
    freeze["end"] = "2026-12-24T18:30+00:00"
    said = refused({"policies": policies, "timezone": "America/New_York"})
    assert said.startswith("deployment cannot be used: policies.production.freezes cannot be used: end is")


# --- a policy that contradicts itself ----------------------------------------------------------------------------


def test_a_policy_stands_under_the_name_of_its_environment():
    said = policy_refused(deployment_environment="prod")
    assert "policies.production.deployment_environment is 'prod', and the policy stands under 'production'" in said


@pytest.mark.parametrize(
    ("given", "reaction"),
    [
        ({}, "rollback"),
        ({"rollback_on_failure": True}, "rollback"),
        ({"rollback_on_failure": False}, "pause"),
        ({"on_failure": "freeze"}, "freeze"),
        ({"on_failure": "pause"}, "pause"),
        ({"on_failure": "rollback"}, "rollback"),
        ({"rollback_on_failure": True, "on_failure": "rollback"}, "rollback"),
        ({"rollback_on_failure": False, "on_failure": "freeze"}, "freeze"),
        ({"rollback_on_failure": False, "on_failure": "pause"}, "pause"),
    ],
)
def test_a_version_that_fails_is_taken_back_unless_one_of_the_two_settings_says_otherwise(given, reaction):
    assert policy_of(**given).reaction == reaction


@pytest.mark.parametrize(("back", "told"), [(True, "freeze"), (True, "pause"), (False, "rollback")])
def test_two_settings_that_say_the_opposite_about_a_failing_version_are_refused(back, told):
    words = "true" if back else "false"
    assert f"on_failure is {told}, and rollback_on_failure is {words}" in policy_refused(
        rollback_on_failure=back, on_failure=told
    )


def test_a_crash_ends_a_deployment_unless_it_is_asynchronous_or_told_to_resume():
    assert policy_of(deployment_mode="canary").restart == "rollback"
    assert policy_of(deployment_mode="asynchronous").restart == "resume"
    assert policy_of(deployment_mode="asynchronous", on_restart="rollback").restart == "rollback"
    assert policy_of(on_restart="resume").restart == "resume"


def test_a_policy_with_steps_has_the_strategy_that_carries_them_out():
    policy = policy_of(steps=[{"shift": 100}], parameters={"require_evidence": True})
    assert policy.strategy == "staged"
    assert policy.strategy_parameters == {"require_evidence": True, "steps": ({"shift": 100},)}
    assert policy_of(steps=[{"shift": 100}], upgrade_strategy="staged").strategy == "staged"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"steps": [{"shift": 100}], "upgrade_strategy": "gradual"},
            "upgrade_strategy is 'gradual', and there are steps",
        ),
        ({"upgrade_strategy": "staged"}, "steps is needed by the strategy 'staged'"),
        ({"steps": [{"shift": 100}], "parameters": {"steps": []}}, "parameters.steps is given, and so is steps"),
        ({"steps": [{"shift": 50}, {"shift": 5}, {"shift": 100}]}, "steps[1] goes down from 50 percent to 5 percent"),
        ({"steps": [{"shift": 5}, {"shift": 50}]}, "the steps end at 50 percent"),
        ({"surge": 0, "unavailable": 0}, "unavailable is 0, and surge is 0"),
        ({"surge": -1}, "must be at least 0"),
        ({"unavailable": 1.5}, "must be a whole number"),
        ({"known_bad": {"api": ["3.0", "=>3"]}}, "known_bad.api has '=>3', which is neither"),
        ({"known_bad": {"api": [""]}}, "known_bad.api has '', which is neither"),
        ({"depends_on": [{}]}, "it names neither a component nor an environment"),
        ({"gates": [{"name": "qa"}, {"name": "qa"}]}, "gates has two of the name 'qa'"),
        ({"gates": [{"name": " "}]}, "must not be empty"),
        ({"gates": [{"name": "qa", "approvals": 0}]}, "must be at least 1"),
        ({"gates": [{"name": "qa", "of": ["ann", ""]}]}, "of must hold names of people"),
        ({"gates": [{"name": "qa", "before": "the end"}]}, 'before must be "start" or a share above 0'),
        ({"gates": [{"name": "qa", "before": 0}]}, 'before must be "start" or a share above 0'),
        ({"gates": [{"name": "qa", "before": 101}]}, 'before must be "start" or a share above 0'),
        ({"gates": [{"name": "qa", "before": True}]}, 'before must be "start" or a share above 0'),
        ({"gates": [{"name": "qa", "expires": 0}]}, "must be greater than 0"),
        ({"concurrency": "queu"}, "Did you mean 'queue'?"),
        ({"on_failure": "rolback"}, "Did you mean 'rollback'?"),
        ({"deployment_mode": "blue-green"}, "Did you mean 'blue_green'?"),
        ({"metrics": {"queue": 3}}, "metrics.queue must be a table"),
        ({"bake": -1}, "must be at least 0"),
        ({"timing_constraints": {"min_interval_between_upgrades": -1}}, "must be at least 0"),
        ({"freezes": [{"start": "2026-12-26", "end": "2026-12-24"}]}, "not after the start"),
        ({"freezes": [{"start": "2026-12-26"}]}, "freezes[0].end is needed"),
    ],
)
def test_what_a_policy_cannot_mean_is_refused_in_words(given, words):
    said = policy_refused(**given)
    assert said.startswith("deployment.policies.production")
    assert words in said


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(SettingsError) as caught:
        settings_of({"policies": {"a": {"bake": -1}, "b": {"surge": -1}}, "timezone": "Mars"})
    assert {one["key"].rpartition(".")[2] for one in caught.value.details["problems"]} >= {"bake", "surge"}


# --- what is odd -------------------------------------------------------------------------------------------------


def remarks(section):
    return [str(one) for one in whole(section).problems() if one.key.startswith("deployment")]


def test_both_kinds_of_windows_that_differ_are_told_and_the_policy_s_own_win():
    (said,) = remarks(document()["deployment"])
    assert "deployment.maintenance_windows.production" in said
    assert "policies.production.timing_constraints.maintenance_windows differs, and a policy's own windows win" in said


def test_both_kinds_of_windows_that_are_alike_are_not_worth_a_word():
    section = {
        "policies": {"production": {"timing_constraints": {"maintenance_windows": ["02:00-04:00"]}}},
        "maintenance_windows": {"production": {"start": "02:00", "end": "04:00"}},
    }
    assert remarks(section) == []
    section["maintenance_windows"]["production"]["days"] = ["sunday"]
    assert len(remarks(section)) == 1


def test_windows_of_an_environment_without_a_policy_are_told_unless_there_is_a_default():
    section = {"policies": {"production": {}}, "maintenance_windows": {"prodution": {"start": "02:00", "end": "04:00"}}}
    (said,) = remarks(section)
    assert "has no effect: there is no policy. Did you mean 'production'?" in said
    section["policies"]["default"] = {}
    assert remarks(section) == []


def test_a_program_of_an_environment_without_a_policy_is_told():
    (said,) = remarks({"environment": "prodution", "policies": {"production": {}}})
    assert "every deployment here is refused. Did you mean 'production'?" in said


def test_gates_say_in_words_where_they_stand_and_for_whom():
    policy = policy_of(gates=[{"name": "qa", "approvals": 2, "of": ["ann", "bob"], "before": 25}, {"name": "go"}])
    assert [str(gate) for gate in policy.gates] == [
        "gate 'qa' before 25 percent: 2 of ann, bob, within 86400 s",
        "gate 'go' before the start: 1 (anybody), within 86400 s",
    ]
    assert [gate.share for gate in policy.gates] == [25.0, 0.0]


def test_triggers_that_are_switched_off_are_not_among_those_allowed():
    triggers = settings_of({"triggers": {"health_degradation": False}}).triggers
    assert triggers.allowed == set(DeploymentUpgradeTrigger) - {DeploymentUpgradeTrigger.HEALTH_DEGRADATION}


def test_each_trigger_has_a_switch():
    assert {trigger.value for trigger in DeploymentUpgradeTrigger} == {
        one.name for one in attrs.fields(type(with_policy().triggers))
    }
