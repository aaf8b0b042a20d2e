"""`nox -s fidelity -- [--cases FILE] [--only NAME …] [--mechanism patch|generation|both] [--python PATH …] [--keep]`.

Prints a table and writes `build/fidelity.json`, a row a case and Python; what is behind a row is in
`build/fidelity/<case>-<python>.json`. Ends with 1 when a row misses its target.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fidelity.campaign import Campaign, Wanted
from fidelity.cases import Case, CaseError, canonical, read_cases
from fidelity.downloads import FetchError
from fidelity.environments import default_pythons, put_ours, version_of
from fidelity.rows import MOST_REFUSED, Row, as_table

BENCH = Path(__file__).resolve().parents[1]
BUILD = (BENCH.parents[1] / "build").resolve()


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="fidelity", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--cases", type=Path, default=BENCH / "packages.toml", metavar="FILE", help="the cases to run")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="run only this package's cases")
    parser.add_argument("--mechanism", choices=("patch", "generation", "both"), default="both")
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help="run on this one; default: all")
    parser.add_argument("--keep", action="store_true", help="keep the work folders, for looking what happened")
    parser.add_argument("--limit", type=float, default=1200.0, metavar="SECONDS", help="the most for one process")
    return parser.parse_args(words)


def chosen(arguments: argparse.Namespace) -> list[Case]:
    """Return the cases that were asked for."""
    cases = read_cases(arguments.cases)
    only = {canonical(name) for name in arguments.only}
    if unknown := only - {case.name for case in cases}:
        raise CaseError(f"no case of {', '.join(sorted(unknown))} in {arguments.cases}")
    return [case for case in cases if not only or case.name in only]


def main() -> int:
    """Run what was asked for."""
    arguments = parsed()
    try:
        cases = chosen(arguments)
        pythons = {python: version_of(python) for python in arguments.python or default_pythons()}
    except (CaseError, FetchError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    root = BUILD / "fidelity"
    root.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    def say(word: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - started:6.0f} s] {word}\n")

    wanted = Wanted(
        mechanism=arguments.mechanism, root=root, ours=put_ours(root), limit=arguments.limit,
        keep=arguments.keep, say=say,
    )  # fmt: skip
    rows: list[Row] = []
    for case in cases:
        for python, version in pythons.items():
            row = Campaign(case, python, version, wanted).run()
            rows.append(row)
            say(f"{case.name} on {version}: {row.verdict if row.verdict != 'live' else row.missed() or 'ok'}")
            # After every row: a long run that is ended early has still told what it found.
            (BUILD / "fidelity.json").write_text(json.dumps([one.to_json() for one in rows], indent=2) + "\n")
    return told(rows)


def told(rows: Sequence[Row]) -> int:
    """Print the table and what was missed; return the exit code."""
    sys.stdout.write(as_table(rows) + "\n")
    bad = [row for row in rows if row.missed()]
    for row in bad:
        sys.stdout.write(f"{row.package} {row.old} → {row.new} ({row.python}): {'; '.join(row.missed())}\n")
    refused = [row for row in rows if row.verdict.startswith("refused")]
    if len(refused) > MOST_REFUSED * len(rows):
        sys.stdout.write(f"refused {len(refused)} of {len(rows)}, at most 1 in 12 may be\n")
        return 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
