from __future__ import annotations

from starlette.responses import JSONResponse


def test_components_are_listed_with_what_matters(noodle, program):
    program.components[0]["dependencies"] = [{"name": "engine", "constraint": ">=2"}]
    ran = noodle("components")
    assert ran.code == 0
    assert "greeter" in ran.out
    assert "hot-swappable" in ran.out
    assert "engine>=2" in ran.out
    assert [row["name"] for row in noodle("components", "eng", "--json").json["components"]] == ["engine"]
    assert "No component fits." in noodle("components", "nothing").err


def test_a_hostile_component_name_moves_no_cursor(noodle, program):
    program.components[0]["name"] = "evil\x1b[2J\u202e[red]name[/red]"
    out = noodle("components").out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "evil\\x1b[2J\\u202e[red]name[/red]" in out
    # JSON carries it unharmed, as escapes.
    assert noodle("components", "--json").json["components"][0]["name"] == program.components[0]["name"]


def test_status_lists_active_upgrades_and_what_they_wait_for(noodle, program):
    program.begin("up-1", {"steps": [{"component": {"name": "greeter"}, "from_version": "1.0", "to_version": "2.0"}]})
    program.wait_for_approval("up-1")
    ran = noodle("status")
    for words in ("up-1", "greeter 1.0 -> 2.0", "validated", "a person's approval"):
        assert words in ran.out
    assert noodle("status", "--json").json["active"][0]["upgrade_id"] == "up-1"


def test_status_names_the_gate_that_is_waited_at_and_what_to_do(noodle, program):
    program.begin("up-1", {})
    program.move("up-1", "shifting")
    program.wait_at_a_gate("up-1", "after lunch")
    assert "the gate 'after lunch'" in noodle("status").out
    assert "the gate 'after lunch': noodle approve up-1" in noodle("status", "up-1").out


def test_status_of_one_upgrade_shows_its_counts(noodle, program):
    program.begin("up-1", {})
    program.upgrades["up-1"] |= {
        "phase": "shifting",
        "weight": 0.5,
        "measured": {"old": {"version": "1.0", "calls": 12345, "errors": 0}, "new": {"version": "2.0", "calls": 7}},
        "audit": [{"at": "2031-05-04T10:00:00+00:00", "phase": "received", "who": "alice", "why": "asked"}],
    }
    out = noodle("status", "up-1").out
    for words in ("50% on the new version", "12,345", "alice"):
        assert words in out


def test_an_unknown_upgrade_is_an_error(noodle, program):
    ran = noodle("status", "up-404")
    assert ran.code == 2
    assert "No such upgrade." in ran.err


def test_switched_off_is_said(noodle, program):
    program.answers["/v1/status"] = lambda: JSONResponse(
        {"enabled": False, "enabled_origin": "NOODLE_RUNTIME_UPGRADE_ENABLED", "active": []}
    )
    assert "switched off (NOODLE_RUNTIME_UPGRADE_ENABLED)" in noodle("status").out


def test_history_shows_who_what_and_how_it_ended(noodle, program):
    program.history = [
        {
            "upgrade_id": "up-1",
            "components": ["greeter", "engine"],
            "from_versions": {"greeter": "1.0", "engine": "2"},
            "to_versions": {"greeter": "2.0", "engine": "3"},
            "phase": "rolled_back",
            "created_at": "2031-05-04T10:00:00+00:00",
            "updated_at": "2031-05-04T10:00:03+00:00",
            "error": {"message": "5% errors"},
            "audit": [{"who": "alice"}, {"who": "alice"}, {"who": "bob"}],
        }
    ]
    out = noodle("history", "--limit", "5").out
    for words in ("greeter 1.0 -> 2.0, engine 2 -> 3", "rolled_back", "alice, bob", "3 s", "5% errors"):
        assert words in out
    assert len(noodle("history", "--json").json["history"]) == 1


def test_what_an_upgrade_took_ends_with_its_own_end_not_with_that_of_going_back(noodle, program):
    ends = [("done", "10:00:02"), ("rolling_back", "12:00:00"), ("rolled_back", "12:00:01")]
    program.history = [
        {
            "upgrade_id": "up-1",
            "components": ["greeter"],
            "phase": "rolled_back",
            "created_at": "2031-05-04T10:00:00+00:00",
            "updated_at": "2031-05-04T12:00:01+00:00",
            "audit": [{"who": "alice", "phase": p, "at": f"2031-05-04T{at}+00:00"} for p, at in ends],
        }
    ]
    out = noodle("history").out
    assert "2 s" in out
    assert "7,201" not in out
    assert "2 h" not in out


def test_history_without_upgrades_says_so(noodle, program):
    assert "Nothing was upgraded yet." in noodle("history").err
    assert [noodle("history", "--limit", limit).code for limit in ("0", "1", "1000", "1001")] == [2, 0, 0, 2]


def test_a_status_says_that_the_journal_is_damaged_and_ends_with_6(noodle, program):
    finding = {
        "severity": "error", "code": "journal.corrupt", "message": "The journal's file is damaged.",
        "subject": "journal", "hint": "Put a backup in its place.",
    }  # fmt: skip
    status = {"enabled": True, "active": [], "findings": [finding], "total": 0}
    program.answers["/v1/status"] = lambda: JSONResponse(status)
    ran = noodle("status")
    assert ran.code == 6
    assert "The journal's file is damaged. Put a backup in its place." in ran.out
    assert (noodle("status", "--json").code, noodle("status", "--json").json) == (6, status)


def test_rollback_points_are_listed(noodle, program):
    program.points = [
        {
            "rollback_id": "rb-1",
            "component_name": "greeter",
            "from_version": "1.0",
            "to_version": "2.0",
            "created_at": "2031-05-04T10:00:00+00:00",
            "expires_at": None,
        }
    ]
    out = noodle("rollback-points").out
    assert "rb-1" in out
    assert "never" in out
    assert "nothing to go back to" in noodle("rollback-points", "x").err or program.points
