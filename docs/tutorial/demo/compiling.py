"""The compile daemon: its phases are upgraded while clients have it compile, and every output is compared.

Every second file is a new one, so that the phases really run. Afterwards each set of versions compiles the same files
in a process of its own: an answer whose output is not that of the versions that it names is torn.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pathlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import httpx
from hosting import Program, noodle, said, tell

SOURCE = """\
# A part of a program, number {number}.
let scale = {number};

def twice(x) {{ return x * 2; }}

def total(values: list[int]) -> int {{
    let sum = 0;
    for value in values {{
        if value > 2 + 3 {{ sum = sum + twice(value) * scale; }} else {{ sum = sum - value; }}
    }}
    return sum;
}}

def kind(value) {{
    match value {{
        case 0 {{ return "nothing"; }}
        case 1, 2 {{ return "a few"; }}
        default {{ return "many"; }}
    }}
}}

print(kind({number}), total([1, {number}, 7]));
"""
FILES = 24
CLIENTS = 4
TARGETS = ["python_source", "source_map", "nbc"]
FIRST = {"lexer": "1.0.0", "parser": "1.0.0", "optimizer": "1.0.0", "bytecode_generator": "1.0.0"}
RAISES, RAISES_LATER = "3.0.0", "3.0.1"
"""Versions of the lexer that compile the program by which versions are tried, and fail on one file, or on new ones."""
RAISING = """

import re

_scan = scan


def scan(text):
    (number,) = re.findall(r"number ([0-9]+)[.]", text) or [0]
    if {condition}:
        raise RuntimeError("this version fails on a source")
    return _scan(text)
"""
NEW_ENOUGH = 300
"""So many new files later: those that are there when the upgrade begins are well."""
COMPARED = (".py", ".nbc")


class Daemon(Program):
    """`noodle compile --daemon`, with a folder of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.state = folder / "state"
        command = ["noodle", "compile", "--daemon", "--state", str(self.state)]
        super().__init__(command, folder, folder / "daemon.log")

    def is_up(self) -> bool:
        """Whether it can be asked."""
        return (self.state / "control.sock").exists()


class Askers:
    """Clients that have one file after the other compiled: one that all of them know, then a new one."""

    def __init__(self, daemon: Daemon, files: list[pathlib.Path]) -> None:
        self._daemon = daemon
        self._files = files
        self._live = daemon.folder / "live"
        self._live.mkdir()
        self._lock = threading.Lock()
        self._answers: list[dict[str, Any]] = []
        self._over = threading.Event()
        self._numbers = itertools.count(1000)
        self.newest = 0
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def take(self) -> list[dict[str, Any]]:
        """Return the answers since the last call."""
        with self._lock:
            taken, self._answers = self._answers, []
        return taken

    def stop(self) -> None:
        """End them."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _new_file(self) -> pathlib.Path:
        with self._lock:
            self.newest = number = next(self._numbers)
        path = self._live / f"part{number}.noodle"
        path.write_text(SOURCE.format(number=number))
        return path

    def _ask(self, number: int) -> None:
        transport = httpx.HTTPTransport(uds=str(self._daemon.state / "control.sock"))
        with httpx.Client(base_url="http://localhost", transport=transport, timeout=60, trust_env=False) as client:
            for turn in itertools.count(number):
                if self._over.is_set():
                    return
                place = self._files[turn // 2 % len(self._files)] if turn % 2 else self._new_file()
                arguments = {"places": [str(place)], "targets": TARGETS}
                try:
                    told = client.post("/v1/operations/compiler.compile", json={"arguments": arguments}).json()
                    (answer,) = told["result"]["files"]
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    answer = {"path": str(place), "success": False, "errors": [{"message": repr(error)}]}
                with self._lock:
                    self._answers.append(answer)


def set_of(answer: dict[str, Any]) -> tuple[str, ...]:
    """Return the versions that an answer says it is by."""
    return tuple(answer["component_versions"].values())


def truth_of(paths: list[str], versions: dict[str, str], folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """Return the digests of what a set of versions makes of some files, in processes of their own, without a cache."""
    out = folder / "-".join(versions.values())
    use = [f"--use={phase}={version}" for phase, version in versions.items()]
    command = ["noodle", "compile", "--no-cache", "--target=python-source", "--target=nbc", "-o", str(out), *use]
    for index in range(0, len(paths), 1000):
        done = subprocess.run(
            [*command, *paths[index : index + 1000]], capture_output=True, text=True, cwd=folder, check=False
        )
        if done.returncode:
            raise SystemExit(f"a set of versions compiles nothing alone:\n{done.stdout}{done.stderr}")
    found = {}
    for path in paths:
        made = out / pathlib.Path(path).name
        data = {ending: made.with_suffix(ending).read_bytes() for ending in COMPARED}
        found[path] = {ending: hashlib.blake2b(one, digest_size=16).hexdigest() for ending, one in data.items()}
    return found


def lexer_that_raises(folder: pathlib.Path, version: str, condition: str, of: str = "1.0.0") -> None:
    """Put a version of one's own into the components directory of the daemon; `condition` is about a file's number."""
    found = find_spec("noodle_upgrade_compiler")
    assert found is not None and found.origin is not None  # noqa: PT018 - it is installed, or nothing here works
    there = pathlib.Path(found.origin).parent / "bundled" / "lexer" / of
    target = folder / "runtime_components" / "lexer" / version
    shutil.copytree(there, target, ignore=shutil.ignore_patterns("__pycache__"))
    for path in target.rglob("*.py"):
        text = path.read_text().replace(f'__version__ = "{of}"', f'__version__ = "{version}"')
        path.write_text(text + RAISING.format(condition=condition))


class Story:
    """The steps of this scene, told and recorded."""

    def __init__(self, daemon: Daemon, askers: Askers, known: pathlib.Path) -> None:
        self.daemon, self.askers, self.known = daemon, askers, known
        self.versions = dict(FIRST)
        self.rows: list[dict[str, Any]] = []
        self.answers: list[list[dict[str, Any]]] = []
        self.faults: list[str] = []

    def change(self, phase: str, version: str, *options: str) -> None:
        """Upgrade a phase while clients ask."""
        tell(f"Upgrade the {phase} to {version} while it compiles.")
        noodle("upgrade", phase, version, *options, "--level", "normal", "--yes", state=self.daemon.state)
        self.versions[phase] = version
        self.step(f"{phase} {version}")

    def back(self, phase: str) -> None:
        """Go back to the first version of a phase."""
        tell(f"Take the {phase} back.")
        noodle("rollback", phase, "--yes", state=self.daemon.state)
        self.versions[phase] = FIRST[phase]
        self.step(f"{phase} back")

    def refused(self, version: str) -> None:
        """Try a version that cannot compile one of the files that were compiled: nobody may ever meet it."""
        tell(f"Try lexer {version}, which raises on one file: it must be refused, before anybody meets it.")
        lexer_that_raises(self.daemon.folder, version, "int(number) == 7")
        self._tried(version)
        self.step("refuse a lexer")

    def taken_back(self, version: str) -> None:
        """Try a version that compiles all of them, and no new ones: it has to go by itself."""
        tell(f"Try lexer {version}, which raises on files that are not there yet: it must be taken back by itself.")
        lexer_that_raises(self.daemon.folder, version, f"int(number) > {self.askers.newest + NEW_ENOUGH}")
        self._tried(version)
        self.step("take a lexer back", broken=True)
        self.step("serve on")

    def _tried(self, version: str) -> None:
        words = ["lexer", version, "--strategy", "immediate", "--set", "bake=30", "--level", "normal", "--yes"]
        ended = noodle("upgrade", *words, state=self.daemon.state, check=False)
        print(f"  ended with exit code {ended['exit_code']}: {said(ended)}")
        if not ended["exit_code"]:
            self.faults.append(f"lexer {version} was kept")

    def step(self, title: str, *, broken: bool = False) -> None:
        """Let clients ask a little longer, and record what they got since the last step."""
        time.sleep(1.0)
        answers = self.askers.take()
        good = [one for one in answers if one["success"]]
        row = {
            "step": title, "answers": len(answers), "failed": len(answers) - len(good),
            "sets": len({set_of(one) for one in good}), "failed_is_the_point": broken,
        }  # fmt: skip
        self.rows.append(row)
        self.answers.append(good)
        print(f"  {title}: {row['answers']} answers by {row['sets']} sets of versions, {row['failed']} failed")
        told = noodle("compile", "--remote", str(self.known), state=self.daemon.state)
        if (now := told["files"][0]["component_versions"]) != self.versions:
            self.faults.append(f"{title}: {now} serve, and not {self.versions}")
        if bool(row["failed"]) != broken or not good:
            self.faults.append(f"{title}: {[one for one in answers if not one['success']][:2]} of {len(answers)}")

    def compare(self) -> None:
        """Have each set of versions compile alone what it has compiled here, and count the answers that differ."""
        tell("Every set of versions compiles the same files alone, and the outputs are compared.")
        paths: dict[tuple[str, ...], dict[str, None]] = {}
        for answer in itertools.chain(*self.answers):
            paths.setdefault(set_of(answer), {})[answer["path"]] = None
        truth = {
            # The lexer that raises is the first one where it does not.
            one: truth_of(list(some), dict(zip(FIRST, ("1.0.0", *one[1:]), strict=True)), self.daemon.folder)
            for one, some in paths.items()
        }
        for row, answers in zip(self.rows, self.answers, strict=True):
            torn = [one for one in answers if not _fits(one, truth.get(set_of(one), {}))]
            row["torn"] = len(torn)
            if torn:
                self.faults.append(f"{row['step']}: {torn[:2]}")
        print(f"  {sum(map(len, self.answers))} answers by {len(paths)} sets of versions compared")


def _fits(answer: dict[str, Any], known: dict[str, dict[str, str]]) -> bool:
    return known.get(answer["path"]) == {ending: answer["outputs"].get(ending) for ending in COMPARED}


def play_compiling(folder: pathlib.Path) -> dict[str, Any]:
    """Play it; returns what came of it, with `faults`."""
    folder.mkdir()
    source = folder / "src"
    source.mkdir()
    for number in range(FILES):
        (source / f"part{number}.noodle").write_text(SOURCE.format(number=number))
    files = sorted(source.iterdir())
    with contextlib.ExitStack() as stack:
        daemon = Daemon(folder)
        stack.callback(daemon.stop)
        askers = Askers(daemon, files)
        stack.callback(askers.stop)
        story = Story(daemon, askers, files[0])
        tell(f"A compile daemon, and {CLIENTS} clients that have {FILES} files compiled without a pause.")
        story.step("serve")
        gradual = ("--strategy", "gradual", "--set", "percentage=25", "--set", "bake=1")
        steps: list[Callable[[], None]] = [
            lambda: story.change("optimizer", "2.0.0", *gradual),
            lambda: story.change("bytecode_generator", "2.0.0", "--strategy", "immediate"),
            lambda: story.change("parser", "2.0.0", "--strategy", "immediate"),
            lambda: story.back("parser"),
            lambda: story.refused(RAISES),
            lambda: story.taken_back(RAISES_LATER),
            lambda: story.back("bytecode_generator"),
            lambda: story.back("optimizer"),
        ]
        for step in steps:
            step()
        if daemon.process.poll() is not None:
            story.faults.append("the daemon has ended")
    story.compare()
    usual = [row for row in story.rows if not row["failed_is_the_point"]]
    return {
        "answers": sum(row["answers"] for row in story.rows),
        "failed": sum(row["failed"] for row in usual),
        "failed_by_the_broken_version": sum(row["failed"] for row in story.rows if row["failed_is_the_point"]),
        "torn": sum(row["torn"] for row in story.rows),
        "steps": story.rows,
        "faults": story.faults,
    }


if __name__ == "__main__":
    import tempfile

    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    with tempfile.TemporaryDirectory(prefix="noodle-demo-") as place:
        print(play_compiling(pathlib.Path(place) / "compiling"))
