"""A thousand flips of a handle under threads and tasks that call without a pause: does any call fail, or see both?"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from attrs import define, field
from measuring import Options, Reading
from subjects import Subject

from noodle_upgrade_runtime.generation import GenerationEngine
from noodle_upgrade_runtime.handles import Handles, handle

__all__ = ["measure"]

THREADS = 8
TASKS = 8
PER_LOOK = 5_000

_SOURCE = '''
import asyncio

MARK = {number}


def _inner():
    return MARK


class Service:
    """Says at the start and at the end of a call which version it is in."""

    def both(self, value):
        before = MARK
        return before, _inner(), value

    async def later(self, value):
        before = MARK
        await asyncio.sleep(0)
        return before, _inner(), value
'''


def _source(number: int) -> str:
    return _SOURCE.format(number=number)


@define
class _Caller:
    """One thread or task; counts for itself alone, so that nobody waits for a lock."""

    service: Any
    stop: threading.Event
    calls: int = 0
    torn: int = 0
    failures: list[str] = field(factory=list)
    seen: set[int] = field(factory=set)

    def take(self, answer: tuple[int, int, int], value: int) -> None:
        before, after, same = answer
        if before != after or same != value:
            self.torn += 1

    def run(self) -> None:
        """Call until it is over."""
        service, before = self.service, 0
        while not self.stop.is_set():
            value = 0
            try:
                for value in range(PER_LOOK):
                    before, after, same = service.both(value)
                    if before != after or same != value:
                        self.torn += 1
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.calls += value + 1
            self.seen.add(before)

    async def run_async(self) -> None:
        """The same with coroutines that are suspended in between."""
        while not self.stop.is_set():
            for value in range(100):
                try:
                    answer = await self.service.later(value)
                    self.take(answer, value)
                    self.seen.add(answer[0])
                except Exception as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                self.calls += 1


def measure(options: Options) -> list[Reading]:
    """Commit and revert in turn, each from a staging of its own every hundred times."""
    handles = Handles()
    subject = Subject(options.folder, "fable", _source)
    subject.run(1)
    service = handle("fable", "fable:Service", handles=handles)
    stop = threading.Event()
    callers = [_Caller(service, stop) for _ in range(THREADS)]
    tasks = [_Caller(service, stop) for _ in range(TASKS)]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    threads.append(threading.Thread(target=asyncio.run, args=(_together(tasks),)))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for thread in threads:
            thread.start()
        flips = _flip(options, subject, handles, [*callers, *tasks])
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    everybody = [*callers, *tasks]
    calls, suspended = sum(one.calls for one in everybody), sum(one.calls for one in tasks)
    if any(len(one.seen) < 2 for one in callers):
        raise RuntimeError("a thread saw one version only")
    failures = [failure for one in everybody for failure in one.failures]
    told = f"{flips:,} flips, {calls:,} calls by {THREADS} threads and {TASKS} tasks ({suspended:,} of them suspended)"
    first = f"; the first: {failures[0]}" if failures else ""
    return [
        Reading(name="flips_failed", value=float(len(failures)), reference=0.0, note=told + first),
        Reading(name="flips_torn", value=float(sum(one.torn for one in everybody)), reference=0.0, note=told),
    ]


async def _together(tasks: list[_Caller]) -> None:
    await asyncio.gather(*(task.run_async() for task in tasks))


def _flip(options: Options, subject: Subject, handles: Handles, callers: list[_Caller]) -> int:
    least, flips, version = options.most(10_000_000, 100_000), options.most(1_000, 50), 1
    made, pause = 0, threading.Event()
    while made < flips or sum(caller.calls for caller in callers) < least:
        swap = subject.stage(version, version + 1, engine=GenerationEngine(handles=handles))
        for _ in range(24):
            swap.shift(1.0)
            swap.commit()
            pause.wait(0.002)
            swap.revert()
            pause.wait(0.002)
            made += 2
        swap.shift(1.0)
        swap.commit()
        swap.release()
        version, made = version + 1, made + 1
    return made
