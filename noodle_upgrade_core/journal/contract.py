"""Durable state: what the journal keeps of an upgrade, which phase may follow which, and what every journal can do.

The contract in one paragraph. Intent is written before effect, and there is one commit point: one transaction moves the
pointers of all components of an upgrade, adds 1 to their generations, sets the phase, writes the audit row and consumes
the request's nonce. A pointer is the only record of what a component runs. What has no effect yet may *ride*: it is
kept in memory, read back as if it were written, and becomes durable with the next write of anything, at the latest when
the lease is renewed. Every write checks that this controller's lease is still the newest one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from attrs import field, frozen

from noodle_upgrade_core.errors import (
    JournalError,
    JournalFullError,
    JournalSchemaError,
    UpgradeCancelledError,
    UpgradeError,
)
from noodle_upgrade_core.hookspecs import ActiveVersion
from noodle_upgrade_core.journal.audit import AuditRow
from noodle_upgrade_core.journal.documents import DocumentJournal
from noodle_upgrade_core.model import ArtifactRef, Phase, RollbackPoint, UpgradePlan, UpgradeResult, UpgradeStatus

__all__ = [
    "LEASE_SECONDS",
    "TRANSITIONS",
    "AuditRow",
    "Journal",
    "PointerMove",
    "Recovery",
    "UpgradeRecord",
    "status_of",
    "take_lease",
    "way",
]

LEASE_SECONDS = 30.0
"""How long a controller that has died without a word keeps others out, where its death cannot be seen."""

TRANSITIONS: Mapping[Phase, frozenset[Phase]] = MappingProxyType(
    {
        Phase.RECEIVED: frozenset({Phase.VALIDATED, Phase.REJECTED, Phase.ABORTED}),
        Phase.VALIDATED: frozenset({Phase.APPROVED, Phase.REJECTED, Phase.ABORTED}),
        Phase.APPROVED: frozenset({Phase.STAGED, Phase.ABORTED}),
        Phase.STAGED: frozenset({Phase.SHIFTING, Phase.ABORTED, Phase.ROLLED_BACK}),
        Phase.SHIFTING: frozenset({Phase.COMMITTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK}),
        Phase.COMMITTED: frozenset({Phase.SOAKING, Phase.DONE, Phase.ROLLING_BACK}),
        Phase.SOAKING: frozenset({Phase.DONE, Phase.ROLLING_BACK}),
        Phase.DONE: frozenset({Phase.ROLLING_BACK}),
        Phase.ROLLING_BACK: frozenset({Phase.ROLLED_BACK, Phase.STUCK, Phase.DONE}),
        Phase.STUCK: frozenset({Phase.ROLLING_BACK}),
        Phase.REJECTED: frozenset(),
        Phase.ROLLED_BACK: frozenset(),
        Phase.ABORTED: frozenset(),
    }
)
"""Which phase may follow which.

`DONE` is left again only by a rollback of a finished upgrade, and comes back when that was refused before it moved any.
"""

_ENDS_OF_GOING_BACK = frozenset({Phase.ROLLED_BACK, Phase.STUCK})


def way(before: Phase, after: Phase) -> tuple[Phase, ...]:
    """Return the phases to write to get from one to the other: one, or `ROLLING_BACK` and one, or none at all.

    Going back must not fail because the note that it began could not be written: the end of it writes both.
    """
    if after in TRANSITIONS[before]:
        return (after,)
    if Phase.ROLLING_BACK in TRANSITIONS[before] and after in _ENDS_OF_GOING_BACK:
        return (Phase.ROLLING_BACK, after)
    return ()


@frozen(kw_only=True)
class UpgradeRecord:
    """One upgrade as the journal keeps it.

    `plan`, `decision`, `result` and `error` are in wire form. `fence` is the lease number of the last writer.
    `soak_deadline` is when the soak ends, `soak_tries` how many restarts it still survives. `nonces` are the ids of the
    requests: each may be committed once, ever.
    """

    upgrade_id: str
    phase: Phase
    plan: Mapping[str, Any]
    components: tuple[str, ...]
    from_versions: Mapping[str, str]
    to_versions: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    fence: int = 0
    plan_digest: str = ""
    error: Mapping[str, Any] | None = None
    decision: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    evidence: Mapping[str, Any] = field(factory=dict)
    soak_deadline: datetime | None = None
    soak_tries: int = 0
    nonces: tuple[str, ...] = ()

    @property
    def status(self) -> UpgradeStatus:
        """What a person is told of it: that of its phase, but for one that ended because somebody wanted it to."""
        return status_of(self.phase, (self.error or {}).get("code", ""))


def status_of(phase: Phase, error_code: str) -> UpgradeStatus:
    """Return the status of an upgrade that is in this phase with this error."""
    cancelled = phase.ended and error_code == UpgradeCancelledError.code
    return UpgradeStatus.CANCELLED if cancelled else phase.status


@frozen(kw_only=True)
class PointerMove:
    """Point a component at another version: only if it is at `expected_version` now.

    `artifact` is None for the version that the environment itself provides.
    """

    component_name: str
    version: str
    artifact: ArtifactRef | None
    state_digest: str = ""
    expected_version: str = ""


@frozen(kw_only=True)
class Recovery:
    """What a restart found of one upgrade and made of it; `moves` are the pointers that went back."""

    upgrade_id: str
    found: Phase
    became: Phase
    moves: tuple[PointerMove, ...] = ()


@runtime_checkable
class Journal(DocumentJournal, Protocol):
    """A driver of `noodle_upgrade.journals`: made with a path, opened, leased, written, closed.

    Every method is synchronous and may be called from any thread. Reads never wait for a write that waits for the
    disk. Raised by every write: `LeaseLostError` when another controller has taken over (or no lease was acquired),
    `JournalFullError` when the disk is full (nothing was written; it works again once there is room), `JournalError`
    when the disk failed (nothing more is written: restart), `JournalSchemaError` when a newer version made the file.
    """

    @property
    def schema_version(self) -> int:
        """The layout of the file that is open."""

    @property
    def refusal(self) -> JournalError | None:
        """Why this journal can only be read; `active` answers all the same.

        `JournalSchemaError` when a newer version wrote it, `JournalFullError` when there is no room to write it: to
        close it and to open it again is then worth trying.
        """

    def open(self) -> Self:
        """Open or make the file; raises `JournalCorruptError`. With a `refusal` it is open for `active` alone."""

    def close(self) -> None:
        """Write what rides, release the lease, close; may be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    # --- the lease -----------------------------------------------------------------------------------------------

    def acquire_lease(self, holder: str = "", *, ttl: float = 30.0) -> int:
        """Become the one controller; return the fencing number, which is greater than every one before.

        `holder` is `host:pid:start`, by default this process. Raises `LeaseHeldError` while another one's lease is
        live; a holder on this host whose process has ended is taken over at once.
        """

    def renew_lease(self) -> datetime:
        """Hold on for another `ttl` seconds, and write what rides; return when the lease expires."""

    def release_lease(self) -> None:
        """Let others in at once; without a lease this does nothing."""

    # --- one upgrade ---------------------------------------------------------------------------------------------

    def begin(
        self, upgrade_id: str, plan: UpgradePlan, *, who: str, why: str = "", durable: bool = False
    ) -> UpgradeRecord:
        """RECEIVED; rides, unless `durable` (for a request that was acknowledged to be run later).

        Raises `UpgradeBusyError` when another open upgrade has one of its components, `InvalidRequestError` when its
        request was carried out before.
        """

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
        """VALIDATED, APPROVED, STAGED (they ride), SOAKING (durable). Another order raises `JournalError`."""

    def intend(
        self,
        upgrade_id: str,
        rollback_points: Sequence[RollbackPoint] = (),
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> UpgradeRecord:
        """SHIFTING: the durable intent. One transaction and one sync, with everything that rides."""

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
        """COMMITTED: the one commit point. One transaction and one sync; all moves or none.

        With `soak_seconds` a restart from here on goes on soaking. Raises `VersionMismatchError` when a pointer is not
        at its expected version, `InvalidRequestError` when the request was committed before.
        """

    def rolling_back(self, upgrade_id: str, *, who: str, why: str, error: UpgradeError | None = None) -> UpgradeRecord:
        """ROLLING_BACK: durable, except from SHIFTING, whose restart goes back anyway.

        From DONE only while every pointer is at the version that this upgrade brought, else `VersionMismatchError`.
        """

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
        """ROLLED_BACK, durable: every generation grows by 1, and pointers that had been moved go back.

        Without `moves` they go to where they were before this upgrade's commit.
        """

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
        """DONE, REJECTED, ABORTED (a restart comes to the same end), or STUCK (durable).

        Those that need not be durable are written all the same, with all that rides, before this returns: whoever hears
        of the end finds it in the journal, also after a crash of the process. Without room they ride.
        DONE after ROLLING_BACK says that a finished upgrade stays, because going back was refused before anything had
        moved: durable, and only while every pointer is at the new version, else `VersionMismatchError`.
        """

    def record_approval(self, upgrade_id: str, plan_digest: str, *, who: str, at: datetime, nonce: str) -> bool:
        """Keep an approval; False when this person has approved it already.

        Raises `InvalidRequestError` for a nonce that was used, `UpgradeUnknownError`.
        """

    # --- what runs -----------------------------------------------------------------------------------------------

    def observe_active(self, component_name: str, version: str) -> ActiveVersion:
        """Note what the environment provides: makes the pointer at first sight, and moves it while it has no artefact.

        A pointer with an artefact, or with an open upgrade, stays as it is. Rides.
        """

    def active(self) -> tuple[ActiveVersion, ...]:
        """Return every pointer, by name."""

    def active_of(self, component_name: str) -> ActiveVersion | None:
        """Return one pointer."""

    # --- looking -------------------------------------------------------------------------------------------------

    def record(self, upgrade_id: str) -> UpgradeRecord | None:
        """Return one upgrade."""

    def open_upgrades(self) -> tuple[UpgradeRecord, ...]:
        """Return the upgrades that have not ended, oldest first."""

    def history(self, limit: int = 50, *, component_name: str = "") -> tuple[UpgradeRecord, ...]:
        """Return upgrades, newest first."""

    def audit(self, upgrade_id: str = "", *, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        """Return audit rows whose sequence is greater than `after`, oldest first."""

    def approvals(self, upgrade_id: str) -> tuple[str, ...]:
        """Return who approved, in order."""

    def statistics(self) -> dict[str, Any]:
        """Return `{total, counts, phases, success_rate, last_upgrade_at}`: JSON values only."""

    # --- rollback points -----------------------------------------------------------------------------------------

    def rollback_points(self, component_name: str = "", *, include_expired: bool = False) -> tuple[RollbackPoint, ...]:
        """Return what can be gone back to, newest first."""

    def expire_rollback_points(self, max_points: int, *, before: datetime | None = None) -> tuple[RollbackPoint, ...]:
        """Expire what need not be kept, and return it; points of an open upgrade stay.

        That is each component's points beyond the newest `max_points`, those past their time, and those made earlier
        than `before`.
        """

    def digests(self) -> frozenset[str]:
        """Return the artefacts and states that must stay in the store."""

    def problems(self) -> tuple[str, ...]:
        """Look the whole file over and return what is wrong with it, in words: none when it is sound."""

    # --- after a crash -------------------------------------------------------------------------------------------

    def recover(self, who: str) -> tuple[Recovery, ...]:
        """Bring every open upgrade to where a restart leaves it; idempotent, one transaction each.

        Before SHIFTING: ABORTED. SHIFTING, ROLLING_BACK: ROLLED_BACK. COMMITTED, SOAKING: DONE without a soak, SOAKING
        while it has tries and time left, else ROLLED_BACK. STUCK stays for a person to look at.
        """


def take_lease(journal: Journal) -> None:
    """Become the controller of a journal if it can be written; whether it can is its `refusal` afterwards.

    Raises `LeaseHeldError`.
    """
    if journal.refusal is None:
        with contextlib.suppress(JournalFullError, JournalSchemaError):
            journal.acquire_lease(ttl=LEASE_SECONDS)
