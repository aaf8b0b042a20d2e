"""How often judges are wrong, and how soon they are right: ours, and those of other tools, on the same made-up traffic.

One call in two hundred fails, shares are equal, and a rate is that of each version. Fixed seeds; ours has ten thousand
courses a cell, the others two thousand.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import Random

from attrs import evolve
from measuring import Options, Reading, clock, collector_off

from noodle_upgrade_core import JudgeDriver, Measurement
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.judging.mannwhitney import MannWhitney
from noodle_upgrade_deployment.judging.threshold import Threshold
from noodle_upgrade_deployment.simulation.traffic import Disturbance, Traffic, TrafficModel
from noodle_upgrade_deployment.simulation.watching import Courses, Watch, watch_many, wilson

__all__ = ["detection", "false_alarms", "promotion", "updates"]

HOUR = 3600.0
RATES = (1.0, 10.0, 100.0)
COURSE_SECONDS = {1.0: HOUR, 10.0: HOUR, 100.0: HOUR / 6.0}
"""A share that gets a hundred calls a second is safe after four minutes: nobody watches it for an hour."""
OURS = partial(Betting, metrics=("errors",))
KAYENTA = "Kayenta's every 5 min"
PEERS: Mapping[str, Callable[[], JudgeDriver]] = {
    "Argo's limit 0": partial(Threshold, error_share=0.01, failures=0, passes=10**9),
    "Flagger's documented settings": partial(Threshold, error_share=0.01, failures=4, passes=10**9),
    KAYENTA: partial(MannWhitney, lifetime=1e9),
}


def false_alarms(options: Options) -> list[Reading]:
    """A good version is watched: how often is it taken back? The worst of three rates counts."""
    return [_false_alarm(options, name, models) for name, models in _good_versions().items()]


def _good_versions() -> dict[str, dict[float, TrafficModel]]:
    models = {rate: TrafficModel(rate=2.0 * rate) for rate in RATES}
    return {
        "false_plain": models,
        "false_clumped": {rate: evolve(model, clump=5.0) for rate, model in models.items()},
        "false_incident": {
            rate: evolve(model, disturbances=_incidents(COURSE_SECONDS[rate])) for rate, model in models.items()
        },
    }


def _incidents(seconds: float) -> tuple[Disturbance, ...]:
    """Two times in which both versions are eight times as bad, each a twelfth of the course."""
    return tuple(Disturbance(begin=part * seconds, seconds=seconds / 12.0, times=8.0) for part in (0.2, 0.6))


def _false_alarm(options: Options, name: str, models: Mapping[float, TrafficModel]) -> Reading:
    runs = options.most(10_000, 20)
    shares, words = [], []
    for rate, model in models.items():
        harmed = len(_watched(OURS, model, COURSE_SECONDS[rate], runs).said("harm"))
        shares.append(100.0 * harmed / runs)
        words.append(f"{rate:g}/s {shares[-1]:.2f} % (at most {100.0 * wilson(harmed, runs)[1]:.2f} %)")
    others = [
        f"{peer} {100.0 * _watched(make, models[10.0], HOUR, options.most(2_000, 5)).share('harm'):.1f} %"
        for peer, make in PEERS.items()
    ]
    return Reading(name=name, value=max(shares), note=f"{'; '.join(words)}. At 10/s: {'; '.join(others)}")


def detection(options: Options) -> list[Reading]:
    """A version that is 10, 4 and 2 times as bad: how long until it is taken back, and at what price?"""
    readings = []
    for times, seconds in ((10.0, 600.0), (4.0, 1800.0), (2.0, HOUR)):
        model = TrafficModel(rate=20.0, worse=times)
        ours = _watched(OURS, model, seconds, options.most(10_000, 20))
        peers = {name: _watched(make, model, HOUR, options.most(2_000, 5)) for name, make in PEERS.items()}
        words = [f"found in {ours.share('harm'):.1%}", *(_found(name, peer) for name, peer in peers.items())]
        readings.append(Reading(name=f"detect_{times:g}x", value=ours.median_at("harm"), note="; ".join(words)))
        if times == 10.0:
            readings.append(_against(ours, peers[KAYENTA]))
    return readings


def _found(name: str, courses: Courses) -> str:
    at = courses.median_at("harm")
    when = "in fewer than half" if math.isinf(at) else f"{at:.0f} s"
    return f"{name} {when}, found in {courses.share('harm'):.1%}"


def _against(ours: Courses, kayenta: Courses) -> Reading:
    mine, theirs = _bad_calls(ours), _bad_calls(kayenta)
    told = f"medians; on average {ours.mean_bad_calls():.1f} and {kayenta.mean_bad_calls():.1f}"
    return Reading(name="harm_vs_kayenta", value=mine, reference=theirs, ratio=mine / theirs, note=told)


def _bad_calls(courses: Courses) -> float:
    return float(statistics.median(course.bad_calls for course in courses.courses))


def promotion(options: Options) -> list[Reading]:
    """A good version at a hundred calls a second: how long until it may have more?"""
    runs = options.most(10_000, 20)
    watched = Watch(model=TrafficModel(rate=200.0), seconds=HOUR / 2.0)
    good = watch_many(OURS, watched, runs=runs)
    bad = watch_many(OURS, evolve(watched, model=TrafficModel(rate=200.0, worse=1.5)), runs=runs)
    told = (
        f"safe {good.share('safe'):.2%}, harm {good.share('harm'):.2%};"
        f" one that is 1.5 times as bad is called safe in {bad.share('safe'):.2%}"
    )
    return [Reading(name="promote_good", value=good.median_at("safe"), note=told)]


def _watched(make: Callable[[], JudgeDriver], model: TrafficModel, seconds: float, runs: int) -> Courses:
    watched = Watch(model=model, seconds=seconds, until="budget", step=math.inf)
    return watch_many(make, watched, runs=runs)


def updates(options: Options) -> list[Reading]:
    """One look of the judge with both of its metrics, ten a second, at a hundred calls a second."""
    looks = list(_looks(options.most(20_000, 1_000)))
    both, alone = ([_update(make, looks) for _ in range(options.rounds)] for make in (Betting, OURS))
    told = f"errors alone {statistics.median(alone):.2f} us"
    return [Reading(name="judge_update", value=statistics.median(both), note=told)]


def _looks(count: int) -> Iterator[Measurement]:
    traffic = Traffic(TrafficModel(rate=200.0, slow=0.01), Random(1))
    traffic.weight = 0.5
    base = traffic.measure()
    for look in range(1, count + 1):
        traffic.advance(look / 10.0)
        yield evolve(traffic.measure(), base=base)


def _update(make: Callable[[], JudgeDriver], looks: list[Measurement]) -> float:
    judge = make()
    with collector_off():
        started = clock()
        for seen in looks:
            judge.observe(seen)
        return (clock() - started) / len(looks) / 1000.0
