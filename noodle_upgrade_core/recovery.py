"""What happens to an upgrade after its process, or its pipeline, has ended: going back, and soaking on.

Going back is warm by one flip while the old version is still there, and else cold by a swap in the other direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

from attrs import define, evolve, field

from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.driven import Driven, carried_through
from noodle_upgrade_core.errors import (
    NotChangedError,
    RollbackFailedError,
    RollbackUnavailableError,
    SwapRefusedError,
    UpgradeError,
)
from noodle_upgrade_core.events import EventKind
from noodle_upgrade_core.hookspecs import UpgradeContext
from noodle_upgrade_core.isolation import blame_ourselves
from noodle_upgrade_core.journal.contract import Journal, PointerMove, UpgradeRecord
from noodle_upgrade_core.ledger import Ledger
from noodle_upgrade_core.model import (
    Phase,
    PlanStep,
    RollbackPoint,
    UpgradePlan,
    UpgradeRequest,
    UpgradeResult,
    UpgradeStatus,
    Verdict,
    now,
)
from noodle_upgrade_core.rollout import Conductor
from noodle_upgrade_core.services import Services
from noodle_upgrade_core.staged import WEIGHTS
from noodle_upgrade_core.steps import Judge
from noodle_upgrade_core.wire import to_wire

__all__ = ["ResumedSoak", "Reversal"]

logger = logging.getLogger("noodle_upgrade")


@define(kw_only=True)
class Reversal:
    """Takes one finished upgrade back, all its components together."""

    services: Services
    journal: Journal
    points: tuple[RollbackPoint, ...]
    warm: Driven | None
    ledger: Ledger
    why: str
    error: UpgradeError | None = None
    started_at: datetime = field(factory=now)
    _began: float = field(factory=time.monotonic)

    @classmethod
    def of(
        cls,
        points: tuple[RollbackPoint, ...],
        *,
        services: Services,
        warm: Driven | None,
        requested_by: str,
        why: str = "asked for",
    ) -> Reversal:
        """Make the reversal of the upgrade that these points were made for."""
        ledger = Ledger(
            events=services.events,
            upgrade_id=points[0].upgrade_id,
            component_name=points[0].component_name,
            title=", ".join(f"{p.component_name} {p.to_version} -> {p.from_version}" for p in points),
            who=requested_by,
            phase=Phase.DONE,
        )
        return cls(services=services, journal=services.journal, points=points, warm=warm, ledger=ledger, why=why)

    async def run(self) -> UpgradeResult:
        """Go back; a failure is a result with an error, and says what runs."""
        cancelled = await carried_through(self._go_back())
        if cancelled:
            raise asyncio.CancelledError
        error = self.error
        first = self.points[0]
        return UpgradeResult(
            request_id=f"rollback-{first.rollback_id}",
            upgrade_id=self.ledger.upgrade_id,
            success=error is None,
            component_name=first.component_name,
            from_version=first.to_version,
            to_version=first.from_version,
            status=UpgradeStatus.ROLLED_BACK if error is None else UpgradeStatus.FAILED,
            phase=self.ledger.phase,
            operations=tuple(self.ledger.operations),
            rollback_point=first,
            metrics={
                **self.ledger.metrics,
                "seconds": time.monotonic() - self._began,
                "warm": float(self.warm is not None),
            },
            error=error,
            started_at=self.started_at,
            completed_at=now(),
            components=tuple(point.component_name for point in self.points),
        )

    async def _go_back(self) -> None:
        try:
            plan = await self._backward_plan()
            await self._turn(plan, await self._way_back(plan))
        except UpgradeError as failed:
            self.error = failed
        except Exception as failed:
            logger.exception("%s failed in a way that it cannot", self.ledger.title)
            self.error = blame_ourselves(failed)
        if self.error is not None:
            said = f"{self.ledger.title}: {self.error.message}"
            self.ledger.tell(EventKind.UPGRADE_FAILED, said, self.error.to_wire())

    async def _way_back(self, plan: UpgradePlan) -> Driven | None:
        """Return what takes the components back; None when they run the old versions already.

        They do when an upgrade was stuck and its process has ended since: what is left is to write it down.
        """
        if self.warm is not None:
            return self.warm
        if all(step.component.version == step.to_version for step in plan.steps):
            return None
        return await self._stage(plan)

    async def _backward_plan(self) -> UpgradePlan:
        registry, _ = await self.services.planner.registry()
        steps = []
        for point in self.points:
            component = registry.get_component(point.component_name)
            steps.append(
                PlanStep(
                    component=component,
                    from_version=point.to_version,
                    to_version=point.from_version,
                    path=(point.to_version, point.from_version),
                    artifacts=() if point.artifact is None else (point.artifact,),
                    verdict=Verdict(feasible=False, mechanism="none"),
                )
            )
        request = UpgradeRequest(
            component_name=self.points[0].component_name,
            target_version=self.points[0].from_version,
            strategy="immediate",
            requested_by=self.ledger.who,
        )
        return UpgradePlan(requests=(request,), steps=tuple(steps))

    async def _stage(self, plan: UpgradePlan) -> Driven:
        """Stage the old version beside the one that runs, with no visible effect."""
        runner, context = self.services.runner, self._context()
        assessed = []
        for step in plan.steps:
            if not step.artifacts:
                raise RollbackUnavailableError(
                    f"{step.name} {step.to_version} is not warm any more, and its bytes were not kept.",
                    hint=f"Install it again, or upgrade to it: `noodle upgrade {step.name} {step.to_version}`.",
                )
            limit = runner.time_limit + self.services.swap_timeout
            reply = await runner.ask_first("assess", limit=limit, step=step, context=context)
            if reply is not None and reply.error is not None:
                raise reply.error
            if reply is None or not reply.value.feasible:
                blockers = () if reply is None else reply.value.blockers
                raise SwapRefusedError(
                    f"{step.name} cannot be changed back while it runs: {'; '.join(blockers) or 'no mechanism fits'}.",
                    hint=f"Restart the program with {step.name} {step.to_version}.",
                    details={"blockers": list(blockers)},
                )
            assessed.append(evolve(step, verdict=reply.value, plugin=reply.plugin))
        held: list[Driven] = []
        await self.services.stage(evolve(plan, steps=tuple(assessed)), context, hold=held.append)
        return held[-1]

    async def _turn(self, plan: UpgradePlan, staged: Driven | None) -> None:
        """Intent, effect, proof, commit point."""
        record = await asyncio.to_thread(self.journal.record, self.ledger.upgrade_id)
        finished = record is not None and record.phase is Phase.DONE
        await self.ledger.write(self.journal.rolling_back, becomes=Phase.ROLLING_BACK, why=self.why)
        try:
            staged = await self._go(plan, staged)
            await self._check(plan)
            failures = await self._undo(plan)
        except Exception as raised:
            error = raised if isinstance(raised, UpgradeError) else blame_ourselves(raised)
            await self._give_up(plan, error, finished=finished)
            raise error from raised
        active = {point.component_name: self.journal.active_of(point.component_name) for point in self.points}
        moves = tuple(
            PointerMove(
                component_name=point.component_name,
                version=point.from_version,
                artifact=point.artifact,
                state_digest=point.state_digest,
                expected_version=point.to_version,
            )
            for point in self.points
            if (now_active := active[point.component_name]) is not None and now_active.version == point.to_version
        )
        unwritten = await self._write_back(moves)
        if self.warm is None and staged is not None:
            await staged.commit()
        if unwritten is not None:
            raise unwritten
        self.ledger.operations.append(f"{'flipped' if self.warm is not None else 'swapped'} back: {self.ledger.title}")
        self.ledger.tell(EventKind.UPGRADE_ROLLED_BACK, f"{self.ledger.title}: rolled back by {self.ledger.who}")
        if failures:
            raise RollbackFailedError(
                f"The old version runs again, but {len(failures)} plugin(s) could not undo their part.",
                safe="The old version serves.",
                details={"errors": failures},
            )

    async def _write_back(self, moves: tuple[PointerMove, ...]) -> RollbackFailedError | None:
        """Write that it went back; what cannot be written is written later, or by a restart, and must be told."""
        said: dict[str, Any] = {"why": self.why, "evidence": self.ledger.evidence}
        written = self.journal.rolled_back
        try:
            await self.ledger.write(written, moves, becomes=Phase.ROLLED_BACK, **said)
        except UpgradeError as error:
            self.services.write_later(partial(written, self.ledger.upgrade_id, moves, who=self.ledger.who, **said))
            failed = RollbackFailedError(
                f"The old version runs again, but that could not be written: {error.message}",
                hint="Make room: it is written as soon as there is some. A restart comes back on the old version, too.",
                safe="The old version serves.",
                details={"errors": [error.message]},
            )
            failed.__cause__ = error
            return failed
        return None

    async def _go(self, plan: UpgradePlan, staged: Driven | None) -> Driven | None:
        """Make the change between requests, and return what made it."""
        quiet = self.services.quiet
        if self.warm is not None:
            try:
                async with quiet() as under_way:
                    await self.warm.revert()
                    calls = under_way()
            except RollbackUnavailableError:
                # Not warm any more, and nothing has changed: the bytes are in the store.
                self.warm = None
                staged = await self._way_back(plan)
            else:
                self._across(self.warm, calls)
                return self.warm
        if staged is not None:
            async with quiet() as under_way:
                await staged.shift(1.0)
                calls = under_way()
            self._across(staged, calls)
        return staged

    def _across(self, staged: Driven, calls: int) -> None:
        # Where calls are routed, each stays in the version in which it began.
        if WEIGHTS not in staged.capabilities:
            self.ledger.across(calls)

    async def _check(self, plan: UpgradePlan) -> None:
        registry, _ = await self.services.planner.registry()
        wrong = {
            step.name: registry.get_component(step.name).version
            for step in plan.steps
            if registry.get_component(step.name).version != step.to_version
        }
        if wrong:
            raise NotChangedError(
                "Went back, but " + ", ".join(f"{name} runs {version}" for name, version in wrong.items()) + ".",
                details={"running": wrong},
            )

    async def _undo(self, plan: UpgradePlan) -> list[str]:
        failures = []
        for reply in await self.services.runner.ask(
            "rollback", plan=plan, reached=Phase.DONE, context=self._context(), last_first=True
        ):
            if reply.error is not None:
                failures.append(f"{reply.plugin}: {reply.error.message}")
            elif reply.value is not None:
                self.ledger.operations += [f"{reply.plugin} undid {what}" for what in reply.value.undone]
        return failures

    async def _give_up(self, plan: UpgradePlan, error: UpgradeError, *, finished: bool) -> None:
        """Leave a finished upgrade finished when nothing has moved; what else cannot go back is stuck."""
        finish, write = self.journal.finish, self.ledger.write
        if finished and await self._stayed(plan):
            why = f"going back was refused: {error.message}"
            await write(finish, Phase.DONE, becomes=Phase.DONE, why=why, evidence=self.ledger.evidence)
        else:
            why, evidence = error.message, self.ledger.evidence
            await write(finish, Phase.STUCK, becomes=Phase.STUCK, why=why, error=error, evidence=evidence)

    async def _stayed(self, plan: UpgradePlan) -> bool:
        """Ask every component whether it still runs the version that should have been left."""
        if self.warm is not None:
            try:
                await self.warm.running()  # waits for a revert that is late: it may still land
            except UpgradeError:
                return False
        registry, _ = await self.services.planner.registry()
        known = set(registry.names)
        return all(
            step.name in known and registry.get_component(step.name).version == step.from_version for step in plan.steps
        )

    def _context(self) -> UpgradeContext:
        return self.services.context(upgrade_id=self.ledger.upgrade_id, parameters={}, mark=self.ledger.mark)


@define(kw_only=True)
class ResumedSoak:
    """Watches a version that was committed before a restart, for the time that its soak still has."""

    services: Services
    journal: Journal
    record: UpgradeRecord
    reverse: Callable[[str], Awaitable[UpgradeResult]]
    controls: Controls = field(factory=Controls)
    staged: Driven | None = None

    @property
    def upgrade_id(self) -> str:
        """Which upgrade this is."""
        return self.record.upgrade_id

    def cancel(self, reason: str) -> None:
        """Ask for the end: the old version comes back."""
        self.controls.abort(reason)

    def shown(self) -> dict[str, Any]:
        """Return where it stands, as JSON values."""
        record = self.record
        return {
            **to_wire(record),
            "status": record.phase.status,
            "started_at": record.created_at.isoformat(),
            "awaits": "",
            "weight": 1.0,
            "resumed": True,
        }

    async def run(self) -> UpgradeResult:
        """Finish the upgrade when the time is over; on harm, or when it is cancelled, go back and say why."""
        record, services = self.record, self.services
        left = (record.soak_deadline - now()).total_seconds() if record.soak_deadline else 0.0
        name = record.components[0]
        old, new = record.from_versions[name], record.to_versions[name]
        counting = services.gauge.count(old, new)
        counting.turn(to_new=True)
        try:
            conductor = Conductor(
                staged=None, judge=await services.make_judge(), measure=counting.measure, controls=self.controls
            )
            seen = await conductor.watch(Judge(until="budget", budget=max(0.0, left)))
            if self.controls.aborted:
                result = await self.reverse(f"Cancelled: {self.controls.aborted}")
                return evolve(result, status=UpgradeStatus.CANCELLED) if result.success else result
            if seen.harm:
                return await self.reverse("; ".join(seen.reasons))
            await self._check()
            await self._finish(Phase.DONE, "the soak ended well", None)
        except UpgradeError as failed:
            return await self._failed(failed)
        except Exception as failed:
            logger.exception("the soak of %s failed in a way that it cannot", record.upgrade_id)
            return await self._failed(blame_ourselves(failed))
        finally:
            counting.stop()
        message = f"{name} {old} -> {new} is done"
        services.events.emit(EventKind.UPGRADE_COMPLETED, upgrade_id=record.upgrade_id, message=message)
        return self._result(None)

    async def _check(self) -> None:
        """Ask what runs: a restart may have come back on something else."""
        registry, _ = await self.services.planner.registry()
        known = {name: registry.get_component(name).version for name in registry.names}
        wrong = {n: known.get(n, "nothing") for n, v in self.record.to_versions.items() if known.get(n) != v}
        if wrong:
            said = ", ".join(f"{name} runs {version}" for name, version in wrong.items())
            raise NotChangedError(f"The soak ended, but {said}.", details={"running": wrong})

    async def _failed(self, error: UpgradeError) -> UpgradeResult:
        """Leave it to a person: nobody knows whether the version that was committed is well."""
        with contextlib.suppress(Exception):  # it stays what it was, and a restart looks again
            await self._finish(Phase.STUCK, error.message, error)
        self.services.events.emit(
            EventKind.UPGRADE_FAILED, upgrade_id=self.upgrade_id, message=error.message, data=error.to_wire()
        )
        return self._result(error)

    async def _finish(self, phase: Phase, why: str, error: UpgradeError | None) -> None:
        await asyncio.to_thread(self.journal.finish, self.upgrade_id, phase, who="recovery", why=why, error=error)

    def _result(self, error: UpgradeError | None) -> UpgradeResult:
        record = self.record
        name = record.components[0]
        return UpgradeResult(
            request_id=record.nonces[0] if record.nonces else "",
            upgrade_id=record.upgrade_id,
            success=error is None,
            component_name=name,
            from_version=record.from_versions[name],
            to_version=record.to_versions[name],
            status=UpgradeStatus.COMPLETED if error is None else UpgradeStatus.FAILED,
            phase=Phase.DONE if error is None else Phase.STUCK,
            error=error,
            started_at=record.created_at,
            completed_at=now(),
            components=record.components,
        )
