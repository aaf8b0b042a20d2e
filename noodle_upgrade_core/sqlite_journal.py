"""The journal in one SQLite file: the default driver of `noodle_upgrade.journals`.

An upgrade takes two synced transactions, the intent and the commit. What rides costs only the rows that the next
transaction takes along.
"""

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

from noodle_upgrade_core import sqlite_pointers as pointers
from noodle_upgrade_core.errors import (
    InvalidRequestError,
    JournalError,
    LeaseHeldError,
    LeaseLostError,
    UpgradeBusyError,
    UpgradeError,
    UpgradeUnknownError,
    VersionMismatchError,
)
from noodle_upgrade_core.hookspecs import ActiveVersion
from noodle_upgrade_core.journal import AuditRow, PointerMove, Recovery, UpgradeRecord, way
from noodle_upgrade_core.leases import Holder, this_process
from noodle_upgrade_core.model import Phase, RollbackPoint, UpgradePlan, UpgradeResult, now
from noodle_upgrade_core.sqlite_file import SqliteFile
from noodle_upgrade_core.sqlite_reads import Riding, SqliteReads
from noodle_upgrade_core.sqlite_rows import AUDIT, audit_values, lenient, nonces_of, pack, stamp, text, unstamp
from noodle_upgrade_core.wire import to_wire

__all__ = ["SqliteJournal"]

logger = logging.getLogger("noodle_upgrade")

_COMMITTED = frozenset({Phase.COMMITTED, Phase.SOAKING})
_BEFORE_INTENT = frozenset({Phase.RECEIVED, Phase.VALIDATED, Phase.APPROVED})


class SqliteJournal(SqliteReads):
    """Durable state in the file `path`; see `Journal` for what every method promises.

    `busy_seconds` is how long a write waits for another program that has the file locked. `soak_grace_seconds` is how
    long after a soak's deadline a restart still finds it in time: a restart takes a while itself. `clock` and `faults`
    are for tests: `faults` is called with every SQL statement, and with `COMMITTED` after each commit.
    """

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
        """Become the one controller and return the fencing number; raises `LeaseHeldError`."""
        file = self._opened()
        holder = holder or str(this_process())
        with file.lock, file.write(sync=True) as connection:
            at = self._clock()
            number, held_by, expires = connection.execute("SELECT number, holder, expires FROM lease").fetchone()
            ours = self._number != 0 and number == self._number
            if held_by and not ours and unstamp(expires) > at and not _has_ended(held_by):
                raise LeaseHeldError(
                    f"Another controller, {held_by}, manages {self.path} until {expires}.",
                    hint="Stop that program, or name another state directory.",
                    details={"holder": held_by, "expires": expires},
                )
            connection.execute(
                "UPDATE lease SET number = number + 1, holder = ?, expires = ?",
                (holder, stamp(at + timedelta(seconds=ttl))),
            )
            (last,) = connection.execute("SELECT coalesce(max(sequence), 0) FROM audit").fetchone()
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
        number, holder = connection.execute("SELECT number, holder FROM lease").fetchone()
        if number != self._number:
            raise LeaseLostError(
                f"This controller has no lease on {self.path}"
                + (f": {holder or 'another one'} has taken over." if self._number else "."),
                hint="Close this Upgrader; the newer one manages the state." if self._number else "Acquire it first.",
                details={"number": self._number, "newest": number, "holder": holder},
            )

    # --- one upgrade ---------------------------------------------------------------------------------------------

    def begin(
        self, upgrade_id: str, plan: UpgradePlan, *, who: str, why: str = "", durable: bool = False
    ) -> UpgradeRecord:
        """RECEIVED; rides unless `durable`. Raises `UpgradeBusyError`, `InvalidRequestError`."""
        wire = to_wire(plan)
        at = self._clock()
        record = UpgradeRecord(
            upgrade_id=upgrade_id,
            phase=Phase.RECEIVED,
            plan=wire,
            plan_digest=plan.digest,
            components=plan.component_names,
            from_versions={step.name: step.from_version for step in plan.steps},
            to_versions={step.name: step.to_version for step in plan.steps},
            created_at=at,
            updated_at=at,
            fence=self._number,
            nonces=nonces_of(wire),
        )
        if not record.components or len(set(record.components)) != len(record.components):
            raise InvalidRequestError("An upgrade needs at least one component, and each of them once.")
        with self._opened().lock:
            self._check_begin(record)
            rows = (self._row(record, None, Phase.RECEIVED, at=at, who=who, why=why, evidence=None),)
            self._apply(record, rows, durable=durable, fresh=True)
        return record

    def _check_begin(self, record: UpgradeRecord) -> None:
        self._opened().check_usable()
        if self.record(record.upgrade_id) is not None:
            raise InvalidRequestError(f"There is an upgrade {record.upgrade_id} already.")
        for nonce in record.nonces:
            for (used_by,) in self._rows("SELECT upgrade_id FROM nonces WHERE nonce = ?", (nonce,)):
                raise _used(nonce, used_by)
        self._check_free(record)

    def _check_free(self, record: UpgradeRecord) -> None:
        busy = {
            name: other.upgrade_id
            for other in self._live.values()
            for name in other.components
            if name in record.components and other.upgrade_id != record.upgrade_id
        }
        for name in record.components:
            query = "SELECT upgrade_id FROM members WHERE component_name = ? AND open = 1"
            for (other_id,) in self._rows(query, (name,)):
                # What rides is newer than the file: an upgrade may have ended there already.
                riding = self._riding.records.get(other_id)
                if other_id != record.upgrade_id and not (riding is not None and riding.phase.ended):
                    busy[name] = other_id
        if busy:
            raise UpgradeBusyError(
                f"{', '.join(busy)} is being changed by {', '.join(sorted(set(busy.values())))}.",
                hint="Wait for it, or cancel it: `noodle status`, `noodle cancel`.",
                details={"busy": busy},
            )

    def advance(
        self,
        upgrade_id: str,
        phase: Phase,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        durable: bool = False,
        decision: object | None = None,
        soak_seconds: float = 0.0,
        soak_tries: int = 3,
    ) -> UpgradeRecord:
        """VALIDATED, APPROVED, STAGED (they ride), SOAKING (durable); raises `JournalError` for another order."""
        fields: dict[str, Any] = {} if decision is None else {"decision": lenient(decision)}
        if phase not in {*_BEFORE_INTENT, Phase.STAGED, Phase.SOAKING}:
            raise JournalError(
                f"{phase} is not reached by advancing.", hint="Use intend, commit, rolled_back or finish."
            )
        if phase is Phase.SOAKING:
            fields.update(self._soak(soak_seconds, soak_tries))
        durable = durable or phase is Phase.SOAKING
        return self._change(upgrade_id, phase, who=who, why=why, evidence=evidence, durable=durable, fields=fields)

    def intend(
        self,
        upgrade_id: str,
        rollback_points: Sequence[RollbackPoint] = (),
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> UpgradeRecord:
        """SHIFTING, durable, with the rollback points and all that rides; raises `VersionMismatchError`."""
        record = self._current(upgrade_id)
        if foreign := [p.rollback_id for p in rollback_points if p.upgrade_id != upgrade_id]:
            raise InvalidRequestError(f"The rollback point {foreign[0]} belongs to another upgrade.")

        def effect(connection: sqlite3.Connection) -> None:
            for name in record.components:
                self._expect(connection, name, record.from_versions[name])

        def after(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO rollback_points (rollback_id, upgrade_id, component_name, expires_at, point)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (
                        point.rollback_id,
                        upgrade_id,
                        point.component_name,
                        stamp(point.expires_at) if point.expires_at else None,
                        pack(to_wire(point)),
                    )
                    for point in rollback_points
                ],
            )

        return self._change(upgrade_id, Phase.SHIFTING, who=who, why=why, evidence=evidence, effect=effect, after=after)

    def _expect(self, connection: sqlite3.Connection, name: str, version: str) -> None:
        pointer = pointers.pointer(connection, name)
        if pointer is None:
            pointers.first_sight(connection, name, version)
        elif not pointers.same_version(pointer.version, version):
            if pointer.artifact is not None:
                raise VersionMismatchError(
                    f"The journal has {name} at {pointer.version}, and the plan is for {version}.",
                    hint="Plan again.",
                    details={"component_name": name, "found": pointer.version, "expected": version},
                )
            self._follow(connection, name, version)

    def commit(
        self,
        upgrade_id: str,
        moves: Sequence[PointerMove],
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        soak_seconds: float = 0.0,
        soak_tries: int = 3,
    ) -> UpgradeRecord:
        """COMMITTED: pointers, generations, phase, audit and nonces in one synced transaction, or nothing."""
        record = self._current(upgrade_id)
        pointers.check_set(record, moves)
        before: list[ActiveVersion] = []

        def effect(connection: sqlite3.Connection) -> Mapping[str, Any]:
            before.clear()
            moved = []
            for move in moves:
                expected = move.expected_version or record.from_versions[move.component_name]
                was, entry = pointers.move(connection, evolve(move, expected_version=expected), upgrade_id=upgrade_id)
                before.append(was)
                moved.append(entry)
            return {"moves": moved}

        def after(connection: sqlite3.Connection) -> None:
            pointers.keep_before(connection, upgrade_id, before)
            at = stamp(self._clock())
            for nonce in record.nonces:
                used = connection.execute("SELECT upgrade_id FROM nonces WHERE nonce = ?", (nonce,)).fetchone()
                if used is not None:
                    raise _used(nonce, used[0])
                connection.execute("INSERT INTO nonces VALUES (?, ?, ?)", (nonce, upgrade_id, at))

        return self._change(
            upgrade_id,
            Phase.COMMITTED,
            who=who,
            why=why,
            evidence=evidence,
            effect=effect,
            after=after,
            fields=self._soak(soak_seconds, soak_tries) if soak_seconds > 0 else {},
        )

    def _soak(self, seconds: float, tries: int) -> dict[str, Any]:
        return {"soak_deadline": self._clock() + timedelta(seconds=seconds), "soak_tries": max(0, tries)}

    def rolling_back(self, upgrade_id: str, *, who: str, why: str, error: UpgradeError | None = None) -> UpgradeRecord:
        """ROLLING_BACK: durable, except from SHIFTING, whose restart goes back anyway."""
        with self._opened().lock:
            record = self._current(upgrade_id)
            if record.phase is Phase.DONE:
                self._check_free(record)
            fields = {} if error is None else {"error": lenient(error)}
            durable = record.phase is not Phase.SHIFTING
            return self._change(upgrade_id, Phase.ROLLING_BACK, who=who, why=why, durable=durable, fields=fields)

    def rolled_back(
        self,
        upgrade_id: str,
        moves: Sequence[PointerMove] = (),
        *,
        who: str,
        why: str,
        error: UpgradeError | None = None,
        result: UpgradeResult | None = None,
    ) -> UpgradeRecord:
        """ROLLED_BACK, durable: generations grow, pointers that were moved go back; raises `VersionMismatchError`."""
        return self._take_back(upgrade_id, moves, who=who, why=why, fields=_ending(error, result))[0]

    def _take_back(
        self, upgrade_id: str, moves: Sequence[PointerMove], *, who: str, why: str, fields: dict[str, Any]
    ) -> tuple[UpgradeRecord, tuple[PointerMove, ...]]:
        record = self._current(upgrade_id)
        made: list[PointerMove] = []
        asked = {move.component_name: move for move in moves}
        if strange := sorted(asked.keys() - set(record.components)):
            raise InvalidRequestError(f"{upgrade_id} is not about {', '.join(strange)}.")
        for name, move in asked.items():
            if not pointers.same_version(move.version, record.from_versions[name]):
                raise InvalidRequestError(
                    f"{upgrade_id} goes back to {name} {record.from_versions[name]}, not to {move.version}."
                )

        def effect(connection: sqlite3.Connection) -> Mapping[str, Any]:
            made.clear()
            befores = pointers.befores(connection, upgrade_id)
            if befores is None:
                grown = [pointers.grow(connection, name) for name in record.components]
                return {"moves": [entry for entry in grown if entry is not None]}
            # A set goes back whole: what was not named goes to where it was.
            made.extend({**befores, **asked}.values())
            return {"moves": [pointers.move(connection, move, upgrade_id=upgrade_id)[1] for move in made]}

        changed = self._change(upgrade_id, Phase.ROLLED_BACK, who=who, why=why, effect=effect, fields=fields)
        return changed, tuple(made)

    def finish(
        self,
        upgrade_id: str,
        phase: Phase,
        *,
        who: str,
        why: str,
        error: UpgradeError | None = None,
        result: UpgradeResult | None = None,
        evidence: Mapping[str, Any] | None = None,
        durable: bool = False,
    ) -> UpgradeRecord:
        """DONE, REJECTED, ABORTED (they ride: a restart comes to the same end), or STUCK (durable)."""
        if phase not in {Phase.DONE, Phase.REJECTED, Phase.ABORTED, Phase.STUCK}:
            raise JournalError(f"An upgrade does not finish as {phase}.", hint="Use rolled_back for ROLLED_BACK.")
        durable = durable or phase is Phase.STUCK
        fields = _ending(error, result)
        return self._change(upgrade_id, phase, who=who, why=why, evidence=evidence, durable=durable, fields=fields)

    def record_approval(self, upgrade_id: str, plan_digest: str, *, who: str, at: datetime, nonce: str) -> bool:
        """Keep an approval, durable; False when this person has approved this plan already."""
        with self._opened().lock:
            self._current(upgrade_id)
            with self._transaction(sync=True) as connection:
                if connection.execute("SELECT 1 FROM approvals WHERE nonce = ?", (nonce,)).fetchone() is not None:
                    raise InvalidRequestError(
                        "This approval was given before.", hint="Approve again, with a new nonce."
                    )
                query = "SELECT 1 FROM approvals WHERE upgrade_id = ? AND who = ? AND plan_digest = ?"
                if connection.execute(query, (upgrade_id, text(who), plan_digest)).fetchone() is not None:
                    return False
                connection.execute(
                    "INSERT INTO approvals (upgrade_id, plan_digest, who, at, nonce) VALUES (?, ?, ?, ?, ?)",
                    (upgrade_id, plan_digest, text(who), stamp(at), nonce),
                )
        return True

    # --- what runs -----------------------------------------------------------------------------------------------

    def observe_active(self, component_name: str, version: str) -> ActiveVersion:
        """Note what the environment provides: a first sight makes the pointer, one without an artefact follows."""
        with self._opened().lock:
            known = self.active_of(component_name)
            if known is not None and (known.version == version or known.artifact is not None):
                return known
            held = any(component_name in record.components for record in self.open_upgrades())
            if known is not None and held:
                return known
            with self._transaction(sync=False) as connection:
                if known is None:
                    pointers.first_sight(connection, component_name, version)
                else:
                    self._follow(connection, component_name, version)
            seen = self.active_of(component_name)
        if seen is None:
            raise JournalError(f"{component_name} was noted, and is not there.")
        return seen

    def _follow(self, connection: sqlite3.Connection, component_name: str, version: str) -> None:
        to = PointerMove(component_name=component_name, version=version, artifact=None)
        _, entry = pointers.move(connection, to, upgrade_id="")
        row = AuditRow(
            sequence=self._next_row,
            upgrade_id="",
            phase_from=None,
            phase=None,
            at=self._clock(),
            who="environment",
            why=f"{component_name} was changed outside of any upgrade",
            evidence={"moves": [entry]},
            fence=self._number,
        )
        _insert_rows(connection, (row,))
        self._next_row += 1

    # --- rollback points -----------------------------------------------------------------------------------------

    def expire_rollback_points(self, max_points: int, *, before: datetime | None = None) -> tuple[RollbackPoint, ...]:
        """Expire and return what need not be kept; points of an open upgrade stay."""
        with self._opened().lock:
            held = {record.upgrade_id for record in self.open_upgrades()}
            kept: dict[str, int] = {}
            expired = []
            at = self._clock()
            # All of them, also those whose time has passed: only then do they let go of their bytes.
            rows = self._rows("SELECT rollback_id FROM rollback_points WHERE expired = 0")
            unexpired = {row[0] for row in rows}
            for point in self.rollback_points(include_expired=True):
                if point.rollback_id not in unexpired or point.upgrade_id in held:
                    continue
                kept[point.component_name] = kept.get(point.component_name, 0) + 1
                late = point.expires_at is not None and point.expires_at <= at
                old = before is not None and point.created_at < before
                if late or old or kept[point.component_name] > max_points:
                    expired.append(point)
            if expired:
                with self._transaction(sync=False) as connection:
                    connection.executemany(
                        "UPDATE rollback_points SET expired = 1 WHERE rollback_id = ?",
                        [(point.rollback_id,) for point in expired],
                    )
        return tuple(expired)

    def digests(self) -> frozenset[str]:
        """Return the artefacts and states that must stay in the store; synced, so that the rest can really go."""
        with self._opened().lock:
            with self._transaction(sync=True) as connection:
                # A write, however small, so that there is something to sync: what is not named any more is so for good.
                connection.execute("UPDATE lease SET holder = holder")
            return self._named_digests()

    # --- after a crash -------------------------------------------------------------------------------------------

    def recover(self, who: str) -> tuple[Recovery, ...]:
        """Bring every upgrade that an earlier controller left open to where a restart leaves it; idempotent."""
        with self._opened().lock:
            left = [record for record in self.open_upgrades() if record.fence != self._number]
            return tuple(self._recover(record, who) for record in left)

    def _recover(self, record: UpgradeRecord, who: str) -> Recovery:
        found, upgrade_id = record.phase, record.upgrade_id
        became, moves = found, ()
        if found in _BEFORE_INTENT:
            self.finish(upgrade_id, Phase.ABORTED, who=who, why=f"found {found}: nothing had happened", durable=True)
            became = Phase.ABORTED
        elif found in _COMMITTED and record.soak_deadline is None:
            self.finish(
                upgrade_id, Phase.DONE, who=who, why="found committed, with nothing left to wait for", durable=True
            )
            became = Phase.DONE
        elif found in _COMMITTED and (late := self._run_out(record)) == "":
            became = self._soak_on(record, who)
        elif found is not Phase.STUCK:
            why = f"found {found}: {late}" if found in _COMMITTED else f"found {found}: it had not been committed"
            _, moves = self._take_back(upgrade_id, (), who=who, why=why, fields={})
            became = Phase.ROLLED_BACK
        return Recovery(upgrade_id=upgrade_id, found=found, became=became, moves=moves)

    def _run_out(self, record: UpgradeRecord) -> str:
        """Say why a soak is over for a restart; empty while it may go on."""
        if record.soak_tries <= 0:
            return "its restarts while it soaked are used up"
        if record.soak_deadline is not None and self._clock() > record.soak_deadline + self._grace:
            return "its soak ran out before anybody had judged it"
        return ""

    def _soak_on(self, record: UpgradeRecord, who: str) -> Phase:
        """Count this restart, once for each lease: a recovery that is run again finds its own number there."""
        fields = {"soak_tries": record.soak_tries - 1}
        if record.phase is Phase.COMMITTED:
            why = "found committed, before its soak had begun"
            self._change(record.upgrade_id, Phase.SOAKING, who=who, why=why, fields=fields)
        else:
            changed = evolve(record, **fields, updated_at=self._clock(), fence=self._number)
            self._apply(changed, (), durable=True)
        return Phase.SOAKING

    # --- inside --------------------------------------------------------------------------------------------------

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
        effect: Callable[[sqlite3.Connection], Mapping[str, Any] | None] | None = None,
        after: Callable[[sqlite3.Connection], None] | None = None,
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
        fresh: bool = False,
        effect: Callable[[sqlite3.Connection], Mapping[str, Any] | None] | None = None,
        after: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Let a change ride, or write it with all that rides."""
        numbered = self._next_row
        try:
            if durable:
                with self._transaction(sync=True, flush=False) as connection:
                    found = effect(connection) if effect is not None else None
                    made = rows(found) if callable(rows) else rows
                    _flush(connection, self._riding.joined(changed, made, fresh=fresh))
                    if after is not None:
                        after(connection)
                self._riding = Riding()
            else:
                made = rows(None) if callable(rows) else rows
                self._riding = self._riding.joined(changed, made, fresh=fresh)
        except BaseException:
            self._next_row = numbered
            raise
        if changed.phase.ended:
            self._live.pop(changed.upgrade_id, None)
        else:
            self._live[changed.upgrade_id] = changed

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


def _has_ended(holder: str) -> bool:
    parsed = Holder.parse(holder)
    return parsed is not None and parsed.is_dead()


def _used(nonce: str, upgrade_id: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The request {nonce} was carried out already, by {upgrade_id}.",
        hint="Make a new request: each is carried out once.",
        details={"request_id": nonce, "upgrade_id": upgrade_id},
    )


def _ending(error: UpgradeError | None, result: UpgradeResult | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if error is not None:
        fields["error"] = lenient(error)
    if result is not None:
        fields["result"] = lenient(result)
    return fields


def _insert_rows(connection: sqlite3.Connection, rows: Sequence[AuditRow]) -> None:
    query = f"INSERT INTO audit ({AUDIT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant
    connection.executemany(query, [audit_values(row) for row in rows])


def _flush(connection: sqlite3.Connection, riding: Riding) -> None:
    """Write what rides. The audit goes first: the schema lets no phase in that has no row there."""
    _insert_rows(connection, riding.rows)
    for record in riding.records.values():
        if record.upgrade_id in riding.fresh:
            _insert_record(connection, record)
        else:
            _update_record(connection, record)


def _insert_record(connection: sqlite3.Connection, record: UpgradeRecord) -> None:
    connection.execute(
        "INSERT INTO upgrades (upgrade_id, created_at, plan_digest, plan, phase, updated_at, fence, soak_deadline,"
        " soak_tries, error, decision, result, evidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (record.upgrade_id, stamp(record.created_at), record.plan_digest, pack(record.plan), *_changing(record)),
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
