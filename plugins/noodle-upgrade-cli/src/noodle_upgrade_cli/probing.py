"""Have a stack examined by a process of its own, and live with whatever becomes of that process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from noodle_upgrade_core.errors import PluginBrokenError, PluginTimeoutError, UpgradeError

__all__ = ["examined", "examined_anyway"]

_CODE = "from noodle_upgrade_cli.examining import main; main()"
_MOST_BYTES = 32 << 20
_MOST_WORDS = 2000
_ONE = "Update or uninstall it, or switch it off in the settings (runtime_upgrade.plugins.disabled)."


def examined(
    files: Sequence[str],
    *,
    only: Sequence[str] = (),
    load: bool = True,
    make: bool = True,
    drivers: bool = True,
    limit: float = 60.0,
) -> dict[str, Any]:
    """Return the report of `examining.examine`, made by another process within `limit` seconds.

    Raises `PluginBrokenError` when that process ends without a report, `PluginTimeoutError` when it is late, and the
    typed error that it reports.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as answer:
        request = {"files": list(files), "only": list(only), "load": load, "make": make, "drivers": drivers}
        request |= {"path": sys.path, "answer": answer.fileno()}
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=(answer.fileno(),),
            start_new_session=True,
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired as error:
            raise PluginTimeoutError(
                f"{_what(only)} did not load within {limit:g} s.",
                hint=_ONE if only else "`noodle plugins doctor` loads them one by one and names the slow one.",
            ) from error
        finally:
            # Also what a plugin has started meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer.seek(0)
        said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_WORDS))
        words = said.read().decode(errors="replace").strip()
        return _report(answer.read(_MOST_BYTES), process.returncode, words, only)


def examined_anyway(files: Sequence[str], *, make: bool = True, drivers: bool = True) -> dict[str, Any]:
    """Return the report of a whole stack; where a plugin spoils it, one without plugins that has this as a finding."""
    try:
        return examined(files, make=make, drivers=drivers)
    except PluginBrokenError as error:
        report = examined(files, load=False, make=False, drivers=drivers)
        finding = {"severity": "error", "code": error.code, "subject": "", "source": ""}
        report["findings"].append({**finding, "message": error.message, "hint": error.hint})
        return report


def _report(content: bytes, code: int, words: str, only: Sequence[str]) -> dict[str, Any]:
    try:
        report = json.loads(content)
    except ValueError:
        report = None
    if not isinstance(report, dict):
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise PluginBrokenError(
            f"{_what(only)} ended the process that loaded it, with {how}.",
            hint=_ONE if only else "`noodle plugins doctor` loads them one by one and names the one that does this.",
            details={"output": words},
        )
    if report.get("error"):
        raise UpgradeError.from_wire(report["error"])
    return report


def _what(only: Sequence[str]) -> str:
    return f"The plugin {', '.join(only)}" if only else "One of the plugins"
