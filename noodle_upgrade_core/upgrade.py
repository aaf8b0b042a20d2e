"""The Upgrader: an object that a program makes and closes, and that changes the program's parts meanwhile.

async with Upgrader.open(settings) as upgrader:
    plan = await upgrader.plan(UpgradeRequest(component_name="markdown-it-py", target_version="3.0.0"))
    print(plan)
    result = await upgrader.upgrade(plan, approved_by="alice")
    await upgrader.rollback("markdown-it-py")
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve
from packaging.utils import canonicalize_name

from noodle_upgrade_core import doctor, operations
from noodle_upgrade_core.config.loading import Settings, load_settings
from noodle_upgrade_core.documents import Documents
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import (
    ApprovalRequiredError,
    InvalidRequestError,
    JournalCorruptError,
    JournalFullError,
    JournalSchemaError,
    LeaseLostError,
    RollbackUnavailableError,
    UpgradeDisabledError,
    UpgradeError,
    UpgradeUnknownError,
)
from noodle_upgrade_core.events import EventBus
from noodle_upgrade_core.hookspecs import ActiveVersion, Operation, UpgradeContext
from noodle_upgrade_core.isolation import blame_ourselves
from noodle_upgrade_core.journal.contract import LEASE_SECONDS, Journal, take_lease
from noodle_upgrade_core.model import (
    ComponentDescriptor,
    FeasibilityResult,
    Finding,
    Phase,
    RollbackPoint,
    Severity,
    UpgradePlan,
    UpgradeRequest,
    UpgradeResult,
    UpgradeStatus,
    new_id,
    now,
)
from noodle_upgrade_core.phases.runner import Runner
from noodle_upgrade_core.pipeline import UpgradeRun
from noodle_upgrade_core.planning import Planner, absent, finding_of
from noodle_upgrade_core.plugins.loading import PluginSet
from noodle_upgrade_core.points import RollbackPoints
from noodle_upgrade_core.recovery import ResumedSoak, Reversal
from noodle_upgrade_core.registry import Registry
from noodle_upgrade_core.runs import Run, Runs
from noodle_upgrade_core.services import QUIET_SECONDS, Services
from noodle_upgrade_core.sources.chain import Sources
from noodle_upgrade_core.store.content import ContentStore
from noodle_upgrade_core.traffic import Gauge
from noodle_upgrade_core.wire import to_wire

__all__ = ["Upgrader"]

logger = logging.getLogger("noodle_upgrade")

_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.ERROR: logging.ERROR}

FIRST_LOOK_SECONDS = 1.0
"""When a program that was imported after the Upgrader opened is looked at: what it then runs, a restart runs again."""


class Upgrader:
    """Plans and carries out upgrades of the program that it lives in.

    Made by `Upgrader.open`. All methods belong to the event loop that it was opened on; `BlockingUpgrader` is the twin
    for programs with threads. One Upgrader at a time manages a state directory.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        directory: Path,
        journal: Journal,
        store: ContentStore,
        drivers: Drivers,
        plugins: PluginSet,
        sources: Sources,
        runner: Runner,
        events: EventBus,
        gauge: Gauge,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.journal = journal
        self.store = store
        self.drivers = drivers
        self.plugins = plugins
        self.events = events
        self.gauge = gauge
        self._runner = runner
        self._sources = sources
        self._registered: dict[str, ComponentDescriptor] = {}
        self._planner = Planner(
            runner=runner,
            sources=sources,
            drivers=drivers,
            settings=settings.runtime_upgrade,
            judge=settings.drivers.judge,
            registered=lambda: self._registered,
            context=self._plan_context,
            slow_calls=partial(gauge.lingering, QUIET_SECONDS),
        )
        self._points = RollbackPoints(journal=journal, store=store, sources=sources, settings=settings)
        core = settings.runtime_upgrade
        most = min(core.max_concurrent_upgrades, core.hot_swap.max_concurrent_swaps)
        self._runs = Runs(most=most, ended=self._tidy_up)
        self._unwritten: list[Callable[[], Any]] = []
        self._damage: tuple[Finding, ...] = ()

    # --- opening and closing -------------------------------------------------------------------------------------

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        settings: Settings | None = None,
        *,
        plugins: Mapping[str, object] | None = None,
        drivers: Mapping[str, Mapping[str, Any]] | None = None,
        directory: Path | None = None,
    ) -> AsyncIterator[Upgrader]:
        """Load the plugins, recover what a crash left behind, and make this process run what the journal says.

        `plugins` and `drivers` add to the installed ones: `{"audit": AuditPlugin()}`,
        `{"strategies": {"careful": Careful}}`. `directory` overrides the settings' state directory.
        Raises `LeaseHeldError` when another program manages the same state directory.
        """
        from noodle_upgrade_core.opening import assemble  # noqa: PLC0415 - the assembly imports this class's parts

        upgrader = await assemble(cls, settings or load_settings(), plugins or {}, drivers or {}, directory)
        lease = asyncio.create_task(upgrader.keep_lease(), name="noodle-lease")
        try:
            _log(await upgrader.resume())
            await upgrader.announce()
            yield upgrader
        finally:
            lease.cancel()
            await asyncio.wait([lease])
            await upgrader.close()

    async def resume(self) -> tuple[Finding, ...]:
        """Bring the journal and this process into step after a start: idempotent, also when it is killed itself.

        Unfinished upgrades end as the journal's last durable word says; every plugin is then asked to `restore` the
        active versions, and what the environment provides is noted. Returns what plugins found.
        """
        refusal = self.journal.refusal
        self._damage = await asyncio.to_thread(doctor.damage, self.journal)
        recovered = () if refusal is not None else await asyncio.to_thread(self.journal.recover, self._who())
        for one in recovered:
            self.events.emit(
                "upgrade.recovered",
                upgrade_id=one.upgrade_id,
                message=f"found {one.found}, became {one.became}",
                data={"from": one.found, "to": one.became},
            )
        active = await asyncio.to_thread(self.journal.active)
        if refusal is None:
            await self.expire_rollback_points()
        active, findings = await asyncio.to_thread(self._whole, active)
        findings = [*self._damage, *findings]
        context = self._context(upgrade_id="", parameters={})
        # Each component may have to be changed live: what one swap may take, for each of them.
        hot_swap = self.settings.runtime_upgrade.hot_swap
        limit = self._runner.time_limit + len(active) * hot_swap.swap_timeout
        replies = await self._runner.ask("restore", limit=limit, active=active, context=context)
        findings += [finding_of(reply.error, source=reply.plugin) for reply in replies if reply.error is not None]
        findings += [finding for reply in replies for finding in (reply.value or ())]
        registry, found = await self._planner.registry()
        running = {name: registry.get_component(name).version for name in registry.names}
        findings += _unrestored(active, running)
        if refusal is not None:
            return (*findings, *found, finding_of(refusal))
        await self._observe(registry)
        for record in await asyncio.to_thread(self.journal.open_upgrades):
            if record.phase is Phase.SOAKING:
                soak = ResumedSoak(
                    services=self._services(),
                    journal=self.journal,
                    record=record,
                    reverse=partial(self._reverse, record.components[0]),
                )
                self._runs.launch(record.upgrade_id, record.components, soak.run, run=soak, resumed=True)
        return (*findings, *found)

    def _whole(self, active: Sequence[ActiveVersion]) -> tuple[tuple[ActiveVersion, ...], list[Finding]]:
        """Return those whose bytes are what their digests say: nothing else is brought back to run here."""
        whole, findings = [], []
        for one in active:
            try:
                if one.artifact is not None:
                    self.store.verify(one.artifact.digest)
            except UpgradeError as error:
                name = f"{one.component_name} {one.version}"
                findings.append(
                    evolve(
                        finding_of(error, subject=one.component_name),
                        message=f"{name} is not brought back, what the environment provides runs: {error.message}",
                        hint=f"Fetch it again: `noodle upgrade {name}`.",
                    )
                )
            else:
                whole.append(one)
        return tuple(whole), findings

    async def announce(self) -> None:
        """Tell the plugins that this is open, so that what runs by itself may begin."""
        replies = await self._runner.ask("opened", upgrader=self)
        _log([finding_of(reply.error, source=reply.plugin) for reply in replies if reply.error is not None])

    async def _reverse(self, component_name: str, why: str) -> UpgradeResult:
        points = await asyncio.to_thread(self._points.choose, component_name, "")
        reversal = Reversal.of(points, services=self._services(), warm=None, requested_by="recovery", why=why)
        return await reversal.run()

    async def close(self) -> None:
        """End what runs (an upgrade in flight goes back), release the lease, close the plugins and the journal."""
        await self._runs.close()
        await self._runner.close()
        await asyncio.to_thread(self.plugins.close)
        await asyncio.to_thread(self.journal.close)

    # --- looking -------------------------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """Whether it is being closed: nothing begins any more, and what runs goes back."""
        return self._runs.closing

    async def components(self) -> tuple[ComponentDescriptor, ...]:
        """Return what runs now, in upgrade order where there is one, by name otherwise."""
        registry, _ = await self._planner.registry()
        return tuple(registry.get_component(name) for name in registry.names)

    def register_component(self, component: ComponentDescriptor) -> None:
        """Describe a component by hand: what it depends on, its path, that it is critical.

        The version that runs is still asked of the plugins, and a component that none of them finds is not listed.
        """
        self._registered[component.name] = component

    async def discover_components(self) -> tuple[ComponentDescriptor, ...]:
        """Ask every plugin again what runs now; the same as `components`."""
        return await self.components()

    def request(self, component_name: str, target_version: str, **fields: Any) -> UpgradeRequest:
        """Make a request; what is not given comes from the settings: strategy, time limit, validation level, rollback.

        Raises `InvalidRequestError`.
        """
        fields = {**self.settings.request_defaults, **fields}
        return UpgradeRequest(component_name=component_name, target_version=target_version, **fields)

    async def plan(self, request: UpgradeRequest | Sequence[UpgradeRequest]) -> UpgradePlan:
        """Say what would happen, in which order, how, and what cannot be done; changes nothing that runs.

        Several requests make one plan, committed whole or not at all. What cannot be planned at all (an unknown
        component or version, a wrong current version, an unmet constraint, a cycle) raises its typed error.
        """
        self._check_enabled()
        requests = (request,) if isinstance(request, UpgradeRequest) else tuple(request)
        self._runs.check_free([one.component_name for one in requests])
        return await self._planner.plan(requests)

    async def list_versions(self, component_name: str) -> tuple[str, ...]:
        """Return the versions of a component that the sources can list cheaply, newest last; no index is asked.

        Raises `ComponentUnknownError`.
        """
        registry, _ = await self._planner.registry()
        component = registry.get_component(component_name)
        return await asyncio.to_thread(self._sources.versions, component)

    async def analyze_upgrade_feasibility(self, request: UpgradeRequest) -> FeasibilityResult:
        """Say whether there is a way from the running version to the target, without fetching anything."""
        return await self._planner.feasibility(request)

    def get_upgrade_status(self, upgrade_id: str = "") -> dict[str, Any]:
        """Return one upgrade, or all active ones with counts and statistics; JSON values only.

        `findings` say that the journal is damaged, and is not to be believed.
        Raises `UpgradeUnknownError`.
        """
        if upgrade_id:
            return self._one(upgrade_id)
        statistics = self.journal.statistics()
        enabled, origin = self.settings.enabled
        return {
            "enabled": enabled,
            "enabled_origin": origin,
            "active": [run.shown() for run in self._runs.active],
            # Of a damaged journal the numbers may be anything. It was looked over at the start, and by the last doctor.
            "findings": to_wire(self._damage),
            **statistics,
        }

    def get_upgrade_history(self, limit: int = 50, *, component_name: str = "") -> tuple[dict[str, Any], ...]:
        """Return past and present upgrades, newest first, each with its phases, who and why."""
        rows = self.journal.history(limit, component_name=self._named(component_name))
        return tuple(
            {**to_wire(row), "status": row.status, "audit": to_wire(self.journal.audit(row.upgrade_id))} for row in rows
        )

    def list_rollback_points(self, component_name: str = "") -> tuple[RollbackPoint, ...]:
        """Return what can be gone back to, newest first."""
        return self.journal.rollback_points(self._named(component_name))

    def documents(self, owner: str) -> Documents:
        """Return what a plugin keeps in the journal for itself; `owner` is the plugin's name."""
        return Documents(self.journal, owner)

    async def verify_rollback_point(self, rollback_id: str) -> tuple[Finding, ...]:
        """Check that a rollback point's bytes are all there; no finding means that it can be used."""
        return await asyncio.to_thread(self._points.verify, rollback_id)

    async def expire_rollback_points(self) -> int:
        """Drop the points beyond `max_rollback_points` and `rollback_retention_days`; returns how many.

        What only they needed leaves the store with them.
        """
        expired = await asyncio.to_thread(self._points.expire)
        if expired:
            await self.collect_garbage()
        return expired

    async def collect_garbage(self) -> int:
        """Remove from the store what neither a pointer nor a rollback point needs; returns bytes."""
        keep = await asyncio.to_thread(self.journal.digests)
        return (await asyncio.to_thread(self.store.collect, keep)).size

    async def doctor(self) -> tuple[Finding, ...]:
        """Check the invariants of the durable state, and that what runs is what the journal says."""
        self._damage = await asyncio.to_thread(doctor.damage, self.journal)
        found = await asyncio.to_thread(doctor.check, self.journal, self.store)
        try:
            # A journal whose disk has failed can still be read, and looks sound: only a write tells.
            await asyncio.to_thread(self.journal.renew_lease)
        except UpgradeError as error:
            found = (*found, finding_of(error, subject="journal"))
        registry, odd = await self._planner.registry()
        running = {name: registry.get_component(name).version for name in registry.names}
        found = (*found, *(one for one in odd if one.severity is not Severity.INFO))
        wanting = (*absent(self.plugins), *_left_behind(self._runner.left_behind))
        # A damaged file fails every look at the journal in the same words.
        several = (*found, *wanting, *doctor.compare(self.journal, running))
        return tuple({(one.code, one.message): one for one in reversed(several)}.values())[::-1]

    # --- changing ------------------------------------------------------------------------------------------------

    async def upgrade(self, plan: UpgradePlan | UpgradeRequest, *, approved_by: str = "") -> UpgradeResult:
        """Carry a plan out and return how it ended: a failed upgrade is a result with an `error`, not an exception.

        `approved_by` names the person who approves this plan; without one the upgrade waits for `approve` where the
        settings ask for approval. What keeps it from beginning (switched off, busy) raises.
        """
        upgrade_id = await self.start(plan, approved_by=approved_by)
        try:
            return await self.result(upgrade_id)
        except asyncio.CancelledError:
            # Whoever waited for it has given up: so has the upgrade.
            await self._runs.abandon(upgrade_id, "the caller gave up")
            raise

    async def start(self, plan: UpgradePlan | UpgradeRequest, *, approved_by: str = "") -> str:
        """Begin to carry a plan out and return its upgrade id at once."""
        self._check_enabled()
        await self._write_unwritten()
        if isinstance(plan, UpgradeRequest):
            plan = await self.plan(plan)
        await self._check_current(plan)
        run = UpgradeRun.of(
            plan,
            upgrade_id=new_id("up"),
            services=self._services(),
            requested_by=plan.request.requested_by,
            approved_by=approved_by,
        )
        self._runs.launch(run.upgrade_id, plan.component_names, run.run, run=run)
        return run.upgrade_id

    async def result(self, upgrade_id: str) -> UpgradeResult:
        """Wait for an upgrade's end; raises `UpgradeUnknownError`."""
        return await self._runs.result(upgrade_id)

    async def approve(self, upgrade_id: str, *, by: str, plan_digest: str = "") -> None:
        """Approve an upgrade that waits; `plan_digest`, when given, must be that of its plan.

        Raises `UpgradeUnknownError`, and `ApprovalRequiredError` for another plan's digest.
        """
        run = self._running(upgrade_id)
        if not isinstance(run, UpgradeRun):
            raise InvalidRequestError(f"{upgrade_id} waits for nobody: it was approved, and soaks.")
        digest = run.plan.digest
        await run.begun.wait()
        if plan_digest and plan_digest != digest:
            raise ApprovalRequiredError(
                "This approval is for another plan.",
                hint="Look at the plan again: `noodle status`, then approve that one.",
                details={"upgrade_id": upgrade_id, "plan_digest": digest},
            )
        if not by.strip():
            raise InvalidRequestError("An approval needs the name of who gives it.")
        await asyncio.to_thread(
            self.journal.record_approval, upgrade_id, digest, who=by, at=now(), nonce=new_id("approval")
        )
        run.people.approve(by)

    async def cancel_upgrade(self, upgrade_id: str, *, by: str = "") -> UpgradeStatus:
        """Stop an upgrade, wherever it is, and return what became of it.

        Before `SHIFTING` nothing had happened: it ends as aborted. From then on until `DONE`, also while it soaks, the
        old version comes back. One that has ended cannot be cancelled: `InvalidRequestError` says to roll back.
        """
        if self._runs.get(upgrade_id) is None and self.journal.record(upgrade_id) is not None:
            raise InvalidRequestError(
                f"{upgrade_id} has ended.", hint="Use `noodle rollback` to go back to the version before it."
            )
        run = self._running(upgrade_id)
        run.cancel(f"by {by or 'a caller'}")
        result = await self.result(upgrade_id)
        return result.status

    async def pause_upgrade(self, upgrade_id: str, *, by: str) -> None:
        """Let no more traffic move until somebody resumes it; what moved already goes on being judged.

        Time that an upgrade stands still is not counted. Raises `UpgradeUnknownError`, `InvalidRequestError` for one
        whose traffic has moved.
        """
        self._moving(upgrade_id, by).pause(by)

    async def resume_upgrade(self, upgrade_id: str, *, by: str) -> None:
        """End a pause; raises as `pause_upgrade` does."""
        self._moving(upgrade_id, by).resume(by)

    async def promote_upgrade(self, upgrade_id: str, *, by: str, full: bool = False) -> None:
        """Go on without waiting for evidence: past the present wait, or with `full` past all that are left.

        A version that does harm is taken back all the same, gates are for those who may open them, and whoever cancels
        the upgrade has the last word. Raises as `pause_upgrade` does.
        """
        self._moving(upgrade_id, by).promote(by, full=full)

    def _moving(self, upgrade_id: str, by: str) -> UpgradeRun:
        if self._runs.get(upgrade_id) is None and self.journal.record(upgrade_id) is not None:
            raise InvalidRequestError(f"{upgrade_id} has ended.", hint="`noodle history` shows how.")
        run = self._running(upgrade_id)
        if not by.strip():
            raise InvalidRequestError("It is written down who wants this: give a name.")
        if not isinstance(run, UpgradeRun) or run.phase in {Phase.COMMITTED, Phase.SOAKING, Phase.ROLLING_BACK}:
            raise InvalidRequestError(
                f"The traffic of {upgrade_id} has moved already.", hint="It can be cancelled: `noodle cancel`."
            )
        return run

    async def operate(self, name: str, arguments: Mapping[str, Any] | None = None, *, by: str) -> Any:
        """Ask a plugin for one of its operations by name; returns JSON values.

        `by` says who asks. Raises `OperationUnknownError`, and what the operation raises.
        """
        return await operations.operate(self._runner, name, arguments or {}, by=by)

    async def list_operations(self) -> tuple[Operation, ...]:
        """Return what plugins can be asked for by name."""
        return tuple((await operations.offered(self._runner)).values())

    async def rollback(
        self, component_name: str, *, rollback_id: str = "", requested_by: str = "system"
    ) -> UpgradeResult:
        """Go back to the version before the last upgrade of a component, or to an older rollback point.

        All components of that upgrade go back together. It is one flip while the old version is still warm, and an
        upgrade in the other direction otherwise. Raises `RollbackUnavailableError`.
        """
        self._check_writable()
        await self._write_unwritten()
        if not self.settings.runtime_upgrade.rollback.enabled:
            raise RollbackUnavailableError(
                "Rollback is switched off.", hint="Set runtime_upgrade.rollback.enabled, or NOODLE_ROLLBACK_ENABLED=1."
            )
        component_name = await asyncio.to_thread(self._named, component_name)
        self._runs.check_free([component_name])
        points = await asyncio.to_thread(self._points.choose, component_name, rollback_id)
        upgrade_id, names = points[0].upgrade_id, tuple(point.component_name for point in points)
        warm = self._runs.warm(points[0].component_name, upgrade_id)
        reversal = Reversal.of(points, services=self._services(), warm=warm, requested_by=requested_by)
        key = f"{upgrade_id}/rollback"
        self._runs.launch(key, names, reversal.run)
        return await self._runs.result(key)

    # --- inside --------------------------------------------------------------------------------------------------

    def _named(self, component_name: str) -> str:
        """Return a component's name as the journal spells it: `jinja2` and `Jinja2` are one."""
        if not component_name or self.journal.active_of(component_name) is not None:
            return component_name
        wanted = canonicalize_name(component_name)
        known = (one.component_name for one in self.journal.active())
        return next((name for name in known if canonicalize_name(name) == wanted), component_name)

    async def _observe(self, registry: Registry | None = None) -> Registry:
        """Note what runs; what is seen for the first time is written at once, so that a restart runs it again."""
        if registry is None:
            registry, _ = await self._planner.registry()
        fresh = False
        for name in registry.names:
            fresh = fresh or self.journal.active_of(name) is None
            await asyncio.to_thread(self.journal.observe_active, name, registry.get_component(name).version)
        if fresh:
            await asyncio.to_thread(self.journal.renew_lease)
        return registry

    async def _check_current(self, plan: UpgradePlan) -> None:
        """A plan is for the versions that ran when it was made."""
        registry = await self._observe()
        for step in plan.steps:
            running = registry.get_component(step.name).version
            if running != step.from_version:
                raise InvalidRequestError(
                    f"The plan is for {step.name} {step.from_version}, and {running} runs by now.",
                    hint="Plan again.",
                    details={"running": running, "planned": step.from_version},
                )

    def _check_writable(self) -> None:
        if self.journal.refusal is not None:
            raise self.journal.refusal

    def _check_enabled(self) -> None:
        self._check_writable()
        if self._damage:
            # Going back is not refused for it: that may be what somebody needs most.
            raise JournalCorruptError(self._damage[0].message, hint=self._damage[0].hint)
        enabled, origin = self.settings.enabled
        if not enabled:
            raise UpgradeDisabledError(
                "Upgrades are switched off.",
                hint=f"runtime_upgrade.enabled is false; it was set by: {origin}.",
                details={"setting": "runtime_upgrade.enabled", "origin": origin},
            )

    def _services(self) -> Services:
        core = self.settings.runtime_upgrade
        drivers = self.settings.drivers
        return Services(
            runner=self._runner,
            planner=self._planner,
            journal=self.journal,
            store=self.store,
            drivers=self.drivers,
            events=self.events,
            gauge=self.gauge,
            decider=drivers.decider,
            judge=drivers.judge,
            soak_seconds=core.soak.seconds,
            soak_tries=core.soak.tries,
            swap_timeout=core.hot_swap.swap_timeout,
            upgrade_timeout=core.upgrade_timeout,
            approval_expires=core.approval.expires,
            strategy_defaults={"gradual": {"percentage": core.gradual_rollout_percentage}},
            rollback_points=self._points.create,
            context=self._context,
            write_later=self._unwritten.append,
            hold_late=self._runs.hold_late,
        )

    async def _write_unwritten(self) -> None:
        """Make the writes that failed, oldest first; what fails again for want of room is tried again."""
        while self._unwritten:
            try:
                await asyncio.to_thread(self._unwritten[0])
            except JournalFullError:
                return
            except UpgradeError as error:
                self._journal_failed(error)
            self._unwritten.pop(0)

    async def _tidy_up(self) -> None:
        """Drop what need not be kept: no reason for anything to fail."""
        try:
            await self.expire_rollback_points()
        except UpgradeError as error:
            self._journal_failed(error)

    def _journal_failed(self, error: UpgradeError) -> None:
        self.events.emit("journal.failed", message=error.message, data=error.to_wire())

    def _context(self, *, upgrade_id: str, parameters: Mapping[str, Any], **asked: Any) -> UpgradeContext:
        return UpgradeContext(
            upgrade_id=upgrade_id,
            store=self.store.root,
            drivers=self.drivers,
            emit=partial(self.events.emit, upgrade_id=upgrade_id),
            parameters=parameters,
            remaining=asked.pop("remaining", lambda: self.settings.runtime_upgrade.upgrade_timeout),
            cancelled=asked.pop("cancelled", lambda: False),
            **asked,
        )

    def _plan_context(self, request: UpgradeRequest) -> UpgradeContext:
        return self._context(upgrade_id="", parameters=request.parameters)

    def _running(self, upgrade_id: str) -> Run:
        run = self._runs.get(upgrade_id)
        if run is None:
            raise _unknown(upgrade_id)
        return run

    def _one(self, upgrade_id: str) -> dict[str, Any]:
        run = self._runs.get(upgrade_id)
        if run is not None:
            return run.shown()
        record, result = self.journal.record(upgrade_id), self._runs.ended(upgrade_id)
        if record is None and result is not None:
            # It ended before a first row could be written: the disk was full, or has failed.
            shown = {"upgrade_id": upgrade_id, "phase": result.phase, "status": result.status}
            return {**shown, "result": to_wire(result)}
        if record is None:
            raise _unknown(upgrade_id)
        return {
            **to_wire(record),
            "status": record.status,
            "audit": to_wire(self.journal.audit(upgrade_id)),
            "result": None if result is None else to_wire(result),
        }

    async def keep_lease(self) -> None:
        """Renew the lease for ever; when it is lost, end what runs.

        Without room for the journal at the start it is tried again, until there is some: only then upgrades are made.
        """
        pause = FIRST_LOOK_SECONDS
        while not isinstance(self.journal.refusal, JournalSchemaError):
            await asyncio.sleep(pause)
            pause = LEASE_SECONDS / 3
            try:
                if self.journal.refusal is not None:
                    await self._manage_again()
                else:
                    # First of all: whatever else fails, no other controller may take over meanwhile.
                    await asyncio.to_thread(self.journal.renew_lease)
                    await self._write_unwritten()
                    await self._observe()
            except LeaseLostError as lost:
                # Another controller manages this state by now: what runs here may not go on.
                for run in self._runs.active:
                    run.cancel(lost.message)
            except UpgradeError as error:
                self._journal_failed(error)
            except Exception as error:
                logger.exception("what runs could not be noted")
                self._journal_failed(blame_ourselves(error))

    async def _manage_again(self) -> None:
        """Open a journal again that had no room, and catch up with what could not be done at the start."""

        def reopen() -> None:
            self.journal.close()
            self.journal.open()
            take_lease(self.journal)

        await asyncio.to_thread(reopen)
        if self.journal.refusal is None:
            _log(await self.resume())
            self.events.emit("journal.recovered", message="There is room for the journal again: upgrades can be made.")

    def _who(self) -> str:
        return f"recovery of process {os.getpid()}"


def _log(findings: Sequence[Finding]) -> None:
    """Tell what was found at a start."""
    for finding in findings:
        logger.log(_LEVELS[finding.severity], "%s %s", finding.message, finding.hint)


def _unrestored(active: Sequence[ActiveVersion], running: Mapping[str, str]) -> list[Finding]:
    """Say what runs another version than the journal has active: nobody must find that out by its effects."""
    return [
        Finding(
            severity=Severity.ERROR,
            code="active.not_restored",
            subject=one.component_name,
            message=f"The journal has {one.component_name} at {one.version}, and {running[one.component_name]} runs.",
            hint="Is the plugin that changed it installed, enabled and well? See `noodle plugins doctor`.",
        )
        for one in active
        if one.artifact is not None and running.get(one.component_name, one.version) != one.version
    ]


def _left_behind(threads: Sequence[str]) -> list[Finding]:
    """Say which calls of plugins run on after nobody waited for them any more: they may hold locks, or a processor."""
    return [
        Finding(
            severity=Severity.WARNING,
            code="plugin.left_behind",
            message=f"The thread {name!r} was given up at its time limit, and still runs.",
            hint="Find out what it waits for; only a restart ends it.",
        )
        for name in threads
    ]


def _unknown(upgrade_id: str) -> UpgradeUnknownError:
    return UpgradeUnknownError(
        f"No upgrade has the id {upgrade_id!r}.", hint="`noodle status` and `noodle history` list them."
    )
