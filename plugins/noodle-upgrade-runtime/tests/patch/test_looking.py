"""What is looked at before calls are held back, and what only then."""

from __future__ import annotations

import gc

import pytest

from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.patch import prepared

OLD = "class A:\n    def __init__(self): self.x = 1\ndef make():\n    def inner(): return 1\n    return inner\n"
NEW = OLD.replace("self.x = 1", "self.x = 1; self.tags = []").replace("return 1\n", "return 2\n")


@pytest.fixture
def looks(monkeypatch):
    """Count the looks at every object, and at the young."""
    seen = []
    real = prepared.tracked

    def tracked(generation=None):
        seen.append(generation)
        return real(generation)

    monkeypatch.setattr(prepared, "tracked", tracked)
    return seen


def commit(package, between=lambda: None):
    part = package.stage()
    with part.looking():
        between()
        Script(part.operations()).apply()


def test_what_comes_into_being_after_the_look_has_the_new_version_too(package, looks):
    module = package.load(OLD, NEW)
    held = []
    commit(package, lambda: held.append((module.A(), module.make())))
    assert [(one.tags, function()) for one, function in held] == [([], 2)]
    assert looks == [None]


def test_what_was_there_before_has_it_as_well(package):
    module = package.load(OLD, NEW)
    one, function = module.A(), module.make()
    commit(package)
    assert (one.tags, function()) == ([], 2)


def test_a_collection_in_between_costs_a_second_look_and_nothing_else(package, looks):
    module = package.load(OLD, NEW)
    held = []

    def between():
        held.append((module.A(), module.make()))
        gc.collect()

    commit(package, between)
    assert [(one.tags, function()) for one, function in held] == [([], 2)]
    assert looks == [None, None]


def test_where_there_is_nothing_to_find_nothing_is_looked_at(package, looks):
    module = package.load("def f(): return 1\n", "def f(): return 2\n")
    commit(package)
    assert module.f() == 2
    assert looks == []


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_goes_on_as_it_was(package, was_on):
    package.load(OLD, NEW)
    if not was_on:
        gc.disable()
    try:
        commit(package)
        assert gc.isenabled() is was_on
    finally:
        gc.enable()
