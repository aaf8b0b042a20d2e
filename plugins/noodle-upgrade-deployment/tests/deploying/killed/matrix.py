"""Kill a program that deploys at every point of every story, kill it again while it recovers, and judge what is left."""

from __future__ import annotations

import asyncio
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

from attrs import define, frozen
from shop import fill

from noodle_upgrade_core.journal.sqlite import SqliteJournal

from .acts import Act, judging, only_open, open_and_die, playing, settle
from .bugs import BUGS, Bug, planted
from .stand import Killer, log_of
from .stories import BY_THE_CLOCK, ENDS, STORIES
from .verdicts import Promises, at_any_time, facts_of

FAILED = 3
_LONGEST = 60.0
_RECOVERY = 60
"""About how many points a start has, with what it goes on with; a kill beyond its end does not happen."""
_OPENING = 12
"""About how many of them it has until it is open."""


class ViolatedError(AssertionError):
    """Something is wrong without any kill."""


@frozen
class Case:
    """Kill at the `first` point of a story, then at those of `again` while each next process recovers and goes on.

    `delay` kills from outside after so many seconds instead. With `power` everything that was not waited for is lost
    with the first kill. With `twice` the same state is also recovered by a process that is killed at that point, or at
    the latest when it is open, and has to come to the same ends.
    """

    story: str
    first: int
    again: tuple[int, ...] = ()
    delay: float | None = None
    power: bool = False
    twice: int = 0

    def __str__(self) -> str:
        where = f"after {self.delay * 1000:.1f} ms" if self.delay is not None else f"at point {self.first}"
        power = " with a power loss" if self.power else ""
        then = f", then at {', '.join(map(str, self.again))}" if self.again else ""
        twice = f", and while it opened at {self.twice}" if self.twice else ""
        return f"{self.story} killed {where}{power}{then}{twice}"


@define
class Matrix:
    """Runs cases in folders of one folder; every process that deploys is a child of this one."""

    root: Path
    kills: int = 0

    def __attrs_post_init__(self) -> None:
        logging.getLogger("noodle_upgrade").setLevel(logging.CRITICAL)
        fill(self.root / "base")
        status, lines = self._child(self.root / "base", only_open)
        if status == FAILED:
            raise RuntimeError(f"the program cannot be opened: {lines[-1]}")

    def points(self, story: str) -> int:
        """Count the points of a story by carrying it out, and judge it; raises if that is wrong without any kill."""
        folder = self._fresh()
        status, told = self._child(folder, playing(story))
        found = self._failed(status, told) or [*self._look(folder, told), *self._judge(folder, told)]
        ends = _ends(folder)
        if set(ends) != set(ENDS[story]) or any(stage not in ENDS[story][name] for name, stage in ends.items()):
            found.append(f"it comes to {ends}")
        if found:
            raise ViolatedError(f"{story} fails without any kill: {found[0]}")
        return int(told[-1].removeprefix("passed "))

    def run(self, case: Case) -> list[str]:
        """Carry a case out; returns what was violated."""
        folder, other = self._fresh(), self.root / "other"
        status, told = self._child(folder, playing(case.story), case.first, delay=case.delay)
        found = self._failed(status, told)
        if case.power:
            _lose_power(folder, told)
        found += self._look(folder, told)
        if case.twice:
            shutil.rmtree(other, ignore_errors=True)
            shutil.copytree(folder, other)
        before = list(told)
        for point in case.again:
            status, more = self._child(folder, settle, point)
            told += more
            found += [*self._failed(status, more), *self._look(folder, told)]
        found += self._judge(folder, told)
        if case.twice:
            found += self._same(folder, other, before, case)
        return [f"{case}: {words}" for words in found]

    def _same(self, folder: Path, other: Path, told: list[str], case: Case) -> list[str]:
        status, more = self._child(other, open_and_die, case.twice)
        told += more
        found = [*self._failed(status, more), *self._look(other, told), *self._judge(other, told)]
        due, ends = _ends(folder), _ends(other)
        if due != ends and case.story not in BY_THE_CLOCK:
            found.append(f"killed while it opened it comes to {ends}, and otherwise to {due}")
        return found

    def _judge(self, folder: Path, told: list[str]) -> list[str]:
        status, lines = self._child(folder, judging(told))
        wrong = [line.removeprefix("wrong ") for line in lines if line.startswith("wrong ")]
        return [*self._failed(status, lines), *wrong]

    @staticmethod
    def _failed(status: int, lines: list[str]) -> list[str]:
        return [f"the process failed: {lines[-1] if lines else 'without a word'}"] if status == FAILED else []

    def _look(self, folder: Path, told: list[str]) -> list[str]:
        """Look at a copy, so that looking mends nothing."""
        copy = self.root / "look"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder / "state", copy)
        with SqliteJournal(copy / "journal.db") as journal:
            return list(at_any_time(facts_of(journal), Promises.of(told)))

    def _fresh(self) -> Path:
        folder = self.root / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.root / "base", folder)
        return folder

    def _child(self, folder: Path, act: Act, kill_at: int = 0, *, delay: float | None = None) -> tuple[int, list[str]]:
        """Fork, let the child act until it is killed; return its status, and what it told."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _live(folder, act, Killer(kill_at), write)
        os.close(write)
        if delay is not None:
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
        with os.fdopen(read, encoding="utf-8") as pipe:
            lines = pipe.read().splitlines()
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            self.kills += 1
            return 0, lines
        return os.WEXITSTATUS(status), lines


def _live(folder: Path, act: Act, killer: Killer, write: int) -> None:
    def tell(line: str) -> None:
        os.write(write, f"{line}\n".encode())

    async def life() -> None:
        async with asyncio.timeout(_LONGEST):
            await act(folder, killer, tell)

    try:
        asyncio.run(life())
        tell(f"passed {killer.passed}")
    except BaseException:
        tell(traceback.format_exc().replace("\n", " | "))
        os._exit(FAILED)
    os._exit(0)


def _lose_power(folder: Path, told: list[str]) -> None:
    """Take from the log what nobody had waited for, as the disk may; a log that began anew is left alone."""
    sizes = [int(line.removeprefix("synced ")) for line in told if line.startswith("synced ")]
    path = folder / "state" / "journal.db"
    log = log_of(path)
    if sizes and sizes == sorted(sizes) and log.exists() and log.stat().st_size > sizes[-1]:
        os.truncate(log, sizes[-1])
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def _ends(folder: Path) -> dict[str, str]:
    with SqliteJournal(folder / "state" / "journal.db") as journal:
        return {name: one.state.stage.value for name, one in facts_of(journal).deployments.items()}


def cases(matrix: Matrix, *, seed: int = 0, stories: tuple[str, ...] = tuple(STORIES)) -> Iterator[Case]:
    """Yield cases for ever: every point of every story once, shuffled, and every other time a chance one.

    A chance one is killed up to four times, from outside, with a power loss, or twice over.
    """
    chance = random.Random(seed)
    counts = {name: matrix.points(name) for name in stories}
    single = [
        Case(name, point, power=point % 3 == 0) for name, count in counts.items() for point in range(1, count + 1)
    ]
    chance.shuffle(single)
    while True:
        if single:
            yield single.pop()
        name = chance.choice(stories)
        first = chance.randrange(1, counts[name] + 1)
        again = tuple(chance.randrange(1, _RECOVERY) for _ in range(chance.choice((1, 1, 2, 4))))
        kind = chance.random()
        if kind < 0.15:
            yield Case(name, 0, again, delay=chance.uniform(0.05, 0.6))
        elif kind < 0.4:
            yield Case(name, first, twice=chance.randrange(1, _OPENING), power=chance.random() < 0.3)
        else:
            yield Case(name, first, again, power=chance.random() < 0.3)


def campaign(
    kills: int,
    *,
    seed: int = 0,
    stories: tuple[str, ...] = tuple(STORIES),
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[int, list[str]]:
    """Kill so many times; return how often it was, and every violation."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        matrix = Matrix(Path(folder))
        found: list[str] = []
        began = time.monotonic()
        for case in cases(matrix, seed=seed, stories=stories):
            if matrix.kills >= kills:
                break
            found += matrix.run(case)
            rate = matrix.kills / max(0.001, time.monotonic() - began)
            progress(f"{matrix.kills}/{kills} kills, {rate:.1f} a second, {len(found)} violations")
        return matrix.kills, found


def memory() -> str | None:
    """Return a folder in memory, where there is one: the kills are about order, and not about the disk's speed."""
    return "/dev/shm" if sys.platform == "linux" and os.access("/dev/shm", os.W_OK) else None


def hunt(bug: Bug, *, most: int, seed: int = 0) -> str:
    """Plant a bug and kill until it is caught; return what caught it, empty if nothing did."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder, planted(bug):
        try:
            matrix = Matrix(Path(folder))
            for case in cases(matrix, seed=seed, stories=bug.stories):
                if found := matrix.run(case):
                    return f"after {matrix.kills} kills: {found[0]}"
                if matrix.kills >= most:
                    return ""
        except ViolatedError as error:
            return f"without a kill: {error}"
    return ""


def main(kills: int, *, seed: int, bug_kills: int, report: Path) -> int:
    """Run a campaign and hunt every planted bug; write the report and return the exit code."""

    def progress(line: str) -> None:
        sys.stderr.write(f"\r{line:<79}")
        sys.stderr.flush()

    done, violations = campaign(kills, seed=seed, progress=progress)
    caught: dict[str, str] = {}
    for number, bug in enumerate(BUGS, 1):
        progress(f"planted bug {number}/{len(BUGS)}: {bug.name}")
        if words := hunt(bug, most=bug_kills, seed=seed):
            caught[bug.name] = words
    progress("")
    sys.stderr.write("\r")
    missed = [bug.name for bug in BUGS if bug.name not in caught]
    summary = {"kills": done, "violations": len(violations), "planted": len(BUGS), "caught": len(caught)}
    details = {"seed": seed, "missed": missed, "found": violations[:50], "caught_by": caught}
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps({**summary, **details}, indent=2) + "\n", encoding="utf-8")
    print(" ".join(f"{key}={value}" for key, value in summary.items()))  # noqa: T201 - the result of a command
    for line in violations[:20]:
        print(f"  violated: {line}")  # noqa: T201
    for name in missed:
        print(f"  not caught: {name}")  # noqa: T201
    return 1 if violations or missed else 0
