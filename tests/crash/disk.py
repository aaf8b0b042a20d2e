"""A disk that fails under journal and store: full, broken, half a write, a sync that cannot be believed.

No operation is listed by hand: an upgrade, a rollback, a change of documents and a start are carried out once to
count what they do with the disk, and then once for every operation, which fails only then or from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self
from unittest import mock

from attrs import define, field, frozen

from noodle_upgrade_core import Document, Phase, Upgrader
from noodle_upgrade_core.errors import InternalError, RollbackFailedError, UpgradeError
from noodle_upgrade_core.journal.file import SqliteFile
from tests.unit.shelf import Shelf, ask, fill, gate_at, opened, until

OWNER = "acme"
OLD, NEW, NEXT = "1.0", "1.1", "2.0"
UNKNOWN = "known after a restart"
_SYNCS = ("COMMIT", "fsync", "PRAGMA wal_checkpoint")
_SQLITE = {"full": sqlite3.SQLITE_FULL, "broken": sqlite3.SQLITE_IOERR_WRITE, "sync": sqlite3.SQLITE_IOERR_FSYNC}
_OS = {"full": errno.ENOSPC, "broken": errno.EIO, "sync": errno.EIO}
_NAMES = {"mkdir", "rename", "replace", "unlink", "utime", "rmdir"}
SYSTEM = (*sorted(_NAMES), "open")


@frozen
class Trouble:
    """How the disk fails (`full`, `broken`, `sync`), at which operation, and whether for ever; 0: never."""

    kind: str = "full"
    at: int = 0
    ever: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {'from' if self.ever else 'at'} operation {self.at}"


@define
class Disk:
    """Counts operations under a folder, and makes them fail; a `sync` fails after it was done: who knows?"""

    root: Path
    trouble: Trouble = field(factory=Trouble)
    seen: list[str] = field(factory=list)
    again: list[str] = field(factory=list)
    armed: bool = True

    def fails(self, operation: str) -> bool:
        """Count an operation, and say whether it fails."""
        if not self.armed or (self.trouble.kind == "sync" and not operation.startswith(_SYNCS)):
            return False
        self.seen.append(operation)
        done, at = len(self.seen), self.trouble.at
        return at != 0 and (done == at or (self.trouble.ever and done > at))

    def system_error(self) -> OSError:
        number = _OS[self.trouble.kind]
        return OSError(number, os.strerror(number))

    def ours(self, place: object) -> bool:
        return isinstance(place, str | os.PathLike) and Path(place).is_relative_to(self.root)

    @contextlib.contextmanager
    def under(self) -> Iterator[Disk]:
        """Be the disk of journal and store for the length of a block."""
        with contextlib.ExitStack() as stack:
            for name in SYSTEM:
                stack.enter_context(mock.patch(f"os.{name}", self._failing(getattr(os, name))))
            stack.enter_context(mock.patch("os.fsync", self._failing_sync(os.fsync)))
            stack.enter_context(mock.patch("os.fdopen", self._failing_files(os.fdopen)))
            stack.enter_context(mock.patch.object(SqliteFile, "_connect", self._failing_journal(SqliteFile._connect)))
            yield self

    def _failing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def made(place: Any, *arguments: Any, **named: Any) -> Any:
            writes = function.__name__ != "open" or (
                arguments and arguments[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            if writes and self.ours(place) and self.fails(function.__name__):
                raise self.system_error()
            return function(place, *arguments, **named)

        return made

    def _failing_sync(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def made(handle: int) -> None:
            function(handle)
            if self.fails("fsync"):
                raise self.system_error()

        return made

    def _failing_files(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def made(handle: int, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            file = function(handle, mode, *arguments, **named)
            return HalfWritten(self, file) if "w" in mode else file

        return made

    def _failing_journal(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        def made(file: SqliteFile, mode: str) -> Any:
            connection = connect(file, mode)
            return Statements(self, connection) if mode == "rw" else connection

        return made


@define(slots=False)
class HalfWritten:
    """A file of which a write that fails leaves a half."""

    disk: Disk
    file: Any

    def write(self, data: bytes) -> int:
        if self.disk.fails("write"):
            self.file.write(data[: len(data) // 2])
            raise self.disk.system_error()
        return self.file.write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


class Statements:
    """A connection that writes: its statements fail as SQLite says that they did."""

    def __init__(self, disk: Disk, connection: sqlite3.Connection) -> None:
        self._disk = disk
        self._connection = connection
        self._lost = False

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._do(self._connection.execute, statement, *values)

    def executemany(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._do(self._connection.executemany, statement, *values)

    def _do(self, function: Callable[..., sqlite3.Cursor], statement: str, *values: Any) -> sqlite3.Cursor:
        if self._lost and statement.startswith(("BEGIN", *_SYNCS)):
            self._disk.again.append(statement)
        if not self._disk.fails(statement):
            return function(statement, *values)
        if self._disk.trouble.kind == "sync":
            function(statement, *values)
            self._lost = True
        elif statement == "COMMIT":
            self._connection.execute("ROLLBACK")
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = _SQLITE[self._disk.trouble.kind]
        error.sqlite_errorname = self._disk.trouble.kind
        raise error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


# --- what is done on it ----------------------------------------------------------------------------------------------


@frozen
class Scenario:
    """`prepare` leaves a folder; `act` is what the disk fails in, and returns what it was told (or None)."""

    name: str
    prepare: Callable[[Path], Awaitable[None]]
    act: Callable[[Upgrader], Awaitable[Any]] | None


async def _seen(folder: Path) -> None:
    async with opened(folder):
        pass


async def _upgraded(folder: Path) -> None:
    async with opened(folder) as upgrader:
        (await upgrader.upgrade(ask(NEW))).raise_for_error()


async def _kept(folder: Path) -> None:
    async with opened(folder) as upgrader:
        await upgrader.documents(OWNER).keep("one", _body(1), who="alice", why="begun")
        await upgrader.documents(OWNER).keep("two", _body(1), who="alice", why="begun")


def _body(number: int) -> dict[str, Any]:
    return {"number": number, "filling": f"{number}" * 9_000}


async def _keep(upgrader: Upgrader) -> Told:
    """Change one document and drop the other; what was told of them is what must be there."""
    documents, told = upgrader.documents(OWNER), Told()
    with contextlib.suppress(UpgradeError):
        told.one = await documents.keep("one", _body(2), who="alice", why="changed", expected=1)
    with contextlib.suppress(UpgradeError):
        await documents.drop("two", who="alice", why="over", expected=1)
        told.dropped = True
    return told


@define
class Told:
    """What the owner of two documents was told: what became of the first one, and that the second one is gone."""

    one: Document | None = None
    dropped: bool = False

    def differs(self, upgrader: Upgrader) -> list[str]:
        """Return what is not as it was told; what was not told may be as it was, or as it was to be."""
        documents = upgrader.documents(OWNER)
        one, two = documents.get("one"), documents.get("two")
        found = []
        if one is None or one.body != _body(one.revision) or one.revision > 2 or (self.one or one) != one:
            found.append(f"it was told that a document is {self.one}, and it is {one}")
        if two is not None and (self.dropped or two.body != _body(1)):
            found.append(f"it was told that a document was dropped: {self.dropped}, and it is {two}")
        return found


async def _killed(folder: Path, soak: float = 0.0) -> None:
    """Leave an upgrade that was killed while traffic moved, or while it soaked."""
    shelf = Shelf(lamp=OLD, book=OLD)
    async with opened(folder, shelf) as upgrader:
        entered, go_on = gate_at(shelf, "shift")
        upgrade_id = await upgrader.start(ask(NEW, parameters={"soak": soak}))
        if soak:
            go_on.set()
            await until(lambda: upgrader.get_upgrade_status(upgrade_id)["phase"] is Phase.SOAKING)
        else:
            await until(entered.is_set)
        upgrader.journal.release_lease()
        go_on.set()


async def _upgrade(upgrader: Upgrader) -> Any:
    return await upgrader.upgrade(ask(NEW))


async def _roll_back(upgrader: Upgrader) -> Any:
    return await upgrader.rollback("lamp")


SCENARIOS = (
    Scenario("an upgrade", _seen, _upgrade),
    Scenario("a rollback", _upgraded, _roll_back),
    Scenario("two documents", _kept, _keep),
    Scenario("a first start", lambda _: asyncio.sleep(0), None),
    Scenario("a start after a kill while traffic moved", _killed, None),
    Scenario("a start after a kill in a soak", lambda folder: _killed(folder, 3600.0), None),
)


@define
class Faults:
    """Carries scenarios out in fresh copies of what was prepared once."""

    root: Path
    done: int = 0

    def base(self, scenario: Scenario) -> Path:
        place = self.root / scenario.name.replace(" ", "-")
        if not place.exists():
            place.mkdir()
            asyncio.run(scenario.prepare(fill(place)))
        return place

    def count(self, scenario: Scenario, kind: str) -> int:
        """Count a scenario's operations by carrying it out on a disk that is well."""
        found, disk = self._carry_out(scenario, Trouble(kind))
        if found:
            raise RuntimeError(f"{scenario.name} fails on a disk that is well: {found}")
        return len(disk.seen)

    def run(self, scenario: Scenario, trouble: Trouble) -> list[str]:
        """Return what is not as it must be, in words."""
        self.done += 1
        found, _ = self._carry_out(scenario, trouble)
        return [f"{scenario.name}, {trouble}: {words}" for words in found]

    def _carry_out(self, scenario: Scenario, trouble: Trouble) -> tuple[list[str], Disk]:
        folder = self.root / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.base(scenario), folder)
        disk = Disk(folder / "state", trouble)
        found: list[str] = []
        asyncio.run(asyncio.wait_for(_story(folder, scenario, disk, found), 60))
        return found, disk


async def _story(folder: Path, scenario: Scenario, disk: Disk, found: list[str]) -> None:
    told = None
    try:
        if scenario.act is None:
            with disk.under():
                async with opened(folder) as upgrader:
                    pass
        else:
            disk.armed = False
            with disk.under():
                async with opened(folder) as upgrader:
                    disk.armed = True
                    try:
                        told = await scenario.act(upgrader)
                    finally:
                        found += _agrees(upgrader, told)
                    if disk.trouble.kind == "full" and disk.trouble.at % 2:
                        disk.armed = False
                        (await upgrader.upgrade(ask(NEXT))).raise_for_error()
                        told = None
    except UpgradeError as error:
        if told is None and not disk.armed:
            found.append(f"with room again the next upgrade fails: {error}")
    except Exception as error:
        found.append(f"an error without a type of ours: {type(error).__name__}: {error}")
    if disk.again:
        found.append(f"after a sync that failed it was tried again: {disk.again[0]}")
    try:
        found += await _well_again(folder, told)
    except Exception as error:
        found.append(f"on a disk that is well again: {type(error).__name__}: {error}")


def _agrees(upgrader: Upgrader, told: Any) -> list[str]:
    """What the result says is what runs, and the journal does not say otherwise without an error."""
    if isinstance(told, Told):
        return told.differs(upgrader)
    runs = upgrader.shelf.versions["lamp"]
    found = []
    if isinstance(getattr(told, "error", None), InternalError):
        found.append(f"the failure of a disk is told as a defect of ours: {told.error}")
    if getattr(told, "success", False):
        if runs != told.to_version:
            found.append(f"it was told that {told.to_version} runs, and {runs} runs")
        if (pointer := upgrader.journal.active_of("lamp")) is None or pointer.version != runs:
            found.append(f"a success, and the journal does not have {runs}: {pointer}")
    elif told is not None and told.phase is Phase.ROLLING_BACK and runs == told.to_version:
        if not isinstance(told.error, RollbackFailedError):
            found.append(f"it went back, and it was told: {told.error}")
    elif told is not None and told.phase is not Phase.STUCK and runs != told.from_version:
        found.append(f"it was told that it is {told.phase}, and {runs} runs")
    return found


async def _well_again(folder: Path, told: Any) -> list[str]:
    """Start again: what was acknowledged is there, what runs is what the journal says, and life goes on."""
    with mock.patch(
        "noodle_upgrade_core.journal.writes._has_ended", return_value=True
    ):  # it is another process by then
        return await _restarted(folder, told)


async def _restarted(folder: Path, told: Any) -> list[str]:
    found = []
    async with opened(folder, Shelf(lamp=OLD, book=OLD)) as upgrader:
        if isinstance(told, Told):
            found += told.differs(upgrader)
            await upgrader.documents(OWNER).keep("one", _body(3), who="alice", why="life goes on")
        pointer = upgrader.journal.active_of("lamp")
        runs = upgrader.shelf.versions["lamp"]
        if pointer is None or pointer.version != runs:
            found.append(f"after a restart {runs} runs, and the journal has {pointer}")
        if getattr(told, "success", False) and runs != told.to_version:
            found.append(f"it was told that {told.to_version} runs, and after a restart {runs} does")
        error = getattr(told, "error", None)
        gone_back = error is not None and getattr(told, "phase", None) in {Phase.ROLLED_BACK, Phase.ABORTED}
        if gone_back and runs != told.from_version and UNKNOWN not in error.safe:
            found.append(f"it was told that it is {told.phase}, and after a restart {runs} runs: {error.safe}")
        for one in upgrader.get_upgrade_status()["active"]:
            await upgrader.cancel_upgrade(one["upgrade_id"])
        if any(row["phase"] is Phase.STUCK for row in upgrader.get_upgrade_history()):
            await upgrader.rollback("lamp")
        if upgrader.shelf.versions["lamp"] == NEXT:
            (await upgrader.rollback("lamp")).raise_for_error()
        if upgrader.shelf.versions["lamp"] == NEW:
            await _to_the_old_version(upgrader)
        (await upgrader.upgrade(ask(NEW))).raise_for_error()
        found += [one.message for one in await upgrader.doctor()]
        if upgrader.shelf.versions["lamp"] != NEW:
            found.append("the same upgrade had no effect")
    return found


async def _to_the_old_version(upgrader: Upgrader) -> None:
    point = next(p for p in upgrader.list_rollback_points("lamp") if p.to_version == NEW)
    if point.artifact is not None:
        (await upgrader.rollback("lamp")).raise_for_error()
    else:  # it could not be kept, and `verify_rollback_point` says so
        assert await upgrader.verify_rollback_point(point.rollback_id)
        (await upgrader.upgrade(ask(OLD))).raise_for_error()


def troubles(count: Callable[[str], int], *, stride: int = 1, kind: str = "") -> Iterator[Trouble]:
    """Yield every way (or one kind) and place in which a scenario's disk can fail; with a `stride`, every so many."""
    for way in [kind] if kind else _SQLITE:
        for ever in (False, True):
            for at in range(1 + ever % stride, count(way) + 1, stride):
                yield Trouble(way, at, ever)


def matrix(
    *, stride: int = 1, only: str = "", kind: str = "", progress: Callable[[str], None] = lambda _: None
) -> tuple[int, list[str]]:
    """Fail at every operation of every scenario; return how many faults there were, and what was not right.

    With `only` it is about one scenario (and with `kind` about one kind of trouble), and ends with the first thing that it has found.
    """
    logging.getLogger("noodle_upgrade").setLevel(logging.CRITICAL)
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    found: list[str] = []
    with tempfile.TemporaryDirectory(dir=in_memory) as folder:
        faults = Faults(Path(folder))
        for scenario in (one for one in SCENARIOS if only in {"", one.name}):
            for trouble in troubles(lambda way, one=scenario: faults.count(one, way), stride=stride, kind=kind):
                found += faults.run(scenario, trouble)
                if only and found:
                    return faults.done, found
                progress(f"{faults.done} faults of the disk, {len(found)} violations")
        return faults.done, found
