"""`noodle plugins`: what is installed, what each does, and whether it works. No running program is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from noodle_upgrade_cli.display import error_view, fields
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.inventory import InstalledDriver, Inventory
from noodle_upgrade_cli.options import OwnGroup
from noodle_upgrade_cli.output import grid, line
from noodle_upgrade_cli.probing import examined, examined_drivers
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import clean, seconds, sentence
from noodle_upgrade_core import __version__ as core_version
from noodle_upgrade_core.drivers import GROUPS
from noodle_upgrade_core.errors import PluginIncompatibleError, UpgradeError
from noodle_upgrade_core.plugins import PluginInfo
from noodle_upgrade_core.plugins.installed import canonical
from noodle_upgrade_core.plugins.selection import compatible

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
    inventory = Inventory.taken()
    rows = []
    for info in inventory.plugins:
        name = canonical(info.name)
        listed = {canonical(n) for n in (*chosen.enabled, *chosen.required)} if chosen.enabled else {name}
        let_in = name in listed and name not in {canonical(n) for n in chosen.disabled}
        rows.append({**_wire(info), "takes_part": let_in and _fits(info), "let_in": let_in})
    drivers: dict[str, list[dict[str, Any]]] = {group: [] for group in GROUPS}
    for driver in inventory.drivers:
        drivers[driver.group].append(driver.to_wire())
    if session.out.json:
        session.out.document({"plugins": rows, "drivers": drivers})
        return Exit.OK
    unfit = f"no: this core is {core_version}"
    session.out.show(
        grid(
            ["Plugin", "Distribution", "Version", "Needs core", "Takes part"],
            [
                [
                    r["name"],
                    r["distribution"],
                    r["version"],
                    r["requires_core"] or "any",
                    "yes" if r["takes_part"] else unfit if r["let_in"] else "no",
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


def _fits(info: PluginInfo) -> bool:
    try:
        compatible(info, core_version)
    except PluginIncompatibleError:
        return False
    return True


def _wire(info: PluginInfo) -> dict[str, Any]:
    keys = ("name", "distribution", "version", "value", "requires_core")
    return {key: getattr(info, key) for key in keys}


@plugins.command("info")
@click.argument("name")
@with_session
def info_of(session: Session, name: str) -> int:
    """Describe plugins and drivers: where they come from, what they do, what they take. They are loaded to be asked.

    NAME is a plugin's, a driver's (GROUP:NAME where several groups have it), or that of the distribution that brings
    them. Ends with 6 when one does not work.
    """
    found = Inventory.taken().named(name)
    rows = [_loaded(session, info) for info in found.plugins]
    drivers = _driven(found.drivers)
    if session.out.json:
        session.out.document({"plugins": rows, "drivers": drivers})
    else:
        session.out.show(*[part for row in rows for part in (_described(row), "")])
        session.out.show(*[part for row in drivers for part in (_driver_described(row), "")])
    return Exit.OK if all(row["error"] is None for row in (*rows, *drivers)) else Exit.PROBLEMS


def _driven(drivers: Sequence[InstalledDriver], note: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """Return the report of each driver: those of one distribution are loaded together, in a process of their own."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    together: dict[str, list[tuple[str, str]]] = {}
    for driver in drivers:
        if driver.error is None:
            together.setdefault(driver.distributions[0], []).append((driver.group, driver.name))
        else:
            rows[driver.group, driver.name] = {"error": driver.error.to_wire()}
    for distribution, names in together.items():
        note(f"drivers of {distribution}: {', '.join(name for _, name in names)}")
        rows |= {(row["group"], row["name"]): row for row in examined_drivers(names)}
    return [driver.to_wire() | rows[driver.group, driver.name] for driver in drivers]


def _loaded(session: Session, info: PluginInfo) -> dict[str, Any]:
    """Return the report of one plugin; one that ends its process or hangs is reported all the same."""
    try:
        report = examined(session.settings_files(), only=(info.name,))
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


def _driver_described(row: Mapping[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [
        Text(clean(row["name"]), style="bold"),
        fields(
            [
                ("what", row.get("summary")),
                ("driver of", row["group"]),
                ("distribution", f"{row['distribution']} {row['version']}"),
                ("entry point", row["value"]),
                ("takes", ", ".join(row.get("parameters") or ())),
                ("loads in", seconds(row.get("seconds")) if row.get("seconds") is not None else ""),
            ]
        ),
    ]
    if row.get("error"):
        parts.append(error_view(row["error"]))
    return Group(*parts)


@plugins.command("doctor")
@click.argument("names", nargs=-1)
@with_session
def doctor(session: Session, names: tuple[str, ...]) -> int:
    """Load each installed plugin and driver and report; ends with 6 when one does not work.

    Each plugin is loaded in a process of its own, and so are the drivers of each distribution: what crashes or hangs
    spoils nothing else. NAMES are as for `noodle plugins info`.
    """
    inventory = Inventory.taken()
    if names:
        inventory = reduce(or_, [inventory.named(name) for name in names])
    rows = []
    for number, info in enumerate(inventory.plugins, 1):
        session.out.note(f"{number}/{len(inventory.plugins)} {info.name}", "dim")
        rows.append(_loaded(session, info))
    drivers = _driven(inventory.drivers, lambda text: session.out.note(text, "dim"))
    broken = [row for row in (*rows, *drivers) if row["error"] is not None]
    if session.out.json:
        session.out.document({"plugins": rows, "drivers": drivers, "ok": not broken})
        return Exit.PROBLEMS if broken else Exit.OK
    whole = [("plugin", row, ", ".join(row.get("hooks") or ())) for row in rows]
    whole += [(row["group"], row, row.get("summary") or "") for row in drivers]
    session.out.show(
        grid(
            ["What", "Name", "From", "State", "Loads in", "What it does, or what is wrong"],
            [
                [
                    what,
                    row["name"],
                    f"{row['distribution']} {row['version']}",
                    Text("broken", style="red") if row["error"] else Text("works", style="green"),
                    seconds(row.get("seconds")),
                    line(f"{sentence(row['error']['message'])} {row['error']['hint']}" if row["error"] else does),
                ]
                for what, row, does in whole
            ],
        )
    )
    if not inventory.plugins and not names:
        session.out.note("No plugin is installed. Install one with `pip install noodle-upgrade-runtime`.")
    return Exit.PROBLEMS if broken else Exit.OK
