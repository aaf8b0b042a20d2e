"""Made-up traffic to two versions, in virtual time: steady calls, and bad ones by chance."""

from __future__ import annotations

import heapq
import math
from random import Random

from attrs import field, frozen

from noodle_upgrade_core import Arm, Measurement, checks
from noodle_upgrade_core.staged import LATENCY_BOUNDS, bucket_of

__all__ = ["Disturbance", "Traffic", "TrafficModel"]

_HOUR, _YEAR = 3600.0, 3600.0 * 24.0 * 365.0
_USUAL_SECONDS, _SLOW_SECONDS = 0.01, 1.0
_USUAL, _SLOW = bucket_of(_USUAL_SECONDS), bucket_of(_SLOW_SECONDS)
_BEFORE, _BETWEEN = (0,) * _USUAL, (0,) * (_SLOW - _USUAL - 1)
_AFTER = (0,) * (len(LATENCY_BOUNDS) - _SLOW)


@frozen(kw_only=True)
class Disturbance:
    """A time in which everything is `times` as bad, whichever version serves: a database that is slow, say."""

    begin: float = field(validator=checks.seconds)
    seconds: float = field(validator=checks.seconds)
    times: float = field(default=8.0, validator=checks.between(0.0, 1e6))

    @property
    def end(self) -> float:
        """When it is over."""
        return self.begin + self.seconds


@frozen(kw_only=True)
class TrafficModel:
    """Callers of two versions.

    `rate` calls a second come in all. Of those to the old version the share `bad` fails, of those to the new one
    `worse` times as many. A client whose call fails tries `clump` times on average, at random times about `spacing`
    seconds apart, always at the same version and in vain; only the first of these is one of the `rate` calls, and a
    failure is so much rarer that the share of bad calls stays what it is. `slow` and `slower` are the same as `bad` and
    `worse` for calls that take a second, and not a hundredth. `drift` is what the bad shares of both versions are
    multiplied with from hour to hour.
    """

    rate: float = field(default=20.0, validator=checks.between(0.0, 1e9, inclusive=False))
    bad: float = field(default=0.005, validator=checks.between(0.0, 1.0))
    worse: float = field(default=1.0, validator=checks.between(0.0, 1e6))
    clump: float = field(default=1.0, validator=checks.between(1.0, 1e6))
    spacing: float = field(default=0.2, validator=checks.seconds)
    slow: float = field(default=0.0, validator=checks.between(0.0, 1.0))
    slower: float = field(default=1.0, validator=checks.between(0.0, 1e6))
    drift: float = field(default=1.0, validator=checks.between(0.0, 1e3, inclusive=False))
    disturbances: tuple[Disturbance, ...] = field(default=(), converter=tuple)

    def times(self, at: float) -> float:
        """Return how many times as bad both versions are at a moment."""
        here = math.prod(one.times for one in self.disturbances if one.begin <= at < one.end)
        return float(here * self.drift ** (at / _HOUR))

    def worst(self, at: float) -> tuple[float, float]:
        """Return how bad both versions may become from a moment on, and until when that is known: an hour at most."""
        ends = (end for one in self.disturbances for end in (one.begin, one.end) if end > at)
        until = min([at + _HOUR, *ends])
        return self.times(at) * max(1.0, self.drift ** ((until - at) / _HOUR)), until


class Traffic:
    """One course of such traffic; `weight` is the new version's share, and may be set at any time.

    Time stands still but for `advance`. The same random numbers and the same shares give the same course.
    """

    def __init__(self, model: TrafficModel, rng: Random) -> None:
        self.model = model
        self.at = 0.0
        self._rng = rng
        self._weight = 0.0
        self._calls = [0.0, 0.0]
        self._errors = [0, 0]
        self._slow = [0, 0]
        self._tries: list[tuple[float, int]] = []
        self._next, self._kind = math.inf, 0
        self._draw()

    @property
    def weight(self) -> float:
        """The share of the calls that the new version gets."""
        return self._weight

    @weight.setter
    def weight(self, weight: float) -> None:
        self._weight = weight
        self._draw()

    @property
    def next_event(self) -> float:
        """When something bad happens next, as far as it is known: infinity for never."""
        return min(self._next, self._tries[0][0]) if self._tries else self._next

    def advance(self, at: float) -> None:
        """Let everything happen that happens until `at`."""
        while (event := self.next_event) <= at:
            self._pass(event)
            if self._tries and self._tries[0][0] == event:
                _, version = heapq.heappop(self._tries)
                self._calls[version] += 1
                self._fail(event, version)
            else:
                self._happen(event)
                self._draw()
        self._pass(at)

    def measure(self) -> Measurement:
        """Return what both versions did so far."""
        return Measurement(at=self.at, weight=self._weight, old=self._arm("old", 0), new=self._arm("new", 1))

    def _pass(self, at: float) -> None:
        calls = self.model.rate * (at - self.at)
        self._calls[0] += calls * (1.0 - self._weight)
        self._calls[1] += calls * self._weight
        self.at = at

    def _draw(self) -> None:
        """Draw when something bad happens next, and what: what could happen at the worst of times, thinned out."""
        model, at, rng = self.model, self.at, self._rng
        first, slow = model.rate / model.clump * model.bad, model.rate * model.slow
        old, new = 1.0 - self._weight, self._weight
        rates = (first * old, first * model.worse * new, slow * old, slow * model.slower * new)
        whole = sum(rates)
        self._next = math.inf
        while whole and at - self.at < _YEAR:
            worst, until = model.worst(at)
            worst *= whole
            pause = rng.expovariate(worst) if worst else math.inf
            if at + pause >= until:
                at = until  # nothing happens for as long as it is known how bad things are
                continue
            at += pause
            drawn, times = rng.random() * worst, model.times(at)
            for kind, rate in enumerate(rates):
                if drawn < rate * times:
                    self._next, self._kind = at, kind
                    return
                drawn -= rate * times

    def _happen(self, at: float) -> None:
        slow, version = divmod(self._kind, 2)
        if slow:
            self._slow[version] += 1
        else:
            self._fail(at, version)

    def _fail(self, at: float, version: int) -> None:
        self._errors[version] += 1
        if self._rng.random() >= 1.0 / self.model.clump:
            pause = self._rng.expovariate(1.0 / self.model.spacing) if self.model.spacing else 0.0
            heapq.heappush(self._tries, (at + pause, version))

    def _arm(self, name: str, version: int) -> Arm:
        errors, slow = self._errors[version], self._slow[version]
        calls = max(int(self._calls[version]), errors + slow)
        latency = (*_BEFORE, calls - slow, *_BETWEEN, slow, *_AFTER)
        return Arm(version=name, calls=calls, errors=errors, latency=latency, last_error="failed" if errors else "")
