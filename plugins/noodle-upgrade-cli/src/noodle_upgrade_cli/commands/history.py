"""`noodle history` and `noodle rollback-points`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from noodle_upgrade_cli.completing import component_names
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.output import grid
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import seconds, span, when

__all__ = ["history", "rollback_points"]


@click.command(cls=OwnCommand)
@click.argument("component", required=False, default="", shell_complete=component_names)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@with_session
def history(session: Session, component: str, limit: int) -> int:
    """List past and present upgrades, newest first; COMPONENT keeps those of one."""
    with session.connected() as client:
        rows = client.history(limit, component)
    if session.out.json:
        session.out.document({"history": rows})
        return Exit.OK
    session.out.show(
        grid(
            ["Upgrade", "What", "Phase", "Who", "When", "Took", "Error"],
            [
                [
                    row.get("upgrade_id", ""),
                    _what(row),
                    row.get("phase", ""),
                    _who(row),
                    when(row.get("created_at")),
                    seconds(span(row.get("created_at"), _ended_at(row))),
                    (row.get("error") or {}).get("message", ""),
                ]
                for row in rows
            ],
        )
    )
    if not rows:
        session.out.note("Nothing was upgraded yet.")
    return Exit.OK


_ENDS = frozenset({"done", "rejected", "aborted", "rolled_back", "stuck"})


def _ended_at(row: Mapping[str, Any]) -> Any:
    """Return when an upgrade first ended: going back from it later is no part of it."""
    audit = [one for one in row.get("audit") or [] if isinstance(one, Mapping)]
    ends = [one.get("at") for one in audit if one.get("phase") in _ENDS]
    return ends[0] if ends else row.get("updated_at")


def _what(row: Mapping[str, Any]) -> str:
    before, after = row.get("from_versions") or {}, row.get("to_versions") or {}
    names = [str(name) for name in row.get("components") or ()]
    return ", ".join(f"{name} {before.get(name, '?')} -> {after.get(name, '?')}" for name in names)


def _who(row: Mapping[str, Any]) -> str:
    audit = row.get("audit") or []
    people = [str(one["who"]) for one in audit if isinstance(one, Mapping) and one.get("who")]
    return ", ".join(dict.fromkeys(people))


@click.command("rollback-points", cls=OwnCommand)
@click.argument("component", required=False, default="", shell_complete=component_names)
@with_session
def rollback_points(session: Session, component: str) -> int:
    """List what can be gone back to, newest first; COMPONENT keeps those of one."""
    with session.connected() as client:
        rows = client.rollback_points(component)
    if session.out.json:
        session.out.document({"rollback_points": rows})
        return Exit.OK
    session.out.show(
        grid(
            ["Point", "Component", "Back to", "From", "Made", "Expires"],
            [
                [
                    row.get("rollback_id", ""),
                    row.get("component_name", ""),
                    row.get("from_version", ""),
                    row.get("to_version", ""),
                    when(row.get("created_at")),
                    when(row.get("expires_at")) if row.get("expires_at") else "never",
                ]
                for row in rows
            ],
        )
    )
    if not rows:
        session.out.note("There is nothing to go back to.")
    return Exit.OK
