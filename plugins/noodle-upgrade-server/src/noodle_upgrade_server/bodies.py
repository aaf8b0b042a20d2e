"""What a client sends, read within bounds and taken strictly: bodies and query strings."""

from __future__ import annotations

import asyncio
import difflib
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import field, frozen
from starlette.requests import Request

from noodle_upgrade_core.config import Settings
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import UpgradeRequest
from noodle_upgrade_core.wire import from_wire, loads
from noodle_upgrade_server.errors import BodyTooLargeError, BodyTooSlowError, MediaTypeError
from noodle_upgrade_server.limits import Limits

__all__ = [
    "ApproveBody",
    "EmptyBody",
    "OperationBody",
    "PlanBody",
    "PromoteBody",
    "Query",
    "RollbackBody",
    "StartBody",
    "event_id",
    "read_body",
    "take",
    "with_defaults",
]

T = TypeVar("T")
_MOST_DIGITS = 18


@frozen(kw_only=True)
class PlanBody:
    """POST /v1/plans: one request, or several that are committed together."""

    requests: tuple[UpgradeRequest, ...]


@frozen(kw_only=True)
class StartBody:
    """POST /v1/upgrades: a plan that was made here, or requests; `approve` gives the peer's approval with it."""

    plan_id: str = ""
    requests: tuple[UpgradeRequest, ...] = ()
    approve: bool = False


@frozen(kw_only=True)
class ApproveBody:
    """POST /v1/upgrades/{id}/approve: the digest of the plan that the peer has seen."""

    plan_digest: str = ""


@frozen(kw_only=True)
class PromoteBody:
    """POST /v1/upgrades/{id}/promote: past the present wait, or with `full` past all that are left."""

    full: bool = False


@frozen(kw_only=True)
class OperationBody:
    """POST /v1/operations/{name}: what the operation is given; within the bounds of any body."""

    arguments: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class RollbackBody:
    """POST /v1/rollbacks: to the version before, or to the rollback point named."""

    component_name: str
    rollback_id: str = ""


@frozen(kw_only=True)
class EmptyBody:
    """A body without any key, such as `{}`; no body at all is the same."""


async def read_body(request: Request, limits: Limits) -> Any:
    """Return the JSON value of a request's body; no body is an empty object.

    Raises `BodyTooLargeError` as soon as there are too many bytes, `BodyTooSlowError`, `MediaTypeError`, and
    `InvalidRequestError` for whatever is not JSON, too deep, or says a key twice.
    """
    announced = request.headers.get("content-length", "0")
    if not (announced.isascii() and announced.isdigit() and len(announced) <= _MOST_DIGITS):
        raise InvalidRequestError("The Content-Length is not a number of bytes.")
    if int(announced) > limits.body_bytes:
        raise _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.body_bytes:
                    raise _too_large(limits)
    except TimeoutError as error:
        raise BodyTooSlowError(
            f"The body did not arrive within {limits.body_seconds:g} s.", hint="Send it at once."
        ) from error
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # A web page can send any other type without asking anybody.
        raise MediaTypeError("The body must be declared as application/json.", hint="Set the Content-Type header.")
    return loads(bytes(body), max_bytes=limits.body_bytes, max_depth=limits.body_depth)


def _too_large(limits: Limits) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"The body has more than {limits.body_bytes} bytes.", hint="Artefacts are not sent: name a file or a version."
    )


def with_defaults(data: Any, settings: Settings) -> Any:
    """Return a body in whose requests the settings decide what was not said."""
    requests = data.get("requests") if isinstance(data, Mapping) else None
    if not isinstance(requests, list):
        return data
    defaults = settings.request_defaults
    return {**data, "requests": [{**defaults, **one} if isinstance(one, Mapping) else one for one in requests]}


def take(shape: type[T], data: Any) -> T:
    """Return a body as its class; `InvalidRequestError` names every fault with its path."""
    return from_wire(shape, data)


@frozen
class Query:
    """The parameters of a query string: each known, each given once."""

    _given: Mapping[str, str] = field(factory=dict)

    @classmethod
    def of(cls, request: Request, *known: str) -> Query:
        """Read a request's query; raises `InvalidRequestError` for an unknown parameter or one that is given twice."""
        pairs = request.query_params.multi_items()
        given: dict[str, str] = {}
        for name, value in pairs:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                meant = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known) or 'none'}."
                raise InvalidRequestError(f"There is no parameter {name!r}.", hint=meant)
            if name in given:
                raise InvalidRequestError(f"The parameter {name!r} is given twice.")
            given[name] = value
        return cls(given)

    def text(self, name: str) -> str:
        """Return a parameter, empty when it is absent."""
        return self._given.get(name, "")

    def number(self, name: str, default: int, *, least: int = 0, most: int) -> int:
        """Return a whole number within bounds."""
        return _whole(name, self._given[name], least, most) if name in self._given else default

    def seconds(self, name: str, *, most: float) -> float:
        """Return seconds, 0 when absent, cut to `most`."""
        text = self._given.get(name, "0")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise InvalidRequestError(f"{name} must be a number of seconds, 0 or more, not {text[:40]!r}.")
        return min(value, most)


def _whole(name: str, text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and least <= int(text) <= most:
        return int(text)
    raise InvalidRequestError(f"{name} must be a whole number from {least} to {most}, not {text[:40]!r}.")


def event_id(text: str, name: str) -> int:
    """Return the number of an event that a reader names."""
    return _whole(name, text, 0, 10**_MOST_DIGITS)
