"""A metric from elsewhere, as a value: where its readings come from, which way is worse, and how often it is read."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from numbers import Real
from typing import Any, Literal, NamedTuple, Protocol

from attrs import field, frozen

from noodle_upgrade_core import checks
from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError
from noodle_upgrade_core.isolation import in_text
from noodle_upgrade_core.settings import suggestion

__all__ = ["WORSE", "Metric", "MetricUnreadableError", "Pair", "Source", "Supplied", "Supply", "number_of"]

WORSE: tuple[str, ...] = ("higher", "lower", "either")
"""Which way a new version's readings may differ from the old one's and be worse."""
_DAY = 86_400.0


class MetricUnreadableError(UpgradeError):
    """A metric gave no number: its source failed, was too late, or answered with something else.

    `made` are readings from before it failed that nobody has judged yet.
    """

    code = "metric.unreadable"

    made: tuple[Pair, ...] = ()


class Source(Protocol):
    """Where readings come from; the object of a driver of `noodle_upgrade.metrics` is one.

    It is read in a thread of its own, never by two at once.
    """

    def read(self, version: str) -> float | Awaitable[float]:
        """Return the number of a version by now; plain or `async`. Whatever it raises counts as no reading."""


class Pair(NamedTuple):
    """What was read of both versions at about one moment; `old` is None when only the new one serves."""

    old: float | None
    new: float


class Supplied(NamedTuple):
    """What came since somebody asked last, and why nothing more comes for now: "" when all is well."""

    pairs: tuple[Pair, ...] = ()
    problem: str = ""


class Supply(Protocol):
    """Who has the readings of a metric: a thread that reads them (`Feed`), or whoever hands them over (`Handed`)."""

    metric: Metric

    def begin(self, old_version: str, new_version: str, *, both: bool) -> None:
        """Read these versions from now on, the old one only with `both`; may be called at every look."""

    def take(self) -> Supplied:
        """Return what came since the last time."""

    def close(self) -> None:
        """Read no more."""


def _worse(_: Any, __: Any, value: Any) -> None:
    if value not in WORSE:
        hint = suggestion(str(value), WORSE) or f"Write one of: {', '.join(WORSE)}."
        raise InvalidRequestError(f"worse must be one of {', '.join(WORSE)}, got {value!r}.", hint=hint)


def _or_none(check: Any) -> Any:
    def checked(instance: Any, attribute: Any, value: Any) -> None:
        if value is not None:
            check(instance, attribute, value)

    return checked


@frozen(kw_only=True)
class Metric:
    """Readings of each version that are compared.

    `worse` says which way the new version's would be worse. `margin` is the ratio of the versions' readings from which
    on it is not safe any more, `allowed` the one up to which it does no harm: those of the judge where they are None.
    For `worse="lower"` they are ratios of the old reading to the new one, so that both are above 1 whatever is worse.
    It is read every `every` seconds, and each reading may take `timeout` seconds.
    """

    name: str
    source: Source = field(repr=False)
    worse: Literal["higher", "lower", "either"] = field(default="higher", validator=_worse)
    margin: float | None = field(default=None, validator=_or_none(checks.between(1.0, 1000.0, inclusive=False)))
    allowed: float | None = field(default=None, validator=_or_none(checks.between(0.1, 100.0)))
    every: float = field(default=10.0, validator=checks.between(0.01, _DAY))
    timeout: float = field(default=5.0, validator=checks.between(0.01, _DAY))


def number_of(value: Any) -> float:
    """Return a reading as a number; raises `MetricUnreadableError` for what is none, for NaN and for infinity."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise MetricUnreadableError(f"it gave {in_text(value)[:100]}, which is no number", hint="Return a float.")
    number = float(value)
    if not math.isfinite(number):
        raise MetricUnreadableError(f"it gave {number}", hint="A version without traffic may be the reason.")
    return number
