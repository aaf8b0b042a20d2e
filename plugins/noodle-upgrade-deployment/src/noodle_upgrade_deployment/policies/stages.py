"""Steps that are written in a policy's file, read to the same objects that a strategy in code yields.

    steps = [{ shift = 5 }, { probe = true }, { judge = 300 }, { gate = "qa" }, { shift = 100 }, { judge = 600 }]

Shares are in percent, times in seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import field, frozen

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import UpgradePlan
from noodle_upgrade_core.settings import shown, suggestion
from noodle_upgrade_core.staged import WEIGHTS
from noodle_upgrade_core.steps import Gate, Judge, Observation, Probe, Revert, Rollout, Shift, Step, Wait
from noodle_upgrade_core.strategies import unanswered

__all__ = ["Staged", "read_steps", "unjudged"]

_PERCENT = 100.0
_LONGEST = 80
_LEAST_SECONDS = 1.0


# --- reading -----------------------------------------------------------------------------------------------------


def read_steps(tables: Iterable[Any]) -> tuple[Step, ...]:
    """Return the steps that tables of one key each describe; a step is taken as it is.

    Raises `InvalidRequestError` that names the step by its number, the first being `steps[0]`.
    """
    if isinstance(tables, str | Mapping):
        raise InvalidRequestError(
            f"steps must be a list of tables, not {shown(tables)}.", hint='Write [{"shift": 5}, …, {"shift": 100}].'
        )
    steps = tuple(_read(one, f"steps[{index}]") for index, one in enumerate(tables))
    _check_shares(steps)
    return steps


def _read(table: Any, place: str) -> Step:
    if isinstance(table, Step):
        return table
    if not isinstance(table, Mapping) or len(table) != 1:
        keys = f"one of {', '.join(map(str, table)) or 'none'}" if isinstance(table, Mapping) else shown(table)
        raise InvalidRequestError(
            f"{place} must be a table of one key, not {keys[:_LONGEST]}.",
            hint=f"Write one table for each step. The steps are {', '.join(_READERS)}.",
        )
    ((kind, value),) = table.items()
    read = _READERS.get(kind)
    if read is None:
        raise InvalidRequestError(
            f"{place} is no step: {shown(kind)}.",
            hint=suggestion(kind, _READERS) or f"The steps are {', '.join(_READERS)}.",
        )
    try:
        return read(value)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{place}.{kind}: {error.message}", hint=error.hint) from None


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequestError(f"must be {what}, not {shown(value)}.")
    return value


def _shift(value: Any) -> Step:
    percent = _number(value, "a share in percent")
    if not 0 < percent <= _PERCENT:
        raise InvalidRequestError(f"must be a share above 0 and at most 100 percent, not {shown(value)}.")
    return Shift(percent / _PERCENT)


def _wait(value: Any) -> Step:
    return Wait(_number(value, "a number of seconds"))


def _judge(value: Any) -> Step:
    if not isinstance(value, Mapping):
        return Judge(budget=_number(value, "a number of seconds, or a table of until and budget"))
    return Judge(**_known(value, {"until": _until, "budget": _seconds}))


def _probe(value: Any) -> Step:
    if value is not True:
        raise InvalidRequestError(f"must be true, not {shown(value)}.", hint="Leave the step out to ask nothing.")
    return Probe()


def _gate(value: Any) -> Step:
    if isinstance(value, str):
        return Gate(_text(value))
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"must be a name, or a table of name, approvals, expires and of, not {shown(value)}.")
    return Gate(**_known(value, {"name": _text, "approvals": _count, "expires": _seconds, "of": _texts}))


_READERS: Final[Mapping[str, Callable[[Any], Step]]] = {
    "shift": _shift,
    "judge": _judge,
    "wait": _wait,
    "probe": _probe,
    "gate": _gate,
}
"""The key of each step, and what reads its value: a new kind of step is one line here."""


def _known(table: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    for key in table:
        if key not in readers:
            hint = suggestion(key, readers) or f"Known here: {', '.join(readers)}."
            raise InvalidRequestError(f"has no key {shown(key)}.", hint=hint)
    return {key: readers[key](value) for key, value in table.items()}


def _until(value: Any) -> str:
    if value not in ("safe", "budget"):
        hint = suggestion(value, ("safe", "budget"))
        raise InvalidRequestError(f"until must be safe or budget, not {shown(value)}.", hint=hint)
    return str(value)


def _seconds(value: Any) -> float:
    return _number(value, "a number of seconds")


def _count(value: Any) -> float:
    return _number(value, "a whole number of people")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequestError(f"name must be a text that is not empty, not {shown(value)}.")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidRequestError(f"of must be a list of people, not {shown(value)}.")
    return tuple(map(_text, value))


def _check_shares(steps: tuple[Step, ...]) -> None:
    shares = [(number, step.weight) for number, step in enumerate(steps) if isinstance(step, Shift)]
    for (_, before), (number, share) in itertools.pairwise(shares):
        if share < before:
            raise InvalidRequestError(
                f"steps[{number}] goes down from {_percent(before)} to {_percent(share)} of the traffic.",
                hint="Shares only grow: what does harm is taken back without a step for it.",
            )
    last = shares[-1][1] if shares else 0.0
    if last < 1.0:
        raise InvalidRequestError(
            f"the steps end at {_percent(last)} of the traffic.", hint="The last share must be 100."
        )
    for number, step in enumerate(steps):
        if isinstance(step, Revert):
            raise InvalidRequestError(f"steps[{number}] always reverts.", hint="Harm is taken back without a step.")


def _percent(share: float) -> str:
    return f"{share * _PERCENT:.4g} percent"


def unjudged(steps: Iterable[Step]) -> Iterator[tuple[float, float]]:
    """Yield the shares (from, to) between which traffic is raised although no judge has looked; 0 to 1."""
    share, judged = 0.0, True
    for step in steps:
        if isinstance(step, Judge):
            judged = True
        elif isinstance(step, Shift) and step.weight != share:
            if not judged:
                yield share, step.weight
            share, judged = step.weight, step.weight <= 0


# --- carrying out ------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Staged:
    """The strategy `staged`: the steps of a policy, one after another, and back at the first sign of harm.

    A judge's step ends with its budget where there is too little traffic to say anything, but not while calls are
    under way and none was answered. With `require_evidence` it goes on until there is an answer or the request's time
    is over. Where a swap is all or nothing the gates come first, then all traffic moves, then everything looks that
    would have looked at a smaller share.
    """

    steps: tuple[Step, ...] = field(converter=read_steps)
    require_evidence: bool = False

    def rollout(self, plan: UpgradePlan) -> Rollout:
        """Go through the steps."""
        by_share = all(WEIGHTS in step.verdict.capabilities for step in plan.steps)
        for step in self.steps if by_share else _at_once(self.steps):
            seen = yield step
            while isinstance(step, Judge) and self._goes_on(seen):
                seen = yield Judge(until="safe", budget=max(step.budget, _LEAST_SECONDS))
            if seen.harm:
                yield Revert(seen.reasons)
                return

    def _goes_on(self, seen: Observation) -> bool:
        return unanswered(seen) or (self.require_evidence and not seen.safe and not seen.harm)


def _at_once(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Yield the steps for a swap that knows no shares: gates stand before what they are to hold up."""
    moves = [number for number, step in enumerate(steps) if isinstance(step, Shift)]
    first, last = moves[0], moves[-1]
    between = steps[first:last]
    yield from steps[:first]
    yield from (step for step in between if isinstance(step, Gate))
    yield steps[last]
    yield from (step for step in between if not isinstance(step, Gate | Shift))
    yield from steps[last + 1 :]
