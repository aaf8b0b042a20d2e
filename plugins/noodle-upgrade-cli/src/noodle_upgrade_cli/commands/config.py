"""`noodle config`: every effective setting and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from noodle_upgrade_cli.display import findings_view
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.options import OwnGroup
from noodle_upgrade_cli.output import grid
from noodle_upgrade_cli.probing import examined_anyway
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import counted, sentence
from noodle_upgrade_core.errors import SettingsError

__all__ = ["config"]


@click.group(cls=OwnGroup)
def config() -> None:
    """Show or check the settings: files, NOODLE_* variables and defaults."""


@config.command()
@click.argument("prefix", required=False, default="")
@click.option("--changed", is_flag=True, help="Only what is not a default.")
@click.option("--running", is_flag=True, help="Ask the running program, in place of the files here.")
@with_session
def show(session: Session, prefix: str, *, changed: bool, running: bool) -> int:
    """Print every effective value and where it came from; secrets are masked.

    Reads --config FILE…, or noodle.toml and noodle.json in this directory, and the variables of this shell. PREFIX
    keeps the keys that begin with it.
    """
    if running:
        with session.connected() as client:
            report = client.get("/v1/config")
    else:
        report = examined_anyway(session.settings_files(), make=False)
        # A driver that is not there makes no setting less of a setting.
        if report["refused"]:
            _refuse(report["problems"])
        for finding in report["findings"]:
            session.out.note(f"{sentence(finding['message'])} {finding['hint']}", "yellow")
    rows = [row for row in report.get("settings") or () if str(row.get("key", "")).startswith(prefix)]
    rows = [row for row in rows if not changed or row.get("origin") != "default"]
    problems = report.get("problems") or []
    if session.out.json:
        session.out.document({"settings": rows, "problems": problems, "digest": report.get("digest", "")})
        return Exit.OK
    session.out.show(
        grid(
            ["Setting", "Value", "From", "Variable"],
            [[r["key"], json.dumps(r["value"]), r["origin"], ", ".join(r.get("variables") or ())] for r in rows],
        )
    )
    for problem in problems:
        session.out.note(_words(problem), "yellow")
    return Exit.OK


@config.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False), metavar="FILE…")
@with_session
def check(session: Session, files: tuple[str, ...]) -> int:
    """Check settings files together, the last one being the strongest.

    Ends with 2 when a setting cannot be used, also where it names a driver that is not installed; all that is wrong is
    listed at once. What has no effect is a warning, and so is a plugin that is named and not installed. Nothing is made
    or loaded but the plugins' settings: `noodle stack check` proves that it all works.
    """
    # The plugins have to be imported for the sections that they have.
    report = examined_anyway(files, make=False)
    _refuse(report["problems"])
    problems = [*report["problems"], *(_as_problem(finding) for finding in report["findings"])]
    if session.out.json:
        session.out.document({"ok": True, "problems": problems, "digest": report["digest"]})
        return Exit.OK
    if problems:
        rows = [{**p, "subject": p["key"] or p["origin"], "message": sentence(p["problem"])} for p in problems]
        session.out.show(findings_view(rows))
    session.out.show(f"{counted(len(files), 'file')} can be used; {counted(len(problems), 'warning')}.")
    return Exit.OK


def _as_problem(finding: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is wrong with a plugin as a warning: its section could not be checked."""
    keys = {"key": finding["subject"], "problem": finding["message"], "hint": finding["hint"]}
    return {**keys, "origin": "", "severity": "warning"}


def _refuse(problems: Sequence[Mapping[str, Any]]) -> None:
    """Raise `SettingsError` where there is an error among the problems."""
    wrong = [problem for problem in problems if problem["severity"] == "error"]
    if wrong:
        raise SettingsError(
            f"{counted(len(wrong), 'setting')} cannot be used.",
            hint="Mend what is named; `noodle config show` lists every setting and its default.",
            details={"problems": wrong},
            safe="",
        )


def _words(problem: Mapping[str, Any]) -> str:
    subject = problem.get("key") or problem.get("origin") or ""
    return " ".join(part for part in (subject, f"{problem.get('problem', '')}.", problem.get("hint", "")) if part)
