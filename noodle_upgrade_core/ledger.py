"""What is written down of one upgrade while it runs: in the journal first, then to whoever listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.events import EventBus, EventKind
from noodle_upgrade_core.isolation import blame_ourselves
from noodle_upgrade_core.model import Phase, Severity
from noodle_upgrade_core.traffic import CALLS_ACROSS
from noodle_upgrade_core.turns import sooner

__all__ = ["Ledger"]


@define(kw_only=True)
class Ledger:
    """The phase that an upgrade is in, and the only place that changes it.

    `operations` are what was done, in words; `metrics` are seconds by phase; `marks` are for the journal to remember.
    """

    events: EventBus
    upgrade_id: str
    component_name: str
    title: str
    who: str
    phase: Phase = Phase.RECEIVED
    operations: list[str] = field(factory=list)
    metrics: dict[str, float] = field(factory=dict)
    marks: list[dict[str, Any]] = field(factory=list)
    _mark: float = field(factory=time.monotonic)

    async def write(
        self,
        function: Callable[..., Any],
        *args: Any,
        becomes: Phase | None = None,
        why: str = "",
        who: str = "",
        **fields: Any,
    ) -> None:
        """Write to the journal, in a thread: a commit waits for the disk, and this loop may serve requests.

        Whatever cancels this waits until the write has ended: nobody may decide anything while it is unknown whether
        the commit point was passed.
        """
        who = who or self.who
        if becomes is not None:
            fields["why"] = why
        write = asyncio.ensure_future(asyncio.to_thread(function, self.upgrade_id, *args, who=who, **fields))
        try:
            with sooner():
                await asyncio.shield(write)
        except UpgradeError:
            raise
        except Exception as error:
            # No thread could be had, or a journal of somebody else's failed in its own way: an error like any other.
            raise blame_ourselves(error) from error
        except asyncio.CancelledError:
            if not write.done():
                await asyncio.wait([write])
            if becomes is not None and not write.cancelled() and write.exception() is None:
                self.move(becomes, why, who=who)
            raise
        if becomes is not None:
            self.move(becomes, why, who=who)

    def mark(self, what: str, data: Mapping[str, Any] | None = None) -> None:
        """Have the journal remember this with the next change of phase."""
        self.marks.append({"what": what, **(data or {})})

    @property
    def evidence(self) -> dict[str, Any]:
        """What the audit row of the next change of phase is to hold."""
        return {"marks": list(self.marks)} if self.marks else {}

    def across(self, calls: int) -> None:
        """Note calls that a change did not wait for, because they took too long."""
        if not calls:
            return
        words = f"{calls} call(s) were under way while the code changed: such a call may have seen both versions."
        self.mark("calls under way while the code changed", {"calls": calls})
        self.operations.append(words.removesuffix("."))
        self.metrics["calls_across"] = self.metrics.get("calls_across", 0.0) + calls
        self.tell(EventKind.FINDING, words, {"severity": Severity.WARNING, "code": CALLS_ACROSS, "calls": calls})

    def move(self, phase: Phase, why: str, *, who: str = "") -> None:
        """Note a change of phase, and say so."""
        before, self.phase = self.phase, phase
        at = time.monotonic()
        self.metrics[f"{before}_seconds"] = self.metrics.get(f"{before}_seconds", 0.0) + at - self._mark
        self._mark = at
        self.tell(
            EventKind.PHASE_CHANGED,
            f"{self.title}: {phase}",
            {"from": before, "to": phase, "who": who or self.who, "why": why},
        )

    def tell(self, kind: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Emit an event about this upgrade."""
        self.events.emit(
            kind, upgrade_id=self.upgrade_id, component_name=self.component_name, message=message, data=data
        )
