"""Two versions in one process, called through handles: which answers are neither's, and which calls ran both.

What can be called is found by trying: functions of the package that answer the same samples in both versions, each in a
process of its own first, four times with the same answer.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import os
import re
import signal
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fidelity.inside.modules import Symbol
from fidelity.inside.upgrade import Refused, Upgrade
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_runtime.generation import GenerationEngine
from noodle_upgrade_runtime.handles import handle
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.swap import Quiet, RuntimeSwap

__all__ = ["answers", "canary"]

SAMPLES: tuple[Any, ...] = (
    "Hello <b>World</b>, 1.2.3",
    "select a, b from c where d = 1",
    42,
    [3, 1, 2],
    b"abc",
    {"a": 1},
)
_FINITE = (type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
MOST_FUNCTIONS, CALLS, SHARE = 40, 1250, 0.3
# Names of functions that ask people or change what lies around; a sample is no reason to.
_UNWANTED = re.compile(
    r"prompt|edit|launch|open|pause|confirm|clear|exit|quit|main|run|serve|file|dir|path|input|sleep|wait|remove|delete"
)


def answers(symbols: Sequence[Symbol], *, backwards: bool) -> dict[str, dict[str, str]]:
    """Return what this version's functions say to the samples: by name, and by the sample's number.

    All are asked once more in the opposite order, and a second later: what another one has pushed somewhere, or a clock
    says, is no answer of a version's. `backwards` begins with that order: what has been pushed stays.
    """
    asked = [one for one in symbols if isinstance(one.value, types.FunctionType) and _takes_one(one)]
    if backwards:
        asked.reverse()
    first = {one.key: dict(_tried(one.value, range(len(SAMPLES)))) for one in asked}
    time.sleep(1.1)
    again = {one.key: dict(_tried(one.value, reversed(range(len(SAMPLES))))) for one in reversed(asked)}
    found = {
        key: {str(number): answer for number, answer in said.items() if again[key].get(number) == answer}
        for key, said in first.items()
    }
    return {key: said for key, said in found.items() if said}


def _takes_one(symbol: Symbol) -> bool:
    if _UNWANTED.search(symbol.name.lower()) or inspect.iscoroutinefunction(symbol.value):
        return False
    try:
        inspect.signature(symbol.value).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def _tried(function: Any, numbers: Iterable[int]) -> Iterator[tuple[int, str]]:
    for number in numbers:
        first, second = _say(function, number), _say(function, number)
        if first is not None and first == second:
            yield number, first


def _say(function: Callable[..., Any], number: int) -> str | None:
    """Return an answer in words; None where there is none, or none that is the same every time."""
    try:
        with _limited():
            sample = SAMPLES[number]
            given = sample.copy() if isinstance(sample, list | dict) else sample
            answer = function(given)
            if inspect.isgenerator(answer):
                answer = list(itertools.islice(answer, 100))
            # Anything else that goes on for ever would do so in C, where no time limit reaches it.
            said = repr(answer) if isinstance(answer, _FINITE) else None
    except BaseException:
        return None
    # Where an object or a process lies is another place each time.
    return None if said is None or any(one in said for one in (" at 0x", str(id(given)), str(Path.cwd()))) else said


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)


def canary(upgrade: Upgrade, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Send a share of calls to the new version; raises `Refused`."""
    keys = [key for key in old if key in new and _common(old[key], new[key]) and _imports(key)][:MOST_FUNCTIONS]
    held = {key: handle(upgrade.package, key) for key in keys}
    if not held:
        return {"functions": 0, "calls": 0}
    until = time.monotonic() + 120
    change = upgrade.change()
    try:
        part: Any = GenerationEngine().stage((change,), cancelled=lambda: time.monotonic() > until)
        swap = RuntimeSwap([part], versions={upgrade.package: upgrade.versions}, quiet=Quiet(), ledger={})
        swap.shift(SHARE)
    except UpgradeError as error:
        raise Refused(error, "stage") from error
    seen = _Seen(tuple(upgrade.tops))
    counts = {"functions": len(held), "calls": 0, "old": 0, "new": 0, "both_versions": 0}
    wrong: list[str] = []
    for turn in range(CALLS):
        key = keys[turn % len(keys)]
        numbers = _common(old[key], new[key])
        number = numbers[turn // len(keys) % len(numbers)]
        with seen:
            said = _say(held[key], int(number))
        counts["calls"] += 1
        counts["both_versions"] += seen.old and seen.new
        counts["old"] += seen.old
        counts["new"] += seen.new
        allowed = {old[key][number]} if seen.old else {new[key][number]}
        if said not in (allowed if seen.old != seen.new else {old[key][number], new[key][number]}):
            wrong.append(f"{key}({SAMPLES[int(number)]!r}): {str(said)[:120]}")
    return {**counts, "wrong": len(wrong), "wrong_answers": wrong[:20]}


def _common(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(set(old) & set(new))


def _imports(key: str) -> bool:
    with contextlib.suppress(ImportError):
        return hasattr(importlib.import_module(key.partition(":")[0]), key.partition(":")[2])
    return False


class _Seen:
    """Notes which versions' code a call runs."""

    def __init__(self, tops: Sequence[str]) -> None:
        self._tops = frozenset(top.partition(".")[0] for top in tops)
        self.old = self.new = False

    def __enter__(self) -> None:
        self.old = self.new = False
        sys.setprofile(self._note)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call":
            name = str(frame.f_globals.get("__name__"))
            if name.partition(".")[0] in self._tops:
                private = isinstance(frame.f_globals["__name__"], ModuleName)
                self.new |= private
                self.old |= not private
