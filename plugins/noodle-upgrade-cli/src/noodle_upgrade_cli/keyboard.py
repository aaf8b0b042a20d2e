"""A terminal's keys without echo, and the signals that would leave a terminal as it is: all of them in one place."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from types import FrameType, TracebackType
from typing import Any, Self

from attrs import frozen

__all__ = ["Heard", "Keyboard"]

_SIGNALS = (signal.SIGINT, signal.SIGTSTP, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_MOST_BYTES = 1024
_ESCAPE = b"\x1b"


@frozen(kw_only=True)
class Heard:
    """What came: a key, a signal (0 for none), or that the terminal is gone."""

    key: str = ""
    signal: int = 0
    gone: bool = False


class Keyboard:
    """Reads keys one by one, without echo, as long as it is entered.

    The terminal gets its state back on every way out but SIGKILL: SIGINT, SIGTSTP, SIGTERM, SIGHUP and SIGQUIT are
    taken from the system and handed to whoever asks `wait`, who then leaves or calls `suspend`. One that comes again
    before it was heard ends the process.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._bell: tuple[int, int] | None = None
        self._unheard: set[int] = set()

    @classmethod
    def here(cls) -> Keyboard | None:
        """Return the keyboard of this process; None where nobody could press a key.

        That is without a terminal, in the background, and in a thread that gets no signals.
        """
        try:
            descriptor = sys.stdin.fileno()
            if not os.isatty(descriptor) or threading.current_thread() is not threading.main_thread():
                return None
        except (OSError, ValueError, AttributeError):  # stdin is closed, or something that is no file
            return None
        with contextlib.suppress(OSError):  # no terminal that controls jobs: then nobody is in the background
            if os.tcgetpgrp(descriptor) != os.getpgrp():
                return None
        return cls(descriptor)

    def __enter__(self) -> Self:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._bell = (reading, writing)
        try:
            for number in _SIGNALS:
                self._handlers[number] = signal.signal(number, self._ring)
            self._listen()
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def wait(self, seconds: float) -> Heard:
        """Return what comes within so many seconds, signals first."""
        if self._bell is None:
            raise ValueError("the keyboard is not entered")
        bell = self._bell[0]
        ready, _, _ = select.select([bell, self._descriptor], [], [], seconds)
        if bell in ready:
            number = os.read(bell, 1)[0]
            self._unheard.discard(number)
            return Heard(signal=number)
        if self._descriptor not in ready:
            return Heard()
        try:
            read = os.read(self._descriptor, _MOST_BYTES)
        except OSError:
            read = b""
        return Heard(key=_key(read), gone=not read)

    def suspend(self) -> None:
        """Stop this process as Ctrl-Z does, with the terminal as it was; returns when it goes on."""
        self._hush()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        try:
            os.kill(os.getpid(), signal.SIGTSTP)
        finally:
            signal.signal(signal.SIGTSTP, self._ring)
            self._listen()

    def _ring(self, number: int, _: FrameType | None) -> None:
        if number in self._unheard and number != signal.SIGTSTP:
            # Nobody takes it: this process is stuck in a terminal that takes nothing, say.
            self._hush()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._bell is not None:
            self._unheard.add(number)
            with contextlib.suppress(BlockingIOError):
                os.write(self._bell[1], bytes((number,)))

    def _listen(self) -> None:
        before = termios.tcgetattr(self._descriptor)
        self._before = before
        tty.setcbreak(self._descriptor, termios.TCSANOW)

    def _hush(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    def _restore(self) -> None:
        self._hush()
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)
        if self._bell is not None:
            for end in self._bell:
                os.close(end)
            self._bell = None


def _key(read: bytes) -> str:
    """Return the key that was pressed; what comes in one piece with it was pasted, or typed before it was answered.

    An arrow or a function key is a sequence that begins with an escape, and holds letters that are no keys.
    """
    if read.startswith(_ESCAPE):
        return "esc"
    return read.decode("utf-8", errors="ignore")[:1]
