"""Instances that are keys of tables, and of which the new version makes another hash."""

from __future__ import annotations

import collections
import weakref

import pytest

from noodle_upgrade_core.errors import SwapRefusedError, UpgradeError

OLD = "class K:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return hash(self.n)\n"
NEW = OLD.replace("hash(self.n)", "hash((self.n, 'new'))")
FROZEN = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass K:\n    n: int\n"

HOLDS = {
    "a dict": lambda one: {one: 1},
    "an ordered dict": lambda one: collections.OrderedDict({one: 1}),
    "a dict of a class of its own": lambda one: type("Table", (dict,), {"__iter__": None})({one: 1}),
    "a set": lambda one: {one},
    "a frozen set": lambda one: frozenset([one]),
    "a key that is a tuple": lambda one: {(1, one): 1},
}


@pytest.mark.parametrize("name", sorted(HOLDS))
def test_a_change_that_a_table_would_not_find_its_keys_after_is_refused_with_their_number(package, name):
    module = package.load(OLD, NEW)
    table = HOLDS[name](module.K(1))
    with pytest.raises(SwapRefusedError, match=r"1 live instance\(s\) of .*K are keys of tables, which would not find"):
        package.stage()
    del table
    package.stage()


def test_one_that_comes_to_be_a_key_after_staging_is_found_at_the_commit(package):
    module = package.load(OLD, NEW)
    part = package.stage()
    table = {module.K(1): 1}
    with pytest.raises(SwapRefusedError, match="are keys of tables"):
        part.operations()
    assert module.K(1).n == next(iter(table)).n


def test_values_and_items_are_no_keys(package):
    module = package.load(OLD, NEW)
    kept = [{1: module.K(1)}, [module.K(2)], (module.K(3),)]
    package.upgrade()
    assert hash(kept[1][0]) == hash((2, "new"))


def test_the_same_hash_in_other_words_around_it_is_no_reason(package):
    module = package.load(OLD, OLD + "    def other(self): return 1\n\n# another line\n")
    table = {module.K(1): 1}
    package.upgrade()
    assert next(iter(table)).other() == 1


def test_a_frozen_dataclass_that_gains_a_field_makes_another_hash(package):
    module = package.load(FROZEN, FROZEN + "    m: int = 2\n")
    kept = {module.K(1)}
    with pytest.raises(SwapRefusedError, match="are keys of tables"):
        package.stage()
    assert module.K(1) in kept


def test_who_says_that_instances_may_go_on_as_they_are_is_not_asked(package):
    module = package.load(OLD, NEW)
    table = {module.K(1): 1}
    package.parameters = {"runtime.instances": "keep"}
    package.upgrade()
    assert hash(next(iter(table))) == hash((1, "new"))


def test_a_hash_that_differs_with_every_import_stays_and_tables_find_their_keys(package):
    source = "import attrs\n@attrs.frozen\nclass K:\n    n: int\n    def m(self): return '@@'\n"
    module = package.load(source.replace("@@", "old"), source.replace("@@", "new"))
    one = module.K(1)
    table = {one: 1}
    package.upgrade()
    assert (one.m(), one in table, module.K(1) in table) == ("new", True, True)


HASHED = """
class Key:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == other.n
    def _key(self): return self.n
    def __hash__(self): return hash(self._key())
"""


def test_keys_whose_hash_asks_a_method_that_changes_stand_against_it(package):
    module = package.load(HASHED, HASHED.replace("return self.n\n", 'return ("new", self.n)\n'))
    table = {module.Key(1): "one"}
    with pytest.raises(SwapRefusedError):
        package.upgrade()
    assert table[module.Key(1)] == "one"


def test_keys_in_weak_tables_stand_against_another_hash(package):
    module = package.load(HASHED, HASHED.replace("hash(self._key())", "hash(('new', self.n))"))
    key = module.Key(1)
    table = weakref.WeakKeyDictionary({key: "one"})
    with pytest.raises(SwapRefusedError):
        package.upgrade()
    assert table[key] == "one"


def test_keys_deep_in_tuples_stand_against_another_hash(package):
    module = package.load(HASHED, HASHED.replace("hash(self._key())", "hash(('new', self.n))"))
    table = {(1, (module.Key(1), 2)): "one"}
    with pytest.raises(SwapRefusedError):
        package.upgrade()
    assert table[(1, (module.Key(1), 2))] == "one"


def test_keys_in_frozen_sets_stand_against_another_hash(package):
    module = package.load(HASHED, HASHED.replace("hash(self._key())", "hash(('new', self.n))"))
    key = module.Key(2)
    table = {frozenset([key]): "two"}
    with pytest.raises(SwapRefusedError):
        package.upgrade()
    assert table[frozenset([key])] == "two"


GIVES_WAY = """
class Key:
    SLOTS
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == other.n
    def __hash__(self): return hash(self.n)
"""


def refused_or_found(package, key):
    table = {key: "one"}
    try:
        package.upgrade()
    except UpgradeError:
        return
    assert table[key] == "one"


def test_keys_that_move_to_a_class_with_another_hash_stand_against_it(package):
    old = GIVES_WAY.replace("class Key:", "class Key(dict):").replace("SLOTS", "pass")
    new = GIVES_WAY.replace("class Key:", "class Base(dict): pass\nclass Key(Base):").replace("SLOTS", "pass")
    new = new.replace("hash(self.n)", 'hash(("new", self.n))')
    module = package.load(old, new)
    refused_or_found(package, module.Key(1))


def test_keys_with_slots_that_move_to_a_class_with_another_hash_stand_against_it(package):
    old = GIVES_WAY.replace("SLOTS", "__slots__ = ('n', 'm')")
    new = GIVES_WAY.replace("SLOTS", "__slots__ = ('m', 'n')").replace("hash(self.n)", 'hash(("new", self.n))')
    module = package.load(old, new.replace("class Key:", "class B:\n    __slots__ = ()\nclass Key(B):"))
    refused_or_found(package, module.Key(1))


def test_a_hash_that_stands_in_another_line_is_the_same(package):
    module = package.load(HASHED, "# a line\n\n" + HASHED)
    table = {module.Key(1): "one"}
    package.upgrade()
    assert table[module.Key(1)] == "one"
