"""From requests to a plan: what would happen, in which order, how, and what cannot be done. Nothing is changed here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from attrs import evolve, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from noodle_upgrade_core import versions
from noodle_upgrade_core.config.sections import RuntimeUpgradeSettings
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import (
    InvalidRequestError,
    SwapRefusedError,
    UpgradeError,
    VersionMismatchError,
    VersionRunningError,
    VersionUnknownError,
)
from noodle_upgrade_core.hookspecs import Stage, UpgradeContext
from noodle_upgrade_core.model import (
    ComponentDescriptor,
    Dependency,
    FeasibilityResult,
    Finding,
    PlanCost,
    PlanStep,
    Severity,
    UpgradePlan,
    UpgradeRequest,
    Verdict,
)
from noodle_upgrade_core.parameters import judge_for, strategy_for
from noodle_upgrade_core.phases.runner import Reply, Runner
from noodle_upgrade_core.plugins.loading import PluginSet
from noodle_upgrade_core.registry import Registry, installed_version
from noodle_upgrade_core.sources.chain import Sources, names_file
from noodle_upgrade_core.staged import WEIGHTS
from noodle_upgrade_core.traffic import CALLS_ACROSS

__all__ = ["Planner", "absent", "finding_of"]


def finding_of(error: UpgradeError, *, subject: str = "", source: str = "") -> Finding:
    """Return an error as a finding that stops."""
    return Finding(
        severity=Severity.ERROR,
        code=error.code,
        message=error.message,
        subject=subject,
        hint=error.hint,
        source=source,
    )


def absent(plugins: PluginSet) -> tuple[Finding, ...]:
    """Say which plugins should take part and do not: each of them might have objected, so nothing goes past it."""
    without = "Nothing is upgraded without it, unless runtime_upgrade.plugins.disabled leaves it out on purpose."
    return tuple(
        evolve(
            finding_of(failure.error, source=failure.info.name),
            message=f"The plugin {failure.info.name!r} takes no part: {failure.error.message}",
            hint=f"{failure.error.hint} {without}".lstrip(),
        )
        for failure in plugins.failures
    )


@frozen(kw_only=True)
class Planner:
    """Makes plans from what runs now (`discover`), what could run (`sources`) and who can change it (`assess`)."""

    runner: Runner
    sources: Sources
    drivers: Drivers
    settings: RuntimeUpgradeSettings
    judge: str
    registered: Callable[[], Mapping[str, ComponentDescriptor]]
    context: Callable[[UpgradeRequest], UpgradeContext]
    slow_calls: Callable[[], Awaitable[int]]

    async def registry(self) -> tuple[Registry, tuple[Finding, ...]]:
        """Ask every plugin what runs now; a plugin that fails is a finding.

        What a plugin found to run is believed of the version, and what was registered by hand of everything else.
        Without auto-discovery only registered components are listed.
        """
        replies = await self.runner.ask("discover")
        findings = [finding_of(reply.error, source=reply.plugin) for reply in replies if reply.error is not None]
        found = [component for reply in replies for component in (reply.value or ())]
        by_hand = self.registered()
        listed = [
            evolve(by_hand[one.name], version=one.version) if one.name in by_hand else one
            for one in found
            if self.settings.components.auto_discovery or one.name in by_hand
        ]
        critical = {canonicalize_name(name) for name in self.settings.critical_components}
        registry = Registry.of(
            [evolve(one, critical=True) if canonicalize_name(one.name) in critical else one for one in listed]
        )
        return registry, (*findings, *registry.findings)

    def _order(self, registry: Registry, names: Sequence[str]) -> list[str]:
        """Return the names, dependencies first where the settings want that."""
        if not self.settings.components.dependency_resolution:
            return list(names)
        return [name for name in registry.resolve_dependencies(names) if name in names]

    def _broken(self, registry: Registry, targets: Mapping[str, str]) -> tuple[Finding, ...]:
        return registry.check(targets) if self.settings.components.dependency_resolution else ()

    async def feasibility(self, request: UpgradeRequest) -> FeasibilityResult:
        """Say whether there is a way to the target, without fetching or staging anything."""
        try:
            registry, _ = await self.registry()
            component, target = await self._target(registry, request)
            if not names_file(request.target_version):
                await asyncio.to_thread(self.sources.confirm, component, target)
            path = await self._path(component, target)
            order = self._order(registry, [component.name])
        except UpgradeError as error:
            return FeasibilityResult(
                feasible=False, reasons=(error.hint,) if error.hint else (), blockers=(str(error),)
            )
        broken = [f.message for f in self._broken(registry, {component.name: target}) if f.severity is Severity.ERROR]
        reasons = [f"{component.name} {component.version} runs; {' -> '.join(path)} is open"]
        reasons += [f"needs {name}" for name in order if name != component.name]
        return FeasibilityResult(feasible=not broken, reasons=tuple(reasons), blockers=tuple(broken), path=path)

    async def plan(self, requests: Sequence[UpgradeRequest]) -> UpgradePlan:
        """Return the whole plan; what cannot be planned (no such component, version, way) raises its typed error."""
        _same_gate(requests)
        # A strategy that is not there, or a parameter that it does not have, is known before anything is fetched.
        await self.runner.call(f"strategy {requests[0].strategy}", strategy_for, requests[0], self.drivers, {})
        await self.runner.call(f"judge {self.judge}", judge_for, requests[0], self.drivers, self.judge)
        registry, findings = await self.registry()
        wanted = {}
        for request in requests:
            component, target = await self._target(registry, request)
            if component.name in wanted:
                raise InvalidRequestError(f"{component.name} is asked for twice in one set.")
            wanted[component.name] = (request, component, target)
        made = {name: await self._step_or_reason(*asked) for name, asked in wanted.items()}
        order = self._order(_afterwards(registry, list(made.values())), list(wanted))
        targets = {name: wanted[name][2] for name in order}
        steps = [await self._assess(made[name], wanted[name][0]) for name in order]
        plan = UpgradePlan(
            requests=tuple(wanted[name][0] for name in order),
            steps=tuple(steps),
            findings=(
                *absent(self.runner.plugin_set),
                *[f for f in findings if f.subject in wanted or f.severity is Severity.ERROR],
                *self._broken(registry, targets),
                *_requirements(steps, registry, targets),
                *_strategy_notes(steps, requests[0]),
                *await self._slow_calls(steps),
            ),
            cost=PlanCost(
                seconds=sum(step.verdict.expected_seconds for step in steps),
                pause_seconds=sum(step.verdict.pause_seconds for step in steps),
                download_bytes=sum(artifact.size for step in steps for artifact in step.artifacts),
            ),
            dependents=tuple(dict.fromkeys(d for name in order for d in registry.dependents(name) if d not in wanted)),
        )
        found = await self.validate(plan, "before", self.context(requests[0]))
        return evolve(plan, findings=(*plan.findings, *found))

    async def validate(self, plan: UpgradePlan, stage: Stage, context: UpgradeContext) -> tuple[Finding, ...]:
        """Ask every plugin; one that fails is an error finding in its name.

        Each stage can be switched off by the settings: nobody is asked then.
        """
        asked = self.settings.validation
        if not (asked.pre_upgrade_checks if stage == "before" else asked.post_upgrade_validation):
            return ()
        replies = await self.runner.ask("validate", plan=plan, stage=stage, context=context)
        return tuple(finding for reply in replies for finding in _findings(reply))

    async def _target(self, registry: Registry, request: UpgradeRequest) -> tuple[ComponentDescriptor, str]:
        component = registry.get_component(request.component_name)
        if request.current_version is not None and versions.compare(request.current_version, component.version) != 0:
            raise VersionMismatchError(
                f"{component.name} runs {component.version}, the request says {request.current_version}.",
                hint="Look at `noodle components`, then ask again.",
                details={"running": component.version, "requested": request.current_version},
            )
        target = await asyncio.to_thread(self.sources.resolve, component, request.target_version)
        if versions.compare(component.version, target) == 0:
            raise VersionRunningError(
                f"{component.name} runs {component.version} already.",
                hint="Nothing has to be done for it: leave it out, or name another version.",
                details={"component_name": component.name, "running": component.version, "target": target},
            )
        versions.validate_constraints(target, request.constraints)
        return component, target

    async def _path(self, component: ComponentDescriptor, target: str) -> tuple[str, ...]:
        # Sources list only what they can list cheaply; the target was resolved, so it exists.
        listed = await asyncio.to_thread(self.sources.versions, component)
        return versions.get_upgrade_path(
            component.version,
            target,
            tuple(dict.fromkeys((*listed, *component.upgrade_path, component.version, target))),
            must_pass=component.upgrade_path,
            matrix=component.compatibility_matrix,
        )

    async def _step_or_reason(self, request: UpgradeRequest, component: ComponentDescriptor, target: str) -> PlanStep:
        """Return the step; of what never changes while it runs the error says that, not that a version is missing."""
        try:
            return await self._step(request, component, target)
        except VersionUnknownError as error:
            reason = component.metadata.get("reason")
            if component.hot_swappable or not reason:
                raise
            raise SwapRefusedError(
                f"{component.name} cannot be changed while it runs: {reason}.",
                hint=f"Restart the program with {component.name} {target}.",
                details={"blockers": [str(reason)]},
            ) from error

    async def _step(self, request: UpgradeRequest, component: ComponentDescriptor, target: str) -> PlanStep:
        path = await self._path(component, target)
        # A request may name a file: then that file is fetched, not whatever else has the same version.
        last = request.target_version if names_file(request.target_version) else target
        artifacts = [
            await asyncio.to_thread(self.sources.fetch, component, last if version == target else version)
            for version in path[1:]
        ]
        return PlanStep(
            component=component,
            from_version=component.version,
            to_version=target,
            path=path,
            artifacts=tuple(artifacts),
            verdict=Verdict(feasible=False, mechanism="none"),
        )

    async def _assess(self, step: PlanStep, request: UpgradeRequest) -> PlanStep:
        # A plugin may try the change first, for as long as staging may take: its own limit has to end that.
        limit = self.settings.plugins.hook_timeout + self.settings.hot_swap.swap_timeout
        reply = await self.runner.ask_first("assess", limit=limit, step=step, context=self.context(request))
        if reply is None:
            blocker = f"no installed plugin can change a component of type {step.component.component_type}"
            verdict = Verdict(feasible=False, mechanism="none", blockers=(blocker,))
            return evolve(step, verdict=verdict)
        if reply.error is not None:
            error = reply.error
            verdict = Verdict(
                feasible=False, mechanism="none", blockers=(error.message,), code=error.code, hint=error.hint
            )
            return evolve(step, verdict=verdict, plugin=reply.plugin)
        return evolve(step, verdict=reply.value, plugin=reply.plugin)

    async def _slow_calls(self, steps: Sequence[PlanStep]) -> list[Finding]:
        """Say that a change which is made between calls will not be, for some that are under way now."""
        if not _all_or_nothing(steps):
            return []
        calls = await self.slow_calls()
        if not calls:
            return []
        # No warning, which would stop a strict upgrade: a service with one endless stream could never be upgraded.
        return [
            Finding(
                severity=Severity.INFO,
                code=CALLS_ACROSS,
                subject=_all_or_nothing(steps)[0],
                message=f"{calls} call(s) under way take too long to wait for: such a call may see both versions.",
                hint="Upgrade when there are none, or call the component through a handle: each stays where it began.",
            )
        ]


def _afterwards(registry: Registry, steps: Sequence[PlanStep]) -> Registry:
    """Return the components as they will be, with what their new versions need.

    What cannot be planned is a circle that there will be: one that the plan ends is nobody's concern any more.
    """
    coming = []
    for step in steps:
        # A plugin may know of dependencies that the files of its components do not state.
        dependencies = step.component.dependencies
        if step.artifact.kind == "wheel" or step.artifact.requirements:
            needs = [one for one in _needed(step.artifact.requirements) if one.name in registry]
            dependencies = tuple(Dependency(name=one.name, constraint=str(one.specifier)) for one in needs)
        coming.append(evolve(step.component, version=step.to_version, dependencies=dependencies))
    return registry.with_components(*coming)


def _needed(
    texts: Sequence[str], unreadable: Callable[[InvalidRequirement], object] = lambda _: None
) -> Iterator[Requirement]:
    """Yield the requirements that count here; `unreadable` is told of those that PEP 508 does not allow."""
    for text in texts:
        try:
            one = Requirement(text)
        except InvalidRequirement as error:
            unreadable(error)
            continue
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            yield one


def _all_or_nothing(steps: Sequence[PlanStep]) -> list[str]:
    """Return the components that change between calls, for all of them at once."""
    return [step.name for step in steps if step.verdict.feasible and WEIGHTS not in step.verdict.capabilities]


def _same_gate(requests: Sequence[UpgradeRequest]) -> None:
    """A set has one strategy and one gate; two of them in one commit would make either meaningless."""
    if not requests:
        raise InvalidRequestError("a plan needs at least one request.")
    first = requests[0]
    for other in requests[1:]:
        for name in ("strategy", "parameters", "validation_level", "rollback_enabled", "timeout_seconds"):
            if getattr(other, name) != getattr(first, name):
                raise InvalidRequestError(
                    f"the requests of one set differ in {name}: {getattr(first, name)!r} and {getattr(other, name)!r}.",
                    hint="Give all of them the same, or upgrade them one after the other.",
                )


def _findings(reply: Reply) -> tuple[Finding, ...]:
    if reply.error is not None:
        return (finding_of(reply.error, source=reply.plugin),)
    return tuple(evolve(finding, source=finding.source or reply.plugin) for finding in (reply.value or ()))


def _strategy_notes(steps: Sequence[PlanStep], request: UpgradeRequest) -> list[Finding]:
    whole = _all_or_nothing(steps)
    if not whole or request.strategy == "immediate":
        return []
    return [
        Finding(
            severity=Severity.INFO,
            code="strategy.all_or_nothing",
            subject=whole[0],
            message=f"{', '.join(whole)} changes all at once: {request.strategy!r} has one step.",
        )
    ]


def _requirements(steps: Sequence[PlanStep], registry: Registry, targets: Mapping[str, str]) -> list[Finding]:
    """Check what the new versions say they need against what will run, and else against what is installed."""
    coming = {canonicalize_name(name): version for name, version in targets.items()}
    running = {canonicalize_name(name): registry.get_component(name).version for name in registry.names}
    found: list[Finding] = []
    for step in steps:

        def unreadable(error: InvalidRequirement, step: PlanStep = step) -> None:
            message = f"{step.name} {step.to_version} has a requirement that cannot be read: {error}"
            found.append(Finding(severity=Severity.WARNING, code="requirement.unreadable", message=message))

        for requirement in _needed(step.artifact.requirements, unreadable):
            name = canonicalize_name(requirement.name)
            have = coming.get(name) or running.get(name) or installed_version(requirement.name)
            if finding := _unmet(step, requirement, have):
                found.append(finding)
    return found


def _unmet(step: PlanStep, requirement: Requirement, have: str | None) -> Finding | None:
    if have is not None and requirement.specifier.contains(have, prereleases=True):
        return None
    state = "is not installed" if have is None else f"is {have}"
    return Finding(
        severity=Severity.ERROR,
        code="dependency.missing" if have is None else "constraint.unmet",
        subject=step.name,
        message=f"{step.name} {step.to_version} needs {requirement.name}{requirement.specifier}, which {state}.",
        hint=(
            f"Install it first: pip install '{requirement.name}{requirement.specifier}'."
            if have is None
            else f"Upgrade both in one plan: `noodle plan {step.name}=={step.to_version} {requirement.name}==…`."
        ),
    )
