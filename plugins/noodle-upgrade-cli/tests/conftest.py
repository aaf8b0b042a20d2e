from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from control_program import STARTED, Program, Served, serving

from noodle_upgrade_cli.main import execute


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def noodle(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    """Run the command line in this process, in an empty directory and without the caller's variables."""
    for name in [name for name in os.environ if name.startswith("NOODLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: str | Path) -> Ran:
        capsys.readouterr()
        code = execute([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One real server for all tests that need nothing but a program to talk to."""
    with serving(Program(), tmp_path_factory.mktemp("control")) as served:
        yield served


@pytest.fixture
def program(tmp_path: Path, served: Served) -> Iterator[Program]:
    """A running program whose state directory is ./.noodle."""
    directory = tmp_path / ".noodle"
    directory.mkdir()
    pointer = {"socket": str(served.directory / "control.sock"), "pid": os.getpid(), "started_at": STARTED}
    (directory / "control.json").write_text(json.dumps(pointer))
    served.program = Program()
    yield served.program
    served.program.hang_up()
