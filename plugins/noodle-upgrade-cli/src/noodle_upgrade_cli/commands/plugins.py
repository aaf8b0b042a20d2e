"""`noodle plugins`: what is installed, what each does, and whether it works. No running program is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from attrs import asdict
from rich.console import Group, RenderableType
from rich.text import Text

from noodle_upgrade_cli.display import error_view, fields
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.failures import UsageMistakeError
from noodle_upgrade_cli.options import OwnGroup
from noodle_upgrade_cli.output import grid, line
from noodle_upgrade_cli.probing import examined
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import clean, seconds
from noodle_upgrade_core.drivers import GROUPS, Drivers
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.plugins import PluginInfo
from noodle_upgrade_core.plugins import loading as plugin_sets
from noodle_upgrade_core.plugins.installed import Catalogue, canonical

__all__ = ["plugins"]


@click.group(cls=OwnGroup)
def plugins() -> None:
    """List, describe and check the installed plugins."""


@plugins.command("list")
@with_session
def list_plugins(session: Session) -> int:
    """List installed plugins and drivers, by metadata alone: none is imported."""
    settings = session.settings()
    chosen = settings.runtime_upgrade.plugins
    catalogue = Catalogue()
    rows = []
    for info in plugin_sets.index(catalogue=catalogue, requirements=True):
        name = canonical(info.name)
        listed = {canonical(n) for n in (*chosen.enabled, *chosen.required)} if chosen.enabled else {name}
        takes_part = name in listed and name not in {canonical(n) for n in chosen.disabled}
        rows.append({**_wire(info), "takes_part": takes_part})
    installed = Drivers(catalogue=catalogue)
    drivers = {group: _driver_rows(installed, group) for group in GROUPS}
    if session.out.json:
        session.out.document({"plugins": rows, "drivers": drivers})
        return Exit.OK
    session.out.show(
        grid(
            ["Plugin", "Distribution", "Version", "Needs core", "Takes part"],
            [
                [
                    r["name"],
                    r["distribution"],
                    r["version"],
                    r["requires_core"] or "any",
                    "yes" if r["takes_part"] else "no",
                ]
                for r in rows
            ],
        ),
        "",
        grid(
            ["Driver of", "Name", "Distribution", "Version"],
            [[g, r["name"], r["distribution"], r["version"]] for g, many in drivers.items() for r in many],
        ),
    )
    return Exit.OK


def _wire(info: PluginInfo) -> dict[str, Any]:
    keys = ("name", "distribution", "version", "value", "requires_core")
    return {key: getattr(info, key) for key in keys}


def _driver_rows(installed: Drivers, group: str) -> list[dict[str, str]]:
    rows = []
    for name in installed.names(group):
        try:
            rows.append(asdict(installed.info(group, name)))
        except UpgradeError as error:  # claimed by two distributions: a line of the list, and no reason to stop
            rows.append({"name": name, "group": group, "distribution": error.message, "version": "", "value": ""})
    return rows


@plugins.command("info")
@click.argument("name")
@with_session
def info_of(session: Session, name: str) -> int:
    """Describe one plugin: where it comes from, what it implements, its settings. It is loaded to be asked."""
    info = _known(name)
    row = _loaded(session, info)
    if session.out.json:
        session.out.document({"plugin": row})
    else:
        session.out.show(_described(row))
    return Exit.OK if row["error"] is None else Exit.PROBLEMS


def _known(name: str) -> PluginInfo:
    infos = plugin_sets.index(requirements=True)
    found = next((info for info in infos if canonical(info.name) == canonical(name)), None)
    if found is None:
        import difflib  # noqa: PLC0415 - only a wrong name pays for it

        names = [info.name for info in infos]
        close = difflib.get_close_matches(name, names, n=1)
        raise UsageMistakeError(
            f"No plugin {name!r} is installed.",
            hint=f"Did you mean {close[0]!r}?" if close else f"Installed: {', '.join(names) or 'none'}.",
        )
    return found


def _loaded(session: Session, info: PluginInfo) -> dict[str, Any]:
    """Return the report of one plugin; one that ends its process or hangs is reported all the same."""
    try:
        report = examined(session.settings_files(), only=(info.name,), drivers=False)
    except UpgradeError as error:
        return {**_wire(info), "error": error.to_wire()}
    row: dict[str, Any] = next((one for one in report["plugins"] if one["name"] == info.name), _wire(info))
    broken = [finding for finding in report["findings"] if finding["severity"] == "error"]
    if row.get("error") is None and broken:
        first = broken[0]
        row["error"] = {
            "code": first["code"],
            "message": first["message"],
            "hint": first["hint"],
            "safe": "",
            "details": {},
        }
    row.setdefault("error", None)
    return row


def _described(row: Mapping[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [
        Text(clean(row["name"]), style="bold"),
        fields(
            [
                ("what", row.get("summary")),
                ("distribution", f"{row['distribution']} {row['version']}"),
                ("entry point", row["value"]),
                ("needs core", row["requires_core"] or "any"),
                ("hooks", ", ".join(row.get("hooks") or ())),
                ("before", ", ".join(row.get("before") or ())),
                ("after", ", ".join(row.get("after") or ())),
                ("settings section", row.get("section")),
                ("loads in", seconds(row.get("seconds")) if row.get("seconds") is not None else ""),
            ]
        ),
    ]
    settings = row.get("settings") or []
    if settings:
        parts.append(
            grid(["Setting", "Variable", "What"], [[s["key"], ", ".join(s["variables"]), s["help"]] for s in settings])
        )
    if row.get("error"):
        parts.append(error_view(row["error"]))
    return Group(*parts)


@plugins.command("doctor")
@click.argument("names", nargs=-1)
@with_session
def doctor(session: Session, names: tuple[str, ...]) -> int:
    """Load each installed plugin in a process of its own and report; ends with 6 when one does not work."""
    infos = [_known(name) for name in names] if names else list(plugin_sets.index(requirements=True))
    rows = []
    for number, info in enumerate(infos, 1):
        session.out.note(f"{number}/{len(infos)} {info.name}", "dim")
        rows.append(_loaded(session, info))
    broken = [row for row in rows if row["error"] is not None]
    if session.out.json:
        session.out.document({"plugins": rows, "ok": not broken})
        return Exit.PROBLEMS if broken else Exit.OK
    session.out.show(
        grid(
            ["Plugin", "Version", "State", "Loads in", "Hooks, or what is wrong"],
            [
                [
                    row["name"],
                    row["version"],
                    Text("broken", style="red") if row["error"] else Text("works", style="green"),
                    seconds(row.get("seconds")),
                    line(
                        f"{row['error']['message']} {row['error']['hint']}" if row["error"] else ", ".join(row["hooks"])
                    ),
                ]
                for row in rows
            ],
        )
    )
    if not rows:
        session.out.note("No plugin is installed. Install one with `pip install noodle-upgrade-runtime`.")
    return Exit.PROBLEMS if broken else Exit.OK
