"""What a policy means, in plain words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from noodle_upgrade_core import wire
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.steps import Gate, Judge, Probe, Shift, Step, Wait
from noodle_upgrade_deployment.policies.calendars import Calendar
from noodle_upgrade_deployment.policies.choice import calendar_for, policy_for, policy_name_for
from noodle_upgrade_deployment.policies.courses import StepsUnknownError, course_of
from noodle_upgrade_deployment.policies.durations import duration
from noodle_upgrade_deployment.policies.pictures import week
from noodle_upgrade_deployment.policies.policy import JUDGE, DeploymentUpgradePolicy
from noodle_upgrade_deployment.policies.vocabulary import DeploymentUpgradeTrigger, UpgradeDeploymentMode
from noodle_upgrade_deployment.policies.zones import in_utc
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["Explanation", "Opening", "explain"]

_MOST_OPENINGS = 3
_MOST_STEPS = 40
_NOTHING = (Wait(0.0), Shift(0.0))
"""Steps that move nothing, and only look."""

_MODES: Final[Mapping[UpgradeDeploymentMode, str]] = {
    UpgradeDeploymentMode.SYNCHRONOUS: "whoever asks waits until the deployment has ended",
    UpgradeDeploymentMode.ASYNCHRONOUS: "whoever asks has the answer at once, and the deployment goes on by itself",
    UpgradeDeploymentMode.ROLLING: "members change one group after another",
    UpgradeDeploymentMode.BLUE_GREEN: "the new version stands whole beside the old one, and the way back is one step",
    UpgradeDeploymentMode.CANARY: "a small share comes first, and more follows on evidence only",
}
_CONCURRENCY: Final = {
    "queue": "Another one that is asked for meanwhile waits its turn.",
    "supersede": "Another one that is asked for meanwhile takes its place.",
    "reject": "Another one that is asked for meanwhile is refused.",
}
_REACTIONS: Final = {
    "rollback": "all traffic goes back to the old version",
    "pause": "the shares stay as they are until a person says how to go on",
    "freeze": "the shares stay as they are, and nothing else is deployed here until a person says how to go on",
}
_RESTARTS: Final = {
    "rollback": "The deployment is taken back at the next start, and stays so.",
    "resume": "The deployment is taken back at the next start, and asked for anew.",
}


@frozen(kw_only=True)
class Opening:
    """A span in which traffic may be moved, in UTC; `closes` is None where no end is told."""

    opens: datetime
    closes: datetime | None = None


@frozen(kw_only=True)
class Explanation:
    """What the policy of an environment means at a moment, `at`; every tuple of texts holds whole sentences.

    `openings` are the next three spans in which traffic may be moved, `steps` those of a rollout that goes well,
    `picture` the next seven days, a line each below one of hours.
    """

    environment: str
    policy: str
    timezone: str
    at: datetime
    closed: str
    starts: tuple[str, ...]
    openings: tuple[Opening, ...]
    checks: tuple[str, ...]
    mode: tuple[str, ...]
    steps: tuple[str, ...]
    failure: tuple[str, ...]
    restart: tuple[str, ...]
    picture: tuple[str, ...]

    def to_wire(self) -> dict[str, Any]:
        """Return every field as JSON values; times are ISO 8601."""
        made: dict[str, Any] = wire.to_wire(self)
        return made

    def lines(self) -> tuple[str, ...]:
        """Return it for people, a line each."""
        calendar = Calendar(timezone=self.timezone)
        spans = tuple(
            f"{calendar.words(one.opens)} to {calendar.words(one.closes) if one.closes else 'further notice'}"
            for one in self.openings
        )
        by = "" if self.policy == self.environment else f" (policy {self.policy!r})"
        numbered = tuple(f"{number}. {step}" for number, step in enumerate(self.steps, 1))
        parts = (
            ("Who may start it", self.starts),
            ("When traffic may be moved", (*((f"Now it is closed: {self.closed}.",) if self.closed else ()), *spans)),
            ("What is checked", self.checks),
            ("How it goes", (*self.mode, *numbered)),
            ("When it fails", self.failure),
            ("After a crash", self.restart),
            (f"The next seven days ({self.timezone})", self.picture),
        )
        body = (line for title, texts in parts for line in ("", f"{title}:", *(f"  {text}" for text in texts)))
        return (f"The environment {self.environment!r}{by}", *body)

    def __str__(self) -> str:
        return "\n".join(self.lines())


def explain(
    settings: DeploymentSettings, environment: str, at: datetime, *, drivers: Drivers | None = None
) -> Explanation:
    """Say what an environment's policy means at an aware moment.

    The steps come from the strategy itself; one that is not installed, or cannot be asked, is said to be so. Raises
    `EnvironmentUnknownError` for an environment without a policy, and `InvalidRequestError` for a moment without an
    offset.
    """
    policy, calendar = policy_for(settings, environment), calendar_for(settings, environment)
    moment = in_utc(at)
    return Explanation(
        environment=environment,
        policy=policy_name_for(settings, environment),
        timezone=calendar.timezone,
        at=moment,
        closed=calendar.why_closed(moment),
        starts=tuple(_starts(settings, policy)),
        openings=tuple(
            Opening(opens=opens, closes=closes)
            for opens, closes in itertools.islice(calendar.openings(moment), _MOST_OPENINGS)
        ),
        checks=tuple(_checks(policy)),
        mode=tuple(_mode(policy)),
        steps=tuple(_steps(policy, Drivers() if drivers is None else drivers)),
        failure=tuple(_failure(settings, policy)),
        restart=(_RESTARTS[policy.restart],),
        picture=week(calendar, moment),
    )


def _starts(settings: DeploymentSettings, policy: DeploymentUpgradePolicy) -> Iterator[str]:
    if not settings.upgrade_integration.enabled:
        yield "Nobody: upgrade_integration.enabled is false."
        return
    allowed = settings.triggers.allowed
    manual = DeploymentUpgradeTrigger.MANUAL in allowed
    yield "People may start it." if manual else "People may not start it: triggers.manual is false."
    own = sorted(allowed - {DeploymentUpgradeTrigger.MANUAL})
    if policy.auto_trigger and own:
        yield f"These triggers start it as well: {', '.join(own)}."
    else:
        yield "No trigger starts it."
    for gate in policy.gates:
        if gate.share == 0.0:
            yield f"It waits at the start for the {_gate(gate.name, gate.approvals, gate.expires, gate.of)}."
    interval = policy.timing_constraints.min_interval_between_upgrades
    if interval:
        yield f"Two deployments are at least {duration(interval)} apart."
    yield _CONCURRENCY[policy.concurrency]


def _checks(policy: DeploymentUpgradePolicy) -> Iterator[str]:
    threshold = policy.resource_threshold
    limits = {"processors": threshold.cpu_usage, "memory": threshold.memory_usage, "disk": threshold.disk_usage}
    told = [f"{name} {percent:g} %" for name, percent in limits.items() if percent < 100]  # noqa: PLR2004 - all of it
    if told:
        yield f"At the start at most so much may be in use: {', '.join(told)}."
    if policy.depends_on:
        yield f"Must have succeeded before: {'; '.join(map(str, policy.depends_on))}."
    for component, versions in policy.known_bad.items():
        yield f"Never deployed of {component}: {'; '.join(versions)}."
    if policy.remember_failures:
        yield "A version that failed here is not deployed here again."
    if policy.health_check_required:
        named = f" ({', '.join(policy.health_checks)})" if policy.health_checks else ""
        yield f"The new version must say that it is well{named}."
    else:
        yield "The new version need not say that it is well."
    judge = f"the judge {policy.judge or JUDGE!r}"
    besides = f", which compares besides calls: {', '.join(policy.metrics)}" if policy.metrics else ""
    yield f"Both versions are watched by {judge}{besides}."


def _mode(policy: DeploymentUpgradePolicy) -> Iterator[str]:
    yield f"Mode {policy.deployment_mode}: {_MODES[policy.deployment_mode]}."
    if "rolling" in (policy.deployment_mode, policy.strategy):
        yield f"Of the members at most {policy.surge} are added, and {policy.unavailable} taken out, at a time."
    yield f"Strategy {policy.strategy}, where everything goes well:"


def _steps(policy: DeploymentUpgradePolicy, drivers: Drivers) -> Iterator[str]:
    try:
        course = course_of(policy, drivers)
    except StepsUnknownError as error:
        yield f"{error.message[:1].upper()}{error.message[1:]}"
    except UpgradeError as error:
        yield f"These steps cannot be told: {error.message.rstrip('.')}."
    else:
        if any(isinstance(step, Shift) and step.members is not None for step in course.steps):
            yield "With three members in two domains, say:"
        told = tuple(_step(step) for step in course.steps if step not in _NOTHING)
        yield from told[:_MOST_STEPS]
        if len(told) > _MOST_STEPS:
            yield f"and {len(told) - _MOST_STEPS} more steps, the last of them: {told[-1]}"
    yield "The new version is permanent."
    if policy.bake:
        yield f"It is watched for {duration(policy.bake)} more."


def _step(step: Step) -> str:
    match step:
        case Judge(until="safe"):
            return f"Watch until the judge is sure, at most {duration(step.budget)}."
        case Judge():
            return f"Watch for {duration(step.budget)}; harm ends it at once."
        case Wait():
            return f"Wait {duration(step.seconds)}."
        case Probe():
            return "Ask the new version whether it is well."
        case Gate():
            return f"Wait for the {_gate(step.name, step.approvals, step.expires, step.of)}."
        case _:
            words = str(step)
            return f"{words[:1].upper()}{words[1:]}."


def _gate(name: str, approvals: int, expires: float, of: tuple[str, ...] = ()) -> str:
    people = f"approval{'s' * (approvals != 1)}"
    whom = f" of {', '.join(of)}" if of else ""
    return f"gate {name!r}: {approvals} {people}{whom} within {duration(expires)}, else it is refused"


def _failure(settings: DeploymentSettings, policy: DeploymentUpgradePolicy) -> Iterator[str]:
    reasons = ["on harm", "on a failed check", "at a refused gate"]
    if policy.progress_deadline:
        reasons.append(f"without progress for {duration(policy.progress_deadline)}")
    limit = duration(settings.upgrade_integration.upgrade_timeout)
    yield f"It fails {', '.join(reasons)}, and when it takes longer than {limit}."
    yield f"Then {_REACTIONS[policy.reaction]}."
    yield "An abort is possible at any time, also outside of the windows."
