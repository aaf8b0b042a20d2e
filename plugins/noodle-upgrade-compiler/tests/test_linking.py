"""Names that files take from one another: what is not there is told before anything runs, and where it stands."""

import pytest

from noodle_upgrade_compiler.building import build
from noodle_upgrade_compiler.store import Store

SHAPES = "def area(r) { return r * r; }\nlet unit = 1;\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "src" / "lib").mkdir(parents=True)
    (tmp_path / "src" / "lib" / "shapes.noodle").write_text(SHAPES)
    (tmp_path / "src" / "main.noodle").write_text('from "lib/shapes" import unit, area as f;\nprint(f(unit));\n')
    return tmp_path / "src"


@pytest.fixture(params=["file", "memory"])
def store(tmp_path, request):
    made = Store(tmp_path / "cache" / "outputs.db" if request.param == "file" else None)
    yield made
    made.close()


def told(report):
    return [
        (one.path.rpartition("/")[2], d.code, d.line, d.column, d.hint)
        for one in report.failed
        for d in one.diagnostics
    ]


def test_a_name_that_a_file_does_not_offer_is_told_where_it_is_taken(project, store, phases):
    (project / "main.noodle").write_text('print(1);\nfrom "lib/shapes" import unit, aera as f;\nprint(f(unit));\n')
    report = build([project], phases, store)
    shapes = project / "lib" / "shapes.noodle"
    assert told(report) == [("main.noodle", "imports.name", 2, 32, f"{shapes} offers area.")]


def test_a_file_that_has_not_changed_is_told_of_what_another_offers_no_more(project, store, phases):
    assert build([project], phases, store).success
    (project / "lib" / "shapes.noodle").write_text(SHAPES.replace("area", "surface"))
    for _ in range(2):
        assert [one[:2] for one in told(build([project], phases, store))] == [("main.noodle", "imports.name")]
    (project / "lib" / "shapes.noodle").write_text(SHAPES)
    assert build([project], phases, store).success


def test_of_a_file_with_errors_nobody_knows_what_it_offers(project, store, phases):
    (project / "lib" / "shapes.noodle").write_text("def aera(r) { return r * ; }\n")
    assert [one[:2] for one in told(build([project], phases, store))] == [("shapes.noodle", "parser.expected")]


@pytest.mark.parametrize("place", ["lib/shapes.py", "lib/shapes/__init__.py"])
def test_a_module_of_pythons_beside_it_may_offer_more(project, store, phases, place):
    (project / place).parent.mkdir(exist_ok=True)
    (project / place).write_text("def more(): ...\n")
    (project / "main.noodle").write_text('from "lib/shapes" import more;\nmore();\n')
    assert build([project], phases, store).success


def test_modules_of_pythons_own_come_first(project, store, phases):
    (project / "json.noodle").write_text("let nothing = 1;\n")
    (project / "main.noodle").write_text('from "json" import dumps;\nprint(dumps(1));\n')
    assert build([project], phases, store).success


def test_the_nearest_of_several_files_need_not_be_the_one_that_is_meant(project, store, phases):
    (project / "deep" / "lib").mkdir(parents=True)
    (project / "deep" / "lib" / "shapes.noodle").write_text("let other = 1;\n")
    (project / "deep" / "main.noodle").write_text('from "lib/shapes" import area, other;\nprint(area(other));\n')
    assert build([project], phases, store).success


def test_a_file_that_is_gone_says_nothing_any_more(project, store, phases):
    assert build([project], phases, store).success
    (project / "lib" / "shapes.noodle").unlink()
    report = build([project], phases, store)
    assert report.success
