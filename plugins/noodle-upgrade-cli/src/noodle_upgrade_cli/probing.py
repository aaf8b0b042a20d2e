"""Have a stack examined by a process of its own, and live with whatever becomes of that process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from noodle_upgrade_core.errors import PluginBrokenError, PluginTimeoutError, UpgradeError

__all__ = ["LIMIT", "examined", "examined_anyway", "examined_drivers"]

LIMIT = 60.0
"""Seconds that one process may take to load what it is asked to."""

_CODE = "from noodle_upgrade_cli.examining import main; main()"
_MOST_BYTES = 32 << 20
_MOST_WORDS = 2000
_SOME = "One of the plugins or drivers"
_ONE = "Update it, uninstall it, or leave it out of the settings."
_WHICH = "`noodle plugins doctor` loads them one by one and names"


def examined(
    files: Sequence[str],
    *,
    only: Sequence[str] = (),
    load: bool = True,
    make: bool = True,
    limit: float = LIMIT,
) -> dict[str, Any]:
    """Return the report of `examining.examine`, made by another process within `limit` seconds.

    Raises `PluginBrokenError` when that process ends without a report, `PluginTimeoutError` when it is late, and the
    typed error that it reports.
    """
    request = {"files": list(files), "only": list(only), "load": load, "make": make}
    return _reported(request, f"The plugin {', '.join(only)}" if only else "", limit)


def examined_anyway(files: Sequence[str], *, make: bool = True) -> dict[str, Any]:
    """Return the report of a whole stack; where a plugin spoils it, one without plugins that has this as a finding."""
    try:
        return examined(files, make=make)
    except PluginBrokenError as error:
        report = examined(files, load=False, make=False)
        finding = {"severity": "error", "code": error.code, "subject": "", "source": ""}
        report["findings"].append({**finding, "message": error.message, "hint": error.hint})
        return report


def examined_drivers(names: Sequence[tuple[str, str]], *, limit: float = LIMIT) -> list[dict[str, Any]]:
    """Return a row for each driver, given by group and name, in order; never raises for what a driver does.

    They are loaded in one process; where one of them spoils that, each in a process of its own.
    """
    try:
        rows: list[dict[str, Any]] = _reported({"names": list(names)}, _driver(names), limit)["drivers"]
    except UpgradeError as error:
        if len(names) > 1:
            return [row for one in names for row in examined_drivers([one], limit=limit)]
        return [{"group": group, "name": name, "error": error.to_wire()} for group, name in names]
    return rows


def _driver(names: Sequence[tuple[str, str]]) -> str:
    return f"The driver {', '.join(f'{group}:{name}' for group, name in names)}"


def _reported(request: Mapping[str, Any], what: str, limit: float) -> dict[str, Any]:
    """Have another process examine what a request says; `what` are the words for what is loaded, if it is one thing."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as answer:
        whole = {**request, "path": sys.path, "answer": answer.fileno()}
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, json.dumps(whole)],
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
                f"{what or _SOME} did not load within {limit:g} s.", hint=_ONE if what else f"{_WHICH} the slow one."
            ) from error
        finally:
            # Also what a plugin has started meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer.seek(0)
        said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_WORDS))
        words = said.read().decode(errors="replace").strip()
        return _report(answer.read(_MOST_BYTES), process.returncode, words, what)


def _report(content: bytes, code: int, words: str, what: str) -> dict[str, Any]:
    try:
        report = json.loads(content)
    except ValueError:
        report = None
    if not isinstance(report, dict):
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise PluginBrokenError(
            f"{what or _SOME} ended the process that loaded it, with {how}.",
            hint=_ONE if what else f"{_WHICH} the one that does this.",
            details={"output": words},
        )
    if report.get("error"):
        raise UpgradeError.from_wire(report["error"])
    return report
