"""Deliberate bugs in the protocol, the journal and the store. A matrix that does not catch them proves nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from noodle_upgrade_core.journal import Recovery
from noodle_upgrade_core.journal import file as sqlite_file
from noodle_upgrade_core.journal import pointers as sqlite_pointers
from noodle_upgrade_core.journal import reads as sqlite_reads
from noodle_upgrade_core.journal import sqlite as sqlite_journal
from noodle_upgrade_core.journal import writes as sqlite_writes
from noodle_upgrade_core.journal.rows import pack, unpack
from noodle_upgrade_core.journal.sqlite import SqliteJournal
from noodle_upgrade_core.model import Phase
from noodle_upgrade_core.store import ContentStore
from noodle_upgrade_core.store.archives import Wheel
from noodle_upgrade_core.wire import to_wire

from .scenarios import World

Patch = Callable[[object, str, Any], None]


@frozen
class Bug:
    """A bug and how to plant it: by `patch(owner, name, value)`, which is undone afterwards."""

    name: str
    plant: Callable[[Patch], None]


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Plant a bug for the length of a block."""
    undo: list[tuple[object, str, Any]] = []

    def patch(owner: object, name: str, value: Any) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    try:
        bug.plant(patch)
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


def _without(patch: Patch, *names: str) -> None:
    """Leave triggers out of the schema, which would refuse the bug at once."""
    kept = tuple(s for s in sqlite_file.SCHEMA if not any(s.startswith(f"CREATE TRIGGER {name} ") for name in names))
    patch(sqlite_file, "SCHEMA", kept)


# --- the order of things -----------------------------------------------------------------------------------------


def _stores_late(patch: Patch) -> None:
    patch(World, "stores_late", True)


def _shows_early(patch: Patch) -> None:
    patch(World, "shows_early", True)


# --- the commit ----------------------------------------------------------------------------------------------------


def _moves_first(*, together: bool) -> Callable[[Patch], None]:
    """Pointers in a transaction of their own (or one each), the phase in the next."""

    def plant(patch: Patch) -> None:
        def commit(self: Any, upgrade_id: str, moves: Any, *, who: str, why: str, **soak: Any) -> Any:
            entries, before = [], []

            def move(connection: Any, some: Any) -> None:
                for one in some:
                    was, entry = sqlite_pointers.move(connection, one, upgrade_id=upgrade_id)
                    entries.append(entry)
                    before.append(was)

            for some in [moves] if together else [[one] for one in moves]:
                with self._transaction(sync=True) as connection:
                    move(connection, some)

            def after(connection: Any) -> None:
                sqlite_pointers.keep_before(connection, upgrade_id, before)
                for nonce in self._current(upgrade_id).nonces:
                    connection.execute("INSERT INTO nonces VALUES (?, ?, '')", (nonce, upgrade_id))

            seconds = soak.get("soak_seconds", 0.0)
            fields = self._soak(seconds, soak.get("soak_tries", 3)) if seconds else {}
            return self._change(
                upgrade_id,
                Phase.COMMITTED,
                who=who,
                why=why,
                effect=lambda _: {"moves": entries},
                after=after,
                fields=fields,
            )

        patch(SqliteJournal, "commit", commit)

    return plant


def _commit_later(patch: Patch) -> None:
    """The commit is acknowledged, and written with the next phase."""
    waiting: dict[str, Callable[[], Any]] = {}
    commit = SqliteJournal.commit

    def postponed(self: Any, upgrade_id: str, *args: Any, **kwargs: Any) -> Any:
        waiting[upgrade_id] = lambda: commit(self, upgrade_id, *args, **kwargs)
        return self._current(upgrade_id)

    patch(SqliteJournal, "commit", postponed)
    for name in ("finish", "advance", "rolling_back"):
        original = getattr(SqliteJournal, name)

        def first(self: Any, upgrade_id: str, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            if upgrade_id in waiting:
                waiting.pop(upgrade_id)()
            return original(self, upgrade_id, *args, **kwargs)

        patch(SqliteJournal, name, first)


def _no_nonce(patch: Patch) -> None:
    patch(sqlite_journal, "nonces_of", lambda _: ())


def _no_before(patch: Patch) -> None:
    patch(sqlite_pointers, "keep_before", lambda *_: None)


def _generation_stays(patch: Patch) -> None:
    patch(sqlite_pointers, "grow", lambda *_: None)


# --- the intent ----------------------------------------------------------------------------------------------------


def _insert_points(connection: Any, upgrade_id: str, points: Any) -> None:
    for point in points:
        connection.execute(
            "INSERT INTO rollback_points (rollback_id, upgrade_id, component_name, point) VALUES (?, ?, ?, ?)",
            (point.rollback_id, upgrade_id, point.component_name, pack(to_wire(point))),
        )


def _intent_rides(patch: Patch) -> None:
    waiting: dict[str, Any] = {}
    commit, rolled_back = SqliteJournal.commit, SqliteJournal.rolled_back

    def intend(self: Any, upgrade_id: str, points: Any = (), *, who: str, why: str) -> Any:
        waiting[upgrade_id] = points
        return self._change(upgrade_id, Phase.SHIFTING, who=who, why=why, durable=False)

    def catch_up(self: Any, upgrade_id: str) -> None:
        record = self._current(upgrade_id)
        with self._transaction(sync=True) as connection:
            for name in record.components:
                self._expect(connection, record, name)
            _insert_points(connection, upgrade_id, waiting.pop(upgrade_id, ()))

    def late_commit(self: Any, upgrade_id: str, *args: Any, **kwargs: Any) -> Any:
        catch_up(self, upgrade_id)
        return commit(self, upgrade_id, *args, **kwargs)

    def late_back(self: Any, upgrade_id: str, *args: Any, **kwargs: Any) -> Any:
        if upgrade_id in waiting:
            catch_up(self, upgrade_id)
        return rolled_back(self, upgrade_id, *args, **kwargs)

    patch(SqliteJournal, "intend", intend)
    patch(SqliteJournal, "commit", late_commit)
    patch(SqliteJournal, "rolled_back", late_back)


def _points_later(patch: Patch) -> None:
    intend = SqliteJournal.intend

    def without(self: Any, upgrade_id: str, points: Any = (), **kwargs: Any) -> Any:
        record = intend(self, upgrade_id, (), **kwargs)
        with self._transaction(sync=True) as connection:
            _insert_points(connection, upgrade_id, points)
        return record

    patch(SqliteJournal, "intend", without)


# --- the end -------------------------------------------------------------------------------------------------------


def _done_rides(patch: Patch) -> None:
    """That a soak ended well is only kept in memory until something else is written."""
    change = SqliteJournal._change

    def riding(self: Any, upgrade_id: str, phase: Phase, **said: Any) -> Any:
        if phase is Phase.DONE and self._current(upgrade_id).phase is Phase.SOAKING:
            said["durable"] = False
        return change(self, upgrade_id, phase, **said)

    patch(SqliteJournal, "_change", riding)
    patch(SqliteJournal, "_write_riding", lambda _: None)


def _checkpoint_fails_the_commit(patch: Patch) -> None:
    """The log is brought into the file within the write, and what that comes to is told as what the commit came to."""
    write = sqlite_file.SqliteFile.write
    due = sqlite_file._CHECKPOINT_AFTER
    patch(sqlite_file, "_CHECKPOINT_AFTER", sys.maxsize)

    @contextlib.contextmanager
    def with_checkpoint(self: Any, *, sync: bool) -> Iterator[Any]:
        with write(self, sync=sync) as connection:
            yield connection
        if self._since_checkpoint >= due:
            self.checkpoint()

    patch(sqlite_file.SqliteFile, "write", with_checkpoint)


# --- the audit -----------------------------------------------------------------------------------------------------


def _no_audit(patch: Patch) -> None:
    insert = sqlite_writes.insert_rows
    _without(patch, "audit_chained", "phase_audited")
    patch(
        sqlite_writes,
        "insert_rows",
        lambda connection, rows: insert(connection, [row for row in rows if row.phase is not Phase.COMMITTED]),
    )


def _audit_later(patch: Patch) -> None:
    insert, change = sqlite_writes.insert_rows, SqliteJournal._change
    late: list[Any] = []
    _without(patch, "audit_chained", "phase_audited")

    def keep(connection: Any, rows: Any) -> None:
        late.extend(row for row in rows if row.phase is Phase.COMMITTED)
        insert(connection, [row for row in rows if row.phase is not Phase.COMMITTED])

    def then(self: Any, *args: Any, **kwargs: Any) -> Any:
        changed = change(self, *args, **kwargs)
        if late:
            with self._transaction(sync=True) as connection:
                insert(connection, late)
            late.clear()
        return changed

    patch(sqlite_writes, "insert_rows", keep)
    patch(SqliteJournal, "_change", then)


# --- the lease -----------------------------------------------------------------------------------------------------


def _old_number(patch: Patch) -> None:
    _without(patch, "audit_fenced")
    patch(SqliteJournal, "_check_lease", lambda self, _: self._check_held())


def _lease_for_all(patch: Patch) -> None:
    patch(sqlite_writes, "_has_ended", lambda _: True)


# --- recovery ------------------------------------------------------------------------------------------------------


def _instead(patch: Patch, phases: set[Phase], act: Callable[[Any, Any, str], Phase]) -> None:
    recover = SqliteJournal._recover

    def otherwise(self: Any, record: Any, who: str) -> Recovery:
        if record.phase not in phases:
            return recover(self, record, who)
        became = act(self, record, who)
        return Recovery(upgrade_id=record.upgrade_id, found=record.phase, became=became)

    patch(SqliteJournal, "_recover", otherwise)


def _recovery_in_two_steps(patch: Patch) -> None:
    def act(self: Any, record: Any, who: str) -> Phase:
        with self._transaction(sync=True) as connection:
            undo = sqlite_pointers.befores(connection, record.upgrade_id)
            if undo is None:
                entries = [sqlite_pointers.grow(connection, name) for name in record.components]
            else:
                entries = [
                    sqlite_pointers.move(connection, one, upgrade_id=record.upgrade_id)[1] for one in undo.values()
                ]
        self._change(record.upgrade_id, Phase.ROLLED_BACK, who=who, why="", effect=lambda _: {"moves": entries})
        return Phase.ROLLED_BACK

    _instead(patch, {Phase.SHIFTING, Phase.ROLLING_BACK}, act)


def _recovery_forgets_pointers(patch: Patch) -> None:
    def act(self: Any, record: Any, who: str) -> Phase:
        self._change(record.upgrade_id, Phase.ROLLED_BACK, who=who, why="")
        return Phase.ROLLED_BACK

    _instead(patch, {Phase.COMMITTED, Phase.SOAKING, Phase.ROLLING_BACK}, act)


def _recovery_believes_too_much(patch: Patch) -> None:
    def act(self: Any, record: Any, who: str) -> Phase:
        self._change(record.upgrade_id, Phase.COMMITTED, who=who, why="")
        self._change(record.upgrade_id, Phase.DONE, who=who, why="")
        return Phase.DONE

    _instead(patch, {Phase.SHIFTING}, act)


def _recovery_takes_commits_back(patch: Patch) -> None:
    def act(self: Any, record: Any, who: str) -> Phase:
        self._take_back(record.upgrade_id, (), who=who, why="", fields={})
        return Phase.ROLLED_BACK

    _instead(patch, {Phase.COMMITTED, Phase.SOAKING}, act)


def _recovery_keeps_components(patch: Patch) -> None:
    def act(self: Any, record: Any, who: str) -> Phase:
        self._take_back(record.upgrade_id, (), who=who, why="", fields={})
        with self._transaction(sync=True) as connection:
            connection.execute("UPDATE members SET open = 1 WHERE upgrade_id = ?", (record.upgrade_id,))
        return Phase.ROLLED_BACK

    _instead(patch, {Phase.SHIFTING, Phase.ROLLING_BACK}, act)


def _restarts_are_not_counted(patch: Patch) -> None:
    patch(SqliteJournal, "_soak_on", lambda *_: Phase.SOAKING)


def _recovery_skips(patch: Patch) -> None:
    """Recovery ends at the first upgrade that it has dealt with."""
    recover = SqliteJournal.recover

    def some(self: Any, who: str) -> Any:
        left = [record for record in self.open_upgrades() if record.phase is Phase.ROLLING_BACK]
        return () if left else recover(self, who)

    patch(SqliteJournal, "recover", some)


# --- documents -----------------------------------------------------------------------------------------------------


def _document_before_its_row(patch: Patch) -> None:
    """The document is written, and its audit row in the transaction after that."""
    _without(patch, "document_begun", "document_changed", "document_dropped")
    audited, keep = SqliteJournal._audited, SqliteJournal.keep_document

    def kept(self: Any, owner: str, key: str, body: Any, **said: Any) -> Any:
        late: list[Any] = []

        def later(self: Any, connection: Any, *about: Any, **more: Any) -> int:
            late.append((about, more))
            (last,) = connection.execute(
                "SELECT coalesce(max(revision), 0) FROM document_audit WHERE owner = ? AND key = ?", about
            ).fetchone()
            return int(last) + 1

        SqliteJournal._audited = later  # type: ignore[method-assign]
        try:
            document = keep(self, owner, key, body, **said)
        finally:
            SqliteJournal._audited = audited  # type: ignore[method-assign]
        for about, more in late:
            with self._transaction(sync=True) as connection:
                audited(self, connection, *about, **more)
        return document

    patch(SqliteJournal, "keep_document", kept)


def _row_before_its_document(patch: Patch) -> None:
    """The audit row of a dropped document is written, and the document is taken away in the transaction after that."""
    _without(patch, "document_dropped")
    audited = SqliteJournal._audited

    def drop(self: Any, owner: str, key: str, *, who: str, why: str, **_: Any) -> None:
        with self._transaction(sync=True) as connection:
            audited(self, connection, owner, key, dropped=True, at=self._clock(), who=who, why=why, evidence={})
        with self._transaction(sync=True) as connection:
            connection.execute("DELETE FROM documents WHERE owner = ? AND key = ?", (owner, key))

    patch(SqliteJournal, "drop_document", drop)


def _document_rides(patch: Patch) -> None:
    """A document is acknowledged, and written with the next change of an upgrade."""
    keep, apply = SqliteJournal.keep_document, SqliteJournal._apply
    waiting: list[Callable[[], Any]] = []

    def later(self: Any, *about: Any, **said: Any) -> None:
        waiting.append(lambda: keep(self, *about, **said))

    def first(self: Any, *about: Any, **said: Any) -> Any:
        while waiting:
            waiting.pop(0)()
        return apply(self, *about, **said)

    patch(SqliteJournal, "keep_document", later)
    patch(SqliteJournal, "_apply", first)


# --- the store -----------------------------------------------------------------------------------------------------


def _tree_in_place(patch: Patch) -> None:
    def unpack(self: Any, digest: str) -> Any:
        place = self.tree(digest)
        if place.is_dir():
            return place
        self._folder("trees")
        place.mkdir()
        with Wheel.open(self.blob(digest), self.limits) as wheel:
            wheel.check_record({name: self._write(place / name, wheel.read(name)) for name in wheel.members})
        return place

    patch(ContentStore, "unpack_wheel", unpack)


def _blob_in_place(patch: Patch) -> None:
    def put(self: Any, chunks: Any, expected: str, what: str) -> str:
        import hashlib

        data = b"".join(chunks)
        digest = hashlib.sha256(data).hexdigest()
        place = self._folder("blobs") / digest
        if not place.exists():
            place.touch(mode=0o600)
            self._fault("write file")
            place.write_bytes(data)
        return digest

    patch(ContentStore, "_put", put)


def _collects_too_much(patch: Patch) -> None:
    """Only what is active is kept, and not what an open upgrade would go back to."""

    def digests(self: Any) -> frozenset[str]:
        rows = self._rows("SELECT artifact FROM pointers WHERE artifact IS NOT NULL")
        return frozenset(unpack(row[0])["digest"] for row in rows)

    patch(SqliteJournal, "digests", digests)


def _expires_too_much(patch: Patch) -> None:
    """Rollback points go by their number alone, also those of an open upgrade."""
    _without(patch, "point_kept")
    named = sqlite_reads.SqliteReads._named_digests

    def digests(self: Any) -> frozenset[str]:
        with self._transaction(sync=True) as connection:
            connection.execute("UPDATE rollback_points SET expired = 1")
            connection.execute("UPDATE members SET before = NULL WHERE open = 1")
        return named(self)

    patch(SqliteJournal, "digests", digests)


BUGS: tuple[Bug, ...] = (
    Bug("the store is written after the commit", _stores_late),
    Bug("traffic moves before the intent is written", _shows_early),
    Bug("pointers move in one transaction, the phase in the next", _moves_first(together=True)),
    Bug("the pointers of a set move one after the other", _moves_first(together=False)),
    Bug("the commit is acknowledged before it is written", _commit_later),
    Bug("the nonce is not consumed", _no_nonce),
    Bug("what the commit replaced is not kept", _no_before),
    Bug("the generation stays when traffic comes back", _generation_stays),
    Bug("the intent rides", _intent_rides),
    Bug("rollback points are written after the intent", _points_later),
    Bug("the commit has no audit row", _no_audit),
    Bug("the audit row of the commit comes in a later transaction", _audit_later),
    Bug("that a soak ended well rides", _done_rides),
    Bug("a checkpoint that fails is told as a commit that failed", _checkpoint_fails_the_commit),
    Bug("an old fencing number is accepted", _old_number),
    Bug("the lease of a living controller is taken", _lease_for_all),
    Bug("recovery moves pointers, then writes the phase", _recovery_in_two_steps),
    Bug("recovery goes back without moving pointers", _recovery_forgets_pointers),
    Bug("recovery takes the intent for the commit", _recovery_believes_too_much),
    Bug("recovery takes commits back", _recovery_takes_commits_back),
    Bug("what recovery took back stays held", _recovery_keeps_components),
    Bug("restarts while soaking are not counted", _restarts_are_not_counted),
    Bug("recovery leaves a rollback half done", _recovery_skips),
    Bug("a document is written before its audit row", _document_before_its_row),
    Bug("a document is dropped after its audit row", _row_before_its_document),
    Bug("a document is acknowledged before it is written", _document_rides),
    Bug("a tree is unpacked in its place", _tree_in_place),
    Bug("a blob is written in its place", _blob_in_place),
    Bug("the store collects what an open upgrade needs", _collects_too_much),
    Bug("rollback points of open upgrades expire", _expires_too_much),
)
