"""What happened, told to observers, logs, progress bars and the control API.

An event is a value; the bus hands it to every subscriber in order and never lets one subscriber's failure reach
another, or the upgrade.
"""

from __future__ import annotations

import collections
import enum
import itertools
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.model import now

__all__ = ["Event", "EventBus", "EventKind", "Subscriber"]

logger = logging.getLogger("noodle_upgrade")


class EventKind(enum.StrEnum):
    """The kinds of events that the core and the foundation's plugins emit; plugins may emit others, as strings."""

    UPGRADE_REQUESTED = "upgrade_requested"
    UPGRADE_STARTED = "upgrade_started"
    UPGRADE_COMPLETED = "upgrade_completed"
    UPGRADE_FAILED = "upgrade_failed"
    UPGRADE_ROLLED_BACK = "upgrade_rolled_back"
    AGENT_FEEDBACK = "agent_feedback"
    DEPLOYMENT_STARTED = "deployment.started"
    DEPLOYMENT_COMPLETED = "deployment.completed"
    DEPLOYMENT_FAILED = "deployment.failed"
    DEPLOYMENT_ROLLED_BACK = "deployment.rolled_back"
    # Finer than SPEC's list: what a progress bar and a person who watches need.
    PHASE_CHANGED = "upgrade.phase"
    PROGRESS = "upgrade.progress"
    STEP = "upgrade.step"
    MEASURED = "upgrade.measured"
    FINDING = "upgrade.finding"
    APPROVAL_NEEDED = "upgrade.approval_needed"
    DRAINING = "upgrade.draining"
    PLUGIN_FAILED = "plugin.failed"


@frozen(kw_only=True)
class Event:
    """One thing that happened; `data` holds JSON values only, `sequence` grows by one per bus."""

    kind: str = field(converter=str)
    sequence: int = 0
    at: datetime = field(factory=now)
    upgrade_id: str = ""
    component_name: str = ""
    message: str = ""
    data: Mapping[str, Any] = field(factory=dict)


Subscriber = Callable[[Event], None]


class EventBus:
    """Hands each event to every subscriber, in order, on the thread that emits; keeps the last `memory` events.

    A subscriber that raises is logged and goes on being called: an observer is never a reason to fail. Subscribers
    must be quick; one that has slow work puts the event into a queue of its own.
    """

    def __init__(self, *, memory: int = 1000) -> None:
        self._subscribers: tuple[Subscriber, ...] = ()
        self._recent: collections.deque[Event] = collections.deque(maxlen=memory)
        self._sequence = itertools.count(1)
        self._lock = threading.RLock()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Add a subscriber; the function that comes back removes it, and may be called twice."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return unsubscribe

    def emit(
        self,
        kind: str,
        *,
        upgrade_id: str = "",
        component_name: str = "",
        message: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> Event:
        """Make an event, number it, keep it and hand it on."""
        with self._lock:
            event = Event(
                kind=kind,
                sequence=next(self._sequence),
                upgrade_id=upgrade_id,
                component_name=component_name,
                message=message,
                data=dict(data or {}),
            )
            self._recent.append(event)
            # Handing on under the lock keeps the order the same for every subscriber; it is re-entrant, so a
            # subscriber may emit.
            for subscriber in self._subscribers:
                try:
                    subscriber(event)
                except Exception:
                    logger.exception("an observer of %s failed; the upgrade goes on", event.kind)
        return event

    def recent(self, *, after: int = 0) -> tuple[Event, ...]:
        """Return the events still in memory whose sequence is greater than `after`, oldest first."""
        with self._lock:
            return tuple(event for event in self._recent if event.sequence > after)
