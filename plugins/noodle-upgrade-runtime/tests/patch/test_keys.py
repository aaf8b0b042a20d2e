"""Mappings and sets whose keys are objects of the package, with an `__eq__` and a `__hash__` of its own."""

from __future__ import annotations

import pytest

from noodle_upgrade_core.errors import StageError, StateConflictError, SwapRefusedError
from noodle_upgrade_runtime.patch import planner

TEXT = """
class Symbol:
    def __init__(self, name): self.name = name
    def __eq__(self, other):
        assert isinstance(other, Symbol), other
        return self.name == other.name
    def __hash__(self): return hash(self.name)
TABLE = {Symbol("a"): ITEM, (Symbol("t"), 1): 1, "s": "text"}
NAMES = {Symbol("a"), Symbol("b")}
def known(): return {getattr(k, "name", k): v for k, v in TABLE.items()}
def find(name): return TABLE[Symbol(name)]
"""
OLD = TEXT.replace("ITEM", "'old'")
NEW = TEXT.replace("ITEM", "'new', Symbol('c'): 'more'").replace('Symbol("b")', 'Symbol("d")')


def test_what_equals_is_found_without_asking_the_packages_code(package):
    module = package.load(OLD, NEW)
    table, names = module.TABLE, module.NAMES
    table[module.Symbol("mine")] = 1
    names.add(module.Symbol("mine"))
    package.upgrade()
    assert module.TABLE is table
    assert (module.find("a"), module.find("c"), module.find("mine")) == ("new", "more", 1)
    assert len(table) == 5
    assert {one.name for one in names} == {"a", "d", "mine"}
    assert all(type(one) is module.Symbol for one in names)
    table[module.Symbol("later")] = 2
    package.rollback()
    assert (module.find("a"), module.find("mine"), module.find("later")) == ("old", 1, 2)
    assert len(table) == 5
    assert {one.name for one in names} == {"a", "b", "mine"}


def test_keys_that_are_tuples_of_definitions_are_found(package):
    text = "class A: pass\ndef f(): return VERSION\nTABLE = {(A, 1): f, (A, 2): VERSION, frozenset([A]): VERSION}\n"
    module = package.load(text.replace("VERSION", "1"), text.replace("VERSION", "2"))
    module.TABLE[module.A, 3] = "mine"
    package.upgrade()
    assert {
        (module.A, 1): module.f, (module.A, 2): 2, frozenset([module.A]): 2, (module.A, 3): "mine"
    } == module.TABLE  # fmt: skip
    package.rollback()
    assert module.TABLE[module.A, 2] == 1
    assert len(module.TABLE) == 4


def test_a_conflict_under_such_a_key_is_one(package):
    module = package.load(OLD, NEW)
    module.TABLE[module.Symbol("a")] = "mine"
    with pytest.raises(StateConflictError, match=rf"{package.name}\.TABLE"):
        package.stage()


def test_the_commit_runs_no_code_of_such_keys(package):
    module = package.load(OLD, NEW)
    package.stage()
    operations = package.prepared.operations()
    module.Symbol.__hash__ = module.Symbol.__eq__ = None
    for operation in operations:
        if operation.subject in {"a mapping", "a set"}:
            operation.do[0](*operation.do[1:])


def test_a_function_of_a_new_module_that_is_bound_to_a_class_that_lives_is_made_for_it(package):
    """A class that moves to a module of its own: its methods know it through a cell that the live ones have, too."""
    old = "class Base:\n    def f(self): return 'base'\nclass A(Base):\n    def f(self): return 'old ' + super().f()\n"
    moved = (
        "class Base:\n    def f(self): return 'base'\nclass A(Base):\n    def f(self): return 'new ' + super().f()\n"
        "    def g(self): return __class__\n"
    )
    module = package.load(old, "from .html import A, Base\n", html=("", moved))
    held = module.A()
    package.upgrade()
    assert (held.f(), module.A().f(), held.g()) == ("new base", "new base", module.A)
    package.rollback()
    assert (held.f(), module.A().f()) == ("old base", "old base")


def test_an_error_of_the_engine_is_not_told_as_one_of_the_new_version(package, monkeypatch):
    def fail(*_):
        raise AttributeError("readonly attribute")

    package.load("A = 1\n", "A = 2\n")
    monkeypatch.setattr(planner, "merge_names", fail)
    with pytest.raises(StageError) as caught:
        package.stage()
    assert "import" not in caught.value.message
    assert "readonly attribute" in caught.value.message
    assert "merge" in caught.value.details["traceback"]


def test_keys_that_lead_to_others_of_their_kind_are_the_same_at_every_look(package):
    source = """
class Kind(tuple):
    parent = None
kinds = [Kind()]
for name in "abcdefg":
    made = Kind((*kinds[-1], name))
    made.parent = kinds[-1]
    kinds.append(made)
NAMES = {{kind: {} for kind in kinds}}
"""
    module = package.load(source.format("len(kind)"), source.format("-len(kind)"))
    mine = module.Kind(("mine",))
    module.NAMES[mine] = 9
    package.upgrade()
    assert [module.NAMES[kind] for kind in module.kinds] == [0, -1, -2, -3, -4, -5, -6, -7]
    assert module.NAMES[mine] == 9
    package.rollback()
    assert [module.NAMES[kind] for kind in module.kinds] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_keys_that_do_not_compare_with_those_of_another_class_are_refused_and_no_error_of_ours(package):
    source = """
class Symbol:
    def __init__(self, name): self.name = name
    def __hash__(self): return 1
    def __eq__(self, other):
        assert isinstance(other, Symbol), other
        return self.name == other.name
TABLE = {FIRST}
"""
    texts = ("{Symbol('a'): 1}", "{Symbol('b'): 2, Symbol('a'): 1}")
    module = package.load(*(source.replace("{FIRST}", text) for text in texts))
    module.TABLE[module.Symbol("mine")] = 3
    with pytest.raises(SwapRefusedError, match="cannot be compared"):
        package.upgrade()
    assert module.TABLE[module.Symbol("mine")] == 3


RULES = """
class Options:
    def __init__(self, keep): self.keep = keep
class Rule:
    def __init__(self, name, keep=False): self.name, self.options = name, Options(keep)
    def __eq__(self, other):
        assert isinstance(other, Rule), other
        return self.name == other.name
    def __hash__(self): return hash(self.name)
TABLE = {Rule("a"): VERSION, Rule("b", True): VERSION}
NAMES = {Rule("a"), Rule("b")}
def find(name): return TABLE[Rule(name)]
"""


def test_a_key_that_has_an_object_of_its_own_for_its_values_is_found(package):
    """The object equals only itself, and each import makes another one, but it says the same."""
    module = package.load(RULES.replace("VERSION", "1"), RULES.replace("VERSION", "2"))
    table, names = module.TABLE, module.NAMES
    table[module.Rule("mine")] = 3
    names.add(module.Rule("mine"))
    package.upgrade()
    assert (module.find("a"), module.find("b"), module.find("mine"), len(table), len(names)) == (2, 2, 3, 3, 3)
    assert all(type(one.options) is module.Options for one in table)
    package.rollback()
    assert (module.find("a"), module.find("b"), module.find("mine"), len(table), len(names)) == (1, 1, 3, 3, 3)


def test_keys_that_only_an_object_of_their_own_tells_apart_stay_apart(package):
    text = (
        "class Mark:\n    def __init__(self): self.n = 1\nclass A: pass\nM = Mark()\nTABLE = {(A, Mark()): VERSION}\n"
    )
    module = package.load(text.replace("VERSION", "1"), text.replace("VERSION", "2"))
    mine = [module.Mark(), module.Mark()]
    for number, mark in enumerate(mine):
        module.TABLE[module.A, mark] = f"mine {number}"
    package.upgrade()
    assert [module.TABLE[module.A, mark] for mark in mine] == ["mine 0", "mine 1"]
    assert sorted(map(str, module.TABLE.values())) == ["2", "mine 0", "mine 1"]
    package.rollback()
    assert sorted(map(str, module.TABLE.values())) == ["1", "mine 0", "mine 1"]
