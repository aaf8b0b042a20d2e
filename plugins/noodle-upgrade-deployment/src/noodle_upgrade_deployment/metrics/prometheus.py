"""Readings from Prometheus, or whatever else answers instant queries at `/api/v1/query`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from attrs import converters, field, frozen

from noodle_upgrade_core import checks
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.fetching import Fetched, check_url, fetch
from noodle_upgrade_deployment.metrics.metric import MetricUnreadableError

__all__ = ["Prometheus", "range_seconds"]

_PLACE = "{version}"
_MOST_BYTES = 1 << 20
_MOST_TOKEN_BYTES = 1 << 16
_LONGEST_TEXT = 300
_OK = 200
_STRINGS = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`")
_RANGE = re.compile(r"\[\s*((?:\d+(?:ms|[smhdwy]))+)\s*[\]:]")
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}


def _has_place(_: Any, __: Any, query: Any) -> None:
    if not isinstance(query, str) or _PLACE not in query:
        raise InvalidRequestError(
            f"a query must have {_PLACE} where the version belongs, got {query!r}.",
            hint='Write {version="{version}"} among its labels: without it both versions read the same.',
        )


@frozen(kw_only=True)
class Prometheus:
    """Asks one server a query, in which `{version}` stands for the version; the answer must be a single number.

    Each question may take `timeout` seconds in all, and its answer be a megabyte long. `token_file` holds a token that
    is sent along (`Authorization: Bearer`); it is read anew each time, and never shown. Redirects are not followed.
    """

    query: str = field(validator=_has_place)
    url: str = field(converter=check_url)
    timeout: float = field(default=5.0, validator=checks.between(0.01, 3600.0))
    token_file: Path | None = field(default=None, converter=converters.optional(Path))

    async def read(self, version: str) -> float:
        """Ask; raises `MetricUnreadableError` where the answer is none, not one number, or an error."""
        quoted = version.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'").replace("\n", "\\n")
        answer = await fetch(
            f"{self.url.rstrip('/')}/api/v1/query",
            params={"query": self.query.replace(_PLACE, quoted), "timeout": f"{max(1, round(self.timeout * 1000))}ms"},
            headers=self._headers(),
            seconds=self.timeout,
            most=_MOST_BYTES,
        )
        return _number(answer, version)

    def _headers(self) -> dict[str, str]:
        if self.token_file is None:
            return {}
        try:
            with self.token_file.open("rb") as file:
                token = file.read(_MOST_TOKEN_BYTES).strip()
            text = token.decode("ascii")
        except (OSError, UnicodeDecodeError) as error:
            # The text of a decoding error shows what it could not decode.
            raise MetricUnreadableError(
                f"the token's file {str(self.token_file)!r} cannot be read ({type(error).__name__})"
            ) from None
        if not text or not text.isprintable() or " " in text:
            raise MetricUnreadableError(f"there is no token in the file {str(self.token_file)!r}")
        return {"Authorization": f"Bearer {text}"}


def _number(answer: Fetched, version: str) -> float:
    """Return the number of an answer."""
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise MetricUnreadableError(f"the server answered with status {answer.status}, and not in JSON")
    if told.get("status") != "success" or answer.status != _OK:
        words = f"{told.get('errorType', '')}: {told.get('error', '')}"[:_LONGEST_TEXT]
        raise MetricUnreadableError(f"the server answered with status {answer.status}, {words}")
    data = told.get("data")
    kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, dict) else (None, None)
    if kind == "vector" and isinstance(result, list):
        if not result:
            raise MetricUnreadableError(f"there are no data of the version {version}")
        if len(result) > 1:
            raise MetricUnreadableError(
                f"the query gives {len(result)} series of the version {version}, and not one number",
                hint="Put sum(), max() or avg() around it.",
            )
        result = result[0].get("value") if isinstance(result[0], dict) else None
    elif kind != "scalar":
        raise MetricUnreadableError(f"the query gives a {str(kind)[:40]}, and not one number")
    return _value(result)


def _value(sample: Any) -> float:
    match sample:
        case [_, str(value)]:
            try:
                return float(value)
            except ValueError:
                pass
    raise MetricUnreadableError("the server's answer has no number where one belongs")


def range_seconds(query: str) -> float:
    """Return how far a query looks back, in seconds, by its longest range: 300 for `rate(…[5m])`, 0 without one."""
    ranges = _RANGE.findall(_STRINGS.sub('""', query))
    return max((sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(one)) for one in ranges), default=0.0)
