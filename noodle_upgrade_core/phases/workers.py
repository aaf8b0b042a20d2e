"""Threads for plain implementations: each has one to itself while it runs, and keeps it if it never ends."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

__all__ = ["Work", "Workers"]


class Work:
    """One call that runs in a thread; `name` is what the thread is called meanwhile.

    `call` does it; `tell` is called afterwards in the same thread, and must be quick and not raise.
    """

    __slots__ = ("call", "ended", "name", "tell")

    def __init__(self, name: str, call: Callable[[], None], tell: Callable[[], None]) -> None:
        self.name = name
        self.call = call
        self.tell = tell
        self.ended = False


class Workers:
    """Daemon threads that wait for the next call: starting one anew for each call takes twice as long.

    A call that hangs keeps its thread and is nobody else's trouble; the thread does not keep the interpreter alive.
    """

    def __init__(self) -> None:
        self._idle: collections.deque[_Worker] = collections.deque()
        self._closed = False

    def begin(self, work: Work) -> None:
        """Begin a call in an idle thread, or a new one; raises `RuntimeError` when the system gives no more."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(self._again)
            worker.start()
        worker.give(work)

    def close(self) -> None:
        """Let idle threads end now, and busy ones when they are done."""
        self._closed = True
        while self._idle:
            self._idle.pop().give(None)

    def _again(self, worker: _Worker) -> bool:
        """Take a worker back; returns whether it shall wait for more."""
        if self._closed:
            return False
        self._idle.append(worker)
        return True


class _Worker(threading.Thread):
    def __init__(self, again: Callable[[_Worker], bool]) -> None:
        super().__init__(daemon=True)
        self._again = again
        self._work: Work | None = None
        self._given = threading.Lock()
        self._given.acquire()

    def give(self, work: Work | None) -> None:
        self._work = work
        self._given.release()

    def run(self) -> None:
        going_on = True
        while going_on:
            self._given.acquire()
            work, self._work = self._work, None
            if work is None:
                return
            self.name = work.name
            work.call()
            work.ended = True
            # Idle before the answer is told: whoever hears it may ask again at once.
            going_on = self._again(self)
            work.tell()
