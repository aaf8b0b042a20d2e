"""Follow a program's events over dropped connections and restarts, and one upgrade to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import define, field

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.failures import ConnectionLostError, NotRunningError, ProtocolError

__all__ = ["ENDED", "Follower", "follow_upgrade", "has_ended", "waits_for_approval"]

ENDED = frozenset({"done", "rejected", "rolled_back", "aborted", "stuck"})
"""The phases after which nothing more happens by itself."""

LOST = "connection.lost"
BACK = "connection.back"
RESTARTED = "program.restarted"
"""Events that the follower itself adds: they have no sequence number."""


@define(kw_only=True)
class Follower:
    """Yields a program's events, and goes on where it was when the connection breaks.

    `after` is the number of the last event that is known; 0 begins with the oldest that the program remembers, None
    with what happens from now on. `patience` is how many seconds the program may be away before `NotRunningError` or
    `ConnectionLostError` is raised.
    """

    client: ControlClient
    upgrade_id: str = ""
    after: int | None = 0
    patience: float = 60.0
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _process: tuple[Any, Any] = field(default=(None, None), init=False)

    def events(self) -> Iterator[dict[str, Any] | None]:
        """Yield events as the API's objects, and None whenever the state is worth a look: a heartbeat, a reconnect."""
        self._process = self._identity()
        while True:
            yield None
            try:
                yield from self._once()
            except ConnectionLostError as error:
                yield _note(LOST, f"{error.message} Trying again.")
            yield from self._reconnect()

    def _once(self) -> Iterator[dict[str, Any] | None]:
        for event in self.client.events(after=self.after, upgrade_id=self.upgrade_id):
            if event is None:
                yield None
                continue
            if event.kind == "lagged":
                # The server dropped a slow reader: what is missing is asked for again from here.
                return
            if event.sequence and self.after is not None and event.sequence <= self.after:
                continue
            self.after = event.sequence or self.after
            yield event.data

    def _reconnect(self) -> Iterator[dict[str, Any]]:
        until = self.clock() + self.patience
        delay = 0.1
        missed = False
        while True:
            try:
                process = self._identity()
                break
            except (NotRunningError, ConnectionLostError):
                missed = True
                if self.clock() >= until:
                    raise
            self.pause(delay)
            delay = min(2.0, delay * 2)
        if process != self._process:
            # Another process numbers its events from one again.
            self._process, self.after = process, 0
            yield _note(RESTARTED, f"The program was restarted: process {process[0]}.")
        elif missed:
            yield _note(BACK, "The program answers again.")
        else:
            # A stream that only ended: not at once again, should the server end every one.
            self.pause(0.1)

    def _identity(self) -> tuple[Any, Any]:
        health = self.client.health()
        return (health.get("pid"), health.get("started_at"))


def follow_upgrade(
    client: ControlClient,
    upgrade_id: str,
    *,
    on_event: Callable[[dict[str, Any]], None],
    stop: Callable[[Mapping[str, Any]], bool] = lambda _: False,
    patience: float = 60.0,
) -> dict[str, Any]:
    """Report an upgrade's events until it has ended, or `stop(state)` says so; return its last state.

    The program is asked for the state, not the events alone believed: some may have been missed while nobody was
    connected, and a program that was restarted has none of before.
    """
    follower = Follower(client=client, upgrade_id=upgrade_id, patience=patience)
    looks = 0
    for event in follower.events():
        if event is not None:
            on_event(event)
        elif looks == 0:
            looks += 1  # the stream is not open yet: there is nothing to have missed
            continue
        if event is not None and not _worth_a_look(event, stop):
            continue
        state = client.upgrade(upgrade_id)
        if stop(state) and not has_ended(state):
            return state
        # At a heartbeat the last events may still be on their way: they come before the next one.
        looks += event is None and has_ended(state)
        # That it waited for somebody is no last word: what came after it is on its way.
        last = event is not None and event.get("kind") != "upgrade.approval_needed"
        if has_ended(state) and (last or looks > _LOOKS):
            return client.upgrade(upgrade_id, wait=5.0) if not state.get("result") else state
    raise ProtocolError("The stream of events ended.")  # pragma: no cover - the follower never ends by itself


_LOOKS = 2


def _worth_a_look(event: Mapping[str, Any], stop: Callable[[Mapping[str, Any]], bool]) -> bool:
    kind = event.get("kind")
    if kind == "upgrade.phase":
        moved = {"phase": _mapping(event.get("data")).get("to", "")}
        return has_ended(moved) or stop(moved)
    return kind in {"upgrade.approval_needed", "events.missed", "events.restarted", RESTARTED}


def has_ended(state: Mapping[str, Any]) -> bool:
    """Return whether nothing more will happen to this upgrade by itself."""
    return bool(state.get("result")) or str(state.get("phase", "")) in ENDED


def waits_for_approval(state: Mapping[str, Any]) -> bool:
    """Return whether the upgrade stands still until a person approves."""
    return bool(state.get("awaits")) and not has_ended(state)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _note(kind: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "sequence": 0, "message": message, "data": {}, "upgrade_id": "", "component_name": ""}
