"""One upgrade followed from its first event to its end, and its deployment written down on the way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from noodle_upgrade_core.errors import UpgradeError, UpgradeUnknownError
from noodle_upgrade_core.events import Event, EventKind
from noodle_upgrade_core.model import Phase, UpgradeResult
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_deployment.deploying.following import Follower, Turn
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy

__all__ = ["Pursuit"]

DEADLINE = "the progress deadline"
_STANDS_STILL = frozenset({Stage.PAUSED, Stage.GATED, Stage.FROZEN})

CallOff = Callable[[Stage, str], Awaitable[None]]
"""Ends the deployment as if at this stage, for this reason."""


class Pursuit:
    """Listens from the moment that it is made, so that it must be made before anything is awaited after the start."""

    def __init__(
        self,
        upgrader: Upgrader,
        *,
        register: Register,
        state: DeploymentUpgradeState,
        upgrade_id: str,
        follower: Follower,
        policy: DeploymentUpgradePolicy | None,
        clock: Callable[[], datetime],
        call_off: CallOff,
    ) -> None:
        self.upgrade_id = upgrade_id
        self._upgrader = upgrader
        self._register = register
        self._state = state
        self._follower = follower
        self._deadline = 0.0 if policy is None else policy.progress_deadline
        self._reaction = "rollback" if policy is None else policy.reaction
        self._clock = clock
        self._call_off = call_off
        self._moved = time.monotonic()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = upgrader.events.subscribe(self._heard)

    def _heard(self, event: Event) -> None:
        if event.upgrade_id == self.upgrade_id:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and this with it
                self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def run(self) -> UpgradeResult | None:
        """Write down what becomes of the upgrade until it has ended; None when it is not known here any more."""
        ended = asyncio.ensure_future(self._upgrader.result(self.upgrade_id))
        try:
            await self._write(self._state.stage, who="core", why="its upgrade has begun", upgrade_id=self.upgrade_id)
            return await self._until(ended)
        except UpgradeUnknownError:
            return None
        finally:
            ended.cancel()
            self._unsubscribe()

    async def _write(self, stage: Stage, **said: Any) -> None:
        """Note something; what cannot be noted is told, and is no reason to lose sight of the upgrade."""
        try:
            await self._register.move(self._state.deployment_id, stage, **said)
        except UpgradeError as error:
            name = self._state.deployment_id
            self._tell("deployment_upgrade.failed", f"{name} is {stage}, which could not be written: {error.message}")

    async def _until(self, ended: asyncio.Future[UpgradeResult]) -> UpgradeResult:
        while True:
            coming = asyncio.ensure_future(self._events.get())
            both: set[asyncio.Future[Any]] = {ended, coming}
            try:
                await asyncio.wait(both, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
            finally:
                heard = not coming.cancel()
            if heard:
                await self._note(coming.result())
                continue
            if ended.done():
                while not self._events.empty():
                    await self._note(self._events.get_nowait())
                return ended.result()
            await self._overdue()

    async def _note(self, event: Event) -> None:
        before = self._follower.stage
        turn = self._follower.read(event)
        if turn is None:
            return
        if turn.progress:
            self._moved = time.monotonic()
        changes: dict[str, Any] = dict(turn.changes)
        if _reaches(event, Phase.SHIFTING):
            changes["began_at"] = self._clock()
        await self._write(turn.stage, who=turn.who or "core", why=turn.why, evidence=turn.evidence, **changes)
        self._announce(before, turn, event)

    def _announce(self, before: Stage, turn: Turn, event: Event) -> None:
        name = self._state.deployment_id
        if _reaches(event, Phase.VALIDATED):
            self._tell("deployment_upgrade.validated", f"{name} was validated", event)
        if _reaches(event, Phase.SHIFTING):
            self._tell(EventKind.DEPLOYMENT_STARTED, f"{name} has begun", event)
        if turn.stage is Stage.ABORTING and before is not Stage.ABORTING:
            self._tell("deployment_upgrade.rollback_triggered", f"{name} goes back: {turn.why}", event)

    # --- the deadline of progress --------------------------------------------------------------------------------

    def _left(self) -> float | None:
        """Return the seconds until it is overdue, or None while it cannot be."""
        if not self._deadline:
            return None
        if self._follower.paused or self._follower.stage in _STANDS_STILL:
            self._moved = time.monotonic()  # time in which people are waited for is not its own
            return None
        return max(0.0, self._deadline - (time.monotonic() - self._moved))

    async def _overdue(self) -> None:
        """Nothing has moved for too long: a failure, and the policy says what becomes of those."""
        stage = self._follower.stage
        why = f"nothing has moved on for {self._deadline:g} s, it is {stage}"
        self._moved = time.monotonic()
        self._tell("deployment_upgrade.timeout", f"{self._state.deployment_id}: {why}")
        # It has moved on, or ended, just now; or it goes back, which cannot be written.
        with contextlib.suppress(UpgradeError):
            if self._reaction == "rollback":
                await self._call_off(Stage.INCONCLUSIVE if stage is Stage.STARVED else Stage.ROLLED_BACK, why)
            else:
                await self._upgrader.pause_upgrade(self.upgrade_id, by=DEADLINE)

    def _tell(self, kind: str, message: str, event: Event | None = None) -> None:
        data: Mapping[str, Any] = {
            "deployment_id": self._state.deployment_id,
            "environment": self._state.environment,
        }
        self._upgrader.events.emit(
            kind,
            upgrade_id=self.upgrade_id,
            component_name=self._state.components[0] if event is None else event.component_name,
            message=message,
            data=data,
        )


def _reaches(event: Event, phase: Phase) -> bool:
    return event.kind == EventKind.PHASE_CHANGED and event.data.get("to") == phase
