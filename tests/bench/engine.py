"""A 200-function module changes: the patch engine alone against jurigged and importlib.reload, a process each."""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import sys
from collections.abc import Generator
from pathlib import Path

from measuring import Options, Peer, Reading, clock, collector_off, pair_ratio, timed
from subjects import Subject, functions_source

from noodle_upgrade_runtime.swap import RuntimeSwap

__all__ = ["jurigged", "measure", "ours", "reload"]

FUNCTIONS = 200
PEERS = ("ours", "jurigged", "reload")


def measure(options: Options) -> list[Reading]:
    """Have each change its module once a round, from one version to the next, source to running code."""
    missing = {} if importlib.util.find_spec("jurigged") else {"jurigged": "jurigged is not installed"}
    peers = {name: Peer.start(f"engine:{name}", options.folder / name) for name in PEERS if name not in missing}
    found: dict[str, list[float]] = {name: [] for name in peers}
    parts: list[dict[str, float]] = []
    try:
        for number in range(options.most(options.rounds, 3)):
            for name in peers if number % 2 == 0 else reversed(peers):
                answer = peers[name].round(options.folder / name)
                found[name].append(answer["ms"])
                if name == "ours":
                    parts.append(answer)
    finally:
        for peer in peers.values():
            peer.stop()
    value = statistics.median(found["ours"])
    told = "; ".join(f"{name} {statistics.median(part[name] for part in parts):.2f} ms" for name in ("stage", "commit"))
    return [_row(f"upgrade_vs_{name}", value, found, name, missing.get(name, told)) for name in PEERS[1:]]


def _row(row: str, value: float, found: dict[str, list[float]], name: str, note: str) -> Reading:
    if name not in found:
        return Reading(name=row, note=f"not measured: {note}")
    reference = statistics.median(found[name])
    return Reading(name=row, value=value, reference=reference, ratio=pair_ratio(found["ours"], found[name]), note=note)


# --- the three, each in its process ----------------------------------------------------------------------------------

Rounds = Generator[dict[str, float] | None, None, None]


def ours(folder: Path) -> Rounds:
    """Stage and commit with the patch engine; the version before the last is let go of, as the runtime does."""
    subject = Subject(folder, "fable", functions_source(FUNCTIONS))
    subject.run(1)
    module = importlib.import_module("fable")
    yield None
    number = 1
    before: RuntimeSwap | None = None
    while True:
        subject.write(number + 1)
        with collector_off():
            started = clock()
            swap = subject.stage(number, number + 1)
            stage = clock() - started
            commit = timed(swap.shift, 1.0) + timed(swap.commit)
        number += 1
        _check(module.function_7(1), number)
        if before is not None:
            before.release()
        before = swap
        yield {"ms": (stage + commit) / 1e6, "stage": stage / 1e6, "commit": commit / 1e6}


def _rewritten(folder: Path) -> Generator[int, None, None]:
    """One file that is written again and again, without bytecode: two versions in one second would share it."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    source, number = functions_source(FUNCTIONS), 1
    while True:
        (folder / "fable.py").write_text(f"__version__ = '{number}.0'\n{source(number)}")
        yield number
        number += 1


def jurigged(folder: Path) -> Rounds:
    """Let jurigged take over the new source: what it does when it has seen that the file has changed."""
    registry = importlib.import_module("jurigged.register").registry

    versions = _rewritten(folder)
    next(versions)
    module = importlib.import_module("fable")
    file, _ = registry.find(module)
    yield None
    while True:
        number = next(versions)
        with collector_off():
            took = timed(file.refresh)
        _check(module.function_7(1), number)
        yield {"ms": took / 1e6}


def reload(folder: Path) -> Rounds:
    """Reload the module."""
    versions = _rewritten(folder)
    next(versions)
    module = importlib.import_module("fable")
    yield None
    while True:
        number = next(versions)
        with collector_off():
            took = timed(importlib.reload, module)
        _check(module.function_7(1), number)
        yield {"ms": took / 1e6}


def _check(answer: tuple[int, str], number: int) -> None:
    if answer[1] != f"version {number}":
        raise RuntimeError(f"{answer} is not the answer of version {number}")
