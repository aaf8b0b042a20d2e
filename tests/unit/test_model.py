import time
from datetime import UTC, datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import (
    ArtifactRef,
    ComponentDescriptor,
    Finding,
    Phase,
    PlanStep,
    Severity,
    UpgradePlan,
    UpgradeRequest,
    ValidationLevel,
    Verdict,
    Vote,
    new_id,
    now,
    stops,
)


def request(**changes):
    return UpgradeRequest(component_name="parser", target_version="2.0", **changes)


def plan(**changes):
    step = PlanStep(
        component=ComponentDescriptor(name="parser", version="1.0"),
        from_version="1.0",
        to_version="2.0",
        path=("1.0", "2.0"),
        artifacts=(ArtifactRef(name="parser", version="2.0", digest="ab", kind="wheel", size=1, tree="t"),),
        verdict=Verdict(feasible=True, mechanism="patch"),
    )
    return evolve(UpgradePlan(requests=(request(),), steps=(step,)), **changes)


@pytest.mark.parametrize("priority", [0, 11, 5.0, True, "5", None])
def test_a_priority_outside_one_to_ten_is_refused(priority):
    with pytest.raises(InvalidRequestError, match="priority"):
        request(priority=priority)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), True, "300"])
def test_a_time_limit_that_is_no_positive_number_is_refused(seconds):
    with pytest.raises(InvalidRequestError, match="timeout_seconds"):
        request(timeout_seconds=seconds)


def test_a_single_string_is_not_a_list_of_constraints():
    with pytest.raises(InvalidRequestError, match="list"):
        request(constraints=">=1")


def test_the_defaults_are_those_of_the_vocabulary():
    one = request()
    assert (one.strategy, one.priority, one.timeout_seconds) == ("gradual", 5, 300.0)
    assert one.rollback_enabled
    assert one.validation_level is ValidationLevel.STRICT
    assert one.requested_by == "system"
    assert isinstance(one.requested_at, datetime)
    assert one.requested_at.tzinfo is not None


def test_two_requests_never_share_an_id():
    assert request().request_id != request().request_id


def test_identifiers_sort_by_their_age_for_centuries():
    first = new_id("up")
    time.sleep(0.002)
    assert first < new_id("up")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: int(datetime(2400, 1, 1, tzinfo=UTC).timestamp()) * 10**9)
        later = new_id("up")
    assert first < later
    assert len(first) == len(later)


@given(st.sampled_from(Severity), st.sampled_from(ValidationLevel), st.booleans())
def test_what_stops_a_lower_level_stops_every_stricter_one(severity, level, critical):
    finding = Finding(severity=severity, code="c", message="m", subject="parser")
    names = {"parser"} if critical else set()
    stricter = {
        ValidationLevel.PERMISSIVE: ValidationLevel.NORMAL,
        ValidationLevel.NORMAL: ValidationLevel.STRICT,
        ValidationLevel.STRICT: ValidationLevel.STRICT,
    }
    if stops(finding, level, names):
        assert stops(finding, stricter[level], names)


def test_an_information_never_stops():
    finding = Finding(severity=Severity.INFO, code="c", message="m")
    assert not any(stops(finding, level, {""}) for level in ValidationLevel)


def test_a_plan_without_steps_is_not_feasible():
    assert not plan(steps=()).feasible


def test_a_warning_stops_a_strict_plan_and_not_a_normal_one():
    warned = plan(findings=(Finding(severity=Severity.WARNING, code="c", message="m"),))
    assert not warned.feasible
    assert evolve(warned, requests=(request(validation_level="normal"),)).feasible


def test_the_digest_of_a_plan_changes_with_what_an_approval_is_about_and_with_nothing_else():
    one = plan()
    assert plan().digest == one.digest
    assert evolve(one, plan_id="another", created_at=now()).digest == one.digest
    (step,) = one.steps
    other_bytes = evolve(step, artifacts=(evolve(step.artifact, digest="cd"),))
    assert evolve(one, steps=(other_bytes,)).digest != one.digest
    assert evolve(one, requests=(request(strategy="immediate"),)).digest != one.digest
    assert evolve(one, requests=(request(parameters={"bake": 1}),)).digest != one.digest


def test_a_plan_prints_what_would_happen_and_what_cannot_be_done():
    (step,) = plan().steps
    text = str(plan(steps=(evolve(step, verdict=Verdict(feasible=False, mechanism="none", blockers=("it is in C",))),)))
    assert "parser 1.0 -> 2.0" in text
    assert "cannot: it is in C" in text
    assert "cannot be carried out" in text


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan"), True])
def test_a_confidence_outside_zero_to_one_is_refused(confidence):
    with pytest.raises(InvalidRequestError, match="confidence"):
        Vote(ballot="approve", confidence=confidence)


def test_every_phase_tells_a_person_a_status():
    assert {phase.status for phase in Phase} <= set(type(Phase.DONE.status))
    assert [phase for phase in Phase if phase.ended] == [Phase.DONE, Phase.REJECTED, Phase.ROLLED_BACK, Phase.ABORTED]


@pytest.mark.parametrize(
    "value", [None, "", " ", 5, b"lamp", "\ud800", "two\nlines", "\x1b[31mred", "x" * 201], ids=ascii
)
@pytest.mark.parametrize("which", ["name", "version"])
def test_a_component_whose_name_or_version_cannot_be_written_down_is_refused(which, value):
    with pytest.raises(InvalidRequestError, match=f"The {which} of a component"):
        ComponentDescriptor(**{"name": "lamp", "version": "1.0", which: value})


@pytest.mark.parametrize("value", ["2.0", "not a version", "näme", "x" * 200], ids=ascii)
def test_a_component_may_be_called_anything_that_can_be_printed(value):
    assert ComponentDescriptor(name=value, version=value).name == value
