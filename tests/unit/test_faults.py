"""Whole upgrades with plugins, judges, strategies, deciders, disks and shutdowns that go wrong.

Whatever fails: the old version runs or the result says that it does not, the journal says the same, and the component
can be upgraded again.
"""

import asyncio
import threading

import pytest

from noodle_upgrade_core import (
    ComponentDescriptor,
    Gate,
    Judge,
    Observation,
    Phase,
    Revert,
    Shift,
    Upgrader,
    UpgradeStatus,
    hookimpl,
)
from noodle_upgrade_core import errors as e
from noodle_upgrade_core.deciders import Unanimous
from noodle_upgrade_core.errors import JournalFullError
from noodle_upgrade_core.journal.sqlite import SqliteJournal

from .shelf import Shelf, ShelfSwap, ask, fill, gate_at, opened, run, until

SHORT = 0.05
LIMIT = 0.5  # of a hook: what loads a driver for the first time must fit, also on a busy machine


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


def drivers(**groups):
    """Drivers called `odd`, and the settings that choose them: `drivers(judges=Odd)`."""
    made = {"drivers": {group: {"odd": factory} for group, factory in groups.items()}}
    for group in groups:
        if group != "strategies":
            made[f"runtime_upgrade__drivers__{group.removesuffix('s')}"] = "odd"
    return made


def on_event(upgrader, kind, act, **data):
    """Act at once, on whatever thread, when an event of a kind comes whose data or details have these values."""

    def seen(event):
        found = {**event.data, **event.data.get("details", {})}
        if event.kind == kind and all(found.get(key) == value for key, value in data.items()):
            act()

    upgrader.events.subscribe(seen)


def hurry(upgrader, name, *, doing="", when=lambda: True):
    """Give the calls of what has this name next to no time; only these, because others may be slow on a busy machine."""
    call = upgrader._runner.call

    async def hurried(who, function, *arguments, limit=None):
        soon = who == name and when() and doing in {"", getattr(function, "__name__", "")}
        return await call(who, function, *arguments, limit=SHORT if soon else limit)

    upgrader._runner.call = hurried


async def inside(entered):
    assert await asyncio.to_thread(entered.wait, 10)


# --- what is foreign raises, hangs, or answers with anything ---------------------------------------------------------


class Trouble:
    """Raises, hangs or answers with something odd for as long as it is `on`; what is asked does well otherwise."""

    def __init__(self, how, answer=None):
        self.how = how
        self.answer = answer
        self.on = True
        self.go_on = threading.Event()

    def meet(self, good):
        if not self.on:
            return good
        if self.how == "raises":
            raise KeyError("boom")
        if self.how == "hangs":
            self.go_on.wait(30)
        return self.answer

    def end(self):
        self.on = False
        self.go_on.set()

    @property
    def judge(self):
        trouble = self

        class Odd:
            def observe(self, seen):
                return trouble.meet(Observation())

        return {"judges": Odd}

    @property
    def decider(self):
        trouble = self

        class Odd(Unanimous):
            def combine(self, plan, votes, approvals):
                return trouble.meet(super().combine(plan, votes, approvals))

        return {"deciders": Odd}

    @property
    def rollout(self):
        trouble = self

        class Odd:
            def rollout(self, plan):
                return trouble.meet(all_at_once())

        return {"strategies": Odd}

    @property
    def generator(self):
        trouble = self

        class Odd:
            def rollout(self, plan):
                yield Shift(1.0)
                trouble.meet(None)

        return {"strategies": Odd}

    @property
    def constructor(self):
        trouble = self

        class Odd:
            def __init__(self):
                trouble.meet(None)

            def observe(self, seen):
                return Observation()

        return {"judges": Odd}


async def with_peace(trouble, work):
    trouble.on = False
    try:
        return await work
    finally:
        trouble.on = True


def all_at_once():
    yield Shift(1.0)


FOREIGN = [
    ("judge", "raises", None, Phase.ROLLED_BACK),
    ("judge", "answers", None, Phase.ROLLED_BACK),
    ("judge", "hangs", None, Phase.ROLLED_BACK),
    ("constructor", "hangs", None, Phase.ROLLED_BACK),
    ("rollout", "raises", None, Phase.ROLLED_BACK),
    ("rollout", "answers", [Shift(1.0)], Phase.ROLLED_BACK),
    ("rollout", "hangs", None, Phase.ROLLED_BACK),
    ("generator", "raises", None, Phase.ROLLED_BACK),
    ("generator", "hangs", None, Phase.ROLLED_BACK),
    ("decider", "raises", None, Phase.ABORTED),
    ("decider", "answers", "yes", Phase.ABORTED),
    ("decider", "hangs", None, Phase.ABORTED),
]


@pytest.mark.parametrize(
    ("what", "how", "answer", "ends"),
    FOREIGN,
    ids=[f"{what}-{how}{'' if how != 'answers' else f'-{type(answer).__name__}'}" for what, how, answer, _ in FOREIGN],
)
def test_whatever_a_driver_does_the_old_version_serves_and_the_next_upgrade_succeeds(folder, what, how, answer, ends):
    async def story():
        trouble = Trouble(how, answer)
        odd = getattr(trouble, what)
        chosen = {"strategy": "odd"} if "strategies" in odd else {"parameters": {"bake": SHORT}}
        async with opened(folder, **drivers(**odd)) as upgrader:
            for name in ("judge odd", "decider odd", "strategy odd"):
                hurry(upgrader, name, when=lambda: trouble.on and how == "hangs")
            plan = await with_peace(trouble, upgrader.plan(ask(**chosen)))
            result = await upgrader.upgrade(plan)
            trouble.end()
            assert isinstance(result.error, e.PluginTimeoutError if how == "hangs" else e.PluginBrokenError)
            assert (result.success, result.phase) == (False, ends)
            assert upgrader.shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            assert (await upgrader.upgrade(ask(**chosen))).raise_for_error().success
            assert upgrader.shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.1"
            assert not await upgrader.doctor()

    run(story())


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_judge_that_cannot_be_made_is_an_error_of_the_plan(folder, how):
    async def story():
        trouble = Trouble(how)
        odd = drivers(**trouble.constructor)
        async with opened(folder, **odd) as upgrader:
            hurry(upgrader, "judge odd", when=lambda: trouble.on)
            with pytest.raises((e.PluginTimeoutError, e.PluginBrokenError), match="odd"):
                await upgrader.plan(ask())
            trouble.end()
            assert (await upgrader.upgrade(ask())).raise_for_error().success

    run(story())


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_swap_that_cannot_be_measured_is_taken_back_and_the_next_upgrade_succeeds(folder, how):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            if how == "raises":
                shelf.fail["measure"] = KeyError("no counts")
            else:
                _, go_on = gate_at(shelf, "measure")
                on_event(upgrader, "plugin.failed", go_on.set, hook="measure")
                hurry(upgrader, "swap", doing="measure", when=lambda: not go_on.is_set())
            result = await upgrader.upgrade(ask(parameters={"bake": SHORT}))
            assert (result.success, result.phase) == (False, Phase.ROLLED_BACK)
            assert shelf.versions["lamp"] == "1.0"
            shelf.fail.clear()
            assert (await upgrader.upgrade(ask(parameters={"bake": SHORT}))).raise_for_error().success
            assert not await upgrader.doctor()

    run(story())


@pytest.mark.parametrize("answer", ["raises", None, {"lamp": None}], ids=["raises", "None", "a version that is none"])
def test_a_swap_that_cannot_say_what_runs_is_stuck_and_can_be_taken_back_once_it_can(folder, answer):
    class Odd(Shelf):
        odd = True

        @hookimpl
        def swap(self, steps):
            made = ShelfSwap(self, steps)
            true = made.running
            made.running = lambda: answer if self.odd and answer != "raises" else true()
            return made

    async def story():
        shelf = Odd(lamp="1.0")
        if answer == "raises":
            shelf.fail["running"] = KeyError("who knows")
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(ask())
            assert isinstance(result.error, e.RollbackFailedError)
            assert (result.success, result.phase) == (False, Phase.STUCK)
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            shelf.fail.clear()
            shelf.odd = False
            assert (await upgrader.rollback("lamp")).raise_for_error().success
            assert (await upgrader.upgrade(ask())).raise_for_error().success
            assert not await upgrader.doctor()

    run(story())


def test_a_gate_that_is_made_wrongly_takes_the_version_back(folder):
    class Odd:
        def rollout(self, plan):
            yield Shift(1.0)
            yield Gate("go", approvals=None)

    async def story():
        async with opened(folder, **drivers(strategies=Odd)) as upgrader:
            result = await upgrader.upgrade(ask(strategy="odd"))
            assert (result.success, result.phase) == (False, Phase.ROLLED_BACK)
            assert upgrader.shelf.versions["lamp"] == "1.0"
            assert (await upgrader.upgrade(ask())).raise_for_error().success
            assert not await upgrader.doctor()

    run(story())


@pytest.mark.parametrize("how", ["raises", "answers", "hangs"])
def test_a_judge_that_fails_while_a_committed_version_soaks_takes_it_back(folder, how):
    async def story():
        trouble = Trouble(how)
        async with opened(folder, **drivers(**trouble.judge)) as upgrader:
            hurry(upgrader, "judge odd", when=lambda: trouble.on and how == "hangs")
            result = await upgrader.upgrade(ask(parameters={"soak": SHORT}))
            trouble.end()
            assert (result.success, result.phase) == (False, Phase.ROLLED_BACK)
            assert upgrader.shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            assert (await upgrader.upgrade(ask(parameters={"soak": SHORT}))).raise_for_error().success
            assert not await upgrader.doctor()

    run(story())


def test_something_that_nobody_can_be_blamed_for_goes_back_too(folder, monkeypatch):
    async def story():
        async with opened(folder) as upgrader:
            plan = await upgrader.plan(ask())
            with monkeypatch.context() as patch:
                patch.setattr(upgrader.gauge, "count", lambda *_: 1 / 0)
                result = await upgrader.upgrade(plan)
            assert isinstance(result.error, e.InternalError)
            assert result.phase is Phase.ROLLED_BACK
            assert upgrader.get_upgrade_status()["active"] == []
            assert (await upgrader.upgrade(ask())).raise_for_error().success
            assert not await upgrader.doctor()

    run(story())


# --- the event loop belongs to the program ---------------------------------------------------------------------------


def test_no_driver_is_made_or_asked_on_the_event_loop(folder):
    threads = {}

    def note(what):
        threads.setdefault(what, set()).add(threading.get_ident())

    class OddStrategy:
        def __init__(self):
            note("strategy")

        def rollout(self, plan):
            note("rollout")
            return self.steps()

        def steps(self):
            note("first step")
            yield Shift(1.0)
            note("next step")
            yield Judge(until="budget", budget=0.0)

    class OddJudge:
        def __init__(self):
            note("judge")

        def observe(self, seen):
            note("observe")
            return Observation()

    class OddDecider(Unanimous):
        def __init__(self):
            note("decider")

        def combine(self, plan, votes, approvals):
            note("combine")
            return super().combine(plan, votes, approvals)

    async def story():
        odd = drivers(strategies=OddStrategy, judges=OddJudge, deciders=OddDecider)
        async with opened(folder, **odd) as upgrader:
            assert (await upgrader.upgrade(ask(strategy="odd"))).raise_for_error().success

    run(story())
    assert len(threads) == 8
    assert {what for what, seen in threads.items() if threading.get_ident() in seen} == set()


def test_a_strategy_is_closed_off_the_event_loop_too(folder):
    closed = []

    class Odd:
        def rollout(self, plan):
            try:
                yield Shift(1.0)
                yield Revert("enough")
            finally:
                closed.append(threading.get_ident())

    async def story():
        async with opened(folder, **drivers(strategies=Odd)) as upgrader:
            assert (await upgrader.upgrade(ask(strategy="odd"))).phase is Phase.ROLLED_BACK

    run(story())
    assert closed
    assert threading.get_ident() not in closed


def test_a_strategy_that_hangs_lets_the_loop_serve_and_the_time_limit_hold(folder):
    go_on = threading.Event()

    class Odd:
        def rollout(self, plan):
            go_on.wait(30)
            yield Shift(1.0)

    async def story():
        async with opened(folder, **drivers(strategies=Odd)) as upgrader:
            result = await upgrader.upgrade(ask(strategy="odd", timeout_seconds=0.5))
            go_on.set()
            assert isinstance(result.error, e.UpgradeTimeoutError)
            assert result.phase is Phase.ROLLED_BACK

    run(story())


@pytest.mark.parametrize("hook", ["recompile", "deploy"])
def test_an_upgrade_that_reaches_its_time_limit_says_whom_it_was_waiting_for(folder, hook):
    class Odd(Shelf):
        @hookimpl
        def deploy(self):
            self.fail_at("deploy")

    async def story():
        shelf = Odd(lamp="1.0")
        _, go_on = gate_at(shelf, hook)
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(ask(timeout_seconds=0.5))
            go_on.set()
            assert isinstance(result.error, e.UpgradeTimeoutError)
            assert result.error.message.endswith(f"The plugin 'shelf' was still busy in {hook}.")

    run(story())


# --- what ends late --------------------------------------------------------------------------------------------------


def test_a_shift_that_ends_after_the_time_limit_is_undone_after_it_and_not_before(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            _, go_on = gate_at(shelf, "shift")
            on_event(upgrader, "upgrade.phase", go_on.set, to=Phase.ROLLING_BACK)
            result = await upgrader.upgrade(ask(timeout_seconds=0.5))
            assert isinstance(result.error, e.UpgradeTimeoutError)
            assert result.phase is Phase.ROLLED_BACK
            assert shelf.swaps[0].log == [("shift", 1.0), ("revert",)]
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            assert not await upgrader.doctor()

    run(story())


def test_a_shift_that_never_ends_is_stuck_and_not_rolled_back(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            runner, limit = upgrader._runner, upgrader._runner.time_limit
            _, go_on = gate_at(shelf, "shift")
            on_event(upgrader, "upgrade.phase", lambda: setattr(runner, "time_limit", SHORT), to=Phase.ROLLING_BACK)
            result = await upgrader.upgrade(ask(timeout_seconds=0.5))
            runner.time_limit = limit
            assert isinstance(result.error, e.RollbackFailedError)
            assert result.phase is Phase.STUCK
            assert "still busy in shift" in str(result.error.details)
            go_on.set()
            await until(lambda: shelf.versions["lamp"] == "1.1")
            assert [finding.code for finding in await upgrader.doctor()].count("upgrade.stuck") == 1
            assert (await upgrader.rollback("lamp")).raise_for_error().success
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            assert not await upgrader.doctor()

    run(story())


def test_closing_waits_for_a_shift_that_is_under_way_and_then_undoes_it(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            entered, go_on = gate_at(shelf, "shift")
            on_event(upgrader, "upgrade.phase", go_on.set, to=Phase.ROLLING_BACK)
            upgrade_id = await upgrader.start(ask())
            await inside(entered)
        assert shelf.swaps[0].log == [("shift", 1.0), ("revert",)]
        assert shelf.versions["lamp"] == "1.0"
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.journal.record(upgrade_id).phase is Phase.ROLLED_BACK

    run(story())


def test_a_rollback_whose_revert_ends_late_is_stuck_and_not_done(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            upgraded = (await upgrader.upgrade(ask())).raise_for_error()
            _, go_on = gate_at(shelf, "revert")
            hurry(upgrader, "swap", doing="revert", when=lambda: not go_on.is_set())
            # Late, and later than anybody who did not wait for it would have asked what runs.
            on_event(upgrader, "plugin.failed", threading.Timer(SHORT, go_on.set).start, hook="revert")
            result = await upgrader.rollback("lamp")
            assert isinstance(result.error, e.PluginTimeoutError)
            await until(lambda: shelf.versions["lamp"] == "1.0")
            assert upgrader.journal.record(upgraded.upgrade_id).phase is Phase.STUCK
            shelf.wait.clear()
            assert (await upgrader.rollback("lamp")).raise_for_error().success
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            assert not await upgrader.doctor()

    run(story())


def test_going_back_is_only_claimed_when_the_component_says_so(folder):
    class Liar(Shelf):
        lies = True

        @hookimpl
        def swap(self, steps):
            made = ShelfSwap(self, steps)
            back = made.revert
            made.revert = lambda: None if self.lies else back()
            return made

    async def story():
        shelf = Liar(lamp="1.0")
        shelf.fail["validate after"] = RuntimeError("unwell")
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(ask())
            assert isinstance(result.error, e.RollbackFailedError)
            assert "lamp still runs 1.1" in str(result.error.details)
            assert result.phase is Phase.STUCK
            shelf.lies = False
            assert (await upgrader.rollback("lamp")).raise_for_error().success
            assert shelf.versions["lamp"] == "1.0"

    run(story())


def test_a_swap_that_is_staged_too_late_is_taken_back_when_it_comes(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf, runtime_upgrade__hot_swap__swap_timeout=0.3) as upgrader:
            _, go_on = gate_at(shelf, "swap")
            result = await upgrader.upgrade(ask())
            assert isinstance(result.error, e.PluginTimeoutError)
            assert (result.phase, shelf.swaps, shelf.undone) == (Phase.ABORTED, [], [Phase.APPROVED])
            go_on.set()
            await until(lambda: len(shelf.undone) == 2)
            assert [swap.log for swap in shelf.swaps] == [[("revert",)]]
            shelf.wait.clear()
            assert (await upgrader.upgrade(ask())).raise_for_error().success
            assert not await upgrader.doctor()

    run(story())


def test_what_is_staged_too_late_does_not_undo_the_next_upgrade(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf, runtime_upgrade__hot_swap__swap_timeout=0.3) as upgrader:
            _, go_on = gate_at(shelf, "swap")
            assert (await upgrader.upgrade(ask())).phase is Phase.ABORTED
            shelf.wait.clear()
            try:
                second = (await upgrader.upgrade(ask())).success
            except e.UpgradeBusyError:
                second = False  # held until the first one has ended is as good
            go_on.set()
            await until(lambda: len(shelf.undone) == 2)
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version
            assert shelf.versions["lamp"] == ("1.1" if second else "1.0")

    run(story())


def test_a_swap_that_is_staged_after_its_caller_gave_up_is_taken_back(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf, runtime_upgrade__hot_swap__swap_timeout=5) as upgrader:
            _, go_on = gate_at(shelf, "swap")
            result = await upgrader.upgrade(ask(timeout_seconds=0.5))
            assert result.phase is Phase.ABORTED
            go_on.set()
            await until(lambda: shelf.swaps and shelf.swaps[0].log)
            assert shelf.swaps[0].log == [("revert",)]
            assert shelf.versions["lamp"] == "1.0"

    run(story())


def test_what_could_not_be_let_go_of_before_anything_was_visible_is_named(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.fail = {
            "recompile": RuntimeError("clumsy"),
            "revert": RuntimeError("glued"),
            "rollback": KeyError("lost"),
        }
        async with opened(folder, shelf) as upgrader:
            result = await upgrader.upgrade(ask())
            assert result.phase is Phase.ABORTED
            left = str(result.error.details["undo_failed"])
            assert "glued" in left
            assert "lost" in left
            kept = upgrader.journal.audit(result.upgrade_id)[-1].evidence["marks"]
            assert "glued" in str(kept)

    run(story())


# --- shutting down ---------------------------------------------------------------------------------------------------


class SlowlyBack(Shelf):
    """A shelf whose swaps go back on the event loop, and only when they are let."""

    def __init__(self, **versions):
        super().__init__(**versions)
        self.going_back = asyncio.Event()
        self.go_on = asyncio.Event()

    @hookimpl
    def swap(self, steps):
        made = ShelfSwap(self, steps)
        back = made.revert

        async def revert():
            self.going_back.set()
            await self.go_on.wait()
            back()

        made.revert = revert
        return made


def let_go_once_cancelled(shelf, name, *, times=1):
    """Cancel the task with that name until it has been cancelled so often, once somebody did; then let it go back."""

    async def wait():
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
        await until(task.cancelling)
        for _ in range(times - 1):
            task.cancel()
            await asyncio.sleep(0)
        shelf.go_on.set()

    return asyncio.create_task(wait())


@pytest.mark.parametrize("times", [1, 3])
def test_closing_while_an_upgrade_goes_back_waits_until_it_has_gone_back(folder, times):
    async def story():
        shelf = SlowlyBack(lamp="1.0")
        shelf.fail["validate after"] = RuntimeError("unwell")
        async with opened(folder, shelf) as upgrader:
            upgrade_id = await upgrader.start(ask())
            await shelf.going_back.wait()
            letting_go = let_go_once_cancelled(shelf, f"noodle {upgrade_id}", times=times)
        await letting_go
        assert shelf.versions["lamp"] == "1.0"
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.journal.record(upgrade_id).phase is Phase.ROLLED_BACK
            assert not await upgrader.doctor()

    run(story())


def test_closing_in_the_middle_of_a_rollback_finishes_the_rollback(folder):
    async def story():
        shelf = SlowlyBack(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            upgraded = (await upgrader.upgrade(ask())).raise_for_error()
            going = asyncio.create_task(upgrader.rollback("lamp"))
            await shelf.going_back.wait()
            letting_go = let_go_once_cancelled(shelf, f"noodle {upgraded.upgrade_id}/rollback")
        await letting_go
        await asyncio.gather(going, return_exceptions=True)
        assert shelf.versions["lamp"] == "1.0"
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.journal.record(upgraded.upgrade_id).phase is Phase.ROLLED_BACK
            assert upgrader.journal.active_of("lamp").version == "1.0"

    run(story())


def test_a_program_that_is_stopped_while_it_soaks_comes_back_on_the_new_version_and_soaks_on(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            upgrade_id = await upgrader.start(ask(parameters={"soak": 60}))
            await until(lambda: upgrader.get_upgrade_status(upgrade_id)["phase"] is Phase.SOAKING)
        assert shelf.swaps[0].log == [("shift", 1.0), ("commit",)]
        assert shelf.versions["lamp"] == "1.1"
        for _ in range(2):  # also when it is stopped while the soak that was resumed goes on
            async with opened(folder, Shelf(lamp="1.0")) as upgrader:
                assert upgrader.shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.1"
                assert upgrader.journal.record(upgrade_id).phase is Phase.SOAKING
                assert [one["upgrade_id"] for one in upgrader.get_upgrade_status()["active"]] == [upgrade_id]
                assert not await upgrader.doctor()

    run(story())


def test_cancelling_what_is_committed_and_not_done_brings_the_old_version_back(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            entered, go_on = gate_at(shelf, "commit")
            upgrade_id = await upgrader.start(ask())
            await inside(entered)
            cancelling = asyncio.create_task(upgrader.cancel_upgrade(upgrade_id, by="alice"))
            await asyncio.sleep(0)
            go_on.set()
            assert await cancelling is UpgradeStatus.CANCELLED
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            assert upgrader.journal.record(upgrade_id).phase is Phase.ROLLED_BACK
            assert not await upgrader.doctor()

    run(story())


# --- the disk --------------------------------------------------------------------------------------------------------


class Disk:
    """A disk for the journal, that is full or not; what rides in memory needs none."""

    def __init__(self):
        self.full = False

    @property
    def journals(self):
        disk = self

        class OnDisk(SqliteJournal):
            def _transaction(self, *, sync, flush=True):
                if disk.full:
                    raise JournalFullError("The disk is full.")
                return super()._transaction(sync=sync, flush=flush)

        return {"journals": {"sqlite": OnDisk}}

    def fills_at(self, shelf, place):
        """Be full from the moment on at which the shelf comes to a place."""
        disk = self

        class Full:
            def set(self):
                disk.full = True

        shelf.wait[place] = (Full(), threading.Event())
        shelf.wait[place][1].set()


def test_a_disk_that_is_full_once_it_is_committed_is_no_reason_to_take_a_good_version_back(folder):
    async def story():
        disk, shelf = Disk(), Shelf(lamp="1.0", book="1.0")
        async with opened(folder, shelf, drivers=disk.journals) as upgrader:
            disk.fills_at(shelf, "commit")
            result = await upgrader.upgrade(ask(parameters={"soak": SHORT}))
            assert result.raise_for_error().phase is Phase.DONE
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.1"
            shelf.wait.clear()
            disk.full = False
            assert (await upgrader.upgrade(ask(name="book"))).raise_for_error().success
            assert upgrader.journal.record(result.upgrade_id).phase is Phase.DONE
            assert not await upgrader.doctor()
        async with opened(folder, Shelf(lamp="1.0")) as upgrader:
            assert upgrader.shelf.versions["lamp"] == "1.1"
            assert upgrader.get_upgrade_status()["active"] == []

    run(story())


def harmful():
    class Odd:
        def observe(self, seen):
            return Observation(harm=True, reasons=("it smokes",))

    return Odd


def test_a_way_back_that_cannot_be_written_is_no_rollback_and_is_written_once_there_is_room(folder):
    async def story():
        disk, shelf = Disk(), Shelf(lamp="1.0", book="1.0")
        odd = drivers(judges=harmful())
        odd["drivers"] |= disk.journals
        async with opened(folder, shelf, **odd) as upgrader:
            disk.fills_at(shelf, "commit")
            result = await upgrader.upgrade(ask(parameters={"soak": 1}))
            assert isinstance(result.error, e.RollbackFailedError)
            assert (result.success, result.phase, result.status) == (False, Phase.STUCK, UpgradeStatus.FAILED)
            assert "A restart before comes back on lamp 1.1" in result.error.hint
            assert (shelf.versions["lamp"], upgrader.journal.active_of("lamp").version) == ("1.0", "1.1")
            shelf.wait.clear()
            disk.full = False
            assert (await upgrader.upgrade(ask())).raise_for_error().success
            assert upgrader.journal.record(result.upgrade_id).phase is Phase.ROLLED_BACK
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.1"
            assert not await upgrader.doctor()

    run(story())


def test_a_rollback_that_was_made_and_could_not_be_written_is_told_and_is_written_once_there_is_room(folder):
    async def story():
        disk, shelf = Disk(), Shelf(lamp="1.0", book="1.0")
        async with opened(folder, shelf, drivers=disk.journals) as upgrader:
            upgrade = (await upgrader.upgrade(ask())).raise_for_error()
            disk.fills_at(shelf, "rollback")
            result = await upgrader.rollback("lamp")
            assert isinstance(result.error, e.RollbackFailedError)
            assert "could not be written" in result.error.message
            assert shelf.versions["lamp"] == "1.0"
            shelf.wait.clear()
            disk.full = False
            assert (await upgrader.upgrade(ask("2.0"))).raise_for_error().success
            assert upgrader.journal.record(upgrade.upgrade_id).phase is Phase.ROLLED_BACK
            assert not await upgrader.doctor()

    run(story())


def test_what_could_not_be_written_is_written_with_the_lease_as_soon_as_there_is_room(folder, monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.upgrade.FIRST_LOOK_SECONDS", 0.01)
    monkeypatch.setattr("noodle_upgrade_core.upgrade.LEASE_SECONDS", 0.03)

    async def story():
        disk, shelf = Disk(), Shelf(lamp="1.0")
        odd = drivers(judges=harmful())
        odd["drivers"] |= disk.journals
        async with opened(folder, shelf, **odd) as upgrader:
            disk.fills_at(shelf, "commit")
            result = await upgrader.upgrade(ask(parameters={"soak": 1}))
            assert result.phase is Phase.STUCK
            shelf.wait.clear()
            disk.full = False
            await until(lambda: upgrader.journal.record(result.upgrade_id).phase is Phase.ROLLED_BACK)
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            assert not await upgrader.doctor()

    run(story())


def test_a_disk_that_is_full_while_traffic_moves_ends_rolled_back_and_the_component_is_free_again(folder):
    async def story():
        disk, shelf = Disk(), Shelf(lamp="1.0")
        async with opened(folder, shelf, drivers=disk.journals) as upgrader:
            disk.fills_at(shelf, "shift")
            result = await upgrader.upgrade(ask())
            assert isinstance(result.error, JournalFullError)
            assert result.phase is Phase.ROLLED_BACK
            assert shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == "1.0"
            shelf.wait.clear()
            disk.full = False
            assert (await upgrader.upgrade(ask())).raise_for_error().success
            assert upgrader.journal.record(result.upgrade_id).phase is Phase.ROLLED_BACK
            assert not await upgrader.doctor()

    run(story())


def test_an_upgrade_whose_housekeeping_fails_is_a_success_all_the_same(folder):
    async def story():
        disk, shelf = Disk(), Shelf(lamp="1.0")
        one_point = {"runtime_upgrade__rollback__max_rollback_points": 1}
        async with opened(folder, shelf, drivers=disk.journals, **one_point) as upgrader:
            assert (await upgrader.upgrade(ask())).raise_for_error().success
            disk.fills_at(shelf, "commit")
            plan = await upgrader.plan(ask("2.0"))
            result = await upgrader.upgrade(plan)
            disk.full = False
            assert result.raise_for_error().success
            assert shelf.versions["lamp"] == "2.0"
            assert [event.kind for event in upgrader.events.recent()].count("journal.failed") == 1

    run(story())


def test_the_artefact_of_the_old_version_is_kept_when_an_upgrade_without_a_rollback_point_goes_back(folder):
    async def story():
        shelf = Shelf(lamp="1.0")
        async with opened(folder, shelf) as upgrader:
            assert (await upgrader.upgrade(ask())).raise_for_error().success
            before = upgrader.journal.active_of("lamp")
            shelf.fail["commit"] = RuntimeError("clumsy")
            assert (await upgrader.upgrade(ask("2.0", rollback_enabled=False))).phase is Phase.ROLLED_BACK
            after = upgrader.journal.active_of("lamp")
            assert before.artifact is not None
            assert (after.version, after.artifact) == (before.version, before.artifact)
            assert not await upgrader.doctor()

    run(story())


class OddError(Exception):
    """Nothing that anybody expects."""


@pytest.mark.parametrize("method", ["rolling_back", "rolled_back"])
def test_a_journal_that_fails_in_its_own_way_does_not_keep_the_old_version_from_coming_back(folder, method):
    class Odd(SqliteJournal):
        pass

    def fail(*_, **__):
        raise RuntimeError("can't start new thread")

    setattr(Odd, method, fail)

    async def story():
        shelf = Shelf(lamp="1.0")
        shelf.fail["validate after"] = RuntimeError("unwell")
        async with opened(folder, shelf, drivers={"journals": {"sqlite": Odd}}) as upgrader:
            upgrade_id = await upgrader.start(ask())
            (result,) = await asyncio.gather(upgrader.result(upgrade_id), return_exceptions=True)
            assert shelf.versions["lamp"] == "1.0"
            assert not isinstance(result, BaseException)
            assert not result.success

    run(story())


# --- restarts --------------------------------------------------------------------------------------------------------


class Forgetful(Shelf):
    """A shelf that comes back empty-handed after a restart."""

    @hookimpl
    def restore(self, active):
        return []


async def killed_while_soaking(upgrader, seconds, *names):
    """Upgrade until all of them soak, and let the process die there, for the journal; returns the upgrade ids."""
    soaks = []

    def one_more():
        soaks.append(1)
        if len(soaks) == len(names):
            upgrader.journal.release_lease()

    on_event(upgrader, "upgrade.phase", one_more, to=Phase.SOAKING)
    found = [await upgrader.start(ask(name=name, parameters={"soak": seconds})) for name in names]
    await until(lambda: len(soaks) == len(names))
    return found


def test_a_soak_that_was_resumed_is_no_success_when_the_new_version_does_not_run(folder):
    async def story():
        async with opened(folder) as upgrader:
            (upgrade_id,) = await killed_while_soaking(upgrader, 0.1, "lamp")
            async with opened(folder, Forgetful(lamp="1.0")) as second:
                result = await second.result(upgrade_id)
                assert isinstance(result.error, e.NotChangedError)
                assert "lamp runs 1.0" in result.error.message
                assert (result.success, result.phase) == (False, Phase.STUCK)
                assert second.journal.record(upgrade_id).phase is Phase.STUCK
                assert second.get_upgrade_status()["active"] == []

    run(story())


@pytest.mark.parametrize("how", ["raises", "answers"])
def test_a_resumed_soak_whose_judge_fails_is_a_result_that_a_person_must_look_at(folder, how):
    async def story():
        trouble = Trouble(how)
        async with opened(folder) as upgrader:
            (upgrade_id,) = await killed_while_soaking(upgrader, 60, "lamp")
            async with opened(folder, Shelf(lamp="1.0"), **drivers(**trouble.judge)) as second:
                result = await second.result(upgrade_id)
                trouble.end()
                assert isinstance(result.error, e.PluginBrokenError)
                assert (result.success, result.phase) == (False, Phase.STUCK)
                assert second.get_upgrade_status()["active"] == []
                assert (await second.rollback("lamp")).raise_for_error().success
                assert second.shelf.versions["lamp"] == "1.0"

    run(story())


def test_a_resumed_soak_with_harm_goes_back_and_says_why(folder):
    async def story():
        async with opened(folder) as upgrader:
            (upgrade_id,) = await killed_while_soaking(upgrader, 60, "lamp")
            async with opened(folder, Shelf(lamp="1.0"), **drivers(judges=harmful())) as second:
                await second.result(upgrade_id)
                assert second.shelf.versions["lamp"] == second.journal.active_of("lamp").version == "1.0"
                last = second.journal.audit(upgrade_id)[-1]
                assert (last.phase, last.why) == (Phase.ROLLED_BACK, "it smokes")

    run(story())


def test_more_soaks_than_may_run_at_once_do_not_keep_a_program_from_starting(folder):
    async def story():
        names = ("lamp", "book", "desk")
        shelf = Shelf(lamp="1.0", book="1.0", desk="1.0")
        async with opened(folder, shelf) as upgrader:
            found = await killed_while_soaking(upgrader, 60, *names)
            other = Shelf(lamp="1.0", book="1.0", desk="1.0")
            async with opened(folder, other, runtime_upgrade__max_concurrent_upgrades=1) as second:
                assert {one["upgrade_id"] for one in second.get_upgrade_status()["active"]} == set(found)
                assert other.versions == dict.fromkeys(names, "1.1")

    run(story())


# --- several at once -------------------------------------------------------------------------------------------------


def test_what_another_upgrade_does_meanwhile_hides_no_harm(folder):
    seen = []

    class Odd:
        def observe(self, found):
            seen.append((found.old.version, found.new.version))
            return Observation(harm=found.new.errors >= 3, reasons=("errors",))

    async def story():
        shelf = Shelf(lamp="1.0", book="1.0")

        async def app(scope, receive, send):
            if shelf.versions["lamp"] == "2.0":
                raise OddError("2.0 is broken")

        async with opened(folder, shelf, **drivers(judges=Odd)) as upgrader:
            counted = upgrader.gauge.asgi(app)
            bad = await upgrader.start(ask("2.0", parameters={"bake": 60}))
            await until(lambda: seen)
            assert (await upgrader.upgrade(ask("1.1", "book"))).raise_for_error().success
            for _ in range(3):
                with pytest.raises(OddError):
                    await counted({"type": "http"}, None, None)
            result = await upgrader.result(bad)
            assert isinstance(result.error, e.HarmDetectedError)
            assert (result.phase, shelf.versions["lamp"]) == (Phase.ROLLED_BACK, "1.0")

    run(story())
    assert set(seen) == {("1.0", "2.0")}


# --- one plugin that is odd ------------------------------------------------------------------------------------------


class Describing:
    """Another plugin, which describes whatever it is told to."""

    def __init__(self, describe):
        self.describe = describe

    @hookimpl
    def discover(self):
        return [self.describe()]


@pytest.mark.parametrize("odd", [{"name": None}, {"name": ""}, {"version": None}, {"name": "\ud800"}], ids=repr)
def test_an_odd_component_of_one_plugin_is_a_finding_and_stops_no_start_and_no_close(folder, odd):
    async def story():
        other = Describing(lambda: ComponentDescriptor(**{"name": "odd", "version": "1", **odd}))
        async with opened(folder, plugins={"other": other}) as upgrader:
            plan = await upgrader.plan(ask(validation_level="permissive"))
            assert any("printable" in finding.message for finding in plan.findings)
            assert (await upgrader.upgrade(plan)).raise_for_error().success
            assert {one.name for one in await upgrader.components()} == {"lamp", "book"}
        async with opened(folder, Shelf(lamp="1.0"), plugins={"other": other}) as upgrader:
            assert upgrader.shelf.versions["lamp"] == "1.1"

    run(story())


class Unreadable(ComponentDescriptor):
    """A component whose name cannot even be read."""

    def __getattribute__(self, name):
        if name == "name" and Unreadable.broken:
            raise AttributeError("no name today")
        return super().__getattribute__(name)

    broken = False


def test_the_lease_is_renewed_whatever_the_look_at_what_runs_comes_to(folder, monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.upgrade.FIRST_LOOK_SECONDS", 0.01)
    monkeypatch.setattr("noodle_upgrade_core.upgrade.LEASE_SECONDS", 0.03)
    monkeypatch.setattr(Unreadable, "broken", False)

    async def story():
        odd = Unreadable(name="odd", version="1")
        other = Describing(lambda: odd)
        async with opened(folder, plugins={"other": other}) as upgrader:
            renewed = []
            renew = upgrader.journal.renew_lease
            monkeypatch.setattr(upgrader.journal, "renew_lease", lambda: renewed.append(1) or renew())
            monkeypatch.setattr(Unreadable, "broken", True)
            failed = asyncio.Event()
            on_event(upgrader, "journal.failed", failed.set)
            await failed.wait()
            so_far = len(renewed)
            await until(lambda: len(renewed) >= so_far + 3)
            journal = upgrader.journal
        with pytest.raises(e.JournalError, match="not open"):
            journal.active()

    run(story())


def test_an_upgrader_closes_its_journal_also_when_the_keeping_of_the_lease_has_failed(folder, monkeypatch):
    async def story():
        async def broken(self):
            raise OddError("gone")

        monkeypatch.setattr(Upgrader, "keep_lease", broken)
        async with opened(folder) as upgrader:
            journal = upgrader.journal
            await asyncio.sleep(0)
        with pytest.raises(e.JournalError, match="not open"):
            journal.active()

    run(story())
