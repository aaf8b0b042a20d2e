import asyncio
import contextvars
import json
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from noodle_upgrade_core import (
    ArtifactRef,
    ComponentDescriptor,
    Finding,
    Outcome,
    Receipt,
    Severity,
    Verdict,
    Vote,
    hookimpl,
    plugins,
)
from noodle_upgrade_core.errors import (
    PluginBrokenError,
    PluginTimeoutError,
    RollbackUnavailableError,
    UpgradeError,
)
from noodle_upgrade_core.events import Event, EventBus
from noodle_upgrade_core.phases import Runner
from noodle_upgrade_core.phases.answers import MOST_ANSWERS
from noodle_upgrade_core.phases.observers import Observer
from noodle_upgrade_core.phases.watchdog import Watchdog
from noodle_upgrade_core.phases.workers import Work, Workers

FINDING = Finding(severity=Severity.INFO, code="x", message="y")
ARGUMENTS = {
    "validate": {"plan": 1, "stage": "before", "context": 2},
    "decide": {"plan": 1, "context": 2},
    "discover": {},
    "assess": {"step": 1, "context": 2},
    "swap": {"steps": (), "plan": 1, "context": 2},
    "recompile": {"plan": 1, "staged": 2, "context": 3},
    "deploy": {"plan": 1, "staged": 2, "artifacts": (), "context": 3},
    "rollback": {"plan": 1, "reached": 2, "context": 3},
    "restore": {"active": (), "context": 2},
    "opened": {"upgrader": 1},
}


class Staged:
    capabilities = frozenset({"weights"})

    def shift(self, weight):
        return weight

    async def commit(self):
        return "done"

    def revert(self):
        raise RollbackUnavailableError("released", details={"odd": {1, 2}})

    def measure(self):
        return None

    def running(self):
        return {}


def plugin(hook, function):
    """A plugin that implements one hook with a function that takes no argument of it."""
    if asyncio.iscoroutinefunction(function):

        async def implementation(self):
            return await function()
    else:

        def implementation(self):
            return function()

    return type("Plugin", (), {hook: hookimpl(specname=hook)(implementation)})()


def loaded(**extra):
    plugin_set = plugins.load((), core_version="0.1", make_host=lambda *_: None, extra=extra)
    assert plugin_set.failures == ()
    return plugin_set


def run(scenario, plugin_set, *, time_limit=5.0, emit=lambda *_, **__: None):
    """Run an asynchronous scenario with a runner, which is closed again."""

    async def main():
        runner = Runner(plugin_set, time_limit=time_limit, emit=emit)
        try:
            return await scenario(runner)
        finally:
            await runner.close()

    return asyncio.run(main())


def reply_of(hook, function, **options):
    async def scenario(runner):
        return await runner.ask(hook, **ARGUMENTS[hook])

    (reply,) = run(scenario, loaded(zoo=plugin(hook, function)), **options)
    return reply


def raising(error):
    def plain():
        raise error

    async def asynchronous():
        raise error

    return [plain, asynchronous]


class SilentError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


# --- what plugins do to their host -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        TimeoutError("mine"),
        StopIteration(1),
        MemoryError(),
        SilentError(),
        ExceptionGroup("several", [ValueError(1)]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("way", [0, 1], ids=["plain", "async"])
def test_whatever_a_plugin_raises_is_its_own_typed_failure(error, way):
    reply = reply_of("decide", raising(error)[way])
    assert reply.plugin == "zoo"
    assert reply.value is None
    assert type(reply.error) is PluginBrokenError
    assert "The plugin 'zoo' failed in decide: " in reply.error.message
    assert reply.error.details["hook"] == "decide"
    assert "test_phases.py" in reply.error.details["where"]
    assert reply.error.__cause__ is not None


@pytest.mark.parametrize("way", [0, 1], ids=["plain", "async"])
def test_an_upgrade_error_goes_through_with_the_plugin_and_the_hook_added(way):
    mine = RollbackUnavailableError("released", hint="wait", details={"odd": {1}, 3: object})
    reply = reply_of("rollback", raising(mine)[way])
    assert reply.error is mine
    assert (reply.error.details["plugin"], reply.error.details["hook"]) == ("zoo", "rollback")
    assert UpgradeError.from_wire(json.loads(json.dumps(reply.error.to_wire()))).code == mine.code


def test_an_upgrade_error_that_was_made_wrongly_is_a_broken_plugin():
    class HollowError(UpgradeError):
        def __init__(self):
            pass

    reply = reply_of("decide", raising(HollowError())[0])
    assert type(reply.error) is PluginBrokenError
    assert reply.error.details["exception"] == "HollowError"


def test_one_failure_leaves_the_others_answers_alone():
    async def scenario(runner):
        return await runner.ask("decide", **ARGUMENTS["decide"])

    vote = Vote(ballot="approve")
    replies = run(
        scenario,
        loaded(
            a=plugin("decide", lambda: vote),
            b=plugin("decide", raising(ValueError())[0]),
            c=plugin("decide", lambda: None),
        ),
    )
    assert [(reply.plugin, reply.value, reply.error is None) for reply in replies] == [
        ("a", vote, True),
        ("b", None, False),
        ("c", None, True),
    ]


def test_a_plain_plugin_that_hangs_is_left_behind_in_a_named_thread():
    release = threading.Event()

    async def scenario(runner):
        (reply,) = await runner.ask("decide", **ARGUMENTS["decide"])
        behind = runner.left_behind
        release.set()
        return reply, behind

    reply, behind = run(scenario, loaded(zoo=plugin("decide", release.wait)), time_limit=0.1)
    assert type(reply.error) is PluginTimeoutError
    assert reply.error.details == {"plugin": "zoo", "hook": "decide", "limit": 0.1}
    assert behind == ("noodle zoo.decide",)


def test_an_async_plugin_that_hangs_is_cancelled():
    cancelled = []

    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    async def scenario(runner):
        (reply,) = await runner.ask("decide", **ARGUMENTS["decide"])
        return reply, tuple(cancelled)

    reply, before_close = run(scenario, loaded(zoo=plugin("decide", hang)), time_limit=0.1)
    assert type(reply.error) is PluginTimeoutError
    assert before_close == (True,)


def test_an_async_plugin_that_ignores_its_cancellation_is_left_behind(monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.phases.runner.GRACE_SECONDS", 0.1)
    ignored = []

    async def stubborn():
        while len(ignored) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ignored.append(True)

    reply = reply_of("decide", stubborn, time_limit=0.1)
    assert type(reply.error) is PluginTimeoutError
    assert len(ignored) == 2  # at the limit, and when the runner closed


def test_a_limit_of_one_call_wins_over_the_runners():
    async def scenario(runner):
        late = await runner.ask_first("deploy", limit=0.1, **ARGUMENTS["deploy"])
        return late, await runner.ask_only("zoo", "deploy", limit=0.2, **ARGUMENTS["deploy"])

    first, only = run(scenario, loaded(zoo=plugin("deploy", lambda: threading.Event().wait(2))), time_limit=60)
    assert first.error.details["limit"] == 0.1
    assert only.error.details["limit"] == 0.2


def test_cancelling_the_upgrade_cancels_the_plugin_and_goes_on_at_once():
    seen = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cleaned up")

    release = threading.Event()

    async def scenario(runner):
        for hook in ("decide", "validate"):
            asking = asyncio.ensure_future(runner.ask(hook, **ARGUMENTS[hook]))
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        assert seen == ["cleaned up"]
        release.set()
        return runner.left_behind

    both = type("Both", (), {})()
    both.decide = hookimpl(slow)
    both.validate = hookimpl(lambda: release.wait() and [])
    assert run(scenario, loaded(zoo=both)) in [(), ("noodle zoo.validate",)]


def test_an_answer_without_end_is_cut_off():
    def endless():
        while True:
            yield FINDING

    async def endless_async():
        while True:
            yield FINDING

    both = type("Both", (), {})()
    both.validate = hookimpl(endless)
    both.restore = hookimpl(endless_async)

    async def scenario(runner):
        return [(await runner.ask(hook, **ARGUMENTS[hook]))[0] for hook in ("validate", "restore")]

    for reply in run(scenario, loaded(zoo=both), time_limit=60):
        assert f"more than {MOST_ANSWERS} answers" in reply.error.message


def test_what_a_generator_raises_half_way_is_a_failure_and_no_half_answer():
    def half():
        yield FINDING
        raise ValueError("half-way")

    reply = reply_of("validate", half)
    assert "half-way" in reply.error.message
    assert reply.value is None


WRONG = [
    ("discover", [FINDING], "an iterable of ComponentDescriptor", "Finding"),
    ("discover", 3, "an iterable of ComponentDescriptor", "int"),
    ("validate", FINDING, "an iterable of Finding", "Finding"),
    ("validate", "text", "an iterable of Finding", "str"),
    ("validate", {"a": 1}, "an iterable of Finding", "dict"),
    ("restore", [None], "an iterable of Finding", "NoneType"),
    ("recompile", ["x"], "an iterable of ArtifactRef", "str"),
    ("decide", True, "Vote or None", "bool"),
    ("decide", [Vote(ballot="approve")], "Vote or None", "list"),
    ("assess", "patch", "Verdict or None", "str"),
    ("deploy", Receipt(), "Outcome or None", "Receipt"),
    ("rollback", ["done"], "Receipt or None", "list"),
    ("swap", object(), "it lacks shift, commit, revert, measure, running, capabilities", "object"),
]


@pytest.mark.parametrize(("hook", "answer", "due", "came"), WRONG)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
def test_a_wrong_answer_says_what_was_due_and_what_came(hook, answer, due, came, asynchronous):
    async def answering():
        return answer

    reply = reply_of(hook, answering if asynchronous else lambda: answer)
    assert type(reply.error) is PluginBrokenError
    assert due in reply.error.message
    assert repr(reply.plugin) in reply.error.message
    assert reply.error.details["came"] == came


def test_an_answer_whose_text_cannot_be_made_is_still_refused_in_words():
    class Wordless:
        def __repr__(self):
            raise RuntimeError

    assert "<Wordless>" in reply_of("decide", Wordless).error.message


def test_a_giant_answer_is_refused_without_the_text_of_all_of_it():
    asked = []

    class Counted:
        def __repr__(self):
            asked.append(1)
            return "counted"

    assert "counted, counted" in reply_of("decide", lambda: [Counted()] * 100_000).error.message
    assert len(asked) < 100


def test_a_generator_where_one_value_is_due_is_refused():
    async def vote():
        yield Vote(ballot="approve")

    plain = type("Plain", (), {"decide": hookimpl(lambda self: iter([Vote(ballot="approve")]))})()
    late = type("Late", (), {})()
    late.decide = hookimpl(vote)

    async def scenario(runner):
        return await runner.ask("decide", **ARGUMENTS["decide"])

    for reply in run(scenario, loaded(a=plain, b=late)):
        assert "Vote or None" in reply.error.message


# --- what answers mean -------------------------------------------------------------------------------------------


RIGHT = [
    ("discover", [ComponentDescriptor(name="a", version="1")]),
    ("validate", [FINDING, FINDING]),
    ("restore", []),
    ("recompile", [ArtifactRef(name="a", version="1", digest="d", kind="tree", size=1, tree="t")]),
    ("decide", Vote(ballot="reject")),
    ("assess", Verdict(feasible=True, mechanism="patch")),
    ("deploy", Outcome(promoted=True)),
    ("rollback", Receipt(undone=("it",))),
    ("swap", Staged()),
]


@pytest.mark.parametrize(("hook", "answer"), RIGHT, ids=[hook for hook, _ in RIGHT])
def test_plain_async_generator_and_awaitable_answers_mean_the_same(hook, answer):
    async def coroutine():
        return answer

    async def nested():
        return coroutine()

    ways = [lambda: answer, coroutine, lambda: coroutine(), nested]
    if isinstance(answer, list):

        def generator():
            yield from answer

        async def lazily():
            for one in answer:
                yield one

        ways += [generator, lazily, lambda: lazily(), lambda: iter(answer)]
    expected = tuple(answer) if isinstance(answer, list) else answer
    for way in ways:
        one = type("One", (), {})()
        setattr(one, hook, hookimpl(way))

        async def scenario(runner):
            return await runner.ask(hook, **ARGUMENTS[hook])

        (reply,) = run(scenario, loaded(zoo=one))
        assert reply.error is None
        assert reply.value == expected


@pytest.mark.parametrize("hook", list(ARGUMENTS))
def test_nothing_is_an_answer_to_every_hook(hook):
    reply = reply_of(hook, lambda: None)
    assert reply.error is None
    assert reply.value in ((), None)


def test_an_implementation_gets_the_arguments_that_it_names_and_no_others():
    seen = {}

    class Chooses:
        @hookimpl
        def validate(self, stage, extra="own", context="default"):
            seen.update(stage=stage, extra=extra, context=context)

        @hookimpl
        async def decide(self, **everything):
            seen.update(everything=everything)

    async def scenario(runner):
        await runner.ask("validate", **ARGUMENTS["validate"])
        await runner.ask("decide", future="ignored", **ARGUMENTS["decide"])

    run(scenario, loaded(zoo=Chooses()))
    assert seen == {"stage": "before", "extra": "own", "context": 2, "everything": {"plan": 1, "context": 2}}


def test_a_host_that_forgets_an_argument_is_told_which():
    async def scenario(runner):
        with pytest.raises(TypeError, match="'validate' must be given stage, context"):
            await runner.ask("validate", plan=1)
        with pytest.raises(ValueError, match="no hook 'nothing'"):
            await runner.ask("nothing")

    run(scenario, loaded(zoo=plugin("discover", list)))


def test_the_order_is_kept_and_can_be_turned_round():
    asked = []

    def asking(name):
        def plain():
            asked.append(name)

        async def asynchronous():
            await asyncio.sleep(0)
            asked.append(name)

        return plugin("rollback", plain if name in "ac" else asynchronous)

    async def scenario(runner):
        await runner.ask("rollback", **ARGUMENTS["rollback"])
        await runner.ask("rollback", last_first=True, **ARGUMENTS["rollback"])

    run(scenario, loaded(a=asking("a"), b=asking("b"), c=asking("c"), d=asking("d")))
    assert "".join(asked) == "abcddcba"


def test_the_first_answer_ends_the_search_and_so_does_a_failure():
    verdict = Verdict(feasible=True, mechanism="patch")

    async def scenario(runner):
        return await runner.ask_first("assess", **ARGUMENTS["assess"])

    none, right = plugin("assess", lambda: None), plugin("assess", lambda: verdict)
    never = plugin("assess", lambda: pytest.fail("asked"))
    broken = plugin("assess", raising(ValueError("bad"))[0])
    reply = run(scenario, loaded(a=none, b=right, c=never))
    assert (reply.plugin, reply.value) == ("b", verdict)
    reply = run(scenario, loaded(a=none, b=broken, c=never))
    assert reply.plugin == "b"
    assert "bad" in reply.error.message
    assert run(scenario, loaded(a=none)) is None


def test_one_plugin_can_be_asked_alone():
    async def scenario(runner):
        there = await runner.ask_only("b", "decide", **ARGUMENTS["decide"])
        return there, await runner.ask_only("a", "decide", **ARGUMENTS["decide"])

    there, missing = run(
        scenario, loaded(a=plugin("discover", list), b=plugin("decide", lambda: None), c=plugin("decide", sys.exit))
    )
    assert (there.plugin, there.value, there.error) == ("b", None, None)
    assert missing is None


def test_methods_of_a_staged_swap_are_called_whether_plain_or_async():
    async def scenario(runner):
        staged = Staged()
        assert await runner.call("swap", staged.shift, 0.5) == 0.5
        assert await runner.call("swap", staged.commit, limit=1.0) == "done"
        with pytest.raises(RollbackUnavailableError) as caught:
            await runner.call("swap", staged.revert, limit=None)
        assert caught.value.details["hook"] == "revert"
        with pytest.raises(
            PluginTimeoutError, match=r"What the hook 'swap' returned was still busy in wait after 0\.1 s"
        ):
            await runner.call("swap", threading.Event().wait, 5, limit=0.1)
        with pytest.raises(PluginBrokenError, match="TypeError"):
            await runner.call("swap", staged.shift)

    run(scenario, loaded(zoo=plugin("discover", list)))


def test_context_variables_reach_plain_and_async_implementations_and_do_not_come_back():
    variable = contextvars.ContextVar("who", default="nobody")
    seen = []

    def plain():
        seen.append(variable.get())
        variable.set("changed")

    async def asynchronous():
        plain()

    async def scenario(runner):
        variable.set("alice")
        await runner.ask("decide", **ARGUMENTS["decide"])
        return variable.get()

    plugin_set = loaded(a=plugin("decide", plain), b=plugin("decide", asynchronous))
    assert run(scenario, plugin_set) == "alice"
    assert seen == ["alice", "alice"]


def test_a_plain_implementation_never_runs_on_the_loops_thread_nor_shares_a_thread():
    threads = []
    barrier = threading.Barrier(4)

    def meet():
        barrier.wait(5)
        threads.append((threading.current_thread().name, threading.get_ident()))

    async def scenario(runner):
        await asyncio.gather(*(runner.ask("decide", **ARGUMENTS["decide"]) for _ in range(4)))
        return threading.get_ident()

    mine = run(scenario, loaded(zoo=plugin("decide", meet)))
    assert {name for name, _ in threads} == {"noodle zoo.decide"}
    assert len({ident for _, ident in threads} | {mine}) == 5


def test_every_plugin_has_an_account_and_every_failure_is_told():
    told = []

    async def scenario(runner):
        for _ in range(3):
            await runner.ask("decide", **ARGUMENTS["decide"])
        return runner.accounts

    accounts = run(
        scenario,
        loaded(a=plugin("decide", lambda: None), b=plugin("decide", raising(ValueError("bad"))[0])),
        emit=lambda kind, *, message, data: told.append((kind, message, data)),
    )
    assert (accounts["a"].calls, accounts["a"].failures) == (3, 0)
    assert (accounts["b"].calls, accounts["b"].failures) == (3, 3)
    assert accounts["a"].seconds >= accounts["a"].longest > 0
    assert len(told) == 3
    kind, message, data = told[0]
    assert kind == "plugin.failed"
    assert "'b' failed in decide" in message
    assert data["details"]["plugin"] == "b"


def test_a_real_interrupt_of_a_person_ends_the_program_and_a_plugins_own_does_not():
    source = """
        import asyncio, os, signal
        from noodle_upgrade_core import hookimpl
        from noodle_upgrade_core.plugins import loading as plugins
        from noodle_upgrade_core.phases import Runner

        class Zoo:
            @hookimpl
            async def decide(self):
                if not told:
                    told.append(1)
                    raise KeyboardInterrupt
                signal.raise_signal(signal.SIGINT)

        told = []
        async def main():
            # The default handler, as under most servers: it raises wherever the main thread is.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            made = plugins.load((), core_version="1", make_host=None, extra={"zoo": Zoo()})
            runner = Runner(made, time_limit=5)
            (reply,) = await runner.ask("decide", plan=1, context=1)
            print(type(reply.error).__name__, flush=True)
            await runner.ask("decide", plan=1, context=1)
            print("went on", flush=True)

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        check=False,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.split() == ["PluginBrokenError"]
    assert done.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in done.stderr


def test_a_plugin_that_hangs_does_not_keep_the_program_from_ending():
    source = """
        import asyncio, threading
        from noodle_upgrade_core import hookimpl
        from noodle_upgrade_core.plugins import loading as plugins
        from noodle_upgrade_core.phases import Runner

        class Zoo:
            @hookimpl
            def decide(self):
                threading.Event().wait()
            @hookimpl
            def observe(self, event):
                threading.Event().wait()

        async def main():
            made = plugins.load((), core_version="1", make_host=None, extra={"zoo": Zoo()})
            runner = Runner(made, time_limit=0.1)
            runner.tell(None)
            print(type((await runner.ask("decide", plan=1, context=1))[0].error).__name__)
            await runner.close()

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert (done.stdout.split(), done.stderr, done.returncode) == (["PluginTimeoutError"], "", 0)


# --- observers ---------------------------------------------------------------------------------------------------


def observer(function):
    return type("Observing", (), {"observe": hookimpl(lambda self, event: function(event))})()


def test_a_hanging_observer_stalls_neither_the_upgrade_nor_another_observer():
    release = threading.Event()
    seen, all_seen = [], threading.Event()

    def note(event):
        seen.append(event.message)
        if len(seen) == 20:
            all_seen.set()

    async def scenario(runner):
        bus = EventBus()
        bus.subscribe(runner.tell)
        for number in range(20):
            bus.emit("upgrade.progress", message=str(number))
        arrived = await asyncio.to_thread(all_seen.wait, 5)
        release.set()
        return arrived

    assert run(scenario, loaded(hangs=observer(lambda _: release.wait()), notes=observer(note)))
    assert seen == [str(number) for number in range(20)]


def test_what_an_observer_raises_is_told_once_and_it_goes_on_being_told(caplog):
    seen, told = [], []

    def failing(event):
        seen.append(event.sequence)
        raise SystemExit(1)

    async def scenario(runner):
        for number in range(5):
            runner.tell(Event(kind="x", sequence=number))

    run(scenario, loaded(zoo=observer(failing)), emit=lambda *_, message, data: told.append((message, data)))
    assert seen == [0, 1, 2, 3, 4]
    assert [message for message, _ in told] == ["The plugin 'zoo' failed in observe: SystemExit: 1."]
    assert told[0][1] == {"plugin": "zoo", "hook": "observe", "exception": "SystemExit"}
    assert len(caplog.records) == 1


def test_a_queue_that_is_full_drops_and_counts_and_says_so_once():
    release, entered = threading.Event(), threading.Event()
    seen, told = [], []

    def slow(event):
        entered.set()
        release.wait()
        seen.append(event.sequence)

    watching = Observer("zoo", slow, report=lambda message, **data: told.append((message, data)), length=3)
    watching.put(Event(kind="x", sequence=0))
    entered.wait(5)
    for number in range(1, 9):
        watching.put(Event(kind="x", sequence=number))
    assert watching.dropped == 5
    assert not watching.close(0.05)
    release.set()
    assert watching.close(5)
    watching.put(Event(kind="x", sequence=99))
    assert seen == [0, 1, 2, 3]
    assert told == [
        ("The plugin 'zoo' is behind, and loses events.", {"plugin": "zoo", "hook": "observe", "dropped": 1})
    ]


def test_an_observer_that_is_slow_again_and_again_is_told_of_once(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("noodle_upgrade_core.phases.observers.time.perf_counter", lambda: next(clock))
    told = []
    watching = Observer("zoo", lambda _: None, report=lambda message, **_: told.append(message))
    for number in range(6):
        watching.put(Event(kind="x", sequence=number))
    assert watching.close(5)
    assert told == ["The plugin 'zoo' is slow: observe took more than 50 ms 3 times."]


def test_an_observer_may_emit_from_inside_observe():
    bus = EventBus()
    seen = []

    def echo(event):
        seen.append(event.kind)
        if event.kind == "x":
            bus.emit("echo")

    async def scenario(runner):
        bus.subscribe(runner.tell)
        bus.emit("x")
        while len(seen) < 2:
            await asyncio.sleep(0.001)

    run(scenario, loaded(zoo=observer(echo)))
    assert seen == ["x", "echo"]


def test_an_observer_need_not_take_the_event():
    called = threading.Event()
    silent = type("Silent", (), {"observe": hookimpl(lambda self: called.set())})()

    async def scenario(runner):
        runner.tell(Event(kind="x"))
        return await asyncio.to_thread(called.wait, 5)

    assert run(scenario, loaded(zoo=silent))


# --- who blocks the loop -----------------------------------------------------------------------------------------


def test_an_async_plugin_that_blocks_the_loop_is_named_once_afterwards():
    told = []

    async def scenario(runner):
        runner._watchdog._blocking = 0.01
        for _ in range(2):
            await runner.ask("decide", **ARGUMENTS["decide"])

    async def blocking():
        time.sleep(0.05)  # noqa: ASYNC251 - what must not be done is what is tested
        await asyncio.sleep(0)

    run(scenario, loaded(zoo=plugin("decide", blocking)), emit=lambda *_, message, data: told.append((message, data)))
    ((message, data),) = told
    assert message.startswith("The plugin 'zoo' blocked the event loop for 0.0")
    assert data["seconds"] >= 0.05
    assert data["hook"] == "decide"


def test_an_async_plugin_that_blocks_the_loop_for_good_is_named_with_its_stack_while_it_does():
    told = threading.Event()
    reports = []

    def report(message, **data):
        reports.append((message, data))
        told.set()

    watchdog = Watchdog(report, hung=0.05, blocking=60)

    async def stuck_here():
        # Ends only because the watchdog speaks while it lasts.
        assert told.wait(10)
        return "free"

    async def main():
        return await watchdog.watched(stuck_here(), plugin="zoo", hook="decide")

    assert asyncio.run(main()) == "free"
    watchdog.close()
    ((message, data),) = reports
    assert "has blocked the event loop for more than 0.05 s" in message
    assert "stuck_here" in data["stack"]


def test_waiting_is_not_blocking():
    told = []
    watchdog = Watchdog(lambda message, **_: told.append(message), blocking=0.02, hung=0.02)

    async def patient():
        await asyncio.sleep(0.1)

    asyncio.run(_watched(watchdog, patient()))
    watchdog.close()
    assert told == []


async def _watched(watchdog, awaitable):
    return await watchdog.watched(awaitable, plugin="zoo", hook="decide")


def test_a_watched_awaitable_behaves_as_it_would_unwatched():
    watchdog = Watchdog(lambda *_, **__: None)

    class Custom:
        def __await__(self):
            return iter([])

    async def fails():
        await asyncio.sleep(0)
        raise ValueError("own")

    async def main():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 7)
        assert await _watched(watchdog, future) == 7
        assert await _watched(watchdog, Custom()) is None
        with pytest.raises(ValueError, match="own"):
            await _watched(watchdog, fails())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await _watched(watchdog, asyncio.Event().wait())
        assert watchdog._active == 0

    asyncio.run(main())
    watchdog.close()


# --- threads -----------------------------------------------------------------------------------------------------


def test_threads_are_used_again_one_call_at_a_time():
    workers, idents = Workers(), []
    for number in range(5):
        told = threading.Event()
        work = Work(f"call {number}", lambda: idents.append(threading.get_ident()), told.set)
        workers.begin(work)
        assert told.wait(5)
        assert work.ended
    assert len(set(idents)) == 1
    workers.close()


def test_a_busy_thread_ends_after_its_call_when_the_workers_are_closed():
    workers, release, threads, told = Workers(), threading.Event(), [], threading.Event()

    def call():
        threads.append(threading.current_thread())
        told.set()
        release.wait()

    workers.begin(Work("busy", call, lambda: None))
    assert told.wait(5)
    workers.close()
    release.set()
    threads[0].join(5)
    assert not threads[0].is_alive()


def test_when_the_system_gives_no_more_threads_the_call_fails_and_not_the_host(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    async def scenario(runner):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            (reply,) = await runner.ask("decide", **ARGUMENTS["decide"])
        return reply

    reply = run(scenario, loaded(zoo=plugin("decide", lambda: None)))
    assert "can't start new thread" in reply.error.message
