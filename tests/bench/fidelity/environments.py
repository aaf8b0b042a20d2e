"""Where a case runs: a virtual environment with the old version, and a folder with the new one beside it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from fidelity.cases import Case
from fidelity.downloads import FetchError, pip, requirements_of, sdist_of, tools_of, wheel_of

__all__ = ["Environment", "prepare", "put_ours", "version_of"]

# What our packages need; they themselves lie in a folder of their own, so that a change of them rebuilds nothing.
NEEDED = ("pluggy>=1.5,<2", "stevedore>=5.2", "packaging>=23.2", "attrs>=23.2", "cattrs>=23.2")
OURS = ("noodle_upgrade_core", "noodle_upgrade_runtime")


@frozen(kw_only=True)
class Environment:
    """A case that is installed for one Python.

    `site` is where the old version was installed, `tree` the folder with the new one, as the content store would have
    it. `sdists` are the unpacked sources of the old and the new version.
    """

    python: Path
    version: str
    folder: Path
    site: Path
    tree: Path
    sdists: tuple[Path, Path]


def version_of(python: str) -> str:
    """Return an interpreter's version; raises `FetchError` when it does not run."""
    script = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise FetchError(f"{python} is no Python that runs here") from error
    return done.stdout.strip()


def put_ours(root: Path) -> Path:
    """Copy our packages to a folder that any interpreter can import them from, and nothing else with them."""
    sources = {name: _source_of(name) for name in OURS}
    digest = hashlib.sha256()
    for source in sources.values():
        for path in sorted(source.rglob("*.py")):
            digest.update(str(path.relative_to(source.parent)).encode() + path.read_bytes())
    folder = root / f"ours-{digest.hexdigest()[:10]}"
    if not folder.is_dir():
        # Complete or not there: another campaign may be running from the same folder.
        beside = folder.with_name(f"{folder.name}-{os.getpid()}")
        for name, source in sources.items():
            shutil.copytree(source, beside / name, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            beside.replace(folder)
        except OSError:  # it was there first
            shutil.rmtree(beside)
            if not folder.is_dir():
                raise
    return folder


def _source_of(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed here: `nox -s fidelity` sees to that")
    return Path(spec.origin).parent


def prepare(
    case: Case, python: str, root: Path, *, pytest: str = "pytest", with_its_tools: bool = False
) -> Environment:
    """Install a case for an interpreter with such a pytest, or find it installed; raises `FetchError`.

    `with_its_tools` adds what the new version says itself that its tests need.
    """
    with _alone(root / "fetched" / f"{case.name}.lock"):
        return _prepared(case, python, root, pytest, with_its_tools=with_its_tools)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other run is at it: two of them would install into one folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepared(case: Case, python: str, root: Path, pytest: str, *, with_its_tools: bool) -> Environment:
    version = version_of(python)
    fetched = root / "fetched" / case.name
    sdists = (
        sdist_of(case.package, case.old, fetched / f"{case.old}-sdist"),
        sdist_of(case.package, case.new, fetched / f"{case.new}-sdist"),
    )
    short = ".".join(version.split(".")[:2])
    wheels = tuple(
        wheel_of(case.package, one, fetched / f"{one}-wheel-{short}", python) for one in (case.old, case.new)
    )
    wanted = [*requirements_of(wheels[1]), *case.test_requirements, pytest, *NEEDED]
    if with_its_tools:
        wanted += tools_of(wheels[1], sdists[1])
    stamp = hashlib.sha256(json.dumps([[wheel.name for wheel in wheels], version, wanted]).encode()).hexdigest()[:10]
    folder = root / "installed" / f"{case.key}-{version}-{stamp}"
    venv, tree = folder / "venv", folder / "new"
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _install(python, venv, tree, wheels, wanted)
        (folder / "complete").touch()
    site = next(iter(venv.glob("lib/python*/site-packages")))
    return Environment(
        python=venv / "bin" / "python", version=version, folder=folder, site=site, tree=tree, sdists=sdists
    )


def _install(python: str, venv: Path, tree: Path, wheels: Sequence[Path], wanted: Sequence[str]) -> None:
    done = subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], capture_output=True, check=False)
    if done.returncode:
        raise FetchError(f"no virtual environment could be made: {done.stderr.decode(errors='replace')[-300:]}")
    inner = str(venv / "bin" / "python")
    old, new = (str(wheel) for wheel in wheels)
    pip("install", "--prefer-binary", old, *wanted, python=inner)
    pip("install", "--no-deps", "--target", str(tree), new, python=inner)
