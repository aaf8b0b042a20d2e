"""Have a stack examined by a process of its own, and live with whatever becomes of that process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from noodle_upgrade_core.errors import PluginBrokenError, PluginTimeoutError, UpgradeError

__all__ = ["examined"]

_CODE = "from noodle_upgrade_cli.examining import main; main()"
_MOST_BYTES = 32 << 20
_MOST_WORDS = 2000


def examined(
    files: Sequence[str],
    *,
    only: Sequence[str] = (),
    make: bool = True,
    drivers: bool = True,
    limit: float = 60.0,
) -> dict[str, Any]:
    """Return the report of `examining.examine`, made by another process within `limit` seconds.

    Raises `PluginBrokenError` when that process ends without a report, `PluginTimeoutError` when it is late, and the
    typed error that it reports.
    """
    with tempfile.TemporaryFile() as said:
        reading, writing = os.pipe()
        request = {"files": list(files), "only": list(only), "make": make, "drivers": drivers}
        request |= {"path": sys.path, "pipe": writing}
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(writing,),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            content = _within(process, pipe.read, limit, only)
        said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_WORDS))
        words = said.read().decode(errors="replace").strip()
    return _report(content, process.returncode, words, only)


def _within(process: subprocess.Popen[bytes], read: Any, limit: float, only: Sequence[str]) -> bytes:
    import threading  # noqa: PLC0415 - next to free

    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(limit, kill)
    timer.start()
    try:
        content: bytes = read(_MOST_BYTES)
        process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
    if late.is_set():
        raise PluginTimeoutError(
            f"{_what(only)} did not load within {limit:g} s.",
            hint="`noodle plugins doctor` loads them one by one and names the slow one." if not only else "",
        )
    return content


def _report(content: bytes, code: int, words: str, only: Sequence[str]) -> dict[str, Any]:
    try:
        report = json.loads(content)
    except ValueError:
        report = None
    if not isinstance(report, dict):
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise PluginBrokenError(
            f"{_what(only)} ended the process that loaded it, with {how}.",
            hint="" if only else "`noodle plugins doctor` loads them one by one and names the one that does this.",
            details={"output": words},
        )
    if report.get("error"):
        raise UpgradeError.from_wire(report["error"])
    return report


def _what(only: Sequence[str]) -> str:
    return f"The plugin {', '.join(only)}" if only else "One of the plugins"
