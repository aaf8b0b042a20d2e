from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_cli.failures import UsageMistakeError
from noodle_upgrade_cli.targets import parse_parameters, parse_targets, requests_of

names = st.from_regex(r"[a-z][a-z0-9._-]{0,12}", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(rc[0-9])?", fullmatch=True)


@settings(deadline=None)
@given(st.lists(st.tuples(names, versions, st.booleans()), min_size=1, max_size=6, unique_by=lambda one: one[0]))
def test_pairs_read_the_same_however_they_are_written(pairs):
    words = [
        word for name, version, joined in pairs for word in ([f"{name}=={version}"] if joined else [name, version])
    ]
    assert parse_targets(words) == tuple((name, version) for name, version, _ in pairs)


@settings(deadline=None)
@given(st.lists(st.text(max_size=8), max_size=5))
def test_any_words_give_pairs_or_a_mistake_and_nothing_else(words):
    with contextlib.suppress(UsageMistakeError):
        assert all(name and version for name, version in parse_targets(words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a"], "version for 'a' is missing"),
        (["a", "1", "b"], "version for 'b' is missing"),
        (["a", "b==2"], "version for 'a' is missing"),
        (["a>=2"], "range"),
        (["a~=2.0"], "range"),
        (["a==="], "not COMPONENT==VERSION"),
        (["==2"], "not COMPONENT==VERSION"),
        (["a==1", "a==2"], "named twice"),
        (["a", "./nowhere.whl"], "no file"),
    ],
)
def test_what_is_not_a_pair_is_refused_with_what_to_write(words, said):
    with pytest.raises(UsageMistakeError) as caught:
        parse_targets(words)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=5", 5),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a=null", None),
        ('a="5"', "5"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        ("a=True", "True"),
        ("a=[1,2]", [1, 2]),
        ("a=" + "[" * 100_000, "[" * 100_000),
    ],
)
def test_a_parameter_has_the_type_that_its_json_has_and_is_text_otherwise(word, value):
    assert parse_parameters([word]) == {"a": value}


def test_a_parameter_with_a_dot_is_for_a_plugin():
    assert parse_parameters(["acme.depth=2", "depth=3"]) == {"acme.depth": 2, "depth": 3}


@pytest.mark.parametrize(
    "words", [["a"], ["=1"], ["a.=1"], [".a=1"], ["a b=1"], ["a=1", "a=2"], ["a=NaN"], ["a=-Infinity"], ["a=1e999"]]
)
def test_a_parameter_that_could_not_be_used_is_refused(words):
    with pytest.raises(UsageMistakeError):
        parse_parameters(words)


def test_a_current_version_cannot_be_meant_for_two_components():
    with pytest.raises(UsageMistakeError):
        requests_of(["a==1", "b==2"], {"current": "1"})


def test_a_mechanism_that_is_said_twice_is_refused():
    with pytest.raises(UsageMistakeError, match="given twice"):
        requests_of(["a==1"], {"mechanism": "patch", "parameters": ["runtime.mechanism=generation"]})


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "soon"])
def test_a_time_limit_that_is_no_number_of_seconds_is_a_mistake_of_the_caller(seconds):
    from click.testing import CliRunner

    from noodle_upgrade_cli.main import cli

    answer = CliRunner().invoke(cli, ["upgrade", "lamp", "2.0", "--timeout", seconds, "--yes"])
    assert answer.exit_code == 2, answer.output
    assert "--timeout" in answer.output


def test_a_parameter_for_a_plugin_may_have_the_plugin_s_name_with_its_dash():
    assert parse_parameters(["no-fridays.veto=true"]) == {"no-fridays.veto": True}
