"""Traffic for judges: measurements of two versions that serve beside one another, with bad calls where they are wanted."""

from __future__ import annotations

import random
from collections.abc import Iterator

from attrs import define, evolve

from noodle_upgrade_core import Arm, Measurement
from noodle_upgrade_core.staged import LATENCY_BOUNDS, bucket_of

BUCKETS = len(LATENCY_BOUNDS) + 1


def arm(
    version: str, calls: int, errors: int = 0, *, slow: int = 0, seconds: float = 0.001, stalled: float = 0.0
) -> Arm:
    """An arm whose calls took a millisecond, and `slow` of them a second."""
    latency = [0] * BUCKETS
    latency[bucket_of(seconds)] += calls - slow
    latency[bucket_of(1.0)] += slow
    said = "HTTP 500" if errors else ""
    return Arm(version=version, calls=calls, errors=errors, latency=tuple(latency), stalled=stalled, last_error=said)


def seen(at: float, old: tuple[int, ...], new: tuple[int, ...], *, weight: float = 0.5, **more: object) -> Measurement:
    """A measurement: each version with calls, errors and slow calls."""
    made = []
    for version, counts in (("1", old), ("2", new)):
        calls, errors, slow = (*counts, 0, 0)[:3]
        made.append(arm(version, calls, errors, slow=slow))
    return Measurement(at=at, weight=weight, old=made[0], new=made[1], **more)  # type: ignore[arg-type]


def at_share(begin: Measurement, now: Measurement) -> Measurement:
    """The measurement as a conductor shows it: with the counts at the moment when the share was set."""
    return evolve(now, base=begin)


def poisson(rng: random.Random, mean: float) -> int:
    count, left = 0, rng.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count


@define
class Traffic:
    """Two versions with steady calls, and bad ones by chance; the same seed gives the same traffic.

    `clump` is how often a client tries on average until it goes away, each time in vain.
    """

    rate: float = 10.0
    bad: float = 0.005
    worse: float = 1.0
    clump: float = 1.0
    seed: int = 1

    def moments(self, seconds: float, *, step: float = 0.1) -> Iterator[Measurement]:
        """Measurements every `step` seconds, at equal shares."""
        rng = random.Random(self.seed)
        begin = seen(0.0, (0,), (0,))
        errors, again = [0, 0], [0, 0]
        for look in range(1, int(seconds / step) + 1):
            calls = int(self.rate * look * step)
            for version, share in enumerate((self.bad, self.bad * self.worse)):
                for _ in range(poisson(rng, self.rate * step * share / self.clump)):
                    errors[version] += 1
                    while self.clump > 1.0 and rng.random() > 1.0 / self.clump:
                        errors[version] += 1
                        again[version] += 1
            old, new = ((calls + again[version], errors[version]) for version in (0, 1))
            yield at_share(begin, seen(look * step, old, new))
