"""Counts of what each version does while a deployment runs; nothing is counted when none does.

A `Gauge` sits where calls enter a program (around an ASGI or WSGI application, in a handle, around a worker's job). Its
users pay one attribute test per call when no deployment runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from noodle_upgrade_core.staged import LATENCY_BOUNDS, Arm, Measurement, bucket_of

__all__ = ["ArmCounter", "Gauge"]

_SERVER_ERROR = 500


class ArmCounter:
    """Calls, errors and latency of one version: written from any thread, read at any time.

    One lock per version, held for a few additions: about 0.3 µs a call, paid only while a deployment runs.
    """

    __slots__ = ("_buckets", "_calls", "_errors", "_last_error", "_lock", "_started", "version")

    def __init__(self, version: str) -> None:
        self.version = version
        self._lock = threading.Lock()
        self._started = 0
        self._calls = 0
        self._errors = 0
        self._buckets = [0] * (len(LATENCY_BOUNDS) + 1)
        self._last_error = ""

    def enter(self) -> float:
        """A call begins; returns its start, for `leave`."""
        with self._lock:
            self._started += 1
        return time.perf_counter()

    def leave(self, started: float, error: str = "") -> None:
        """The call that began at `started` ended; `error` says how, empty when it went well."""
        bucket = bucket_of(time.perf_counter() - started)
        with self._lock:
            self._calls += 1
            self._buckets[bucket] += 1
            if error:
                self._errors += 1
                self._last_error = error

    def snapshot(self) -> Arm:
        """Return the counts so far; calls are those that ended."""
        with self._lock:
            return Arm(
                version=self.version,
                calls=self._calls,
                errors=self._errors,
                in_flight=self._started - self._calls,
                latency=tuple(self._buckets),
                last_error=self._last_error,
            )


class Gauge:
    """The calls that enter a whole program, told apart by the version that was live when each began.

    For swaps that are all or nothing and cost callers nothing, so that they cannot count by themselves. `start` arms
    it, `turn` says which version new calls meet from now on, `stop` disarms it.
    """

    def __init__(self) -> None:
        self._arms: tuple[ArmCounter, ArmCounter] | None = None
        self._current: ArmCounter | None = None

    @property
    def current(self) -> ArmCounter | None:
        """The counter that a call which begins now belongs to, or None when nothing is counted."""
        return self._current

    def start(self, old_version: str, new_version: str) -> None:
        """Count from now on, for the old version first."""
        self._arms = (ArmCounter(old_version), ArmCounter(new_version))
        self._current = self._arms[0]

    def turn(self, *, to_new: bool) -> None:
        """Count calls that begin from now on for the new version, or for the old one again."""
        if self._arms is not None:
            self._current = self._arms[1 if to_new else 0]

    def stop(self) -> None:
        """Count no more; what was counted is forgotten."""
        self._current = None
        self._arms = None

    def measure(self, at: float, weight: float) -> Measurement | None:
        """Return what both versions did since `start`, or None when nothing is counted."""
        if self._arms is None:
            return None
        old, new = self._arms
        return Measurement(at=at, weight=weight, old=old.snapshot(), new=new.snapshot())

    def asgi(self, app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """Wrap an ASGI application: a request that raises, or answers 5xx, is an error."""

        async def counted(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            counter = self._current
            if counter is None or scope["type"] != "http":
                await app(scope, receive, send)
                return
            error = ""

            async def watched(message: MutableMapping[str, Any]) -> None:
                nonlocal error
                if message["type"] == "http.response.start" and message["status"] >= _SERVER_ERROR:
                    error = f"HTTP {message['status']}"
                await send(message)

            started = counter.enter()
            try:
                await app(scope, receive, watched)
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
                raise
            finally:
                counter.leave(started, error)

        return counted

    def wsgi(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Wrap a WSGI application: a request that raises, or answers 5xx, is an error.

        The call ends when the application has returned its body; a body that is made while it is sent is not timed.
        """

        def counted(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            counter = self._current
            if counter is None:
                return app(environ, start_response)
            error = ""

            def watched(status: str, *args: Any, **kwargs: Any) -> Any:
                nonlocal error
                if status.startswith("5"):
                    error = f"HTTP {status}"
                return start_response(status, *args, **kwargs)

            started = counter.enter()
            try:
                return app(environ, watched)
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
                raise
            finally:
                counter.leave(started, error)

        return counted
