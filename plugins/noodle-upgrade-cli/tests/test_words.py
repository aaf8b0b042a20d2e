"""Whatever goes wrong is said in the same way: one sentence what happened, one what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from installing import install
from starlette.responses import JSONResponse, PlainTextResponse

import noodle_upgrade_cli
from noodle_upgrade_cli import failures
from noodle_upgrade_cli.text import counted, sentence
from noodle_upgrade_core import errors

SOURCES = sorted(Path(noodle_upgrade_cli.__file__).parent.rglob("*.py"))
ENDS = (".", "?")


def raised(path: Path) -> Iterator[ast.Call]:
    """Yield the calls that make an error which says what to do."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            cls = getattr(failures, node.func.id, None) or getattr(errors, node.func.id, None)
            if isinstance(cls, type) and issubclass(cls, errors.UpgradeError):
                yield node


def last_words(node: ast.expr) -> list[str]:
    """Return how a text ends; several where it depends."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=[*_, ast.Constant(value=str(text))]):
            return [text]
        case ast.IfExp(body=one, orelse=other):
            return [*last_words(one), *last_words(other)]
        case ast.JoinedStr():
            return ["{"]
    return []  # made elsewhere


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_error_of_ours_is_a_sentence_and_another_that_says_what_to_do(path):
    for call in raised(path):
        where = f"{path.name}:{call.lineno}"
        assert all(text.endswith(ENDS) for text in last_words(call.args[0])), where
        hints = [keyword.value for keyword in call.keywords if keyword.arg == "hint"]
        assert hints or call.func.id == "ProtocolError", where  # type: ignore[attr-defined]
        for hint in hints:
            assert all(text.endswith(ENDS) for text in last_words(hint)), where


def said(err: str) -> dict[str, list[str]]:
    """Return the lines of an error by their marks."""
    found: dict[str, list[str]] = {}
    for line in err.splitlines():
        mark = re.match(r"(Error|Safe|Do):\s+", line)
        if mark:
            found.setdefault(mark[1], []).append(line[mark.end() :])
    return found


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("statsu",),
        ("status", "--nonsense"),
        ("plan",),
        ("plan", "greeter"),
        ("plan", "greeter", "==2"),
        ("plan", "greeter>=2"),
        ("plan", "greeter", "2.0", "--set", "x"),
        ("plan", "greeter", "2.0", "--priority", "11"),
        ("plan", "greter", "2.0"),
        ("rollback", "greeter"),
        ("approve", "up-404"),
        ("status", "up-404"),
        ("history", "--limit", "0"),
        ("plugins", "info", "nothing"),
        ("stack", "check", "nowhere.toml"),
        ("config", "check", "nowhere.toml"),
        ("--url", "nonsense", "status"),
        ("--state", "nowhere", "status"),
        ("--state", "nowhere", "doctor"),
        ("broken",),
        ("completion", "tcsh"),
    ],
    ids=" ".join,
)
def test_what_is_printed_of_an_error_is_what_happened_and_what_to_do(noodle, program, tmp_path, monkeypatch, words):
    install(
        tmp_path / "site", "acme-x", entry_points="[noodle_upgrade.commands]\nbroken = acme_x:cmd\n",
        files={"acme_x.py": "import a_module_that_is_not_there\n"},
    )  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    ran = noodle(*words)
    assert ran.code in {2, 3, 4}
    found = said(ran.err)
    assert [len(found.get(mark, ())) for mark in ("Error", "Do")] == [1, 1], ran.err
    for line in (found["Error"][0], found["Do"][0]):
        assert line.endswith(ENDS), line
        assert not line.endswith(".."), line


@pytest.mark.parametrize("words", [(), ("plugins",)])
def test_without_a_command_the_help_is_shown_and_is_no_error_message(noodle, words):
    ran = noodle(*words)
    assert ran.code == 2
    assert ran.out.startswith("Usage: ")  # not stderr: `noodle | less` must show it
    assert "Commands:" in ran.out or "Change what runs:" in ran.out
    assert "Error" not in ran.out
    assert ran.out.count("Usage:") == 1
    assert ran.err == ""
    ran = noodle("--json", *words)
    assert (ran.code, ran.json["error"]["message"]) == (2, "Missing command.")


def test_what_is_wrong_with_settings_is_listed_by_setting_and_file(noodle):
    Path("noodle.toml").write_text("[runtime_upgrade]\nenabeld = true\n")
    ran = noodle("config", "check", "noodle.toml")
    (line,) = [line for line in ran.err.splitlines() if line.startswith("  - ")]
    assert line == "  - runtime_upgrade.enabeld (file noodle.toml, line 2) is not a setting. Did you mean 'enabled'?"


def test_a_lock_that_cannot_be_written_is_named(noodle):
    Path("noodle.toml").write_text("")
    ran = noodle("stack", "lock", "noodle.toml", "--output", "nowhere/noodle.lock")
    assert ran.code == 2
    assert said(ran.err)["Error"][0].startswith("nowhere/noodle.lock cannot be written: ")
    assert not list(Path().glob("nowhere*"))


@pytest.mark.parametrize(
    "answer",
    [
        lambda: PlainTextResponse("no", status_code=500),
        lambda: PlainTextResponse("no"),
        lambda: JSONResponse([]),
        lambda: JSONResponse({}),
    ],
)
def test_an_answer_that_is_none_is_said_in_the_same_way(noodle, program, answer):
    program.answers["/v1/components"] = answer
    found = said(noodle("components").err)
    assert [len(found.get(mark, ())) for mark in ("Error", "Do")] == [1, 1]
    assert found["Error"][0].endswith(".")
    assert found["Do"][0].endswith(ENDS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("The upgrade was rejected: no upgrades..", "The upgrade was rejected: no upgrades."),
        ("It waits…", "It waits…"),
        ("It waits...", "It waits..."),
        ("Why?", "Why?"),
        ("no such thing 'x'", "No such thing 'x'."),
        ("notes 1.0 -> 2.0: staged", "notes 1.0 -> 2.0: staged."),
        ("two\nlines ", "two\nlines."),
        ("\x1b[2J", "\\x1b[2J."),
    ],
)
def test_a_sentence_has_one_end(text, shown):
    assert sentence(text) == shown


def test_one_is_not_many():
    assert [counted(n, "warning") for n in (0, 1, 2)] == ["0 warnings", "1 warning", "2 warnings"]
