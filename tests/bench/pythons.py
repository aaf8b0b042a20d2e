"""The interpreters at hand that are supported: the one that runs, what the path leads to, and what pyenv keeps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SUPPORTED", "at_hand"]

SUPPORTED = ("3.11", "3.12", "3.13")


def at_hand() -> list[str]:
    """Return the path of an interpreter of each supported version, in their order; the one that runs stands for its own."""
    found = {".".join(map(str, sys.version_info[:2])): sys.executable}
    for version in SUPPORTED:
        if version not in found and (path := next(filter(_runs, _candidates(version)), None)) is not None:
            found[version] = path
    return [found[version] for version in sorted(found, key=lambda one: [int(part) for part in one.split(".")])]


def _candidates(version: str) -> Iterator[str]:
    if (path := shutil.which(f"python{version}")) is not None:
        yield path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = [*(root / "versions").glob(f"{version}.*/bin/python{version}")]
    yield from map(str, sorted(kept, key=lambda one: [int(p) for p in one.parts[-3].split(".") if p.isdigit()])[::-1])


def _runs(path: str) -> bool:
    # A shim may be there without an interpreter behind it.
    try:
        return subprocess.run([path, "-c", ""], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
