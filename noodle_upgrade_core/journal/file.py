"""The journal's SQLite file: one connection that writes, one that reads, and what is done when the disk says no.

How a commit survives a power loss, which took some finding out: `synchronous=EXTRA` *before* the switch to WAL (the
switch removes the rollback journal, and only EXTRA syncs the folder then), `FULL` afterwards. A write that may ride on
a later sync is a transaction under `NORMAL`: safe from a crash of the process at once, from a power loss with the next
synced one, and never out of order.

Checkpoints are ours too. SQLite would run them after a commit and keep their errors to itself, and a sync that failed
once must never be tried again: the kernel has forgotten by then what it could not write.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from noodle_upgrade_core.errors import (
    InvariantViolatedError,
    JournalCorruptError,
    JournalError,
    JournalFullError,
    JournalSchemaError,
)
from noodle_upgrade_core.journal.schema import APPLICATION_ID, MIGRATIONS, SCHEMA, SCHEMA_VERSION

__all__ = ["SqliteFile"]

_CHECKPOINT_AFTER = 200
"""Transactions between checkpoints: the log stays at a few megabytes."""
_UNKNOWN = "What the last write became is known after a restart: it is there whole, or not at all."
_OLDEST_SQLITE = (3, 37, 0)


class SqliteFile:
    """A file that is open; all methods may be called from any thread.

    `faults`, for tests, is called with every statement and with every commit before and after it.
    """

    def __init__(self, path: Path, *, busy_seconds: float, faults: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.schema_version = 0
        self.refusal: JournalError | None = None
        self.lock = threading.RLock()
        self._busy_seconds = busy_seconds
        self._faults = faults
        self._reading = threading.Lock()
        self._failure: JournalError | None = None
        self._pid = os.getpid()
        self._since_checkpoint = 0
        self._synced = True
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    # --- opening and closing -------------------------------------------------------------------------------------

    def _open(self) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise JournalError(
                f"Python was built with SQLite {sqlite3.sqlite_version}; the journal needs 3.37 or newer.",
                hint="Use a Python with a newer SQLite.",
            )
        # SQLite gives its other files the mode of this one; of its own accord it would let everybody read them.
        try:
            was_dirty = self._file("-wal").exists() and self._file("-wal").stat().st_size > 0
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise _full() from error
            raise self._unopenable(error) from error
        with self._translated():
            self._look()
            if self.refusal is None:
                self._open_writer(was_dirty=was_dirty)
            self._reader = self._open_reader()
        if self._writer is not None:
            # The log's own entry in its folder, before anything is acknowledged that lies in it.
            try:
                _sync_folder(self.path.parent)
            except OSError as error:
                raise self._unopenable(error) from error
            if self._faults is not None:
                self._writer.set_trace_callback(self._faults)

    def _unopenable(self, error: OSError) -> JournalError:
        return JournalError(
            f"The journal {self.path} cannot be opened: {error.strerror or error}.",
            hint="Look at the disk, and at the permissions of the state directory.",
        )

    def _open_writer(self, *, was_dirty: bool) -> None:
        try:
            with self._translated():
                self._writer = self._connect("rw")
                self._prepare(self._writer, was_dirty=was_dirty)
        except JournalFullError as full:
            self.refuse(full)

    def refuse(self, why: JournalError) -> None:
        """Write nothing more; what the file holds can still be read."""
        self.refusal = why
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(sqlite3.Error):
                writer.close()

    def _open_reader(self) -> sqlite3.Connection:
        """Return a connection that reads, also where there is no room for the index that readers share."""
        try:
            return self._checked(self._connect("ro"))
        except sqlite3.OperationalError as error:
            if not _is_full(error):
                raise
        connection = self._connect("rw")
        # Alone with the file, SQLite keeps that index in its own memory.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return self._checked(connection)

    @staticmethod
    def _checked(connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            connection.execute("PRAGMA query_only = 1")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _look(self) -> None:
        """Find out whose file this is without writing to it."""
        connection = self._open_reader()
        try:
            self.schema_version = connection.execute("PRAGMA user_version").fetchone()[0]
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        finally:
            connection.close()
        if (self.schema_version or tables) and application != APPLICATION_ID:
            raise JournalCorruptError(
                f"{self.path} is a database of another program.", hint="Name another state directory."
            )
        if self.schema_version > SCHEMA_VERSION:
            self.refusal = _newer(self.schema_version)

    def _prepare(self, connection: sqlite3.Connection, *, was_dirty: bool) -> None:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # A file that was closed well was checked when it was written; after a crash it is looked through.
        if was_dirty and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise self._corrupt(str(found))
        if self.schema_version == 0:
            connection.execute("BEGIN IMMEDIATE")
            # Two processes may have come this far; the second one finds everything made.
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in SCHEMA:
                    connection.execute(statement)
            connection.execute("COMMIT")
            self.schema_version = SCHEMA_VERSION

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )

    def _file(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def close(self) -> None:
        """Bring the log into the file and close both connections; may be called twice."""
        if os.getpid() != self._pid:
            # A child of a fork holds its parent's connections: closing them would break the parent's locks.
            return
        with self.lock, self._reading:
            writer, self._writer = self._writer, None
            reader, self._reader = self._reader, None
            # Whoever closes last makes SQLite bring over the log, and the connection that only reads cannot: so it
            # goes last after a failure, and first otherwise.
            first, last = (writer, reader) if self._failure is not None else (reader, writer)
            for connection in (first, last):
                if connection is not None:
                    connection.close()

    # --- writing -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def write(self, *, sync: bool) -> Iterator[sqlite3.Connection]:
        """One transaction, which commits at the end of the block, or leaves nothing.

        With `sync` it is on the disk when the block is left; without it a crash of the process cannot undo it any
        more, and a power loss only until the next synced one.
        """
        with self.lock:
            connection = self._usable()
            try:
                if sync is not self._synced:
                    connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
                    self._synced = sync
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._ours(error) from error
            if self._faults is not None:
                self._faults("COMMITTED")
            self._since_checkpoint += 1
        if self._since_checkpoint >= _CHECKPOINT_AFTER:
            # What was committed is committed: nobody may hear of it as a failure. Without room the log only grows, and
            # it is tried again later; a disk that has failed stops the next write.
            with contextlib.suppress(JournalError):
                self.checkpoint()

    @staticmethod
    def migrate(connection: sqlite3.Connection) -> None:
        """Bring the tables of an older version up to date, in the transaction of who has just got the lease.

        Not when the file is opened: whoever only looks must not change it under a program of the older version.
        """
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA_VERSION:
            raise _newer(found)
        for version in range(found, SCHEMA_VERSION):
            for statement in MIGRATIONS[version]:
                connection.execute(statement)

    def checkpoint(self) -> None:
        """Bring the log into the file, as far as no reader needs it."""
        with self.lock, self._translated():
            if self._since_checkpoint and self._writer is not None:
                self._since_checkpoint = 0
                self._usable().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def check_usable(self) -> None:
        """Raise what a write would raise before it begins: closed, failed, a newer schema, another process."""
        self._usable()

    def _usable(self) -> sqlite3.Connection:
        if self.refusal is not None:
            raise self.refusal
        if self._failure is not None:
            raise self._failure
        if self._writer is None:
            raise JournalError("The journal is closed.")
        if os.getpid() != self._pid:
            raise JournalError(
                "The journal was opened by the process that forked this one.", hint="Open it after the fork."
            )
        return self._writer

    # --- reading -------------------------------------------------------------------------------------------------

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query, as of the last commit; never waits for a write."""
        with self._reading, self._translated():
            if self._reader is None or os.getpid() != self._pid:
                raise JournalError("The journal is closed.")
            if self.refusal is not None and self.schema_version == 0:
                return []  # there was no room to begin it
            return self._reader.execute(query, values).fetchall()

    def own_rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query between two writes, for whoever is about to write: waits for a write.

        What was written last is still at hand in the connection that wrote it; the one that reads has to fetch it.
        """
        with self.lock, self._translated():
            return self._usable().execute(query, values).fetchall()

    def problems(self) -> list[str]:
        """Look through the whole file; returns what SQLite finds wrong with it."""
        return [str(row[0]) for row in self.rows("PRAGMA integrity_check(10)") if row[0] != "ok"] + [
            f"{row[0]} row {row[1]} names a row of {row[2]} that is not there"
            for row in self.rows("PRAGMA foreign_key_check")
        ]

    # --- errors --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._ours(error) from error

    def _ours(self, error: sqlite3.Error) -> JournalError:
        if _is_full(error):
            return _full()
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                self._failure = self._corrupt(str(error))
                return self._failure
            case sqlite3.SQLITE_IOERR:
                self._failure = JournalError(
                    f"The disk failed while the journal was written ({error}); nothing more is written to it.",
                    hint="Look at the disk, then restart the program: it recovers by what is really there.",
                    safe=_UNKNOWN,
                    details={"sqlite": getattr(error, "sqlite_errorname", "")},
                )
                return self._failure
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return JournalError(
                    f"Another program has kept the journal locked for {self._busy_seconds:g} s.",
                    hint="Find it with `fuser` on the file; a backup or a shell of sqlite3 may hold it.",
                )
            case sqlite3.SQLITE_CONSTRAINT:
                return InvariantViolatedError(
                    f"The write would break the journal: {error}.",
                    hint="This is a defect; please report it with the output of `noodle doctor`.",
                    details={"violations": [str(error)]},
                )
        return JournalError(
            f"The journal {self.path} could not be used: {error}.",
            hint="Look at the state directory and its permissions.",
            details={"sqlite": getattr(error, "sqlite_errorname", "")},
        )

    def _corrupt(self, words: str) -> JournalCorruptError:
        return JournalCorruptError(
            f"The journal {self.path} is damaged: {words}.",
            hint="Put a backup in its place, or move it away to begin anew with what the environment provides.",
            safe="Nothing was changed; what runs now runs on.",
        )


def _newer(found: int) -> JournalSchemaError:
    return JournalSchemaError(
        f"The journal has the schema {found}, and this version knows up to {SCHEMA_VERSION}.",
        hint="Use the newer version of noodle-upgrade-core that wrote it.",
        safe="The journal is left alone, and the versions that it names serve on.",
        details={"found": found, "known": SCHEMA_VERSION},
    )


def _full() -> JournalFullError:
    return JournalFullError(
        "The disk, or the quota, is full: the journal could not be written.",
        hint="Make room; nothing else has to be done.",
    )


def _is_full(error: sqlite3.Error) -> bool:
    """Whether there was no room: for a page, or for the index that connections share."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
