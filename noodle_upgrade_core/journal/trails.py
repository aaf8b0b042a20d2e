"""Whether the documents of a journal and its audit tell one story: what the doctor asks of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_core.journal.audit import AuditRow
from noodle_upgrade_core.journal.documents import Document, DocumentJournal

__all__ = ["Trails"]

_ABOUT = frozenset({"owner", "key", "revision", "dropped"})
Name = tuple[str, str]


@frozen
class Trails:
    """Documents and their audit rows as of one moment, by owner and key.

    `told` are the rows that say which document they are about, `found` the sequences of those that the journal finds
    when it is asked for the rows of one document.
    """

    documents: Mapping[Name, Document]
    told: Mapping[Name, Sequence[AuditRow]]
    found: Mapping[Name, Sequence[int]]

    @classmethod
    def read(cls, journal: DocumentJournal, rows: Sequence[AuditRow]) -> Trails:
        """Read what belongs to all rows of the audit; raises what reading raises."""
        documents = {(one.owner, one.key): one for one in journal.documents()}
        told: dict[Name, list[AuditRow]] = {name: [] for name in documents}
        for row in rows:
            about = row.evidence.get("document")
            if isinstance(about, Mapping) and about.keys() >= _ABOUT and not row.upgrade_id:
                told.setdefault((str(about["owner"]), str(about["key"])), []).append(row)
        found = {
            (owner, key): [row.sequence for row in journal.document_audit(owner, key, limit=2**31)]
            for owner, key in told
        }
        return cls(documents, told, found)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield the key of a document and what is wrong with it, in words.

        The revisions are 1, 2, … without a gap; the last one is the one that is there, or says that it was dropped.
        """
        for (owner, key), rows in self.told.items():
            name = f"the document {key!r} of {owner}"
            for words in _story(self.documents.get((owner, key)), [row.evidence["document"] for row in rows]):
                yield key, f"{name} {words}"
            if self.found[owner, key] != [row.sequence for row in rows]:
                yield key, f"{name} has {len(rows)} row(s) in the audit, and {len(self.found[owner, key])} are found"


def _story(document: Document | None, told: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for due, about in enumerate(told, 1):
        if about["revision"] != due:
            yield f"went to revision {about['revision']} in the audit where {due} was due"
            break
    last = told[-1] if told else {"revision": 0, "dropped": True}
    if document is None and not last["dropped"]:
        yield f"is gone, and the audit has it at revision {last['revision']}"
    elif document is not None and last["dropped"]:
        yield f"is at revision {document.revision}, and the audit does not have it"
    elif document is not None and document.revision != last["revision"]:
        yield f"is at revision {document.revision}, and the audit ends with {last['revision']}"
