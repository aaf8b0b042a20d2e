"""Counts of one version's calls: any number of threads write them at once, each call for a third of a microsecond.

Each thread has a cell of its own, so that nobody waits for anybody: no lock is taken on the way of a call. What the
cells say together is put together when somebody looks.
"""

from __future__ import annotations

import threading
import time
from threading import get_ident
from typing import NamedTuple

from noodle_upgrade_core.staged import LATENCY_BOUNDS, Arm

__all__ = ["ArmCounter"]

_BUCKETS = len(LATENCY_BOUNDS) + 1
_LAST = _BUCKETS - 1
_TRIES = 10
_now = time.perf_counter_ns


class _Cell:
    """What one thread has counted. Threads that are gone leave theirs to the next one of the same number."""

    __slots__ = ("answered", "buckets", "entered", "errors", "last_error", "moved", "since")

    def __init__(self) -> None:
        self.entered = 0
        self.answered = 0
        self.errors = 0
        self.buckets = [0] * _BUCKETS
        self.since = 0  # when a call entered while none of this cell's waited for its answer
        self.moved = 0  # when a call was answered last
        self.last_error: tuple[int, str] = (0, "")


class ArmCounter:
    """Calls, errors and latency of one version: written from any thread, read at any time."""

    __slots__ = ("_cells", "_lock", "version")

    def __init__(self, version: str) -> None:
        self.version = version
        self._lock = threading.Lock()
        self._cells: dict[int, _Cell] = {}

    def enter(self) -> int:
        """A call begins; returns its start in nanoseconds of no particular epoch, for `leave`."""
        try:
            cell = self._cells[get_ident()]
        except KeyError:
            cell = self._new_cell()
        now = _now()
        if cell.entered == cell.answered:
            cell.since = now
        cell.entered += 1
        return now

    def answer(self) -> None:
        """A call gives its first answer, and may go on for long: a stream, say; `leave` is told so."""
        cell = self._cells.get(get_ident()) or self._new_cell()
        cell.answered += 1
        cell.moved = _now()

    def leave(self, started: int, error: str = "", *, answered: bool = False) -> None:
        """The call that began at `started` ended; `error` says how, empty when it went well."""
        try:
            cell = self._cells[get_ident()]
        except KeyError:
            cell = self._new_cell()
        now = _now()
        # The number of the bucket by its bounds, a microsecond and its doublings: the same as `bucket_of`.
        bucket = ((now - started - 1) // 1000).bit_length() if now > started else 0
        cell.buckets[bucket if bucket < _LAST else _LAST] += 1  # noqa: FURB136 - `min` costs as much as all before it
        if not answered:
            cell.answered += 1
            cell.moved = now
        if error:
            cell.errors += 1
            cell.last_error = (now, error)

    def snapshot(self) -> Arm:
        """Return the counts so far; calls are those that ended, and never fewer than errors."""
        with self._lock:
            cells = tuple(self._cells.values())
        looked = [_looked_at(cell) for cell in cells]
        latency = tuple(map(sum, zip(*[look.buckets for look in looked], strict=True))) if looked else (0,) * _BUCKETS
        return Arm(
            version=self.version,
            calls=sum(latency),
            errors=sum([look.errors for look in looked]),
            in_flight=max(0, sum([look.entered for look in looked]) - sum(latency)),
            stalled=_stalled(looked),
            latency=latency,
            last_error=max((look.last_error for look in looked), default=(0, ""))[1],
        )

    def _new_cell(self) -> _Cell:
        with self._lock:
            return self._cells.setdefault(get_ident(), _Cell())


class _Look(NamedTuple):
    """A cell as it was at one moment, as far as that could be had."""

    entered: int
    answered: int
    errors: int
    buckets: list[int]
    since: int
    moved: int
    last_error: tuple[int, str]


def _looked_at(cell: _Cell) -> _Look:
    """Read a cell while nothing is written to it, or as well as that can be done beside a thread that never rests."""
    for _ in range(_TRIES):
        # What is read first has happened first: there are never more errors than calls.
        look = _Look(cell.entered, cell.answered, cell.errors, cell.buckets[:], cell.since, cell.moved, cell.last_error)
        if cell.entered == look.entered and cell.answered == look.answered:
            break
    return look


def _stalled(looked: list[_Look]) -> float:
    """Return for how many seconds calls have been waiting without any getting an answer."""
    if sum([look.entered for look in looked]) <= sum([look.answered for look in looked]):
        return 0.0
    now = _now()
    waiting = min((look.since for look in looked if look.entered > look.answered), default=now)
    return max(0, now - max(waiting, *[look.moved for look in looked])) / 1e9
