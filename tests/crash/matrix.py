"""The kill matrix: every fault point of every scenario, a real SIGKILL there, and a second one inside the recovery.

Fault points are not listed by hand: the journal calls the hook with every SQL statement, trigger and commit, the store
with every operation on the disk. One warmed process forks a child for every kill.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field, frozen

from . import disk
from .bugs import BUGS, Bug, planted
from .checks import after_recovery, before_recovery
from .scenarios import LATE, SCENARIOS, Base, World, recover

FAILED = 3
_NEVER = sys.maxsize
_RECOVERY = 50
"""About how many fault points a recovery has; a kill beyond its end does not happen, and is not counted."""


@frozen
class Case:
    """Kill at the `first` fault point of a scenario, then at the `second` one of the recovery; None: no second kill.

    `delay` kills from outside after so many seconds instead, wherever the child is, also inside a system call. `later`
    is how many seconds pass until the restart, as its clock tells.
    """

    scenario: str
    first: int
    second: int | None = None
    delay: float | None = None
    later: float = 0.0

    def __str__(self) -> str:
        where = f"after {self.delay * 1000:.2f} ms" if self.delay is not None else f"at point {self.first}"
        when = f", restarted {self.later:g} s later" if self.later else ""
        then = f", then at point {self.second}" if self.second is not None else ""
        return f"{self.scenario} killed {where}{when}{then}"


@define
class Matrix:
    """Runs cases in folders on a memory file system where there is one."""

    root: Path
    kills: int = 0
    base: Base = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Controllers are taken over here all the time, and each says so when it is closed.
        logging.getLogger("noodle_upgrade").setLevel(logging.CRITICAL)
        self.base = Base.make(self.root / "base")

    def points(self, scenario: str) -> int:
        """Count the fault points of a scenario by carrying it out; raises if it does not even work without a kill."""
        folder = self._fresh()
        _, count, _ = self._child(folder, SCENARIOS[scenario], _NEVER)
        if count < 0:
            raise RuntimeError(f"{scenario} fails without any kill")
        return count

    def run(self, case: Case) -> list[str]:
        """Carry one case out; returns what was violated."""
        folder = self._fresh()
        status, _, told = self._child(folder, SCENARIOS[case.scenario], case.first, delay=case.delay)
        if status == FAILED:
            return [f"{case}: {line}" for line in told[-1:]]
        found = before_recovery(folder, told, self.root)
        if case.second is not None:
            status, _, more = self._child(folder, recover, case.second, later=case.later)
            if status == FAILED:
                return [f"{case}: {line}" for line in more[-1:]]
            found += before_recovery(folder, told, self.root, later=case.later)
        try:
            found += after_recovery(folder, told, later=case.later)
        except Exception as error:
            found.append(f"recovery failed: {type(error).__name__}: {error}")
        return [f"{case}: {words}" for words in found]

    def _fresh(self) -> Path:
        folder = self.root / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.base.folder, folder)
        return folder

    def _child(
        self,
        folder: Path,
        act: Callable[[World], None],
        kill_at: int,
        *,
        delay: float | None = None,
        later: float = 0.0,
    ) -> tuple[int, int, list[str]]:
        """Fork, let the child act until it kills itself; return its status, the points it passed, what it told."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _act(folder, act, kill_at, write, later)
        os.close(write)
        if delay is not None:
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
        with os.fdopen(read, encoding="utf-8") as pipe:
            lines = pipe.read().splitlines()
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            self.kills += 1
            # A kill from outside may come when it is over, and has told how many points it passed.
            return 0, 0, [line for line in lines if not line.isdigit()]
        if os.WEXITSTATUS(status) == FAILED:
            return FAILED, -1, lines
        return 0, int(lines.pop()), lines


def _act(folder: Path, act: Callable[[World], None], kill_at: int, write: int, later: float) -> None:
    passed = 0

    def faults(_: str) -> None:
        nonlocal passed
        passed += 1
        if passed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(line: str) -> None:
        os.write(write, f"{line}\n".encode())

    try:
        world = World.open(folder, faults=faults, tell=tell, later=later)
        act(world)
        world.close()
        tell(str(passed))
    except BaseException:
        tell(traceback.format_exc().replace("\n", " | "))
        os._exit(FAILED)
    os._exit(0)


def cases(matrix: Matrix, *, seed: int = 0) -> Iterator[Case]:
    """Yield cases for ever: every point of every scenario once, shuffled, between pairs of points and outside kills.

    Every other restart is late.
    """
    chance = random.Random(seed)
    counts = {name: matrix.points(name) for name in SCENARIOS}
    single = [
        Case(name, point, later=LATE if point % 2 else 0.0)
        for name, count in counts.items()
        for point in range(1, count + 1)
    ]
    chance.shuffle(single)
    while True:
        if single:
            yield single.pop()
        name = chance.choice(list(counts))
        second, later = chance.randrange(1, _RECOVERY), chance.choice((0.0, LATE))
        if chance.random() < 0.125:
            yield Case(name, _NEVER, second, delay=chance.uniform(0.0, 0.03), later=later)
        else:
            yield Case(name, chance.randrange(1, counts[name] + 1), second, later=later)


def campaign(kills: int, *, seed: int = 0, progress: Callable[[str], None] = lambda _: None) -> tuple[int, list[str]]:
    """Kill so many times; return how often it was, and every violation."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        matrix = Matrix(Path(folder))
        found: list[str] = []
        began = time.monotonic()
        for number, case in enumerate(cases(matrix, seed=seed)):
            if matrix.kills >= kills:
                break
            found += matrix.run(case)
            if number % 20 == 0:
                rate = matrix.kills / max(0.001, time.monotonic() - began)
                progress(f"{matrix.kills}/{kills} kills, {rate:.0f} a second, {len(found)} violations")
        return matrix.kills, found


def hunt(bug: Bug, *, most: int, seed: int = 0) -> str:
    """Plant a bug and kill until it is caught; return what caught it, empty if nothing did."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder, planted(bug):
        try:
            matrix = Matrix(Path(folder))
            for case in cases(matrix, seed=seed):
                if found := matrix.run(case):
                    return f"after {matrix.kills} kills: {found[0]}"
                if matrix.kills >= most:
                    return ""
        except (RuntimeError, AssertionError) as error:
            return f"without a kill: {error}"
    return ""


def memory() -> str | None:
    """Return a folder in memory, where there is one: the kills are about order, and not about the disk's speed."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main(kills: int, *, seed: int, bug_kills: int, report: Path, stride: int = 0) -> int:
    """Run a campaign, fail at every `stride`-th operation of the disk, and hunt every planted bug.

    Writes the report and returns the exit code.
    """

    def progress(line: str) -> None:
        sys.stderr.write(f"\r{line:<79}")
        sys.stderr.flush()

    done, violations = campaign(kills, seed=seed, progress=progress)
    faults, broken = disk.matrix(stride=stride, progress=progress) if stride else (0, [])
    violations += broken
    caught: dict[str, str] = {}
    for number, bug in enumerate(BUGS, 1):
        progress(f"planted bug {number}/{len(BUGS)}: {bug.name}")
        if words := hunt(bug, most=bug_kills, seed=seed):
            caught[bug.name] = words
    progress("")
    sys.stderr.write("\r")
    missed = [bug.name for bug in BUGS if bug.name not in caught]
    report.parent.mkdir(parents=True, exist_ok=True)
    summary = {
        "kills": done,
        "faults": faults,
        "violations": len(violations),
        "planted": len(BUGS),
        "caught": len(caught),
    }
    details = {"seed": seed, "missed": missed, "found": violations[:50], "caught_by": caught}
    report.write_text(json.dumps({**summary, **details}, indent=2) + "\n", encoding="utf-8")
    print(" ".join(f"{key}={value}" for key, value in summary.items()))  # noqa: T201 - the result of a command
    for line in violations[:20]:
        print(f"  violated: {line}")  # noqa: T201
    for name in missed:
        print(f"  not caught: {name}")  # noqa: T201
    return 1 if violations or missed else 0
