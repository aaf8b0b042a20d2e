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
    for reached, write in _way(journal, upgrade_id, plan, phase, commit):
        write()
        if reached is phase:
            return


def _way(journal, upgrade_id, plan, phase, commit):
    said = {"who": WHO, "why": "fine"}
    yield Phase.RECEIVED, lambda: journal.begin(upgrade_id, plan, **said)
    for one in BEFORE_INTENT:
        yield one, lambda one=one: journal.advance(upgrade_id, one, **said)
    yield Phase.SHIFTING, lambda: journal.intend(upgrade_id, points_of(plan, upgrade_id), **said)
    if phase is Phase.ROLLING_BACK:
        yield phase, lambda: journal.rolling_back(upgrade_id, **said)
    yield Phase.COMMITTED, lambda: journal.commit(upgrade_id, moves_of(plan), **said, **commit)
    if phase is Phase.SOAKING:
        yield phase, lambda: journal.advance(upgrade_id, phase, **said, soak_seconds=60)
    if phase is Phase.STUCK:
        yield Phase.ROLLING_BACK, lambda: journal.rolling_back(upgrade_id, **said)
        yield phase, lambda: journal.finish(upgrade_id, phase, **said)
    yield Phase.DONE, lambda: journal.finish(upgrade_id, Phase.DONE, **said)
