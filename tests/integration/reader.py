"""Somebody who does what a page says: saves its files, types its commands, and compares what they print."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

from documents import ROOT, blocks
from programs import environment, free_port, until

__all__ = ["LIMIT", "Reader", "Screen"]

SECONDS = 90.0
LIMIT = "ulimit -S -v 6000000 2>/dev/null"
"""How much a program may address: one that runs away must not take the machine with it."""

STAYS = re.compile(r"(?:^|\s)noodle run (?!\S+\.noodle)|^noodle compile --daemon|^python worker")
"""What runs until it is ended: it gets a terminal of its own."""
FAILS = re.compile(r"Error: |error\[|Traceback |\S+: error: ")
"""How a line begins that says why a command ends with another code than 0."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_QUESTION = "[y/N]: "
_CURL = """#!{python}
import sys, urllib.request
data = sys.argv[sys.argv.index("-d") + 1].encode() if "-d" in sys.argv else None
url = sys.argv[-1]
print(urllib.request.urlopen(url if "://" in url else f"http://{{url}}", data).read().decode(), end="")
"""


class Screen:
    """A command in a terminal, whose questions are answered with yes; `text` is what has been printed so far."""

    def __init__(self, command, cwd, env):
        self.command = command
        self._raw = b""
        self._answered = 0
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        self.process = subprocess.Popen(
            ["bash", "-c", f"{LIMIT}\n{command}"], cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def text(self):
        return _CONTROL.sub("", self._raw.decode(errors="replace"))

    def _read(self):
        # A terminal whose other side has gone is an input/output error on this system.
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 4096):
                self._raw += data
                if self._raw.count(_QUESTION.encode()) > self._answered:
                    self._answered += 1
                    os.write(self._ours, b"y\n")

    def end(self):
        """Wait for its end; returns its exit code."""
        code = self.process.wait(SECONDS)
        self._thread.join(10)
        return code

    def close(self):
        """End it, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(15)
        self._thread.join(10)
        os.close(self._ours)


def missing(expected, text):
    """Return the first line that was said to be printed, and was not, in this order; `…` stands for anything."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    position = 0
    for line in expected:
        parts = (re.escape(" ".join(part.split())) for part in line.split("…"))
        wanted = re.compile(r"\s*.*\s*".join(parts))
        while position < len(lines) and not wanted.fullmatch(lines[position]):
            position += 1
        if position == len(lines):
            return line
        position += 1
    return ""


class Reader:
    """A reader in a folder of their own, with an environment: `<home>/.venv` is on the path, `wheels` are the index."""

    def __init__(self, folder, home, wheels):
        self.folder = Path(folder)
        self.ports = {"8000": free_port(), "8001": free_port()}
        self.screens = []
        tools = self.folder.parent / f"{self.folder.name}-tools"
        tools.mkdir(exist_ok=True)
        (tools / "python3").unlink(missing_ok=True)
        (tools / "python3").symlink_to(sys.executable)
        if shutil.which("curl") is None:
            (tools / "curl").write_text(_CURL.format(python=sys.executable))
            (tools / "curl").chmod(0o755)
        self.env = environment(
            PATH=f"{home / '.venv' / 'bin'}:{tools}:{os.environ['PATH']}",
            PIP_FIND_LINKS=f"{os.environ.get('PIP_FIND_LINKS', '')} {wheels}",
            PIP_DISABLE_PIP_VERSION_CHECK="1", NO_COLOR="1", LANG="C.UTF-8", TERM="xterm",
        )  # fmt: skip
        for name in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"):
            self.env.pop(name, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for screen in self.screens:
            screen.close()

    def read(self, path, *, skip=()):
        """Do everything that a page says, in order; `skip` are commands that are not given."""
        for block in blocks(path):
            if block.language in {"python", "toml", "noodle"} and block.file:
                self.save(block)
            elif block.language == "console":
                for command, expected in block.commands:
                    if command not in skip:
                        self.type(command, expected, where=block)

    def save(self, block):
        """Save a file."""
        file = self.folder / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._with_ports(block.text))

    def take(self, path):
        """Save a file of the repository."""
        shutil.copy(ROOT / path, self.folder)

    def type(self, command, expected=(), *, where=""):
        """Give a command and compare what it prints; returns that. What stays goes on in a terminal of its own."""
        screen = Screen(self._with_ports(command), self.folder, self.env)
        self.screens.append(screen)
        said = [self._with_ports(line) for line in expected]
        if STAYS.search(command):
            said = said or ["noodle: … at http://…"]
            until(
                lambda: not missing(said, screen.text) or screen.process.poll() is not None, "it has started", SECONDS
            )
            assert screen.process.poll() is None, f"{where}: `{command}` ended:\n{screen.text}"
            return screen.text
        code = screen.end()
        told = f"{where}: `{command}` ended with {code}:\n{screen.text}"
        # An error is expected where the page shows one.
        assert (code != 0) == any(FAILS.match(line) for line in expected), told
        line = missing(said, screen.text)
        assert not line, f"{where}: nothing like {line!r} in\n{told}"
        return screen.text

    def _with_ports(self, text):
        # The only thing that is not as it is written: the ports may be taken on this machine.
        if "noodle run" in text and "--port" not in text and ".noodle" not in text:
            text = re.sub(r"noodle run (\S+)", r"noodle run \1 --port 8000", text)
        for written, free in self.ports.items():
            text = re.sub(rf"\b{written}\b", str(free), text)
        return text
