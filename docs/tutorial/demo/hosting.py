"""A service under `noodle run`, and the `noodle` command, as a person would use both."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent


def noodle(*arguments: str, state: pathlib.Path, check: bool = True) -> dict[str, Any]:
    """Run the `noodle` command as a person would, with --json, and return what it says."""
    command = ["noodle", *arguments, "--state", str(state), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    answer["exit_code"] = done.returncode
    return answer


def said(answer: dict[str, Any]) -> str:
    """Return what an error says: its code, and what went wrong."""
    error = answer.get("error") or {}
    return f"{error.get('code')}: {error.get('message')}"


def tell(text: str) -> None:
    """Say what comes next."""
    print(f"\n{text}", flush=True)


class Program:
    """A program in a process of its own, from when it is up until it is told to end."""

    def __init__(self, command: list[str], folder: pathlib.Path, log: pathlib.Path) -> None:
        self.command = command
        self.folder = folder
        self.log = log.open("a")
        self.start()

    def is_up(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it is up."""
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{self.command} did not start:\n{pathlib.Path(self.log.name).read_text()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self.log.close()


class Service(Program):
    """The process under `noodle run`; `target` is what it hosts, a module of this folder and its application."""

    def __init__(self, target: str, state: pathlib.Path, port: int, *, config: pathlib.Path | None = None) -> None:
        self.state = state
        self.port = port
        settings = [] if config is None else ["--config", str(config)]
        command = ["noodle", "run", target, "--port", str(port), "--state", str(state), *settings]
        super().__init__(command, HERE, state.parent / f"{state.name}.log")

    def is_up(self) -> bool:
        """Whether its port takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@contextlib.contextmanager
def serving(target: str, state: pathlib.Path, *, config: pathlib.Path | None = None) -> Iterator[Service]:
    """Run a service on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = Service(target, state, port, config=config)
    try:
        yield service
    finally:
        service.stop()
