"""What is installed, by metadata alone: the entry points that distributions announce to us. Nothing is imported.

The standard library's `entry_points` reads the METADATA of a distribution for its name and version; here both come
from the name of its `.dist-info` folder, and only what mentions us is parsed.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from attrs import field, frozen

__all__ = ["Catalogue", "InstalledEntry", "canonical"]

PREFIX = "noodle_upgrade."
_SUFFIXES = (".dist-info", ".egg-info")
_UNSETTLED_NANOSECONDS = 2_000_000_000
"""A folder that changed this recently may change again within the same tick of its clock: it is read anew."""


def canonical(name: str) -> str:
    """Return a name as PEP 503 compares names: `No_Fridays` and `no-fridays` are the same."""
    return re.sub(r"[-_.]+", "-", name).lower()


@frozen(kw_only=True)
class InstalledEntry:
    """One line of an `entry_points.txt`; `value` is `module:object`, `read(file)` reads the distribution's metadata."""

    group: str
    name: str
    value: str
    distribution: str
    version: str
    read: Callable[[str], str | None] = field(eq=False, repr=False)

    def requirements(self) -> tuple[str, ...]:
        """Return the `Requires-Dist` lines of the distribution, unparsed."""
        text = self.read("METADATA") or self.read("PKG-INFO") or ""
        headers = text.partition("\n\n")[0].splitlines()
        return tuple(line.partition(":")[2].strip() for line in headers if line.lower().startswith("requires-dist:"))


class Catalogue:
    """The entry points of the distributions on a path (`sys.path` when none is given).

    Kept until a folder of the path changes: pip replaces whole `.dist-info` folders, which their parent's time shows.
    """

    def __init__(self, path: Sequence[str] | None = None) -> None:
        self._path = None if path is None else tuple(path)
        self._kept: tuple[tuple[tuple[str, int], ...], tuple[InstalledEntry, ...]] | None = None

    def entries(self, group: str) -> tuple[InstalledEntry, ...]:
        """Return the entries of a group such as `noodle_upgrade.plugins`, sorted by name, then distribution."""
        found = (entry for entry in self._all() if entry.group == group)
        return tuple(sorted(found, key=lambda entry: (entry.name, entry.distribution)))

    def _all(self) -> tuple[InstalledEntry, ...]:
        path = tuple(dict.fromkeys(sys.path if self._path is None else self._path))
        stamp = tuple((folder, _changed(folder)) for folder in path)
        if self._kept is not None and self._kept[0] == stamp:
            return self._kept[1]
        finders = _foreign_finders() if self._path is None else []
        found = tuple(_scan(path, finders))
        settled = time.time_ns() - _UNSETTLED_NANOSECONDS
        # What a finder of another kind knows may change without any folder showing it.
        keep = not finders and all(changed < settled for _, changed in stamp)
        self._kept = (stamp, found) if keep else None
        return found


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns  # noqa: PTH116 - a Path costs more than the call
    except OSError:
        return -1


def _scan(path: Iterable[str], finders: Sequence[Any]) -> Iterator[InstalledEntry]:
    seen: set[str] = set()
    for name, version, read in _distributions(path, finders):
        # As in imports, the first on the path wins: a second copy of a distribution is not there.
        if canonical(name) in seen:
            continue
        seen.add(canonical(name))
        text = read("entry_points.txt")
        if text and PREFIX in text:
            for group, entry, value in _lines(text):
                yield InstalledEntry(
                    group=group, name=entry, value=value, distribution=name, version=version, read=read
                )


_Distribution = tuple[str, str, Callable[[str], str | None]]


def _distributions(path: Iterable[str], finders: Sequence[Any]) -> Iterator[_Distribution]:
    for folder in path:
        try:
            names = sorted(os.listdir(folder or "."))  # noqa: PTH208 - a Path for each of thousands of names is slow
        except NotADirectoryError:
            yield from _foreign([folder])
            continue
        except OSError:
            # A folder of the path that is missing or closed to us provides nothing, to imports neither.
            continue
        for name in names:
            if name.endswith(_SUFFIXES) and not name.startswith("~"):
                yield _named(os.path.join(folder, name))  # noqa: PTH118 - likewise
    if finders:
        yield from _foreign(finders=finders)


def _named(location: str) -> _Distribution:
    stem = os.path.basename(location).rpartition(".")[0]  # noqa: PTH119 - likewise
    name, _, version = stem.partition("-")

    def read(file: str) -> str | None:
        try:
            with open(os.path.join(location, file), encoding="utf-8", errors="replace") as lines:  # noqa: PTH118, PTH123 - likewise
                return lines.read()
        except OSError:
            return None

    return name.replace("_", "-"), version.partition("-")[0], read


def _foreign_finders() -> list[Any]:
    """Return the finders, other than Python's own for paths, that know distributions: those of bundlers."""
    own = "_frozen_importlib_external"
    return [f for f in sys.meta_path if hasattr(f, "find_distributions") and getattr(f, "__module__", "") != own]


def _foreign(path: list[str] | None = None, *, finders: Sequence[Any] = ()) -> Iterator[_Distribution]:
    import importlib.metadata as standard  # noqa: PLC0415 - 15 to 40 ms, rarely needed

    found: Iterable[standard.Distribution] = standard.distributions(path=path) if path is not None else ()
    context = standard.DistributionFinder.Context()
    for distributions in (found, *(finder.find_distributions(context) for finder in finders)):
        for distribution in distributions:
            yield distribution.metadata["Name"], distribution.version, distribution.read_text


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    group = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group.startswith(PREFIX) and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield group, name.strip(), value.strip()
