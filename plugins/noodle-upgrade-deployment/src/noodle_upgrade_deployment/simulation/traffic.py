"""Made-up traffic to two versions, in virtual time: steady calls, and bad ones by chance."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from random import Random
from typing import Protocol

from attrs import define, field, frozen

from noodle_upgrade_core import Arm, Measurement, checks
from noodle_upgrade_core.staged import LATENCY_BOUNDS, Shadow, bucket_of

__all__ = ["Calls", "Copied", "Disturbance", "Traffic", "TrafficModel"]

_HOUR, _YEAR = 3600.0, 3600.0 * 24.0 * 365.0
_MOST_TIMES = 1e9
_LOG_MOST_TIMES = math.log(_MOST_TIMES)
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


def _listed(given: Iterable[Disturbance]) -> tuple[Disturbance, ...]:
    return tuple(given)


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
    disturbances: tuple[Disturbance, ...] = field(default=(), converter=_listed)

    def times(self, at: float) -> float:
        """Return how many times as bad both versions are at a moment."""
        here = math.prod(one.times for one in self.disturbances if one.begin <= at < one.end)
        # Beyond that nothing is left that could be bad, and the numbers would end.
        return min(_MOST_TIMES, here * math.exp(min(_LOG_MOST_TIMES, math.log(self.drift) * at / _HOUR)))

    def worst(self, at: float) -> tuple[float, float]:
        """Return how bad both versions may become from a moment on, and until when that is known: an hour at most."""
        ends = (end for one in self.disturbances for end in (one.begin, one.end) if end > at)
        until = min([at + _HOUR, *ends])
        return self.times(at) * max(1.0, self.drift ** ((until - at) / _HOUR)), until


class Calls(Protocol):
    """Calls to two versions in virtual time: made-up ones, or recorded ones. Time stands still but for `advance`."""

    at: float

    @property
    def next_event(self) -> float:
        """When something happens that a judge must see, as far as it is known: infinity for never."""

    @property
    def suffered(self) -> int:
        """How many bad calls of the new version somebody has had: those of a shadow nobody has."""

    def advance(self, at: float) -> None:
        """Let everything happen that happens until `at`."""

    def split(self, new: float, *, asked: float | None = None) -> None:
        """Give this share to the new version; `asked` is what was asked for, where whoever routes does not hit it."""

    def shadow(self, share: float) -> None:
        """Run copies of this share of the calls on the new version; the old one serves them all."""

    def measure(self) -> Measurement:
        """Return what both versions did so far."""


@define
class Copied:
    """What the new version did for nobody: copies of calls, counted among its calls while a shadow runs."""

    share: float = 0.0
    _ran: int = 0
    _different: int = 0
    _begun: tuple[int, int] = (0, 0)

    def begin(self, share: float, calls: int, errors: int) -> None:
        """From now on calls of the new version are copies; these are its counts so far."""
        self.end(calls, errors)
        self.share = share
        self._begun = (calls, errors)

    def end(self, calls: int, errors: int) -> None:
        """From now on calls are calls."""
        if self.share:
            self._ran += calls - self._begun[0]
            self._different += errors - self._begun[1]
        self.share = 0.0

    def different(self, errors: int) -> int:
        """Return how many of this many errors were those of copies."""
        return self._different + (errors - self._begun[1] if self.share else 0)

    def told(self, calls: int, errors: int) -> Shadow | None:
        """Return what a measurement says of the shadow; None when none runs."""
        if not self.share:
            return None
        ran = self._ran + calls - self._begun[0]
        return Shadow(share=self.share, ran=ran, different=self.different(errors))


class Traffic:
    """One course of such traffic; `weight` is the new version's share, and may be set at any time.

    Time stands still but for `advance`. The same random numbers and the same shares give the same course. A copy that a
    shadow runs is as often bad as a call of the new version is, and is different from its call when it is bad.
    """

    def __init__(self, model: TrafficModel, rng: Random) -> None:
        self.model = model
        self.at = 0.0
        self._rng = rng
        self._asked = 0.0
        self._parts = (1.0, 0.0)
        self._copied = Copied()
        self._calls = [0.0, 0.0]
        self._errors = [0, 0]
        self._slow = [0, 0]
        self._tries: list[tuple[float, int]] = []
        self._next, self._kind = math.inf, 0
        self._draw()

    @property
    def weight(self) -> float:
        """The share of the calls that the new version is to get."""
        return self._asked

    @weight.setter
    def weight(self, weight: float) -> None:
        self.split(weight)

    def split(self, new: float, *, asked: float | None = None) -> None:
        """Give this share to the new version; `asked` is what was asked for, where whoever routes does not hit it."""
        self._copied.end(*self._copies)
        self._asked = new if asked is None else asked
        self._parts = (1.0 - new, new)
        self._draw()

    def shadow(self, share: float) -> None:
        """Run copies of this share of the calls on the new version; the old one serves them all."""
        self._copied.begin(share, *self._copies)
        self._asked = share / (1.0 + share)
        self._parts = (1.0, share)
        self._draw()

    @property
    def suffered(self) -> int:
        """How many bad calls of the new version somebody has had: those of a shadow nobody has."""
        return self._errors[1] - self._copied.different(self._errors[1])

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
        old, new = self._arm("old", 0), self._arm("new", 1)
        shadow = self._copied.told(new.calls, new.errors)
        return Measurement(at=self.at, weight=self._asked, old=old, new=new, shadow=shadow)

    @property
    def _copies(self) -> tuple[int, int]:
        new = self._arm("new", 1)
        return new.calls, new.errors

    def _pass(self, at: float) -> None:
        calls = self.model.rate * (at - self.at)
        self._calls[0] += calls * self._parts[0]
        self._calls[1] += calls * self._parts[1]
        self.at = at

    def _draw(self) -> None:
        """Draw when something bad happens next, and what: what could happen at the worst of times, thinned out."""
        model, at, rng = self.model, self.at, self._rng
        first, slow = model.rate / model.clump * model.bad, model.rate * model.slow
        old, new = self._parts
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
