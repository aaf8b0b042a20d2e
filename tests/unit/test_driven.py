"""Other people's objects: one call at a time, checked answers, and an undo that nobody can cut in half."""

import asyncio
import contextlib
import gc
import threading

import pytest

from noodle_upgrade_core import plugins
from noodle_upgrade_core.driven import DrivenDecider, DrivenJudge, DrivenSwap, carried_through
from noodle_upgrade_core.errors import PluginBrokenError, PluginTimeoutError, RollbackUnavailableError
from noodle_upgrade_core.model import Ballot, Decision
from noodle_upgrade_core.phases import Runner
from noodle_upgrade_core.staged import Arm, Measurement, SwapSet
from noodle_upgrade_core.steps import Observation

SEEN = Measurement(at=0, weight=0, old=Arm(version="1"), new=Arm(version="2"))
SHORT = 0.03
IN_ORDER = ["shift begins", "shift ends", "revert begins", "revert ends"]


class Swap:
    """Logs when each call begins and ends; `hold` keeps one of them inside until `go_on` is set."""

    capabilities = frozenset({"weights"})

    def __init__(self, *, hold="", fail=None, answer=None):
        self.hold = hold
        self.fail = fail
        self.answer = answer
        self.log = []
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def _do(self, name):
        self.log.append(f"{name} begins")
        if name == self.hold:
            self.entered.set()
            self.go_on.wait(30)
        if self.fail is not None:
            raise self.fail
        self.log.append(f"{name} ends")
        return self.answer

    def shift(self, weight):
        return self._do("shift")

    def commit(self):
        return self._do("commit")

    def revert(self):
        return self._do("revert")

    def measure(self):
        return self._do("measure")

    def running(self):
        return self._do("running")


class AsyncSwap(Swap):
    """The same on the loop; `stubborn` ignores that it is cancelled."""

    def __init__(self, *, hold="", stubborn=False):
        super().__init__(hold=hold)
        self.stubborn = stubborn
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()

    async def _do(self, name):
        self.log.append(f"{name} begins")
        self.inside.set()
        while name == self.hold and not self.leave.is_set():
            try:
                await self.leave.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    self.log.append(f"{name} cancelled")
                    raise
        self.log.append(f"{name} ends")

    async def shift(self, weight):
        await self._do("shift")

    async def revert(self):
        await self._do("revert")


def run(story, *, time_limit=5.0):
    """Run an asynchronous story with a runner, which is closed again."""

    async def main():
        runner = Runner(plugins.load((), core_version="0.1", make_host=lambda *_: None), time_limit=time_limit)
        try:
            return await asyncio.wait_for(story(runner), 10)
        finally:
            await runner.close()

    return asyncio.run(main())


def driven(swap, runner, *, left=5.0):
    return DrivenSwap(swap, runner, lambda: left)


async def stays_out(task):
    """Whether a task does not come to an end by itself."""
    done, _ = await asyncio.wait([task], timeout=SHORT)
    return not done


# --- one call at a time ----------------------------------------------------------------------------------------------


def test_a_revert_waits_for_a_shift_that_outlived_its_limit():
    swap = Swap(hold="shift")

    async def story(runner):
        one = driven(swap, runner, left=SHORT)
        with pytest.raises(PluginTimeoutError):
            await one.shift(1.0)
        going_back = asyncio.create_task(one.revert())
        assert await stays_out(going_back)
        assert swap.log == ["shift begins"]
        swap.go_on.set()
        await going_back

    run(story)
    assert swap.log == IN_ORDER


def test_a_revert_waits_for_a_shift_whose_caller_was_cancelled():
    swap = Swap(hold="shift")

    async def story(runner):
        one = driven(swap, runner)
        moving = asyncio.create_task(one.shift(1.0))
        await asyncio.to_thread(swap.entered.wait, 5)
        moving.cancel()
        await asyncio.wait([moving])
        going_back = asyncio.create_task(one.revert())
        assert await stays_out(going_back)
        swap.go_on.set()
        await going_back

    run(story)
    assert swap.log == IN_ORDER


def test_what_never_comes_back_is_named_and_the_next_method_is_not_tried_beside_it():
    swap = Swap(hold="shift")

    async def story(runner):
        one = driven(swap, runner, left=SHORT)
        with pytest.raises(PluginTimeoutError):
            await one.shift(1.0)
        with pytest.raises(PluginTimeoutError, match="still busy in shift") as caught:
            await one.revert()
        assert caught.value.details == {"hook": "swap", "busy": "shift", "asked": "revert"}
        assert swap.log == ["shift begins"]
        runner.time_limit = 5.0
        swap.go_on.set()
        await one.revert()

    run(story, time_limit=SHORT)
    assert swap.log == IN_ORDER


def test_an_async_shift_over_its_limit_has_ended_before_the_revert_begins():
    async def story(runner):
        swap = AsyncSwap(hold="shift")
        one = driven(swap, runner, left=SHORT)
        with pytest.raises(PluginTimeoutError):
            await one.shift(1.0)
        await one.revert()
        return swap.log

    assert run(story) == ["shift begins", "shift cancelled", "revert begins", "revert ends"]


def test_a_revert_waits_also_for_an_async_shift_that_ignores_its_cancellation(monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.phases.runner.GRACE_SECONDS", SHORT)

    async def story(runner):
        swap = AsyncSwap(hold="shift", stubborn=True)
        one = driven(swap, runner, left=SHORT)
        with pytest.raises(PluginTimeoutError):
            await one.shift(1.0)
        going_back = asyncio.create_task(one.revert())
        assert await stays_out(going_back)
        swap.leave.set()
        await going_back
        return swap.log

    assert run(story) == IN_ORDER


def test_calls_at_the_same_time_are_made_one_after_the_other():
    swap = Swap(hold="shift")

    async def story(runner):
        one = driven(swap, runner)
        calls = [asyncio.create_task(call) for call in (one.shift(1.0), one.revert())]
        await asyncio.to_thread(swap.entered.wait, 5)
        assert await stays_out(calls[1])
        swap.go_on.set()
        await asyncio.gather(*calls)

    run(story)
    assert swap.log == IN_ORDER


def test_a_revert_that_hangs_and_ends_late_is_waited_for_by_the_question_what_runs():
    swap = Swap(hold="revert", answer={"lamp": "1"})

    async def story(runner):
        one = driven(swap, runner)
        with pytest.raises(PluginTimeoutError):
            await one.revert()
        asking = asyncio.create_task(one.running())
        assert await stays_out(asking)
        swap.go_on.set()
        return await asking

    assert run(story, time_limit=0.5) == {"lamp": "1"}
    assert swap.log.index("revert ends") < swap.log.index("running begins")


@pytest.mark.parametrize(
    "error",
    [RuntimeError("clumsy"), SystemExit(1), PluginTimeoutError("my own"), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
def test_a_method_that_raised_has_ended_and_the_next_is_called_at_once(error):
    swap = Swap(fail=error)

    async def story(runner):
        one = driven(swap, runner)
        with pytest.raises((PluginBrokenError, PluginTimeoutError)):
            await one.shift(1.0)
        swap.fail = None
        await one.revert()

    run(story, time_limit=1.0)
    assert swap.log == ["shift begins", "revert begins", "revert ends"]


def test_a_plain_method_may_return_something_to_await_and_ends_with_it():
    class Mixed(Swap):
        def shift(self, weight):
            return self._later()

        async def _later(self):
            self._do("shift")

    swap = Mixed()

    async def story(runner):
        one = driven(swap, runner)
        await one.shift(1.0)
        await one.revert()

    run(story)
    assert swap.log == IN_ORDER


@pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning")
def test_a_plain_method_that_returns_something_to_await_too_late_does_not_block_the_revert():
    class Later:
        def __await__(self):
            yield from ()

    class Mixed(Swap):
        def shift(self, weight):
            self._do("shift")
            return Later()

    swap = Mixed(hold="shift")

    async def story(runner):
        one = driven(swap, runner, left=SHORT)
        with contextlib.suppress(PluginTimeoutError):
            await one.shift(1.0)
        swap.go_on.set()
        with contextlib.suppress(PluginTimeoutError):
            await one.revert()

    run(story, time_limit=0.2)
    gc.collect()
    assert swap.log == IN_ORDER


def test_a_call_that_is_within_its_own_time_is_waited_for_however_long_that_is():
    swap = Swap(hold="shift")

    async def story(runner):
        one = driven(swap, runner, left=10)
        calls = [asyncio.create_task(call) for call in (one.shift(1.0), one.revert())]
        assert await stays_out(calls[1])
        assert await stays_out(calls[1])
        runner.time_limit = 5.0
        swap.go_on.set()
        await asyncio.gather(*calls)

    run(story, time_limit=SHORT)
    assert swap.log == IN_ORDER


# --- what comes back -------------------------------------------------------------------------------------------------


def test_a_typed_error_of_a_swap_stays_what_it_is_and_anything_else_names_the_method():
    async def story(runner):
        with pytest.raises(RollbackUnavailableError, match="released"):
            await driven(Swap(fail=RollbackUnavailableError("released")), runner).revert()
        with pytest.raises(PluginBrokenError, match="failed in commit: KeyError"):
            await driven(Swap(fail=KeyError("no")), runner).commit()

    run(story)


@pytest.mark.parametrize("answer", [None, SEEN], ids=["nothing", "counts"])
def test_a_measurement_or_nothing_is_taken_as_it_is(answer):
    assert run(lambda runner: driven(Swap(answer=answer), runner).measure()) is answer


@pytest.mark.parametrize("answer", [0, "1", {"new": 3}, ()], ids=repr)
def test_anything_else_is_no_measurement(answer):
    with pytest.raises(PluginBrokenError, match="'measure' must return Measurement or None"):
        run(lambda runner: driven(Swap(answer=answer), runner).measure())


@pytest.mark.parametrize("answer", [None, [], "lamp", {"lamp": None}, {"lamp": 2.0}, {1: "2"}], ids=repr)
def test_what_runs_must_be_names_and_versions(answer):
    with pytest.raises(PluginBrokenError, match="'running' must return a mapping of names to versions"):
        run(lambda runner: driven(Swap(answer=answer), runner).running())


def test_a_swap_drains_only_if_it_can():
    class Draining(Swap):
        def drain(self):
            self._do("drain")

    able, unable = Draining(), Swap()

    async def story(runner):
        await SwapSet((driven(unable, runner), driven(able, runner))).drain()

    run(story)
    assert (able.log, unable.log) == (["drain begins", "drain ends"], [])


class Asked:
    """A judge and a decider at once: raises, or answers."""

    def __init__(self, answer=None, *, fail=None):
        self.answer = answer
        self.fail = fail
        self.threads = []

    def observe(self, *_):
        self.threads.append(threading.get_ident())
        if self.fail is not None:
            raise self.fail
        return self.answer

    combine = observe


class AskedAsync(Asked):
    async def observe(self, *_):
        return super().observe()

    combine = observe


def ask_judge(one, runner):
    return DrivenJudge(one, runner, "strict").observe(SEEN)


def ask_decider(one, runner):
    return DrivenDecider(one, runner, "strict").combine(None, (), ())


BOTH = pytest.mark.parametrize(
    ("ask", "good", "due"),
    [(ask_judge, Observation(harm=True), "Observation"), (ask_decider, Decision(ballot=Ballot.APPROVE), "Decision")],
    ids=["judge", "decider"],
)


@BOTH
@pytest.mark.parametrize("made", [Asked, AskedAsync], ids=["plain", "async"])
def test_a_judge_or_a_decider_is_believed_when_it_answers_as_it_should(ask, good, due, made):
    assert run(lambda runner: ask(made(good), runner)) is good


@BOTH
def test_a_plain_judge_or_decider_is_asked_off_the_event_loop(ask, good, due):
    asked = Asked(good)
    run(lambda runner: ask(asked, runner))
    assert threading.get_ident() not in asked.threads


@BOTH
@pytest.mark.parametrize("answer", [None, True, "harm"], ids=repr)
@pytest.mark.parametrize("made", [Asked, AskedAsync], ids=["plain", "async"])
def test_an_answer_that_is_none_is_an_error_that_says_what_was_due(ask, good, due, made, answer):
    with pytest.raises(PluginBrokenError, match=f"must return {due}; it returned {type(answer).__name__}"):
        run(lambda runner: ask(made(answer), runner))


@BOTH
@pytest.mark.parametrize("made", [Asked, AskedAsync], ids=["plain", "async"])
def test_what_a_judge_or_a_decider_raises_names_it(ask, good, due, made):
    with pytest.raises(PluginBrokenError, match=r"strict.*KeyError"):
        run(lambda runner: ask(made(fail=KeyError("no")), runner))


@BOTH
def test_a_judge_or_a_decider_that_hangs_is_left_behind(ask, good, due):
    go_on = threading.Event()

    class Hanging(Asked):
        def observe(self, *_):
            go_on.wait(30)

        combine = observe

    with pytest.raises(PluginTimeoutError, match="strict"):
        run(lambda runner: ask(Hanging(), runner), time_limit=SHORT)
    go_on.set()


# --- carried through -------------------------------------------------------------------------------------------------


def test_what_nobody_cancels_is_carried_through_and_says_so():
    async def work():
        await asyncio.sleep(0)

    assert asyncio.run(carried_through(work())) is False


@pytest.mark.parametrize("times", [1, 2, 5])
def test_what_is_cancelled_again_and_again_is_still_carried_through_to_its_end(times):
    steps = []

    async def story():
        go_on = asyncio.Event()

        async def work():
            steps.append("half")
            await go_on.wait()
            steps.append("whole")

        task = asyncio.create_task(carried_through(work()))
        for _ in range(times):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        return await task

    assert asyncio.run(story()) is True
    assert steps == ["half", "whole"]


def test_an_error_of_what_is_carried_through_goes_on_to_the_caller():
    async def work():
        raise RollbackUnavailableError("released")

    with pytest.raises(RollbackUnavailableError):
        asyncio.run(carried_through(work()))
