"""A sample of the kill matrix, and some of the planted bugs; `python -m tests.crash` does the whole of both."""

import json

import pytest

from .bugs import BUGS
from .matrix import FAILED, campaign, hunt, main
from .scenarios import SCENARIOS

pytestmark = [
    pytest.mark.crash,
    # Other tests of the session may have left threads that wait; the children do not need them.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

QUICK = (
    "traffic moves before the intent is written",
    "the commit is acknowledged before it is written",
    "the commit has no audit row",
    "that a soak ended well rides",
    "a checkpoint that fails is told as a commit that failed",
    "what the commit replaced is not kept",
    "an old fencing number is accepted",
    "recovery takes the intent for the commit",
    "a document is written before its audit row",
)


def test_no_kill_anywhere_breaks_an_invariant_or_a_promise():
    kills, violations = campaign(60, seed=1)
    assert violations == []
    assert kills >= 60


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name in QUICK], ids=lambda bug: bug.name)
def test_the_matrix_catches_a_planted_bug(bug):
    assert hunt(bug, most=150) != ""


def test_the_report_says_how_much_was_killed_and_what_was_caught(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tests.crash.matrix.BUGS", BUGS[-1:])
    report = tmp_path / "build" / "crash.json"
    assert main(5, seed=2, bug_kills=150, report=report) == 0
    written = json.loads(report.read_text())
    assert written["kills"] >= 5
    assert (written["violations"], written["planted"], written["caught"]) == (0, 1, 1)
    assert "violations=0" in capsys.readouterr().out


def test_there_are_planted_bugs_enough_and_each_has_a_name_of_its_own():
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 15
    assert len(SCENARIOS) == 9
    assert FAILED
