"""Running a suite with pytest inside this process, and noting what came out, test by test, while it runs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import linecache
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["run_suite"]

# Plugins that would run the tests elsewhere, in another order, or again.
OFF = ("cacheprovider", "randomly", "xdist", "xdist.looponfail", "rerunfailures", "noodle_upgrade", "cov", "pytest_cov")


class Notes:
    """A plugin of pytest that writes a line for each test as soon as it is known: a run that dies has told so far."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._said: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a phase of a test: the call, or whatever else did not pass."""
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        if report.when == "call" or outcome != "passed":
            self._note(_name_of(report), outcome if report.when == "call" or outcome != "failed" else "error")

    def pytest_collectreport(self, report: Any) -> None:
        """Note a file that could not be collected."""
        if report.failed:
            self._note(f"collecting {report.nodeid}", "error")

    def close(self) -> None:
        """Let go of the file: a suite may look for files that nobody has closed."""
        self._file.close()

    def _note(self, name: str, outcome: str) -> None:
        self._file.write(json.dumps([name, outcome]) + "\n")
        self._file.flush()


def _name_of(report: Any) -> str:
    """Return a test's id, with its file also where pytest leaves that out: tests that lie in the package."""
    name = str(report.nodeid)
    return f"{Path(report.location[0]).name}{name}" if name.startswith("::") else name


def run_suite(folder: Path, arguments: Sequence[str], notes: Path, tree: Path) -> int:
    """Run a suite in its folder and return pytest's exit code; `tree` is for interpreters that tests start."""
    import pytest

    _forget_modules_of_suites()
    words = ["-q", "--tb=short", *(word for name in OFF for word in ("-p", f"no:{name}")), *_that_fit(arguments)]
    if _is_here("hypothesispytest"):
        words.append("--hypothesis-seed=0")  # the same examples in every process
    noted = Notes(notes)
    try:
        with _put_back():
            os.chdir(folder)
            os.environ["PYTHONPATH"] = str(tree)
            sys.argv = ["pytest"]
            return int(pytest.main(words, plugins=[noted]))
    finally:
        noted.close()
        # As the modules have it in the end: pytest follows links. Tests may lie in the package, and be told by a path.
        _suites.extend(str(place.resolve()) for place in (folder, *map(Path, arguments)) if place.is_absolute())


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    """Put back what a suite leaves of itself in the process: a second one was not written to come after it."""
    folder, path, environ, known = Path.cwd(), list(sys.path), dict(os.environ), set(linecache.cache)
    policy = _event_loops().get("_event_loop_policy")
    try:
        yield
    finally:
        os.chdir(folder)
        sys.path[:] = [entry for entry in sys.path if entry in path]
        os.environ.clear()
        os.environ.update(environ)
        # Texts that code of the suite's own was made from, by names that a second suite makes, too, and finds taken.
        for name in set(linecache.cache) - known:
            if name.startswith("<"):
                del linecache.cache[name]
        # asyncio.run leaves its own policy so that it makes no loop any more for those who only ask for one.
        is_usual = type(policy).__module__.partition(".")[0] == "asyncio"
        _event_loops()["_event_loop_policy"] = None if is_usual else policy


def _event_loops() -> dict[str, Any]:
    return vars(sys.modules["asyncio.events"]) if "asyncio.events" in sys.modules else {}


def _that_fit(words: Sequence[str]) -> Iterator[str]:
    """Yield the words, without what a suite asks for and is off, or not here: pytest would give up."""
    waiting = iter(words)
    for word in waiting:
        if word.startswith(_FILTERS):
            lines = word.removeprefix(_FILTERS).splitlines()
            yield _FILTERS + "\n".join(line for line in lines if _has_category(line))
            continue
        if not word.startswith("-p"):
            yield word
            continue
        name = word.removeprefix("-p").strip() or next(waiting, "")
        if name.startswith("no:") or _is_here(name):
            yield from ("-p", name)


_FILTERS = "filterwarnings="


def _has_category(line: str) -> bool:
    """Return whether the class that a filter of warnings names can be imported."""
    home, _, name = line.split(":")[2].strip().rpartition(".") if line.count(":") > 1 else ("", "", "")
    if not home:
        return True
    try:
        return hasattr(importlib.import_module(home), name)
    except Exception:
        return False


def _is_here(name: str) -> bool:
    if name in OFF:
        return False
    if any(one.name == name for one in importlib.metadata.entry_points(group="pytest11")):
        return True
    for place in (f"_pytest.{name}", name):
        try:
            if importlib.util.find_spec(place) is not None:
                return True
        except (ImportError, ValueError):
            continue
    return False


_suites: list[str] = []


def _forget_modules_of_suites() -> None:
    """Drop the modules of a suite that ran before: both have a `conftest`, and mostly the same names of files."""
    for name, module in list(sys.modules.items()):
        origin = str(getattr(module, "__file__", "") or "")
        is_test = bool(_suites) and "." not in name and re.fullmatch(r"conftest|test_.*|.*_test", Path(origin).stem)
        if is_test or any(origin == place or origin.startswith(place + os.sep) for place in _suites):
            del sys.modules[name]
