"""The documents of one plugin: what it keeps in the journal beside the upgrades, with who, why and the evidence.

documents = upgrader.documents("deployment")
kept = await documents.keep("dep-1", {"state": "judging"}, who="alice", why="the share was raised", expected=3)
for document in documents.all(ended=False):  # what a restart has to go on with
    print(document.key, document.revision, document.body["state"])
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.isolation import blame_ourselves
from noodle_upgrade_core.journal.audit import AuditRow
from noodle_upgrade_core.journal.contract import Journal
from noodle_upgrade_core.journal.documents import Document, check_names
from noodle_upgrade_core.wire import to_wire

__all__ = ["BlockingDocuments", "Documents"]

T = TypeVar("T")
_AT_ONCE = 1000


class Documents:
    """The documents of one owner, for programs with an event loop; made by `Upgrader.documents`.

    Looking never waits for a write, and may be done from any thread. A change is written in a thread, for it waits for
    the disk. It is waited for even when the caller is cancelled, who hears of that afterwards: the document is then
    there or not, and nothing is on its way any more.
    """

    def __init__(self, journal: Journal, owner: str) -> None:
        check_names(owner, "any")
        self.owner = owner
        self._journal = journal

    def get(self, key: str) -> Document | None:
        """Return one document, or None; raises `JournalCorruptError` when it cannot be read."""
        return self._journal.document(self.owner, key)

    def all(self, *, ended: bool | None = None) -> tuple[Document, ...]:
        """Return the documents, oldest first; with `ended` only those that are ended, or those that are not."""
        return self._journal.documents(self.owner, ended=ended)

    def audit(self, key: str) -> tuple[AuditRow, ...]:
        """Return the transitions of a document, oldest first, also of one that was dropped.

        `evidence` of a row is what was given, and under `document` `{owner, key, revision, dropped}`.
        """
        rows: list[AuditRow] = []
        while some := self._journal.document_audit(
            self.owner, key, after=rows[-1].sequence if rows else 0, limit=_AT_ONCE
        ):
            rows.extend(some)
        return tuple(rows)

    async def keep(
        self,
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

        `body` is a JSON object of at most 1 MiB and 32 levels. `ended` says that nothing is under way any more.
        `expected` is the revision that must be there, 0 for none; None takes whatever is there. Without `durable` the
        disk is not waited for: only a power loss can undo it then. Raises `DocumentConflictError`,
        `InvalidRequestError`, and what every write of a journal raises: `JournalFullError` and other `JournalError`s.
        """
        return await _written(
            self._journal.keep_document,
            self.owner,
            key,
            # As it is now: other tasks may go on with what it was made of while the thread writes.
            to_wire(body),
            who=who,
            why=why,
            evidence=to_wire(evidence),
            ended=ended,
            expected=expected,
            durable=durable,
        )

    async def drop(
        self,
        key: str,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        expected: int | None = None,
        durable: bool = True,
    ) -> Document:
        """Take a document away and return what it was; its audit rows stay, and its key goes on counting revisions.

        Parameters and errors as for `keep`; `DocumentConflictError` also where there is none.
        """
        return await _written(
            self._journal.drop_document,
            self.owner,
            key,
            who=who,
            why=why,
            evidence=to_wire(evidence),
            expected=expected,
            durable=durable,
        )


class BlockingDocuments:
    """The same for programs with threads; made by `BlockingUpgrader.documents`.

    `call` carries a coroutine out on the Upgrader's loop: an interruption of the caller never meets a write half-way.
    """

    def __init__(self, journal: Journal, owner: str, call: Callable[[Coroutine[Any, Any, Document]], Document]) -> None:
        self.owner = owner
        self._call = call
        self._documents = Documents(journal, owner)

    def get(self, key: str) -> Document | None:
        """See `Documents.get`."""
        return self._documents.get(key)

    def all(self, *, ended: bool | None = None) -> tuple[Document, ...]:
        """See `Documents.all`."""
        return self._documents.all(ended=ended)

    def audit(self, key: str) -> tuple[AuditRow, ...]:
        """See `Documents.audit`."""
        return self._documents.audit(key)

    def keep(
        self,
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
        """See `Documents.keep`."""
        return self._call(
            self._documents.keep(
                key,
                body,
                who=who,
                why=why,
                evidence=evidence,
                ended=ended,
                expected=expected,
                durable=durable,
            )
        )

    def drop(
        self,
        key: str,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        expected: int | None = None,
        durable: bool = True,
    ) -> Document:
        """See `Documents.drop`."""
        return self._call(
            self._documents.drop(key, who=who, why=why, evidence=evidence, expected=expected, durable=durable)
        )


async def _written(function: Callable[..., T], *arguments: Any, **said: Any) -> T:
    """Write in a thread, and wait for it however often the caller is cancelled."""
    write = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **said))
    cancelled: asyncio.CancelledError | None = None
    while not write.done():
        try:
            await asyncio.wait([write])
        except asyncio.CancelledError as error:
            cancelled = error
    failed = None if write.cancelled() else write.exception()
    if cancelled is not None:
        raise cancelled from failed
    if failed is not None and not isinstance(failed, UpgradeError) and isinstance(failed, Exception):
        # No thread could be had, or a journal of somebody else's failed in its own way: an error like any other.
        raise blame_ourselves(failed) from failed
    return write.result()
