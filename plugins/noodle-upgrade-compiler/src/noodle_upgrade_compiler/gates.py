"""What stands against a version of a phase: constraints of the settings, and features that it lacks."""

from __future__ import annotations

from collections.abc import Iterator

from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.settings import CompilerSettings
from noodle_upgrade_core import Finding, PlanStep, Severity, UpgradePlan, versions
from noodle_upgrade_core.hookspecs import Stage

__all__ = ["findings_of"]


def findings_of(plan: UpgradePlan, stage: Stage, settings: CompilerSettings) -> Iterator[Finding]:
    """Yield what is to be said of the phases in a plan."""
    if stage != "before":
        return
    for step in plan.steps:
        if step.name in PHASES and step.verdict.engine == "phases":
            yield from _of_step(step, settings)


def _of_step(step: PlanStep, settings: CompilerSettings) -> Iterator[Finding]:
    constraint = settings.version_awareness.version_constraints.get(step.name, "")
    if constraint and versions.latest((step.to_version,), constraint) is None:
        yield Finding(
            severity=Severity.ERROR,
            code="compiler.constraint",
            subject=step.name,
            message=f"{step.name} {step.to_version} is not {constraint}.",
            hint="The constraint is compiler.version_awareness.version_constraints.",
        )
    told = settings.components.get(step.name)
    wanted = set(told.features) if told is not None else set()
    if wanted and step.artifacts:
        offered = set(map(str, step.artifact.metadata.get("features", ())))
        lacking = sorted(wanted - offered) if offered else []
        if lacking:
            yield Finding(
                severity=Severity.WARNING,
                code="compiler.features",
                subject=step.name,
                message=f"{step.name} {step.to_version} does not say that it has {', '.join(lacking)}.",
                hint="compiler.components names the features that this program wants.",
            )
