"""Observers: plugins that are told what happens, each in a thread of its own, so that none can hold up anything."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable

from noodle_upgrade_core.events import Event
from noodle_upgrade_core.isolation import in_words

__all__ = ["Observer"]

logger = logging.getLogger("noodle_upgrade")

QUEUE_LENGTH = 1000
SLOW_SECONDS = 0.05
SLOW_TIMES = 3


class Observer:
    """Hands events to one plugin's `observe`, in order, without ever making the caller wait.

    What does not fit into the queue of a plugin that is too slow or hangs is dropped and counted. `report(message,
    **data)` is told once that it fails, once that it is slow, and once that it loses events.
    """

    def __init__(
        self,
        plugin: str,
        function: Callable[[Event], object],
        *,
        report: Callable[..., object],
        length: int = QUEUE_LENGTH,
    ) -> None:
        self.plugin = plugin
        self.dropped = 0
        self.failed = 0
        self._function = function
        self._report = report
        self._length = length
        self._queue: collections.deque[Event] = collections.deque()
        self._changed = threading.Condition()
        self._closing = False
        self._slow = 0
        self._said: set[str] = set()
        self._thread: threading.Thread | None = None

    def put(self, event: Event) -> None:
        """Queue an event, from any thread; the thread that hands it on begins with the first one."""
        with self._changed:
            if self._closing:
                return
            if len(self._queue) >= self._length:
                self.dropped += 1
            else:
                self._queue.append(event)
                self._changed.notify()
            if self._thread is None:
                name = f"noodle {self.plugin}.observe"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()
        if self.dropped:
            self._say("is behind, and loses events", dropped=self.dropped)

    def close(self, within: float) -> bool:
        """Hand on what is queued, at most `within` seconds long; returns whether all was handed on."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(within)
        return not self._queue and (thread is None or not thread.is_alive())

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue:
                    return
                event = self._queue.popleft()
            self._hand(event)

    def _hand(self, event: Event) -> None:
        started = time.perf_counter()
        try:
            self._function(event)
        except BaseException as error:  # an observer is never a reason to fail, SystemExit neither
            self.failed += 1
            # Once in full: an observer that fails at every event must not fill the log.
            logger.log(
                logging.ERROR if self.failed == 1 else logging.DEBUG,
                "the plugin %r failed in observe of %s; the upgrade goes on",
                self.plugin,
                event.kind,
                exc_info=error,
            )
            self._say(f"failed in observe: {in_words(error)}", exception=type(error).__name__)
        if time.perf_counter() - started > SLOW_SECONDS:
            self._slow += 1
            if self._slow >= SLOW_TIMES:
                self._say(f"is slow: observe took more than {SLOW_SECONDS * 1000:g} ms {SLOW_TIMES} times")

    def _say(self, what: str, **data: object) -> None:
        # Telling makes an event, which comes back here: whatever was said is not said again.
        about = what.partition(":")[0]
        with self._changed:
            if about in self._said:
                return
            self._said.add(about)
        self._report(f"The plugin {self.plugin!r} {what}.", plugin=self.plugin, hook="observe", **data)
