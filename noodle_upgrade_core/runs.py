"""The upgrades of one Upgrader that are under way: one per component, and no more at once than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from packaging.utils import canonicalize_name

from noodle_upgrade_core.driven import Driven
from noodle_upgrade_core.errors import UpgradeBusyError, UpgradeUnknownError
from noodle_upgrade_core.model import Phase, UpgradeResult

__all__ = ["Run", "Runs"]

KEPT_RESULTS = 200
"""How many results stay at hand; older ones are in the journal."""


class Run(Protocol):
    """What is under way: an upgrade, or what a restart found of one."""

    @property
    def upgrade_id(self) -> str:
        """Which upgrade it is."""

    @property
    def staged(self) -> Driven | None:
        """What can take it back by one flip, once it has ended."""

    def cancel(self, reason: str) -> None:
        """Ask for its end."""

    def shown(self) -> dict[str, Any]:
        """Return where it stands, as JSON values."""


class Runs:
    """Starts runs as tasks, keeps them apart, and keeps what they leave: results, and old versions that are warm.

    Belongs to one event loop. Keys are upgrade ids, and `<id>/rollback` for a rollback.
    """

    def __init__(self, *, most: int, ended: Callable[[], Awaitable[object]]) -> None:
        self._most = most
        self._ended = ended
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[UpgradeResult]] = {}
        self._held: dict[str, str] = {}
        self._late: list[tuple[str, tuple[str, ...]]] = []
        self._results: dict[str, UpgradeResult] = {}
        self._warm: dict[str, tuple[str, Driven]] = {}
        self.closing = False
        """Whether everything is being ended, and nothing may begin any more."""

    @property
    def active(self) -> tuple[Run, ...]:
        """The upgrades that have not ended, oldest first."""
        return tuple(self._runs.values())

    def get(self, upgrade_id: str) -> Run | None:
        """Return a run that has not ended."""
        return self._runs.get(upgrade_id)

    def ended(self, upgrade_id: str) -> UpgradeResult | None:
        """Return the result of one that ended not long ago."""
        return self._results.get(upgrade_id)

    def warm(self, component_name: str, upgrade_id: str) -> Driven | None:
        """Return the staged swap that can still take this upgrade back by one flip."""
        kept = self._warm.get(component_name)
        return kept[1] if kept is not None and kept[0] == upgrade_id else None

    def check_free(self, names: Sequence[str]) -> None:
        """Raise `UpgradeBusyError` when one of the components is being changed: which version it will run is open.

        Also while everything is being ended.
        """
        if self.closing:
            raise UpgradeBusyError(
                "The program is shutting down: nothing begins any more.", hint="Ask it when it is up."
            )
        wanted = {canonicalize_name(name) for name in names}
        late = {name: key for key, held in self._late for name in held}
        busy = {name: key for name, key in {**late, **self._held}.items() if canonicalize_name(name) in wanted}
        if busy:
            raise UpgradeBusyError(
                f"{', '.join(busy)} is being changed by {', '.join(sorted(set(busy.values())))}.",
                hint="Wait for it, or cancel it: `noodle status`, `noodle cancel`.",
                details={"busy": busy},
            )

    def hold_late(self, names: Sequence[str], key: str) -> Callable[[], None]:
        """Keep components from being changed until what is returned is called: something is still under way."""
        entry = (key, tuple(names))
        self._late.append(entry)

        def let_go() -> None:
            if entry in self._late:
                self._late.remove(entry)

        return let_go

    def launch(
        self,
        key: str,
        names: Sequence[str],
        go: Callable[[], Awaitable[UpgradeResult]],
        *,
        run: Run | None = None,
        resumed: bool = False,
    ) -> None:
        """Begin; raises `UpgradeBusyError` when one of the components is being changed, or too many are.

        What a restart found under way goes on, however many that are.
        """
        self.check_free(names)
        if not resumed and len(set(self._held.values())) >= self._most:
            raise UpgradeBusyError(
                f"{self._most} upgrades run already, and no more may at once.",
                hint="Wait, or raise max_concurrent_upgrades and hot_swap.max_concurrent_swaps.",
            )
        self._held.update(dict.fromkeys(names, key))
        self._results.pop(key, None)
        if run is not None:
            self._runs[key] = run
        self._tasks[key] = asyncio.create_task(self._carry(key, tuple(names), go, run), name=f"noodle {key}")

    async def result(self, key: str) -> UpgradeResult:
        """Wait for an end; raises `UpgradeUnknownError`."""
        if key in self._results:
            return self._results[key]
        task = self._tasks.get(key)
        if task is None:
            raise UpgradeUnknownError(
                f"No upgrade has the id {key!r}.", hint="`noodle status` and `noodle history` list them."
            )
        return await asyncio.shield(task)

    async def abandon(self, key: str, reason: str) -> None:
        """Cancel a run and wait until it has gone back."""
        run, task = self._runs.get(key), self._tasks.get(key)
        if run is not None and task is not None:
            run.cancel(reason)
            await asyncio.wait([task])

    async def close(self) -> None:
        """End everything that runs; upgrades in flight go back."""
        self.closing = True
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(
        self, key: str, names: tuple[str, ...], go: Callable[[], Awaitable[UpgradeResult]], run: Run | None
    ) -> UpgradeResult:
        try:
            result = await go()
            self._keep(key, names, result, run)
            await self._ended()
            return result
        finally:
            for name in names:
                self._held.pop(name, None)
            self._tasks.pop(key, None)
            self._runs.pop(key, None)

    def _keep(self, key: str, names: tuple[str, ...], result: UpgradeResult, run: Run | None) -> None:
        self._results[key] = result
        while len(self._results) > KEPT_RESULTS:
            self._results.pop(next(iter(self._results)))
        stuck = result.phase is Phase.STUCK
        if not result.success and not stuck:
            return
        if run is not None and run.staged is not None:
            self._warm.update(dict.fromkeys(names, (run.upgrade_id, run.staged)))
        else:
            for name in names:
                self._warm.pop(name, None)
