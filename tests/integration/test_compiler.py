"""The compiler as a daemon: asked by the real command, and upgraded while it is."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from programs import environment, noodle, until

PROGRAM = 'import "sums" as sums;\nprint(sums.total([1, 2, 3]));\n'
SUMS = "def total(values) { let s = 0; for v in values { s = s + v; } return s; }\n"


class Daemon:
    """`noodle compile --daemon`, in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.env = environment()
        self.log = folder / "daemon.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "noodle_upgrade_cli", "compile", "--daemon"], cwd=folder, env=self.env,
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        until(lambda: self.noodle("status").code == 0, self.log.read_text)

    def noodle(self, *words):
        return noodle(*words, cwd=self.folder, env=self.env)

    def compile(self, *places):
        return json.loads(self.noodle("compile", "--remote", "--json", *places).out)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def daemon(tmp_path):
    (tmp_path / "main.noodle").write_text(PROGRAM)
    (tmp_path / "sums.noodle").write_text(SUMS)
    (tmp_path / "hex.noodle").write_text("print(0xff);\n")
    made = Daemon(tmp_path)
    yield made
    made.stop()


def test_a_daemon_is_upgraded_live_and_every_answer_is_of_one_version(daemon):
    over, answers = threading.Event(), []

    def ask():
        while not over.is_set():
            answers.append(daemon.compile("main.noodle", "sums.noodle"))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    until(lambda: len(answers) >= 3, "answers")
    assert not daemon.compile("hex.noodle")["success"]
    done = daemon.noodle("upgrade", "lexer", "1.1.0", "--strategy", "immediate", "--level", "normal", "--yes", "--json")
    assert done.code == 0, done
    assert daemon.compile("hex.noodle")["success"]
    seen = len(answers)
    until(lambda: len(answers) >= seen + 3, "answers by the new version")
    assert daemon.noodle("rollback", "lexer", "--yes", "--json").code == 0
    assert not daemon.compile("hex.noodle")["success"]
    over.set()
    for client in clients:
        client.join(60)
    versions = set()
    for answer in answers:
        assert answer["success"], answer
        versions |= {tuple(file["component_versions"].values()) for file in answer["files"]}
    assert versions == {("1.0.0",) * 4, ("1.1.0", "1.0.0", "1.0.0", "1.0.0")}


def test_errors_come_back_with_their_places(daemon):
    (daemon.folder / "wrong.noodle").write_text("let x = ;\n")
    ran = daemon.noodle("compile", "--remote", "wrong.noodle")
    assert ran.code == 1
    assert "1 | let x = ;\n  |         ^" in ran.out
    assert daemon.noodle("compile", "--remote", "nowhere").code != 0


def test_a_program_of_several_files_runs_under_noodle_run(daemon):
    ran = noodle("run", "--state", "another", "main.noodle", cwd=daemon.folder, env=daemon.env)
    assert (ran.code, ran.out) == (0, "6\n"), ran
