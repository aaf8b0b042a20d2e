"""What stands against the start of a deployment now: reasons, each with whether it can pass by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import field, frozen
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from noodle_upgrade_core import Finding, Severity
from noodle_upgrade_core.model import UpgradeRequest
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.policies.calendars import Calendar
from noodle_upgrade_deployment.policies.policy import DependsOn, DeploymentUpgradePolicy

__all__ = ["BUSY", "Obstacle", "Surroundings", "obstacles", "overlapping", "remembers"]


BUSY = "deployment.component_busy"


@frozen(kw_only=True)
class Obstacle:
    """One reason why a deployment may not begin now.

    `passes` says that it may be over by itself: the deployment waits then, until `until` at the latest where that is
    known. `code` is stable, `deployment.window`, say.
    """

    code: str
    message: str
    passes: bool = True
    until: datetime | None = None
    hint: str = ""

    def finding(self, subject: str = "") -> Finding:
        """Return it as a finding that stops an upgrade."""
        return Finding(severity=Severity.ERROR, code=self.code, message=self.message, subject=subject, hint=self.hint)


@frozen(kw_only=True)
class Surroundings:
    """What an admission looks at besides the policy: `others` are all other deployments, ended ones too.

    `pressed` are resources beyond their thresholds, `ill` health checks that fail, `running` the versions of what runs,
    where that was looked at, `busy` the upgrades that change components now, by their names. `last_end` is when the
    last upgrade of the environment ended that had begun.
    """

    at: datetime
    others: Sequence[DeploymentUpgradeState] = ()
    last_end: datetime | None = None
    pressed: Sequence[Finding] = ()
    ill: Sequence[Finding] = ()
    running: Mapping[str, str] = field(factory=dict)
    busy: Mapping[str, str] = field(factory=dict)


def obstacles(
    state: DeploymentUpgradeState, policy: DeploymentUpgradePolicy, calendar: Calendar, around: Surroundings
) -> tuple[Obstacle, ...]:
    """Return every reason against a start now, those that never pass first."""
    found = [
        *_known_bad(state, policy, around),
        *_dependencies(state, policy, around),
        *_others(state, policy, around),
        *_busy(state, around),
        *_closed(calendar, around.at),
        *_too_early(policy, around),
        *_findings("deployment.pressure", around.pressed),
        *_findings("deployment.health", around.ill),
    ]
    return tuple(sorted(found, key=lambda one: one.passes))


def overlapping(
    state: DeploymentUpgradeState, others: Iterable[DeploymentUpgradeState]
) -> list[DeploymentUpgradeState]:
    """Return the deployments under way of the same environment that change one of its components, oldest first."""
    mine = set(map(canonicalize_name, state.components))
    return [
        other
        for other in others
        if other.deployment_id != state.deployment_id
        and other.environment == state.environment
        and not other.stage.ended
        and mine & set(map(canonicalize_name, other.components))
    ]


# --- versions --------------------------------------------------------------------------------------------------------


def _known_bad(
    state: DeploymentUpgradeState, policy: DeploymentUpgradePolicy, around: Surroundings
) -> Iterator[Obstacle]:
    for request in state.requests:
        listed = _listed(policy.known_bad, request)
        if listed:
            yield Obstacle(
                code="deployment.known_bad",
                message=f"{request.component_name} {request.target_version} is known to be bad here ({listed}).",
                passes=False,
                hint="Deploy another version, or take it off known_bad.",
            )
        elif policy.remember_failures and (failed := _failed_before(state, request, around.others)):
            automatic = state.trigger != "manual"
            if automatic or not request.metadata.get("again"):
                yield Obstacle(
                    code="deployment.failed_before",
                    message=f"{request.component_name} {request.target_version} was taken back here by"
                    f" {failed.deployment_id}: {failed.why}",
                    passes=False,
                    hint="Nothing deploys it by itself again."
                    if automatic
                    else "A person may: `noodle deploy start --again`.",
                )


def _listed(known_bad: Mapping[str, Sequence[str]], request: UpgradeRequest) -> str:
    for name, listed in known_bad.items():
        if canonicalize_name(name) == canonicalize_name(request.component_name):
            return next((text for text in listed if _meets(request.target_version, text)), "")
    return ""


def _meets(version: str, text: str) -> bool:
    try:
        return Version(version) == Version(text)
    except InvalidVersion:
        pass
    try:
        return SpecifierSet(text).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return version == text


def _failed_before(
    state: DeploymentUpgradeState, request: UpgradeRequest, others: Sequence[DeploymentUpgradeState]
) -> DeploymentUpgradeState | None:
    """Return the last deployment that tried this version here and was taken back for harm, if it was not put right."""
    tried = [
        other
        for other in others
        if other.environment == state.environment
        and (other.harmful or other.stage is Stage.SUCCEEDED)  # else its end says nothing of the version
        and any(_same(theirs, request) for theirs in other.requests)
    ]
    last = max(tried, key=lambda other: other.updated_at, default=None)
    return last if last is not None and last.harmful else None


def remembers(state: DeploymentUpgradeState, others: Sequence[DeploymentUpgradeState]) -> bool:
    """Whether a deployment is why one of its versions is refused: it must be kept for as long as that is to be so."""
    if not state.harmful:
        return False
    return any(_failed_before(state, request, others) is state for request in state.requests)


def _same(one: UpgradeRequest, other: UpgradeRequest) -> bool:
    names = canonicalize_name(one.component_name) == canonicalize_name(other.component_name)
    return names and _meets(one.target_version, other.target_version)


# --- other deployments -----------------------------------------------------------------------------------------------


def _dependencies(
    state: DeploymentUpgradeState, policy: DeploymentUpgradePolicy, around: Surroundings
) -> Iterator[Obstacle]:
    for needed in policy.depends_on:
        for request in state.requests:
            yield from _dependency(state, request, needed, around)


def _dependency(
    state: DeploymentUpgradeState, request: UpgradeRequest, needed: DependsOn, around: Surroundings
) -> Iterator[Obstacle]:
    environment = needed.environment or state.environment
    name = needed.component or request.component_name
    if canonicalize_name(name) in set(map(canonicalize_name, state.components)) and environment == state.environment:
        return  # it is part of this very deployment, which is all or nothing
    version = "" if needed.component else request.target_version
    about = [other for other in around.others if other.environment == environment and _is_about(other, name, version)]
    last = max(about, key=lambda other: other.updated_at, default=None)
    if last is not None and last.stage is Stage.SUCCEEDED:
        return
    what = f"{name} {version}".rstrip()
    if last is None:
        # A component that nobody deploys here at all may be the one that runs anyway.
        if not version and canonicalize_name(name) in map(canonicalize_name, around.running):
            return
        said = f"{what} has not been deployed to {environment} yet."
    else:
        said = f"{what} in {environment} is {last.stage} ({last.deployment_id})."
    # It may still be deployed, or be deployed again.
    yield Obstacle(code="deployment.dependency", message=said, hint=f"Deploy {what} to {environment} first.")


def _is_about(other: DeploymentUpgradeState, name: str, version: str) -> bool:
    return any(
        canonicalize_name(request.component_name) == canonicalize_name(name)
        and (not version or _meets(request.target_version, version))
        for request in other.requests
    )


def _others(state: DeploymentUpgradeState, policy: DeploymentUpgradePolicy, around: Surroundings) -> Iterator[Obstacle]:
    for other in around.others:
        if other.environment == state.environment and other.stage is Stage.FROZEN:
            yield Obstacle(
                code="deployment.frozen",
                message=f"{state.environment} is frozen by {other.deployment_id}: {other.why}.",
                hint="Say what becomes of that one: `noodle deploy approve` or `noodle deploy abort`.",
            )
    for other in overlapping(state, around.others):
        if other.stage.waiting and other.created_at >= state.created_at:
            continue  # it came later, and has to wait for this one
        if other.stage is Stage.PENDING:
            continue  # it waits for something that may never happen
        yield Obstacle(
            code="deployment.busy",
            message=f"{other.deployment_id} deploys {', '.join(other.components)} here, and is {other.stage}.",
            passes=policy.concurrency != "reject",
            hint="Wait for it, or abort it: `noodle deploy abort`.",
        )


def _busy(state: DeploymentUpgradeState, around: Surroundings) -> Iterator[Obstacle]:
    """Upgrades that nobody here asked for, or that another environment's deployment did."""
    known = {other.upgrade_id for other in overlapping(state, around.others)}
    held = {canonicalize_name(name): upgrade_id for name, upgrade_id in around.busy.items()}
    for name in state.components:
        upgrade_id = held.get(canonicalize_name(name))
        if upgrade_id is not None and upgrade_id not in known:
            yield Obstacle(
                code=BUSY,
                message=f"{name} is being changed by {upgrade_id}.",
                hint="Wait for it, or cancel it: `noodle cancel`.",
            )


# --- time, resources and health --------------------------------------------------------------------------------------


def _closed(calendar: Calendar, at: datetime) -> Iterator[Obstacle]:
    if why := calendar.why_closed(at):
        opens = calendar.opens(at)
        yield Obstacle(code="deployment.window", message=f"Closed: {why}.", passes=opens is not None, until=opens)


def _too_early(policy: DeploymentUpgradePolicy, around: Surroundings) -> Iterator[Obstacle]:
    least = policy.timing_constraints.min_interval_between_upgrades
    if not least or around.last_end is None:
        return
    # A clock that went back must not make anybody wait for longer than the interval.
    passed = max(0.0, (around.at - around.last_end).total_seconds())
    if passed < least:
        until = around.at + timedelta(seconds=least - passed)
        yield Obstacle(
            code="deployment.interval",
            message=f"The last upgrade here ended {passed:.0f} s ago, and {least:g} s must lie between two.",
            until=until,
        )


def _findings(code: str, findings: Iterable[Finding]) -> Iterator[Obstacle]:
    for finding in findings:
        yield Obstacle(code=code, message=finding.message, hint=finding.hint)
