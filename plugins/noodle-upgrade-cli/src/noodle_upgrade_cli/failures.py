"""Errors in words and in JSON: what went wrong, what is safe, what to do, and the exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import click

from noodle_upgrade_cli import catalogue
from noodle_upgrade_cli.exits import Exit, exit_of
from noodle_upgrade_cli.options import Options
from noodle_upgrade_cli.text import clean, clean_lines, sentence
from noodle_upgrade_core.errors import UpgradeError

__all__ = [
    "ConnectionLostError",
    "ControlError",
    "ControlRefusedError",
    "NotRunningError",
    "ProtocolError",
    "UsageMistakeError",
    "report",
    "speaks_json",
]


_TRACE_LINES = 8
_OTHER_VERSION = "It may speak another version of the control API: compare `noodle --version` with the program's."


class UsageMistakeError(UpgradeError):
    """Arguments that parse, and make no sense."""

    code = "usage"
    default_safe = ""


class ControlError(UpgradeError):
    """Something between this command and the running program."""

    code = "control.failed"
    default_safe = ""


class NotRunningError(ControlError):
    """No running program was found, or it does not answer."""

    code = "control.not_running"


class ControlRefusedError(ControlError):
    """The program, or the system, does not let this user in."""

    code = "control.refused"


class ConnectionLostError(ControlError):
    """The connection broke while an answer was due: what was asked for may have happened."""

    code = "control.lost"
    default_safe = "What was asked for may have happened all the same; the program's journal knows."


class ProtocolError(ControlError):
    """The other side does not speak this control API."""

    code = "control.protocol"

    def __init__(self, message: str, *, hint: str = _OTHER_VERSION, **more: Any) -> None:
        super().__init__(message, hint=hint, **more)


def speaks_json(options: Options, args: Sequence[str]) -> bool:
    """Return whether errors go out as JSON, also when the arguments could not even be parsed.

    What follows the name of a plugin's command belongs to that command.
    """
    if options.json:
        return True
    takes_value = {"--state", "--url", "--token-file", "--config"}
    own, skip, found = catalogue.own_commands(), False, False
    for word in args:
        if skip:
            skip = False
        elif word == "--":
            return False
        elif word == "--json":
            return True
        elif word in takes_value:
            skip = True
        elif not word.startswith("-") and not found:
            if word not in own:
                return False
            found = True
    return False


def report(error: Exception, *, options: Options, args: Sequence[str]) -> int:
    """Print an error where it belongs and return the exit code."""
    if _is_help(error) and not speaks_json(options, args):
        # It was not asked for, hence the code; but it is what there is to read, and `| less` must get it.
        click.echo(str(error))
        return int(Exit.USAGE)
    wire, code = _described(error)
    if options.verbose and not isinstance(error, click.ClickException | click.Abort):
        sys.stderr.write("".join(traceback.format_exception(error)))
    if speaks_json(options, args):
        click.echo(json.dumps({"error": wire}, indent=2, default=str))
        return int(code)
    color = None if options.color and not os.environ.get("NO_COLOR") else False
    usage = _usage(error)
    if usage:
        click.echo(usage, err=True)
    if code is Exit.INTERRUPTED:
        click.echo(clean(wire["message"]), err=True)
        return int(code)
    click.echo(click.style("Error: ", fg="red", bold=True) + sentence(wire["message"]), err=True, color=color)
    for line in _details(wire["details"]):
        click.echo(f"  - {line}", err=True)
    for line in last_of_trace(wire["details"]):
        click.echo(f"  | {line}", err=True)
    if wire["safe"]:
        click.echo(click.style("Safe:  ", fg="green") + sentence(wire["safe"]), err=True, color=color)
    if wire["hint"]:
        click.echo(click.style("Do:    ", fg="cyan") + clean_lines(wire["hint"]), err=True, color=color)
    return int(code)


def _described(error: Exception) -> tuple[dict[str, Any], Exit]:
    if isinstance(error, UpgradeError):
        wire = error.to_wire()
        # An error of a newer program keeps the code that this version has no class for.
        wire["code"] = str(error.details.get("code", wire["code"])) if type(error) is UpgradeError else wire["code"]
        return wire, exit_of(str(wire["code"]))
    if isinstance(error, click.Abort):
        return _wire("interrupted", "Interrupted."), Exit.INTERRUPTED
    if _is_help(error):
        return _wire("usage", "Missing command.", hint=_help_of(error)), Exit.USAGE
    if isinstance(error, click.ClickException):
        return _wire("usage", sentence(error.format_message()), hint=_help_of(error)), Exit.USAGE
    message = sentence(f"An error inside noodle itself: {type(error).__name__}: {error}")
    return _wire("internal", message, hint="Run it again with -v and report what it prints."), Exit.FAILED


def _wire(code: str, message: str, *, hint: str = "") -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint, "safe": "", "details": {}}


def _is_help(error: Exception) -> bool:
    """Return whether this is the help of a group that was called without a command; older clicks raise none."""
    return type(error).__name__ == "NoArgsIsHelpError"


def _usage(error: Exception) -> str:
    return error.ctx.get_usage() if isinstance(error, click.UsageError) and error.ctx is not None else ""


def _help_of(error: Exception) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"See `{'noodle' if context is None else context.command_path} --help`."


def _row(row: Mapping[str, Any]) -> str:
    """Return `key (origin) is wrong. What to do.`, as far as they are known."""
    key, origin = str(row.get("key") or ""), str(row.get("origin") or "")
    about = f"{key} ({origin})" if key and origin else key or origin
    said = f"{about} {row['problem']}" if row.get("problem") else str(row.get("message") or about)
    return f"{sentence(said)} {row.get('hint') or ''}".strip()


def last_of_trace(details: Mapping[str, Any]) -> list[str]:
    """Return the end of the traceback of other people's code, where an error has one: it says where it failed."""
    return [clean(line) for line in str(details.get("traceback") or "").rstrip().splitlines()[-_TRACE_LINES:]]


def _details(details: Mapping[str, Any]) -> list[str]:
    """Return the lists among an error's details, a line each: they are what the message has no room for."""
    lines: list[str] = []
    for key in ("problems", "blockers", "findings", "conflicts", "errors", "violations", "reasons"):
        rows = details.get(key)
        for row in rows if isinstance(rows, list | tuple) else ():
            if isinstance(row, Mapping):
                lines.append(clean(_row(row)))
            else:
                lines.append(clean(row))
    return lines[:50]
