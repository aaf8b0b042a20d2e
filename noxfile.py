"""What can be run here: `nox -s tests`, `lint`, `typing`, `demo`, `bench`, `fidelity`, `crash`, `docs`.

Every distribution is built as a wheel and tested from the wheel, in an environment that holds only what the wheel
itself declares: a dependency that was not declared fails here.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import sys

import nox

ROOT = pathlib.Path(__file__).parent
BUILD = ROOT / "build"
WHEELS = BUILD / "wheels"
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "pyproject.toml").is_file())
DISTRIBUTIONS = ["noodle-upgrade-core", *PLUGINS]
TEST_TOOLS = ["pytest>=8", "hypothesis>=6.100"]
# What the tests of a distribution need besides the distribution itself: always real things, never part of the wheel.
EXTRA_TOOLS = {
    "noodle-upgrade-server": ["httpx"],
    "noodle-upgrade-cli": ["noodle-upgrade-server", "noodle-upgrade-runtime"],
    "noodle-upgrade-compiler": ["noodle-upgrade-runtime", "click", "rich", "coverage"],
    "noodle-upgrade-deployment": ["click", "rich", "matplotlib"],
}

# Those that compute all the time: by two processes it is half of it.
PARALLEL = {name: ["--numprocesses=2"] for name in ("noodle-upgrade-core", "noodle-upgrade-runtime")}

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "typing"]
nox.options.reuse_existing_virtualenvs = True


def source_of(distribution: str) -> pathlib.Path:
    return ROOT if distribution == "noodle-upgrade-core" else ROOT / "plugins" / distribution


def build_wheels(session: nox.Session) -> None:
    """Build every distribution once per run of nox, without isolation: the backend is in the session already."""
    marker = WHEELS / f".built-by-{os.getpid()}"
    if marker.exists():
        return
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    session.install("build", "hatchling")
    for distribution in DISTRIBUTIONS:
        session.run(
            "python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(WHEELS), str(source_of(distribution)),
            silent=True,
        )  # fmt: skip
    marker.touch()


def install_wheels(session: nox.Session, *names: str) -> None:
    """Install our own distributions from their wheels, and what they need from the index."""
    session.install("--force-reinstall", "--no-deps", *(str(_wheel(name)) for name in names))
    session.install("--find-links", str(WHEELS), *(str(_wheel(name)) for name in names))


def _wheel(name: str) -> pathlib.Path:
    (wheel,) = WHEELS.glob(f"{name.replace('-', '_')}-*.whl")
    return wheel


def _closure(names: list[str]) -> list[str]:
    """Our own distributions that these need: the core, always."""
    return list(dict.fromkeys(["noodle-upgrade-core", *names]))


@nox.session
@nox.parametrize("distribution", [*DISTRIBUTIONS, "integration", "fidelity"])
def tests(session: nox.Session, distribution: str) -> None:
    """Run the tests of each distribution against its wheel, those of the whole stack against all, and the harness's."""
    build_wheels(session)
    if distribution == "fidelity":
        install_wheels(session, "noodle-upgrade-core", "noodle-upgrade-runtime")
        session.install(*TEST_TOOLS)
        session.run("pytest", str(ROOT / "tests" / "fidelity"), *session.posargs)
        return
    if distribution == "integration":
        install_wheels(session, *DISTRIBUTIONS)
        session.install(*TEST_TOOLS, "httpx", "build", "hatchling", "markdown-it-py==2.2.0")
        session.run("pytest", str(ROOT / "tests" / "integration"), *session.posargs)
        return
    extra = EXTRA_TOOLS.get(distribution, [])
    ours = [name for name in extra if name in DISTRIBUTIONS]
    install_wheels(session, *_closure([distribution, *ours]))
    session.install(*TEST_TOOLS, *(name for name in extra if name not in DISTRIBUTIONS))
    parallel = PARALLEL.get(distribution, [])
    if parallel:
        session.install("pytest-xdist>=3.6")
    folder = source_of(distribution) / "tests"
    folders = [folder / "unit", folder / "crash"] if distribution == "noodle-upgrade-core" else [folder]
    session.run("pytest", *parallel, *(str(path) for path in folders), *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff==0.17.6")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types, strictly, of everything that is shipped, and of the harness of the published packages."""
    build_wheels(session)
    install_wheels(session, *DISTRIBUTIONS)
    session.install("mypy==2.4.1", "types-psutil", "coverage", *TEST_TOOLS)
    for distribution in DISTRIBUTIONS:
        package = distribution.replace("-", "_")
        base = source_of(distribution)
        session.run("mypy", "--exclude", "bundled", str(base / package if base == ROOT else base / "src" / package))
    # Versions of phases: each by itself, for two of them have modules of the same name.
    for version in sorted((ROOT / "plugins" / "noodle-upgrade-compiler").glob("src/*/bundled/*/*/")):
        session.chdir(version)
        session.run("mypy", "--config-file", str(ROOT / "pyproject.toml"), ".")
    session.chdir(ROOT)
    # Its own package, found by its own name.
    session.run("mypy", "-p", "fidelity", env={"MYPYPATH": str(ROOT / "tests" / "bench")})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documents as pages, and take no warning; writes build/docs."""
    session.install(*nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), "docs"))
    target = BUILD / "docs"
    shutil.rmtree(target, ignore_errors=True)
    session.run(
        "sphinx-build", "--fail-on-warning", "--keep-going", "--quiet", "--jobs=2", "-d", str(BUILD / "docs-cache"),
        "-c", str(ROOT / "docs"), str(ROOT), str(target),
    )  # fmt: skip
    session.log("The pages begin at %s", target / "index.html")


@nox.session
def demo(session: nox.Session) -> None:
    """Upgrade a library inside a serving process, live, and try to break it; writes build/demo.json."""
    build_wheels(session)
    install_wheels(session, *DISTRIBUTIONS)
    session.install("httpx", "markdown-it-py==2.2.0")
    session.run("python", str(ROOT / "docs" / "tutorial" / "demo" / "demo.py"), *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; prints a table and writes build/bench.json."""
    build_wheels(session)
    install_wheels(session, *DISTRIBUTIONS)
    session.install("httpx", "jurigged", "gunicorn", "markdown-it-py==2.2.0")
    session.run("python", str(ROOT / "tests" / "bench" / "bench.py"), *session.posargs)


@nox.session
def fidelity(session: nox.Session) -> None:
    """Upgrade published packages live and run their own suites; `-- --only NAME`, `-- --cases FILE`."""
    build_wheels(session)
    install_wheels(session, "noodle-upgrade-core", "noodle-upgrade-runtime")
    session.run("python", "-m", "fidelity", *session.posargs, env={"PYTHONPATH": str(ROOT / "tests" / "bench")})


@nox.session
def crash(session: nox.Session) -> None:
    """Kill it at every fault point, also while it recovers and deploys; `-- --kills 10000` for a campaign.

    `--deployment-kills 1500` says how many of them hit deployments; both count in build/crash.json.
    """
    build_wheels(session)
    install_wheels(session, "noodle-upgrade-core", "noodle-upgrade-deployment")
    session.install(*TEST_TOOLS)
    parser = argparse.ArgumentParser(prog="nox -s crash --", add_help=False, allow_abbrev=False)
    parser.add_argument("--deployment-kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bug-kills", type=int, default=400)
    ours, others = parser.parse_known_args(session.posargs)
    common = [f"--seed={ours.seed}", f"--bug-kills={ours.bug_kills}"]
    journal, deployments = BUILD / "crash.json", BUILD / "killed.json"
    for report in (journal, deployments):
        report.unlink(missing_ok=True)
    # A campaign that has found something ends with 1; the other one is run all the same, and the reports tell.
    session.run("python", "-m", "tests.crash", *others, *common, f"--report={journal}", success_codes=[0, 1])
    session.run(
        "python", "-m", "killed", f"--kills={ours.deployment_kills}", *common, f"--report={deployments}",
        env={"PYTHONPATH": str(source_of("noodle-upgrade-deployment") / "tests" / "deploying")}, success_codes=[0, 1],
    )  # fmt: skip
    if missing := [report.name for report in (journal, deployments) if not report.is_file()]:
        session.error(f"a campaign has failed before it could write build/{missing[0]}: its last words are above")
    if not _added_up(journal, deployments):
        session.error("something was violated, or a planted bug was not caught: see build/crash.json")


def _added_up(journal: pathlib.Path, deployments: pathlib.Path) -> bool:
    """Count the kills of deployments in with the others; returns whether both campaigns ended well."""
    found, more = (json.loads(path.read_text()) for path in (journal, deployments))
    for key in ("kills", "violations", "planted", "caught"):
        found[key] += more[key]
    journal.write_text(json.dumps({**found, "deployments": more}, indent=2) + "\n")
    return not found["violations"] and found["caught"] == found["planted"]


if sys.version_info < (3, 11):  # noqa: UP036 - a helpful word for whoever runs nox on an old interpreter
    raise SystemExit("Noodle Upgrade needs Python 3.11 or newer: run nox with it (python3.11 -m nox …).")
