"""One request over HTTP that cannot hurt: bounded in time and size, without redirects, proxies or compression."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError

__all__ = ["FetchError", "Fetched", "check_url", "fetch"]


class FetchError(UpgradeError):
    """A request that got no answer, or one that is not taken."""

    code = "http.failed"


class Fetched(NamedTuple):
    """An answer: its status, and its body as far as it was asked for."""

    status: int
    body: bytes


def check_url(url: Any) -> str:
    """Return an address as it is; raises `InvalidRequestError` for one that is not http or https, or has a password."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        known = parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known, parts = False, None
    if not known or parts is None:
        shown = url if isinstance(url, str) and "@" not in url else type(url).__name__
        raise InvalidRequestError(
            f"an address must begin with http:// or https:// and name a host, got {shown!r}.",
            hint="Write http://host:port/path.",
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidRequestError(
            f"the address of {parts.hostname} has a user's name in it, and whoever reads the settings would see it.",
            hint="Leave it out; where a token is needed, name its file.",
        )
    return str(url)


async def fetch(
    url: str,
    *,
    seconds: float,
    most: int,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """Get what is at an address within `seconds` in all; of the body nothing is read where `most` bytes are 0.

    Raises `FetchError` when nobody answers, when it takes too long, and for a body of more than `most` bytes. A
    redirect is an answer like any other.
    """
    import httpx  # noqa: PLC0415 - takes a tenth of a second, and few need it

    sent = {"Accept-Encoding": "identity", **(headers or {})}
    try:
        async with asyncio.timeout(seconds) as limit:
            # What the environment says of proxies and passwords is not for requests that a deployment hangs on.
            async with (
                httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=seconds) as client,
                client.stream("GET", url, params=params, headers=sent) as answer,
            ):
                return Fetched(answer.status_code, await _body(answer, most) if most else b"")
    except TimeoutError:
        if not limit.expired():
            raise
        raise _failed(url, f"did not answer within {seconds:g} s") from None
    except httpx.TimeoutException:
        raise _failed(url, f"did not answer within {seconds:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its text may hold what was sent.
        raise _failed(url, f"could not be asked ({type(error).__name__})") from None


async def _body(answer: Any, most: int) -> bytes:
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _failed(str(answer.url), "answered with a compressed body, which was not asked for")
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > most:
            raise _failed(str(answer.url), f"answered with more than {most} bytes")
    return bytes(body)


def _failed(url: str, problem: str) -> FetchError:
    parts = urlsplit(url)
    return FetchError(
        f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)} {problem}",
        hint="Check that it runs, and that it can be reached from here.",
    )
