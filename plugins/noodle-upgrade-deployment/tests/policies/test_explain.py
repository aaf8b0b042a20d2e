import json

import pytest
from policy_files import DRIVERS, document, settings_of, utc

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.policies.choice import EnvironmentUnknownError
from noodle_upgrade_deployment.policies.explain import explain

AT = utc("2026-11-27T07:00")
FULL = {
    "timezone": "Europe/Berlin",
    "deployment_mode": "rolling",
    "surge": 2,
    "auto_trigger": True,
    "steps": [
        {"shift": 5},
        {"probe": True},
        {"judge": 300},
        {"wait": 60},
        {"gate": "go"},
        {"shift": 50},
        {"judge": {"until": "budget", "budget": 3600}},
        {"shift": 100},
    ],
    "gates": [
        {"name": "qa", "approvals": 2, "of": ["ann", "bob", "eve"], "before": 30},
        {"name": "late", "before": 100},
        {"name": "owner", "expires": 600},
    ],
    "timing_constraints": {"maintenance_windows": ["22:00-04:00"], "min_interval_between_upgrades": 3600},
    "resource_threshold": {"cpu_usage": 80},
    "freezes": [{"start": "2026-11-28", "end": "2026-11-29", "reason": "launch"}],
    "health_checks": {"ready": {"url": "http://127.0.0.1/ready"}},
    "metrics": {"queue": {}},
    "judge": "betting",
    "known_bad": {"api": [">=3.0,<3.1"]},
    "depends_on": [{"environment": "staging"}, {"component": "database"}],
    "on_failure": "freeze",
    "on_restart": "resume",
    "progress_deadline": 7200,
    "bake": 900,
}


def explained(policy, *, environment="production", at=AT, **section):
    return explain(settings_of({"policies": {"production": policy}, **section}), environment, at, drivers=DRIVERS)


def test_it_says_everything_that_a_policy_says():
    said = explained(FULL)
    assert said.starts == (
        "People may start it.",
        "These triggers start it as well: deployment_failure, deployment_rollback, deployment_start,"
        " deployment_success, health_degradation, resource_pressure, scheduled_maintenance.",
        "It waits at the start for the gate 'owner': 1 approval within 10 minutes, else it is refused.",
        "Two deployments are at least 1 hour apart.",
        "Another one that is asked for meanwhile waits its turn.",
    )
    assert said.checks == (
        "At the start at most so much may be in use: processors 80 %.",
        "Must have succeeded before: this version in staging; database.",
        "Never deployed of api: >=3.0,<3.1.",
        "A version that failed here is not deployed here again.",
        "The new version must say that it is well (ready).",
        "Both versions are watched by the judge 'betting', which compares besides calls: queue.",
    )
    assert said.mode == (
        "Mode rolling: members change one group after another.",
        "Of the members at most 2 are added, and 1 taken out, at a time.",
        "Strategy staged, where everything goes well:",
    )
    assert said.failure == (
        "It fails on harm, on a failed check, at a refused gate, without progress for 2 hours,"
        " and when it takes longer than 30 minutes.",
        "Then the shares stay as they are, and nothing else is deployed here until a person says how to go on.",
        "An abort is possible at any time, also outside of the windows.",
    )
    assert said.restart == ("The deployment is taken back at the next start, and asked for anew.",)


def test_it_tells_the_steps_one_by_one_with_gates_where_they_stand():
    assert explained(FULL).steps == (
        "With three members in two domains, say:",
        "Wait for the gate 'owner': 1 approval within 10 minutes, else it is refused.",
        "Wait for the gate 'qa': 2 approvals of ann, bob, eve within 1 day, else it is refused.",
        "Shift 1 member, 33%.",
        "Ask the new version whether it is well.",
        "Watch until the judge is sure, at most 10 s.",
        "Ask the new version whether it is well.",
        "Watch until the judge is sure, at most 5 minutes.",
        "Wait 1 minute.",
        "Wait for the gate 'go': 1 approval within 1 day, else it is refused.",
        "Shift 2 members, 67%.",
        "Watch until the judge is sure, at most 10 s.",
        "Watch for 1 hour; harm ends it at once.",
        "Wait for the gate 'late': 1 approval within 1 day, else it is refused.",
        "Shift 3 members, 100%.",
        "Watch until the judge is sure, at most 10 s.",
        "Shift to 100%.",
        "The new version is permanent.",
        "It is watched for 15 minutes more.",
    )


def test_it_tells_the_next_three_windows_freezes_left_out():
    said = explained(FULL)
    assert (
        said.closed == "outside of the maintenance windows 22:00-04:00 (Europe/Berlin); opens Fri 2026-11-27 22:00 CET"
    )
    assert [(one.opens, one.closes) for one in said.openings] == [
        (utc("2026-11-27T21:00"), utc("2026-11-27T23:00")),
        (utc("2026-11-29T23:00"), utc("2026-11-30T03:01")),
        (utc("2026-11-30T21:00"), utc("2026-12-01T03:01")),
    ]
    assert said.picture[2] == "Sat 2026-11-28  " + "x" * 48


def test_without_windows_traffic_may_be_moved_until_further_notice():
    said = explained({})
    assert said.closed == ""
    assert [(one.opens, one.closes) for one in said.openings] == [(AT, None)]
    assert "  Fri 2026-11-27 07:00 UTC to further notice" in said.lines()


def test_its_lines_are_for_people_and_name_everything_once():
    lines = explained(FULL).lines()
    assert lines[0] == "The environment 'production'"
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "Who may start it:",
        "When traffic may be moved:",
        "What is checked:",
        "How it goes:",
        "When it fails:",
        "After a crash:",
        "The next seven days (Europe/Berlin):",
    ]
    assert any(line.endswith("Shift 1 member, 33%.") for line in lines)
    assert "  Fri 2026-11-27 22:00 CET to Sat 2026-11-28 00:00 CET" in lines
    assert max(map(len, lines)) < 240


def test_it_crosses_a_wire_as_json():
    wire = explained(FULL).to_wire()
    assert json.loads(json.dumps(wire)) == wire
    assert wire["at"] == "2026-11-27T07:00:00+00:00"
    assert wire["openings"][0]["opens"] == "2026-11-27T21:00:00+00:00"
    assert len(wire["picture"]) == 8


def test_the_policies_of_the_document_can_be_explained():
    settings = settings_of(document()["deployment"])
    for environment in settings.policies:
        assert explain(settings, environment, AT).lines()
    said = explain(settings, "development", AT)
    assert "No trigger starts it." in said.starts
    assert "The new version need not say that it is well." in said.checks
    assert said.restart == ("The deployment is taken back at the next start, and asked for anew.",)


def test_an_environment_that_has_the_default_policy_says_so():
    said = explain(settings_of({"policies": {"default": {}}}), "qa", AT, drivers=DRIVERS)
    assert (said.environment, said.policy) == ("qa", "default")
    assert said.lines()[0] == "The environment 'qa' (policy 'default')"


def test_an_environment_without_a_policy_is_refused():
    with pytest.raises(EnvironmentUnknownError, match="Policies: production"):
        explained({}, environment="qa")


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(InvalidRequestError, match="must have a time zone"):
        explained({}, at=AT.replace(tzinfo=None))


def test_a_program_that_does_not_deploy_says_that_nobody_may_start():
    said = explained(FULL, upgrade_integration={"enabled": False})
    assert said.starts == ("Nobody: upgrade_integration.enabled is false.",)


def test_people_may_not_start_it_where_their_trigger_is_off():
    assert "People may not start it: triggers.manual is false." in explained({}, triggers={"manual": False}).starts


def test_steps_that_cannot_be_told_are_said_to_be_so_with_the_reason():
    steps = explained({"upgrade_strategy": "gradul"}).steps
    assert steps[0].startswith("These steps cannot be told: no strategy 'gradul'; installed: ")


def test_steps_that_depend_on_the_component_are_said_to_do_so():
    class ByMembers:
        def rollout(self, plan):
            raise InvalidRequestError("it needs members.")
            yield

    settings = settings_of({"policies": {"production": {"upgrade_strategy": "by_members"}}})
    said = explain(settings, "production", AT, drivers=Drivers(extra={"strategies": {"by_members": ByMembers}}))
    assert said.steps == (
        "The steps of the strategy 'by_members' depend on the component that is upgraded.",
        "The new version is permanent.",
    )


def test_a_rollout_of_very_many_steps_is_told_in_part():
    steps = explained({"parameters": {"percentage": 0.1}}).steps
    assert len(steps) == 42
    assert steps[40] == "and 1961 more steps, the last of them: Watch until the judge is sure, at most 30 s."


def test_blue_green_asks_first_and_watches_while_the_old_version_is_warm():
    steps = explained({"warm": 3600, "deployment_mode": "blue_green", "upgrade_strategy": "immediate"}).steps
    assert steps == (
        "Ask the new version whether it is well.",
        "Shift to 100%.",
        "Ask the new version whether it is well.",
        "Watch for 1 hour; harm ends it at once.",
        "The new version is permanent.",
    )


def test_the_mode_canary_puts_a_share_before_what_moves_all_at_once():
    steps = explained({"deployment_mode": "canary", "upgrade_strategy": "immediate"}).steps
    assert steps[:2] == ("Shift to 5%.", "Ask the new version whether it is well.")
