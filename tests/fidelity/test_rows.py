from __future__ import annotations

import re
from typing import Any

import pytest
from fidelity.__main__ import told
from fidelity.holds import compare_held
from fidelity.rows import Row, as_table

GOOD: dict[str, Any] = {
    "package": "gizmo", "old": "1.0", "new": "2.0", "python": "3.11.7", "mechanism": "patch", "verdict": "live",
    "fresh_passed": 10, "live_passed": 10, "rollback_fresh_passed": 9, "rollback_live_passed": 9,
    "held_right": 100, "held_wrong": 0, "state_kept": 5, "state_lost": 0, "undo_differences": 0,
    "swap_ms": 1.0, "commit_us": 2.0,
}  # fmt: skip


def test_a_row_that_reaches_its_targets_missed_nothing() -> None:
    assert Row(**GOOD).missed() == []


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"live_passed": 9}, "suite 9 of 10"),
        ({"fresh_passed": 0, "live_passed": 0}, "suite 0 of 0"),
        ({"fresh_passed": None, "live_passed": None}, "suite None of None"),
        ({"rollback_live_passed": 8}, "old suite after rollback 8 of 9"),
        ({"held_wrong": 1}, "held_wrong 1"),
        ({"held_wrong": None}, "held_wrong None"),
        ({"state_lost": 2}, "state_lost 2"),
        ({"undo_differences": 3}, "undo_differences 3"),
        ({"generation_passed": 9}, "generation 90.0%"),
        ({"generation_passed": 10, "wrong_in_canary": 4}, "4 wrong in the canary"),
        ({"verdict": "error: no tests"}, "error: no tests"),
    ],
)
def test_a_target_that_is_missed_is_named(values: dict[str, Any], word: str) -> None:
    row = Row(**{**GOOD, **values})
    assert row.missed() == [word]
    assert told([row]) == 1


def test_generation_alone_does_not_ask_for_what_patch_measures() -> None:
    row = Row(**{**GOOD, "mechanism": "generation", "live_passed": None, "held_wrong": None, "generation_passed": 10})
    assert row.missed() == []


def test_a_refusal_misses_nothing_but_too_many_do(capsys: pytest.CaptureFixture[str]) -> None:
    refused = Row(**{**GOOD, "verdict": "refused: live instances"})
    assert refused.missed() == []
    assert told([*[Row(**GOOD)] * 11, refused]) == 0
    assert told([*[Row(**GOOD)] * 10, refused]) == 1
    assert "refused 1 of 11" in capsys.readouterr().out


def test_the_file_has_the_names_that_it_was_asked_for() -> None:
    row = Row(**GOOD).to_json()
    assert (row["from"], row["to"]) == ("1.0", "2.0")
    assert not {"old", "new", "wrong_in_canary"} & set(row)


def test_the_table_says_what_is_wrong() -> None:
    shown = as_table([Row(**GOOD), Row(**{**GOOD, "held_wrong": 7})]).splitlines()
    assert re.search(r"10/10 +9/9 +100 +5 +0 .* ok$", shown[1])
    assert re.search(r"100, 7 WRONG .* MISSED$", shown[2])


# --- what is held ----------------------------------------------------------------------------------------------------


def test_references_are_right_wrong_or_gone() -> None:
    found = compare_held({"a": [1], "b": [2]}, {"a": [1], "b": [3], "c": [4]})
    assert (found.right, found.gone) == (1, 1)
    assert found.wrong == {"b": {"wanted": [2], "found": [3]}}


def test_of_two_shapes_only_what_differs_is_told() -> None:
    found = compare_held({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "z": 3}})
    assert found.wrong == {"a": {"y": {"wanted": 2, "found": None}, "z": {"wanted": None, "found": 3}}}


def test_an_instance_may_have_more_fields_than_the_other_version_gives_and_no_fewer() -> None:
    control = {"a": {"subset": ["x", "y"]}}
    assert compare_held(control, {"a": {"subset": ["x", "y", "z"]}}).right == 1
    assert compare_held(control, {"a": {"subset": ["x", "z"]}}).wrong
