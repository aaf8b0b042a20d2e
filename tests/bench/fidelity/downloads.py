"""Fetching a version: its wheel, pure Python where there is one, and its sdist, which has the tests."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["FetchError", "pip", "requirements_of", "sdist_of", "tools_of", "wheel_of"]

LIMIT_SECONDS = 600


class FetchError(RuntimeError):
    """Something could not be fetched or installed; says what pip said last."""


def pip(*words: str, python: str = sys.executable) -> None:
    """Run pip for an interpreter, which need not have one itself; tries twice, because networks have moods."""
    command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input", *words]
    for last in (False, True):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise FetchError(f"pip {words[0]} took more than {LIMIT_SECONDS} s") from error
        if done.returncode == 0:
            return
        told = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in told if line.lstrip().lower().startswith("error")] or told
        if last or "onnection" not in done.stderr:
            raise FetchError(f"pip {words[0]}: {' / '.join(errors[:3])[:600]}")


def wheel_of(package: str, version: str, folder: Path, python: str) -> Path:
    """Return the wheel of a version: the pure one, where it was published, or one that is built from the sdist.

    Nothing compiled can be patched; a package with an optional accelerator is taken as it is without.
    """
    found = sorted(folder.glob("*.whl"))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        wanted = f"{package}=={version}"
        try:
            pip("download", "--no-deps", "--only-binary=:all:", "--platform=any", "--dest", str(folder), wanted)
        except FetchError:
            pip("wheel", "--no-deps", "--wheel-dir", str(folder), wanted, python=python)
        found = sorted(folder.glob("*.whl"))
    return found[0]


def sdist_of(package: str, version: str, folder: Path) -> Path:
    """Return the unpacked folder of the sdist of a version."""
    unpacked = folder / "unpacked"
    if not unpacked.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if not _archives(folder):
            # Of this package alone: pip asks its backend for metadata, which need not be built from its sources too.
            pip("download", "--no-deps", f"--no-binary={package}", "--dest", str(folder), f"{package}=={version}")
        (archive,) = _archives(folder)[:1]
        beside = folder / "unpacking"
        shutil.rmtree(beside, ignore_errors=True)
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as file:
                file.extractall(beside)
        else:
            with tarfile.open(archive) as file:
                file.extractall(beside, filter="data")
        beside.replace(unpacked)
    inside = [path for path in unpacked.iterdir() if path.is_dir()]
    return inside[0] if len(inside) == 1 else unpacked


def _archives(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith((".tar.gz", ".zip", ".tar.bz2")))


def requirements_of(wheel: Path) -> Sequence[str]:
    """Return what a wheel requires without any extra: its Requires-Dist lines."""
    return [line for line in _requires(wheel) if not re.search(r";.*\bextra\s*==", line)]


TEST_EXTRAS = ("test", "tests", "testing")
# Plugins that look at style, add options of their own, or run the tests in another way.
NOT_TOOLS = re.compile(
    r"pytest-(cov|mypy|ruff|black|flake8|enabler|checkdocs|xdist|randomly|rerunfailures|sugar)|coverage"
)


def tools_of(wheel: Path, sdist: Path) -> Sequence[str]:
    """Return what a version itself says that its tests need: an extra or a dependency group with such a name."""
    wanted = []
    for line in _requires(wheel):
        requirement, _, marker = line.partition(";")
        extra = re.search(r"""\bextra\s*==\s*['"]([\w.-]+)['"]""", marker)
        if extra and extra[1].lower() in TEST_EXTRAS:
            rest = re.sub(r"\s*(\band\b)?\s*" + re.escape(extra[0]), "", marker).strip(" ()")
            wanted.append(f"{requirement.strip()} ; {rest}" if rest else requirement.strip())
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError):
        groups = tomllib.loads((sdist / "pyproject.toml").read_text(encoding="utf-8")).get("dependency-groups", {})
        wanted += [line for name in TEST_EXTRAS for line in groups.get(name, ()) if isinstance(line, str)]
    return [line for line in wanted if not NOT_TOOLS.match(line.lower().replace("_", "-"))]


def _requires(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as file:
        name = next(one for one in file.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", one))
        head = file.read(name).decode("utf-8", "replace").partition("\n\n")[0]
    return re.findall(r"^Requires-Dist:\s*(.+?)\s*$", head, re.MULTILINE | re.IGNORECASE)
