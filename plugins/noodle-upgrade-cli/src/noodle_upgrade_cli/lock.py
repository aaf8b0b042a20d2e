"""A stack's lock: which plugins and drivers take part, and exactly which installed files they come from.

The lock is TOML. A distribution is recorded by name, version and the sha256 of what its RECORD says of its files,
without what differs between two installations of the same wheel (scripts, caches, the installer's own notes).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from noodle_upgrade_cli.catalogue import SERVED_BY, foreign_commands
from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_core.model import Finding, Severity
from noodle_upgrade_core.plugins.installed import canonical

__all__ = ["compare", "installed_closure", "lock_of", "read_lock", "render"]

LOCK_VERSION = 1
_MOST_BYTES = 8 << 20
_ANEW = "Make it anew with `noodle stack lock`."
# Written by whoever installs, different for the same wheel.
_NOTES = ("/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json")


def lock_of(report: Mapping[str, Any], *, stack: str) -> dict[str, Any]:
    """Return the lock of what `examining.examine` found."""
    plugins = [{key: row[key] for key in ("name", "distribution", "version", "value")} for row in report["plugins"]]
    drivers = [
        {key: row[key] for key in ("group", "name", "distribution", "version", "value")} for row in report["drivers"]
    ]
    roots = [
        "noodle-upgrade-core",
        *_commands(),
        *(row["distribution"] for row in (*plugins, *drivers) if row["distribution"]),
    ]
    return {
        "lock_version": LOCK_VERSION,
        "stack": stack,
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "plugin": plugins,
        "driver": sorted(drivers, key=lambda row: (row["group"], row["name"])),
        "distribution": [
            {"name": canonical(found.name), "version": found.version, "record": record_digest(found)}
            for found in installed_closure(roots)
        ],
    }


def _commands() -> list[str]:
    """Return the distributions that bring `noodle` and `noodle run`, if they are installed."""
    brought = foreign_commands()
    return ["noodle-upgrade-cli", *(brought[name].distribution for name in SERVED_BY if name in brought)]


def installed_closure(roots: Iterable[str]) -> list[Distribution]:
    """Return these distributions and all that they need, as installed, by name; what is missing is left out."""
    found: dict[str, Distribution] = {}
    pending: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        name, extras = pending.pop()
        key = (canonical(name), extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            one = distribution(name)
        except PackageNotFoundError:
            continue
        found[key[0]] = one
        pending += [(need.name, frozenset(need.extras)) for need in _needs(one, extras)]
    return [found[name] for name in sorted(found)]


def _needs(one: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in one.requires or ():
        try:
            need = Requirement(text)
        except InvalidRequirement:
            continue  # pip would not have installed it either
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield need


def record_digest(one: Distribution) -> str:
    """Return `sha256:…` over the files that the RECORD names with their hashes, or `none` without a RECORD."""
    rows = sorted(_record(one))
    if not rows:
        return "none"
    text = "\n".join(f"{path},{digest}" for path, digest in rows)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _record(one: Distribution) -> Iterator[tuple[str, str]]:
    text = one.read_text("RECORD") or ""
    for row in csv.reader(text.splitlines()):
        path, digest = (row[0], row[1]) if len(row) > 1 else ("", "")
        if digest and not path.startswith(("../", "/")) and not (path.endswith(_NOTES) and ".dist-info/" in path):
            yield path, digest


def render(lock: Mapping[str, Any]) -> str:
    """Return a lock as TOML; the same lock gives the same text."""
    lines = ["# Made by `noodle stack lock`; compare with `noodle stack check FILE --locked`.", ""]
    lines += [f"{key} = {_quoted(value)}" for key, value in lock.items() if not isinstance(value, list)]
    for key, rows in lock.items():
        if isinstance(rows, list):
            for row in rows:
                lines += ["", f"[[{key}]]", *(f"{name} = {_quoted(value)}" for name, value in row.items())]
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    # JSON's strings are TOML's, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_lock(path: Path) -> dict[str, Any]:
    """Return a lock that was written by `render`; raises `SettingsError` for what is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The lock {path} cannot be read: {error.strerror}.",
            hint=f"Make it with `noodle stack lock FILE --output {path}`.",
        ) from error
    if len(content) > _MOST_BYTES:
        raise SettingsError(f"The lock {path} has more than {_MOST_BYTES >> 20} MiB.", hint=_ANEW)
    try:
        lock = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"The lock {path} is not TOML: {error}.", hint=_ANEW) from error
    version = lock.get("lock_version")
    if version != LOCK_VERSION:
        raise SettingsError(
            f"The lock {path} is of version {version!r}, and this noodle reads version {LOCK_VERSION}.", hint=_ANEW
        )
    for key in ("plugin", "driver", "distribution"):
        rows = lock.setdefault(key, [])
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows
        ):
            raise SettingsError(f"The lock {path} is damaged: {key!r} is no list of tables with a name.", hint=_ANEW)
    return lock


def compare(lock: Mapping[str, Any], report: Mapping[str, Any]) -> list[Finding]:
    """Return what differs between a lock and what is installed: no finding means that both are the same."""
    now = lock_of(report, stack=str(lock.get("stack", "")))
    findings = []
    if lock.get("python") != now["python"]:
        findings.append(
            _finding(
                "python", f"the lock was made with Python {lock.get('python')}, this is {now['python']}", "warning"
            )
        )
    findings += _order(lock["plugin"], now["plugin"])
    findings += _rows("plugin", lock["plugin"], now["plugin"], ("distribution", "version", "value"))
    findings += _rows("driver", _named(lock["driver"]), _named(now["driver"]), ("distribution", "version", "value"))
    findings += _rows("distribution", lock["distribution"], now["distribution"], ("version", "record"))
    for row in now["distribution"]:
        findings += _files(distribution(row["name"]))
    return findings


def _named(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "name": f"{row.get('group')}: {row['name']}"} for row in rows]


def _order(locked: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[Finding]:
    before, after = [row["name"] for row in locked], [row["name"] for row in now]
    if before == after or set(before) != set(after):
        return []
    return [_finding("plugins", f"take part in another order: {', '.join(after)}; locked: {', '.join(before)}")]


def _rows(
    kind: str, locked: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> Iterator[Finding]:
    before, after = {row["name"]: row for row in locked}, {row["name"]: row for row in now}
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield _finding(name, f"the {kind} is locked, and is not there")
        elif name not in before:
            yield _finding(name, f"the {kind} takes part, and is not locked")
        else:
            for key in keys:
                old, new = before[name].get(key), after[name].get(key)
                if old != new:
                    words = "its files are others" if key == "record" else f"its {key} is {new}, locked is {old}"
                    yield _finding(name, words)
                    break


def _files(one: Distribution) -> Iterator[Finding]:
    """A RECORD says what was installed; only the files say what is there."""
    name = canonical(one.name)
    for path, digest in sorted(_record(one)):
        algorithm, _, wanted = digest.partition("=")
        try:
            made = hashlib.new(algorithm, Path(str(one.locate_file(path))).read_bytes()).digest()
        except (OSError, ValueError) as error:
            yield _finding(name, f"{path} cannot be compared: {error}")
            continue
        if base64.urlsafe_b64encode(made).rstrip(b"=").decode() != wanted:
            yield _finding(name, f"{path} was changed after it was installed")


def _finding(subject: str, words: str, severity: str = "error") -> Finding:
    return Finding(
        severity=Severity(severity),
        code="stack.lock",
        subject=subject,
        message=f"{subject}: {words}.",
        hint="Install what the lock names, or lock anew with `noodle stack lock`." if severity == "error" else "",
    )
