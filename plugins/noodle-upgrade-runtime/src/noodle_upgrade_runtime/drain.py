"""Knowing that a version is no longer running, at no cost to its callers, and who keeps it when it still is.

Calls inside a version that serves no more are found on the threads' stacks and among what is suspended. Once it is let
go of, more is known: every frame, generator and coroutine holds its code object, and when a version's names are gone,
its code objects die with the last of them. A weak reference tells, without a scan and without a counter.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    TracebackType,
)
from typing import Any

from attrs import frozen

from noodle_upgrade_core.errors import DrainTimeoutError
from noodle_upgrade_runtime.heap import tracked
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.quiescence import NOBODY, place

__all__ = ["Drain", "Held", "InFlight"]

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 2.0
_MOST_NAMED = 20


@frozen(kw_only=True)
class Held:
    """Something that keeps a version: `kind` is thread, coroutine, generator, or leak; `where` is for people."""

    kind: str
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what} at {self.where}" if self.where else f"{self.kind} {self.what}"


_Inside = Callable[[FrameType], bool]


class InFlight:
    """The calls that are inside some versions which get no new ones: on a stack, or suspended.

    `spaces` are those of private versions, `names` the modules of a version that was imported publicly.
    """

    def __init__(self, spaces: Sequence[Space] = (), names: Names = NOBODY) -> None:
        self._spaces = tuple(spaces)
        self._names = names

    def holders(self) -> tuple[Held, ...]:
        """Name them."""
        codes = {id(code) for space in self._spaces for code in space.living_codes()}

        def inside(frame: FrameType) -> bool:
            name = frame.f_globals.get("__name__")
            return (name in self._names and not isinstance(name, ModuleName)) or id(frame.f_code) in codes

        return (*_threads(inside), *_suspended(tracked(), inside))[:_MOST_NAMED]

    def wait(self, seconds: float) -> tuple[Held, ...]:
        """Wait until all have left, at most this long; return who is still inside."""
        until = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while holders := self.holders():
            left = until - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(_LONGEST_PAUSE, pause * 2)
        return holders


class Drain:
    """The end of some released versions."""

    def __init__(self, spaces: Sequence[Space]) -> None:
        self._gone = threading.Event()
        self._stopped = False
        self._refs: dict[int, weakref.ref[CodeType]] = {}
        for code in (code for space in spaces for code in space.living_codes()):
            self._refs[id(code)] = weakref.ref(code, self._died)
        self._died(None)

    def _died(self, _: object) -> None:
        if all(ref() is None for ref in self._refs.values()):
            self._gone.set()

    @property
    def finished(self) -> bool:
        """Whether nothing of the versions is left; says so without looking for it."""
        return self._gone.is_set() and not self._stopped

    def stop(self) -> None:
        """Let whoever waits go on: nobody wants to know any more."""
        self._stopped = True
        self._gone.set()

    def wait(self, seconds: float) -> bool:
        """Wait until the last call has left; return whether it has within this time.

        A version refers to itself in circles, so that collections are needed: made at growing distances.
        """
        until = time.monotonic() + seconds
        pause, longest = _FIRST_PAUSE, max(_LONGEST_PAUSE, seconds / 10)
        while not self._gone.is_set():
            gc.collect()
            left = until - time.monotonic()
            if self._gone.wait(max(0.0, min(pause, left))):
                break
            if left <= 0:
                return self._gone.is_set()
            pause = min(longest, pause * 2)
        return True

    def require(self, seconds: float) -> None:
        """Wait, and raise `DrainTimeoutError` that names what is left."""
        if not self.wait(seconds):
            held = [str(one) for one in self.holders()]
            raise DrainTimeoutError(
                f"The old version is still in use after {seconds:g} s: {'; '.join(held) or 'by something unseen'}.",
                hint="Wait for it; nothing is killed.",
                details={"blockers": held},
            )

    def holders(self) -> tuple[Held, ...]:
        """Name who keeps the version: threads inside it, suspended coroutines and generators, then leaks."""
        codes = {key for key, ref in self._refs.items() if ref() is not None}
        if not codes:
            return ()

        def inside(frame: FrameType) -> bool:
            return id(frame.f_code) in codes

        found = list(_threads(inside))
        objects = tracked()
        try:
            found += _suspended(objects, inside)
            if not found:
                found += _leaks(objects, codes)
        finally:
            del objects
        return tuple(found[:_MOST_NAMED])


def _threads(inside: _Inside) -> Iterator[Held]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, top in sys._current_frames().items():  # noqa: SLF001 - the one documented way to see other stacks
        frame: FrameType | None = top
        while frame is not None:
            if inside(frame):
                yield Held(kind="thread", what=repr(names.get(ident, ident)), where=place(frame))
                break
            frame = frame.f_back


def _suspended(objects: Sequence[Any], inside: _Inside) -> Iterator[Held]:
    for one in objects:
        if isinstance(one, CoroutineType):
            kind, code, frame = "coroutine", one.cr_code, one.cr_frame
        elif isinstance(one, GeneratorType):
            kind, code, frame = "generator", one.gi_code, one.gi_frame
        elif isinstance(one, AsyncGeneratorType):
            kind, code, frame = "async generator", one.ag_code, one.ag_frame
        else:
            continue
        if frame is not None and inside(frame):
            yield Held(kind=kind, what=code.co_qualname, where=place(frame))


def _leaks(objects: Sequence[Any], codes: set[int]) -> Iterator[Held]:
    """Name kept tracebacks, and bound methods and functions that modules or objects outside hold."""
    attributes: dict[int, str] | None = None
    for one in objects:
        if isinstance(one, TracebackType):
            if id(one.tb_frame.f_code) in codes:
                yield Held(kind="leak", what=f"a kept traceback of {one.tb_frame.f_code.co_qualname}", where="")
            continue
        function = one.__func__ if isinstance(one, MethodType) else one
        if not isinstance(function, FunctionType) or id(function.__code__) not in codes:
            continue
        attributes = _module_attributes() if attributes is None else attributes
        where = attributes.get(id(one), "")
        if isinstance(one, MethodType):
            yield Held(kind="leak", what=f"bound method {function.__qualname__}", where=where)
        elif where:
            # A function that only its own version holds is no leak: it goes with it.
            yield Held(kind="leak", what=f"function {function.__qualname__}", where=where)


def _module_attributes() -> dict[int, str]:
    """Return `module.name` for every object that a module binds, by its id."""
    return {
        id(value): f"{name}.{key}"
        for name, module in tuple(sys.modules.items())
        for key, value in tuple(getattr(module, "__dict__", {}).items())
        if isinstance(value, FunctionType | MethodType)
    }
