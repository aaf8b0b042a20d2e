"""What a strategy does where nothing goes wrong: found out by asking it, so that it holds for anybody's strategy."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import PluginBrokenError, UpgradeError
from noodle_upgrade_core.isolation import attempt, blame, overdue
from noodle_upgrade_core.staged import COUNTS, MEMBERS, SHADOW, WEIGHTS
from noodle_upgrade_core.steps import Judge, Observation, Shift, Step, Strategy, Wait
from noodle_upgrade_core.strategies import rollout_of
from noodle_upgrade_core.testing.samples import sample_plan, sample_step, sample_verdict
from noodle_upgrade_core.testing.strategies import MEMBERS_THERE
from noodle_upgrade_deployment.policies.composition import composed
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy

__all__ = ["Course", "StepsUnknownError", "course_of", "followed"]

_MOST_STEPS = 10_000
_LIMIT = 5.0


class StepsUnknownError(UpgradeError):
    """A strategy has no steps for a component that has no members, say: `details["said"]` is its reason."""

    code: ClassVar[str] = "deployment.steps_unknown"


@frozen
class Course:
    """The steps of a rollout in which every step goes well, of a component that can be changed in every way.

    It has the members `MEMBERS_THERE`: three of them, in two domains.
    """

    steps: tuple[Step, ...] = ()

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares from 0 to 1 that it moves to, each once, in order."""
        return tuple(dict.fromkeys(step.weight for step in self.steps if isinstance(step, Shift)))

    @property
    def judged(self) -> bool:
        """Whether a judge looks at all."""
        return any(isinstance(step, Judge) for step in self.steps)

    @property
    def longest(self) -> float:
        """The seconds that its longest step may take, people aside."""
        return max(map(_seconds, self.steps), default=0.0)

    @property
    def seconds(self) -> float:
        """The seconds that it may take altogether, people aside."""
        return sum(map(_seconds, self.steps))


def course_of(policy: DeploymentUpgradePolicy, drivers: Drivers) -> Course:
    """Return the course of what carries a policy out: its strategy, its mode and its gates together.

    Raises `DriverUnknownError` with the list of those installed, `InvalidRequestError` for a parameter that it does not
    take, and what `followed` raises.
    """
    return followed(composed(policy, drivers), policy.strategy)


def followed(strategy: Strategy, name: str) -> Course:
    """Return the course of a strategy that is made already; `name` is what errors call it.

    Raises `StepsUnknownError` for one that goes by what the component can, and `PluginBrokenError` for one that raises,
    that does not end, or that hangs.
    """
    doing = f"the steps of its strategy {name!r}"
    tried = attempt(lambda: _tried(strategy), limit=_LIMIT, name=f"noodle strategy {name}")
    if tried.hung:
        raise overdue(plugin=name, doing=doing, limit=_LIMIT)
    if isinstance(tried.error, UpgradeError) and not isinstance(tried.error, PluginBrokenError):
        raise StepsUnknownError(
            f"the steps of the strategy {name!r} depend on the component that is upgraded.",
            details={"strategy": name, "said": tried.error.message},
        ) from tried.error
    if tried.error is not None:
        raise blame(tried.error, plugin=name, doing=doing, who=f"The strategy {name!r}")
    return Course(tried.value)


def _tried(strategy: Strategy) -> tuple[Step, ...]:
    verdict = sample_verdict(capabilities=frozenset({WEIGHTS, COUNTS, SHADOW, MEMBERS}))
    rollout = rollout_of(strategy, sample_plan(steps=(sample_step(verdict=verdict),)))
    steps: list[Step] = []
    weight = 0.0
    step = next(rollout, None)
    while step is not None:
        if len(steps) >= _MOST_STEPS:
            raise PluginBrokenError(f"The strategy yielded {_MOST_STEPS} steps without coming to an end.")
        steps.append(step)
        weight = step.weight if isinstance(step, Shift) else weight
        try:
            step = rollout.send(Observation(safe=True, weight=weight, members=MEMBERS_THERE))
        except StopIteration:
            step = None
    return tuple(steps)


def _seconds(step: Step) -> float:
    match step:
        case Wait():
            return step.seconds
        case Judge():
            return step.budget
        case _:
            return 0.0
