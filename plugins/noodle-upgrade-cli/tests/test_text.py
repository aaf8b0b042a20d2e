from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from noodle_upgrade_cli.display import error_view, result_view
from noodle_upgrade_cli.output import grid
from noodle_upgrade_cli.text import clean, clean_lines, milliseconds, seconds, span, when


@settings(deadline=None)
@given(st.text())
def test_nothing_that_moves_the_cursor_or_hides_a_word_survives(text):
    shown = clean(text)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    shown.encode("utf-8")


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), max_size=100))
def test_ordinary_text_stays_as_it_is(text):
    assert clean(text) == text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb", "a\\rb"),
        ("one\ntwo", "one two"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\udc80", "\\udc80"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_a_hostile_name_is_shown_escaped(hostile, shown):
    assert clean(hostile) == shown


def test_a_very_long_text_is_cut_and_says_so():
    assert len(clean("x" * 1_000_000)) < 5000
    assert "more characters" in clean("x" * 5000)
    assert len(clean_lines("x\n" * 1_000_000)) <= 20_000


def test_markup_in_a_name_is_text_and_no_style():
    stream = io.StringIO()
    Console(file=stream, width=80).print(grid(["Name"], [["[red]not red[/red] [link=http://x]y[/link]"]]))
    assert "[red]not red[/red] [link=http://x]y[/link]" in stream.getvalue()


def test_numbers_and_times_that_are_missing_or_wrong_are_a_dash_or_left_alone():
    assert [milliseconds(None), milliseconds(True), milliseconds("1"), seconds(None)] == ["-"] * 4
    assert [milliseconds(0.25), milliseconds(1500), seconds(0.5)] == ["0.25 ms", "1.5 s", "500 ms"]
    assert span("2031-01-01T00:00:00+00:00", "nonsense") is None
    assert span("2031-01-01T00:00:00+00:00", None) is None
    assert span("2031-01-01T00:00:00+00:00", "2031-01-01T00:00:01") is None
    assert span("2031-01-01T00:00:00+00:00", "2031-01-01T00:00:02+00:00") == 2.0
    assert when(None) == "-"
    assert when("2031-05-04T10:20:30.123456+00:00") == "2031-05-04 10:20:30Z"
    assert when("2031-05-04T10:20:30+02:00") == "2031-05-04 10:20:30+02:00"


def printed(view):
    out = io.StringIO()
    Console(file=out, width=100).print(view)
    return out.getvalue()


def test_where_the_code_of_a_version_failed_is_shown_with_the_error():
    said = printed(
        error_view({"message": "It failed", "details": {"traceback": "Traceback:\n  File x\nKeyError: 1\n"}})
    )
    assert "KeyError: 1" in said
    assert "trace" not in printed(error_view({"message": "It failed"}))


def test_steps_that_repeat_are_shown_once_with_how_often():
    said = printed(result_view({"result": {"component_name": "a", "operations": ["look", "look", "end", "look"]}}))
    assert "look (2 times); end; look" in said
