"""Finding a version's tests in its sdist, and putting them where they test what is imported, not the sdist's own copy."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

__all__ = ["Suite", "SuiteError", "lay_out", "outside_of_package"]

TESTS = ("tests", "test", "testing", "t")
# What pytest takes for tests by itself, and what it has to be told of.
USUAL = ("test_*.py", "*_test.py")
LIKE_TESTS = (*USUAL, "tests.py", "test.py")
CONFIGURATION = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
# Building, and what would be imported in the place of what is installed.
NOT_FOR_TESTS = ("build", "dist", ".git", "*.egg-info", "PKG-INFO", "setup.py", "noxfile.py", "__pycache__", "*.pyc")
# A suite that turns warnings into errors was not written for those of a later pytest, nor to be run without the plugins
# that its own settings name; one file that cannot be collected is one failure.
NO_ERRORS = ("Deprecation", "UnknownMark", "Config", "Collection", "AssertRewrite")
TOLERANT = (
    *(word for kind in NO_ERRORS for word in ("-W", f"ignore::pytest.Pytest{kind}Warning")),
    "--continue-on-collection-errors",
)
STRICT = ("strict", "strict_config", "strict_markers")
# Options of a suite's own that change what is found and how; all others are for people, or for plugins.
KEPT_OPTIONS = ("--import-mode", "--doctest-glob", "--doctest-modules")
WITH_A_WORD = ("-p", "--import-mode", "--doctest-glob")


class SuiteError(RuntimeError):
    """A version whose tests cannot be found."""


@frozen(kw_only=True)
class Suite:
    """Tests that are ready to run: `folder` to run them in, and the words for pytest."""

    folder: Path
    arguments: tuple[str, ...]


def lay_out(sdist: Path, folder: Path, *, import_name: str, tree: Path, tops: Sequence[str]) -> Suite:
    """Copy the tests and what they read out of an sdist into `folder`, without the package itself.

    Tests that lie inside the package are a part of it: they are put into `tree`, where the version is installed, if
    that version did not install them itself. Raises `SuiteError`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    homes = [home for home in (sdist / "src", sdist / "lib", sdist) if _package_in(home, import_name)]
    inside = _tests_inside(homes, import_name)
    shutil.copytree(sdist, folder, ignore=_without_package(homes, tops), symlinks=True)
    found = [str(path.relative_to(folder)) for path in _tests_outside(folder)]
    if not found and not inside:
        found = [str(path.relative_to(folder)) for path in _tests_anywhere(folder)]
    if not found and not inside:
        raise SuiteError(f"no tests in {sdist.name}")
    words = _configured(folder, inside if not found else [folder / name for name in found])
    if not found:
        for path in inside:
            placed = tree / path.relative_to(_home_of(path, homes))
            if not placed.exists():
                _copy(path, placed)
            found.append(str(placed))
    return Suite(folder=folder, arguments=(*words, *found))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def _package_in(home: Path, import_name: str) -> Path | None:
    path = home.joinpath(*import_name.split("."))
    return next((one for one in (path, path.with_name(path.name + ".py")) if one.exists()), None)


def _home_of(path: Path, homes: Sequence[Path]) -> Path:
    return next(home for home in homes if path.is_relative_to(home))


def _tests_inside(homes: Sequence[Path], import_name: str) -> list[Path]:
    for home in homes:
        package = _package_in(home, import_name)
        if package is not None and package.is_dir():
            folders = [path for name in TESTS for path in sorted(package.rglob(name)) if _has_tests(path)]
            if folders:
                return [path for path in folders if not any(other in path.parents for other in folders)]
            files = [path for pattern in LIKE_TESTS for path in sorted(package.rglob(pattern))]
            if files:
                return files
    return []


def _without_package(homes: Sequence[Path], tops: Sequence[str]) -> Callable[[str, list[str]], set[str]]:
    """Return what `copytree` asks: everything may be read by a test, but for the package, wherever it lies."""
    usual = shutil.ignore_patterns(*NOT_FOR_TESTS)
    places = {str(home) for home in homes}

    def ignored(folder: str, names: list[str]) -> set[str]:
        left_out = set(usual(folder, names))
        if folder in places:
            left_out |= {name for name in names for top in tops if name in {top, f"{top}.py"}}
        return left_out

    return ignored


def _tests_outside(folder: Path) -> list[Path]:
    configured = [path for name in _testpaths(folder) for path in sorted(folder.glob(name)) if _has_tests(path)]
    if configured:
        return configured
    named = [folder / name for name in TESTS if _has_tests(folder / name)]
    return named or [path for pattern in LIKE_TESTS for path in sorted(folder.glob(pattern))]


def _tests_anywhere(folder: Path) -> list[Path]:
    """Return the folders with tests that lie deeper, where nobody has said that they are tests."""
    folders = {path.parent for pattern in USUAL for path in folder.rglob(pattern)}
    return sorted(one for one in folders if not any(other in one.parents for other in folders))


def _has_tests(path: Path) -> bool:
    if path.is_file():
        return path.suffix == ".py"
    return path.is_dir() and any(True for pattern in LIKE_TESTS for _ in path.rglob(pattern))


def outside_of_package(suite: Mapping[str, Any], tree: Path) -> tuple[dict[str, Any], bool]:
    """Return a suite whose tests lie in no package, and whether they had to be moved.

    Tests that are modules of the package would import the public version along with its other modules. `homes` has the
    package that each folder of them was, by the folder's name: relative imports start from there.
    """
    words, homes, folder = [], {}, Path(suite["folder"])
    for word in suite["arguments"]:
        if not word.startswith(str(tree)):
            words.append(word)
            continue
        placed = folder / f"moved_{len(words)}"
        shutil.rmtree(placed, ignore_errors=True)
        _copy(Path(word), placed if Path(word).is_dir() else placed / Path(word).name)
        words += [placed.name if Path(word).is_dir() else f"{placed.name}/{Path(word).name}", "--import-mode=importlib"]
        home = Path(word).relative_to(tree)
        homes[placed.name] = ".".join(home.parts if Path(word).is_dir() else home.parent.parts)
    return {**suite, "arguments": words, "homes": homes}, bool(homes)


# --- the suite's own settings ----------------------------------------------------------------------------------------


def _settings(folder: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """Yield the pytest section of every file that pytest would read it from."""
    for name in CONFIGURATION:
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix == ".toml":
            try:
                told = tomllib.loads(path.read_text(encoding="utf-8", errors="replace")).get("tool", {})
            except tomllib.TOMLDecodeError:
                continue
            section = told.get("pytest", {})
            options = section.get("ini_options", section)
            if options:
                yield path, dict(options)
            continue
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(path.read_text(encoding="utf-8", errors="replace"))
        except configparser.Error:
            continue
        wanted = "tool:pytest" if name == "setup.cfg" else "pytest"
        if parser.has_section(wanted):
            yield path, dict(parser.items(wanted))


def _words(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else shlex.split(str(value), comments=True)


def _lines(value: object) -> list[str]:
    lines = value if isinstance(value, list) else str(value).splitlines()
    return [str(line).strip() for line in lines if str(line).strip()]


def _testpaths(folder: Path) -> list[str]:
    return next((_words(told["testpaths"]) for _, told in _settings(folder) if "testpaths" in told), [])


def _configured(folder: Path, tests: Sequence[Path]) -> list[str]:
    """Return the words that make pytest read this suite's settings, and no other, without what needs a plugin."""
    path, told = next(_settings(folder), (folder / "noodle-fidelity.ini", {}))
    if not path.exists():
        # Without a file of its own pytest would take the one of a folder above.
        path.write_text("[pytest]\n")
    words = _words(told.get("addopts", ""))
    kept = []
    for number, word in enumerate(words):
        if word in WITH_A_WORD:
            kept += words[number : number + 2]
        elif word.startswith(KEPT_OPTIONS) or re.fullmatch(r"-p\S+", word):
            kept.append(word)
    changed = ["addopts=", "required_plugins=", *(f"{name}=false" for name in STRICT if name in told)]
    if filters := _lines(told.get("filterwarnings", "")):
        # Said again, so that those of a package that is not here can be left out where it is known.
        changed.append("filterwarnings=" + "\n".join(filters))
    if "python_files" not in told and not any(_is_usual(path) for path in tests):
        changed.append(f"python_files={' '.join(LIKE_TESTS)}")
    return ["-c", path.name, "--rootdir", ".", *(w for one in changed for w in ("-o", one)), *TOLERANT, *kept]


def _is_usual(path: Path) -> bool:
    """Return whether pytest finds tests there without being told how their files are called."""
    if path.is_file():
        return True
    return any(True for pattern in USUAL for _ in path.rglob(pattern))
