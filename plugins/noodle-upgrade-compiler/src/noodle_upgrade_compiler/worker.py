"""A process that compiles files for a build: lines of JSON come in, lines of JSON go out.

A process of its own and no fork, for the program that builds may have threads that hold locks; and no
`multiprocessing`, whose children run the program's main module once more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from noodle_upgrade_compiler.pipeline import PhaseSet
from noodle_upgrade_compiler.store import Store
from noodle_upgrade_compiler.versions import load_version

__all__ = ["Worker", "main"]


class Worker:
    """The other side: one process, asked for one batch after the other."""

    def __init__(self, phases: PhaseSet, store: Path, targets: tuple[str, ...]) -> None:
        # It finds what this process finds, wherever that was put on the path; but its own things first, and nothing
        # in the folder where it happens to start: a `json.py` there is no module of ours.
        places = [place for place in sys.path if place and Path(place) != Path.cwd()]
        program = f"import sys; sys.path += [one for one in {places!r} if one not in sys.path]; import {__name__} as it"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"{program}; it.main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the program that builds: this one ends when its input does.
            start_new_session=True,
        )
        about = [[one.phase, one.version, str(one.folder)] for one in phases]
        self._say({"phases": about, "store": str(store), "targets": list(targets)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was opened with one
        self._process.stdin.close()
        if kind is not None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None  # noqa: S101 - likewise
        self._process.stdout.close()

    def compile(self, paths: Sequence[str]) -> list[list[Any]]:
        """Return what came of some files. Raises `RuntimeError` when the process has ended."""
        self._say(list(paths))
        assert self._process.stdout is not None  # noqa: S101 - it was opened with one
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process that compiles has ended with {self._process.wait()}")
        found: list[list[Any]] = json.loads(line)
        return found

    def _say(self, value: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was opened with one
        self._process.stdin.write(f"{json.dumps(value)}\n")
        self._process.stdin.flush()


def main() -> None:
    """Be the process."""
    from noodle_upgrade_compiler.building import Work  # noqa: PLC0415 - that module starts this one

    about = json.loads(sys.stdin.readline())
    phases = PhaseSet(*(load_version(phase, version, Path(folder)) for phase, version, folder in about["phases"]))
    work = Work(phases, Store(Path(about["store"])), tuple(about["targets"]))
    for line in sys.stdin:
        done = [[one.to_wire(), source] for one, source in work.compile(json.loads(line))]
        sys.stdout.write(f"{json.dumps(done, default=bytes.hex)}\n")
        sys.stdout.flush()
    work.store.close()


if __name__ == "__main__":
    main()
