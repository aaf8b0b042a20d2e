from __future__ import annotations

import os

import pytest
from shop import Door, good, refused, running, user

from noodle_upgrade_core import UpgradePlan, UpgradeResult
from noodle_upgrade_core.wire import from_wire
from noodle_upgrade_server import Limits


def test_health_says_who_it_is_without_asking_the_upgrader(shop):
    door = shop.shop.hold["discover"] = Door()
    health = good(shop.get("health"))
    assert {k: health[k] for k in ("status", "pid", "program")} == {
        "status": "ok",
        "pid": os.getpid(),
        "program": "shop",
    }
    assert health["core_version"]
    assert health["started_at"]
    door.open()


def test_components_are_those_that_run_now(shop):
    shop.shop.goods["book"] = "2.0"
    found = {one["name"]: one["version"] for one in good(shop.get("components"))["components"]}
    assert found == {"lamp": "1.0", "book": "2.0"}


def test_the_versions_of_a_component_are_listed_without_an_index(shop):
    assert good(shop.get("versions", params={"component": "lamp"})) == {"versions": ["1.0", "1.1", "2.0", "13.0"]}
    assert refused(shop.get("versions", params={"component": "lmap"}), 404)["code"] == "component.unknown"


def test_a_plan_to_what_runs_already_is_a_conflict_that_names_it(shop):
    asked = [{"component_name": "lamp", "target_version": "1.0"}]
    error = refused(shop.post("plans", {"requests": asked}), 409)
    assert error["code"] == "version.running"
    assert (error["details"]["running"], error["details"]["target"]) == ("1.0", "1.0")


def test_a_plan_is_shown_whole_and_changes_nothing(shop):
    made = shop.plan()
    plan = from_wire(UpgradePlan, made["plan"])
    assert (made["feasible"], made["digest"], made["text"]) == (True, plan.digest, str(plan))
    assert shop.shop.goods == {"lamp": "1.0", "book": "1.0"}
    assert good(shop.get("history")) == {"history": []}


def test_an_approved_upgrade_runs_to_its_end_and_the_journal_names_the_peer(shop):
    upgrade_id = shop.start()
    state = shop.ended(upgrade_id)
    result = from_wire(UpgradeResult, state["result"])
    assert result.raise_for_error().success
    assert shop.shop.goods["lamp"] == "1.1"
    assert state["status"] == "completed"
    (row,) = good(shop.get("history"))["history"]
    assert {one["who"] for one in row["audit"]} == {user()}


def test_an_upgrade_can_be_started_by_requests_without_a_plan(shop):
    asked = {"component_name": "book", "target_version": "2.0"}
    upgrade_id = good(shop.post("upgrades", {"requests": [asked], "approve": True}), 202)["upgrade_id"]
    assert shop.ended(upgrade_id)["result"]["success"]
    assert shop.shop.goods["book"] == "2.0"


def test_a_set_of_components_is_planned_and_changed_as_one(shop):
    asked = [{"component_name": name, "target_version": "2.0"} for name in ("lamp", "book")]
    made = good(shop.post("plans", {"requests": asked}))
    assert {step["component"]["name"] for step in made["plan"]["steps"]} == {"lamp", "book"}
    started = good(shop.post("upgrades", {"plan_id": made["plan"]["plan_id"], "approve": True}), 202)
    assert shop.ended(started["upgrade_id"])["result"]["success"]
    assert shop.shop.goods == {"lamp": "2.0", "book": "2.0"}


def test_without_approval_an_upgrade_waits_until_somebody_approves_that_very_plan(shop):
    plan = shop.plan()
    with shop.client.stream("GET", "/v1/events", params={"after": "0"}) as events:
        started = good(shop.post("upgrades", {"plan_id": plan["plan"]["plan_id"]}), 202)
        upgrade_id = started["upgrade_id"]
        assert any("upgrade.approval_needed" in line for line in events.iter_lines())
    assert good(shop.get("status", params={"upgrade_id": upgrade_id}))["awaits"]
    assert good(shop.get(f"upgrades/{upgrade_id}"))["result"] is None
    error = refused(shop.post(f"upgrades/{upgrade_id}/approve", {"plan_digest": "0" * 64}), 422)
    assert error["code"] == "decision.approval_required"
    assert shop.shop.goods["lamp"] == "1.0"
    said = good(shop.post(f"upgrades/{upgrade_id}/approve", {"plan_digest": plan["digest"]}))
    assert said["by"] == user()
    assert shop.ended(upgrade_id)["result"]["success"]


def test_an_upgrade_that_waits_can_be_cancelled_and_nothing_has_changed(shop):
    upgrade_id = shop.start(approve=False)
    assert good(shop.post(f"upgrades/{upgrade_id}/cancel"))["status"] == "cancelled"
    assert shop.shop.goods["lamp"] == "1.0"
    assert refused(shop.post(f"upgrades/{upgrade_id}/cancel"), 400)["hint"]


def test_waiting_for_an_upgrade_ends_with_its_state_when_it_takes_longer(shop):
    upgrade_id = shop.start(approve=False)
    state = good(shop.get(f"upgrades/{upgrade_id}", params={"wait": "0.05"}))
    assert (state["result"], state["status"]) == (None, "pending")


def test_a_rollback_brings_the_version_before_and_names_who_asked(shop):
    shop.ended(shop.start())
    (point,) = good(shop.get("rollback-points", params={"component": "lamp"}))["rollback_points"]
    assert (point["from_version"], point["to_version"]) == ("1.0", "1.1")
    assert good(shop.get("rollback-points", params={"component": "book"})) == {"rollback_points": []}
    result = good(shop.post("rollbacks", {"component_name": "lamp", "rollback_id": point["rollback_id"]}))["result"]
    assert result["success"]
    assert shop.shop.goods["lamp"] == "1.0"


def test_history_is_newest_first_limited_and_by_component(shop):
    for name in ("lamp", "book"):
        shop.ended(shop.start(name))
    rows = good(shop.get("history"))["history"]
    assert [row["components"] for row in rows] == [["book"], ["lamp"]]
    assert len(good(shop.get("history", params={"limit": "1"}))["history"]) == 1
    (only,) = good(shop.get("history", params={"component": "lamp"}))["history"]
    assert only["components"] == ["lamp"]


def test_status_counts_and_lists_what_is_active(shop):
    upgrade_id = shop.start(approve=False)
    status = good(shop.get("status"))
    assert [one["upgrade_id"] for one in status["active"]] == [upgrade_id]
    assert status["enabled"] is True


def test_what_was_not_said_is_decided_by_the_programs_settings(tmp_path):
    changes = {"runtime_upgrade__validation__level": "permissive", "runtime_upgrade__upgrade_timeout": 77.0}
    with running(tmp_path, **changes) as shop:
        (request,) = shop.plan()["plan"]["requests"]
        assert (request["strategy"], request["validation_level"]) == ("immediate", "permissive")
        assert request["timeout_seconds"] == 77.0
        (request,) = shop.plan(validation_level="strict", timeout_seconds=5)["plan"]["requests"]
        assert (request["validation_level"], request["timeout_seconds"]) == ("strict", 5.0)


def test_who_asks_is_what_the_connection_says_and_not_what_the_body_says(shop):
    (request,) = shop.plan(requested_by="the queen")["plan"]["requests"]
    assert request["requested_by"] == user()


def test_plugins_and_their_hooks_are_listed(shop):
    (plugin,) = good(shop.get("plugins"))["plugins"]
    assert plugin["name"] == "shop"
    assert plugin["hooks"] == ["discover", "assess", "validate", "swap"]


def test_every_setting_is_shown_with_its_origin(shop):
    rows = {row["key"]: row for row in good(shop.get("config"))["settings"]}
    assert rows["runtime_upgrade.drivers.strategy"]["origin"] == "argument"
    assert rows["runtime_upgrade.enabled"]["value"] is True


def test_the_doctor_finds_a_version_that_is_not_the_journals(shop):
    assert good(shop.get("doctor")) == {"findings": []}
    shop.ended(shop.start())
    shop.shop.goods["lamp"] = "2.0"
    (finding,) = good(shop.get("doctor"))["findings"]
    assert finding["severity"] == "error"


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"component_name": "lump"}, 404, "component.unknown"),
        ({"target_version": "7.7"}, 404, "version.unknown"),
        ({"target_version": "so new"}, 400, "version.invalid"),
        ({"current_version": "0.9"}, 409, "version.mismatch"),
        ({"constraints": ["<1"]}, 422, "constraint.unmet"),
        ({"strategy": "canry"}, 400, "driver.unknown"),
        ({"parameters": {"bakee": 1}}, 400, "request.invalid"),
    ],
)
def test_what_cannot_be_planned_is_a_typed_error(shop, asked, status, code):
    request = {"component_name": "lamp", "target_version": "1.1", **asked}
    error = refused(shop.post("plans", {"requests": [request]}), status)
    assert error["code"] == code
    assert error["hint"] or error["details"]


def test_a_change_that_cannot_be_made_is_planned_with_its_reason_and_refused_at_the_start(shop):
    made = shop.plan(target_version="13.0")
    assert not made["feasible"]
    assert "13 brings bad luck" in made["text"]
    started = good(shop.post("upgrades", {"plan_id": made["plan"]["plan_id"], "approve": True}), 202)
    state = shop.ended(started["upgrade_id"])
    assert state["result"]["error"]["code"] == "swap.refused"
    assert shop.shop.goods["lamp"] == "1.0"


def test_a_second_upgrade_of_the_same_component_is_busy(shop):
    plan_id = shop.plan()["plan"]["plan_id"]
    shop.start(approve=False)
    assert refused(shop.post("upgrades", {"plan_id": plan_id}), 409)["code"] == "upgrade.busy"


def test_switched_off_upgrades_are_locked_and_name_the_switch(tmp_path):
    with running(tmp_path, runtime_upgrade__enabled=False) as shop:
        asked = {"component_name": "lamp", "target_version": "1.1"}
        error = refused(shop.post("plans", {"requests": [asked]}), 423)
        assert error["details"]["setting"] == "runtime_upgrade.enabled"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "status?upgrade_id=up-none", None),
        ("GET", "upgrades/up-none", None),
        ("POST", "upgrades/up-none/cancel", {}),
        ("POST", "upgrades/up-none/approve", {}),
        ("POST", "upgrades", {"plan_id": "plan-none"}),
    ],
)
def test_what_has_no_such_id_is_not_found(shop, method, path, body):
    assert refused(shop.client.request(method, f"/v1/{path}", json=body), 404)["hint"]


def test_a_rollback_without_a_point_is_a_conflict(shop):
    assert refused(shop.post("rollbacks", {"component_name": "book"}), 409)["code"] == "rollback.unavailable"


def test_only_the_last_plans_are_kept(tmp_path):
    with running(tmp_path, limits=Limits(plans=2)) as shop:
        ids = [shop.plan()["plan"]["plan_id"] for _ in range(3)]
        assert refused(shop.post("upgrades", {"plan_id": ids[0]}), 404)["code"] == "plan.unknown"
        good(shop.post("upgrades", {"plan_id": ids[1], "approve": True}), 202)


def test_what_takes_longer_than_its_limit_is_a_timeout_and_the_server_goes_on(tmp_path):
    with running(tmp_path, limits=Limits(work_seconds=0.05)) as shop:
        door = shop.shop.hold["discover"] = Door()
        assert refused(shop.get("components"), 504)["code"] == "control.timeout"
        good(shop.get("health"))
        door.open()
