"""`noodle doctor`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from noodle_upgrade_cli import locate
from noodle_upgrade_cli.display import findings_view
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.failures import NotRunningError, UsageMistakeError
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.output import line
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import counted
from noodle_upgrade_core.errors import JournalError
from noodle_upgrade_core.wire import to_wire

__all__ = ["doctor"]


@click.command(cls=OwnCommand)
@click.option("--offline", is_flag=True, help="Look at the files only, also where a program runs.")
@with_session
def doctor(session: Session, *, offline: bool) -> int:
    """Check the durable state: that journal, pointers, rollback points and stored artefacts agree.

    A running program checks itself, and also that what runs is what its journal says. Where none runs the files in the
    state directory are read; nothing in them is changed. Ends with 6 when something is wrong.
    """
    findings, looked_at = _found(session, offline=offline)
    wrong = [finding for finding in findings if finding["severity"] == "error"]
    if session.out.json:
        session.out.document({"ok": not wrong, "checked": looked_at, "findings": findings})
    else:
        if findings:
            session.out.show(findings_view(findings))
        words = f"{counted(len(wrong), 'problem')}, {counted(len(findings) - len(wrong), 'remark')}"
        session.out.show(line(f"{looked_at}: {words if findings else 'nothing is wrong'}."))
    return Exit.PROBLEMS if wrong else Exit.OK


def _found(session: Session, *, offline: bool) -> tuple[list[dict[str, Any]], str]:
    if not offline:
        try:
            with session.connected() as client:
                return client.doctor(), f"running program {client.address.shown}"
        except NotRunningError as error:
            if session.options.url:
                raise
            session.out.note(f"{error.message} Reading its files.", "dim")
    directory = locate.state_directory(session.options, os.environ, warn=lambda text: session.out.note(text, "yellow"))
    return _files(session, directory), f"state directory {directory}"


def _files(session: Session, directory: Path) -> list[dict[str, Any]]:
    from noodle_upgrade_core import doctor as checks  # noqa: PLC0415 - the journal is opened only where none runs
    from noodle_upgrade_core.drivers import Drivers  # noqa: PLC0415 - likewise
    from noodle_upgrade_core.opening import open_journal, open_store  # noqa: PLC0415 - likewise

    if not directory.is_dir() or not any(directory.glob("journal*")):
        raise UsageMistakeError(
            f"There is no journal in {directory}.",
            hint="Name the program's state directory with --state or NOODLE_STATE_DIRECTORY.",
        )
    settings = session.settings()
    try:
        with open_journal(settings, directory, Drivers()) as journal:
            if journal.refusal is not None:
                return [_as_finding(journal.refusal, directory)]
            found: list[dict[str, Any]] = to_wire(checks.check(journal, open_store(settings, directory)))
            return found
    except JournalError as error:
        return [_as_finding(error, directory)]


def _as_finding(error: JournalError, directory: Path) -> dict[str, Any]:
    return {
        "severity": "error",
        "code": error.code,
        "message": error.message,
        "subject": str(directory),
        "hint": error.hint,
        "source": "",
    }
