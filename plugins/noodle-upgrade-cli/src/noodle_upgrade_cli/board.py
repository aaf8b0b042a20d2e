"""What a watcher has seen so far: events folded into the state of each upgrade. No I/O, no clock."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from noodle_upgrade_cli.display import progress_of
from noodle_upgrade_cli.following import ENDED

__all__ = ["STEPS", "Board", "Card"]

STEPS = ("received", "validated", "approved", "staged", "shifting", "committed", "soaking", "done")
"""The phases of an upgrade that goes well, in order."""
_BEFORE_THE_COMMIT = frozenset(STEPS[: STEPS.index("committed")])


@define(kw_only=True)
class Card:
    """One upgrade: where it is, how much traffic the new version has, and what both versions did."""

    upgrade_id: str
    title: str = ""
    phase: str = "received"
    reached: str = "received"
    weight: float = 0.0
    measured: Mapping[str, Any] = field(factory=dict)
    judged: str = ""
    waiting: str = ""
    paused: str = ""
    held: str = ""
    doing: str = ""
    done: int = 0
    total: int = 0
    error: Mapping[str, Any] = field(factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.phase in ENDED

    def begin(self, state: Mapping[str, Any]) -> None:
        """Take over what the API says of an upgrade that has begun already."""
        self.title = progress_of(state) or self.title
        self._moved(str(state.get("phase") or self.phase))
        self.weight = _share(state.get("weight"), self.weight)
        self.measured = _mapping(state.get("measured")) or self.measured
        self.waiting = str(state.get("awaits") or "")
        self.paused, self.held = (str(state.get(key) or "") for key in ("paused", "held"))
        self.error = _mapping(state.get("error")) or self.error

    def take(self, event: Mapping[str, Any]) -> None:
        """Fold one event in."""
        kind, data = str(event.get("kind", "")), _mapping(event.get("data"))
        message = str(event.get("message") or "")
        match kind:
            case "upgrade.phase":
                self._moved(str(data.get("to", self.phase)))
            case "upgrade.approval_needed":
                gate = f"the gate {data['gate']!r}" if data.get("gate") else "approval"
                self.waiting = str(data.get("awaits") or gate)
            case "upgrade.step":
                # A strategy goes on: whoever was waited for has come.
                self.waiting = ""
                self.doing = message or str(data.get("step", ""))
                self.weight = _share(data.get("weight"), self.weight)
            case "upgrade.measured":
                self.measured = data
                self.weight = _share(data.get("weight"), self.weight)
                self.judged = next((word for word in ("harm", "safe", "starved") if data.get(word)), "")
            case "upgrade.progress":
                self.doing = str(data.get("what") or message)
                self.done, self.total = _whole(data.get("done")), _whole(data.get("total"))
            case "upgrade.draining":
                self.doing = message or "draining"
            case "upgrade_failed" | "upgrade_rolled_back":
                self.error = data
            case _:
                self._stopped_or_let_go(kind, data, message)

    def _stopped_or_let_go(self, kind: str, data: Mapping[str, Any], message: str) -> None:
        match kind:
            case "upgrade.paused":
                self.paused = f"paused by {data.get('by') or 'somebody'}"
            case "upgrade.resumed" | "upgrade.promoted":
                self.paused = ""
            case "upgrade.held":
                self.held = str(data.get("why") or message)
            case "upgrade.released":
                self.held = ""
            case _:
                return

    def _moved(self, phase: str) -> None:
        if phase != self.phase:
            self.waiting, self.doing, self.done, self.total = "", "", 0, 0
        self.phase = phase
        if phase not in _BEFORE_THE_COMMIT:
            self.paused = self.held = ""
        if phase in STEPS:
            self.reached = phase
        if phase in {"committed", "soaking", "done"}:
            self.weight = 1.0
        elif phase in {"rolled_back", "aborted", "rejected"}:
            self.weight = 0.0


@define(kw_only=True)
class Board:
    """The upgrades that a watcher follows, oldest first, and the last events."""

    cards: dict[str, Card] = field(factory=dict)
    tail: collections.deque[Mapping[str, Any]] = field(factory=lambda: collections.deque(maxlen=8))
    most: int = 4

    def begin(self, state: Mapping[str, Any]) -> None:
        """Show an upgrade that has begun already."""
        upgrade_id = str(state.get("upgrade_id") or "")
        if upgrade_id:
            self._card(upgrade_id).begin(state)

    def take(self, event: Mapping[str, Any]) -> None:
        """Fold one event in."""
        if event.get("kind") not in _TOO_MANY:
            self.tail.append(event)
        upgrade_id = str(event.get("upgrade_id") or "")
        if upgrade_id:
            card = self._card(upgrade_id)
            card.title = card.title or _title(event)
            card.take(event)

    def _card(self, upgrade_id: str) -> Card:
        card = self.cards.get(upgrade_id)
        if card is None:
            card = self.cards[upgrade_id] = Card(upgrade_id=upgrade_id)
            ended = [one.upgrade_id for one in self.cards.values() if one.ended]
            # Those that still run are never pushed out by those that came later.
            for old in ended[: max(0, len(self.cards) - self.most)]:
                del self.cards[old]
        return card


_TOO_MANY = frozenset({"upgrade.measured", "upgrade.progress"})


def _title(event: Mapping[str, Any]) -> str:
    # The core's messages begin with what changes: "name 1.0 -> 2.0: staged".
    message = str(event.get("message") or "")
    if " -> " in message:
        head, _, tail = message.partition(" -> ")
        return f"{head} -> {tail.split(':', 1)[0].split(' ', 1)[0]}"
    return str(event.get("component_name") or "")


def _share(value: Any, otherwise: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return otherwise
    return float(value)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
