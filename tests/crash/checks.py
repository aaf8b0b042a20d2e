"""What has to be true of the state that a kill leaves behind: before a recovery, after it, and from then on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from noodle_upgrade_core import doctor
from noodle_upgrade_core.errors import InvalidRequestError, LeaseHeldError, LeaseLostError, UpgradeError
from noodle_upgrade_core.journal.sqlite import SqliteJournal
from noodle_upgrade_core.model import Phase, Severity
from noodle_upgrade_core.store import ContentStore

from .scenarios import DROPPED, OWNER, World, body_of, recover

DEAD = "elsewhere:1:1"
_NEW = frozenset({Phase.COMMITTED, Phase.SOAKING, Phase.DONE})
_GOING = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK})
_OF_DOCUMENTS = frozenset({"kept", "dropped"})
_KNOWN = frozenset({"0.9", "1.0", "2.0"})
_VISIBLE = frozenset({Phase.SHIFTING}) | _NEW | _GOING


def before_recovery(folder: Path, told: Sequence[str], scratch: Path, *, later: float = 0.0) -> list[str]:
    """Look at a copy, so that looking does not mend anything: the invariants, and every promise that was told.

    `later` as in `after_recovery`, when a recovery was killed before.
    """
    copy = scratch / "look"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    with SqliteJournal(copy / "state" / "journal.db") as journal:
        store = ContentStore(copy / "store")
        return _violations(journal, store) + _promises(journal, told, recovered=False, later=later)


def after_recovery(folder: Path, told: Sequence[str], *, later: float = 0.0) -> list[str]:
    """Recover to the end, twice; then the invariants, the promises, and that life goes on.

    `later` is how many seconds have passed since the kill, as the clock tells.
    """
    world = World.open(folder, later=later)
    try:
        recover(world)
        found = _violations(world.journal, world.store) + _promises(world.journal, told, recovered=True, later=later)
        left = {r.upgrade_id: r.phase for r in world.journal.open_upgrades()}
        found += [f"{key} is still {phase}" for key, phase in left.items() if phase is not Phase.SOAKING]
        state = _state(world.journal)
        recover(world)
        if _state(world.journal) != state:
            found.append("I9: recovering again changed something")
    finally:
        world.close()
    return found + _goes_on(folder, later)


def _goes_on(folder: Path, later: float) -> list[str]:
    found = _soak_ends(folder, later)
    world = World.open(folder, later=later)
    try:
        found += _retry(world) + _replay(world)
        found += _two_controllers(world)
        return found + _violations(world.journal, world.store)
    finally:
        world.close()


def _violations(journal: SqliteJournal, store: ContentStore) -> list[str]:
    return [f.message for f in doctor.check(journal, store) if f.severity is Severity.ERROR]


def _state(journal: SqliteJournal) -> object:
    points = journal.rollback_points(include_expired=True)
    return (journal.active(), journal.history(1000), journal.audit(), points, journal.documents())


def _promises(journal: SqliteJournal, told: Sequence[str], *, recovered: bool, later: float = 0.0) -> list[str]:
    found = _documents(journal, told)
    for word, upgrade_id in (line.split() for line in told):
        if word in _OF_DOCUMENTS:
            continue
        record = journal.record(upgrade_id)
        phase = None if record is None else record.phase
        going = f"going-back {upgrade_id}" in told
        # Nobody has judged a soak whose time is long over: the restart goes back, and may, unless it had ended well.
        over = later > 0.0 and record is not None and record.soak_deadline is not None
        unjudged = over and f"done {upgrade_id}" not in told
        wanted = {
            "visible": _VISIBLE,
            "committed": _NEW | _GOING if going or unjudged else _NEW,
            # That it is done may ride, but for a soak; a restart must come to the same end.
            "done": (frozenset({Phase.DONE}) if recovered else _NEW) | (_GOING if going else frozenset()),
            # Before the commit the note that it goes back may ride: a restart goes back anyway.
            "going-back": _GOING if recovered or f"committed {upgrade_id}" in told else _GOING | {Phase.SHIFTING},
            "back": frozenset({Phase.ROLLED_BACK}),
            "approved": frozenset(Phase),
        }[word]
        # A rollback whose beginning was not told yet may have begun all the same; a restart takes it to its end.
        if phase not in wanted and not (word in {"committed", "done"} and phase in _GOING):
            found.append(f"it was told that {upgrade_id} is {word}, and it is {phase}")
        if word == "approved" and journal.approvals(upgrade_id) != ("bob",):
            found.append(f"the approval of {upgrade_id} is lost")
        lost = recovered and word in {"committed", "done"} and not going and not unjudged and phase in _GOING
        if lost and not _began(journal, upgrade_id):
            found.append(f"it was told that {upgrade_id} is {word}, and recovery took it back")
    points = {(p.upgrade_id, p.component_name) for p in journal.rollback_points(include_expired=True)}
    found += [
        f"I11: {record.upgrade_id} has no way back"
        for record in journal.open_upgrades()
        if record.phase in _VISIBLE and not points.issuperset((record.upgrade_id, name) for name in record.components)
    ]
    at = {pointer.component_name: pointer.version for pointer in journal.active()}
    return found + [f"I3: {name} is at {version}" for name, version in at.items() if version not in _KNOWN]


def _documents(journal: SqliteJournal, told: Sequence[str]) -> list[str]:
    """Every document is whole, with a row for every revision, and at the one that was told or at the one after it."""
    found = []
    for key in ("d", "e"):
        last = max(
            (int(line.partition("@")[2]) for line in told if line.partition("@")[0].endswith(f" {key}")), default=0
        )
        one, rows = journal.document(OWNER, key), journal.document_audit(OWNER, key)
        if len(rows) not in {last, last + 1}:
            found.append(f"it was told that document {key} is at {last}, and the audit has {len(rows)} rows of it")
        if [row.why for row in rows] != [f"{number}" for number in range(1, len(rows) + 1)]:
            found.append(f"the audit of document {key} does not say why it changed")
        due = None if (key, len(rows)) == ("d", DROPPED) or not rows else (len(rows), body_of(len(rows)))
        if due != (None if one is None else (one.revision, one.body)):
            found.append(f"document {key} is not what its {len(rows)} rows say: {one and one.revision}")
    return found


def _began(journal: SqliteJournal, upgrade_id: str) -> bool:
    """Whether the rollback was asked for, and not made up by the recovery."""
    return any(row.phase is Phase.ROLLING_BACK and row.why == "harm" for row in journal.audit(upgrade_id))


def _soak_ends(folder: Path, later: float) -> list[str]:
    """A version that kills its process again and again must not be restarted for ever."""
    for _ in range(5):
        world = World.open(folder, later=later)
        try:
            recover(world)
            if not world.journal.open_upgrades():
                return []
        finally:
            world.close()
    return ["a soak never ends, however often the process is restarted"]


def _retry(world: World) -> list[str]:
    """I10: the same upgrade again, which is refused only if it was carried out; then a further one."""
    at = {p.component_name: p.version for p in world.journal.active()}
    used = any(row.phase is Phase.COMMITTED for row in world.journal.audit("up-x"))
    try:
        if (at["a"], at["b"]) == ("1.0", "1.0") and not used:
            world.upgrade("up-again", world.plan(["a", "b"], "2.0"))
            if found := _loads(world, "2.0"):
                return found
        world.upgrade("up-next", world.plan(["a", "b"], "3.0"))
        return _loads(world, "3.0")
    except UpgradeError as error:
        return [f"I10: after recovery the upgrade cannot be tried again: {error}"]


def _loads(world: World, version: str) -> list[str]:
    """Whether a and b are at a version and would be loaded from whole files that say so."""
    for name in ("a", "b"):
        pointer = world.journal.active_of(name)
        if pointer is None or pointer.version != version or pointer.artifact is None:
            return [f"I10: after recovery an upgrade of {name} to {version} had no effect: {pointer}"]
        world.store.verify(pointer.artifact.digest)
        if (world.store.root / pointer.artifact.tree / name / "__init__.py").read_text() != f"VERSION = {version!r}\n":
            return [f"I10: {name} {version} would load something else"]
    return []


def _replay(world: World) -> list[str]:
    """I8: the request that was just carried out is not carried out again."""
    if world.journal.record("up-next") is None:
        return []
    done, plan = world.plan(["b"], "3.0"), world.plan(["b"], "2.0")
    try:
        world.upgrade("up-replay", type(plan)(requests=done.requests, steps=plan.steps))
    except InvalidRequestError:
        return []
    return ["I8: a request was carried out twice"]


def _two_controllers(world: World) -> list[str]:
    """I7: while one lives nobody else gets in; once it was taken over it cannot write."""
    found = []
    path = world.journal.path
    with SqliteJournal(path, clock=world.clock) as other:
        try:
            other.acquire_lease(DEAD)
            found.append("I7: a second controller got the lease of a living one")
        except LeaseHeldError:
            pass
    plan = world.plan(["b"], "2.0", request="late")
    world.journal.acquire_lease(DEAD, ttl=-1.0)
    with SqliteJournal(path, clock=world.clock) as other:
        other.acquire_lease(DEAD, ttl=-1.0)
        other.observe_active("z", "1")
        try:
            world.until_shifting("up-late", plan)
            found.append("I7: a controller that was taken over could still write")
        except LeaseLostError:
            pass
        other.release_lease()
    world.journal.acquire_lease()
    return found
