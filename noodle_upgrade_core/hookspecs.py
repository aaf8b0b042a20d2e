"""The hooks: the page that a plugin author reads first.

Six hooks are the phases of an upgrade, in this order: `validate`, `decide`, `swap`, `recompile`, `deploy`, `rollback`.
Six are not phases: `discover` and `restore` say what runs and what should run, `assess` tells a plan how a change can
be made, `observe` is told what happens, `opened` is given the Upgrader, `operations` says what a plugin can be asked
for.

A plugin implements those that it needs, and names only the arguments that it uses:

    from noodle_upgrade_core import Finding, Severity, hookimpl

    class NoFridays:
        @hookimpl
        def validate(self, plan, stage):
            if plan.created_at.weekday() == 4:
                yield Finding(severity=Severity.ERROR, code="acme.friday", message="No upgrades on Fridays.")

and announces itself by one line in its `pyproject.toml`:

    [project.entry-points."noodle_upgrade.plugins"]
    no-fridays = "acme_fridays:NoFridays"

Every implementation may be plain or `async`. Each is called with a time limit and on its own: what it raises becomes an
answer of the phase (see each hook), never the failure of another plugin or of the host. Where order matters, a plugin
has the attributes `before` or `after`, each a tuple of plugin names; without them the order is that of the names. A
plugin that needs longer than the settings allow, to ask others say, has `time_limits = {"decide": 300.0}`, in seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pluggy
from attrs import field, frozen

from noodle_upgrade_core.model import (
    ArtifactRef,
    ComponentDescriptor,
    Finding,
    Phase,
    PlanStep,
    UpgradePlan,
    Verdict,
    Vote,
)
from noodle_upgrade_core.staged import Measurement, StagedSwap

if TYPE_CHECKING:
    from noodle_upgrade_core.drivers import Drivers
    from noodle_upgrade_core.events import Event
    from noodle_upgrade_core.upgrade import Upgrader

__all__ = [
    "PROJECT",
    "ActiveVersion",
    "Answer",
    "Host",
    "Operation",
    "Outcome",
    "Receipt",
    "Stage",
    "UpgradeContext",
    "UpgradeHooks",
    "hookimpl",
    "hookspec",
]

PROJECT = "noodle_upgrade"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Stage = Literal["before", "after"]
Answer = Any  # an implementation's answer, or an awaitable of it: typed per hook below


@frozen(kw_only=True)
class Host:
    """What a plugin is made with, when its class takes an argument: its settings, a folder of its own, the drivers.

    `settings` is an instance of the plugin's `settings` class (None when it has none). `directory` is a folder that
    the plugin may write to. `emit(kind, message=…, data=…)` tells observers.
    """

    settings: Any
    directory: Path
    store: Path
    drivers: Drivers
    emit: Callable[..., Any]
    core: Any = None


def _unmarked(what: str, data: Mapping[str, Any] | None = None) -> None:
    """Stand for the journal where there is no upgrade to write about."""


@frozen(kw_only=True)
class UpgradeContext:
    """What one upgrade gives to every hook of it.

    `store` is the folder that `ArtifactRef.tree` is relative to. `emit(kind, component_name=…, message=…, data=…)`
    tells observers, with the upgrade's id filled in. `remaining()` gives the seconds that the upgrade still has;
    `cancelled()` whether somebody wants it to stop: long work asks both now and then. `mark(what, data=…)` has the
    journal remember, with the next change of phase, what an auditor must find there: that something was forced, say.

    `conduct(rollout, judge=…, hold=…)` is for `deploy`: it carries a generator of steps out as the core's own
    deployment does, with its time limits, counts, gates and moments between requests, and returns the outcome.
    `hold(step)` is asked before each increase of traffic for a reason to wait with it, "" for none. `gate` and `probe`
    are what it uses for those steps.
    """

    upgrade_id: str
    store: Path
    drivers: Drivers
    emit: Callable[..., Any]
    remaining: Callable[[], float]
    cancelled: Callable[[], bool]
    parameters: Mapping[str, Any] = field(factory=dict)
    mark: Callable[..., None] = _unmarked
    conduct: Callable[..., Awaitable[Outcome]] | None = None
    gate: Callable[..., Awaitable[bool]] | None = None
    probe: Callable[[], Awaitable[tuple[Finding, ...]]] | None = None


@frozen(kw_only=True)
class ActiveVersion:
    """What the journal says a component runs: there is one such row per component, and no second record.

    `generation` grows with every change of the pointer, also when it goes back. `artifact` is None while the component
    still runs what the environment provides.
    """

    component_name: str
    version: str
    generation: int = 0
    artifact: ArtifactRef | None = None
    upgrade_id: str = ""
    state_digest: str = ""


@frozen(kw_only=True)
class Outcome:
    """How a deployment ended: `promoted` means that all traffic is on the new version and may be committed.

    `evidence` are the judge's last numbers, `steps` what was done in words, `reasons` why it was given up.
    """

    promoted: bool
    reasons: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(factory=dict)
    measured: Measurement | None = None


@frozen(kw_only=True)
class Operation:
    """Something that a plugin can be asked for by name, by a command or over the control API.

    `call(arguments, by)`, plain or `async`, gets JSON values and the name of who asks, and returns JSON values or
    values of the core. Its name begins with the plugin's: `deployment.status`. `changes` says whether it has an effect,
    `seconds` how long it may take, the hooks' own limit by default.
    """

    name: str
    call: Callable[[dict[str, Any], str], Any]
    changes: bool = False
    seconds: float | None = None
    help: str = ""


@frozen(kw_only=True)
class Receipt:
    """What one plugin undid."""

    undone: tuple[str, ...] = ()
    plugin: str = ""


class UpgradeHooks:
    """The hook specifications. Arguments may be added in a later minor version; none is ever taken away in one."""

    # --- not phases: what runs, and what should ------------------------------------------------------------------

    @hookspec
    def discover(self) -> Iterable[ComponentDescriptor] | Awaitable[Iterable[ComponentDescriptor]]:
        """Contribute the components that really exist now, each with the version that really runs.

        Asked when an Upgrader opens, before each plan, and at the end of an upgrade: it is how success is checked. Of
        two plugins that describe the same name the first in order is believed, and a finding says so.
        When it fails: its components are missing, and a finding says so.
        """
        raise NotImplementedError

    @hookspec
    def restore(
        self, active: tuple[ActiveVersion, ...], context: UpgradeContext
    ) -> Iterable[Finding] | Awaitable[Iterable[Finding]] | None:
        """Make this process run these versions: called once, when an Upgrader opens, before anything is discovered.

        `active` is what the journal holds after recovery. Return findings about what could not be restored.
        When it fails: an error finding; the Upgrader opens, and refuses upgrades of what is not as the journal says.
        """
        raise NotImplementedError

    @hookspec
    def assess(self, step: PlanStep, context: UpgradeContext) -> Verdict | Awaitable[Verdict | None] | None:
        """Say how this step could be carried out, without any effect on the running system.

        `step.verdict` is not feasible yet: the answer replaces it. Return None when the component is not of a kind that
        this plugin can change. The first answer in order counts; the plugin that gave it is asked to `swap`.
        When it fails: the step is not feasible, with the failure as its blocker.
        """
        raise NotImplementedError

    @hookspec
    def operations(self) -> Iterable[Operation] | Awaitable[Iterable[Operation]] | None:
        """Say what this plugin can be asked for by name, for commands and other processes.

        When it fails: the plugin cannot be asked for anything.
        """
        raise NotImplementedError

    @hookspec
    def observe(self, event: Event) -> None:
        """Take note of an event. Must be quick and must not be `async`.

        When it fails: it is logged, and nobody else notices.
        """
        raise NotImplementedError

    @hookspec
    def opened(self, upgrader: Upgrader) -> Awaitable[None] | None:
        """Begin what runs by itself: the Upgrader is open, and what a crash left behind is recovered.

        For plugins that ask for upgrades of their own accord, or watch something. `upgrader` is used on its own event
        loop; an `async` implementation runs there, and may leave tasks of its own. The plugin's `close` ends them.
        When it fails: the plugin takes part in upgrades all the same, and a finding says so.
        """
        raise NotImplementedError

    # --- the six phases ------------------------------------------------------------------------------------------

    @hookspec
    def validate(
        self, plan: UpgradePlan, stage: Stage, context: UpgradeContext
    ) -> Iterable[Finding] | Awaitable[Iterable[Finding]] | None:
        """May this plan run? At `before` nothing is staged; at `after` the new version is staged, or live.

        Every plugin answers. When it fails: an error finding in its name. Which findings stop the upgrade is for the
        request's validation level to say.
        """
        raise NotImplementedError

    @hookspec
    def decide(self, plan: UpgradePlan, context: UpgradeContext) -> Vote | Awaitable[Vote | None] | None:
        """Should it run? Return a vote, or None to stand aside.

        Every plugin is asked; the decider driver that the settings name combines the votes. When it fails: a veto.
        """
        raise NotImplementedError

    @hookspec
    def swap(
        self, steps: tuple[PlanStep, ...], plan: UpgradePlan, context: UpgradeContext
    ) -> StagedSwap | Awaitable[StagedSwap | None] | None:
        """Stage the new versions beside the old ones, with no effect that anybody could see.

        `steps` are all steps of the plan that this plugin's `assess` answered for, dependencies first: they are staged
        as one, so that they commit as one. When it fails: the upgrade is aborted, nothing was visible.
        """
        raise NotImplementedError

    @hookspec
    def recompile(
        self, plan: UpgradePlan, staged: StagedSwap, context: UpgradeContext
    ) -> Iterable[ArtifactRef] | Awaitable[Iterable[ArtifactRef]] | None:
        """Rebuild what depends on the components that change, against the staged version.

        Every plugin is asked, in order. When it fails: the upgrade is aborted, nothing was visible.
        """
        raise NotImplementedError

    @hookspec
    def deploy(
        self, plan: UpgradePlan, staged: StagedSwap, artifacts: tuple[ArtifactRef, ...], context: UpgradeContext
    ) -> Outcome | Awaitable[Outcome | None] | None:
        """Move traffic from the old version to the new one.

        The first plugin that returns an outcome has deployed; the core's own last implementation runs the strategy
        that the request names. `artifacts` are what `recompile` made. When it fails: everything is rolled back.
        """
        raise NotImplementedError

    @hookspec
    def rollback(
        self, plan: UpgradePlan, reached: Phase, context: UpgradeContext
    ) -> Receipt | Awaitable[Receipt | None] | None:
        """Undo what this plugin did for this plan, beyond the staged swap itself, which the core reverts.

        Asked of every plugin that acted, last first; `reached` is the furthest phase. Must be idempotent: after a
        crash it is asked again. When it fails: the others are asked all the same; all errors are raised in one group.
        """
        raise NotImplementedError
