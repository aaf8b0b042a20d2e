"""Checks of a plugin that swaps, in a world that its author gives: what a staged swap promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from attrs import evolve, frozen

from noodle_upgrade_core.errors import RollbackUnavailableError, UpgradeError
from noodle_upgrade_core.model import PlanStep, UpgradePlan
from noodle_upgrade_core.phases.runner import Runner
from noodle_upgrade_core.staged import COUNTS, WEIGHTS, StagedSwap
from noodle_upgrade_core.testing.failures import ConformanceError, insist
from noodle_upgrade_core.testing.samples import sample_context
from noodle_upgrade_core.testing.subjects import NAME, Subject

__all__ = ["Scenario", "checks_of"]


class Scenario(Protocol):
    """A small world in which the plugin can make a real change; made anew for every check.

    `plugin` is what is loaded: an instance, or a class that is made with a sample host. `plan` is a plan that it can
    carry out, with its artefacts in place. `state()` returns everything that users of the component can see, as a
    value that can be compared: it must differ between the versions.
    """

    @property
    def plugin(self) -> Any:
        """The plugin."""

    @property
    def plan(self) -> UpgradePlan:
        """The plan."""

    def state(self) -> Any:
        """What users see now."""


@frozen(kw_only=True)
class _Stage:
    """A scenario with the plugin loaded and its swap staged."""

    scenario: Scenario
    runner: Runner
    staged: StagedSwap
    before: Any
    old: Mapping[str, str]
    new: Mapping[str, str]

    async def call(self, method: str, *arguments: Any) -> Any:
        return await self.runner.call(NAME, getattr(self.staged, method), *arguments)


Rule = Callable[[_Stage], Awaitable[None]]


def checks_of(subject: Subject) -> Mapping[str, Callable[[Subject], None]]:
    """Return the checks by name; none without a scenario."""
    if subject.scenario is None:
        return {}
    return {rule.__name__: _check(rule) for rule in _RULES}


def _check(rule: Rule) -> Callable[[Subject], None]:
    def check(subject: Subject) -> None:
        if subject.scenario is None:
            return
        with subject.scenario() as scenario, subject.folder() as directory:
            loaded = subject.load(directory, scenario.plugin)
            try:
                asyncio.run(_staged(rule, scenario, Runner(loaded, time_limit=subject.time_limit), directory))
            finally:
                loaded.close()

    check.__doc__ = rule.__doc__
    return check


async def _staged(rule: Rule, scenario: Scenario, runner: Runner, directory: Any) -> None:
    try:
        before = scenario.state()
        context = sample_context(directory)
        steps = tuple([await _assessed(runner, step, context) for step in scenario.plan.steps])
        plan = evolve(scenario.plan, steps=steps)
        reply = await runner.ask_only(NAME, "swap", steps=steps, plan=plan, context=context)
        if reply is not None and reply.error is not None:
            raise reply.error
        if reply is None or reply.value is None:
            raise ConformanceError("`swap` staged nothing for the scenario's plan.")
        stage = _Stage(
            scenario=scenario,
            runner=runner,
            staged=reply.value,
            before=before,
            old={step.name: step.from_version for step in steps},
            new={step.name: step.to_version for step in steps},
        )
        await rule(stage)
    except UpgradeError as error:
        raise ConformanceError(str(error)) from error
    finally:
        await runner.close()


async def _assessed(runner: Runner, step: PlanStep, context: Any) -> PlanStep:
    """Return the step with the plugin's own verdict, as a plan would have it."""
    reply = await runner.ask_only(NAME, "assess", step=step, context=context)
    if reply is None or reply.value is None:
        return evolve(step, plugin=NAME)
    return evolve(step, plugin=NAME, verdict=reply.value)


def _same(before: Any, now: Any, when: str) -> None:
    insist(now == before, f"what users see is not as before {when}: {now!r}"[:500] + f"; before: {before!r}"[:500])


# --- the rules ---------------------------------------------------------------------------------------------------


async def staging_is_invisible(stage: _Stage) -> None:
    """Nothing can be seen before the first shift, and going back then leaves nothing behind."""
    _same(stage.before, stage.scenario.state(), "after staging")
    await stage.call("revert")
    _same(stage.before, stage.scenario.state(), "after staging and reverting")


async def swap_then_revert_restores(stage: _Stage) -> None:
    """All traffic on the new version can be seen; going back restores everything."""
    await stage.call("shift", 1.0)
    insist(stage.scenario.state() != stage.before, "shift(1.0) changed nothing that users see.")
    await stage.call("revert")
    _same(stage.before, stage.scenario.state(), "after revert")


async def revert_is_idempotent(stage: _Stage) -> None:
    """Going back twice is going back once."""
    await stage.call("shift", 1.0)
    for _ in range(3):
        await stage.call("revert")
    _same(stage.before, stage.scenario.state(), "after three reverts")


async def shift_back_restores(stage: _Stage) -> None:
    """All traffic back on the old version is how it was; it can be moved again."""
    for _ in range(2):
        await stage.call("shift", 1.0)
        await stage.call("shift", 0.0)
        _same(stage.before, stage.scenario.state(), "after shift(0.0)")
    await stage.call("revert")


async def commit_keeps_the_new_version(stage: _Stage) -> None:
    """Committing changes nothing that users see any more; going back afterwards restores, or says that it cannot."""
    await stage.call("shift", 1.0)
    shifted = stage.scenario.state()
    await stage.call("commit")
    _same(shifted, stage.scenario.state(), "the commit, after it")
    try:
        await stage.call("revert")
    except RollbackUnavailableError:
        _same(shifted, stage.scenario.state(), "a revert that was refused")
    else:
        _same(stage.before, stage.scenario.state(), "after commit and revert")


async def says_what_runs(stage: _Stage) -> None:
    """`running()` tells the versions that really run, at every moment."""
    for method, arguments, expected in (
        ("running", (), stage.old),
        ("shift", (1.0,), stage.new),
        ("commit", (), stage.new),
    ):
        await stage.call(method, *arguments)
        running = await stage.call("running")
        insist(running == expected, f"after {method} `running()` says {running!r}, not {dict(expected)!r}.")


async def keeps_to_its_capabilities(stage: _Stage) -> None:
    """With `weights` it takes any share, with `counts` it measures, and it claims nothing else."""
    capabilities = stage.staged.capabilities
    known = {"weights", "shadow", "members", "counts"}
    insist(set(capabilities) <= known, f"it claims {sorted(set(capabilities) - known)}, which is no capability.")
    if WEIGHTS in capabilities:
        for weight in (0.1, 0.5, 0.0, 1.0):
            await stage.call("shift", weight)
    await stage.call("shift", 1.0)
    measured = await stage.call("measure")
    insist((measured is not None) or COUNTS not in capabilities, "with `counts` `measure()` returned None.")
    await stage.call("revert")
    _same(stage.before, stage.scenario.state(), "after shares and revert")


_RULES: tuple[Rule, ...] = (
    staging_is_invisible,
    swap_then_revert_restores,
    revert_is_idempotent,
    shift_back_restores,
    commit_keeps_the_new_version,
    says_what_runs,
    keeps_to_its_capabilities,
)
