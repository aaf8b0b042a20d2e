"""How everything here is measured: medians of interleaved rounds, with the collector switched off."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from attrs import field, frozen

__all__ = [
    "Options",
    "Peer",
    "Reading",
    "alternately",
    "call_loop",
    "clock",
    "collector_off",
    "pair_ratio",
    "play",
    "timed",
]

HERE = Path(__file__).resolve().parent
clock = time.perf_counter_ns


@frozen(kw_only=True)
class Options:
    """What a measurement is asked for: `folder` is its own and empty; `quick` is for looking whether it works."""

    rounds: int
    quick: bool
    folder: Path

    def most(self, full: int, quick: int) -> int:
        """Return one of two sizes."""
        return quick if self.quick else full


@frozen(kw_only=True)
class Reading:
    """One row as it was measured, in the row's unit; `value` None means not measured, and `note` says why."""

    name: str
    value: float | None = None
    reference: float | None = None
    ratio: float | None = None
    note: str = ""


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collect now, and not inside the block."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def timed(function: Callable[..., Any], *args: Any) -> float:
    """Return how many nanoseconds one call takes, the collector left as it is."""
    started = clock()
    function(*args)
    return float(clock() - started)


_LOOP = """
def loop({names}):
    for _ in range({times}):
        {body}
    return None
"""


def call_loop(expression: str, *, times: int, **names: Any) -> Callable[[], float]:
    """Return a function that evaluates an expression 10 * `times` times and gives nanoseconds for one evaluation.

    Each has a code object of its own: specialisation is per code object, and one loop for two subjects would measure
    whatever the first one left behind. The time is that of this thread alone, so that other programs count little.
    """
    namespace: dict[str, Any] = {}
    body = "; ".join([expression] * 10)
    exec(_LOOP.format(names=", ".join(names), times=times, body=body), namespace)
    loop, values = namespace["loop"], tuple(names.values())

    def measure() -> float:
        started = time.thread_time_ns()
        loop(*values)
        return (time.thread_time_ns() - started) / (10 * times)

    measure()  # specialised and warm from here on
    return measure


def alternately(pieces: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Measure each piece once a round, in turned order every other round: a slow second hits all of them alike."""
    found: dict[str, list[float]] = {name: [] for name in pieces}
    order = list(pieces)
    for number in range(rounds):
        for name in order if number % 2 == 0 else reversed(order):
            found[name].append(pieces[name]())
    return found


def pair_ratio(found: Sequence[float], reference: Sequence[float]) -> float:
    """Return the median of the ratios of what was measured in the same round."""
    return statistics.median(one / other for one, other in zip(found, reference, strict=True))


# --- pieces in processes of their own --------------------------------------------------------------------------------

Rounds = Generator[Any, None, None]


@frozen
class Peer:
    """A process that measures one piece, a round whenever it is asked: rounds of several peers can be interleaved.

    `piece` is `module:function`: a generator that yields None when it is ready, then one JSON value a round.
    """

    piece: str
    _process: subprocess.Popen[str]
    _answers: Any = field(repr=False)

    @classmethod
    def start(cls, piece: str, folder: Path, *, environ: Mapping[str, str] | None = None) -> Self:
        """Start it, and wait until it is ready. Raises `RuntimeError` with its last words."""
        folder.mkdir(parents=True, exist_ok=True)
        read, write = os.pipe()
        with (folder / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "bench.py"), "--piece", piece, str(folder), str(write)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(write,),
                env={**os.environ, **(environ or {})},
                text=True,
            )
        os.close(write)
        made = cls(piece, process, os.fdopen(read))
        made._answer(folder)
        return made

    def round(self, folder: Path) -> Any:
        """Have one round measured."""
        if self._process.stdin is None:
            raise RuntimeError("a peer without an input")
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer(folder)

    def _answer(self, folder: Path) -> Any:
        line = self._answers.readline()
        if not line:
            self._process.wait(60)
            words = (folder / "output.txt").read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"{self.piece}: {words[-1] if words else 'it ended without a word'}")
        return json.loads(line)

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def play(rounds: Rounds, answers: int) -> None:
    """Be the other side of a `Peer`: measure a round for each line of the standard input."""
    with os.fdopen(answers, "w", buffering=1) as out:
        out.write(json.dumps(next(rounds)) + "\n")
        for _ in sys.stdin:
            out.write(json.dumps(next(rounds)) + "\n")
    rounds.close()
