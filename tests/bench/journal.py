"""Upgrades a second through the journal, against raw SQLite that writes the same rows with the same durability."""

from __future__ import annotations

import json
import sqlite3
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from measuring import Options, Reading, alternately, clock, collector_off, pair_ratio

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.journal import Journal, PointerMove
from noodle_upgrade_core.model import (
    ArtifactRef,
    ComponentDescriptor,
    Phase,
    PlanStep,
    RollbackPoint,
    UpgradePlan,
    UpgradeRequest,
    Verdict,
    new_id,
)
from noodle_upgrade_core.wire import to_wire

__all__ = ["measure"]

WHO = "the benchmark"
COMPONENT = "fable"
AUDIT_ROWS = 7
DISK_SYNC_US = 4_000
"""What one sync takes on a disk that has to write, at the least."""


def measure(options: Options) -> list[Reading]:
    """Write batches of upgrades in turn; both sync twice for each upgrade, before the effect and at the commit."""
    batch = options.most(100, 10)
    ours = _Ours(options.folder / "ours")
    raw = _Raw(options.folder / "raw", len(json.dumps(to_wire(_plan(1)))))
    memory = _Raw(options.folder / "unsynced", raw.size, synchronous="OFF")
    try:
        ours.upgrade()
        with collector_off():
            sides = {"ours": ours.upgrade, "raw": raw.upgrade, "unsynced": memory.upgrade}
            rates = {name: _rate(upgrade, batch) for name, upgrade in sides.items()}
            found = alternately(rates, rounds=options.rounds)
    finally:
        ours.journal.close()
        raw.connection.close()
        memory.connection.close()
    value, reference = statistics.median(found["ours"]), statistics.median(found["raw"])
    own = 1e6 * (1 / value - 1 / reference)
    sync = 1e6 * (1 / reference - 1 / statistics.median(found["unsynced"]))
    slow = 1e6 / statistics.median(found["unsynced"]) + 2 * DISK_SYNC_US
    told = (
        f"two synced transactions an upgrade on both sides; {own:.0f} us more than raw for each upgrade;"
        f" the syncs themselves take {sync:.0f} us of raw's {1e6 / reference:.0f} us here; reckoned with the"
        f" {DISK_SYNC_US / 1000:.0f} ms that a sync takes on a disk, it would be {slow / (slow + own):.2f}x"
    )
    ratio = pair_ratio(found["ours"], found["raw"])
    return [Reading(name="journal_vs_sqlite", value=value, reference=reference, ratio=ratio, note=told)]


def _rate(upgrade: Callable[[], None], batch: int) -> Callable[[], float]:
    def measure() -> float:
        started = clock()
        for _ in range(batch):
            upgrade()
        return batch * 1e9 / (clock() - started)

    return measure


def _plan(number: int) -> UpgradePlan:
    before, after = f"{number}.0", f"{number + 1}.0"
    digest = f"{number:064x}"
    artifact = ArtifactRef(
        name=COMPONENT,
        version=after,
        digest=digest,
        kind="wheel",
        size=1,
        tree=f"trees/{digest}",
        top_levels=("fable",),
    )
    step = PlanStep(
        component=ComponentDescriptor(name=COMPONENT, version=before),
        from_version=before,
        to_version=after,
        path=(before, after),
        artifacts=(artifact,),
        verdict=Verdict(feasible=True, mechanism="patch"),
    )
    request = UpgradeRequest(component_name=COMPONENT, target_version=after, current_version=before)
    return UpgradePlan(requests=(request,), steps=(step,))


class _Ours:
    """The journal, used as the Upgrader uses it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.journal: Journal = Drivers().make("journals", "sqlite", path=folder / "journal.db").open()
        self.journal.acquire_lease()
        self._template = _plan(1)
        self._number = 0

    def upgrade(self) -> None:
        """Take one upgrade from its request to its end."""
        self._number += 1
        plan = self._next()
        journal, upgrade_id, step = self.journal, new_id("up"), plan.steps[0]
        said: dict[str, Any] = {"who": WHO, "why": "it is measured"}
        journal.begin(upgrade_id, plan, **said)
        for phase in (Phase.VALIDATED, Phase.APPROVED, Phase.STAGED):
            journal.advance(upgrade_id, phase, **said)
        point = RollbackPoint(
            upgrade_id=upgrade_id,
            component_name=COMPONENT,
            from_version=step.from_version,
            to_version=step.to_version,
        )
        journal.intend(upgrade_id, (point,), **said)
        move = PointerMove(
            component_name=COMPONENT,
            version=step.to_version,
            artifact=step.artifact,
            expected_version=step.from_version,
        )
        journal.commit(upgrade_id, (move,), **said)
        journal.finish(upgrade_id, Phase.DONE, **said)

    def _next(self) -> UpgradePlan:
        """Return the plan of the next version: a plan is not the journal's to make, so it is made cheaply."""
        before, after = f"{self._number}.0", f"{self._number + 1}.0"
        (step,), (request,) = self._template.steps, self._template.requests
        artifact = evolve(step.artifact, version=after)
        return evolve(
            self._template,
            requests=(evolve(request, request_id=new_id("req"), target_version=after, current_version=before),),
            steps=(evolve(step, from_version=before, to_version=after, path=(before, after), artifacts=(artifact,)),),
        )


class _Raw:
    """SQLite alone: the same rows in two transactions with the same pragmas, the values ready made, nothing checked."""

    def __init__(self, folder: Path, size: int, *, synchronous: str = "FULL") -> None:
        folder.mkdir()
        self.size = size
        self.connection = connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("CREATE TABLE upgrades (id INTEGER PRIMARY KEY, phase TEXT, at TEXT, plan TEXT)")
        connection.execute(
            "CREATE TABLE audit (id INTEGER PRIMARY KEY, of INTEGER, phase TEXT, at TEXT, who TEXT, why TEXT)"
        )
        connection.execute("CREATE TABLE points (id INTEGER PRIMARY KEY, of INTEGER, point TEXT)")
        connection.execute(
            "CREATE TABLE pointers (name TEXT PRIMARY KEY, version TEXT, generation INTEGER, artifact TEXT)"
        )
        connection.execute("CREATE TABLE nonces (nonce INTEGER PRIMARY KEY, at TEXT)")
        connection.execute("INSERT INTO pointers VALUES (?, '0.0', 0, '')", (COMPONENT,))
        self._plan, self._number = "x" * size, 0

    def upgrade(self) -> None:
        """Write what one upgrade leaves behind."""
        self._number += 1
        number, at, run = self._number, "2026-01-01T00:00:00.000000+00:00", self.connection.execute
        rows = [(number, "validated", at, WHO, "it is measured")] * AUDIT_ROWS
        query = "INSERT INTO audit (of, phase, at, who, why) VALUES (?, ?, ?, ?, ?)"
        run("BEGIN IMMEDIATE")
        self.connection.executemany(query, rows[:5])
        run("INSERT INTO upgrades VALUES (?, 'shifting', ?, ?)", (number, at, self._plan))
        run("INSERT INTO points (of, point) VALUES (?, ?)", (number, self._plan[:300]))
        run("COMMIT")
        run("BEGIN IMMEDIATE")
        self.connection.executemany(query, rows[5:])
        run("UPDATE upgrades SET phase = 'committed', at = ? WHERE id = ?", (at, number))
        run(
            "UPDATE pointers SET version = ?, generation = generation + 1, artifact = ? WHERE name = ?",
            (str(number), self._plan[:300], COMPONENT),
        )
        run("INSERT INTO nonces VALUES (?, ?)", (number, at))
        run("COMMIT")
