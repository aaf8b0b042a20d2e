"""The commit of 500 bindings, and whether a reader ever sees a mixture of them."""

from __future__ import annotations

import collections
import importlib
import itertools
import operator
import statistics
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import define
from measuring import Options, Reading, collector_off, timed
from subjects import Subject, functions_source

from noodle_upgrade_runtime.operations import Operation, Script, Tuning

__all__ = ["measure"]

BINDINGS = 500
PAUSE_SECONDS = 0.0005


def measure(options: Options) -> list[Reading]:
    """Measure the commit of fresh stagings, then read without a pause while commits and undos go on."""
    firsts, shifts, again, limits, tunings = [], [], [], [], []
    for number in range(options.most(options.rounds, 2)):
        subject = Subject(options.folder / str(number), f"fable{number}", functions_source(BINDINGS))
        subject.run(1)
        importlib.import_module(subject.name)
        (part,) = subject.stage(1, 2).parts
        with collector_off():
            # As in a real commit, which plans its operations last: what is stored to has just been looked at.
            made = part.operations()
            script = Script(made)
            firsts.append(timed(partial(script.apply, tuned=False)))
            tunings.append(timed(script.tune))
            script.revert()
            again.append(timed(partial(script.apply, tuned=False)))
            script.revert()
        with collector_off():
            stores = _limit(part.operations())
            limits.append(timed(stores))
            Script(made).trial()
        with collector_off():
            shifts.append(timed(subject.stage(1, 3).shift, 1.0))
        if len(made) < BINDINGS:
            raise RuntimeError(f"{len(made)} operations are no commit of {BINDINGS} bindings")
    name = f"fable{options.most(options.rounds, 2)}"
    torn, note = _torn(options, Subject(options.folder / name, name, functions_source(BINDINGS)))
    value, limit = statistics.median(firsts) / 1000, statistics.median(limits) / 1000
    told = (
        f"{len(made)} operations of the patch engine, the first time; again {statistics.median(again) / 1000:.1f} us;"
        f" RuntimeSwap.shift around it {statistics.median(shifts) / 1e6:.1f} ms; reference: the same stores alone"
        + (
            f"; calls made fast behind it in {statistics.median(tunings) / 1000:.0f} us"
            if sys.version_info >= (3, 13)
            else ""
        )
    )
    return [
        Reading(name="commit_500", value=value, reference=limit, ratio=value / limit, note=told),
        Reading(name="commit_500_torn", value=float(torn), reference=0.0, note=note),
    ]


def _limit(made: Sequence[Operation]) -> Callable[[], object]:
    """Return the least that these stores can cost, and leave them made."""
    calls = [operation.do for operation in made if not isinstance(operation, Tuning)]
    return lambda: collections.deque(itertools.starmap(operator.call, calls), maxlen=0)


@define
class _Reader:
    """Reads the first, a middle and the last binding of a commit, in a thread of its own.

    The three reads are one step of C code, as the commit is: a mixture in them is a commit that was seen half made.
    """

    namespace: dict[str, Any]
    names: tuple[str, ...]
    most: int
    reads: int = 0
    torn: int = 0
    turns: int = 0

    def run(self) -> None:
        """Read until there have been enough."""
        code_of, get, names = operator.attrgetter("__code__"), self.namespace.__getitem__, self.names
        first_old, middle_old, last_old = map(code_of, map(get, names))
        before = True
        while self.reads < self.most:
            torn = turns = 0
            for _ in range(10_000):
                first, middle, last = map(code_of, map(get, names))
                is_old = first is first_old
                if (middle is middle_old) is not is_old or (last is last_old) is not is_old:
                    torn += 1
                if is_old is not before:
                    before = is_old
                    turns += 1
            self.reads += 30_000
            self.torn += torn
            self.turns += turns


def _torn(options: Options, subject: Subject) -> tuple[int, str]:
    subject.run(1)
    module = importlib.import_module(subject.name)
    (part,) = subject.stage(1, 2).parts
    script = Script(part.operations())
    names = tuple(f"function_{index}" for index in (0, BINDINGS // 2, BINDINGS - 1))
    reader = _Reader(vars(module), names, options.most(30_000_000, 300_000))
    thread = threading.Thread(target=reader.run, name="reader")
    interval, commits, idle = sys.getswitchinterval(), 0, threading.Event()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        while thread.is_alive():
            script.apply()
            idle.wait(PAUSE_SECONDS)
            script.revert()
            idle.wait(PAUSE_SECONDS)
            commits += 1
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    if not reader.turns:
        raise RuntimeError("the reader saw no commit at all")
    return reader.torn, (
        f"{reader.reads:,} reads in {reader.reads // 3:,} looks at three bindings each, {commits:,} commits and as many"
        f" undos, {reader.turns:,} of them seen between two looks"
    )
