"""Who is inside of some members while the others go on serving.

Calls that came through a handle whose traffic moves are counted in its lane. What is inside the component and came in
another way (a thread or a task of its own, a method that was taken off a handle, a call from before traffic began to
move) cannot be told to be one member's, and is waited for whosever it is.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterable, Sequence
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.heap import tracked
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.quiescence import Blocker, Looks, belongs, frame_of, place
from noodle_upgrade_runtime.routing import Lane, RoutedCall

__all__ = ["MemberLooks"]

_SUSPENDED = (CoroutineType, GeneratorType, AsyncGeneratorType)
_LED_THROUGH = (*_SUSPENDED, RoutedCall)
_ROUTED = Lane.enter.__globals__
"""The globals of the code that every routed call comes through."""


@frozen
class _Occupied(Blocker):
    """Calls that are inside one member: `where` is its name."""

    calls: int = 0

    def __str__(self) -> str:
        return f"{self.calls} call{'s' * (self.calls != 1)} in member {self.where!r}"


class MemberLooks(Looks):
    """Whether a call is inside of these lanes, or one that no lane has counted inside the component."""

    def __init__(self, names: Names, suspended: Names, lanes: Sequence[Lane]) -> None:
        super().__init__(names, suspended)
        self._lanes = tuple(lanes)

    def busy(self) -> bool:
        """Return whether a call is inside, other than this thread's."""
        return any(lane.inside for lane in self._lanes) or bool(self._strangers())

    def asleep(self) -> list[Any]:
        """Return the suspended calls that no lane has counted."""
        if not self.suspended:
            return []
        objects = [one for one in tracked() if type(one) in _SUSPENDED]
        found = [one for one in objects if _is_suspended_in(one, self.suspended)]
        counted = _followed(objects) if found else set()
        return [one for one in found if id(one) not in counted]

    def inside(self) -> tuple[Blocker, ...]:
        """Return who is."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        threads = [Blocker(names.get(ident, str(ident)), where) for ident, where in self._strangers()]
        asleep = [Blocker("", place(frame)) for frame in map(frame_of, self.asleep()) if frame is not None]
        occupied = [_Occupied("", lane.member, lane.inside) for lane in self._lanes if lane.inside]
        return (*occupied, *threads, *asleep)

    def _strangers(self) -> list[tuple[int, str]]:
        me = threading.get_ident()
        frames = sys._current_frames()  # noqa: SLF001 - the one documented way to see other stacks
        found = [(ident, _uncounted(frame, self.names)) for ident, frame in frames.items() if ident != me]
        return [(ident, place(frame)) for ident, frame in found if frame is not None]


def _uncounted(frame: FrameType | None, names: Names) -> FrameType | None:
    """Return the frame by which a thread came into the component, unless a routed call has led there."""
    found: FrameType | None = None
    while frame is not None:
        if belongs(frame, names):
            found = frame
        elif frame.f_globals is _ROUTED:
            found = None
        frame = frame.f_back
    return found


def _is_suspended_in(one: Any, names: Names) -> bool:
    """Return whether a call is asleep in the component; one that runs at this moment is on a thread's stack."""
    if getattr(one, "cr_running", False) or getattr(one, "gi_running", False):
        return False
    frame = frame_of(one)
    return frame is not None and belongs(frame, names)


def _followed(objects: Iterable[Any]) -> set[int]:
    """Return the ids of what routed calls have begun and wait for, and of what that waits for in turn."""
    todo = [one for one in objects if _is_routed(one)]
    found: set[int] = set()
    while todo:
        for inner in gc.get_referents(todo.pop()):
            if type(inner) in _LED_THROUGH and id(inner) not in found:
                found.add(id(inner))
                todo.append(inner)
    return found


def _is_routed(one: Any) -> bool:
    frame = frame_of(one)
    return frame is not None and frame.f_globals is _ROUTED
