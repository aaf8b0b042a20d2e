"""The deployments that there are: each a document in the journal, and every change of one written with who and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from attrs import evolve

from noodle_upgrade_core.documents import Documents
from noodle_upgrade_core.driven import carried_through
from noodle_upgrade_core.errors import UpgradeCancelledError
from noodle_upgrade_core.model import now
from noodle_upgrade_core.wire import from_wire, to_wire
from noodle_upgrade_deployment.deploying.errors import DeploymentExistsError, DeploymentUnknownError
from noodle_upgrade_deployment.deploying.evidence import fitting, in_short
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeEvent, DeploymentUpgradeState, Stage

__all__ = ["Register"]

_FINE = frozenset({Stage.RUNNING, Stage.JUDGING, Stage.STARVED, Stage.WARMING, Stage.GATED, Stage.PAUSED})
"""Stages that a restart does not need to know of: the disk is not waited for."""


class Register:
    """Reads and writes deployments; belongs to one event loop, and is the only owner of their documents.

    `tell(kind, message=…, data=…)` is told of every change after it was written. `clock` gives aware moments.
    """

    def __init__(self, documents: Documents, *, tell: Callable[..., Any], clock: Callable[[], datetime] = now) -> None:
        self._documents = documents
        self._tell = tell
        self._clock = clock
        self._known: dict[str, tuple[DeploymentUpgradeState, int]] = {}
        self._turn = asyncio.Lock()
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def load(self) -> None:
        """Read every deployment that the journal has; raises what reading a document raises."""
        self._closed = False
        self._known = {
            document.key: (from_wire(DeploymentUpgradeState, document.body), document.revision)
            for document in self._documents.all()
        }

    # --- looking -------------------------------------------------------------------------------------------------

    def get(self, deployment_id: str) -> DeploymentUpgradeState:
        """Return one; raises `DeploymentUnknownError`."""
        found = self._known.get(deployment_id)
        if found is None:
            raise DeploymentUnknownError(
                f"No deployment has the id {deployment_id[:120]!r}.", hint="`noodle deploy list` shows them."
            )
        return found[0]

    def find(self, deployment_id: str) -> DeploymentUpgradeState | None:
        """Return one, or None."""
        found = self._known.get(deployment_id)
        return None if found is None else found[0]

    def all(self) -> tuple[DeploymentUpgradeState, ...]:
        """Return all of them, oldest first."""
        return tuple(sorted((state for state, _ in self._known.values()), key=lambda state: state.created_at))

    def active(self) -> tuple[DeploymentUpgradeState, ...]:
        """Return those that have not ended, oldest first."""
        return tuple(state for state in self.all() if not state.stage.ended)

    def events(self, deployment_id: str) -> tuple[DeploymentUpgradeEvent, ...]:
        """Return what became of one, oldest first; also of one that was dropped."""
        return tuple(
            DeploymentUpgradeEvent(
                sequence=row.sequence,
                deployment_id=deployment_id,
                at=row.at,
                stage=str(row.evidence.get("stage", "")),
                who=row.who,
                why=row.why,
                evidence={key: value for key, value in row.evidence.items() if key not in {"stage", "document"}},
            )
            for row in self._documents.audit(deployment_id)
        )

    async def changed(self) -> None:
        """Wait for the next change of any; raises `UpgradeCancelledError` when there will be none."""
        if self._closed:
            raise _no_more()
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def close(self) -> None:
        """Say to whoever waits that nothing changes here any more."""
        self._closed = True
        for future in tuple(self._waiting):
            if not future.done():
                future.set_exception(_no_more())

    # --- changing ------------------------------------------------------------------------------------------------

    async def add(self, state: DeploymentUpgradeState, *, why: str) -> DeploymentUpgradeState:
        """Write a new one, which is then safe from any crash; raises `DeploymentExistsError` where there is one."""
        async with self._turn:
            if state.deployment_id in self._known:
                raise DeploymentExistsError(f"There is a deployment {state.deployment_id!r} already.")
            state = self._in_turn(state)
            return await self._keep(state, 0, who=state.requested_by, why=why, evidence={}, durable=True)

    async def move(
        self,
        deployment_id: str,
        stage: Stage | None,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        only: Collection[Stage] = (),
        durable: bool = False,
        **changes: Any,
    ) -> DeploymentUpgradeState:
        """Bring one to another stage, or note something at the one where it is (None); returns what it then is.

        One that has ended stays as it is, and so does one that is at none of the stages `only`, where they are given:
        something else may have moved it while this waited for its turn. A note is waited for with `durable` only.
        """
        async with self._turn:
            state, revision = self.get(deployment_id), self._known[deployment_id][1]
            if state.stage.ended or (only and state.stage not in only):
                return state
            moved = evolve(state, stage=stage or state.stage, why=in_short(why), updated_at=self._clock(), **changes)
            durable = durable or moved.stage not in _FINE
            moved = self._in_turn(moved)
            return await self._keep(moved, revision, who=who, why=why, evidence=evidence or {}, durable=durable)

    def _in_turn(self, state: DeploymentUpgradeState) -> DeploymentUpgradeState:
        """Give one that may begin from now on its number."""
        if state.turn or state.stage is Stage.PENDING:
            return state
        return evolve(state, turn=1 + max((other.turn for other, _ in self._known.values()), default=0))

    async def forget(
        self, *, older_than_days: float, but: Callable[[DeploymentUpgradeState], bool] = lambda _: False
    ) -> int:
        """Drop what ended so long ago, `but` for some; what became of it stays in the audit. Returns how many."""
        limit = self._clock() - timedelta(days=older_than_days)
        ended = [state for state in self.all() if state.stage.ended and state.updated_at < limit]
        old = [state.deployment_id for state in ended if not but(state)]
        async with self._turn:
            for deployment_id in (one for one in old if one in self._known):
                await self._documents.drop(
                    deployment_id, who="deployment", why=f"it ended more than {older_than_days:g} days ago"
                )
                del self._known[deployment_id]
        return len(old)

    async def _keep(
        self,
        state: DeploymentUpgradeState,
        revision: int,
        *,
        who: str,
        why: str,
        evidence: Mapping[str, Any],
        durable: bool,
    ) -> DeploymentUpgradeState:
        said = {**fitting(evidence), "stage": state.stage.value}
        why = in_short(why)

        async def written() -> None:
            document = await self._documents.keep(
                state.deployment_id,
                to_wire(state),
                who=who or "deployment",
                why=why,
                evidence=said,
                ended=state.stage.ended,
                expected=revision,
                durable=durable,
            )
            self._known[state.deployment_id] = (state, document.revision)

        # Whoever gives up meanwhile must not leave this behind what the journal has: no change would pass any more.
        cancelled = await carried_through(written())
        for future in tuple(self._waiting):
            if not future.done():
                future.set_result(None)
        self._tell(
            "deployment_upgrade.stage",
            message=f"{state.deployment_id}: {state.stage}, {why}" if why else f"{state.deployment_id}: {state.stage}",
            data={"deployment_id": state.deployment_id, "environment": state.environment, "who": who, **said},
        )
        if cancelled:
            raise asyncio.CancelledError
        return state


def _no_more() -> UpgradeCancelledError:
    return UpgradeCancelledError(
        "Deployments are not attended to any more: the program is shutting down.",
        hint="The next start finds it again: `noodle deploy show`.",
    )
