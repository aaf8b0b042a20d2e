"""Telling local variables: of calls that run, and of generators and coroutines that wait.

A frame must not be held for going back: it would keep all that its call has in its names. So it is told once, and who
goes back looks for the frames that there are by then.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

__all__ = ["LocalsTold", "locals_of", "running"]

_OURS = ("noodle_upgrade_core", "noodle_upgrade_runtime")


class LocalsTold:
    """Binds local variables of a frame to other objects, once, where they still are what they were."""

    __slots__ = ("_changes", "_frame")

    def __init__(self, frame: FrameType, changes: Sequence[tuple[str, Any, Any]]) -> None:
        self._frame: FrameType | None = frame
        self._changes = changes

    def __call__(self) -> None:
        """Do it, and let go of the frame."""
        frame, self._frame = self._frame, None
        if frame is not None:
            now = locals_of(frame)
            new = {name: after for name, before, after in self._changes if now.get(name) is before}
            if new:
                _bind(frame, new)
        self._changes = ()


def running() -> Iterator[FrameType]:
    """Yield the frames of all calls that run in any thread, but for our own."""
    for top in sys._current_frames().values():  # noqa: SLF001 - the one documented way to see other stacks
        frame: FrameType | None = top
        while frame is not None:
            if str(frame.f_globals.get("__name__")).partition(".")[0] not in _OURS:
                yield frame
            frame = frame.f_back


def locals_of(frame: FrameType) -> dict[str, Any]:
    """Return the local variables of a function's frame, but not those that are cells; of a module or a class, none."""
    code = frame.f_code
    if not code.co_flags & inspect.CO_OPTIMIZED:
        return {}
    shown = frame.f_locals
    found = {name: shown[name] for name in code.co_varnames if name in shown and name not in code.co_cellvars}
    _leave(shown)
    return found


if sys.version_info >= (3, 13):

    def _bind(frame: FrameType, new: dict[str, Any]) -> None:
        frame.f_locals.update(new)

    def _leave(shown: Any) -> None:
        """It is a view."""
else:
    import ctypes

    def _bind(frame: FrameType, new: dict[str, Any]) -> None:
        shown = frame.f_locals
        shown.update(new)
        # What debuggers do before Python 3.13 (PEP 667) to set a variable.
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
        _leave(shown)

    def _leave(shown: dict[str, Any]) -> None:
        """Empty the copy, which the frame would keep, and all that is in it."""
        shown.clear()
