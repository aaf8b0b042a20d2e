"""A rehearsal: the change is tried in a fresh interpreter before anything happens in this one.

It finds a version that fails at import, hangs, ends or crashes the interpreter, floods the output, or that the engine
cannot place; this process sees none of it. Objects behind handles are not made: making them may have effects outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from noodle_upgrade_core.errors import StageError, StageTimeoutError
from noodle_upgrade_core.model import Verdict
from noodle_upgrade_runtime.engine import Change

__all__ = ["Outcome", "Rehearsals", "rehearse"]

_CHILD = (
    "import sys, json; job = json.load(sys.stdin); sys.path[:] = job['path'];"
    "from noodle_upgrade_runtime.rehearsed import main; main(job)"
)
_MOST_OUTPUT = 8 << 20
_KEPT_OUTPUT = 2000
_LEAST_SECONDS = 0.1


@frozen(kw_only=True)
class Outcome:
    """How a rehearsal went: `blocker` is empty when it went well; `final` when it would go so again.

    `code` and `hint` are those of the error that the blocker is.
    """

    blocker: str = ""
    code: str = ""
    hint: str = ""
    evidence: Mapping[str, Any] = field(factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    final: bool = True


class Rehearsals:
    """Tries changes, and remembers under `directory` how they went."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def judge(self, verdict: Verdict, change: Change, *, engine: Any, digests: Sequence[str], limit: float) -> Verdict:
        """Return the verdict with what a rehearsal of at most `limit` seconds found; one made before is used again."""
        job = _job(verdict, change, engine)
        key = _key(job, digests)
        outcome = self._read(key)
        if outcome is None:
            try:
                outcome = rehearse(job, limit=max(limit, _LEAST_SECONDS))
            except OSError as error:
                note = f"no rehearsal was made: {error}"
                return evolve(verdict, warnings=(*verdict.warnings, note))
            if outcome.final:
                self._write(key, outcome)
        return _judged(verdict, outcome)

    def _read(self, key: str) -> Outcome | None:
        try:
            data = json.loads((self._directory / f"{key}.json").read_text(encoding="utf-8"))
            return Outcome(**{**data, "warnings": tuple(data["warnings"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None  # none made yet, or one that another version wrote: made anew

    def _write(self, key: str, outcome: Outcome) -> None:
        data = {
            "blocker": outcome.blocker,
            "code": outcome.code,
            "hint": outcome.hint,
            "evidence": dict(outcome.evidence),
            "warnings": list(outcome.warnings),
            "seconds": outcome.seconds,
        }
        place = self._directory / f"{key}.json"
        beside = place.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):  # a memory only: without it the rehearsal is made again
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.write_text(json.dumps(data, default=str), encoding="utf-8")
            beside.replace(place)


def _judged(verdict: Verdict, outcome: Outcome) -> Verdict:
    if outcome.blocker:
        return evolve(
            verdict,
            feasible=False,
            blockers=(*verdict.blockers, outcome.blocker),
            code=outcome.code,
            hint=outcome.hint,
        )
    return evolve(
        verdict,
        reasons=(*verdict.reasons, f"a rehearsal in an interpreter of its own went well in {outcome.seconds:.2f} s"),
        warnings=(*verdict.warnings, *outcome.warnings),
        evidence={**verdict.evidence, **outcome.evidence},
        expected_seconds=float(outcome.evidence.get("stage_seconds", verdict.expected_seconds)),
    )


def _job(verdict: Verdict, change: Change, engine: Any) -> dict[str, Any]:
    loaded = sorted(name for name, module in tuple(sys.modules.items()) if module is not None and name in change.names)
    return {
        "path": [os.path.abspath(entry) for entry in sys.path],  # noqa: PTH100 - an empty entry means the folder we are in
        "engine": f"{type(engine).__module__}:{type(engine).__qualname__}",
        "mechanism": verdict.mechanism,
        "modules": loaded,
        "entry_points": list(verdict.evidence.get("entry_points", ())),
        "name": change.component.name,
        "from_version": change.from_version,
        "to_version": change.to_version,
        "top_levels": list(change.top_levels),
        "import_names": list(change.import_names),
        "new_tree": str(change.new_tree),
        "old_tree": None if change.old_tree is None else str(change.old_tree),
    }


def _key(job: Mapping[str, Any], digests: Sequence[str]) -> str:
    try:
        ours = version("noodle-upgrade-runtime")
    except PackageNotFoundError:
        ours = ""
    about = [job[name] for name in ("engine", "modules", "entry_points", "from_version", "to_version", "old_tree")]
    text = json.dumps([about, list(digests), sys.version, ours], default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def rehearse(job: Mapping[str, Any], *, limit: float) -> Outcome:
    """Carry a job out in a child process, which is killed with all that it started after `limit` seconds.

    Raises `OSError` when no process can be started.
    """
    if not sys.executable:
        raise OSError("this program does not know its interpreter")
    read, write = os.pipe()
    started = time.monotonic()
    with contextlib.ExitStack() as cleanup:
        reports = cleanup.enter_context(os.fdopen(read, "rb"))
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(write,),
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(write)
        cleanup.callback(_end, child)
        output = _Output(child)
        text = json.dumps({**job, "report": write, "limit": limit}).encode()
        with contextlib.suppress(BrokenPipeError):
            _give(child, text)
        hung = False
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired:
            hung, code = True, 0
            _kill(child)
        output.finish()
        report = b"" if hung else reports.read()
    return _outcome(report, code, hung=hung, output=output, limit=limit, seconds=time.monotonic() - started)


def _give(child: subprocess.Popen[bytes], text: bytes) -> None:
    if child.stdin is not None:
        with child.stdin:
            child.stdin.write(text)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    _kill(child)
    child.wait()


class _Output:
    """Takes in what the child prints, so that it is never blocked; keeps a little, and ends a flood."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self.tail = b""
        self.flooded = False
        self._thread = threading.Thread(target=self._read, name="noodle rehearsal output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        seen = 0
        stream = self._child.stdout
        if stream is None:
            return
        with stream:
            while data := stream.read1(65536):  # type: ignore[attr-defined]
                seen += len(data)
                self.tail = (self.tail + data)[-_KEPT_OUTPUT:]
                if seen > _MOST_OUTPUT and not self.flooded:
                    self.flooded = True
                    _kill(self._child)

    def finish(self) -> None:
        """Wait for the end of the output; what the child started may hold it open."""
        _kill(self._child)
        self._thread.join(5.0)


_MEND = "Mend that version, or take another one: it does so in a fresh interpreter, too."


def _outcome(report: bytes, code: int, *, hung: bool, output: _Output, limit: float, seconds: float) -> Outcome:
    def failed(blocker: str, code: str = StageError.code, hint: str = _MEND, *, final: bool = True) -> Outcome:
        return Outcome(blocker=blocker, code=code, hint=hint, seconds=seconds, final=final)

    if hung:
        blocker = f"its import did not end within {limit:g} s in a rehearsal"
        return failed(blocker, StageTimeoutError.code, final=False)
    if output.flooded:
        return failed(f"it printed more than {_MOST_OUTPUT >> 20} MiB in a rehearsal")
    try:
        told = json.loads(report)
    except ValueError:
        last = output.tail.decode(errors="replace").strip().splitlines()
        words = f": {last[-1]}" if last else ""
        end = f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended the interpreter with code {code}"
        return failed(f"it {end} in a rehearsal{words}")
    if told["error"]:
        return failed(f"it failed in a rehearsal: {told['error']}", told["code"], told["hint"] or _MEND)
    return Outcome(evidence=told["evidence"], warnings=tuple(told["warnings"]), seconds=seconds)
