"""A sample of the kills of deployments, and some of the planted bugs; `python -m killed` does the whole of both."""

import json

import pytest
from killed.bugs import BUGS
from killed.matrix import campaign, hunt, main
from killed.orders import NEXT, disorder
from killed.stories import ENDS, STORIES

from noodle_upgrade_core.model import now
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeEvent, Stage

pytestmark = [
    pytest.mark.crash,
    # Other tests of the session may have left threads that wait; the children do not need them.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

QUICK = (
    "that it was called off is not written",
    "what is to be given up is begun anew",
    "an end is told before it is written",
)


def test_a_deployment_that_is_killed_anywhere_is_resumed_or_rolled_back_and_never_both():
    kills, violations = campaign(16, seed=1, stories=("baking", "harmful", "superseded"))
    assert violations == []
    assert kills >= 16


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name in QUICK], ids=lambda bug: bug.name)
def test_the_matrix_catches_a_planted_bug(bug):
    assert hunt(bug, most=60, seed=3) != ""


def test_the_report_says_how_much_was_killed_and_what_was_missed(tmp_path, monkeypatch, capsys):
    harmless = type(BUGS[0])("nothing is wrong", lambda _: None, ("aborted_at_once",))
    monkeypatch.setattr("killed.matrix.BUGS", (harmless,))
    monkeypatch.setattr("killed.matrix.campaign", lambda kills, **_: campaign(kills, stories=("aborted_at_once",)))
    report = tmp_path / "build" / "killed.json"
    assert main(2, seed=2, bug_kills=2, report=report) == 1
    written = json.loads(report.read_text())
    assert (written["violations"], written["planted"], written["caught"]) == (0, 1, 0)
    assert written["kills"] >= 2
    assert "not caught: nothing is wrong" in capsys.readouterr().out


def test_every_stage_has_its_place_in_the_order_and_nothing_comes_after_an_end():
    assert set(NEXT) == set(Stage)
    assert all((NEXT[stage] == frozenset()) is stage.ended for stage in Stage)


@pytest.mark.parametrize(
    ("stages", "who"),
    [
        (["preparing"], "core"),
        (["queued", "running"], "core"),
        (["queued", "preparing", "succeeded"], "core"),
        (["queued", "succeeded"], "recovery"),
        (["queued", "rolled_back", "queued"], "recovery"),
        (["queued"], ""),
    ],
)
def test_an_order_that_makes_no_sense_is_seen(stages, who):
    events = [
        DeploymentUpgradeEvent(sequence=number, deployment_id="a", at=now(), stage=stage, who=who, why="so")
        for number, stage in enumerate(stages)
    ]
    assert list(disorder(events)) != []


def test_there_are_planted_bugs_enough_and_each_has_a_name_of_its_own_and_stories_that_there_are():
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 12
    assert {story for bug in BUGS for story in bug.stories} <= set(STORIES) == set(ENDS)
