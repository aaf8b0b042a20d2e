"""What a suite said, test by test, and what two runs of it differ in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

__all__ = ["PASSED", "Parity", "by_file", "compared", "masked", "read_outcomes"]

PASSED = "passed"
_VOLATILE = (
    (re.compile(r"0x[0-9a-fA-F]{4,}"), "0x"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?"), "DATE"),
    (re.compile(r"(/[\w.+@-]+){3,}/(?=[\w.+@-])"), "/…/"),
    (re.compile(r"pytest-of-\w+/pytest-\d+"), "TMP"),
)


def masked(name: str) -> str:
    """Return a test's id without addresses, times and folders, which differ between two runs of the same."""
    for pattern, word in _VOLATILE:
        name = pattern.sub(word, name)
    return name


def read_outcomes(path: Path) -> dict[str, str]:
    """Read the lines that a run has written: `[id, outcome]`; several of one masked id are numbered."""
    found: dict[str, str] = {}
    if not path.is_file():
        return found
    plain: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, outcome = json.loads(line)
        if plain.get(name, PASSED) == PASSED:  # a test whose teardown fails has passed before
            plain[name] = outcome
    for name, outcome in plain.items():
        key, number = masked(name), 1
        while f"{key}#{number}" in found:
            number += 1
        found[f"{key}#{number}"] = outcome
    return {name.removesuffix("#1"): outcome for name, outcome in found.items()}


def by_file(outcomes: Mapping[str, str]) -> dict[str, str]:
    """Return outcomes without the folders that the tests lie in."""
    return {re.sub(r"^[^:\\[]*/", "", name): outcome for name, outcome in outcomes.items()}


@frozen(kw_only=True)
class Parity:
    """A live run against fresh ones: `lost` pass in every fresh run and not in the live one."""

    fresh: int
    live: int
    lost: Mapping[str, str]
    flaky: tuple[str, ...]
    failing: int


def compared(fresh: Iterable[Mapping[str, str]], live: Mapping[str, str]) -> Parity:
    """Compare runs; what the fresh ones do not agree on is left out."""
    runs = list(fresh)
    names = {name for run in runs for name in run}
    flaky = {name for name in names if len({run.get(name) for run in runs}) > 1}
    good = {name for name in names - flaky if runs[0][name] == PASSED}
    lost = {name: live.get(name, "not run") for name in sorted(good) if live.get(name) != PASSED}
    return Parity(
        fresh=len(good),
        live=len(good) - len(lost),
        lost=lost,
        flaky=tuple(sorted(flaky)),
        failing=sum(runs[0][name] not in {PASSED, "skipped", "xfailed"} for name in names - flaky) if runs else 0,
    )
