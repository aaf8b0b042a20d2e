"""A real program under `noodle run`, the real `noodle` command, and clients that never stop asking."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

__all__ = ["Clients", "Program", "Ran", "Tally", "environment", "noodle", "until"]

SECONDS = 60.0
"""How long anything may take before a test gives up on it; nothing here takes that long."""


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self):
        """The code of the error that it reports."""
        return (self.json.get("error") or {}).get("code")


def environment(**more):
    """This process's variables, without settings of whoever runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NOODLE_")}
    # A new version is written within the second in which the old one was: compiled files would hide that.
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "160"} | {k: str(v) for k, v in more.items()}


def noodle(*words, cwd, env=None, seconds=SECONDS, python=sys.executable):
    """Run the command to its end."""
    done = subprocess.run(
        [python, "-m", "noodle_upgrade_cli", *map(str, words)],
        cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def until(true, what, seconds=SECONDS):
    """Return what `true` returns as soon as that is true; an AssertionError names what never came."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"never: {what() if callable(what) else what}"
        time.sleep(0.02)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """A program in a folder of its own, hosted by `noodle run`; its state directory is `folder/.noodle`."""

    def __init__(self, folder, target="greeter:app", *, config=None, env=None, options=(), python=sys.executable):
        self.folder = Path(folder)
        self.target = target
        self.port = free_port()
        self.env = env or environment()
        self.options = list(options)
        self.python = python
        self.log = self.folder / "program.log"
        self.process = None
        if config is not None:
            (self.folder / "noodle.toml").write_text(config)
        self.config = ["--config", "noodle.toml"] if config is not None else []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Start it and wait until it answers."""
        self.spawn()
        until(lambda: self._answers(), "the program answers")
        return self

    def spawn(self):
        words = [self.python, "-m", "noodle_upgrade_cli", "run", self.target, "--port", str(self.port)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*words, *self.config, *self.options], cwd=self.folder, env=self.env, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def _answers(self):
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log.read_text()}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self):
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ask it to end; returns its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def noodle(self, *words, **more):
        """Run `noodle` where the program is found, with its settings."""
        return noodle(*words, cwd=self.folder, env=self.env, python=self.python, **more)

    def ask(self):
        """Return one answer of the program."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read()
        assert response.status == http.HTTPStatus.OK, body
        return json.loads(body)

    def serves(self):
        """Return what its own answer says that it runs: `g1.0` is acme-greeting 1.0."""
        return versions_in(self.ask())

    def api(self, path):
        """Look at the control API directly: what tests do often must not cost a process each time."""
        pointer = json.loads((self.folder / ".noodle" / "control.json").read_text())
        transport = httpx.HTTPTransport(uds=str(self.folder / ".noodle" / pointer["socket"]))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=60, trust_env=False) as client:
            response = client.get(f"/v1/{path}")
        assert response.status_code == http.HTTPStatus.OK, response.text
        return response.json()

    def versions(self):
        """Return what the program says that it runs, by name."""
        return {row["name"]: row["version"] for row in self.api("components")["components"]}

    def active(self):
        """Return the upgrades under way."""
        return self.api("status")["active"]

    def in_phase(self, phase):
        """Wait until some upgrade is in a phase; returns it."""
        return until(lambda: next((one for one in self.active() if one["phase"] == phase), None), phase)

    def healthy(self):
        """Assert that the doctor finds nothing, with the program or without."""
        ran = self.noodle("doctor", "--json")
        assert (ran.code, ran.json["ok"]) == (0, True), ran
        assert [one for one in ran.json["findings"] if one["severity"] == "error"] == []


@dataclass
class Tally:
    """What the clients saw."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    versions: set[frozenset[str]] = field(default_factory=set)  # all that was seen together in one answer
    pids: set[int] = field(default_factory=set)


def versions_in(answer):
    """Return every library and version that made a part of an answer: `g1.0` is acme-greeting 1.0."""
    return frozenset(re.findall(r"/([gf][0-9.]+)", " ".join(answer["parts"])))


class Clients:
    """A few clients with a connection each; an answer that two versions of one library made is torn."""

    def __init__(self, port, count=3):
        self.port = port
        self.tally = Tally()
        self.highest = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(40)

    def take(self):
        """Return what was seen since the last time."""
        with self._lock:
            tally, self.tally = self.tally, Tally()
        return tally

    def more(self, count=10):
        """Wait for this many more answers."""
        with self._lock:
            start = self.tally.requests
        until(lambda: self.tally.requests >= start + count, f"{count} more answers")

    def _ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            while not self._stop.is_set():
                try:
                    connection.request("GET", "/?name=mars")
                    response = connection.getresponse()
                    body = response.read()
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    self._failed(f"{type(error).__name__}: {error}")
                    continue
                if response.status != http.HTTPStatus.OK:
                    self._failed(f"HTTP {response.status}")
                else:
                    self._answered(json.loads(body))
                # Light load: the tests share the machine with what they test.
                self._stop.wait(0.005)

    def _failed(self, what):
        with self._lock:
            self.tally.requests += 1
            self.tally.failures.append(what)
        self._stop.wait(0.02)

    def _answered(self, answer):
        found = versions_in(answer)
        with self._lock:
            self.tally.requests += 1
            self.tally.versions.add(found)
            self.tally.pids.add(answer["pid"])
            self.highest = max(self.highest, answer["answered"])
            if len({one[0] for one in found}) != len(found):
                self.tally.torn.append(json.dumps(answer))
