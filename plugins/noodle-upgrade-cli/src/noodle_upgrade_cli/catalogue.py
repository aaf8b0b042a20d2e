"""Which commands there are, without importing any: ours from a table, those of plugins from installed metadata."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["GROUP", "OWN", "SERVED_BY", "Entry", "Foreign", "foreign_commands", "own_commands", "slow_lookup"]

GROUP = "noodle_upgrade.commands"
"""The entry-point group by which plugins add commands."""

SERVED_BY: Mapping[str, str] = {"run": "noodle-upgrade-server"}
"""Commands that people look for here and that another distribution brings."""


class Entry(NamedTuple):
    """A command of ours: `target` is `module:object`, imported when the command is called."""

    name: str
    target: str
    help: str


class Foreign(NamedTuple):
    """A command that a plugin brings."""

    name: str
    target: str
    distribution: str
    version: str


_AT = "noodle_upgrade_cli.commands."

OWN: Mapping[str, tuple[Entry, ...]] = {
    "Change what runs": (
        Entry("plan", _AT + "plan:plan", "Say what an upgrade would do, how, and what cannot be done."),
        Entry("upgrade", _AT + "upgrade:upgrade", "Upgrade components of the running program."),
        Entry("approve", _AT + "gates:approve", "Approve an upgrade that waits for a person."),
        Entry("pause", _AT + "gates:pause", "Let no more traffic of an upgrade move, until it is resumed."),
        Entry("resume", _AT + "gates:resume", "End a pause."),
        Entry("promote", _AT + "gates:promote", "Go on with an upgrade without waiting for evidence."),
        Entry("cancel", _AT + "gates:cancel", "Stop an upgrade; what it had moved goes back."),
        Entry("rollback", _AT + "rollback:rollback", "Go back to the version before."),
    ),
    "Look": (
        Entry("components", _AT + "status:components", "List what runs and could be upgraded."),
        Entry("status", _AT + "status:status", "Show the active upgrades, or one upgrade."),
        Entry("watch", _AT + "watch:watch", "Follow upgrades live."),
        Entry("history", _AT + "history:history", "List past upgrades, newest first."),
        Entry("rollback-points", _AT + "history:rollback_points", "List what can be gone back to."),
    ),
    "Set up and check": (
        Entry("plugins", _AT + "plugins:plugins", "List, describe and check the installed plugins."),
        Entry("stack", _AT + "stack:stack", "Check or lock a stack of plugins."),
        Entry("config", _AT + "config:config", "Show or check the settings."),
        Entry("doctor", _AT + "doctor:doctor", "Check the durable state; also while the program is stopped."),
        Entry("completion", _AT + "completion:completion", "Print shell completion for bash, zsh or fish."),
    ),
}


def own_commands() -> dict[str, Entry]:
    """Return our commands by name."""
    return {entry.name: entry for entries in OWN.values() for entry in entries}


def foreign_commands(path: Iterable[str] | None = None) -> dict[str, Foreign]:
    """Return the commands that installed distributions announce, by name; ours cannot be taken over.

    Reads `entry_points.txt` files only. The standard library's reader parses far more than this needs, which costs
    a third of the time that `noodle --help` may take.
    """
    mine = own_commands()
    found: dict[str, Foreign] = {}
    for distribution, version, text in _announcements(sys.path if path is None else path):
        for name, target in _section(text, GROUP):
            if name not in mine:
                found.setdefault(name, Foreign(name, target, distribution, version))
    return found


def slow_lookup(name: str) -> Foreign | None:
    """Find a plugin's command the thorough way: also in archives and through special importers."""
    import importlib.metadata  # noqa: PLC0415 - 35 ms that only an unknown command pays

    for point in importlib.metadata.entry_points(group=GROUP, name=name):
        source = point.dist
        return Foreign(name, point.value, source.name if source else "", source.version if source else "")
    return None


def _announcements(path: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    for folder in dict.fromkeys(path):
        try:
            with os.scandir(folder or ".") as entries:
                names = sorted(e.name for e in entries if e.name.endswith((".dist-info", ".egg-info")))
        except OSError:
            continue  # sys.path may name folders that do not exist, and archives
        for name in names:
            distribution, _, version = name.rpartition(".")[0].partition("-")
            key = re.sub(r"[-_.]+", "-", distribution).lower()
            # The first of a name wins, as it does for imports.
            if key in seen:
                continue
            seen.add(key)
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8") as file:  # noqa: PTH123, PTH118 - pathlib is not imported for this
                    yield key, version, file.read()
            except (OSError, UnicodeDecodeError):
                continue  # most distributions announce nothing


def _section(text: str, wanted: str) -> Iterator[tuple[str, str]]:
    if wanted not in text:
        return
    inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            inside = line == f"[{wanted}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            yield name.strip(), target.split("[", 1)[0].strip()
