"""Thousands of upgrades of one component in a row: what a call costs then, and what memory each has left behind."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import statistics
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import Options, Reading, alternately, call_loop, collector_off, pair_ratio
from subjects import Subject, service_source

from noodle_upgrade_runtime.generation import GenerationEngine
from noodle_upgrade_runtime.handles import Handles, handle
from noodle_upgrade_runtime.patch.patch import PatchEngine
from noodle_upgrade_runtime.swap import RuntimeSwap

__all__ = ["measure"]

MOST_MEMORY = 512 << 20


def measure(options: Options) -> list[Reading]:
    """Upgrade over and over with both mechanisms; the worse one of each row counts."""
    total = options.most(2_000, 100)
    ratios, kept, notes = {}, {}, []
    times = {}
    for mechanism in ("patch", "generation"):
        loops, held, upgrades = _make(options, mechanism)
        calls = alternately(loops, rounds=20 * options.rounds)
        before = pair_ratio(calls["through"], calls["direct"])
        first = upgrades.make(total - total // 10)
        kept[mechanism], rest = _kept(upgrades, total // 10)
        with collector_off():
            calls = alternately({**loops, "through": held()}, rounds=20 * options.rounds)
        after = pair_ratio(calls["through"], calls["direct"])
        ratios[mechanism] = after / before
        times[mechanism] = [statistics.median(calls[name]) for name in ("through", "direct")]
        stopped = "" if first + rest == total else f" (ended there: they had taken {MOST_MEMORY >> 20} MiB)"
        notes.append(
            f"{mechanism}: {first + rest:,} upgrades{stopped}, call {before:.3f}x before, {after:.3f}x after,"
            f" {kept[mechanism]:,.0f} B an upgrade"
        )
    worst = max(ratios, key=lambda one: ratios[one])
    heavy = max(kept, key=lambda one: kept[one])
    value, reference = times[worst]
    told = "; ".join(notes)
    return [
        Reading(name="many_upgrades_call", value=value, reference=reference, ratio=ratios[worst], note=told),
        Reading(
            name="many_upgrades_bytes", value=kept[heavy], note=f"memory still allocated; {heavy} is the worse one"
        ),
    ]


Loop = Callable[[], float]


def _make(options: Options, mechanism: str) -> tuple[dict[str, Loop], Callable[[], Loop], _Upgrades]:
    """Return loops for a call through it and a direct one, a fresh loop for later, and what upgrades it n times."""
    subject, plain = (Subject(options.folder, f"{mechanism}_{name}", service_source) for name in ("many", "plain"))
    subject.run(1)
    plain.run(1)
    twin = importlib.import_module(plain.name).Service()
    handles = Handles()
    if mechanism == "patch":
        target: Any = importlib.import_module(subject.name).Service()
    else:
        target = handle(subject.name, f"{subject.name}:Service", handles=handles)
    times = options.most(2_000, 200)
    through = call_loop("target.step(7)", times=times, target=target)
    loops = {"through": through, "direct": call_loop("target.step(7)", times=times, target=twin)}
    upgrades = _Upgrades(subject, lambda: PatchEngine() if mechanism == "patch" else GenerationEngine(handles=handles))
    return loops, lambda: call_loop("target.step(7)", times=times, target=target), upgrades


class _Upgrades:
    """One upgrade after the other, letting go of the version before as the runtime does."""

    def __init__(self, subject: Subject, engine: Callable[[], Any]) -> None:
        self._subject = subject
        self._engine = engine
        self._number = 1
        self._before: RuntimeSwap | None = None

    def make(self, count: int) -> int:
        """Make this many, or fewer where they take too much memory; returns how many."""
        start = _resident()
        for number in range(count):
            if _resident() - start > MOST_MEMORY:
                gc.collect()
                if _resident() - start > MOST_MEMORY:
                    return number
            swap = self._subject.stage(self._number, self._number + 1, engine=self._engine())
            swap.shift(1.0)
            swap.commit()
            if self._before is not None:
                self._before.release()
                shutil.rmtree(self._subject.tree(self._number - 1))
            self._before, self._number = swap, self._number + 1
        return count

    def let_go(self) -> None:
        """Let go of the version before as well: nothing is held for going back any more."""
        if self._before is not None:
            self._before.release()
            self._before = None


def _kept(upgrades: _Upgrades, count: int) -> tuple[float, int]:
    """Make upgrades, and return the bytes that each has left allocated, and how many there were.

    What is held for going back is let go of on both sides: it is megabytes once, not a little each time. Resident
    memory would not do: arenas come and go by more than all upgrades leave.
    """
    upgrades.let_go()
    tracemalloc.start(1)
    try:
        upgrades.make(2)
        upgrades.let_go()
        before = _traced()
        done = upgrades.make(count - 2)
        upgrades.let_go()
        return max(0.0, (_traced() - before) / max(1, done)), done + 2
    finally:
        tracemalloc.stop()


def _traced() -> int:
    for _ in range(3):
        gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _resident() -> float:
    return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
