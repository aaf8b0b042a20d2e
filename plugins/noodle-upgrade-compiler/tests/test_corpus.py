"""Programs of our own, on both targets and by every version: what they print is written beside them."""

import contextlib
import io
import sys
from pathlib import Path

import pytest

from noodle_upgrade_compiler import importing
from noodle_upgrade_compiler.checking import fault_in_tree
from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.nbc.format import loads
from noodle_upgrade_compiler.nbc.machine import Machine
from noodle_upgrade_compiler.versions import Library

CORPUS = Path(__file__).parent / "corpus"
GOOD = sorted(CORPUS.glob("*.noodle"))
WRONG = sorted((CORPUS / "errors").glob("*.noodle"))
LIBRARY = Library()
NEWEST = {phase: LIBRARY.versions(phase)[-1] for phase in PHASES}
COMPILER = Compiler(LIBRARY)


def name_of(path):
    return path.stem


def printed(run):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        run()
    return out.getvalue()


def test_there_are_programs_from_ten_lines_to_a_thousand():
    lines = [len(path.read_text().splitlines()) for path in GOOD]
    assert len(GOOD) >= 30
    assert min(lines) <= 12
    assert max(lines) >= 900
    assert len(WRONG) >= 14


@pytest.mark.parametrize("versions", [{}, NEWEST], ids=["default", "newest"])
@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_a_program_prints_what_it_should_on_every_target(path, versions):
    source = path.read_text(encoding="utf-8")
    targets = ("python", "python_source", "nbc")
    result = COMPILER.compile(source, str(path), targets=targets, target_versions=versions)
    assert result.success, result.errors
    # It is another tree where there is no text.
    alone = COMPILER.compile(source, str(path), target_versions=versions)
    expected = path.with_suffix(".expected").read_text(encoding="utf-8")
    for code in (alone.bytecode, result.bytecode, compile(result.python_code, "made.py", "exec", dont_inherit=True)):
        assert printed(lambda code=code: exec(code, {"__name__": "__main__"})) == expected
    assert printed(lambda: Machine().run(loads(result.nbc_bytecode))) == expected


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_every_parser_gives_the_same_tree(path):
    tokens = LIBRARY.get("lexer", "1.0.0").call(path.read_text(encoding="utf-8"))
    trees = [LIBRARY.get("parser", version).call(*tokens[:4]).tree for version in LIBRARY.versions("parser")]
    assert not fault_in_tree(trees[0])
    assert all(tree == trees[0] for tree in trees)


@pytest.mark.parametrize("path", WRONG, ids=name_of)
def test_every_error_of_a_program_is_told_in_one_run(path):
    result = COMPILER.compile(path.read_bytes(), str(path))
    told = [f"{one.line}:{one.column} {one.code}" for one in result.errors]
    assert told == path.with_suffix(".errors").read_text().split("\n")[:-1]


@pytest.mark.parametrize("name", ["main", "report"])
def test_programs_of_several_files_import_one_another(name, monkeypatch):
    folder = CORPUS / "modules"
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    importing.install()
    try:
        result = COMPILER.compile((folder / f"{name}.noodle").read_bytes(), name, targets=("python",))
        expected = (folder / f"{name}.expected").read_text(encoding="utf-8")
        assert printed(lambda: exec(result.bytecode, {"__name__": "__main__"})) == expected
    finally:
        importing.uninstall()
        for made in set(sys.modules) - before:
            sys.modules.pop(made, None)

    def load(path):
        source = folder / f"{path}.noodle"
        return (
            loads(COMPILER.compile(source.read_bytes(), path, targets=("nbc",)).nbc_bytecode)
            if source.is_file()
            else None
        )

    assert printed(lambda: Machine(load).run(load(name))) == expected


def test_each_phase_has_at_least_two_versions():
    assert all(len(LIBRARY.versions(phase)) >= 2 for phase in PHASES)
