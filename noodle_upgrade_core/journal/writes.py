"""The writing half of the SQLite journal: its lease, its transactions, what rides, and the change of a phase."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import evolve

from noodle_upgrade_core.errors import (
    JournalError,
    JournalFullError,
    JournalSchemaError,
    LeaseHeldError,
    LeaseLostError,
    UpgradeUnknownError,
)
from noodle_upgrade_core.journal.contract import AuditRow, UpgradeRecord, way
from noodle_upgrade_core.journal.file import SqliteFile
from noodle_upgrade_core.journal.leases import Holder, this_process
from noodle_upgrade_core.journal.reads import Riding, SqliteReads
from noodle_upgrade_core.journal.rows import AUDIT, audit_values, lenient, pack, stamp, text, unstamp
from noodle_upgrade_core.journal.schema import SCHEMA_VERSION
from noodle_upgrade_core.model import Phase, now

__all__ = ["Effect", "SqliteWrites", "insert_rows"]

logger = logging.getLogger("noodle_upgrade")

_INSERT_AUDIT = f"INSERT INTO audit ({AUDIT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant

Effect = Callable[[sqlite3.Connection], Mapping[str, Any] | None]
"""What is done inside a change's transaction; returns evidence for its audit row."""


class SqliteWrites(SqliteReads):
    """A journal that can be written; what an upgrade's operations are made of."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_seconds: float = 5.0,
        soak_grace_seconds: float = 60.0,
        clock: Callable[[], datetime] = now,
        faults: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self._busy_seconds = busy_seconds
        self._grace = timedelta(seconds=soak_grace_seconds)
        self._clock = clock
        self._faults = faults
        self._number = 0
        self._holder = ""
        self._ttl = 0.0
        self._next_row = 1
        # The open upgrades of this controller. Nobody else writes them while the lease is ours, so that they need
        # not be read again for every phase.
        self._live: dict[str, UpgradeRecord] = {}

    # --- opening and closing -------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Open or make the file; raises `JournalCorruptError`, `JournalError`. A newer schema opens for `active`."""
        if self._file is None:
            self._file = SqliteFile(self.path, busy_seconds=self._busy_seconds, faults=self._faults)
        return self

    def close(self) -> None:
        """Write what rides, release the lease, close; may be called twice, and never raises for a lost lease."""
        file, number = self._file, self._number
        if file is None:
            return
        try:
            if number:
                self.release_lease()
                file.checkpoint()
        except JournalError as error:
            logger.warning("the journal was closed without its last rows: %s", error)
        finally:
            self._file = None
            self._number = 0
            self._live.clear()
            self._riding = Riding()
            file.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the lease -----------------------------------------------------------------------------------------------

    def acquire_lease(self, holder: str = "", *, ttl: float = 30.0) -> int:
        """Become the one controller and return the fencing number; raises `LeaseHeldError`.

        Without room on the disk it raises `JournalFullError`, which is then the journal's `refusal`; so does
        `JournalSchemaError` when a newer version has taken the file over since it was opened.
        """
        try:
            return self._acquire(holder, ttl)
        except (JournalFullError, JournalSchemaError) as refusal:
            self._opened().refuse(refusal)
            raise

    def _acquire(self, holder: str, ttl: float) -> int:
        file = self._opened()
        holder = holder or str(this_process())
        with file.lock, file.write(sync=True) as connection:
            at = self._clock()
            number, held_by, expires = connection.execute("SELECT number, holder, expires FROM lease").fetchone()
            ours = self._number != 0 and number == self._number
            if ours:
                _flush(connection, self._riding)
            elif held_by and unstamp(expires) > at and not _has_ended(held_by):
                raise LeaseHeldError(
                    f"{_in_words(held_by)} manages {self.path} already.",
                    hint="Stop that program, or name another state directory.",
                    details={"holder": held_by, "expires": expires},
                )
            file.migrate(connection)
            connection.execute(
                "UPDATE lease SET number = number + 1, holder = ?, expires = ?",
                (holder, stamp(at + timedelta(seconds=ttl))),
            )
            (last,) = connection.execute("SELECT coalesce(max(sequence), 0) FROM audit").fetchone()
        file.schema_version = SCHEMA_VERSION
        self._number, self._holder, self._ttl = number + 1, holder, ttl
        self._next_row = last + 1
        self._live.clear()
        self._riding = Riding()
        return self._number

    def renew_lease(self) -> datetime:
        """Hold on for another `ttl` seconds, and write what rides; raises `LeaseLostError`."""
        expires = self._clock() + timedelta(seconds=self._ttl)
        # Needs no sync: whoever could take over after a power loss finds this machine down.
        with self._transaction(sync=False) as connection:
            connection.execute("UPDATE lease SET expires = ?", (stamp(expires),))
        self._opened().checkpoint()
        return expires

    def release_lease(self) -> None:
        """Write what rides, and let others in at once."""
        if self._number:
            with self._transaction(sync=True) as connection:
                connection.execute("UPDATE lease SET holder = '', expires = ''")
            self._number = 0

    def _check_lease(self, connection: sqlite3.Connection) -> None:
        self._check_held()
        number, holder = connection.execute("SELECT number, holder FROM lease").fetchone()
        if number != self._number:
            raise LeaseLostError(
                f"This controller lost its lease on {self.path}: {holder or 'another one'} has taken over.",
                hint="Close this Upgrader; the newer one manages the state.",
                details={"number": self._number, "newest": number, "holder": holder},
            )

    def _check_held(self) -> None:
        self._opened().check_usable()
        if not self._number:
            raise LeaseLostError(f"This controller has no lease on {self.path}.", hint="Acquire it first.")

    # --- changes -----------------------------------------------------------------------------------------------------

    def _now(self) -> datetime:
        return self._clock()

    def _current(self, upgrade_id: str) -> UpgradeRecord:
        record = self._live.get(upgrade_id) or self.record(upgrade_id)
        if record is None:
            raise UpgradeUnknownError(
                f"No upgrade has the id {upgrade_id!r}.", hint="`noodle status` and `noodle history` list them."
            )
        return record

    def _change(
        self,
        upgrade_id: str,
        phase: Phase,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        durable: bool = True,
        effect: Effect | None = None,
        after: Effect | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> UpgradeRecord:
        """Bring one upgrade to a phase; `effect` runs before the rows are written, `after` behind them."""
        with self._opened().lock:
            record = self._current(upgrade_id)
            phases = way(record.phase, phase)
            if not phases:
                raise JournalError(
                    f"{upgrade_id} is {record.phase}, and {phase} cannot follow.",
                    details={"upgrade_id": upgrade_id, "phase": record.phase, "asked": phase},
                )
            at = self._clock()
            changed = evolve(record, phase=phase, updated_at=at, fence=self._number, **(fields or {}))

            def rows(found: Mapping[str, Any] | None) -> tuple[AuditRow, ...]:
                chain = zip((record.phase, *phases), phases, strict=False)
                noted = {**(lenient(evidence) if evidence else {}), **(found or {})}
                return tuple(
                    self._row(record, one, other, at=at, who=who, why=why, evidence=noted if other is phase else None)
                    for one, other in chain
                )

            self._apply(changed, rows, durable=durable, effect=effect, after=after)
        return changed

    def _row(
        self,
        record: UpgradeRecord,
        phase_from: Phase | None,
        phase: Phase,
        *,
        at: datetime,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None,
    ) -> AuditRow:
        row = AuditRow(
            sequence=self._next_row,
            upgrade_id=record.upgrade_id,
            phase_from=phase_from,
            phase=phase,
            at=at,
            who=text(who),
            why=text(why),
            evidence=evidence or {},
            fence=self._number,
        )
        self._next_row += 1
        return row

    def _apply(
        self,
        changed: UpgradeRecord,
        rows: Sequence[AuditRow] | Callable[[Mapping[str, Any] | None], Sequence[AuditRow]],
        *,
        durable: bool,
        plan: str = "",
        effect: Effect | None = None,
        after: Effect | None = None,
    ) -> None:
        """Let a change ride, or write it with all that rides."""
        numbered = self._next_row
        try:
            if durable:
                with self._transaction(sync=True, flush=False) as connection:
                    found = effect(connection) if effect is not None else None
                    made = rows(found) if callable(rows) else rows
                    _flush(connection, self._riding.joined(changed, made, plan=plan))
                    if after is not None:
                        after(connection)
                self._riding = Riding()
            else:
                self._check_held()
                made = rows(None) if callable(rows) else rows
                self._riding = self._riding.joined(changed, made, plan=plan)
        except BaseException:
            self._next_row = numbered
            raise
        if changed.phase.ended:
            self._live.pop(changed.upgrade_id, None)
        else:
            self._live[changed.upgrade_id] = changed

    def _write_riding(self) -> None:
        """Write what rides without waiting for the disk: no crash of the process can lose it from then on.

        Where it cannot be written it rides on, to the next write.
        """
        if self._riding.rows:
            with contextlib.suppress(JournalError), self._transaction(sync=False):
                pass

    @contextlib.contextmanager
    def _transaction(self, *, sync: bool, flush: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction under the lease, with all that rides."""
        file = self._opened()
        with file.lock:
            numbered = self._next_row
            try:
                with file.write(sync=sync) as connection:
                    self._check_lease(connection)
                    if flush:
                        _flush(connection, self._riding)
                    yield connection
            except BaseException:
                self._next_row = numbered
                raise
            if flush:
                self._riding = Riding()


def _in_words(holder: str) -> str:
    known = Holder.parse(holder)
    words = holder if known is None else known.in_words
    return words[:1].upper() + words[1:]


def _has_ended(holder: str) -> bool:
    parsed = Holder.parse(holder)
    return parsed is not None and parsed.is_dead()


def insert_rows(connection: sqlite3.Connection, rows: Sequence[AuditRow]) -> None:
    """Add rows to the audit."""
    connection.executemany(_INSERT_AUDIT, [audit_values(row) for row in rows])


def _flush(connection: sqlite3.Connection, riding: Riding) -> None:
    """Write what rides. The audit goes first: the schema lets no phase in that has no row there."""
    insert_rows(connection, riding.rows)
    for record in riding.records.values():
        if plan := riding.plans.get(record.upgrade_id):
            _insert_record(connection, record, plan)
        else:
            _update_record(connection, record)


def _insert_record(connection: sqlite3.Connection, record: UpgradeRecord, plan: str) -> None:
    connection.execute(
        "INSERT INTO upgrades (upgrade_id, created_at, plan_digest, plan, phase, updated_at, fence, soak_deadline,"
        " soak_tries, error, decision, result, evidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (record.upgrade_id, stamp(record.created_at), record.plan_digest, plan, *_changing(record)),
    )
    connection.executemany(
        "INSERT INTO members VALUES (?, ?, ?, ?, ?, ?, NULL)",
        [
            (
                record.upgrade_id,
                position,
                name,
                record.from_versions[name],
                record.to_versions[name],
                not record.phase.ended,
            )
            for position, name in enumerate(record.components)
        ],
    )


def _update_record(connection: sqlite3.Connection, record: UpgradeRecord) -> None:
    connection.execute(
        "UPDATE upgrades SET phase = ?, updated_at = ?, fence = ?, soak_deadline = ?, soak_tries = ?, error = ?,"
        " decision = ?, result = ?, evidence = ? WHERE upgrade_id = ?",
        (*_changing(record), record.upgrade_id),
    )
    is_open = not record.phase.ended
    if not is_open or record.phase is Phase.ROLLING_BACK:
        connection.execute(
            "UPDATE members SET open = ? WHERE upgrade_id = ? AND open <> ?", (is_open, record.upgrade_id, is_open)
        )


def _changing(record: UpgradeRecord) -> tuple[Any, ...]:
    return (
        record.phase,
        stamp(record.updated_at),
        record.fence,
        stamp(record.soak_deadline) if record.soak_deadline else None,
        record.soak_tries,
        pack(record.error),
        pack(record.decision),
        pack(record.result),
        pack(record.evidence),
    )
