from __future__ import annotations

import json
import types
from pathlib import Path

import pytest
from fidelity.inside import testing
from fidelity.outcomes import by_file, compared, masked, read_outcomes


def read(tmp_path: Path, *lines: tuple[str, str]) -> dict[str, str]:
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_outcomes(path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("t.py::test[<A at 0x7f12ab34>]", "t.py::test[<A at 0x55aa0011ff>]"),
        ("t.py::test[2024-01-02 03:04:05.6]", "t.py::test[2026-11-26T15:00]"),
        ("t.py::test[/tmp/a/b/c/data.txt]", "t.py::test[/home/x/y/z/data.txt]"),
        ("t.py::test[pytest-of-me/pytest-3]", "t.py::test[pytest-of-me/pytest-12]"),
    ],
)
def test_what_differs_between_two_runs_of_the_same_is_masked(one: str, other: str) -> None:
    assert masked(one) == masked(other)


def test_what_tells_two_tests_apart_is_not_masked() -> None:
    assert len({masked(f"t.py::test[{word}]") for word in ("0x1f", "0x2f", "a/b", "a/c", "2024-01-02", "1.5")}) == 6


def test_tests_of_one_masked_name_are_numbered_and_each_counts(tmp_path: Path) -> None:
    found = read(tmp_path, ("t[0xaaaa1]", "passed"), ("t[0xaaaa2]", "failed"), ("t[0xaaaa3]", "passed"))
    assert list(found.values()) == ["passed", "failed", "passed"]
    assert compared([found], {**found, "t[0x]#3": "failed"}).lost == {"t[0x]#3": "failed"}


def test_a_teardown_that_fails_makes_the_test_fail_and_nothing_makes_it_pass_again(tmp_path: Path) -> None:
    found = read(tmp_path, ("t", "passed"), ("t", "error"), ("t", "passed"), ("u", "failed"), ("u", "passed"))
    assert found == {"t": "error", "u": "failed"}


def test_a_run_that_left_nothing_has_no_outcomes(tmp_path: Path) -> None:
    assert read_outcomes(tmp_path / "nowhere.jsonl") == {}


def test_a_test_that_passes_fresh_and_not_live_is_lost() -> None:
    fresh = {"a": "passed", "b": "passed", "c": "passed", "d": "failed", "e": "skipped", "f": "xfailed"}
    parity = compared([fresh, fresh], {"a": "passed", "b": "failed", "d": "passed", "e": "skipped"})
    assert (parity.fresh, parity.live, parity.failing) == (3, 1, 1)
    assert parity.lost == {"b": "failed", "c": "not run"}


def test_what_fresh_runs_do_not_agree_on_counts_for_nobody() -> None:
    parity = compared([{"a": "passed", "b": "passed"}, {"a": "passed", "b": "failed", "c": "passed"}], {"a": "passed"})
    assert (parity.fresh, parity.live, parity.lost, parity.flaky) == (1, 1, {}, ("b", "c"))


def test_what_only_the_live_run_has_does_not_help_it() -> None:
    parity = compared([{"a": "passed"}], {"b": "passed"})
    assert (parity.fresh, parity.live) == (1, 0)


def test_tests_that_were_moved_are_compared_by_file() -> None:
    assert by_file({"pkg/tests/t.py::test[a/b]": "passed"}) == {"t.py::test[a/b]": "passed"}


@pytest.mark.parametrize(
    ("name", "file", "told"),
    [
        ("::TestDer::test_one", "../venv/site-packages/ecdsa/test_der.py", "test_der.py::TestDer::test_one"),
        ("tests/test_der.py::test_one", "tests/test_der.py", "tests/test_der.py::test_one"),
    ],
)
def test_a_test_that_lies_in_the_package_is_named_with_its_file(name: str, file: str, told: str) -> None:
    assert testing._name_of(types.SimpleNamespace(nodeid=name, location=(file, 1, "test"))) == told
