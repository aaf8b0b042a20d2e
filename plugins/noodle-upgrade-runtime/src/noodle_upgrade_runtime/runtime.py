"""What the runtime plugin does: from a step of a plan to a staged swap, and the active versions at a start."""

from __future__ import annotations

import collections
import difflib
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve
from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import SwapRefusedError, UpgradeBusyError, UpgradeError
from noodle_upgrade_core.events import EventKind
from noodle_upgrade_core.hookspecs import ActiveVersion, Host, Receipt, Stage, UpgradeContext
from noodle_upgrade_core.model import (
    ComponentDescriptor,
    Finding,
    PlanStep,
    Severity,
    UpgradePlan,
    Verdict,
)
from noodle_upgrade_core.store import ContentStore
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_runtime.departures import Leaving
from noodle_upgrade_runtime.discovery import Discovery, Ledger
from noodle_upgrade_runtime.drain import Drain
from noodle_upgrade_runtime.engine import Change, Engine
from noodle_upgrade_runtime.handles import process_handles
from noodle_upgrade_runtime.handover import Quiet
from noodle_upgrade_runtime.health import check_health
from noodle_upgrade_runtime.integration import RuntimeUpgradeIntegration
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.overlay import Overlay
from noodle_upgrade_runtime.quiescence import NOBODY, stayers
from noodle_upgrade_runtime.rehearsal import Rehearsals
from noodle_upgrade_runtime.settings import RuntimeSettings
from noodle_upgrade_runtime.swap import RuntimeSwap
from noodle_upgrade_runtime.trees import declared

__all__ = ["Runtime"]

_MECHANISM = "runtime.mechanism"
_PARAMETERS = frozenset({_MECHANISM, "runtime.instances"})
_MOST_PATIENCE_SECONDS = 10.0
"""How long a plan may take to find out who never leaves."""
_LET_GO = "Let go of these instances first, call the component through a handle, or restart on the new version."
_LEAST_WATCH_SECONDS = 1.0
_MOST_WATCH_SECONDS = 3600.0


class Runtime:
    """The code of this process as something that can be changed: one per Upgrader."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._settings: RuntimeSettings = host.settings if host.settings is not None else RuntimeSettings()
        self._overlay = Overlay(host.store)
        self._ledger: Ledger = {}
        self._discovery = Discovery(
            settings=self._settings,
            overlay=self._overlay,
            ledger=self._ledger,
            critical=frozenset(getattr(host.core, "critical_components", ())),
        )
        self._rehearsals = Rehearsals(host.directory / "rehearsals")
        self._staged: dict[str, list[RuntimeSwap]] = {}
        self._warm: dict[str, RuntimeSwap] = {}
        self._pointers: dict[str, str] = {}
        self._under_way: set[str] = set()
        self._integration: RuntimeUpgradeIntegration | None = None
        self.drains: list[Drain] = []
        self._handles = process_handles()
        self._handles.locate = self._locate

    async def begin(self, upgrader: Upgrader) -> None:
        """Take part by itself where the settings want that: see `RuntimeUpgradeIntegration`."""
        if self._settings.upgrade_integration.enabled:
            self._integration = RuntimeUpgradeIntegration(upgrader, settings=self._settings)
            await self._integration.initialize()

    def close(self) -> None:
        """Find components for handles no more, and watch no old version any more."""
        if self._integration is not None:
            self._integration.stop()
        for drain in self.drains:
            drain.stop()
        self._handles.locate = _nowhere

    # --- what there is -------------------------------------------------------------------------------------------

    def components(self) -> tuple[ComponentDescriptor, ...]:
        """Return the components that are loaded."""
        return self._discovery.components()

    def _find(self, name: str) -> ComponentDescriptor | None:
        key = canonicalize_name(name)
        return next((c for c in self.components() if canonicalize_name(c.name) == key), None)

    def _component(self, step: PlanStep) -> ComponentDescriptor | None:
        """Return the component of a step: one that is loaded here, or that another plugin describes for an engine."""
        return self._find(step.name) or (step.component if _owned_by(step.component) else None)

    def _locate(self, name: str) -> tuple[Path, str, str] | None:
        """Find a component of the components directory: its folder in the store, its version and its entry point."""
        source = self._host.drivers.make(
            "sources",
            "directory",
            store=ContentStore(self._host.store),
            registry_path=getattr(getattr(self._host.core, "components", None), "registry_path", "runtime_components"),
        )
        component = ComponentDescriptor(name=name, version="0")
        key = canonicalize_name(name)
        # What was active before the restart runs again, also when something newer has been put beside it since.
        active = self._overlay.versions.get(key) or self._pointers.get(key)
        listed = source.versions(component)
        artifact = source.fetch(component, active) if active is not None else None
        if artifact is None and listed:
            artifact = source.fetch(component, listed[-1])
        if artifact is None:
            return None
        tree = self._overlay.tree_of(name) or self._host.store / artifact.tree
        return tree, artifact.version, str(artifact.metadata.get("entry_point", ""))

    # --- how a step could be carried out -------------------------------------------------------------------------

    def assess(self, step: PlanStep, context: UpgradeContext, *, rehearse: bool = True) -> Verdict | None:
        """Choose an engine and ask it; then try the change in an interpreter of its own."""
        component = self._component(step)
        if component is None:
            return None
        if blockers := [*self._switched_off(), *_fixed(component), *_unknown(context.parameters)]:
            return Verdict(feasible=False, mechanism="none", blockers=tuple(blockers))
        name, why = self._choose(component, context.parameters)
        try:
            engine: Engine = context.drivers.make("engines", name)
        except UpgradeError as error:
            return Verdict(feasible=False, mechanism=name, blockers=(str(error),))
        change = self._change(step, component, context)
        verdict = engine.assess(change)
        verdict = evolve(verdict, engine=name, reasons=(why, *verdict.reasons))
        if verdict.feasible and _is_imported(engine):
            verdict = self._outlasting(verdict, change)
        if not verdict.feasible or not self._settings.rehearsal or not rehearse or _owned_by(component):
            return verdict
        limit = min(self._stage_limit(), context.remaining())
        rehearsed = self._rehearsals.judge(verdict, change, engine=engine, digests=_digests(step), limit=limit)
        return _reviewed(rehearsed, engine, change)

    def _outlasting(self, verdict: Verdict, change: Change) -> Verdict:
        """Say who is inside for longer than the change will wait: it is waited for here as it is there."""
        if not self._settings.upgrade_integration.enable_runtime_coordination:
            return verdict
        within = self._settings.quiesce
        patience = min(within, _MOST_PATIENCE_SECONDS)
        places = collections.Counter(str(one) for one in stayers(change.names, within=patience))
        inside = [
            f"{place} has not left it for {patience:g} s" + (f", nor have {count - 1} more there" if count > 1 else "")
            for place, count in places.items()
        ]
        if self._settings.on_busy == "force" or within > patience:
            return evolve(verdict, warnings=(*verdict.warnings, *inside))
        if not inside:
            return verdict
        hint = (
            "Upgrade when that call has ended. Where it never ends, restart the program on the new version,"
            " or set `runtime.on_busy` to `force` in the settings."
        )
        return evolve(verdict, feasible=False, blockers=(*verdict.blockers, *inside), hint=hint)

    def _choose(self, component: ComponentDescriptor, parameters: Mapping[str, Any]) -> tuple[str, str]:
        asked = parameters.get(_MECHANISM)
        if asked:
            return str(asked), f"{asked} was asked for"
        if owner := _owned_by(component):
            return owner, f"its plugin has it changed by the engine {owner}"
        if self._handles.of(component.name):
            return "generation", "the program calls it through handles"
        return "patch", "the program imports it directly, so that it changes in place"

    def _switched_off(self) -> list[str]:
        found = []
        hot_swap = getattr(self._host.core, "hot_swap", None)
        if hot_swap is not None and not hot_swap.enabled:
            found.append("runtime_upgrade.hot_swap.enabled is false (NOODLE_HOT_SWAP_ENABLED)")
        if not self._settings.upgrade_integration.enabled:
            found.append("runtime.upgrade_integration.enabled is false (NOODLE_RUNTIME_UPGRADE_INTEGRATION)")
        return found

    def _change(self, step: PlanStep, component: ComponentDescriptor, context: UpgradeContext) -> Change:
        tops = {*component.metadata.get("top_levels", ()), *step.artifact.top_levels}
        names = {*_import_names(component.metadata), *_import_names(step.artifact.metadata)}
        if names:
            names |= _whole(component.metadata, component.metadata.get("top_levels", ()))
            names |= _whole(step.artifact.metadata, step.artifact.top_levels)
        root = component.metadata.get("root")
        old = self._overlay.tree_of(step.name) or (Path(root) if root else None)
        trees = {version: context.store / a.tree for version, a in zip(step.path[1:], step.artifacts, strict=False)}
        return Change(
            component=evolve(step.component, entry_point=component.entry_point or step.component.entry_point),
            from_version=step.from_version,
            to_version=step.to_version,
            top_levels=tuple(sorted(tops)),
            new_tree=context.store / step.artifact.tree,
            old_tree=old,
            path=step.path,
            trees=trees,
            parameters=context.parameters,
            import_names=tuple(sorted(names)),
        )

    # --- whether it may run --------------------------------------------------------------------------------------

    def validate(self, plan: UpgradePlan, stage: Stage, context: UpgradeContext) -> Iterable[Finding]:
        """Yield what is to be said of the steps that an engine here carries out."""
        known = {canonicalize_name(c.name): c for c in self.components()}
        for step in plan.steps:
            component = known.get(canonicalize_name(step.name)) or self._component(step)
            if component is None or not step.verdict.engine:
                continue
            if stage == "before":
                yield from self._before(step, component)
            else:
                yield from self._after(step, component, context)

    def _before(self, step: PlanStep, component: ComponentDescriptor) -> Iterable[Finding]:
        for name, owner in self._foreign(step, component):
            yield Finding(
                severity=Severity.ERROR,
                code="artifact.foreign",
                subject=step.name,
                message=f"{step.name} {step.to_version} brings the package {name}, which belongs to {owner}:"
                " after a restart it would take its place.",
                hint="Take another build of that version, without it.",
            )
        for reason in self._switched_off():
            yield Finding(
                severity=Severity.ERROR,
                code="hot_swap.disabled",
                subject=step.name,
                message=f"Code may not be changed here: {reason}.",
                hint="Switch it on, and start again.",
            )
        if component.critical:
            yield Finding(
                severity=Severity.WARNING,
                code="component.critical",
                subject=step.name,
                message=f"{step.name} is critical for this program.",
                hint="Upgrade it at validation level normal or permissive when you are sure.",
            )

    def _foreign(self, step: PlanStep, component: ComponentDescriptor) -> Iterable[tuple[str, str]]:
        """Yield the packages that a new version brings, the running one did not, and another distribution has."""
        if not step.artifacts:
            return
        shared = set(step.artifact.metadata.get("namespaces", ()))
        fresh = set(step.artifact.top_levels) - shared - set(component.metadata.get("top_levels", ()))
        for other in self._discovery.distributions.along() if fresh else ():
            if canonicalize_name(other.name) != canonicalize_name(step.name):
                for name in sorted(fresh.intersection(other.top_levels)):
                    yield name, other.name

    def _after(self, step: PlanStep, component: ComponentDescriptor, context: UpgradeContext) -> Iterable[Finding]:
        """Ask the new version, which is staged and may have no traffic yet."""
        told = declared(context.store / step.artifact.tree) if step.artifacts else {}
        check = str(told.get("health_check") or component.health_check)
        if check:
            staged = self._staged.get(context.upgrade_id, ())
            spaces = [space for swap in staged if (space := swap.space_of(step.name)) is not None]
            yield from check_health(check, step, spaces[-1] if spaces else None)

    # --- staging -------------------------------------------------------------------------------------------------

    def stage(self, steps: tuple[PlanStep, ...], context: UpgradeContext) -> RuntimeSwap | None:
        """Stage all steps beside what runs, each with its engine, as one swap."""
        if off := self._switched_off():
            raise SwapRefusedError(f"Code may not be changed here: {'; '.join(off)}.", details={"blockers": off})
        if not steps:
            return None
        self._check_room(context.upgrade_id)
        # A little less than what the core allows: a swap that is ready after it has given up would never be let go of.
        until = time.monotonic() + 0.95 * min(self._stage_limit(), max(0.0, context.remaining()))
        groups: dict[str, list[tuple[PlanStep, Change]]] = {}
        for step in steps:
            component = self._find(step.name) or step.component
            groups.setdefault(step.verdict.engine, []).append((step, self._change(step, component, context)))
        parts: list[Any] = []
        imported: list[Change] = []
        quiet = suspended = NOBODY
        try:
            for name, group in groups.items():
                engine: Engine = context.drivers.make("engines", name)
                changes = tuple(change for _, change in group)
                part = engine.stage(changes, cancelled=lambda: context.cancelled() or time.monotonic() > until)
                parts.append(part)
                imported += changes if _is_imported(engine) else ()
                quiet |= getattr(part, "quiet_names", [root for change in changes for root in change.names])
                suspended |= getattr(part, "stateful_names", NOBODY)
        except BaseException:
            for part in parts:
                _discard(part)
            raise
        swap = self._swap(parts, groups, imported, (quiet, suspended), context)
        self._staged.setdefault(context.upgrade_id, []).append(swap)
        self._under_way.add(context.upgrade_id)
        return swap

    def _check_room(self, upgrade_id: str) -> None:
        most = self._settings.upgrade_integration.max_concurrent_upgrades
        others = self._under_way - {upgrade_id}
        if len(others) >= most:
            raise UpgradeBusyError(
                f"{len(others)} upgrades of this program's code run already, and no more may at once.",
                hint="Wait, or raise runtime.upgrade_integration.max_concurrent_upgrades.",
                details={"busy": sorted(others)},
            )

    def _swap(
        self,
        parts: list[Any],
        groups: Mapping[str, list[tuple[PlanStep, Change]]],
        imported: Sequence[Change],
        quiet: tuple[Names, Names],
        context: UpgradeContext,
    ) -> RuntimeSwap:
        integration = self._settings.upgrade_integration
        coordinated = integration.enable_runtime_coordination
        steps = [pair for group in groups.values() for pair in group]
        # After these plain imports must find the new version.
        placed = [(change.component.name, change.new_tree) for change in imported]

        def overlaid(operations: list[Operation]) -> list[Operation]:
            there = {str(argument) for one in operations if one.subject == "sys.path" for argument in one.do[1:]}
            return [
                op for name, tree in placed for op in self._overlay.operations(name, tree, placed=str(tree) in there)
            ]

        return RuntimeSwap(
            parts,
            versions={step.name: (step.from_version, step.to_version) for step, _ in steps},
            quiet=Quiet(
                names=quiet[0] if coordinated else NOBODY,
                suspended=quiet[1] if coordinated else NOBODY,
                within=self._settings.quiesce,
                force=self._settings.on_busy == "force",
                forced=partial(_forced, context, "changed while calls were inside"),
            ),
            leaving=self._leaving(context),
            ledger=self._ledger,
            counting=integration.enable_performance_monitoring,
            extra=overlaid,
            committed=self._supersede,
            revert_seconds=self._settings.coordination.rollback_timeout,
            noted=partial(_noted, context),
        )

    def _leaving(self, context: UpgradeContext) -> Leaving | None:
        settings = self._settings
        if settings.on_drain_timeout == "extend":
            return None
        return Leaving(
            within=settings.drain_timeout,
            force=settings.on_drain_timeout == "force",
            forced=partial(_forced, context, "committed while calls were inside the old version"),
        )

    def _stage_limit(self) -> float:
        hot_swap = getattr(self._host.core, "hot_swap", None)
        allowed = self._settings.coordination.upgrade_timeout
        return min(float(getattr(hot_swap, "swap_timeout", 30.0)), allowed)

    # --- letting go ----------------------------------------------------------------------------------------------

    def _supersede(self, swap: RuntimeSwap) -> None:
        """The version before the one before is not needed any more."""
        self._under_way -= {key for key, swaps in self._staged.items() if swap in swaps}
        older = {id(old): old for name in swap.components if (old := self._warm.get(name)) not in (None, swap)}
        for old in older.values():
            self._let_go(old)
        self._warm.update(dict.fromkeys(swap.components, swap))
        staged = {key: [one for one in swaps if not one.released] for key, swaps in self._staged.items()}
        self._staged = {key: swaps for key, swaps in staged.items() if swaps}

    def _let_go(self, swap: RuntimeSwap) -> None:
        """Release a swap, and see to it that whoever keeps its unused version is named in the end."""
        drains = swap.release()
        self.drains = [*(drain for drain in self.drains if not drain.finished), *drains]
        if drains:
            watch = partial(self._watch, drains, ", ".join(swap.components))
            threading.Thread(target=watch, name="noodle drain", daemon=True).start()

    def _watch(self, drains: tuple[Drain, ...], names: str) -> None:
        told: list[str] = []
        pause = max(self._settings.drain_timeout, _LEAST_WATCH_SECONDS)
        until = time.monotonic() + self._settings.drain_timeout
        while not all(drain.wait(max(0.0, until - time.monotonic())) for drain in drains):
            held = [str(one) for drain in drains for one in drain.holders()]
            if not told or held != told:
                self._host.emit(
                    EventKind.DRAINING,
                    component_name=names,
                    message=f"an old version of {names} is still in use: {'; '.join(held) or 'by something unseen'}",
                    data={"blockers": held},
                )
            told = held or ["something unseen"]
            # Nobody is in a hurry: the next look is twice as far away, and says only what has changed.
            pause = min(2 * pause, _MOST_WATCH_SECONDS)
            until = time.monotonic() + pause

    def drop(self, upgrade_id: str) -> Receipt | None:
        """Let go of what was staged for an upgrade and does not serve."""
        undone = []
        self._under_way.discard(upgrade_id)
        for swap in self._staged.pop(upgrade_id, []):
            if not swap.serving:
                self._let_go(swap)
                undone.append(f"let go of {', '.join(f'{n} {new}' for n, (_, new) in swap.versions.items())}")
        return Receipt(undone=tuple(undone)) if undone else None

    # --- at a start ----------------------------------------------------------------------------------------------

    def restore(self, active: tuple[ActiveVersion, ...], context: UpgradeContext) -> Iterable[Finding]:
        """Put the active versions where imports find them, and change live what was imported before."""
        self._pointers = {canonicalize_name(one.component_name): one.version for one in active}
        ours = [one for one in active if one.artifact is not None]
        before = [one for one in ours if self._is_loaded(one)]
        yield from self._overlay.activate(one for one in ours if one not in before)
        for one in before:
            yield from self._restore_loaded(one, context)

    def _is_loaded(self, one: ActiveVersion) -> bool:
        if self._owner_of(one):
            return True
        tops = one.artifact.top_levels if one.artifact is not None else ()
        return any(top in sys.modules for top in tops) or bool(self._handles.of(one.component_name))

    def _owner_of(self, one: ActiveVersion) -> str:
        """Return the engine that an active version says that it is changed by, "" for none."""
        if one.artifact is None:
            return ""
        told = declared(self._host.store / one.artifact.tree).get("metadata")
        return str(told.get("engine", "")) if isinstance(told, dict) else ""

    def _owned(self, one: ActiveVersion, context: UpgradeContext) -> ComponentDescriptor | None:
        """Describe a component that an engine of another plugin changes: that plugin has not been asked yet."""
        owner = self._owner_of(one)
        if not owner:
            return None
        engine = context.drivers.make("engines", owner)
        version = engine.running(one.component_name) if hasattr(engine, "running") else None
        if version is None:
            return None
        return ComponentDescriptor(
            name=one.component_name, version=version, hot_swappable=True, metadata={"engine": owner}
        )

    def _restore_loaded(self, one: ActiveVersion, context: UpgradeContext) -> Iterable[Finding]:
        component = self._find(one.component_name) or self._owned(one, context)
        if component is None or one.artifact is None:
            return
        if component.version == one.version:
            if str(context.store / one.artifact.tree) in sys.path:
                yield from self._overlay.activate([one])
            return
        step = PlanStep(
            component=component,
            from_version=component.version,
            to_version=one.version,
            path=(component.version, one.version),
            artifacts=(one.artifact,),
            verdict=Verdict(feasible=False, mechanism="none"),
        )
        try:
            # It ran here before the restart: what a rehearsal would find was found then.
            verdict = self.assess(step, context, rehearse=False)
            if verdict is None or not verdict.feasible:
                raise SwapRefusedError("; ".join(verdict.blockers) if verdict else "no engine knows it")
            swap = self.stage((evolve(step, verdict=verdict),), context)
            if swap is not None:
                swap.shift(1.0)
                swap.commit()
        except UpgradeError as error:
            yield Finding(
                severity=Severity.ERROR,
                code="restore.loaded",
                subject=one.component_name,
                message=f"{one.component_name} {component.version} was imported before the Upgrader opened, and could"
                f" not be changed to {one.version}: {error.message}",
                hint="Open the Upgrader before the program imports it: `noodle run` does.",
            )


def _forced(context: UpgradeContext, what: str, inside: Sequence[str]) -> None:
    """Tell of what was done against the rules, now and in the journal."""
    context.emit("upgrade.forced", message=f"{what}: {'; '.join(inside)}", data={"blockers": list(inside)})
    context.mark(f"forced: {what}", {"blockers": list(inside)})


def _noted(context: UpgradeContext, what: Sequence[str]) -> None:
    """Tell of what going back could not make whole."""
    context.emit("upgrade.left_over", message="; ".join(what), data={"what": list(what)})
    context.mark("left over after going back", {"what": list(what)})


def _reviewed(verdict: Verdict, engine: Engine, change: Change) -> Verdict:
    """Ask an engine that can what a rehearsal could not see: what lives in this process."""
    review = getattr(engine, "review", None)
    if review is None or not verdict.feasible:
        return verdict
    blockers = review(change, verdict.evidence)
    notes = engine.notes(change, verdict.evidence) if hasattr(engine, "notes") else ()
    return evolve(
        verdict,
        feasible=not blockers,
        blockers=(*verdict.blockers, *blockers),
        warnings=(*verdict.warnings, *notes),
        hint=_LET_GO if blockers else verdict.hint,
    )


def _import_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names with dots of a version that lies in namespaces; none for one that has its packages to itself."""
    return tuple(metadata.get("import_names", ()))


def _whole(metadata: Mapping[str, Any], top_levels: Iterable[str]) -> set[str]:
    """Return the top levels of a version that it has to itself."""
    return set(top_levels) if not _import_names(metadata) else set()


def _nowhere(_name: str) -> None:
    return None


def _fixed(component: ComponentDescriptor) -> list[str]:
    if component.hot_swappable:
        return []
    return [
        f"{component.name} cannot be changed while it runs: {component.metadata.get('reason', 'it says so itself')}"
    ]


def _unknown(parameters: Mapping[str, Any]) -> list[str]:
    """Parameters for this plugin that it does not have: most likely a slip of the pen, never to be passed over."""
    ours = [name for name in parameters if name.startswith("runtime.")]
    wrong = []
    for name in ours:
        if name not in _PARAMETERS:
            meant = difflib.get_close_matches(name, _PARAMETERS, n=1)
            wrong.append(f"there is no parameter {name}: did you mean {(meant or sorted(_PARAMETERS))[0]}?")
    if parameters.get("runtime.instances", "keep") not in {"keep", "strict"}:
        wrong.append(f"runtime.instances can be keep or strict, not {parameters['runtime.instances']!r}")
    return wrong


def _digests(step: PlanStep) -> tuple[str, ...]:
    return (f"{step.name} {step.from_version}", *(artifact.digest for artifact in step.artifacts))


def _owned_by(component: ComponentDescriptor) -> str:
    """Return the engine that another plugin, which describes a component, wants it changed by; "" for none."""
    return str(component.metadata.get("engine", ""))


def _is_imported(engine: Engine) -> bool:
    """Whether the program imports what an engine changes, rather than reaching it through something of the engine's."""
    return bool(getattr(engine, "is_imported", True))


def _discard(part: Any) -> None:
    discard = getattr(part, "discard", None) or part.release
    discard()
