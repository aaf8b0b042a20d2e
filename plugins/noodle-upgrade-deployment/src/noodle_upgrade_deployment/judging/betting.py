"""The judge by evidence: it says harm or safe when the evidence is enough, and else how much more it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, evolve, field

from noodle_upgrade_core import Measurement, Observation, checks
from noodle_upgrade_deployment.judging.comparison import Comparison, Levels
from noodle_upgrade_deployment.judging.crashes import Crashes, Limits
from noodle_upgrade_deployment.judging.metrics import Metric, metrics_of
from noodle_upgrade_deployment.judging.readings import ReadingComparison, Readings
from noodle_upgrade_deployment.judging.splits import Split
from noodle_upgrade_deployment.judging.windows import Stretch, stretch_of
from noodle_upgrade_deployment.metrics.metric import MetricUnreadableError

__all__ = ["Betting"]

_SILENCE_SECONDS = 30.0
"""So long without a call of the new version, and waiting for evidence is waiting for traffic."""
_TOO_EARLY = ("the evidence is not enough yet",)


class _Compared(Protocol):
    """One metric of a rollout: counts (`Comparison`), or readings (`ReadingComparison`)."""

    harm: bool
    safe: bool

    @property
    def due(self) -> float | None: ...
    def turn(self, share: float) -> None: ...
    def take(self, at: float, told: Any, /) -> None: ...
    def in_words(self) -> str: ...
    def evidence(self) -> dict[str, Any]: ...


class _Numbers(Mapping[str, Any]):
    """The numbers of each metric, reckoned when somebody asks: at most looks of a judge nobody does."""

    __slots__ = ("_comparisons",)

    def __init__(self, comparisons: Mapping[str, _Compared]) -> None:
        self._comparisons = comparisons

    def __getitem__(self, key: str) -> Any:
        return self._comparisons[key].evidence()

    def __iter__(self) -> Iterator[str]:
        return iter(self._comparisons)

    def __len__(self) -> int:
        return len(self._comparisons)


@define(kw_only=True)
class Betting:
    """Compares the new version with the old one by bets that stay fair however often one looks (see `bets`).

    `alpha` is the chance that a version which is no worse than the old one is ever called harmful, over all metrics and
    the whole rollout; `allowed` is the ratio of bad shares up to which it is no worse. `beta` is the chance, at each
    share, that a version which is `margin` times as bad is called safe. `metrics` are names,
    objects (see `Metric`), or a table of metrics from elsewhere (see `metrics_of`).
    Once all calls meet the new version it is safe after `calls` of them, unless incidents have become more frequent.
    `first`, `window`, `failing` and `stall` say what is plainly broken (see `Limits`).
    """

    alpha: float = field(default=0.01, validator=checks.between(0.0, 0.5, inclusive=False))
    beta: float = field(default=0.02, validator=checks.between(0.0, 0.5, inclusive=False))
    margin: float = field(default=1.5, validator=checks.between(1.0, 1000.0, inclusive=False))
    allowed: float = field(default=1.0, validator=checks.between(0.1, 100.0))
    metrics: tuple[Metric | Readings, ...] = field(default=("errors", "latency"), converter=metrics_of)
    calls: int = field(default=200, validator=checks.count)
    first: int = field(default=5, validator=checks.count)
    window: int = field(default=50, validator=checks.count)
    failing: float = field(default=0.8, validator=checks.between(0.0, 1.0))
    stall: float = field(default=30.0, validator=checks.seconds)
    _comparisons: tuple[tuple[Metric | Readings, _Compared], ...] = field(init=False)
    _numbers: Mapping[str, Any] = field(init=False)
    _early: Observation = field(init=False)
    _here: _AtOneShare | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        # Whichever of the metrics says harm counts, so each may be wrong that much more rarely; all must say safe.
        alpha = self.alpha / len(self.metrics)
        sure = Levels(alpha=alpha, beta=self.beta, margin=self.margin, allowed=self.allowed)
        self._comparisons = tuple((one, _comparison_of(one, sure)) for one in self.metrics)
        self._numbers = _Numbers({one.name: compared for one, compared in self._comparisons})
        self._early = Observation(reasons=_TOO_EARLY, evidence=self._numbers)

    def observe(self, seen: Measurement) -> Observation:
        """Take in one measurement; the numbers of each metric are in the evidence under its name."""
        here = self._at(seen)
        holds = self._compare(seen)
        if reason := here.crashes.look(seen) or self._worse():
            return Observation(harm=True, reasons=(reason,), evidence=self._numbers)
        if split := here.split.look(seen):
            holds = (*holds, split)
        if holds:
            return Observation(reasons=holds, evidence=self._numbers)
        calls = seen.new.calls - here.begin.new.calls
        if calls >= self.calls if here.alone else self._as_good():
            reason = f"{calls} calls at this share, and no sign of harm"
            return Observation(safe=True, reasons=(reason,), evidence=self._numbers)
        if reason := here.silence(seen):
            return Observation(starved=True, reasons=(reason,), evidence=self._numbers)
        return self._early

    def close(self) -> None:
        """Read no more metrics from elsewhere; without it they are read until nobody has this judge any more."""
        for metric in self.metrics:
            if isinstance(metric, Readings):
                metric.supply.close()

    def _worse(self) -> str:
        """Say in which metrics the new version is worse; "" when it is in none."""
        worse = [(metric, compared) for metric, compared in self._comparisons if compared.harm]
        return "; ".join([f"{metric.name}: {compared.in_words()}" for metric, compared in worse]) if worse else ""

    def _as_good(self) -> bool:
        """Whether the new version is good enough in every metric."""
        for _, compared in self._comparisons:  # noqa: SIM110 - asked at every look, where a generator costs most of it
            if not compared.safe:
                return False
        return True

    @property
    def next_look(self) -> float | None:
        """When there is something to say although nothing bad happens meanwhile: an incident is over then."""
        due = [one for _, comparison in self._comparisons if (one := comparison.due) is not None]
        return min(due, default=None)

    def _at(self, seen: Measurement) -> _AtOneShare:
        """Return what belongs to the share at hand; it begins with the measurement that was made when it was set."""
        here, stretch = self._here, stretch_of(seen)
        if here is None or here.stretch != stretch:
            begin = seen.base or seen
            limits = Limits(first=self.first, window=self.window, failing=self.failing, stall=self.stall)
            compared = [one for _, one in self._comparisons]
            with_readings = any(isinstance(one, ReadingComparison) for one in compared)
            here = _AtOneShare(stretch, begin, limits)
            if with_readings and not here.alone:
                here = _WithReadings(stretch, begin, limits, compared)
            self._here = here
            self._compare(begin)
            for _, comparison in self._comparisons:
                comparison.turn(begin.weight)
        return here

    def _compare(self, seen: Measurement) -> tuple[str, ...]:
        """Show every metric to its comparison; returns why some cannot be read, in words."""
        lost: list[str] = []
        for metric, comparison in self._comparisons:
            try:
                counts = metric.read(seen)
            except MetricUnreadableError as error:
                comparison.take(seen.at, error.made)  # what it said before it failed is still true
                lost.append(f"the metric {metric.name!r} cannot be read: {error.message}")
            except Exception as error:  # noqa: BLE001 - other people's metrics: without one nothing is safe, nor harm
                lost.append(f"the metric {metric.name!r} cannot be read: {type(error).__name__}: {error}")
            else:
                if counts is not None:
                    comparison.take(seen.at, counts)
        return tuple(lost) if lost else ()


def _comparison_of(metric: Metric | Readings, levels: Levels) -> _Compared:
    if isinstance(metric, Readings):
        return metric.comparison(levels)
    return Comparison(evolve(levels, tolerable=metric.tolerable))


class _AtOneShare:
    """What belongs to one share of the traffic."""

    def __init__(self, stretch: Stretch, begin: Measurement, limits: Limits) -> None:
        self.stretch = stretch
        self.begin = begin
        self.alone = begin.weight >= 1.0
        self.crashes = Crashes(limits, begin)
        self.split = Split(begin)
        self._calls = begin.new.calls
        self._called = begin.at

    def silence(self, seen: Measurement) -> str:
        """Say for how long the new version had no calls, when it is long; "" when it is not."""
        if seen.new.calls != self._calls:
            self._calls, self._called = seen.new.calls, seen.at
        elif seen.new.calls == self.begin.new.calls:
            return "the new version has had no calls at this share yet"
        silent = seen.at - self._called
        return f"the new version has had no calls for {silent:.0f} s" if silent >= _SILENCE_SECONDS else ""


class _WithReadings(_AtOneShare):
    """What belongs to one share where readings are compared: who waits for nothing else waits for those."""

    def __init__(self, stretch: Stretch, begin: Measurement, limits: Limits, compared: Sequence[_Compared]) -> None:
        super().__init__(stretch, begin, limits)
        self._counts = [one for one in compared if not isinstance(one, ReadingComparison)]
        self._readings = [one for one in compared if isinstance(one, ReadingComparison)]

    def silence(self, seen: Measurement) -> str:
        """Say for how long the new version had no calls, or else how many readings are wanting."""
        if (said := super().silence(seen)) or not all(one.safe for one in self._counts):
            return said
        return "; ".join([words for one in self._readings if (words := one.wanting())])
