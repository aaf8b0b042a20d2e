"""Counts of what each version does while a deployment runs; nothing is counted when none does.

A `Gauge` sits where calls enter a program: around an ASGI or WSGI application, around a worker's job. When no
deployment runs, its users pay for knowing how many calls are under way: about a quarter of a microsecond a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any

from noodle_upgrade_core.counters import ArmCounter
from noodle_upgrade_core.staged import Measurement

__all__ = ["CALLS_ACROSS", "Counting", "Gauge", "call_error"]

CALLS_ACROSS = "calls.across"
"""The code of findings about calls that a change did not wait for, so that they may see both versions."""

_SERVER_ERROR = 500


class Counting:
    """What one deployment sees of the calls that enter a program, from `Gauge.count` until `stop`.

    `turn` says which version calls meet that begin from now on.
    """

    def __init__(self, old_version: str, new_version: str, changed: Callable[[], None]) -> None:
        self._old, self._new = ArmCounter(old_version), ArmCounter(new_version)
        self.current: ArmCounter | None = self._old
        self._changed = changed

    def turn(self, *, to_new: bool) -> None:
        """Count calls that begin from now on for the new version, or for the old one again."""
        if self.current is not None:
            self.current = self._new if to_new else self._old
            self._changed()

    def stop(self) -> None:
        """Count no more; what was counted can still be read."""
        self.current = None
        self._changed()

    def measure(self, at: float, weight: float) -> Measurement:
        """Return what both versions did so far."""
        return Measurement(at=at, weight=weight, old=self._old.snapshot(), new=self._new.snapshot())


class _Generation:
    """Calls that entered between two looks at who lingers, and have not left."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class Gauge:
    """Where calls enter a whole program: counts them while a deployment runs, and can hold new ones back for a moment.

    For swaps that are all or nothing and cost callers nothing, so that they can neither count nor pin by themselves.
    `count` begins a counting; several deployments at once have one each, and every call counts in all of them. `quiet`
    gives a moment in which no call is under way, so that a change in it is seen by no call half-way.
    """

    def __init__(self) -> None:
        self._countings: tuple[Counting, ...] = ()
        self._counters: tuple[ArmCounter, ...] = ()
        self._holders = 0
        self._lock = threading.Lock()
        self._entering = _Generation()
        self._earlier: tuple[_Generation, ...] = ()

    @property
    def counters(self) -> tuple[ArmCounter, ...]:
        """The counters that a call which begins now belongs to; none when nothing is counted."""
        return self._counters

    @property
    def under_way(self) -> int:
        """How many calls have entered and not left."""
        return self._entering.calls + sum(one.calls for one in self._earlier)

    def count(self, old_version: str, new_version: str) -> Counting:
        """Count from now on, for the old version first."""
        counting = Counting(old_version, new_version, self._arm)
        with self._lock:
            self._countings = (*self._countings, counting)
        self._arm()
        return counting

    def _arm(self) -> None:
        with self._lock:
            self._countings = tuple(one for one in self._countings if one.current is not None)
            self._counters = tuple(one.current for one in self._countings if one.current is not None)

    async def lingering(self, within: float) -> int:
        """Return how many of the calls that are under way now are so still after `within` seconds; holds nobody back.

        These are the calls that `quiet` with the same limit would not wait for.
        """
        with self._lock:
            self._earlier = (*(one for one in self._earlier if one.calls), self._entering)
            seen, self._entering = self._earlier, _Generation()
        until = time.monotonic() + within
        while (left := sum(one.calls for one in seen)) and time.monotonic() < until:  # noqa: ASYNC110 - as below
            await asyncio.sleep(min(_GLANCE_SECONDS, within))
        return left

    @contextlib.asynccontextmanager
    async def quiet(self, within: float) -> AsyncIterator[Callable[[], int]]:
        """Hold new calls back until those under way have left, at most `within` seconds; they go on afterwards.

        When some take too long, new calls go on already inside the block: a slow call must not stop the others. Nor
        must a slow block: after `within` seconds more they go on. Gives a function that returns how many calls are
        under way: asked right after a change, how many the change did not wait for, 0 when all went well.
        """
        until = time.monotonic() + within
        with self._lock:
            self._holders += 1
        holding = True
        late: asyncio.TimerHandle | None = None

        def let_go() -> None:
            nonlocal holding
            if holding:
                holding = False
                self._let_go()

        try:
            while self.under_way and time.monotonic() < until:  # noqa: ASYNC110 - calls leave on any thread or loop
                await asyncio.sleep(_LOOK_SECONDS)
            if self.under_way:
                let_go()
            else:
                late = asyncio.get_running_loop().call_later(within, let_go)
            yield lambda: self.under_way
        finally:
            if late is not None:
                late.cancel()
            let_go()

    def _let_go(self) -> None:
        with self._lock:
            self._holders -= 1

    def _try_enter(self) -> _Generation | None:
        with self._lock:
            if self._holders:
                return None
            entered = self._entering
            entered.calls += 1
            return entered

    def _leave(self, entered: _Generation) -> None:
        with self._lock:
            entered.calls -= 1

    def asgi(self, app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """Wrap an ASGI application: a request that raises, or answers 5xx, is an error.

        Only HTTP requests are counted and held; a web socket lives too long to wait for.
        """

        async def counted(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            while (entered := self._try_enter()) is None:  # noqa: ASYNC110 - the holder may be on any loop
                await asyncio.sleep(_LOOK_SECONDS)
            try:
                counters = self._counters
                if counters:
                    await _count_asgi(counters, app, scope, receive, send)
                else:
                    await app(scope, receive, send)
            finally:
                self._leave(entered)

        return counted

    def wsgi(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Wrap a WSGI application: a request that raises, or answers 5xx, is an error.

        The call ends when the server closes the body that the application returned.
        """

        def counted(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            while (entered := self._try_enter()) is None:
                time.sleep(_LOOK_SECONDS)
            call = _WsgiCall(self._counters, partial(self._leave, entered))
            try:
                call.body = app(environ, call.watch(start_response))
            except BaseException as raised:
                call.error = call_error(raised)
                call.close()
                raise
            return call

        return counted


_LOOK_SECONDS = 0.0005
_GLANCE_SECONDS = 0.01


async def _count_asgi(
    counters: Sequence[ArmCounter],
    app: Callable[..., Awaitable[None]],
    scope: MutableMapping[str, Any],
    receive: Any,
    send: Any,
) -> None:
    error, answered = "", False

    async def watched(message: MutableMapping[str, Any]) -> None:
        nonlocal error, answered
        if message["type"] == "http.response.start" and not answered:
            answered = True
            for counter in counters:
                counter.answer()
            if message["status"] >= _SERVER_ERROR:
                error = f"HTTP {message['status']}"
        await send(message)

    started = [counter.enter() for counter in counters]
    try:
        await app(scope, receive, watched)
    except BaseException as raised:
        error = call_error(raised) or error
        raise
    finally:
        _leave_all(counters, started, error, answered=answered)


def call_error(raised: BaseException) -> str:
    """Return how a call failed, in words; "" for one that was cancelled or closed, which says nothing of a version."""
    if isinstance(raised, asyncio.CancelledError | GeneratorExit):
        return ""
    return f"{type(raised).__name__}: {raised}"


def _leave_all(counters: Sequence[ArmCounter], started: Sequence[int], error: str, *, answered: bool) -> None:
    for counter, since in zip(counters, started, strict=True):
        counter.leave(since, error, answered=answered)


class _WsgiCall:
    """One WSGI request, from its start until the server closes its body."""

    def __init__(self, counters: Sequence[ArmCounter], left: Callable[[], None]) -> None:
        self.body: Iterable[bytes] = ()
        self.error = ""
        self._counters = counters
        self._left: Callable[[], None] | None = left
        self._answered = False
        self._started = [counter.enter() for counter in counters]

    def watch(self, start_response: Callable[..., Any]) -> Callable[..., Any]:
        """Return `start_response`, noting a status of 5xx."""

        def watched(status: str, *args: Any, **kwargs: Any) -> Any:
            if not self._answered:
                self._answered = True
                for counter in self._counters:
                    counter.answer()
            if status.startswith("5"):
                self.error = f"HTTP {status}"
            return start_response(status, *args, **kwargs)

        return watched

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.body
        except BaseException as raised:
            self.error = call_error(raised)
            raise

    def close(self) -> None:
        """End the call once: servers must call this, also when the client has gone."""
        left, self._left = self._left, None
        if left is None:
            return
        try:
            closer = getattr(self.body, "close", None)
            if closer is not None:
                closer()
        finally:
            _leave_all(self._counters, self._started, self.error, answered=self._answered)
            left()
