"""A program that deploys, can be killed between any two of its writes, and tells what it promised by then.

What a process *tells* outlives its kill. `killer` is called at every point of interest: before and after each write of
the journal, and before and after each thing that the engine does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field
from shop import Quick, Shop, Swap, ask

from noodle_upgrade_core import UpgradeContext, Upgrader, UpgradeRequest, hookimpl, load_settings
from noodle_upgrade_core.journal.sqlite import SqliteJournal
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState
from noodle_upgrade_deployment.integration import DeploymentRuntimeUpgradeIntegration
from noodle_upgrade_deployment.plugin import DeploymentPlugin

BAD = "1.2"
"""The version whose calls fail."""
STEPS = {"deployment_mode": "asynchronous", "upgrade_strategy": "canary", "parameters": {"steps": [10, 50, 100]}}
_POLICIES: Mapping[str, Mapping[str, Any]] = {
    "once": {"upgrade_strategy": "immediate"},
    "straight": {"upgrade_strategy": "immediate", "deployment_mode": "asynchronous", "auto_trigger": True},
    "canary": {"deployment_mode": "canary", "on_restart": "resume"},
    "cautious": {"deployment_mode": "canary", "on_restart": "rollback"},
    "blue": {"deployment_mode": "blue_green", "warm": 0.05, "on_restart": "resume"},
    "baking": {"upgrade_strategy": "immediate", "deployment_mode": "asynchronous", "bake": 0.4},
    "gated": {
        "deployment_mode": "asynchronous",
        "upgrade_strategy": "canary",
        "parameters": {"steps": [50, 100]},
        "gates": [{"name": "qa", "approvals": 2, "of": ["alice", "bob"], "before": 100}],
    },
    "stepwise": {**STEPS, "concurrency": "queue"},
    "latest": {**STEPS, "concurrency": "supersede"},
}
RESUMED = frozenset(_POLICIES) - {"once", "cautious"}
"""The environments whose deployments are begun anew after a crash; in the others they are given up."""
BAKED = frozenset({"baking"})
_RATE = 100_000.0


def settings_of(folder: Path) -> dict[str, Any]:
    """Return the settings of the program in a folder."""
    made: dict[str, Any] = {
        "runtime_upgrade.components.registry_path": str(folder / "components"),
        "runtime_upgrade.sources.order": ["directory"],
        "runtime_upgrade.state_directory": str(folder / "state"),
        "runtime_upgrade.approval.automatic": True,
        "runtime_upgrade.plugins.enabled": ["shop", "deployment"],
        "runtime_upgrade.drivers.journal": "killing",
        "deployment.upgrade_integration.sync_interval": 0.2,
    }
    usual = {"health_check_required": False, "judge": "quick"}
    for environment, policy in _POLICIES.items():
        for key, value in {**usual, **policy}.items():
            made[f"deployment.policies.{environment}.{key}"] = value
    return made


@define
class Killer:
    """Counts the points that this process passes, and ends it with SIGKILL at one of them; 0: at none."""

    at: int = 0
    passed: int = 0
    armed: bool = True

    def __call__(self, _: str = "") -> None:
        if self.armed:
            self.passed += 1
            if self.passed == self.at:
                self.now()

    @staticmethod
    def now() -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@define
class Journalist:
    """Looks at every statement of the journal: a point before each transaction, before its commit, and after it.

    After a commit that waited for the disk it tells how long the log is: that much outlives a power loss.
    """

    killer: Killer
    tell: Callable[[str], None]
    path: Path
    _syncs: bool = True

    def __call__(self, statement: str) -> None:
        if statement.startswith("PRAGMA synchronous"):
            self._syncs = "NORMAL" not in statement
        elif statement == "COMMITTED":
            if self._syncs:
                self.tell(f"synced {log_of(self.path).stat().st_size}")
            self.killer(statement)
        elif statement.startswith(("BEGIN", "COMMIT")):
            self.killer(statement)


def log_of(journal: Path) -> Path:
    """Return where SQLite writes first."""
    return journal.with_name(f"{journal.name}-wal")


class Engine(Shop):
    """The shop, whose swaps are points too, and are told after they were made."""

    def __init__(self, killer: Killer, tell: Callable[[str], None]) -> None:
        super().__init__(bad={BAD}, rate=_RATE)
        self.killer = killer
        self.tell = tell

    @hookimpl
    def swap(self, steps: Any, context: UpgradeContext) -> TellingSwap:
        """Stage it as the shop does."""
        return TellingSwap(self, steps, context.upgrade_id)


class TellingSwap(Swap):
    """A swap of the engine above."""

    def __init__(self, shop: Engine, steps: Any, upgrade_id: str) -> None:
        super().__init__(shop, steps)
        self.upgrade_id = upgrade_id

    def _done(self, what: str, act: Callable[[], None]) -> None:
        self.shop.killer(what)
        act()
        self.shop.tell(f"{what} {self.upgrade_id}")
        self.shop.killer(what)

    def shift(self, weight: float) -> None:
        self._done("shifted", partial(super().shift, weight))

    def commit(self) -> None:
        self._done("kept", super().commit)

    def revert(self) -> None:
        self._done("reverted", super().revert)


@define(slots=False)
class Stand:
    """One process that deploys: its Upgrader, its engine, and whom it tells."""

    upgrader: Upgrader
    deployments: DeploymentRuntimeUpgradeIntegration
    engine: Engine
    tell: Callable[[str], None]
    _asking: set[asyncio.Future[Any]] = field(factory=set)

    async def ask(self, name: str, environment: str, *requests: UpgradeRequest, **more: Any) -> None:
        """Ask for a deployment of lamp 1.1, or of what is given, and do not wait for its end."""
        self.tell(f"asking {name} {environment}")
        await self.deployments.request_deployment_aware_upgrade(
            name, requests or (ask(),), environment=environment, wait=False, **more
        )
        self.tell(f"asked {name}")

    async def ended(self, *names: str) -> None:
        """Wait for the end of deployments, and tell what it was."""
        for name in names:
            state = await self.deployments.wait(name)
            self.tell(f"ended {name} {state.stage}")

    async def began(self, name: str) -> DeploymentUpgradeState:
        """Wait until traffic has moved."""
        return await self.until(name, lambda state: state.weight > 0)

    async def until(self, name: str, holds: Callable[[DeploymentUpgradeState], bool]) -> DeploymentUpgradeState:
        """Wait until something is so, or it has ended."""
        while not (holds(state := self.deployments.state(name)) or state.stage.ended):
            await asyncio.sleep(0.002)
        return state


@contextlib.asynccontextmanager
async def opened(folder: Path, killer: Killer, tell: Callable[[str], None]) -> AsyncIterator[Stand]:
    """Open the program of a folder: journal, store, plugins and integration are the real ones."""

    def journal(path: Path) -> SqliteJournal:
        return SqliteJournal(path, faults=Journalist(killer, tell, Path(path)))

    engine = Engine(killer, tell)
    settings = load_settings([], environ={}, overrides=settings_of(folder))
    async with Upgrader.open(
        settings,
        plugins={"shop": engine, "deployment": DeploymentPlugin},
        drivers={"judges": {"quick": Quick}, "journals": {"killing": journal}},
    ) as upgrader:
        yield Stand(upgrader, DeploymentRuntimeUpgradeIntegration.of(upgrader), engine, tell)
