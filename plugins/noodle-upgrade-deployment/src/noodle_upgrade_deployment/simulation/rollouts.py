"""A whole rollout in virtual time: the very strategy, judge and conductor of a real one, over simulated calls."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from random import Random
from typing import Any, Literal, Protocol

from attrs import field, frozen

from noodle_upgrade_core import Gate, JudgeDriver, Measurement, Observation, Outcome, Strategy, checks
from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.errors import (
    InvalidRequestError,
    PluginBrokenError,
    StageError,
    UpgradeError,
    UpgradeTimeoutError,
)
from noodle_upgrade_core.rollout import Conductor
from noodle_upgrade_core.staged import settle_now
from noodle_upgrade_core.strategies import rollout_of
from noodle_upgrade_deployment.simulation.fleet import Fleet, FleetModel, FleetReport
from noodle_upgrade_deployment.simulation.records import Record
from noodle_upgrade_deployment.simulation.staging import Command, CommandedClock, Router, SimulatedSwap, plan_for
from noodle_upgrade_deployment.simulation.traffic import Calls, Traffic, TrafficModel

__all__ = ["CallsModel", "Course", "MadeUp", "Scenario", "simulate"]

_DAY = 86_400.0
_MOST_USERS = 1_000_000
_LOOK_SECONDS, _CALLS_A_LOOK = 1.0, 10.0

End = Literal["promoted", "harm", "gave up", "aborted", "out of time", "broken"]


class CallsModel(Protocol):
    """What calls come from: a model of traffic, or a recording."""

    @property
    def rate(self) -> float:
        """How many calls a second there are in all, on average."""

    def calls(self, rng: Random) -> Calls:
        """Begin a course of them."""


@frozen
class MadeUp:
    """Calls made up after a model."""

    model: TrafficModel = field(factory=TrafficModel)

    @property
    def rate(self) -> float:
        """How many calls a second there are in all."""
        return self.model.rate

    def calls(self, rng: Random) -> Calls:
        """Begin a course of them."""
        return Traffic(self.model, rng)


@frozen(kw_only=True)
class Scenario:
    """What a rollout is simulated over.

    `calls` come to `fleet`, or to a router where there is none: one with so many `users` (see `Router`), which recorded
    calls with keys have of their own. `interval` is how often the judge looks at most, and `deadline` the time limit of
    the whole, both in seconds. Gates are opened after `gate` seconds. `commands` are what people say meanwhile.
    """

    calls: CallsModel = field(factory=MadeUp)
    fleet: FleetModel | None = None
    users: int = field(default=0, validator=[checks.count_or_none, checks.between(0, _MOST_USERS)])
    interval: float = field(default=0.1, validator=checks.between(0.0, _DAY, inclusive=False))
    deadline: float = field(default=_DAY, validator=checks.seconds)
    gate: float = field(default=0.0, validator=checks.seconds)
    commands: tuple[Command, ...] = field(default=(), converter=tuple)


@frozen(kw_only=True)
class Course:
    """How one rollout went.

    `end` says how, `reasons` why, and `at` after how many seconds that was decided; by `back_at` everything was back on
    the old version (the same where nothing had to go back). `bad_calls` of the new version had somebody by then, of
    `new_calls`. `share` is the largest share of the calls that it got. `shares` and `evidence` are what was noted over
    time: `(seconds, share)` and `(seconds, numbers of the judge)`.
    """

    end: End
    at: float
    back_at: float
    reasons: tuple[str, ...] = ()
    bad_calls: int = 0
    new_calls: int = 0
    old_calls: int = 0
    share: float = 0.0
    shares: tuple[tuple[float, float], ...] = ()
    evidence: tuple[tuple[float, Mapping[str, Any]], ...] = ()
    fleet: FleetReport | None = None

    @property
    def promoted(self) -> bool:
        """Whether the new version got all calls, and kept them."""
        return self.end == "promoted"


def simulate(strategy: Strategy, judge: JudgeDriver, scenario: Scenario, rng: Random, *, kept: int = 200) -> Course:
    """Carry one rollout out in virtual time; the same random numbers give the same course.

    At most `kept` notes are taken of the shares, and of the evidence. Raises `InvalidRequestError` for what is
    asynchronous, since virtual time waits for nobody, and for a strategy that asks for what cannot be done here;
    `PluginBrokenError` for a strategy or a judge that fails.
    """
    return _run(_Play(judge, scenario, rng, kept).play(strategy))


class _Play:
    """One rollout and its way back."""

    def __init__(self, judge: JudgeDriver, scenario: Scenario, rng: Random, kept: int) -> None:
        self._scenario = scenario
        self._controls = Controls()
        self._calls = scenario.calls.calls(rng)
        self._clock = CommandedClock(self._calls, step=_step(judge, scenario), commands=scenario.commands)
        self._witness = _Witness(judge, Record(kept))
        shares = Record(kept)
        self._staged: SimulatedSwap | Fleet
        if scenario.fleet is None:
            self._staged = SimulatedSwap(self._calls, Router(scenario.users, rng), shares)
        else:
            self._staged = Fleet(
                scenario.fleet, self._calls, clock=self._clock, controls=self._controls, rng=rng, shares=shares
            )

    async def play(self, strategy: Strategy) -> Course:
        conductor = Conductor(
            staged=self._staged,
            judge=self._witness,
            clock=self._clock,
            controls=self._controls,
            gate=self._open,
            interval=self._scenario.interval,
            deadline=self._scenario.deadline,
        )
        rollout = rollout_of(strategy, plan_for(self._staged.capabilities))
        outcome, end = await self._carried_out(conductor.carry_out(rollout))
        at = self._clock.now()
        if end != "promoted":
            await self._staged.revert()
        return self._course(outcome, end, at)

    async def _carried_out(self, carrying: Coroutine[Any, Any, Outcome]) -> tuple[Outcome, End]:
        try:
            outcome = await carrying
        except UpgradeTimeoutError as error:
            return Outcome(promoted=False, reasons=(error.message,)), "out of time"
        except StageError as error:
            return Outcome(promoted=False, reasons=(error.message,)), "broken"
        if outcome.promoted:
            return outcome, "promoted"
        if self._controls.aborted:
            return outcome, "aborted"
        return outcome, "harm" if self._witness.harm else "gave up"

    def _course(self, outcome: Outcome, end: End, at: float) -> Course:
        staged, seen = self._staged, self._calls.measure()
        return Course(
            end=end,
            at=at,
            back_at=self._clock.now(),
            reasons=outcome.reasons,
            bad_calls=self._calls.suffered,
            new_calls=seen.new.calls,
            old_calls=seen.old.calls,
            share=staged.largest,
            shares=staged.shares.notes(),
            evidence=self._witness.record.notes(),
            fleet=staged.report() if isinstance(staged, Fleet) else None,
        )

    async def _open(self, gate: Gate) -> bool:
        """Open a gate as people do: after a while, unless it has gone by then."""
        await self._clock.sleep(min(self._scenario.gate, gate.expires), self._controls)
        return self._scenario.gate < gate.expires and not self._controls.aborted


def _step(judge: JudgeDriver, scenario: Scenario) -> float:
    """Return for how long at most a judge may be left alone.

    One that says when it will have something new to say thinks of bad calls only: calls that go well tell it something
    too, but a few of them at a time will do. One that does not say so is asked as often as in real time.
    """
    if not hasattr(judge, "next_look"):
        return scenario.interval
    return max(_LOOK_SECONDS, _CALLS_A_LOOK / scenario.calls.rate)


class _Witness:
    """The judge, and a record of its evidence."""

    def __init__(self, judge: JudgeDriver, record: Record) -> None:
        self._judge = judge
        self.record = record
        self.harm = False

    @property
    def next_look(self) -> float | None:
        """When the judge will have something new to say."""
        asked: float | None = getattr(self._judge, "next_look", None)
        return asked

    def observe(self, seen: Measurement) -> Observation:
        """Ask the judge."""
        try:
            said = settle_now(self._judge.observe(seen))
        except UpgradeError:
            raise
        except Exception as error:
            raise PluginBrokenError(
                f"The judge raised {type(error).__name__}: {error}", hint="Mend the judge, or choose another one."
            ) from error
        self.harm = said.harm
        if self.record.wants or said.harm:
            self.record.add(seen.at, {key: _copied(value) for key, value in said.evidence.items()})
        else:
            self.record.skip()
        return said


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _run(coroutine: Coroutine[Any, Any, Course]) -> Course:
    """Carry out what never waits; an event loop for each of many thousand courses would cost more than they do."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        course: Course = end.value
        return course
    coroutine.close()
    raise InvalidRequestError("What is asynchronous cannot be used in virtual time.", hint="Make it a plain function.")
