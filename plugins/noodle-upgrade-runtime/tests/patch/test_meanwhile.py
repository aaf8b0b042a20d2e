"""What a program does between staging and commit, and with what a plan reads."""

from __future__ import annotations

import pytest

from noodle_upgrade_core.errors import StateConflictError, UpgradeError
from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.patch import sources


def commit(package):
    package.script = Script(package.prepared.operations())
    package.script.apply()


WEAKLY = """
import weakref
class Key: pass
class Value:
    def __init__(self, n): self.n = n
a, b = Key(), Key()
OLD, NEW, MINE = Value("old"), Value("new"), Value("mine")
BY_KEY = weakref.WeakKeyDictionary({a: "old"})
BY_VALUE = weakref.WeakValueDictionary({"a": OLD})
MEMBERS = weakref.WeakSet([a, b])
"""


def test_what_the_program_puts_into_a_weak_mapping_after_staging_stays_there(package):
    module = package.load(WEAKLY, WEAKLY.replace('{a: "old"}', '{a: "new"}'))
    package.stage()
    module.BY_KEY[module.a] = "mine"
    commit(package)
    assert module.BY_KEY[module.a] == "mine"


def test_what_the_program_puts_into_a_weak_mapping_of_values_after_staging_stays_there(package):
    module = package.load(WEAKLY, WEAKLY.replace('{"a": OLD}', '{"a": NEW}'))
    package.stage()
    module.BY_VALUE["a"] = module.MINE
    commit(package)
    assert module.BY_VALUE["a"] is module.MINE


def test_what_the_program_takes_out_of_a_weak_set_after_staging_stays_out_of_it_when_the_change_goes_back(package):
    module = package.load(WEAKLY, WEAKLY.replace("WeakSet([a, b])", "WeakSet([a])"))
    package.stage()
    module.MEMBERS.discard(module.b)
    commit(package)
    package.rollback()
    assert list(module.MEMBERS) == [module.a]


SLOTS = """
class Setting:
    __slots__ = ("first", "second")
one = Setting()
one.first = "old"
"""


def test_a_value_that_moves_from_one_slot_to_another_is_seen(package):
    module = package.load(SLOTS, SLOTS.replace('"old"', '"new"'))
    package.stage()
    module.one.second = module.one.first
    del module.one.first
    try:
        commit(package)
    except StateConflictError:
        return
    package.rollback()
    assert not hasattr(module.one, "first")


def test_instances_without_slots_of_a_class_that_gives_way(package):
    old = """
    class Sign:
        __slots__ = ()
        def name(self): return "old"
    """
    module = package.load(old, old.replace("()", "('x',)", 1).replace("old", "new"))
    held = [module.Sign()]
    try:
        package.upgrade()
    except UpgradeError:
        assert held[0].name() == "old"
        return
    assert isinstance(held[0], module.Sign)
    assert held[0].name() == "new"


PARTED = """
class A:
    def __init__(self):
        self.x = 1
"""
MIXED = """
class Mixin:
    pass
class A(Mixin):
    def __init__(self):
        self.x = 1
        self.y = [self.x]
"""


def test_no_source_is_read_while_calls_are_held_back_whoever_has_come_since_staging(package, monkeypatch):
    module = package.load(PARTED, MIXED)
    package.stage()
    one = module.A()
    read = []
    monkeypatch.setattr(sources, "_functions_in", lambda path: read.append(path) or {})
    commit(package)
    assert not read
    assert one.y == [1]
    package.rollback()
    package.prepared.went_back()
    assert vars(one) == {"x": 1}


@pytest.mark.parametrize("base", ["csv.Error", "ssl.SSLError", "ValueError", "random.Random"])
def test_instances_that_do_not_show_their_class_to_the_collector_move_with_it_and_back(package, base):
    text = f"import abc, csv, random, ssl\nclass E({base}):\n    def told(self): return 'old'\n"
    module = package.load(text, text.replace(base + ")", base + ", metaclass=abc.ABCMeta)").replace("'old'", "'new'"))
    package.stage()
    one = module.E(1)
    commit(package)
    assert type(one) is module.E
    another = module.E(2)
    package.rollback()
    assert not package.prepared.went_back()
    assert type(one) is type(another) is module.E
    assert one.told() == another.told() == "old"
