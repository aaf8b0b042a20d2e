"""Who holds a lease: a process by its host, its number and its start, so that a number used again is not mistaken."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from attrs import frozen

__all__ = ["Holder", "this_process"]


@frozen
class Holder:
    """A process that may hold a lease; `str` gives `host:pid:start`.

    `host` names the machine, its boot and its space of process numbers: only between equal hosts does a process number
    mean anything. `start` is empty where the system does not tell when a process began.
    """

    host: str
    pid: int
    start: str

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.start}"

    @property
    def in_words(self) -> str:
        """How a person would name it."""
        place = "" if self.host == _host() else f" on {self.host.partition('/')[0]}"
        return f"process {self.pid}{place}"

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """Read what `str` wrote; None for anything else."""
        host, _, rest = text.rpartition(":")[0].rpartition(":")
        start = text.rpartition(":")[2]
        return cls(host, int(rest), start) if host and rest.isascii() and rest.isdigit() else None

    def is_dead(self) -> bool:
        """Whether this process has certainly ended; False on another host, where nobody here can know."""
        if self.host != _host() or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it lives, under another user; its start says whether it is the same process
        start = _start_of(self.pid)
        return start == "ended" or (bool(self.start) and bool(start) and start != self.start)


def this_process() -> Holder:
    """Return the process that asks."""
    return Holder(_host(), os.getpid(), _start_of(os.getpid()))


def _host() -> str:
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8])
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]"))
    return "/".join(parts).replace(":", "_")


def _start_of(pid: int) -> str:
    """Return when a process began, in the kernel's ticks; `ended` for one that nobody has waited for yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name in brackets may hold anything, also brackets.
    state, *fields = stat.rpartition(")")[2].split()
    return "ended" if state in {"Z", "X"} else fields[18]
