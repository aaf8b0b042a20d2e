"""Live instances gain a field: what the commit takes, and what reading it costs once the sweep is over."""

from __future__ import annotations

import importlib
import statistics
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from measuring import Options, Reading, alternately, call_loop, collector_off, pair_ratio, timed
from subjects import Subject

__all__ = ["measure"]

SWEEP_SECONDS = 60.0

_PLAIN = '''
class Account:
    """Has a name."""

    def __init__(self, name):
        self.name = name
{more}
'''
_DATA = '''
import dataclasses


@dataclasses.dataclass
class Account:
    """Has a name."""

    name: str
{more}
'''


def _constructed(number: int) -> str:
    return _PLAIN.format(more="" if number == 1 else "        self.limit = [7]")


def _defaulted(number: int) -> str:
    return _DATA.format(more="" if number == 1 else "    limit: int = 7")


def measure(options: Options) -> list[Reading]:
    """Change a class with 100,000 live instances; each must have the field afterwards.

    The rows are about a field that the constructor gives; one with a default lies on the class, which is told besides.
    """
    defaulted = _gain(options, "bank", _defaulted, options.rounds)
    told = _words("a dataclass's field with a default", defaulted)
    if not _reaches(options):
        why = f"not measured: a field that only `__init__` sets does not reach live instances yet; {told}"
        return [Reading(name=name, note=why) for name in ("fields_commit", "fields_read_after")]
    found = _gain(options, "vault", _constructed, options.rounds)
    kept, fresh = found["kept"], found["fresh"]
    return [
        Reading(
            name="fields_commit",
            value=statistics.median(found["commit"]) / 1e6,
            note=f"with the look at all objects before, while calls come in,"
            f" {statistics.median(found['whole']) / 1e6:.1f} ms; {told}",
        ),
        Reading(
            name="fields_read_after",
            value=statistics.median(kept),
            reference=statistics.median(fresh),
            ratio=pair_ratio(kept, fresh),
            note="against an instance that was made by the new version",
        ),
    ]


def _reaches(options: Options) -> bool:
    """Whether a field that only `__init__` sets is there on an instance that the old version made."""
    subject = Subject(options.folder / "probe", "probed", _constructed)
    subject.run(1)
    account = importlib.import_module("probed").Account("old")
    swap = subject.stage(1, 2)
    swap.shift(1.0)
    has = hasattr(account, "limit")
    swap.revert()
    return has


def _gain(options: Options, name: str, source: Callable[[int], str], rounds: int) -> dict[str, list[float]]:
    count = options.most(100_000, 2_000)
    commits, whole = [], []
    kept: Any = None
    for number in range(min(rounds, 5)):
        subject = Subject(options.folder / str(number), f"{name}{number}", source)
        subject.run(1)
        module = importlib.import_module(subject.name)
        accounts = [module.Account(str(index)) for index in range(count)]
        swap = subject.stage(1, 2)
        with collector_off():
            whole.append(timed(swap.shift, 1.0))
        # What the swap itself measures: from the moment that nobody is inside to the last binding.
        commits.append(swap.pause_seconds * 1e9)
        swap.commit()
        _await_sweep(module)
        if any(account.limit not in (7, [7]) for account in accounts):
            raise RuntimeError("an instance has not got the field")
        kept = accounts[0]
    plain = Subject(options.folder, f"{name}_plain", source)
    plain.run(2)
    fresh = importlib.import_module(plain.name).Account("fresh")
    reads = {
        which: call_loop("target.limit", times=options.most(2_000, 200), target=target)
        for which, target in (("kept", kept), ("fresh", fresh))
    }
    with collector_off():
        return {"commit": commits, "whole": whole, **alternately(reads, rounds=20 * rounds)}


def _await_sweep(module: ModuleType) -> None:
    """Wait until no descriptor stands in for the field any more."""
    over = threading.Event()
    for _ in range(int(SWEEP_SECONDS * 100)):
        if not hasattr(type(vars(module.Account).get("limit")), "__get__"):
            return
        over.wait(0.01)
    raise RuntimeError(f"the sweep did not end within {SWEEP_SECONDS:g} s")


def _words(what: str, found: dict[str, list[float]]) -> str:
    return (
        f"{what}: commit {statistics.median(found['commit']) / 1e6:.3f} ms, later reads"
        f" {pair_ratio(found['kept'], found['fresh']):.2f}x of an instance of the new version"
    )
