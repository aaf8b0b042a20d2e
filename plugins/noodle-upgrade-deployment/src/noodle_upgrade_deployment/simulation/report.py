"""A simulation as a whole: a strategy and a judge over a good new version and over a worse one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from noodle_upgrade_core import JudgeDriver, Strategy
from noodle_upgrade_deployment.simulation.many import SAMPLES, Samples, simulate_many
from noodle_upgrade_deployment.simulation.rates import Rates, rates_of
from noodle_upgrade_deployment.simulation.rollouts import Course, Scenario

__all__ = ["Report", "Version", "simulate_with"]


@frozen(kw_only=True)
class Version:
    """One new version: what its rollouts came to, when each harm was found in seconds, and some courses in full."""

    rates: Rates
    found_at: tuple[float, ...]
    courses: tuple[Course, ...]

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON values; of the rollouts themselves only those that are told in full."""
        return {**self.rates.to_wire(), "courses": [_course(one) for one in self.courses]}


@frozen(kw_only=True)
class Report:
    """A simulation: `subject` says in words and numbers what was simulated.

    Of the `good` version, which is no worse than the old one, harm is a false rollback; of the `bad` one it is what one
    wants. Each is None where it was not simulated.
    """

    subject: Mapping[str, Any]
    seed: int
    runs: int
    good: Version | None = None
    bad: Version | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON values; the same simulation gives the same document."""
        return {
            "subject": dict(self.subject),
            "seed": self.seed,
            "runs": self.runs,
            "good": None if self.good is None else self.good.to_wire(),
            "bad": None if self.bad is None else self.bad.to_wire(),
        }


def simulate_with(
    strategy_factory: Callable[[], Strategy],
    judge_factory: Callable[[], JudgeDriver],
    *,
    good: Scenario | None,
    bad: Scenario | None,
    runs: int,
    seed: int = 1,
    processes: int | None = None,
    samples: Samples = SAMPLES,
    subject: Mapping[str, Any] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """Simulate a strategy and a judge, made anew for each rollout, over a good new version and over a bad one.

    `progress` is told how many rollouts are done, of both together. Raises as `simulate` and `simulate_many` do.
    """
    told = 0

    def version(scenario: Scenario | None) -> Version | None:
        nonlocal told
        if scenario is None:
            return None
        before = told
        courses = simulate_many(
            strategy_factory,
            judge_factory,
            scenario,
            runs=runs,
            seed=seed,
            processes=processes,
            samples=samples,
            progress=None if progress is None else lambda done: progress(before + done),
        )
        told += len(courses)
        found = tuple(sorted(one.at for one in courses if one.end == "harm"))
        return Version(rates=rates_of(courses), found_at=found, courses=courses[: samples.runs])

    return Report(subject=subject or {}, seed=seed, runs=runs, good=version(good), bad=version(bad))


def _course(course: Course) -> dict[str, Any]:
    return {
        "end": course.end,
        "at": course.at,
        "back_at": course.back_at,
        "reasons": list(course.reasons),
        "bad_calls": course.bad_calls,
        "new_calls": course.new_calls,
        "old_calls": course.old_calls,
        "share": course.share,
        "shares": [list(note) for note in course.shares],
        "evidence": [[at, dict(numbers)] for at, numbers in course.evidence],
        "fleet": None if course.fleet is None else course.fleet.to_wire(),
    }
