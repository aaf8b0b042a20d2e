"""Documents: what a plugin keeps in the journal for itself, such as a deployment and how far it is.

They obey the same rules as an upgrade. A document and its audit row are written in one transaction, under the lease; a
kill at any instant leaves the old document or the new one, each with the audit row of its revision.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from attrs import frozen

from noodle_upgrade_core.errors import DocumentConflictError, InvalidRequestError
from noodle_upgrade_core.journal.audit import AuditRow
from noodle_upgrade_core.wire import dumps, loads

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_BODY_DEPTH",
    "MAX_NAME_LENGTH",
    "RESERVED",
    "Document",
    "DocumentJournal",
    "body_from",
    "check_expected",
    "check_names",
    "check_revision",
    "missing",
    "written_body",
    "written_evidence",
]

MAX_BODY_BYTES: Final = 1024 * 1024
"""The most bytes that a body, or the evidence of one change, may take as JSON."""
MAX_BODY_DEPTH: Final = 32
"""How deep containers may lie within one another in a body, the body itself counted."""
MAX_NAME_LENGTH: Final = 200
"""The most characters of an owner or a key."""
RESERVED: Final = frozenset({"document", "moves"})
"""What evidence may not be called: the audit keeps its own facts under these names."""


@frozen(kw_only=True)
class Document:
    """One document as the journal keeps it.

    `owner` is the plugin's name, `key` what the plugin calls the document. `revision` is 1 at first and grows by 1 with
    every change; dropping is a change too, so that a key that is used again goes on counting and no number ever means
    two bodies. `body` is a JSON object. `ended` says that nothing is under way any more. Times are in UTC.
    """

    owner: str
    key: str
    revision: int
    body: Mapping[str, Any]
    ended: bool
    created_at: datetime
    updated_at: datetime


class DocumentJournal(Protocol):
    """The part of a journal that keeps documents; what is said of `Journal`'s methods holds for these too."""

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
        """Write a document whole, with its audit row, in one transaction; return it as it is read back.

        `expected` is the revision that must be there, 0 for none; None takes whatever is there. Without `durable` the
        disk is not waited for: no crash of the process can undo it any more, a power loss can until the next durable
        write. Raises `DocumentConflictError`, and `InvalidRequestError` for a body that is no JSON object, that takes
        more than 1 MiB or lies deeper than 32 levels, and for a name that is empty, longer than 200 characters or not
        printable.
        """

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
        """Take a document away, with an audit row, and return what it was; its audit rows stay.

        `expected` and `durable` as in `keep_document`. Raises `DocumentConflictError`, also where there is none.
        """

    def document(self, owner: str, key: str) -> Document | None:
        """Return one document; `JournalCorruptError` when it cannot be read."""

    def documents(self, owner: str = "", *, ended: bool | None = None) -> tuple[Document, ...]:
        """Return the documents of an owner, or of all, oldest first; with `ended` only those that are, or are not."""

    def document_audit(self, owner: str, key: str, *, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        """Return the audit rows of a document, also of one that was dropped, as `Journal.audit` does."""


def check_names(owner: str, key: str) -> None:
    """Refuse a name that nobody could read or type: `InvalidRequestError`."""
    for what, name in (("owner", owner), ("key", key)):
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
            shown = name if isinstance(name, str) else type(name).__name__
            raise InvalidRequestError(
                f"A document cannot have the {what} {shown[:50]!r}.",
                hint=f"Use printable text of 1 to {MAX_NAME_LENGTH} characters.",
            )


def check_expected(expected: int | None) -> None:
    """Refuse what is no revision before anything is compared with it: `InvalidRequestError`."""
    if expected is not None and (type(expected) is not int or expected < 0):
        raise InvalidRequestError(
            f"{expected!r} is no revision of a document.",
            hint="Give the number that was read, 0 where there must be none, or nothing.",
        )


def check_revision(owner: str, key: str, *, found: int, expected: int | None) -> None:
    """Compare the revision that is there (0: none) with the one that must be: `DocumentConflictError`."""
    if expected is None or found == expected:
        return
    at = f"is at revision {found}" if found else "is not there"
    due = f"revision {expected}" if expected else "none"
    raise DocumentConflictError(
        f"The document {key!r} of {owner} {at}, and {due} was expected.",
        hint="Read it again, and decide anew: somebody else has changed it.",
        details={"owner": owner, "key": key, "found": found, "expected": expected},
    )


def missing(owner: str, key: str) -> DocumentConflictError:
    """Return the error for a document that should be changed and is not there."""
    return DocumentConflictError(
        f"There is no document {key!r} of {owner}.",
        hint="It was dropped before, or never kept.",
        details={"owner": owner, "key": key, "found": 0},
    )


def written_body(body: Mapping[str, Any]) -> str:
    """Return a body as JSON text; `InvalidRequestError` names what cannot be in one."""
    text = _written("the body of a document", body)
    loads(text, max_depth=MAX_BODY_DEPTH)
    return text


def written_evidence(evidence: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return evidence as JSON values that the audit can keep; raises `InvalidRequestError`."""
    if evidence is None:
        return {}
    found: dict[str, Any] = loads(_written("the evidence", evidence))
    if taken := sorted(RESERVED & found.keys()):
        raise InvalidRequestError(
            f"Evidence about a document cannot have the name {taken[0]!r}: the audit keeps its own facts there.",
            hint="Call it otherwise.",
        )
    return found


def _written(what: str, value: Mapping[str, Any]) -> str:
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{what} must be a JSON object, and it is a {type(value).__name__}.")
    try:
        return dumps(value, max_bytes=MAX_BODY_BYTES)
    except ValueError as error:
        # An integer of more digits than Python writes out.
        raise InvalidRequestError(f"{what} cannot be written as JSON: {error}.") from error


def body_from(text: str) -> dict[str, Any]:
    """Read what `written_body` wrote; raises `InvalidRequestError` for anything else."""
    body = loads(text, max_bytes=MAX_BODY_BYTES, max_depth=MAX_BODY_DEPTH)
    if not isinstance(body, dict):
        raise InvalidRequestError(f"a JSON object was expected, and there is a {type(body).__name__}.")
    return body
