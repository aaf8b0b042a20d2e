"""Health checks: has it started, does it live, is it ready? Asked by a function of the program or over HTTP.

    health = HealthChecks({
        "database": {"callable": "shop.health:database", "kind": "live", "every": 30, "failures": 3},
        "front": {"http": "http://127.0.0.1:8000/ready", "kind": "ready", "expect": 200, "timeout": 2},
    })
    findings = await health.ask("ready")

A check that starts unknown counts as failed: `startup` and `ready` are not so until they were so `successes` times in a
row, and what has started is not asked again. What lives is taken to live until it has failed `failures` times in a row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

from attrs import field, frozen

from noodle_upgrade_core import Finding, Severity, checks
from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError
from noodle_upgrade_core.settings import shown, suggestion
from noodle_upgrade_deployment.fetching import FetchError, check_url, fetch
from noodle_upgrade_deployment.metrics.callables import function_of
from noodle_upgrade_deployment.outcomes import Call

__all__ = ["KINDS", "HealthCheck", "HealthChecks", "Http"]

KINDS: Final = ("startup", "live", "ready")
_DAY = 86_400.0
_LEAST_STATUS, _MOST_STATUS = 100, 599


def _kind(_: Any, __: Any, value: Any) -> None:
    if value not in KINDS:
        hint = suggestion(value, KINDS) or "Kubernetes calls them startup, liveness and readiness."
        raise InvalidRequestError(f"kind must be one of {', '.join(KINDS)}, got {value!r}.", hint=hint)


def _status(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not _LEAST_STATUS <= value <= _MOST_STATUS:
        raise InvalidRequestError(f"expect must be a status of HTTP, such as 200, got {value!r}.")


@frozen
class Http:
    """An address that answers with the status `expect`; a redirect is not followed, and a body not read."""

    url: str = field(converter=check_url)
    expect: int = field(default=200, validator=_status)

    async def problem(self, seconds: float) -> str:
        """Ask; returns what is wrong in words, "" for nothing."""
        try:
            answer = await fetch(self.url, seconds=seconds, most=0)
        except FetchError as error:
            return error.message
        return "" if answer.status == self.expect else f"answered with status {answer.status}, not {self.expect}"


@frozen(kw_only=True)
class HealthCheck:
    """One check: `of` is a function, plain or `async`, or an address.

    A function says by None or True that all is well; by False, by raising, and by anything else that it is not. Each
    time may take `timeout` seconds. It is carried out every `every` seconds at most, however often somebody asks.
    `failures` in a row make it unhealthy, `successes` in a row healthy.
    """

    name: str
    of: Callable[[], Any] | Http
    kind: Literal["startup", "live", "ready"] = field(default="ready", validator=_kind)
    every: float = field(default=10.0, validator=checks.seconds)
    timeout: float = field(default=2.0, validator=checks.between(0.01, _DAY))
    failures: int = field(default=3, validator=checks.count)
    successes: int = field(default=1, validator=checks.count)


class HealthChecks:
    """Checks, and how each has gone so far; used on one event loop.

    `given` are checks, or a table of them. Raises `InvalidRequestError` for an entry that cannot be meant; functions
    that a table names are imported.
    """

    def __init__(
        self, given: Iterable[HealthCheck] | Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        made = [_check(name, entry) for name, entry in given.items()] if isinstance(given, Mapping) else list(given)
        if len({check.name for check in made}) < len(made):
            raise InvalidRequestError(f"two checks have one name, of {', '.join(sorted(one.name for one in made))}.")
        self._health = tuple(_Health(check, clock) for check in made)

    @property
    def checks(self) -> tuple[HealthCheck, ...]:
        """The checks."""
        return tuple(one.check for one in self._health)

    async def ask(self, kind: Literal["startup", "live", "ready"]) -> tuple[Finding, ...]:
        """Carry out all checks of a kind that are due, all at once, and return an error for each that is not healthy.

        Never raises for what a check does; raises `InvalidRequestError` for another kind.
        """
        if kind not in KINDS:
            _kind(None, None, kind)
        asked = [one for one in self._health if one.check.kind == kind]
        found = await asyncio.gather(*(one.ask() for one in asked))
        return tuple(finding for finding in found if finding is not None)


class _Health:
    """How one check has gone so far."""

    def __init__(self, check: HealthCheck, clock: Callable[[], float]) -> None:
        self.check = check
        self._clock = clock
        self._turn = asyncio.Lock()
        self._healthy = check.kind == "live"
        self._in_a_row = 0
        self._problem = ""
        self._due = -float("inf")
        self._call = None if isinstance(check.of, Http) else Call(check.of, name=f"noodle health {check.name}")

    async def ask(self) -> Finding | None:
        async with self._turn:
            started = self.check.kind == "startup" and self._healthy
            if not started and self._clock() >= self._due:
                self._due = self._clock() + self.check.every
                self._weigh(await self._look())
        return self._finding()

    async def _look(self) -> str:
        """Carry the check out; returns what is wrong, "" for nothing."""
        of, limit = self.check.of, self.check.timeout
        if isinstance(of, Http):
            return await of.problem(limit)
        return "" if self._call is None else await self._call.problem(limit)

    def _weigh(self, problem: str) -> None:
        self._in_a_row = self._in_a_row + 1 if bool(problem) == bool(self._problem) else 1
        self._problem = problem
        if self._in_a_row >= (self.check.failures if problem else self.check.successes):
            self._healthy = not problem

    def _finding(self) -> Finding | None:
        if self._healthy:
            return None
        check, times = self.check, self._in_a_row
        words = f"passed {times} of {check.successes} times in a row that it takes"
        if self._problem:
            words = f"{self._problem} ({times} in a row)"
        return Finding(
            severity=Severity.ERROR,
            code="health.failed",
            message=f"the check {check.name!r} ({check.kind}): {words}.",
            subject=check.name,
            hint="Wait until it passes, or mend what it checks.",
        )


_KEYS = ("callable", "http", "kind", "expect", "timeout", "every", "failures", "successes")


def _check(name: str, entry: Any) -> HealthCheck:
    try:
        if not isinstance(entry, Mapping) or len({"callable", "http"} & entry.keys()) != 1:
            given = (
                f"one with {', '.join(map(str, entry)) or 'nothing'}" if isinstance(entry, Mapping) else shown(entry)
            )
            raise InvalidRequestError(
                f"it must be a table with either callable or http in it, not {given}.",
                hint='Write {"http": "http://127.0.0.1:8000/ready"} or {"callable": "module:function"}.',
            )
        for key in entry:
            if key not in _KEYS or (key == "expect" and "http" not in entry):
                hint = suggestion(key, _KEYS) if key not in _KEYS else "Only an address answers with a status."
                raise InvalidRequestError(f"it has no setting {key!r}.", hint=hint or f"It takes: {', '.join(_KEYS)}.")
        own = {key: value for key, value in entry.items() if key not in {"callable", "http", "expect"}}
        if "http" in entry:
            of: Any = Http(entry["http"], **{key: entry[key] for key in ("expect",) if key in entry})
        else:
            of = entry["callable"] if callable(entry["callable"]) else function_of(entry["callable"])
        return HealthCheck(name=name, of=of, **own)
    except UpgradeError as error:
        error.message = f"the health check {name!r}: {error.message}"
        error.args = (error.message,)
        raise
