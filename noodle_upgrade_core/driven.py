"""Other people's objects as the core drives them: within time limits, one call at a time, and never believed blindly.

A staged swap, a judge, a decider come from plugins. What they raise becomes an error that names them, what they return
is checked, and what hangs is left behind without stopping the event loop, which may serve requests.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from noodle_upgrade_core.errors import PluginBrokenError, PluginTimeoutError
from noodle_upgrade_core.isolation import in_text
from noodle_upgrade_core.model import Decision, UpgradePlan, Vote
from noodle_upgrade_core.phases.runner import Runner
from noodle_upgrade_core.staged import Measurement, Member, StagedSwap, SwapSet
from noodle_upgrade_core.steps import JudgeDriver, Observation

__all__ = ["Driven", "DrivenDecider", "DrivenJudge", "DrivenSwap", "carried_through"]

T = TypeVar("T")


class DrivenSwap:
    """A staged swap whose methods are called one after the other.

    A method that outlives its limit goes on in its thread. The next one waits for its end: else a late `shift` would
    land after the `revert` that was to undo it. `left()` gives the seconds that the upgrade still has.
    """

    def __init__(self, staged: StagedSwap, runner: Runner, left: Callable[[], float]) -> None:
        self.staged = staged
        self.capabilities = frozenset(staged.capabilities)
        self._runner = runner
        self._left = left
        self._turn = asyncio.Lock()
        self._busy = ""
        self._ended = threading.Event()
        self._ended.set()

    async def shift(self, weight: float) -> None:
        """Move this share of traffic."""
        await self._call("shift", weight, limit=self._left())

    async def shift_members(self, names: tuple[str, ...]) -> None:
        """Have exactly these members serve the new version."""
        await self._call("shift_members", names, limit=self._left())

    async def shadow(self, share: float) -> None:
        """Run copies of this share of the calls on the new version."""
        await self._call("shadow", share, limit=self._left())

    async def members(self) -> tuple[Member, ...]:
        """Return those that serve the component."""
        found = tuple(await self._call("members"))
        return tuple(_a(Member, one, "members", "each") for one in found)

    async def commit(self) -> None:
        """Make it permanent."""
        await self._call("commit", limit=max(self._left(), self._runner.time_limit))

    async def drain(self) -> None:
        """Wait for the calls inside the old version, where the swap can."""
        if callable(getattr(self.staged, "drain", None)):
            await self._call("drain", limit=self._left())

    async def revert(self) -> None:
        """Go back to the old version; a swap that needs longer than a hook may take says so by `revert_seconds`."""
        asked = getattr(self.staged, "revert_seconds", 0.0)
        longer = isinstance(asked, int | float) and asked > self._runner.time_limit
        await self._call("revert", limit=float(asked) if longer else None)

    async def measure(self) -> Measurement | None:
        """Return the counts."""
        found = await self._call("measure")
        return None if found is None else _a(Measurement, found, "measure", "or None")

    async def running(self) -> dict[str, str]:
        """Return the versions that run."""
        found = await self._call("running")
        if not isinstance(found, Mapping) or not all(isinstance(x, str) for pair in found.items() for x in pair):
            raise _wrong("running", found, "a mapping of names to versions")
        return dict(found)

    async def _call(self, name: str, *arguments: Any, limit: float | None = None) -> Any:
        async with self._turn:
            await self._wait_for_late(name)
            self._busy, self._ended = name, threading.Event()
            given_up = threading.Event()
            try:
                return await self._runner.call("swap", self._tracked(name, given_up), *arguments, limit=limit)
            except (PluginTimeoutError, asyncio.CancelledError):
                given_up.set()
                raise  # it may still run: `_ended` says when it does not
            except BaseException:
                self._ended.set()
                raise

    async def _wait_for_late(self, name: str) -> None:
        if self._ended.is_set():
            return
        limit = self._runner.time_limit
        if not await asyncio.to_thread(self._ended.wait, limit):
            raise PluginTimeoutError(
                f"What the hook 'swap' returned is still busy in {self._busy} after {limit:g} s more,"
                f" so that {name} was not tried.",
                hint="Find out what it waits for; a restart comes back on the version that the journal names.",
                details={"hook": "swap", "busy": self._busy, "asked": name},
            )

    def _tracked(self, name: str, given_up: threading.Event) -> Callable[..., Any]:
        method, ended = getattr(self.staged, name), self._ended

        async def awaited(value: Awaitable[Any]) -> Any:
            try:
                return await value
            finally:
                ended.set()

        def plain(*arguments: Any) -> Any:
            try:
                value = method(*arguments)
            except BaseException:
                ended.set()
                raise
            if inspect.isawaitable(value) and not given_up.is_set():
                return awaited(value)
            # Nobody will await it any more: what it would have done is not done.
            if inspect.iscoroutine(value):
                value.close()
            ended.set()
            return value

        async def asynchronous(*arguments: Any) -> Any:
            return await awaited(method(*arguments))

        tracked = asynchronous if inspect.iscoroutinefunction(method) else plain
        tracked.__name__ = name
        return tracked


Driven = DrivenSwap | SwapSet
"""What a plan's steps are staged as: by one plugin, or by several."""


class DrivenJudge:
    """A judge that may be slow, may raise, and may answer with anything."""

    def __init__(self, judge: JudgeDriver, runner: Runner, name: str) -> None:
        self._judge = judge
        self._runner = runner
        self._name = name

    async def observe(self, seen: Measurement) -> Observation:
        """Ask it what the evidence means."""
        found = await self._runner.call(f"judge {self._name}", self._judge.observe, seen)
        return _a(Observation, found, "observe")


class _Combines(Protocol):
    def combine(self, plan: UpgradePlan, votes: Sequence[Vote], approvals: Sequence[str]) -> Decision: ...


class DrivenDecider:
    """A decider that may be slow, may raise, and may answer with anything."""

    def __init__(self, decider: _Combines, runner: Runner, name: str) -> None:
        self._decider = decider
        self._runner = runner
        self._name = name

    async def combine(self, plan: UpgradePlan, votes: Sequence[Vote], approvals: Sequence[str]) -> Decision:
        """Ask it for its decision."""
        found = await self._runner.call(f"decider {self._name}", self._decider.combine, plan, votes, approvals)
        return _a(Decision, found, "combine")


async def carried_through(work: Awaitable[Any]) -> bool:
    """Carry something out to its end, however often the caller is cancelled; return whether it was cancelled.

    For going back: half of an undo is the one thing that nobody can use.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    return cancelled


def _a(due: type[T], found: Any, name: str, more: str = "") -> T:
    if not isinstance(found, due):
        raise _wrong(name, found, f"{due.__name__} {more}".rstrip())
    return found


def _wrong(name: str, found: Any, due: str) -> PluginBrokenError:
    return PluginBrokenError(
        f"{name!r} must return {due}; it returned {type(found).__name__}: {in_text(found)[:200]}",
        hint="Compare it with the reference of what it implements.",
        details={"came": type(found).__name__, "due": due},
    )
