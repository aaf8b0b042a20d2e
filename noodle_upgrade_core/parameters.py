"""Which of a request's parameters goes to which driver, and the check that it takes it.

Plain names are for the strategy, `judge.` names for the judge, `soak` is the core's; any other name with a dot is for
the plugin before the dot: `runtime.mechanism`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import UpgradeRequest
from noodle_upgrade_core.steps import JudgeDriver, Strategy

__all__ = ["judge_for", "strategy_for"]

_OF_CORE = frozenset({"soak"})
_JUDGE = "judge."


def strategy_for(request: UpgradeRequest, drivers: Drivers, defaults: Mapping[str, Mapping[str, Any]]) -> Strategy:
    """Make the strategy that a request names, with its parameters over the settings' defaults.

    Raises `DriverUnknownError` for a name that is not installed, and `InvalidRequestError` for a parameter that
    neither the strategy nor anything else takes.
    """
    own = {name: value for name, value in request.parameters.items() if name not in _OF_CORE and "." not in name}
    _check(drivers, "strategies", request.strategy, own)
    made: Strategy = drivers.make("strategies", request.strategy, **{**defaults.get(request.strategy, {}), **own})
    return made


def judge_for(request: UpgradeRequest | None, drivers: Drivers, name: str) -> JudgeDriver:
    """Make a judge with the request's `judge.` parameters; raises as `strategy_for` does."""
    given = {} if request is None else request.parameters
    own = {key.removeprefix(_JUDGE): value for key, value in given.items() if key.startswith(_JUDGE)}
    _check(drivers, "judges", name, own)
    made: JudgeDriver = drivers.make("judges", name, **own)
    return made


def _check(drivers: Drivers, group: str, name: str, own: Mapping[str, Any]) -> None:
    accepted = inspect.signature(drivers.get(group, name)).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    if open_ended or not (unknown := sorted(own.keys() - accepted.keys())):
        return
    what = "strategy" if group == "strategies" else "judge"
    meant = difflib.get_close_matches(unknown[0], [*accepted, *_OF_CORE], n=1)
    raise InvalidRequestError(
        f"the {what} {name!r} has no parameter {unknown[0]!r}.",
        hint=f"Did you mean {meant[0]!r}?" if meant else f"It takes: {', '.join(accepted) or 'none'}.",
        details={"unknown": unknown, "accepted": list(accepted)},
    )
