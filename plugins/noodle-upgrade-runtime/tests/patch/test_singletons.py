"""Objects that a module binds to a name and whose class changes: sentinels, default settings, registries."""

from __future__ import annotations

import collections
import types

import pytest

from noodle_upgrade_core.errors import StateConflictError, SwapRefusedError

OLD = """
class _symbol:
    def __init__(self, name): self.name, self.gone = name, 1
    def kind(self): return "old"
ANY = _symbol("ANY")
def f(sender=ANY): return sender is ANY
"""

NEW = """
class Symbol:
    def __init__(self, name): self.name, self.extra = name, 2
    def kind(self): return "new"
ANY = Symbol("ANY")
def f(sender=ANY): return sender is ANY
"""


def test_a_sentinel_whose_class_changes_keeps_its_identity(package):
    module = package.load(OLD, NEW)
    held, kept = module.ANY, {"list": [module.ANY], "tuple": (module.ANY,), "key": {module.ANY: 1}}
    kind = type(held)
    held.mine = "the user's"
    package.upgrade()
    assert module.ANY is held
    assert type(held) is module.Symbol
    assert (held.kind(), vars(held)) == ("new", {"name": "ANY", "extra": 2, "mine": "the user's"})
    assert module.f() is module.f(held) is True
    assert kept == {"list": [held], "tuple": (held,), "key": {held: 1}}
    package.rollback()
    assert module.ANY is held
    assert type(held) is kind is module._symbol
    assert (held.kind(), vars(held)) == ("old", {"name": "ANY", "gone": 1, "mine": "the user's"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("object()", "Symbol()"),
        ("Slotted()", "Symbol()"),
        ("Symbol()", "object()"),
        ("Symbol()", "Symbol"),
        ("object()", "'any'"),
    ],
)
def test_holders_of_a_sentinel_that_cannot_become_the_new_one_are_told(package, old, new):
    text = (
        "class Symbol: pass\nclass Slotted:\n    __slots__ = ('a', 'b')\n"
        "ANY = {}\nclass C:\n    x = ANY\ndef f(sender=ANY): return sender is ANY\n"
    )
    module = package.load(text.format(old), text.format(new))
    before = module.ANY
    holder = types.SimpleNamespace(any=before)
    held = [before]
    queue = collections.deque([before])
    nested = {"a": {"b": (before, "c")}}
    was = id(before)

    def ids():
        holders = module.ANY, held[0], holder.any, queue[0], nested["a"]["b"][0], module.C.x
        return {id(one) for one in holders}

    package.upgrade()
    assert ids() == {id(module.ANY)} != {was}
    assert module.f() is module.f(held[0]) is True
    package.rollback()
    assert ids() == {was}
    assert module.f() is module.f(held[0]) is True


def test_a_holder_of_such_a_sentinel_that_cannot_be_told_is_refused_by_name(package):
    module = package.load("class S: __slots__ = ('a',)\nANY = S()\n", "class T: pass\nANY = T()\n")
    held = iter([module.ANY, 1])
    tuple_iterator = iter((module.ANY,))
    with pytest.raises(SwapRefusedError, match=rf"{package.name}\.ANY"):
        package.stage()
    del held, tuple_iterator


@pytest.mark.parametrize(("old", "new"), [("{}", "Registry()"), ("[]", "Registry()"), ("set()", "Registry()")])
def test_what_the_program_has_put_into_a_container_that_becomes_another_kind_is_not_lost(package, old, new):
    text = "class Registry: pass\nREGISTRY = {}\n"
    module = package.load(text.format(old), text.format(new))
    registry = module.REGISTRY
    if isinstance(registry, dict):
        registry["mine"] = 1
    else:
        getattr(registry, "append", getattr(registry, "add", None))("mine")
    with pytest.raises(StateConflictError, match=rf"{package.name}\.REGISTRY"):
        package.stage()


def test_a_container_that_the_program_left_alone_may_become_another_kind(package):
    module = package.load("R = [1]\n", "R = (1, 2)\n")
    package.upgrade()
    assert module.R == (1, 2)
