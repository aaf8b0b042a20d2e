"""An instant in which no thread is inside the code that changes.

Operations are atomic, but a call that is half-way through the old code when they are made would go on in a mixture. So
a change is made at a moment when no thread's stack holds a frame of the component: between the check and the change no
other thread runs, so that none can enter.

This is about threads that run. A suspended generator or coroutine of the component is on no stack: after a patch it
goes on in its own old code object, and calls the new functions. Where state is handed over no such call may be under
way either, because what it does to the old object afterwards would be lost: `at_quiescence` waits for it on request.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, Self

from attrs import frozen

from noodle_upgrade_core.errors import DrainTimeoutError
from noodle_upgrade_core.turns import at_least
from noodle_upgrade_runtime.heap import tracked
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.names import Names

__all__ = [
    "LEAST_ALONE",
    "Alone",
    "Blocker",
    "Looks",
    "at_quiescence",
    "belongs",
    "blockers",
    "frame_of",
    "in_one_go",
    "place",
    "stayers",
    "when_quiet",
]

NOBODY = Names()
_SWITCH_SECONDS = 0.0002
"""So much of it is not relied on: what passes between asking for the interpreter's lock and looking at the clock."""
LEAST_ALONE = 0.005
"""Seconds of a time alone, where nothing says that it takes more."""
_TIMES_ASKED = 2
"""So many times what is relied on: the system may let this thread wait between getting the lock and the clock."""
_MOST_TRIES = 8
"""Each has more time than the one before, in which others stand still: what lacks it then gives it away itself."""
_LEAST_WITH_A_LOOK = 0.05
_TIMES_A_LOOK = 2
_PAUSE_SECONDS = 0.0005
_LOOK_SECONDS = 0.03
_LONGEST_LOOK_SECONDS = 0.25


@frozen
class Blocker:
    """Who is inside the component: `where` is `file:line function`, innermost frame of the component.

    `thread` is empty for a coroutine or generator that is suspended.
    """

    thread: str
    where: str

    def __str__(self) -> str:
        return f"thread {self.thread!r} in {self.where}" if self.thread else f"a suspended call in {self.where}"


def blockers(names: Names) -> tuple[Blocker, ...]:
    """Return the threads, other than this one, that are inside these packages now."""
    me = threading.get_ident()
    known = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the one documented way to see other stacks
        if ident != me and (inside := _inside(frame, names)) is not None:
            found.append(Blocker(known.get(ident, str(ident)), place(inside)))
    return tuple(found)


def stayers(names: Names, *, within: float) -> tuple[Blocker, ...]:
    """Return the threads that are in one call of these packages for all of `within` seconds: a server's loop, say.

    Returns as soon as there is none. Where they are is where they were at the last look.
    """
    until = time.monotonic() + within
    found = _outermost(names)
    pause = _LOOK_SECONDS
    while found and (left := until - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
        now = _outermost(names)
        found = {ident: frame for ident, frame in found.items() if now.get(ident) is frame}
    if not found:
        return ()
    known = {thread.ident: thread.name for thread in threading.enumerate()}
    return tuple(Blocker(known.get(ident, str(ident)), place(frame)) for ident, frame in sorted(found.items()))


def _outermost(names: Names) -> dict[int, FrameType]:
    """Return for each other thread that is inside the frame by which it came in: what it does from there may change."""
    me = threading.get_ident()
    found = {}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - see above
        inside: FrameType | None = frame if ident != me else None
        while inside is not None:
            if belongs(inside, names):
                found[ident] = inside
            inside = inside.f_back
    return found


def place(frame: FrameType) -> str:
    """Say where a frame is, for people."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"


def belongs(frame: FrameType, names: Names) -> bool:
    """Return whether a frame runs code of these packages, in a version that was not given up."""
    name = frame.f_globals.get("__name__")
    if not isinstance(name, str):
        return False
    module = sys.modules.get(name)
    if module is not None and vars(module) is not frame.f_globals:
        # Another module of that name: one that is being staged, say, by an import that hangs and was given up.
        return False
    if module is None and isinstance(name, ModuleName):
        # A private version that was given up, and that a call hangs in: a shadow's, say. Nobody waits for it.
        return False
    return name in names


def _inside(frame: FrameType | None, names: Names) -> FrameType | None:
    while frame is not None:
        if belongs(frame, names):
            return frame
        frame = frame.f_back
    return None


def _asleep(names: Names) -> list[Any]:
    """Return the coroutines and generators of these packages that have begun or will, and have not ended."""
    if not names:
        return []
    kinds = (CoroutineType, GeneratorType, AsyncGeneratorType)
    found = [one for one in tracked() if type(one) in kinds]
    return [one for one in found if (frame := frame_of(one)) is not None and belongs(frame, names)]


def frame_of(one: Any) -> FrameType | None:
    """Return the frame of a generator or a coroutine, None when it has ended."""
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        if hasattr(one, name):
            frame: FrameType | None = getattr(one, name)
            return frame
    return None


class _Sleepers:
    """Looks for suspended calls without stopping the program for it.

    To look through the whole heap takes as long as a request. So those that were found are watched until they have
    ended, and the next look comes when ten times its length has passed.
    """

    def __init__(self, names: Names, find: Callable[[], list[Any]]) -> None:
        self._names = names
        self._find = find
        self._found: list[weakref.ref[Any]] = []
        self._next = 0.0
        self.seconds = 0.0
        """How long the last look took."""

    def any(self) -> bool:
        """Whether some were there at the last look and have not ended, or it is too early to look again."""
        if not self._names:
            return False
        if any(frame_of(one) is not None for ref in self._found if (one := ref()) is not None):
            return True
        started = time.monotonic()
        if started < self._next:
            return True
        self._found = [weakref.ref(one) for one in self._find()]
        self.seconds = time.monotonic() - started
        self._next = time.monotonic() + 10 * self.seconds
        return bool(self._found)


def _busy(names: Names) -> bool:
    me = threading.get_ident()
    frames = sys._current_frames()  # noqa: SLF001 - see above
    return any(ident != me and _inside(frame, names) is not None for ident, frame in frames.items())


class Looks:
    """Whether a call is inside these packages, or, for those in `suspended`, asleep there."""

    def __init__(self, names: Names, suspended: Names) -> None:
        self.names = names
        self.suspended = suspended
        self._sleepers = _Sleepers(suspended, self.asleep)

    def busy(self) -> bool:
        """Return whether a thread is inside, other than this one."""
        return _busy(self.names)

    def asleep(self) -> list[Any]:
        """Return the calls that are suspended there."""
        return _asleep(self.suspended)

    def quiet(self) -> bool:
        """Return whether none seems to be; cheap enough to ask often while others run."""
        return not (self._sleepers.any() or self.busy())

    @property
    def seconds(self) -> float:
        """How long a look takes, as far as it is known."""
        return self._sleepers.seconds

    def quiet_now(self) -> bool:
        """Return whether none is: true for as long as nobody else runs."""
        return not (self.busy() or self.asleep())

    def inside(self) -> tuple[Blocker, ...]:
        """Return who is."""
        asleep = tuple(Blocker("", place(frame)) for frame in map(frame_of, self.asleep()) if frame is not None)
        return (*blockers(self.names), *asleep)


class Alone:
    """A time in which this thread runs alone: `with alone: ...`, for `seconds`, as far as it waits for nothing itself.

    A thread that waits for the GIL asks for it after a whole interval in which nobody else got it. The interval is that
    at the beginning of its wait: so a long one is set before this thread gives the GIL away. All that wait when it has
    it again have begun since, or have seen it change hands. Beside a thread that gives it away by request only, to get
    it takes as long as the time that is asked for.
    """

    def __init__(self, seconds: float = LEAST_ALONE) -> None:
        self.seconds = seconds
        self._until = float("inf")
        self._begun = self._used = 0.0
        self._turns = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as turns:
            turns.enter_context(at_least(_TIMES_ASKED * self.seconds))
            time.sleep(_PAUSE_SECONDS)  # in the main thread a signal may end it
            # The program may have set another interval meanwhile.
            self._until = time.perf_counter() + min(self.seconds, sys.getswitchinterval() / _TIMES_ASKED)
            self._begun = time.thread_time()
            self._turns = turns.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._used = time.thread_time() - self._begun
        self._turns.close()

    def longer(self) -> None:
        """Ask for twice as much the next time, or twice of what this thread has used, where that was more."""
        self.seconds = 2 * max(self.seconds, self._used)

    def is_over(self) -> bool:
        """Return whether others may have run meanwhile, because it took longer; False for one that nobody entered."""
        return time.perf_counter() > self._until - _SWITCH_SECONDS


def in_one_go(change: Callable[[], bool | None], alone: Alone | None = None) -> None:
    """Make a change while no other thread runs, whoever is inside; it has more time whenever that is over.

    Raises `DrainTimeoutError` when no time is long enough, and nothing has changed.
    """
    alone = alone or Alone()
    for _ in range(_MOST_TRIES):
        with alone:
            if change() is not False:
                return
        alone.longer()
    raise _never_alone()


def _never_alone() -> DrainTimeoutError:
    return DrainTimeoutError(
        f"Other threads ran while the change was made ready, at each of {_MOST_TRIES} tries.",
        hint="Upgrade when fewer threads are busy, or use the generation mechanism (a handle).",
        details={"blockers": ["other threads ran while the change was made ready"]},
    )


def at_quiescence(
    change: Callable[[], bool | None],
    names: Names,
    *,
    suspended: Names = NOBODY,
    within: float,
    force: bool = False,
    at_once: bool = False,
    alone: Alone | None = None,
    looks: Looks | None = None,
) -> tuple[Blocker, ...]:
    """Call `change` at an instant in which no other thread is inside these packages.

    Nor, for those in `suspended`, any coroutine or generator.

    Tries for `within` seconds. Then, with `force`, it makes the change all the same and returns who was inside (nobody
    otherwise); without it raises `DrainTimeoutError` that names them, and nothing has changed. `at_once` says that
    nobody was inside a moment ago: the heap is then looked through once, while nobody else runs. `alone` is the time
    for that: a change that finds it over before it has done anything returns False, and is tried again with more.
    `looks` see who is inside in another way than by these names.
    """
    alone = alone or Alone()
    if suspended:
        alone.seconds = max(alone.seconds, _LEAST_WITH_A_LOOK)
    until = time.monotonic() + within
    looks = looks or Looks(names, suspended)
    tries = 0
    while True:
        time.sleep(_PAUSE_SECONDS)
        if at_once or looks.quiet():
            at_once = False
            alone.seconds = max(alone.seconds, _TIMES_A_LOOK * looks.seconds)
            with alone:
                # Once more, now that nobody else runs: one may have come in, or fallen asleep, since.
                quiet = looks.quiet_now()
                if quiet and change() is not False:
                    return ()
            if quiet:
                # Nobody stands in its way: all that it lacked was time. A change that gives the interpreter away
                # beside busy threads lacks it always.
                tries += 1
                if tries >= _MOST_TRIES:
                    raise _never_alone()
                alone.longer()
                at_once = True
                continue
        if time.monotonic() >= until:
            break
    if not force:
        raise _never_quiet(looks.inside(), within)
    inside = looks.inside()
    in_one_go(change, alone)
    return inside


def when_quiet(
    names: Names,
    *,
    suspended: Names = NOBODY,
    within: float,
    force: bool = False,
    alone: Alone | None = None,
    looks: Looks | None = None,
) -> tuple[Blocker, ...]:
    """Wait until none is inside, as `at_quiescence` does, but while others go on: one may be inside again by now.

    They have all had their turn when it returns: nobody waits because of the look. `alone` is made long enough for
    another one.
    """
    until = time.monotonic() + within
    looks = looks or Looks(names, suspended)
    while True:
        time.sleep(_PAUSE_SECONDS)
        if looks.quiet():
            if alone is not None:
                alone.seconds = max(alone.seconds, _TIMES_A_LOOK * looks.seconds)
            time.sleep(_PAUSE_SECONDS)
            return ()
        if time.monotonic() >= until:
            break
    if not force:
        raise _never_quiet(looks.inside(), within)
    return looks.inside()


def _never_quiet(inside: tuple[Blocker, ...], within: float) -> DrainTimeoutError:
    return DrainTimeoutError(
        f"For {within:g} s some call was always inside the code that changes: "
        + ("; ".join(str(blocker) for blocker in inside) or "a different one at each look")
        + ".",
        hint="Wait for the call to end, raise runtime.quiesce, or give runtime.on_busy=force: running calls then go on"
        " in a mixture of old and new code.",
        details={"blockers": [str(blocker) for blocker in inside]},
    )
