"""What people want of an upgrade under way: that it stops, stands still, or goes on.

To stop beats everything else, whenever it was said. None of these has an effect of its own: the conductor reads them
between its steps, and is woken by `heard` while it waits.
"""

from __future__ import annotations

import asyncio

from attrs import define, field

__all__ = ["Controls"]


@define
class Controls:
    """The commands given to one upgrade; belongs to one event loop, and every method to its thread.

    `aborted` and `paused` say who wants it and why, in words; empty means that nobody does.
    """

    aborted: str = ""
    paused: str = ""
    stopped: asyncio.Event = field(factory=asyncio.Event)
    """Set for good by an abort."""
    _steps: list[str] = field(factory=list)
    _all: str = ""
    _waiting: set[asyncio.Future[None]] = field(factory=set)

    def abort(self, reason: str) -> None:
        """Ask for the end; the first reason stays."""
        if not self.aborted:
            self.aborted = reason
            self.stopped.set()
            self._wake()

    def pause(self, reason: str) -> None:
        """Let no more traffic move until somebody resumes; what moved already goes on being judged."""
        self.paused = reason
        self._wake()

    def resume(self) -> None:
        """End a pause."""
        self.paused = ""
        self._wake()

    def promote(self, who: str, *, full: bool = False) -> None:
        """Go on without waiting for evidence: past the present wait, or with `full` past all that are left.

        A version that does harm is taken back all the same, and gates are for those who may open them. Ends a pause.
        """
        self.paused = ""
        if full:
            self._all = who
        else:
            self._steps.append(who)
        self._wake()

    def take_promotion(self) -> str:
        """Return who wants the present wait to be over, once: the next wait has to be ended by another word."""
        if self._all:
            return self._all
        return self._steps.pop(0) if self._steps else ""

    def reached(self) -> None:
        """Note that traffic was raised: words that were for waits before that are for no later one."""
        self._steps.clear()

    async def heard(self) -> None:
        """Wait for the next command; once aborted there is nothing more to wait for."""
        if self.aborted:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _wake(self) -> None:
        for future in tuple(self._waiting):
            if not future.done():
                future.set_result(None)
