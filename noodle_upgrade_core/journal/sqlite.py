"""The journal in one SQLite file: the default driver of `noodle_upgrade.journals`.

An upgrade takes two synced transactions, the intent and the commit. What rides costs only the rows that the next
transaction takes along.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import evolve

from noodle_upgrade_core.errors import (
    InvalidRequestError,
    JournalError,
    UpgradeBusyError,
    UpgradeError,
    VersionMismatchError,
)
from noodle_upgrade_core.hookspecs import ActiveVersion
from noodle_upgrade_core.journal import pointers
from noodle_upgrade_core.journal.contract import AuditRow, PointerMove, Recovery, UpgradeRecord
from noodle_upgrade_core.journal.keeping import SqliteDocuments
from noodle_upgrade_core.journal.rows import encode, lenient, nonces_of, pack, stamp, text
from noodle_upgrade_core.journal.writes import insert_rows
from noodle_upgrade_core.model import Phase, RollbackPoint, UpgradePlan, UpgradeResult
from noodle_upgrade_core.wire import to_wire

__all__ = ["SqliteJournal"]

_COMMITTED = frozenset({Phase.COMMITTED, Phase.SOAKING})
_BEFORE_INTENT = frozenset({Phase.RECEIVED, Phase.VALIDATED, Phase.APPROVED})
_ADVANCED = _BEFORE_INTENT | {Phase.STAGED, Phase.SOAKING}
_FINISHED = frozenset({Phase.DONE, Phase.REJECTED, Phase.ABORTED, Phase.STUCK})


class SqliteJournal(SqliteDocuments):
    """Durable state in the file `path`; see `Journal` for what every method promises.

    `busy_seconds` is how long a write waits for another program that has the file locked. `soak_grace_seconds` is how
    long after a soak's deadline a restart still finds it in time: a restart takes a while itself. `clock` and `faults`
    are for tests: `faults` is called with every SQL statement, and with `COMMITTED` after each commit.
    """

    # --- one upgrade ---------------------------------------------------------------------------------------------

    def begin(
        self, upgrade_id: str, plan: UpgradePlan, *, who: str, why: str = "", durable: bool = False
    ) -> UpgradeRecord:
        """RECEIVED; rides unless `durable`. Raises `UpgradeBusyError`, `InvalidRequestError`."""
        names = plan.component_names
        if not names or len(set(names)) != len(names):
            raise InvalidRequestError("An upgrade needs at least one component, and each of them once.")
        wire = to_wire(plan)
        at = self._clock()
        record = UpgradeRecord(
            upgrade_id=upgrade_id,
            phase=Phase.RECEIVED,
            plan=wire,
            plan_digest=plan.digest,
            components=names,
            from_versions={step.name: step.from_version for step in plan.steps},
            to_versions={step.name: step.to_version for step in plan.steps},
            created_at=at,
            updated_at=at,
            fence=self._number,
            nonces=nonces_of(wire),
        )
        with self._opened().lock:
            self._check_begin(record)
            rows = (self._row(record, None, Phase.RECEIVED, at=at, who=who, why=why, evidence=None),)
            self._apply(record, rows, durable=durable, plan=pack(wire) or "")
        return record

    def _check_begin(self, record: UpgradeRecord) -> None:
        self._check_held()
        query = _begin_query(len(record.nonces), len(record.components))
        held = []
        found = self._opened().own_rows(query, (record.upgrade_id, *record.nonces, *record.components))
        for kind, upgrade_id, what in found:
            if kind == "used":
                raise _used(what, upgrade_id)
            held.append((what, upgrade_id) if kind == "held" else ("", ""))
        if ("", "") in held or record.upgrade_id in self._riding.records:
            raise InvalidRequestError(f"There is an upgrade {record.upgrade_id} already.")
        self._check_free(record, held)

    def _check_free(self, record: UpgradeRecord, held: Sequence[tuple[str, str]]) -> None:
        """Refuse a component that another open upgrade has, by `held` of the file or in memory."""
        live = [(name, other.upgrade_id) for other in self._live.values() for name in other.components]
        # What rides is newer than the file: an upgrade may have ended there already.
        ended = {key for key, riding in self._riding.records.items() if riding.phase.ended}
        busy = {
            name: holder
            for name, holder in (*held, *live)
            if name in record.from_versions and holder != record.upgrade_id and holder not in ended
        }
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
        if phase not in _ADVANCED:
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
                self._expect(connection, record, name)

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
                        encode(point),
                    )
                    for point in rollback_points
                ],
            )

        return self._change(upgrade_id, Phase.SHIFTING, who=who, why=why, evidence=evidence, effect=effect, after=after)

    def _expect(self, connection: sqlite3.Connection, record: UpgradeRecord, name: str) -> None:
        version, target = record.from_versions[name], record.to_versions[name]
        pointer = pointers.pointer(connection, name)
        if pointer is None:
            pointers.first_sight(connection, name, version)
        elif not pointers.same_version(pointer.version, version):
            # A start that could not bring a version back leaves the journal at it. To go to that very version is what
            # mends it, and takes nothing away from anybody.
            lost = pointers.same_version(pointer.version, target)
            if pointer.artifact is not None and not lost:
                raise VersionMismatchError(
                    f"The journal has {name} at {pointer.version}, and the plan is for {version}.",
                    hint=f"Plan again; if {version} runs because {pointer.version} could not be restored, upgrade to"
                    f" {pointer.version} first: `noodle upgrade {name} {pointer.version}`.",
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
        before: list[pointers.Pointer] = []

        def effect(connection: sqlite3.Connection) -> Mapping[str, Any]:
            before.clear()
            moved = []
            for move in moves:
                expected = record.from_versions[move.component_name]
                was, entry = pointers.move(connection, move, upgrade_id=upgrade_id, expected=expected)
                before.append(was)
                moved.append(entry)
            return {"moves": moved}

        def after(connection: sqlite3.Connection) -> None:
            pointers.keep_before(connection, upgrade_id, before)
            at = stamp(self._clock())
            for nonce in record.nonces:
                values = (nonce, upgrade_id, at)
                if not connection.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?, ?)", values).rowcount:
                    used = connection.execute("SELECT upgrade_id FROM nonces WHERE nonce = ?", (nonce,)).fetchone()
                    raise _used(nonce, used[0])

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
        """ROLLING_BACK: durable, except from SHIFTING, whose restart goes back anyway.

        From DONE only while every pointer is at the version that it brought, else `VersionMismatchError`.
        """
        with self._opened().lock:
            record = self._current(upgrade_id)
            if record.phase is Phase.DONE:
                marks = ", ".join("?" * len(record.components))
                held = "SELECT component_name, upgrade_id FROM members WHERE open = 1"
                query = f"{held} AND component_name IN ({marks})"
                self._check_free(record, [(row[0], row[1]) for row in self._rows(query, record.components)])
            fields = {} if error is None else {"error": lenient(error)}
            durable = record.phase is not Phase.SHIFTING
            effect = functools.partial(pointers.check_reached, record) if record.phase is Phase.DONE else None
            return self._change(
                upgrade_id, Phase.ROLLING_BACK, who=who, why=why, durable=durable, effect=effect, fields=fields
            )

    def rolled_back(
        self,
        upgrade_id: str,
        moves: Sequence[PointerMove] = (),
        *,
        who: str,
        why: str,
        error: UpgradeError | None = None,
        result: UpgradeResult | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> UpgradeRecord:
        """ROLLED_BACK, durable: generations grow, pointers that were moved go back; raises `VersionMismatchError`."""
        fields = _ending(error, result)
        return self._take_back(upgrade_id, moves, who=who, why=why, fields=fields, evidence=evidence)[0]

    def _take_back(
        self,
        upgrade_id: str,
        moves: Sequence[PointerMove],
        *,
        who: str,
        why: str,
        fields: dict[str, Any],
        evidence: Mapping[str, Any] | None = None,
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

        changed = self._change(
            upgrade_id, Phase.ROLLED_BACK, who=who, why=why, evidence=evidence, effect=effect, fields=fields
        )
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
        """DONE, REJECTED, ABORTED (written, and not waited for: a restart comes to the same end), or STUCK (durable).

        DONE after ROLLING_BACK is durable too: `VersionMismatchError` unless all pointers are at the new version.
        """
        if phase not in _FINISHED:
            raise JournalError(f"An upgrade does not finish as {phase}.", hint="Use rolled_back for ROLLED_BACK.")
        record = self._current(upgrade_id)
        stays = phase is Phase.DONE and record.phase is Phase.ROLLING_BACK
        # A restart that finds a soak whose time has passed goes back: that it ended well must not be lost.
        soaked = phase is Phase.DONE and record.soak_deadline is not None
        changed = self._change(
            upgrade_id,
            phase,
            who=who,
            why=why,
            evidence=evidence,
            durable=durable or stays or soaked or phase is Phase.STUCK,
            effect=functools.partial(pointers.check_reached, record) if stays else None,
            fields=_ending(error, result),
        )
        self._write_riding()
        return changed

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
        insert_rows(connection, (row,))
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
        became = found
        moves: tuple[PointerMove, ...] = ()
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
        left = record.soak_tries - 1
        if record.phase is Phase.COMMITTED:
            why = "found committed, before its soak had begun"
            self._change(record.upgrade_id, Phase.SOAKING, who=who, why=why, fields={"soak_tries": left})
        else:
            changed = evolve(record, soak_tries=left, updated_at=self._clock(), fence=self._number)
            self._apply(changed, (), durable=True)
        return Phase.SOAKING


@functools.cache
def _begin_query(nonces: int, components: int) -> str:
    """Return what asks for all that could be in the way of a new upgrade."""
    return (
        "SELECT 'known', upgrade_id, '' FROM upgrades WHERE upgrade_id = ?"  # noqa: S608 - only marks
        f" UNION ALL SELECT 'used', upgrade_id, nonce FROM nonces WHERE nonce IN ({', '.join('?' * nonces)})"
        f" UNION ALL SELECT 'held', upgrade_id, component_name FROM members WHERE open = 1"
        f" AND component_name IN ({', '.join('?' * components)})"
    )


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
