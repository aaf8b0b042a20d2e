"""Deployments that are called off at moments that are hard to hit, and what a restart makes of them."""

import asyncio
import contextlib
import threading

import pytest
from shop import Shop, ask, fill, opened, run, until
from test_integration import QUICK, deploying, settings, slow

from noodle_upgrade_core import hookimpl
from noodle_upgrade_core.errors import JournalFullError
from noodle_upgrade_core.journal.contract import AuditRow, UpgradeRecord
from noodle_upgrade_core.model import Phase, now
from noodle_upgrade_deployment.deploying.attempts import found_after
from noodle_upgrade_deployment.deploying.records import CalledOff, DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.deploying.register import Register

ASYNC = {**QUICK, "deployment_mode": "asynchronous"}


class Turnstile:
    """Something that lets nobody pass once it is shut, until it is opened again."""

    def __init__(self):
        self.free = threading.Event()
        self.free.set()
        self.reached = threading.Event()

    def pass_through(self):
        if not self.free.is_set():
            self.reached.set()
        assert self.free.wait(10)


class SlowShop(Shop):
    """A shop that can be kept from answering what runs, and how a step could be carried out."""

    def __init__(self, **more):
        super().__init__(**more)
        self.looking = Turnstile()
        self.planning = Turnstile()

    @hookimpl
    def discover(self):
        self.looking.pass_through()
        return super().discover()

    @hookimpl
    def assess(self, step):
        self.planning.pass_through()
        return super().assess(step)


class LaterShop(Shop):
    """A shop that nobody has asked for anything yet, as a program is before it was imported."""

    there = False

    @hookimpl
    def discover(self):
        return super().discover() if self.there else []


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


def test_what_is_called_off_while_its_admission_is_looked_at_never_begins(folder):
    async def story():
        shop = SlowShop()
        made = settings(prod={**ASYNC, "depends_on": [{"component": "book"}]})
        async with deploying(folder, made, shop) as deployments:
            shop.looking.free.clear()
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(shop.looking.reached.is_set)
            assert (await deployments.abort("dep-1", by="alice")).stage is Stage.CANCELLED
            shop.looking.free.set()
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="prod")
            assert (await deployments.wait("dep-2")).stage is Stage.SUCCEEDED
            assert deployments.state("dep-1").attempt == 0
            assert len(shop.swaps) == 1

    run(story())


def test_what_is_called_off_while_it_is_planned_never_begins(folder):
    async def story():
        shop = SlowShop()
        async with deploying(folder, settings(prod=ASYNC), shop) as deployments:
            shop.planning.free.clear()
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(shop.planning.reached.is_set)
            abort = asyncio.ensure_future(deployments.abort("dep-1", by="alice"))
            await until(lambda: deployments.state("dep-1").called_off is not None)
            shop.planning.free.set()
            assert (await abort).stage is Stage.CANCELLED
            # Had it begun all the same, its upgrade would hold the component, or be in the history.
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="prod")
            assert (await deployments.wait("dep-2")).stage is Stage.SUCCEEDED
            assert len(deployments.upgrader.get_upgrade_history()) == len(shop.swaps) == 1

    run(story())


def test_an_abort_that_comes_at_any_moment_of_the_beginning_is_heard(folder):
    async def story():
        made = settings(prod=slow(remember_failures=False))
        async with deploying(folder, made, Shop(rate=0.0)) as deployments:
            for number in range(25):
                name = f"dep-{number}"
                await deployments.request_deployment_aware_upgrade(name, ask(), environment="prod")
                await asyncio.sleep(number * 0.002)
                state = await asyncio.wait_for(deployments.abort(name, by="alice"), 5)
                assert state.stage in {Stage.CANCELLED, Stage.ROLLED_BACK}
                assert deployments.upgrader.shop.versions["lamp"] == "1.0"

    run(story(), 60)


def test_what_could_not_begin_because_of_another_upgrade_was_no_attempt(folder):
    async def story():
        async with deploying(folder, settings(prod=ASYNC)) as deployments:
            soaking = ask("1.1", strategy="immediate", parameters={"soak": 60})
            upgrade_id = await deployments.upgrader.start(soaking)
            await until(lambda: deployments.upgrader.get_upgrade_status(upgrade_id)["phase"] == Phase.SOAKING)
            await deployments.request_deployment_aware_upgrade("dep-1", ask("2.0"), environment="prod")
            await until(lambda: "is being changed by" in deployments.state("dep-1").why)
            assert (deployments.state("dep-1").stage, deployments.state("dep-1").attempt) == (Stage.QUEUED, 0)
            await deployments.upgrader.cancel_upgrade(upgrade_id)
            state = await deployments.wait("dep-1")
            assert (state.stage, state.attempt) == (Stage.SUCCEEDED, 1)

    run(story())


def test_an_abort_of_what_a_restart_watches_on_takes_it_back_and_is_no_success(folder):
    async def story():
        made = settings(prod={**ASYNC, "bake": 60.0})
        async with deploying(folder, made) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").stage is Stage.BAKING)
        async with deploying(folder, made) as deployments:
            assert deployments.upgrader.shop.versions["lamp"] == "1.1"
            assert deployments.events("dep-1")[-1].stage == "baking"
            assert (await deployments.abort("dep-1", by="alice", why="no")).stage is Stage.ROLLED_BACK
            assert deployments.events("dep-1")[-1].who == "alice"
            assert deployments.upgrader.shop.versions["lamp"] == "1.0"

    run(story())


def test_a_program_that_is_closed_resumes_what_was_under_way_when_it_is_opened_again(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
        async with deploying(folder, settings(prod=slow())) as deployments:
            state = await deployments.wait("dep-1")
            assert (state.stage, state.attempt) == (Stage.SUCCEEDED, 2)

    run(story())


def test_what_is_resumed_waits_until_the_program_that_started_again_runs_its_component(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
        later = LaterShop()
        async with deploying(folder, settings(prod=slow()), later) as deployments:
            await until(lambda: "does not run lamp yet" in deployments.state("dep-1").why)
            assert deployments.state("dep-1").stage is Stage.QUEUED
            later.there = True
            state = await deployments.wait("dep-1")
            assert (state.stage, state.attempt) == (Stage.SUCCEEDED, 2)

    run(story())


def test_two_that_supersede_each_other_at_the_same_time_leave_the_newer_one(folder):
    async def story():
        made = settings(prod=slow(concurrency="supersede"))
        async with deploying(folder, made, Shop(rate=0.0)) as deployments:
            asked = (("dep-1", "1.1"), ("dep-2", "2.0"))
            await asyncio.gather(
                *(deployments.request_deployment_aware_upgrade(n, ask(v), environment="prod") for n, v in asked)
            )
            # Which of them came later is for whoever was written down first to say.
            older, newer = sorted(deployments.states(), key=lambda state: state.turn)
            assert (await deployments.wait(older.deployment_id)).stage is Stage.SUPERSEDED
            await until(lambda: deployments.state(newer.deployment_id).began_at is not None)

    run(story())


def test_one_that_two_people_trigger_at_the_same_time_begins_once(folder):
    async def story():
        made = settings(prod={**ASYNC, "auto_trigger": True})
        async with deploying(folder, made) as deployments:
            await deployments.request_deployment_aware_upgrade(
                "dep-1", ask(), environment="prod", trigger="health_degradation"
            )
            await asyncio.gather(*(deployments.fire("dep-1", by=who) for who in ("alice", "bob")))
            assert (await deployments.wait("dep-1")).attempt == 1
            fired = [event.who for event in deployments.events("dep-1") if event.why.startswith("triggered by")]
            assert len(fired) == 1

    run(story())


def test_a_note_never_brings_a_deployment_back_to_a_stage_that_it_has_left(folder):
    async def story():
        async with opened(folder) as upgrader:
            register = Register(upgrader.documents("deployment"), tell=upgrader.events.emit)
            state = DeploymentUpgradeState(
                deployment_id="dep-1", environment="prod", requests=(ask(),), mode="", strategy="", stage=Stage.QUEUED
            )
            await register.add(state, why="asked for")
            await asyncio.gather(
                register.move("dep-1", Stage.PREPARING, who="core", why="it begins"),
                register.move("dep-1", None, who="alice", why="noted by alice"),
                register.move("dep-1", Stage.REJECTED, who="core", why="too late", only={Stage.QUEUED}),
            )
            assert register.get("dep-1").stage is Stage.PREPARING
            assert register.get("dep-1").why == "noted by alice"

    run(story())


def test_that_it_was_called_off_outlives_the_program(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            # As a process leaves it that is killed after it wrote that, and before it did anything about it.
            called = CalledOff(stage=Stage.ROLLED_BACK, who="alice", why="not today")
            await deployments._register.move("dep-1", None, who="alice", why="not today", called_off=called)
        async with deploying(folder, settings(prod=slow())) as deployments:
            state = deployments.state("dep-1")
            assert (state.stage, state.attempt, state.why) == (Stage.ROLLED_BACK, 1, "not today")

    run(story())


async def until_full(deployments):
    """Let the journal grow no more, and fill what room its pages have left."""
    file = deployments.upgrader.journal._file
    (pages,) = file._writer.execute("PRAGMA page_count").fetchone()
    file._writer.execute(f"PRAGMA max_page_count = {pages}")
    with contextlib.suppress(JournalFullError):
        for number in range(1000):
            await deployments.pause("dep-1", by=f"somebody {number}")


def test_an_abort_takes_the_traffic_back_also_when_the_disk_is_full_and_says_that_it_is(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            await until_full(deployments)
            with pytest.raises(JournalFullError):
                await deployments.abort("dep-1", by="alice")
            await until(lambda: deployments.upgrader.shop.swaps[-1].log[-1] == "revert")
            assert deployments.upgrader.shop.versions["lamp"] == "1.0"

    run(story())


HARM = {"code": "deploy.harm", "message": "it fails"}
LATE = {"code": "upgrade.timeout", "message": "too late"}
CLOSED = {"code": "upgrade.cancelled", "message": "the program was closed"}


@pytest.mark.parametrize(
    ("phases", "error", "stage"),
    [
        ((), None, Stage.ABORTING),
        ((Phase.RECEIVED, Phase.ABORTED), None, Stage.ABORTING),
        ((Phase.RECEIVED, Phase.ABORTED), HARM, Stage.REJECTED),
        ((Phase.RECEIVED, Phase.ABORTED), CLOSED, Stage.ABORTING),
        ((Phase.SHIFTING, Phase.ROLLED_BACK), None, Stage.ABORTING),
        ((Phase.SHIFTING, Phase.ROLLING_BACK, Phase.ROLLED_BACK), None, Stage.ROLLED_BACK),
        ((Phase.SHIFTING, Phase.ROLLING_BACK, Phase.ROLLED_BACK), HARM, Stage.ROLLED_BACK),
        ((Phase.SHIFTING, Phase.ROLLING_BACK, Phase.ROLLED_BACK), LATE, Stage.INCONCLUSIVE),
        ((Phase.SHIFTING, Phase.ROLLING_BACK, Phase.ROLLED_BACK), CLOSED, Stage.ABORTING),
        ((Phase.SHIFTING, Phase.COMMITTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK), CLOSED, Stage.ROLLED_BACK),
        ((Phase.SHIFTING, Phase.COMMITTED, Phase.SOAKING), None, Stage.BAKING),
        ((Phase.SHIFTING, Phase.COMMITTED, Phase.DONE), None, Stage.SUCCEEDED),
        ((Phase.SHIFTING, Phase.ROLLING_BACK, Phase.STUCK), HARM, Stage.ROLLBACK_FAILED),
        ((Phase.RECEIVED, Phase.REJECTED), HARM, Stage.REJECTED),
    ],
)
def test_only_what_the_end_of_the_program_took_back_is_begun_anew(phases, error, stage):
    rows = tuple(
        AuditRow(
            sequence=number,
            upgrade_id="up-1",
            phase_from=None,
            phase=phase,
            at=now(),
            who="",
            why="",
            evidence={},
            fence=1,
        )
        for number, phase in enumerate(phases)
    )
    record = (
        UpgradeRecord(
            upgrade_id="up-1",
            phase=phases[-1],
            plan={},
            components=("lamp",),
            from_versions={"lamp": "1.0"},
            to_versions={"lamp": "1.1"},
            created_at=now(),
            updated_at=now(),
            error=error,
        )
        if phases
        else None
    )
    assert found_after(record, rows)[0] is stage
