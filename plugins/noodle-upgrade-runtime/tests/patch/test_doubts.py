"""A field whose value the slice of a constructor cannot be sure of is refused by name, never given another value."""

from __future__ import annotations

import time

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

OLD = """
count = 0
made = []
def fill(table, n): table.append(n)
def configure(one): one.x.append(8)
class A:
    def __init__(self, w=2):
        self.w = w
        self.log = []
        MORE
    def _more(self):
        self.x.append(7)
        return 1
"""


def grown(*lines):
    return OLD.replace("MORE", "\n        ".join(lines))


UNSURE = [
    ("self.x = []", "items = self.x", "items.append(1)"),
    ("items = []", "self.x = items", "other = items", "other.append(1)"),
    ("self.x = []", "add = self.x.append", "add(1)"),
    ("self.x = [1, 2]", "last = self.x.pop()"),
    ("self.x = [[]]", "for row in self.x: row.append(1)"),
    ("self.x = []", "[self.x.append(n) for n in range(3)]"),
    ("self.x = []", "if self.x.append(2): pass"),
    ("self.x = []", "n = fill(self.x, 3)"),
    ("self.x = []", "n = self._more()"),
    ("self.x = []", "configure(self)"),
    ("n = 0", "def more():", "    nonlocal n", "    n += 1", "more()", "self.x = n"),
    ("t = []", "def add(n): t.append(n)", "add(1)", "self.x = t"),
    ("self.x = 1", "setattr(self, 'x', 2)"),
    ("self.x = 1", "self.__dict__.update(x=2)"),
    ("self.x = 1", "vars(self)['x'] = 2"),
    ("self.x = 1", "me = self", "me.x = 2"),
    ("object.__setattr__(self, 'x', [1])",),
    ("try: int('q')", "except ValueError: self.x = 'text'", "else: self.x = 'number'"),
    ("try:", "    import not_there_at_all", "    self.x = True", "except ImportError: self.x = False"),
    ("self.n = 0", "self.x = self.n", "self.n = 5"),
    ("global count", "count += 1", "self.x = count"),
    ("A.total = getattr(A, 'total', 0) + 1", "self.x = A.total"),
    ("made.append(1)", "self.x = len(made)"),
    ("lock = []", "self.x = lock", "self.y = (lock,)"),
    ("match [1, w]:", "    case [a, b]: pass", "self.x = b"),
    ("a = 1", "self.x = dict(locals())"),
    ("self.x = []", "n = self._more()", "self.x = n"),
    ("self.x = []", "n = self._more()", "y = n", "self.x = [y]"),
    ("t = []", "self.x = t", "add = self.x.append", "add(1)", "self.x = t"),
]


@pytest.mark.parametrize("lines", UNSURE)
def test_a_field_that_may_be_changed_in_a_way_that_is_not_followed_is_refused_by_name(package, lines):
    held = package.load(OLD.replace("MORE", "pass"), grown(*lines)).A()
    with pytest.raises(SwapRefusedError, match=r"would lack .*x \("):
        package.stage()
    assert not hasattr(held, "x")


@pytest.mark.parametrize(
    "lines",
    [
        ("if (n := self.w) > 1: pass", "self.x = n"),
        ("for self.x in range(3): pass",),
        ("import contextlib", "with contextlib.nullcontext(4) as self.x: pass"),
        ("n = [1]", "self.x = [n for n in n]"),
        ("self.x = []", "total = len(self.x)", "text = str(self.x)"),
        ("label = str(self.w)", "self.log.append(label)", "made.append(label)", "self.x = label"),
        ("label = str(self.w)", "self.label = label", "self.x = label.upper()"),
        ("self.x = None", "self.log.append(1)", "self.x = 10"),
        ("self.x = t = []", "fill(t, 3)", "self.x = t"),
        ("self.x = w = 3", "self.log.append(w)", "self.x: int = w + 1"),
    ],
)
def test_a_field_has_the_value_that_a_construction_gives_it_and_nothing_else_is_done(package, lines):
    module = package.load(OLD.replace("MORE", "pass"), grown(*lines))
    held = module.A()
    package.upgrade()
    assert (held.x, held.log, module.made) == (held.x, [], [])
    assert held.x == module.A().x


def test_two_fields_that_one_statement_gives_are_one_object(package):
    held = package.load(OLD.replace("MORE", "pass"), grown("self.x = self.y = []")).A()
    package.upgrade()
    assert held.x is held.y


def test_methods_that_call_each_other_in_all_ways_are_followed_once_each(package):
    calls = "".join(f"        self.m{n}()\n" for n in range(10))
    methods = "".join(f"    def m{n}(self):\n{calls}" for n in range(10))
    held = package.load(OLD.replace("MORE", "pass") + methods, grown("self.x = []", "self.m0()") + methods).A()
    start = time.perf_counter()
    package.upgrade()
    assert held.x == []
    assert time.perf_counter() - start < 20


BASE = "class A:\n    def __init__(self, w):\n        self.w = w\n"
TAGGED = "class A:\n    def __init__(self, w, tags=()):\n        self.w = w\n        self.tags = list(tags)\n"
SETUP = """
class A:
    def __init__(self): self._setup()
    def _setup(self): IN_A
class B(A):
    def _setup(self): IN_B
"""
TWO = """
class L:
    def __init__(self):
        IN_A
        super().__init__()
class R:
    def __init__(self):
        super().__init__()
        IN_B
class B(L, R):
    def __init__(self): super().__init__()
"""


@pytest.mark.parametrize("call", ["super().__init__(w, tags='b')", "A.__init__(self, w, 'b')"])
def test_the_default_of_a_base_s_new_argument_is_no_answer_where_a_class_gives_it(package, call):
    sub = "class B(A):\n    def __init__(self, w):\n        CALL\n"
    old = BASE + sub.replace("CALL", "super().__init__(w)")
    held = package.load(old, TAGGED + sub.replace("CALL", call)).B(1)
    with pytest.raises(SwapRefusedError, match="would lack tags"):
        package.stage()
    assert held.w == 1


def test_a_class_that_calls_its_base_as_before_gets_the_default_of_the_base_s_new_argument(package):
    sub = "class B(A):\n    def __init__(self, w):\n        super().__init__(w)\n"
    held = package.load(BASE + sub, TAGGED + sub).B(1)
    package.upgrade()
    assert held.tags == []


@pytest.mark.parametrize("text", [SETUP, TWO])
def test_a_field_that_a_class_gets_otherwise_than_its_base_is_made_as_for_that_class(package, text):
    new = text.replace("IN_A", "self.x = 1").replace("IN_B", "self.x = 2")
    module = package.load(text.replace("IN_A", "pass").replace("IN_B", "pass"), new)
    held = module.B()
    package.upgrade()
    assert held.x == module.B().x == 2


@pytest.mark.parametrize(
    "more",
    [
        "        self.w = self.w * 2\n",
        "    def go(self): self.w += 1\n",
        "    def __setattr__(self, name, value): object.__setattr__(self, name, str(value))\n",
        "    w = property(lambda self: self._w, lambda self, value: setattr(self, '_w', value * 2))\n",
    ],
)
def test_an_argument_is_not_known_from_an_attribute_that_may_hold_something_else(package, more):
    held = package.load(BASE + more, BASE.replace("= w\n", "= w\n        self.x = [w]\n") + more).A(3)
    with pytest.raises(SwapRefusedError, match=r"would lack x \(it needs the argument w\)"):
        package.stage()
    assert held.w in {3, 6, "3"}


@pytest.mark.parametrize("field", ["t: list = field(default_factory=list)", "t: list = None"])
def test_a_default_that_is_changed_after_it_was_given_is_no_answer(package, field):
    old = "from dataclasses import dataclass, field\n@dataclass\nclass D:\n    a: int = 1\n"
    post = "    def __post_init__(self):\n        self.t = self.t or [self.a]\n"
    held = package.load(old, f"{old}    {field}\n{post}").D()
    with pytest.raises(SwapRefusedError, match="would lack t"):
        package.stage()
    assert held.a == 1


def test_what_a_decorator_of_the_constructor_gives_as_well_is_refused(package):
    text = """
import functools
def more(f):
    @functools.wraps(f)
    def inner(self, w):
        f(self, w)
        self.x = [9]
    return inner
class A:
    @more
    def __init__(self, w):
        self.w = w
"""
    held = package.load(BASE, text + "        self.x = [1]\n").A(1)
    with pytest.raises(SwapRefusedError, match="would lack x"):
        package.stage()
    assert held.w == 1


def test_what_a_new_property_keeps_of_what_the_constructor_assigns_to_it_is_refused_by_name(package):
    kept = (
        "    @property\n    def x(self): return self._x\n    @x.setter\n    def x(self, value): self._x = value * 2\n"
    )
    held = package.load(BASE, f"{BASE}        self.x = 2\n{kept}").A(1)
    with pytest.raises(SwapRefusedError, match=r"would lack _x \(the property x gives it\)"):
        package.stage()
    assert held.w == 1


# As boolean.py does it: what the classes bound their constructors give, each over what the base's has given.
ORDERED = """
class Expression:
    def __init__(self, *args):
        self.args = args
        self.order = None
class And(Expression):
    def __init__(self, first, second, *args):
        super(And, self).__init__(first, second, *args)
        self.order = 10
"""


def test_a_field_that_a_class_gives_whatever_its_base_has_given_is_made_for_that_class(package):
    old = "class Expression:\n    order = None\n    def __init__(self, *args): self.args = args\n"
    old += "class And(Expression):\n    order = 10\n    def __init__(self, first, second, *args):\n"
    old += "        super(And, self).__init__(first, second, *args)\n"
    module = package.load(old, ORDERED)
    held, other = module.And(1, 2, 3), module.Expression(1)
    package.upgrade()
    assert (held.order, other.order, vars(held)["args"]) == (10, None, (1, 2, 3))
    package.rollback()
    package.prepared.went_back()
    assert (held.order, other.order, vars(held)) == (10, None, {"args": (1, 2, 3)})
