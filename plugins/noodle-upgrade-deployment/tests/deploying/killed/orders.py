"""Which stage of a deployment may follow which, while a program lives and when a restart finds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeEvent, Stage

_TAKEN_BACK = frozenset({Stage.ROLLED_BACK, Stage.ROLLBACK_FAILED, Stage.INCONCLUSIVE, Stage.SUPERSEDED})
_BEFORE_TRAFFIC = frozenset({Stage.REJECTED, Stage.CANCELLED, Stage.SUPERSEDED})
_UNDER_TRAFFIC = frozenset({Stage.RUNNING, Stage.JUDGING, Stage.STARVED, Stage.PAUSED, Stage.GATED, Stage.FROZEN})
_ON_THE_WAY = _UNDER_TRAFFIC | {Stage.PROMOTING, Stage.ABORTING} | _TAKEN_BACK

NEXT: Mapping[Stage, frozenset[Stage]] = {
    Stage.PENDING: frozenset({Stage.QUEUED}) | _BEFORE_TRAFFIC,
    # It waits, and waits for something else by now.
    Stage.QUEUED: frozenset({Stage.QUEUED, Stage.PREPARING}) | _BEFORE_TRAFFIC,
    # Noted once more with the id of its upgrade, and with every phase; or busy, and waiting again.
    Stage.PREPARING: frozenset({Stage.PREPARING, Stage.WARMING, Stage.QUEUED, Stage.ABORTING, Stage.GATED})
    | _BEFORE_TRAFFIC
    | _TAKEN_BACK,
    Stage.WARMING: frozenset({Stage.WARMING, Stage.RUNNING, Stage.ABORTING}) | _BEFORE_TRAFFIC | _TAKEN_BACK,
    **dict.fromkeys(_UNDER_TRAFFIC, _ON_THE_WAY),
    Stage.PROMOTING: frozenset({Stage.PROMOTING, Stage.BAKING, Stage.SUCCEEDED, Stage.ABORTING}) | _TAKEN_BACK,
    Stage.BAKING: frozenset({Stage.BAKING, Stage.SUCCEEDED, Stage.ABORTING}) | _TAKEN_BACK,
    # An abort that was asked for too late: it had been finished, or was called off before it had begun.
    Stage.ABORTING: frozenset({Stage.ABORTING, Stage.SUCCEEDED}) | _BEFORE_TRAFFIC | _TAKEN_BACK,
    **{stage: frozenset() for stage in Stage if stage.ended},
}
"""What may be written after what by a program that lives."""

FOUND = frozenset({Stage.QUEUED, Stage.BAKING, Stage.SUCCEEDED, Stage.REJECTED, Stage.CANCELLED}) | _TAKEN_BACK
"""What a restart may make of one that was under way: its notes may be behind its upgrade by any number of stages."""


def disorder(events: Sequence[DeploymentUpgradeEvent]) -> Iterator[str]:
    """Yield what is wrong with the order of what became of a deployment, with whom it names, and why."""
    for event in events:
        if not event.who or not event.why:
            yield f"{event.deployment_id} became {event.stage} without who ({event.who!r}) or why ({event.why!r})"
    if events and events[0].stage not in {Stage.PENDING, Stage.QUEUED}:
        yield f"{events[0].deployment_id} begins as {events[0].stage}"
    for before, after in pairwise(events):
        stage = Stage(before.stage)
        found = after.who == "recovery" and not stage.waiting and not stage.ended
        if after.stage not in (NEXT[stage] | FOUND if found else NEXT[stage]):
            yield f"{before.deployment_id} became {after.stage} after {stage}, by {after.who}: {after.why}"
