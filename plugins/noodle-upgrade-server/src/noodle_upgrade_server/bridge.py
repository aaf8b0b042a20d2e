"""Calls to an Upgrader that lives on another event loop, each with a time limit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_server.errors import ClosingError, NoAnswerError

__all__ = ["Bridge"]


class Bridge:
    """Runs functions of an Upgrader on the loop that it was opened on, and awaits them on the server's loop.

    When the limit passes, what only was being looked at is cancelled; what was begun goes on, because the Upgrader
    keeps its upgrades in tasks of their own.
    """

    def __init__(self, upgrader: Upgrader, loop: asyncio.AbstractEventLoop) -> None:
        self.upgrader = upgrader
        self._loop = loop
        self._pending: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def call(self, function: Callable[[Upgrader], Any], *, limit: float) -> Any:
        """Return what `function(upgrader)` gives, awaited where it is awaitable; raises what it raises.

        Raises `NoAnswerError` after `limit` seconds, `ClosingError` while the server or that loop closes.
        """
        future = asyncio.wrap_future(self._begin(function))
        self._pending.add(future)
        clock = asyncio.timeout(limit)
        try:
            async with clock:
                return await future
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise NoAnswerError(
                f"There was no answer within {limit:g} s.",
                hint="Look at `noodle status`; the program's event loop may be busy.",
            ) from error
        except asyncio.CancelledError:
            if self._closed and future.cancelled():
                raise _closing() from None
            raise
        finally:
            self._pending.discard(future)

    def close(self) -> None:
        """Give up every call that waits: on the server's loop."""
        self._closed = True
        for future in tuple(self._pending):
            future.cancel()

    @property
    def idle(self) -> bool:
        """Whether no call waits."""
        return not self._pending

    def _begin(self, function: Callable[[Upgrader], Any]) -> Any:
        async def there() -> Any:
            answer = function(self.upgrader)
            return await answer if inspect.isawaitable(answer) else answer

        if self._closed:
            raise _closing()
        coroutine = there()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError as error:
            # The loop is closed: the Upgrader went before its server.
            coroutine.close()
            raise _closing() from error


def _closing() -> ClosingError:
    return ClosingError("The program is shutting down.", hint="Try again when it runs.")
