"""Time as a rollout knows it: that of this machine, or a virtual one that only moves when somebody sleeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from noodle_upgrade_core.controls import Controls

__all__ = ["Clock", "RealClock", "VirtualClock"]


class Clock(Protocol):
    """Time as a rollout knows it: seconds since any fixed moment."""

    def now(self) -> float:
        """Return the present time in seconds."""

    async def sleep(self, seconds: float, controls: Controls) -> None:
        """Let seconds pass, or less when somebody gives a command."""

    def until_next_look(self, interval: float, left: float, next_look: float | None) -> float:
        """Return after how many seconds a judge is to look again, of `left` that it has.

        `interval` is how often a judge looks, `next_look` in how many seconds it says that it will have something new
        to say although nothing happens.
        """


class RealClock:
    """The monotonic clock of this machine."""

    def now(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    async def sleep(self, seconds: float, controls: Controls) -> None:
        """Wait on the event loop."""
        try:
            async with asyncio.timeout(seconds):
                await controls.heard()
        except TimeoutError:
            return

    def until_next_look(self, interval: float, left: float, next_look: float | None) -> float:  # noqa: ARG002 - what happens is not known before
        """Return the interval: anything may happen meanwhile."""
        return min(interval, left)


class VirtualClock:
    """A clock that only moves when somebody sleeps: an hour of a rollout takes as long as its steps do.

    `next_event`, where it is given, returns in how many seconds the modelled traffic does something that a judge must
    see, or None when it does nothing more: looks that would see nothing new are then left out.
    """

    def __init__(self, start: float = 0.0, *, next_event: Callable[[], float | None] | None = None) -> None:
        self._now = start
        self._next_event = next_event
        self.on_sleep: Callable[[float], None] | None = None

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    async def sleep(self, seconds: float, controls: Controls) -> None:
        """Advance at once, and let a model of the traffic do what would have happened meanwhile."""
        if not controls.aborted:
            self._now += seconds
            if self.on_sleep is not None:
                self.on_sleep(seconds)

    def until_next_look(self, interval: float, left: float, next_look: float | None) -> float:
        """Return when something happens next, but no less than the interval."""
        if self._next_event is None:
            return min(interval, left)
        due = [at for at in (self._next_event(), next_look) if at is not None and at > 0]
        return min(left, max(interval, min(due, default=left)))
