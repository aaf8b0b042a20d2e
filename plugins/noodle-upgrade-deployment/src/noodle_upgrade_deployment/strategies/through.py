"""One strategy inside another: its steps carried out as they are, or in another way each."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from noodle_upgrade_core import Observation, Revert, Step, Strategy, UpgradePlan
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.strategies import rollout_of

__all__ = ["Carrying", "GaveUpError", "a_strategy", "through"]

Carrying = Generator[Step, Observation, Observation]
"""Steps that end with the observation that their strategy is to get."""


class GaveUpError(Exception):
    """What carries out a single step found harm: the whole is to go back. Never leaves `through`."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


def _as_it_is(step: Step) -> Carrying:
    return (yield step)


def through(strategy: Strategy, plan: UpgradePlan, each: Callable[[Step], Carrying] = _as_it_is) -> Carrying:
    """Carry out a strategy's steps and return how it went: with `harm`, and its reasons, where it gave up.

    For strategies that do something before, after or at the steps of another one: `seen = yield from through(inner,
    plan)`. `each` carries out one step, and raises `GaveUpError` to end it all. What the inner one saw and went on
    from is its own affair: when it ends of its own will, there is no harm.
    """
    inner = rollout_of(strategy, plan)
    seen = Observation()
    try:
        step = next(inner)
        while not isinstance(step, Revert):
            seen = yield from each(step)
            step = inner.send(seen)
        return Observation(harm=True, reasons=step.reasons or ("the strategy gave up",))
    except StopIteration:
        return Observation(elapsed=seen.elapsed, weight=seen.weight, members=seen.members)
    except GaveUpError as given_up:
        return Observation(harm=True, reasons=given_up.reasons)
    finally:
        inner.close()


def a_strategy(_: Any, attribute: Any, value: Any) -> None:
    """Let only strategies pass: an attrs validator."""
    if not callable(getattr(value, "rollout", None)):
        raise InvalidRequestError(
            f"{attribute.name} must be a strategy, got {value!r}.",
            hint="In a request or a file it cannot be given: there the policy's upgrade_strategy names it.",
        )
