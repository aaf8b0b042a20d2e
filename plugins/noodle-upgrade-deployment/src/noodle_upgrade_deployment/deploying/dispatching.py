"""Who may begin when, and what becomes of those that began: the one place that starts upgrades for deployments."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import evolve, frozen

from noodle_upgrade_core.errors import JournalError, UpgradeBusyError, UpgradeError, UpgradeUnknownError
from noodle_upgrade_core.events import Event, EventKind
from noodle_upgrade_core.isolation import blame_ourselves
from noodle_upgrade_core.model import UpgradeResult, now
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_core.wire import to_wire
from noodle_upgrade_deployment.deploying.admission import Obstacle, Surroundings, obstacles
from noodle_upgrade_deployment.deploying.attempts import found_after, requests_of, upgrade_of
from noodle_upgrade_deployment.deploying.following import Follower, Turn, end_of
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.policies.choice import calendar_for, policy_for
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["Dispatcher", "Survey"]

logger = logging.getLogger("noodle_upgrade")

Survey = Callable[[DeploymentUpgradeState, DeploymentUpgradePolicy], Awaitable[Surroundings]]
"""Looks at what an admission has to know: the clock, the resources, the health, the other deployments."""

_DEADLINE = "the progress deadline"
_STANDS_STILL = frozenset({Stage.PAUSED, Stage.GATED, Stage.FROZEN})
_ENDS: Mapping[Stage, str] = {
    Stage.SUCCEEDED: EventKind.DEPLOYMENT_COMPLETED,
    Stage.ROLLED_BACK: EventKind.DEPLOYMENT_ROLLED_BACK,
    Stage.INCONCLUSIVE: EventKind.DEPLOYMENT_ROLLED_BACK,
}
MOST_ATTEMPTS = 3
"""How often a deployment is begun: what ends its program each time is not tried for ever."""
_RECORDS = 1000
"""How far back the upgrade of an attempt is looked for after a crash."""


@frozen(kw_only=True)
class _Wanted:
    """How a deployment is to end that somebody, or something, has called off."""

    stage: Stage
    who: str
    why: str


class Dispatcher:
    """Starts what may begin, follows what has begun; belongs to the Upgrader's event loop.

    It looks again whenever `wake` is called, when an obstacle is known to pass, and every `sync_interval` seconds.
    """

    def __init__(
        self,
        upgrader: Upgrader,
        *,
        settings: DeploymentSettings,
        register: Register,
        survey: Survey,
        ended: Callable[[DeploymentUpgradeState], Awaitable[Any]],
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._upgrader = upgrader
        self._settings = settings
        self._register = register
        self._survey = survey
        self._ended = ended
        self._clock = clock
        self._woken = asyncio.Event()
        self._attending: asyncio.Task[None] | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        self._wanted: dict[str, _Wanted] = {}
        self._held: dict[str, frozenset[str]] = {}

    # --- life ----------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Find again what an earlier process left under way, and attend to what waits from now on."""
        for state in self._register.active():
            if not state.stage.waiting:
                await self._find_again(state)
        if self._attending is None:
            self._attending = asyncio.create_task(self._attend(), name="noodle deployments")

    async def close(self) -> None:
        """Attend to nothing any more; what was begun is the Upgrader's, and found again by the next process."""
        tasks = [task for task in (self._attending, *self._following.values()) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._attending = None
        self._following.clear()

    def wake(self) -> None:
        """Look at once: something has changed. From the loop's own thread."""
        self._woken.set()

    async def ended(self, deployment_id: str) -> DeploymentUpgradeState:
        """Wait for a deployment's end, however long that takes."""
        while not (state := self._register.get(deployment_id)).stage.ended:
            await self._register.changed()
        return state

    # --- those that wait -----------------------------------------------------------------------------------------

    async def _attend(self) -> None:
        while True:
            self._woken.clear()
            due = self._settings.upgrade_integration.sync_interval
            try:
                due = min(due, await self._consider())
            except UpgradeError as error:
                self._tell("deployment_upgrade.failed", error.message, error.to_wire())
            except Exception as error:
                logger.exception("the deployments that wait could not be looked at")
                self._tell("deployment_upgrade.failed", blame_ourselves(error).message, {})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.05, due)):
                    await self._woken.wait()

    async def _consider(self) -> float:
        """Start all that may begin, the most important first; returns in how many seconds to look again at the latest."""
        due = float("inf")
        queued = [state for state in self._register.active() if state.stage is Stage.QUEUED]
        for state in sorted(queued, key=lambda one: (-one.priority, one.created_at)):
            against, policy = await self.against(state)
            if against:
                await self._hold(state, against)
                known = [one.until for one in against if one.until is not None]
                due = min([due, *((until - self._clock()).total_seconds() for until in known)])
            elif policy is not None:
                await self._start(state, policy)
        return due

    async def against(
        self, state: DeploymentUpgradeState
    ) -> tuple[tuple[Obstacle, ...], DeploymentUpgradePolicy | None]:
        """Return what stands against a start now, and the policy."""
        try:
            policy = policy_for(self._settings, state.environment)
            calendar = calendar_for(self._settings, state.environment)
        except UpgradeError as error:
            # Nobody took the policy away for good, maybe: what waits goes on waiting.
            return (Obstacle(code=error.code, message=error.message, hint=error.hint),), None
        return obstacles(state, policy, calendar, await self._survey(state, policy)), policy

    async def _hold(self, state: DeploymentUpgradeState, against: tuple[Obstacle, ...]) -> None:
        why = " ".join(one.message for one in against)
        listed = {"obstacles": [to_wire(one) for one in against]}
        if not all(one.passes for one in against):
            await self._end(state, Stage.REJECTED, who="policy", why=why, evidence=listed)
            return
        codes = frozenset(one.code for one in against)
        if self._held.get(state.deployment_id) != codes:
            # Figures change at every look; that is no news.
            self._held[state.deployment_id] = codes
            await self._register.move(state.deployment_id, Stage.QUEUED, who="policy", why=why, evidence=listed)

    # --- those that begin ----------------------------------------------------------------------------------------

    async def _start(self, state: DeploymentUpgradeState, policy: DeploymentUpgradePolicy) -> None:
        """Write the attempt down, then begin it: who finds it written and nothing begun knows that nothing happened."""
        state = await self._register.move(
            state.deployment_id,
            Stage.PREPARING,
            who=state.requested_by,
            why=f"nothing stands against it: attempt {state.attempt + 1}",
            attempt=state.attempt + 1,
            upgrade_id="",
            step="",
            weight=0.0,
        )
        self._held.pop(state.deployment_id, None)
        limit = self._settings.upgrade_integration.upgrade_timeout
        try:
            plan = await self._upgrader.plan(requests_of(state, policy, time_limit=limit))
            upgrade_id = await self._upgrader.start(plan, approved_by=state.approved_by)
        except UpgradeBusyError as error:
            await self._register.move(state.deployment_id, Stage.QUEUED, who="core", why=error.message)
        except UpgradeError as error:
            await self._end(state, Stage.REJECTED, who="core", why=error.message, evidence={"error": error.to_wire()})
        else:
            self._follow(state, upgrade_id, Follower(freezes=policy.reaction == "freeze"), policy)

    def _follow(
        self, state: DeploymentUpgradeState, upgrade_id: str, follower: Follower, policy: DeploymentUpgradePolicy | None
    ) -> None:
        # Listened to before anything else is awaited: no event of the upgrade is missed.
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def note(event: Event) -> None:
            if event.upgrade_id == upgrade_id:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(events.put_nowait, event)

        unsubscribe = self._upgrader.events.subscribe(note)
        deadline = 0.0 if policy is None else policy.progress_deadline
        reaction = "rollback" if policy is None else policy.reaction
        watch = _Watch(upgrade_id=upgrade_id, events=events, follower=follower, deadline=deadline, reaction=reaction)
        task = asyncio.create_task(self._followed(state, watch, unsubscribe), name=f"noodle {state.deployment_id}")
        self._following[state.deployment_id] = task

    async def _followed(
        self, state: DeploymentUpgradeState, watch: _Watch, unsubscribe: Callable[[], None]
    ) -> None:
        try:
            await self._register.move(
                state.deployment_id, state.stage, who="core", why="its upgrade has begun", upgrade_id=watch.upgrade_id
            )
            result = await self._until_ended(state, watch)
            if result is None:
                await self._find_again(self._register.get(state.deployment_id))
                return
            stage, why = end_of(result)
            wanted = self._wanted.pop(state.deployment_id, None)
            who = "judge" if result.error is not None and result.error.code == "deploy.harm" else "core"
            if wanted is not None and stage in {Stage.ROLLED_BACK, Stage.CANCELLED, Stage.INCONCLUSIVE}:
                begun = stage is not Stage.CANCELLED or wanted.stage is Stage.SUPERSEDED
                stage, who, why = wanted.stage if begun else stage, wanted.who, wanted.why
            await self._end(
                self._register.get(state.deployment_id), stage, who=who, why=why, evidence={"result": to_wire(result)}
            )
        except JournalError as error:
            # The upgrade itself is safe in the journal, or rides; a later process finds the deployment by it.
            self._tell("deployment_upgrade.failed", error.message, error.to_wire())
        finally:
            unsubscribe()
            self._following.pop(state.deployment_id, None)
            self.wake()

    async def _until_ended(self, state: DeploymentUpgradeState, watch: _Watch) -> UpgradeResult | None:
        """Write down what becomes of an upgrade until it has ended; None when it is not known here any more."""
        ended = asyncio.ensure_future(self._upgrader.result(watch.upgrade_id))
        try:
            while True:
                coming = asyncio.ensure_future(watch.events.get())
                done, _ = await asyncio.wait(
                    {ended, coming}, timeout=watch.left(), return_when=asyncio.FIRST_COMPLETED
                )
                if coming in done:
                    await self._note(state, watch, coming.result())
                    continue
                coming.cancel()
                if ended in done:
                    while not watch.events.empty():
                        await self._note(state, watch, watch.events.get_nowait())
                    return ended.result()
                await self._overdue(state, watch)
        except UpgradeUnknownError:
            return None
        finally:
            ended.cancel()

    async def _note(self, state: DeploymentUpgradeState, watch: _Watch, event: Event) -> None:
        before = watch.follower.stage
        turn = watch.follower.read(event)
        if turn is None:
            return
        if turn.progress:
            watch.moved()
        await self._told(state, before, turn, event)
        await self._register.move(
            state.deployment_id,
            turn.stage,
            who=turn.who or "core",
            why=turn.why,
            evidence=turn.evidence,
            **turn.changes,
        )

    async def _told(self, state: DeploymentUpgradeState, before: Stage, turn: Turn, event: Event) -> None:
        about = {"deployment_id": state.deployment_id, "environment": state.environment}
        if event.kind == EventKind.PHASE_CHANGED and event.data.get("to") == "validated":
            self._tell("deployment_upgrade.validated", f"{state.deployment_id} was validated", about, event)
        if event.kind == EventKind.PHASE_CHANGED and event.data.get("to") == "shifting":
            began = self._clock()
            await self._register.move(
                state.deployment_id, turn.stage, who="core", why="traffic is about to move", began_at=began
            )
            self._tell(EventKind.DEPLOYMENT_STARTED, f"{state.deployment_id} has begun", about, event)
        if turn.stage is Stage.ABORTING and before is not Stage.ABORTING:
            self._tell(
                "deployment_upgrade.rollback_triggered", f"{state.deployment_id} goes back: {turn.why}", about, event
            )

    async def _overdue(self, state: DeploymentUpgradeState, watch: _Watch) -> None:
        """Nothing has moved for too long: a failure, which the policy says what becomes of."""
        starved = watch.follower.stage is Stage.STARVED
        why = f"nothing has moved on for {watch.deadline:g} s ({watch.follower.stage})"
        watch.moved()
        self._tell(
            "deployment_upgrade.timeout", f"{state.deployment_id}: {why}", {"deployment_id": state.deployment_id}
        )
        if watch.reaction == "rollback":
            stage = Stage.INCONCLUSIVE if starved else Stage.ROLLED_BACK
            await self.call_off(state.deployment_id, stage, who=_DEADLINE, why=why, wait=False)
        else:
            with contextlib.suppress(UpgradeError):  # it has moved on, or ended, just now
                await self._upgrader.pause_upgrade(watch.upgrade_id, by=_DEADLINE)

    # --- those that end ------------------------------------------------------------------------------------------

    async def call_off(self, deployment_id: str, stage: Stage, *, who: str, why: str, wait: bool = True) -> None:
        """End a deployment, wherever it is: what was moved goes back, what had not begun never begins.

        `stage` is what it ends as if it had begun. With `wait` it returns when it has ended.
        """
        state = self._register.get(deployment_id)
        if state.stage.ended:
            return
        if state.stage.waiting:
            ends = stage if stage is Stage.SUPERSEDED else Stage.CANCELLED
            await self._end(state, ends, who=who, why=why)
            return
        self._wanted.setdefault(deployment_id, _Wanted(stage=stage, who=who, why=why))
        upgrade_id = state.upgrade_id
        with contextlib.suppress(UpgradeError):  # it has ended just now, which is written by whoever follows it
            cancelling = self._upgrader.cancel_upgrade(upgrade_id, by=f"{who}: {why}")
            if wait:
                await cancelling
            else:
                task = asyncio.ensure_future(cancelling)
                task.add_done_callback(_retrieved)
        if wait:
            await self.ended(deployment_id)

    async def _end(
        self,
        state: DeploymentUpgradeState,
        stage: Stage,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        ended = await self._register.move(state.deployment_id, stage, who=who, why=why, evidence=evidence)
        about = {"deployment_id": state.deployment_id, "environment": state.environment, "stage": stage.value}
        kind = _ENDS.get(stage, EventKind.DEPLOYMENT_FAILED)
        self._tell(kind, f"{state.deployment_id} ended as {stage}: {why}", about)
        await self._ended(ended)

    async def _find_again(self, state: DeploymentUpgradeState) -> None:
        """Go on with one whose process ended, as the journal and the policy say: resumed or rolled back, never both."""
        records = await asyncio.to_thread(self._upgrader.journal.history, _RECORDS)
        record = upgrade_of(state, records)
        stage, why = found_after(record)
        policy = self._policy(state)
        if stage is Stage.BAKING and record is not None:
            follower = Follower(stage=Stage.BAKING)
            self._follow(evolve(state, stage=Stage.BAKING), record.upgrade_id, follower, policy)
        elif stage is not Stage.ABORTING:
            await self._end(state, stage, who="recovery", why=why)
        elif policy is not None and policy.restart == "resume" and state.attempt < MOST_ATTEMPTS:
            await self._register.move(state.deployment_id, Stage.QUEUED, who="recovery", why=f"{why}: it is resumed")
        else:
            await self._end(state, Stage.ROLLED_BACK, who="recovery", why=why)

    def _policy(self, state: DeploymentUpgradeState) -> DeploymentUpgradePolicy | None:
        try:
            return policy_for(self._settings, state.environment)
        except UpgradeError:
            return None

    def _tell(self, kind: str, message: str, data: Mapping[str, Any], about: Event | None = None) -> None:
        self._upgrader.events.emit(
            kind,
            upgrade_id="" if about is None else about.upgrade_id,
            component_name="" if about is None else about.component_name,
            message=message,
            data=data,
        )


class _Watch:
    """The events of one upgrade, and since when nothing has moved on."""

    def __init__(
        self, *, upgrade_id: str, events: asyncio.Queue[Event], follower: Follower, deadline: float, reaction: str
    ) -> None:
        self.upgrade_id = upgrade_id
        self.events = events
        self.follower = follower
        self.deadline = deadline
        self.reaction = reaction
        self._moved = time.monotonic()

    def moved(self) -> None:
        """Note that something has moved on."""
        self._moved = time.monotonic()

    def left(self) -> float | None:
        """Return the seconds until it is overdue, or None while it cannot be."""
        if not self.deadline:
            return None
        if self.follower.stage in _STANDS_STILL:
            self.moved()  # time in which people are waited for is not its own
            return None
        return max(0.0, self.deadline - (time.monotonic() - self._moved))


def _retrieved(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
