from collections.abc import Iterator

import pytest

from noodle_upgrade_compiler.compiler import Compiler, set_process_compiler
from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.pipeline import PhaseSet
from noodle_upgrade_compiler.versions import Library


@pytest.fixture(scope="session")
def library() -> Library:
    return Library()


@pytest.fixture(scope="session")
def phases(library) -> PhaseSet:
    return PhaseSet(*(library.get(phase, "1.0.0") for phase in PHASES))


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    """The compiler of this process, a new one for each test."""
    made = Compiler()
    before = set_process_compiler(made)
    yield made
    set_process_compiler(before)
