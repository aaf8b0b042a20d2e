"""Plans, and the whole way of an upgrade through a journal, for tests of durable state."""

from noodle_upgrade_core.journal import PointerMove
from noodle_upgrade_core.model import (
    ArtifactRef,
    ComponentDescriptor,
    Phase,
    PlanStep,
    RollbackPoint,
    UpgradePlan,
    UpgradeRequest,
    Verdict,
)

WHO = "alice"
BEFORE_INTENT = (Phase.VALIDATED, Phase.APPROVED, Phase.STAGED)


def artifact(name, version, digest="0" * 64):
    return ArtifactRef(name=name, version=version, digest=digest, kind="wheel", size=1, tree=f"trees/{digest}")


def make_plan(*names, before="1.0", after="2.0", digest="0" * 64, **fields):
    """A plan that takes every named component from one version to another."""
    requests = tuple(
        UpgradeRequest(component_name=name, target_version=after, current_version=before, **fields) for name in names
    )
    steps = tuple(
        PlanStep(
            component=ComponentDescriptor(name=name, version=before),
            from_version=before,
            to_version=after,
            path=(before, after),
            artifacts=(artifact(name, after, digest),),
            verdict=Verdict(feasible=True, mechanism="patch"),
        )
        for name in names
    )
    return UpgradePlan(requests=requests, steps=steps)


def moves_of(plan):
    return tuple(
        PointerMove(
            component_name=step.name,
            version=step.to_version,
            artifact=step.artifact,
            expected_version=step.from_version,
        )
        for step in plan.steps
    )


def points_of(plan, upgrade_id, **fields):
    return tuple(
        RollbackPoint(
            upgrade_id=upgrade_id,
            component_name=step.name,
            from_version=step.from_version,
            to_version=step.to_version,
            **fields,
        )
        for step in plan.steps
    )


def bring(journal, upgrade_id, plan, phase, **commit):
    """Take an upgrade through the phases, to the one that is named and no further."""
    journal.begin(upgrade_id, plan, who=WHO, why="asked for")
    if phase is Phase.RECEIVED:
        return
    for one in BEFORE_INTENT:
        journal.advance(upgrade_id, one, who=WHO, why="fine")
        if phase is one:
            return
    journal.intend(upgrade_id, points_of(plan, upgrade_id), who=WHO, why="traffic moves")
    if phase is Phase.SHIFTING:
        return
    if phase is Phase.ROLLING_BACK:
        journal.rolling_back(upgrade_id, who=WHO, why="harm")
        return
    journal.commit(upgrade_id, moves_of(plan), who=WHO, why="all traffic", **commit)
    if phase is Phase.COMMITTED:
        return
    if phase is Phase.SOAKING:
        journal.advance(upgrade_id, Phase.SOAKING, who=WHO, why="watched", soak_seconds=60)
        return
    if phase is Phase.STUCK:
        journal.rolling_back(upgrade_id, who=WHO, why="harm")
        journal.finish(upgrade_id, Phase.STUCK, who=WHO, why="a plugin failed")
        return
    journal.finish(upgrade_id, Phase.DONE, who=WHO, why="it runs")
