"""Programs at random: whatever compiles them, and whatever runs them, they print the same."""

import contextlib
import io
import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from generating import program

from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.nbc.format import loads
from noodle_upgrade_compiler.nbc.machine import Machine

COMPILER = Compiler()
SETS = [
    dict(zip(PHASES, versions, strict=True))
    for versions in itertools.product(*(COMPILER.library.versions(phase) for phase in PHASES))
]
TARGETS = ("python", "python_source", "nbc")


def printed(run):
    """What a program prints, and the kind of error that it ends with."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            run()
        except Exception as error:
            return f"{out.getvalue()}{type(error).__name__}"
    return out.getvalue()


def outputs(source, versions):
    made = COMPILER.compile(source, "made.noodle", targets=TARGETS, target_versions=versions)
    assert made.success, f"{made.errors}\n{source}"
    alone = COMPILER.compile(source, "made.noodle", target_versions=versions)
    yield printed(lambda: exec(alone.bytecode, {"__name__": "__main__"}))
    yield printed(
        lambda: exec(compile(made.python_code, "made.py", "exec", dont_inherit=True), {"__name__": "__main__"})
    )
    yield printed(lambda: Machine().run(loads(made.nbc_bytecode)))


@pytest.mark.parametrize("seed", range(60))
def test_a_program_prints_the_same_by_whatever_versions_and_on_whatever_target(seed):
    source = program(seed)
    found = {text for versions in (SETS[0], SETS[-1], SETS[seed % len(SETS)]) for text in outputs(source, versions)}
    assert len(found) == 1, f"{found}\n{source}"
