"""A program in a process of its own, for tests that talk to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


class Hosted:
    def __init__(self, directory: Path, site: Path, program: str = "hosted.py", *plugins: str) -> None:
        self.directory = directory
        self.site = site
        self.program = (str(Path(__file__).parent / program), str(directory / ".noodle"), *plugins)
        path = os.pathsep.join([str(site), *(p for p in sys.path if p)])
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("NOODLE_")} | {"PYTHONPATH": path}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environ,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
