"""What very many rollouts come to: how often each end was met, how soon, and at what price."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_deployment.simulation.rollouts import Course
from noodle_upgrade_deployment.simulation.watching import wilson

__all__ = ["Rates", "Share", "Spread", "rates_of"]


@frozen
class Share:
    """How many of how many, with Wilson's interval at 95 %."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The part, from 0 to 1."""
        return self.hits / self.of

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval, within 0 and 1."""
        low, high = wilson(self.hits, self.of)
        return max(0.0, low), min(1.0, high)

    def to_wire(self) -> dict[str, float | int]:
        """Return it as JSON values."""
        low, high = self.bounds
        return {"hits": self.hits, "of": self.of, "value": self.value, "low": low, "high": high}


@frozen
class Spread:
    """Numbers in short: where half of them, and nine in ten, are no larger; infinity where too few ever came."""

    median: float
    p90: float
    mean: float

    def to_wire(self) -> dict[str, float | None]:
        """Return it as JSON values; infinity is null."""
        return {
            name: value if math.isfinite(value) else None
            for name, value in (("median", self.median), ("p90", self.p90), ("mean", self.mean))
        }


@frozen(kw_only=True)
class Rates:
    """What `runs` rollouts of one version came to.

    `harm` is the share that the judge took back, `promoted` the share that got all calls; `ends` counts all ends.
    Times are in seconds from the beginning, over all runs: one that did not come to that end counts as endless.
    `bad_calls` are those of the new version that somebody had until it was taken back, or had everything. `capacity` is
    the smallest share of a fleet that served in any of the runs, and None without a fleet.
    """

    runs: int
    ends: Mapping[str, int]
    promoted: Share
    harm: Share
    to_promote: Spread
    to_harm: Spread
    to_go_back: Spread
    bad_calls: Spread
    capacity: float | None = None
    across: int | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return them as JSON values."""
        wire = {
            name: getattr(self, name).to_wire()
            for name in ("promoted", "harm", "to_promote", "to_harm", "to_go_back", "bad_calls")
        }
        return {
            "runs": self.runs,
            "ends": dict(self.ends),
            **wire,
            "capacity": self.capacity,
            "across": self.across,
        }


def rates_of(courses: Sequence[Course]) -> Rates:
    """Reckon them; there must be a course at least."""
    ends = Counter(course.end for course in courses)
    fleets = [course.fleet for course in courses if course.fleet is not None]
    return Rates(
        runs=len(courses),
        ends=dict(sorted(ends.items())),
        promoted=Share(ends["promoted"], len(courses)),
        harm=Share(ends["harm"], len(courses)),
        to_promote=_when(courses, "promoted", lambda course: course.at),
        to_harm=_when(courses, "harm", lambda course: course.at),
        to_go_back=_when(courses, "harm", lambda course: course.back_at),
        bad_calls=_spread(float(course.bad_calls) for course in courses),
        capacity=min((fleet.capacity for fleet in fleets), default=None),
        across=max((fleet.across for fleet in fleets), default=None),
    )


def _when(courses: Iterable[Course], end: str, moment: Callable[[Course], float]) -> Spread:
    return _spread(moment(course) if course.end == end else math.inf for course in courses)


def _spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    finite = [value for value in ordered if math.isfinite(value)]
    mean = math.fsum(finite) / len(finite) if finite else math.inf
    return Spread(_quantile(ordered, 0.5), _quantile(ordered, 0.9), mean)


def _quantile(ordered: Sequence[float], part: float) -> float:
    """Return the smallest value that this part of them does not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
