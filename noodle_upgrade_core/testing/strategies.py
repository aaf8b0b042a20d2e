"""The rules of a strategy, tried in small worlds: all is well, harm at every point, silence, closed gates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import evolve, frozen

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.model import UpgradePlan
from noodle_upgrade_core.staged import COUNTS, MEMBERS, SHADOW, WEIGHTS, Member
from noodle_upgrade_core.steps import Gate, Judge, Observation, Probe, Revert, Shift, Step, Wait
from noodle_upgrade_core.testing.auditing import watched
from noodle_upgrade_core.testing.failures import ConformanceError, insist
from noodle_upgrade_core.testing.samples import sample_plan, sample_step, sample_verdict

__all__ = ["RULES", "check_strategy"]

MOST_STEPS = 1_000
MOST_WORLDS = 20
MOST_REFUSALS = 3
MEMBERS_THERE = (Member(name="a", domain="x"), Member(name="b", domain="x"), Member(name="c", domain="y"))
LONGEST_SECONDS = 86_400.0
LEAST_SECONDS_A_STEP = 0.1
"""While nothing is known a rollout may go on for as long as its request allows; it must let time pass meanwhile."""


@frozen(kw_only=True)
class World:
    """What a strategy meets: `harm_at` is the number of the observation that shows harm, 0 for none."""

    name: str
    answer: str = "safe"
    harm_at: int = 0
    gates_open: bool = True
    ends: bool = True


@frozen(kw_only=True)
class Course:
    """How a rollout went in one world."""

    world: World
    steps: tuple[Step, ...] = ()
    ended: bool = False
    seconds: float = 0.0
    weight: float = 0.0
    harmed_after: int | None = None

    @property
    def promoted(self) -> bool:
        """Whether the new version would be committed."""
        return self.ended and self.weight == 1.0 and not any(isinstance(step, Revert) for step in self.steps)


Make = Callable[[], Any]


def check_strategy(
    strategy: Callable[..., Any], parameters: Mapping[str, Any] | None = None, *, plan: UpgradePlan | None = None
) -> None:
    """Check all rules at once; raises `ConformanceError` for the first that is broken.

    `strategy` is the class, made anew with `parameters` for every world. Without `plan` it is tried on a plan with
    weights, on one that is all or nothing, and on one with members and a shadow besides; a typed error at the first
    step refuses a plan that lacks what it needs, but not all of them.
    """
    for rule in RULES.values():
        rule(lambda: strategy(**(parameters or {})), plan)


# --- the rules ---------------------------------------------------------------------------------------------------


def rollout_is_a_generator(make: Make, plan: UpgradePlan | None) -> None:
    """`rollout(plan)` gives a generator, anew each time."""
    for one in _plans(make, plan):
        strategy = make()
        first, second = _begun(strategy, one), _begun(strategy, one)
        insist(first is not second, "rollout(plan) gave the same generator twice.", "Make it anew in each call.")


def yields_only_known_steps(make: Make, plan: UpgradePlan | None) -> None:
    """Every yielded value is a Shift, Wait, Gate, Judge, Probe or Revert."""
    for course in _courses(make, plan):
        for step in course.steps:
            insist(
                isinstance(step, Step),
                f"in the world {course.world.name!r} it yielded {step!r}, which is no step.",
                "The steps are Shift, Wait, Gate, Judge, Probe and Revert.",
            )


def comes_to_an_end(make: Make, plan: UpgradePlan | None) -> None:
    """It ends where there are answers, and lets time pass where there are none."""
    for course in _courses(make, plan):
        if course.ended:
            continue
        insist(
            not course.world.ends and course.seconds >= LEAST_SECONDS_A_STEP * len(course.steps),
            f"in the world {course.world.name!r} it did not end in {len(course.steps)} steps"
            f" and {course.seconds:.0f} s of rollout.",
            "Return after the last step; where nothing is known, wait with Wait or Judge.",
        )


def promotes_what_is_safe(make: Make, plan: UpgradePlan | None) -> None:
    """Where every observation says safe, all traffic ends on the new version."""
    for course in _courses(make, plan):
        if course.world.name == "all is well":
            insist(
                course.promoted,
                f"where every observation says safe it ended with a weight of {course.weight:g}"
                f" after {_words(course)}.",
                "End with Shift(1.0).",
            )


def gives_up_on_harm(make: Make, plan: UpgradePlan | None) -> None:
    """After harm no more traffic goes to the new version, and it is not promoted."""
    for course in _courses(make, plan):
        if course.harmed_after is None:
            continue
        before = _weight_of(course.steps[: course.harmed_after])
        later = course.steps[course.harmed_after :]
        raised = [step for step in later if isinstance(step, Shift) and step.weight > before]
        insist(
            not raised,
            f"in the world {course.world.name!r} it went on to {raised[0] if raised else ''} after harm.",
            "Yield Revert(seen.reasons) and return when seen.harm.",
        )
        insist(
            not course.promoted,
            f"in the world {course.world.name!r} it ended with all traffic on a version that did harm.",
            "Yield Revert(seen.reasons) and return when seen.harm.",
        )


def heeds_a_closed_gate(make: Make, plan: UpgradePlan | None) -> None:
    """Where a gate stays closed, the new version is not promoted."""
    for course in _courses(make, plan):
        if not course.world.gates_open and any(isinstance(step, Gate) for step in course.steps):
            insist(not course.promoted, "it went on to the end past a gate that nobody opened.")


def is_deterministic(make: Make, plan: UpgradePlan | None) -> None:
    """The same world gives the same steps."""
    for one in _plans(make, plan):
        for world in _worlds(_observations(make, one)):
            first, second = _run(make, one, world), _run(make, one, world)
            insist(
                first.steps == second.steps,
                f"in the world {world.name!r} it went two ways: {_words(first)}; and {_words(second)}.",
                "A strategy decides by its parameters, the plan and what it observes, by nothing else.",
            )


def does_no_io_and_reads_no_clock(make: Make, plan: UpgradePlan | None) -> None:
    """It opens nothing, starts nothing, sleeps nowhere, and asks no clock."""
    for one in _plans(make, plan):
        for world in _worlds(_observations(make, one)):
            _run(make, one, world, watch=True)


def can_be_stopped_anywhere(make: Make, plan: UpgradePlan | None) -> None:
    """Closing it after any step ends it at once, without another step."""
    for one in _plans(make, plan):
        course = _run(make, one, World(name="all is well"))
        for count in range(1, min(len(course.steps), MOST_WORLDS) + 1):
            _run(make, one, World(name="all is well"), most=count)


RULES: Mapping[str, Callable[[Make, UpgradePlan | None], None]] = {
    rule.__name__: rule
    for rule in (
        rollout_is_a_generator,
        yields_only_known_steps,
        comes_to_an_end,
        promotes_what_is_safe,
        gives_up_on_harm,
        heeds_a_closed_gate,
        is_deterministic,
        does_no_io_and_reads_no_clock,
        can_be_stopped_anywhere,
    )
}
"""Every rule by its name."""


# --- trying it ---------------------------------------------------------------------------------------------------


def _plans(make: Make, plan: UpgradePlan | None) -> Iterator[UpgradePlan]:
    """Yield the plans that the strategy does not refuse by a typed error before its first step."""
    if plan is not None:
        yield plan
        return
    refusals = []
    for capabilities in (frozenset({WEIGHTS, COUNTS}), frozenset(), frozenset({WEIGHTS, COUNTS, MEMBERS, SHADOW})):
        one = sample_plan(steps=(sample_step(verdict=sample_verdict(capabilities=capabilities)),))
        refused = _refusal(make, one)
        if refused is None:
            yield one
        else:
            refusals.append(f"{', '.join(sorted(capabilities)) or 'none'}: {refused.message}")
    insist(
        len(refusals) < MOST_REFUSALS,
        f"it refuses whatever a swap can do: {'; '.join(refusals)}",
        "Refuse only plans that lack what it needs.",
    )


def _refusal(make: Make, plan: UpgradePlan) -> UpgradeError | None:
    rollout = _begun(make(), plan)
    try:
        next(rollout, None)
    except UpgradeError as refused:
        return refused
    except Exception:  # noqa: BLE001 - the rules say so themselves, in the world in which it happens
        return None
    finally:
        _close(rollout, 1)
    return None


def _observations(make: Make, plan: UpgradePlan) -> int:
    """How many observations could show harm where all is well: one world for each."""
    steps = _run(make, plan, World(name="all is well")).steps
    return min(MOST_WORLDS, sum(isinstance(step, Judge | Probe) for step in steps))


def _worlds(observations: int) -> Iterator[World]:
    yield World(name="all is well")
    for number in range(1, observations + 1):
        yield World(name=f"harm at observation {number}", harm_at=number)
    yield World(name="no traffic", answer="starved", ends=False)
    yield World(name="no answer", answer="", ends=False)
    yield World(name="gates stay closed", gates_open=False)


def _courses(make: Make, plan: UpgradePlan | None) -> Iterator[Course]:
    for one in _plans(make, plan):
        for world in _worlds(_observations(make, one)):
            yield _run(make, one, world)


def _begun(strategy: Any, plan: UpgradePlan) -> Any:
    insist(
        callable(getattr(strategy, "rollout", None)),
        f"{type(strategy).__name__} has no method `rollout`.",
        "Write `def rollout(self, plan):` with `yield`.",
    )
    rollout = strategy.rollout(plan)
    insist(
        inspect.isgenerator(rollout),
        f"rollout(plan) gave {type(rollout).__name__}.",
        "It must be a plain generator function: `def` with `yield`, not `async def`, not a list.",
    )
    return rollout


def _run(make: Make, plan: UpgradePlan, world: World, *, watch: bool = False, most: int = MOST_STEPS) -> Course:
    """Carry a rollout out in a world, at most so many steps, and close it."""
    course = Course(world=world)
    rollout = _begun(make(), plan)
    seen: Observation | None = None
    judged = 0
    members = MEMBERS_THERE if all(MEMBERS in one.verdict.capabilities for one in plan.steps) else ()
    steps: list[Step] = []
    try:
        while len(steps) < most and course.seconds <= LONGEST_SECONDS:
            step = _next(rollout, seen, watch=watch)
            if step is None:
                course = evolve(course, ended=True)
                break
            steps.append(step)
            if not isinstance(step, Step) or isinstance(step, Revert):
                course = evolve(course, ended=True)
                break
            judged += isinstance(step, Judge | Probe)
            seen = evolve(_observe(step, world, judged, course), members=members)
            course = evolve(course, seconds=seen.elapsed, weight=seen.weight)
            if seen.harm and course.harmed_after is None:
                course = evolve(course, harmed_after=len(steps))
    finally:
        _close(rollout, len(steps))
    return evolve(course, steps=tuple(steps))


def _close(rollout: Any, count: int) -> None:
    try:
        rollout.close()
    except BaseException as error:
        raise ConformanceError(
            f"closing it after {count} step(s) raised {type(error).__name__}: {error}."
            " Do not yield in `finally`, and do not catch GeneratorExit."
        ) from error


def _next(rollout: Any, seen: Observation | None, *, watch: bool) -> Any:
    effects: list[str] = []
    try:
        if not watch:
            return next(rollout) if seen is None else rollout.send(seen)
        with watched() as effects:
            step = next(rollout) if seen is None else rollout.send(seen)
    except StopIteration:
        step = None
    except Exception as error:
        raise ConformanceError(f"it raised {type(error).__name__}: {error}.") from error
    insist(
        not effects,
        f"it {effects[0] if effects else ''}.",
        "Everything that a strategy may know is in the plan and in what it observes.",
    )
    return step


def _observe(step: Any, world: World, judged: int, course: Course) -> Observation:
    weight = step.weight if isinstance(step, Shift) else course.weight
    match step:
        case Wait():
            return Observation(elapsed=course.seconds + step.seconds, weight=weight)
        case Gate():
            waited = 0.0 if world.gates_open else step.expires
            return Observation(
                safe=world.gates_open, harm=not world.gates_open, elapsed=course.seconds + waited, weight=weight
            )
        case Judge() | Probe() if world.harm_at and judged == world.harm_at:
            return Observation(harm=True, reasons=("sample harm",), elapsed=course.seconds, weight=weight)
        case Judge():
            early = world.answer == "safe" and step.until == "safe"
            return Observation(
                safe=world.answer == "safe",
                starved=world.answer == "starved",
                elapsed=course.seconds + (0.0 if early else step.budget),
                weight=weight,
            )
        case Probe():
            return Observation(safe=True, elapsed=course.seconds, weight=weight)
        case _:
            return Observation(elapsed=course.seconds, weight=weight)


def _weight_of(steps: tuple[Step, ...]) -> float:
    return next((step.weight for step in reversed(steps) if isinstance(step, Shift)), 0.0)


def _words(course: Course) -> str:
    shown = ", ".join(str(step) for step in course.steps[:8])
    return f"{shown}, …" if len(course.steps) > 8 else shown or "no step"  # noqa: PLR2004 - enough to see the way
