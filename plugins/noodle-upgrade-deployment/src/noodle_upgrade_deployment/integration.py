"""Deployments of this program: asked for by id, admitted by policy, carried out, followed, and found again.

async with DeploymentRuntimeUpgradeIntegration(upgrader) as deployments:
state = await deployments.request_deployment_aware_upgrade("dep-7", request, environment="production")
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from attrs import evolve

from noodle_upgrade_core.errors import (
    InvalidRequestError,
    JournalError,
    SettingsError,
    UpgradeDisabledError,
    UpgradeError,
)
from noodle_upgrade_core.model import Finding, UpgradePlan, UpgradeRequest, now
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_deployment.deploying.admission import BUSY, overlapping
from noodle_upgrade_deployment.deploying.aftermath import dependents, still_asked
from noodle_upgrade_deployment.deploying.asking import (
    asks_the_same,
    check_needs_no_plugin,
    checked_id,
    checked_policy,
    checked_requests,
    checked_trigger,
    switched_off,
)
from noodle_upgrade_deployment.deploying.attempts import DEPLOYMENT, is_attempt
from noodle_upgrade_deployment.deploying.carrying import environment_of
from noodle_upgrade_deployment.deploying.dispatching import Dispatcher
from noodle_upgrade_deployment.deploying.errors import DeploymentConflictError, DeploymentExistsError
from noodle_upgrade_deployment.deploying.overview import overview
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeEvent, DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.deploying.surroundings import Surveyor
from noodle_upgrade_deployment.deploying.triggers import Lookout
from noodle_upgrade_deployment.policies.choice import calendar_for, policy_for
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.policies.vocabulary import DeploymentUpgradeTrigger, UpgradeDeploymentMode
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["DeploymentRuntimeUpgradeIntegration"]

OWNER = "deployment"
"""Whose documents deployments are in the journal."""

_HOUR = timedelta(hours=1)


class DeploymentRuntimeUpgradeIntegration:
    """Deploys to this program through an Upgrader. Belongs to the Upgrader's event loop.

    `clock` gives aware moments: of windows, freezes and intervals.
    """

    def __init__(
        self, upgrader: Upgrader, *, settings: DeploymentSettings | None = None, clock: Callable[[], datetime] = now
    ) -> None:
        self._upgrader = upgrader
        self.settings = settings or _settings_of(upgrader)
        self._clock = clock
        self._register = Register(upgrader.documents(OWNER), tell=upgrader.events.emit, clock=clock)
        self._surveyor = Surveyor(upgrader, register=self._register, clock=clock)
        self._dispatcher = Dispatcher(
            upgrader,
            settings=self.settings,
            register=self._register,
            survey=self._surveyor.survey,
            ended=self._has_ended,
            clock=clock,
        )
        self._lookout: Lookout | None = None
        self._forgot = clock()

    @classmethod
    def of(cls, upgrader: Upgrader) -> Self:
        """Return the one that the deployment plugin of an Upgrader runs; raises `InvalidRequestError` without it."""
        if isinstance(found := _run_by_a_plugin(upgrader), cls):
            return found
        raise InvalidRequestError(
            "There is no deployment plugin in this program, or it is switched off.",
            hint="Enable it, or make an integration: DeploymentRuntimeUpgradeIntegration(upgrader).",
        )

    # --- life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def initialize(self) -> None:
        """Find again what an earlier process left under way, and attend to deployments and triggers from now on.

        Raises `UpgradeDisabledError` when the integration is switched off, and what reading the journal raises.
        """
        self._check_enabled()
        if self._lookout is not None:
            return
        if _run_by_a_plugin(self._upgrader) not in {None, self}:
            raise InvalidRequestError(
                "The deployment plugin runs already in this program.",
                hint="Ask that one: DeploymentRuntimeUpgradeIntegration.of(upgrader).",
            )
        await asyncio.to_thread(self._register.load)
        await self._forget()
        await self._supersede_again()
        await self._dispatcher.begin()
        self._lookout = Lookout(
            self._upgrader,
            settings=self.settings,
            register=self._register,
            surveyor=self._surveyor,
            clock=self._clock,
            let_begin=self._let_begin,
        )
        self._lookout.begin()

    async def close(self) -> None:
        """Attend to nothing any more; upgrades that were begun are the Upgrader's."""
        if self._lookout is not None:
            await self._lookout.close()
            self._lookout = None
        await self._dispatcher.close()
        self._register.close()

    # --- asking --------------------------------------------------------------------------------------------------

    async def request_deployment_aware_upgrade(
        self,
        deployment_id: str,
        upgrade_request: UpgradeRequest | Sequence[UpgradeRequest],
        *,
        environment: str = "",
        trigger: str = "manual",
        trigger_of: str = "",
        approved_by: str = "",
        wait: bool = True,
    ) -> DeploymentUpgradeState:
        """Ask for a deployment: as the policy of its environment says, now or as soon as nothing stands against it.

        `deployment_id` is chosen by who asks, and makes asking again harmless: the same request gets the deployment
        that there is. Several requests are one deployment, committed whole or not at all. `environment` is by default
        the one that this program is. With another `trigger` than `manual` it waits until that fires, for the component
        `trigger_of` where one is named. `approved_by` is the approval that the settings may ask for.

        In a synchronous mode this returns when the deployment has ended, in every other one at once, as it does without
        `wait`. Raises `EnvironmentUnknownError`, `DeploymentConflictError` for an id that was used for something else,
        `DeploymentRefusedError` for a trigger that is switched off, `InvalidRequestError`, also for a policy that only
        the plugin carries out where there is none.
        """
        self._check_enabled()
        requests = (upgrade_request,) if isinstance(upgrade_request, UpgradeRequest) else tuple(upgrade_request)
        environment = environment or self.settings.environment
        policy = await checked_policy(self.settings, environment, self._upgrader.drivers)
        if _run_by_a_plugin(self._upgrader) is None:
            check_needs_no_plugin(policy, calendar_for(self.settings, environment))
        state = DeploymentUpgradeState(
            deployment_id=checked_id(deployment_id),
            environment=environment,
            requests=checked_requests(requests),
            mode=policy.deployment_mode.value,
            strategy=policy.strategy,
            trigger=checked_trigger(trigger, self.settings, policy),
            trigger_of=trigger_of,
            requested_by=requests[0].requested_by,
            approved_by=approved_by or (f"the policy of {environment}" if trigger != "manual" else ""),
            created_at=self._clock(),
            updated_at=self._clock(),
        )
        known = self._register.find(deployment_id)
        if known is None:
            try:
                known = await self._add(state, policy)
            except DeploymentExistsError:  # by somebody who asked at the same time
                known = self._register.get(deployment_id)
        if not asks_the_same(known, state):
            raise DeploymentConflictError(
                f"The id {deployment_id!r} is that of another deployment: {', '.join(known.components)}.",
                hint="Choose another id; the same id with the same request is the same deployment.",
                details={"deployment_id": deployment_id},
            )
        if wait and policy.deployment_mode is UpgradeDeploymentMode.SYNCHRONOUS and known.stage is not Stage.PENDING:
            return await self.wait(deployment_id)
        return self._register.get(deployment_id)

    async def _add(self, state: DeploymentUpgradeState, policy: DeploymentUpgradePolicy) -> DeploymentUpgradeState:
        waits = state.trigger != DeploymentUpgradeTrigger.MANUAL
        why = f"waits for {state.trigger}" if waits else f"asked for by {state.requested_by}"
        state = evolve(state, stage=Stage.PENDING if waits else Stage.QUEUED, why=why)
        state = await self._register.add(state, why=why)
        self._tell("deployment_upgrade.requested", state, f"{state.deployment_id} was {why}")
        if policy.concurrency == "supersede" and not waits:
            await self._supersede(state)
        self._dispatcher.wake()
        return state

    async def _supersede_again(self) -> None:
        """Call off what a deployment had taken the place of when its process ended."""
        for state in self._register.active():
            if state.stage is Stage.QUEUED and self._supersedes(state):
                await self._supersede(state, again=True)

    def _supersedes(self, state: DeploymentUpgradeState) -> bool:
        try:
            return policy_for(self.settings, state.environment).concurrency == "supersede"
        except UpgradeError:
            return False  # there is no policy for it any more: it waits until there is one

    async def _supersede(self, state: DeploymentUpgradeState, *, again: bool = False) -> None:
        if self._dispatcher.refused(state):
            return  # it takes nobody's place: it is rejected as soon as it is looked at
        for other in overlapping(state, self._register.active()):
            # What came later takes the place of this one, and does so itself. After a restart nobody knows whether
            # what waits for its trigger was there before.
            if other.turn >= state.turn or (again and other.stage is Stage.PENDING):
                continue
            await self._dispatcher.call_off(
                other.deployment_id,
                Stage.SUPERSEDED,
                who=state.requested_by,
                why=f"superseded by {state.deployment_id}",
                wait=False,
            )

    async def wait(self, deployment_id: str) -> DeploymentUpgradeState:
        """Wait for a deployment's end; raises `DeploymentUnknownError`."""
        return await self._dispatcher.ended(deployment_id)

    async def fire(self, deployment_id: str, *, by: str) -> DeploymentUpgradeState:
        """Let a deployment that waits for its trigger begin now, because a person wants it."""
        state = self._register.get(deployment_id)
        if state.stage is not Stage.PENDING:
            raise InvalidRequestError(f"{deployment_id} waits for no trigger: it is {state.stage}.")
        if not self.settings.triggers.manual:
            raise switched_off(DeploymentUpgradeTrigger.MANUAL)
        return await self._let_begin(state, by, f"triggered by {by}")

    async def findings(self, plan: UpgradePlan, stage: str, parameters: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Return what stands against an upgrade that a policy governs: at `before` its start, at `after` its health.

        A deployment was admitted before its upgrade was asked for; an upgrade that was asked for otherwise is held to
        the same policy here, and cannot wait: what would pass by itself stops it.
        """
        environment = environment_of(self.settings, parameters)
        if not environment:
            return ()
        policy = policy_for(self.settings, environment)
        if stage == "after":
            return await self._surveyor.probe(policy) if policy.health_check_required else ()
        known = self._register.find(str(parameters.get(DEPLOYMENT, "")))
        if known is not None and is_attempt(plan.requests, known):
            return ()
        asked = DeploymentUpgradeState(
            deployment_id=plan.plan_id,
            environment=environment,
            requests=tuple(plan.requests),
            mode=policy.deployment_mode.value,
            strategy=policy.strategy,
        )
        against, _ = await self._dispatcher.against(asked)
        # Who holds its components is this very upgrade.
        return tuple(one.finding(plan.component_names[0]) for one in against if one.code != BUSY)

    # --- commands to one under way -------------------------------------------------------------------------------

    async def abort(self, deployment_id: str, *, by: str, why: str = "") -> DeploymentUpgradeState:
        """End a deployment: what was moved goes back. Beats everything else; returns when it has ended."""
        await self._dispatcher.call_off(deployment_id, Stage.ROLLED_BACK, who=by, why=why or f"aborted by {by}")
        return self._register.get(deployment_id)

    async def promote(self, deployment_id: str, *, by: str, full: bool = False) -> DeploymentUpgradeState:
        """Go on without waiting for evidence; see `Upgrader.promote_upgrade`."""
        state = self._under_way(deployment_id)
        await self._upgrader.promote_upgrade(state.upgrade_id, by=by, full=full)
        return await self._noted(state, by, "promoted in full" if full else "promoted by a step")

    async def pause(self, deployment_id: str, *, by: str) -> DeploymentUpgradeState:
        """Let no more traffic move until somebody resumes it."""
        state = self._under_way(deployment_id)
        await self._upgrader.pause_upgrade(state.upgrade_id, by=by)
        return await self._noted(state, by, "paused")

    async def resume(self, deployment_id: str, *, by: str) -> DeploymentUpgradeState:
        """End a pause."""
        state = self._under_way(deployment_id)
        await self._upgrader.resume_upgrade(state.upgrade_id, by=by)
        return await self._noted(state, by, "resumed")

    async def approve(self, deployment_id: str, *, by: str) -> DeploymentUpgradeState:
        """Approve what it waits for: its plan, or the gate at which it stands."""
        state = self._under_way(deployment_id)
        await self._upgrader.approve(state.upgrade_id, by=by)
        return await self._noted(state, by, "approved")

    async def _noted(self, state: DeploymentUpgradeState, by: str, what: str) -> DeploymentUpgradeState:
        return await self._register.move(state.deployment_id, None, who=by, why=f"{what} by {by}")

    def _under_way(self, deployment_id: str) -> DeploymentUpgradeState:
        state = self._register.get(deployment_id)
        if state.stage.ended or not state.upgrade_id:
            raise InvalidRequestError(
                f"{deployment_id} has {'ended' if state.stage.ended else 'not begun'}: it is {state.stage}.",
                hint="It can be aborted." if not state.stage.ended else "",
            )
        return state

    # --- looking -------------------------------------------------------------------------------------------------

    def get_integration_status(self) -> dict[str, Any]:
        """Return the keys of SPEC: JSON values only.

        `active_deployments` are those under way, `pending_upgrades` those that have not begun, `active_states` how many
        are at which stage, `recent_events_24h` how many changes there were in a day.
        """
        return overview(self.settings, self._register, at=self._clock())

    def state(self, deployment_id: str) -> DeploymentUpgradeState:
        """Return one deployment; raises `DeploymentUnknownError`."""
        return self._register.get(deployment_id)

    def states(self) -> tuple[DeploymentUpgradeState, ...]:
        """Return all deployments that are kept, oldest first."""
        return self._register.all()

    def events(self, deployment_id: str) -> tuple[DeploymentUpgradeEvent, ...]:
        """Return what became of a deployment, oldest first: who, why and the evidence."""
        return self._register.events(deployment_id)

    async def _let_begin(self, state: DeploymentUpgradeState, who: str, why: str) -> DeploymentUpgradeState:
        waiting = {Stage.PENDING}
        begun = await self._register.move(state.deployment_id, Stage.QUEUED, who=who, why=why, only=waiting)
        if self._supersedes(state):
            await self._supersede(begun)
        self._dispatcher.wake()
        return begun

    # --- inside --------------------------------------------------------------------------------------------------

    async def _has_ended(self, state: DeploymentUpgradeState) -> None:
        """One that depends on another which ended badly goes back with it; and what ended long ago is forgotten."""
        for other in dependents(self.settings, state, self._register.active()):
            why = f"it depends on {state.deployment_id}, which ended as {state.stage}"
            with contextlib.suppress(JournalError):  # it goes back all the same, and the others do too
                await self._dispatcher.call_off(
                    other.deployment_id, Stage.ROLLED_BACK, who=state.deployment_id, why=why, wait=False
                )
        if abs(self._clock() - self._forgot) >= _HOUR:
            await self._forget()

    async def _forget(self) -> None:
        """Forget what ended long ago, but for what an admission still asks for."""
        self._forgot = self._clock()
        asked = still_asked(self.settings, self._register.all(), self._forgot)
        await self._register.forget(older_than_days=self.settings.upgrade_integration.history_days, but=asked)

    def _check_enabled(self) -> None:
        if not self.settings.upgrade_integration.enabled:
            raise UpgradeDisabledError(
                "Deployments are switched off.",
                hint="Set deployment.upgrade_integration.enabled.",
                details={"setting": "deployment.upgrade_integration.enabled"},
            )

    def _tell(self, kind: str, state: DeploymentUpgradeState, message: str) -> None:
        self._upgrader.events.emit(
            kind,
            component_name=state.components[0],
            message=message,
            data={"deployment_id": state.deployment_id, "environment": state.environment},
        )


def _settings_of(upgrader: Upgrader) -> DeploymentSettings:
    try:
        found = upgrader.settings.section(OWNER)
    except SettingsError:
        return DeploymentSettings()
    return found if isinstance(found, DeploymentSettings) else DeploymentSettings()


def _run_by_a_plugin(upgrader: Upgrader) -> DeploymentRuntimeUpgradeIntegration | None:
    found = (getattr(loaded.object, "integration", None) for loaded in upgrader.plugins.plugins)
    return next((one for one in found if isinstance(one, DeploymentRuntimeUpgradeIntegration)), None)
