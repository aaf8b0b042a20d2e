import json
import sys

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner

from noodle_upgrade_core.errors import DriverUnknownError, InvalidRequestError
from noodle_upgrade_deployment.commands.simulate import simulate
from noodle_upgrade_deployment.simulation.plots import PlotsMissingError
from noodle_upgrade_deployment.simulation.recordings import RecordingError

QUICK = ("--runs", "6", "--processes", "1", "--rate", "50", "--set", "bake=20")


def said(*words):
    """Return what is printed, and raise what was raised."""
    ran = CliRunner().invoke(simulate, words, catch_exceptions=False, standalone_mode=False)
    return ran.stdout


def document(*words):
    return json.loads(said(*words, "--json"))


def test_it_prints_a_table_of_both_versions():
    printed = said(*QUICK)
    assert "gradual with betting over plain calls: 6 rollouts of each version, seed 1" in printed
    assert "good version" in printed
    assert "bad version" in printed
    assert "taken back as harmful" in printed


def test_with_json_there_is_one_document_and_the_same_seed_gives_the_same_one():
    one, same, other = (said(*QUICK, "--seed", seed, "--json") for seed in ("3", "3", "4"))
    assert one == same != other
    wire = json.loads(one)
    assert wire["subject"]["parameters"] == {"bake": 20}
    assert (wire["good"]["runs"], wire["bad"]["harm"]["of"]) == (6, 6)


def test_parameters_reach_the_strategy_and_the_judge():
    hasty = document(*QUICK, "--set", "percentage=100", "--set", "judge.failing=0.1", "--worse", "1")
    assert hasty["bad"] is None
    assert len(hasty["good"]["courses"][0]["shares"]) == 2
    with pytest.raises(InvalidRequestError, match="no parameter 'percentge'"):
        said(*QUICK, "--set", "percentge=5")
    with pytest.raises(InvalidRequestError, match="alpha"):
        said(*QUICK, "--set", "judge.alpha=7")


@pytest.mark.parametrize("word", ["bake", "=5", "a b=1", "judge.=1", "a=1e999", "bake=20"])
def test_what_is_no_parameter_is_refused(word):
    with pytest.raises(InvalidRequestError):
        said(*QUICK, "--set", word)


def test_every_strategy_and_judge_that_is_installed_is_known_by_its_name():
    assert document(*QUICK[:6], "--strategy", "canary", "--judge", "killswitch")["subject"]["strategy"] == "canary"
    with pytest.raises(DriverUnknownError, match="Did you mean 'canary'"):
        said("--strategy", "canry")


def test_a_fleet_is_simulated_and_its_worst_moment_told():
    wire = document(*QUICK, "--replicas", "20", "--surge", "0", "--unavailable", "0.2", "--strategy", "rolling")
    assert wire["good"]["capacity"] >= 0.8
    assert wire["subject"]["replicas"] == 20
    assert "capacity that was there at worst" in said(*QUICK, "--replicas", "20")


def calls(tmp_path):
    path = tmp_path / "calls.csv"
    rows = [f"{at / 20},0.01,{'true' if at % 97 == 0 else 'false'}" for at in range(20_000)]
    path.write_text("\n".join(["at,seconds,error", *rows]))
    return path


def test_recorded_calls_are_replayed(tmp_path):
    words = ("--runs", "4", "--processes", "1", "--set", "bake=60", "--worse", "8", "--replay", str(calls(tmp_path)))
    wire = document(*words)
    assert wire["subject"]["calls"] == "calls.csv"
    assert wire["good"]["harm"]["hits"] == 0
    assert wire["bad"]["harm"]["hits"] >= 3


def test_what_is_no_recording_is_refused_before_anything_is_simulated(tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text("at,seconds,error\n1,2,perhaps\n")
    with pytest.raises(RecordingError, match="Line 2"):
        said("--replay", str(path))


@pytest.mark.parametrize(
    "words",
    [
        ("--replay", "x.csv", "--rate", "5"),
        ("--replay", "x.csv", "--model", "drift"),
        ("--recorded-version", "2"),
        ("--domains", "2"),
        ("--replicas", "5", "--users", "9"),
        ("--model", "nice"),
        ("--runs", "0"),
    ],
)
def test_what_means_nothing_together_is_wrong_usage(words):
    assert CliRunner().invoke(simulate, words).exit_code == 2


def test_a_picture_is_refused_before_the_simulation_where_it_could_not_be_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidRequestError, match="PNG or an SVG"):
        said(*QUICK, "--plot", str(tmp_path / "a.pdf"))
    with pytest.raises(InvalidRequestError, match="no folder"):
        said(*QUICK, "--plot", str(tmp_path / "none" / "a.svg"))
    with pytest.raises(PlotsMissingError) as missing:
        said(*QUICK, "--plot", str(tmp_path / "a.svg"))
    assert "pip install 'noodle-upgrade-deployment[plots]'" in missing.value.hint


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_a_picture_is_drawn_and_the_same_simulation_draws_the_same(tmp_path, name, magic):
    pytest.importorskip("matplotlib")
    first, second = tmp_path / name, tmp_path / f"again-{name}"
    for path in (first, second):
        said(*QUICK, "--plot", str(path))
    assert first.read_bytes().startswith(magic)
    assert first.read_bytes() == second.read_bytes()
    if name.endswith("SVG"):
        text = first.read_text()
        for words in (
            "time (min)",
            "share of calls (%)",
            "time to detect (min)",
            "evidence (1 = harm)",
            "good version",
        ):
            assert words in text


def test_a_judge_that_tells_no_way_to_harm_is_drawn_without_one(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "a.svg"
    said(*QUICK, "--judge", "killswitch", "--plot", str(path))
    assert "does not say how far it is to harm" in path.read_text()
