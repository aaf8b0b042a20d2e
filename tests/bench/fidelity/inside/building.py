"""Building instances to look at, without letting a constructor out: what it starts or opens would stay for good.

A thread that waits in the package's code is never out of it, so that a change would be refused for what only the harness
has done. What a constructor wants of the world is therefore denied, as it may be anywhere, in every process alike.
"""

from __future__ import annotations

import _thread
import builtins
import contextlib
import inspect
import io
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["NotHereError", "indoors", "instance_of"]


class NotHereError(RuntimeError):
    """Nothing is started, connected to, written or asked while things are made to be looked at."""


_DOORS: tuple[tuple[Any, str], ...] = (
    (threading.Thread, "start"),
    (_thread, "start_new_thread"),
    (subprocess.Popen, "__init__"),
    (os, "fork"),
    (socket.socket, "__init__"),
    (builtins, "input"),
)
_open = io.open


def _closed(*_: Any, **__: Any) -> Any:
    raise NotHereError


def _reading(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    if set(mode) & set("wax+"):
        raise NotHereError
    return _open(file, mode, *args, **kwargs)


@contextlib.contextmanager
def indoors() -> Iterator[None]:
    """Deny what reaches out of the process; around all that is made, for a class that changes often gets slow."""
    closed = [(owner, name, _closed) for owner, name in _DOORS]
    closed += [(builtins, "open", _reading), (io, "open", _reading)]
    were = [(owner, name, vars(owner)[name]) for owner, name, _ in closed]
    for owner, name, word in closed:
        setattr(owner, name, word)
    try:
        yield
    finally:
        for owner, name, word in were:
            setattr(owner, name, word)


def instance_of(cls: Any) -> tuple[Any, bool]:
    """Return an instance, and whether it was built; a bare one where that takes arguments, or more than there is."""
    try:
        inspect.signature(cls).bind()
        return cls(), True
    except (Exception, SystemExit):
        return cls.__new__(cls), False
