"""What has to be true of the state that a kill leaves behind: before a recovery, after it, and from then on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from noodle_upgrade_core import doctor
from noodle_upgrade_core.errors import InvalidRequestError, LeaseHeldError, LeaseLostError, UpgradeError
from noodle_upgrade_core.model import Phase, Severity
from noodle_upgrade_core.sqlite_journal import SqliteJournal
from noodle_upgrade_core.store import ContentStore

from .scenarios import World, recover

DEAD = "elsewhere:1:1"
_NEW = frozenset({Phase.COMMITTED, Phase.SOAKING, Phase.DONE})
_GOING = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK})
_VISIBLE = frozenset({Phase.SHIFTING}) | _NEW | _GOING


def before_recovery(folder: Path, told: Sequence[str], scratch: Path) -> list[str]:
    """Look at a copy, so that looking does not mend anything: the invariants, and every promise that was told."""
    copy = scratch / "look"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    with SqliteJournal(copy / "state" / "journal.db") as journal:
        store = ContentStore(copy / "store")
        return _violations(journal, store) + _promises(journal, told, recovered=False)


def after_recovery(folder: Path, told: Sequence[str]) -> list[str]:
    """Recover to the end, twice; then the invariants, the promises, and that life goes on."""
    world = World.open(folder)
    try:
        recover(world)
        found = _violations(world.journal, world.store) + _promises(world.journal, told, recovered=True)
        left = {r.upgrade_id: r.phase for r in world.journal.open_upgrades()}
        found += [f"{key} is still {phase}" for key, phase in left.items() if phase is not Phase.SOAKING]
        state = _state(world.journal)
        recover(world)
        if _state(world.journal) != state:
            found.append("I9: recovering again changed something")
    finally:
        world.close()
    return found + _goes_on(folder)


def _goes_on(folder: Path) -> list[str]:
    found = _soak_ends(folder)
    world = World.open(folder)
    try:
        found += _retry(world) + _replay(world)
        found += _two_controllers(world)
        return found + _violations(world.journal, world.store)
    finally:
        world.close()


def _violations(journal: SqliteJournal, store: ContentStore) -> list[str]:
    return [f.message for f in doctor.check(journal, store) if f.severity is Severity.ERROR]


def _state(journal: SqliteJournal) -> object:
    return (journal.active(), journal.history(1000), journal.audit(), journal.rollback_points(include_expired=True))


def _promises(journal: SqliteJournal, told: Sequence[str], *, recovered: bool) -> list[str]:
    found = []
    for word, upgrade_id in (line.split() for line in told):
        record = journal.record(upgrade_id)
        phase = None if record is None else record.phase
        going = f"going-back {upgrade_id}" in told
        wanted = {
            "visible": _VISIBLE,
            "committed": _NEW | _GOING if going else _NEW,
            # Before the commit the note that it goes back may ride: a restart goes back anyway.
            "going-back": _GOING if recovered or f"committed {upgrade_id}" in told else _GOING | {Phase.SHIFTING},
            "back": frozenset({Phase.ROLLED_BACK}),
            "approved": frozenset(Phase),
        }[word]
        # A rollback whose beginning was not told yet may have begun all the same; a restart takes it to its end.
        if phase not in wanted and not (word == "committed" and phase in _GOING):
            found.append(f"it was told that {upgrade_id} is {word}, and it is {phase}")
        if word == "approved" and journal.approvals(upgrade_id) != ("bob",):
            found.append(f"the approval of {upgrade_id} is lost")
        if word == "visible" and record is not None:
            points = {p.component_name for p in journal.rollback_points(include_expired=True) if p.upgrade_id == upgrade_id}
            if points != set(record.components):
                found.append(f"I11: {upgrade_id} has no way back")
        if recovered and word == "committed" and not going and phase in _GOING and not _began(journal, upgrade_id):
            found.append(f"it was told that {upgrade_id} is committed, and recovery took it back")
    for pointer in journal.active():
        if pointer.version not in {"0.9", "1.0", "2.0"}:
            found.append(f"I3: {pointer.component_name} is at {pointer.version}")
    return found


def _began(journal: SqliteJournal, upgrade_id: str) -> bool:
    """Whether the rollback was asked for, and not made up by the recovery."""
    return any(row.phase is Phase.ROLLING_BACK and row.why == "harm" for row in journal.audit(upgrade_id))


def _soak_ends(folder: Path) -> list[str]:
    """A version that kills its process again and again must not be restarted for ever."""
    for _ in range(5):
        world = World.open(folder)
        try:
            recover(world)
            if not world.journal.open_upgrades():
                return []
        finally:
            world.close()
    return ["a soak never ends, however often the process is restarted"]


def _retry(world: World) -> list[str]:
    """I10: the same upgrade again, which is refused only if it was carried out; then a further one."""
    pointer = world.journal.active_of("a")
    at = "" if pointer is None else pointer.version
    used = any(row.phase is Phase.COMMITTED for row in world.journal.audit("up-x"))
    try:
        if at == "1.0" and not used:
            plan = world.plan(["a"], "2.0")
            world.upgrade("up-again", plan)
            if world.journal.active_of("a").version != "2.0":  # type: ignore[union-attr]
                return ["I10: the same upgrade again had no effect"]
        world.upgrade("up-next", world.plan(["a", "b"], "3.0"))
        versions = {p.component_name: p.version for p in world.journal.active()}
        marks = [
            (world.store.root / p.artifact.tree / p.component_name / "__init__.py").read_text()
            for p in world.journal.active()
            if p.artifact is not None and p.component_name in {"a", "b"}
        ]
    except (UpgradeError, OSError) as error:
        return [f"I10: after recovery the upgrade cannot be tried again: {error}"]
    if versions["a"] != "3.0" or marks != ["VERSION = '3.0'\n"] * 2:
        return [f"I10: an upgrade after recovery ended at {versions} with {marks}"]
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
    with SqliteJournal(path) as other:
        try:
            other.acquire_lease(DEAD)
            found.append("I7: a second controller got the lease of a living one")
        except LeaseHeldError:
            pass
    plan = world.plan(["b"], "2.0", request="late")
    world.journal.acquire_lease(DEAD, ttl=-1.0)
    with SqliteJournal(path) as other:
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
