"""The runner: asks the plugins, each within its time and on its own, whether it is plain or `async`.

Plain implementations run in a daemon thread each, so that one that hangs is left behind; `async` ones run on the
runner's loop, where what they await lives. Where a bare thread costs 190 µs and a bare task with a time limit 15 µs, a
call costs about 60 µs for a plain implementation and 35 µs for an `async` one.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dis
import inspect
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from attrs import define, frozen

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.events import Event, EventKind
from noodle_upgrade_core.isolation import Attempt, blame, overdue
from noodle_upgrade_core.phases import answers
from noodle_upgrade_core.phases.observers import Observer
from noodle_upgrade_core.phases.watchdog import Watchdog
from noodle_upgrade_core.phases.workers import Work, Workers
from noodle_upgrade_core.plugins.implementations import Implementation, hook_arguments
from noodle_upgrade_core.plugins.loading import PluginSet
from noodle_upgrade_core.turns import sooner

__all__ = ["Account", "Reply", "Runner"]

GRACE_SECONDS = 1.0
"""How long a cancelled `async` implementation may clean up, and an observer finish, before it is left behind."""


@frozen(kw_only=True)
class Reply:
    """One implementation's answer; `value` is a tuple where the hook answers with an iterable.

    `error` is set instead when it failed or was late. `seconds` is how long it took.
    """

    plugin: str
    value: Any = None
    error: UpgradeError | None = None
    seconds: float = 0.0


@define(kw_only=True)
class Account:
    """What one plugin cost so far: how often it was asked, how often it failed, seconds in all and at most."""

    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    longest: float = 0.0


@frozen(kw_only=True)
class _Call:
    """One call into foreign code: `doing` is the hook or the method, `finish` turns what it returns into an answer."""

    plugin: str
    doing: str
    function: Callable[[], Any]
    asynchronous: bool
    limit: float
    finish: Callable[[Any], Any]
    gather: Callable[[AsyncIterable[Any]], Awaitable[Any]] | None = None
    late: Callable[[Any], Awaitable[Any]] | None = None
    who: str = ""

    @property
    def name(self) -> str:
        return f"noodle {self.plugin}.{self.doing}"


_LATE = Attempt(hung=True)


def _silent(_kind: str, **_: Any) -> None:
    """Tell nobody."""


def _as_it_is(value: Any) -> Any:
    return value


class Runner:
    """Asks the plugins of one set. Belongs to one event loop; `tell` may be called from any thread.

    `time_limit` is in seconds and for each call, unless a call names its own. `emit(kind, message=…, data=…)` is told
    of every plugin that fails.
    """

    def __init__(self, plugin_set: PluginSet, *, time_limit: float, emit: Callable[..., Any] = _silent) -> None:
        self.plugin_set = plugin_set
        self.time_limit = time_limit
        self.accounts: dict[str, Account] = {}
        self._emit = emit
        self._left_behind: list[Work] = []
        self._workers = Workers()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._watchdog = Watchdog(self._report)
        self._observers = tuple(
            Observer(one.plugin_name, _observing(one), report=self._report)
            for one in plugin_set.implementations("observe")
        )

    # --- asking --------------------------------------------------------------------------------------------------

    async def ask(
        self, hook: str, /, *, limit: float | None = None, last_first: bool = False, **arguments: Any
    ) -> tuple[Reply, ...]:
        """Ask every implementation, one after the other in order; a failure is a reply like any other.

        Raises `TypeError` when an argument of the hook is not given.
        """
        ones = self._implementations(hook, arguments)
        return tuple([await self._ask(one, arguments, limit) for one in (reversed(ones) if last_first else ones)])

    async def ask_first(self, hook: str, /, *, limit: float | None = None, **arguments: Any) -> Reply | None:
        """Ask in order until one answers with something, and return that reply; None when nobody does.

        A failure ends the search: its reply is returned, with the error.
        """
        for one in self._implementations(hook, arguments):
            reply = await self._ask(one, arguments, limit)
            if reply.error is not None or reply.value not in (None, ()):
                return reply
        return None

    async def ask_only(
        self,
        plugin_name: str,
        hook: str,
        /,
        *,
        limit: float | None = None,
        late: Callable[[Any], Awaitable[Any]] | None = None,
        **arguments: Any,
    ) -> Reply | None:
        """Ask one plugin; None when it does not implement the hook.

        `late` is given what an implementation returns after nobody waited for it any more, None when it failed.
        """
        for one in self._implementations(hook, arguments):
            if one.plugin_name == plugin_name:
                return await self._ask(one, arguments, limit, late=late)
        return None

    async def call(self, name: str, function: Callable[..., Any], /, *args: Any, limit: float | None = None) -> Any:
        """Call a method of what a plugin gave us, plain or `async`, within a time limit, and return its value.

        `name` is the plugin's name, or the hook's that the object came from. Raises the plugin's `UpgradeError`,
        `PluginTimeoutError`, or `PluginBrokenError` for anything else that it raises.
        """
        doing = getattr(function, "__name__", type(function).__name__)
        call = _Call(
            plugin=name,
            doing=doing,
            function=partial(function, *args),
            asynchronous=inspect.iscoroutinefunction(function),
            limit=self.time_limit if limit is None else limit,
            finish=_as_it_is,
            who=f"What the hook {name!r} returned" if name in hook_arguments() else "",
        )
        value, error = await self._account(call)
        if error is not None:
            raise error
        return value

    # --- telling -------------------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Hand an event to every observer; never waits, never raises."""
        for observer in self._observers:
            observer.put(event)

    @property
    def left_behind(self) -> tuple[str, ...]:
        """The names of the threads that were left behind and still run."""
        self._left_behind = [work for work in self._left_behind if not work.ended]
        return tuple(work.name for work in self._left_behind)

    async def close(self) -> None:
        """Cancel what is left of `async` implementations, and let observers finish for a moment."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=GRACE_SECONDS)
        until = time.monotonic() + GRACE_SECONDS
        await asyncio.to_thread(_close_all, self._observers, until)
        self._watchdog.close()
        self._workers.close()

    # --- one call ------------------------------------------------------------------------------------------------

    def _implementations(self, hook: str, arguments: dict[str, Any]) -> tuple[Implementation, ...]:
        found = self.plugin_set.implementations(hook)
        if missing := [name for name in hook_arguments()[hook] if name not in arguments]:
            raise TypeError(f"the hook {hook!r} must be given {', '.join(missing)}")
        return found

    async def _ask(
        self,
        one: Implementation,
        arguments: dict[str, Any],
        limit: float | None,
        *,
        late: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> Reply:
        chosen = {name: arguments[name] for name in one.argnames}
        call = _Call(
            plugin=one.plugin_name,
            doing=one.hook,
            function=partial(one.function, **chosen),
            asynchronous=one.asynchronous,
            limit=limit if limit is not None else one.limit or self.time_limit,
            finish=partial(answers.checked, one.hook),
            gather=partial(answers.gathered, one.hook),
            late=late,
        )
        started = time.perf_counter()
        value, error = await self._account(call)
        return Reply(plugin=one.plugin_name, value=value, error=error, seconds=time.perf_counter() - started)

    async def _account(self, call: _Call) -> tuple[Any, UpgradeError | None]:
        """Make the call, book its time, and turn how it ended into a value or an error."""
        started = time.perf_counter()
        try:
            tried = await self._made(call)
        except asyncio.CancelledError as ended:
            # Whoever ended it, at the time limit of the whole upgrade say, learns whom it was waiting for.
            ended.add_note(f"{call.who or f'The plugin {call.plugin!r}'} was still busy in {call.doing}.")
            raise
        seconds = time.perf_counter() - started
        account = self.accounts.setdefault(call.plugin, Account())
        account.calls += 1
        account.seconds += seconds
        account.longest = max(account.longest, seconds)
        if tried.hung:
            error: UpgradeError = overdue(plugin=call.plugin, doing=call.doing, limit=call.limit, who=call.who)
        elif tried.error is not None:
            error = blame(tried.error, plugin=call.plugin, doing=call.doing, who=call.who)
        else:
            return tried.value, None
        account.failures += 1
        self._report(error.message, **error.to_wire())
        return None, error

    async def _made(self, call: _Call) -> Attempt:
        if call.asynchronous:
            return await self._on_loop(call, None, call.limit)
        started = time.perf_counter()
        tried = await self._in_thread(call)
        value = tried.value
        if inspect.isawaitable(value) or (call.gather is not None and isinstance(value, AsyncIterable)):
            # A plain function that returns a coroutine means the same as an `async` one.
            left = max(0.001, call.limit - (time.perf_counter() - started))
            return await self._on_loop(call, value, left)
        return tried

    async def _in_thread(self, call: _Call) -> Attempt:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Attempt] = loop.create_future()
        context = contextvars.copy_context()
        tried = _LATE

        def settle(how: Attempt) -> None:
            if not ended.done():
                ended.set_result(how)

        def make() -> None:
            nonlocal tried
            tried = context.run(_plainly, call)

        def told() -> None:
            if not ended.done():
                ended.set_result(tried)
            elif call.late is not None:
                self._hand_on(call.late(tried.value))

        def tell() -> None:
            # After the time limit the loop may be closed: then nobody waits for the answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(told)

        work = Work(call.name, make, tell)
        try:
            self._workers.begin(work)
        except RuntimeError as error:
            # The system gives no more threads: that is a failure of this call, not of whoever asks.
            return Attempt(error=error)
        late = loop.call_later(call.limit, settle, _LATE)
        try:
            with sooner():
                return await ended
        finally:
            late.cancel()
            if not work.ended:
                self._left_behind = [*(other for other in self._left_behind if not other.ended), work]

    async def _on_loop(self, call: _Call, value: Any, limit: float) -> Attempt:
        """Run on this loop, in a task of its own: a `CancelledError` that the plugin raises is not our own."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def settle(_: object = None) -> None:
            if not ended.done():
                ended.set_result(None)

        task = loop.create_task(self._asynchronously(call, value))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(settle)
        late = loop.call_later(limit, settle)
        try:
            await ended
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,), timeout=GRACE_SECONDS)
            raise
        finally:
            late.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait((task,), timeout=GRACE_SECONDS)
        if call.late is not None:
            late_answer = call.late
            task.add_done_callback(lambda ended: self._hand_on(late_answer(_value_of(ended))))
        return _LATE

    async def _asynchronously(self, call: _Call, value: Any) -> Attempt:
        try:
            answer = await self._watchdog.watched(_awaited(call, value), plugin=call.plugin, hook=call.doing)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not _raised_by_code(error):
                raise
            return Attempt(error=error)
        return Attempt(value=answer)

    def _hand_on(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _report(self, message: str, /, **data: Any) -> None:
        self._emit(EventKind.PLUGIN_FAILED, message=message, data=data)


def _value_of(task: asyncio.Task[Attempt]) -> Any:
    return None if task.cancelled() or task.exception() is not None else task.result().value


async def _awaited(call: _Call, value: Any) -> Any:
    """Call, unless a thread has done so already; await what comes until it is an answer."""
    value = call.function() if value is None else value
    while inspect.isawaitable(value):
        value = await value
    if call.gather is not None and isinstance(value, AsyncIterable):
        return await call.gather(value)
    return call.finish(value)


def _plainly(call: _Call) -> Attempt:
    try:
        value = call.function()
        if inspect.isawaitable(value) or (call.gather is not None and isinstance(value, AsyncIterable)):
            return Attempt(value=value)
        return Attempt(value=call.finish(value))
    except BaseException as error:  # noqa: BLE001 - SystemExit of a plugin is not the end of the host
        return Attempt(error=error)


def _observing(one: Implementation) -> Callable[[Event], object]:
    function = one.function
    return (lambda event: function(event=event)) if one.argnames else (lambda _event: function())


def _close_all(observers: Iterable[Observer], until: float) -> None:
    for observer in observers:
        observer.close(max(0.0, until - time.monotonic()))


def _raised_by_code(error: BaseException) -> bool:
    """Whether a `raise` in the plugin's own code made this, rather than a person's Ctrl-C between two instructions."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code, frame = trace.tb_frame.f_code, trace.tb_frame
    raised = dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
    # asyncio's own handler of the signal is Python code that raises.
    return raised and frame.f_globals.get("__name__") != "asyncio.runners"
