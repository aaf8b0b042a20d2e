"""Hypothesis strategies for the values of the vocabulary."""

import string
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from noodle_upgrade_core import errors, model
from noodle_upgrade_core.events import Event
from noodle_upgrade_core.hookspecs import ActiveVersion, Outcome, Receipt
from noodle_upgrade_core.journal import AuditRow, PointerMove, Recovery, UpgradeRecord
from noodle_upgrade_core.staged import Arm, Measurement

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(
    min_value=datetime(1970, 1, 3),  # noqa: DTZ001 - the zone comes from `timezones`
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
SHARES = st.floats(0.0, 1.0)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
PHASES = st.sampled_from(model.Phase)


def tuples(inner, most=3):
    return st.lists(inner, max_size=most).map(tuple)


def _build(cls, **fields):
    return st.builds(cls, **fields)


DEPENDENCIES = _build(model.Dependency, name=NAMES, constraint=TEXT)
COMPONENTS = _build(
    model.ComponentDescriptor,
    name=NAMES,
    version=NAMES,
    description=TEXT,
    component_type=st.sampled_from(model.ComponentType),
    dependencies=tuples(DEPENDENCIES),
    upgrade_path=tuples(TEXT),
    hot_swappable=st.booleans(),
    compatibility_matrix=st.dictionaries(TEXT, tuples(TEXT), max_size=2),
    configuration_schema=OBJECTS,
    metadata=OBJECTS,
)
ARTIFACTS = _build(
    model.ArtifactRef,
    name=NAMES,
    version=TEXT,
    digest=DIGESTS,
    kind=st.sampled_from(["wheel", "tree"]),
    size=st.integers(0, 2**40),
    tree=TEXT,
    top_levels=tuples(NAMES),
    metadata=OBJECTS,
)
REQUESTS = _build(
    model.UpgradeRequest,
    component_name=NAMES,
    target_version=NAMES,
    current_version=st.none() | TEXT,
    parameters=OBJECTS,
    constraints=tuples(TEXT),
    priority=st.integers(1, 10),
    timeout_seconds=st.floats(0.001, 1e9),
    rollback_enabled=st.booleans(),
    validation_level=st.sampled_from(model.ValidationLevel),
    requested_at=TIMES,
    metadata=OBJECTS,
)
FINDINGS = _build(model.Finding, severity=st.sampled_from(model.Severity), code=NAMES, message=TEXT, hint=TEXT)
VERDICTS = _build(
    model.Verdict,
    feasible=st.booleans(),
    mechanism=NAMES,
    reasons=tuples(TEXT),
    capabilities=st.frozensets(NAMES, max_size=3),
    expected_seconds=FLOATS,
    pause_seconds=FLOATS,
    evidence=OBJECTS,
)
STEPS = _build(
    model.PlanStep,
    component=COMPONENTS,
    from_version=NAMES,
    to_version=NAMES,
    path=tuples(NAMES),
    artifacts=tuples(ARTIFACTS, 2),
    verdict=VERDICTS,
    plugin=TEXT,
)
COSTS = _build(model.PlanCost, seconds=FLOATS, pause_seconds=FLOATS, download_bytes=st.integers(0, 2**40))
PLANS = _build(
    model.UpgradePlan,
    requests=st.lists(REQUESTS, min_size=1, max_size=2).map(tuple),
    steps=tuples(STEPS, 2),
    findings=tuples(FINDINGS, 2),
    cost=COSTS,
    dependents=tuples(NAMES),
    created_at=TIMES,
)
RECOMMENDATIONS = _build(
    model.Recommendation,
    strategy=TEXT,
    priority=st.none() | st.integers(),
    required_capabilities=tuples(TEXT),
    timing=TEXT,
)
BALLOTS = st.sampled_from(model.Ballot)
VOTES = _build(
    model.Vote,
    ballot=BALLOTS,
    confidence=SHARES,
    reasons=tuples(TEXT),
    alternatives=tuples(REQUESTS, 1),
    recommendation=st.none() | RECOMMENDATIONS,
    processing_time=FLOATS,
    voter=TEXT,
)
DECISIONS = _build(model.Decision, ballot=BALLOTS, confidence=SHARES, votes=tuples(VOTES, 2), awaits=TEXT)
POINTS = _build(
    model.RollbackPoint,
    upgrade_id=NAMES,
    component_name=NAMES,
    from_version=TEXT,
    to_version=TEXT,
    created_at=TIMES,
    expires_at=st.none() | TIMES,
    artifact=st.none() | ARTIFACTS,
    state_digest=st.just("") | DIGESTS,
)
ERRORS = st.builds(
    lambda cls, message, hint, safe, details: cls(message, hint=hint, safe=safe, details=details),
    st.sampled_from(sorted(set(errors.UpgradeError.by_code.values()), key=lambda cls: cls.code)),
    TEXT,
    TEXT,
    st.none() | TEXT,
    OBJECTS,
)
RESULTS = _build(
    model.UpgradeResult,
    request_id=NAMES,
    success=st.booleans(),
    component_name=NAMES,
    from_version=TEXT,
    to_version=TEXT,
    status=st.sampled_from(model.UpgradeStatus),
    started_at=TIMES,
    completed_at=TIMES,
    operations=tuples(TEXT),
    rollback_point=st.none() | POINTS,
    metrics=st.dictionaries(NAMES, FLOATS, max_size=3),
    components=tuples(NAMES),
    phase=PHASES,
    error=st.none() | ERRORS,
)
VERSIONS = st.dictionaries(NAMES, TEXT, max_size=2)

ALL = {
    model.Dependency: DEPENDENCIES,
    model.ComponentDescriptor: COMPONENTS,
    model.ArtifactRef: ARTIFACTS,
    model.UpgradeRequest: REQUESTS,
    model.Finding: FINDINGS,
    model.Verdict: VERDICTS,
    model.PlanStep: STEPS,
    model.PlanCost: COSTS,
    model.UpgradePlan: PLANS,
    model.FeasibilityResult: _build(model.FeasibilityResult, feasible=st.booleans(), path=tuples(TEXT)),
    model.Recommendation: RECOMMENDATIONS,
    model.Vote: VOTES,
    model.Decision: DECISIONS,
    model.RollbackPoint: POINTS,
    model.UpgradeResult: RESULTS,
    Event: _build(Event, kind=NAMES, sequence=st.integers(0), at=TIMES, message=TEXT, data=OBJECTS),
    ActiveVersion: _build(ActiveVersion, component_name=NAMES, version=TEXT, artifact=st.none() | ARTIFACTS),
    Receipt: _build(Receipt, undone=tuples(TEXT), plugin=TEXT),
    Measurement: _build(
        Measurement,
        at=FLOATS,
        weight=SHARES,
        old=_build(Arm, version=TEXT, calls=st.integers(0), latency=tuples(st.integers(0))),
        new=_build(Arm, version=TEXT, errors=st.integers(0), last_error=TEXT),
    ),
    Outcome: _build(Outcome, promoted=st.booleans(), steps=tuples(TEXT), evidence=OBJECTS, measured=st.none()),
    AuditRow: _build(
        AuditRow,
        sequence=st.integers(0),
        upgrade_id=TEXT,
        phase_from=st.none() | PHASES,
        phase=st.none() | PHASES,
        at=TIMES,
        who=TEXT,
        why=TEXT,
        evidence=OBJECTS,
    ),
    PointerMove: _build(PointerMove, component_name=NAMES, version=TEXT, artifact=st.none() | ARTIFACTS),
    Recovery: _build(Recovery, upgrade_id=NAMES, found=PHASES, became=PHASES, moves=st.just(())),
    UpgradeRecord: _build(
        UpgradeRecord,
        upgrade_id=NAMES,
        phase=PHASES,
        plan=OBJECTS,
        components=tuples(NAMES),
        from_versions=VERSIONS,
        to_versions=VERSIONS,
        created_at=TIMES,
        updated_at=TIMES,
        error=st.none() | OBJECTS,
        soak_deadline=st.none() | TIMES,
    ),
}
"""Every value that crosses a boundary, with a strategy that makes it."""
