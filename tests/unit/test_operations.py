"""Commands to an upgrade under way, and what plugins can be asked for by name, through an Upgrader."""

import asyncio

import pytest

from noodle_upgrade_core import Gate, Operation, Shift, Wait, hookimpl
from noodle_upgrade_core import errors as e
from noodle_upgrade_core.model import Phase

from .shelf import ask, fill, opened, run, until


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


class Slow:
    def rollout(self, plan):
        yield Wait(3600)
        yield Shift(1.0)


class Gated:
    def rollout(self, plan):
        yield Gate("qa")
        yield Shift(1.0)


def slow(folder, **more):
    return opened(folder, drivers={"strategies": {"slow": Slow, "gated": Gated}}, **more)


def steps(upgrader):
    return [event for event in upgrader.events.recent() if event.kind == "upgrade.step"]


def test_a_promotion_ends_a_wait_of_an_hour_and_the_journal_knows_whose_it_was(folder):
    async def story():
        async with slow(folder) as upgrader:
            upgrade_id = await upgrader.start(ask(strategy="slow"), approved_by="alice")
            await until(lambda: steps(upgrader))
            await upgrader.promote_upgrade(upgrade_id, by="bob")
            result = await upgrader.result(upgrade_id)
            assert result.success
            marks = [mark for row in upgrader.journal.audit(upgrade_id) for mark in row.evidence.get("marks", ())]
            assert {(mark["what"], mark["by"]) for mark in marks} == {("promoted by a step", "bob")}

    run(story())


def test_a_paused_upgrade_says_so_outlives_its_time_limit_and_goes_on_when_it_is_resumed(folder):
    async def story():
        async with opened(folder) as upgrader:
            plan = await upgrader.plan(ask(timeout_seconds=1.0))
            upgrade_id = await upgrader.start(plan)
            await upgrader.pause_upgrade(upgrade_id, by="alice")
            await until(lambda: upgrader.get_upgrade_status(upgrade_id)["held"])
            shown = upgrader.get_upgrade_status(upgrade_id)
            assert shown["paused"] == "paused by alice"
            assert upgrader.shelf.versions["lamp"] == "1.0"
            await asyncio.sleep(1.2)
            await upgrader.resume_upgrade(upgrade_id, by="alice")
            assert (await upgrader.result(upgrade_id)).success

    run(story())


def test_an_abort_takes_back_what_is_paused(folder):
    async def story():
        async with opened(folder) as upgrader:
            upgrade_id = await upgrader.start(ask())
            await upgrader.pause_upgrade(upgrade_id, by="alice")
            await until(lambda: upgrader.get_upgrade_status(upgrade_id).get("held"))
            await upgrader.cancel_upgrade(upgrade_id, by="bob")
            result = await upgrader.result(upgrade_id)
            assert result.phase is Phase.ROLLED_BACK
            assert upgrader.shelf.versions["lamp"] == "1.0"

    run(story())


def test_a_command_needs_a_name_and_an_upgrade_that_is_under_way(folder):
    async def story():
        async with slow(folder) as upgrader:
            with pytest.raises(e.UpgradeUnknownError):
                await upgrader.pause_upgrade("up-none", by="alice")
            upgrade_id = await upgrader.start(ask(strategy="slow"), approved_by="alice")
            with pytest.raises(e.InvalidRequestError, match="name"):
                await upgrader.promote_upgrade(upgrade_id, by=" ")
            await upgrader.cancel_upgrade(upgrade_id)
            with pytest.raises(e.InvalidRequestError, match="has ended"):
                await upgrader.promote_upgrade(upgrade_id, by="alice")

    run(story())


def test_what_has_moved_cannot_be_paused(folder):
    async def story():
        async with opened(folder) as upgrader:
            upgrade_id = await upgrader.start(ask(parameters={"soak": 60}))
            await until(lambda: upgrader.get_upgrade_status(upgrade_id)["phase"] == Phase.SOAKING)
            with pytest.raises(e.InvalidRequestError, match="moved already"):
                await upgrader.pause_upgrade(upgrade_id, by="alice")
            await upgrader.cancel_upgrade(upgrade_id)

    run(story())


class Counter:
    """A plugin with operations: one plain, one async, one that is slow, one whose answer is no JSON."""

    def __init__(self):
        self.asked = []

    @hookimpl
    def operations(self):
        yield Operation(name="counter.add", call=self.add, changes=True, help="Add to it.")
        yield Operation(name="counter.later", call=self.later)
        yield Operation(name="counter.never", call=self.never, seconds=0.05)
        yield Operation(name="counter.odd", call=lambda arguments, by: object())

    def add(self, arguments, by):
        self.asked.append((arguments, by))
        return {"sum": sum(arguments["numbers"]), "by": by}

    async def later(self, arguments, by):
        await asyncio.sleep(0)
        return Phase.DONE

    async def never(self, arguments, by):
        await asyncio.sleep(3600)


class Thief:
    """A plugin that offers what another one offers already."""

    after = ("counter",)

    @hookimpl
    def operations(self):
        return [Operation(name="counter.add", call=lambda arguments, by: "stolen")]


class Broken:
    @hookimpl
    def operations(self):
        raise RuntimeError("no")


def test_a_plugin_is_asked_by_name_with_who_asks(folder):
    async def story():
        async with opened(folder, plugins={"counter": Counter(), "thief": Thief(), "broken": Broken()}) as upgrader:
            assert [one.name for one in await upgrader.list_operations()] == [
                "counter.add",
                "counter.later",
                "counter.never",
                "counter.odd",
            ]
            assert await upgrader.operate("counter.add", {"numbers": [1, 2]}, by="alice") == {"sum": 3, "by": "alice"}
            assert await upgrader.operate("counter.later", by="alice") == "done"

    run(story())


def test_an_operation_that_fails_is_a_typed_error(folder):
    async def story():
        async with opened(folder, plugins={"counter": Counter()}) as upgrader:
            with pytest.raises(e.OperationUnknownError) as unknown:
                await upgrader.operate("counter.ad", by="alice")
            assert unknown.value.hint == "Did you mean 'counter.add'?"
            with pytest.raises(e.PluginBrokenError, match="KeyError"):
                await upgrader.operate("counter.add", {}, by="alice")
            with pytest.raises(e.PluginTimeoutError):
                await upgrader.operate("counter.never", by="alice")
            with pytest.raises(e.PluginBrokenError, match="JSON"):
                await upgrader.operate("counter.odd", by="alice")

    run(story())
