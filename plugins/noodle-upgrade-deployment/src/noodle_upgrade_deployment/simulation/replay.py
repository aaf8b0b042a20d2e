"""Recorded calls once more: split between two versions, with a new one that differs from the old as a model says."""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from random import Random

from attrs import field, frozen

from noodle_upgrade_core import Arm, Measurement, checks
from noodle_upgrade_core.staged import LATENCY_BOUNDS, bucket_of
from noodle_upgrade_deployment.simulation.recordings import Recording
from noodle_upgrade_deployment.simulation.traffic import Copied

__all__ = ["Replay", "ReplayModel"]

_CLUMP_GAP, _CLUMP_SECONDS = 1.0, 5.0
_NEAR_SECONDS = 60.0
_USUAL = 0.95
_BUCKETS = len(LATENCY_BOUNDS) + 1


@frozen(kw_only=True, eq=False)
class ReplayModel:
    """What the new version would have made of recorded calls.

    Of those, `worse` times as many fail: where there was a clump of failures, as many more like it are within a minute
    of it, so that incidents stay where they were; below 1, some do not fail. Each call takes `slower` times as long.
    A course begins at a random moment, and goes on with the first call after the last. Calls with a key stay at a
    version as a router keeps them there, the others are drawn.
    """

    recording: Recording
    worse: float = field(default=1.0, validator=checks.between(0.0, 1000.0))
    slower: float = field(default=1.0, validator=checks.between(0.0, 1000.0))
    new_bad: bytes = field(init=False, repr=False)
    old_buckets: bytes = field(init=False, repr=False)
    new_buckets: bytes = field(init=False, repr=False)
    events: array[int] = field(init=False, repr=False)
    """The numbers of the calls that a judge must see: failed or slow ones, of either version."""

    def __attrs_post_init__(self) -> None:
        # Not as defaults: these come before the checks, and what fails these can take for ever.
        recording = self.recording
        old = new = bytes(map(bucket_of, recording.seconds))
        if self.slower != 1.0:
            new = bytes(bucket_of(seconds * self.slower) for seconds in recording.seconds)
        new_bad, slow = _failed(recording, self.worse), _slow_from(old)
        rows = zip(recording.bad, new_bad, old, new, strict=True)
        events = [i for i, (bad, worse, one, other) in enumerate(rows) if bad or worse or one >= slow or other >= slow]
        for name, value in (
            ("new_bad", new_bad),
            ("old_buckets", old),
            ("new_buckets", new),
            ("events", array("q", events)),
        ):
            object.__setattr__(self, name, value)

    @property
    def rate(self) -> float:
        """How many calls a second there are in all, on average."""
        return len(self.recording) / self.recording.span

    def calls(self, rng: Random) -> Replay:
        """Begin a course of them."""
        return Replay(self, rng)


def _slow_from(buckets: bytes) -> int:
    """Return the first bucket that few calls reach: what judges call slow begins no sooner."""
    counts = [buckets.count(bucket) for bucket in range(_BUCKETS)]
    return bisect.bisect_left(list(accumulate(counts)), _USUAL * len(buckets)) + 1


def _failed(recording: Recording, worse: float) -> bytes:
    """Return which calls fail at the new version; the same for the same recording."""
    rng = Random(0)  # noqa: S311 - no secret is drawn
    if worse <= 1.0:
        return bytes(bad and rng.random() < worse for bad in recording.bad)
    bad = bytearray(recording.bad)
    for clump in _clumps(recording):
        copies = int(worse - 1.0) + (rng.random() < (worse - 1.0) % 1.0)
        for _ in range(copies):
            if not _copied(recording.at, bad, clump, rng.uniform(-_NEAR_SECONDS, _NEAR_SECONDS)):
                return bytes(bad)
    return bytes(bad)


def _clumps(recording: Recording) -> list[list[int]]:
    """Return the failed calls, those together that are close to one another."""
    failed = [number for number, bad in enumerate(recording.bad) if bad]
    clumps = [failed[:1]]
    for before, number in pairwise(failed):
        at, began = recording.at[number], recording.at[clumps[-1][0]]
        if at - recording.at[before] <= _CLUMP_GAP and at - began <= _CLUMP_SECONDS:
            clumps[-1].append(number)
        else:
            clumps.append([number])
    return [clump for clump in clumps if clump]


def _copied(times: Sequence[float], bad: bytearray, clump: Sequence[int], later: float) -> bool:
    """Let as many calls fail some time later, or earlier: the next ones that did not, in a ring; false if all do."""
    span = times[-1]
    for number in clump:
        place = bad.find(0, bisect.bisect_left(times, (times[number] + later) % span))
        if place < 0 and (place := bad.find(0)) < 0:
            return False
        bad[place] = 1
    return True


class Replay:
    """One course of recorded calls: see `Calls`."""

    def __init__(self, model: ReplayModel, rng: Random) -> None:
        recording = model.recording
        self.at = 0.0
        self._model, self._times, self._rng = model, recording.at, rng
        self._next = rng.randrange(len(recording))
        self._offset = -self._times[self._next]
        self._places = [rng.random() for _ in range(recording.keys)]
        self._asked, self._share, self._copies = 0.0, 0.0, False
        self._copied = Copied()
        self._buckets = ([0] * _BUCKETS, [0] * _BUCKETS)
        self._errors = [0, 0]
        self._calls = [0, 0]

    @property
    def next_event(self) -> float:
        """When a call comes next that fails or is slow at either version: infinity for never."""
        events = self._model.events
        if not events:
            return math.inf
        place = bisect.bisect_left(events, self._next)
        if place < len(events):
            return self._times[events[place]] + self._offset
        return self._times[events[0]] + self._offset + self._model.recording.span

    @property
    def suffered(self) -> int:
        """How many bad calls of the new version somebody has had."""
        return self._errors[1] - self._copied.different(self._errors[1])

    def split(self, new: float, *, asked: float | None = None) -> None:
        """Give this share of the callers to the new version; `asked` is the share that was asked for."""
        self._copied.end(self._calls[1], self._errors[1])
        self._asked = new if asked is None else asked
        self._share, self._copies = new, False

    def shadow(self, share: float) -> None:
        """Run copies of this share of the calls: one is different when one version fails and the other does not."""
        self._copied.begin(share, self._calls[1], self._errors[1])
        self._asked = share / (1.0 + share)
        self._share, self._copies = share, True

    def advance(self, at: float) -> None:
        """Let all calls come that come until `at`."""
        while True:
            end = bisect.bisect_right(self._times, at - self._offset, self._next)
            self._serve(self._next, end)
            self._next = end
            if end < len(self._times):
                break
            self._next = 0
            self._offset += self._model.recording.span
        self.at = at

    def measure(self) -> Measurement:
        """Return what both versions did so far."""
        old, new = self._arm("old", 0), self._arm("new", 1)
        shadow = self._copied.told(new.calls, new.errors)
        return Measurement(at=self.at, weight=self._asked, old=old, new=new, shadow=shadow)

    def _serve(self, begin: int, end: int) -> None:
        model, copies, share = self._model, self._copies, self._share
        old_bad, new_bad = model.recording.bad, model.new_bad
        old_buckets, new_buckets = self._buckets
        for number, place in zip(range(begin, end), self._drawn(begin, end), strict=True):
            to_new = place < share
            if copies or not to_new:
                old_buckets[model.old_buckets[number]] += 1
                self._errors[0] += old_bad[number]
                self._calls[0] += 1
            if to_new:
                new_buckets[model.new_buckets[number]] += 1
                self._errors[1] += (new_bad[number] != old_bad[number]) if copies else new_bad[number]
                self._calls[1] += 1

    def _drawn(self, begin: int, end: int) -> list[float]:
        """Return for each call the share from which on the new version gets it."""
        random, places, keys = self._rng.random, self._places, self._model.recording.key
        if not places:
            return [random() for _ in range(begin, end)]
        return [places[key] if key >= 0 else random() for key in keys[begin:end]]

    def _arm(self, name: str, version: int) -> Arm:
        errors = self._errors[version]
        return Arm(
            version=name,
            calls=self._calls[version],
            errors=errors,
            latency=tuple(self._buckets[version]),
            last_error="failed" if errors else "",
        )
