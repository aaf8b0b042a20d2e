"""One upgrade on its way through the phases: intent before effect, one commit point, and one way back.

    RECEIVED → VALIDATED → APPROVED → STAGED → SHIFTING → COMMITTED → SOAKING → DONE

Until `SHIFTING` nothing is visible, and a failure ends in `ABORTED` (or `REJECTED`). From `SHIFTING` on a failure goes
through `ROLLING_BACK` to `ROLLED_BACK`. Every change of phase is in the journal and is an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import define, evolve, field, frozen

from noodle_upgrade_core.deciders import Decider
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import (
    ApprovalRequiredError,
    HarmDetectedError,
    InvalidRequestError,
    NotChangedError,
    RollbackFailedError,
    SwapRefusedError,
    UpgradeCancelledError,
    UpgradeError,
    UpgradeRejectedError,
    UpgradeTimeoutError,
    ValidationFailedError,
)
from noodle_upgrade_core.events import EventBus, EventKind
from noodle_upgrade_core.hookspecs import Outcome, UpgradeContext
from noodle_upgrade_core.journal import Journal, PointerMove
from noodle_upgrade_core.model import (
    Ballot,
    Decision,
    Finding,
    Phase,
    RollbackPoint,
    UpgradePlan,
    UpgradeResult,
    UpgradeStatus,
    Vote,
    now,
    stops,
)
from noodle_upgrade_core.phases import Runner
from noodle_upgrade_core.planning import Planner
from noodle_upgrade_core.rollout import Abort, Conductor, RealClock
from noodle_upgrade_core.staged import Measurement, StagedSwap, SwapSet
from noodle_upgrade_core.steps import Gate, Judge
from noodle_upgrade_core.strategies import strategy_for
from noodle_upgrade_core.traffic import Gauge

__all__ = ["Services", "UpgradeRun"]


@frozen(kw_only=True)
class Services:
    """What every upgrade of one Upgrader works with."""

    runner: Runner
    planner: Planner
    journal: Journal
    drivers: Drivers
    events: EventBus
    gauge: Gauge
    decider: str
    judge: str
    soak_seconds: float
    soak_tries: int
    post_validation: bool
    strategy_defaults: Mapping[str, Mapping[str, Any]]
    rollback_points: Callable[[UpgradePlan, str], Awaitable[tuple[RollbackPoint, ...]]]
    context: Callable[..., UpgradeContext]

    def quiet(self) -> contextlib.AbstractAsyncContextManager[bool]:
        """Give a moment in which no request is under way, as far as the gauge sees requests."""
        return self.gauge.quiet(QUIET_SECONDS)


QUIET_SECONDS = 0.25
"""How long new requests may be held back for those under way; a person does not notice it, and most end long before."""


@define(kw_only=True)
class UpgradeRun:
    """The state machine of one upgrade; made anew for each, owned by the Upgrader, driven by `run`."""

    services: Services
    plan: UpgradePlan
    upgrade_id: str
    requested_by: str
    approvals: list[str] = field(factory=list)
    abort: Abort = field(factory=Abort)
    phase: Phase = Phase.RECEIVED
    weight: float = 0.0
    decision: Decision | None = None
    measured: Measurement | None = None
    staged: StagedSwap | None = None
    result: UpgradeResult | None = None
    started_at: datetime = field(factory=now)
    operations: list[str] = field(factory=list)
    metrics: dict[str, float] = field(factory=dict)
    error: UpgradeError | None = None
    _points: tuple[RollbackPoint, ...] = ()
    _approved: asyncio.Event = field(factory=asyncio.Event)
    _gates: dict[str, set[str]] = field(factory=dict)
    _deadline: float = 0.0
    _soak_until: float = 0.0
    _mark: float = field(factory=time.monotonic)

    # --- what others may ask for meanwhile -----------------------------------------------------------------------

    def approve(self, who: str) -> None:
        """Count a person's approval of this plan, or of the gate that it waits at."""
        for people in self._gates.values():
            people.add(who)
        if who not in self.approvals:
            self.approvals.append(who)
        self._approved.set()

    def cancel(self, reason: str) -> None:
        """Ask for the end: before `SHIFTING` nothing has happened, after it everything goes back."""
        self.abort.set(reason)

    def context(self) -> UpgradeContext:
        """Return what the hooks of this upgrade are given."""
        return self.services.context(
            upgrade_id=self.upgrade_id,
            parameters=self.plan.request.parameters,
            remaining=lambda: max(0.0, self._deadline - time.monotonic()),
            cancelled=lambda: bool(self.abort.reason),
            gate=self._gate,
            probe=self._probe,
        )

    # --- the way there -------------------------------------------------------------------------------------------

    async def run(self) -> UpgradeResult:
        """Carry the plan out, or leave everything as it was; never raises an error of the upgrade itself."""
        self._deadline = time.monotonic() + self.plan.request.timeout_seconds
        try:
            async with asyncio.timeout(self.plan.request.timeout_seconds):
                await self._until_committed()
            await self._soak()
            await self._finish()
        except TimeoutError as error:
            seconds = self.plan.request.timeout_seconds
            timeout = UpgradeTimeoutError(
                f"The upgrade did not end within {seconds:g} s; it was {self.phase}.",
                hint="Raise timeout_seconds (`--timeout`), or look at what it waited for with `noodle status`.",
            )
            timeout.__cause__ = error
            await self._back(self._waiting_error() or timeout)
        except UpgradeError as error:
            await self._back(error)
        except asyncio.CancelledError:
            await asyncio.shield(
                self._back(UpgradeCancelledError("The program that ran the upgrade is shutting down."))
            )
            raise
        self.result = self._result()
        return self.result

    async def _until_committed(self) -> None:
        await self._begin()
        await self._validate()
        await self._decide()
        await self._stage()
        await self._deploy()
        await self._commit()

    async def _begin(self) -> None:
        services = self.services
        await self._write(services.journal.begin, self.plan, who=self.requested_by)
        services.events.emit(
            EventKind.UPGRADE_REQUESTED,
            upgrade_id=self.upgrade_id,
            component_name=self.plan.component_names[0],
            message=f"{self._title()} was asked for by {self.requested_by}",
            data={"plan_digest": self.plan.digest},
        )

    async def _validate(self) -> None:
        found = await self.services.planner.validate(self.plan, "before", self.context())
        known = {(finding.code, finding.subject, finding.message) for finding in self.plan.findings}
        fresh = tuple(f for f in found if (f.code, f.subject, f.message) not in known)
        self.plan = evolve(self.plan, findings=(*self.plan.findings, *fresh))
        blocked = [f"{step.name}: {blocker}" for step in self.plan.steps for blocker in step.verdict.blockers]
        if blocked or not all(step.verdict.feasible for step in self.plan.steps):
            raise SwapRefusedError(
                f"This change cannot be made safely: {'; '.join(blocked) or 'no mechanism fits'}.",
                hint="Restart the program on the new version, or change the parts that are named.",
                details={"blockers": blocked},
            )
        self._stop_on(self.plan.findings, "before")
        await self._advance(Phase.VALIDATED, why="no finding stops it")

    def _stop_on(self, findings: tuple[Finding, ...], stage: str) -> None:
        critical = {step.name for step in self.plan.steps if step.component.critical}
        level = self.plan.request.validation_level
        for finding in findings:
            self.services.events.emit(
                EventKind.FINDING,
                upgrade_id=self.upgrade_id,
                message=finding.message,
                data={"severity": finding.severity, "code": finding.code, "subject": finding.subject, "stage": stage},
            )
        if stopping := [finding for finding in findings if stops(finding, level, critical)]:
            raise ValidationFailedError(
                f"{len(stopping)} finding(s) stop the upgrade at level {level}: {stopping[0].message}",
                hint=stopping[0].hint or "Mend what the findings name, or choose a lower validation level.",
                details={"findings": [f"{f.severity} {f.code}: {f.message}" for f in stopping], "stage": stage},
            )

    async def _decide(self) -> None:
        replies = await self.services.runner.ask("decide", plan=self.plan, context=self.context())
        votes: list[Vote] = []
        for reply in replies:
            if reply.error is not None:
                votes.append(
                    Vote(ballot=Ballot.REJECT, reasons=(f"its vote failed: {reply.error.message}",), voter=reply.plugin)
                )
            elif reply.value is not None:
                votes.append(evolve(reply.value, voter=reply.plugin, processing_time=reply.seconds))
        decider: Decider = self.services.drivers.make("deciders", self.services.decider)
        while True:
            self.decision = decider.combine(self.plan, votes, tuple(self.approvals))
            if not self.decision.awaits:
                break
            await self._await_approval(self.decision)
        if not self.decision.approved:
            raise UpgradeRejectedError(
                f"The upgrade was rejected: {'; '.join(self.decision.reasons) or 'no reason was given'}.",
                hint="See the alternatives with `noodle plan`." if self.decision.alternatives else "",
                details={"reasons": list(self.decision.reasons)},
            )
        await self._advance(
            Phase.APPROVED,
            why="; ".join(self.decision.reasons) or "nobody objected",
            who=", ".join(self.approvals),
            decision=self.decision,
        )

    async def _await_approval(self, decision: Decision) -> None:
        self.services.events.emit(
            EventKind.APPROVAL_NEEDED,
            upgrade_id=self.upgrade_id,
            message=f"{self._title()} waits for {decision.awaits}",
            data={"plan_digest": self.plan.digest, "awaits": decision.awaits},
        )
        self._approved.clear()
        waits = [asyncio.ensure_future(self._approved.wait()), asyncio.ensure_future(self.abort.event.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._check_abort()

    async def _stage(self) -> None:
        self._check_abort()
        self._points = await self.services.rollback_points(self.plan, self.upgrade_id)
        runner, context = self.services.runner, self.context()
        self.services.events.emit(
            EventKind.UPGRADE_STARTED, upgrade_id=self.upgrade_id, message=f"{self._title()}: staging"
        )
        parts: list[StagedSwap] = []
        try:
            # All steps of one plugin are staged as one, so that they can commit as one.
            for plugin in dict.fromkeys(step.plugin for step in self.plan.steps):
                steps = tuple(step for step in self.plan.steps if step.plugin == plugin)
                reply = await runner.ask_only(plugin, "swap", steps=steps, plan=self.plan, context=context)
                if reply is not None and reply.error is not None:
                    raise reply.error
                if reply is None or reply.value is None:
                    raise SwapRefusedError(f"The plugin {plugin!r} assessed the change, but did not stage it.")
                parts.append(reply.value)
        finally:
            # Also on failure: the parts that were staged must be let go of.
            self.staged = parts[0] if len(parts) == 1 else SwapSet(tuple(parts)) if parts else None
        self.operations.append(f"staged {', '.join(self.plan.component_names)}")
        for reply in await runner.ask("recompile", plan=self.plan, staged=self.staged, context=context):
            if reply.error is not None:
                raise reply.error
            if made := tuple(reply.value or ()):
                self.operations.append(f"{reply.plugin} rebuilt {len(made)} artefact(s)")
        self._check_abort()
        await self._advance(Phase.STAGED, why="the new version lies beside the old one")

    async def _deploy(self) -> None:
        services, staged = self.services, self._held()
        await self._write(services.journal.intend, self._points, becomes=Phase.SHIFTING, why="traffic is about to move")
        services.gauge.start(self.plan.steps[0].from_version, self.plan.steps[0].to_version)
        try:
            outcome = await self._outcome(staged)
        finally:
            services.gauge.stop()
        self.operations += outcome.steps
        self.measured = outcome.measured
        if not outcome.promoted:
            self._check_abort()
            raise HarmDetectedError(
                f"The new version was taken back: {'; '.join(outcome.reasons)}.",
                hint="Look at the evidence with `noodle history`, mend the version, and try again.",
                details={"reasons": list(outcome.reasons), "evidence": dict(outcome.evidence)},
            )
        self._ask_running(staged)
        if services.post_validation:
            self._stop_on(await self._probe(), "after")

    async def _outcome(self, staged: StagedSwap) -> Outcome:
        reply = await self.services.runner.ask_first(
            "deploy", plan=self.plan, staged=staged, context=self.context(), limit=self._left()
        )
        if reply is not None:
            if reply.error is not None:
                raise reply.error
            outcome: Outcome = reply.value
            return outcome
        strategy = strategy_for(self.plan.request, self.services.drivers, self.services.strategy_defaults)
        return await self._conductor(staged).carry_out(strategy.rollout(self.plan))

    def _conductor(self, staged: StagedSwap) -> Conductor:
        services = self.services

        def emit(kind: str, *, message: str = "", data: Mapping[str, Any] | None = None) -> None:
            if data and "weight" in data:
                self.weight = data["weight"]
            services.events.emit(kind, upgrade_id=self.upgrade_id, message=message, data=data)

        return Conductor(
            staged=staged,
            judge=services.drivers.make("judges", services.judge),
            clock=RealClock(),
            abort=self.abort,
            emit=emit,
            gate=self._gate,
            probe=self._probe,
            measure=services.gauge.measure,
            turned=lambda to_new: services.gauge.turn(to_new=to_new),
            quiet=services.quiet,
            call=lambda function, *args: services.runner.call("swap", function, *args, limit=self._left()),
            deadline=self._deadline,
        )

    async def _probe(self) -> tuple[Finding, ...]:
        return await self.services.planner.validate(self.plan, "after", self.context())

    async def _gate(self, gate: Gate) -> bool:
        people = self._gates.setdefault(gate.name, set())
        self.services.events.emit(
            EventKind.APPROVAL_NEEDED,
            upgrade_id=self.upgrade_id,
            message=f"{self._title()} waits at the gate {gate.name!r}",
            data={"gate": gate.name, "approvals": gate.approvals, "plan_digest": self.plan.digest},
        )
        until = time.monotonic() + gate.expires
        try:
            while len(people) < gate.approvals and time.monotonic() < until and not self.abort.reason:
                self._approved.clear()
                async with asyncio.timeout(min(1.0, until - time.monotonic())):
                    await self._approved.wait()
        except TimeoutError:
            return len(people) >= gate.approvals
        finally:
            self._gates.pop(gate.name, None)
        return len(people) >= gate.approvals

    def _ask_running(self, staged: StagedSwap) -> None:
        running = staged.running()
        wrong = {s.name: running.get(s.name, "nothing") for s in self.plan.steps if running.get(s.name) != s.to_version}
        if wrong:
            raise NotChangedError(
                "Everything reported success, but "
                + ", ".join(f"{name} still runs {version}" for name, version in wrong.items())
                + ".",
                details={"running": wrong},
            )

    async def _commit(self) -> None:
        self._check_abort()
        moves = tuple(
            PointerMove(
                component_name=step.name,
                version=step.to_version,
                artifact=step.artifact,
                state_digest="",
                expected_version=step.from_version,
            )
            for step in self.plan.steps
        )
        why = "all traffic is on the new version"
        await self._write(
            self.services.journal.commit,
            moves,
            becomes=Phase.COMMITTED,
            why=why,
            soak_seconds=self._soak_seconds,
            soak_tries=self.services.soak_tries,
        )
        await self.services.runner.call("swap", self._held().commit, limit=self._left())
        self.operations.append(f"committed {self._title()}")

    async def _soak(self) -> None:
        seconds = self._soak_seconds
        if seconds <= 0:
            return
        why = f"watched for {seconds:g} s more"
        await self._advance(Phase.SOAKING, why=why, soak_seconds=seconds, soak_tries=self.services.soak_tries)
        services = self.services
        services.gauge.start(self.plan.steps[0].from_version, self.plan.steps[0].to_version)
        services.gauge.turn(to_new=True)
        try:
            conductor = evolve(self._conductor(self._held()), deadline=float("inf"))
            seen = await conductor.watch(Judge(until="budget", budget=seconds))
        finally:
            services.gauge.stop()
        self.measured = seen.measured or self.measured
        self._check_abort()
        if seen.harm:
            raise HarmDetectedError(
                f"The new version was taken back while it soaked: {'; '.join(seen.reasons)}.",
                details={"reasons": list(seen.reasons), "evidence": dict(seen.evidence)},
            )

    @property
    def _soak_seconds(self) -> float:
        asked = self.plan.request.parameters.get("soak", self.services.soak_seconds)
        if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 <= asked < float("inf"):
            raise InvalidRequestError(f"soak must be a number of seconds, 0 or more, got {asked!r}.")
        return float(asked)

    async def _finish(self) -> None:
        registry, _ = await self.services.planner.registry()
        running = {s.name: registry.get_component(s.name).version for s in self.plan.steps}
        wrong = {s.name: running[s.name] for s in self.plan.steps if running[s.name] != s.to_version}
        if wrong:
            raise NotChangedError(
                "The journal says committed, but "
                + ", ".join(f"{name} runs {version}" for name, version in wrong.items())
                + ".",
                details={"running": wrong},
            )
        await self._end(Phase.DONE, why="the running version was asked")
        self.services.events.emit(
            EventKind.UPGRADE_COMPLETED, upgrade_id=self.upgrade_id, message=f"{self._title()} is done"
        )

    # --- the way back --------------------------------------------------------------------------------------------

    async def _back(self, error: UpgradeError) -> None:
        """Leave the old version running, whatever was reached; ends in the phase that says how that went."""
        self.error = error
        reached = self.phase
        if reached in {Phase.SHIFTING, Phase.COMMITTED, Phase.SOAKING}:
            await self._roll_back(error, reached)
            return
        failures = await self._undo(reached)
        end = Phase.REJECTED if isinstance(error, UpgradeRejectedError | ValidationFailedError) else Phase.ABORTED
        end = end if reached in {Phase.RECEIVED, Phase.VALIDATED} else Phase.ABORTED
        await self._end(end, why=error.message, failures=failures)
        self.services.events.emit(
            EventKind.UPGRADE_FAILED,
            upgrade_id=self.upgrade_id,
            message=f"{self._title()}: {error.message}",
            data=error.to_wire(),
        )

    async def _roll_back(self, error: UpgradeError, reached: Phase) -> None:
        journal = self.services.journal
        failures: list[str] = []
        try:
            await self._write(journal.rolling_back, becomes=Phase.ROLLING_BACK, why=error.message)
        except UpgradeError as unwritten:
            # The journal still says what it said before: a restart finds the old version there. Going back must not
            # wait for a disk.
            failures.append(f"journal: {unwritten.message}")
        failures += await self._undo(reached)
        moves = () if reached is Phase.SHIFTING else _moves_back(self.plan, self._points)
        if any(not failure.startswith("journal") for failure in failures):
            await self._end(Phase.STUCK, why="; ".join(failures), failures=failures)
            self.error = RollbackFailedError(
                f"The upgrade failed ({error.message}), and so did going back: {'; '.join(failures)}.",
                hint="Run `noodle doctor`; a restart comes back on the version that it names.",
                details={"errors": failures, "cause": error.to_wire()},
            )
            return
        try:
            await self._write(journal.rolled_back, moves, becomes=Phase.ROLLED_BACK, why=error.message, error=error)
        except UpgradeError as unwritten:
            failures.append(f"journal: {unwritten.message}")
            self.phase = Phase.ROLLED_BACK
        self.operations.append("rolled back")
        self.services.events.emit(
            EventKind.UPGRADE_ROLLED_BACK,
            upgrade_id=self.upgrade_id,
            message=f"{self._title()} was rolled back: {error.message}",
            data=error.to_wire(),
        )

    async def _undo(self, reached: Phase) -> list[str]:
        """Take the swap back, then ask every plugin that may have acted, last first; returns what failed, in words."""
        runner, failures = self.services.runner, []
        if self.staged is not None:
            try:
                async with self.services.quiet():
                    await runner.call("swap", self.staged.revert, limit=None)
            except UpgradeError as error:
                failures.append(f"swap: {error.message}")
        if reached in {Phase.RECEIVED, Phase.VALIDATED} and self.staged is None:
            return failures
        for reply in await runner.ask(
            "rollback", plan=self.plan, reached=reached, context=self.context(), last_first=True
        ):
            if reply.error is not None:
                failures.append(f"{reply.plugin}: {reply.error.message}")
            elif reply.value is not None:
                self.operations += [f"{reply.plugin} undid {what}" for what in reply.value.undone]
        return failures

    # --- bookkeeping ---------------------------------------------------------------------------------------------

    def _waiting_error(self) -> UpgradeError | None:
        if self.decision is None or not self.decision.awaits:
            return None
        return ApprovalRequiredError(
            f"{self._title()} waited for {self.decision.awaits}, which did not come in time.",
            hint="Plan again, and approve it: `noodle upgrade … --yes` or `noodle approve`.",
            details={"plan_digest": self.plan.digest},
        )

    def _check_abort(self) -> None:
        if self.abort.reason:
            raise UpgradeCancelledError(f"Cancelled: {self.abort.reason}")

    def _held(self) -> StagedSwap:
        if self.staged is None:
            raise SwapRefusedError("Nothing is staged.")
        return self.staged

    def _left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def _title(self) -> str:
        return ", ".join(f"{s.name} {s.from_version} -> {s.to_version}" for s in self.plan.steps)

    async def _advance(self, phase: Phase, *, why: str, who: str = "", **fields: Any) -> None:
        self._check_abort()
        advance = self.services.journal.advance
        await self._write(advance, phase, becomes=phase, who=who or self.requested_by, why=why, **fields)

    def _moved(self, phase: Phase, why: str) -> None:
        before, self.phase = self.phase, phase
        at = time.monotonic()
        self.metrics[f"{before}_seconds"] = self.metrics.get(f"{before}_seconds", 0.0) + at - self._mark
        self._mark = at
        self.services.events.emit(
            EventKind.PHASE_CHANGED,
            upgrade_id=self.upgrade_id,
            component_name=self.plan.component_names[0],
            message=f"{self._title()}: {phase}",
            data={"from": before, "to": phase, "who": self.requested_by, "why": why},
        )

    async def _end(self, phase: Phase, *, why: str, failures: list[str] | None = None) -> None:
        try:
            await self._write(self.services.journal.finish, phase, becomes=phase, why=why, error=self.error)
        except UpgradeError as unwritten:
            if failures is None:
                raise
            failures.append(f"journal: {unwritten.message}")
            self._moved(phase, why)

    async def _write(
        self, function: Callable[..., Any], *args: Any, becomes: Phase | None = None, why: str = "", **kwargs: Any
    ) -> None:
        """Write to the journal, in a thread: a commit waits for the disk, and this loop may serve requests.

        Whatever cancels this waits until the write has ended: nobody may decide anything while it is unknown whether
        the commit point was passed.
        """
        kwargs.setdefault("who", self.requested_by)
        if becomes is not None:
            kwargs["why"] = why
        write = asyncio.ensure_future(asyncio.to_thread(function, self.upgrade_id, *args, **kwargs))
        try:
            await asyncio.shield(write)
        except asyncio.CancelledError:
            await asyncio.wait([write])
            if not write.cancelled() and write.exception() is None and becomes is not None:
                self._moved(becomes, why)
            raise
        if becomes is not None:
            self._moved(becomes, why)

    def _result(self) -> UpgradeResult:
        step = self.plan.steps[0]
        cancelled = isinstance(self.error, UpgradeCancelledError) and self.phase is not Phase.STUCK
        return UpgradeResult(
            request_id=self.plan.request.request_id,
            upgrade_id=self.upgrade_id,
            success=self.phase is Phase.DONE and self.error is None,
            component_name=step.name,
            from_version=step.from_version,
            to_version=step.to_version,
            status=UpgradeStatus.CANCELLED if cancelled else self.phase.status,
            phase=self.phase,
            operations=tuple(self.operations),
            rollback_point=self._points[0] if self._points else None,
            metrics=dict(self.metrics),
            error=self.error,
            started_at=self.started_at,
            completed_at=now(),
            components=self.plan.component_names,
        )


def _moves_back(plan: UpgradePlan, points: tuple[RollbackPoint, ...]) -> tuple[PointerMove, ...]:
    kept = {point.component_name: point for point in points}
    return tuple(
        PointerMove(
            component_name=step.name,
            version=step.from_version,
            artifact=kept[step.name].artifact if step.name in kept else None,
            state_digest="",
            expected_version=step.to_version,
        )
        for step in plan.steps
    )
