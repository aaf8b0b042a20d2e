"""Installed distributions, found by the names of their folders and read as seldom as can be.

Reading every METADATA and RECORD is what makes `packages_distributions` slow. Here a distribution costs one look at its
folder's name and, once, one small file; what was read is kept until the folder changes.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

from attrs import frozen
from packaging.utils import canonicalize_name

from noodle_upgrade_core.sources.trees import Contents

__all__ = ["Distributions", "Installed"]

_SUFFIXES = (".dist-info", ".egg-info")


@frozen(kw_only=True, slots=False)
class Installed:
    """A distribution on disk: `root` is its entry of `sys.path`, `changed_at` when its metadata was written."""

    name: str
    version: str
    root: str
    info: Path
    top_levels: tuple[str, ...]
    changed_at: float

    @functools.cached_property
    def import_names(self) -> tuple[str, ...]:
        """What can be imported of it, with dots where it lies in a namespace that others share; read at first use."""
        return Contents.of(_files(self.info)).import_names or self.top_levels

    def requires(self) -> tuple[str, ...]:
        """Return its Requires-Dist lines."""
        return tuple(PathDistribution(self.info).requires or ())


class Distributions:
    """The distributions along `sys.path`; of several with one name the first counts, as for imports."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Installed | None] = {}

    def along(self, path: list[str] | None = None) -> Iterator[Installed]:
        """Yield every distribution; broken ones are passed over."""
        seen = set()
        for root in list(sys.path) if path is None else path:
            for entry in _infos(root or os.curdir):
                found = self._read(root or os.curdir, entry)
                if found is not None and (key := canonicalize_name(found.name)) not in seen:
                    seen.add(key)
                    yield found

    def _read(self, root: str, entry: os.DirEntry[str]) -> Installed | None:
        try:
            stamp = entry.stat()
        except OSError:
            return None
        key = (entry.path, stamp.st_mtime_ns)
        if key not in self._known:
            self._known[key] = _installed(root, Path(entry.path), stamp.st_mtime)
        return self._known[key]


def _infos(root: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root) as entries:
            return sorted((e for e in entries if e.name.endswith(_SUFFIXES)), key=lambda e: e.name)
    except OSError:
        return []  # a zip file, or an entry that does not exist: nothing that could be upgraded


def _installed(root: str, info: Path, changed_at: float) -> Installed | None:
    name, _, version = info.name.rpartition(".")[0].partition("-")
    version = version.partition("-")[0]
    if not name:
        return None
    if not version or info.is_file():
        # An old egg-info, whose folder does not say its version.
        told: Any = PathDistribution(info).metadata if info.is_dir() else {}
        if "Version" not in told or "Name" not in told:
            return None
        name, version = str(told["Name"]), str(told["Version"])
    return Installed(
        name=_proper_name(info, name),
        version=version,
        root=root,
        info=info,
        top_levels=_top_levels(info, name),
        changed_at=changed_at,
    )


def _proper_name(info: Path, name: str) -> str:
    """Return the name with the dashes that its folder's name cannot have."""
    try:
        with (info / "METADATA").open(encoding="utf-8", errors="replace") as file:
            for _, line in zip(range(10), file, strict=False):
                if line.lower().startswith("name:"):
                    return line.partition(":")[2].strip() or name
    except OSError:
        pass
    return name.replace("_", "-")


def _top_levels(info: Path, name: str) -> tuple[str, ...]:
    for read in (_told, _recorded):
        if found := read(info):
            return found
    return (name.replace("-", "_"),)


def _told(info: Path) -> tuple[str, ...]:
    try:
        text = (info / "top_level.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(sorted({line.strip().partition("/")[0] for line in text.splitlines() if line.strip()}))


def _files(info: Path) -> list[str]:
    try:
        with (info / "RECORD").open(encoding="utf-8") as file:
            return [line.partition(",")[0].strip('"') for line in file]
    except (OSError, UnicodeDecodeError):
        return []


def _recorded(info: Path) -> tuple[str, ...]:
    names = set()
    for path in _files(info):
        first, slash, _ = path.partition("/")
        if not slash:
            first = first.partition(".")[0] if first.endswith((".py", ".so", ".pyd")) else ""
        if first.isidentifier() and first != "__pycache__":
            names.add(first)
    return tuple(sorted(names))
