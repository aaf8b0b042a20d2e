"""A strategy of somebody else: built, installed with nothing but what it declares, tested, and used."""

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import installing
from programs import Clients, Program, noodle

PROJECT = installing.ROOT / "docs" / "how-to" / "careful-strategy"
GREETING, OLD, NEW = "acme-greeting", "1.0", "2.0"

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def alone(ours, tmp_path_factory):
    """An environment with the strategy's wheel, what that declares, and the tools of its tests."""
    made = installing.Environment(tmp_path_factory.mktemp("acme") / "environment", ours)
    # Not in the repository: its own configuration of pytest must not reach somebody else's tests, nor the build the tree.
    made.project = shutil.copytree(PROJECT, tmp_path_factory.mktemp("acme-upgrades") / "acme-upgrades")
    made.install(installing.wheel_of(made.project, tmp_path_factory.mktemp("acme-wheel")), "pytest>=8", "hypothesis")
    return made


@pytest.fixture(scope="module")
def complete(alone):
    """The same environment once the rest of the project was installed beside it."""
    alone.install(*(name for name in installing.DISTRIBUTIONS if name != "noodle-upgrade-core"))
    return alone


def test_its_own_tests_pass_with_only_what_its_wheel_declares(alone):
    ran = alone.run("-m", "pytest", "tests", "-rA", cwd=alone.project)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # Its five lines run every rule that the kit has for a strategy.
    kit = "from noodle_upgrade_core.testing import *; print(*conformance_checks_of_strategy(object))"
    rules = alone.run("-c", kit, cwd=alone.project).stdout.split()
    assert len(rules) > 3
    assert [
        rule for rule in rules if f"PASSED tests/test_careful.py::test_each_rule_by_name[{rule}]" not in ran.stdout
    ] == []
    tested = alone.run("-c", "import acme_upgrades; print(acme_upgrades.__file__)", cwd=alone.project).stdout
    assert tested.startswith(str(alone.folder)), "it is the wheel that was tested"


def ask(env, folder, *words):
    """Return what a command says that must succeed."""
    ran = noodle(*words, "--json", cwd=folder, python=env.python)
    assert ran.code == 0, ran
    return ran.json


def test_the_list_of_plugins_shows_it_with_where_it_comes_from(complete, tmp_path):
    (listed,) = (
        row for row in ask(complete, tmp_path, "plugins", "list")["drivers"]["strategies"] if row["name"] == "careful"
    )
    assert (listed["distribution"], listed["version"]) == ("acme-upgrades", "1.0.0")
    assert listed["value"] == "acme_upgrades:Careful"


def test_a_stack_with_it_loads_and_fits(complete, tmp_path):
    (tmp_path / "noodle.toml").write_text('[stack]\nplugins = ["runtime"]\nstrategy = "careful"\n')
    checked = ask(complete, tmp_path, "stack", "check", "noodle.toml")
    assert "acme-upgrades" in json.dumps(checked)


@pytest.mark.parametrize("words", [("info", "careful"), ("doctor",)], ids=" ".join)
def test_the_commands_that_load_plugins_say_what_became_of_it(complete, tmp_path, words):
    assert "acme_upgrades:Careful" in json.dumps(ask(complete, tmp_path, "plugins", *words))


@pytest.fixture(scope="module")
def program(complete, place, config):
    """A service of two versions side by side, in that environment."""
    folder, env = place("careful")
    with Program(folder, "shares:app", config=config, env=env, python=complete.python) as running:
        yield running


def test_a_real_upgrade_goes_by_its_steps_and_the_way_back_works(program):
    with Clients(program.port) as clients:
        words = [
            "upgrade",
            GREETING,
            NEW,
            "--strategy",
            "careful",
            "--set",
            "bake=30",
            "--set",
            "judge.calls=10",
            "--yes",
            "--json",
        ]
        ran = program.noodle(*words)
        assert (ran.code, ran.json["result"]["success"]) == (0, True), ran
        steps = [step for step in ran.json["result"]["operations"] if step.startswith(("shift", "judge"))]
        judged = "judge until safe, at most 30 s"
        assert steps == ["shift to 5%", judged, "shift to 25%", judged, "shift to 100%", judged]
        assert program.versions()[GREETING] == NEW
        assert program.noodle("rollback", GREETING, "--yes").code == 0
        assert program.versions()[GREETING] == OLD
        assert clients.take().failures == []


def test_without_traffic_the_new_version_is_not_shown_to_be_safe_and_the_old_one_comes_back(program):
    ran = program.noodle("upgrade", GREETING, NEW, "--strategy", "careful", "--set", "bake=0.2", "--yes", "--json")
    assert ran.code == 1, ran
    assert "the new version has had no calls yet" in ran.json["error"]["message"]
    assert program.versions()[GREETING] == OLD
