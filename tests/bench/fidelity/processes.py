"""Running one side of a comparison in a process of its own, with a time limit, and reading what it said."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from fidelity.environments import Environment
from fidelity.outcomes import read_outcomes

__all__ = ["Answer", "Launcher", "StoppedError", "stop"]

# As pytest shows them: in a test or module, of its command line, or of its own making.
_ERROR = re.compile(r"^(?:E  |.*: error: |INTERNALERROR> |ERROR: |(?=\S*Error: ))(.*\w.*)$", re.MULTILINE)
BENCH = Path(__file__).resolve().parents[1]
# A process of the new version has it before anything is imported: the engine itself uses some packages (attrs,
# packaging), and would bring the old version in. The folder of the harness is on the path only while its own modules
# are imported: a suite may have modules of the same names.
_START = """
import sys
sys.path[:0] = {first!r}
sys.path[:0] = [{bench!r}]
sys.path.append({ours!r})
from fidelity.inside import driver
sys.path.remove({bench!r})
driver.main({job!r})
"""


# Those of all cases that run beside one another: whoever stops the campaign stops them all.
_running: set[subprocess.Popen[bytes]] = set()
_stopped = threading.Event()


class StoppedError(Exception):
    """The whole campaign was stopped: of this process nothing can be said."""


def stop() -> None:
    """End every process that runs for a case, with all that it has started; none begins any more."""
    _stopped.set()
    for process in tuple(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@frozen(kw_only=True)
class Answer:
    """What a process has left: its report, and the outcomes of the suites that it ran, as far as it came.

    `error` is the last error that its output shows, for whoever wonders why nothing came out.
    """

    report: Mapping[str, Any]
    outcomes: Mapping[str, Mapping[str, str]]
    trouble: str = ""
    error: str = ""


@frozen(kw_only=True)
class Launcher:
    """Starts processes for one installed case; `work` holds their jobs, answers and output."""

    environment: Environment
    ours: Path
    work: Path
    limit: float
    base: Mapping[str, Any] = field(factory=dict)

    def run(self, name: str, **job: Any) -> Answer:
        """Run one job, `mode` is what to do; what it could not do is in the answer's `trouble`.

        Raises `StoppedError` once `stop` was called.
        """
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if old.is_file():
                old.unlink()
        path, told = folder / "job.json", {**self.base, **job, "answers": str(folder)}
        path.write_text(json.dumps(told))
        first = [str(self.environment.tree)] if told.get("version") == "new" else []
        trouble = self._wait(path, folder, first)
        report = json.loads((folder / "report.json").read_text()) if (folder / "report.json").is_file() else {}
        outcomes = {one.stem: read_outcomes(one) for one in folder.glob("*.jsonl")}
        shown = _ERROR.findall((folder / "output.txt").read_text(errors="replace"))
        return Answer(
            report=report,
            outcomes=outcomes,
            trouble=report.get("trouble", "") or trouble,
            error=shown[-1].strip()[:300] if shown else "",
        )

    def _wait(self, job: Path, folder: Path, first: list[str]) -> str:
        script = _START.format(first=first, bench=str(BENCH), ours=str(self.ours), job=str(job))
        (folder / "home").mkdir(exist_ok=True)
        with (folder / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [str(self.environment.python), "-X", "faulthandler", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=self._environ(folder / "home"),
                start_new_session=True,
            )
            _running.add(process)
            try:
                code = None if _stopped.is_set() else process.wait(self.limit)
            except subprocess.TimeoutExpired:
                return f"took more than {self.limit:g} s"
            finally:
                # Whatever a suite has started goes with it: the group is this process's own.
                _end_group(process)
                _running.discard(process)
        if _stopped.is_set():
            raise StoppedError
        words = (folder / "output.txt").read_text(errors="replace").strip().splitlines()
        return f"ended with {code}: {words[-1] if words else 'without a word'}" if code else ""

    def _environ(self, home: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
        tools = str(self.environment.python.parent)
        kept["PATH"] = os.pathsep.join([tools, kept.get("PATH", os.defpath)])
        return {**kept, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1"}


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
