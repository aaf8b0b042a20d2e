"""What others do to deployments: broken policies, judges that say too much, callers that give up, and forged requests."""

import asyncio
import contextlib
import sqlite3
import sys
import threading
import time
import types
from datetime import timedelta

import pytest
from shop import DRIVERS, Quick, Shop, Wall, ask, fill, opened, run, until
from test_called_off import ASYNC, until_full
from test_integration import QUICK, deploying, settings, slow

from noodle_upgrade_core import Observation, Outcome, Shift, hookimpl
from noodle_upgrade_core.errors import InvalidRequestError, JournalFullError, SettingsError
from noodle_upgrade_deployment.deploying import asking
from noodle_upgrade_deployment.deploying.records import Stage
from noodle_upgrade_deployment.integration import DeploymentRuntimeUpgradeIntegration
from noodle_upgrade_deployment.plugin import DeploymentPlugin
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy, PolicyGate
from noodle_upgrade_deployment.settings import DeploymentSettings


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


def request(deployments, name, *args, environment="prod", **changes):
    return deployments.request_deployment_aware_upgrade(name, ask(*args, **changes), environment=environment)


# --- versions that failed --------------------------------------------------------------------------------------------


def test_a_version_that_failed_stays_refused_however_often_it_is_asked_for(folder):
    async def story():
        async with deploying(folder, settings(prod={**ASYNC, "deployment_mode": "canary"}), Shop(bad={"1.1"})) as made:
            await request(made, "dep-1")
            assert (await made.wait("dep-1")).stage is Stage.ROLLED_BACK
            for name in ("dep-2", "dep-3", "dep-4"):
                await request(made, name)
                state = await made.wait(name)
                assert state.stage is Stage.REJECTED, name
                assert "taken back here by dep-1" in state.why

    run(story())


def test_a_version_that_failed_is_remembered_when_its_history_is_over(folder):
    async def story():
        wall = Wall()
        made = settings(prod={**QUICK, "deployment_mode": "canary"})
        async with deploying(folder, made, Shop(bad={"1.1"}), clock=wall) as deployments:
            await request(deployments, "dep-1")
            assert (await deployments.wait("dep-1")).stage is Stage.ROLLED_BACK
        wall.at += timedelta(days=400)
        async with deploying(folder, made, clock=wall) as deployments:
            await request(deployments, "dep-2")
            assert (await deployments.wait("dep-2")).stage is Stage.REJECTED

    run(story())


def test_what_never_moved_any_traffic_when_its_program_ended_did_not_fail(folder):
    async def story():
        made = settings(prod={**QUICK, "gates": [{"name": "qa"}], "on_restart": "rollback"})
        approving = {**made, "runtime_upgrade__approval__automatic": False}
        async with deploying(folder, approving) as deployments:
            asked = asyncio.ensure_future(request(deployments, "dep-1"))
            await until(lambda: any(one.stage is Stage.PREPARING and one.upgrade_id for one in deployments.states()))
            asked.cancel()
        async with deploying(folder, settings(prod=QUICK)) as deployments:
            await until(lambda: deployments.state("dep-1").stage.ended)
            assert deployments.state("dep-1").began_at is None
            assert (await request(deployments, "dep-2")).stage is Stage.SUCCEEDED

    run(story())


def test_what_was_frozen_when_its_program_ended_is_not_begun_anew(folder):
    async def story():
        for reaction in ("freeze", "pause"):
            name = f"{reaction}-1"
            made = settings(prod=slow(on_failure=reaction, on_restart="resume", remember_failures=False))
            async with deploying(folder, made, Shop(bad={"1.1"})) as deployments:
                await request(deployments, name)
                await until(lambda name=name: "does harm" in deployments.state(name).why)
            async with deploying(folder, made) as deployments:
                state = await deployments.wait(name)
                assert (state.stage, state.attempt) == (Stage.ROLLED_BACK, 1)
                assert "did harm" in state.why

    run(story())


# --- judges that say too much ----------------------------------------------------------------------------------------


class Talker(Quick):
    """A judge whose reasons and evidence are more than a journal takes."""

    def observe(self, seen):
        if seen.new.errors:
            return Observation(harm=True, reasons=("it fails " * 300_000,), evidence={"all": "x" * 3_000_000})
        return super().observe(seen)


class Mathematician(Quick):
    """A judge that divides by nothing."""

    def observe(self, seen):
        return Observation(starved=True, reasons=("no number",), evidence={"ratio": float("nan"), "what": object()})


@pytest.mark.parametrize("judge", [Talker, Mathematician])
def test_evidence_that_cannot_be_written_keeps_no_deployment_from_its_end(folder, monkeypatch, judge):
    async def story():
        monkeypatch.setitem(DRIVERS, "judges", {"odd": judge})
        async with deploying(folder, settings(prod=slow(judge="odd")), Shop(bad={"1.1"})) as deployments:
            await request(deployments, "dep-1")
            if judge is Talker:
                state = await asyncio.wait_for(deployments.wait("dep-1"), 10)
            else:
                await until(lambda: deployments.state("dep-1").began_at is not None)
                await asyncio.sleep(0.5)
                state = await asyncio.wait_for(deployments.abort("dep-1", by="alice"), 5)
            assert state.stage is Stage.ROLLED_BACK
            assert deployments.upgrader.shop.versions["lamp"] == "1.0"
            assert deployments.upgrader.shop.swaps[-1].log[-1] == "revert"

    run(story())


def test_an_abort_whose_reason_is_a_book_is_heard_all_the_same(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            state = await deployments.abort("dep-1", by="alice", why="no. " * 500_000)
            assert state.stage is Stage.ROLLED_BACK
            assert state.why.startswith("no. no. ")

    run(story())


# --- disks -----------------------------------------------------------------------------------------------------------


def test_an_abort_reaches_a_deployment_of_which_nothing_could_be_noted(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            await until_full(deployments)
            deployments.upgrader.shop.rate = 20.0
            await until(lambda: any("50" in e.message or e.data.get("starved") is False for e in told(deployments)))
            await asyncio.sleep(0.3)
            with contextlib.suppress(JournalFullError):
                await asyncio.wait_for(deployments.abort("dep-1", by="alice"), 5)
            await until(lambda: deployments.upgrader.shop.swaps[-1].log[-1] == "revert", 5)

    run(story())


def test_an_end_that_could_not_be_written_is_written_when_there_is_room_again(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            await until_full(deployments)
            with pytest.raises(JournalFullError):
                await deployments.abort("dep-1", by="alice")
            await until(lambda: deployments.upgrader.shop.swaps[-1].log[-1] == "revert")
            await asyncio.sleep(0.5)
            deployments.upgrader.journal._file._writer.execute("PRAGMA max_page_count = 1000000")
            state = await asyncio.wait_for(deployments.wait("dep-1"), 10)
            assert state.stage in {Stage.ROLLED_BACK, Stage.CANCELLED}

    run(story())


def told(deployments):
    return deployments.upgrader.events.recent()


def test_a_program_whose_disk_is_full_opens_and_attends_to_what_waits_when_there_is_room(folder, monkeypatch):
    async def story():
        made = settings(prod=slow(concurrency="supersede"))
        async with deploying(folder, made, Shop(rate=0.0)) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
        opened_otherwise = DeploymentPlugin.opened

        async def full(self, upgrader):
            fill_up(upgrader)
            await opened_otherwise(self, upgrader)

        monkeypatch.setattr(DeploymentPlugin, "opened", hookimpl(full))
        async with deploying(folder, made) as deployments:
            deployments.upgrader.journal._file._writer.execute("PRAGMA max_page_count = 1000000")
            assert (await asyncio.wait_for(deployments.wait("dep-1"), 10)).stage is Stage.SUCCEEDED

    run(story())


def fill_up(upgrader):
    """Let the journal grow no more, and fill what room its pages have left."""
    writer = upgrader.journal._file._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    with contextlib.suppress(JournalFullError):
        for number in range(1000):
            upgrader.journal.keep_document("filler", "page", {"x": "y" * number}, who="x", why="it fills")


# --- callers that give up, and callers at once -----------------------------------------------------------------------


@contextlib.contextmanager
def slow_disk(folder):
    """Somebody else writes to the journal's file for as long as this lasts."""
    (file,) = (folder / "state").glob("**/journal*.db") or (folder / "state").glob("**/*.sqlite*")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_caller_who_gives_up_while_the_disk_is_slow_leaves_nothing_that_cannot_be_changed(folder):
    async def story():
        made = settings(prod={**ASYNC, "auto_trigger": True})
        async with deploying(folder, made) as deployments:
            with slow_disk(folder):
                asked = asyncio.ensure_future(
                    deployments.request_deployment_aware_upgrade(
                        "dep-1", ask(), environment="prod", trigger="health_degradation"
                    )
                )
                await asyncio.sleep(0.2)
                asked.cancel()
                await asyncio.sleep(0.1)
            with contextlib.suppress(asyncio.CancelledError):
                await asked
            again = await deployments.request_deployment_aware_upgrade(
                "dep-1", ask(), environment="prod", trigger="health_degradation"
            )
            assert again.stage is Stage.PENDING
            with slow_disk(folder):
                aborted = asyncio.ensure_future(deployments.abort("dep-1", by="alice"))
                await asyncio.sleep(0.2)
                aborted.cancel()
                await asyncio.sleep(0.1)
            with contextlib.suppress(asyncio.CancelledError):
                await aborted
            assert (await deployments.abort("dep-1", by="alice")).stage is Stage.CANCELLED

    run(story())


def test_two_who_ask_for_the_same_at_the_same_time_get_the_same_deployment(folder):
    async def story():
        async with deploying(folder, settings(prod=ASYNC)) as deployments:
            states = await asyncio.gather(*(request(deployments, "dep-1") for _ in range(5)))
            assert {state.deployment_id for state in states} == {"dep-1"}
            assert (await deployments.wait("dep-1")).attempt == 1

    run(story())


# --- policies that are broken, or gone -------------------------------------------------------------------------------


def test_an_environment_that_is_broken_keeps_no_other_one_waiting(folder, monkeypatch):
    async def story():
        broken = {**ASYNC, "health_check_required": True}
        broken["health_checks"] = {"gone": {"callable": "there.is.no.such.module:check"}}
        async with deploying(folder, settings(broken=broken, prod=ASYNC)) as deployments:
            # It was well when it was asked for: a deployment that an earlier process took, say.
            monkeypatch.setattr(asking, "HealthChecks", lambda _: None)
            await request(deployments, "dep-1", environment="broken", priority=10)
            await request(deployments, "dep-2", "1.1", "book")
            state = await asyncio.wait_for(deployments.wait("dep-2"), 10)
            assert state.stage is Stage.SUCCEEDED
            assert deployments.state("dep-1").stage is Stage.QUEUED
            assert "there.is.no.such.module" in deployments.state("dep-1").why

    run(story())


def test_an_environment_whose_policy_is_gone_keeps_no_program_from_opening(folder):
    async def story():
        both = settings(old=slow(on_restart="rollback"), prod=slow(on_restart="rollback"))
        async with deploying(folder, both, Shop(rate=0.0)) as deployments:
            await request(deployments, "dep-1", environment="prod")
            await request(deployments, "dep-2", "1.1", "book", environment="old")
            await request(deployments, "dep-3", "2.0", "book", environment="old")
            await until(lambda: all(deployments.state(f"dep-{n}").weight == 0.1 for n in (1, 2)))
        async with deploying(folder, settings(prod=slow(on_restart="rollback"))) as deployments:
            assert deployments.state("dep-1").stage is Stage.ROLLED_BACK
            assert deployments.state("dep-2").stage is Stage.ROLLED_BACK
            await until(lambda: "no policy" in deployments.state("dep-3").why)
            await request(deployments, "dep-4", "2.0", metadata={"again": True})
            assert (await asyncio.wait_for(deployments.wait("dep-4"), 10)).stage is Stage.SUCCEEDED

    run(story())


def test_plugins_that_are_switched_off_govern_nothing(folder):
    async def story():
        made = settings(prod=slow(), integration={"enabled": False})
        made["deployment.environment"] = "prod"
        async with opened(folder, plugins={"deployment": DeploymentPlugin}, **made) as upgrader:
            result = await upgrader.upgrade(ask(strategy="immediate"))
            assert result.success
            assert upgrader.shop.swaps[-1].log == [1.0, "commit"]

    run(story())


class Usurper(Shop):
    """An engine that also moves the traffic, before anybody else can."""

    @hookimpl(tryfirst=True)
    async def deploy(self, plan, staged, context):
        await staged.shift(1.0)
        return Outcome(promoted=True)


def test_a_deployment_whose_traffic_another_plugin_moved_is_no_success(folder):
    async def story():
        async with deploying(folder, settings(prod=slow(gates=[{"name": "qa"}])), Usurper()) as deployments:
            await request(deployments, "dep-1")
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.ROLLED_BACK
            assert "Another plugin moved the traffic" in state.why
            assert deployments.upgrader.shop.versions["lamp"] == "1.0"

    run(story())


def test_the_gate_at_which_people_are_asked_about_harm_is_no_gate_of_a_policy():
    with pytest.raises(SettingsError, match="'harm', which is taken"):
        DeploymentUpgradePolicy(gates=(PolicyGate(name="harm"),))


# --- forged requests -------------------------------------------------------------------------------------------------


def test_an_upgrade_that_only_says_that_it_is_a_deployment_is_held_to_the_policy(folder):
    async def story():
        policy = {**QUICK, "known_bad": {"lamp": ["1.1"]}}
        async with deploying(folder, settings(prod=policy)) as deployments:
            assert (await request(deployments, "dep-1", "2.0", "book")).stage is Stage.SUCCEEDED
            for name in ("dep-0", "dep-1"):
                forged = {"deployment.id": name, "deployment.environment": "prod"}
                for request_id in ("", f"{name}.1.0"):
                    wanted = ask(parameters=forged, **({"request_id": request_id} if request_id else {}))
                    result = await deployments.upgrader.upgrade(wanted)
                    assert not result.success
                    assert result.error.code in {"validation.failed", "request.invalid"}
            assert deployments.upgrader.shop.versions["lamp"] == "1.0"

    run(story())


# --- other people's code, and the loop -------------------------------------------------------------------------------


class Sleepy:
    """A strategy that takes its time before it begins."""

    def __init__(self):
        time.sleep(0.7)

    def rollout(self, plan):
        time.sleep(0.7)
        return Eager().rollout(plan)


class Eager:
    def rollout(self, plan):
        yield Shift(1.0)


class Clinger(Quick):
    """A judge that is hard to make, and harder to get rid of."""

    def __init__(self):
        time.sleep(0.7)

    def close(self):
        time.sleep(0.7)


def test_strategies_and_judges_that_are_slow_to_make_or_to_close_never_stop_the_loop(folder, monkeypatch):
    async def story():
        monkeypatch.setitem(DRIVERS, "judges", {"clinger": Clinger})
        monkeypatch.setitem(DRIVERS, "strategies", {"sleepy": Sleepy})
        policy = {**ASYNC, "upgrade_strategy": "sleepy", "judge": "clinger"}
        async with deploying(folder, settings(prod=policy)) as deployments:
            async with heartbeat() as beats:
                await request(deployments, "dep-1")
                assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED
            assert max(beats) < 0.5

    run(story())


@contextlib.asynccontextmanager
async def heartbeat():
    """How long the event loop takes to come back to a task that only sleeps for a moment, in seconds."""
    beats = []

    async def beat():
        while True:
            at = time.monotonic()
            await asyncio.sleep(0.01)
            beats.append(time.monotonic() - at)

    beating = asyncio.ensure_future(beat())
    try:
        yield beats
    finally:
        beating.cancel()


class Stubborn(Quick):
    """A judge that never lets go."""

    let_go = threading.Event()

    def close(self):
        self.let_go.wait(20)


def test_a_judge_that_hangs_when_it_is_closed_keeps_no_deployment_from_its_end(folder, monkeypatch):
    async def story():
        Stubborn.let_go.clear()
        monkeypatch.setitem(DRIVERS, "judges", {"stubborn": Stubborn})
        async with deploying(folder, settings(prod={**ASYNC, "judge": "stubborn"})) as deployments:
            await request(deployments, "dep-1")
            assert (await asyncio.wait_for(deployments.wait("dep-1"), 15)).stage is Stage.SUCCEEDED
        Stubborn.let_go.set()

    run(story())


def test_hundreds_that_wait_never_stop_the_loop(folder):
    async def story():
        policy = {**ASYNC, "timing_constraints": {"maintenance_windows": ["13:00-14:00"]}}
        async with deploying(folder, settings(default=policy), clock=Wall()) as deployments:
            async with heartbeat() as beats:
                for number in range(300):
                    environment, version = f"eu.{number % 7}/x", ("1.1", "2.0")[number % 2]
                    await request(deployments, f"a/{number}:x", version, environment=environment)
                await until(lambda: all("Closed" in state.why for state in deployments.states()), 30)
                await asyncio.sleep(0.5)
            assert max(beats) < 0.5

    run(story(), 90)


# --- what is left behind ---------------------------------------------------------------------------------------------


def test_no_task_and_no_listener_is_left_after_close(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            upgrader = deployments.upgrader
            await deployments.close()
            left = [task for task in asyncio.all_tasks() if "Queue.get" in repr(task) or "noodle dep" in repr(task)]
            assert left == []
            assert not [one for one in upgrader.events._subscribers if "Pursuit" in repr(one)]

    run(story())


def test_nothing_runs_when_the_upgrader_is_closed(folder):
    async def story():
        before = asyncio.all_tasks()
        for _ in range(3):
            async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
                await request(deployments, "dep-1")
                await until(lambda: deployments.state("dep-1").upgrade_id)
            assert asyncio.all_tasks() == before

    run(story())


class Undecided(Quick):
    """A judge that changes its mind at every look."""

    def __init__(self):
        self._starved = False

    def observe(self, seen):
        self._starved = not self._starved
        return Observation(starved=self._starved, reasons=("it depends",))


def test_a_judge_that_changes_its_mind_all_the_time_fills_no_disk(folder, monkeypatch):
    async def story():
        monkeypatch.setitem(DRIVERS, "judges", {"undecided": Undecided})
        async with deploying(folder, settings(prod=slow(judge="undecided"))) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").stage is Stage.STARVED)
            before = len(deployments.events("dep-1"))
            await asyncio.sleep(2.0)
            assert len(deployments.events("dep-1")) <= before + 2

    run(story())


def test_nothing_is_kept_of_those_that_never_began(folder):
    async def story():
        policy = {**ASYNC, "timing_constraints": {"maintenance_windows": ["13:00-14:00"]}}
        async with deploying(folder, settings(prod=policy), clock=Wall()) as deployments:
            for number in range(5):
                await request(deployments, f"dep-{number}")
                await until(lambda number=number: "Closed" in deployments.state(f"dep-{number}").why)
                await deployments.abort(f"dep-{number}", by="alice")
            assert deployments._dispatcher._held == {}

    run(story())


def test_a_program_that_runs_for_years_forgets_what_ended_long_ago(folder):
    async def story():
        wall = Wall()
        async with deploying(folder, settings(prod=QUICK), clock=wall) as deployments:
            await request(deployments, "dep-1")
            wall.at += timedelta(days=31)
            await request(deployments, "dep-2", "2.0")
            await until(lambda: "dep-1" not in [one.deployment_id for one in deployments.states()], 5)
            assert deployments.events("dep-1")[0].stage == "queued"

    run(story())


def test_what_waits_when_the_upgrader_is_closed_waits_when_it_is_opened_again(folder):
    async def story():
        made = {**settings(prod=slow(on_restart="rollback")), "runtime_upgrade__max_concurrent_upgrades": 1}
        for number in range(5):
            async with deploying(folder, made, Shop(rate=0.0)) as deployments:
                await request(deployments, f"lamp-{number}", metadata={"again": True})
                await until(lambda number=number: deployments.state(f"lamp-{number}").weight == 0.1)
                await request(deployments, f"book-{number}", "1.1", "book", metadata={"again": True})
                await until(lambda number=number: "no more may" in deployments.state(f"book-{number}").why)
                shop = deployments.upgrader.shop
            assert len(shop.swaps) == 1
            async with deploying(folder, made, Shop(rate=0.0)) as deployments:
                found = [event.stage for event in deployments.events(f"book-{number}")]
                assert deployments.state(f"book-{number}").stage not in {Stage.REJECTED, Stage.ROLLED_BACK}, found
                await deployments.abort(f"book-{number}", by="alice")

    run(story(), 60)


# --- people ----------------------------------------------------------------------------------------------------------


def test_what_is_refused_takes_nobody_s_place(folder):
    async def story():
        policy = slow(concurrency="supersede", known_bad={"lamp": ["2.0"]})
        async with deploying(folder, settings(prod=policy), Shop(rate=0.0)) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            await request(deployments, "dep-2", "2.0")
            assert (await deployments.wait("dep-2")).stage is Stage.REJECTED
            assert not deployments.state("dep-1").stage.ended
            assert deployments.state("dep-1").called_off is None

    run(story())


def test_what_was_superseded_before_it_began_takes_nobody_back(folder):
    async def story():
        closed = {"timing_constraints": {"maintenance_windows": ["13:00-14:00"]}}
        made = settings(
            prod={**ASYNC, "concurrency": "supersede", **closed},
            web=slow(depends_on=[{"component": "lamp", "environment": "prod"}]),
        )
        async with deploying(folder, made, Shop(rate=0.0), clock=Wall()) as deployments:
            await request(deployments, "web-1", "1.1", "book", environment="web")
            await until(lambda: deployments.state("web-1").weight == 0.1)
            await request(deployments, "lamp-1")
            await request(deployments, "lamp-2", "2.0")
            assert (await deployments.wait("lamp-1")).stage is Stage.SUPERSEDED
            await asyncio.sleep(0.3)
            assert deployments.state("web-1").called_off is None

    run(story())


# --- triggers --------------------------------------------------------------------------------------------------------


def test_what_becomes_of_any_component_of_an_upgrade_triggers_who_waits_for_it(folder):
    async def story():
        async with deploying(folder, settings(prod={**ASYNC, "auto_trigger": True})) as deployments:
            await deployments.request_deployment_aware_upgrade(
                "desk-1", ask("2.0", "desk"), environment="prod", trigger="deployment_success", trigger_of="book"
            )
            both = [ask("1.1", "lamp"), ask("1.1", "book")]
            await deployments.request_deployment_aware_upgrade("dep-1", both, environment="prod")
            assert (await asyncio.wait_for(deployments.wait("desk-1"), 10)).stage is Stage.SUCCEEDED

    run(story())


def test_a_condition_that_nobody_waited_for_meanwhile_triggers_the_next_one(folder):
    async def story():
        checks = {"ill": {"callable": "health_of_tests:well", "kind": "live", "failures": 1, "every": 0}}
        policy = {**ASYNC, "auto_trigger": True, "health_checks": checks}
        async with deploying(folder, settings(prod=policy)) as deployments:
            for number, version in enumerate(("1.1", "1.2")):
                name = f"dep-{number}"
                await deployments.request_deployment_aware_upgrade(
                    name, ask(version), environment="prod", trigger="health_degradation"
                )
                await until(lambda name=name: deployments.state(name).stage is not Stage.PENDING, 5)

    module = types.ModuleType("health_of_tests")
    module.well = lambda: False
    sys.modules["health_of_tests"] = module
    try:
        run(story())
    finally:
        del sys.modules["health_of_tests"]


def test_an_integration_without_the_plugin_refuses_what_only_the_plugin_carries_out(folder):
    async def story():
        async with opened(folder) as upgrader:
            policy = DeploymentUpgradePolicy(upgrade_strategy="immediate", gates=(PolicyGate(name="qa"),))
            made = DeploymentSettings(policies={"prod": policy})
            async with DeploymentRuntimeUpgradeIntegration(upgrader, settings=made) as deployments:
                with pytest.raises(InvalidRequestError, match="plugin"):
                    await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")

    run(story())
