"""Named models of calls: what goes wrong in them besides the new version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import evolve

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.settings import suggestion
from noodle_upgrade_deployment.simulation.traffic import Disturbance, TrafficModel

__all__ = ["MODELS", "model_named"]

_TRIES = 5.0
_INCIDENTS, _FIRST, _EVERY, _LONG, _TIMES = 36, 10.0, 600.0, 60.0, 8.0
_AN_HOUR_LATER = 4.0


def _plain(model: TrafficModel) -> TrafficModel:
    return model


def _clumped(model: TrafficModel) -> TrafficModel:
    """A client whose call fails tries five times on average."""
    return evolve(model, clump=_TRIES)


def _incident(model: TrafficModel) -> TrafficModel:
    """Everything is eight times as bad for a minute, after ten seconds and then every ten minutes."""
    begins = (_FIRST + number * _EVERY for number in range(_INCIDENTS))
    disturbances = tuple(Disturbance(begin=at, seconds=_LONG, times=_TIMES) for at in begins)
    return evolve(model, disturbances=disturbances)


def _drift(model: TrafficModel) -> TrafficModel:
    """Everything is four times as bad an hour later."""
    return evolve(model, drift=_AN_HOUR_LATER)


MODELS: Final[Mapping[str, Callable[[TrafficModel], TrafficModel]]] = {
    "plain": _plain,
    "clumped": _clumped,
    "incident": _incident,
    "drift": _drift,
}
"""What a name makes of a model of plain calls."""


def model_named(name: str, model: TrafficModel) -> TrafficModel:
    """Return the model with what the name stands for; raises `InvalidRequestError` for an unknown name."""
    if name not in MODELS:
        raise InvalidRequestError(
            f"there is no model {name!r}; there are: {', '.join(MODELS)}.", hint=suggestion(name, MODELS)
        )
    return MODELS[name](model)
