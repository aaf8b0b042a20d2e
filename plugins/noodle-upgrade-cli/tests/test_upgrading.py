from __future__ import annotations

from pathlib import Path

import pytest
from control_program import Program
from starlette.responses import JSONResponse


def asked(program: Program, path: str) -> list:
    return [body for _, where, body in program.asked if where == path]


def test_a_plan_shows_each_component_with_how_why_and_cost(noodle, program):
    ran = noodle("plan", "greeter", "2.0")
    assert ran.code == 0
    for words in ("greeter", "1.0 -> 2.0", "patch", "why: every binding can be replaced", "about 400 ms", "200 ms"[:1]):
        assert words in ran.out
    assert asked(program, "/v1/upgrades") == []


def test_a_plan_that_cannot_be_made_names_the_blockers_and_ends_with_4(noodle, program):
    program.verdict = {"feasible": False, "blockers": ["greeter.Slots lays its instances out otherwise"]}
    ran = noodle("plan", "greeter==2.0")
    assert ran.code == 4
    assert "cannot: greeter.Slots lays its instances out otherwise" in ran.out
    assert "cannot be carried out" in ran.out


def test_what_is_not_said_is_left_to_the_programs_own_settings(noodle, program):
    noodle("plan", "greeter", "2.0")
    (body,) = asked(program, "/v1/plans")
    (request,) = body["requests"]
    assert set(request) <= {"component_name", "target_version", "requested_by"}


def test_every_option_reaches_the_program_typed(noodle, program):
    noodle(
        "plan", "greeter", "2.0", "--strategy", "canary", "--set", "bake=5", "--set", "careful=true",
        "--set", "name=x", "--mechanism", "generation", "--constraint", ">=1", "--priority", "9",
        "--timeout", "12.5", "--level", "normal", "--no-rollback", "--current", "1.0",
    )  # fmt: skip
    (request,) = asked(program, "/v1/plans")[0]["requests"]
    request.pop("requested_by", None)
    assert request == {
        "component_name": "greeter",
        "target_version": "2.0",
        "strategy": "canary",
        "parameters": {"bake": 5, "careful": True, "name": "x", "runtime.mechanism": "generation"},
        "constraints": [">=1"],
        "priority": 9,
        "timeout_seconds": 12.5,
        "validation_level": "normal",
        "rollback_enabled": False,
        "current_version": "1.0",
    }


@pytest.mark.parametrize("command", ["plan", "upgrade"])
def test_the_help_says_whom_a_parameter_is_for(noodle, command):
    out = " ".join(noodle(command, "--help").out.split())
    assert "a plain KEY is the strategy's, judge.KEY the judge's, PLUGIN.KEY that plugin's" in out
    assert "--set bake=5 --set judge.calls=20" in out


def test_several_components_are_one_plan(noodle, program):
    ran = noodle("plan", "greeter==2.0", "engine", "3.0", "--json")
    assert [one["component_name"] for one in asked(program, "/v1/plans")[0]["requests"]] == ["greeter", "engine"]
    assert len(ran.json["plan"]["steps"]) == 2


def test_an_approved_upgrade_is_waited_for_and_ends_with_0(noodle, program):
    def go(upgrade_id: str) -> None:
        program.wait_for_a_watcher()
        program.go_well(upgrade_id)

    program.on_start = go
    ran = noodle("upgrade", "greeter", "2.0", "--yes")
    assert ran.code == 0
    assert asked(program, "/v1/upgrades") == [{"plan_id": "plan-1", "approve": True}]
    assert "done: greeter 1.0 -> 2.0 in 2 s" in ran.out
    assert [line.split()[-1] for line in ran.err.splitlines() if "upgrade.phase" in line] == [
        "validated", "approved", "staged", "shifting", "committed", "done"
    ]  # fmt: skip


def test_one_json_document_and_nothing_else_comes_out_of_an_upgrade(noodle, program):
    ran = noodle("upgrade", "greeter", "2.0", "--yes", "--json")
    assert ran.json["result"]["success"] is True
    assert ran.json["upgrade_id"] == "up-1"
    assert "error" not in ran.json


def test_an_upgrade_that_was_rolled_back_ends_with_1_and_says_why(noodle, program):
    error = {"code": "deploy.harm", "message": "5% errors", "safe": "All traffic is back.", "hint": "Mend it."}

    def harm(upgrade_id: str) -> None:
        program.move(upgrade_id, "shifting")
        program.finish(upgrade_id, "rolled_back", error)

    program.on_start = harm
    ran = noodle("upgrade", "greeter", "2.0", "-y")
    assert ran.code == 1
    assert "rolled back: greeter" in ran.out
    assert "5% errors" in ran.out
    assert "All traffic is back." in ran.out
    ran = noodle("upgrade", "greeter", "2.0", "-y", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "deploy.harm")


@pytest.mark.parametrize(
    ("phase", "named"), [("done", True), ("stuck", True), ("aborted", False), ("rolled_back", False)]
)
def test_a_rollback_point_is_named_only_where_it_can_be_gone_back_to(noodle, program, phase, named):
    error = None if phase == "done" else {"code": "stage.failed", "message": "No."}
    program.on_start = lambda upgrade_id: program.finish(upgrade_id, phase, error)
    assert ("rb-1" in noodle("upgrade", "greeter", "2.0", "-y").out) is named


def test_a_rollback_says_in_one_voice_that_it_went_back(noodle, program):
    went_back = {
        "upgrade_id": "up-1", "success": True, "component_name": "greeter", "from_version": "2.0", "to_version": "1.0",
        "status": "rolled_back", "phase": "rolled_back", "rollback_point": {"rollback_id": "rb-1"}, "error": None,
    }  # fmt: skip
    program.answers["/v1/rollbacks"] = lambda: JSONResponse({"result": went_back})
    ran = noodle("rollback", "greeter", "--yes")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "rolled back: greeter 2.0 -> 1.0"
    assert "done" not in ran.out
    assert "rollback point" not in ran.out


def test_an_upgrade_that_was_voted_down_ends_with_4(noodle, program):
    program.on_start = lambda upgrade_id: program.finish(
        upgrade_id, "rejected", {"code": "decision.rejected", "message": "No."}
    )
    assert noodle("upgrade", "greeter", "2.0", "-y").code == 4


def test_an_infeasible_upgrade_is_not_started(noodle, program):
    program.verdict = {"feasible": False, "blockers": ["it has an extension module"]}
    ran = noodle("upgrade", "greeter", "2.0", "-y")
    assert ran.code == 4
    assert "it has an extension module" in ran.err
    assert asked(program, "/v1/upgrades") == []
    ran = noodle("upgrade", "greeter", "2.0", "-y", "--json")
    assert ran.json["error"]["code"] == "swap.refused"


def finding(severity: str, message: str, subject: str = "greeter") -> dict[str, str]:
    return {"severity": severity, "code": "x", "message": message, "subject": subject, "hint": ""}


@pytest.mark.parametrize(
    ("level", "critical", "stopping"),
    [
        ("strict", False, ["Ugly.", "No upgrades on Fridays."]),
        ("normal", False, ["Ugly."]),
        ("permissive", True, ["Ugly."]),
        ("of tomorrow", False, ["Ugly.", "No upgrades on Fridays.", "It is Friday."]),
    ],
)
def test_only_the_findings_that_stop_an_upgrade_are_the_error(noodle, program, level, critical, stopping):
    program.findings = [
        finding("error", "Ugly."),
        finding("warning", "No upgrades on Fridays."),
        finding("info", "It is Friday."),
    ]
    program.level = level
    program.critical = critical
    ran = noodle("upgrade", "greeter", "2.0", "-y", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (4, "validation.failed")
    assert [line.partition(": ")[2] for line in ran.json["error"]["details"]["findings"]] == stopping
    # All of them are in the plan that is shown above the error.
    ran = noodle("upgrade", "greeter", "2.0", "-y")
    assert "It is Friday." in ran.out
    many = len(stopping) > 1
    assert f"{len(stopping)} finding{'s stop' if many else ' stops'} this upgrade" in ran.err


def test_a_rejection_is_one_sentence(noodle, program):
    error = {"code": "decision.rejected", "message": "The upgrade was rejected: no upgrades on Fridays..", "hint": ""}
    program.on_start = lambda upgrade_id: program.finish(upgrade_id, "rejected", error)
    out = noodle("upgrade", "greeter", "2.0", "-y").out
    assert "no upgrades on Fridays." in out
    assert ".." not in out


def test_without_a_terminal_and_without_yes_it_is_started_and_waits_for_somebody_else(noodle, program):
    program.on_start = program.wait_for_approval
    ran = noodle("upgrade", "greeter", "2.0")
    assert ran.code == 5
    assert asked(program, "/v1/upgrades") == [{"plan_id": "plan-1", "approve": False}]
    assert "noodle approve up-1" in ran.out
    ran = noodle("upgrade", "greeter", "2.0", "--json")
    assert (ran.code, ran.json["waiting_for_approval"]) == (5, True)
    assert noodle("upgrade", "greeter", "2.0", "--no-wait").code == 5


def test_what_it_waits_for_at_a_gate_is_named(noodle, program):
    def gated(upgrade_id: str) -> None:
        program.move(upgrade_id, "shifting")
        program.wait_at_a_gate(upgrade_id, "after lunch")

    program.on_start = gated
    ran = noodle("upgrade", "greeter", "2.0")
    assert ran.code == 5
    assert ran.out == "up-1 waits for the gate 'after lunch': noodle approve up-1\n"
    ran = noodle("upgrade", "greeter", "2.0", "--json")
    assert ran.json["awaits"] == "the gate 'after lunch'"


def test_an_approval_says_what_it_was_for(noodle, program):
    program.begin("up-9", {"plan_id": "plan-9", "steps": []})
    program.wait_at_a_gate("up-9", "after lunch")
    ran = noodle("approve", "up-9")
    assert "It waited for the gate 'after lunch'." in ran.out
    program.begin("up-9", {"plan_id": "plan-9", "steps": []})
    program.wait_at_a_gate("up-9", "after lunch")
    assert noodle("approve", "up-9", "--json").json["awaits"] == "the gate 'after lunch'"
    program.begin("up-8", {"plan_id": "plan-8", "steps": []})
    ran = noodle("approve", "up-8")
    assert ran.code == 0
    assert "waits for nobody" in ran.err


def test_where_the_settings_approve_by_themselves_it_goes_on_to_the_end(noodle, program):
    assert noodle("upgrade", "greeter", "2.0").code == 0


def test_with_wait_it_stays_through_somebody_elses_approval(noodle, program):
    def approved_later(upgrade_id: str) -> None:
        program.wait_for_approval(upgrade_id)
        program.finish(upgrade_id)

    program.on_start = approved_later
    assert noodle("upgrade", "greeter", "2.0", "--wait").code == 0


def test_no_wait_names_the_upgrade_and_returns(noodle, program):
    program.on_start = lambda _: None
    ran = noodle("upgrade", "greeter", "2.0", "-y", "--no-wait", "--json")
    assert (ran.code, ran.json["upgrade_id"], ran.json["result"]) == (0, "up-1", None)


def test_the_programs_own_suggestion_is_passed_on(noodle, program):
    ran = noodle("upgrade", "greter", "2.0", "-y")
    assert ran.code == 2
    assert "No component 'greter'." in ran.err
    assert "Did you mean 'greeter'?" in ran.err
    assert "Nothing was changed." in ran.err
    assert noodle("upgrade", "greter", "2.0", "-y", "--json").json["error"]["code"] == "component.unknown"


def test_a_wheel_is_sent_by_its_absolute_path(noodle, program, tmp_path):
    Path("greeter-2.0-py3-none-any.whl").write_bytes(b"")
    noodle("plan", "greeter", "./greeter-2.0-py3-none-any.whl")
    sent = asked(program, "/v1/plans")[0]["requests"][0]["target_version"]
    assert sent == str(tmp_path / "greeter-2.0-py3-none-any.whl")


def test_an_approval_is_for_the_plan_that_was_shown(noodle, program):
    program.begin("up-9", {"plan_id": "plan-9", "steps": []})
    program.wait_for_approval("up-9")
    ran = noodle("approve", "up-9")
    assert ran.code == 0
    assert "plan-9" in ran.out
    assert asked(program, "/v1/upgrades/up-9/approve") == [{"plan_digest": "d1"}]
    ran = noodle("approve", "up-9", "--digest", "another")
    assert ran.code == 4
    assert "another plan" in ran.err


def test_what_has_ended_cannot_be_approved(noodle, program):
    program.begin("up-9", {})
    program.finish("up-9")
    ran = noodle("approve", "up-9")
    assert ran.code == 2
    assert "has ended" in ran.err


def test_a_cancelled_upgrade_ends_with_0(noodle, program):
    ran = noodle("cancel", "up-1")
    assert (ran.code, ran.out) == (0, "up-1: cancelled\n")


def point(rollback_id: str, component: str, old: str, new: str, upgrade_id: str) -> dict[str, str]:
    return {
        "rollback_id": rollback_id,
        "upgrade_id": upgrade_id,
        "component_name": component,
        "from_version": old,
        "to_version": new,
        "created_at": "2031-05-04T10:00:00+00:00",
    }


def test_a_rollback_without_a_terminal_says_what_it_would_do_and_needs_yes(noodle, program):
    program.points = [
        point("rb-4", "greeter", "1.0", "3.0", "up-3"),  # gone back from already
        point("rb-3", "greeter", "1.0", "2.0", "up-2"),
        point("rb-2", "engine", "3", "4", "up-2"),
        point("rb-1", "greeter", "0.9", "1.0", "up-1"),
    ]
    program.components[0]["version"] = "2.0"
    ran = noodle("rollback", "greeter")
    assert ran.code == 2
    assert ran.out == "Would go back: greeter 2.0 -> 1.0, engine 4 -> 3 (point rb-3 of 2031-05-04 10:00:00Z).\n"
    assert "Nothing was asked of the program" not in ran.err
    assert "Do:    Add --yes" in ran.err
    assert "Would go back: greeter 1.0 -> 0.9 (point rb-1" in noodle("rollback", "greeter", "--to", "rb-1").out
    ran = noodle("rollback", "greeter", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "usage")
    assert [one["rollback_id"] for one in ran.json["error"]["details"]["rollback_points"]] == ["rb-3", "rb-2"]
    assert asked(program, "/v1/rollbacks") == []


@pytest.mark.parametrize("words", [("greeter",), ("greeter", "--to", "rb-9")])
def test_a_rollback_that_has_no_point_says_so_before_it_asks_for_yes(noodle, program, words):
    ran = noodle("rollback", *words)
    assert ran.code == 4
    assert "nothing to go back to" in ran.err
    assert asked(program, "/v1/rollbacks") == []


@pytest.mark.parametrize("name", ["../../x", "a/b", ".", "..", ""])
@pytest.mark.parametrize("command", ["approve", "cancel"])
def test_what_cannot_be_an_id_is_the_id_of_no_upgrade(noodle, program, command, name):
    ran = noodle(command, name, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "upgrade.unknown")
    assert repr(name) in ran.json["error"]["message"]
    assert {where for _, where, _ in program.asked} == {"/v1/health"}


def test_a_rollback_goes_to_the_point_that_is_named(noodle, program):
    ran = noodle("rollback", "greeter", "--to", "rb-7", "--yes")
    assert ran.code == 0
    assert asked(program, "/v1/rollbacks") == [{"component_name": "greeter", "rollback_id": "rb-7"}]


@pytest.mark.parametrize("name", ["../../v1/health", "a/b", "a?b", "%2e%2e", ""])
def test_an_id_cannot_leave_its_place_in_the_path(noodle, program, name):
    noodle("cancel", name)
    noodle("status", name)
    for method, where, _ in program.asked:
        assert where in {"/v1/health", "/v1/status"} or where.startswith("/v1/upgrades/"), (method, where)
    assert sum(where == "/v1/health" for _, where, _ in program.asked) == 2  # one look at who answers, for each


@pytest.mark.parametrize("verb", ["pause", "resume", "promote"])
def test_where_several_upgrades_or_none_are_active_one_must_be_named(noodle, program, verb):
    ran = noodle(verb)
    assert (ran.code, "No upgrade is active." in ran.err) == (2, True)
    for upgrade_id in ("up-1", "up-2"):
        program.begin(upgrade_id, {})
    ran = noodle(verb, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "usage")
    assert "up-1, up-2" in ran.json["error"]["hint"]
    assert [where for method, where, _ in program.asked if method == "POST"] == []


@pytest.mark.parametrize("verb", ["pause", "resume", "promote"])
def test_what_has_ended_can_be_neither_paused_nor_promoted(noodle, program, verb):
    program.begin("up-1", {})
    program.finish("up-1")
    ran = noodle(verb, "up-1")
    assert (ran.code, "up-1 has ended." in ran.err) == (2, True)
    assert noodle(verb, "up-404").code == 2
    assert [where for method, where, _ in program.asked if method == "POST"] == []
