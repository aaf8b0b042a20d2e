import asyncio
import contextlib
import json
import shutil
import sqlite3

import pytest

from noodle_upgrade_core import (
    BlockingUpgrader,
    ComponentDescriptor,
    Dependency,
    Gate,
    Judge,
    Phase,
    Revert,
    Shift,
    Upgrader,
    UpgradeStatus,
    hookimpl,
    load_settings,
)
from noodle_upgrade_core import errors as e

from .shelf import Shelf, ShelfSwap, ask, fill, gate_at, opened, run, until


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


async def phases(upgrader, upgrade_id):
    return [row.phase for row in upgrader.journal.audit(upgrade_id)]


# --- the way there ---------------------------------------------------------------------------------------------------


def test_an_upgrade_goes_through_every_phase_and_the_running_version_has_changed(folder):
    async def story():
        async with opened(folder) as upgrader:
            plan = await upgrader.plan(ask())
            assert plan.feasible
            assert upgrader.shelf.versions["lamp"] == "1.0"
            result = await upgrader.upgrade(plan)
            assert result.raise_for_error().success
            assert (result.from_version, result.to_version) == ("1.0", "1.1")
            assert result.status is UpgradeStatus.COMPLETED
            assert result.rollback_point.created_at <= result.completed_at
            assert upgrader.shelf.versions == {"lamp": "1.1", "book": "1.0"}
            assert upgrader.journal.active_of("lamp").version == "1.1"
            assert await phases(upgrader, result.upgrade_id) == [
                Phase.RECEIVED,
                Phase.VALIDATED,
                Phase.APPROVED,
                Phase.STAGED,
                Phase.SHIFTING,
                Phase.COMMITTED,
                Phase.DONE,
            ]
            assert not await upgrader.doctor()

    run(story())


def test_planning_changes_nothing_and_leaves_nothing_in_the_journal(folder):
    async def story():
        async with opened(folder) as upgrader:
            await upgrader.plan(ask())
            assert upgrader.get_upgrade_history() == ()
            assert upgrader.shelf.swaps == []

    run(story())


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (ask(name="lump"), e.ComponentUnknownError),
        (ask("7.0"), e.VersionUnknownError),
        (ask("not a version"), e.VersionInvalidError),
        (ask(current_version="0.9"), e.VersionMismatchError),
        (ask(constraints=["<1.1"]), e.ConstraintUnmetError),
        (ask("1.0"), e.VersionRunningError),
        (ask(strategy="canry"), e.DriverUnknownError),
        (ask(parameters={"bakee": 1}), e.InvalidRequestError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_planned_is_a_typed_error_with_a_hint(folder, request_, error):
    async def story():
        async with opened(folder) as upgrader:
            with pytest.raises(error) as caught:
                await upgrader.plan(request_)
            assert type(caught.value) is error
            assert upgrader.shelf.versions == {"lamp": "1.0", "book": "1.0"}

    run(story())


def test_a_verdict_against_it_refuses_the_upgrade_before_anything_happens(folder):
    async def story():
        async with opened(folder) as upgrader:
            plan = await upgrader.plan(ask("13.0"))
            assert not plan.feasible
            assert "bad luck" in str(plan)
            result = await upgrader.upgrade(plan)
            assert isinstance(result.error, e.SwapRefusedError)
            assert result.phase is Phase.ABORTED
            assert upgrader.shelf.swaps == []

    run(story())


def test_a_component_that_no_plugin_can_change_is_refused_with_the_reason(folder):
    class Describer:
        @hookimpl
        def discover(self):
            return [ComponentDescriptor(name="desk", version="1.0")]

    async def story():
        settings = load_settings(
            [],
            environ={},
            overrides={
                "runtime_upgrade.components.registry_path": str(folder / "components"),
                "runtime_upgrade.sources.order": ["directory"],
                "runtime_upgrade.state_directory": str(folder / "state"),
                "runtime_upgrade.plugins.enabled": ["describer"],
            },
        )
        async with Upgrader.open(settings, plugins={"describer": Describer()}) as upgrader:
            plan = await upgrader.plan(ask(name="desk"))
            assert "no installed plugin can change" in str(plan)

    run(story())


# --- gates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "level", "critical", "stopped"),
    [
        ("error", "strict", False, True),
        ("warning", "strict", False, True),
        ("info", "strict", False, False),
        ("error", "normal", False, True),
        ("warning", "normal", False, False),
        ("error", "permissive", False, False),
        ("error", "permissive", True, True),
    ],
)
def test_the_validation_level_says_which_findings_stop(folder, severity, level, critical, stopped):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.findings = [("before", severity, "it wobbles", "lamp")]
        shelf.critical = {"lamp"} if critical else set()
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask(validation_level=level)))
            assert result.success is not stopped
            if stopped:
                assert isinstance(result.error, e.ValidationFailedError)
                assert "it wobbles" in result.error.message
                assert result.phase is Phase.REJECTED

    run(story())


def test_a_validation_that_fails_after_the_swap_takes_it_back(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.findings = [("after", "error", "it flickers", "lamp")]
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert result.phase is Phase.ROLLED_BACK
            assert result.status is UpgradeStatus.ROLLED_BACK
            assert "it flickers" in result.error.message
            assert shelf.versions["lamp"] == "1.0"

    run(story())


def test_one_vote_against_rejects_with_its_reasons(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.vote = {"ballot": "reject", "reasons": ("not on a Monday",)}
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert isinstance(result.error, e.UpgradeRejectedError)
            assert "not on a Monday" in result.error.message
            assert result.phase is Phase.REJECTED
            assert shelf.swaps == []

    run(story())


def test_a_vote_that_raises_counts_as_a_veto(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.fail["decide"] = RuntimeError("no idea")
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert isinstance(result.error, e.UpgradeRejectedError)
            assert "no idea" in result.error.message

    run(story())


def test_without_an_approval_an_upgrade_waits_until_a_person_gives_it(folder):
    async def story():
        async with opened(folder, runtime_upgrade__approval__automatic=False) as upgrader:
            plan = await upgrader.plan(ask())
            upgrade_id = await upgrader.start(plan)
            while not upgrader.get_upgrade_status(upgrade_id)["awaits"]:
                await asyncio.sleep(0.005)
            assert upgrader.shelf.versions["lamp"] == "1.0"
            with pytest.raises(e.ApprovalRequiredError):
                await upgrader.approve(upgrade_id, by="mallory", plan_digest="0" * 64)
            await upgrader.approve(upgrade_id, by="alice", plan_digest=plan.digest)
            result = await upgrader.result(upgrade_id)
            assert result.success
            assert upgrader.journal.approvals(upgrade_id) == ("alice",)

    run(story())


def test_an_upgrade_that_waits_at_a_gate_says_at_which_and_one_person_does_not_open_a_gate_of_two(folder):
    class Two:
        def rollout(self, plan):
            seen = yield Gate(name="go", approvals=2, expires=60)
            yield Shift(1.0) if seen.safe else Revert(seen.reasons)

    async def story():
        async with opened(folder, drivers={"strategies": {"two": Two}}) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask(strategy="two")))
            await until(lambda: upgrader.get_upgrade_status(upgrade_id)["awaits"])
            for who in ("alice", "Alice "):
                await upgrader.approve(upgrade_id, by=who)
            status = upgrader.get_upgrade_status(upgrade_id)
            assert (status["awaits"], status["phase"]) == ("the gate 'go'", Phase.SHIFTING)
            assert status["approvals"] == ["alice"]
            await upgrader.approve(upgrade_id, by="bob")
            assert (await upgrader.result(upgrade_id)).success

    run(story())


def test_an_approval_that_does_not_come_in_time_ends_in_a_typed_error(folder):
    async def story():
        limits = {"runtime_upgrade__approval__automatic": False, "runtime_upgrade__approval__expires": 0.05}
        async with opened(folder, **limits) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert isinstance(result.error, e.ApprovalRequiredError)
            assert upgrader.shelf.versions["lamp"] == "1.0"

    run(story())


def test_the_time_that_people_take_is_not_the_upgrades(folder):
    async def story():
        async with opened(folder, runtime_upgrade__approval__automatic=False) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask(timeout_seconds=0.5)))
            await asyncio.sleep(0.7)
            await upgrader.approve(upgrade_id, by="alice")
            assert (await upgrader.result(upgrade_id)).success
            hurried = await upgrader.start(await upgrader.plan(ask("2.0", timeout_seconds=0.3, parameters={"bake": 9})))
            await upgrader.approve(hurried, by="alice")
            assert isinstance((await upgrader.result(hurried)).error, e.UpgradeTimeoutError)

    run(story())


def test_the_kill_switch_stops_plans_and_upgrades_and_names_what_set_it(folder):
    async def story():
        async with opened(folder, environ={"NOODLE_RUNTIME_UPGRADE_ENABLED": "0"}) as upgrader:
            with pytest.raises(e.UpgradeDisabledError) as caught:
                await upgrader.plan(ask())
            assert "NOODLE_RUNTIME_UPGRADE_ENABLED" in str(caught.value)

    run(story())


# --- the way back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["swap", "recompile"])
def test_a_failure_before_anything_is_visible_aborts(folder, place):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.fail[place] = RuntimeError("clumsy")
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert isinstance(result.error, e.PluginBrokenError)
            assert "clumsy" in result.error.message
            assert result.phase is Phase.ABORTED
            assert shelf.versions["lamp"] == "1.0"
            shelf.fail.clear()
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success

    run(story())


@pytest.mark.parametrize("place", ["shift", "validate after", "commit"])
def test_a_failure_once_traffic_moves_rolls_back_and_the_same_upgrade_can_be_tried_again(folder, place):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.fail[place] = RuntimeError("clumsy")
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert result.phase is Phase.ROLLED_BACK
            assert not result.success
            assert shelf.versions["lamp"] == "1.0"
            assert upgrader.journal.active_of("lamp").version == "1.0"
            assert not await upgrader.doctor()
            shelf.fail.clear()
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success

    run(story())


def test_an_undo_that_fails_is_stuck_and_says_all_that_failed(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.fail = {
            "shift": RuntimeError("clumsy"),
            "revert": RuntimeError("glued"),
            "rollback": RuntimeError("lost"),
        }
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert isinstance(result.error, e.RollbackFailedError)
            assert result.phase is Phase.STUCK
            assert "glued" in str(result.error.details)
            assert "lost" in str(result.error.details)

    run(story())


def test_a_component_is_found_under_every_spelling_of_its_name(folder):
    async def story():
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            (await upgrader.upgrade(ask())).raise_for_error()
            assert len(upgrader.get_upgrade_history(component_name="Lamp")) == 1
            assert [point.component_name for point in upgrader.list_rollback_points("LAMP")] == ["lamp"]
            assert (await upgrader.rollback("Lamp")).raise_for_error().phase is Phase.ROLLED_BACK
            with pytest.raises(e.ComponentUnknownError, match="No component 'lamb'"):
                await upgrader.rollback("lamb")

    run(story())


def test_a_rollback_that_is_refused_before_anything_moves_leaves_the_upgrade_done(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            upgraded = await upgrader.upgrade(await upgrader.plan(ask()))
            shelf.fail = {"revert": e.MigrationError("The old version cannot take this state.")}
            result = await upgrader.rollback("lamp")
            assert isinstance(result.error, e.MigrationError)
            assert (result.success, result.phase) == (False, Phase.DONE)
            assert shelf.versions["lamp"] == "1.1"
            assert not await upgrader.doctor()
            shelf.fail.clear()
            assert (await upgrader.rollback("lamp")).raise_for_error().metrics["warm"] == 1.0
            assert shelf.versions["lamp"] == "1.0"
            assert upgrader.journal.record(upgraded.upgrade_id).phase is Phase.ROLLED_BACK

    run(story())


def test_a_rollback_that_fails_half_way_is_stuck(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            upgraded = await upgrader.upgrade(await upgrader.plan(ask()))
            shelf.fail = {"revert": e.MigrationError("Lost half of it.")}
            shelf.versions["lamp"] = "0.5"
            assert not (await upgrader.rollback("lamp")).success
            assert upgrader.journal.record(upgraded.upgrade_id).phase is Phase.STUCK

    run(story())


def test_a_stuck_upgrade_can_be_taken_back_once_its_cause_is_gone(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.fail = {"validate after": RuntimeError("clumsy"), "revert": RuntimeError("glued")}
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert result.phase is Phase.STUCK
            assert shelf.versions["lamp"] == "1.1"
            shelf.fail.clear()
            assert (await upgrader.rollback("lamp")).raise_for_error().success
            assert shelf.versions["lamp"] == "1.0"
            assert upgrader.journal.record(result.upgrade_id).phase is Phase.ROLLED_BACK
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
            assert not await upgrader.doctor()

    run(story())


def test_a_stuck_upgrade_whose_process_ended_is_taken_back_by_writing_it_down(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.fail = {"validate after": RuntimeError("clumsy"), "revert": RuntimeError("glued")}
        async with opened(folder, shelf) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).phase is Phase.STUCK
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert (await upgrader.rollback("lamp")).raise_for_error().success
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success

    run(story())


def test_what_is_under_way_cannot_be_planned_again_and_the_error_names_it(folder):
    async def story():
        async with opened(folder) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask(parameters={"bake": 60})))
            while upgrader.shelf.versions["lamp"] != "1.1":
                await asyncio.sleep(0.005)
            with pytest.raises(e.UpgradeBusyError, match=upgrade_id):
                await upgrader.plan(ask())
            await upgrader.cancel_upgrade(upgrade_id)

    run(story())


def test_what_no_rollback_point_needs_any_more_leaves_the_store(folder):
    async def story():
        async with opened(folder, runtime_upgrade__rollback__max_rollback_points=1) as upgrader:
            for version in ("1.1", "2.0", "0.9", "1.1"):
                assert (await upgrader.upgrade(await upgrader.plan(ask(version)))).success
            kept = upgrader.journal.digests()
            upgrader.store.collect(kept, min_age=0.0)
            assert kept <= upgrader.store.digests()
            assert len(upgrader.store.digests()) <= len(kept) + 2

    run(story())


def test_success_is_only_claimed_when_the_component_says_so(folder):
    class Liar(Shelf):
        @hookimpl
        def swap(self, steps):
            made = ShelfSwap(self, steps)
            made.shift = lambda weight: None
            return made

    async def story():
        async with opened(folder, Liar(lamp="1.0")) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert isinstance(result.error, e.NotChangedError)
            assert "lamp still runs 1.0" in result.error.message
            assert result.phase is Phase.ROLLED_BACK

    run(story())


def test_the_requests_time_limit_takes_everything_back(folder):
    async def story():
        async with opened(folder) as upgrader:
            request = ask(timeout_seconds=0.5, parameters={"bake": 60})
            result = await upgrader.upgrade(await upgrader.plan(request))
            assert isinstance(result.error, e.UpgradeTimeoutError)
            assert result.phase is Phase.ROLLED_BACK
            assert upgrader.shelf.versions["lamp"] == "1.0"

    run(story())


def test_a_strategy_of_ones_own_needs_no_entry_point(folder):
    seen = []

    class Careful:
        def rollout(self, plan):
            yield Shift(1.0)
            seen.append((yield Judge(until="budget", budget=0.01)))

    async def story():
        async with opened(folder, drivers={"strategies": {"careful": Careful}}) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(ask(strategy="careful")))).success

    run(story())
    assert seen[0].starved


# --- cancelling, in every state --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "ends"),
    [
        ("decide", Phase.ABORTED),
        ("swap", Phase.ABORTED),
        ("shift", Phase.ROLLED_BACK),
        ("validate after", Phase.ROLLED_BACK),
    ],
)
def test_cancelling_leaves_the_old_version_wherever_the_upgrade_is(folder, place, ends):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            plan = await upgrader.plan(ask())
            entered, go_on = gate_at(shelf, place)
            upgrade_id = await upgrader.start(plan)
            await asyncio.to_thread(entered.wait, 10)
            cancelling = asyncio.create_task(upgrader.cancel_upgrade(upgrade_id, by="alice"))
            await asyncio.sleep(0.01)
            go_on.set()
            assert await cancelling is UpgradeStatus.CANCELLED
            result = await upgrader.result(upgrade_id)
            assert result.phase is ends
            assert "alice" in result.error.message
            assert shelf.versions["lamp"] == "1.0"

    run(story())


def test_cancelling_while_it_soaks_goes_back(folder):
    async def story():
        async with opened(folder) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask(parameters={"soak": 60})))
            while upgrader.get_upgrade_status(upgrade_id)["phase"] is not Phase.SOAKING:
                await asyncio.sleep(0.005)
            assert upgrader.journal.active_of("lamp").version == "1.1"
            assert await upgrader.cancel_upgrade(upgrade_id, by="alice") is UpgradeStatus.CANCELLED
            assert upgrader.shelf.versions["lamp"] == "1.0"
            assert upgrader.journal.active_of("lamp").version == "1.0"

    run(story())


def test_what_has_ended_cannot_be_cancelled_and_the_error_says_to_roll_back(folder):
    async def story():
        async with opened(folder) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            with pytest.raises(e.InvalidRequestError, match="rollback"):
                await upgrader.cancel_upgrade(result.upgrade_id)
            with pytest.raises(e.UpgradeUnknownError):
                await upgrader.cancel_upgrade("up-none")

    run(story())


# --- several at once -------------------------------------------------------------------------------------------------


def test_a_second_upgrade_of_the_same_component_is_refused_while_the_first_runs(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            first, second = await upgrader.plan(ask()), await upgrader.plan(ask("2.0"))
            entered, go_on = gate_at(shelf, "swap")
            upgrade_id = await upgrader.start(first)
            await asyncio.to_thread(entered.wait, 10)
            with pytest.raises(e.UpgradeBusyError, match="lamp"):
                await upgrader.start(second)
            go_on.set()
            assert (await upgrader.result(upgrade_id)).success

    run(story())


def test_no_more_upgrades_run_at_once_than_the_settings_allow(folder):
    async def story():
        shelf = Shelf(lamp="1.0", book="1.0")
        async with opened(folder, shelf, runtime_upgrade__max_concurrent_upgrades=1) as upgrader:
            first, second = await upgrader.plan(ask()), await upgrader.plan(ask(name="book"))
            entered, go_on = gate_at(shelf, "swap")
            upgrade_id = await upgrader.start(first)
            await asyncio.to_thread(entered.wait, 10)
            with pytest.raises(e.UpgradeBusyError, match="1 upgrades run already"):
                await upgrader.start(second)
            go_on.set()
            await upgrader.result(upgrade_id)
            del shelf.wait["swap"]
            assert (await upgrader.upgrade(second)).success

    run(story())


def test_a_plan_that_others_have_overtaken_is_refused(folder):
    async def story():
        async with opened(folder) as upgrader:
            late = await upgrader.plan(ask("2.0"))
            await upgrader.upgrade(await upgrader.plan(ask("1.1")))
            with pytest.raises(e.InvalidRequestError, match=r"1\.1 runs by now"):
                await upgrader.upgrade(late)

    run(story())


def test_a_set_commits_whole_with_dependencies_first(folder):
    async def story():
        shelf = Shelf(lamp="1.0", desk="1.0")
        shelf.dependencies["lamp"] = (Dependency("desk"),)
        async with opened(folder, shelf) as upgrader:
            plan = await upgrader.plan([ask("2.0"), ask("2.0", "desk")])
            assert plan.component_names == ("desk", "lamp")
            result = await upgrader.upgrade(plan)
            assert result.success
            assert shelf.versions == {"lamp": "2.0", "desk": "2.0"}
            assert len(shelf.swaps) == 1
            back = await upgrader.rollback("desk")
            assert back.success
            assert shelf.versions == {"lamp": "1.0", "desk": "1.0"}

    run(story())


def stating(folder, name, version, *needs):
    (folder / "components" / name / f"{version}.py").write_text(
        f"__version__ = {version!r}\n__dependencies__ = {list(needs)!r}\n"
    )


def test_new_versions_that_need_one_another_in_a_circle_are_refused_before_anything_runs(folder):
    stating(folder, "lamp", "2.0", "desk")
    stating(folder, "desk", "2.0", "lamp")

    async def story():
        async with opened(folder, Shelf(lamp="1.0", desk="1.0")) as upgrader:
            with pytest.raises(e.DependencyCycleError) as caught:
                await upgrader.plan([ask("2.0"), ask("2.0", "desk")])
            assert caught.value.details["cycle"] == ["desk", "lamp"]
            assert (await upgrader.plan(ask("2.0"))).feasible

    run(story())


def test_a_circle_that_a_plan_ends_does_not_keep_it_from_being_made(folder):
    stating(folder, "lamp", "2.0", "book")
    shelf = Shelf(lamp="1.0", desk="1.0", book="1.0")
    shelf.dependencies = {"lamp": (Dependency("desk"),), "desk": (Dependency("lamp"),)}

    async def story():
        async with opened(folder, shelf) as upgrader:
            with pytest.raises(e.DependencyCycleError):
                await upgrader.plan(ask("1.1"))
            plan = await upgrader.plan([ask("2.0"), ask("2.0", "book")])
            assert plan.component_names == ("book", "lamp")

    run(story())


def test_a_change_that_breaks_a_dependent_is_found_in_the_plan(folder):
    async def story():
        shelf = Shelf(lamp="1.0", desk="1.0")
        shelf.dependencies["lamp"] = (Dependency("desk", "<2"),)
        async with opened(folder, shelf) as upgrader:
            plan = await upgrader.plan(ask("2.0", "desk"))
            assert not plan.feasible
            assert any("lamp" in finding.message for finding in plan.stoppers)

    run(story())


# --- rollback --------------------------------------------------------------------------------------------------------


def test_rollback_goes_back_warm_and_the_generation_grows(folder):
    async def story():
        async with opened(folder) as upgrader:
            await upgrader.upgrade(await upgrader.plan(ask()))
            before = upgrader.journal.active_of("lamp").generation
            result = await upgrader.rollback("lamp", requested_by="alice")
            assert result.success
            assert result.metrics["warm"] == 1.0
            assert upgrader.shelf.versions["lamp"] == "1.0"
            assert upgrader.journal.active_of("lamp").generation == before + 1
            assert Phase.DONE in upgrader.shelf.undone
            assert not await upgrader.doctor()
            with pytest.raises(e.RollbackUnavailableError):
                await upgrader.rollback("lamp")

    run(story())


def test_rollback_works_after_a_restart_from_the_bytes_in_the_store(folder):
    async def story():
        async with opened(folder) as upgrader:
            await upgrader.upgrade(await upgrader.plan(ask("1.1")))
            await upgrader.upgrade(await upgrader.plan(ask("2.0")))
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.shelf.versions["lamp"] == "2.0"
            result = await upgrader.rollback("lamp")
            assert result.raise_for_error().success
            assert result.metrics["warm"] == 0.0
            assert upgrader.shelf.versions["lamp"] == "1.1"
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.shelf.versions["lamp"] == "1.1"

    run(story())


def test_a_set_does_not_go_back_in_part_when_a_member_has_moved_on(folder):
    async def story():
        shelf = Shelf(lamp="1.0", desk="1.0")
        async with opened(folder, shelf) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan([ask("1.1"), ask("1.1", "desk")]))).success
            assert (await upgrader.upgrade(await upgrader.plan(ask("2.0")))).success
            with pytest.raises(e.RollbackUnavailableError, match=r"lamp, which has moved on to 2\.0"):
                await upgrader.rollback("desk")
            assert (await upgrader.rollback("lamp")).success
            assert (await upgrader.rollback("desk")).success
            assert shelf.versions == {"lamp": "1.0", "desk": "1.0"}

    run(story())


def test_an_old_version_that_is_not_warm_any_more_comes_back_from_the_store(folder):
    async def story():
        async with opened(folder) as upgrader:
            await upgrader.upgrade(await upgrader.plan(ask()))
            upgrader.shelf.fail["revert"] = e.RollbackUnavailableError("released")
            result = await upgrader.rollback("lamp")
            assert result.raise_for_error().metrics["warm"] == 0.0
            assert upgrader.shelf.versions["lamp"] == "1.0"

    run(story())


def test_rollback_can_be_switched_off(folder):
    async def story():
        async with opened(folder, runtime_upgrade__rollback__enabled=False) as upgrader:
            await upgrader.upgrade(await upgrader.plan(ask()))
            with pytest.raises(e.RollbackUnavailableError, match="switched off"):
                await upgrader.rollback("lamp")

    run(story())


def test_no_more_rollback_points_are_kept_than_configured(folder):
    async def story():
        async with opened(folder, runtime_upgrade__rollback__max_rollback_points=2) as upgrader:
            for version in ("1.1", "2.0", "1.0", "1.1"):
                assert (await upgrader.upgrade(await upgrader.plan(ask(version)))).success
            assert len(upgrader.list_rollback_points("lamp")) == 2

    run(story())


# --- restarts --------------------------------------------------------------------------------------------------------


def test_two_controllers_never_manage_one_state_directory(folder):
    async def story():
        async with opened(folder):
            with pytest.raises(e.LeaseHeldError):
                async with opened(folder, Shelf(lamp="1.0")):
                    pass

    run(story())


def test_closing_in_the_middle_of_an_upgrade_goes_back(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask(parameters={"bake": 60})))
            while shelf.versions["lamp"] != "1.1":
                await asyncio.sleep(0.005)
        assert shelf.versions["lamp"] == "1.0"
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.journal.record(upgrade_id).phase is Phase.ROLLED_BACK
            assert not await upgrader.doctor()

    run(story())


def test_a_soak_that_a_restart_interrupted_goes_on_and_ends(folder):
    async def story():
        async with opened(folder) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask(parameters={"soak": 1.0})))
            while upgrader.get_upgrade_status(upgrade_id)["phase"] is not Phase.SOAKING:
                await asyncio.sleep(0.005)
            # The process dies here: nothing of it is told to stop.
            upgrader.journal.release_lease()
            async with opened(folder, Shelf(lamp="1.0")) as second:
                assert second.shelf.versions["lamp"] == "1.1"
                assert (await second.result(upgrade_id)).success
                assert second.journal.record(upgrade_id).phase is Phase.DONE

    run(story())


def test_a_soak_that_a_restart_interrupted_is_shown_and_can_be_cancelled(folder):
    async def story():
        async with opened(folder) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask(parameters={"soak": 60})))
            while upgrader.get_upgrade_status(upgrade_id)["phase"] is not Phase.SOAKING:
                await asyncio.sleep(0.005)
            upgrader.journal.release_lease()
            async with opened(folder, Shelf(lamp="1.0")) as second:
                assert [one["upgrade_id"] for one in second.get_upgrade_status()["active"]] == [upgrade_id]
                with pytest.raises(e.InvalidRequestError, match="soaks"):
                    await second.approve(upgrade_id, by="alice")
                assert await second.cancel_upgrade(upgrade_id, by="alice") is UpgradeStatus.CANCELLED
                assert second.shelf.versions["lamp"] == "1.0"
                assert second.journal.active_of("lamp").version == "1.0"

    run(story())


def test_an_upgrade_that_waits_for_a_person_is_found_after_a_crash(folder):
    async def story():
        async with opened(folder, runtime_upgrade__approval__automatic=False) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask()))
            while all(event.kind != "upgrade.approval_needed" for event in upgrader.events.recent()):
                await asyncio.sleep(0.005)
            # Read from the file, as another process would: nothing may depend on this one's memory.
            with contextlib.closing(sqlite3.connect(folder / "state" / "journal.db")) as file:
                assert upgrade_id in str(file.execute("SELECT * FROM upgrades").fetchall())

    run(story())


# --- looking ---------------------------------------------------------------------------------------------------------


def test_events_tell_the_whole_story_in_order(folder):
    async def story():
        async with opened(folder) as upgrader:
            await upgrader.upgrade(await upgrader.plan(ask()))
            kinds = [event.kind for event in upgrader.events.recent()]
            named = [k for k in kinds if k in {"upgrade_requested", "upgrade_started", "upgrade_completed"}]
            assert named == ["upgrade_requested", "upgrade_started", "upgrade_completed"]
            assert kinds.count("upgrade.phase") == 6

    run(story())


def test_status_and_history_hold_json_values_only(folder):
    async def story():
        async with opened(folder) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            json.dumps(upgrader.get_upgrade_status())
            json.dumps(upgrader.get_upgrade_status(result.upgrade_id))
            history = upgrader.get_upgrade_history()
            json.dumps(history)
            assert history[0]["upgrade_id"] == result.upgrade_id

    run(story())


def test_feasibility_says_why_not_without_fetching(folder):
    async def story():
        async with opened(folder) as upgrader:
            assert (await upgrader.analyze_upgrade_feasibility(ask())).feasible
            answer = await upgrader.analyze_upgrade_feasibility(ask(constraints=["<1"]))
            assert not answer.feasible
            assert answer.blockers

    run(story())


def test_the_blocking_twin_does_the_same_from_any_thread(folder):
    values = {
        "runtime_upgrade.components.registry_path": str(folder / "components"),
        "runtime_upgrade.sources.order": ["directory"],
        "runtime_upgrade.state_directory": str(folder / "state"),
        "runtime_upgrade.plugins.enabled": ["shelf"],
    }
    shelf = Shelf(lamp="1.0")
    settings = load_settings([], environ={}, overrides=values)
    with BlockingUpgrader.open(settings, plugins={"shelf": shelf}) as upgrader:
        assert [component.name for component in upgrader.components()] == ["lamp"]
        result = upgrader.upgrade(upgrader.plan(ask()), approved_by="alice")
        assert result.raise_for_error().success
        assert upgrader.rollback("lamp").success
        assert upgrader.get_upgrade_status()["active"] == []
        assert len(upgrader.get_upgrade_history()) == 1
        assert not upgrader.doctor()
    assert shelf.versions["lamp"] == "1.0"


# --- every setting does what it says ---------------------------------------------------------------------------------


def test_without_discovery_only_what_was_registered_by_hand_is_listed(folder):
    async def story():
        async with opened(folder, runtime_upgrade__components__auto_discovery=False) as upgrader:
            assert await upgrader.components() == ()
            upgrader.register_component(ComponentDescriptor(name="lamp", version="0", description="over the desk"))
            (lamp,) = await upgrader.components()
            assert (lamp.version, lamp.description) == ("1.0", "over the desk")
            upgrader.register_component(ComponentDescriptor(name="ghost", version="1.0"))
            assert [one.name for one in await upgrader.discover_components()] == ["lamp"]

    run(story())


def test_without_dependency_resolution_dependents_are_not_looked_at(folder):
    async def story():
        shelf = Shelf(lamp="1.0", desk="1.0")
        shelf.dependencies["lamp"] = (Dependency("desk", "<2"),)
        async with opened(folder, shelf, runtime_upgrade__components__dependency_resolution=False) as upgrader:
            assert (await upgrader.plan(ask("2.0", "desk"))).feasible

    run(story())


def test_components_that_the_settings_call_critical_are_critical(folder):
    async def story():
        async with opened(folder, runtime_upgrade__critical_components=["Lamp"]) as upgrader:
            assert {one.name: one.critical for one in await upgrader.components()} == {"lamp": True, "book": False}

    run(story())


@pytest.mark.parametrize(("stage", "key"), [("before", "pre_upgrade_checks"), ("after", "post_upgrade_validation")])
def test_a_stage_of_validation_can_be_switched_off(folder, stage, key):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.findings = [(stage, "error", "it wobbles", "lamp")]
        async with opened(folder, shelf, **{f"runtime_upgrade__validation__{key}": False}) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success

    run(story())


def test_the_settings_time_limit_holds_for_every_request(folder):
    async def story():
        async with opened(folder, runtime_upgrade__upgrade_timeout=0.3) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask(parameters={"bake": 60})))
            assert isinstance(result.error, e.UpgradeTimeoutError)

    run(story())


def test_staging_has_a_time_limit_of_its_own(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        _, go_on = gate_at(shelf, "swap")
        async with opened(folder, shelf, runtime_upgrade__hot_swap__swap_timeout=0.1) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            go_on.set()
            assert isinstance(result.error, e.PluginTimeoutError)
            assert result.phase is Phase.ABORTED

    run(story())


def test_a_request_made_by_the_upgrader_has_the_settings_defaults(folder):
    async def story():
        async with opened(folder, runtime_upgrade__validation__level="normal") as upgrader:
            request = upgrader.request("lamp", "1.1", priority=7)
            assert (request.validation_level, request.strategy, request.priority) == ("normal", "immediate", 7)

    run(story())


def test_a_journal_of_a_newer_version_is_served_and_left_alone(folder):
    async def story():
        async with opened(folder) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
        journal = folder / "state" / "journal.db"
        with contextlib.closing(sqlite3.connect(journal)) as file:
            file.execute("PRAGMA user_version = 99")
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.shelf.versions["lamp"] == "1.1"
            for change in (upgrader.plan(ask("2.0")), upgrader.rollback("lamp")):
                with pytest.raises(e.JournalSchemaError):
                    await change

    run(story())


def test_a_version_that_nobody_restored_is_said_out_loud(folder, caplog):
    class Forgetful(Shelf):
        @hookimpl
        def restore(self, active):
            return []

    async def story():
        async with opened(folder) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
        async with opened(folder, Forgetful(lamp="1.0")):
            assert "The journal has lamp at 1.1, and 1.0 runs." in caplog.text

    run(story())


def test_a_rollback_of_a_misspelt_component_says_which_was_meant(folder):
    async def story():
        async with opened(folder) as upgrader:
            with pytest.raises(e.ComponentUnknownError, match="Did you mean 'lamp'"):
                await upgrader.rollback("lmap")

    run(story())


def test_what_fails_because_it_was_cancelled_counts_as_cancelled(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        entered, go_on = gate_at(shelf, "swap")
        shelf.fail["swap"] = e.StageTimeoutError("It gave up, because it was asked to.")
        async with opened(folder, shelf) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask()))
            await asyncio.to_thread(entered.wait, 10)
            cancelling = asyncio.create_task(upgrader.cancel_upgrade(upgrade_id, by="alice"))
            await asyncio.sleep(0)
            go_on.set()
            assert await cancelling is UpgradeStatus.CANCELLED
            result = await upgrader.result(upgrade_id)
            assert result.error.details["then"]["code"] == "stage.timeout"

    run(story())


def test_what_is_being_changed_cannot_be_gone_back_from_meanwhile(folder):
    async def story():
        async with opened(folder) as upgrader:
            upgrade_id = await upgrader.start(await upgrader.plan(ask(parameters={"bake": 60})))
            while upgrader.shelf.versions["lamp"] != "1.1":
                await asyncio.sleep(0.005)
            with pytest.raises(e.UpgradeBusyError, match=upgrade_id):
                await upgrader.rollback("lamp")
            await upgrader.cancel_upgrade(upgrade_id)

    run(story())


# --- plugins that take no part ---------------------------------------------------------------------------------------


class Guard:
    """A gate that cannot be made: nobody knows what it would have said."""

    def __init__(self):
        raise RuntimeError("no licence")

    @hookimpl
    def validate(self):
        return []


def test_nothing_is_upgraded_past_a_plugin_that_could_not_be_made(folder):
    async def story():
        async with opened(folder, plugins={"guard": Guard}) as upgrader:
            plan = await upgrader.plan(ask())
            (finding,) = [one for one in plan.findings if one.source == "guard"]
            assert "takes no part" in finding.message
            assert "no licence" in finding.message
            assert "plugins.disabled" in finding.hint
            for level in ("strict", "normal", "permissive"):
                result = await upgrader.upgrade(await upgrader.plan(ask(validation_level=level)))
                assert isinstance(result.error, e.ValidationFailedError)
            assert upgrader.shelf.versions["lamp"] == "1.0"
            assert [one.source for one in await upgrader.doctor()] == ["guard"]

    run(story())


def test_a_plugin_that_is_left_out_on_purpose_stops_nothing(folder):
    async def story():
        settings = {"runtime_upgrade.plugins.disabled": ["guard"], "runtime_upgrade.plugins.enabled": ["shelf"]}
        async with opened(folder, plugins={"guard": Guard}, **settings) as upgrader:
            assert (await upgrader.upgrade(ask())).success

    run(story())


def test_a_version_that_is_running_can_be_gone_back_from_without_the_plugin_that_cannot_be_made(folder):
    shelf = Shelf(lamp="1.0", book="1.0")

    async def story():
        async with opened(folder, shelf) as upgrader:
            assert (await upgrader.upgrade(ask())).success
        async with opened(folder, shelf, plugins={"guard": Guard}) as upgrader:
            assert (await upgrader.rollback("lamp")).success
            assert shelf.versions["lamp"] == "1.0"

    run(story())


def test_the_doctor_names_a_call_of_a_plugin_that_was_given_up_and_still_runs(folder):
    shelf = Shelf(lamp="1.0", book="1.0")

    async def story():
        async with opened(folder, shelf, runtime_upgrade__plugins__hook_timeout=0.1) as upgrader:
            _, go_on = gate_at(shelf, "discover")
            codes = {one.code for one in await upgrader.doctor()}
            assert {"plugin.timeout", "plugin.left_behind"} <= codes
            go_on.set()

    run(story())


# --- calls that take longer than a change waits ----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def slow_calls(upgrader, count):
    """Calls that are under way for as long as the block."""
    leave = asyncio.Event()

    async def app(scope, receive, send):
        await leave.wait()

    calls = [asyncio.create_task(upgrader.gauge.asgi(app)({"type": "http"}, None, None)) for _ in range(count)]
    await asyncio.sleep(0)
    yield
    leave.set()
    await asyncio.gather(*calls)


def test_calls_that_the_change_did_not_wait_for_are_foreseen_counted_and_in_the_history(folder):
    async def story():
        async with opened(folder) as upgrader:
            seen = []
            upgrader.events.subscribe(seen.append)
            assert not [one for one in (await upgrader.plan(ask())).findings if one.code == "calls.across"]
            async with slow_calls(upgrader, 2):
                plan = await upgrader.plan(ask())
                (finding,) = [one for one in plan.findings if one.code == "calls.across"]
                assert "2 call(s)" in finding.message
                result = await upgrader.upgrade(plan)
                assert result.success
                assert result.metrics["calls_across"] == 2
                assert "may have seen both versions" in " ".join(result.operations)
                assert [one for one in seen if one.data.get("code") == "calls.across" and one.data.get("calls") == 2]
                assert "calls under way" in json.dumps(upgrader.get_upgrade_history(1))
                back = await upgrader.rollback("lamp")
                assert back.metrics["calls_across"] == 2

    run(story())


def test_a_change_that_did_not_happen_counts_no_calls(folder):
    shelf = Shelf(lamp="1.0", book="1.0")
    shelf.fail["shift"] = e.DrainTimeoutError("busy")

    async def story():
        async with opened(folder, shelf) as upgrader, slow_calls(upgrader, 1):
            result = await upgrader.upgrade(ask())
            assert result.phase is Phase.ROLLED_BACK
            assert "calls_across" not in result.metrics

    run(story())


@pytest.mark.parametrize("where", ["staged", "shifted", "stuck", "done"])
def test_a_result_names_a_rollback_point_only_where_it_leads_back(folder, where):
    async def story():
        shelf = Shelf(lamp="1.0")
        if where == "staged":
            shelf.fail["recompile"] = RuntimeError("no")
        elif where != "done":
            shelf.findings = [("after", "error", "It is ugly.", "lamp")]
        if where == "stuck":
            shelf.fail["revert"] = RuntimeError("no")
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            named = result.rollback_point is not None
            assert named is (where in {"stuck", "done"}), result.phase
            shelf.fail.clear()
            if named:
                assert (await upgrader.rollback("lamp", rollback_id=result.rollback_point.rollback_id)).success

    run(story())


def test_an_upgrade_that_was_cancelled_is_counted_as_cancelled_wherever_it_was(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        entered, go_on = gate_at(shelf, "swap")
        async with opened(folder, shelf) as upgrader:
            early = await upgrader.start(await upgrader.plan(ask()))
            await asyncio.to_thread(entered.wait, 10)
            cancelling = asyncio.create_task(upgrader.cancel_upgrade(early, by="alice"))
            await asyncio.sleep(0)
            go_on.set()
            await cancelling
            shelf.wait.clear()
            late = await upgrader.start(await upgrader.plan(ask(parameters={"soak": 60})))
            await until(lambda: upgrader.get_upgrade_status(late)["phase"] == Phase.SOAKING)
            assert await upgrader.cancel_upgrade(late, by="alice") is UpgradeStatus.CANCELLED
            counts = upgrader.get_upgrade_status()["counts"]
            assert {name: count for name, count in counts.items() if count} == {"cancelled": 2}
            assert [row["status"] for row in upgrader.get_upgrade_history()] == ["cancelled", "cancelled"]
            assert upgrader.get_upgrade_status(early)["status"] == "cancelled"

    run(story())


def test_the_end_of_an_upgrade_is_told_when_no_crash_of_the_process_can_lose_it(folder):
    async def story():
        found = {}
        async with opened(folder) as upgrader:

            def look(event):
                if event.kind == "upgrade.phase" and event.data["to"] in {Phase.DONE, Phase.ABORTED}:
                    with contextlib.closing(sqlite3.connect(folder / "state" / "journal.db")) as file:
                        query = "SELECT phase FROM upgrades WHERE upgrade_id = ?"
                        (found[event.data["to"]],) = file.execute(query, (event.upgrade_id,)).fetchone() or ("nothing",)

            upgrader.events.subscribe(look)
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
            assert not (await upgrader.upgrade(await upgrader.plan(ask("13.0")))).success
        assert found == {Phase.DONE: "done", Phase.ABORTED: "aborted"}

    run(story())


def test_a_version_that_could_not_be_restored_is_brought_back_by_upgrading_to_it_again(folder):
    class Forgetful(Shelf):
        @hookimpl
        def restore(self, active):
            return []

    async def story():
        async with opened(folder) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
        async with opened(folder, Forgetful(lamp="1.0")) as upgrader:
            assert [f.code for f in await upgrader.doctor()] == ["active.differs"]
            result = await upgrader.upgrade(await upgrader.plan(ask()))
            assert result.raise_for_error().success
            assert await upgrader.doctor() == ()
            assert upgrader.journal.active_of("lamp").version == "1.1"
            assert (await upgrader.rollback("lamp")).success
            assert await upgrader.doctor() == ()
            assert (upgrader.journal.active_of("lamp").version, upgrader.shelf.versions["lamp"]) == ("1.0", "1.0")
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.shelf.versions["lamp"] == "1.0"

    run(story())


def test_a_version_that_could_not_be_restored_and_does_harm_when_it_is_brought_back_leaves_no_contradiction(folder):
    class Forgetful(Shelf):
        @hookimpl
        def restore(self, active):
            return []

    async def story():
        async with opened(folder) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
        shelf = Forgetful(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            shelf.findings = [("after", "error", "It is ugly.", "lamp")]
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).phase is Phase.ROLLED_BACK
            with pytest.raises(e.RollbackUnavailableError):
                await upgrader.rollback("lamp")
            assert await upgrader.doctor() == ()

    run(story())


@pytest.mark.parametrize(
    ("setting", "driver"),
    [("decider", "unanimos"), ("judge", "kilswitch"), ("strategy", "gradul"), ("journal", "sqlit")],
)
def test_a_driver_that_is_not_there_is_an_error_at_the_start_and_not_in_an_upgrade(folder, setting, driver):
    async def story():
        with pytest.raises(e.DriverUnknownError, match="Did you mean") as caught:
            async with opened(folder, **{f"runtime_upgrade__drivers__{setting}": driver}):
                pass
        assert f"runtime_upgrade.drivers.{setting}" in caught.value.message
        assert not (folder / "state").exists()

    run(story())


def test_a_driver_that_the_program_itself_gives_is_there(folder):
    async def story():
        given = {"deciders": {"mine": lambda **_: None}, "judges": {"mine": lambda **_: None}}
        named = {"runtime_upgrade__drivers__decider": "mine", "runtime_upgrade__drivers__judge": "mine"}
        async with opened(folder, drivers=given, **named) as upgrader:
            assert {"killswitch", "mine"} <= set(upgrader.drivers.names("judges"))

    run(story())


def garbled(file, table):
    """Put other bytes where the journal has the rows of a table."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    data = bytearray(file.read_bytes())
    data[page * 4096 - 2000 : page * 4096] = b"\x5a" * 2000
    file.write_bytes(bytes(data))


def test_a_damaged_journal_is_told_at_the_start_and_with_the_status(folder, caplog):
    async def story():
        async with opened(folder) as upgrader:
            for _ in range(3):
                assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
                assert (await upgrader.rollback("lamp")).success
            assert upgrader.get_upgrade_status()["findings"] == []
        garbled(folder / "state" / "journal.db", "nonces")
        async with opened(folder) as upgrader:
            assert "is damaged" in caplog.text
            (finding,) = upgrader.get_upgrade_status()["findings"]
            assert (finding["code"], finding["subject"]) == ("journal.corrupt", "journal")
            assert finding["hint"]
            found = await upgrader.doctor()
            assert len({(f.code, f.message) for f in found}) == len(found)
            assert all(f.subject for f in found)

    run(story())


def test_nothing_is_upgraded_on_a_damaged_journal_and_the_program_goes_on(folder):
    async def story():
        async with opened(folder) as upgrader:
            plan = await upgrader.plan(ask())
            assert (await upgrader.upgrade(plan)).success
        garbled(folder / "state" / "journal.db", "nonces")
        async with opened(folder) as upgrader:
            for refused in (upgrader.plan(ask()), upgrader.upgrade(plan)):
                with pytest.raises(e.JournalCorruptError, match="damaged"):
                    await refused
            assert "lamp" in [one.name for one in await upgrader.components()]

    run(story())


def test_the_versions_that_could_be_had_are_listed_newest_last(folder):
    async def story():
        async with opened(folder) as upgrader:
            assert await upgrader.list_versions("LAMP") == ("0.9", "1.0", "1.1", "2.0", "13.0")
            with pytest.raises(e.ComponentUnknownError):
                await upgrader.list_versions("lump")

    run(story())


def test_a_start_says_how_a_version_whose_bytes_are_lost_is_had_again(folder, caplog):
    async def story():
        async with opened(folder) as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
        shutil.rmtree(folder / "state" / "store")
        async with opened(folder) as upgrader:
            assert "lamp 1.1 is not brought back, what the environment provides runs" in caplog.text
            assert "Fetch it again: `noodle upgrade lamp 1.1`." in caplog.text
            assert (await upgrader.upgrade(await upgrader.plan(ask()))).success
            assert await upgrader.doctor() == ()
        async with opened(folder) as upgrader:
            assert upgrader.shelf.versions["lamp"] == "1.1"

    run(story())
