"""Who may begin when, and what becomes of those that began: the one place that starts upgrades for deployments."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import JournalError, UpgradeBusyError, UpgradeError
from noodle_upgrade_core.events import EventKind
from noodle_upgrade_core.isolation import blame_ourselves
from noodle_upgrade_core.model import Phase, UpgradeResult, now
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_core.wire import to_wire
from noodle_upgrade_deployment.deploying.admission import Obstacle, Surroundings, obstacles
from noodle_upgrade_deployment.deploying.attempts import found_after, requests_of, upgrade_of
from noodle_upgrade_deployment.deploying.evidence import in_short
from noodle_upgrade_deployment.deploying.following import Follower, asks_people, end_of
from noodle_upgrade_deployment.deploying.pursuit import DEADLINE, Pursuit
from noodle_upgrade_deployment.deploying.records import CalledOff, DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.policies.choice import calendar_for, policy_for
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["MOST_ATTEMPTS", "Dispatcher", "Survey"]

logger = logging.getLogger("noodle_upgrade")

Survey = Callable[[DeploymentUpgradeState, DeploymentUpgradePolicy], Awaitable[Surroundings]]
"""Looks at what an admission has to know: the clock, the resources, the health, the other deployments."""

MOST_ATTEMPTS = 3
"""How often a deployment is begun: what ends its program each time is not tried for ever."""

_ENDS: Mapping[Stage, str] = {
    Stage.SUCCEEDED: EventKind.DEPLOYMENT_COMPLETED,
    Stage.ROLLED_BACK: EventKind.DEPLOYMENT_ROLLED_BACK,
    Stage.INCONCLUSIVE: EventKind.DEPLOYMENT_ROLLED_BACK,
    Stage.SUPERSEDED: EventKind.DEPLOYMENT_ROLLED_BACK,
}
_WENT_BACK = frozenset({Stage.ROLLED_BACK, Stage.CANCELLED, Stage.INCONCLUSIVE})
_GONE_WRONG = frozenset({Stage.ROLLED_BACK, Stage.ROLLBACK_FAILED})
_RECORDS = 1000
"""How far back the upgrade of an attempt is looked for after a crash."""
_SHORTEST = 0.05
_ABSENT_SECONDS = 1.0
"""How soon to look again for a component that the program has not asked for yet."""


class Dispatcher:
    """Starts what may begin, follows what has begun; belongs to the Upgrader's event loop.

    It looks again whenever `wake` is called, when an obstacle is known to pass, and every `sync_interval` seconds.
    `ended` is told of every deployment that has ended.
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
        self._calling: set[asyncio.Future[Any]] = set()
        self._begun: dict[str, str] = {}
        self._held: dict[str, frozenset[str]] = {}
        self._inherited: set[str] = set()

    # --- life ----------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Find again what an earlier process left under way, and attend to what waits from now on."""
        self._inherited = {state.deployment_id for state in self._register.active()}
        for state in self._register.active():
            if not state.stage.waiting:
                await self._find_again(state)
            else:
                await self._is_called_off(state)
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
                async with asyncio.timeout(max(_SHORTEST, due)):
                    await self._woken.wait()

    async def _consider(self) -> float:
        """Start all that may begin, the most important first; returns after how many seconds to look again at most."""
        due = float("inf")
        await self._find_strays()
        queued = [state for state in self._register.active() if state.stage is Stage.QUEUED]
        for state in sorted(queued, key=lambda one: (-one.priority, one.created_at)):
            if self._upgrader.closing:
                break
            try:
                due = min(due, await self._admit(state))
            except UpgradeError as error:
                # It is looked at again, and keeps nobody else waiting.
                self._tell("deployment_upgrade.failed", error.message, error.to_wire())
            # Hundreds may wait, and the program has other things to do.
            await asyncio.sleep(0)
        return due

    async def _admit(self, state: DeploymentUpgradeState) -> float:
        """Start one if it may begin; returns after how many seconds it may at the earliest, as far as is known."""
        if await self._is_called_off(state):
            return float("inf")
        against, policy = await self.against(state)
        if not against and policy is not None:
            await self._start(state, policy)
            return float("inf")
        await self._hold(state, against)
        known = [one.until for one in against if one.until is not None]
        return min(((until - self._clock()).total_seconds() for until in known), default=float("inf"))

    async def _find_strays(self) -> None:
        """Find again what nobody follows, because its end could not be written when it came."""
        for state in self._register.active():
            if state.stage.waiting or state.deployment_id in self._following or self._upgrader.closing:
                continue
            try:
                await self._find_again(state)
            except UpgradeError as error:
                self._tell("deployment_upgrade.failed", error.message, error.to_wire())

    async def against(
        self, state: DeploymentUpgradeState
    ) -> tuple[tuple[Obstacle, ...], DeploymentUpgradePolicy | None]:
        """Return what stands against a start now, and the policy.

        What cannot be looked at stands against this one alone: those behind it must not wait for it.
        """
        if absent := await self._absent(state):
            return absent, None
        try:
            policy = policy_for(self._settings, state.environment)
            calendar = calendar_for(self._settings, state.environment)
            found = obstacles(state, policy, calendar, await self._survey(state, policy))
            return (*found, *await self._absent(state)), policy
        except UpgradeError as error:
            # Nobody took the policy away for good, or broke what it asks for, maybe: what waits goes on waiting.
            return (Obstacle(code=error.code, message=error.message, hint=error.hint),), None

    async def _absent(self, state: DeploymentUpgradeState) -> tuple[Obstacle, ...]:
        """Return what a program that has just started again does not run yet of an earlier process's deployment.

        A component behind a handle is known when its handle is made, which comes after deployments are found again.
        """
        if state.deployment_id not in self._inherited:
            return ()
        there = {canonicalize_name(component.name) for component in await self._upgrader.components()}
        missing = [name for name in state.components if canonicalize_name(name) not in there]
        if not missing:
            self._inherited.discard(state.deployment_id)
            return ()
        return (
            Obstacle(
                code="deployment.absent",
                message=f"This program does not run {', '.join(missing)} yet.",
                until=self._clock() + timedelta(seconds=_ABSENT_SECONDS),
                hint="It waits until the program has it; `noodle deploy abort` ends it.",
            ),
        )

    def refused(self, state: DeploymentUpgradeState) -> bool:
        """Whether something stands against a deployment that does not pass by itself, as far as can be told at once."""
        try:
            policy = policy_for(self._settings, state.environment)
            calendar = calendar_for(self._settings, state.environment)
        except UpgradeError:
            return False
        others = [other for other in self._register.all() if other.deployment_id != state.deployment_id]
        found = obstacles(state, policy, calendar, Surroundings(at=self._clock(), others=others))
        return not all(one.passes for one in found)

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
        self._held.pop(state.deployment_id, None)
        state = await self._register.move(
            state.deployment_id,
            Stage.PREPARING,
            who=state.requested_by,
            why=f"nothing stands against it: attempt {state.attempt + 1}",
            only={Stage.QUEUED},
            attempt=state.attempt + 1,
            upgrade_id="",
            step="",
            weight=0.0,
        )
        if state.stage is not Stage.PREPARING or await self._is_called_off(state):
            return
        limit = self._settings.upgrade_integration.upgrade_timeout
        try:
            plan = await self._upgrader.plan(requests_of(state, policy, time_limit=limit))
            if await self._is_called_off(state):
                return
            upgrade_id = await self._upgrader.start(plan, approved_by=state.approved_by)
        except asyncio.CancelledError:
            with contextlib.suppress(UpgradeError):
                await self._wait_again(state, "nothing is attended to any more")
            raise
        except UpgradeBusyError as error:
            await self._wait_again(state, error.message)
        except UpgradeError as error:
            if self._upgrader.closing:
                await self._wait_again(state, "the program is shutting down")
                return
            await self._end(state, Stage.REJECTED, who="core", why=error.message, evidence={"error": error.to_wire()})
        else:
            self._follow(state, upgrade_id, Follower(freezes=policy.reaction == "freeze"), policy)

    async def _wait_again(self, state: DeploymentUpgradeState, why: str) -> None:
        """Nothing has begun: that was no attempt."""
        attempt = state.attempt - 1
        await self._register.move(state.deployment_id, Stage.QUEUED, who="core", why=why, attempt=attempt)

    async def _is_called_off(self, state: DeploymentUpgradeState) -> bool:
        """Whether it was called off before its upgrade began: it has ended then."""
        called = self._register.get(state.deployment_id).called_off
        if called is not None:
            await self._end(state, called.ends(begun=False), who=called.who, why=called.why)
        return called is not None

    def _follow(
        self,
        state: DeploymentUpgradeState,
        upgrade_id: str,
        follower: Follower,
        policy: DeploymentUpgradePolicy | None,
    ) -> None:
        name = state.deployment_id

        async def call_off(stage: Stage, why: str) -> None:
            await self.call_off(name, stage, who=DEADLINE, why=why, wait=False)

        pursuit = Pursuit(
            self._upgrader,
            register=self._register,
            state=state,
            upgrade_id=upgrade_id,
            follower=follower,
            policy=policy,
            clock=self._clock,
            call_off=call_off,
        )
        self._begun[name] = upgrade_id
        self._following[name] = asyncio.create_task(self._followed(name, pursuit), name=f"noodle {name}")
        if (called := self._register.get(name).called_off) is not None:
            self._cancel_later(name, called)

    async def _followed(self, deployment_id: str, pursuit: Pursuit) -> None:
        try:
            result = await pursuit.run()
            written = await self._concluded(deployment_id, result)
            while not written:
                # The upgrade itself is safe in the journal, or rides; a later process finds the deployment by it.
                await asyncio.sleep(self._settings.upgrade_integration.sync_interval)
                written = await self._concluded(deployment_id, result)
        finally:
            if self._following.get(deployment_id) is asyncio.current_task():
                del self._following[deployment_id]
                self._begun.pop(deployment_id, None)
            self.wake()

    # --- those that end ------------------------------------------------------------------------------------------

    async def _concluded(self, deployment_id: str, result: UpgradeResult | None) -> bool:
        """Write down how its upgrade ended, or what the journal says of that; False where that cannot be written."""
        try:
            if result is None:
                await self._find_again(self._register.get(deployment_id))
            else:
                await self._has_ended(deployment_id, result)
        except UpgradeError as error:
            self._tell("deployment_upgrade.failed", error.message, error.to_wire())
        return self._register.get(deployment_id).stage.ended or result is None

    async def _has_ended(self, deployment_id: str, result: UpgradeResult) -> None:
        stage, why = end_of(result)
        who = "judge" if result.error is not None and result.error.code == "deploy.harm" else "core"
        state = self._register.get(deployment_id)
        if state.called_off is not None and stage in _WENT_BACK:
            stage = state.called_off.ends(begun=stage is not Stage.CANCELLED)
            who, why = state.called_off.who, state.called_off.why
        harmful = stage in _GONE_WRONG and state.called_off is None and _blames_the_version(result.error)
        await self._end(state, stage, who=who, why=why, evidence={"result": result}, harmful=harmful)

    async def call_off(self, deployment_id: str, stage: Stage, *, who: str, why: str, wait: bool = True) -> None:
        """End a deployment, wherever it is: what was moved goes back, what had not begun never begins.

        `stage` is what it ends as if it had begun. That it is called off is written before anything else is done, and
        who was first has said why. With `wait` it returns when it has ended. Raises what writing raises; what has begun
        goes back all the same, for that must not wait for a disk.
        """
        state = self._register.get(deployment_id)
        called = state.called_off or CalledOff(stage=stage, who=who, why=in_short(why))
        if state.called_off is None:
            try:
                state = await self._register.move(
                    deployment_id, None, who=who, why=why, durable=True, called_off=called
                )
            except JournalError:
                self._cancel_later(deployment_id, called)
                raise
        if state.stage.waiting:
            await self._is_called_off(state)
        elif not state.stage.ended:
            self._cancel_later(deployment_id, called)
            if wait:
                await self.ended(deployment_id)

    def _cancel_later(self, deployment_id: str, called: CalledOff) -> None:
        """Cancel its upgrade, if that has begun: before, whoever begins it looks whether it was called off."""
        upgrade_id = self._begun.get(deployment_id)
        if upgrade_id is not None:
            calling = asyncio.ensure_future(self._cancel(upgrade_id, f"{called.who}: {called.why}"))
            self._calling.add(calling)
            calling.add_done_callback(self._calling.discard)

    async def _cancel(self, upgrade_id: str, by: str) -> None:
        with contextlib.suppress(UpgradeError):  # it has ended just now, which is written by whoever follows it
            await self._upgrader.cancel_upgrade(upgrade_id, by=by)

    async def _end(
        self,
        state: DeploymentUpgradeState,
        stage: Stage,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        if self._register.get(state.deployment_id).stage.ended:
            return
        self._held.pop(state.deployment_id, None)
        ended = await self._register.move(state.deployment_id, stage, who=who, why=why, evidence=evidence, **changes)
        about = {"deployment_id": state.deployment_id, "environment": state.environment, "stage": stage.value}
        kind = _ENDS.get(stage, EventKind.DEPLOYMENT_FAILED)
        self._tell(kind, f"{state.deployment_id} ended as {stage}: {why}", about)
        await self._ended(ended)

    async def _find_again(self, state: DeploymentUpgradeState) -> None:
        """Go on with one whose process ended, as the journal and the policy say: resumed or rolled back, never both."""
        journal = self._upgrader.journal
        record = upgrade_of(state, await asyncio.to_thread(journal.history, _RECORDS))
        rows = () if record is None else await asyncio.to_thread(journal.audit, record.upgrade_id)
        stage, why = found_after(record, rows)
        policy, called = self._policy(state), state.called_off
        begun = record is not None and record.phase is not Phase.ABORTED
        if stage is Stage.BAKING and record is not None:
            baking = await self._register.move(state.deployment_id, stage, who="recovery", why=why)
            self._follow(baking, record.upgrade_id, Follower(stage=Stage.BAKING), policy)
        elif called is not None and stage in {*_WENT_BACK, Stage.ABORTING}:
            await self._end(state, called.ends(begun=begun), who=called.who, why=called.why)
        elif stage is not Stage.ABORTING:
            await self._end(state, stage, who="recovery", why=why, harmful=stage in _GONE_WRONG)
        elif asks_people(state):
            why = f"it did harm, and nobody had said that it may go on: {why}"
            await self._end(state, Stage.ROLLED_BACK, who="recovery", why=why, harmful=True)
        elif policy is not None and policy.restart == "resume" and state.attempt < MOST_ATTEMPTS:
            await self._register.move(state.deployment_id, Stage.QUEUED, who="recovery", why=f"{why}: it is resumed")
        else:
            await self._end(state, Stage.ROLLED_BACK if begun else Stage.CANCELLED, who="recovery", why=why)

    def _policy(self, state: DeploymentUpgradeState) -> DeploymentUpgradePolicy | None:
        try:
            return policy_for(self._settings, state.environment)
        except UpgradeError:
            return None

    def _tell(self, kind: str, message: str, data: Mapping[str, Any]) -> None:
        self._upgrader.events.emit(kind, message=message, data=data)


def _blames_the_version(error: UpgradeError | None) -> bool:
    """Whether it went back because the version did not do well: not because it was cancelled, or the program ended."""
    return error is None or error.code != "upgrade.cancelled"
