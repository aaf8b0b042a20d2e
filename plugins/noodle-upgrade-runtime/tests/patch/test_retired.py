"""Classes that cannot change in place: who holds the old one holds the new one, or the change is refused by name."""

from __future__ import annotations

import abc
import collections
import functools
import gc
import weakref
from typing import NamedTuple

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

# Other slots, and a `__dict__` of its own: no layout that a class could change to.
OLD = """
class Base:
    __slots__ = ("a",)
class A:
    __slots__ = ("a",)
    def m(self): return ("old", type(self).__name__)
    @property
    def p(self): return "old"
    @staticmethod
    def s(): return "old"
    @classmethod
    def c(cls): return ("old", cls)
    def parent(self): return ("old", super().__repr__()[:1])
"""
NEW = OLD.replace('"old"', '"new"').replace('__slots__ = ("a",)\n    def', '__slots__ = ("a", "b")\n    def')


class Named(NamedTuple):
    """A tuple with names."""

    kind: object
    other: object


class Mine(dict):
    """A dict with attributes."""


HOLDERS = {
    "a deque": (lambda a: collections.deque([1, a]), lambda h: h[1]),
    "an ordered dict": (lambda a: collections.OrderedDict(x=1, a=a), lambda h: h["a"]),
    "a default dict": (lambda a: collections.defaultdict(a), lambda h: h.default_factory),
    "a named tuple": (lambda a: [Named(a, 1)], lambda h: h[0].kind),
    "a named tuple inside": (lambda a: {"x": (Named([a], 1),)}, lambda h: h["x"][0].kind[0]),
    "a dict of the user's": (lambda a: Mine(x=a), lambda h: h["x"]),
    "an attribute of it": (lambda a: vars(m := Mine()).update(kind=a) or m, lambda h: h.kind),
    "a mapping of keys": (lambda a: {a: 1}, lambda h: next(iter(h))),
    "a weak reference": (lambda a: [weakref.ref(a)], lambda h: h[0]()),
    "one with a callback": (lambda a: [weakref.ref(a, print)], lambda h: h[0]()),
    "a weak set": (lambda a: weakref.WeakSet([a]), lambda h: next(iter(h))),
    "weak keys": (lambda a: weakref.WeakKeyDictionary({a: 1}), lambda h: next(iter(h))),
    "weak values": (lambda a: weakref.WeakValueDictionary(x=a), lambda h: h["x"]),
}


@pytest.mark.parametrize("what", HOLDERS)
def test_a_holder_of_a_class_that_cannot_change_holds_the_new_one(package, what):
    make, look = HOLDERS[what]
    module = package.load(OLD, NEW)
    holder = make(module.A)
    was = id(module.A)
    assert id(look(holder)) == was
    package.upgrade()
    assert package.prepared.evidence["retired"]
    assert id(look(holder)) == id(module.A) != was
    assert module.A().m() == ("new", "A")
    package.rollback()
    assert id(look(holder)) == id(module.A) == was


def test_weak_keys_find_what_they_stand_for_and_let_go_of_it(package):
    module = package.load(OLD, NEW)
    known = weakref.WeakKeyDictionary({module.A: 1})
    package.upgrade()
    assert known[module.A] == 1
    assert len(known) == 1
    package.rollback()
    assert known[module.A] == 1


def test_what_an_abstract_class_and_a_generic_function_know_of_it_goes_over(package):
    module = package.load(OLD, NEW)

    class Abstract(abc.ABC):
        @abc.abstractmethod
        def nothing(self): ...

    @functools.singledispatch
    def ask(_):
        return "anything"

    Abstract.register(module.A)
    ask.register(module.A)(lambda _: "an A")
    assert ask(module.A()) == "an A"
    package.upgrade()
    assert isinstance(module.A(), Abstract)
    assert ask(module.A()) == "an A"
    package.rollback()
    assert isinstance(module.A(), Abstract)
    assert ask(module.A()) == "an A"
    assert module.A in object.__subclasses__()


def test_what_was_taken_off_the_class_before_gets_the_new_code(package):
    module = package.load(OLD, NEW)
    method, prop, static, parent = module.A.m, vars(module.A)["p"], module.A.s, module.A.parent
    bound = [module.A.c]
    package.upgrade()
    one = module.A()
    assert (method(one), prop.fget(one), static(), bound[0]()) == (("new", "A"), "new", "new", ("new", module.A))
    assert prop.__get__(one) == "new"
    assert parent(one) == ("new", "<")
    package.rollback()
    one = module.A()
    assert (method(one), prop.fget(one), static()) == (("old", "A"), "old", "old")
    assert parent(one) == ("old", "<")


def test_a_holder_that_cannot_be_told_is_named_with_the_class_and_the_reason(package):
    module = package.load(OLD, NEW)
    held = iter((module.A,))
    with pytest.raises(SwapRefusedError) as caught:
        package.stage()
    del held
    (blocker,) = caught.value.details["blockers"]
    assert blocker == (
        "an object of type builtins.tuple_iterator holds a class that cannot change in place:"
        f" {package.name}.A (it gains the slots b and its layout is fixed)."
    )


def test_a_weak_reference_of_a_kind_that_cannot_be_made_again_is_refused(package):
    class Own(weakref.ref):
        __slots__ = ("more",)

    module = package.load(OLD, NEW)
    held = Own(module.A)
    with pytest.raises(SwapRefusedError, match=r"Own.*holds a class that cannot change in place"):
        package.stage()
    del held


STATEFUL = """
class A:
    __slots__ = SLOTS
    MESSAGES = {"a": VERSION}
    NAMES = ["x"]
    class Meta:
        kind = VERSION
    def m(self): return (VERSION, __class__)
"""


def test_what_a_class_that_is_replaced_binds_stays_what_it_is_with_what_the_program_has_put_there(package):
    old, new = ((slots, f"'{v}'") for slots, v in (("('a',)", "old"), ("('a', 'b')", "new")))
    module = package.load(*(STATEFUL.replace("SLOTS", slots).replace("VERSION", v) for slots, v in (old, new)))
    messages, names, meta = module.A.MESSAGES, module.A.NAMES, module.A.Meta
    messages["mine"] = 1
    names.append("mine")
    meta.mine = 1
    package.upgrade()
    assert module.A().m() == ("new", module.A)
    assert (module.A.MESSAGES, module.A.NAMES, module.A.Meta) == (messages, names, meta)
    assert module.A.MESSAGES is messages
    assert (messages, names) == ({"a": "new", "mine": 1}, ["x", "mine"])
    assert (meta.kind, meta.mine) == ("new", 1)
    package.rollback()
    assert module.A.MESSAGES is messages
    assert (messages, names, meta.kind, meta.mine) == ({"a": "old", "mine": 1}, ["x", "mine"], "old", 1)


def test_a_class_that_is_replaced_is_of_the_metaclass_that_lives(package):
    text = """
    MADE = []
    class Meta(type):
        def __init__(cls, name, bases, attrs):
            super().__init__(name, bases, attrs)
            MADE.append((VERSION, name))
    class A(metaclass=Meta):
        __slots__ = SLOTS
    """
    old, new = (("('a',)", "'old'"), ("('a', 'b')", "'new'"))
    module = package.load(*(text.replace("SLOTS", slots).replace("VERSION", v) for slots, v in (old, new)))
    meta = module.Meta
    package.upgrade()
    assert type(module.A) is module.Meta is meta
    type("B", (module.A,), {})
    assert ("new", "B") in module.MADE
    package.rollback()
    assert type(module.A) is meta


FALLBACK = "class Group(Exception):\n    def __init__(self, text): self.text = text\n"


def test_who_holds_a_class_that_becomes_one_of_the_language_holds_that(package):
    module = package.load(FALLBACK, "Group = TimeoutError\ndef fail(): raise Group('x')\n")
    taken, table = module.Group, {"a": [module.Group]}
    holder = type("Holder", (), {"kind": taken})
    package.upgrade()
    assert (table["a"], holder.kind) == ([TimeoutError], TimeoutError)
    package.rollback()
    assert (table["a"], holder.kind) == ([taken], taken)


def test_what_the_program_has_set_on_such_a_class_is_refused_by_name(package):
    module = package.load(FALLBACK, "Group = TimeoutError\n")
    module.Group.mine = 1
    with pytest.raises(SwapRefusedError, match=r"Group\.mine"):
        package.upgrade()
    assert not hasattr(TimeoutError, "mine")


def test_instances_of_such_a_class_are_told_of(package):
    module = package.load(FALLBACK, "Group = TimeoutError\n")
    held = module.Group("x")

    class Mine(module.Group):
        pass

    package.upgrade()
    assert (held.text, Mine("y").text) == ("x", "y")
    assert any("Mine" in one and "builtins.TimeoutError" in one for one in package.prepared.warnings)
    assert any("Group" in one and "stay what they are" in one for one in package.prepared.warnings)


# A class that cannot change in place, in tables that both versions fill and the program has added to.
IN_TABLES = """
import collections
class Base(METACLASS): pass
class A(Base): pass
A = type(A)("A", (Base,), {"__module__": __name__, "__slots__": SLOTS, "version": VERSION})
listed = [A, MORE]
queued = collections.deque([A, MORE])
named = {"a": A, MORE: MORE}
keyed = {(A, 1): 1, (MORE, 2): 2}
members = {A, MORE}
"""


def test_tables_that_both_sides_add_to_hold_what_comes_instead_and_go_back_whole(package):
    old = IN_TABLES.replace("METACLASS", "").replace("MORE", "1").replace("SLOTS", "('x',)").replace("VERSION", "1")
    new = IN_TABLES.replace("METACLASS", "").replace("MORE", "2").replace("SLOTS", "('y', 'z')").replace("VERSION", "2")
    module = package.load(old, new)
    module.listed.append((module.A, "mine"))
    module.queued.append((module.A, "mine"))
    module.named["mine"] = (module.A, "mine")
    module.keyed[(module.A, "mine")] = (module.A, "mine")
    module.members.add((module.A, "mine"))

    def versions():
        values = (
            module.listed,
            module.queued,
            module.named.values(),
            module.keyed,
            module.keyed.values(),
            module.members,
        )
        return [
            sorted(
                [(one[1], one[0].version) for one in held if isinstance(one, tuple) and hasattr(one[0], "version")]
                + [("", one.version) for one in held if hasattr(one, "version")],
                key=repr,
            )
            for held in values
        ]

    before, sizes = versions(), [len(one) for one in (module.listed, module.queued, module.named, module.members)]
    for _ in range(2):
        package.upgrade()
        assert versions() == [[(name, 2) for name, _ in one] for one in before]
        package.rollback()
        assert versions() == before
        assert [len(one) for one in (module.listed, module.queued, module.named, module.members)] == sizes
    package.stage()
    for _ in range(2):
        package.again()
        assert versions() == [[(name, 2) for name, _ in one] for one in before]
        package.rollback()
        assert versions() == before


# As marshmallow does it: a table of lists by name.
REGISTERED = """
class A:
    __slots__ = SLOTS
    version = VERSION
registry = {"A": [A], "PKG.A": [A]}
"""


def test_a_registry_of_lists_goes_back_to_the_old_class_however_often_it_was_planned(package):
    old, new = (REGISTERED.replace("SLOTS", s).replace("VERSION", v) for s, v in (("('x',)", "1"), ("('y', 'z')", "2")))
    module = package.load(old, new)
    before = id(module.A)
    package.stage()
    for _ in range(3):
        package.prepared.operations()
        package.again()
        assert [[one.version for one in held] for held in module.registry.values()] == [[2], [2]]
        package.rollback()
        assert [[id(one) for one in held] for held in module.registry.values()] == [[before], [before]]


def test_what_was_tried_with_a_class_leaves_no_classes_behind(package):
    module = package.load(
        "import collections\nN = collections.namedtuple('N', 'a b')\n",
        "import collections\nN = collections.namedtuple('N', 'a b c')\n",
    )

    class Mine(module.N):
        pass

    gc.disable()
    try:
        package.upgrade()
        assert Mine.__bases__ == (module.N,)
        package.rollback()
        assert module.N.__subclasses__() == [Mine]
    finally:
        gc.enable()
