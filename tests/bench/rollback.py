"""Going back while the old version is warm, against the commit: both as `RuntimeSwap` carries them out."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable

from measuring import Options, Reading, collector_off, pair_ratio, timed
from subjects import Subject, functions_source, service_source

from noodle_upgrade_runtime.generation import GenerationEngine
from noodle_upgrade_runtime.handles import Handles, handle
from noodle_upgrade_runtime.swap import RuntimeSwap

__all__ = ["measure"]

HANDLES = 50


def measure(options: Options) -> list[Reading]:
    """Commit and go back, each change staged anew; the mechanism with the worse ratio is the row."""
    found = {"patch": _both(options, _patch), "generation": _both(options, _generation)}
    ratios = {name: pair_ratio(back, there) for name, (there, back) in found.items()}
    name = max(ratios, key=lambda one: ratios[one])
    there, back = found[name]
    told = "; ".join(
        f"{one}: commit {statistics.median(there) / 1000:.1f} us, back {statistics.median(back) / 1000:.1f} us"
        for one, (there, back) in found.items()
    )
    value, reference = statistics.median(back) / 1000, statistics.median(there) / 1000
    return [Reading(name="rollback_vs_commit", value=value, reference=reference, ratio=ratios[name], note=told)]


def _both(
    options: Options, stage: Callable[[Options, int], tuple[RuntimeSwap, object]]
) -> tuple[list[float], list[float]]:
    there, back = [], []
    for number in range(options.rounds):
        swap, held = stage(options, number)
        with collector_off():
            there.append(timed(swap.shift, 1.0) + timed(swap.commit))
            back.append(timed(swap.revert))
        del held
    return there, back


def _patch(options: Options, number: int) -> tuple[RuntimeSwap, object]:
    count = options.most(500, 50)
    subject = Subject(options.folder / f"patch{number}", f"patched{number}", functions_source(count))
    subject.run(1)
    return subject.stage(1, 2), importlib.import_module(subject.name)


def _generation(options: Options, number: int) -> tuple[RuntimeSwap, object]:
    handles = Handles()
    subject = Subject(options.folder / f"generation{number}", f"generated{number}", service_source)
    subject.run(1)
    held = [handle(subject.name, f"{subject.name}:Service", handles=handles) for _ in range(HANDLES)]
    return subject.stage(1, 2, engine=GenerationEngine(handles=handles)), held
