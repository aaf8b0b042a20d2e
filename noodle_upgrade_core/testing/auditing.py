"""What code does to the world outside, seen through Python's audit events and, for clocks, its profiler."""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["effect_of", "watched"]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_READS = ("os.listdir", "os.scandir", "os.walk", "glob.")
_EFFECTS = {
    "ftplib.": "opens a connection",
    "http.client.": "opens a connection",
    "imaplib.": "opens a connection",
    "os.chdir": "changes the working directory",
    "os.chmod": "changes a file",
    "os.chown": "changes a file",
    "os.exec": "starts a process",
    "os.fork": "starts a process",
    "os.kill": "sends a signal",
    "os.link": "changes a file",
    "os.mkdir": "changes a folder",
    "os.posix_spawn": "starts a process",
    "os.putenv": "changes the environment",
    "os.remove": "changes a file",
    "os.rename": "changes a file",
    "os.rmdir": "changes a folder",
    "os.spawn": "starts a process",
    "os.symlink": "changes a file",
    "os.system": "starts a process",
    "os.truncate": "changes a file",
    "os.unsetenv": "changes the environment",
    "shutil.": "changes files",
    "smtplib.": "opens a connection",
    "socket.": "opens a socket",
    "sqlite3.connect": "opens a database",
    "subprocess.": "starts a process",
    "tempfile.": "makes a file",
    "urllib.": "opens a connection",
    "webbrowser.": "starts a process",
}
_CLOCKS = frozenset(
    {"clock_gettime", "gmtime", "localtime", "monotonic", "now", "perf_counter", "process_time", "thread_time", "time"}
    | {"clock_gettime_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns", "thread_time_ns", "time_ns"}
    | {"today", "utcnow"}
)


def effect_of(event: str, arguments: tuple[Any, ...], *, reading: bool) -> str:
    """Say what an audit event does outside the process, or return "" for nothing.

    With `reading`, looking at files counts too.
    """
    if event == "open":
        return _opening(arguments, reading=reading)
    if reading and event.startswith(_READS):
        return f"looks into a folder ({event})"
    what = next((what for prefix, what in _EFFECTS.items() if event.startswith(prefix)), "")
    return f"{what} ({_shown(event, arguments)})" if what else ""


def _opening(arguments: tuple[Any, ...], *, reading: bool) -> str:
    path, mode, flags = (*arguments, None, None, None)[:3]
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool((flags or 0) & _WRITING)
    if writes and path != os.devnull:
        return f"writes the file {os.fsdecode(path)}"
    return f"reads the file {os.fsdecode(path)}" if reading else ""


def _shown(event: str, arguments: tuple[Any, ...]) -> str:
    first = repr(arguments[0])[:100] if arguments and isinstance(arguments[0], str | bytes) else ""
    return f"{event} {first}".rstrip()


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect what this thread does meanwhile: effects on the world, reads of files, looks at a clock.

    The garbage collector rests: what others have it call, and when it comes, is not the doing of who is watched.
    """
    seen: list[str] = []
    collectors = _collectors()
    before, collecting = sys.getprofile(), gc.isenabled()
    gc.disable()
    collectors.current = seen

    def profile(_frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and (what := _clock(called)):
            seen.append(what)

    sys.setprofile(profile)
    try:
        yield seen
    finally:
        sys.setprofile(before)
        collectors.current = None
        if collecting:
            gc.enable()


@functools.cache
def _collectors() -> threading.local:
    """Return where each thread collects. Python has no way to take an audit hook out again: there is one a process."""
    collectors = threading.local()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        seen = getattr(collectors, "current", None)
        if seen is not None and (what := effect_of(event, arguments, reading=True)):
            seen.append(what)

    sys.addaudithook(hook)
    return collectors


def _clock(called: Any) -> str:
    name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    module = getattr(called, "__module__", None) or (owner if isinstance(owner, type) else type(owner)).__module__
    if module not in {"time", "datetime"}:
        return ""
    if name == "sleep":
        return "sleeps by itself (time.sleep)"
    return f"reads a clock ({module}.{name})" if name in _CLOCKS else ""
