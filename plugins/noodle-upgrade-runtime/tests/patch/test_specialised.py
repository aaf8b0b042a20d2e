"""What the interpreter has specialised for the old version is not used for the new one, and the new one gets as fast."""

from __future__ import annotations

import sys
import types

import pytest

from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.patch.callversions import CallVersions
from noodle_upgrade_runtime.patch.functions import born, forwarding_code

WARM = 2000


def warm(call):
    for _ in range(WARM):
        result = call()
    return result


def test_a_hot_constructor_may_gain_parameters_of_every_kind(package):
    module = package.load(
        "class A:\n    def __init__(self, a): self.a = a\ndef hot(n):\n    for _ in range(n): x = A(1)\n    return x.a\n",
        "class A:\n    def __init__(self, a, b=2, *rest, c=3, **more): self.a = (a, b, rest, c, more)\n"
        "def hot(n):\n    for _ in range(n): x = A(1)\n    return x.a\n",
    )
    assert module.hot(WARM) == 1
    for _ in range(3):
        package.upgrade()
        assert module.hot(WARM) == (1, 2, (), 3, {})
        package.rollback()
        assert module.hot(WARM) == 1


def test_hot_properties_methods_and_subscripts_follow(package):
    source = (
        "class A:\n    @property\n    def p(self): return '@@'\n    def m(self): return '@@'\n"
        "    def __getitem__(self, k): return '@@'\n    def __getattr__(self, name): return '@@'\n"
        "def hot(a, n):\n    for _ in range(n): x = (a.p, a.m(), a[0], a.zzz)\n    return x\n"
    )
    module = package.load(source.replace("@@", "old"), source.replace("@@", "new"))
    a = module.A()
    assert module.hot(a, WARM) == ("old",) * 4
    for _ in range(3):
        package.upgrade()
        assert module.hot(a, WARM) == ("new",) * 4
        package.rollback()
        assert module.hot(a, WARM) == ("old",) * 4


def test_a_hot_property_whose_getter_is_replaced_follows_and_the_old_one_may_die(package):
    module = package.load(
        "class A:\n    @property\n    def p(self): return 'old'\ndef hot(a, n):\n    for _ in range(n): x = a.p\n    return x\n",
        "def deco(f):\n    def inner(self): return ('deco', f(self))\n    return inner\n"
        "class A:\n    @property\n    @deco\n    def p(self): return 'new'\n"
        "def hot(a, n):\n    for _ in range(n): x = a.p\n    return x\n",
    )
    a = module.A()
    assert module.hot(a, WARM) == "old"
    package.upgrade()
    package.script = None
    assert module.hot(a, WARM) == ("deco", "new")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="functions get a version at def only from 3.13 on")
def test_a_function_with_new_code_has_the_call_version_that_def_gives(package):
    module = package.load("def f(x=1): return 'old'\n", "def f(x=2): return 'new'\n")
    versions = CallVersions()
    assert versions.needed
    before = versions._word(module.f).value
    package.upgrade()
    assert versions._word(module.f).value not in {0, before}
    package.rollback()
    assert versions._word(module.f).value == before


@pytest.mark.skipif(sys.version_info < (3, 13), reason="functions get a version at def only from 3.13 on")
def test_a_function_that_was_given_other_code_meanwhile_is_not_told_that_it_has_this_one(package):
    module = package.load("def f(x=1): return 'old'\n", "def f(x=2): return 'new'\n")
    script = Script(package.stage().operations())
    script.apply(tuned=False)
    module.f.__code__ = (lambda x, y: "mine").__code__
    script.tune()
    assert CallVersions()._word(module.f).value == 0


def test_a_born_function_is_what_def_makes():
    def make(a, b):
        def f(x, y=1, *args, k, d=2, **kw):
            return (x, y, args, k, d, kw, a, b)

        return f

    f = make("a", "b")
    made = born(f.__code__, f.__globals__, closure=f.__closure__, defaults=f.__defaults__, kwdefaults=f.__kwdefaults__)
    assert made(0, k=5) == f(0, k=5) == (0, 1, (), 5, 2, {}, "a", "b")
    assert (made.__qualname__, made.__defaults__, made.__kwdefaults__) == (
        f.__qualname__,
        f.__defaults__,
        f.__kwdefaults__,
    )
    assert made.__closure__ == f.__closure__


@pytest.mark.parametrize("free", [0, 1, 3])
def test_forwarding_code_fits_any_closure_and_passes_every_argument(free):
    names = [f"v{i}" for i in range(free)]
    source = f"def outer({', '.join(names)}):\n def f(): return ({', '.join(names)})\n return f"
    namespace = {}
    exec(source, namespace)
    old = namespace["outer"](*range(free))

    def target(a, /, b, *args, c, d=4, **kw):
        return (a, b, args, c, d, kw)

    old.__code__ = forwarding_code(old.__code__, target)
    old.__kwdefaults__ = target.__kwdefaults__
    assert old(1, 2, 3, c=5, e=6) == (1, 2, (3,), 5, 4, {"e": 6})
    assert isinstance(old, types.FunctionType)
