"""The two ways to run the service of the restart rows, each in a process of its own: with an Upgrader, or gunicorn."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn

from noodle_upgrade_core import BlockingUpgrader, UpgradeRequest, load_settings
from noodle_upgrade_core.events import Event, EventKind
from noodle_upgrade_server.wsgi import WsgiAdapter

__all__ = ["COMPONENT", "NEW", "OLD", "Gunicorn", "free_port", "upgraded"]

COMPONENT, OLD, NEW = "markdown-it-py", "2.2.0", "3.0.0"
HERE = Path(__file__).resolve().parent
_START_SECONDS = 30.0


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def upgraded(folder: Path) -> Generator[dict[str, Any] | None, None, None]:
    """Serve, and upgrade once when it is asked: says when it was asked, when it was staged and when it was done.

    All times are of the clock that every process of a machine shares, in nanoseconds. `folder` holds `port`, `wheels`,
    and `old`, the folder from which the service imports the library.
    """
    sys.path[:0] = [str(folder / "old"), str(HERE)]
    app = importlib.import_module("service").app
    settings = load_settings(
        [],
        environ={},
        overrides={
            "runtime_upgrade.state_directory": str(folder / "state"),
            "runtime_upgrade.sources.order": ["wheel"],
            "runtime_upgrade.sources.wheel.locations": [str(folder / "wheels")],
            "runtime_upgrade.sources.wheel.index": False,
        },
    )
    with BlockingUpgrader.open(settings) as upgrader:
        adapter = WsgiAdapter(upgrader.gauge.wsgi(app), threads=4)
        port = int((folder / "port").read_text())
        config = uvicorn.Config(
            adapter, interface="asgi3", lifespan="off", log_level="warning", access_log=False, port=port
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, name="service")
        thread.start()
        try:
            _await_answer(port)
            yield None
            yield _upgrade(upgrader)
        finally:
            server.should_exit = True
            thread.join()
            adapter.close()


def _upgrade(upgrader: BlockingUpgrader) -> dict[str, Any]:
    phases: dict[str, int] = {}

    def note(event: Event) -> None:
        if event.kind == EventKind.PHASE_CHANGED:
            phases.setdefault(str(event.data["to"]), time.perf_counter_ns())

    upgrader.events.subscribe(note)
    asked = time.perf_counter_ns()
    plan = upgrader.plan(UpgradeRequest(component_name=COMPONENT, target_version=NEW, strategy="immediate"))
    planned = time.perf_counter_ns()
    upgrader.upgrade(plan, approved_by="the benchmark").raise_for_error()
    done = time.perf_counter_ns()
    return {"asked": asked, "planned": planned, "phases": phases, "done": done, "pid": os.getpid()}


def _await_answer(port: int) -> None:
    until, pause = time.monotonic() + _START_SECONDS, threading.Event()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            pause.wait(0.01)
        else:
            return


class Gunicorn:
    """The service under gunicorn with one worker; the version that it imports is where a link points to."""

    def __init__(self, folder: Path, trees: dict[str, Path]) -> None:
        self._trees = trees
        self._link = folder / "current"
        self.port = free_port()
        self.point(OLD)
        self._log = (folder / "gunicorn.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--workers", "1", "--bind", f"127.0.0.1:{self.port}",
             "--pythonpath", f"{self._link},{HERE}", "--no-control-socket", "service:app"],
            stdout=self._log,
            stderr=self._log,
            cwd=folder,
        )  # fmt: skip
        _await_answer(self.port)

    def point(self, version: str) -> None:
        """Install a version, as far as the next worker is concerned."""
        beside = self._link.with_name("next")
        beside.symlink_to(self._trees[version])
        beside.replace(self._link)

    def hup(self) -> int:
        """Have it begin anew, and return when it was told."""
        at = time.perf_counter_ns()
        self._process.send_signal(signal.SIGHUP)
        return at

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
