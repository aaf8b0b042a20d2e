"""`noodle compile`: what it writes, what it says, and how it ends."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from noodle_upgrade_compiler.commands.compile import compile_command


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(compile_command, [*map(str, arguments)], standalone_mode=False)

    return invoke


def test_every_target_is_written_beside_the_others_as_the_sources_lie(run, tmp_path):
    (tmp_path / "src" / "inner").mkdir(parents=True)
    (tmp_path / "src" / "inner" / "app.noodle").write_text("print(6 * 7);\n")
    done = run("src", "--target", "python", "--target", "python-source", "--target", "nbc", "-o", "build")
    assert done.return_value == 0, done.output
    made = sorted(path.name for path in (tmp_path / "build" / "inner").iterdir())
    assert made == ["app.nbc", "app.py", "app.py.map", "app.pyc"]
    for name in ("app.pyc", "app.py"):
        out = subprocess.run(
            [sys.executable, tmp_path / "build" / "inner" / name], capture_output=True, text=True, check=True
        )
        assert out.stdout == "42\n"
    mapped = json.loads((tmp_path / "build" / "inner" / "app.py.map").read_text())
    assert (mapped["version"], mapped["file"], mapped["mappings"][:4]) == (3, "app.py", "AAAA")


def test_errors_are_shown_with_their_lines_and_it_ends_with_1(run, tmp_path):
    (tmp_path / "app.noodle").write_text("let x = 1;\nprint(y);\n")
    done = run("app.noodle")
    assert done.return_value == 1
    assert "error[parser.unknown]: y is not declared." in done.output
    assert "2 | print(y);" in done.output


def test_editors_get_a_line_for_each_error(run, tmp_path):
    (tmp_path / "app.noodle").write_text("print(y);\nprint(z);\n")
    lines = run("app.noodle", "--format", "editor").output.splitlines()
    assert lines == [
        "app.noodle:1:7: error: y is not declared. [parser.unknown]",
        "app.noodle:2:7: error: z is not declared. [parser.unknown]",
    ]


def test_language_servers_get_diagnostics_from_0_in_utf_16(run, tmp_path):
    (tmp_path / "app.noodle").write_text('print("\U0001f35c", y);\n')
    (document,) = json.loads(run("app.noodle", "--format", "lsp").output)
    (diagnostic,) = document["diagnostics"]
    assert diagnostic["range"] == {"start": {"line": 0, "character": 12}, "end": {"line": 0, "character": 13}}
    assert (diagnostic["severity"], diagnostic["code"]) == (1, "parser.unknown")


def test_machines_get_one_document(run, tmp_path):
    (tmp_path / "app.noodle").write_text("print(1);\n")
    told = json.loads(run("app.noodle", "--json").output)
    assert (told["success"], told["unchanged"]) == (True, 0)
    assert told["files"][0]["phases_run"] == ["lexer", "parser", "optimizer", "bytecode_generator"]
    assert json.loads(run("app.noodle", "--json").output)["unchanged"] == 1


def test_another_version_of_a_phase_is_used_where_it_is_asked_for(run, tmp_path):
    (tmp_path / "app.noodle").write_text("print(0xff);\n")
    assert run("app.noodle").return_value == 1
    assert run("app.noodle", "--use", "lexer=1.1.0").return_value == 0
    assert "1.0.0, 1.1.0" in str(run("app.noodle", "--use", "lexer=9").exception)
    assert isinstance(run("app.noodle", "--use", "lexer").exception, click.BadParameter)


def test_tokens_and_trees_can_be_looked_at(run, tmp_path):
    (tmp_path / "app.noodle").write_text("let x = 1;\n")
    assert run("app.noodle", "--emit", "tokens").output.splitlines()[:2] == ["1:1\tlet\tlet", "1:5\tname\tx"]
    assert run("app.noodle", "--emit", "tree").output.splitlines()[:3] == [
        "module 1:1",
        "  let 1:1 None",
        "    name 1:5 'x'",
    ]


def test_a_place_that_is_not_there_is_an_error(run):
    assert "no file or folder" in str(run("nowhere").exception)
