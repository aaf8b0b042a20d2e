"""The outermost layer of the API: asks who it is before anything of a request is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.wire import dumps
from noodle_upgrade_server.errors import ControlInternalError, HeadTooLargeError, status_of
from noodle_upgrade_server.limits import Limits
from noodle_upgrade_server.protocol import PEER
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
        try:
            self._check_size(scope)
            self._policy.check(scope["state"][PEER], scope["headers"])
        except UpgradeError as error:
            await refusal(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_size(self, scope: Scope) -> None:
        # The parser's own bound is for heads that come in pieces; one that comes whole may be larger.
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self._limits.head_bytes:
            raise HeadTooLargeError(f"The request's head has more than {self._limits.head_bytes} bytes.")
