"""What a judge would say of made-up traffic, in virtual time: one course, or very many."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from random import Random
from statistics import median
from typing import Literal, NamedTuple

from attrs import evolve, field, frozen

from noodle_upgrade_core import JudgeDriver
from noodle_upgrade_core.staged import settle_now
from noodle_upgrade_deployment.simulation.traffic import Traffic, TrafficModel

__all__ = ["Course", "Courses", "Watch", "watch", "watch_many", "wilson"]

_NORMAL_95 = 1.959963984540054
_CHUNKS_EACH = 8


class Course(NamedTuple):
    """How one course went: what was said, when, and how many bad calls the new version had had by then."""

    said: Literal["harm", "safe", ""]
    at: float
    bad_calls: int


@frozen(kw_only=True)
class Watch:
    """What is watched: one share, until the judge says harm or safe (`until="safe"`), or harm only, for `seconds`.

    `step` is the longest time between two looks: a judge that says the same however often it looks, and which asks for
    the looks that it needs (`next_look`), may have it infinite.
    """

    model: TrafficModel = field(factory=TrafficModel)
    weight: float = 0.5
    seconds: float = 3600.0
    until: Literal["safe", "budget"] = "safe"
    step: float = 1.0


def watch(judge: JudgeDriver, watched: Watch, rng: Random) -> Course:
    """Show one course to a judge: every bad event when it happens, and a look in between as often as is asked for.

    Raises `InvalidRequestError` for a judge that is asynchronous: virtual time waits for nobody.
    """
    traffic = Traffic(watched.model, rng)
    traffic.weight = watched.weight
    base = traffic.measure()
    while True:
        seen = evolve(traffic.measure(), base=base)
        said = settle_now(judge.observe(seen))
        if said.harm or (said.safe and watched.until == "safe"):
            return Course("harm" if said.harm else "safe", seen.at, seen.new.errors)
        if seen.at >= watched.seconds:
            return Course("", seen.at, seen.new.errors)
        asked = getattr(judge, "next_look", None)
        later = asked if asked is not None and asked > seen.at else math.inf
        traffic.advance(min(watched.seconds, seen.at + watched.step, traffic.next_event, later))


@frozen
class Courses:
    """How many courses went, each with another seed."""

    courses: tuple[Course, ...]

    def said(self, what: str) -> tuple[Course, ...]:
        """Return those in which this was said: harm, safe or ""."""
        return tuple(one for one in self.courses if one.said == what)

    def share(self, what: str) -> float:
        """Return the part of the courses in which this was said."""
        return len(self.said(what)) / len(self.courses)

    def median_at(self, what: str) -> float:
        """Return when it was said in half of all courses: infinity when it was said in fewer."""
        return median(one.at if one.said == what else math.inf for one in self.courses)

    def mean_bad_calls(self) -> float:
        """Return how many bad calls the new version had until something was said, on average."""
        return sum(one.bad_calls for one in self.courses) / len(self.courses)


def watch_many(
    make: Callable[[], JudgeDriver],
    watched: Watch,
    *,
    runs: int,
    seed: int = 1,
    jobs: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Courses:
    """Watch many courses on as many processors as there are; the same seed gives the same courses.

    `make` makes a judge for each; it must be a class, or a partial of one. `progress` is told how many are done.
    """
    workers = jobs or os.cpu_count() or 1
    courses: list[Course] = []
    for some in _in_chunks(make, watched, seed, range(runs), workers):
        courses += some
        if progress is not None:
            progress(len(courses))
    return Courses(tuple(courses))


def _in_chunks(
    make: Callable[[], JudgeDriver], watched: Watch, seed: int, runs: range, workers: int
) -> Iterator[Sequence[Course]]:
    size = max(1, -(-len(runs) // (workers * _CHUNKS_EACH)))
    chunks = [runs[start : start + size] for start in range(0, len(runs), size)]
    some = partial(_some, make, watched, seed)
    if workers == 1 or len(chunks) == 1:
        yield from map(some, chunks)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(some, chunks)


def _some(make: Callable[[], JudgeDriver], watched: Watch, seed: int, runs: range) -> list[Course]:
    return [watch(make(), watched, Random(f"{seed}/{run}")) for run in runs]  # noqa: S311 - no secret is drawn


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Return Wilson's interval at 95 % for a share."""
    share, z = hits / of, _NORMAL_95
    middle = share + z * z / (2.0 * of)
    around = z * math.sqrt(share * (1.0 - share) / of + z * z / (4.0 * of * of))
    whole = 1.0 + z * z / of
    return (middle - around) / whole, (middle + around) / whole
