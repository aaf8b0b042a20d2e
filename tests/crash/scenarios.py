"""Upgrades as an Upgrader would carry them out against the journal and the store, told step by step to who watches.

What a child process *tells* outlives its kill: it is what a person or a program was promised by then.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from attrs import define, frozen

from noodle_upgrade_core.journal import PointerMove
from noodle_upgrade_core.journal.leases import this_process
from noodle_upgrade_core.journal.sqlite import SqliteJournal
from noodle_upgrade_core.model import (
    ArtifactRef,
    ComponentDescriptor,
    Phase,
    PlanStep,
    RollbackPoint,
    UpgradePlan,
    UpgradeRequest,
    Verdict,
    now,
)
from noodle_upgrade_core.store import ContentStore

WHO = "the crash tests"
LATE = 7200.0
"""Seconds after which a restart finds that every soak of these scenarios is over, and its grace too."""
OWNER = "acme"
DROPPED = 4
"""The revision at which the scenario of documents drops one of them."""
Faults = Callable[[str], None]


def body_of(number: int) -> dict[str, Any]:
    """Return what a document holds at a revision: several pages, so that half of it could be told."""
    return {"number": number, "filling": f"{number}" * 9_000}


def clock_after(later: float) -> Callable[[], datetime]:
    """Return a clock that is ahead by so many seconds."""
    return lambda: now() + timedelta(seconds=later)


class NoRoom:
    """A connection on a disk that is full whenever the log is to be brought into the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if "wal_checkpoint" in statement:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._connection.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@define(slots=False)
class World:
    """One controller: its journal, its store, and whom it tells what has happened.

    The two switches are planted bugs of the protocol itself: doing things in the wrong order.
    """

    folder: Path
    journal: SqliteJournal
    store: ContentStore
    tell: Callable[[str], None]
    clock: Callable[[], datetime] = now

    stores_late: ClassVar[bool] = False
    shows_early: ClassVar[bool] = False

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        faults: Faults | None = None,
        tell: Callable[[str], None] = lambda _: None,
        later: float = 0.0,
    ) -> World:
        """Open the state of a folder, with the lease of this process; `later` by so many seconds than it is."""
        clock = clock_after(later)
        journal = SqliteJournal(folder / "state" / "journal.db", faults=faults, clock=clock).open()
        try:
            journal.acquire_lease(str(this_process()))
        except BaseException:
            journal.close()
            raise
        return cls(folder, journal, ContentStore(folder / "store", faults=faults), tell, clock)

    def close(self) -> None:
        self.journal.close()

    # --- the parts of an upgrade ---------------------------------------------------------------------------------

    def fetch(self, name: str, version: str) -> ArtifactRef:
        path = self.folder / "wheels" / f"{name}-{version}-py3-none-any.whl"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if not self.stores_late:
            self.keep(path)
        return ArtifactRef(
            name=name, version=version, digest=digest, kind="wheel", size=path.stat().st_size, tree=f"trees/{digest}"
        )

    def keep(self, path: Path) -> None:
        self.store.unpack_wheel(self.store.put_file(path))

    def plan(self, names: Sequence[str], target: str, *, request: str = "req") -> UpgradePlan:
        steps = []
        for name in names:
            pointer = self.journal.active_of(name)
            before = "1.0" if pointer is None else pointer.version
            component = ComponentDescriptor(name=name, version=before)
            steps.append(
                PlanStep(
                    component=component,
                    from_version=before,
                    to_version=target,
                    path=(before, target),
                    artifacts=(self.fetch(name, target),),
                    verdict=Verdict(feasible=True, mechanism="patch"),
                )
            )
        requests = tuple(
            UpgradeRequest(component_name=name, target_version=target, request_id=f"{request}-{name}-{target}")
            for name in names
        )
        return UpgradePlan(requests=requests, steps=tuple(steps))

    def until_shifting(self, upgrade_id: str, plan: UpgradePlan) -> None:
        journal = self.journal
        journal.begin(upgrade_id, plan, who=WHO)
        for phase in (Phase.VALIDATED, Phase.APPROVED):
            journal.advance(upgrade_id, phase, who=WHO, why="fine")
        points = tuple(self.point(upgrade_id, step) for step in plan.steps)
        journal.advance(upgrade_id, Phase.STAGED, who=WHO, why="beside")
        if self.shows_early:
            self.tell(f"visible {upgrade_id}")
        journal.intend(upgrade_id, points, who=WHO, why="traffic moves")
        self.tell(f"visible {upgrade_id}")

    def point(self, upgrade_id: str, step: PlanStep) -> RollbackPoint:
        pointer = self.journal.active_of(step.name)
        state = self.store.put_bytes(json.dumps({"component": step.name, "upgrade": upgrade_id}).encode())
        return RollbackPoint(
            upgrade_id=upgrade_id,
            component_name=step.name,
            from_version=step.from_version,
            to_version=step.to_version,
            created_at=now(),
            artifact=None if pointer is None else pointer.artifact,
            state_digest=state,
        )

    def commit(self, upgrade_id: str, plan: UpgradePlan, *, soak: float = 0.0) -> None:
        moves = tuple(
            PointerMove(
                component_name=step.name,
                version=step.to_version,
                artifact=step.artifact,
                expected_version=step.from_version,
            )
            for step in plan.steps
        )
        self.journal.commit(upgrade_id, moves, who=WHO, why="all traffic", soak_seconds=soak, soak_tries=3)
        self.tell(f"committed {upgrade_id}")
        if self.stores_late:
            for step in plan.steps:
                self.keep(self.folder / "wheels" / f"{step.name}-{step.to_version}-py3-none-any.whl")

    def go_back(self, upgrade_id: str) -> None:
        self.journal.rolling_back(upgrade_id, who=WHO, why="harm")
        self.tell(f"going-back {upgrade_id}")
        self.journal.rolled_back(upgrade_id, who=WHO, why="harm")
        self.tell(f"back {upgrade_id}")

    def finish(self, upgrade_id: str) -> None:
        self.journal.finish(upgrade_id, Phase.DONE, who=WHO, why="it runs")
        self.tell(f"done {upgrade_id}")

    def keep_document(self, key: str, number: int, *, ended: bool = False) -> None:
        """Keep a document whose body says which revision it is, and how long it must be to be whole."""
        body = body_of(number)
        self.journal.keep_document(OWNER, key, body, who=WHO, why=f"{number}", expected=number - 1, ended=ended)
        self.tell(f"kept {key}@{number}")

    def drop_document(self, key: str, number: int) -> None:
        """Drop a document that is at the revision before."""
        self.journal.drop_document(OWNER, key, who=WHO, why=f"{number}", expected=number - 1)
        self.tell(f"dropped {key}@{number}")

    def fill_the_disk(self) -> None:
        """Let the log not come into the file any more, beginning with the next transaction, after which it is due."""
        file: Any = self.journal._file
        file._writer = NoRoom(file._writer)
        file._since_checkpoint = 10_000

    def upgrade(self, upgrade_id: str, plan: UpgradePlan) -> None:
        self.until_shifting(upgrade_id, plan)
        self.commit(upgrade_id, plan)
        self.finish(upgrade_id)

    def clean(self, keep: int = 1, *, min_age: float = -1.0) -> None:
        """What an Upgrader does after an upgrade: old points expire, and the store lets go of what nobody names."""
        self.journal.expire_rollback_points(keep)
        self.store.collect(self.journal.digests(), min_age=min_age)


# --- the scenarios -----------------------------------------------------------------------------------------------


def one(world: World) -> None:
    """One component, the whole way, and the lease is renewed afterwards."""
    world.upgrade("up-x", world.plan(["a"], "2.0"))
    world.journal.renew_lease()


def a_set(world: World) -> None:
    """Three components in one commit, one of which was never seen."""
    world.upgrade("up-x", world.plan(["a", "b", "c"], "2.0"))
    world.clean()


def soak(world: World) -> None:
    """A commit that is watched for a while; nothing more is written for some time after it has ended well."""
    plan = world.plan(["a", "b"], "2.0")
    world.until_shifting("up-x", plan)
    world.commit("up-x", plan, soak=3600)
    world.journal.advance("up-x", Phase.SOAKING, who=WHO, why="watched", soak_seconds=3600, soak_tries=3)
    world.clean()
    world.finish("up-x")
    for name in ("a", "b", "c"):
        world.fetch(name, "3.0")
    world.journal.renew_lease()


def harm(world: World) -> None:
    """Harm under traffic, before the commit."""
    world.until_shifting("up-x", world.plan(["a", "b"], "2.0"))
    world.go_back("up-x")
    world.clean()


def late_harm(world: World) -> None:
    """Harm after the commit, while it soaks."""
    plan = world.plan(["a", "b"], "2.0")
    world.until_shifting("up-x", plan)
    world.commit("up-x", plan, soak=3600)
    world.journal.advance("up-x", Phase.SOAKING, who=WHO, why="watched", soak_seconds=3600, soak_tries=3)
    world.go_back("up-x")
    world.clean()


def back(world: World) -> None:
    """A finished upgrade that somebody takes back later."""
    world.upgrade("up-x", world.plan(["a", "b"], "2.0"))
    world.journal.renew_lease()
    world.go_back("up-x")
    world.clean(keep=0)


def two(world: World) -> None:
    """Two upgrades of different components that overlap; one is refused, and its rows ride with the other's."""
    first, second = world.plan(["a"], "2.0"), world.plan(["b"], "2.0")
    world.journal.begin("up-y", second, who=WHO)
    world.until_shifting("up-x", first)
    world.journal.advance("up-y", Phase.VALIDATED, who=WHO, why="fine")
    world.journal.record_approval("up-y", second.digest, who="bob", at=now(), nonce="n-1")
    world.tell("approved up-y")
    world.commit("up-x", first)
    world.journal.finish("up-y", Phase.REJECTED, who=WHO, why="a vote")
    world.finish("up-x")
    world.journal.renew_lease()


def full(world: World) -> None:
    """An upgrade on a disk that becomes full before the commit: the log has room, and the file has none."""
    plan = world.plan(["a", "b"], "2.0")
    world.until_shifting("up-x", plan)
    world.fill_the_disk()
    world.commit("up-x", plan, soak=3600)
    world.finish("up-x")


def documents(world: World) -> None:
    """Two documents change while an upgrade rides, is committed and ends; one of them is dropped."""
    plan = world.plan(["a"], "2.0")
    world.journal.begin("up-x", plan, who=WHO)
    world.keep_document("d", 1)
    world.keep_document("d", 2)
    for phase in (Phase.VALIDATED, Phase.APPROVED, Phase.STAGED):
        world.journal.advance("up-x", phase, who=WHO, why="fine")
    world.keep_document("e", 1)
    world.journal.intend("up-x", (world.point("up-x", plan.steps[0]),), who=WHO, why="traffic moves")
    world.tell("visible up-x")
    world.keep_document("d", 3, ended=True)
    world.commit("up-x", plan)
    world.finish("up-x")
    world.drop_document("d", DROPPED)
    world.keep_document("e", 2)


SCENARIOS: dict[str, Callable[[World], None]] = {
    scenario.__name__: scenario for scenario in (one, a_set, soak, harm, late_harm, back, two, full, documents)
}


def recover(world: World) -> None:
    """What a restart does before it serves."""
    world.journal.recover(WHO)
    for pointer in world.journal.active():
        world.journal.observe_active(pointer.component_name, pointer.version)
    # What was put in a moment ago stays, as it would for an hour: also halves of it, if there were any.
    world.clean(min_age=3600.0)


# --- the state that every scenario starts from ---------------------------------------------------------------------


@frozen
class Base:
    """A folder with wheels, and a journal and a store in which a and b have been upgraded once."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Base:
        (folder / "wheels").mkdir(parents=True)
        for name in ("a", "b", "c"):
            for version in ("1.0", "2.0", "3.0"):
                _wheel(folder / "wheels", name, version)
        world = World.open(folder)
        try:
            for name in ("a", "b"):
                world.journal.observe_active(name, "0.9")
            world.upgrade("up-0", world.plan(["a", "b"], "1.0"))
        finally:
            world.close()
        return cls(folder)


def _wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f"VERSION = {version!r}\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for path, data in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0)), data)
