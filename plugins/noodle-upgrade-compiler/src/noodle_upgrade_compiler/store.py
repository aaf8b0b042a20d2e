"""The content store of the compiler: what each phase made of what, in memory and in one file, both bounded.

A key is a digest of the phase, the version that ran, its options and the digest of its input. Behind it stands the
digest of the output, and what the phase had to say; the output itself lies once, under its digest. So a version whose
output does not change leads to keys that are there already, and no later phase runs.

The file is SQLite's. It belongs to whoever may run the programs: code that is read from it is executed, as that of
`__pycache__` is, and the folder is made readable for its owner only. It is a cache: what is damaged in it is made anew,
and where it cannot be used at all (a full disk, a lock that nobody gives back) everything is compiled.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from attrs import frozen

from noodle_upgrade_compiler.artifacts import digest_of
from noodle_upgrade_compiler.checking import fault_in_problems
from noodle_upgrade_compiler.contract import Problem

__all__ = ["Output", "SourceFile", "Stamp", "Store"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outputs
  (key BLOB PRIMARY KEY, digest BLOB NOT NULL, problems TEXT NOT NULL, facts TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bodies
  (digest BLOB PRIMARY KEY, data BLOB NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS bodies_used ON bodies (used);
CREATE TABLE IF NOT EXISTS files
  (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, source BLOB NOT NULL, built TEXT NOT NULL, imports TEXT NOT NULL,
   words TEXT NOT NULL, offers TEXT NOT NULL, takes TEXT NOT NULL) WITHOUT ROWID;
"""
_FORMAT = 3
_BUSY_SECONDS = 10.0
_REST_SECONDS = 60.0
"""So long a file that could not be used is left alone."""
_DAMAGED = ("malformed", "not a database", "decode", "no such table", "no such column", "another format")
_T = TypeVar("_T")
_FORGET_DOWN_TO = 0.8
"""When the file is full, this much of it is kept: what was used last."""


@frozen
class Output:
    """What a phase made: the digest of it, its problems, and what else is to be known without looking into it.

    Of tokens `facts` are the kinds that there are; of a tree the modules that it imports, what it takes from them as
    `module:name`, and what it offers as `:name`.
    """

    digest: bytes
    problems: tuple[Problem, ...] = ()
    facts: tuple[str, ...] = ()

    @property
    def is_wrong(self) -> bool:
        """Whether an error keeps later phases from running."""
        return any(problem[0] == "error" for problem in self.problems)


class SourceFile(NamedTuple):
    """What is known of a source file: `stamp` tells whether it has changed, `built` what was made of it, and by what.

    Several things in one column are joined by blanks, since ten thousand rows are read at every start: `built` has an
    entry for each set of targets (see `stamps`), `imports` the modules, `words` the kinds of tokens, `offers` the names
    of the top level, `takes` what is taken from other files, as `module:name`.
    """

    path: str
    stamp: str
    source: bytes
    built: str
    imports: str
    words: str
    offers: str
    takes: str


class Stamp(NamedTuple):
    """Of a `SourceFile` what is looked at each time."""

    stamp: str
    source: bytes
    built: str


_STAMPS = """
SELECT path, stamp, source, built FROM files
WHERE typeof(path) = 'text' AND typeof(stamp) = 'text' AND typeof(source) = 'blob' AND typeof(built) = 'text'
"""
_FILES = """
SELECT path, stamp, source, built, imports, words, offers, takes FROM files
WHERE typeof(path) = 'text' AND typeof(stamp) = 'text' AND typeof(source) = 'blob' AND typeof(built) = 'text'
  AND typeof(imports) = 'text' AND typeof(words) = 'text' AND typeof(offers) = 'text' AND typeof(takes) = 'text'
"""
"""Rows that are not damaged, at least not so that nobody could read them."""


class Store:
    """Outputs by key and bodies by digest. Without a path everything is in memory.

    `entries` bounds how many outputs memory holds of each phase; `max_bytes` the bodies in the file. May be used from
    any thread; several processes may share a file.
    """

    def __init__(self, path: Path | None = None, *, entries: int = 100, max_bytes: int = 1 << 30) -> None:
        self.path = path
        self.failure = ""
        """Why the file could not be used, when it could not be."""
        self._rest_until = 0.0
        self._most = max(1, entries) * 4
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._outputs: OrderedDict[bytes, Output] = OrderedDict()
        self._values: OrderedDict[bytes, Any] = OrderedDict()
        self._used: set[bytes] = set()
        self._connection: sqlite3.Connection | None = None
        self._size: int | None = None
        self._batch = 0

    # --- outputs -------------------------------------------------------------------------------------------------

    def output(self, key: bytes) -> Output | None:
        """Return what a phase made under this key, None where nobody knows."""
        with self._lock:
            if (found := self._outputs.get(key)) is not None:
                self._outputs.move_to_end(key)
                return found
            row = self._one("SELECT digest, problems, facts FROM outputs WHERE key = ?", key)
            found = None if row is None else _output_of(row)
            if found is not None:
                self._remember(self._outputs, key, found)
            return found

    def keep_output(self, key: bytes, output: Output) -> None:
        """Note what a phase made under a key."""
        with self._lock:
            self._remember(self._outputs, key, output)
            row = (key, output.digest, json.dumps(output.problems, ensure_ascii=False), " ".join(output.facts))
            self._execute("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?)", *row)

    # --- values and bodies ---------------------------------------------------------------------------------------

    def value(self, digest: bytes) -> Any:
        """Return an output as the phase gave it, where memory still has it, else None."""
        with self._lock:
            found = self._values.get(digest)
            if found is not None:
                self._values.move_to_end(digest)
            return found

    def keep_value(self, digest: bytes, value: Any) -> None:
        """Keep an output in memory."""
        with self._lock:
            self._remember(self._values, digest, value)

    def body(self, digest: bytes) -> bytes | None:
        """Return the bytes of an output, where the file has them as they were."""
        with self._lock:
            row = self._one("SELECT data FROM bodies WHERE digest = ?", digest)
            if row is None:
                return None
            if not isinstance(row[0], bytes) or digest_of(row[0]) != digest:
                self._execute("DELETE FROM bodies WHERE digest = ?", digest)
                return None
            self._used.add(digest)
            return row[0]

    def keep_body(self, digest: bytes, data: bytes) -> None:
        """Keep the bytes of an output in the file, and forget what was not used for longest when that is full.

        `digest` is `digest_of(data)`.
        """
        with self._lock:
            if len(data) > self._max_bytes:
                return
            done = self._execute(
                "INSERT OR IGNORE INTO bodies VALUES (?, ?, ?, ?)", digest, data, len(data), time.time_ns()
            )
            if done > 0:
                self._size = self._bytes() + len(data)
                if self._size > self._max_bytes:
                    self._forget()

    def has_body(self, digest: bytes) -> bool:
        """Whether the file has the bytes of an output."""
        with self._lock:
            return self._one("SELECT 1 FROM bodies WHERE digest = ?", digest) is not None

    # --- files ---------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, SourceFile]:
        """Return what is known of source files, by path."""
        with self._lock:
            rows: list[Any] = self._do(lambda file: file.execute(_FILES).fetchall(), [])
            # As `SourceFile._make` does it, which takes three times as long: there are ten thousand.
            make = tuple.__new__
            return {row[0]: make(SourceFile, row) for row in rows}

    def stamps(self) -> dict[str, Stamp]:
        """Return what tells of each known file whether it has to be compiled: a part of `files()`, in less time."""
        with self._lock:
            rows: list[Any] = self._do(lambda file: file.execute(_STAMPS).fetchall(), [])
            make = tuple.__new__
            return {row[0]: make(Stamp, row[1:]) for row in rows}

    def file(self, path: str) -> SourceFile | None:
        """Return what is known of one source file."""
        with self._lock:
            row = self._one(f"{_FILES} AND path = ?", path)
            return None if row is None else SourceFile._make(row)

    def keep_files(self, files: Iterable[SourceFile]) -> None:
        """Note what is known of source files."""
        with self._lock, self.batch():
            rows = list(files)
            statement = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            self._do(lambda file: file.executemany(statement, rows).rowcount, 0)

    def replace_built(self, before: str, after: str) -> None:
        """Put another entry into the place of one in what all files were compiled by."""
        with self._lock, self.batch():
            statement = "UPDATE files SET built = replace(built, ?, ?) WHERE instr(built, ?)"
            self._do(lambda file: file.execute(statement, (before, after, before)).rowcount, 0)

    def forget_files(self, paths: Iterable[str]) -> None:
        """Know nothing of these files any more."""
        with self._lock, self.batch():
            rows = [(path,) for path in paths]
            self._do(lambda file: file.executemany("DELETE FROM files WHERE path = ?", rows).rowcount, 0)

    # --- the file ------------------------------------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write what is kept inside of this in one transaction."""
        with self._lock:
            self._batch += 1
            try:
                yield
            finally:
                self._batch -= 1
                if not self._batch and self._connection is not None and self._connection.in_transaction:
                    self._do(self._commit, None)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                if self._used:
                    self._do(self._commit, None)
                self._drop()
            # Whoever still compiles goes on in memory.
            self.path = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the end of the interpreter anything may be gone already
            self.close()

    def _remember(self, memory: OrderedDict[bytes, Any], key: bytes, value: Any) -> None:
        memory[key] = value
        memory.move_to_end(key)
        while len(memory) > self._most:
            memory.popitem(last=False)

    # --- what may go wrong ---------------------------------------------------------------------------------------

    def _do(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Do something with the file; where there is none, or it cannot be used, `otherwise` is what comes of it."""
        if self.path is None or time.monotonic() < self._rest_until:
            return otherwise
        for is_new in (False, True):
            try:
                return work(self._database())
            except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
                self._drop()
                if is_new or not _is_damage(error):
                    self.failure = f"{self.path} cannot be used: {error}"
                    self._rest_until = time.monotonic() + _REST_SECONDS
                    break
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        return otherwise

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection, self._size = None, None

    def _one(self, query: str, *arguments: Any) -> Any:
        return self._do(lambda file: file.execute(query, arguments).fetchone(), None)

    def _execute(self, query: str, *arguments: Any) -> int:
        """Change something; returns how many rows that were."""

        def work(file: sqlite3.Connection) -> int:
            count = file.execute(query, arguments).rowcount
            if not self._batch:
                file.commit()
            return count

        return self._do(work, 0)

    def _commit(self, file: sqlite3.Connection) -> None:
        """Note what was used since, once for many reads, for it is a write; then write everything down."""
        now, used = time.time_ns(), list(self._used)
        self._used.clear()
        file.executemany("UPDATE bodies SET used = ? WHERE digest = ?", [(now, digest) for digest in used])
        file.commit()

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            assert self.path is not None  # noqa: S101 - who has none does not come here
            self._connection = _opened(self.path)
        return self._connection

    # --- bounds --------------------------------------------------------------------------------------------------

    def _bytes(self) -> int:
        if self._size is None:
            row = self._one("SELECT coalesce(sum(size), 0) FROM bodies")
            self._size = 0 if row is None else int(row[0])
        return self._size

    def _forget(self) -> None:
        keep, wanted = self._bytes(), int(self._max_bytes * _FORGET_DOWN_TO)

        def work(file: sqlite3.Connection) -> int:
            self._commit(file)
            gone, left = [], keep
            for digest, size in file.execute("SELECT digest, size FROM bodies ORDER BY used"):
                if left <= wanted:
                    break
                gone.append((digest,))
                left -= size
            file.executemany("DELETE FROM bodies WHERE digest = ?", gone)
            # An output without its body costs a run of the phase, and is found out then: the rows are small.
            if not self._batch:
                file.commit()
            return left

        self._size = self._do(work, keep)


def _is_damage(error: Exception) -> bool:
    """Whether the file is not what it was, so that it has to be made anew."""
    if isinstance(error, sqlite3.DatabaseError):
        return type(error) is sqlite3.DatabaseError or any(word in str(error) for word in _DAMAGED)
    return isinstance(error, UnicodeDecodeError)


def _output_of(row: tuple[Any, ...]) -> Output | None:
    """Return a row as what it was, None where it is damaged."""
    try:
        digest, problems, facts = row
        found = Output(bytes(digest), tuple(tuple(problem) for problem in json.loads(problems)), tuple(facts.split()))
    except (ValueError, TypeError, AttributeError):
        return None
    return None if fault_in_problems(found.problems) else found


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file, and make what is not there. Raises `sqlite3.Error` and `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, _FORMAT):
            raise sqlite3.DatabaseError("another format")  # noqa: TRY301 - it is made anew like a damaged one
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.commit()
        path.chmod(0o600)
    except BaseException:
        connection.close()
        raise
    return connection
