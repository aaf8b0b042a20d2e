"""Moving pointers inside a transaction: compare, then set, and say what was there before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_core.errors import InvalidRequestError, VersionMismatchError
from noodle_upgrade_core.journal.contract import PointerMove, UpgradeRecord
from noodle_upgrade_core.journal.rows import ACTIVE, artifact_from, encode, pack, unpack

__all__ = [
    "Pointer",
    "befores",
    "check_reached",
    "check_set",
    "first_sight",
    "grow",
    "keep_before",
    "move",
    "pointer",
    "same_version",
]


_POINTER = f"SELECT {ACTIVE} FROM pointers WHERE component_name = ?"  # noqa: S608 - a constant


def same_version(one: str, other: str) -> bool:
    """Whether two texts mean one version: `2.0` and `2.0.0` do."""
    if one == other:
        return True
    from packaging.utils import canonicalize_version  # noqa: PLC0415 - only where the texts differ

    return canonicalize_version(one) == canonicalize_version(other)


@frozen
class Pointer:
    """One row of `pointers`, its artefact still as text: a commit has no need to read it."""

    component_name: str
    version: str
    generation: int
    artifact: str | None
    upgrade_id: str
    state_digest: str


def pointer(connection: sqlite3.Connection, component_name: str) -> Pointer | None:
    """Return one pointer as this transaction sees it."""
    row = connection.execute(_POINTER, (component_name,)).fetchone()
    return None if row is None else Pointer(*row)


def first_sight(connection: sqlite3.Connection, component_name: str, version: str) -> None:
    """Make the pointer of a component that was never seen: generation 0, no artefact."""
    connection.execute("INSERT INTO pointers VALUES (?, ?, 0, NULL, '', '')", (component_name, version))


def check_set(record: UpgradeRecord, moves: Sequence[PointerMove]) -> None:
    """Refuse moves that are not exactly those of the plan: a set commits whole, from and to what it said."""
    named = [move.component_name for move in moves]
    if sorted(named) != sorted(record.components):
        about, asked = ", ".join(record.components), ", ".join(named) or "none"
        raise InvalidRequestError(f"{record.upgrade_id} is about {about}, the moves are of {asked}.")
    for one in moves:
        name = one.component_name
        expected = one.expected_version or record.from_versions[name]
        if not same_version(one.version, record.to_versions[name]) or not same_version(
            expected, record.from_versions[name]
        ):
            raise InvalidRequestError(
                f"{record.upgrade_id} takes {name} from {record.from_versions[name]} to {record.to_versions[name]},"
                f" the move goes from {expected} to {one.version}."
            )


def check_reached(record: UpgradeRecord, connection: sqlite3.Connection) -> None:
    """Refuse unless every component of an upgrade is at the version that it brought."""
    for name in record.components:
        found, expected = pointer(connection, name), record.to_versions[name]
        if found is None or not same_version(found.version, expected):
            there = "nothing" if found is None else found.version
            raise VersionMismatchError(
                f"The journal has {name} at {there}, and not at {expected}, which {record.upgrade_id} is about.",
                hint="Another upgrade came between: see `noodle history`.",
                details={"component_name": name, "found": there, "expected": expected},
            )


def move(
    connection: sqlite3.Connection, to: PointerMove, *, upgrade_id: str, expected: str = ""
) -> tuple[Pointer, dict[str, Any]]:
    """Move one pointer if it is where it is expected; return what was there, and the move for the audit.

    `expected` stands in for a move that does not say where it begins.
    """
    before, expected = pointer(connection, to.component_name), to.expected_version or expected
    if before is None or (expected and not same_version(before.version, expected)):
        found = "nothing" if before is None else before.version
        raise VersionMismatchError(
            f"The journal has {to.component_name} at {found}, and {expected} was expected.",
            hint="Plan again: another upgrade came between.",
            details={"component_name": to.component_name, "found": found, "expected": expected},
        )
    connection.execute(
        "UPDATE pointers SET version = ?, generation = generation + 1, artifact = ?, upgrade_id = ?, state_digest = ?"
        " WHERE component_name = ?",
        (
            to.version,
            None if to.artifact is None else encode(to.artifact),
            upgrade_id,
            to.state_digest,
            to.component_name,
        ),
    )
    return before, _moved(before, to.version)


def grow(connection: sqlite3.Connection, component_name: str) -> dict[str, Any] | None:
    """Add 1 to a generation whose version stays: traffic came back that had begun to move."""
    before = pointer(connection, component_name)
    if before is None:
        return None
    connection.execute("UPDATE pointers SET generation = generation + 1 WHERE component_name = ?", (component_name,))
    return _moved(before, before.version)


def befores(connection: sqlite3.Connection, upgrade_id: str) -> Mapping[str, PointerMove] | None:
    """Return the moves that undo an upgrade's commit, by component; None when it has not committed."""
    query = "SELECT component_name, before FROM members WHERE upgrade_id = ? ORDER BY position"
    rows = connection.execute(query, (upgrade_id,)).fetchall()
    if any(before is None for _, before in rows):
        return None
    return {name: _undo(name, unpack(before)) for name, before in rows}


def keep_before(connection: sqlite3.Connection, upgrade_id: str, before: Iterable[Pointer]) -> None:
    """Keep what a commit replaced, for a restart that has to go back."""
    connection.executemany(
        "UPDATE members SET before = ? WHERE upgrade_id = ? AND component_name = ?",
        [(_before(one), upgrade_id, one.component_name) for one in before],
    )


def _before(was: Pointer) -> str | None:
    return pack({"version": was.version, "artifact": unpack(was.artifact), "state_digest": was.state_digest})


def _undo(component_name: str, before: Mapping[str, Any]) -> PointerMove:
    return PointerMove(
        component_name=component_name,
        version=before["version"],
        artifact=artifact_from(before["artifact"]),
        state_digest=before["state_digest"],
    )


def _moved(before: Pointer, version: str) -> dict[str, Any]:
    return {
        "component_name": before.component_name,
        "from_version": before.version,
        "version": version,
        "generation": before.generation + 1,
    }
