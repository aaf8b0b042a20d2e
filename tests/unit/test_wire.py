"""Values come back from the wire as they went, and nothing else gets in."""

import contextlib
import subprocess
import sys
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_core import model
from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError, VersionUnknownError
from noodle_upgrade_core.journal import UpgradeRecord
from noodle_upgrade_core.wire import dumps, from_wire, loads, to_wire

from . import values


def refusal(cls, data):
    with pytest.raises(InvalidRequestError) as caught:
        from_wire(cls, data)
    return caught.value


def request(**changes):
    return {"component_name": "a", "target_version": "2", **changes}


@pytest.mark.parametrize("cls", values.ALL, ids=lambda cls: cls.__name__)
def test_every_value_comes_back_from_its_json_text_equal(cls):
    @settings(max_examples=40, deadline=None)
    @given(values.ALL[cls])
    def comes_back(value):
        back = from_wire(cls, loads(dumps(value)))
        if isinstance(getattr(value, "error", None), UpgradeError):
            assert type(back.error) is type(value.error)
            assert back.error.to_wire() == value.error.to_wire()
            back, value = attrs.evolve(back, error=None), attrs.evolve(value, error=None)
        assert back == value

    comes_back()


def test_every_value_of_the_model_is_covered_by_the_round_trip():
    classes = {getattr(model, name) for name in model.__all__}
    assert {cls for cls in classes if isinstance(cls, type) and attrs.has(cls)} <= values.ALL.keys()


@settings(max_examples=200, deadline=None)
@given(values.JSON)
def test_no_json_value_makes_from_wire_raise_anything_but_a_refusal(data):
    for cls in (model.UpgradeRequest, model.UpgradePlan, model.UpgradeResult, UpgradeRecord):
        try:
            made = from_wire(cls, data)
        except InvalidRequestError:
            continue
        assert isinstance(made, cls)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text('[]{}",:\\ntrue0123456789.eE-', max_size=60))
def test_no_bytes_make_loads_raise_anything_but_a_refusal(text):
    with contextlib.suppress(InvalidRequestError):
        loads(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20) | st.lists(st.text(max_size=5)))
def test_any_text_survives_dumps_and_loads_even_half_a_surrogate_pair(value):
    text = dumps(value)
    text.encode()
    assert loads(text) == value


def test_a_misspelt_key_is_refused_with_its_path_and_what_was_meant():
    wire = to_wire(model.Decision(ballot="approve", votes=(model.Vote(ballot="reject"),)))
    wire["votes"][0]["confidense"] = 1.0
    error = refusal(model.Decision, wire)
    assert error.details["problems"] == ["votes[0].confidense: unknown key; did you mean 'confidence'?"]


def test_all_faults_are_told_at_once():
    error = refusal(model.UpgradeRequest, {"priority": "7", "constraints": [1], "validation_level": "strickt"})
    problems = "\n".join(error.details["problems"])
    assert "component_name" in problems
    assert "target_version" in problems
    assert "priority: a whole number is needed here, got '7'" in problems
    assert "constraints[0]: a string is needed here, got 1" in problems
    assert "did you mean 'strict'?" in problems


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", True),
        ("priority", 5.0),
        ("priority", 11),
        ("rollback_enabled", 1),
        ("rollback_enabled", "yes"),
        ("timeout_seconds", "300"),
        ("timeout_seconds", float("inf")),
        ("timeout_seconds", 10**400),
        ("timeout_seconds", -1),
        ("constraints", ">=2"),
        ("constraints", {"a": 1}),
        ("parameters", []),
        ("parameters", {"x": object()}),
        ("parameters", {1: 2}),
        ("requested_at", "2026-01-01T00:00:00"),
        ("requested_at", "yesterday"),
        ("requested_at", 5),
        ("component_name", ""),
        ("component_name", None),
        ("metadata", {"x": float("nan")}),
    ],
)
def test_nothing_is_converted_silently(field, value):
    error = refusal(model.UpgradeRequest, request(**{field: value}))
    assert field in str(error)


def test_enumerations_come_back_as_members_and_not_as_equal_strings():
    wire = to_wire(model.Finding(severity=model.Severity.ERROR, code="x", message=""))
    assert from_wire(model.Finding, wire).severity is model.Severity.ERROR
    assert type(from_wire(model.UpgradeRequest, request(validation_level="normal")).validation_level) is (
        model.ValidationLevel
    )


def test_a_whole_number_is_a_number_of_seconds():
    assert from_wire(model.UpgradeRequest, request(timeout_seconds=30)).timeout_seconds == 30.0


def test_what_was_read_is_not_changed_by_who_sent_it():
    sent = request(parameters={"steps": [1, 2]})
    read = from_wire(model.UpgradeRequest, sent)
    sent["parameters"]["steps"].append(3)
    assert read.parameters == {"steps": [1, 2]}


def test_an_error_crosses_as_what_it_is():
    error = VersionUnknownError("no", hint="look", details={"versions": ["1"]})
    back = from_wire(UpgradeError, loads(dumps(error)))
    assert type(back) is VersionUnknownError
    assert back.to_wire() == error.to_wire()


@pytest.mark.parametrize("wire", ["no", [], {"code": 1}, {"message": None}, {"details": []}, {"colour": "red"}])
def test_what_is_no_error_is_refused(wire):
    refusal(UpgradeError, wire)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (
            model.UpgradeRequest(component_name="a", target_version="2", parameters={"x": [1, object()]}),
            "parameters.x[1]",
        ),
        ({"a": {"b": float("nan")}}, "a.b"),
        ([{"a": datetime(2026, 1, 1)}], "[0].a"),  # noqa: DTZ001 - the point of the test
        ({"a": {2: 3}}, "a"),
    ],
)
def test_what_is_no_json_value_is_refused_with_its_path(value, path):
    with pytest.raises(InvalidRequestError) as caught:
        to_wire(value)
    assert caught.value.details["path"] == path


def test_a_value_that_holds_itself_is_refused():
    ring = []
    ring.append(ring)
    with pytest.raises(InvalidRequestError, match="deeper"):
        to_wire(ring)


@pytest.mark.parametrize("text", ["[" * 65 + "]" * 65, "[" * 100_000, '{"a":' * 65 + "1" + "}" * 65])
def test_deep_nesting_is_refused_and_not_a_crash(text):
    with pytest.raises(InvalidRequestError):
        loads(text)


def test_the_deepest_nesting_that_is_allowed_is_read():
    assert loads("[" * 64 + "]" * 64) is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[NaN]", "NaN"),
        (b"[1e999]", "larger"),
        (b"\xff\xfe", "UTF-8"),
        (b"{'a': 1}", "line 1"),
        (b"", "JSON"),
        (b"1" * 5000, "JSON"),
    ],
)
def test_what_is_not_plain_json_is_refused_in_words(text, words):
    with pytest.raises(InvalidRequestError, match=words):
        loads(text)


def test_more_than_the_limit_is_refused_before_it_is_parsed():
    with pytest.raises(InvalidRequestError, match="101 bytes"):
        loads(b"x" * 101, max_bytes=100)
    with pytest.raises(InvalidRequestError, match="102 bytes"):
        loads("é" * 51, max_bytes=100)


def test_a_value_that_is_too_long_is_not_sent():
    with pytest.raises(InvalidRequestError, match="52 bytes"):
        dumps("x" * 50, max_bytes=51)


def test_times_keep_their_offset_and_sets_their_order():
    assert to_wire(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05+00:00"
    assert to_wire(frozenset({"b", "a"})) == ["a", "b"]


def test_writing_values_does_not_import_cattrs():
    code = (
        "import sys; from noodle_upgrade_core.wire import dumps; from noodle_upgrade_core.model import Dependency;"
        " dumps(Dependency('a')); sys.exit('cattrs' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
