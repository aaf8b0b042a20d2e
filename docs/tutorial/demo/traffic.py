"""Clients that never stop asking, and check every answer."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Tally:
    """What the clients saw since the last `take`."""

    requests: int = 0
    failed: int = 0
    torn: int = 0
    longest: float = 0.0
    versions: set[str] = field(default_factory=set)
    pids: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)


class Clients:
    """Several clients with a connection each; `truth[version][text]` is what that version answers alone."""

    def __init__(self, port: int, texts: list[str], truth: dict[str, dict[str, str]], count: int = 6) -> None:
        self.port = port
        self.texts = texts
        self.truth = truth
        self.tally = Tally()
        self.highest = 0  # the service's own counter, as answers told it
        self.answers = 0  # answers that the clients got
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def take(self) -> Tally:
        """Return what was seen since the last call, and begin anew."""
        with self._lock:
            tally, self.tally = self.tally, Tally()
        return tally

    def pause(self) -> None:
        """Hold the clients back while the process is known to be dead."""
        self._paused.set()

    def go_on(self) -> None:
        """Let them ask again; the counter of a new process may begin at one."""
        with self._lock:
            self.highest = self.answers = 0
        self._paused.clear()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        turn = number
        while not self._stop.is_set():
            if self._paused.is_set():
                connection.close()
                time.sleep(0.01)
                continue
            text = self.texts[turn % len(self.texts)]
            turn += 1
            started = time.perf_counter()
            try:
                connection.request("POST", "/", body=text.encode())
                response = connection.getresponse()
                body = response.read()
                status = response.status
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not self._paused.is_set():
                    self._count_failure(f"{type(error).__name__}: {error}")
                continue
            self._check(text, status, body, time.perf_counter() - started)
        connection.close()

    def _count_failure(self, what: str) -> None:
        with self._lock:
            self.tally.requests += 1
            self.tally.failed += 1
            self.tally.failures.append(what)

    def _check(self, text: str, status: int, body: bytes, seconds: float) -> None:
        if status != http.HTTPStatus.OK:
            self._count_failure(f"HTTP {status}")
            return
        answer = json.loads(body)
        right = [version for version, known in self.truth.items() if known[text] == answer["html"]]
        with self._lock:
            tally = self.tally
            tally.requests += 1
            tally.longest = max(tally.longest, seconds)
            tally.versions.add(answer["after"])
            tally.pids.add(answer["pid"])
            self.highest = max(self.highest, answer["answered"])
            self.answers += 1
            # An answer is torn when its versions differ, or when it is not what the version that it names answers.
            if answer["before"] != answer["after"] or answer["after"] not in right:
                tally.torn += 1
                tally.failures.append(f"torn: {answer['before']} -> {answer['after']}, fits {right}")
