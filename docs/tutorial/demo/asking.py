"""Clients that note of every answer when it came and which version gave it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Self

FAILED, WRONG = "failed", "wrong"
PAUSE_SECONDS = 0.01


class Answer(NamedTuple):
    """One request: when it was sent and answered (seconds since 1970), by which version, in which process."""

    sent: float
    came: float
    who: str
    pid: str


class Askers:
    """Several clients with a connection each; `known[text][answer]` is the version that answers a text so when alone.

    What no version answers alone is wrong: half of one version's answer and half of another's, say.
    """

    def __init__(self, port: int, known: Mapping[str, Mapping[str, str]], count: int = 4) -> None:
        self._port = port
        self._known = known
        self._stop = threading.Event()
        # Each thread appends to a list of its own: nobody waits for a lock.
        self._noted: list[list[Answer]] = [[] for _ in range(count)]
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def answers(self, begin: float = 0.0, end: float = float("inf")) -> list[Answer]:
        """Return the requests that were sent and answered between two moments, in the order of their answers."""
        noted = (one for mine in self._noted for one in mine[:])
        return sorted((one for one in noted if begin <= one.sent and one.came < end), key=lambda one: one.came)

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        texts, turn, noted = list(self._known), number, self._noted[number]
        while not self._stop.is_set():
            text = texts[turn % len(texts)]
            turn += 1
            sent = time.time()
            try:
                connection.request("POST", "/", body=text.encode())
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                noted.append(Answer(sent, time.time(), FAILED, ""))
                time.sleep(PAUSE_SECONDS)
                continue
            right = response.status == http.HTTPStatus.OK
            who = self._known[text].get(body.decode(), WRONG) if right else FAILED
            noted.append(Answer(sent, time.time(), who, response.headers.get("x-pid", "")))
        connection.close()


def share(answers: Sequence[Answer], who: Collection[str]) -> float:
    """Return which share of the answers these gave; 0 where there are none."""
    return sum(one.who in who for one in answers) / len(answers) if answers else 0.0


def seconds_together(answers: Iterable[Answer], versions: Iterable[str], pid: str) -> int:
    """Count the seconds in which all of these versions answered from this one process."""
    seen: dict[int, set[str]] = {}
    for one in answers:
        if one.pid == pid:
            seen.setdefault(int(one.came), set()).add(one.who)
    wanted = set(versions)
    return sum(wanted <= who for who in seen.values())
