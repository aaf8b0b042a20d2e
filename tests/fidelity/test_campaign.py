"""The whole harness, on a package of two versions that is made up here, in an environment that is put together here."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fidelity import campaign as campaigns
from fidelity.campaign import Campaign, Wanted
from fidelity.cases import Case
from fidelity.environments import Environment, put_ours, version_of
from fidelity.rows import Row

from .made_up import written

SHOP = """
import threading

LIMIT = 10
REGISTRY = {{"plain": str}}

class Counting:
    made = 0
    def __init__(self):
        Counting.made += 1

class Talking:
    def __init__(self):
        self.thread = threading.Thread(target=self.wait, daemon=True)
        self.thread.start()
    def wait(self):
        threading.Event().wait()

class Source:
    def __init__(self, given):
        self.given = given
    def __getattr__(self, name):
        return getattr(self.given, name)

class Row:
    __slots__ = ("words",)
    def __init__(self, words):
        self.words = words
    def text(self):
        return "{mark}".join(self.words)

def greet(name="you"):
    return "{word} " + name
"""
TESTS = """
import sys
import pytest
import gizmo

def test_alone():
    {alone}

def test_greet():
    assert gizmo.greet() == "{word} you"

def test_row():
    assert gizmo.Row(["a", "b"]).text() == "a{mark}b"

def test_registry():
    assert gizmo.REGISTRY["plain"] is str

def test_here_only():
    from gizmo import {only}

@pytest.mark.unheard_of
def test_broken():
    assert False
"""
SETTINGS = """
[tool:pytest]
addopts = -p no_such_plugin_anywhere --strict-markers --no-such-option
filterwarnings = error
"""
VERSIONS = {
    "1.0": {"word": "hello", "mark": ", ", "only": "earlier", "alone": "assert not hasattr(sys, 'gizmo_was_here')"},
    "2.0": {"word": "good day", "mark": "; ", "only": "later", "alone": "sys.gizmo_was_here = True"},
}
CASE = Case(package="Gizmo", import_name="gizmo", old="1.0", new="2.0")
Run = Callable[..., tuple[Row, dict[str, Any]]]


def placed(folder: Path, version: str, more: str) -> Path:
    """Install a version, as pip would."""
    values = VERSIONS[version]
    return written(
        folder,
        {
            "gizmo/__init__.py": SHOP.format(**values) + more,
            f"gizmo/{values['only']}.py": "",
            f"gizmo-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: gizmo\nVersion: {version}\n",
            f"gizmo-{version}.dist-info/RECORD": f"gizmo/__init__.py,,\ngizmo/{values['only']}.py,,\n",
        },
    )


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_ours(tmp_path_factory.mktemp("ours"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: Path) -> Run:
    """Return what runs a campaign: `new` is more code of the new version, `broken` is code that the engine ends with."""

    def go(
        *, case: Case = CASE, new: str = "", broken: str = "", tests: str = TESTS, keep: bool = False
    ) -> tuple[Row, dict[str, Any]]:
        folder = tmp_path / "installed"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        site = next((folder / "venv").glob("lib/python*/site-packages"))
        engine = tmp_path / "broken" if broken else ours
        # In place of an index: what this interpreter has; ours may be installed there too.
        (site / "here.pth").write_text(f"{engine}\n{sysconfig.get_paths()['purelib']}\n")
        environment = Environment(
            python=folder / "venv" / "bin" / "python", version=version_of(sys.executable), folder=folder,
            site=placed(site, "1.0", ""), tree=placed(folder / "new", "2.0", new),
            sdists=tuple(
                written(tmp_path / f"gizmo-{one}", {"tests/test_gizmo.py": tests.format(**VERSIONS[one]),
                                                    "setup.cfg": SETTINGS})
                for one in ("1.0", "2.0")
            ),
        )  # fmt: skip
        monkeypatch.setattr(campaigns, "prepare", lambda *_, **__: environment)
        if broken:
            subprocess.run(["cp", "-r", str(ours), str(engine)], check=True)
            with (engine / "noodle_upgrade_runtime" / "swap.py").open("a") as file:
                file.write(broken)
        wanted = Wanted(mechanism="patch", root=tmp_path, ours=engine, limit=120.0, keep=keep, say=lambda _: None)
        row = Campaign(case, sys.executable, environment.version, wanted).run()
        return row, json.loads((tmp_path / f"gizmo-{environment.version}.json").read_text())

    return go


def test_a_case_that_goes_well_is_whole(run: Run, tmp_path: Path) -> None:
    others = written(tmp_path / "installed" / "work-of-another-run", {"job.json": "{}"})
    row, details = run()
    assert (row.verdict, row.missed()) == ("live", []), details
    assert (row.fresh_passed, row.live_passed, row.rollback_fresh_passed, row.rollback_live_passed) == (5, 5, 4, 4)
    assert row.held_right > 300
    assert row.state_kept == 8
    assert details["new_suite"]["failing_fresh_too"] == 1
    # A test of the old suite that cannot come after the new one, with or without an upgrade, is nobody's.
    assert details["old_suite"]["lost_without_an_upgrade_too"] == ["tests/test_gizmo.py::test_alone"]
    # What looks count by themselves is told, and is no difference.
    assert [word.partition(":")[0] for word in details["restless"]] == ["type gizmo.Counting / made"]
    assert {one.name for one in (tmp_path / "installed").iterdir()} == {"venv", "new", "work-of-another-run"}
    assert (others / "job.json").is_file()


LOSES = """
_commit, _revert, _kept = RuntimeSwap.commit, RuntimeSwap.revert, []

def commit(self):
    _commit(self)
    import gizmo
    gizmo.REGISTRY.pop("noodle_user", None)
    _kept.append(gizmo.Row.text)
    gizmo.Row.text = lambda self: "wrong"

def revert(self):
    import gizmo
    gizmo.Row.text = _kept.pop()
    _revert(self)

RuntimeSwap.commit, RuntimeSwap.revert = commit, revert
"""


def test_an_upgrade_that_does_wrong_is_found_out(run: Run, tmp_path: Path) -> None:
    row, details = run(broken=LOSES, keep=True)
    assert details["new_suite"]["lost"] == {"tests/test_gizmo.py::test_row": "failed"}
    assert {"gizmo:Row|shape", "gizmo:Row|super().text"} <= set(details["held"]["wrong"]["after the upgrade"])
    assert details["state"]["lost"]["after the upgrade"] == ["gizmo:REGISTRY"]
    assert [word.partition(" ")[0] for word in row.missed()] == [
        "suite",
        "held_wrong",
        "state_lost",
        "undo_differences",
    ]
    assert list((tmp_path / "installed").glob("work-*/live/output.txt")), "it was to be kept"


LEAVES = """
_revert = RuntimeSwap.revert

def revert(self):
    _revert(self)
    import sys
    import gizmo
    sys.gizmo_was_here = True
    gizmo.Counting.made = 0
    gizmo.late = 1
    gizmo.greet = lambda name="you": "wrong"

RuntimeSwap.revert = revert
"""


def test_an_undo_that_does_wrong_is_found_out(run: Run) -> None:
    row, details = run(broken=LEAVES)
    # A rollback is not excused for what the new suite would have done as well.
    lost = {f"tests/test_gizmo.py::test_{name}": "failed" for name in ("alone", "greet")}
    assert details["old_suite"]["lost"] == details["old_suite"]["lost_without_the_new_suite_before"] == lost
    assert "lost_without_an_upgrade_too" not in details["old_suite"]
    told = " ".join(details["differences"])
    assert "type gizmo.Counting / made" in told, "a counter that looks count up can still be lost by an undo"
    assert "module gizmo / late: (absent)" in told
    assert "module gizmo / greet" in told
    assert row.undo_differences >= 3
    assert row.missed()[0] == "old suite after rollback 3 of 5"


SLOTS = """
class Row:
    __slots__ = ("words", "more")
    def __init__(self, words):
        self.words, self.more = words, None
    def text(self):
        return "; ".join(self.words)
"""


def test_a_class_of_which_no_instances_live_is_no_reason_to_refuse(run: Run) -> None:
    row, _ = run(new=SLOTS)
    assert row.verdict.startswith("refused")
    assert "gizmo.Row" in row.verdict


def test_such_a_class_is_named_in_the_case(run: Run) -> None:
    case = Case(package="Gizmo", import_name="gizmo", old="1.0", new="2.0", without_instances=("gizmo.Row",))
    row, details = run(new=SLOTS, case=case)
    assert row.verdict == "live", details
    assert row.live_passed == row.fresh_passed == 5


def test_a_class_that_neither_version_has_is_an_error(run: Run) -> None:
    case = Case(package="Gizmo", import_name="gizmo", old="1.0", new="2.0", without_instances=("gizmo.Rwo",))
    row, _ = run(case=case)
    assert row.verdict == "error: without_instances: neither version has gizmo.Rwo"


def test_a_package_that_the_engine_uses_itself_is_the_new_one_in_the_control(run: Run) -> None:
    row, details = run(broken="\nimport gizmo\n")
    assert (row.verdict, row.missed()) == ("live", []), details


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("", "it has none"),
    ],
)
def test_a_suite_that_does_not_run_says_why(run: Run, tests: str, why: str) -> None:
    row, _ = run(tests=tests)
    assert row.verdict == f"error: no test of the new suite passes in a fresh process: {why}"
