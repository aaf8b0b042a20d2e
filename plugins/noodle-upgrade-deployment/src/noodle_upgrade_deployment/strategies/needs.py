"""What strategies ask of a plan, and of the shares that they are given: clear refusals before anything moves."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from noodle_upgrade_core import UpgradePlan
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.staged import MEMBERS, SHADOW, WEIGHTS

__all__ = ["shares_of", "with_members", "with_shadow", "with_weights"]

_ALL = 100.0
_ADVICE = {
    WEIGHTS: "Choose immediate or blue_green; shares are for components without state that are called through handles.",
    MEMBERS: "Choose gradual or canary; members are handles, one for each instance of the component.",
    SHADOW: "Let a handle say which of its methods may be shadowed, or choose canary.",
}


def shares_of(given: Iterable[Any]) -> tuple[float, ...]:
    """Return shares in percent that only rise and end at 100; raises `InvalidRequestError`."""
    shares = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    if not shares or not all(_is_share(one) for one in shares):
        raise InvalidRequestError(f"steps must be shares in percent, above 0 and at most 100, got {given!r}.")
    if any(after <= before for before, after in itertools.pairwise(shares)):
        raise InvalidRequestError(f"steps must rise, got {_listed(shares)}.")
    if shares[-1] != _ALL:
        raise InvalidRequestError(
            f"steps must end at 100, got {_listed(shares)}.", hint="What ends before is never committed."
        )
    return tuple(float(one) for one in shares)


def _is_share(one: Any) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool) and 0 < one <= _ALL


def _listed(shares: Sequence[float]) -> str:
    return ", ".join(f"{one:g}" for one in shares)


def with_weights(plan: UpgradePlan, strategy: str) -> None:
    """Raise `InvalidRequestError` where the plan cannot move traffic by shares."""
    _check(plan, strategy, WEIGHTS, "by shares of the traffic")


def with_members(plan: UpgradePlan, strategy: str) -> None:
    """Raise `InvalidRequestError` where the plan cannot move single members."""
    _check(plan, strategy, MEMBERS, "member by member")


def with_shadow(plan: UpgradePlan, strategy: str) -> None:
    """Raise `InvalidRequestError` where the plan cannot run copies of calls."""
    _check(plan, strategy, SHADOW, "in a shadow")


def _check(plan: UpgradePlan, strategy: str, capability: str, how: str) -> None:
    lacking = [step.name for step in plan.steps if capability not in step.verdict.capabilities]
    if lacking:
        raise InvalidRequestError(
            f"{strategy} needs {', '.join(lacking)} to change {how}, which is not possible here.",
            hint=_ADVICE[capability],
            details={"capability": capability, "components": lacking},
        )
