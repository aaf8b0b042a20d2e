"""How soon the interpreter's threads take turns: sooner while an upgrade is at work, later while a change is made.

A thread that wants the interpreter's lock waits for 5 ms before another one is asked to give it away, each time anew.
The steps of an upgrade are short, and each goes through several threads: beside a service that is busy they would wait
for the most part. And a request would wait as long for a thread that stages, each time that it has read or sent.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

__all__ = ["SOONER_SECONDS", "at_least", "sooner"]

SOONER_SECONDS = 0.0005
_ROUNDED_SECONDS = 5e-7
"""The interpreter cuts to whole microseconds: half of one more, and what is read and set stays what it is."""

_lock = threading.Lock()
_sooner: dict[object, float] = {}
_later: dict[object, float] = {}
_theirs: float | None = None
_ours = 0.0


def sooner(seconds: float = SOONER_SECONDS) -> contextlib.AbstractContextManager[None]:
    """Have threads take turns after so many seconds at most within a context.

    What the program sets by itself meanwhile is what it has afterwards.
    """
    return _asking(_sooner, seconds)


def at_least(seconds: float) -> contextlib.AbstractContextManager[None]:
    """Have threads take turns after so many seconds at the earliest within a context, whoever wants it sooner."""
    return _asking(_later, seconds)


@contextlib.contextmanager
def _asking(among: dict[object, float], seconds: float) -> Iterator[None]:
    asking = object()
    with _lock:
        among[asking] = seconds
        _settle()
    try:
        yield
    finally:
        with _lock:
            del among[asking]
            _settle()


def _settle() -> None:
    global _theirs, _ours  # noqa: PLW0603 - there is one interval in a process
    found = sys.getswitchinterval()
    if _theirs is None or abs(found - _ours) > 2 * _ROUNDED_SECONDS:
        _theirs = found
    wanted = max([_theirs, *_later.values()]) if _later else min([_theirs, *_sooner.values()])
    if abs(found - wanted) > 2 * _ROUNDED_SECONDS:
        sys.setswitchinterval(wanted + _ROUNDED_SECONDS)
    _ours = sys.getswitchinterval()
    if not (_sooner or _later):
        _theirs = None
