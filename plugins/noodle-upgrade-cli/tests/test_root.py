from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from noodle_upgrade_cli import catalogue
from noodle_upgrade_cli.exits import MEANINGS, Exit, exit_of, exit_of_upgrade
from noodle_upgrade_core.errors import UpgradeError

HEAVY = ("rich", "httpx", "attr", "attrs", "cattrs", "pluggy", "stevedore", "noodle_upgrade_core", "packaging")


def in_a_fresh_process(code: str, *, path: Path | None = None) -> str:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("NOODLE_")}
    if path is not None:
        environ["PYTHONPATH"] = os.pathsep.join([str(path), environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    return ran.stdout


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder like site-packages, with a plugin that brings one good command and some that are not."""
    site = tmp_path / "site"
    info = site / "acme_noodle-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-noodle\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[console_scripts]\nacme = acme:main\n\n[noodle_upgrade.commands]\n"
        "greet = acme_commands:greet\nbroken = acme_broken:cmd\nexits = acme_exits:cmd\nwrong = acme_commands:WRONG\n"
        "plan = acme_commands:greet\n"
    )
    (site / "acme_commands.py").write_text(
        "import click\n\nWRONG = 7\n\n\n@click.command()\n@click.option('--state', 'folder', default='none')\n"
        "@click.argument('words', nargs=-1)\ndef greet(folder, words):\n"
        "    print('hello from', folder, *words)\n    return 42\n"
    )
    (site / "acme_broken.py").write_text("import a_module_that_is_not_there\n")
    (site / "acme_exits.py").write_text("raise SystemExit(9)\n")
    return site


@pytest.fixture
def installed(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(plugins))


def test_help_imports_no_plugin_and_nothing_heavy(plugins):
    code = (
        "import sys, json\n"
        "before = set(sys.modules)\n"  # what .pth files of the environment import is not ours
        "from noodle_upgrade_cli.main import execute\n"
        "code = execute(['--help'])\n"
        "print()\nprint(json.dumps([code, sorted(set(sys.modules) - before)]))\n"
    )
    out = in_a_fresh_process(code, path=plugins)
    code, modules = json.loads(out.splitlines()[-1])
    assert code == 0
    assert "greet" in out
    assert "acme-noodle 1.2" in out
    roots = {name.partition(".")[0] for name in modules}
    assert roots.isdisjoint(HEAVY)
    assert not {
        name for name in modules if name.startswith(("acme", "importlib.metadata", "noodle_upgrade_cli.commands"))
    }


@pytest.mark.parametrize("words", [["--version"], ["nonsense"], ["run", "x"]])
def test_what_needs_no_command_imports_none(plugins, words):
    code = (
        "import sys, json\nbefore = set(sys.modules)\nfrom noodle_upgrade_cli.main import execute\n"
        f"execute({words!r})\nprint(json.dumps(sorted(set(sys.modules) - before)))\n"
    )
    modules = json.loads(in_a_fresh_process(code, path=plugins).splitlines()[-1])
    assert not {name for name in modules if name.partition(".")[0] in {"rich", "httpx", "stevedore", "acme_commands"}}


@pytest.mark.parametrize(
    "entry", [entry for entries in catalogue.OWN.values() for entry in entries], ids=lambda e: e.name
)
def test_every_command_of_the_catalogue_is_there_and_has_help(noodle, entry):
    module, _, name = entry.target.partition(":")
    command = getattr(importlib.import_module(module), name)
    assert command.name == entry.name
    ran = noodle(entry.name, "--help")
    assert ran.code == 0
    assert "--json" in ran.out


def test_a_plugins_command_runs_and_keeps_its_exit_code(noodle, installed, capsys):
    ran = noodle("greet", "you")
    assert (ran.code, ran.out) == (42, "hello from none you\n")


def test_what_was_said_before_a_plugins_command_is_the_default_of_its_own_option(noodle, installed):
    assert noodle("--state", "here", "greet").out == "hello from here\n"
    assert noodle("--state", "here", "greet", "--state", "there").out == "hello from there\n"


@pytest.mark.parametrize("name", ["broken", "exits", "wrong"])
def test_a_broken_plugins_command_is_an_error_of_that_command_only(noodle, installed, name):
    ran = noodle(name)
    assert ran.code == 2
    assert "acme-noodle 1.2 could not be loaded" in ran.err
    assert noodle("--help").code == 0
    assert noodle("greet").code == 42


def test_a_plugin_cannot_take_over_a_command_of_ours(installed):
    assert "plan" not in catalogue.foreign_commands()


def test_run_without_the_server_says_what_to_install(noodle, monkeypatch):
    monkeypatch.setattr(catalogue, "foreign_commands", dict)
    monkeypatch.setattr(catalogue, "slow_lookup", lambda _: None)
    ran = noodle("run", "service:app")
    assert ran.code == 2
    assert "`noodle run` is brought by noodle-upgrade-server" in ran.err
    assert "`pip install noodle-upgrade-server`" in ran.err


def test_a_wrong_command_is_answered_with_the_right_one(noodle):
    ran = noodle("upgarde")
    assert ran.code == 2
    assert "Did you mean 'upgrade'?" in ran.err


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[noodle_upgrade.commands]\na = m:o\n", ["a"]),
        ("[noodle_upgrade.commands]\r\n a=m:o [extra]\r\n# b = m:o\r\n", ["a"]),
        ("[noodle_upgrade.commands.more]\na = m:o\n", []),
        ("[other]\na = noodle_upgrade.commands:o\n", []),
        ("noodle_upgrade.commands", []),
    ],
)
def test_only_lines_of_the_right_section_are_commands(tmp_path, text, names):
    info = tmp_path / "x-1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_bytes(text.encode())
    found = catalogue.foreign_commands([str(tmp_path)])
    assert list(found) == names
    assert all(one.target == "m:o" for one in found.values())


def test_the_first_distribution_of_a_name_on_the_path_counts(tmp_path):
    for folder, target in (("one", "first:o"), ("two", "second:o")):
        info = tmp_path / folder / "acme_x-1.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(f"[noodle_upgrade.commands]\na = {target}\n{folder} = {target}\n")
    path = [str(tmp_path / "nowhere"), str(tmp_path / "one"), str(tmp_path / "two")]
    found = catalogue.foreign_commands(path)
    assert set(found) == {"a", "one"}
    assert found["a"].target == "first:o"


@pytest.mark.parametrize(
    "words", [["status", "--json", "--nonsense"], ["--json", "nonsense"], ["--state", "x", "plan", "--json"]]
)
def test_wrong_usage_is_json_too_where_json_was_asked_for(noodle, words):
    ran = noodle(*words)
    assert ran.code == 2
    assert ran.json["error"]["code"] == "usage"
    assert ran.err == ""


def test_a_plugins_own_json_option_is_not_ours(noodle, installed):
    ran = noodle("greet", "--json")
    assert ran.code == 2
    assert ran.out == ""


def test_every_error_of_the_core_has_an_exit_code_that_is_in_the_table():
    assert set(MEANINGS) == set(Exit)
    assert all(exit_of(code) in MEANINGS for code in UpgradeError.by_code)
    assert exit_of("something.of.tomorrow") is Exit.FAILED
    assert exit_of("decision.approval_required") is Exit.REFUSED
    assert exit_of("swap.state_conflict") is Exit.REFUSED


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"phase": "done", "error": None}, Exit.OK),
        ({"phase": "aborted", "error": {"code": "upgrade.timeout"}}, Exit.REFUSED),
        ({"phase": "aborted", "error": {"code": "journal.full"}}, Exit.REFUSED),
        ({"phase": "aborted", "error": {"code": "stage.failed"}}, Exit.REFUSED),
        ({"phase": "aborted", "error": {"code": "of.tomorrow"}}, Exit.REFUSED),
        ({"phase": "aborted", "error": {"code": "upgrade.cancelled"}}, Exit.FAILED),
        ({"phase": "aborted", "error": {"code": "internal"}}, Exit.FAILED),
        ({"phase": "aborted", "error": {"code": "journal.failed"}}, Exit.FAILED),
        ({"phase": "rolled_back", "error": {"code": "upgrade.timeout"}}, Exit.FAILED),
        ({"phase": "aborted", "error": {"code": "decision.approval_required"}}, Exit.REFUSED),
        ({"phase": "rejected", "error": {"code": "validation.failed"}}, Exit.REFUSED),
        ({"phase": "rolled_back", "error": {"code": "validation.failed"}}, Exit.FAILED),
        ({"phase": "stuck", "error": {"code": "rollback.failed"}}, Exit.FAILED),
        ({}, Exit.FAILED),
    ],
)
def test_refused_is_only_what_nobody_could_see(state, code):
    assert exit_of_upgrade(state) is code


@pytest.mark.parametrize(
    "code", ["journal.full", "journal.schema", "journal.lease_lost", "upgrade.timeout", "stage.timeout"]
)
def test_what_kept_an_upgrade_from_beginning_is_a_refusal(code):
    assert exit_of(code) is Exit.REFUSED


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("acme.unknown", Exit.USAGE),
        ("acme.order.invalid", Exit.USAGE),
        ("acme.conflict", Exit.REFUSED),
        ("acme.refused", Exit.REFUSED),
        ("acme.unknown.burnt", Exit.FAILED),
        ("unknown", Exit.USAGE),
        ("operation.timeout", Exit.FAILED),
    ],
)
def test_the_last_word_of_a_code_counts_where_its_beginning_is_nobodys(code, exit_code):
    assert exit_of(code) is exit_code


def test_the_readme_has_the_table_of_exit_codes():
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for code, words in MEANINGS.items():
        assert f"| {int(code)} | {words} |" in readme


def test_an_error_of_our_own_making_says_so_and_shows_where_with_v(noodle, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("noodle_upgrade_cli.locate.find", fail)
    ran = noodle("status")
    assert ran.code == 1
    assert "An error inside noodle itself: RuntimeError: oops" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in noodle("-v", "status").err


def noodle_process(*words: str, **streams: object) -> subprocess.Popen[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("NOODLE_")}
    start = f"import sys; from noodle_upgrade_cli.main import main; sys.argv = ['noodle', *{list(words)!r}]; main()"
    return subprocess.Popen([sys.executable, "-c", start], env=environ, text=True, **streams)  # type: ignore[call-overload]


@pytest.mark.parametrize("words", [("history", "--json"), ("--json",), ("history",), ("nonsense",)])
def test_an_error_that_nobody_reads_ends_as_silently_as_an_answer(tmp_path, words):
    with noodle_process(*words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
    if "--json" in words:
        assert (process.returncode, said) == (141, "")
    else:
        assert process.returncode in {2, 3}  # the error goes to stderr, which is read
        assert "Traceback" not in said


def test_an_error_that_goes_into_a_closed_pipe_with_everything_else_is_silent(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with noodle_process("history", cwd=tmp_path, stdout=writing, stderr=writing) as process:
        os.close(writing)
        process.wait(30)
    assert process.returncode == 141


def test_a_table_that_nobody_reads_ends_as_silently_as_any_answer(tmp_path):
    with noodle_process("config", "show", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")


def test_a_closed_standard_output_is_no_traceback(tmp_path):
    command = f"cd {tmp_path} && {sys.executable} -m noodle_upgrade_cli history >&-"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert "No running program" in ran.stderr


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("history", "--json"), ("config", "show")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_cannot_be_written_is_said_in_one_line_with_the_reason(tmp_path, monkeypatch, words, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with (
        Path("/dev/full").open("w") as full,
        noodle_process(*words, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 1
    assert said == "Error: The output could not be written: No space left on device.\n"


def test_a_reader_that_goes_away_is_no_traceback():
    code = "import sys; from noodle_upgrade_cli.main import main; sys.argv = ['noodle', '--help']; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 141
    assert said == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_the_command(noodle, shell):
    ran = noodle("completion", shell)
    assert ran.code == 0
    assert "_NOODLE_COMPLETE" in ran.out
    assert noodle("completion", shell, "--json").json["shell"] == shell


def completed(words: str, position: int, cwd: Path) -> list[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("NOODLE_")}
    environ |= {"_NOODLE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    code = "import sys; from noodle_upgrade_cli.main import main; sys.argv = ['noodle']; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, cwd=cwd, timeout=60, check=True
    )
    return [line.partition(",")[2] for line in ran.stdout.splitlines() if line]


def test_commands_options_components_and_ids_are_completed(program, tmp_path):
    program.begin("up-1", {})
    assert completed("noodle up", 1, tmp_path) == ["upgrade"]
    assert "--json" in completed("noodle plan --", 2, tmp_path)
    assert completed("noodle rollback gr", 2, tmp_path) == ["greeter"]
    assert completed("noodle cancel ", 2, tmp_path) == ["up-1"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["upgrade", "gr"], ["greeter"]),
        (["upgrade", "greeter", ""], ["2.0", "1.10", "1.9", "1.0"]),
        (["upgrade", "greeter", "1."], ["1.10", "1.9", "1.0"]),
        (["plan", "--strategy", "gradual", "greeter", "2"], ["2.0"]),
        (["plan", "greeter", "2.0", "en"], ["engine"]),
        (["plan", "greeter==2.0", "en"], ["engine"]),
        (["plan", "greeter==1.1"], ["greeter==1.10"]),
        (["plan", "greeter", "==", "1.1"], ["1.10"]),
        (["plan", "greeter", "=="], ["==2.0", "==1.10", "==1.9", "==1.0"]),
        (["plan", "nobody", ""], []),
    ],
)
def test_a_version_is_completed_by_those_that_the_program_can_list(program, tmp_path, words, found):
    assert completed("noodle " + " ".join(words), len(words), tmp_path) == found


def test_completion_without_a_program_is_empty_and_silent(tmp_path):
    assert completed("noodle rollback ", 2, tmp_path) == []
