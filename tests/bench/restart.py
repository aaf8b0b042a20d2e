"""A library inside a serving process: the live upgrade against a gunicorn HUP, to the first new answer."""

from __future__ import annotations

import compileall
import http.client
import importlib.util
import json
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from attrs import define, field
from hosts import COMPONENT, NEW, OLD, Gunicorn, free_port
from measuring import Options, Peer, Reading, pair_ratio

__all__ = ["measure"]

ROWS = ("first_answer_vs_hup", "whole_vs_hup")
_ANSWER_SECONDS = 60.0


@define
class Client:
    """Asks without a pause, a connection for each question, and notes when each version answered first."""

    port: int
    firsts: dict[str, int] = field(factory=dict)
    answers: list[tuple[str, int, int]] = field(factory=list)
    failed: int = 0
    _over: threading.Event = field(factory=threading.Event)
    _changed: threading.Condition = field(factory=threading.Condition)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._ask, name="client")
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def first(self, version: str) -> int:
        """Wait for a version's first answer, and return when it came."""
        with self._changed:
            if not self._changed.wait_for(lambda: version in self.firsts, _ANSWER_SECONDS):
                raise RuntimeError(f"{version} has not answered within {_ANSWER_SECONDS:g} s")
            return self.firsts[version]

    def forget(self) -> None:
        """Begin to look anew."""
        with self._changed:
            self.firsts.clear()

    def _ask(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", "/")
                answer = json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException, ValueError):
                self.failed += 1
                continue
            finally:
                connection.close()
            at = time.perf_counter_ns()
            with self._changed:
                self.answers.append((answer["version"], answer["pid"], answer["answered"]))
                if self.firsts.setdefault(answer["version"], at) == at:
                    self._changed.notify_all()


def measure(options: Options) -> list[Reading]:
    """Alternate: a fresh process that is upgraded once, and one HUP of a gunicorn that goes on."""
    if importlib.util.find_spec("gunicorn") is None:
        return [Reading(name=name, note="not measured: gunicorn is not installed") for name in ROWS]
    wheels = options.folder / "wheels"
    try:
        trees = {version: _unpacked(_wheel(version, wheels), options.folder / version) for version in (OLD, NEW)}
    except (OSError, subprocess.CalledProcessError) as error:
        why = f"not measured: {COMPONENT} could not be fetched ({error})"
        return [Reading(name=name, note=why) for name in ROWS]
    gunicorn = Gunicorn(options.folder, trees)
    live: list[dict[str, float]] = []
    hups: list[float] = []
    try:
        for number in range(options.most(min(options.rounds, 9), 2)):
            live.append(_live(options.folder / f"live{number}", wheels, trees[OLD]))
            hups.append(_hup(gunicorn))
    finally:
        gunicorn.stop()
    return _readings(live, hups)


def _readings(live: list[dict[str, float]], hups: list[float]) -> list[Reading]:
    def middle(name: str) -> float:
        return statistics.median(one[name] for one in live)

    hup = statistics.median(hups)
    lost = sum(one["failed"] for one in live)
    kept = "process and counter kept in every round" if all(one["kept"] for one in live) else "STATE LOST"
    parts = ", ".join(f"{name} {middle(name):.0f} ms" for name in ("plan", "until staged", "until done"))
    first, whole = ([one[name] for one in live] for name in ("first", "whole"))
    return [
        Reading(
            name="first_answer_vs_hup",
            value=statistics.median(first),
            reference=hup,
            ratio=pair_ratio(first, hups),
            note=f"{kept}; {lost:g} requests failed; from the phase staged, the intent's sync included",
        ),
        Reading(
            name="whole_vs_hup",
            value=statistics.median(whole),
            reference=hup,
            ratio=pair_ratio(whole, hups),
            note=f"until the result is there, with a rehearsal that nobody has made before: {parts}",
        ),
    ]


def _live(folder: Path, wheels: Path, old: Path) -> dict[str, float]:
    folder.mkdir()
    (folder / "wheels").symlink_to(wheels)
    (folder / "old").symlink_to(old)
    port = free_port()
    (folder / "port").write_text(str(port))
    peer = Peer.start("hosts:upgraded", folder)
    client = Client(port)
    try:
        client.start()
        client.first(OLD)
        told = peer.round(folder)
        new = client.first(NEW)
    finally:
        client.stop()
        peer.stop()
    staged = told["phases"]["staged"]
    return {
        "first": (new - staged) / 1e6,
        "whole": (told["done"] - told["asked"]) / 1e6,
        "plan": (told["planned"] - told["asked"]) / 1e6,
        "until staged": (staged - told["planned"]) / 1e6,
        "until done": (told["done"] - staged) / 1e6,
        "failed": float(client.failed),
        "kept": float(_kept(client, told)),
    }


def _kept(client: Client, told: dict[str, Any]) -> bool:
    """Whether one process gave all answers, its counter going on by one each time."""
    counted = [answered for _, _, answered in client.answers]
    return {pid for _, pid, _ in client.answers} == {told["pid"]} and counted == list(range(1, len(counted) + 1))


def _hup(gunicorn: Gunicorn) -> float:
    """Return how many milliseconds a HUP takes to the new version's first answer; then bring the old one back."""
    client = Client(gunicorn.port)
    try:
        client.start()
        client.first(OLD)
        gunicorn.point(NEW)
        told = gunicorn.hup()
        took = (client.first(NEW) - told) / 1e6
        gunicorn.point(OLD)
        client.forget()
        gunicorn.hup()
        client.first(OLD)
    finally:
        client.stop()
    return took


def _wheel(version: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    fetch = [sys.executable, "-m", "pip", "download"]
    subprocess.run(
        [*fetch, "--quiet", "--no-deps", "--dest", str(folder), f"{COMPONENT}=={version}"],
        check=True,
    )
    return next(folder.glob(f"*-{version}-*.whl"))


def _unpacked(wheel: Path, folder: Path) -> Path:
    """Lay a wheel out as pip would have installed it, compiled."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    compileall.compile_dir(folder, quiet=2)
    return folder
