"""Functions that are told apart by what they were registered with, not by their name."""

import pytest

GENERIC = "import functools\n@functools.singledispatch\ndef shown(x): return 'any VERSION'\n"
ONE = "@shown.register\ndef _(x: {kind}): return '{kind} VERSION'\n"


def generic(version, *kinds):
    return (GENERIC + "".join(ONE.format(kind=kind) for kind in kinds)).replace("VERSION", version)


@pytest.mark.parametrize("kinds", [("int", "float"), ("float", "int"), ("float",)])
def test_a_dispatcher_calls_what_the_new_version_registers_also_for_what_it_was_asked_before(package, kinds):
    shown = package.load(generic("old", "int"), generic("new", *kinds)).shown
    old = [shown(1), shown(1.0), shown("")]
    assert old == ["int old", "any old", "any old"]
    package.upgrade()
    assert shown(1) == ("int new" if "int" in kinds else "any new")
    assert (shown(1.0), shown("")) == ("float new", "any new")
    package.rollback()
    assert [shown(1), shown(1.0), shown("")] == old


def test_what_the_program_registers_with_a_dispatcher_stays(package):
    shown = package.load(generic("old", "int"), generic("new", "int", "float")).shown
    shown.register(str)(lambda x: "mine")
    package.upgrade()
    assert [shown(1), shown(1.0), shown("")] == ["int new", "float new", "mine"]
    assert str in shown.registry
    package.rollback()
    assert [shown(1), shown(1.0), shown("")] == ["int old", "any old", "mine"]


METHOD = """
import functools
class C:
    @functools.singledispatchmethod
    def shown(self, x): return 'any VERSION'
    @shown.register
    def _(self, x: int): return 'int VERSION'
"""
MORE = "    @shown.register\n    def _(self, x: str): return 'str VERSION'\n"


def test_a_method_that_dispatches_does_so_on_instances_that_live(package):
    held = package.load(METHOD.replace("VERSION", "old"), (METHOD + MORE).replace("VERSION", "new")).C()
    assert [held.shown(1), held.shown("")] == ["int old", "any old"]
    package.upgrade()
    assert [held.shown(1), held.shown(""), held.shown(1.0)] == ["int new", "str new", "any new"]
    package.rollback()
    assert [held.shown(1), held.shown("")] == ["int old", "any old"]


ROUTES = """
routes = {}
def route(path):
    def taken(function):
        routes[path] = function
        return function
    return taken
"""


def routing(version, paths):
    one = "@route('{path}')\ndef handler(): return '{path} VERSION'\n"
    return (ROUTES + "".join(one.format(path=path) for path in paths)).replace("VERSION", version)


@pytest.mark.parametrize("paths", ["ab", "ba", "b"])
def test_functions_of_one_name_are_what_they_were_registered_as(package, paths):
    module = package.load(routing("old", "a"), routing("new", paths))
    held = module.routes["a"]
    package.upgrade()
    assert {path: function() for path, function in module.routes.items()} == {path: f"{path} new" for path in paths}
    assert module.handler() == f"{paths[-1]} new"
    if "a" in paths:
        assert module.routes["a"] is held
    package.rollback()
    assert ({path: function() for path, function in module.routes.items()}, held()) == ({"a": "a old"}, "a old")


@pytest.mark.parametrize("inner", ["{'a': VALUE}", "_inner"])
def test_a_view_of_a_mapping_that_somebody_holds_shows_the_new_contents(package, inner):
    text = f"import types\n_inner = {{'a': VALUE}}\nview = types.MappingProxyType({inner})\n"
    held = package.load(text.replace("VALUE", "1"), text.replace("VALUE", "2")).view
    package.upgrade()
    assert dict(held) == {"a": 2}
    package.rollback()
    assert dict(held) == {"a": 1}
