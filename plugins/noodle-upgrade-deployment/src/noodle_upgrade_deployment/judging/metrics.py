"""Metrics as counts of bad events: what of a measurement a judge compares between the two versions.

Beside them a judge takes metrics from elsewhere (see `noodle_upgrade_deployment.metrics`), which are readings.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Any, Final, Protocol

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.settings import suggestion
from noodle_upgrade_core.staged import LATENCY_BOUNDS, Arm, Measurement, bucket_of
from noodle_upgrade_deployment.judging.counts import NOTHING, Counts
from noodle_upgrade_deployment.judging.readings import Readings
from noodle_upgrade_deployment.metrics import metric as elsewhere
from noodle_upgrade_deployment.metrics.feeds import Feed
from noodle_upgrade_deployment.metrics.tables import metrics_from

__all__ = ["BUILT_IN", "Errors", "Latency", "Metric", "metrics_of"]


class Metric(Protocol):
    """Reads the events and the bad ones among them, of both versions, off a measurement.

    Made anew for each rollout. What it returns only grows; None while there is nothing to compare yet.
    """

    name: str
    tolerable: float
    """The share of bad events that never matters; 0 where every one does."""

    def read(self, seen: Measurement) -> Counts | None:
        """Return the counts since the rollout began."""


class Errors:
    """Calls that failed."""

    name = "errors"
    tolerable: float = 0.001

    def read(self, seen: Measurement) -> Counts:
        """Return calls and failed ones."""
        old, new = seen.old, seen.new
        return Counts(old.calls, old.errors, new.calls, new.errors)


class Latency:
    """Calls that took at least twice as long as nearly all calls of the old version did at the beginning.

    At most `usual` of the old version's first calls exceeded some bound of a bucket; the limit is the bound after it,
    and then it stays: where most calls take as long as a bound, it would else be passed by a version that is slower by
    a hair. It is `least` seconds at least: a version with few calls finds the caches cold, and what that costs is less
    than anybody notices. Calls before it is known are not judged.
    """

    name = "latency"
    tolerable: float = 0.02

    def __init__(self, *, usual: float = 0.05, calls: int = 200, least: float = 0.001) -> None:
        self._usual = usual
        self._least = bucket_of(least)
        self._calls = calls
        self._bucket: int | None = None
        self._before = NOTHING

    @property
    def limit(self) -> float | None:
        """What is slow, in seconds; None while it is not known yet."""
        return None if self._bucket is None else LATENCY_BOUNDS[self._bucket]

    def read(self, seen: Measurement) -> Counts | None:
        """Return calls and slow ones."""
        if self._bucket is None:
            if sum(seen.old.latency) < self._calls:
                return None
            self._bucket = self._most_are_faster(seen.old)
            self._before = self._counts(seen, NOTHING)
        return self._counts(seen, self._before)

    def _most_are_faster(self, arm: Arm) -> int:
        faster = tuple(accumulate(arm.latency))
        # The last bucket has no bound: what falls into it is slow whatever the others are.
        usual = bisect.bisect_left(faster, (1.0 - self._usual) * faster[-1])
        return min(max(usual + 1, self._least), len(LATENCY_BOUNDS) - 1)

    def _counts(self, seen: Measurement, before: Counts) -> Counts:
        # In one go: this is done at every look.
        slow = (self._bucket or 0) + 1
        old, new = seen.old, seen.new
        return Counts(
            old.calls - before.old,
            sum(old.latency[slow:]) - before.old_bad,
            new.calls - before.new,
            sum(new.latency[slow:]) - before.new_bad,
        )


BUILT_IN: Final[Mapping[str, Callable[[], Metric]]] = {"errors": Errors, "latency": Latency}
"""The metrics that can be read off any measurement, by name."""


def metrics_of(named: str | Iterable[Any] | Mapping[str, Any]) -> tuple[Metric | Readings, ...]:
    """Return metrics by their names, made anew; an object is taken as it is, and one from elsewhere is given a feed.

    A mapping is a table of metrics from elsewhere (see `metrics_from`), which come beside those that are built in; with
    `"latency": False` that one is left out.

    Raises `InvalidRequestError` for an unknown name, for none at all, and for one that comes twice; and what
    `metrics_from` raises.
    """
    metrics = tuple(_metric_of(one) for one in _given(named))
    names = [metric.name for metric in metrics]
    if not names or len(set(names)) < len(names):
        raise InvalidRequestError(f"metrics must name at least one metric, and none twice, got {names!r}.")
    return metrics


def _given(named: Any) -> tuple[Any, ...]:
    if isinstance(named, str):
        return (named,)
    if isinstance(named, Mapping):
        switched = {name: on for name, on in named.items() if isinstance(on, bool)}
        for name in switched:
            _check_built_in(name)
        others = metrics_from({name: entry for name, entry in named.items() if name not in switched})
        return (*(name for name in BUILT_IN if switched.get(name, True)), *others)
    if not isinstance(named, Iterable):
        raise InvalidRequestError(f"metrics must be names or a table, got {named!r}.")
    return tuple(named)


def _metric_of(one: Any) -> Metric | Readings:
    if isinstance(one, elsewhere.Metric):
        return Readings(Feed(one))
    if isinstance(one, str):
        _check_built_in(one)
        return BUILT_IN[one]()
    made: Metric | Readings = one
    return made


def _check_built_in(name: str) -> None:
    if name not in BUILT_IN:
        hint = suggestion(name, BUILT_IN) or "Or give an object that reads it."
        raise InvalidRequestError(f"there is no metric {name!r}; there are: {', '.join(BUILT_IN)}.", hint=hint)
