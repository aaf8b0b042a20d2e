"""The reading half of the SQLite journal: what is in the file, and what rides and is not in it yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.errors import JournalCorruptError, JournalError, UpgradeError
from noodle_upgrade_core.hookspecs import ActiveVersion
from noodle_upgrade_core.journal.contract import AuditRow, UpgradeRecord, status_of
from noodle_upgrade_core.journal.file import SqliteFile
from noodle_upgrade_core.journal.rows import (
    ACTIVE,
    AUDIT,
    RECORD,
    active_from,
    audit_from,
    point_from,
    record_from,
    stamp,
    unpack,
)
from noodle_upgrade_core.model import Phase, RollbackPoint, UpgradeStatus

__all__ = ["Riding", "SqliteReads"]

_ENDED = tuple(phase.value for phase in Phase if phase.ended)
_AT_ONCE = 500


@frozen(kw_only=True)
class Riding:
    """What waits for the next transaction: records as they will be, audit rows in order, the plans of new records."""

    records: Mapping[str, UpgradeRecord] = field(factory=dict)
    rows: tuple[AuditRow, ...] = ()
    plans: Mapping[str, str] = field(factory=dict)

    def joined(self, record: UpgradeRecord, rows: Iterable[AuditRow], *, plan: str = "") -> Riding:
        """Return this with one more change, and the plan's JSON if it is the first; who holds the old one keeps it."""
        return Riding(
            records={**self.records, record.upgrade_id: record},
            rows=(*self.rows, *rows),
            plans={**self.plans, record.upgrade_id: plan} if plan else self.plans,
        )


class SqliteReads:
    """Reads that never wait for a write. What rides is one immutable value, taken before the file is looked at."""

    def __init__(self) -> None:
        self._file: SqliteFile | None = None
        self._riding = Riding()

    @property
    def schema_version(self) -> int:
        """The layout of the file that is open."""
        return self._opened().schema_version

    @property
    def refusal(self) -> JournalError | None:
        """Why this journal can only be read: a newer version wrote it, or there is no room to write it."""
        return self._opened().refusal

    def _opened(self) -> SqliteFile:
        if self._file is None:
            raise JournalError("The journal is not open.", hint="Use it in a `with` block, or call open().")
        return self._file

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        file = self._opened()
        if file.refusal is not None:
            raise file.refusal
        return file.rows(query, values)

    # --- what runs -----------------------------------------------------------------------------------------------

    def active(self) -> tuple[ActiveVersion, ...]:
        """Return every pointer, by name; also from a journal of a newer schema, as far as it can be understood."""
        file = self._opened()
        try:
            rows = file.rows(f"SELECT {ACTIVE} FROM pointers ORDER BY component_name")  # noqa: S608 - a constant
            return tuple(active_from(row) for row in rows)
        except UpgradeError:
            if file.refusal is not None:
                raise file.refusal from None
            raise

    def active_of(self, component_name: str) -> ActiveVersion | None:
        """Return one pointer."""
        rows = self._rows(f"SELECT {ACTIVE} FROM pointers WHERE component_name = ?", (component_name,))  # noqa: S608
        return active_from(rows[0]) if rows else None

    # --- upgrades ------------------------------------------------------------------------------------------------

    def record(self, upgrade_id: str) -> UpgradeRecord | None:
        """Return one upgrade."""
        riding = self._riding.records.get(upgrade_id)
        if riding is not None:
            return riding
        found = self._records("WHERE upgrade_id = ?", (upgrade_id,))
        return found[0] if found else None

    def open_upgrades(self) -> tuple[UpgradeRecord, ...]:
        """Return the upgrades that have not ended, oldest first."""
        riding = self._riding
        marks = ", ".join("?" * len(_ENDED))
        written = self._records(f"WHERE phase NOT IN ({marks}) ORDER BY number", _ENDED)
        return tuple(record for record in _merged(written, riding) if not record.phase.ended)

    def history(self, limit: int = 50, *, component_name: str = "") -> tuple[UpgradeRecord, ...]:
        """Return upgrades, newest first."""
        riding = self._riding
        where = (
            "WHERE upgrade_id IN (SELECT upgrade_id FROM members WHERE component_name = ?)" if component_name else ""
        )
        values = (component_name, limit) if component_name else (limit,)
        written = self._records(f"{where} ORDER BY number DESC LIMIT ?", values)
        newest_first = reversed(_merged(reversed(written), riding))
        return tuple(r for r in newest_first if not component_name or component_name in r.components)[:limit]

    def audit(self, upgrade_id: str = "", *, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        """Return audit rows whose sequence is greater than `after`, oldest first."""
        riding = self._riding
        where, values = ("AND upgrade_id = ?", (upgrade_id,)) if upgrade_id else ("", ())
        query = f"SELECT {AUDIT} FROM audit WHERE sequence > ? {where} ORDER BY sequence LIMIT ?"  # noqa: S608
        written = [audit_from(row) for row in self._rows(query, (after, *values, limit))]
        last = written[-1].sequence if written else after
        more = [row for row in riding.rows if row.sequence > last and upgrade_id in {"", row.upgrade_id}]
        return tuple((*written, *more)[:limit])

    def approvals(self, upgrade_id: str) -> tuple[str, ...]:
        """Return who approved, in order."""
        rows = self._rows("SELECT DISTINCT who FROM approvals WHERE upgrade_id = ? ORDER BY number", (upgrade_id,))
        return tuple(row[0] for row in rows)

    def statistics(self) -> dict[str, Any]:
        """Return `{total, counts, phases, success_rate, last_upgrade_at}`: JSON values only.

        `counts` are by status and `phases` by phase: one that was cancelled is in a phase like others. `success_rate`
        is the share of DONE among the upgrades that have ended, None before the first. `last_upgrade_at` is when a
        pointer was last moved by an upgrade.
        """
        riding = self._riding.records
        marks = ", ".join("?" * len(riding))
        code = "coalesce(json_extract(error, '$.code'), '')"
        query = (
            f"SELECT phase, {code}, count(*) FROM upgrades WHERE upgrade_id NOT IN ({marks})"  # noqa: S608 - only marks
            f" GROUP BY phase, {code}"
        )
        phases: dict[Phase, int] = {}
        counts = dict.fromkeys(UpgradeStatus, 0)
        rows = [(Phase(name), code, count) for name, code, count in self._rows(query, tuple(riding))]
        rows += [(record.phase, (record.error or {}).get("code", ""), 1) for record in riding.values()]
        for phase, code, count in rows:
            phases[phase] = phases.get(phase, 0) + count
            counts[status_of(phase, code)] += count
        ended = sum(count for phase, count in phases.items() if phase.ended)
        last = self._rows("SELECT at FROM audit WHERE phase = 'committed' ORDER BY sequence DESC LIMIT 1")
        return {
            "total": sum(phases.values()),
            "counts": {str(status): count for status, count in counts.items()},
            "phases": {str(phase): count for phase, count in sorted(phases.items()) if count},
            "success_rate": phases.get(Phase.DONE, 0) / ended if ended else None,
            "last_upgrade_at": last[0][0] if last else None,
        }

    # --- rollback points -----------------------------------------------------------------------------------------

    def rollback_points(self, component_name: str = "", *, include_expired: bool = False) -> tuple[RollbackPoint, ...]:
        """Return what can be gone back to, newest first."""
        where = "WHERE (? = '' OR component_name = ?)"
        values: tuple[Any, ...] = (component_name, component_name)
        if not include_expired:
            where += " AND expired = 0 AND (expires_at IS NULL OR expires_at > ?)"
            values += (stamp(self._now()),)
        rows = self._rows(f"SELECT point FROM rollback_points {where} ORDER BY number DESC", values)  # noqa: S608
        return tuple(point_from(row[0]) for row in rows)

    def problems(self) -> tuple[str, ...]:
        """Look the whole file over and return what is wrong with it, in words: none when it is sound."""
        return tuple(self._opened().problems())

    def _now(self) -> datetime:
        raise NotImplementedError

    # --- inside --------------------------------------------------------------------------------------------------

    def _records(self, rest: str, values: Sequence[Any]) -> list[UpgradeRecord]:
        rows = self._rows(f"SELECT {RECORD} FROM upgrades {rest}", values)  # noqa: S608 - `rest` is written in this module
        members = self._members([row[0] for row in rows])
        return [record_from(row, members[row[0]]) for row in rows]

    def _members(self, ids: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
        found: dict[str, list[tuple[Any, ...]]] = {upgrade_id: [] for upgrade_id in ids}
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            query = (
                "SELECT upgrade_id, component_name, from_version, to_version FROM members"  # noqa: S608 - only marks
                f" WHERE upgrade_id IN ({marks}) ORDER BY upgrade_id, position"
            )
            for upgrade_id, *member in self._rows(query, some):
                found[upgrade_id].append(tuple(member))
        if empty := [upgrade_id for upgrade_id, members in found.items() if not members]:
            raise JournalCorruptError(f"The journal does not say which components {empty[0]} is about.")
        return found

    def _named_digests(self) -> frozenset[str]:
        """Return every digest that a pointer, a kept rollback point or an open upgrade names."""
        named: set[str] = set()
        for artifact, state in self._rows("SELECT artifact, state_digest FROM pointers"):
            named.update(_digests_of(unpack(artifact), state))
        for (point,) in self._rows("SELECT point FROM rollback_points WHERE expired = 0"):
            wire = unpack(point)
            named.update(_digests_of(wire["artifact"], wire["state_digest"]))
        for (before,) in self._rows("SELECT before FROM members WHERE open = 1 AND before IS NOT NULL"):
            wire = unpack(before)
            named.update(_digests_of(wire["artifact"], wire["state_digest"]))
        for record in self.open_upgrades():
            for step in record.plan["steps"]:
                named.update(artifact["digest"] for artifact in step["artifacts"])
        return frozenset(named)


def _digests_of(artifact: Mapping[str, Any] | None, state_digest: str) -> set[str]:
    return {digest for digest in (artifact["digest"] if artifact else "", state_digest) if digest}


def _merged(written: Iterable[UpgradeRecord], riding: Riding) -> list[UpgradeRecord]:
    """Return what is in the file with what rides in its place, and what rides for the first time at the end."""
    known = {record.upgrade_id: record for record in written}
    return list({**known, **riding.records}.values())
