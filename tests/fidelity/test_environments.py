from __future__ import annotations

import threading
import time
import zipfile
from pathlib import Path

import pytest
from fidelity import campaign as campaigns
from fidelity import environments
from fidelity.campaign import Campaign, Controls, SuiteNotRunError, Wanted
from fidelity.cases import Case
from fidelity.downloads import FetchError, requirements_of, tools_of
from fidelity.inside.upgrade import Upgrade, import_names

from .made_up import written

METADATA = """\
Metadata-Version: 2.1
Name: gizmo
Version: 1.0
Requires-Dist: plain>=1
Requires-Dist: marked; python_version < "4"
Requires-Dist: shown; extra == "docs"
Requires-Dist: pytest>=6; extra == "testing"
Requires-Dist: helper<3; extra == 'test'
Requires-Dist: old-helper; python_version < "3.12" and extra == "test"
Requires-Dist: pytest-cov; extra == "test"
Requires-Dist: pytest_xdist; extra == "test"

Requires-Dist: not-a-header
"""


def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "gizmo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("gizmo-1.0.dist-info/METADATA", METADATA)
    return path


def test_what_a_wheel_requires_is_without_its_extras(tmp_path: Path) -> None:
    assert requirements_of(wheel(tmp_path)) == ["plain>=1", 'marked; python_version < "4"']


def test_what_tests_need_is_what_the_version_says_without_what_changes_how_they_run(tmp_path: Path) -> None:
    sdist = written(
        tmp_path / "sdist",
        {
            "pyproject.toml": '[dependency-groups]\ntests = ["grouped>=1", {include-group = "x"}, "coverage"]\nx = ["y"]\n'
        },
    )
    told = ["pytest>=6", "helper<3", 'old-helper ; python_version < "3.12"']
    assert tools_of(wheel(tmp_path), sdist) == [*told, "grouped>=1"]
    assert tools_of(wheel(tmp_path), tmp_path / "nowhere") == told


# --- names -----------------------------------------------------------------------------------------------------------


def installed(root: Path, name: str, *files: str) -> Path:
    info = f"{name.replace('.', '_')}-1.0.dist-info"
    return written(
        root,
        {**dict.fromkeys(files, ""), f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
         f"{info}/RECORD": "".join(f"{file},,\n" for file in files),
         f"{info}/top_level.txt": "\n".join(sorted({file.partition("/")[0] for file in files}))},
    )  # fmt: skip


def change(tmp_path: Path, tops: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    told = Upgrade("x", ("1.0", "2.0"), tmp_path, tmp_path, tops).change()
    return told.top_levels, told.import_names


def test_a_package_in_a_namespace_is_named_in_full_and_its_neighbours_are_not_it(tmp_path: Path) -> None:
    site, tree = tmp_path / "site", tmp_path / "new"
    for root in (site, tree):
        installed(root, "zope.gizmo", "zope/gizmo/__init__.py")
    installed(site, "zope.widget", "zope/widget/__init__.py")
    tops = import_names("Zope-Gizmo", "zope.gizmo", site, tree)
    assert tops == ("zope.gizmo",)
    assert change(tmp_path, tops) == (("zope",), ("zope.gizmo",))


def test_a_package_with_several_names_has_all_of_both_versions(tmp_path: Path) -> None:
    site, tree = tmp_path / "site", tmp_path / "new"
    installed(site, "gizmo", "gizmo/__init__.py", "old_gizmo/__init__.py")
    installed(tree, "gizmo", "gizmo/__init__.py", "_gizmo/__init__.py")
    tops = import_names("gizmo", "gizmo", site, tree)
    assert tops == ("_gizmo", "gizmo", "old_gizmo")
    assert change(tmp_path, tops) == (tops, ())


# --- in which environment --------------------------------------------------------------------------------------------


def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *ends: Exception | None) -> tuple[str, list[object]]:
    """Have the attempts end so, one after another; return the row's verdict and what they were."""
    asked: list[object] = []
    left = list(ends)

    def prepare(*_: object, pytest: str, with_its_tools: bool) -> None:
        asked.append((pytest, with_its_tools))
        if isinstance(left[0], FetchError):
            raise left.pop(0)  # type: ignore[misc]

    def controls(*_: object) -> Controls:
        if (end := left.pop(0)) is not None:
            raise end
        return Controls(old=(), new=())

    monkeypatch.setattr(campaigns, "prepare", prepare)
    monkeypatch.setattr(Campaign, "_launcher", lambda *_: None)
    monkeypatch.setattr(Campaign, "_controls", controls)
    monkeypatch.setattr(Campaign, "_patch", lambda *_: None)
    case = Case(package="gizmo", import_name="gizmo", old="1", new="2")
    wanted = Wanted(mechanism="patch", root=tmp_path, ours=tmp_path, limit=1, keep=False, say=lambda _: None)
    return Campaign(case, "python", "3.11.7", wanted).run().verdict, asked


def test_a_suite_that_runs_is_run_with_what_the_case_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried(tmp_path, monkeypatch, None) == ("live", [("pytest", False)])


def test_a_suite_that_does_not_run_is_tried_with_its_own_tools_then_with_earlier_pytests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [SuiteNotRunError("first"), FetchError("no such tool"), SuiteNotRunError("third"), None]
    verdict, asked = tried(tmp_path, monkeypatch, *ends)
    assert verdict == "live"
    assert asked == [("pytest", False), ("pytest", True), ("pytest<9", True), ("pytest<8", True)]


def test_of_many_failures_the_first_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, _ = tried(tmp_path, monkeypatch, SuiteNotRunError("first"), *[SuiteNotRunError("later")] * 3)
    assert verdict == "error: first"
    assert tried(tmp_path, monkeypatch, FetchError("no such version"))[0] == "error: no such version"


def test_two_runs_do_not_prepare_one_case_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, inside, most = Case(package="gizmo", import_name="gizmo", old="1", new="2"), 0, 0

    def prepared(*_: object, **__: object) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.05)
        inside -= 1

    monkeypatch.setattr(environments, "_prepared", prepared)
    threads = [threading.Thread(target=environments.prepare, args=(case, "python", tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
