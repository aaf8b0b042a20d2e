"""Very many rollouts, on as many processors as there are."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from random import Random

from attrs import frozen

from noodle_upgrade_core import JudgeDriver, Strategy
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.simulation.rollouts import Course, Scenario, simulate

__all__ = ["SAMPLES", "Samples", "simulate_many"]

_CHUNKS_EACH = 16


@frozen
class Samples:
    """The first `runs` of many courses are told in full, with at most `notes` each of shares and evidence."""

    runs: int = 5
    notes: int = 100


SAMPLES = Samples()
"""A handful."""


def simulate_many(
    make_strategy: Callable[[], Strategy],
    make_judge: Callable[[], JudgeDriver],
    scenario: Scenario,
    *,
    runs: int,
    seed: int = 1,
    processes: int | None = None,
    samples: Samples = SAMPLES,
    progress: Callable[[int], object] | None = None,
) -> tuple[Course, ...]:
    """Simulate many rollouts; the same seed gives the same courses, however many processes there are.

    Each has a strategy and a judge of its own. With more than one process what makes them must be a class, a function
    of a module, or a partial of these. `progress` is told how many are done. Raises as `simulate` does.
    """
    if runs < 1:
        raise InvalidRequestError(f"runs must be above 0, got {runs}.")
    workers = min(runs, processes or os.cpu_count() or 1)
    job = _Job(make_strategy=make_strategy, make_judge=make_judge, scenario=scenario, seed=seed, samples=samples)
    size = max(1, -(-runs // (workers * _CHUNKS_EACH)))
    chunks = [range(start, min(runs, start + size)) for start in range(0, runs, size)]
    courses: list[Course] = []
    for done in map(job.carry_out, chunks) if workers == 1 else _shared(job, chunks, workers):
        courses += done
        if progress is not None:
            progress(len(courses))
    return tuple(courses)


@frozen(kw_only=True)
class _Job:
    """What is simulated very often: a value that can be sent to another process."""

    make_strategy: Callable[[], Strategy]
    make_judge: Callable[[], JudgeDriver]
    scenario: Scenario
    seed: int
    samples: Samples

    def carry_out(self, runs: range) -> list[Course]:
        """Simulate some of the runs."""
        return [self._course(run) for run in runs]

    def _course(self, run: int) -> Course:
        rng = Random(f"{self.seed}/{run}")  # noqa: S311 - no secret is drawn
        kept = self.samples.notes if run < self.samples.runs else 0
        return simulate(self.make_strategy(), self.make_judge(), self.scenario, rng, kept=kept)


def _shared(job: _Job, chunks: Sequence[range], workers: int) -> Iterator[Sequence[Course]]:
    try:
        pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidRequestError(
            f"What makes the strategy or the judge cannot be sent to another process: {error}",
            hint="Make it a class or a function of a module, or use one process.",
        ) from error
    pool = ProcessPoolExecutor(workers)
    try:
        yield from pool.map(job.carry_out, chunks)
    finally:
        # Who gives up, or finds an error in the first of them, does not want the others.
        pool.shutdown(cancel_futures=True)
