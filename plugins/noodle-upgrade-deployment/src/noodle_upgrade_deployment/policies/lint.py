"""What is probably wrong with policies that can be read: what `noodle deploy lint` prints."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from attrs import frozen

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import DriverUnknownError, InvalidRequestError, UpgradeError
from noodle_upgrade_core.model import Finding, Severity, now
from noodle_upgrade_core.settings import suggestion
from noodle_upgrade_core.steps import Gate, Shift
from noodle_upgrade_deployment.policies.calendars import Calendar
from noodle_upgrade_deployment.policies.choice import calendar_for
from noodle_upgrade_deployment.policies.courses import Course, StepsUnknownError, course_of
from noodle_upgrade_deployment.policies.durations import duration
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.policies.stages import read_steps, unjudged
from noodle_upgrade_deployment.policies.vocabulary import DeploymentUpgradeTrigger
from noodle_upgrade_deployment.settings import DEFAULT, DeploymentSettings

__all__ = ["lint"]

_YEAR = timedelta(days=366)
_DAY_SECONDS = 86_400.0
_HARDLY_EVER = 5.0
_USUAL = DeploymentUpgradePolicy()


def lint(settings: DeploymentSettings, drivers: Drivers, *, at: datetime | None = None) -> tuple[Finding, ...]:
    """Return what is wrong (error: no deployment can succeed) or odd (warning), policy by policy.

    Strategies and judges are made and strategies are asked for their steps; nothing else is done. `at` is the moment
    from which windows are looked for, the present one when absent. The `subject` of a finding is the setting's key.
    """
    moment = now() if at is None else at
    found = [
        Finding(
            severity=Severity.WARNING,
            code="policy.settings",
            message=f"{problem.key} {problem.problem}.",
            subject=f"deployment.{problem.key}",
            hint=problem.hint,
            source="deployment",
        )
        for problem in settings.problems()
    ]
    for name, policy in settings.policies.items():
        found += _Linter(name=name, policy=policy, settings=settings, drivers=drivers).findings(moment)
    return (*found, *_circles(settings))


@frozen(kw_only=True)
class _Linter:
    """One policy, and what it is checked against."""

    name: str
    policy: DeploymentUpgradePolicy
    settings: DeploymentSettings
    drivers: Drivers

    def findings(self, at: datetime) -> Iterator[Finding]:
        yield from self._judge()
        yield from self._thresholds()
        calendar = calendar_for(self.settings, self.name)
        yield from self._times(calendar, at)
        impossible = tuple(self._gates())
        yield from impossible
        yield from self._gates_twice()
        yield from self._dependencies()
        yield from self._without_effect()
        if impossible:
            # Such gates cannot be made, so there are no steps to look at; the strategy may be wrong as well.
            yield from self._strategy()
            return
        try:
            course = course_of(self.policy, self.drivers)
        except StepsUnknownError as error:
            yield self._info(error.code, "upgrade_strategy", error.message, error.hint)
            return
        except UpgradeError as error:
            yield self._refused("upgrade_strategy", error)
            return
        yield from self._steps(course)
        yield from self._seconds(course)

    # --- drivers -------------------------------------------------------------------------------------------------

    def _judge(self) -> Iterator[Finding]:
        if not self.policy.judge:
            return
        try:
            self.drivers.make("judges", self.policy.judge, **self.policy.judge_parameters)
        except UpgradeError as error:
            yield self._refused("judge", error)

    def _strategy(self) -> Iterator[Finding]:
        try:
            self.drivers.make("strategies", self.policy.strategy, **self.policy.strategy_parameters)
        except UpgradeError as error:
            yield self._refused("upgrade_strategy", error)

    def _refused(self, key: str, error: UpgradeError) -> Finding:
        surely = isinstance(error, DriverUnknownError | InvalidRequestError)
        make = self._error if surely else self._warning
        return make(error.code, key, error.message, error.hint)

    # --- numbers -------------------------------------------------------------------------------------------------

    def _thresholds(self) -> Iterator[Finding]:
        threshold = self.policy.resource_threshold
        for name in ("cpu_usage", "memory_usage", "disk_usage"):
            percent = getattr(threshold, name)
            if percent >= _HARDLY_EVER:
                continue
            hint = "It is the most that may be in use at the start, in percent."
            key, message = f"resource_threshold.{name}", f"{name} is {percent:g} percent: "
            if percent == 0:
                yield self._error("policy.threshold", key, f"{message}no deployment can ever start.", hint)
            else:
                yield self._warning("policy.threshold", key, f"{message}hardly any deployment can start.", hint)

    def _times(self, calendar: Calendar, at: datetime) -> Iterator[Finding]:
        opens = calendar.opens(at)
        if opens is None or opens > at + _YEAR:
            when = "never" if opens is None else f"not before {calendar.words(opens)}"
            hint = "Mend its windows, or end a freeze earlier."
            yield self._error("policy.never_open", "freezes", f"traffic may be moved {when}.", hint)
        for freeze in calendar.freezes:
            if freeze.end <= at:
                message = f"the freeze until {calendar.words(freeze.end)} is over."
                yield self._info("policy.freeze_over", "freezes", message, "Take it out.")
        interval = self.policy.timing_constraints.min_interval_between_upgrades
        longest = max((window.length.total_seconds() for window in calendar.windows), default=None)
        if longest is not None and interval > longest:
            message = f"the interval of {duration(interval)} is longer than every window ({duration(longest)} at most)"
            key = "timing_constraints.min_interval_between_upgrades"
            yield self._warning("policy.interval", key, f"{message}: at most one deployment fits into one.", "")

    def _seconds(self, course: Course) -> Iterator[Finding]:
        policy, limits = self.policy, self.settings.upgrade_integration
        needed = course.seconds + policy.bake
        if needed > limits.upgrade_timeout:
            message = f"its steps and the bake may take {duration(needed)}, and a deployment may take only"
            hint = "Raise upgrade_integration.upgrade_timeout, or use shorter steps."
            message = f"{message} {duration(limits.upgrade_timeout)} (upgrade_timeout)."
            yield self._warning("policy.timeout", "steps" if policy.steps else "upgrade_strategy", message, hint)
        if policy.bake > limits.history_days * _DAY_SECONDS:
            kept = f"{limits.history_days:g} days"
            message = f"the bake of {duration(policy.bake)} is longer than deployments are kept ({kept})."
            yield self._warning("policy.bake", "bake", message, "Raise upgrade_integration.history_days.")
        if 0 < policy.progress_deadline < course.longest:
            message = f"no progress for {duration(policy.progress_deadline)} is a failure, and one step may take"
            hint = "Raise progress_deadline, or use shorter steps."
            yield self._warning("policy.deadline", "progress_deadline", f"{message} {duration(course.longest)}.", hint)

    # --- steps and gates -----------------------------------------------------------------------------------------

    def _steps(self, course: Course) -> Iterator[Finding]:
        key = "steps" if self.policy.steps else "upgrade_strategy"
        hint = "Add a judge after each share."
        if not course.judged and (len(course.shares) > 1 or not self.policy.bake):
            yield self._warning("policy.unjudged", key, "no step is judged: the traffic moves without evidence.", hint)
        for before, share in unjudged(course.steps) if course.judged else ():
            message = f"between {before:.0%} and {share:.0%} of the traffic nothing is judged."
            yield self._warning("policy.unjudged", key, message, hint)
        moves = [step for step in course.steps if isinstance(step, Shift) and step.members is None]
        for share in dict.fromkeys(step.weight for step, following in pairwise(moves) if step == following):
            message = f"the share {share:.0%} is given twice in a row: the second moves nothing."
            yield self._warning("policy.share_twice", key, message, "Leave it out.")

    def _gates(self) -> Iterator[Finding]:
        for index, gate in enumerate(self.policy.gates):
            people = {_same_person(who) for who in gate.of}
            if gate.of and gate.approvals > len(people):
                message = f"nobody can open the gate {gate.name!r}: {gate.approvals} of {len(people)} have to approve."
                yield self._error(
                    "policy.gate", f"gates[{index}].approvals", message, "Name more people, or ask fewer."
                )

    def _gates_twice(self) -> Iterator[Finding]:
        steps = (
            {step.name for step in read_steps(self.policy.steps) if isinstance(step, Gate)} if self.policy.steps else ()
        )
        for index, gate in enumerate(self.policy.gates):
            if gate.name in steps:
                message = f"there is a step with a gate {gate.name!r} as well: who opens one opens either."
                yield self._warning("policy.gate", f"gates[{index}].name", message, "Give them two names.")

    def _dependencies(self) -> Iterator[Finding]:
        policies = self.settings.policies
        for index, one in enumerate(self.policy.depends_on):
            if one.environment and one.environment not in policies and DEFAULT not in policies:
                hint = suggestion(one.environment, policies) or f"Policies: {', '.join(policies)}."
                message = f"it waits for the environment {one.environment!r}, which has no policy."
                yield self._warning("policy.depends_on", f"depends_on[{index}]", message, hint)

    def _without_effect(self) -> Iterator[Finding]:
        policy = self.policy
        kinds = (policy.deployment_mode.value, policy.strategy)
        if policy.warm != _USUAL.warm and "blue_green" not in kinds:
            message = "warm has no effect: neither mode nor strategy is blue_green."
            yield self._warning("policy.no_effect", "warm", message, "")
        if (policy.surge, policy.unavailable) != (_USUAL.surge, _USUAL.unavailable) and "rolling" not in kinds:
            message = "surge and unavailable have no effect: neither mode nor strategy is rolling."
            yield self._warning("policy.no_effect", "surge", message, "")
        if policy.auto_trigger and not self.settings.triggers.allowed - {DeploymentUpgradeTrigger.MANUAL}:
            message = "auto_trigger has no effect: every trigger besides manual is switched off."
            yield self._warning("policy.no_effect", "auto_trigger", message, "")

    # --- findings ------------------------------------------------------------------------------------------------

    def _error(self, code: str, key: str, message: str, hint: str) -> Finding:
        return self._finding(Severity.ERROR, code, key, message, hint)

    def _warning(self, code: str, key: str, message: str, hint: str) -> Finding:
        return self._finding(Severity.WARNING, code, key, message, hint)

    def _info(self, code: str, key: str, message: str, hint: str) -> Finding:
        return self._finding(Severity.INFO, code, key, message, hint)

    def _finding(self, severity: Severity, code: str, key: str, message: str, hint: str) -> Finding:
        subject = f"deployment.policies.{self.name}.{key}"
        words = f"{self.name}: {message}"
        return Finding(severity=severity, code=code, message=words, subject=subject, hint=hint, source="deployment")


def _same_person(who: str) -> str:
    return unicodedata.normalize("NFKC", who).strip().casefold()


def _circles(settings: DeploymentSettings) -> Iterator[Finding]:
    """Yield the environments that wait for one another."""
    import graphlib  # noqa: PLC0415 - only lint asks

    waits: Mapping[str, Any] = {
        name: dict.fromkeys(one.environment for one in policy.depends_on if not one.component)
        for name, policy in settings.policies.items()
    }
    try:
        graphlib.TopologicalSorter(waits).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
        message = f"these environments wait for one another, so that none can begin: {', '.join(circle[:-1])}."
        subject, hint = f"deployment.policies.{circle[0]}.depends_on", "Take one of them out."
        yield Finding(
            severity=Severity.ERROR,
            code="policy.circle",
            message=message,
            subject=subject,
            hint=hint,
            source="deployment",
        )
