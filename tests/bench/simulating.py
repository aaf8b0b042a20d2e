"""How long simulated rollouts take, and how often a good version is taken back in a whole one.

The strategy, the judge and the conductor are those of real rollouts.
"""

from __future__ import annotations

import statistics
from functools import partial
from random import Random

from measuring import Options, Reading, clock

from noodle_upgrade_core.strategies import Gradual
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.simulation.fleet import FleetModel
from noodle_upgrade_deployment.simulation.many import Samples, simulate_many
from noodle_upgrade_deployment.simulation.rates import rates_of
from noodle_upgrade_deployment.simulation.rollouts import Course, MadeUp, Scenario, simulate
from noodle_upgrade_deployment.simulation.traffic import TrafficModel

__all__ = ["million", "whole_rollouts"]

STRATEGY = partial(Gradual, percentage=10.0, bake=60.0)
FLEET = FleetModel(replicas=1_000_000, domains=3, start=30.0, surge=0.05, fails=0.001)


def million(options: Options) -> list[Reading]:
    """Ten steps over a million replicas, 5 % of them at a time, at ten thousand calls a second."""
    scenario = Scenario(calls=MadeUp(TrafficModel(rate=10_000.0)), fleet=FLEET)
    took, courses = [], []
    for _ in range(options.most(3, 1)):
        began = clock()
        courses.append(simulate(STRATEGY(), Betting(), scenario, Random(1)))
        took.append((clock() - began) / 1e9)
    return [Reading(name="simulate_million", value=statistics.median(took), note=_told(courses[0]))]


def _told(course: Course) -> str:
    fleet = course.fleet
    if fleet is None or not course.promoted:
        raise AssertionError(f"the rollout ended with {course.end!r}: {course.reasons}")
    return (
        f"{fleet.changed:,} changed in {course.at / 60.0:.0f} min of its time; {fleet.capacity:.2%} of the capacity was there"
        f" at worst; at most {fleet.in_flux:,} changed at once, {fleet.across:,} in more than one domain"
    )


def whole_rollouts(options: Options) -> list[Reading]:
    """Ten steps of a minute at a hundred calls a second, of a good version."""
    scenario = Scenario(calls=MadeUp(TrafficModel(rate=100.0)))
    runs = options.most(2_000, 20)
    rates = rates_of(simulate_many(STRATEGY, Betting, scenario, runs=runs, samples=Samples(runs=0)))
    told = f"{rates.harm.hits} of {runs} (at most {rates.harm.bounds[1]:.2%}); promoted after {rates.to_promote.median:.0f} s"
    return [Reading(name="false_rollout", value=100.0 * rates.harm.value, note=told)]
