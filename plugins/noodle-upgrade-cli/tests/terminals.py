"""A real pseudo-terminal of a certain size, with a real process in it that the terminal controls."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SECONDS = 30.0
_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]")


class Screen:
    """A process on a terminal; `lines` is what the terminal shows of its last frame."""

    def __init__(
        self, *command: str, directory: Path, environ: dict[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        kept = {name: value for name, value in environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env=kept | {"TERM": "xterm"},
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one system call, no lock
        )
        self.seen = ""

    @property
    def frames(self) -> list[str]:
        """The frames that were drawn whole, as text."""
        frames = re.split(r"\x1b\[H", self.seen)[1:-1]
        # Taking a screen of its own is followed by an empty one.
        return [text for one in frames if (text := _CODES.sub("", one))]

    @property
    def lines(self) -> list[str]:
        """The lines of the last whole frame."""
        frames = self.frames
        return frames[-1].replace("\r\n", "\n").split("\n") if frames else []

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def said(self) -> str:
        """All that was written so far, as text."""
        return _CODES.sub("", self.seen)

    def until(self, *words: str) -> str:
        """Wait until the last frame has all these words."""
        return self.wait_for(lambda: all(word in self.text for word in words), f"{words}")

    def until_said(self, words: str) -> None:
        """Wait until these words have come, in a frame or not."""
        self.wait_for(lambda: words in self.said, words)

    def wait_for(self, true: Callable[[], bool], what: str) -> str:
        end = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < end, f"never: {what}\n{self.text or self.seen[-3000:]}"
            assert self._read(0.2) or self.process.poll() is None, f"it ended: {what}\n{self.seen[-3000:]!r}"
        return self.text

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            chunk = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += chunk.decode(errors="replace")
        return bool(chunk)

    def type(self, keys: str) -> None:
        """Press keys, in one piece."""
        os.write(self.master, keys.encode())

    def press(self, keys: str) -> None:
        """Press keys in one piece, and wait until the view has read them: what is typed later is another piece."""
        drawn = len(self.frames)
        self.type(keys)
        self.wait_for(lambda: len(self.frames) > drawn + 2, "frames")

    def end(self) -> int:
        """Wait for the process; returns its exit code."""
        end = time.monotonic() + SECONDS
        while self.process.poll() is None:
            self._read(0.1)
            assert time.monotonic() < end, f"it does not end\n{self.seen[-3000:]!r}"
        while self._read(0.1):
            pass
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was: echo, lines, signals, and no screen of somebody's own."""
        own, left = self.seen.rfind("\x1b[?1049h"), self.seen.rfind("\x1b[?1049l")
        hidden, shown = self.seen.rfind("\x1b[?25l"), self.seen.rfind("\x1b[?25h")
        return termios.tcgetattr(self.slave) == self.before and own <= left and hidden <= shown

    @property
    def silent(self) -> bool:
        """Whether what is typed is not echoed."""
        return not termios.tcgetattr(self.slave)[3] & termios.ECHO

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        for end in (self.master, self.slave):
            try:
                os.close(end)
            except OSError:  # a test has hung up
                continue


def noodle_words(*words: str) -> Sequence[str]:
    return (sys.executable, "-m", "noodle_upgrade_cli", *words)
