"""What a program takes of the new version while it runs leads to the old one when that is back."""

from __future__ import annotations

import collections
import fractions
import functools
import pickle
import posixpath

import pytest


def back(package):
    package.rollback()
    return package.prepared.went_back()


def test_a_closure_that_was_made_meanwhile(package):
    source = "def make(n):\n    def inner(): return (VERSION, n)\n    return inner\n"
    module = package.load(source.replace("VERSION", "1"), source.replace("VERSION", "2"))
    before = module.make("a")
    package.upgrade()
    since = module.make("b")
    assert (before(), since()) == ((2, "a"), (2, "b"))
    assert back(package) == ()
    assert (before(), since()) == ((1, "a"), (1, "b"))
    package.again()
    assert (before(), since()) == ((2, "a"), (2, "b"))


DECORATED = """
import functools
def shout(f):
    @functools.wraps(f)
    def inner(*args): return f(*args) + "!"
    return inner
AT
def name(): return VERSION
"""


def test_a_function_that_gets_a_decorator(package):
    module = package.load(
        DECORATED.replace("AT", "").replace("VERSION", "'1'"),
        DECORATED.replace("AT", "@shout").replace("VERSION", "'2'"),
    )
    package.upgrade()
    since, part = module.name, functools.partial(module.name)
    assert (since(), part()) == ("2!", "2!")
    assert back(package) == ()
    assert (since(), part()) == ("1", "1")
    package.again()
    assert (since(), part(), module.name()) == ("2!", "2!", "2!")
    back(package)
    assert (since(), module.name()) == ("1", "1")


SLOTS = """
class A:
    __slots__ = SLOTS
    def __init__(self): self.a = 1
    def name(self): return VERSION
"""


def test_a_class_that_takes_the_place_of_another(package):
    module = package.load(
        SLOTS.replace("SLOTS", "('a',)").replace("VERSION", "1"),
        SLOTS.replace("SLOTS", "('a', 'b')").replace("VERSION", "2"),
    )
    old = id(module.A)
    package.upgrade()
    taken, held = module.A, [module.A]
    assert id(taken) != old
    assert back(package) == ()
    assert {id(module.A), id(taken), id(held[0])} == {old}


def test_an_instance_of_such_a_class_that_cannot_go_back_is_named(package):
    module = package.load(
        SLOTS.replace("SLOTS", "('a',)").replace("VERSION", "1"),
        SLOTS.replace("SLOTS", "('a', 'b')").replace("VERSION", "2"),
    )
    package.upgrade()
    made = module.A()
    noted = back(package)
    assert any("A" in one for one in noted)
    assert made.name() == 2


@pytest.mark.parametrize("what", ["class A(Base): pass", "class A(Base, metaclass=Meta): pass"])
def test_instances_and_subclasses_that_can_go_back_do(package, what):
    head = "class Meta(type): pass\nclass Base:\n    x = 1\nclass Root: pass\n"
    module = package.load(f"{head}class A(Root):\n    v = 1\n", f"{head}{what.replace('pass', 'v = 2')}\n")
    package.upgrade()
    made = module.A()
    assert back(package) == ()
    assert made.v == 1
    assert isinstance(made, module.A)


@pytest.mark.parametrize(("old", "new"), [("", "@shout"), ("@shout", ""), ("@shout", "@shout\n@shout")])
def test_a_function_that_somebody_holds_is_the_one_that_its_name_means_whatever_decorates_it(package, old, new):
    texts = [DECORATED.replace("AT", at).replace("VERSION", f"'{version}'") for at, version in ((old, 1), (new, 2))]
    module = package.load(*texts)
    held, table = module.name, {module.name: "mine"}
    before, after = held(), "2" + "!" * new.count("@")
    package.upgrade()
    assert held is module.name
    assert (held(), table[module.name], pickle.loads(pickle.dumps(held))) == (after, "mine", held)
    assert hasattr(held, "__wrapped__") is bool(new)
    assert back(package) == ()
    assert held is module.name
    assert (held(), hasattr(held, "__wrapped__")) == (before, bool(old))
    package.again()
    assert (held(), module.name()) == (after, after)


def test_a_function_of_its_own_that_the_new_version_has_for_another_name(package):
    old = "def name(): return 'old'\noldName = name\nclass A:\n    def f(self): return 'old'\n    oldF = f\n"
    new = (
        "def passing(f):\n    def inner(*args): return 'by ' + f(*args)\n    return inner\n"
        "def name(): return 'new'\noldName = passing(name)\n"
        "class A:\n    def f(self): return 'new'\n    oldF = passing(f)\n"
    )
    module = package.load(old, new)
    package.upgrade()
    since = [module.oldName]
    part, unbound = functools.partial(module.oldName), {"f": module.A.oldF}
    assert (since[0](), part(), unbound["f"](module.A())) == ("by new", "by new", "by new")
    assert back(package) == ()
    assert (since[0], part.func, unbound["f"]) == (module.name, module.name, module.A.f)
    assert (module.oldName(), module.A().oldF()) == ("old", "old")
    package.again()
    assert (module.oldName(), module.A().oldF()) == ("by new", "by new")


def test_a_function_of_another_package_that_the_new_version_has_for_a_name_stays_with_its_holders(package):
    module = package.load("def join(*a): return 'old'\n", "from posixpath import join\n")
    package.upgrade()
    since = module.join
    assert back(package) == ()
    assert since("a", "b") == "a/b"
    assert module.join("a", "b") == "old"


@pytest.mark.parametrize(
    ("old", "new", "theirs"),
    [
        ("class Table(dict): pass\n", "from collections import OrderedDict as Table\n", collections.OrderedDict),
        ("class Table: pass\n", "from fractions import Fraction as Table\n", fractions.Fraction),
        ("class Table: pass\n", "from posixpath import join as Table\n", posixpath.join),
        ("def Table(): return 'old'\n", "from posixpath import join as Table\n", posixpath.join),
        ("def Table(): return 'old'\n", "from fractions import Fraction as Table\n", fractions.Fraction),
    ],
)
def test_what_the_new_version_had_from_elsewhere_is_what_others_hold_and_stays_theirs(package, old, new, theirs):
    module = package.load(old, new)
    before, code = module.Table, getattr(theirs, "__code__", None)
    mine = [theirs]
    package.upgrade()
    assert module.Table is theirs
    package.rollback()
    package.prepared.went_back()
    assert module.Table is before
    assert mine[0] is theirs
    assert (collections.OrderedDict.__module__, fractions.Fraction.__module__) == ("collections", "fractions")
    assert getattr(theirs, "__code__", None) is code
    assert posixpath.join("a", "b") == "a/b"


@pytest.mark.parametrize(
    "before", ["def made(): return 'old'\n", "class made: pass\n", "made = property(lambda self: 1)\n"]
)
def test_what_both_versions_have_stays_what_it_is_when_another_name_for_it_goes(package, before):
    common = "class Common:\n    def m(self): return '@@'\n"
    module = package.load(
        common.replace("@@", "old") + "class A:\n    " + before.replace("\n", "\n    ").rstrip() + "\n",
        common.replace("@@", "new") + "class A:\n    made = Common\n",
    )
    held, old = [module.Common], vars(module.A)["made"]
    package.upgrade()
    assert module.A.made is held[0] is module.Common
    package.rollback()
    package.prepared.went_back()
    assert held[0] is module.Common
    assert vars(module.A)["made"] is old
    assert module.Common().m() == "old"
