"""What the source of functions says, and for how long that is remembered."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

import pytest

from noodle_upgrade_runtime.patch import sources
from noodle_upgrade_runtime.patch.constructors import always_given, assigned_anywhere
from noodle_upgrade_runtime.patch.sources import definition_of, once, reading

TEXT = """
import functools
def plain(): pass
@functools.cache
def decorated(): pass
if True:
    try:
        def inside(): pass
    except ValueError:
        pass
    else:
        for _ in ():
            pass
        else:
            def in_else(): pass
match 1:
    case 1:
        def in_case(): pass
class A:
    def __init__(self): self.a = 1
    def other(self):
        def nested(): self.b = 2
        setattr(self, "c", 3)
    def silent(self): return 1
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "told.py"
    path.write_text(TEXT)
    spec = importlib.util.spec_from_file_location("told", path)
    made = importlib.util.module_from_spec(spec)
    sys.modules["told"] = made
    spec.loader.exec_module(made)
    yield made
    del sys.modules["told"]


@pytest.mark.parametrize("name", ["plain", "inside", "in_else", "in_case"])
def test_a_definition_is_found_wherever_statements_stand(module, name):
    assert definition_of(getattr(module, name)).name == name


def test_a_decorated_one_is_found_by_the_line_of_its_decorator(module):
    assert definition_of(module.decorated.__wrapped__).name == "decorated"


def test_a_function_without_a_file_has_none(module):
    namespace = {}
    exec("def made(): pass", namespace)
    assert definition_of(namespace["made"]) is None


def test_what_methods_assign_is_found_in_nested_functions_and_by_setattr(module):
    assert assigned_anywhere(module.A) == {"a", "b", "c"}
    assert always_given(module.A) == {"a"}


def test_a_question_is_asked_once_while_somebody_reads_and_anew_for_the_next_change(module):
    asked = []

    @once
    def question(value):
        asked.append(value)
        return len(asked)

    assert [question(module.A), question(module.A)] == [1, 2]
    with reading():
        assert [question(module.A), question(module.A), question(module)] == [3, 3, 4]
        with reading():
            assert question(module.A) == 3
        assert question(module.A) == 3
    assert question(module.A) == 5


def test_a_file_that_was_written_since_is_read_anew(module, tmp_path):
    with reading():
        assert definition_of(module.plain) is definition_of(module.plain)
    path = tmp_path / "told.py"
    path.write_text("\n\n\n" + TEXT)
    os.utime(path, ns=(1, 1))
    with reading():
        assert definition_of(module.plain) is None


def test_nothing_is_kept_when_nobody_reads(module):
    with reading():
        definition_of(module.plain)
        always_given(module.A)
    assert not any(sources._answers)
