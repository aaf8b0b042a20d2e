"""Shares of traffic: how soon a change of one takes effect, what routing costs a call, and whether a change harms one."""

from __future__ import annotations

import statistics
import sys
import threading
from collections.abc import Callable
from typing import Any

from attrs import define, field
from measuring import Options, Reading, alternately, call_loop, clock, collector_off
from subjects import Subject, service_source

from noodle_upgrade_runtime.generation import GenerationEngine
from noodle_upgrade_runtime.handles import Handles, handle
from noodle_upgrade_runtime.swap import RuntimeSwap

__all__ = ["changes", "cost", "effect"]

CALLERS = 2
LONGEST_SECONDS = 30.0

_SOURCE = '''
MARK = {number}


def _inner():
    return MARK


class Service:
    """Says at the start and at the end of a call which version it is in."""

    def both(self, key):
        before = MARK
        return before, _inner(), key
'''


def _source(number: int) -> str:
    return _SOURCE.format(number=number)


def _itself(key: Any) -> Any:
    return key


def _staged(options: Options, source: Callable[[int], str], *keys: Any) -> tuple[RuntimeSwap, list[Any]]:
    """Return the staged change of a component, and a handle of it for each key function; None is one without keys."""
    handles = Handles()
    subject = Subject(options.folder, "fable", source)
    subject.run(1)
    held = [handle("fable", "fable:Service", key=key, handles=handles) for key in keys]
    return subject.stage(1, 2, engine=GenerationEngine(handles=handles)), held


# --- how soon it takes effect ----------------------------------------------------------------------------------------

LOW, HIGH = 0.25, 0.75


@define
class _Board:
    """Which version calls of a key are to go to next, and when the first one did."""

    wanted: int = 0
    at: list[int] = field(factory=list)
    seen: threading.Event = field(factory=threading.Event)
    stop: threading.Event = field(factory=threading.Event)
    failures: list[str] = field(factory=list)

    def call(self, service: Any, key: str) -> None:
        """Call in a loop, and note each call that goes where it was to go."""
        both = service.both
        while not self.stop.is_set():
            try:
                answer = both(key)
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                return
            if answer[0] == self.wanted:
                self.at.append(clock())
                self.wanted = 0
                self.seen.set()


def effect(options: Options) -> list[Reading]:
    """Change the share under threads that call without a pause; 99 of 100 changes take effect sooner than that.

    The reference is an attribute that is set under the same threads: how soon one thread learns of another here.
    """
    swap, (service,) = _staged(options, _source, _itself)
    key, plain = _moving(swap, service), _Plain()
    moves: dict[str, tuple[Any, Callable[[bool], None]]] = {
        "share": (service, lambda up: swap.shift(HIGH if up else LOW)),
        "attribute": (plain, lambda up: setattr(plain, "mark", 2 if up else 1)),
    }
    took: dict[str, list[int]] = {name: [] for name in moves}
    for _ in range(10):
        for name, (called, move) in moves.items():
            took[name] += _changes_seen(called, key, move, options.most(50, 10))
    swap.revert()
    share, attribute = (statistics.quantiles(found, n=100)[98] / 1e6 for found in took.values())
    middle = {name: statistics.median(found) / 1000 for name, found in took.items()}
    told = f"medians {middle['share']:.0f} and {middle['attribute']:.0f} us; {len(took['share']):,} changes"
    return [
        Reading(name="share_effect", value=share, reference=attribute, ratio=share / attribute, note=told),
    ]


@define
class _Plain:
    """Answers as the component does, by an attribute."""

    mark: int = 1

    def both(self, key: Any) -> tuple[int, int, Any]:
        mark = self.mark
        return mark, mark, key


def _moving(swap: RuntimeSwap, service: Any) -> str:
    """Return a key whose calls go to the old version at the low share and to the new one at the high share."""
    keys = [f"user{number}" for number in range(100)]
    swap.shift(HIGH)
    new = [key for key in keys if service.both(key)[0] == 2]
    swap.shift(LOW)
    return next(key for key in new if service.both(key)[0] == 1)


def _changes_seen(service: Any, key: str, move: Callable[[bool], None], times: int) -> list[int]:
    """Return the nanoseconds from each change to the end of the first call that obeys it."""
    board = _Board()
    threads = [threading.Thread(target=board.call, args=(service, key)) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        return [_until_obeyed(board, move, up=number % 2 == 0) for number in range(times)]
    finally:
        board.stop.set()
        for thread in threads:
            thread.join()


def _until_obeyed(board: _Board, move: Callable[[bool], None], *, up: bool) -> int:
    board.at.clear()
    board.seen.clear()
    board.wanted = 2 if up else 1
    began = clock()
    move(up)
    if not board.seen.wait(LONGEST_SECONDS):
        raise RuntimeError(f"no call has followed a change: {board.failures[:1]}")
    return board.at[0] - began


# --- what routing costs ----------------------------------------------------------------------------------------------


def cost(options: Options) -> list[Reading]:
    """Call through handles of a component without state while a deployment runs, and while none does."""
    swaps, handles = [], {}
    for name, key in (("routed", None), ("keyed", _itself), ("idle", None)):
        held = Handles()
        subject = Subject(options.folder, f"fable_{name}", service_source)
        subject.run(1)
        handles[name] = handle(subject.name, f"{subject.name}:Service", key=key, handles=held)
        if name != "idle":
            swaps.append(subject.stage(1, 2, engine=GenerationEngine(handles=held)))
            swaps[-1].shift(0.25)
    times = options.most(500, 50)
    loops = {name: call_loop("target.step(7)", times=times, target=one) for name, one in handles.items()}
    with collector_off():
        found = alternately(loops, rounds=10 * options.rounds + 1)
    extra = {
        name: statistics.median([one - other for one, other in zip(found[name], found["idle"], strict=True)])
        for name in ("routed", "keyed")
    }
    for swap in swaps:
        swap.revert()
    idle = statistics.median(found["idle"])
    told = f"with a key {extra['keyed']:.0f} ns; a call without a deployment takes {idle:.0f} ns"
    return [Reading(name="routing_cost", value=extra["routed"], note=told)]


# --- whether it harms a call -----------------------------------------------------------------------------------------

STEPS = 50
KEYS = 500


@define
class _Course:
    """What the share does now: it only rises while `epoch` is even and stays what it is."""

    epoch: int = 1
    stop: threading.Event = field(factory=threading.Event)


@define
class _Caller:
    """One thread; counts for itself alone, and has keys of its own, whose calls follow one another."""

    keyed: Any
    keyless: Any
    keys: list[str]
    course: _Course
    calls: int = 0
    torn: int = 0
    moved_back: int = 0
    failures: list[str] = field(factory=list)
    seen: set[int] = field(factory=set)

    def run(self) -> None:
        """Call until it is over."""
        course, last = self.course, dict.fromkeys(self.keys, (0, 0))
        while not course.stop.is_set():
            for key in self.keys:
                epoch = course.epoch
                found = self._call(self.keyed, key)
                # A call counts for what the share does only where that was the same from its beginning to its end.
                if found and epoch == course.epoch and not epoch % 2:
                    self.moved_back += last[key] == (epoch, 2) and found == 1
                    last[key] = (epoch, found)
                self._call(self.keyless, key)

    def _call(self, service: Any, key: str) -> int:
        """Return the version that answered; 0 where none did."""
        self.calls += 1
        try:
            before, after, same = service.both(key)
        except Exception as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            return 0
        if before != after or same != key:
            self.torn += 1
        self.seen.add(before)
        return int(before)


def changes(options: Options) -> list[Reading]:
    """A million calls and a thousand changes of share: twenty times from a fiftieth to all, and back to a fiftieth."""
    swap, (keyed, keyless) = _staged(options, _source, _itself, None)
    swap.shift(1 / STEPS)
    course = _Course()
    callers = [
        _Caller(keyed, keyless, [f"{number}-{one}" for one in range(KEYS)], course) for number in range(4 * CALLERS)
    ]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for thread in threads:
            thread.start()
        made = _raise_again_and_again(options, swap, course, callers)
    finally:
        course.stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    return _told(swap, callers, made)


def _raise_again_and_again(options: Options, swap: RuntimeSwap, course: _Course, callers: list[_Caller]) -> int:
    calls, least = options.most(1_000_000, 20_000), options.most(1_000, 100)
    made, pause = 0, threading.Event()
    while made < least or sum(caller.calls for caller in callers) < calls:
        course.epoch += course.epoch % 2 == 0
        swap.shift(1 / STEPS)
        course.epoch += 1
        for step in range(2, STEPS + 1):
            # As long as a fair part of the calls takes, so that every share sees some.
            pause.wait(0.002)
            swap.shift(step / STEPS)
        made += STEPS
    return made


def _told(swap: RuntimeSwap, callers: list[_Caller], made: int) -> list[Reading]:
    measured = swap.measure()
    if measured is None:
        raise RuntimeError("nothing was counted")
    if any(caller.seen != {1, 2} for caller in callers):
        raise RuntimeError("a thread saw one version only")
    calls = sum(caller.calls for caller in callers)
    failures = [failure for caller in callers for failure in caller.failures]
    # A call that is in no version's count was lost, and one that is there twice ran twice.
    lost = abs(calls - measured.old.calls - measured.new.calls)
    told = f"{calls:,} calls by {len(callers)} threads, {made:,} changes of share, half of the calls with a key"
    first = f"; the first: {failures[0]}" if failures else ""
    note = f"{told}; {len(failures)} failed, {lost} counted amiss{first}"
    return [
        Reading(name="shares_lost", value=float(len(failures) + lost), note=note),
        Reading(name="shares_torn", value=float(sum(caller.torn for caller in callers)), note=told),
        Reading(name="shares_moved_back", value=float(sum(caller.moved_back for caller in callers)), note=told),
    ]
