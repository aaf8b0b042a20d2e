"""The content store of the compiler: what each phase made of what, in memory and in one file, both bounded.

A key is a digest of the phase, the version that ran, its options and the digest of its input. Behind it stands the
digest of the output, and what the phase had to say; the output itself lies once, under its digest. So a version whose
output does not change leads to keys that are there already, and no later phase runs.

The file is SQLite's. It belongs to whoever may run the programs: code that is read from it is executed, as that of
`__pycache__` is, and the folder is made readable for its owner only.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from attrs import frozen

from noodle_upgrade_compiler.contract import Problem

__all__ = ["Output", "SourceFile", "Store"]

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
_BUSY_SECONDS = 30.0
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


class Store:
    """Outputs by key and bodies by digest. Without a path everything is in memory.

    `entries` bounds how many outputs memory holds of each phase; `max_bytes` the bodies in the file. May be used from
    any thread; several processes may share a file.
    """

    def __init__(self, path: Path | None = None, *, entries: int = 100, max_bytes: int = 1 << 30) -> None:
        self.path = path
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
            if row is None:
                return None
            found = Output(row[0], tuple(tuple(problem) for problem in json.loads(row[1])), tuple(row[2].split()))
            self._remember(self._outputs, key, found)
            return found

    def keep_output(self, key: bytes, output: Output) -> None:
        """Note what a phase made under a key."""
        with self._lock:
            self._remember(self._outputs, key, output)
            if self.path is not None:
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
        """Return the bytes of an output, where the file has them."""
        with self._lock:
            row = self._one("SELECT data FROM bodies WHERE digest = ?", digest)
            if row is None:
                return None
            self._used.add(digest)
            return bytes(row[0])

    def keep_body(self, digest: bytes, data: bytes) -> None:
        """Keep the bytes of an output in the file, and forget what was not used for longest when that is full."""
        with self._lock:
            if self.path is None or len(data) > self._max_bytes:
                return
            done = self._execute(
                "INSERT OR IGNORE INTO bodies VALUES (?, ?, ?, ?)", digest, data, len(data), time.time_ns()
            )
            if done.rowcount > 0:
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
            if self.path is None:
                return {}
            rows = self._database().execute("SELECT * FROM files")
            return {row[0]: SourceFile(*row) for row in rows}

    def file(self, path: str) -> SourceFile | None:
        """Return what is known of one source file."""
        with self._lock:
            row = self._one("SELECT * FROM files WHERE path = ?", path)
            return None if row is None else SourceFile(*row)

    def keep_files(self, files: Iterable[SourceFile]) -> None:
        """Note what is known of source files."""
        with self._lock, self.batch():
            if self.path is not None:
                self._database().executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", files)

    def forget_files(self, paths: Iterable[str]) -> None:
        """Know nothing of these files any more."""
        with self._lock, self.batch():
            if self.path is not None:
                self._database().executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])

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
                    self._touch()
                    self._connection.commit()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                if self._used:
                    self._touch()
                    self._connection.commit()
                self._connection.close()
                self._connection = None
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

    def _one(self, query: str, *arguments: Any) -> Any:
        return None if self.path is None else self._database().execute(query, arguments).fetchone()

    def _execute(self, query: str, *arguments: Any) -> sqlite3.Cursor:
        done = self._database().execute(query, arguments)
        if not self._batch:
            self._database().commit()
        return done

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            assert self.path is not None  # noqa: S101 - who has none does not come here
            self._connection = _opened(self.path)
        return self._connection

    def _bytes(self) -> int:
        if self._size is None:
            self._size = int(self._one("SELECT coalesce(sum(size), 0) FROM bodies")[0])
        return self._size

    def _touch(self) -> None:
        """Note what was used since: once for many reads, for it is a write."""
        now, used = time.time_ns(), list(self._used)
        self._used.clear()
        self._database().executemany("UPDATE bodies SET used = ? WHERE digest = ?", [(now, digest) for digest in used])

    def _forget(self) -> None:
        self._touch()
        keep, wanted = self._bytes(), int(self._max_bytes * _FORGET_DOWN_TO)
        gone = []
        for digest, size in self._database().execute("SELECT digest, size FROM bodies ORDER BY used"):
            if keep <= wanted:
                break
            gone.append((digest,))
            keep -= size
        self._database().executemany("DELETE FROM bodies WHERE digest = ?", gone)
        # An output without its body costs a run of the phase, and is found out then: the rows are small.
        self._size = keep
        if not self._batch:
            self._database().commit()


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file; one of another format, or that is damaged, is a cache that is made anew."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for attempt in (0, 1):
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
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError:
            connection.close()
            if attempt:
                raise
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        else:
            path.chmod(0o600)
            return connection
    raise AssertionError("unreachable")
