from __future__ import annotations

import asyncio
import contextlib
import linecache
import os
import sys
import warnings
from pathlib import Path

import pytest
from fidelity.inside import testing
from fidelity.suites import Suite, SuiteError, lay_out, outside_of_package

from .made_up import written

PASSES = "def test_it():\n    pass\n"


def laid(tmp_path: Path, files: dict[str, str], name: str = "gizmo") -> Suite:
    sdist = written(tmp_path / "gizmo-1.0", {"setup.py": "1/0\n", **files})
    (tmp_path / "tree").mkdir(exist_ok=True)
    return lay_out(sdist, tmp_path / "suite", import_name=name, tree=tmp_path / "tree", tops=[name.partition(".")[0]])


def options(suite: Suite) -> list[str]:
    words = suite.arguments
    return [words[number + 1] for number, word in enumerate(words) if word == "-o"]


@pytest.mark.parametrize("home", ["", "src/", "lib/"])
def test_tests_are_put_where_the_sdists_own_copy_is_not(tmp_path: Path, home: str) -> None:
    suite = laid(tmp_path, {f"{home}gizmo/__init__.py": "", "tests/test_a.py": PASSES, "docs/read.txt": "x"})
    assert suite.arguments[-1] == "tests"
    assert (suite.folder / "docs" / "read.txt").is_file()
    assert not (suite.folder / home / "gizmo").exists()
    assert not (suite.folder / "setup.py").exists()


def test_a_package_in_a_namespace_is_left_out_with_its_top(tmp_path: Path) -> None:
    suite = laid(tmp_path, {"zope/gizmo/__init__.py": "", "tests/test_a.py": PASSES}, name="zope.gizmo")
    assert not (suite.folder / "zope").exists()


def test_tests_inside_the_package_are_put_where_it_is_installed(tmp_path: Path) -> None:
    files = {"gizmo/__init__.py": "", "gizmo/tests/__init__.py": "", "gizmo/tests/test_a.py": PASSES}
    suite = laid(tmp_path, files)
    placed = tmp_path / "tree" / "gizmo" / "tests"
    assert suite.arguments[-1] == str(placed)
    assert (placed / "test_a.py").is_file()
    moved, differs = outside_of_package({"folder": str(suite.folder), "arguments": suite.arguments}, tmp_path / "tree")
    assert differs
    assert str(placed) not in moved["arguments"]
    assert (suite.folder / moved["arguments"][-2] / "test_a.py").is_file()
    assert moved["homes"] == {moved["arguments"][-2]: "gizmo.tests"}


@pytest.mark.parametrize("file", ["src/gizmo/tests.py", "gizmo/deep/test_a.py"])
def test_a_file_of_tests_inside_the_package_is_enough(tmp_path: Path, file: str) -> None:
    suite = laid(tmp_path, {f"{file.partition('gizmo')[0]}gizmo/__init__.py": "", file: PASSES})
    assert suite.arguments[-1] == str(tmp_path / "tree" / file.removeprefix("src/"))
    assert Path(suite.arguments[-1]).is_file()
    moved, _ = outside_of_package({"folder": str(suite.folder), "arguments": suite.arguments}, tmp_path / "tree")
    (folder, home), *_ = moved["homes"].items()
    assert (suite.folder / folder / Path(file).name).is_file()
    assert moved["arguments"][-2] == f"{folder}/{Path(file).name}"  # in a folder it might have no name of a test
    assert home == ".".join(Path(file.removeprefix("src/")).parent.parts)


@pytest.mark.parametrize("file", ["tests/tests.py", "gizmo/tests/tests.py"])
def test_files_that_pytest_would_not_look_into_are_named(tmp_path: Path, file: str) -> None:
    suite = laid(tmp_path, {"gizmo/__init__.py": "", file: PASSES})
    assert "python_files=test_*.py *_test.py tests.py test.py" in options(suite)


def test_what_a_suite_says_of_its_files_stays(tmp_path: Path) -> None:
    files = {"tests/tests.py": PASSES, "pytest.ini": "[pytest]\npython_files = tests.py\n"}
    assert not any(word.startswith("python_files") for word in options(laid(tmp_path, files)))
    usual = laid(tmp_path / "usual", {"tests/test_a.py": PASSES, "tests/test.py": "1/0"})
    assert not any(word.startswith("python_files") for word in options(usual))


def test_tests_in_a_place_of_their_own_are_found(tmp_path: Path) -> None:
    files = {"gizmo/__init__.py": "", "python/checks/test_a.py": PASSES, "python/checks/deep/test_b.py": PASSES}
    assert laid(tmp_path, files).arguments[-1] == "python/checks"
    configured = {"checks/test_a.py": PASSES, "test/test_b.py": PASSES, "tox.ini": "[pytest]\ntestpaths = checks\n"}
    assert laid(tmp_path / "configured", configured).arguments[-1] == "checks"


def test_an_sdist_without_tests_says_so(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"no tests in gizmo-1\.0"):
        laid(tmp_path, {"gizmo/__init__.py": ""})


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\naddopts = {}\nstrict_markers = true\n"),
        ("setup.cfg", "[tool:pytest]\naddopts = {}\nstrict_markers = true\n"),
        ("tox.ini", "[pytest]\naddopts = {}\nstrict_markers = true\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "{}"\nstrict_markers = true\n'),
    ],
)
def test_of_a_suites_options_only_those_stay_that_say_what_is_found(tmp_path: Path, file: str, text: str) -> None:
    words = "-n 4 --cov=gizmo --import-mode append --strict-markers -p conftest_plugin -pother --import-mode=importlib"
    suite = laid(tmp_path, {"tests/test_a.py": PASSES, file: text.format(words)})
    assert suite.arguments[:2] == ("-c", file)
    kept = suite.arguments[suite.arguments.index("--continue-on-collection-errors") + 1 :]
    assert kept == ("--import-mode", "append", "-p", "conftest_plugin", "-pother", "--import-mode=importlib", "tests")
    assert {"addopts=", "required_plugins=", "strict_markers=false"} == set(options(suite))


def test_a_suite_without_settings_does_not_get_those_of_a_folder_above(tmp_path: Path) -> None:
    suite = laid(tmp_path, {"tests/test_a.py": PASSES})
    assert (suite.folder / suite.arguments[1]).read_text() == "[pytest]\n"


# --- running them ----------------------------------------------------------------------------------------------------


def test_plugins_that_are_off_or_not_here_are_not_asked_for() -> None:
    words = [
        "-p",
        "pytest_cov",
        "-pno_such_plugin_anywhere",
        "-p",
        "no:doctest",
        "-p",
        "doctest",
        "-p",
        "json",
        "tests",
    ]
    assert list(testing._that_fit(words)) == ["-p", "no:doctest", "-p", "doctest", "-p", "json", "tests"]


def test_filters_of_warnings_that_are_not_here_are_left_out(tmp_path: Path) -> None:
    lines = [
        "error",
        "ignore:a word",
        "ignore::no_such_package.Gone",
        "ignore:x:pytest.PytestWarning",
        "ignore::json.No",
    ]
    files = {"tests/test_a.py": PASSES}
    for number, (file, text) in enumerate({
        "pytest.ini": "[pytest]\nfilterwarnings =\n" + "".join(f"    {line}\n" for line in lines),
        "pyproject.toml": f"[tool.pytest.ini_options]\nfilterwarnings = {lines}\n",
    }.items()):  # fmt: skip
        (word,) = [w for w in options(laid(tmp_path / str(number), {**files, file: text})) if "filter" in w]
        assert word == "filterwarnings=" + "\n".join(lines)
        wanted = "\n".join(line for line in lines if "no_such" not in line and "json" not in line)
        assert list(testing._that_fit(["-o", word])) == ["-o", f"filterwarnings={wanted}"]


def test_what_a_suite_leaves_in_the_process_is_put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GIZMO", "1")
    was, path = Path.cwd(), list(sys.path)
    asyncio.get_event_loop_policy()
    with contextlib.suppress(KeyError), testing._put_back():
        os.chdir(tmp_path)
        os.environ["GIZMO"] = "2"
        os.environ["WIDGET"] = "3"
        sys.path.insert(0, str(tmp_path))
        asyncio.run(asyncio.sleep(0))
        raise KeyError
    assert (Path.cwd(), sys.path, os.environ["GIZMO"], os.environ.get("WIDGET")) == (was, path, "1", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that somebody only asks for a loop
        asyncio.get_event_loop_policy().get_event_loop().close()
    asyncio.set_event_loop_policy(None)


def test_the_texts_that_a_suite_made_code_from_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes methods of texts takes another name for one that is there already: a suite may ask for the name."""
    entry = (1, None, ["1\n"], "")
    monkeypatch.setattr(linecache, "cache", {"<mine>": entry})
    with testing._put_back():
        linecache.cache |= {"<generated>": entry, "file.py": entry}
    assert set(linecache.cache) == {"<mine>", "file.py"}


def test_the_modules_of_a_suite_that_has_run_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / "suite", tmp_path / "tree" / "gizmo" / "tests", tmp_path / "tree" / "gizmo" / "tests.py"]
    files = {
        "helper": places[0] / "helper.py", "gizmo.tests.tests": places[1] / "tests.py", "gizmo.tests": places[2],
        "gizmo.models": tmp_path / "tree" / "gizmo" / "models.py", "test_elsewhere": tmp_path / "test_elsewhere.py",
    }  # fmt: skip
    for name, path in files.items():
        module = type(sys)(name)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(testing, "_suites", [str(place) for place in places])
    testing._forget_modules_of_suites()
    assert [name for name in files if name in sys.modules] == ["gizmo.models"]
