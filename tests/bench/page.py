"""Writes what was measured as a page of the documents, and its picture: `nox -s bench -- --page`, or this file alone.

It takes what lies in `build`: the benchmark's rows, and those of the other campaigns where they were run. What was not run again
stays on the page as it is: one campaign takes an hour, and nobody who measures the speed anew should have to run them all.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rows import ROWS

ROOT = Path(__file__).resolve().parents[2]
BUILD, DOCS = ROOT / "build", ROOT / "docs"
sys.path.insert(0, str(DOCS / "pictures"))

from drawing import Drawing

PAGE, PICTURE = DOCS / "explanation" / "measured.md", DOCS / "pictures" / "measured.svg"

WHAT = {
    "steady_patch": "A call after a patch, against a direct call",
    "steady_handle": "A call through a handle, no deployment running, against a direct call",
    "commit_500": "Commit of 500 bindings",
    "commit_500_torn": "… of which a reader saw a mixture, in 10 million reads",
    "flips_failed": "1,000 flips under 8 threads and asyncio tasks: calls that failed",
    "flips_torn": "… and calls that saw two versions",
    "upgrade_vs_jurigged": "Swap of a module with 200 functions, against jurigged",
    "upgrade_vs_reload": "… against `importlib.reload`, which checks and keeps nothing",
    "first_answer_vs_hup": "From the go to the first new answer, journal included, against a gunicorn HUP",
    "whole_vs_hup": "The whole upgrade, with planning, trial and staging, against a gunicorn HUP",
    "fields_commit": "100,000 live instances gain a field: how long calls are held back",
    "fields_read_after": "… and what reading it costs afterwards, against an instance of the new version",
    "rollback_vs_commit": "A warm rollback, against the commit",
    "share_effect": "A change of share under threads that call: until a call obeys it, 99 of 100",
    "routing_cost": "What a call costs more while a deployment runs",
    "shares_lost": "A million calls in eight threads, and a thousand changes of share: calls that failed or were lost",
    "shares_torn": "… that saw two versions",
    "shares_moved_back": "… that went back to the old version while the share only rose",
    "crash_back": "A version in which every call fails, at 400 calls a second: until the last of them",
    "crash_back_calls": "… and at 10 calls a second: how many fail",
    "many_upgrades_call": "A call after 2,000 upgrades in a row, against before",
    "many_upgrades_bytes": "… and the memory that each has kept",
    "journal_vs_sqlite": "Upgrades a second in the journal, against raw SQLite of the same durability",
    "plan_10k": "A plan over 10,000 components with dependencies",
    "help_cpu": "`noodle --help`, CPU time",
    "startup_500": "Start with 500 plugins installed and 5 enabled, against 5 installed",
    "false_plain": "A good version is taken back, the worst of 1, 10 and 100 calls a second",
    "false_clumped": "… where clients try again in vain, five times on average",
    "false_incident": "… where both versions are eight times as bad for a while",
    "detect_10x": "Until a version ten times as bad is taken back, at 10 calls a second",
    "detect_4x": "… one four times as bad",
    "detect_2x": "… one twice as bad",
    "harm_vs_kayenta": "Bad calls until a version ten times as bad is taken back, against Kayenta's judge",
    "promote_good": "Until a good version may have more, at 100 calls a second",
    "compile_vs_cpython": "From Noodle source to code, 20,000 dense lines, against CPython on the same program",
    "compile_vs_lark": "… against the same with the parser that Lark makes of the grammar",
    "compile_exponent": "… how its time grows with the length, 1,000 to 64,000 lines",
    "noop_stat": "A build of 10,000 files with nothing to do, by their stamps",
    "noop_content": "… by their content, CPU time",
    "cutoff_runs": "… after an upgrade of the lexer whose tokens are the same: runs of later phases",
    "affected_share": "… after an upgrade that affects 1 % of them, against the full build",
    "run_vs_python": "A compiled program, against the same one written in Python",
    "live_failed": "8 threads compile through 200 live changes of phases: compilations that failed",
    "live_mixed": "… and compilations that saw two sets of versions",
    "nbc_fuzz_unhandled": "1,000,000 damaged NBC files: errors that are no typed refusal",
    "judge_update": "One look of the judge",
    "simulate_million": "A rollout over a million replicas, simulated, with the judge",
    "false_rollout": "Whole rollouts in which a good version is taken back",
}
_BARS = (
    ("upgrade_vs_jurigged", "value", "Noodle Upgrade", "blue"),
    ("upgrade_vs_reload", "reference", "importlib.reload", "grey"),
    ("upgrade_vs_jurigged", "reference", "jurigged", "grey"),
    ("first_answer_vs_hup", "value", "Noodle Upgrade", "blue"),
    ("first_answer_vs_hup", "reference", "gunicorn HUP", "grey"),
)


def main() -> int:
    """Write the page and the picture; says what is not there."""
    bench = _read("bench.json")
    if not bench:
        sys.stderr.write("There is no build/bench.json: run nox -s bench first.\n")
        return 1
    about: dict[str, Any] = _read("bench-machine.json") or {}
    fidelity, crash = _read("fidelity.json") or [], _read("crash.json")
    former = PAGE.read_text() if PAGE.is_file() else ""
    if {name for name, *_ in _BARS} <= {row["name"] for row in bench}:
        PICTURE.write_text(str(picture(bench)))
    PAGE.write_text(page(bench, about, fidelity, crash, former))
    return 0


def _read(name: str) -> Any:
    path = BUILD / name
    return json.loads(path.read_text()) if path.is_file() else None


# --- the page --------------------------------------------------------------------------------------------------------


def page(
    bench: Sequence[dict[str, Any]],
    about: dict[str, Any],
    fidelity: Sequence[dict[str, Any]],
    crash: dict[str, Any] | None,
    former: str = "",
) -> str:
    """Return the page. What was not measured again stays as the former page has it."""
    packages = ", ".join(f"{name} {version}" for name, version in about.get("packages", {}).items())
    parts = [
        "# Measured",
        "",
        "Written by `tests/bench/page.py` (`nox -s bench -- --page`) from the rows that the campaigns have left in `build`, which may"
        " come of several runs. Ratios are medians of interleaved rounds in one run on one machine: read them, and not the times.",
        "",
        f"Last measured at {about.get('at', '?')} on {about.get('processor', '?')}, {about.get('cores', '?')} cores,"
        f" {about.get('system', '?')}; {packages}. Rows that were not measured then are of earlier runs.",
        "",
        "![How long a change takes](../pictures/measured.svg)",
        "",
        "## Speed",
        "",
        *_speed(bench, former),
        "",
        *(_fidelity(fidelity) or _section(former, "Published packages")),
        *(_crash(crash) or _section(former, "Killed")),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _section(former: str, title: str) -> list[str]:
    """Return the lines of a section of the former page, with an empty one at the end; none where it has no such section."""
    _, found, rest = former.partition(f"\n## {title}\n")
    return [f"## {title}", *rest.partition("\n## ")[0].rstrip().split("\n"), ""] if found else []


def _speed(bench: Sequence[dict[str, Any]], former: str = "") -> list[str]:
    """Return the table of rows; what was not measured now is as the former page has it."""
    cells = _former_cells(former)
    cells.update({(row["name"], row["python"]): _cell(row, ROWS[row["name"]].of) for row in bench})
    pythons = sorted(
        {python for _, python in cells}, key=lambda one: [int(part) for part in one.split(".") if part.isdigit()]
    )
    lines = [
        f"| row | what | target | {' | '.join(pythons)} |",
        f"|---|---|---|{'---|' * len(pythons)}",
    ]
    measured = {name for name, _ in cells}
    for name, row in ROWS.items():
        if name in measured:
            unit = "x" if row.of == "ratio" else f" {row.unit}".rstrip()
            target = f"{'≥' if row.least else '≤'} {row.target:g}{unit}"
            shown = [cells.get((name, python), "") for python in pythons]
            lines.append(f"| `{name}` | {WHAT.get(name, '')} | {target} | {' | '.join(shown)} |")
    return lines


def _former_cells(former: str) -> dict[tuple[str, str], str]:
    """Return what the table of a page says of each row on each Python."""
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in _section(former, "Speed")
        if line.startswith("| ")
    ]
    head = table[0][3:] if table else []
    return {
        (row[0].strip("`"), python): cell
        for row in table[1:]
        if row[0].strip("`") in ROWS
        for python, cell in zip(head, row[3:], strict=True)
        if cell
    }


def _cell(row: dict[str, Any] | None, of: str) -> str:
    if row is None or row["ok"] is None:
        return ""
    text = f"{row['ratio']:.3g}x" if of == "ratio" else f"{row['value']:,.3g} {row['unit']}".rstrip()
    return text if row["ok"] else f"**{text}** (missed)"


def _fidelity(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    live = [row for row in rows if row["verdict"] == "live"]
    refused = [row for row in rows if row["verdict"].startswith("refused")]
    head = "| package | Python | new suite | old suite after going back | references | state | undo | new suite beside the old |"
    lines = [
        "## Published packages",
        "",
        f"`nox -s fidelity`: {len(rows)} upgrades of published packages inside a process that uses them, {len(live)} live and"
        f" {len(refused)} refused before the commit. Each suite passes so many tests of those that pass in a fresh process. In the"
        " last column the new version runs as a generation beside the old one, which the process goes on with.",
        "",
        head,
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"{row['package']} {row['from']} → {row['to']}"
        if row["verdict"] != "live":
            beside = _of(row["generation_passed"], row["fresh_passed"])
            lines.append(f"| {name} | {row['python']} | {_sentence(row['verdict'])} | | | | | {beside} |")
            continue
        lines.append(
            f"| {name} | {row['python']} | {_of(row['live_passed'], row['fresh_passed'])}"
            f" | {_of(row['rollback_live_passed'], row['rollback_fresh_passed'])}"
            f" | {_right(row['held_right'], row['held_wrong'])} | {_right(row['state_kept'], row['state_lost'])}"
            f" | {_differences(row['undo_differences'])} | {_of(row['generation_passed'], row['fresh_passed'])} |"
        )
    return [*lines, ""]


def _sentence(verdict: str) -> str:
    short = verdict if len(verdict) <= 160 else f"{verdict[:160].rsplit(' ', 1)[0]} …"
    # As code: what a package binds may be any text, regular expressions too.
    return "`" + short.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"


def _of(live: int | None, fresh: int | None) -> str:
    return "" if live is None else f"{live:,} of {fresh:,}"


def _right(right: int | None, wrong: int | None) -> str:
    return "" if right is None else f"{right:,} right" + (f", **{wrong:,} wrong**" if wrong else "")


def _differences(count: int | None) -> str:
    return "" if count is None else "no difference" if not count else f"**{count} differences**"


def _crash(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return []
    deployments = found.get("deployments", {}).get("kills", 0)
    deploying = f", {deployments:,} of them at every transition of deployments" if deployments else ""
    return [
        "## Killed",
        "",
        f"`nox -s crash`: {found['kills']:,} processes killed with `kill -9` at every write of the journal and the store, and again"
        f" while they recovered{deploying}: {found['violations']} violations of an invariant. Of {found['planted']} bugs that were planted to"
        f" see whether it would notice, it caught {found['caught']}.",
        "",
    ]


# --- the picture -----------------------------------------------------------------------------------------------------


def picture(bench: Sequence[dict[str, Any]]) -> Drawing:
    """Draw how long the same change takes with others, on a logarithmic scale."""
    first = bench[0]["python"]
    rows = {row["name"]: row for row in bench if row["python"] == first}
    bars = [
        (label, fill, rows[name][part], name)
        for name, part, label, fill in _BARS
        if name in rows and rows[name].get(part)
    ]
    height = 92 + 34 * len(bars) + 28
    made = Drawing(
        760, height, "How long a change takes",
        "Milliseconds on a logarithmic scale, shorter is better: "
        + "; ".join(f"{label} {value:.3g}" for label, _, value, _ in bars),
    )  # fmt: skip
    made.words(24, 26, "How long a change takes, in milliseconds", size=15, strong=True, anchor="start")
    made.words(24, 48, f"Python {first}, logarithmic scale, shorter is better", size=12, anchor="start")
    y, before = 78.0, ""
    low = min((value for _, _, value, _ in bars), default=1.0)
    high = max((value for _, _, value, _ in bars), default=10.0)
    span = max(math.log10(high / low), 0.1)
    for label, fill, value, name in bars:
        group = "a module with 200 functions" if name.startswith("upgrade") else "a service: the first new answer"
        if group != before:
            made.words(24, y, group, size=12, strong=True, anchor="start")
            y, before = y + 22, group
        width = 40 + 420 * math.log10(value / low) / span
        made.words(170, y, label, size=12, anchor="end")
        made.area(180, y - 10, width, 20, fill)
        made.words(188 + width, y, f"{value:,.3g} ms", size=12, anchor="start", code=True)
        y += 30
    return made


if __name__ == "__main__":
    sys.exit(main())
