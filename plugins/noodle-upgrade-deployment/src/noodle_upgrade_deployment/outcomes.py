"""Calls of other people's functions that only say whether all is well: bounded in time, and never two at once."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

from noodle_upgrade_core.isolation import in_text, in_words

__all__ = ["Call"]

_LONGEST_TEXT = 200


class Call:
    """A function that may be plain or `async`, may hang, and may raise anything.

    Plain ones run in a daemon thread, `async` ones on the event loop of whoever asks. One that hangs is left behind,
    and is not called again until it has ended: there is never more than one such thread.
    """

    def __init__(self, function: Callable[[], Any], *, name: str) -> None:
        self._function = function
        self._name = name
        self._busy: asyncio.Task[str] | None = None
        self._inside = False

    async def problem(self, seconds: float) -> str:
        """Call it; returns what is wrong in words, "" for nothing; never raises for what the function does."""
        if self._inside or (self._busy is not None and not self._busy.done()):
            return "has not come back from the time before"
        task = self._busy = asyncio.ensure_future(self._outcome())
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            # Nobody waits for its end: it may take no notice.
            if not task.done():
                task.cancel()
        return task.result() if task.done() else f"took longer than {seconds:g} s"

    async def _outcome(self) -> str:
        try:
            if inspect.iscoroutinefunction(self._function):
                value = await self._function()
            else:
                value = await self._in_thread()
                if inspect.isawaitable(value):
                    value = await value
        except BaseException as error:  # noqa: BLE001 - also SystemExit, which would end the event loop
            return f"failed: {in_words(error)}"
        if value is None or value is True:
            return ""
        if value is False:
            return "said that it is not well"
        return f"returned {in_text(value)[:_LONGEST_TEXT]}, which is neither true nor false"

    async def _in_thread(self) -> Any:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Any] = loop.create_future()

        def tell(value: Any, error: BaseException | None) -> None:
            if ended.done():
                if inspect.iscoroutine(value):
                    value.close()
            elif error is None:
                ended.set_result((value, None))
            else:
                ended.set_result((None, error))

        def work() -> None:
            value, error = None, None
            try:
                value = self._function()
            except BaseException as raised:  # noqa: BLE001 - it is told to whoever asked
                error = raised
            self._inside = False
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(tell, value, error)

        thread = threading.Thread(target=work, name=self._name, daemon=True)
        self._inside = True
        try:
            thread.start()
        except RuntimeError:
            self._inside = False  # the system gives no more threads
            raise
        value, error = await ended
        if error is not None:
            raise error
        return value
