"""Builds of many files: what is up to date is told without reading it, and what an upgrade affects is built alone."""

import os

import pytest

from noodle_upgrade_compiler.building import build, sources_under
from noodle_upgrade_compiler.errors import CompilationError
from noodle_upgrade_compiler.graph import ImportGraph
from noodle_upgrade_compiler.linking import graph_of
from noodle_upgrade_compiler.recompiling import affected_files, recompile
from noodle_upgrade_compiler.store import Store
from noodle_upgrade_core.errors import InvalidRequestError

PLAIN = "let x = {n};\ndef f(a) {{ return a + x; }}\n"
WITH_MATCH = "def f(a) {{ match a {{ case 1, 2 {{ return {n}; }} default {{ return 0; }} }} }}\n"


@pytest.fixture
def project(tmp_path):
    for n in range(40):
        folder = tmp_path / "src" / f"part{n % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{n}.noodle").write_text((WITH_MATCH if n % 20 == 0 else PLAIN).format(n=n))
    return tmp_path / "src"


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "cache" / "outputs.db")
    yield made
    made.close()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_second_build_does_nothing(project, store, phases, jobs):
    told = []
    first = build([project], phases, store, jobs=jobs, progress=lambda done, total: told.append((done, total)))
    assert first.success
    assert len(first.built) == 40
    assert told[-1] == (40, 40)
    again = build([project], phases, store, jobs=jobs)
    assert (len(again.built), again.unchanged) == (0, 40)


def test_what_has_changed_or_is_gone_is_noticed_by_its_stamp(project, store, phases):
    build([project], phases, store)
    changed, gone = project / "part1" / "f1.noodle", project / "part2" / "f2.noodle"
    changed.write_text("let y = 2;\n")
    gone.unlink()
    report = build([project], phases, store)
    assert [one.path for one in report.built] == [str(changed)]
    assert report.removed == (str(gone),)


def test_by_content_a_file_that_was_only_touched_is_up_to_date(project, store, phases):
    build([project], phases, store)
    for path in sources_under([project]):
        os.utime(path, (1, 1))
    assert build([project], phases, store, by="content").built == ()
    report = build([project], phases, store)
    assert len(report.built) == 40
    assert report.phases == {}


def test_errors_are_told_again_until_they_are_corrected(project, store, phases):
    wrong = project / "part1" / "wrong.noodle"
    wrong.write_text("let x = ;\n")
    for _ in range(2):
        report = build([project], phases, store)
        assert [one.path for one in report.failed] == [str(wrong)]
        assert report.failed[0].diagnostics[0].code == "parser.expected"
    wrong.write_text("let x = 1;\n")
    assert build([project], phases, store).success


def test_a_place_that_is_not_there_is_refused(store, phases, tmp_path):
    with pytest.raises(InvalidRequestError, match="no file or folder"):
        build([tmp_path / "nowhere"], phases, store)


def test_an_upgrade_builds_what_its_version_is_about_and_no_more(project, store, phases, library):
    build([project], phases, store)
    changed = phases.having(library.get("bytecode_generator", "2.0.0"))
    done = recompile(changed, phases, store)
    assert [path.rpartition("/")[2] for path in done.affected] == ["f0.noodle", "f20.noodle"]
    assert (done.unaffected, done.is_everything) == (38, False)
    assert done.tried > 0
    assert build([project], changed, store).built == ()


def test_a_version_that_is_about_nothing_builds_nothing(project, store, phases, library):
    build([project], phases, store)
    done = recompile(phases.having(library.get("lexer", "1.1.0"), library.get("parser", "2.0.0")), phases, store)
    assert done.affected == ()
    assert done.report.built == ()


def test_a_version_that_is_about_more_than_it_says_has_everything_built(project, store, phases, library):
    build([project], phases, store, targets=("nbc",))
    done = recompile(phases.having(library.get("bytecode_generator", "2.0.0")), phases, store)
    assert done.is_everything
    assert "comes out otherwise" in done.why
    assert len(done.affected) == 40


def test_a_file_that_a_new_version_cannot_compile_ends_the_upgrade(project, store, phases, library):
    build([project], phases, store)
    from attrs import evolve

    def refusing(*columns):
        parsed = phases.parser.call(*columns)
        problem = ("error", "parser.no", "not any more", 1 << 20, 1 << 20, "")
        return type(parsed)(parsed.tree, (problem,)) if "match" in columns[0] else parsed

    refused = evolve(phases.parser, version="9.0.0", digest="other", call=refusing, affects=("match",))
    with pytest.raises(CompilationError, match="2 of 2 files cannot be compiled by the new version"):
        recompile(phases.having(refused), phases, store)


def test_affected_files_are_those_with_the_words_that_versions_are_about(project, store, phases, library):
    build([project], phases, store)
    files = list(store.files().values())
    both = phases.having(library.get("bytecode_generator", "2.0.0"), library.get("optimizer", "2.0.0"))
    assert len(affected_files(files, both, phases)) == 40
    assert affected_files(files, phases, phases) == ()


def test_who_imports_a_file_is_affected_by_it_however_far_away():
    graph = ImportGraph(
        {
            "m/a.noodle": ("m/b",), "m/b.noodle": ("m/c",), "m/c.noodle": (), "d.noodle": ("m/a", "m/gone"),
            "e.noodle": (),
        }
    )  # fmt: skip
    assert graph.affected(["m/c.noodle"]) == ("d.noodle", "m/a.noodle", "m/b.noodle", "m/c.noodle")
    assert graph.affected(["e.noodle"]) == ("e.noodle",)


def test_files_that_import_one_another_in_a_circle_affect_one_another():
    graph = ImportGraph({"/p/a.noodle": ("b",), "/p/b.noodle": ("a",)})
    assert graph.affected(["/p/a.noodle"]) == ("/p/a.noodle", "/p/b.noodle")


def test_a_module_may_be_in_the_folder_of_a_file_and_in_those_above():
    graph = ImportGraph({"/p/q/a.noodle": ("b",), "/p/q/b.noodle": (), "/p/b.noodle": (), "/p/r/b.noodle": ()})
    assert graph.imported("/p/q/a.noodle") == ("/p/q/b.noodle", "/p/b.noodle")


def test_the_graph_is_read_from_what_was_compiled(tmp_path, store, phases):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "main.noodle").write_text('import "shapes/circle" as circle;\n')
    (tmp_path / "shapes" / "circle.noodle").write_text("let pi = 3;\n")
    build([tmp_path], phases, store)
    graph = graph_of(store.files())
    assert graph.importers(str(tmp_path / "shapes" / "circle.noodle")) == (str(tmp_path / "main.noodle"),)


def test_files_that_are_named_are_built_again_with_all_that_import_them(tmp_path, store, phases):
    for name, text in {"a": 'import "b" as b;\n', "b": "let x = 1;\n", "c": "let y = 1;\n"}.items():
        (tmp_path / f"{name}.noodle").write_text(text)
    build([tmp_path], phases, store)
    done = recompile(phases, phases, store, files=[str(tmp_path / "b.noodle")])
    assert [path[-8:] for path in done.affected] == ["a.noodle", "b.noodle"]


def test_a_file_is_built_for_everything_that_it_was_built_for(tmp_path, store, phases, library):
    path = tmp_path / "a.noodle"
    path.write_text(WITH_MATCH.format(n=1))
    for targets in (("python",), ("nbc", "python_source")):
        build([tmp_path], phases, store, targets=targets)
        assert build([tmp_path], phases, store).built == ()
    changed = phases.having(library.get("bytecode_generator", "2.0.0"))
    done = recompile(changed, phases, store)
    assert len(done.report.built) == 2
    for targets in (("python",), ("nbc", "python_source")):
        assert build([tmp_path], changed, store, targets=targets).built == ()
    path.write_text("let y = 1;\n")
    assert len(build([tmp_path], changed, store).built) == 1
    assert len(build([tmp_path], changed, store, targets=("nbc", "python_source")).built) == 1
