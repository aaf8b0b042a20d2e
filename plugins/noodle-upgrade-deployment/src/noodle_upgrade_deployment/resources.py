"""What of the machine is in use: processors, memory, and the disk that holds the state.

In a container its own limits count, where they are lower than what the machine has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import field, frozen

from noodle_upgrade_core import Finding, Severity, checks
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.isolation import attempt, in_words
from noodle_upgrade_deployment.cgroups import ControlGroups, processor_seconds

__all__ = ["ResourceError", "Resources", "Thresholds", "Usage", "exceeded"]

T = TypeVar("T")

_LIMIT_SECONDS = 10.0
_WORDS = {
    "cpu_usage": "of the processors' time is in use",
    "memory_usage": "of the memory is in use",
    "disk_usage": "of the disk that holds the state is in use",
}


class ResourceError(UpgradeError):
    """How much of a resource is in use cannot be told."""

    code = "resources.unreadable"


@frozen(kw_only=True)
class Usage:
    """What is in use, each in percent from 0 to 100."""

    cpu_usage: float
    memory_usage: float
    disk_usage: float


class Thresholds(Protocol):
    """The most that may be in use, in percent; that much is still allowed."""

    @property
    def cpu_usage(self) -> float:
        """Of the processors' time."""

    @property
    def memory_usage(self) -> float:
        """Of the memory."""

    @property
    def disk_usage(self) -> float:
        """Of the disk that holds the state."""


@frozen
class Resources:
    """Looks at this machine, and at the file system of `directory`, which need not be there yet.

    The processors are watched for `seconds`: what they do at one moment says nothing.
    """

    directory: Path = field(converter=Path)
    seconds: float = field(default=0.5, validator=checks.between(0.05, 60.0), kw_only=True)
    groups: ControlGroups = field(factory=ControlGroups.of_this_process, kw_only=True)

    async def read(self) -> Usage:
        """Return what is in use; takes `seconds`, and does not stop the event loop.

        Raises `ResourceError` when a resource cannot be read, or not within ten seconds.
        """
        cpu = await self._processors()
        memory = await _apart("the memory", self._memory)
        return Usage(cpu_usage=cpu, memory_usage=memory, disk_usage=await _apart("the disk", self._disk))

    async def _processors(self) -> float:
        limit = self.groups.processors()
        before = await _apart("the processors", lambda: _spent(limit))
        await asyncio.sleep(self.seconds)
        after = await _apart("the processors", lambda: _spent(limit))
        busy, whole = after.busy - before.busy, after.whole - before.whole
        usage = busy / whole if whole > 0.0 else 0.0
        if limit is not None and before.group is not None and after.group is not None:
            passed = after.at - before.at
            usage = max(usage, (after.group - before.group) / (limit[0] * passed))
        return _percent(usage)

    def _memory(self) -> float:
        import psutil  # noqa: PLC0415 - nobody pays for it who asks for no resource

        machine, group = psutil.virtual_memory(), self.groups.memory()
        used = 1.0 - machine.available / machine.total
        if group is not None and group.limit < machine.total:
            used = max(used, group.used / group.limit)
        return _percent(used)

    def _disk(self) -> float:
        import psutil  # noqa: PLC0415 - as above

        place = self.directory.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        return _percent(psutil.disk_usage(str(place)).percent / 100.0)


@frozen(kw_only=True)
class _Spent:
    """The time that processors have spent by a moment, in seconds: busy, and in all; and that of a group."""

    at: float
    busy: float
    whole: float
    group: float | None


def _spent(limit: tuple[float, Path] | None) -> _Spent:
    import psutil  # noqa: PLC0415 - as above

    read: Any = psutil.cpu_times()
    times = read._asdict()
    # What guests take is in the users' time already; waiting for a disk is no work of a processor.
    whole = sum(seconds for kind, seconds in times.items() if not kind.startswith("guest"))
    idle = times["idle"] + times.get("iowait", 0.0)
    group = None if limit is None else processor_seconds(limit[1])
    return _Spent(at=time.monotonic(), busy=whole - idle, whole=whole, group=group)


def _percent(share: float) -> float:
    return round(100.0 * min(1.0, max(0.0, share)), 2)


async def _apart(what: str, look: Callable[[], T]) -> T:
    """Look in a thread that is left behind when it hangs, as a file system in the network may."""
    name = f"noodle resources: {what}"
    tried = await asyncio.to_thread(attempt, look, limit=_LIMIT_SECONDS, name=name)
    if tried.hung or tried.error is not None:
        problem = f"within {_LIMIT_SECONDS:g} s" if tried.error is None else f"({in_words(tried.error)})"
        raise ResourceError(
            f"how much of {what} is in use cannot be read {problem}.",
            hint="Without it no threshold can be held; mend that, or set the threshold to 100.",
        ) from tried.error
    value: Any = tried.value
    return value  # type: ignore[no-any-return]


def exceeded(usage: Usage, thresholds: Thresholds) -> tuple[Finding, ...]:
    """Return an error for each resource of which more is in use than its threshold allows."""
    found = []
    for name, words in _WORDS.items():
        used, most = getattr(usage, name), getattr(thresholds, name)
        if used > most:
            found.append(
                Finding(
                    severity=Severity.ERROR,
                    code=f"resources.{name}",
                    message=f"{used:.1f} % {words}, and at most {most:g} % may be.",
                    subject=name,
                    hint=f"Wait until less is in use, or raise resource_threshold.{name}.",
                )
            )
    return tuple(found)
