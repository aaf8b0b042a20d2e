"""One upgrade on its way through the phases: intent before effect, one commit point, and one way back.

    RECEIVED → VALIDATED → APPROVED → STAGED → SHIFTING → COMMITTED → SOAKING → DONE

Until `SHIFTING` nothing is visible, and a failure ends in `ABORTED` (or `REJECTED`). From `SHIFTING` on a failure goes
through `ROLLING_BACK` to `ROLLED_BACK`. Every change of phase is in the journal and is an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from attrs import define, evolve, field

from noodle_upgrade_core.clocks import RealClock
from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.driven import Driven, DrivenJudge, carried_through
from noodle_upgrade_core.errors import (
    ApprovalRequiredError,
    HarmDetectedError,
    InvalidRequestError,
    JournalFullError,
    NotChangedError,
    RollbackFailedError,
    UpgradeCancelledError,
    UpgradeError,
    UpgradeRejectedError,
    UpgradeTimeoutError,
    ValidationFailedError,
)
from noodle_upgrade_core.events import EventKind
from noodle_upgrade_core.gates import People, check_findings, decide, in_one, refusal, votes_of
from noodle_upgrade_core.hookspecs import Outcome, UpgradeContext
from noodle_upgrade_core.isolation import blame_ourselves
from noodle_upgrade_core.journal.contract import PointerMove
from noodle_upgrade_core.ledger import Ledger
from noodle_upgrade_core.model import (
    ArtifactRef,
    Decision,
    Finding,
    Phase,
    RollbackPoint,
    UpgradePlan,
    UpgradeResult,
    UpgradeStatus,
    now,
)
from noodle_upgrade_core.parameters import strategy_for
from noodle_upgrade_core.rollout import Conductor, arm_summary
from noodle_upgrade_core.services import Services
from noodle_upgrade_core.staged import Measurement
from noodle_upgrade_core.steps import Gate, Judge, JudgeDriver, Rollout, Shift
from noodle_upgrade_core.strategies import rollout_of
from noodle_upgrade_core.traffic import Counting
from noodle_upgrade_core.wire import to_wire

__all__ = ["UpgradeRun"]

_COMMITTED = frozenset({Phase.COMMITTED, Phase.SOAKING})
_VISIBLE = frozenset({Phase.SHIFTING, *_COMMITTED})
_LEFT = frozenset({Phase.DONE, Phase.STUCK, *_COMMITTED})
"""Where the old version was left, so that there is something to go back to."""

logger = logging.getLogger("noodle_upgrade")


@define(kw_only=True)
class UpgradeRun:
    """The state machine of one upgrade; made anew for each, owned by the Upgrader, driven by `run`."""

    services: Services
    plan: UpgradePlan
    ledger: Ledger
    people: People
    controls: Controls
    weight: float = 0.0
    held: str = ""
    decision: Decision | None = None
    measured: Measurement | None = None
    staged: Driven | None = None
    result: UpgradeResult | None = None
    error: UpgradeError | None = None
    started_at: datetime = field(factory=now)
    begun: asyncio.Event = field(factory=asyncio.Event)
    _points: tuple[RollbackPoint, ...] = ()
    _deadline: float = 0.0
    _timer: asyncio.Timeout | None = None
    _artifacts: tuple[ArtifactRef, ...] = ()
    _counted: Counting | None = None
    _final: bool = False
    _changed: bool = False

    @classmethod
    def of(
        cls, plan: UpgradePlan, *, upgrade_id: str, services: Services, requested_by: str, approved_by: str
    ) -> UpgradeRun:
        """Make the run of one plan."""
        controls = Controls()
        title = ", ".join(f"{step.name} {step.from_version} -> {step.to_version}" for step in plan.steps)
        ledger = Ledger(
            events=services.events,
            upgrade_id=upgrade_id,
            component_name=plan.component_names[0],
            title=title,
            who=requested_by,
        )
        people = People(controls=controls, approvals=[approved_by] if approved_by else [])
        return cls(services=services, plan=plan, ledger=ledger, people=people, controls=controls)

    @property
    def upgrade_id(self) -> str:
        """Which upgrade this is."""
        return self.ledger.upgrade_id

    @property
    def phase(self) -> Phase:
        """Where it is."""
        return self.ledger.phase

    def cancel(self, reason: str) -> None:
        """Ask for the end: before `SHIFTING` nothing has happened, after it everything goes back."""
        self.controls.abort(reason)

    def pause(self, by: str) -> None:
        """Let no more traffic move until somebody resumes."""
        self.controls.pause(f"paused by {by}")
        self._told("upgrade.paused", "paused", by)

    def resume(self, by: str) -> None:
        """End a pause."""
        self.controls.resume()
        self._told("upgrade.resumed", "resumed", by)

    def promote(self, by: str, *, full: bool) -> None:
        """Go on without waiting for evidence: past the present wait, or past all that are left."""
        self.controls.promote(by, full=full)
        self._told("upgrade.promoted", "promoted in full" if full else "promoted by a step", by)

    def _told(self, kind: str, what: str, by: str) -> None:
        self.ledger.mark(what, {"by": by, "at": now().isoformat()})
        self.ledger.tell(kind, f"{self.ledger.title} was {what} by {by}", {"by": by})

    def context(self, staged: Driven | None = None) -> UpgradeContext:
        """Return what the hooks of this upgrade are given; for `deploy` with what is `staged`."""
        return self.services.context(
            upgrade_id=self.upgrade_id,
            parameters=self.plan.request.parameters,
            remaining=lambda: max(0.0, self._deadline - time.monotonic()),
            cancelled=lambda: bool(self.controls.aborted),
            mark=self.ledger.mark,
            conduct=None if staged is None else partial(self._conduct, staged),
            gate=self._gate,
            probe=self._probe,
        )

    def shown(self) -> dict[str, Any]:
        """Return where it stands, as JSON values."""
        measured, decision, phase = self.measured, self.decision, self.phase
        return {
            "upgrade_id": self.upgrade_id,
            "phase": phase,
            "status": phase.status,
            "components": list(self.plan.component_names),
            "plan": to_wire(self.plan),
            "plan_digest": self.plan.digest,
            "decision": None if decision is None else to_wire(decision),
            "awaits": self._awaits,
            "approvals": list(self.people.approvals),
            "weight": self.weight,
            "paused": self.controls.paused,
            "held": self.held,
            "measured": None
            if measured is None
            else {"old": dict(arm_summary(measured.old)), "new": dict(arm_summary(measured.new))},
            "error": None if self.error is None else self.error.to_wire(),
            "started_at": self.started_at.isoformat(),
            "operations": list(self.ledger.operations),
            "result": None if self.result is None else to_wire(self.result),
        }

    @property
    def _awaits(self) -> str:
        if self.decision is not None and self.phase is Phase.VALIDATED:
            return self.decision.awaits
        return self.people.waiting_at

    # --- the way there -------------------------------------------------------------------------------------------

    async def run(self) -> UpgradeResult:
        """Carry the plan out, or leave everything as it was; never raises an error of the upgrade itself.

        The request's time limit is for what is done until the commit; waiting for people has limits of its own.
        Cancelled, it goes back first; what is committed already stays, because a restart goes on from there.
        """
        seconds = self.plan.request.time_limit(self.services.upgrade_timeout)
        self._deadline = time.monotonic() + seconds
        failed: UpgradeError | None = None
        cancelled = False
        try:
            async with asyncio.timeout(seconds) as self._timer:
                await self._until_committed()
            await self._soak()
            await self._finish()
        except TimeoutError as error:
            failed = _timed_out(seconds, self.phase, busy=getattr(error.__cause__, "__notes__", ()))
            failed.__cause__ = error
        except UpgradeError as error:
            failed = self._or_cancelled(error)
        except asyncio.CancelledError:
            cancelled = True
            failed = UpgradeCancelledError("The program that ran the upgrade is shutting down.")
        except Exception as error:
            logger.exception("%s failed in a way that it cannot", self.ledger.title)
            failed = blame_ourselves(error)
        if cancelled and self.phase in _COMMITTED:
            await carried_through(self._make_final())
        elif failed is not None:
            cancelled = await carried_through(self._back(failed)) or cancelled
        if cancelled:
            raise asyncio.CancelledError
        self.result = self._result()
        return self.result

    async def _until_committed(self) -> None:
        journal, ledger = self.services.journal, self.ledger
        try:
            await ledger.write(journal.begin, self.plan)
        finally:
            self.begun.set()
        asked = f"{ledger.title} was asked for by {ledger.who}"
        ledger.tell(EventKind.UPGRADE_REQUESTED, asked, {"plan_digest": self.plan.digest})
        await self._validate()
        await self._decide()
        await self._stage()
        await self._deploy()
        await self._commit()

    async def _validate(self) -> None:
        found = await self.services.planner.validate(self.plan, "before", self.context())
        known = {(finding.code, finding.subject, finding.message) for finding in self.plan.findings}
        fresh = tuple(f for f in found if (f.code, f.subject, f.message) not in known)
        self.plan = evolve(self.plan, findings=(*self.plan.findings, *fresh))
        if refused := refusal({step.name: step.verdict for step in self.plan.steps}):
            raise refused
        self._stop_on(self.plan.findings, "before")
        await self._advance(Phase.VALIDATED, why="no finding stops it")

    def _stop_on(self, findings: tuple[Finding, ...], stage: str) -> None:
        for finding in findings:
            said = {"severity": finding.severity, "code": finding.code, "subject": finding.subject, "stage": stage}
            self.ledger.tell(EventKind.FINDING, finding.message, said)
        check_findings(self.plan, findings, stage)

    async def _decide(self) -> None:
        services = self.services
        replies = await services.runner.ask("decide", plan=self.plan, context=self.context())
        self.decision = await decide(
            self.plan,
            votes_of(replies),
            decider=await services.make_decider(),
            people=self.people,
            waiting=self._wait_for_people,
        )
        await self._advance(
            Phase.APPROVED,
            why="; ".join(self.decision.reasons) or "nobody objected",
            who=", ".join(self.people.approvals),
            decision=self.decision,
        )

    async def _wait_for_people(self, decision: Decision, given: int) -> None:
        self.decision = decision
        # People are asked for something that may outlive this process: what rides is written down before.
        await asyncio.to_thread(self.services.journal.renew_lease)
        self._ask_people(f"waits for {decision.awaits}", {"awaits": decision.awaits})
        with self._standing_still():
            if len(self.people.approvals) == given:
                await self.people.wait(self.services.approval_expires)
        if len(self.people.approvals) == given and not self.controls.aborted:
            raise ApprovalRequiredError(
                f"{self.ledger.title} waited for {decision.awaits}, which did not come in time.",
                hint="Plan again, and approve it: `noodle upgrade … --yes` or `noodle approve`.",
                details={"plan_digest": self.plan.digest},
            )

    @contextlib.contextmanager
    def _standing_still(self) -> Iterator[None]:
        """Let no time of the request pass while people are waited for."""
        began = time.monotonic()
        timer, self._timer = self._timer, None
        due = None if timer is None else timer.when()
        if timer is not None:
            timer.reschedule(None)
        try:
            yield
        finally:
            waited = time.monotonic() - began
            self._deadline += waited
            self._timer = timer
            if timer is not None and due is not None:
                timer.reschedule(due + waited)

    def _ask_people(self, what: str, data: Mapping[str, Any]) -> None:
        asked = {**data, "plan_digest": self.plan.digest}
        self.ledger.tell(EventKind.APPROVAL_NEEDED, f"{self.ledger.title} {what}", asked)

    async def _stage(self) -> None:
        self._check_abort()
        services, ledger, context = self.services, self.ledger, self.context()
        self._points = await services.rollback_points(self.plan, self.upgrade_id)
        ledger.tell(EventKind.UPGRADE_STARTED, f"{ledger.title}: staging")
        await services.stage(self.plan, context, hold=self._hold)
        ledger.operations.append(f"staged {', '.join(self.plan.component_names)}")
        replies = await services.runner.ask(
            "recompile", limit=self._left(), plan=self.plan, staged=self.staged, context=context
        )
        for reply in replies:
            if reply.error is not None:
                raise reply.error
            if made := tuple(reply.value or ()):
                self._artifacts += made
                ledger.operations.append(f"{reply.plugin} rebuilt {len(made)} artefact(s)")
        rebuilt = [f"{one.name} {one.version} {one.digest}" for one in self._artifacts]
        evidence = {"rebuilt": rebuilt} if rebuilt else {}
        await self._advance(Phase.STAGED, why="the new version lies beside the old one", evidence=evidence)

    def _hold(self, staged: Driven) -> None:
        self.staged = staged

    @property
    def _held(self) -> Driven:
        if self.staged is None:
            raise InvalidRequestError("The plan has no steps: nothing is staged.")
        return self.staged

    async def _deploy(self) -> None:
        services, staged = self.services, self._held
        await self.ledger.write(
            services.journal.intend, self._points, becomes=Phase.SHIFTING, why="traffic is about to move"
        )
        with self._counting():
            outcome = await self._outcome(staged)
        self.ledger.operations += outcome.steps
        self.measured = outcome.measured
        if not outcome.promoted:
            self._check_abort()
            raise HarmDetectedError(
                f"The new version was taken back: {in_one(outcome.reasons)}.",
                hint="Look at the evidence with `noodle history`, mend the version, and try again.",
                details={"reasons": list(outcome.reasons), "evidence": dict(outcome.evidence)},
            )
        self._check_running("Everything reported success", await staged.running())
        self._stop_on(await self._probe(), "after")
        await staged.drain()

    @contextlib.contextmanager
    def _counting(self) -> Iterator[Counting]:
        """Count the program's calls for as long as there is somebody who judges them."""
        first = self.plan.steps[0]
        self._counted = counting = self.services.gauge.count(first.from_version, first.to_version)
        try:
            yield counting
        finally:
            self._counted = None
            counting.stop()

    async def _outcome(self, staged: Driven) -> Outcome:
        services = self.services
        reply = await services.runner.ask_first(
            "deploy",
            plan=self.plan,
            staged=staged,
            artifacts=self._artifacts,
            context=self.context(staged),
            # The request's own timer ends it, and stands still where people are waited for.
            limit=float("inf"),
        )
        if reply is not None:
            if reply.error is not None:
                raise reply.error
            outcome: Outcome = reply.value
            return outcome
        name = f"strategy {self.plan.request.strategy}"

        def begin() -> Rollout:
            return rollout_of(strategy_for(self.plan.request, services.drivers, services.strategy_defaults), self.plan)

        return await self._conduct(staged, await services.runner.call(name, begin), name=name)

    async def _conduct(
        self,
        staged: Driven,
        rollout: Rollout,
        *,
        judge: JudgeDriver | None = None,
        hold: Callable[[Shift], str] | None = None,
        name: str = "strategy",
    ) -> Outcome:
        """Carry a rollout out, with the judge of the settings or another one; see `Conductor` for `hold`."""
        conductor = await self._conductor(staged)
        if judge is not None:
            conductor = evolve(conductor, judge=DrivenJudge(judge, self.services.runner, type(judge).__name__))
        if hold is not None:
            conductor = evolve(conductor, hold=hold)
        return await evolve(conductor, ask=partial(self.services.runner.call, name)).carry_out(rollout)

    async def _conductor(self, staged: Driven) -> Conductor:
        services, counted = self.services, self._counted

        def emit(kind: str, *, message: str = "", data: Mapping[str, Any] | None = None) -> None:
            if data and "weight" in data:
                self.weight = data["weight"]
            if kind in {"upgrade.held", "upgrade.released"}:
                self.held = str((data or {}).get("why", ""))
            self.ledger.tell(kind, message, data)

        return Conductor(
            staged=staged,
            judge=await services.make_judge(self.plan.request),
            clock=RealClock(),
            controls=self.controls,
            emit=emit,
            gate=self._gate,
            probe=self._probe,
            measure=None if counted is None else counted.measure,
            turned=None if counted is None else lambda to_new: counted.turn(to_new=to_new),
            quiet=services.quiet,
            across=self._across,
            standing=self._standing_still,
            deadline=self._deadline,
        )

    def _across(self, calls: int) -> None:
        self._changed = True
        self.ledger.across(calls)

    async def _probe(self) -> tuple[Finding, ...]:
        return await self.services.planner.validate(self.plan, "after", self.context())

    async def _gate(self, gate: Gate) -> bool:
        self._ask_people(
            f"waits at the gate {gate.name!r}", {"gate": gate.name, "approvals": gate.approvals, "of": list(gate.of)}
        )
        with self._standing_still():
            return await self.people.open(gate)

    def _check_running(self, claim: str, running: Mapping[str, str]) -> None:
        wrong = {s.name: running.get(s.name, "nothing") for s in self.plan.steps if running.get(s.name) != s.to_version}
        if wrong:
            said = ", ".join(f"{name} still runs {version}" for name, version in wrong.items())
            raise NotChangedError(f"{claim}, but {said}.", details={"running": wrong})

    async def _commit(self) -> None:
        self._check_abort()
        moves = tuple(
            PointerMove(
                component_name=step.name,
                version=step.to_version,
                artifact=step.artifact,
                expected_version=step.from_version,
            )
            for step in self.plan.steps
        )
        await self.ledger.write(
            self.services.journal.commit,
            moves,
            becomes=Phase.COMMITTED,
            why="all traffic is on the new version",
            evidence=self.ledger.evidence,
            soak_seconds=self._soak_seconds,
            soak_tries=self.services.soak_tries,
        )
        await self._make_final()

    async def _make_final(self) -> None:
        """Tell the swap that it is committed; once."""
        if not self._final:
            self._final = True
            await self._held.commit()
            self.ledger.operations.append(f"committed {self.ledger.title}")

    @property
    def _soak_seconds(self) -> float:
        asked = self.plan.request.parameters.get("soak", self.services.soak_seconds)
        if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 <= asked < float("inf"):
            raise InvalidRequestError(f"soak must be a number of seconds, 0 or more, got {asked!r}.")
        return float(asked)

    async def _soak(self) -> None:
        seconds = self._soak_seconds
        if seconds <= 0:
            return
        why = f"watched for {seconds:g} s more"
        try:
            await self._advance(Phase.SOAKING, why=why, soak_seconds=seconds, soak_tries=self.services.soak_tries)
        except JournalFullError as full:
            # The commit has written that it soaks: that much is safe, and no reason to take a good version back.
            self.ledger.move(Phase.SOAKING, f"{why}; {full.message}")
        with self._counting() as counting:
            counting.turn(to_new=True)
            conductor = evolve(await self._conductor(self._held), deadline=float("inf"))
            seen = await conductor.watch(Judge(until="budget", budget=seconds))
        self.measured = seen.measured or self.measured
        self._check_abort()
        if seen.harm:
            raise HarmDetectedError(
                f"The new version was taken back while it soaked: {in_one(seen.reasons)}.",
                details={"reasons": list(seen.reasons), "evidence": dict(seen.evidence)},
            )

    async def _finish(self) -> None:
        registry, _ = await self.services.planner.registry()
        running = {step.name: registry.get_component(step.name).version for step in self.plan.steps}
        self._check_running("The journal says committed", running)
        self._check_abort()
        await self._end(Phase.DONE, why="the running version was asked", failures=[])
        self.ledger.tell(EventKind.UPGRADE_COMPLETED, f"{self.ledger.title} is done")

    # --- the way back --------------------------------------------------------------------------------------------

    async def _back(self, error: UpgradeError) -> None:
        """Leave the old version running, whatever was reached; ends in the phase that says how that went."""
        self.error = error
        reached = self.phase
        if reached in _VISIBLE:
            await self._roll_back(error, reached)
            return
        failures = await self._undo(reached)
        if failures:
            # Nothing was visible; but whoever looks for what is left behind must find it named.
            error.details["undo_failed"] = list(failures)
            self.ledger.mark("not all could be let go of", {"errors": list(failures)})
        refused = isinstance(error, UpgradeRejectedError | ValidationFailedError)
        early = reached in {Phase.RECEIVED, Phase.VALIDATED}
        await self._end(Phase.REJECTED if refused and early else Phase.ABORTED, why=error.message, failures=[])
        self.ledger.tell(EventKind.UPGRADE_FAILED, f"{self.ledger.title}: {error.message}", error.to_wire())

    async def _roll_back(self, error: UpgradeError, reached: Phase) -> None:
        journal, ledger = self.services.journal, self.ledger
        unwritten: list[str] = []
        try:
            await ledger.write(journal.rolling_back, becomes=Phase.ROLLING_BACK, why=error.message)
        except UpgradeError as failed:
            # The journal still says what it said before: a restart finds the old version there. Going back must not
            # wait for a disk.
            unwritten.append(f"journal: {failed.message}")
        if failures := await self._undo(reached):
            await self._end(Phase.STUCK, why="; ".join(failures), failures=unwritten)
            self.error = RollbackFailedError(
                f"The upgrade failed ({error.message}), and so did going back: {in_one(failures)}.",
                hint="Run `noodle doctor`; a restart comes back on the version that it names.",
                details={"errors": [*failures, *unwritten], "cause": error.to_wire()},
            )
            return
        moves = () if reached is Phase.SHIFTING else _moves_back(self.plan, self._points)
        said: dict[str, Any] = {"why": error.message, "error": error, "evidence": ledger.evidence}
        try:
            await ledger.write(journal.rolled_back, moves, becomes=Phase.ROLLED_BACK, **said)
        except UpgradeError as failed:
            unwritten.append(f"journal: {failed.message}")
            self._write_later(journal.rolled_back, moves, **said)
            if reached is not Phase.SHIFTING:
                self._only_in_memory(error, unwritten)
                return
            # Until it is written a restart finds that traffic was moving, and goes back by itself.
            ledger.move(Phase.ROLLED_BACK, "; ".join(unwritten))
        ledger.operations.append("rolled back")
        ledger.tell(EventKind.UPGRADE_ROLLED_BACK, f"{ledger.title} was rolled back: {error.message}", error.to_wire())

    def _only_in_memory(self, error: UpgradeError, unwritten: list[str]) -> None:
        """Say that the old version runs, and that a restart would bring the new one back."""
        names = ", ".join(f"{step.name} {step.to_version}" for step in self.plan.steps)
        self.ledger.move(Phase.STUCK, "; ".join(unwritten))
        self.error = RollbackFailedError(
            f"The old version runs again ({error.message}), but that could not be written: {unwritten[-1]}.",
            hint=f"Make room: it is written as soon as there is some. A restart before comes back on {names}.",
            safe="The old version serves.",
            details={"errors": unwritten, "cause": error.to_wire()},
        )
        self.ledger.tell(EventKind.UPGRADE_FAILED, self.error.message, self.error.to_wire())

    async def _undo(self, reached: Phase) -> list[str]:
        """Take the swap back, then ask every plugin that may have acted, last first; returns what failed, in words."""
        runner, failures = self.services.runner, []
        if self.staged is not None:
            try:
                async with self.services.quiet() as under_way:
                    await self.staged.revert()
                    calls = under_way()
                if self._changed:
                    self.ledger.across(calls)
                if reached in _VISIBLE:
                    self._check_back(await self.staged.running())
            except UpgradeError as error:
                failures.append(f"swap: {error.message}")
        elif reached in {Phase.RECEIVED, Phase.VALIDATED}:
            return failures
        for reply in await runner.ask(
            "rollback", plan=self.plan, reached=reached, context=self.context(), last_first=True
        ):
            if reply.error is not None:
                failures.append(f"{reply.plugin}: {reply.error.message}")
            elif reply.value is not None:
                self.ledger.operations += [f"{reply.plugin} undid {what}" for what in reply.value.undone]
        return failures

    def _check_back(self, running: Mapping[str, str]) -> None:
        left = [s for s in self.plan.steps if running.get(s.name) == s.to_version != s.from_version]
        if left:
            said = ", ".join(f"{step.name} still runs {step.to_version}" for step in left)
            raise NotChangedError(f"It reports that it went back, but {said}.", details={"running": dict(running)})

    # --- bookkeeping ---------------------------------------------------------------------------------------------

    def _or_cancelled(self, error: UpgradeError) -> UpgradeError:
        """What fails because somebody wants it to end was cancelled: a staging that gave up early, say."""
        if not self.controls.aborted or isinstance(error, UpgradeCancelledError):
            return error
        made = UpgradeCancelledError(f"Cancelled: {self.controls.aborted}", details={"then": error.to_wire()})
        made.__cause__ = error
        return made

    def _check_abort(self) -> None:
        if self.controls.aborted:
            raise UpgradeCancelledError(f"Cancelled: {self.controls.aborted}")

    def _left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    async def _advance(self, phase: Phase, *, why: str, who: str = "", **fields: Any) -> None:
        self._check_abort()
        await self.ledger.write(self.services.journal.advance, phase, becomes=phase, why=why, who=who, **fields)

    async def _end(self, phase: Phase, *, why: str, failures: list[str] | None = None) -> None:
        """Write the last phase; with `failures` a journal that cannot be written is one of them, and is tried again."""
        said: dict[str, Any] = {"why": why, "error": self.error, "evidence": self.ledger.evidence}
        try:
            await self.ledger.write(self.services.journal.finish, phase, becomes=phase, **said)
        except UpgradeError as unwritten:
            if failures is None:
                raise
            failures.append(f"journal: {unwritten.message}")
            self._write_later(self.services.journal.finish, phase, **said)
            self.ledger.move(phase, f"{why}; {unwritten.message}")

    def _write_later(self, function: Callable[..., Any], *arguments: Any, **said: Any) -> None:
        self.services.write_later(partial(function, self.upgrade_id, *arguments, who=self.ledger.who, **said))

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
            operations=tuple(self.ledger.operations),
            rollback_point=self._points[0] if self._points and self.phase in _LEFT else None,
            metrics=dict(self.ledger.metrics),
            error=self.error,
            started_at=self.started_at,
            completed_at=now(),
            components=self.plan.component_names,
        )


def _moves_back(plan: UpgradePlan, points: tuple[RollbackPoint, ...]) -> tuple[PointerMove, ...]:
    """Return the moves to what was kept; a component of which nothing was goes to where its pointer was before."""
    kept = {point.component_name: point.artifact for point in points if point.artifact is not None}
    return tuple(
        PointerMove(
            component_name=step.name,
            version=step.from_version,
            artifact=kept[step.name],
            expected_version=step.to_version,
        )
        for step in plan.steps
        if step.name in kept
    )


def _timed_out(seconds: float, phase: Phase, *, busy: Sequence[str] = ()) -> UpgradeTimeoutError:
    """Return the error of an upgrade that took too long; `busy` are the words for what it was waiting for."""
    return UpgradeTimeoutError(
        " ".join([f"The upgrade did not end within {seconds:g} s; it was {phase}.", *busy]),
        hint="Raise timeout_seconds (`--timeout`), or runtime_upgrade.upgrade_timeout for requests that name none.",
    )
