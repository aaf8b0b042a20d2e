"""Deliberate bugs in how deployments are written down and found again. A matrix that misses one of them proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve, frozen

from noodle_upgrade_core.documents import Documents
from noodle_upgrade_deployment.deploying import dispatching
from noodle_upgrade_deployment.deploying.dispatching import Dispatcher
from noodle_upgrade_deployment.deploying.records import Stage
from noodle_upgrade_deployment.deploying.register import Register
from noodle_upgrade_deployment.integration import DeploymentRuntimeUpgradeIntegration

Patch = Callable[[object, str, Any], None]
_SAID = frozenset({"who", "why", "evidence", "only", "durable"})
"""What `Register.move` is told besides what changes."""


@frozen
class Bug:
    """A bug, how to plant it by `patch(owner, name, value)`, and the stories that it has to do with."""

    name: str
    plant: Callable[[Patch], None]
    stories: tuple[str, ...]


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Plant a bug for the length of a block."""
    undo: list[tuple[object, str, Any]] = []

    def patch(owner: object, name: str, value: Any) -> None:
        undo.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    try:
        bug.plant(patch)
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


def _moving(patch: Patch, change: Callable[..., Any]) -> None:
    """Let `change(move, register, name, stage, changes)` do what `Register.move` does."""
    move = Register.move

    async def changed(self: Any, deployment_id: str, stage: Any, **changes: Any) -> Any:
        return await change(move, self, deployment_id, stage, changes)

    patch(Register, "move", changed)


def _written_late(patch: Patch) -> None:
    """The attempt is only remembered, and written when its traffic has moved."""
    waiting: dict[str, Any] = {}

    async def change(move: Any, self: Any, name: str, stage: Any, changes: Any) -> Any:
        if stage is Stage.PREPARING and "attempt" in changes:
            waiting[name] = dict(changes)
        if name in waiting and stage in {Stage.PREPARING, Stage.WARMING, None}:
            said = {key: value for key, value in changes.items() if key not in _SAID}
            waiting[name] |= said
            return evolve(self.get(name), stage=stage or Stage.PREPARING, **said)
        if name in waiting:
            await move(self, name, Stage.PREPARING, **waiting.pop(name))
            await move(self, name, Stage.WARMING, who="core", why="late")
        return await move(self, name, stage, **changes)

    _moving(patch, change)


def _not_counted(patch: Patch) -> None:
    """The attempt is begun, and its number is not written."""

    async def change(move: Any, self: Any, name: str, stage: Any, changes: Any) -> Any:
        number = changes.pop("attempt", None)
        state = await move(self, name, stage, **changes)
        return state if number is None else evolve(state, attempt=number)

    _moving(patch, change)


def _never_enough(patch: Patch) -> None:
    patch(dispatching, "MOST_ATTEMPTS", 1000)


def _looks_for_no_upgrade(patch: Patch) -> None:
    patch(dispatching, "upgrade_of", lambda *_: None)


def _resumes_all(patch: Patch) -> None:
    """What went back for a reason of its own is taken for what its process took with it."""
    found = dispatching.found_after

    def resumed(record: Any, rows: Any) -> Any:
        stage, why = found(record, rows)
        return (Stage.ABORTING if stage is Stage.ROLLED_BACK else stage), why

    patch(dispatching, "found_after", resumed)


def _resumes_against_the_policy(patch: Patch) -> None:
    policy = Dispatcher._policy
    patch(Dispatcher, "_policy", lambda self, state: evolve(policy(self, state), on_restart="resume"))


def _end_told_early(patch: Patch) -> None:
    """Whoever waits hears of an end that is still to be written."""
    keep = Documents.keep

    async def later(self: Any, key: str, body: Any, **said: Any) -> Any:
        if not said.get("ended"):
            return await keep(self, key, body, **said)
        before = self.get(key)

        async def write() -> None:
            await asyncio.sleep(0.03)
            await keep(self, key, body, **said)

        self.writing = asyncio.ensure_future(write())
        return evolve(before, revision=before.revision + 1)

    patch(Documents, "keep", later)


def _nothing_durable(patch: Patch) -> None:
    """No change of a deployment is waited for: a power loss takes what was acknowledged."""
    keep = Documents.keep

    async def riding(self: Any, key: str, body: Any, **said: Any) -> Any:
        return await keep(self, key, body, **{**said, "durable": False})

    patch(Documents, "keep", riding)


def _called_off_in_memory(patch: Patch) -> None:
    """That it was called off is known to this process only."""
    keep = Register._keep

    async def kept(self: Any, state: Any, revision: int, **said: Any) -> Any:
        done = await keep(self, evolve(state, called_off=None), revision, **said)
        known = evolve(done, called_off=state.called_off)
        self._known[state.deployment_id] = (known, self._known[state.deployment_id][1])
        return known

    patch(Register, "_keep", kept)


def _supersedes_once(patch: Patch) -> None:
    async def forgets(_: Any) -> None:
        pass

    patch(DeploymentRuntimeUpgradeIntegration, "_supersede_again", forgets)


def _forgets_the_rest(patch: Patch) -> None:
    """A restart attends to what waits, and not to what was under way."""

    async def attends_only(self: Any) -> None:
        self._attending = asyncio.create_task(self._attend())

    patch(Dispatcher, "begin", attends_only)


def _baked_is_done(patch: Patch) -> None:
    """What is still watched after a restart is written down as a success."""
    found = dispatching.found_after

    def done(record: Any, rows: Any) -> Any:
        stage, why = found(record, rows)
        return (Stage.SUCCEEDED if stage is Stage.BAKING else stage), why

    patch(dispatching, "found_after", done)


def _starts_what_was_called_off(patch: Patch) -> None:
    async def never(*_: Any) -> bool:
        return False

    patch(Dispatcher, "_is_called_off", never)


BUGS: tuple[Bug, ...] = (
    Bug("the attempt is written after its upgrade has begun", _written_late, ("once", "canary")),
    Bug("the attempt is not counted", _not_counted, ("canary", "queued")),
    Bug("a deployment is begun anew without end", _never_enough, ("canary", "blue")),
    Bug("a resume does not look for its upgrade", _looks_for_no_upgrade, ("queued", "blue")),
    Bug("what was taken back is begun anew", _resumes_all, ("harmful", "aborted_while_it_bakes")),
    Bug("what is to be given up is begun anew", _resumes_against_the_policy, ("once", "cautious")),
    Bug("an end is told before it is written", _end_told_early, ("queued", "aborted")),
    Bug("no change is waited for", _nothing_durable, ("aborted_at_once", "triggered")),
    Bug("that it was called off is not written", _called_off_in_memory, ("aborted", "superseded")),
    Bug("a restart forgets what was superseded", _supersedes_once, ("superseded",)),
    Bug("a restart forgets what was under way", _forgets_the_rest, ("once", "canary")),
    Bug("what is watched on counts as a success", _baked_is_done, ("baking", "aborted_while_it_bakes")),
    Bug("what was called off is begun all the same", _starts_what_was_called_off, ("aborted", "aborted_at_once")),
)
