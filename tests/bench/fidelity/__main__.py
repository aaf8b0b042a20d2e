"""`nox -s fidelity -- [--cases FILE] [--only NAME …] [--mechanism patch|generation|both] [--python PATH …] [--jobs N] [--keep]`.

Prints a table and writes `build/fidelity.json`, a row a case and Python; what is behind a row is in
`build/fidelity/<case>-<python>.json`. As many rows are worked on at once as there are processors, or `--jobs`: times
of swaps are then those of a busy machine. Ends with 1 when a row misses its target.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pythons import at_hand

from fidelity.campaign import Campaign, Wanted
from fidelity.cases import Case, CaseError, canonical, read_cases
from fidelity.downloads import FetchError
from fidelity.environments import put_ours, version_of
from fidelity.processes import stop
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
    parser.add_argument("--jobs", type=int, default=_processors(), metavar="N", help="rows at once (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the work folders, for looking what happened")
    parser.add_argument("--limit", type=float, default=1200.0, metavar="SECONDS", help="the most for one process")
    arguments = parser.parse_args(words)
    if arguments.jobs < 1:
        parser.error("--jobs must be 1 or more")
    return arguments


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        pythons = {python: version_of(python) for python in arguments.python or at_hand()}
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
    pairs = [(case, python, version) for case in cases for python, version in pythons.items()]
    for case, _, version in pairs:
        if not case.runs_on(version):
            say(f"{case.name} on {version}: left out, the case is for Python {case.python}")
    campaigns = [Campaign(*pair, wanted) for pair in pairs if pair[0].runs_on(pair[2])]
    rows: dict[int, Row] = {}
    try:
        for place, row in carried_out(campaigns, arguments.jobs):
            rows[place] = row
            verdict = row.verdict if row.verdict != "live" else "; ".join(row.missed()) or "ok"
            say(f"{campaigns[place].name}: {verdict} ({len(rows)} of {len(campaigns)})")
            # After every row: a long run that is ended early has still told what it found.
            done = [rows[one].to_json() for one in sorted(rows)]
            (BUILD / "fidelity.json").write_text(json.dumps(done, indent=2) + "\n")
    except KeyboardInterrupt:
        told([rows[one] for one in sorted(rows)])
        return 130
    return told([rows[one] for one in sorted(rows)])


def carried_out(campaigns: Sequence[Campaign], jobs: int) -> Iterator[tuple[int, Row]]:
    """Yield the place and the row of each campaign as it ends; all that run are ended when this is left early."""
    with concurrent.futures.ThreadPoolExecutor(jobs, "case") as pool:
        running = {pool.submit(one.run): place for place, one in enumerate(campaigns)}
        try:
            for ended in concurrent.futures.as_completed(running):
                yield running[ended], ended.result()
        except BaseException:
            stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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
