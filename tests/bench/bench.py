"""The benchmark: `nox -s bench -- [--only ROW …] [--rounds N] [--quick] [--page] [--python PATH …]`.

Prints a table, and writes `build/bench.json` (a list of rows) and `build/bench-machine.json` (on what it was measured,
and what there is to say about single rows). Each group of rows runs in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from measuring import HERE, Options, Reading, play
from pythons import at_hand
from rows import GROUPS, ROWS, Group

BUILD = HERE.parents[1] / "build"
LIMIT_SECONDS = 1800
PACKAGES = ("jurigged", "gunicorn", "markdown-it-py", "pluggy", "stevedore", "attrs", "cattrs", "uvicorn", "starlette")


@frozen(kw_only=True)
class Measured:
    """One row of the table, measured on one Python."""

    row: str
    python: str
    reading: Reading
    broken: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the row as `build/bench.json` has it."""
        row, got = ROWS[self.row], self.reading
        return {
            "name": row.name,
            "python": self.python,
            "value": _rounded(got.value),
            "unit": row.unit,
            "reference": _rounded(got.reference),
            "ratio": _rounded(got.ratio),
            "target": row.target,
            "ok": row.met(got.value, got.ratio),
        }


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.5g}")


# --- running the groups ----------------------------------------------------------------------------------------------


def run_group(group: Group, python: str, arguments: argparse.Namespace) -> Iterator[Measured]:
    """Measure a group on a Python, in fresh processes; a failure is said in the rows, and the others go on."""
    version = _version_of(python)
    try:
        runs = [_run(group, python, arguments) for _ in range(1 if arguments.quick else group.processes)]
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        for row in group.rows:
            note = f"the measurement failed: {error}"
            yield Measured(row=row.name, python=version, reading=Reading(name=row.name, note=note), broken=True)
        return
    for row in group.rows:
        yield Measured(row=row.name, python=version, reading=_merged([run[row.name] for run in runs]))


def _run(group: Group, python: str, arguments: argparse.Namespace) -> dict[str, Reading]:
    with tempfile.TemporaryDirectory(prefix="noodle-bench-") as folder:
        answer = Path(folder) / "readings.json"
        command = [
            python,
            str(HERE / "bench.py"),
            "--measure",
            group.measure,
            folder,
            "--rounds",
            str(arguments.rounds),
        ]
        done = subprocess.run(
            [*command, *(["--quick"] if arguments.quick else [])],
            env=_environ(python),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_SECONDS,
            text=True,
            check=False,
        )
        if done.returncode or not answer.is_file():
            words = done.stdout.strip().splitlines()
            if arguments.verbose:
                sys.stderr.write(done.stdout)
            raise RuntimeError(words[-1] if words else f"it ended with {done.returncode}")
        found = [Reading(**one) for one in json.loads(answer.read_text())]
        return {reading.name: reading for reading in found}


def _environ(python: str) -> dict[str, str]:
    """Another interpreter takes our packages from here: they are Python only, and so is what they need."""
    environ = dict(os.environ)
    if python != sys.executable:
        ours = [importlib.import_module(f"noodle_upgrade_{name}") for name in ("core", "runtime", "server")]
        roots = [str(Path(str(module.__file__)).parents[1]) for module in ours]
        environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*roots, sysconfig.get_path("purelib")]))
    return environ


def _version_of(python: str) -> str:
    if python == sys.executable:
        return platform.python_version()
    script = "import platform; print(platform.python_version())"
    return subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def _merged(readings: Sequence[Reading]) -> Reading:
    """Return the medians over the processes: where code and objects happen to lie in memory differs between them."""
    if len(readings) == 1:
        return readings[0]
    ratios = [one.ratio for one in readings if one.ratio is not None]
    span = f"over {len(readings)} processes {min(ratios):.3f} … {max(ratios):.3f}" if ratios else ""
    note = next((one.note for one in readings if one.note), "")
    return Reading(
        name=readings[0].name,
        value=_median([one.value for one in readings]),
        reference=_median([one.reference for one in readings]),
        ratio=_median([one.ratio for one in readings]),
        note="; ".join(filter(None, (note, span))),
    )


def _median(numbers: Sequence[float | None]) -> float | None:
    there = [number for number in numbers if number is not None]
    return statistics.median(there) if there else None


# --- the children's side ---------------------------------------------------------------------------------------------


def _function(named: str) -> Any:
    module, _, name = named.partition(":")
    return getattr(importlib.import_module(module), name)


def measure(named: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure one group in this process, and leave the readings in the folder."""
    options = Options(rounds=arguments.rounds, quick=arguments.quick, folder=folder)
    readings = _function(named)(options)
    (folder / "readings.json").write_text(json.dumps([asdict(one) for one in readings]))


# --- telling ---------------------------------------------------------------------------------------------------------


def table(found: Sequence[Measured]) -> str:
    """Return the rows as a table of fixed width."""
    head = ("row", "python", "value", "reference", "ratio", "target", "")
    lines = [head, *(_cells(one) for one in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = []
    for line in lines:
        first = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
        rest = [cell.rjust(width) for cell, width in zip(line[2:6], widths[2:6], strict=True)]
        shown.append("  ".join([*first, *rest, line[6]]).rstrip())
    return "\n".join(shown)


def _cells(one: Measured) -> tuple[str, ...]:
    row, data = ROWS[one.row], one.to_json()
    sign = "≥" if row.least else "≤"
    target = f"{sign} {row.target:g}{'x' if row.of == 'ratio' else ' ' + row.unit}"
    verdict = {True: "ok", False: "MISSED", None: "-"}[data["ok"]]
    return (row.name, one.python, _shown(data["value"], row.unit), _shown(data["reference"], row.unit),
            "" if data["ratio"] is None else f"{data['ratio']:.3g}x", target, verdict)  # fmt: skip


def _shown(number: float | None, unit: str) -> str:
    return "" if number is None else f"{number:,.4g} {unit}"


def machine(arguments: argparse.Namespace, found: Sequence[Measured], seconds: float) -> dict[str, Any]:
    """Return on what it was measured, and the notes."""
    versions = {name: _installed(name) for name in PACKAGES}
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": sys.version,
        "packages": {name: version for name, version in versions.items() if version},
        "rounds": arguments.rounds,
        "quick": arguments.quick,
        "seconds": round(seconds, 1),
        "notes": [
            {"name": one.row, "python": one.python, "note": one.reading.note} for one in found if one.reading.note
        ],
    }


def write(arguments: argparse.Namespace, found: Sequence[Measured], seconds: float) -> None:
    """Write what was found so far."""
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench.json").write_text(json.dumps([one.to_json() for one in found], indent=2) + "\n")
    about = machine(arguments, found, seconds)
    (BUILD / "bench-machine.json").write_text(json.dumps(about, indent=2) + "\n")


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


# --- the command -----------------------------------------------------------------------------------------------------


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=sorted(ROWS), help="measure only these rows")
    parser.add_argument("--rounds", type=int, default=11, help="rounds of which medians are taken (11)")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument(
        "--python", nargs="+", metavar="PATH", help="measure the swap rows on these as well (all that are at hand)"
    )
    parser.add_argument("--page", action="store_true", help="write docs/explanation/measured.md and its picture")
    parser.add_argument("--verbose", action="store_true", help="show what a measurement that failed has printed")
    parser.add_argument("--measure", nargs=2, metavar=("GROUP", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--piece", nargs=3, metavar=("PIECE", "FOLDER", "FD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return arguments


def main() -> int:
    """Measure what was asked for, and say what came out: 1 when a measurement failed, whatever the targets."""
    arguments = parsed()
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]), arguments)
        return 0
    if arguments.piece:
        piece, folder, answers = arguments.piece
        play(_function(piece)(Path(folder)), int(answers))
        return 0
    started = time.monotonic()
    wanted = set(arguments.only or ROWS)
    found: list[Measured] = []
    named = at_hand() if arguments.python is None else map(_absolute, arguments.python)
    others = [python for python in named if python != sys.executable]
    for group in GROUPS:
        if not wanted.intersection(row.name for row in group.rows):
            continue
        for python in [sys.executable, *(others if group.swap else ())]:
            sys.stderr.write(f"measuring {', '.join(row.name for row in group.rows)} on {_version_of(python)}\n")
            found += [one for one in run_group(group, python, arguments) if one.row in wanted]
            # After every group: a long run that is ended early has still told what it found.
            write(arguments, found, time.monotonic() - started)
    sys.stdout.write(table(found) + "\n")
    for one in found:
        if one.reading.note:
            sys.stdout.write(f"{one.row} ({one.python}): {one.reading.note}\n")
    if arguments.page:
        importlib.import_module("page").main()
    return 1 if any(one.broken for one in found) else 0


def _absolute(path: str) -> str:
    found = shutil.which(path)
    if found is None:
        raise SystemExit(f"{path} is no Python here")
    return str(Path(found).absolute())


if __name__ == "__main__":
    sys.exit(main())
