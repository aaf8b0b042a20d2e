"""The judge of Kayenta (Netflix's automated canary analysis), for comparison, and for who has got used to it.

Every metric is a list of readings, one a minute, of each version. The new version's are taken for higher when the
confidence interval of the shift between the two lists (Mann and Whitney's test, with R's normal approximation) lies
above a quarter of its estimate. Readings far outside of the others are left out first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, median, quantiles
from typing import NamedTuple

from attrs import define, field

from noodle_upgrade_core import Arm, Measurement, Observation, checks
from noodle_upgrade_core.staged import LATENCY_BOUNDS
from noodle_upgrade_deployment.judging.windows import Windows

__all__ = ["MannWhitney", "Shift", "shift_of"]

_BAND = 0.25
_OUTLIER = 3.0
_FEWEST = 2


class Shift(NamedTuple):
    """By how much one list of readings is higher than another: an interval, and Hodges and Lehmann's estimate."""

    low: float
    high: float
    estimate: float


def shift_of(new: Sequence[float], old: Sequence[float], level: float) -> Shift:
    """Return the shift from `old` to `new` at a confidence level, such as 0.98.

    The interval ends at the differences between single readings where the rank sum is no longer that many standard
    deviations off. Raises `ValueError` for an empty list, and where all readings are alike: then there is no interval.
    """
    if not new or not old:
        raise ValueError("a shift is between two lists that have something in them")
    differences = sorted(one - other for one in new for other in old)
    if differences[0] == differences[-1]:
        raise ValueError("all readings are alike")
    # Moved down by what lies between two differences, no reading is one of the other list: ties are within a list.
    deviation = _deviation(len(new), len(old), _ties(new) + _ties(old))
    wanted = NormalDist().inv_cdf(0.5 + level / 2.0)
    outside = math.ceil(len(differences) / 2.0 - 0.5 - wanted * deviation) - 1
    low = max(0, outside)
    return Shift(differences[low], differences[-1 - low], median(differences))


def _ties(readings: Sequence[float]) -> int:
    return sum(count**3 - count for count in Counter(readings).values())


def _deviation(new: int, old: int, ties: int) -> float:
    """Return the standard deviation of the rank sum, as R has it."""
    whole = new + old
    return math.sqrt(new * old / 12.0 * (whole + 1.0 - ties / (whole * (whole - 1.0))))


@define(kw_only=True)
class MannWhitney:
    """Takes a reading of each version every `reading` seconds, and judges all of a share's every `interval` seconds.

    It is safe after `lifetime` seconds without harm. `level` is the confidence of the interval in each judgement: good
    versions that are judged again and again are called harmful more often than that.
    """

    reading: float = field(default=60.0, validator=checks.seconds)
    interval: float = field(default=300.0, validator=checks.seconds)
    lifetime: float = field(default=3600.0, validator=checks.seconds)
    level: float = field(default=0.98, validator=checks.between(0.0, 1.0, inclusive=False))
    _windows: Windows = field(init=False)
    _readings: dict[str, tuple[list[float], list[float]]] = field(init=False)
    _began: float = field(default=0.0, init=False)
    _judged: float = field(default=0.0, init=False)
    _said: Observation = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._windows = Windows(self.reading)
        self._turn(0.0)

    def _turn(self, at: float) -> None:
        self._readings = {name: ([], []) for name in _METRICS}
        self._began = self._judged = at
        self._said = Observation(reasons=(f"judged every {self.interval:g} s",))

    def observe(self, seen: Measurement) -> Observation:
        """Take a reading, and judge, when it is time; between the judgements it says what it said."""
        if self._windows.turned(seen):
            self._turn((seen.base or seen).at)
        if (window := self._windows.over(seen)) is not None:
            for name, read in _METRICS.items():
                for readings, arm in zip(self._readings[name], (window.old, window.new), strict=True):
                    if arm.calls:
                        readings.append(read(arm))
        if seen.at >= self._judged + self.interval:
            self._judged = seen.at
            self._said = self._judgement(seen.at - self._began)
        return self._said

    @property
    def next_look(self) -> float | None:
        """When a reading is due."""
        return self._windows.due

    def _judgement(self, elapsed: float) -> Observation:
        if any(len(new) < _FEWEST or len(old) < _FEWEST for old, new in self._readings.values()):
            return Observation(starved=True, reasons=("a version has had no calls for too many readings",))
        higher, evidence = [], {}
        for name, (old, new) in self._readings.items():
            classified = self._classified(old, new)
            evidence[name] = {"old": fmean(old), "new": fmean(new), "classification": classified}
            if classified == "high":
                higher.append(f"{name}: {fmean(new):.4g} of the new version, {fmean(old):.4g} of the old one")
        if higher:
            return Observation(harm=True, reasons=tuple(higher), evidence=evidence)
        safe = elapsed >= self.lifetime
        return Observation(safe=safe, reasons=("no metric is higher",), evidence=evidence)

    def _classified(self, old: Sequence[float], new: Sequence[float]) -> str:
        try:
            shift = shift_of(_usual(new), _usual(old), self.level)
        except ValueError:
            return "pass"
        band = _BAND * abs(shift.estimate)
        return "high" if shift.low > band else "low" if shift.high < -band else "pass"


def _usual(readings: Sequence[float]) -> Sequence[float]:
    """Leave out what lies further from the middle half than three times its width."""
    if len(readings) < _FEWEST:
        return readings
    first, _, third = quantiles(readings, n=4, method="inclusive")
    far = _OUTLIER * (third - first)
    return [one for one in readings if first - far <= one <= third + far]


def _error_share(arm: Arm) -> float:
    return arm.errors / arm.calls


def _mean_latency(arm: Arm) -> float:
    """Return the mean in seconds, each call reckoned as its bucket's bound."""
    bounds = (*LATENCY_BOUNDS, 2.0 * LATENCY_BOUNDS[-1])
    return sum(count * bound for count, bound in zip(arm.latency, bounds, strict=False)) / max(1, sum(arm.latency))


_METRICS: dict[str, Callable[[Arm], float]] = {"errors": _error_share, "latency": _mean_latency}
