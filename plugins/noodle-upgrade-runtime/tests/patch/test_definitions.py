"""Definitions that become another kind of thing, and what cannot be told to those who took a value."""

import collections
import contextvars
import importlib
import inspect
import itertools
import pickle
import sys
import types

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

FUNCTION = "def thing(): return 'old'\n"


@pytest.mark.parametrize(
    "new",
    [
        "import functools\n@functools.lru_cache\ndef thing(): return 'new'\n",
        "import functools\nthing = functools.partial(str, 'new')\n",
        "class thing(str):\n    def __new__(cls): return str.__new__(cls, 'new')\n",
        "class Thing:\n    def __call__(self): return 'new'\nthing = Thing()\n",
    ],
    ids=["a cached one", "a partial", "a class", "an object"],
)
def test_who_took_a_function_calls_what_it_has_become(package, new):
    module = package.load(FUNCTION, new)
    held = {"thing": module.thing}
    package.upgrade()
    assert held["thing"]() == "new"
    assert held["thing"] is module.thing
    package.rollback()
    assert (held["thing"](), module.thing()) == ("old", "old")


def test_who_took_a_function_where_nobody_can_tell_calls_what_it_has_become_too(package):
    thing = package.load(FUNCTION, "import functools\n@functools.lru_cache\ndef thing(): return 'new'\n").thing
    variable = contextvars.ContextVar("held")
    variable.set(thing)

    def later():
        held = thing
        while True:
            yield held()

    calls = later()
    assert next(calls) == "old"
    kept = itertools.repeat(thing)
    package.upgrade()
    assert any("repeat goes on with" in one and "passes its calls on" in one for one in package.prepared.warnings)
    assert (next(calls), variable.get()(), next(kept)()) == ("new", "new", "new")
    package.rollback()
    package.prepared.went_back()
    assert (next(calls), variable.get()()) == ("old", "old")


def test_who_took_a_class_calls_the_function_that_it_has_become(package):
    module = package.load("class thing:\n    def __repr__(self): return 'old'\n", "def thing(): return 'new'\n")
    held = [module.thing]
    package.upgrade()
    assert held[0]() == "new"
    package.rollback()
    assert repr(held[0]()) == "old"


SLOTS = "class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n"
FREE = "class S:\n    def __init__(self): self.b = 2\n"


def test_a_class_that_loses_its_slots_takes_any_attribute_and_is_refused_while_instances_live(package):
    module = package.load(SLOTS, FREE)
    held = module.S()
    with pytest.raises(SwapRefusedError, match="gain a __dict__"):
        package.stage()
    del held
    package.upgrade()
    assert module.S().b == 2
    package.rollback()
    assert module.S().a == 1


def test_instances_that_keep_a_dict_the_new_version_does_not_have_are_told_of(package):
    module = package.load("class S:\n    def __init__(self): self.a = 1\n", SLOTS)
    held = module.S()
    package.upgrade()
    assert held.a == 1
    assert any("keep a __dict__" in warning for warning in package.prepared.warnings)


VARIABLE = "import contextvars\nvariable = contextvars.ContextVar('depth', default={})\n"


def test_a_context_variable_keeps_its_values_and_its_default_is_told_of(package):
    variable = package.load(VARIABLE.format(1), VARIABLE.format(2)).variable
    variable.set(7)
    package.upgrade()
    assert variable.get() == 7
    assert any("'depth' keeps the default" in warning for warning in package.prepared.warnings)


def test_a_plan_names_the_modules_that_took_a_value_which_changes(package):
    package.load("LIMIT = 10\nNAME = 'a name that is long'\nSAME = 3\n", "LIMIT = 20\nNAME = 'another'\nSAME = 3\n")
    evidence = package.stage().evidence
    assert evidence["values"] == [f"{package.name}.LIMIT", f"{package.name}.NAME"]
    assert package.engine.notes(package.change(), evidence) == ()
    program = types.ModuleType("taker_of_values")
    program.LIMIT = importlib.import_module(package.name).LIMIT
    sys.modules["taker_of_values"] = program
    try:
        (note,) = package.engine.notes(package.change(), evidence)
        assert note.startswith(f"taker_of_values.LIMIT took the value of {package.name}.LIMIT")
    finally:
        del sys.modules["taker_of_values"]


IMPORTED = """
from collections.abc import Callable as Called
from typing import Optional as Maybe
from os.path import join as put
"""


def test_a_plan_blames_nobody_for_what_the_package_has_from_elsewhere_itself(package):
    package.load(IMPORTED, "from typing import Callable as Called, Union as Maybe\nfrom os.path import split as put\n")
    evidence = package.stage().evidence
    assert evidence["values"] == [f"{package.name}.{name}" for name in ("Called", "Maybe", "put")]
    assert package.engine.notes(package.change(), evidence) == ()


def test_a_match_that_a_module_keeps_is_the_new_version_s(package):
    text = "import re\nmatch = re.match('([0-9]+)', 'VERSION')\nnumber = match.group(1)\n"
    module = package.load(text.replace("VERSION", "1.0"), text.replace("VERSION", "2.0"))
    package.upgrade()
    assert (module.match.group(1), module.number) == ("2", "2")
    package.rollback()
    assert (module.match.group(1), module.number) == ("1", "1")


# A class that has room for weak references and other slots is like no other class to CPython, not even like its twin.
@pytest.mark.parametrize(("root", "more"), [("pass", ""), ("__slots__ = ()", ", '__weakref__'")])
def test_objects_with_slots_that_importing_the_new_version_makes_are_of_the_live_class(package, root, more):
    source = f"""
class Root:
    {root}
    def name(self): return "root"
class Middle(Root): {root}
class Rule(Middle):
    __slots__ = ("left", "right"{more})
    def __init__(self, left, right): self.left, self.right = left, right
RULES = RULES_OF
"""
    texts = ("{'a': Rule(1, 2)}", "{'a': Rule(1, 2), 'b': Rule(Rule(3, 3), 4)}")
    module = package.load(*(source.replace("RULES_OF", text) for text in texts))
    kinds = list(module.Middle.__subclasses__())
    package.upgrade()
    made = module.RULES["b"]
    assert (type(made), type(made.left), made.right, made.name()) == (module.Rule, module.Rule, 4, "root")
    assert module.Middle.__subclasses__() == kinds


def test_a_class_that_becomes_generic_through_a_list_is_subscripted_like_a_list(package):
    module = package.load("class A(list): pass\n", "import typing\nclass A(typing.List[typing.Any]): pass\n")
    package.upgrade()
    assert module.A[int].__origin__ is module.A
    package.rollback()
    assert "__class_getitem__" not in vars(module.A)


def test_a_property_of_a_kind_of_its_own_has_the_text_that_it_had_when_it_is_taken_back(package):
    source = """
class cached(property):
    def __init__(self, get):
        super().__init__(get)
        self.__doc__ = None
class A:
    @cached
    def size(self):
        \'\'\'Return {}.\'\'\'
        return {}
"""
    module = package.load(source.format(1, 1), source.format(2, 2))
    package.upgrade()
    assert (vars(module.A)["size"].__doc__, module.A().size) == (None, 2)
    package.rollback()
    assert (vars(module.A)["size"].__doc__, module.A().size) == (None, 1)


def test_a_property_of_a_kind_of_its_own_is_given_no_text_that_it_had_not_been_given(package):
    source = """
class cached(property):
    def __init__(self, get, doc=None):
        super().__init__(get, doc=doc)
class A:
    @cached
    def size(self):
        \'\'\'Return {}.\'\'\'
        return {}
"""
    module = package.load(source.format(1, 1), source.format(2, 2))
    given = vars(property)["__doc__"].__get__
    before = (given(vars(module.A)["size"]), vars(module.A)["size"].__doc__)
    package.upgrade()
    assert vars(module.A)["size"].__doc__ == "Return 2."
    package.rollback()
    assert (given(vars(module.A)["size"]), vars(module.A)["size"].__doc__) == before


def test_a_class_that_moves_to_a_module_of_the_package_has_its_first_line_back_afterwards(package):
    text = "class A:\n    def m(self): return {}\n"
    module = package.load(
        "# one\n" + text.format(1), "from .home import A\n", home=("", "# one\n# two\n" + text.format(2))
    )
    before = vars(module.A).get("__firstlineno__")
    package.upgrade()
    assert (module.A().m(), module.A.__module__) == (2, f"{package.name}.home")
    assert vars(module.A).get("__firstlineno__") == (None if before is None else 3)
    package.rollback()
    assert (module.A.__module__, vars(module.A).get("__firstlineno__")) == (package.name, before)


BARE = "class A:\n    def __init__(self, n): self.n = n\n"
MAKING = (
    BARE + "    def __new__(cls, n):\n        made = object.__new__(cls)\n        made.made = n\n        return made\n"
)


def seen(module):
    return {name: value for name, value in vars(module.A).items() if name == "__new__"}, inspect.signature(module.A)


def test_a_class_that_has_gained_a_new_has_none_after_going_back(package):
    module = package.load(BARE, MAKING)
    before = seen(module)
    mine = type("Mine", (module.A,), {})
    package.upgrade()
    later = type("Later", (mine,), {})
    assert [cls(1).made for cls in (module.A, mine, later)] == [1, 1, 1]
    package.rollback()
    package.prepared.went_back()
    assert seen(module) == before
    assert [cls(2).n for cls in (module.A, mine, later, type("Last", (later,), {}))] == [2, 2, 2, 2]
    with pytest.raises(TypeError, match="takes no arguments"):
        type("Other", (), {})(1)
    package.again()
    assert module.A(3).made == 3
    assert later(3).made == 3


def test_a_class_that_has_lost_its_new_has_none(package):
    module = package.load(MAKING, BARE)
    mine = type("Mine", (module.A,), {"__new__": lambda cls, n: object.__new__(cls)})
    package.upgrade()
    package.prepared.settle()
    assert "__new__" not in vars(module.A)
    assert (module.A(1).n, mine(2).n) == (1, 2)
    assert not hasattr(module.A(1), "made")
    package.rollback()
    package.prepared.went_back()
    assert module.A(3).made == 3


def test_a_new_that_came_with_a_base_leaves_nothing(package):
    old = "class Other: pass\nclass Plain(Other):\n    def __init__(self, n): self.n = n\n"
    new = old.replace("Plain(Other)", "Plain(Making)").replace(
        "class Plain", "class Making(Other):\n    def __new__(cls, n): return super().__new__(cls)\nclass Plain"
    )
    module = package.load(old, new)
    package.upgrade()
    assert module.Plain(1).n == 1
    package.rollback()
    package.prepared.went_back()
    assert "__new__" not in vars(module.Plain)
    assert module.Plain(2).n == 2
    assert type("Mine", (module.Plain,), {})(3).n == 3


def test_an_instance_with_arguments_that_nobody_takes_is_refused_as_before(package):
    module = package.load("class A: pass\n", "class A:\n    def __new__(cls, *args): return object.__new__(cls)\n")
    package.upgrade()
    module.A(1)
    package.rollback()
    package.prepared.went_back()
    with pytest.raises(TypeError, match="takes no arguments"):
        module.A(1)


def test_a_new_class_below_classes_with_slots_lives_below_those_that_live(package):
    text = (
        "class Root:\n    def f(self): return VERSION\n"
        "class Node(Root):\n    __slots__ = ('a',)\n"
        "class Leaf(Node):\n    __slots__ = ('b',)\n"
    )
    old, new = text.replace("VERSION", "'old'"), text.replace("VERSION", "'new'")
    module = package.load(
        old, new + "class Fresh(Leaf):\n    def g(self): return super().f()\nclass More(Leaf): pass\n"
    )
    leaf, held = module.Leaf, module.Leaf()
    package.upgrade()
    assert module.Leaf is leaf
    assert (held.f(), module.Fresh().g(), module.More().f()) == ("new", "new", "new")
    assert module.Fresh.__mro__ == (module.Fresh, leaf, module.Node, module.Root, object)
    package.rollback()
    assert (held.f(), hasattr(module, "Fresh")) == ("old", False)
    package.again()
    assert (module.Fresh().g(), isinstance(module.More(), leaf)) == ("new", True)


def test_a_module_that_is_no_package_any_more_has_no_path(package):
    text = "import os\n__path__ = [os.path.dirname(__file__)]\n"
    package.load("from . import one, two", "from . import one, two", one=(text, "import os\n"), two=("A = 1\n", text))
    one, two = (sys.modules[f"{package.name}.{name}"] for name in ("one", "two"))
    two.__path__ = mine = ["mine"]
    path = one.__path__
    package.upgrade()
    assert not hasattr(one, "__path__")
    package.rollback()
    assert one.__path__ is path
    assert two.__path__ is mine


def test_a_structure_of_ctypes_gains_a_method_and_loses_it_again(package):
    source = "import ctypes\nclass Point(ctypes.Structure):\n    _fields_ = [('x', ctypes.c_int)]\n    def m(self): return ('old', self.x)\n"
    module = package.load(
        source, source.replace("'old'", "'new'") + "    def more(self): return self.x\n    kind = 1\n"
    )
    point = module.Point(3)
    package.upgrade()
    assert (point.m(), point.more(), module.Point.kind) == (("new", 3), 3, 1)
    package.rollback()
    assert point.m() == ("old", 3)
    assert not hasattr(module.Point, "more")


def test_a_function_is_the_one_that_its_own_module_defines_whatever_other_names_lead_to_by_now(package):
    same = "def pack(x): return list(x)\n"
    package.load(
        "from PKG.ways import *\n",
        "from PKG.ways import *\n",
        ways=(
            "from PKG.zipped import pack as _pack\ndef pack(x): return _pack(x)\n",
            "def _pack(x): return list(x)\ndef pack(x): return _pack(x)\n",
        ),
        zipped=(same, same),
    )
    ways, zipped = (sys.modules[f"{package.name}.{name}"] for name in ("ways", "zipped"))
    held = [zipped.pack]
    package.upgrade()
    assert held == [zipped.pack]
    assert (held[0].__module__, ways._pack.__module__) == (zipped.__name__, ways.__name__)
    package.rollback()
    assert held == [zipped.pack] == [ways._pack]
    assert held[0].__module__ == zipped.__name__


def test_who_took_a_function_that_moves_to_a_module_that_had_taken_it_calls_the_new_one(package):
    module = package.load(
        "from PKG.zipped import pack\n", "def pack(): return 'new'\n", zipped=("def pack(): return 'old'\n", "")
    )
    held = [module.pack]
    package.upgrade()
    assert (held[0](), module.pack()) == ("new", "new")


def test_a_wrapper_with_more_defaults_than_parameters_is_upgraded_like_any_other(package):
    source = """
    def plain(a, b=1, c={}): return WORD
    def wrapped(*args, **kwargs): return plain(*args, **kwargs)
    wrapped.__defaults__ = plain.__defaults__
    """
    module = package.load(source.replace("WORD", "'old'"), source.replace("WORD", "'new'"))
    assert module.wrapped(1) == "old"
    package.upgrade()
    assert module.wrapped(1) == "new"
    package.rollback()
    assert module.wrapped(1) == "old"


UNHASHABLE = """
class Thing:
    __hash__ = None
    def __call__(self): return 'new'
thing = Thing()
"""


@pytest.mark.parametrize("hold", [lambda one: {one: 1}, lambda one: {one}, lambda one: [frozenset([one])]])
def test_a_function_that_becomes_what_no_table_takes_stays_the_key_that_it_is_and_passes_calls_on(package, hold):
    module = package.load(FUNCTION, UNHASHABLE)
    held, old = hold(module.thing), id(module.thing)
    package.upgrade()
    assert module.thing() == "new"
    key = next(iter(held[0] if isinstance(held, list) else held))
    assert id(key) == old
    assert key() == "new"
    package.rollback()
    assert key() == module.thing() == "old"


@pytest.mark.parametrize(
    "where",
    [
        "def wrap(*a, me=None): return me\nwrap.__kwdefaults__['me'] = wrap\n",
        "def wrap(me=None): return me\nwrap.__defaults__ = (wrap,)\n",
        "def wrap(me=None): return me[0]\nwrap.__defaults__ = ([wrap],)\n",
        "def wrap(me=None): return me[0]\nwrap.__defaults__ = ((wrap,),)\n",
    ],
)
def test_a_function_that_is_its_own_default_is_carried_over_as_one(package, where):
    module = package.load("", where)
    package.upgrade()
    assert module.wrap() is module.wrap
    assert module.wrap.__globals__ is vars(module)


# As the `decorator` package does it: functions that `exec` has made in names of their own, which no module leads to.
MADE_BY_EXEC = """
class Maker:
    size = VERSION
    def __call__(self, value): return (type(self).size, value)

def made(maker):
    names = dict(_call_=maker, _seen_=[])
    exec("def f(value):\\n    _seen_.append(value)\\n    return (_call_()(value), len(_seen_), VERSION)", names)
    names["f"].__wrapped__ = maker
    return names["f"]

f = made(Maker)
"""


@pytest.mark.parametrize("held", [True, False])
def test_a_function_that_exec_has_made_keeps_its_identity_its_names_and_their_state(package, held):
    module = package.load(MADE_BY_EXEC.replace("VERSION", "1"), MADE_BY_EXEC.replace("VERSION", "2"))
    mine = [module.f] if held else []
    maker = module.Maker
    assert module.f("a") == ((1, "a"), 1, 1)
    package.upgrade()
    assert module.Maker is maker
    for function in (module.f, *mine):
        assert function.__wrapped__ is maker
    assert module.f("b") == ((2, "b"), 2, 2)
    assert [one("c") for one in mine] == [((2, "c"), 3, 2)] * len(mine)
    package.rollback()
    assert module.f("d") == ((1, "d"), 3 + len(mine), 1)
    assert not held or module.f is mine[0]


def test_a_class_that_is_renamed_and_keeps_its_old_name_as_another_keeps_its_identity(package):
    old = "class HTMLRenderer:\n    class Part:\n        pass\n    def version(self): return 1\ndef render(by=HTMLRenderer): return by\n"
    new = old.replace("HTMLRenderer", "HtmlRenderer").replace("1", "2") + "HTMLRenderer = HtmlRenderer\n"
    module = package.load(old, new)
    cls, part, held = module.HTMLRenderer, module.HTMLRenderer.Part, module.HTMLRenderer()

    class Mine(module.HTMLRenderer):
        pass

    package.upgrade()
    assert module.HTMLRenderer is module.HtmlRenderer is cls is module.render()
    assert (cls.__name__, cls.__qualname__, part.__qualname__) == ("HtmlRenderer", "HtmlRenderer", "HtmlRenderer.Part")
    assert type(pickle.loads(pickle.dumps(held))) is cls
    assert (held.version(), Mine().version()) == (2, 2)
    package.rollback()
    assert (cls.__name__, cls.__qualname__, part.__qualname__) == ("HTMLRenderer", "HTMLRenderer", "HTMLRenderer.Part")
    assert not hasattr(module, "HtmlRenderer")


# As mutagen and astor do it: classes that are made of another's names, `__dict__` among them.
OF_ANOTHER_S_NAMES = """
class Plain:
    size = VERSION
    def twice(self): return 2 * self.size

def remade(cls, base):
    return type(cls.__name__, (base,), dict(cls.__dict__))

class Meta(type):
    def __new__(mcs, name, bases, body):
        names = {}
        for base in reversed(bases):
            names.update(vars(base))
        return super().__new__(mcs, name, bases, {**names, **body})

Number = remade(Plain, int)
class Walker(Plain, metaclass=Meta):
    pass
Number.ONE = Number(1)
held = [Walker()]
"""


def test_classes_that_are_made_of_the_names_of_another_and_their_instances_follow(package):
    module = package.load(OF_ANOTHER_S_NAMES.replace("VERSION", "1"), OF_ANOTHER_S_NAMES.replace("VERSION", "2"))
    mine = [module.Number(5), module.Walker()]
    package.upgrade()
    assert [one.twice() for one in (*module.held, *mine, module.Number.ONE)] == [4, 4, 4, 4]
    assert type(module.Number.ONE) is module.Number
    assert [type(one) for one in mine] == [module.Number, module.Walker]
    package.rollback()
    assert [one.twice() for one in (*module.held, *mine, module.Number.ONE)] == [2, 2, 2, 2]


class Posing:
    """Says that it is what it stands for, as a proxy does; asked outside of a request, some raise."""

    def __init__(self, what):
        object.__setattr__(self, "_what", what)

    @property
    def __class__(self):
        if self._what is None:
            raise RuntimeError("working outside of a request")
        return type(self._what)

    def __getattr__(self, name):
        return getattr(self._what, name)


@pytest.mark.parametrize("what", [int, collections.OrderedDict, types, None])
def test_a_proxy_anywhere_is_not_taken_for_what_it_stands_for(package, what):
    text = "import posing_program\nproxy = posing_program.proxy\ntable = {'a': proxy}\ndef f(): return VERSION\n"
    program = types.ModuleType("posing_program")
    program.proxy = proxy = Posing(what)
    sys.modules["posing_program"] = program
    try:
        module = package.load(text.replace("VERSION", "1"), text.replace("VERSION", "2") + "table['b'] = proxy\n")
        module.A = proxy
        package.upgrade()
        assert (module.f(), module.proxy is proxy, module.A is proxy) == (2, True, True)
        assert list(module.table) == ["a", "b"]
        package.rollback()
        assert (module.f(), list(module.table)) == (1, ["a"])
    finally:
        del sys.modules["posing_program"]
