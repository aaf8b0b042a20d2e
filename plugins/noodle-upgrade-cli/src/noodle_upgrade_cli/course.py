"""One upgrade as its live view knows it: its events and states folded into what was and what is. No I/O, no clock."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import define, field, frozen

from noodle_upgrade_cli.board import STEPS, Card

__all__ = ["Course", "SeenStep", "Traffic"]

WINDOW_SECONDS = 5.0
"""Over how long the measured share is counted: a judge looks ten times a second, and there are few calls between."""
_MOST_STEPS = 200
_MOST_EVENTS = 50
_SILENT = frozenset({"upgrade.measured", "upgrade.progress", "upgrade.step"})


@frozen(kw_only=True)
class SeenStep:
    """A step of the strategy: its kind, what it said of itself, when it began (seconds), how often in a row."""

    kind: str
    text: str
    began: float | None = None
    times: int = 1


@frozen(kw_only=True)
class Traffic:
    """The calls of both versions in the last seconds, at one share."""

    old: int
    new: int
    seconds: float

    @property
    def share(self) -> float | None:
        """The share that the new version really had; None without calls."""
        calls = self.old + self.new
        return self.new / calls if calls else None


@frozen
class _Look:
    at: float
    weight: float
    old: int
    new: int


@define(kw_only=True)
class Course:
    """What is known of one upgrade. Times are those of its events, so that the watcher's own clock does not matter."""

    card: Card
    steps: collections.deque[SeenStep] = field(factory=lambda: collections.deque(maxlen=_MOST_STEPS))
    unseen: bool = False
    """Whether there may have been steps before the first one here."""
    evidence: Mapping[str, Any] = field(factory=dict)
    reasons: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    needed: int = 0
    """How many people the gate asks for that is waited at."""
    digest: str = ""
    lost: str = ""
    """What became of the connection, while there is none."""
    tail: collections.deque[Mapping[str, Any]] = field(factory=lambda: collections.deque(maxlen=_MOST_EVENTS))
    now: float | None = None
    _looks: collections.deque[_Look] = field(factory=collections.deque)

    @classmethod
    def of(cls, upgrade_id: str, state: Mapping[str, Any]) -> Course:
        """Begin with what the API says of an upgrade."""
        course = cls(card=Card(upgrade_id=upgrade_id))
        course.learn(state)
        return course

    def learn(self, state: Mapping[str, Any]) -> None:
        """Take over what the API says of it, unless events have led further by now."""
        if _how_far(state.get("phase")) < _how_far(self.card.phase):
            return
        self.card.begin(state)
        self.digest = str(state.get("plan_digest") or self.digest)
        self.approvals = tuple(str(one) for one in state.get("approvals") or ())

    def take(self, event: Mapping[str, Any]) -> None:
        """Fold one event in."""
        kind, data = str(event.get("kind", "")), _mapping(event.get("data"))
        self.now = _seconds(event.get("at")) or self.now
        if kind not in _SILENT:
            self.tail.append(event)
        self.lost = str(event.get("message") or "") if kind == "connection.lost" else ""
        if event.get("upgrade_id") == self.card.upgrade_id:
            self.card.take(event)
        match kind:
            case "upgrade.step":
                self._step(str(data.get("step") or ""), str(event.get("message") or ""))
                self.needed = 0
            case "upgrade.measured":
                self._measured(data)
            case "upgrade.approval_needed":
                needed = data.get("approvals")
                self.needed = needed if isinstance(needed, int) and not isinstance(needed, bool) else 0
            case "events.missed":
                self.unseen = self.unseen or not self.steps
            case _:
                return

    def _step(self, kind: str, text: str) -> None:
        last = self.steps[-1] if self.steps else None
        if last is not None and (last.kind, last.text) == (kind, text):
            self.steps[-1] = SeenStep(kind=kind, text=text, began=self.now, times=last.times + 1)
            return
        self.unseen = self.unseen or len(self.steps) == _MOST_STEPS
        self.steps.append(SeenStep(kind=kind, text=text, began=self.now))

    def _measured(self, data: Mapping[str, Any]) -> None:
        self.evidence = _mapping(data.get("evidence"))
        reasons = data.get("reasons")
        self.reasons = tuple(str(one) for one in reasons) if isinstance(reasons, list) else ()
        counts = [_mapping(data.get(arm)).get("calls") for arm in ("old", "new")]
        old, new = (one if isinstance(one, int) and not isinstance(one, bool) else None for one in counts)
        if self.now is None or old is None or new is None:
            return
        look = _Look(self.now, self.card.weight, old, new)
        if self._looks and (self._looks[-1].weight != look.weight or self._looks[-1].at > look.at):
            self._looks.clear()
        self._looks.append(look)
        while len(self._looks) > 2 and look.at - self._looks[1].at >= WINDOW_SECONDS:  # noqa: PLR2004 - both ends stay
            self._looks.popleft()

    @property
    def traffic(self) -> Traffic | None:
        """The calls of the last seconds at the present share; None before there were two looks."""
        if len(self._looks) < 2:  # noqa: PLR2004 - a difference takes two
            return None
        first, last = self._looks[0], self._looks[-1]
        return Traffic(old=max(0, last.old - first.old), new=max(0, last.new - first.new), seconds=last.at - first.at)

    @property
    def present(self) -> SeenStep | None:
        """The step that is under way; None where the strategy has not begun, or has ended."""
        return self.steps[-1] if self.steps and self.card.phase == "shifting" else None

    @property
    def stepping_seconds(self) -> float | None:
        """For how long the present step has been under way."""
        step = self.present
        return None if step is None or step.began is None or self.now is None else max(0.0, self.now - step.began)


def _how_far(phase: Any) -> int:
    way = (*STEPS, "rolling_back")
    return way.index(phase) if phase in way else len(way)


def _seconds(at: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(at)).timestamp()
    except (ValueError, OverflowError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
