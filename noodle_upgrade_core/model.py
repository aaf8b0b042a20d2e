"""The vocabulary: frozen values and enumerations that every other module speaks in.

Nothing here does I/O, reads a clock other than to stamp a value that is made, or knows a plugin. Times are aware
`datetime`s in UTC, durations are seconds, versions are PEP 440 strings, digests are lower-case sha256 in hexadecimal.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import asdict, field, frozen

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError

__all__ = [
    "ArtifactRef",
    "Ballot",
    "ComponentDescriptor",
    "ComponentType",
    "Decision",
    "Dependency",
    "FeasibilityResult",
    "Finding",
    "Phase",
    "PlanCost",
    "PlanStep",
    "Recommendation",
    "RollbackPoint",
    "Severity",
    "UpgradePlan",
    "UpgradeRequest",
    "UpgradeResult",
    "UpgradeStatus",
    "ValidationLevel",
    "Verdict",
    "Vote",
    "new_id",
    "now",
]


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """Return a fresh identifier such as `up-19ac2f…`: the prefix says what it names.

    It begins with the milliseconds since 1970, so that identifiers sort by their age, and a journal adds what belongs
    together in one place; 36 random bits follow.
    """
    return f"{prefix}-{time.time_ns() // 1_000_000:011x}{os.urandom(5).hex()[:9]}"


# --- enumerations ------------------------------------------------------------------------------------------------


class ComponentType(enum.StrEnum):
    """What a component is; engines and policies may treat types differently."""

    RUNTIME = "runtime"
    COMPILER = "compiler"
    AI_AGENT = "ai_agent"
    DEPLOYMENT = "deployment"
    SYSTEM = "system"


class UpgradeStatus(enum.StrEnum):
    """What a person is told of an upgrade; `Phase` is the finer state that the journal keeps."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"


class ValidationLevel(enum.StrEnum):
    """Which findings stop an upgrade.

    `strict`: warnings and errors. `normal`: errors. `permissive`: only errors on critical components, and
    those of a plugin that fails.
    """

    STRICT = "strict"
    NORMAL = "normal"
    PERMISSIVE = "permissive"


class Severity(enum.StrEnum):
    """How bad a finding is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Ballot(enum.StrEnum):
    """How a plugin, or all of them together, voted."""

    APPROVE = "approve"
    REJECT = "reject"
    ABSTAIN = "abstain"


class Phase(enum.StrEnum):
    """The states of one upgrade in the journal; `COMMITTED` is the one point of no doubt.

    Before `SHIFTING` nothing is visible to anybody. From `COMMITTED` on a restart comes back on the new version.
    """

    RECEIVED = "received"
    VALIDATED = "validated"
    APPROVED = "approved"
    STAGED = "staged"
    SHIFTING = "shifting"
    COMMITTED = "committed"
    SOAKING = "soaking"
    DONE = "done"
    REJECTED = "rejected"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    STUCK = "stuck"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen; a stuck upgrade has not ended, a person must look at it."""
        return self in _ENDED

    @property
    def status(self) -> UpgradeStatus:
        """What a person is told while an upgrade is in this phase."""
        return _STATUS[self]


_ENDED = frozenset({Phase.DONE, Phase.REJECTED, Phase.ROLLED_BACK, Phase.ABORTED})

_STATUS = {
    Phase.RECEIVED: UpgradeStatus.PENDING,
    Phase.VALIDATED: UpgradeStatus.PENDING,
    Phase.APPROVED: UpgradeStatus.PENDING,
    Phase.STAGED: UpgradeStatus.IN_PROGRESS,
    Phase.SHIFTING: UpgradeStatus.IN_PROGRESS,
    Phase.COMMITTED: UpgradeStatus.IN_PROGRESS,
    Phase.SOAKING: UpgradeStatus.IN_PROGRESS,
    Phase.DONE: UpgradeStatus.COMPLETED,
    Phase.REJECTED: UpgradeStatus.FAILED,
    Phase.ROLLING_BACK: UpgradeStatus.IN_PROGRESS,
    Phase.ROLLED_BACK: UpgradeStatus.ROLLED_BACK,
    Phase.ABORTED: UpgradeStatus.FAILED,
    Phase.STUCK: UpgradeStatus.FAILED,
}


# --- components --------------------------------------------------------------------------------------------------


@frozen
class Dependency:
    """A component that another one needs, with an optional PEP 440 specifier such as `>=2,<3`."""

    name: str
    constraint: str = ""

    def __str__(self) -> str:
        return f"{self.name}{self.constraint}"


_LONGEST_NAME = 200


def _printable(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable() and len(value) <= _LONGEST_NAME


def _a_name(_: Any, attribute: Any, value: Any) -> None:
    """Names and versions go into the journal, onto terminals and over the wire."""
    if not _printable(value):
        raise InvalidRequestError(
            f"The {attribute.name} of a component is a text of 1 to {_LONGEST_NAME} printable characters,"
            f" got {value!r}."
        )


@frozen(kw_only=True)
class ComponentDescriptor:
    """A part of the running system that can be upgraded.

    `upgrade_path` lists versions that an upgrade must pass through, in order. `compatibility_matrix` maps a version
    to the versions that may follow it; a version that it does not name is unrestricted. `location` is where the
    running code lies (a path, or a URL of a remote member); `entry_point` is `module:object` where there is one.
    """

    name: str = field(validator=_a_name)
    version: str = field(validator=_a_name)
    description: str = ""
    component_type: ComponentType = ComponentType.RUNTIME
    dependencies: tuple[Dependency, ...] = ()
    upgrade_path: tuple[str, ...] = ()
    hot_swappable: bool = False
    critical: bool = False
    compatibility_matrix: Mapping[str, tuple[str, ...]] = field(factory=dict)
    location: str = ""
    entry_point: str = ""
    configuration_schema: Mapping[str, Any] = field(factory=dict)
    resource_requirements: Mapping[str, Any] = field(factory=dict)
    health_check: str = ""
    metadata: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class ArtifactRef:
    """One version of a component as bytes in the content store.

    `kind` says what the bytes are (`wheel`, `tree`); `tree` is the digest-named folder that holds them unpacked,
    relative to the store. `size` is in bytes. `top_levels` are the import names that it provides.
    """

    name: str
    version: str
    digest: str
    kind: str
    size: int
    tree: str
    source: str = ""
    top_levels: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    requires_python: str = ""
    extension_modules: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(factory=dict)


# --- requests ----------------------------------------------------------------------------------------------------


def _priority(_: Any, __: Any, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10:  # noqa: PLR2004 - SPEC's range
        raise InvalidRequestError(f"priority must be a whole number from 1 to 10, got {value!r}.")


def _positive(_: Any, attribute: Any, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidRequestError(f"{attribute.name} must be a positive number of seconds, got {value!r}.")


def _name(_: Any, attribute: Any, value: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequestError(f"{attribute.name} must be a non-empty string, got {value!r}.")


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise InvalidRequestError(f"a list of strings is needed here, got the string {value!r}.")
    return tuple(value)


_TIME_LIMIT = 300.0


@frozen(kw_only=True)
class UpgradeRequest:
    """What somebody wants: one component on another version.

    `current_version` is read from the registry when it is absent; when it is given and differs, the request is
    refused. Of `parameters` plain names go to the strategy, `judge.` names to the judge, others with a dot to the
    plugin before it. `constraints` are PEP 440 specifiers that the target version must meet.
    """

    component_name: str = field(validator=_name)
    target_version: str = field(validator=_name)
    request_id: str = field(factory=lambda: new_id("req"), validator=_name)
    current_version: str | None = None
    strategy: str = field(default="gradual", validator=_name)
    parameters: Mapping[str, Any] = field(factory=dict)
    constraints: tuple[str, ...] = field(default=(), converter=_strings)
    priority: int = field(default=5, validator=_priority)
    timeout_seconds: float = field(default=_TIME_LIMIT, validator=_positive)
    rollback_enabled: bool = True
    validation_level: ValidationLevel = field(default=ValidationLevel.STRICT, converter=ValidationLevel)
    requested_by: str = "system"
    requested_at: datetime = field(factory=now)
    metadata: Mapping[str, Any] = field(factory=dict)

    def time_limit(self, default: float) -> float:
        """Return the seconds that this may take: the settings' `default` where the request states none of its own."""
        return default if self.timeout_seconds == _TIME_LIMIT else self.timeout_seconds


# --- plans -------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Finding:
    """Something that a validation noticed: `subject` is what it is about, `hint` what to do, `code` is stable."""

    severity: Severity = field(converter=Severity)
    code: str
    message: str
    subject: str = ""
    hint: str = ""
    source: str = ""


@frozen(kw_only=True)
class Verdict:
    """How a change can be made, and by whom; an answer to the hook `assess`.

    `engine` is the driver that will carry it out and `mechanism` how (`patch`, `generation`, …). `reasons` say why
    this mechanism, `blockers` why not: a verdict with blockers is not feasible. `capabilities` are those of the
    staged swap to come. `expected_seconds` is the whole time, `pause_seconds` the part that callers could notice.
    `code` is that of the error which the blockers amount to (`stage.failed`, say; else `swap.refused`), `hint` what to
    do about them.
    """

    feasible: bool
    mechanism: str
    engine: str = ""
    reasons: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    expected_seconds: float = 0.0
    pause_seconds: float = 0.0
    evidence: Mapping[str, Any] = field(factory=dict)
    code: str = ""
    hint: str = ""


@frozen(kw_only=True)
class PlanStep:
    """One component's part of a plan.

    `path` is the chain of versions from the running one to the target, both included. `artifacts` hold every version
    after the first, in that order: engines run the last one and use those between for chained migrations.
    """

    component: ComponentDescriptor
    from_version: str
    to_version: str
    path: tuple[str, ...]
    artifacts: tuple[ArtifactRef, ...]
    verdict: Verdict
    plugin: str = ""

    @property
    def name(self) -> str:
        """The component's name."""
        return self.component.name

    @property
    def artifact(self) -> ArtifactRef:
        """The target version."""
        return self.artifacts[-1]


@frozen(kw_only=True)
class PlanCost:
    """What a plan is expected to cost: seconds in all, the longest pause a caller could notice, bytes to fetch."""

    seconds: float = 0.0
    pause_seconds: float = 0.0
    download_bytes: int = 0


_DIGESTED = json.JSONEncoder(sort_keys=True, default=str)


@frozen(kw_only=True)
class UpgradePlan:
    """What would happen, in which order (dependencies first), how, and what cannot be done.

    One plan is committed whole or not at all. `digest` covers everything that an approval is about, so that an
    approval of one plan is worth nothing for another.
    """

    plan_id: str = field(factory=lambda: new_id("plan"))
    requests: tuple[UpgradeRequest, ...]
    steps: tuple[PlanStep, ...]
    findings: tuple[Finding, ...] = ()
    cost: PlanCost = PlanCost()
    dependents: tuple[str, ...] = ()
    created_at: datetime = field(factory=now)

    @property
    def request(self) -> UpgradeRequest:
        """The first request: a set shares its strategy, limits and validation level."""
        return self.requests[0]

    @property
    def component_names(self) -> tuple[str, ...]:
        """The components that change, dependencies first."""
        return tuple(step.name for step in self.steps)

    @property
    def stoppers(self) -> tuple[Finding, ...]:
        """The findings that stop this plan at the validation level of its request."""
        critical = {step.name for step in self.steps if step.component.critical}
        return tuple(f for f in self.findings if stops(f, self.request.validation_level, critical))

    @property
    def feasible(self) -> bool:
        """Whether every step has a mechanism and no finding stops the plan."""
        return bool(self.steps) and all(step.verdict.feasible for step in self.steps) and not self.stoppers

    @property
    def digest(self) -> str:
        """sha256 over what an approval is about: components, versions, bytes, mechanism and strategy."""
        request = self.request
        subject = [
            [s.name, s.from_version, s.to_version, [a.digest for a in s.artifacts], s.verdict.mechanism]
            for s in self.steps
        ]
        gate = [request.strategy, dict(request.parameters), str(request.validation_level), request.rollback_enabled]
        return hashlib.sha256(_DIGESTED.encode([subject, gate]).encode()).hexdigest()

    def __str__(self) -> str:
        return "\n".join(_plan_lines(self))


def stops(finding: Finding, level: ValidationLevel, critical: set[str]) -> bool:
    """Return whether a finding stops an upgrade at this level; `critical` names the critical components."""
    match level:
        case ValidationLevel.STRICT:
            return finding.severity is not Severity.INFO
        case ValidationLevel.NORMAL:
            return finding.severity is Severity.ERROR
        case ValidationLevel.PERMISSIVE:
            # What a plugin that failed would have said is not known: it may not be let through.
            failed = finding.code.startswith("plugin.")
            return finding.severity is Severity.ERROR and (failed or finding.subject in critical)


def _plan_lines(plan: UpgradePlan) -> list[str]:
    lines = [f"Plan {plan.plan_id}: {'can be carried out' if plan.feasible else 'cannot be carried out'}"]
    for number, step in enumerate(plan.steps, 1):
        how = step.verdict.mechanism if step.verdict.feasible else "refused"
        lines.append(f"  {number}. {step.name} {' -> '.join(step.path)}  [{how}]")
        lines += [f"       {reason}" for reason in step.verdict.reasons]
        lines += [f"       cannot: {blocker}" for blocker in step.verdict.blockers]
        lines += [f"       note: {warning}" for warning in step.verdict.warnings]
    if plan.dependents:
        lines.append(f"  depend on these: {', '.join(plan.dependents)}")
    lines += [f"  {f.severity}: {f.message}{' ' + f.hint if f.hint else ''}" for f in plan.findings]
    if plan.feasible:
        lines.append(
            f"  strategy {plan.request.strategy}; about {plan.cost.seconds:.1f} s,"
            f" longest pause about {plan.cost.pause_seconds * 1000:.2f} ms"
        )
    return lines


@frozen(kw_only=True)
class FeasibilityResult:
    """Whether an upgrade could be made, without preparing it."""

    feasible: bool
    reasons: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


# --- decisions ---------------------------------------------------------------------------------------------------


def _share(_: Any, attribute: Any, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise InvalidRequestError(f"{attribute.name} must be a number from 0 to 1, got {value!r}.")


@frozen(kw_only=True)
class Recommendation:
    """How an upgrade had better be carried out."""

    strategy: str = ""
    priority: int | None = None
    required_capabilities: tuple[str, ...] = ()
    timing: str = ""


@frozen(kw_only=True)
class Vote:
    """One plugin's answer to `decide`; `voter` is filled in by the runner, never believed from the plugin.

    `alternatives` are requests that would be approved instead.
    """

    ballot: Ballot = field(converter=Ballot)
    confidence: float = field(default=1.0, validator=_share)
    reasons: tuple[str, ...] = ()
    alternatives: tuple[UpgradeRequest, ...] = ()
    recommendation: Recommendation | None = None
    processing_time: float = 0.0
    voter: str = ""


@frozen(kw_only=True)
class Decision:
    """What a decider driver made of the votes.

    `awaits` is set when a person (or a quorum) still has to approve: the ballot is then `abstain`.
    """

    ballot: Ballot = field(converter=Ballot)
    confidence: float = field(default=1.0, validator=_share)
    reasons: tuple[str, ...] = ()
    alternatives: tuple[UpgradeRequest, ...] = ()
    recommendation: Recommendation | None = None
    processing_time: float = 0.0
    votes: tuple[Vote, ...] = ()
    awaits: str = ""

    @property
    def approved(self) -> bool:
        """Whether the upgrade may go on now."""
        return self.ballot is Ballot.APPROVE


# --- outcomes ----------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class RollbackPoint:
    """What to go back to; made before the swap, and checked before it is used.

    `artifact` is None where the old version was never in the store (it was installed before the first upgrade):
    going back then means leaving the overlay, to the version that the environment itself provides.
    `state_digest` is the sha256 of the saved state, which lies in the store under it.
    """

    rollback_id: str = field(factory=lambda: new_id("rb"))
    upgrade_id: str
    component_name: str
    from_version: str
    to_version: str
    created_at: datetime = field(factory=now)
    expires_at: datetime | None = None
    artifact: ArtifactRef | None = None
    state_digest: str = ""


@frozen(kw_only=True)
class UpgradeResult:
    """How an upgrade, or a rollback, ended.

    `success` is true only if the running version has really changed, and has been asked. `operations` are what was
    done, in order, in words. `metrics` are plain numbers: seconds by phase, counts, bytes.
    """

    request_id: str
    success: bool
    component_name: str
    from_version: str
    to_version: str
    status: UpgradeStatus
    started_at: datetime
    completed_at: datetime
    upgrade_id: str = ""
    operations: tuple[str, ...] = ()
    rollback_point: RollbackPoint | None = None
    metrics: Mapping[str, float] = field(factory=dict)
    error: UpgradeError | None = None
    components: tuple[str, ...] = ()
    phase: Phase = Phase.DONE

    @property
    def execution_time(self) -> float:
        """Seconds from start to end."""
        return (self.completed_at - self.started_at).total_seconds()

    def raise_for_error(self) -> UpgradeResult:
        """Return self, or raise the error that the upgrade ended with."""
        if self.error is not None:
            raise self.error
        return self


def plain(value: Any) -> Any:
    """Return a model value as plain containers, for a log line or an event; `wire` is for crossing a boundary."""
    return asdict(value, recurse=True)
