"""The outermost layer of the API: asks who it is before anything is read, and gives up on clients that do not read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.wire import dumps
from noodle_upgrade_server.errors import ControlInternalError, status_of
from noodle_upgrade_server.limits import Limits
from noodle_upgrade_server.protocol import ABORT, PEER
from noodle_upgrade_server.security import Policy

__all__ = ["Guard", "answer", "refusal"]

_UNAUTHORIZED = 401


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as a JSON response that nobody caches."""
    kept = {"cache-control": "no-store", "x-content-type-options": "nosniff", **(headers or {})}
    return Response(dumps(value), status_code=status, headers=kept, media_type="application/json")


def refusal(error: UpgradeError) -> Response:
    """Return an error as `{"error": …}` with its status; the connection ends with it.

    What was not read of the request would otherwise be taken for the next one, or be waited for.
    """
    status = status_of(error)
    headers = {"connection": "close"}
    if status == _UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    try:
        return answer({"error": error}, status=status, headers=headers)
    except UpgradeError:
        # Details that JSON cannot carry must not hide the error itself.
        plain = {**error.to_wire(), "details": {}}
        return answer({"error": plain}, status=status, headers=headers)


class Guard:
    """Wraps the application: nothing reaches it that the policy does not let in."""

    def __init__(self, app: ASGIApp, *, policy: Policy, limits: Limits) -> None:
        self._app = app
        self._policy = policy
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise ControlInternalError(f"The control API speaks HTTP only, not {scope['type']}.")
        state = scope["state"]
        sending = self._bounded(send, state[ABORT])
        try:
            try:
                self._policy.check(state[PEER], scope["headers"])
            except UpgradeError as error:
                await refusal(error)(scope, receive, sending)
            else:
                await self._app(scope, receive, sending)
        except _ReaderGoneError:
            return

    def _bounded(self, send: Send, abort: Callable[[], None]) -> Send:
        async def bounded(message: Message) -> None:
            try:
                async with asyncio.timeout(self._limits.send_seconds):
                    await send(message)
            except TimeoutError as error:
                # Closing would wait for the client to read what it does not read.
                abort()
                raise _ReaderGoneError from error

        return bounded


class _ReaderGoneError(Exception):
    """The client has left its answer unread for too long; the connection has been cut off."""
