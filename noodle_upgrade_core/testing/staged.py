"""A staged swap in memory that keeps every promise of `StagedSwap`: for tests of strategies, plugins and the core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from noodle_upgrade_core.errors import InvalidRequestError, RollbackUnavailableError
from noodle_upgrade_core.staged import COUNTS, WEIGHTS, Arm, Measurement

__all__ = ["FakeStaged"]


class FakeStaged:
    """Moves a number from 0 to 1 and keeps a log of it.

    `versions` maps each component to its old and its new version. `fail(method, error, call=1)` lets the n-th call of a
    method raise, before it has changed anything. `calls_per_shift` are the calls that each shift sends through both
    versions by weight, of which the share `harm` fails in the new one: what `measure` tells with the capability
    `counts`.
    """

    def __init__(
        self,
        versions: Mapping[str, tuple[str, str]] | None = None,
        *,
        capabilities: Iterable[str] = (WEIGHTS, COUNTS),
        calls_per_shift: int = 1000,
        harm: float = 0.0,
    ) -> None:
        self.versions = dict(versions or {"noodle-sample-component": ("1.0.0", "2.0.0")})
        self.capabilities = frozenset(capabilities)
        self.weight = 0.0
        self.committed = False
        self.released = False
        self.log: list[tuple[Any, ...]] = []
        self._calls_per_shift = calls_per_shift
        self._harm = harm
        self._failures: dict[tuple[str, int], BaseException] = {}
        self._count: dict[str, int] = {}
        self._old = [0, 0]
        self._new = [0, 0]

    def fail(self, method: str, error: BaseException, *, call: int = 1) -> FakeStaged:
        """Let the n-th call of `shift`, `commit`, `revert`, `measure` or `running` raise; returns self."""
        self._failures[method, call] = error
        return self

    def release(self) -> None:
        """Let the old version go: there is no way back any more."""
        self.released = True

    def shift(self, weight: float) -> None:
        """Move the share; raises `InvalidRequestError` for one that it cannot have."""
        self._enter("shift", weight)
        if not 0.0 <= weight <= 1.0 or (WEIGHTS not in self.capabilities and weight not in (0.0, 1.0)):
            raise InvalidRequestError(f"{weight!r} is no share that this swap can take.")
        self.weight = weight
        new = round(self._calls_per_shift * weight)
        self._new = [self._new[0] + new, self._new[1] + round(new * self._harm)]
        self._old = [self._old[0] + self._calls_per_shift - new, 0]

    def commit(self) -> None:
        """Make it permanent."""
        self._enter("commit")
        self.weight, self.committed = 1.0, True

    def revert(self) -> None:
        """Go back; raises `RollbackUnavailableError` when the old version is released."""
        self._enter("revert")
        if self.released:
            raise RollbackUnavailableError("The old version is released.")
        self.weight, self.committed = 0.0, False

    def measure(self) -> Measurement | None:
        """Return the counts, or None without the capability `counts`."""
        self._enter("measure")
        if COUNTS not in self.capabilities:
            return None
        old, new = next(iter(self.versions.values()))
        return Measurement(
            at=float(len(self.log)),
            weight=self.weight,
            old=Arm(version=old, calls=self._old[0], errors=self._old[1]),
            new=Arm(version=new, calls=self._new[0], errors=self._new[1]),
        )

    def running(self) -> dict[str, str]:
        """Return the new versions once any traffic is on them."""
        self._enter("running")
        return {name: pair[1] if self.weight > 0 else pair[0] for name, pair in self.versions.items()}

    def _enter(self, method: str, *arguments: Any) -> None:
        self._count[method] = self._count.get(method, 0) + 1
        self.log.append((method, *arguments))
        error = self._failures.get((method, self._count[method]))
        if error is not None:
            raise error
