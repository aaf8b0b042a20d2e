"""The small closed set of steps that a strategy yields, and what it gets back.

A strategy does no I/O and reads no clock, so the same object runs in production, in a test and in a simulation of a
million replicas:

    class Careful:
        def rollout(self, plan):
            for weight in (0.05, 0.25, 1.0):
                yield Shift(weight)
                seen = yield Judge(until="safe", budget=300)
                if seen.harm:
                    yield Revert(seen.reasons)
                    return
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterable, Mapping
from typing import Any, Literal, Protocol

from attrs import field, frozen

from noodle_upgrade_core import checks
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import UpgradePlan
from noodle_upgrade_core.staged import Measurement, Member

__all__ = [
    "Gate",
    "Judge",
    "JudgeDriver",
    "Observation",
    "Probe",
    "Revert",
    "Rollout",
    "Shift",
    "Step",
    "Strategy",
    "Wait",
]


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@frozen
class Shift:
    """Move this share of traffic to the new version.

    Where a swap is all or nothing, every weight above 0 is carried out as 1, once: `plan` says so beforehand.

    With `members` exactly those serve the new version, and `weight` is the share that they are of all: for a swap with
    the capability `members`, whose members every observation names. With `shadow` copies of that share of the calls are
    run on the new version besides, with no effect that anybody sees: for a swap with the capability `shadow`, and only
    at weight 0.
    """

    weight: float = field(validator=checks.between(0.0, 1.0))
    members: tuple[str, ...] | None = field(default=None, kw_only=True)
    shadow: float = field(default=0.0, kw_only=True, validator=checks.between(0.0, 1.0))

    def __attrs_post_init__(self) -> None:
        if self.shadow and (self.weight or self.members):
            raise InvalidRequestError("A shadow takes copies of calls: it goes with a weight of 0, and no members.")

    def __str__(self) -> str:
        if self.shadow:
            return f"shadow {self.shadow:.0%}"
        if self.members is not None:
            return f"shift {len(self.members)} member{'s' * (len(self.members) != 1)}, {self.weight:.0%}"
        return f"shift to {self.weight:.0%}"


@frozen
class Wait:
    """Let this many seconds pass; an abort, or a promotion, ends it at once."""

    seconds: float = field(validator=checks.seconds)

    def __str__(self) -> str:
        return f"wait {self.seconds:g} s"


@frozen
class Gate:
    """Stop until `approvals` people have approved, or refuse after `expires` seconds.

    With `of` only these people count.
    """

    name: str = "continue"
    approvals: int = field(default=1, validator=checks.count)
    expires: float = field(default=86400.0, validator=checks.seconds)
    of: tuple[str, ...] = field(default=(), converter=_texts)

    def __attrs_post_init__(self) -> None:
        if self.of and self.approvals > len(set(self.of)):
            raise InvalidRequestError(
                f"The gate {self.name!r} wants {self.approvals} approvals of {len(set(self.of))}: nobody could open it."
            )

    def __str__(self) -> str:
        return f"gate {self.name!r}"


@frozen
class Judge:
    """Watch both versions until the judge is sure, at most `budget` seconds.

    `until="safe"` ends as soon as the evidence says safe or harm; `until="budget"` watches the whole time and ends
    early on harm only. No traffic is neither safe nor harm: the observation is then `starved`.
    """

    until: Literal["safe", "budget"] = "safe"
    budget: float = field(default=60.0, validator=checks.seconds)

    def __str__(self) -> str:
        return f"judge until {self.until}, at most {self.budget:g} s"


@frozen
class Probe:
    """Ask the new version itself: health checks, and every plugin's `validate` at stage `after`.

    The answer has `harm` where a finding is an error: a strategy must not go on then.
    """

    def __str__(self) -> str:
        return "probe the new version"


@frozen
class Revert:
    """Give up: all traffic back to the old version."""

    reasons: tuple[str, ...] = field(default=(), converter=_texts)

    def __str__(self) -> str:
        return "revert"


Step = Shift | Wait | Gate | Judge | Probe | Revert


@frozen(kw_only=True)
class Observation:
    """What a strategy gets back for every step.

    `harm`, `safe` and `starved` exclude one another; all three false means that there is no answer yet. `evidence`
    holds the judge's numbers, JSON values only; a judge may reckon them when they are asked for, so that they are those
    of that moment. `elapsed` is in seconds since the rollout began. `members` are those of a swap that has any.
    """

    harm: bool = False
    safe: bool = False
    starved: bool = False
    reasons: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(factory=dict)
    elapsed: float = 0.0
    weight: float = 0.0
    measured: Measurement | None = None
    members: tuple[Member, ...] = ()


Rollout = Generator[Step, Observation, None]


class Strategy(Protocol):
    """A driver of `noodle_upgrade.strategies`: made with the request's parameters as keywords, used once per plan."""

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Yield steps; get an `Observation` back for each."""


class JudgeDriver(Protocol):
    """A driver of `noodle_upgrade.judges`: made anew for each rollout.

    The request's parameters whose names begin with `judge.` are its keywords: `judge.calls` is `calls`.

    It may have an attribute `next_look`: the moment, on the clock of its measurements, at which it will have something
    new to say although nothing bad happens meanwhile, or None. Simulations, which have no clock, look then.
    """

    def observe(self, seen: Measurement) -> Observation | Awaitable[Observation]:
        """Take in one measurement, counts since the rollout began, and say what the evidence so far means.

        When it fails, the change is taken back.
        """
