"""`noodle stack`: prove that a set of plugins and drivers fits before anything starts, and record it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from noodle_upgrade_cli import lock as locks
from noodle_upgrade_cli.display import findings_view
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.failures import UsageMistakeError
from noodle_upgrade_cli.options import OwnGroup
from noodle_upgrade_cli.output import grid, line
from noodle_upgrade_cli.probing import examined_anyway
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import counted
from noodle_upgrade_core.model import Severity
from noodle_upgrade_core.wire import to_wire

__all__ = ["stack"]

_FILE = click.Path(exists=True, dir_okay=False)


@click.group(cls=OwnGroup)
def stack() -> None:
    """Check or lock a stack: the plugins, drivers and settings of one system."""


@stack.command()
@click.argument("file", type=_FILE)
@click.option("--locked", is_flag=True, help="Compare with the lock beside FILE.")
@click.option("--lock", "lock_file", metavar="FILE", default="", help="Compare with this lock.")
@with_session
def check(session: Session, file: str, *, locked: bool, lock_file: str) -> int:
    """Prove that the stack of a settings FILE fits together before anything starts.

    Its plugins are installed, fit the core, load and can be ordered; its drivers are there and are what they should be;
    every setting is one. With --locked also: exactly what the lock names is installed, file by file. Ends with 6 when
    something does not fit; warnings alone end with 0.
    """
    report = _examined(session, file)
    if (locked or lock_file) and not _errors(report):
        path = Path(lock_file) if lock_file else _lock_path(file)
        report["findings"] += to_wire(locks.compare(locks.read_lock(path), report))
        report["lock"] = str(path)
    broken = _errors(report)
    if session.out.json:
        session.out.document({"ok": not broken, **{k: v for k, v in report.items() if k != "settings"}})
    else:
        session.out.show(*_shown(report, file, broken=bool(broken)))
    return Exit.PROBLEMS if broken else Exit.OK


@stack.command()
@click.argument("file", type=_FILE)
@click.option(
    "-o", "--output", metavar="FILE", default="", help="Where to write; FILE with the ending .lock if not given."
)
@click.option("--requirements", metavar="FILE", default="", help="Also write `name==version` lines for pip.")
@with_session
def lock(session: Session, file: str, output: str, requirements: str) -> int:
    """Record the stack of a settings FILE, so that it can be installed again and compared.

    The lock is TOML: plugins in their order, drivers, and each distribution with its version and a hash of its files.
    """
    report = _examined(session, file)
    broken = _errors(report)
    if broken:
        if session.out.json:
            session.out.document({"ok": False, "findings": report["findings"]})
        else:
            session.out.show(*_shown(report, file, broken=True))
            session.out.note("Nothing was written: a stack that does not fit cannot be locked.")
        return Exit.PROBLEMS
    made = locks.lock_of(report, stack=Path(file).name)
    path = Path(output) if output else _lock_path(file)
    _write(path, locks.render(made))
    if requirements:
        _write(Path(requirements), "".join(f"{d['name']}=={d['version']}\n" for d in made["distribution"]))
    for row in made["distribution"]:
        if row["record"] == "none":
            session.out.note(f"{row['name']} has no RECORD: only its name and version are locked.", "yellow")
    if session.out.json:
        session.out.document({"ok": True, "lock": str(path), "content": made})
    else:
        words = ", ".join(counted(len(made[kind]), kind) for kind in ("plugin", "driver", "distribution"))
        session.out.show(line(f"Locked {words} in {path}."))
    return Exit.OK


def _examined(session: Session, file: str) -> dict[str, Any]:
    session.out.note("Loading the plugins in a process of their own …", "dim")
    return examined_anyway([*session.options.config, file])


def _errors(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [finding for finding in report["findings"] if finding["severity"] == Severity.ERROR]


def _lock_path(file: str) -> Path:
    return Path(file).with_suffix(".lock")


def _write(path: Path, text: str) -> None:
    # Whole or not at all: half a lock would be taken for the truth.
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise UsageMistakeError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Name a file in a folder that is there."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _shown(report: Mapping[str, Any], file: str, *, broken: bool) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if report["plugins"]:
        rows = [
            [str(n), p["name"], f"{p['distribution']} {p['version']}", ", ".join(p.get("hooks") or ()) or "-"]
            for n, p in enumerate(report["plugins"], 1)
        ]
        parts += [grid(["#", "Plugin", "From", "Hooks"], rows), ""]
    if report["drivers"]:
        rows = [[d["group"], d["name"], f"{d['distribution']} {d['version']}"] for d in report["drivers"]]
        parts += [grid(["Driver of", "Name", "From"], rows), ""]
    findings = [*report["findings"]]
    findings += [
        {
            "severity": p["severity"],
            "subject": p["key"] or p["origin"],
            "message": f"{p['problem']}.",
            "hint": p["hint"],
        }
        for p in report["problems"]
        # Those that are errors are in the findings already, all in one.
        if p["severity"] != Severity.ERROR
    ]
    if findings:
        parts += [findings_view(findings), ""]
    verdict = ("does not fit", "red") if broken else ("fits", "green")
    parts.append(Text.assemble(line(file), " ", verdict, "."))
    return parts
