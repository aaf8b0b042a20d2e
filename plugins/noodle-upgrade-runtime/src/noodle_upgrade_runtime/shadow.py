"""Copies of calls, run on objects that serve nobody, by one thread that nobody waits for.

A caller pays for the copies of what it gave and got, and for one put into a queue that is bounded: what finds it full
is skipped. Whatever a copy does, be it to raise `SystemExit` or to hang, stays in this thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, frozen

from noodle_upgrade_core.counters import ArmCounter
from noodle_upgrade_core.staged import Arm, Shadow
from noodle_upgrade_runtime.links import Compare
from noodle_upgrade_runtime.outcomes import Answered, Outcome, Raised, difference
from noodle_upgrade_runtime.routing import spread

__all__ = ["MOST_WAITING", "Copy", "Shadowing"]

MOST_WAITING = 256
"""So many copies wait at most, and a few more for threads that come at the same instant."""
_MOMENT_SECONDS = 0.25
"""How long the end of a shadow waits for the copy that is being run."""

Methods = Mapping[str, Callable[..., Any]]


@frozen(eq=False)
class Copy:
    """One call to be run again: of which object, how, and how it ended on the old version."""

    owner: int
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outcome: Outcome
    compare: Compare | None


@define
class _Counts:
    ran: int = 0
    different: int = 0
    skipped: int = 0
    last_difference: str = ""


class Shadowing:
    """Runs copies of a share of calls on `methods`, by owner, one after the other, in the order of their old ends.

    Counts only grow. `end` throws everything away, and leaves a copy behind that hangs.
    """

    def __init__(self, methods: Mapping[int, Methods], *, version: str, share: float, name: str) -> None:
        self.share = share
        self._methods = dict(methods)
        self._counter = ArmCounter(version)
        self._counts = _Counts()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: queue.SimpleQueue[Copy | None] = queue.SimpleQueue()
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=f"noodle shadow of {name}", daemon=True)
        self._thread.start()

    # --- what callers do -----------------------------------------------------------------------------------------

    def chosen(self) -> bool:
        """Return whether a call is one of those that are copied, and there is room for it."""
        if self._ended or not spread(next(self._numbers), self.share):
            return False
        if self._waiting.qsize() < MOST_WAITING:
            return True
        self.skip()
        return False

    def skip(self) -> None:
        """Count a call that was to be copied, and cannot be."""
        with self._lock:
            self._counts.skipped += 1

    def put(self, copy: Copy) -> None:
        """Have a copy run at some time."""
        if not self._ended:
            self._waiting.put(copy)

    # --- what deployments do -------------------------------------------------------------------------------------

    def seen(self) -> tuple[Arm, Shadow]:
        """Return what the new version did with the copies, and what became of all of them."""
        with self._lock:
            counts = self._counts
            shadow = Shadow(
                share=self.share,
                ran=counts.ran,
                different=counts.different,
                skipped=counts.skipped,
                last_difference=counts.last_difference,
            )
        return self._counter.snapshot(), shadow

    def end(self) -> None:
        """Run no more copies and keep nothing; waits a moment for the one that runs, and then leaves it behind."""
        self._ended = True
        self._methods = {}
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        self._waiting.put(None)
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it was closed just now
                loop.call_soon_threadsafe(_cancel_all, loop)
        self._thread.join(_MOMENT_SECONDS)

    # --- what the thread does ------------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(BaseException), asyncio.Runner() as runner:
            while (copy := self._waiting.get()) is not None and not self._ended:
                self._run_one(copy, runner)
                del copy  # nothing is kept while this waits for the next one

    def _run_one(self, copy: Copy, runner: asyncio.Runner) -> None:
        started = self._counter.enter()
        try:
            outcome: Outcome = Answered(self._outcome(copy, runner))
        except BaseException as error:  # noqa: BLE001 - whatever a copy raises is how it ended
            outcome = Raised.by(error)
        lasted = time.perf_counter_ns() - started
        found = difference(copy.outcome, outcome, copy.compare)
        if self._ended:
            return
        with self._lock:
            self._counts.ran += 1
            if found:
                self._counts.different += 1
                self._counts.last_difference = f"{copy.name} {found}"
        # What it took to compare is none of the version's time.
        self._counter.leave(time.perf_counter_ns() - lasted, found and f"{copy.name} {found}")

    def _outcome(self, copy: Copy, runner: asyncio.Runner) -> Any:
        method = self._methods.get(copy.owner, {}).get(copy.name)
        if method is None:
            raise AttributeError(f"the new version has no {copy.name!r}")
        # In a context of its own: the program's variables may hold what a copy must not reach.
        result = contextvars.Context().run(method, *copy.args, **copy.kwargs)
        if inspect.iscoroutine(result):
            self._loop = runner.get_loop()
            result = runner.run(result, context=contextvars.Context())
        return result


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
