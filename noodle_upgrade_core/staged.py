"""A staged swap: a change that is prepared, reversible, and knows what it can do.

`swap` makes one, `deploy` moves traffic with it. So a deployment needs to know nothing about modules, handles,
processes or nodes, and an engine nothing about canaries.
"""

from __future__ import annotations

import bisect
import inspect
from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from attrs import evolve, frozen

from noodle_upgrade_core.errors import InvalidRequestError, RollbackFailedError

__all__ = [
    "COUNTS",
    "LATENCY_BOUNDS",
    "MEMBERS",
    "SHADOW",
    "WEIGHTS",
    "Arm",
    "Measurement",
    "Member",
    "Shadow",
    "StagedSwap",
    "SwapSet",
    "bucket_of",
]

WEIGHTS = "weights"
"""`shift` takes any share from 0 to 1; without it only 0 and 1."""
SHADOW = "shadow"
"""The new version can be run beside the old one on copies of calls, its effects discarded."""
MEMBERS = "members"
"""The swap is over several members, and can be shifted member by member."""
COUNTS = "counts"
"""`measure` tells calls, errors and latency of both versions."""

LATENCY_BOUNDS: tuple[float, ...] = tuple(1e-6 * 2**power for power in range(28))
"""Upper bounds of the latency buckets in seconds: 1 µs, doubling, to 134 s; one more bucket takes the rest."""


def bucket_of(seconds: float) -> int:
    """Return the index of the latency bucket that a call of this length falls into."""
    return bisect.bisect_left(LATENCY_BOUNDS, seconds)


@frozen(kw_only=True)
class Arm:
    """What one version did since the deployment began: counts only grow.

    `latency` has one count per bucket of `LATENCY_BOUNDS` and one for slower calls. `stalled` is for how many seconds
    calls have been waiting for their first answer without any getting one.
    """

    version: str
    calls: int = 0
    errors: int = 0
    in_flight: int = 0
    stalled: float = 0.0
    latency: tuple[int, ...] = ()
    last_error: str = ""

    def after(self, before: Arm) -> Arm:
        """Return what was counted in all, where counting began anew in between."""
        return evolve(
            self,
            calls=self.calls + before.calls,
            errors=self.errors + before.errors,
            latency=tuple(a + b for a, b in zip(self.latency, before.latency, strict=True))
            if len(self.latency) == len(before.latency)
            else self.latency or before.latency,
            last_error=self.last_error or before.last_error,
        )

    def since(self, earlier: Arm) -> Arm:
        """Return what was counted after an earlier count of the same version."""
        return evolve(
            self,
            calls=self.calls - earlier.calls,
            errors=self.errors - earlier.errors,
            latency=tuple(a - b for a, b in zip(self.latency, earlier.latency, strict=True))
            if len(self.latency) == len(earlier.latency)
            else self.latency,
        )


@frozen(kw_only=True)
class Member:
    """One of several that serve the same component: an instance, a worker, a replica.

    Members of one `domain` may fail together: a rack, a zone.
    """

    name: str
    domain: str = ""


@frozen(kw_only=True)
class Shadow:
    """What became of the copies of calls that a shadow was to run; counts only grow.

    `ran` were run on the new version, `different` of them answered or failed otherwise than the old one did. `skipped`
    were not run: the queue was full, or what they were called with cannot be copied.
    """

    share: float
    ran: int = 0
    different: int = 0
    skipped: int = 0
    last_difference: str = ""


@frozen(kw_only=True)
class Measurement:
    """Both versions at one moment: `at` in seconds of the rollout's clock, `weight` the share that was asked for.

    Counts are since the rollout began; `base` are those at the moment of the last shift, to judge this share alone by.
    While a shadow runs, `new` counts its copies, of which a different answer is an error, and `weight` is the share
    that they are to be of all calls counted: a third, for copies of half. `routed` is false where nobody chooses who
    gets a call: while members serve, `weight` is their share, and that of the calls may be another one; and a shadow
    may have to skip copies.
    """

    at: float
    weight: float
    old: Arm
    new: Arm
    base: Measurement | None = None
    shadow: Shadow | None = None
    routed: bool = True

    def since_shift(self) -> Measurement:
        """Return what was counted since the share was changed last."""
        if self.base is None:
            return self
        return evolve(self, old=self.old.since(self.base.old), new=self.new.since(self.base.new), base=None)


@runtime_checkable
class StagedSwap(Protocol):
    """What an implementation of `swap` returns. Every method may be plain or `async`, and is given a time limit.

    Order of calls: `shift` any number of times, then `commit` or `revert`. `revert` may come at any moment, also twice
    and also after `commit`, until the old version is released.

    A swap may have a method `drain()` besides: called when all traffic is on the new version, before the commit point,
    it waits for the calls that are still inside the old one. When it raises, the change is taken back. An attribute
    `revert_seconds` asks for more time for going back than a hook has.

    One with the capability `members` has `members()`, which returns each `Member`, and `shift_members(names)`: exactly
    those serve the new version from then on, the others the old one. One with the capability `shadow` has
    `shadow(share)`: copies of that share of the calls to the old version are run on the new one besides, 0 ends it.
    Each of them may be plain or `async`; when it raises, nothing has changed. `shift` ends both.
    """

    @property
    def capabilities(self) -> frozenset[str]:
        """Some of `weights`, `shadow`, `members`, `counts`; empty means all or nothing."""

    def shift(self, weight: float) -> Awaitable[None] | None:
        """Move this share of traffic, from 0 to 1, to the new version.

        The first shift above 0 is the first visible effect. When it raises, nothing has changed.
        """

    def commit(self) -> Awaitable[None] | None:
        """Make the change permanent; the old version goes when its last call in flight has left."""

    def revert(self) -> Awaitable[None] | None:
        """Go back to the old version; idempotent.

        Raises `RollbackUnavailableError` once the old version is released.
        """

    def measure(self) -> Measurement | Awaitable[Measurement | None] | None:
        """Return what both versions did so far, or None without the capability `counts`."""

    def running(self) -> dict[str, str] | Awaitable[dict[str, str]]:
        """Return the version that each component of this swap really runs, by asking it."""


T = TypeVar("T")


async def settle(result: Awaitable[T] | T) -> T:
    """Await what somebody's method returned, if it has to be awaited."""
    return await result if isinstance(result, Awaitable) else result


def settle_now(result: Awaitable[T] | T) -> T:
    """Return what somebody's method returned; raises `InvalidRequestError` where it would have to be awaited.

    For virtual time, which waits for nobody.
    """
    if not isinstance(result, Awaitable):
        return result
    if inspect.iscoroutine(result):
        result.close()
    raise InvalidRequestError("What is asynchronous cannot be used in virtual time.", hint="Make it a plain function.")


@frozen
class SwapSet:
    """Several engines' staged swaps as one: the parts of one plan that no single engine could take together.

    Each part is all or nothing by itself. Over the set, a part that fails takes the earlier ones back before the error
    goes on. Callers can see the parts change one after the other, which `plan` says beforehand.
    """

    parts: tuple[StagedSwap, ...]

    @property
    def capabilities(self) -> frozenset[str]:
        """What every part can do, and all of them together."""
        return frozenset.intersection(*(part.capabilities for part in self.parts)) - {SHADOW, MEMBERS}

    async def shift(self, weight: float) -> None:
        """Shift every part, in order; take back on failure."""
        for done, part in enumerate(self.parts):
            try:
                await settle(part.shift(weight))
            except BaseException:
                await _take_back(self.parts[:done])
                raise

    async def commit(self) -> None:
        """Commit every part, in order."""
        for part in self.parts:
            await settle(part.commit())

    async def drain(self) -> None:
        """Wait for the calls inside the old version of every part that can tell."""
        for part in self.parts:
            if (drain := getattr(part, "drain", None)) is not None:
                await settle(drain())

    async def revert(self) -> None:
        """Revert every part, last first; never stops at the first failure."""
        await _take_back(self.parts)

    async def measure(self) -> Measurement | None:
        """Return the measurement of the first part that has one."""
        for part in self.parts:
            if (seen := await settle(part.measure())) is not None:
                return seen
        return None

    async def running(self) -> dict[str, str]:
        """Return the versions that all parts run."""
        return {name: version for part in self.parts for name, version in (await settle(part.running())).items()}


async def _take_back(parts: Sequence[StagedSwap]) -> None:
    failures: list[Exception] = []
    for part in reversed(parts):
        try:
            await settle(part.revert())
        except Exception as error:  # noqa: BLE001 - an undo goes on to its end; all failures are raised together
            failures.append(error)
    if failures:
        raise RollbackFailedError(
            f"{len(failures)} of {len(parts)} parts could not be taken back.",
            hint="Run `noodle doctor` to see what is left.",
            details={"errors": [f"{type(e).__name__}: {e}" for e in failures]},
        ) from ExceptionGroup("revert", failures)
