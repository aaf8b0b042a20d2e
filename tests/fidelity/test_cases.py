from __future__ import annotations

from pathlib import Path

import pytest
from fidelity.__main__ import chosen, parsed
from fidelity.cases import Case, CaseError, canonical, read_cases

WHOLE = {"package": '"Zope.Gizmo"', "import_name": '"zope.gizmo"', "from": '"1.0"', "to": '"2.0"'}


def file_of(tmp_path: Path, **keys: str) -> Path:
    lines = [f"{key} = {value}" for key, value in {**WHOLE, **keys}.items() if value]
    path = tmp_path / "cases.toml"
    path.write_text("[[case]]\n" + "\n".join(lines) + "\n")
    return path


def said(path: Path) -> str:
    with pytest.raises(CaseError) as caught:
        read_cases(path)
    return str(caught.value)


def test_a_case_is_read_with_all_its_keys(tmp_path: Path) -> None:
    path = file_of(
        tmp_path, test_requirements='["pytest"]', pytest_args='["-k", "x"]', without_instances='["zope.gizmo.Row"]'
    )
    assert read_cases(path) == (
        Case(
            package="Zope.Gizmo", import_name="zope.gizmo", old="1.0", new="2.0", test_requirements=("pytest",),
            pytest_args=("-k", "x"), without_instances=("zope.gizmo.Row",),
        ),
    )  # fmt: skip


def test_the_lists_may_be_left_out(tmp_path: Path) -> None:
    (case,) = read_cases(file_of(tmp_path))
    assert (case.test_requirements, case.pytest_args, case.without_instances) == ((), (), ())


def test_a_case_may_be_for_some_pythons_only(tmp_path: Path) -> None:
    (some,), (every,) = read_cases(file_of(tmp_path, python='"<3.13"')), read_cases(file_of(tmp_path))
    assert [some.runs_on(version) for version in ("3.11.7", "3.12.0rc1", "3.13.0")] == [True, True, False]
    assert every.runs_on("3.13.0")


def test_the_cases_of_the_repository_are_read() -> None:
    cases, refused, others = (
        read_cases(Path(__file__).parents[1] / "bench" / f"{name}.toml") for name in ("packages", "refused", "others")
    )
    assert len({case.key for case in cases}) == len(cases) >= 25
    every = [case.key for case in (*cases, *refused, *others)]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"import-name": '"x"'}, "unknown import-name (did you mean import_name?)"),
        ({"pytest_arg": "[]"}, "unknown pytest_arg (did you mean pytest_args?)"),
        ({"colour": '"red"'}, "unknown colour; there are package, import_name, from, to, test_requirements"),
        ({"from": ""}, "from is missing"),
        ({"python": '"3.13 at most"'}, "python must be a specifier such as '<3.13', not '3.13 at most'"),
        ({"to": "2.0"}, "to must be a string"),
        ({"pytest_args": '"-x"'}, "pytest_args must be a list of strings"),
        ({"test_requirements": "[1]"}, "test_requirements must be a list of strings"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, keys: dict[str, str], words: str) -> None:
    told = said(file_of(tmp_path, **keys))
    assert words in told
    assert "cases.toml, case 1 (Zope.Gizmo)" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[cases]]\n", "unknown cases (did you mean case?)"),
        ("", "no [[case]] in it"),
        ("case = [1]\n", "no [[case]] in it"),
        ('[case]\npackage = "x"\n', "no [[case]] in it"),
        ("[[case]\n", "line 1"),
    ],
)
def test_a_file_that_is_no_file_of_cases_says_so(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "cases.toml"
    path.write_text(text)
    assert words in said(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "nowhere.toml: No such file" in said(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("name", ["Zope.Gizmo", "zope-gizmo", "ZOPE_gizmo", "zope._-gizmo"])
def test_a_case_is_chosen_by_any_spelling_of_its_name(tmp_path: Path, name: str) -> None:
    path = file_of(tmp_path)
    assert canonical(name) == "zope-gizmo"
    (case,) = chosen(parsed(["--cases", str(path), "--only", name]))
    assert case.package == "Zope.Gizmo"


def test_a_name_that_no_case_has_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no case of zope-widget"):
        chosen(parsed(["--cases", str(file_of(tmp_path)), "--only", "zope.widget"]))
