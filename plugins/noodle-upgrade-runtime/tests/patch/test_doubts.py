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
