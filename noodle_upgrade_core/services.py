"""What every upgrade of one Upgrader works with, and the one way to stage a plan."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen

from noodle_upgrade_core.driven import Driven, DrivenDecider, DrivenJudge, DrivenSwap
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import PluginTimeoutError, SwapRefusedError, UpgradeError
from noodle_upgrade_core.events import EventBus
from noodle_upgrade_core.hookspecs import UpgradeContext
from noodle_upgrade_core.journal.contract import Journal
from noodle_upgrade_core.model import Phase, RollbackPoint, UpgradePlan, UpgradeRequest
from noodle_upgrade_core.parameters import judge_for
from noodle_upgrade_core.phases.runner import Runner
from noodle_upgrade_core.planning import Planner
from noodle_upgrade_core.staged import StagedSwap, SwapSet
from noodle_upgrade_core.store.content import ContentStore
from noodle_upgrade_core.traffic import Gauge

__all__ = ["QUIET_SECONDS", "Services"]

QUIET_SECONDS = 0.25
"""How long new requests may be held back for those under way; a person does not notice it, and most end long before."""


@frozen(kw_only=True)
class Services:
    """The parts that an upgrade asks; made once per upgrade from the Upgrader's own.

    `write_later` takes a write to the journal that failed, and must be made before the next upgrade. `hold_late` keeps
    components from being changed until what it returns is called.
    """

    runner: Runner
    planner: Planner
    journal: Journal
    store: ContentStore
    drivers: Drivers
    events: EventBus
    gauge: Gauge
    decider: str
    judge: str
    soak_seconds: float
    soak_tries: int
    swap_timeout: float
    upgrade_timeout: float
    approval_expires: float
    strategy_defaults: Mapping[str, Mapping[str, Any]]
    rollback_points: Callable[[UpgradePlan, str], Awaitable[tuple[RollbackPoint, ...]]]
    context: Callable[..., UpgradeContext]
    write_later: Callable[[Callable[[], Any]], None]
    hold_late: Callable[[Sequence[str], str], Callable[[], None]]

    async def make_judge(self, request: UpgradeRequest | None = None) -> DrivenJudge:
        """Make the judge that the settings name, with the request's parameters for it, new for each rollout."""
        made = await self.runner.call(f"judge {self.judge}", partial(judge_for, request, self.drivers, self.judge))
        return DrivenJudge(made, self.runner, self.judge)

    async def make_decider(self) -> DrivenDecider:
        """Make the decider that the settings name."""
        made = await self.runner.call(f"decider {self.decider}", partial(self.drivers.make, "deciders", self.decider))
        return DrivenDecider(made, self.runner, self.decider)

    def quiet(self) -> contextlib.AbstractAsyncContextManager[Callable[[], int]]:
        """Give a moment in which no request is under way, as far as the gauge sees requests; see `Gauge.quiet`."""
        return self.gauge.quiet(QUIET_SECONDS)

    async def stage(self, plan: UpgradePlan, context: UpgradeContext, *, hold: Callable[[Driven], None]) -> None:
        """Ask every plugin that a step was assessed by to stage its steps, all of them by one call.

        `hold` is given what is staged so far, after each plugin, so that it can be let go of when a later one fails.
        """
        for step in plan.steps:
            for artifact in step.artifacts:
                # What is about to run here is what its digest says, also where somebody could write to the store.
                await asyncio.to_thread(self.store.verify, artifact.digest)
        parts: list[DrivenSwap] = []
        for plugin in dict.fromkeys(step.plugin for step in plan.steps):
            steps = tuple(step for step in plan.steps if step.plugin == plugin)
            limit = min(self.swap_timeout, max(0.001, context.remaining()))
            let_go = self.hold_late(plan.component_names, context.upgrade_id)
            late = partial(self._late, plugin, plan, context, let_go)
            reply = await self.runner.ask_only(
                plugin, "swap", limit=limit, late=late, steps=steps, plan=plan, context=context
            )
            if reply is None or not isinstance(reply.error, PluginTimeoutError):
                let_go()
            if reply is not None and reply.error is not None:
                raise reply.error
            if reply is None or reply.value is None:
                raise SwapRefusedError(f"The plugin {plugin!r} assessed the change, but did not stage it.")
            parts.append(DrivenSwap(reply.value, self.runner, lambda: max(0.001, context.remaining())))
            hold(parts[0] if len(parts) == 1 else SwapSet(tuple(parts)))

    async def _late(
        self,
        plugin: str,
        plan: UpgradePlan,
        context: UpgradeContext,
        let_go: Callable[[], None],
        staged: StagedSwap | None,
    ) -> None:
        """Take back what was staged after nobody waited for it any more; only then its components are free again."""
        try:
            if staged is not None:
                with contextlib.suppress(UpgradeError):  # told as an event already
                    await DrivenSwap(staged, self.runner, lambda: self.runner.time_limit).revert()
                await self.runner.ask_only(plugin, "rollback", plan=plan, reached=Phase.APPROVED, context=context)
        finally:
            let_go()
