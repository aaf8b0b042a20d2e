"""What a container may use: the limits of its control groups (version 2), which are lower than what the machine has."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from attrs import frozen

__all__ = ["ControlGroups", "MemoryOf", "processor_seconds"]

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_MOST_BYTES = 1 << 16
_MICROSECOND = 1e-6


class MemoryOf(NamedTuple):
    """What a group uses of its memory, and how much it may: in bytes."""

    used: int
    limit: int


@frozen
class ControlGroups:
    """The groups of this process, its own one first: each may use no more than those around it."""

    folders: tuple[Path, ...]

    @classmethod
    def of_this_process(cls, *, root: Path = _ROOT, membership: Path = _MEMBERSHIP) -> ControlGroups:
        """Find them; none where there are none of version 2."""
        own = next((line[3:] for line in _text(membership).splitlines() if line.startswith("0::/")), None)
        if own is None:
            return cls(())
        folder = root / own.lstrip("/")
        # In a container the root is the container's own group, and its path outside may be named all the same.
        if ".." in folder.parts or not folder.is_dir():
            folder = root
        return cls((folder, *(outer for outer in folder.parents if outer.is_relative_to(root))))

    def memory(self) -> MemoryOf | None:
        """Return that of the group which is nearest to its limit; None where no group has one."""
        found = [one for one in map(_memory_of, self.folders) if one is not None]
        return max(found, key=lambda one: one.used / one.limit, default=None)

    def processors(self) -> tuple[float, Path] | None:
        """Return how many processors' time may be used, and by which group; None where no group has a limit."""
        found = []
        for folder in self.folders:
            quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
            if quota.isdigit() and period.isdigit() and int(quota) and int(period):
                found.append((int(quota) / int(period), folder))
        return min(found, key=lambda one: one[0], default=None)


def processor_seconds(folder: Path) -> float | None:
    """Return the processors' time that a group has used so far, in seconds; None where that cannot be read."""
    used = _entry(folder / "cpu.stat", "usage_usec")
    return None if used is None else used * _MICROSECOND


def _memory_of(folder: Path) -> MemoryOf | None:
    limit, current = _text(folder / "memory.max").strip(), _text(folder / "memory.current").strip()
    if not (limit.isdigit() and current.isdigit() and int(limit)):
        return None
    # Pages of files that nobody uses are given back before memory is short.
    spare = _entry(folder / "memory.stat", "inactive_file") or 0
    return MemoryOf(max(0, int(current) - spare), int(limit))


def _entry(path: Path, name: str) -> int | None:
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return None


def _text(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return ""
