"""A plan that stands from staging on, and what the program does until the commit."""

from __future__ import annotations

import collections
import gc
import threading
import types

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.patch import contents, prepared
from noodle_upgrade_runtime.patch.settled import Seen

OLD = """
import collections
LIMIT = 1
TABLE = {"a": 1, "b": 2}
NAMES = ["a", "b"]
KINDS = {"a", "b"}
QUEUE = collections.deque(["a"])
def f(x=1, *, y=2): return ("old", x, y, LIMIT)
f.note = "old"
def make():
    seen = ["old"]
    def inner(): return ("old", *seen)
    return inner
g = make()
class Base:
    kind = "old"
    def m(self): return "old"
    @property
    def p(self): return "old"
class A(Base):
    def __init__(self): self.x = 1
one = A()
"""
NEW = (
    OLD.replace('"old"', '"new"')
    .replace("LIMIT = 1", "LIMIT = 2")
    .replace('"b": 2}', '"b": 3, "c": 4}')
    .replace('["a", "b"]', '["a", "b", "c"]')
    .replace('{"a", "b"}', '{"a", "b", "c"}')
    .replace("self.x = 1", "self.x = 2")
)


def put(name, value):
    return lambda m: setattr(m, name, value)


CHANGES = {
    "a setting": put("LIMIT", 7),
    "another setting": put("EXTRA", 1),
    "a setting that goes": lambda m: m.__dict__.pop("EXTRA", None),
    "an entry": lambda m: m.TABLE.__setitem__("mine", 1),
    "an entry of theirs": lambda m: m.TABLE.__setitem__("a", 9),
    "an entry that is renamed": lambda m: m.TABLE.__setitem__("renamed", m.TABLE.pop("mine", 1)),
    "an entry that goes": lambda m: m.TABLE.pop("a", None),
    "a name in a list": lambda m: m.NAMES.append("mine"),
    "a name in a set": lambda m: m.KINDS.add("mine"),
    "a name in a queue": lambda m: m.QUEUE.append("mine"),
    "a default": lambda m: setattr(m.f, "__defaults__", (5,)),
    "a keyword's default": lambda m: setattr(m.f, "__kwdefaults__", {"y": 5}),
    "a keyword's default in its place": lambda m: m.f.__kwdefaults__.__setitem__("y", 6),
    "a note on a function": lambda m: setattr(m.f, "mine", 1),
    "what a closure holds": lambda m: m.g.__closure__[0].cell_contents.append("mine"),
    "another thing that a closure holds": lambda m: setattr(m.g.__closure__[0], "cell_contents", ["mine"]),
    "a setting of a class": lambda m: setattr(m.Base, "kind", "mine"),
    "a method of theirs": lambda m: setattr(m.Base, "m", lambda self: "mine"),
    "a property of theirs": lambda m: setattr(m.Base, "p", property(lambda self: "mine")),
    "a name in a class": lambda m: setattr(m.A, "mine", 1),
    "another base": lambda m: setattr(m.A, "__bases__", (type("Mixin", (m.Base,), {}),)),
    "a field": lambda m: setattr(m.one, "x", 9),
    "another field": lambda m: setattr(m.one, "mine", 1),
}


def told(operations):
    """Return operations in a form that two plans of the same have in common."""
    return [(one.subject, one.do[0], *(repr(part)[:80] for part in one.do[1:])) for one in operations]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(CHANGES)), max_size=6))
def test_whatever_the_program_changes_meanwhile_the_plan_is_the_one_that_would_be_made_then(packages, names):
    package = packages()
    module = package.load(OLD, NEW)
    part = package.stage()
    for name in names:
        CHANGES[name](module)
    outcomes = []
    for prepare in (lambda: None, part._planner.forget):
        prepare()
        try:
            outcomes.append(told(part._operations()))
        except Exception as error:
            outcomes.append(f"{type(error).__name__}: {error}")
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_every_change_that_matters_is_one_that_is_seen(package, name):
    """Each of the changes above makes another plan necessary, or none: it is never overlooked by what is seen."""
    module = package.load(OLD, NEW)
    module.EXTRA = 0
    module.TABLE["mine"] = 0
    values = [module, vars(module), module.TABLE, module.NAMES, module.KINDS, module.QUEUE, module.f, module.Base]
    values += [module.f.__kwdefaults__, module.g.__closure__[0], module.g.__closure__[0].cell_contents, module.A]
    seen = Seen([*values, module.one])
    assert seen.is_certain()
    assert seen.holds()
    CHANGES[name](module)
    assert not seen.holds()


def test_an_object_that_takes_the_place_of_another_in_memory_is_another_one():
    holder = [object()]
    seen = Seen([holder])
    for _ in range(100):
        holder[0] = None
        gc.collect()
        holder[0] = object()
        assert not seen.holds()


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(a=1),
        {object(): 1},
        threading.local(),
        types.MappingProxyType({}),
        type("Named", (dict,), {})(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_of_what_cannot_be_seen_whole_nothing_is_certain(value):
    assert not Seen([value]).is_certain()


RETIRED = ("class A:\n    __slots__ = ('x',)\nclass B(A): __slots__ = ()\n", "class A:\n    __slots__ = ('x', 'y')\n")


def holders_of(cls, kept):
    """Have all kinds of objects hold a class."""
    kept += [[cls], {"cls": cls}, {cls}, (cls,), [(1, (cls, 2))], frozenset([cls]), list[cls], cls | None]
    kept.append(types.SimpleNamespace(cls=cls))


def test_who_comes_to_hold_a_class_after_staging_is_told_as_well(package):
    module = package.load(RETIRED[0], RETIRED[1] + "class B(A): __slots__ = ()\n")
    before = (module.A,)  # nobody else has this tuple, so that it is not told
    kept = []
    holders_of(module.A, kept)
    part = package.stage()
    holders_of(module.A, kept)
    kept[0].append((module.A, module.A))
    with part.looking():
        script = Script(part.operations())
        script.apply()
    assert module.A is not before[0]
    left = [one for one in gc.get_referrers(before[0]) if any(one is held for held in kept)]
    assert left == []
    now = [*kept[0], kept[1]["cls"], *kept[2], *kept[3], kept[4][0][1][0], *kept[9], kept[10]["cls"], kept[-1].cls]
    assert [one if isinstance(one, type) else one[0] for one in now] == [module.A] * len(now)
    script.revert()
    assert module.A is before[0]
    assert kept[9] == [before[0]]


def put_in_while_planning(package, monkeypatch):
    module = package.load("TABLE = {'b': 1, 'a': 1}\n", "TABLE = {'a': 2, 'b': 1, 'c': 3}\n")
    real = contents._in_order_of

    def meanwhile(*arguments):
        module.TABLE["mine"] = 1  # as another thread may
        return real(*arguments)

    monkeypatch.setattr(contents, "_in_order_of", meanwhile)
    part = package.stage()
    monkeypatch.undo()
    return module, part


def test_what_changes_while_it_is_read_makes_another_plan_necessary(package, monkeypatch):
    monkeypatch.setattr(prepared.PatchPrepared, "try_out", lambda _: None)
    module, part = put_in_while_planning(package, monkeypatch)
    script = Script(part.operations())
    script.apply()
    assert module.TABLE == {"a": 2, "b": 1, "c": 3, "mine": 1}
    script.revert()
    assert module.TABLE == {"a": 1, "b": 1, "mine": 1}


def test_the_trial_leaves_what_the_program_has_put_into_a_table_since_it_was_planned(package, monkeypatch):
    module, _ = put_in_while_planning(package, monkeypatch)
    assert module.TABLE == {"a": 1, "b": 1, "mine": 1}


def test_a_table_that_grows_while_a_change_is_staged_is_read_at_one_moment(package, monkeypatch):
    module = package.load("TABLE = {'a': 1}\n", "TABLE = {'a': 2}\n")
    real = contents.by_key

    def meanwhile(*arguments):
        module.TABLE[len(module.TABLE)] = 1  # as another thread may
        return real(*arguments)

    monkeypatch.setattr(contents, "by_key", meanwhile)
    package.stage()
