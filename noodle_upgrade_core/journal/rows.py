"""Between the journal's values and the rows of its tables."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from noodle_upgrade_core.errors import InvalidRequestError, JournalCorruptError, UpgradeError
from noodle_upgrade_core.hookspecs import ActiveVersion
from noodle_upgrade_core.journal.contract import AuditRow, UpgradeRecord
from noodle_upgrade_core.model import ArtifactRef, Phase, RollbackPoint
from noodle_upgrade_core.wire import from_wire, to_wire

__all__ = [
    "ACTIVE",
    "AUDIT",
    "RECORD",
    "active_from",
    "artifact_from",
    "audit_from",
    "audit_values",
    "encode",
    "lenient",
    "pack",
    "point_from",
    "record_from",
    "stamp",
    "text",
    "unpack",
    "unstamp",
]

RECORD: Final = (
    "upgrade_id, phase, created_at, updated_at, fence, soak_deadline, soak_tries, plan_digest, error, decision, result,"
    " evidence, plan"
)
AUDIT: Final = "sequence, upgrade_id, phase_from, phase, at, who, why, fence, evidence"
ACTIVE: Final = "component_name, version, generation, artifact, upgrade_id, state_digest"


def stamp(at: datetime) -> str:
    """Return a time as text of one length, in UTC, so that the order of texts is that of times."""
    return _text_of(at if at.tzinfo is UTC else at.astimezone(UTC))


@functools.lru_cache(maxsize=64)
def _text_of(at: datetime) -> str:
    """Return a time in UTC as text: one moment is written into several rows, often in several transactions."""
    return at.isoformat(timespec="microseconds")


def unstamp(written: str) -> datetime:
    """Read what `stamp` wrote."""
    return datetime.fromisoformat(written)


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def pack(value: Any) -> str | None:
    """Return JSON values as text; None stays None."""
    if value == {}:
        # Most evidence; an encoder takes longer to be set up than to write this.
        return "{}"
    return None if value is None else _ENCODER.encode(value)


def encode(value: Any) -> str:
    """Return a value of the vocabulary as JSON text; raises `InvalidRequestError` for what is no JSON value."""
    return _ENCODER.encode(to_wire(value))


def unpack(written: str | None) -> Any:
    """Read what `pack` wrote."""
    if written is None:
        return None
    try:
        return json.loads(written)
    except ValueError as error:
        raise _unreadable(f"{written[:40]!r} is no JSON") from error


def text(words: str) -> str:
    """Return words that a database can hold: half a surrogate pair, as in odd file names, is spelled out."""
    return words if words.isascii() else words.encode("utf-8", "backslashreplace").decode("utf-8")


def lenient(value: Any) -> Any:
    """Return JSON values for what a plugin or an error brought along: a journal must not fail over a note."""
    if isinstance(value, UpgradeError):
        return {**value.to_wire(), "details": lenient(value.details)}
    try:
        return to_wire(value)
    except InvalidRequestError:
        return {"unreadable": repr(value)[:1000]}


def record_from(row: Sequence[Any], members: Sequence[Sequence[Any]]) -> UpgradeRecord:
    """Make a record of a row of `RECORD` and its members `(component_name, from_version, to_version)`."""
    plan = unpack(row[12])
    return UpgradeRecord(
        upgrade_id=row[0],
        phase=_phase(row[1]),
        created_at=unstamp(row[2]),
        updated_at=unstamp(row[3]),
        fence=row[4],
        soak_deadline=unstamp(row[5]) if row[5] else None,
        soak_tries=row[6],
        plan_digest=row[7],
        error=unpack(row[8]),
        decision=unpack(row[9]),
        result=unpack(row[10]),
        evidence=unpack(row[11]) or {},
        plan=plan,
        components=tuple(member[0] for member in members),
        from_versions={member[0]: member[1] for member in members},
        to_versions={member[0]: member[2] for member in members},
        nonces=nonces_of(plan),
    )


def nonces_of(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids of a plan's requests: each may be committed once."""
    return tuple(request["request_id"] for request in plan["requests"])


def audit_values(row: AuditRow) -> tuple[Any, ...]:
    """Return the values for `AUDIT`, in order."""
    return (
        row.sequence,
        row.upgrade_id,
        row.phase_from,
        row.phase,
        stamp(row.at),
        row.who,
        row.why,
        row.fence,
        pack(row.evidence),
    )


def audit_from(row: Sequence[Any]) -> AuditRow:
    """Make an audit row of a row of `AUDIT`."""
    return AuditRow(
        sequence=row[0],
        upgrade_id=row[1],
        phase_from=_phase(row[2]) if row[2] else None,
        phase=_phase(row[3]) if row[3] else None,
        at=unstamp(row[4]),
        who=row[5],
        why=row[6],
        fence=row[7],
        evidence=unpack(row[8]),
    )


def active_from(row: Sequence[Any]) -> ActiveVersion:
    """Make a pointer of a row of `ACTIVE`."""
    return ActiveVersion(
        component_name=row[0],
        version=row[1],
        generation=row[2],
        artifact=artifact_from(unpack(row[3])),
        upgrade_id=row[4],
        state_digest=row[5],
    )


def artifact_from(wire: Mapping[str, Any] | None) -> ArtifactRef | None:
    """Make an artefact of what `to_wire` made of it."""
    return None if wire is None else from_wire(ArtifactRef, wire)


def point_from(written: str) -> RollbackPoint:
    """Make a rollback point of its JSON text."""
    return from_wire(RollbackPoint, unpack(written))


def _phase(name: str) -> Phase:
    try:
        return Phase(name)
    except ValueError as error:
        raise _unreadable(f"{name!r} is no phase that this version knows") from error


def _unreadable(words: str) -> JournalCorruptError:
    return JournalCorruptError(
        f"The journal holds something that cannot be read: {words}.",
        hint="Run `noodle doctor`; the pointers can be read all the same.",
    )
