"""Looking durable state over: the invariants of the journal and the store, and whether what runs agrees with them.

The same checks run on a user's machine (`noodle doctor`) and in the crash tests, before and after every recovery. Each
violation is an error finding whose code names the invariant, such as `invariant.I5`. What only shows in motion (I9,
that recovery is idempotent; I10, that an upgrade can be tried again) is for tests to show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from attrs import field, frozen

from noodle_upgrade_core.errors import JournalCorruptError, UpgradeError
from noodle_upgrade_core.hookspecs import ActiveVersion
from noodle_upgrade_core.journal.audit import AuditRow
from noodle_upgrade_core.journal.contract import TRANSITIONS, Journal, UpgradeRecord
from noodle_upgrade_core.journal.trails import Trails
from noodle_upgrade_core.model import ArtifactRef, Finding, Phase, RollbackPoint, Severity
from noodle_upgrade_core.store.content import ContentStore
from noodle_upgrade_core.versions import compare as compare_versions

__all__ = ["INVARIANTS", "check", "compare", "damage"]

INVARIANTS: Mapping[str, str] = {
    "I1": "one active row per component",
    "I2": "the active artefact is in the store and hashes right",
    "I3": "the active version is the old or the new one, and the new one only from COMMITTED on",
    "I4": "one open upgrade per component",
    "I5": "the generation only grows",
    "I6": "one audit row per phase change",
    "I7": "no write with an older fencing number",
    "I8": "a nonce is used once",
    "I9": "recovery is idempotent",
    "I10": "after recovery the same upgrade can be tried again",
    "I11": "the old version's state is kept until DONE",
    "I12": "a bounded number of phase writes",
    "I13": "a set commits whole or not at all",
    "I14": "a document has one audit row a revision",
}
"""What durable state promises, by the name that findings carry."""

_AT_ONCE = 1000
_TRIES = 5
_AGAIN = frozenset({Phase.ROLLING_BACK, Phase.STUCK})
_NEW = frozenset({Phase.COMMITTED, Phase.SOAKING, Phase.DONE})
_OLD = frozenset({Phase.RECEIVED, Phase.VALIDATED, Phase.APPROVED, Phase.STAGED, Phase.SHIFTING})


@frozen(kw_only=True)
class _Facts:
    """All that the journal holds, as of one moment."""

    active: tuple[ActiveVersion, ...]
    records: Mapping[str, UpgradeRecord]
    rows: tuple[AuditRow, ...]
    points: tuple[RollbackPoint, ...]
    kept: frozenset[str]
    trails: Trails
    by_upgrade: Mapping[str, list[AuditRow]] = field(factory=dict)


def check(journal: Journal, store: ContentStore) -> tuple[Finding, ...]:
    """Check every invariant that data can show; no finding means that all of them hold.

    A stuck upgrade is a warning: nothing is broken, but a person has to look at it. Reads only.
    """
    if damaged := damage(journal):
        return damaged
    try:
        facts = _read(journal)
    except UpgradeError as error:
        return (_unreadable(error),)
    return tuple(
        finding
        for found in (
            _pointers(facts, store),
            _versions(facts),
            _open_upgrades(facts),
            _generations(facts),
            _chains(facts),
            _fences(facts),
            _nonces(facts),
            _old_states(facts, store),
            (_violation("I14", words, subject=key) for key, words in facts.trails.problems()),
            _stuck(facts),
        )
        for finding in found
    )


def damage(journal: Journal) -> tuple[Finding, ...]:
    """Look the journal's file over; one finding with all that is wrong with it, or none. Reads only."""
    try:
        problems = journal.problems()
    except UpgradeError as error:
        return (_unreadable(error),)
    if not problems:
        return ()
    return (
        Finding(
            severity=Severity.ERROR,
            code=JournalCorruptError.code,
            message=f"The journal's file is damaged: {'; '.join(' '.join(one.split()) for one in problems)}.",
            subject="journal",
            hint="Put a backup in its place, or move it away to begin anew with what the environment provides.",
            source="doctor",
        ),
    )


def _unreadable(error: UpgradeError) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code=error.code,
        message=error.message,
        subject="journal",
        hint=error.hint,
        source="doctor",
    )


def compare(journal: Journal, running: Mapping[str, str]) -> tuple[Finding, ...]:
    """Compare what really runs, by component, with what the journal says; components under way are left out."""
    try:
        active = journal.active()
        moving = {name for record in journal.open_upgrades() for name in record.components}
    except UpgradeError as error:
        return (_unreadable(error),)
    return tuple(
        _differs(pointer, running.get(pointer.component_name))
        for pointer in active
        if pointer.component_name not in moving
        and not _same(running.get(pointer.component_name, ""), pointer.version)
        # What the environment provides and is not loaded is nobody's business.
        and (pointer.component_name in running or pointer.artifact is not None)
    )


def _differs(pointer: ActiveVersion, runs: str | None) -> Finding:
    if runs is None:
        return Finding(
            severity=Severity.WARNING,
            code="active.not_running",
            message=f"The journal has {pointer.component_name} at {pointer.version}, and it is not loaded.",
            subject=pointer.component_name,
            hint="It is restored when the program is restarted.",
        )
    return Finding(
        severity=Severity.ERROR,
        code="active.differs",
        message=f"The journal has {pointer.component_name} at {pointer.version}, and {runs} runs.",
        subject=pointer.component_name,
        hint="Restart the program: it comes back on the journal's version. Where that one's files are lost,"
        f" `noodle upgrade {pointer.component_name} {pointer.version}` gets them again.",
    )


def _same(one: str, other: str) -> bool:
    if one == other or not one or not other:
        return one == other
    try:
        return compare_versions(one, other) == 0
    except UpgradeError:
        return False


# --- reading -----------------------------------------------------------------------------------------------------


def _read(journal: Journal) -> _Facts:
    """Read everything, again if something was written meanwhile: halves of two moments would look like damage."""
    facts = _read_once(journal)
    for _ in range(_TRIES):
        last = facts.rows[-1].sequence if facts.rows else 0
        if not journal.audit(after=last, limit=1) and journal.active() == facts.active:
            break
        facts = _read_once(journal)
    return facts


def _read_once(journal: Journal) -> _Facts:
    records = {record.upgrade_id: record for record in journal.history(2**31)}
    rows: list[AuditRow] = []
    while some := journal.audit(after=rows[-1].sequence if rows else 0, limit=_AT_ONCE):
        rows.extend(some)
    by_upgrade: dict[str, list[AuditRow]] = {}
    for row in rows:
        by_upgrade.setdefault(row.upgrade_id, []).append(row)
    kept = frozenset(point.rollback_id for point in journal.rollback_points())
    return _Facts(
        active=journal.active(),
        records=records,
        rows=tuple(rows),
        points=journal.rollback_points(include_expired=True),
        kept=kept,
        trails=Trails.read(journal, rows),
        by_upgrade=by_upgrade,
    )


# --- the invariants ----------------------------------------------------------------------------------------------


def _violation(name: str, words: str, *, subject: str = "", hint: str = "") -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code=f"invariant.{name}",
        message=f"{name} ({INVARIANTS[name]}) is broken: {words}",
        subject=subject,
        hint=hint or "Keep a copy of the state directory, and report this.",
        source="doctor",
    )


def _pointers(facts: _Facts, store: ContentStore) -> Iterator[Finding]:
    """I1, I2."""
    names = [pointer.component_name for pointer in facts.active]
    for name in sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        yield _violation("I1", f"{name} has {names.count(name)} rows", subject=name)
    for pointer in facts.active:
        for words in _bytes_missing(pointer.artifact, pointer.state_digest, store):
            yield _violation(
                "I2",
                f"{pointer.component_name} {pointer.version}: {words}",
                subject=pointer.component_name,
                hint="Roll back, or restart the program and fetch it again:"
                f" `noodle upgrade {pointer.component_name} {pointer.version}`.",
            )


def _bytes_missing(artifact: ArtifactRef | None, state_digest: str, store: ContentStore) -> Iterator[str]:
    for digest in (artifact.digest if artifact else "", state_digest):
        if digest:
            try:
                store.verify(digest)
            except UpgradeError as error:
                yield error.message
    if artifact is not None and not (store.root / artifact.tree).is_dir():
        yield f"its files are not in {artifact.tree}"


def _versions(facts: _Facts) -> Iterator[Finding]:
    """I3, and I13 as far as pointers show it."""
    for pointer in facts.active:
        name, record = pointer.component_name, facts.records.get(pointer.upgrade_id)
        if pointer.upgrade_id and (record is None or name not in record.components):
            yield _violation("I3", f"{name} was moved by {pointer.upgrade_id}, which nobody knows", subject=name)
        elif record is not None:
            allowed = _allowed(record, name)
            if not any(_same(pointer.version, version) for version in allowed):
                words = f"{name} is at {pointer.version}, and {record.upgrade_id} is {record.phase}"
                yield _violation("I3", words, subject=name)
    at = {pointer.component_name: pointer for pointer in facts.active}
    for record in facts.records.values():
        if record.phase.ended:
            continue
        moved = [name for name in record.components if name in at and at[name].upgrade_id == record.upgrade_id]
        if moved and set(moved) != set(record.components):
            yield _violation("I13", f"{record.upgrade_id} moved {', '.join(moved)} and left the rest", subject=moved[0])
        if record.phase in _NEW and not moved:
            yield _violation("I13", f"{record.upgrade_id} is {record.phase} and moved no pointer")


def _allowed(record: UpgradeRecord, name: str) -> tuple[str, ...]:
    old, new = record.from_versions[name], record.to_versions[name]
    if record.phase in _NEW:
        return (new,)
    if record.phase in _AGAIN:
        return (new, old)
    # One that never committed has never moved a pointer.
    return (old,) if record.phase is Phase.ROLLED_BACK else ()


def _open_upgrades(facts: _Facts) -> Iterator[Finding]:
    """I4."""
    holders: dict[str, list[str]] = {}
    for record in facts.records.values():
        if not record.phase.ended:
            for name in record.components:
                holders.setdefault(name, []).append(record.upgrade_id)
    for name, ids in holders.items():
        if len(ids) > 1:
            yield _violation("I4", f"{name} is held by {', '.join(ids)}", subject=name)


def _generations(facts: _Facts) -> Iterator[Finding]:
    """I5: every move in the audit adds 1, starts where the last one ended, and the last one is the pointer."""
    at: dict[str, tuple[int, str]] = {}
    for row in facts.rows:
        moves = [move["component_name"] for move in row.evidence.get("moves", ())]
        # A restart that finds one staged lets generations grow too, of which nobody had seen anything: no harm in that.
        if row.phase is Phase.ROLLED_BACK and not set(_shown(facts, row.upgrade_id)) <= set(moves):
            yield _violation("I5", f"{row.upgrade_id} was rolled back, and a generation of it did not grow")
        for move in row.evidence.get("moves", ()):
            name, generation = move["component_name"], move["generation"]
            last = at.get(name)
            expected = (1, move["from_version"]) if last is None else (last[0] + 1, last[1])
            if (generation, move["from_version"]) != expected:
                words = f"{name} went from generation {expected[0] - 1} to {generation} at row {row.sequence}"
                yield _violation("I5", words, subject=name)
            at[name] = (generation, move["version"])
    for pointer in facts.active:
        name = pointer.component_name
        generation, version = at.get(name, (0, pointer.version))
        if (pointer.generation, pointer.version) != (generation, version):
            words = (
                f"{name} is at {pointer.version}, generation {pointer.generation},"
                f" and the audit ends at {version}, generation {generation}"
            )
            yield _violation("I5", words, subject=name)


def _shown(facts: _Facts, upgrade_id: str) -> tuple[str, ...]:
    """Return the components of an upgrade whose traffic had begun to move."""
    record = facts.records.get(upgrade_id)
    began = any(row.phase is Phase.SHIFTING for row in facts.by_upgrade[upgrade_id])
    return record.components if record is not None and began else ()


def _chains(facts: _Facts) -> Iterator[Finding]:
    """I6, I12, and I13 as far as the audit shows it."""
    for upgrade_id, rows in facts.by_upgrade.items():
        if upgrade_id and upgrade_id not in facts.records:
            yield _violation("I6", f"the audit has {len(rows)} row(s) of {upgrade_id}, which nobody knows")
    for record in facts.records.values():
        rows = facts.by_upgrade.get(record.upgrade_id, [])
        yield from _chain(record, rows)
        seen = [row.phase for row in rows if row.phase not in _AGAIN and row.phase_from is not Phase.ROLLING_BACK]
        if len(set(seen)) < len(seen):
            yield _violation("I12", f"{record.upgrade_id} went through a phase twice")
        for row in rows:
            moves = [move["component_name"] for move in row.evidence.get("moves", ())]
            if row.phase is Phase.COMMITTED and sorted(moves) != sorted(record.components):
                words = f"{record.upgrade_id} is about {', '.join(record.components)} and moved {', '.join(moves)}"
                yield _violation("I13", words)


def _chain(record: UpgradeRecord, rows: list[AuditRow]) -> Iterator[Finding]:
    if not rows:
        yield _violation("I6", f"{record.upgrade_id} is {record.phase}, and the audit does not know it")
        return
    if (rows[0].phase_from, rows[0].phase) != (None, Phase.RECEIVED):
        yield _violation("I6", f"the audit of {record.upgrade_id} does not begin with {Phase.RECEIVED}")
    for before, after in pairwise(rows):
        broken = before.phase is None or after.phase_from is not before.phase
        if broken or before.phase is None or after.phase not in TRANSITIONS[before.phase]:
            yield _violation("I6", f"the audit of {record.upgrade_id} goes from {before.phase} to {after.phase}")
    if rows[-1].phase is not record.phase:
        yield _violation("I6", f"{record.upgrade_id} is {record.phase}, and the audit ends with {rows[-1].phase}")


def _fences(facts: _Facts) -> Iterator[Finding]:
    """I7."""
    for before, after in pairwise(facts.rows):
        if after.fence < before.fence:
            words = f"row {after.sequence} of the audit was written under {after.fence}, after one under {before.fence}"
            yield _violation("I7", words)


def _nonces(facts: _Facts) -> Iterator[Finding]:
    """I8."""
    used: dict[str, str] = {}
    for record in facts.records.values():
        if not any(row.phase is Phase.COMMITTED for row in facts.by_upgrade.get(record.upgrade_id, ())):
            continue
        for nonce in record.nonces:
            if nonce in used:
                yield _violation("I8", f"{used[nonce]} and {record.upgrade_id} both carried out {nonce}")
            used[nonce] = record.upgrade_id


def _old_states(facts: _Facts, store: ContentStore) -> Iterator[Finding]:
    """I11: what an upgrade that is under way would go back to is still there."""
    for point in facts.points:
        record = facts.records.get(point.upgrade_id)
        if record is None:
            yield _violation("I11", f"{point.rollback_id} belongs to {point.upgrade_id}, which nobody knows")
        elif not record.phase.ended:
            for words in _bytes_missing(point.artifact, point.state_digest, store):
                yield _violation("I11", f"{point.rollback_id}: {words}", subject=point.component_name)


def _stuck(facts: _Facts) -> Iterable[Finding]:
    return [
        Finding(
            severity=Severity.WARNING,
            code="upgrade.stuck",
            message=f"{record.upgrade_id} ({', '.join(record.components)}) could not be taken back"
            + (f": {record.error.get('message', '')}" if record.error else "."),
            subject=record.components[0],
            hint="See what is left with `noodle history`, mend it, then roll it back again.",
            source="doctor",
        )
        for record in facts.records.values()
        if record.phase is Phase.STUCK
    ]
