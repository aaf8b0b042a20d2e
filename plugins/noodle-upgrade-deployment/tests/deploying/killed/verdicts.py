"""What has to be true of deployments that were killed: of what the kill leaves, and after everything has settled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_core.documents import Documents
from noodle_upgrade_core.journal.contract import AuditRow, Journal, UpgradeRecord
from noodle_upgrade_core.model import Phase
from noodle_upgrade_core.wire import from_wire
from noodle_upgrade_deployment.deploying.dispatching import MOST_ATTEMPTS
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeEvent, DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.integration import OWNER

from .orders import disorder
from .stand import RESUMED

_STANDS = frozenset({Phase.COMMITTED, Phase.SOAKING, Phase.DONE})
_VISIBLE = _STANDS | {Phase.SHIFTING, Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.STUCK}
_BEFORE = "1.0"


@frozen(kw_only=True)
class Attempt:
    """One upgrade of a deployment: `number` counts them, `rows` are its audit."""

    number: int
    record: UpgradeRecord
    rows: tuple[AuditRow, ...]

    @property
    def committed(self) -> bool:
        """Whether it was, ever."""
        return any(row.phase is Phase.COMMITTED for row in self.rows)

    @property
    def cut_off(self) -> bool:
        """Whether it ended because its process did, and for no reason of its own."""
        by_itself = any(row.phase is Phase.ROLLING_BACK for row in self.rows)
        return self.rows[-1].who.startswith("recovery of process") and not by_itself


@frozen(kw_only=True)
class Deployment:
    """One deployment as the journal shows it."""

    state: DeploymentUpgradeState
    revision: int
    events: tuple[DeploymentUpgradeEvent, ...]
    revisions: tuple[int, ...]
    attempts: tuple[Attempt, ...]


@frozen(kw_only=True)
class Facts:
    """All that a journal has to say; `strangers` are upgrades that no deployment accounts for."""

    deployments: Mapping[str, Deployment]
    strangers: tuple[str, ...]
    audit: tuple[AuditRow, ...]
    records: Mapping[str, UpgradeRecord]
    pointers: Mapping[str, str]


@frozen(kw_only=True)
class Promises:
    """What killed processes told: `asking` and `asked` are deployments, `ends` what they were told to have become."""

    asking: Mapping[str, str]
    asked: frozenset[str]
    ends: Mapping[str, str]
    visible: frozenset[str]

    @classmethod
    def of(cls, told: Sequence[str]) -> Promises:
        """Read them from the lines."""
        words = [line.split() for line in told]
        return cls(
            asking={rest[0]: rest[1] for word, *rest in words if word == "asking"},
            asked=frozenset(rest[0] for word, *rest in words if word == "asked"),
            ends={rest[0]: rest[1] for word, *rest in words if word == "ended"},
            visible=frozenset(rest[0] for word, *rest in words if word in {"shifted", "kept"}),
        )


def facts_of(journal: Journal) -> Facts:
    """Read all of it."""
    documents = Documents(journal, OWNER)
    records = {record.upgrade_id: record for record in journal.history(1000)}
    by_nonce: dict[str, list[Attempt]] = {}
    strangers = []
    known = {document.key for document in documents.all()}
    for record in records.values():
        names = {nonce.rsplit(".", 2)[0] for nonce in record.nonces}
        numbers = {int(nonce.rsplit(".", 2)[1]) for nonce in record.nonces if nonce.count(".") >= 2}
        if len(names) != 1 or len(numbers) != 1 or not names <= known:
            strangers.append(record.upgrade_id)
            continue
        attempt = Attempt(number=numbers.pop(), record=record, rows=journal.audit(record.upgrade_id))
        by_nonce.setdefault(names.pop(), []).append(attempt)
    deployments = {}
    for document in documents.all():
        rows = documents.audit(document.key)
        deployments[document.key] = Deployment(
            state=from_wire(DeploymentUpgradeState, document.body),
            revision=document.revision,
            events=tuple(_event(document.key, row) for row in rows),
            revisions=tuple(row.evidence["document"]["revision"] for row in rows),
            attempts=tuple(sorted(by_nonce.get(document.key, ()), key=lambda one: one.number)),
        )
    return Facts(
        deployments=deployments,
        strangers=tuple(strangers),
        audit=journal.audit(),
        records=records,
        pointers={one.component_name: one.version for one in journal.active()},
    )


def _event(name: str, row: AuditRow) -> DeploymentUpgradeEvent:
    stage = str(row.evidence.get("stage", ""))
    return DeploymentUpgradeEvent(
        sequence=row.sequence, deployment_id=name, at=row.at, stage=stage, who=row.who, why=row.why
    )


# --- at any time -----------------------------------------------------------------------------------------------------


def at_any_time(facts: Facts, promises: Promises) -> Iterator[str]:
    """Yield what a kill may never leave behind, before any recovery and after it."""
    yield from (f"nobody asked for the deployment {name}" for name in facts.deployments.keys() - promises.asking.keys())
    yield from (f"{name} was acknowledged, and is lost" for name in promises.asked - facts.deployments.keys())
    yield from (f"the upgrade {one} is of no deployment that is known" for one in facts.strangers)
    for one in sorted(promises.visible):
        record = facts.records.get(one)
        if record is None or record.phase not in _VISIBLE:
            yield f"the engine moved the traffic of {one}, which is {record and record.phase}"
    for name, end in promises.ends.items():
        found = facts.deployments.get(name)
        if found is not None and found.state.stage != end:
            yield f"it was told that {name} ended as {end}, and it is {found.state.stage}"
    for one in facts.deployments.values():
        yield from _notes(one)
        yield from _attempts(one)


def _notes(one: Deployment) -> Iterator[str]:
    name = one.state.deployment_id
    if one.revisions != tuple(range(1, one.revision + 1)):
        yield f"the revisions of {name} have gaps: {one.revisions}, and it is at {one.revision}"
    if one.events and one.events[-1].stage != one.state.stage:
        yield f"{name} is {one.state.stage}, and its last note says {one.events[-1].stage}"
    yield from disorder(one.events)


def _attempts(one: Deployment) -> Iterator[str]:
    state, numbers = one.state, [attempt.number for attempt in one.attempts]
    name = state.deployment_id
    if len(set(numbers)) != len(numbers):
        yield f"{name} has two upgrades of one attempt: {numbers}"
    if any(number > state.attempt for number in numbers):
        yield f"{name} has begun the attempts {numbers}, and {state.attempt} are written down"
    most = MOST_ATTEMPTS if state.environment in RESUMED else 1
    if state.attempt > most or len(numbers) > most:
        yield f"{name} was begun {state.attempt} times, upgrades {numbers}, and at most {most} are allowed"
    for attempt in one.attempts[:-1]:
        # An upgrade that was taken back for a reason of its own is not begun anew.
        if attempt.committed or not attempt.cut_off:
            last = attempt.rows[-1]
            yield f"{name} was begun anew after its attempt {attempt.number} {last.phase}: {last.who}: {last.why}"
    if sum(attempt.committed for attempt in one.attempts) > 1:
        yield f"{name} was committed more than once"


# --- after it has settled --------------------------------------------------------------------------------------------


def settled(facts: Facts, running: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with deployments that have all ended; `running` is what the engine says that it runs."""
    for one in facts.deployments.values():
        yield from _end(one)
    open_still = [r.upgrade_id for r in facts.records.values() if not (r.phase.ended or r.phase is Phase.DONE)]
    yield from (f"the upgrade {one} is still {facts.records[one].phase}" for one in open_still)
    yield from _called_off(facts)
    due = _due(facts)
    for name, version in running.items():
        if version != due.get(name, _BEFORE):
            yield f"{name} runs {version}, and the last upgrade that stands made it {due.get(name, _BEFORE)}"
        if facts.pointers.get(name, _BEFORE) != version:
            yield f"{name} runs {version}, and its pointer is at {facts.pointers.get(name)}"


def _end(one: Deployment) -> Iterator[str]:
    state = one.state
    standing = [attempt.number for attempt in one.attempts if attempt.record.phase in _STANDS]
    if not state.stage.ended:
        yield f"{state.deployment_id} has not ended: it is {state.stage} ({state.why})"
    elif state.stage is Stage.SUCCEEDED and len(standing) != 1:
        yield f"{state.deployment_id} succeeded, and the upgrades of the attempts {standing} stand"
    elif state.stage is not Stage.SUCCEEDED and standing:
        yield f"{state.deployment_id} ended as {state.stage} ({state.why}), and its attempts {standing} stand"
    if state.stage is Stage.ROLLBACK_FAILED:
        yield f"{state.deployment_id} could not go back: {state.why}"


def _called_off(facts: Facts) -> Iterator[str]:
    """What somebody called off, or a newer one took the place of, is not begun any more."""
    for one in facts.deployments.values():
        off = [event.sequence for event in one.events if event.who == "carol"]
        if one.state.environment == "latest":
            newer = [o for o in facts.deployments.values() if o.state.created_at > one.state.created_at]
            off += [other.events[0].sequence for other in newer]
        begun = [event.sequence for event in one.events if event.why.startswith("nothing stands against it")]
        if off and any(sequence > min(off) for sequence in begun):
            yield f"{one.state.deployment_id} was called off, and begun after that"


def _due(facts: Facts) -> Mapping[str, str]:
    """Return what every component has to run, by replaying the audit."""
    found: dict[str, str] = {}
    for row in facts.audit:
        record = facts.records.get(row.upgrade_id)
        if record is not None and row.phase is Phase.COMMITTED:
            found.update(record.to_versions)
        elif record is not None and row.phase is Phase.ROLLED_BACK and _was_committed(facts, row):
            found.update(record.from_versions)
    return found


def _was_committed(facts: Facts, back: AuditRow) -> bool:
    rows = (row for row in facts.audit if row.upgrade_id == back.upgrade_id and row.sequence < back.sequence)
    return any(row.phase is Phase.COMMITTED for row in rows)


def snapshot(journal: Journal) -> Any:
    """Return all that a recovery could change."""
    return (journal.documents(OWNER), journal.history(1000), journal.audit(), journal.active())
