"""`noodle compile`: what it writes, what it says, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

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


def test_two_sources_that_would_be_one_file_are_refused_before_anything_is_written(run, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.noodle").write_text(f'print("{folder}");\n')
    told = str(run("a", "b", "--target", "nbc", "-o", "out").exception)
    assert "a/x.noodle and b/x.noodle would both be out/x" in told
    assert not (tmp_path / "out").exists()
    assert run(".", "--target", "nbc", "-o", "out").return_value == 0
    assert (tmp_path / "out" / "b" / "x.nbc").is_file()


def test_a_module_that_somebody_has_written_is_not_written_over(run, tmp_path):
    (tmp_path / "y.noodle").write_text("print(1);\n")
    (tmp_path / "y.py").write_text("mine = 1\n")
    assert "no output of the compiler" in str(run(".", "--target", "python-source", "-o", ".").exception)
    assert (tmp_path / "y.py").read_text() == "mine = 1\n"
    (tmp_path / "y.py").unlink()
    for text in ("print(2);\n", "print(3);\n"):
        (tmp_path / "y.noodle").write_text(text)
        assert run(".", "--target", "python-source", "-o", ".").return_value == 0
    assert "print(3)" in (tmp_path / "y.py").read_text()


def test_a_folder_that_cannot_be_written_to_is_an_error_in_one_line(run, tmp_path):
    (tmp_path / "y.noodle").write_text("print(1);\n")
    (tmp_path / "taken").write_text("")
    assert "taken" in str(run("y.noodle", "--target", "nbc", "-o", "taken/below").exception)


def test_what_is_wrong_is_told_beside_tokens_and_trees(run, tmp_path):
    (tmp_path / "wrong.noodle").write_text("let x = ;\n")
    done = run("wrong.noodle", "--emit", "tree")
    assert done.return_value == 1
    assert "error[parser.expected]" in done.output
    (tmp_path / "odd.noodle").write_bytes(b"let x = 1;\xe9")
    assert "error[lexer.encoding]" in run("odd.noodle", "--emit", "tokens").output


def test_what_is_neither_a_file_nor_a_folder_is_refused(run, tmp_path):
    os.mkfifo(tmp_path / "pipe.noodle")
    assert "no file or folder" in str(run("pipe.noodle").exception)


def test_a_cache_that_cannot_be_used_is_a_warning(run, tmp_path):
    (tmp_path / "y.noodle").write_text("print(1);\n")
    (tmp_path / ".noodle").write_text("a file")
    done = run("y.noodle")
    assert done.return_value == 0
    assert "Warning: .noodle/plugins/compiler/outputs.db cannot be used" in done.output


def test_processes_that_compile_run_nothing_of_the_folder_where_they_start(tmp_path):
    for name in ("json", "ast", "token"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the folder')\n")
    (tmp_path / "src").mkdir()
    for number in range(200):
        (tmp_path / "src" / f"f{number}.noodle").write_text(f"print({number});\n")
    program = "import sys; from noodle_upgrade_compiler.commands.compile import compile_command as c; c(['src', '--jobs', '2'])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert "200 compiled" in done.stderr, done.stderr


def test_a_watch_tells_of_errors_once_and_waits_for_a_folder_that_is_gone_for_a_moment(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    (source / "wrong.noodle").write_text("let x = ;\n")
    program = (
        "from noodle_upgrade_compiler.commands.compile import compile_command as c; c(['src', '--watch', '--no-cache'])"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as watch:
        said = []
        thread = threading.Thread(target=lambda: said.extend(iter(watch.stdout.readline, "")), daemon=True)
        thread.start()

        def until(text, count=1):
            end = time.monotonic() + 30
            while "".join(said).count(text) < count:
                assert watch.poll() is None, "".join(said)
                assert time.monotonic() < end, "".join(said)
                time.sleep(0.05)

        until("parser.expected")
        source.rename(tmp_path / "elsewhere")
        time.sleep(1.0)
        (tmp_path / "elsewhere").rename(source)
        time.sleep(1.0)
        assert "".join(said).count("parser.expected") == 1
        (source / "wrong.noodle").write_text("print(y);\n")
        until("parser.unknown")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 0
