"""What the program put into a package since it was imported survives, or the change is refused by name."""

from __future__ import annotations

import pytest

from noodle_upgrade_core.errors import StateConflictError, SwapRefusedError


def test_what_the_user_registered_stays_beside_what_the_new_version_brings(package):
    module = package.load(
        "REGISTRY = {'a': len}\ndef register(k, f): REGISTRY[k] = f\n",
        "REGISTRY = {'a': len, 'b': repr}\ndef register(k, f): REGISTRY[k] = f\n",
    )
    held = module.REGISTRY
    module.register("mine", str)
    package.upgrade()
    assert held is module.REGISTRY
    assert held == {"a": len, "b": repr, "mine": str}
    module.register("later", int)
    package.rollback()
    assert held == {"a": len, "mine": str, "later": int}


def test_functions_in_a_registry_are_the_live_ones(package):
    module = package.load(
        "def f(): return 'old'\nR = {'f': f}\n", "def f(): return 'new'\ndef g(): return 1\nR = {'f': f, 'g': g}\n"
    )
    package.upgrade()
    assert module.R["f"] is module.f
    assert module.R["g"] is module.g
    assert module.g.__globals__ is vars(module)


def test_a_setting_that_the_user_changed_stays_when_the_new_version_did_not_change_it(package):
    module = package.load("TIMEOUT = 5\n", "TIMEOUT = 5\nRETRIES = 3\n")
    module.TIMEOUT = 60
    package.upgrade()
    assert (module.TIMEOUT, module.RETRIES) == (60, 3)


def test_a_setting_that_both_changed_is_refused_by_its_name(package):
    module = package.load("TIMEOUT = 5\n", "TIMEOUT = 10\n")
    module.TIMEOUT = 60
    with pytest.raises(StateConflictError) as caught:
        package.stage()
    assert caught.value.details["conflicts"] == [f"{package.name}.TIMEOUT"]
    assert module.TIMEOUT == 60


def test_a_setting_that_both_changed_alike_is_no_conflict(package):
    module = package.load("TIMEOUT = 5\n", "TIMEOUT = 10\n")
    module.TIMEOUT = 10
    package.upgrade()
    assert module.TIMEOUT == 10


def test_a_class_setting_that_the_user_changed_stays(package):
    module = package.load(
        "class A:\n    size = 1\n    def m(self): return 'old'\n",
        "class A:\n    size = 1\n    def m(self): return 'new'\n",
    )
    module.A.size = 7
    package.upgrade()
    assert (module.A.size, module.A().m()) == (7, "new")


def test_what_the_user_deleted_stays_deleted(package):
    module = package.load("D = {'a': 1, 'b': 2}\n", "D = {'a': 1, 'b': 2, 'c': 3}\n")
    del module.D["a"]
    package.upgrade()
    assert module.D == {"b": 2, "c": 3}


def test_what_the_new_version_took_away_goes_and_comes_back(package):
    module = package.load("D = {'a': 1, 'b': 2}\nX = 1\n", "D = {'a': 1}\n")
    package.upgrade()
    assert module.D == {"a": 1}
    assert not hasattr(module, "X")
    package.rollback()
    assert list(module.D) == ["a", "b"]
    assert module.X == 1


def test_nested_registries_merge_too(package):
    module = package.load("R = {'x': ['a'], 'y': {'k': 1}}\n", "R = {'x': ['a', 'b'], 'y': {'k': 1, 'n': 2}}\n")
    module.R["x"].append("mine")
    module.R["y"]["m"] = 3
    package.upgrade()
    assert module.R == {"x": ["a", "b", "mine"], "y": {"k": 1, "n": 2, "m": 3}}
    package.rollback()
    assert module.R == {"x": ["a", "mine"], "y": {"k": 1, "m": 3}}


def test_a_list_that_both_sides_reordered_is_a_conflict(package):
    module = package.load("L = [1, 2, 3]\n", "L = [3, 2, 1]\n")
    module.L[:] = [2, 1, 3]
    with pytest.raises(StateConflictError, match=rf"{package.name}\.L\b"):
        package.stage()
    assert module.L == [2, 1, 3]


def test_members_that_the_user_added_to_a_set_stay(package):
    module = package.load("S = {1, 2}\n", "S = {2, 3}\n")
    module.S.add(9)
    package.upgrade()
    assert {2, 3, 9} == module.S
    package.rollback()
    assert {1, 2, 9} == module.S


def test_the_order_of_a_mapping_is_the_new_version_s(package):
    module = package.load("D = {'a': 1, 'c': 3}\n", "D = {'a': 1, 'b': 2, 'c': 3}\n")
    module.D["mine"] = 0
    package.upgrade()
    assert list(module.D) == ["a", "b", "c", "mine"]
    package.rollback()
    assert list(module.D) == ["a", "c", "mine"]


def test_a_counter_that_the_package_s_own_code_moved_on_goes_on(package):
    source = "n = 0\ndef tick():\n    global n\n    n += 1\n    return ('@@', n)\n"
    module = package.load(source.replace("@@", "old"), source.replace("@@", "new"))
    module.tick()
    package.upgrade()
    assert module.tick() == ("new", 2)
    package.rollback()
    assert module.tick() == ("old", 3)


def test_a_value_that_every_import_makes_anew_keeps_the_process_s_own(package):
    source = "import os\nTOKEN = os.urandom(8)\ndef f(): return '@@'\n"
    module = package.load(source.replace("@@", "old"), source.replace("@@", "new"))
    token = module.TOKEN
    package.upgrade()
    assert token == module.TOKEN
    assert module.f() == "new"


def test_a_function_that_the_user_replaced_stays_when_the_new_version_did_not_change_it(package):
    module = package.load("def f(): return 'same'\nX = 1\n", "def f(): return 'same'\nX = 2\n")
    mine = lambda: "mine"  # noqa: E731
    module.f = mine
    package.upgrade()
    assert module.f is mine
    assert module.X == 2


def test_a_function_that_both_replaced_is_a_conflict(package):
    module = package.load("def f(): return 'old'\n", "def f(): return 'new'\n")
    module.f = lambda: "mine"
    with pytest.raises(StateConflictError, match=rf"{package.name}\.f"):
        package.stage()


def test_state_that_changes_between_plan_and_commit_is_merged_as_it_is_then(package):
    module = package.load("R = {'a': 1}\n", "R = {'a': 2, 'b': 3}\n")
    package.stage()
    module.R["late"] = 9
    package.again()
    assert module.R == {"a": 2, "b": 3, "late": 9}


def test_a_context_variable_keeps_its_value(package):
    source = "import contextvars\nvar = contextvars.ContextVar('var', default=0)\ndef f(): return ('@@', var.get())\n"
    module = package.load(source.replace("@@", "old"), source.replace("@@", "new"))
    var = module.var
    token = var.set(5)
    package.upgrade()
    assert module.var is var
    assert module.f() == ("new", 5)
    var.reset(token)


def test_a_lock_that_is_held_stays_the_same_lock(package):
    source = "import threading\nlock = threading.Lock()\ndef f(): return '@@'\n"
    module = package.load(source.replace("@@", "old"), source.replace("@@", "new"))
    with module.lock:
        package.upgrade()
        assert module.lock.locked()
    assert not module.lock.locked()


def test_a_registry_that_a_metaclass_keeps_holds_the_live_classes_and_the_user_s(package):
    source = (
        "class Meta(type):\n    known = {}\n    def __init__(cls, name, bases, ns):\n"
        "        super().__init__(name, bases, ns)\n        Meta.known[name] = cls\n"
        "class Base(metaclass=Meta):\n    def say(self): return '@@'\n"
    )
    module = package.load(source.replace("@@", "old"), source.replace("@@", "new") + "class Extra(Base): pass\n")
    mine = module.Meta("Mine", (module.Base,), {})
    package.upgrade()
    assert module.Meta.known == {"Base": module.Base, "Extra": module.Extra, "Mine": mine}
    assert module.Extra.__mro__[1] is module.Base
    assert mine().say() == module.Extra().say() == "new"
    package.rollback()
    assert module.Meta.known == {"Base": module.Base, "Mine": mine}


SLOTTED = "class C:\n    __slots__ = (SLOTS)\n    SETTING = NUMBER\n    def m(self): return 'VERSION'\n"


def slotted(slots, version, number="1"):
    return SLOTTED.replace("SLOTS", slots).replace("VERSION", version).replace("NUMBER", number)


def test_what_the_program_set_on_a_class_that_is_replaced_is_set_on_the_new_one(package):
    module = package.load(slotted("'a',", "old"), slotted("'a', 'b'", "new"))
    module.C.SETTING = 5
    module.C.extra = lambda self: "mine"
    package.upgrade()
    assert (module.C.SETTING, module.C().extra(), module.C().m()) == (5, "mine", "new")
    package.rollback()
    assert (module.C.SETTING, module.C().m()) == (5, "old")


def test_what_both_changed_on_a_class_that_is_replaced_is_refused_by_name(package):
    module = package.load(slotted("'a',", "old"), slotted("'a', 'b'", "new", number="2"))
    module.C.SETTING = 5
    with pytest.raises(SwapRefusedError, match=r"C\.SETTING"):
        package.stage()


COUNTED = """
class Attribute:
    NAME = 0
    def __init__(self): Attribute.NAME += 1
made = [FIRST]
"""


def test_a_counter_goes_on_where_it_is(package):
    texts = [
        COUNTED.replace("NAME", "order").replace("FIRST", first)
        for first in ("Attribute()", "Attribute(), Attribute()")
    ]
    module = package.load(*texts)
    for _ in range(5):
        module.Attribute()
    package.upgrade()
    assert module.Attribute.order == 6
    package.rollback()
    assert module.Attribute.order == 6


def test_a_number_that_nothing_counts_on_is_a_conflict(package):
    text = "class Attribute:\n    max_count = FIRST\n    def __init__(self): self.left = Attribute.max_count + 1\n"
    module = package.load(text.replace("FIRST", "3"), text.replace("FIRST", "4"))
    module.Attribute.max_count = 9
    with pytest.raises(StateConflictError, match="max_count"):
        package.upgrade()


GONE = """
class Field:
    order = 0
    def __init__(self):
        self.place = Field.order
        Field.order += 1
        Field.order = Field.order + 0
first = Field()
"""


def test_a_counter_that_the_new_version_does_not_have_goes_and_comes_back(package):
    module = package.load(GONE, "class Field: pass\nfirst = Field()\n")
    made = module.Field()
    package.upgrade()
    assert not hasattr(module.Field, "order")
    assert made.place == 1
    package.rollback()
    assert module.Field.order == 2
    assert module.Field().place == 2


def test_a_counter_that_the_new_version_still_speaks_of_stays(package):
    new = "class Field:\n    def seen(self): return Field.order\nfirst = Field()\n"
    module = package.load(GONE, new)
    module.Field()
    package.upgrade()
    assert module.Field().seen() == 2


def test_a_number_that_the_program_has_set_stays_where_the_new_version_has_none(package):
    module = package.load(
        "class Field:\n    order = 0\n    def __init__(self): self.order = 1\n", "class Field: pass\n"
    )
    module.Field.order = 5
    package.upgrade()
    assert module.Field.order == 5


KEYS = "import os\nkeys = []\nfor name in NAMES:\n    keys.append((name, os.urandom(8)))\n"


def test_a_list_that_each_import_fills_otherwise_stays_and_is_told_of_where_the_new_one_has_more(package):
    module = package.load(KEYS.replace("NAMES", "'ab'"), KEYS.replace("NAMES", "'abc'"))
    before = list(module.keys)
    package.upgrade()
    assert module.keys == before
    assert [w for w in package.prepared.warnings if f"{package.name}.keys goes on" in w and "3 instead of 2" in w]


def test_a_list_that_each_import_fills_otherwise_is_not_told_of_where_only_its_values_differ(package):
    module = package.load(KEYS.replace("NAMES", "'ab'"), KEYS.replace("NAMES", "'ac'"))
    before = list(module.keys)
    package.upgrade()
    assert (module.keys, package.prepared.warnings) == (before, ())
