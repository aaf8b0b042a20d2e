"""Documents of plugins in the SQLite journal: each change is one transaction with its audit row."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from noodle_upgrade_core.errors import InvalidRequestError, JournalCorruptError
from noodle_upgrade_core.journal.audit import AuditRow
from noodle_upgrade_core.journal.documents import (
    Document,
    body_from,
    check_expected,
    check_names,
    check_revision,
    missing,
    written_body,
    written_evidence,
)
from noodle_upgrade_core.journal.rows import AUDIT, audit_from, stamp, text, unstamp
from noodle_upgrade_core.journal.writes import SqliteWrites, insert_rows

__all__ = ["SqliteDocuments"]

_SINCE: Final = 2
"""The schema that has documents. An older file is migrated when it is leased, and may be looked at before that."""
_DOCUMENT: Final = "owner, key, revision, ended, created_at, updated_at, body"
_SELECT: Final = f"SELECT {_DOCUMENT} FROM documents"  # noqa: S608 - a constant
_THERE: Final = "SELECT revision, created_at FROM documents"
_LAST: Final = "SELECT max(revision) FROM document_audit WHERE owner = ? AND key = ?"


class SqliteDocuments(SqliteWrites):
    """A journal that keeps documents; see `DocumentJournal` for what every method promises."""

    # --- looking -------------------------------------------------------------------------------------------------

    def document(self, owner: str, key: str) -> Document | None:
        """Return one document; raises `JournalCorruptError` when it cannot be read."""
        check_names(owner, key)
        found = self._document_rows(f"{_SELECT} WHERE owner = ? AND key = ?", (owner, key))
        return _document_from(found[0]) if found else None

    def documents(self, owner: str = "", *, ended: bool | None = None) -> tuple[Document, ...]:
        """Return documents, oldest first; raises `JournalCorruptError` when one of them cannot be read."""
        where, values = (["owner = ?"], [owner]) if owner else ([], [])
        if ended is not None:
            where.append(f"ended = {int(ended)}")
        chosen = f"WHERE {' AND '.join(where)}" if where else ""
        rows = self._document_rows(f"{_SELECT} {chosen} ORDER BY number", values)
        return tuple(_document_from(row) for row in rows)

    def document_audit(self, owner: str, key: str, *, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        """Return a document's audit rows whose sequence is greater than `after`, oldest first."""
        check_names(owner, key)
        own = "SELECT sequence FROM document_audit WHERE owner = ? AND key = ? AND sequence > ?"
        query = f"SELECT {AUDIT} FROM audit WHERE sequence IN ({own}) ORDER BY sequence LIMIT ?"  # noqa: S608 - constants
        return tuple(audit_from(row) for row in self._document_rows(query, (owner, key, after, limit)))

    def _document_rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        file = self._opened()
        if file.schema_version < _SINCE and self._rows("PRAGMA user_version")[0][0] < _SINCE:
            return []
        return self._rows(query, values)

    # --- changing ------------------------------------------------------------------------------------------------

    def keep_document(
        self,
        owner: str,
        key: str,
        body: Mapping[str, Any],
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        ended: bool = False,
        expected: int | None = None,
        durable: bool = True,
    ) -> Document:
        """Write a document whole, with its audit row; raises `DocumentConflictError`, `InvalidRequestError`."""
        check_names(owner, key)
        check_expected(expected)
        written, noted = written_body(body), written_evidence(evidence)
        with self._transaction(sync=durable) as connection:
            at = self._clock()
            found = connection.execute(f"{_THERE} WHERE owner = ? AND key = ?", (owner, key)).fetchone()
            check_revision(owner, key, found=0 if found is None else found[0], expected=expected)
            created = at if found is None else unstamp(found[1])
            revision = self._audited(connection, owner, key, dropped=False, at=at, who=who, why=why, evidence=noted)
            if found is None:
                connection.execute(
                    f"INSERT INTO documents ({_DOCUMENT}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
                    (owner, key, revision, bool(ended), stamp(at), stamp(at), written),
                )
            else:
                connection.execute(
                    "UPDATE documents SET revision = ?, ended = ?, updated_at = ?, body = ?"
                    " WHERE owner = ? AND key = ?",
                    (revision, bool(ended), stamp(at), written, owner, key),
                )
        return Document(
            owner=owner,
            key=key,
            revision=revision,
            body=body_from(written),
            ended=bool(ended),
            created_at=created,
            updated_at=at,
        )

    def drop_document(
        self,
        owner: str,
        key: str,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        expected: int | None = None,
        durable: bool = True,
    ) -> Document:
        """Take a document away and return what it was; raises `DocumentConflictError`, also where there is none."""
        check_names(owner, key)
        check_expected(expected)
        noted = written_evidence(evidence)
        with self._transaction(sync=durable) as connection:
            row = connection.execute(f"{_SELECT} WHERE owner = ? AND key = ?", (owner, key)).fetchone()
            check_revision(owner, key, found=0 if row is None else row[2], expected=expected)
            if row is None:
                raise missing(owner, key)
            dropped, at = _document_from(row), self._clock()
            self._audited(connection, owner, key, dropped=True, at=at, who=who, why=why, evidence=noted)
            connection.execute("DELETE FROM documents WHERE owner = ? AND key = ?", (owner, key))
        return dropped

    def _audited(
        self,
        connection: sqlite3.Connection,
        owner: str,
        key: str,
        *,
        dropped: bool,
        at: datetime,
        who: str,
        why: str,
        evidence: Mapping[str, Any],
    ) -> int:
        """Write the audit row of the next revision, and return that revision: the schema lets no other one in."""
        (last,) = connection.execute(_LAST, (owner, key)).fetchone()
        revision = (last or 0) + 1
        document = {"owner": owner, "key": key, "revision": revision, "dropped": dropped}
        row = AuditRow(
            sequence=self._next_row,
            upgrade_id="",
            phase_from=None,
            phase=None,
            at=at,
            who=text(who),
            why=text(why),
            evidence={**evidence, "document": document},
            fence=self._number,
        )
        insert_rows(connection, (row,))
        connection.execute(
            "INSERT INTO document_audit VALUES (?, ?, ?, ?, ?)", (owner, key, revision, dropped, row.sequence)
        )
        self._next_row += 1
        return revision


def _document_from(row: Sequence[Any]) -> Document:
    """Make a document of a row of `_DOCUMENT`."""
    try:
        return Document(
            owner=row[0],
            key=row[1],
            revision=row[2],
            ended=bool(row[3]),
            created_at=unstamp(row[4]),
            updated_at=unstamp(row[5]),
            body=body_from(row[6]),
        )
    except (InvalidRequestError, ValueError) as error:
        raise JournalCorruptError(
            f"The document {row[1]!r} of {row[0]} cannot be read: {error}",
            hint="Keep it anew: its audit rows say what became of it. `noodle doctor` looks for what else is damaged.",
            details={"owner": row[0], "key": row[1]},
        ) from error
