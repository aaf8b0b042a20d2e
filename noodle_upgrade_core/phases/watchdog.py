"""Who blocks the event loop: measured step by step, so that the culprit has a name, and a stack while it lasts."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from attrs import frozen

__all__ = ["Watchdog"]

BLOCKING_SECONDS = 0.25
HUNG_SECONDS = 2.0
_IDLE_LOOKS = 5


@frozen
class _Step:
    """A piece of a coroutine between two awaits, which has the loop to itself while it lasts."""

    plugin: str
    hook: str
    thread: int
    started: float


class Watchdog:
    """Reports `async` implementations that block the loop, once each.

    After a step that took longer than `blocking` seconds `report(message, **data)` says so. A step that has lasted
    longer than `hung` seconds is reported while it lasts, with its stack: by a thread of its own, because the loop
    cannot. Nothing can stop such a step; plain implementations have threads and can be left behind.
    """

    def __init__(
        self, report: Callable[..., object], *, blocking: float = BLOCKING_SECONDS, hung: float = HUNG_SECONDS
    ) -> None:
        self._report = report
        self._blocking = blocking
        self._hung = hung
        self._step: _Step | None = None
        self._active = 0
        self._said: set[tuple[str, str, str]] = set()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def watched(self, awaitable: Awaitable[Any], *, plugin: str, hook: str) -> Awaitable[Any]:
        """Return an awaitable that does the same, and is timed between its awaits."""
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._look, name="noodle watchdog", daemon=True)
            self._thread.start()
        self._active += 1
        self._awake.set()
        return _Watched(self, awaitable, plugin, hook)

    def close(self) -> None:
        """Let the thread end."""
        self._closing.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _enter(self, plugin: str, hook: str) -> _Step | None:
        before = self._step
        self._step = _Step(plugin, hook, threading.get_ident(), time.perf_counter())
        return before

    def _end(self) -> None:
        self._active -= 1

    def _leave(self, before: _Step | None) -> None:
        step, self._step = self._step, before
        if step is not None and (seconds := time.perf_counter() - step.started) > self._blocking:
            self._say(step, f"blocked the event loop for {seconds:.2f} s", "after", seconds=seconds)

    def _look(self) -> None:
        idle = 0
        while not self._closing.is_set():
            # Asleep while no plugin has the loop: a process that upgrades nothing is not woken up.
            if idle >= _IDLE_LOOKS:
                self._awake.clear()
                if not self._active:
                    self._awake.wait()
                idle = 0
            self._closing.wait(self._hung / 2)
            step = self._step
            idle = 0 if self._active else idle + 1
            if step is not None and time.perf_counter() - step.started > self._hung:
                frame = sys._current_frames().get(step.thread)  # noqa: SLF001 - the documented way to another's stack
                stack = "".join(traceback.format_stack(frame)[-3:]) if frame is not None else ""
                self._say(step, f"has blocked the event loop for more than {self._hung:g} s", "during", stack=stack)

    def _say(self, step: _Step, what: str, when: str, **data: object) -> None:
        key = (step.plugin, step.hook, when)
        if key in self._said:
            return
        self._said.add(key)
        self._report(
            f"The plugin {step.plugin!r} {what} in {step.hook!r}. Its code must await, or be a plain function: those"
            " have threads.",
            plugin=step.plugin,
            hook=step.hook,
            **data,
        )


class _Watched:
    """Passes everything on to an awaitable, and tells the watchdog when its code begins and stops to run."""

    def __init__(self, watchdog: Watchdog, awaitable: Awaitable[Any], plugin: str, hook: str) -> None:
        self._watchdog = watchdog
        self._awaitable = awaitable
        self._plugin = plugin
        self._hook = hook

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            return (yield from self._steps(self._awaitable.__await__()))
        finally:
            self._watchdog._end()  # noqa: SLF001 - two halves of one thing

    def _steps(self, inner: Any) -> Generator[Any, Any, Any]:
        resume, value = getattr(inner, "send", lambda _: next(inner)), None
        while True:
            before = self._watchdog._enter(self._plugin, self._hook)  # noqa: SLF001 - likewise
            try:
                yielded = resume(value)
            except StopIteration as stop:
                return stop.value
            finally:
                self._watchdog._leave(before)  # noqa: SLF001 - likewise
            try:
                value = yield yielded
                resume = getattr(inner, "send", lambda _: next(inner))
            except GeneratorExit:
                if (close := getattr(inner, "close", None)) is not None:
                    close()
                raise
            except BaseException as error:  # noqa: BLE001 - it is the awaitable's to handle, cancellation above all
                resume, value = getattr(inner, "throw", _raise), error


def _raise(error: BaseException) -> None:
    raise error
