"""Noodle modules as Python sees them: imported, run, debugged, and told of with their places."""

import subprocess
import sys
import textwrap

import pytest

from noodle_upgrade_compiler import importing, running
from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.errors import NbcError


@pytest.fixture
def folder(tmp_path, monkeypatch, compiler):
    monkeypatch.syspath_prepend(str(tmp_path))
    importing.install()
    before = set(sys.modules)
    yield tmp_path
    importing.uninstall()
    for name in set(sys.modules) - before:
        sys.modules.pop(name, None)


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def python(*arguments, folder):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_file_is_a_module_and_a_folder_of_them_a_package(folder):
    write(folder, "noodle_shapes/circle.noodle", "let pi = 3;\ndef area(r) { return pi * r * r; }\n")
    write(folder, "noodle_main.noodle", 'import "noodle_shapes/circle" as circle;\nlet found = circle.area(2);\n')
    import noodle_main

    assert noodle_main.found == 12
    assert noodle_main.__file__.endswith("noodle_main.noodle")
    assert importing.NoodleLoader("noodle_main", noodle_main.__file__).get_source("").startswith("import")


def test_a_module_of_pythons_comes_first(folder):
    write(folder, "json.noodle", "let x = 1;")
    import json

    assert hasattr(json, "dumps")


def test_a_source_with_errors_is_a_syntax_error_with_its_place_and_notes(folder):
    path = write(folder, "noodle_wrong.noodle", "let x = ;\nprint(y);\n")
    with pytest.raises(SyntaxError) as caught:
        __import__("noodle_wrong")
    assert (caught.value.filename, caught.value.lineno, caught.value.offset) == (str(path), 1, 9)
    assert caught.value.text == "let x = ;\n"
    assert caught.value.__notes__ == [f"{path}:2:7: y is not declared."]


def test_what_cannot_be_meant_is_a_warning_of_the_line(folder):
    write(folder, "noodle_odd.noodle", 'let x: int = "text";\n')
    with pytest.warns(SyntaxWarning, match="declared as int"):
        __import__("noodle_odd")


def test_an_import_is_noted_so_that_an_upgrade_builds_the_file_beforehand(folder, tmp_path, compiler):
    from noodle_upgrade_compiler.store import Store

    compiler.store = Store(tmp_path / "cache" / "outputs.db")
    path = write(folder, "noodle_noted.noodle", "let x = 1;\n")
    __import__("noodle_noted")
    assert str(path) in compiler.store.files()
    compiler.store.close()


def test_a_file_runs_as_a_program_with_its_arguments(tmp_path):
    write(tmp_path, "tools.noodle", "def twice(x) { return x * 2; }\n")
    write(tmp_path, "app.noodle", 'from "tools" import twice;\nimport "sys" as sys;\nprint(twice(21), sys.argv[1]);\n')
    done = python("-m", "noodle_upgrade_compiler", "app.noodle", "word", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42 word\n", "")


def test_a_program_with_errors_ends_with_1_and_all_of_them(tmp_path):
    write(tmp_path, "app.noodle", "let x = ;\nprint(y);\n")
    done = python("-m", "noodle_upgrade_compiler", "app.noodle", folder=tmp_path)
    assert done.returncode == 1
    assert "1 | let x = ;\n  |         ^" in done.stderr
    assert "error[parser.unknown]: y is not declared." in done.stderr


def test_a_traceback_has_the_line_of_the_source_and_a_caret_under_the_place(tmp_path):
    write(tmp_path, "app.noodle", "def f(a) {\n    return 1 + a / 0;\n}\nf(2);\n")
    done = python("-m", "noodle_upgrade_compiler", "app.noodle", folder=tmp_path)
    assert 'app.noodle", line 2, in f\n    return 1 + a / 0;\n               ~~^~~\nZeroDivisionError' in done.stderr


def test_the_debugger_stops_in_a_source_and_shows_it(tmp_path):
    # `break app.noodle:3` does the same where pdb takes files of any ending: on 3.13 it takes Python's only.
    program = 'from "builtins" import breakpoint;\ndef f(a) {\n    let b = a + 1;\n    breakpoint();\n    return b;\n}\nprint(f(2));\n'
    write(tmp_path, "app.noodle", program)
    done = subprocess.run(
        [sys.executable, "-m", "noodle_upgrade_compiler", "app.noodle"], input="next\np b\nlist\ncontinue\n", cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "app.noodle(5)f()" in done.stdout
    assert "(Pdb) 3" in done.stdout
    assert "5  ->\t    return b;" in done.stdout
    assert done.stdout.endswith("3\n")


@pytest.mark.parametrize("entry", ["x" * 10_000, 3, b"/bytes", None])
def test_whatever_is_on_the_path_what_is_not_there_is_an_import_error(folder, monkeypatch, entry):
    monkeypatch.setattr(sys, "path", [entry, *sys.path])
    with pytest.raises(ImportError):
        __import__("noodle_nowhere")
    with pytest.raises(ImportError):
        __import__("n" * 5000)


def test_what_was_compiled_for_the_stack_machine_runs_with_what_lies_beside_it(tmp_path, capsys):
    write(tmp_path, "lib/tools.noodle", "def twice(x) { return x * 2; }\n")
    write(tmp_path, "app.noodle", 'from "lib/tools" import twice;\nprint(twice(21));\n')
    for path in tmp_path.rglob("*.noodle"):
        made = Compiler().compile(path.read_text(), str(path), targets=("nbc",))
        path.with_suffix(".nbc").write_bytes(made.nbc_bytecode)
    running.run_nbc(str(tmp_path / "app.nbc"))
    assert capsys.readouterr().out == "42\n"
    (tmp_path / "lib" / "tools.nbc").write_bytes(b"nothing of the kind")
    with pytest.raises(NbcError):
        running.run_nbc(str(tmp_path / "app.nbc"))
