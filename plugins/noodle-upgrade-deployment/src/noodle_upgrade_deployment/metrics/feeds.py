"""Who reads a metric while a rollout runs: a thread for each, so that one that hangs is nobody else's trouble."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.isolation import in_words
from noodle_upgrade_deployment.metrics.metric import Metric, MetricUnreadableError, Pair, Supplied, number_of

__all__ = ["Feed", "Handed"]

_KEPT = 1000
"""Readings that wait for a judge which is not asked: while people are, say."""


class Handed:
    """Readings that somebody hands over: a simulation, in virtual time, or a feed's thread."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._waiting: deque[Pair] = deque(maxlen=_KEPT)
        self._problem = ""

    def put(self, old: float | None, new: float) -> None:
        """Hand over what was read; raises `MetricUnreadableError` for what is no finite number."""
        self._waiting.append(Pair(None if old is None else number_of(old), number_of(new)))
        self._problem = ""

    def fail(self, problem: str) -> None:
        """Say why there is no reading; it holds until there is one again."""
        self._problem = problem

    def begin(self, old_version: str, new_version: str, *, both: bool) -> None:
        """Do nothing: whoever hands over knows what."""

    def close(self) -> None:
        """Do nothing: nobody reads."""

    def take(self) -> Supplied:
        """Return what was handed over since the last time."""
        pairs = []
        while self._waiting:
            pairs.append(self._waiting.popleft())
        return Supplied(tuple(pairs), self._problem)


class Feed:
    """Reads a metric of both versions every so many seconds, in a daemon thread of its own.

    The thread begins with the first `begin` and ends after `close`, or when nobody has the feed any more. What is in it
    then is left behind. Both versions are read one after the other, in an order that is drawn: whoever is always read
    last would have the worse readings where things get worse. A pair of which one reading failed, or was late, is none.
    """

    def __init__(self, metric: Metric, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.metric = metric
        self._handed = Handed(metric)
        self._clock = clock
        self._reader: _Reader | None = None

    def begin(self, old_version: str, new_version: str, *, both: bool) -> None:
        """Begin reading, when it has not begun; `both` may change at any time."""
        reader = self._reader
        if reader is None:
            reader = _Reader(self._handed, (old_version, new_version), self._clock)
            reader.both = both
            name = f"noodle metric {self.metric.name}"
            threading.Thread(target=reader.run, name=name, daemon=True).start()
            weakref.finalize(self, reader.stop.set)
            self._reader = reader
        else:
            reader.both = both

    def take(self) -> Supplied:
        """Return what was read since the last time; never waits."""
        pairs, problem = self._handed.take()
        return Supplied(pairs, problem if self._reader is None else self._reader.late() or problem)

    def close(self) -> None:
        """Read no more; waits for nothing."""
        if self._reader is not None:
            self._reader.stop.set()


class _Reader:
    """What runs in the thread: it knows nothing of the feed, so that a feed which nobody has any more can go."""

    def __init__(self, handed: Handed, versions: tuple[str, str], clock: Callable[[], float]) -> None:
        self.both = True
        self.stop = threading.Event()
        self._handed = handed
        self._metric = handed.metric
        self._versions = versions
        self._clock = clock
        self._busy: float | None = None
        self._rng = random.Random()  # noqa: S311 - no secret is drawn

    def late(self) -> str:
        """Say for how long the reading under way has had no answer, when that is too long."""
        busy = self._busy
        waited = 0.0 if busy is None else self._clock() - busy
        if waited <= self._metric.timeout:
            return ""
        return f"it has not answered for {waited:.1f} s, longer than {self._metric.timeout:g} s"

    def run(self) -> None:
        """Read until somebody stops it."""
        with asyncio.Runner() as runner:
            due = self._clock()
            while not self.stop.wait(max(0.0, due - self._clock())):
                # A reading that took longer than there is time between two: the ones that were missed are not made up.
                due = max(due + self._metric.every, self._clock())
                self._read_all(runner)

    def _read_all(self, runner: asyncio.Runner) -> None:
        old, new = self._versions
        order = self._rng.sample(self._versions, 2) if self.both else [new]
        try:
            read = {version: self._read(runner, version) for version in order}
            self._handed.put(read.get(old), read[new])
        except UpgradeError as error:
            self._handed.fail(error.message)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it would end the thread without a word
            self._handed.fail(in_words(error))
        finally:
            self._busy = None

    def _read(self, runner: asyncio.Runner, version: str) -> float:
        limit, began = self._metric.timeout, self._clock()
        self._busy = began
        value: Any = self._metric.source.read(version)
        if inspect.isawaitable(value):
            value = runner.run(_within(limit, partial(_waited, value)))
        number = number_of(value)
        if (took := self._clock() - began) > limit:
            raise MetricUnreadableError(f"it took {took:.1f} s to answer, longer than {limit:g} s")
        return number


async def _waited(value: Awaitable[Any]) -> Any:
    return await value


async def _within(limit: float, work: Callable[[], Awaitable[Any]]) -> Any:
    try:
        async with asyncio.timeout(limit) as within:
            return await work()
    except TimeoutError:
        if not within.expired():
            raise
        raise MetricUnreadableError(f"it did not answer within {limit:g} s") from None
