"""Rows that are worked on beside one another, and what a campaign that is stopped leaves behind."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen
from fidelity import processes
from fidelity.__main__ import carried_out, parsed
from fidelity.environments import Environment, version_of
from fidelity.processes import Launcher, StoppedError


@frozen
class Doing:
    """Stands for a campaign: `run` is all that is asked of one."""

    run: Callable[[], object]


def test_as_many_rows_as_wanted_are_worked_on_at_once_and_each_is_told_with_its_place() -> None:
    both = threading.Barrier(2, timeout=20)
    rows = dict(carried_out([Doing(lambda: (both.wait(), "one")[1]), Doing(lambda: (both.wait(), "two")[1])], 2))
    assert rows == {0: "one", 1: "two"}


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_a_number_of_rows_at_once_that_cannot_be_is_an_error(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(["--jobs", jobs])
    assert "--jobs" in capsys.readouterr().err


def test_a_campaign_that_is_stopped_ends_what_its_suites_have_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_stopped", threading.Event())
    monkeypatch.setattr(processes, "_START", SLEEPS)
    here = Environment(
        python=Path(sys.executable), version=version_of(sys.executable), folder=tmp_path, site=tmp_path,
        tree=tmp_path, sdists=(tmp_path, tmp_path),
    )  # fmt: skip
    launcher = Launcher(environment=here, ours=tmp_path, work=tmp_path / "work", limit=60.0)
    outcomes: list[BaseException] = []

    def run() -> None:
        try:
            launcher.run("one")
        except StoppedError as stopped:
            outcomes.append(stopped)
            raise

    def quick() -> str:
        until = time.monotonic() + 20
        while not (tmp_path / "work" / "one" / "children").exists() and time.monotonic() < until:
            time.sleep(0.01)
        return "quick"

    for _, row in carried_out([Doing(run), Doing(quick)], 2):
        assert row == "quick"
        children = (tmp_path / "work" / "one" / "children").read_text().split()
        break
    assert len(outcomes) == 1
    assert len(children) == 2
    assert not any(_lives(int(pid)) for pid in children)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


SLEEPS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with open("beside", "w") as file:
    file.write(str(os.getpid()) + " " + str(child.pid))
os.rename("beside", "children")
time.sleep(60)
"""
