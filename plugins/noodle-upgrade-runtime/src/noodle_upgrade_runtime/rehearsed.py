"""The child's side of a rehearsal: runs in an interpreter of its own, and writes one JSON report."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noodle_upgrade_core.errors import StageError, UpgradeError
from noodle_upgrade_core.model import ComponentDescriptor
from noodle_upgrade_runtime.engine import Change, Engine
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.trees import member_of

__all__ = ["main"]

_MOST_MEMORY = 8 << 30
_MOST_FILE = 256 << 20


def main(job: Mapping[str, Any]) -> None:
    """Try a change and report: `{error, code, hint, evidence, warnings}`; then end at once, whatever was started."""
    _limit(job["limit"])
    error, code, hint = "", StageError.code, ""
    evidence: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()
    started = time.perf_counter()
    try:
        evidence, warnings = (_load if job["mechanism"] == "generation" else _stage)(job)
    except UpgradeError as failed:
        error, code = failed.message, failed.code
        # Where it failed is in this process's traceback, which nobody will see.
        hint = "" if isinstance(failed, StageError) else failed.hint
    except BaseException as failed:  # noqa: BLE001 - whatever it is, it is the answer
        error = f"{type(failed).__name__}: {failed}"
    evidence["stage_seconds"] = round(time.perf_counter() - started, 4)
    told = {"error": error, "code": code, "hint": hint, "evidence": evidence, "warnings": list(warnings)}
    report = json.dumps(told, default=str)
    os.write(job["report"], report.encode())
    # Threads and exit handlers of what was imported are no part of the answer.
    os._exit(0)


def _limit(seconds: float) -> None:
    wanted = {
        resource.RLIMIT_CPU: int(seconds) + 2,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: _MOST_FILE,
        resource.RLIMIT_AS: _MOST_MEMORY,
    }
    for which, most in wanted.items():
        _, hard = resource.getrlimit(which)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # not on this system: the time limit remains
            resource.setrlimit(which, (allowed, allowed))


def _load(job: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Load the new version privately, as far as the names that the handles need."""
    space = Space([member_of(job["name"], job["to_version"], Path(job["new_tree"]))])
    for entry_point in job["entry_points"]:
        name, _, path = entry_point.partition(":")
        found: Any = space.load(name)
        for part in filter(None, path.split(".")):
            found = getattr(found, part)
    return {"modules": len(space.modules())}, ()


def _stage(job: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Load the old version as it is loaded there, and let the engine place the new one; nothing is carried out."""
    for name in job["modules"]:
        with contextlib.suppress(ImportError):  # what only the program's state made importable
            importlib.import_module(name)
    module, _, qualified = job["engine"].partition(":")
    made: Any = importlib.import_module(module)
    for part in qualified.split("."):
        made = getattr(made, part)
    engine: Engine = made()
    change = Change(
        component=ComponentDescriptor(name=job["name"], version=job["from_version"]),
        from_version=job["from_version"],
        to_version=job["to_version"],
        top_levels=tuple(job["top_levels"]),
        import_names=tuple(job["import_names"]),
        new_tree=Path(job["new_tree"]),
        old_tree=None if job["old_tree"] is None else Path(job["old_tree"]),
        path=(job["from_version"], job["to_version"]),
    )
    prepared = engine.stage((change,), cancelled=lambda: False)
    script = Script(prepared.operations())
    script.trial()
    foresee = getattr(prepared, "foreseen", dict)
    return {**prepared.evidence, "bindings": len(script.operations), **foresee()}, tuple(prepared.warnings)
