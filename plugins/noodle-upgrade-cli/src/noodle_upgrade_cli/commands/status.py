"""`noodle components` and `noodle status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from noodle_upgrade_cli.completing import upgrade_ids
from noodle_upgrade_cli.display import (
    arms_rows,
    error_view,
    fields,
    findings_view,
    progress_of,
    result_view,
    stands_still,
    waits_for,
)
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.following import has_ended, waits_for_approval
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.output import grid
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import clean, when

__all__ = ["components", "status"]


@click.command(cls=OwnCommand)
@click.argument("pattern", required=False, default="")
@with_session
def components(session: Session, pattern: str) -> int:
    """List what runs and could be upgraded; PATTERN is part of a name."""
    with session.connected() as client:
        rows = client.components()
    rows = [row for row in rows if pattern.lower() in str(row.get("name", "")).lower()]
    if session.out.json:
        session.out.document({"components": rows})
        return Exit.OK
    marks = (("hot_swappable", "hot-swappable"), ("critical", "critical"))
    session.out.show(
        grid(
            ["Component", "Version", "Type", "Notes", "Depends on"],
            [
                [
                    row.get("name", ""),
                    row.get("version", ""),
                    row.get("component_type", ""),
                    ", ".join(word for key, word in marks if row.get(key)),
                    ", ".join(_dependency(one) for one in row.get("dependencies") or ()),
                ]
                for row in rows
            ],
        )
    )
    if not rows:
        session.out.note("No component fits." if pattern else "The program has no component that a plugin knows.")
    return Exit.OK


def _dependency(value: Any) -> str:
    return f"{value.get('name', '')}{value.get('constraint', '')}" if isinstance(value, Mapping) else str(value)


@click.command(cls=OwnCommand)
@click.argument("upgrade_id", metavar="[ID]", required=False, default="", shell_complete=upgrade_ids)
@with_session
def status(session: Session, upgrade_id: str) -> int:
    """Show the active upgrades with counts, or one upgrade in full.

    Ends with 6 where the program's journal is damaged: its counts may be anything then, and `noodle doctor` says more.
    """
    with session.connected() as client:
        answer = client.upgrade(upgrade_id) if upgrade_id else client.status()
    if session.out.json:
        session.out.document(answer)
    else:
        session.out.show(_one(answer) if upgrade_id else _all(answer))
    return Exit.PROBLEMS if answer.get("findings") else Exit.OK


def _all(answer: Mapping[str, Any]) -> RenderableType:
    enabled = answer.get("enabled", True)
    origin = clean(answer.get("enabled_origin") or "")
    active = [row for row in answer.get("active") or () if isinstance(row, Mapping)]
    parts: list[RenderableType] = []
    if not enabled:
        parts.append(Text(f"Upgrades are switched off ({origin}).", style="yellow"))
    if findings := [row for row in answer.get("findings") or () if isinstance(row, Mapping)]:
        parts.append(findings_view(findings))
    if active:
        parts.append(
            grid(
                ["Upgrade", "What", "Phase", "Traffic", "Waits for", "Since"],
                [
                    [
                        row.get("upgrade_id", ""),
                        progress_of(row),
                        row.get("phase", ""),
                        f"{row['weight']:.0%}" if isinstance(row.get("weight"), int | float) else "-",
                        row.get("awaits") or stands_still(row),
                        when(row.get("started_at")),
                    ]
                    for row in active
                ],
            )
        )
    else:
        parts.append(Text("No upgrade is active."))
    if any(waits_for_approval(row) for row in active):
        parts.append(Text("`noodle approve ID` lets one that waits go on.", style="yellow"))
    if any(row.get("paused") for row in active):
        parts.append(Text("`noodle resume ID` lets one that is paused go on.", style="yellow"))
    rest = {
        key: value for key, value in answer.items() if key not in {"enabled", "enabled_origin", "active", "findings"}
    }
    parts.append(
        fields(
            (key.replace("_", " "), when(value) if key.endswith("_at") else _short(value))
            for key, value in rest.items()
        )
    )
    return Group(*parts)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(one)}" for key, one in value.items() if one not in (None, ""))
    if isinstance(value, list):
        return ", ".join(_short(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value if value is not None else "")


def _one(state: Mapping[str, Any]) -> RenderableType:
    if has_ended(state):
        evidence = _short(state.get("evidence") or "")
        parts: list[RenderableType] = [result_view(state), fields([("evidence", evidence)])]
    else:
        weight = state.get("weight")
        parts = [
            Text(progress_of(state), style="bold"),
            fields(
                [
                    ("upgrade", state.get("upgrade_id")),
                    ("phase", state.get("phase")),
                    ("waiting", waits_for(state) if waits_for_approval(state) else ""),
                    ("held", Text(held, style="yellow") if (held := stands_still(state)) else ""),
                    ("approved by", ", ".join(map(str, state.get("approvals") or ()))),
                    ("traffic", f"{weight:.0%} on the new version" if isinstance(weight, int | float) else ""),
                    ("since", when(state.get("started_at") or state.get("created_at"))),
                    ("done", "; ".join(map(str, state.get("operations") or ()))),
                    ("plan", state.get("plan_digest")),
                ]
            ),
        ]
        if isinstance(state.get("error"), Mapping):
            parts.append(error_view(state["error"]))
    rows = arms_rows(state.get("measured") or {})
    if rows:
        parts.append(grid(["", "Version", "Calls", "Errors", "Share", "p50", "p99", "In flight"], rows))
    audit = [row for row in state.get("audit") or () if isinstance(row, Mapping)]
    if audit:
        parts.append(
            grid(
                ["When", "Phase", "Who", "Why"],
                [[when(r.get("at")), r.get("phase", ""), r.get("who", ""), r.get("why", "")] for r in audit],
            )
        )
    return Group(*parts)
