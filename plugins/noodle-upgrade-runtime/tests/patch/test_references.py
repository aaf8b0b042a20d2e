"""What each kind of reference sees after a live upgrade, and after going back: every one is right."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import sys
import threading
import traceback
import types
import weakref

import pytest


class Probe:
    """One kind of reference: sources of both versions, what to hold, and what it must say before and after."""

    def __init__(self, old, new, hold, before, after):
        self.old, self.new, self.hold, self.before, self.after = old, new, hold, before, after


FUNCTION = ("def f(x=1): return ('old', x)", "def f(x=2): return ('new', x)")
CLASS = (
    """
    class A:
        kind = "old"
        def __init__(self): self.n = 1
        def m(self): return ("old", self.n)
        @classmethod
        def c(cls): return ("old", cls.__name__)
        @staticmethod
        def s(): return "old"
        @property
        def p(self): return "old"
        def __len__(self): return 1
        def __call__(self): return "old"
        def __getitem__(self, k): return ("old", k)
    """,
    """
    class A:
        kind = "new"
        def __init__(self): self.n = 1
        def m(self): return ("new", self.n)
        @classmethod
        def c(cls): return ("new", cls.__name__)
        @staticmethod
        def s(): return "new"
        @property
        def p(self): return "new"
        def __len__(self): return 2
        def __call__(self): return "new"
        def __getitem__(self, k): return ("new", k)
    """,
)


def both(template, **more):
    return template.replace("@@", "old"), template.replace("@@", "new")


def sub(base):
    return type("Sub", (base,), {"extra": lambda self: super(type(self), self).m()})


PROBES = {
    "an alias": Probe(*FUNCTION, lambda m: m.f, ("old", 1), ("new", 2)),
    "a partial": Probe(*FUNCTION, lambda m: functools.partial(m.f, 5), ("old", 5), ("new", 5)),
    "a function in a list": Probe(*FUNCTION, lambda m: [m.f][0], ("old", 1), ("new", 2)),
    "a lambda around it": Probe(*FUNCTION, lambda m : (lambda f: lambda: f())(m.f), ("old", 1), ("new", 2)),
    "a decorated function": Probe(*FUNCTION, lambda m: functools.wraps(m.f)(lambda f=m.f: f()), ("old", 1), ("new", 2)),
    "an lru cache around it": Probe(*FUNCTION, lambda m: functools.cache(m.f), ("old", 1), ("old", 1)),
    "an unbound method": Probe(*CLASS, lambda m: functools.partial(m.A.m, m.A()), ("old", 1), ("new", 1)),
    "a bound method": Probe(*CLASS, lambda m: m.A().m, ("old", 1), ("new", 1)),
    "a bound class method": Probe(*CLASS, lambda m: m.A.c, ("old", "A"), ("new", "A")),
    "a static method": Probe(*CLASS, lambda m: m.A.s, "old", "new"),
    "an instance": Probe(*CLASS, lambda m: m.A().m, ("old", 1), ("new", 1)),
    "a property of an instance": Probe(*CLASS, lambda m: functools.partial(getattr, m.A(), "p"), "old", "new"),
    "the property object": Probe(*CLASS, lambda m: functools.partial(m.A.p.__get__, m.A()), "old", "new"),
    "a class alias": Probe(*CLASS, lambda m: functools.partial(getattr, m.A, "kind"), "old", "new"),
    "a dunder": Probe(*CLASS, lambda m: functools.partial(len, m.A()), 1, 2),
    "a callable instance": Probe(*CLASS, lambda m: m.A(), "old", "new"),
    "a subscript": Probe(*CLASS, lambda m: functools.partial(lambda a: a["k"], m.A()), ("old", "k"), ("new", "k")),
    "an instance of a subclass": Probe(*CLASS, lambda m: sub(m.A)().m, ("old", 1), ("new", 1)),
    "super in a subclass": Probe(*CLASS, lambda m: sub(m.A)().extra, ("old", 1), ("new", 1)),
    "a closure": Probe(
        *both("def make(a):\n    def inner(): return ('@@', a)\n    return inner\n"),
        lambda m: m.make(7),
        ("old", 7),
        ("new", 7),
    ),
    "a closure with fewer free variables": Probe(
        "def make(a, b):\n    def inner(): return ('old', a, b)\n    return inner\n",
        "def make(a, b):\n    def inner(): return ('new', b)\n    return inner\n",
        lambda m: m.make(7, 8),
        ("old", 7, 8),
        ("new", 8),
    ),
    "two closures that share a variable": Probe(
        *both(
            "def make():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return ('@@', n)\n"
            "    def get(): return n\n    return up, get\n"
        ),
        lambda m: (lambda pair: lambda: (pair[0]()[0], pair[1]() > 0))(m.make()),
        ("old", True),
        ("new", True),
    ),
    "a user's function under the package's decorator": Probe(
        *both("def deco(f):\n    def wrapper(): return ('@@', f())\n    return wrapper\n"),
        lambda m: m.deco(lambda: "mine"),
        ("old", "mine"),
        ("new", "mine"),
    ),
    "a method of a class made by a function": Probe(
        *both("def make():\n    class Local:\n        def m(self): return '@@'\n    return Local\n"),
        lambda m: m.make()().m,
        "old",
        "new",
    ),
    "a function that becomes decorated": Probe(
        "def f(): return 'old'\n",
        "def deco(g):\n    def wrapper(): return ('wrapped', g())\n    return wrapper\n@deco\ndef f(): return 'new'\n",
        lambda m: m.f,
        "old",
        ("wrapped", "new"),
    ),
    "a function that loses its decorator": Probe(
        "def deco(g):\n    def wrapper(): return ('wrapped', g())\n    return wrapper\n@deco\ndef f(): return 'old'\n",
        "def f(): return 'new'\n",
        lambda m: m.f,
        ("wrapped", "old"),
        "new",
    ),
    "a function that gets other parameters": Probe(
        "def f(a=1): return ('old', a)\n",
        "def f(b=3, *, c=4): return ('new', b, c)\n",
        lambda m: m.f,
        ("old", 1),
        ("new", 3, 4),
    ),
    "a function that becomes a generator": Probe(
        "def f(): return ['old']\n", "def f(): yield 'new'\n", lambda m: lambda: list(m.f()), ["old"], ["new"]
    ),
    "a function that moves to another module's import": Probe(
        "from .sub import g as f\n", "def f(): return 'new'\n", lambda m: m.f, "old", "new"
    ),
    "an enum member": Probe(
        "import enum\nclass E(enum.Enum):\n    A = 1\n    def say(self): return ('old', self.name)\n",
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\n    def say(self): return ('new', self.name)\n",
        lambda m: (lambda a: lambda: (a.say(), a is m.E.A, a is m.E(1), a in list(m.E)))(m.E.A),
        (("old", "A"), True, True, True),
        (("new", "A"), True, True, True),
    ),
    "a new enum member": Probe(
        "import enum\nclass E(enum.Enum):\n    A = 1\n",
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\n",
        lambda m: lambda: ([e.name for e in m.E], all(isinstance(e, m.E) for e in m.E), len(m.E)),
        (["A"], True, 1),
        (["A", "B"], True, 2),
    ),
    "a str enum": Probe(
        "import enum\nclass E(str, enum.Enum):\n    A = 'a'\n",
        "import enum\nclass E(str, enum.Enum):\n    A = 'a'\n    B = 'b'\n    def up(self): return self.value.upper()\n",
        lambda m: lambda: [getattr(e, "up", lambda: "-")() for e in m.E],
        ["-"],
        ["A", "B"],
    ),
    "a flag": Probe(
        "import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2\n",
        "import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2\n    C = 4\n",
        lambda m: lambda: (len(m.F), str(m.F.A | m.F.B), (m.F(3) & m.F.A) is m.F.A),
        (2, "F.A|B", True),
        (3, "F.A|B", True),
    ),
    "a dataclass": Probe(
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n    def say(self): return 'old'\n",
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n    b: int = 5\n    def say(self): return 'new'\n",
        lambda m: (lambda d: lambda: (d.say(), repr(d).partition(".")[2] or repr(d), m.D(3) == m.D(3)))(m.D(2)),
        ("old", "D(a=2)", True),
        ("new", "D(a=2, b=5)", True),
    ),
    "an abstract class": Probe(
        "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n",
        "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n    def k(self): return 'new'\n",
        lambda m: (lambda c: lambda: getattr(c(), "k", lambda: "old")())(type("C", (m.B,), {"m": lambda s: 0})),
        "old",
        "new",
    ),
    "a class that stops being abstract": Probe(
        "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n",
        "import abc\nclass B(abc.ABC):\n    def m(self): return 'new'\n",
        lambda m: lambda: inspect.isabstract(m.B),
        True,
        False,
    ),
    "a virtual subclass": Probe(
        "import abc\nclass B(abc.ABC): pass\n",
        "import abc\nclass B(abc.ABC):\n    x = 1\n",
        lambda m: (m.B.register(int), lambda: (isinstance(3, m.B), getattr(m.B, "x", 0)))[1],
        (True, 0),
        (True, 1),
    ),
    "slots": Probe(
        *both("class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n    def m(self): return ('@@', self.a)\n"),
        lambda m: m.S().m,
        ("old", 1),
        ("new", 1),
    ),
    "a descriptor": Probe(
        *both("class Field:\n    def __get__(self, o, t): return '@@'\nclass A:\n    f = Field()\n"),
        lambda m: functools.partial(getattr, m.A(), "f"),
        "old",
        "new",
    ),
    "a cached property": Probe(
        *both("import functools\nclass A:\n    @functools.cached_property\n    def p(self): return '@@'\n"),
        lambda m: (lambda a: lambda: a().p)(m.A),
        "old",
        "new",
    ),
    "a single dispatch": Probe(
        *both("import functools\n@functools.singledispatch\ndef f(x): return '@@'\n@f.register\ndef _(x: int): return ('int', '@@')\n"),
        lambda m: (lambda f: lambda: (f("a"), f(1)))(m.f),
        ("old", ("int", "old")),
        ("new", ("int", "new")),
    ),
    "a context manager": Probe(
        *both("import contextlib\n@contextlib.contextmanager\ndef c(): yield '@@'\n"),
        lambda m: (lambda c: lambda: c().__enter__())(m.c),
        "old",
        "new",
    ),
    "the package's lru cache": Probe(
        *both("import functools\n@functools.lru_cache\ndef f(): return '@@'\n"), lambda m: m.f, "old", "new"
    ),
    "a package partial": Probe(
        "import functools\ndef g(a, b): return ('old', a, b)\nf = functools.partial(g, 1)\n",
        "import functools\ndef g(a, b): return ('new', a, b)\nf = functools.partial(g, 2)\n",
        lambda m: (lambda f: lambda: f(9))(m.f),
        ("old", 1, 9),
        ("new", 2, 9),
    ),
    "a metaclass": Probe(
        *both("class M(type):\n    def hello(cls): return '@@'\nclass A(metaclass=M): pass\n"),
        lambda m: m.A.hello,
        "old",
        "new",
    ),
    "an init_subclass": Probe(
        *both("class A:\n    def __init_subclass__(cls): cls.made = '@@'\n"),
        lambda m: lambda: type("S", (m.A,), {}).made,
        "old",
        "new",
    ),
    "a class that gains Generic": Probe(
        "class A: pass\n",
        "import typing\nT = typing.TypeVar('T')\nclass A(typing.Generic[T]): pass\n",
        lambda m: lambda: (str(getattr(m.A, "__class_getitem__", lambda t: "-")(int)).rpartition(".")[2]),
        "-",
        "A[int]",
    ),
    "a generic alias": Probe(
        "import typing\nT = typing.TypeVar('T')\nclass A(typing.Generic[T]):\n    def m(self): return 'old'\n",
        "import typing\nT = typing.TypeVar('T')\nclass A(typing.Generic[T]):\n    def m(self): return 'new'\n",
        lambda m: (lambda alias: lambda: alias().m())(m.A[int]),
        "old",
        "new",
    ),
    "a named tuple": Probe(
        "from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\n    def m(self): return 'old'\n",
        "from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\n    def m(self): return 'new'\n",
        lambda m: (lambda n: lambda: (n.m(), n == m.N(1)))(m.N()),
        ("old", True),
        ("new", True),
    ),
    "an exception class": Probe(
        *both("class Oops(Exception):\n    def __str__(self): return '@@'\ndef f():\n    raise Oops()\n"),
        lambda m: (lambda kind: lambda: _caught(m.f, kind))(m.Oops),
        "old",
        "new",
    ),
    "a constant through the module": Probe("N = 1\n", "N = 2\n", lambda m: lambda: m.N, 1, 2),
    "a module-level dict": Probe("D = {'a': 1}\n", "D = {'a': 2, 'b': 3}\n", lambda m: (lambda d: lambda: dict(d))(m.D), {"a": 1}, {"a": 2, "b": 3}),
    "a module-level list": Probe("L = [1]\n", "L = [1, 2]\n", lambda m: (lambda d: lambda: list(d))(m.L), [1], [1, 2]),
    "a module-level set": Probe("S = {1}\n", "S = {2}\n", lambda m: (lambda d: lambda: set(d))(m.S), {1}, {2}),
    "a sentinel": Probe(
        "MISSING = object()\ndef f(x=MISSING): return ('old', x is MISSING)\n",
        "MISSING = object()\ndef f(x=MISSING): return ('new', x is MISSING)\n",
        lambda m: (lambda s: lambda: (m.f(s), m.f(), s is m.MISSING))(m.MISSING),
        (("old", True), ("old", True), True),
        (("new", True), ("new", True), True),
    ),
    "a module-level instance": Probe(
        "class C:\n    def __init__(self, n): self.n = n\n    def m(self): return ('old', self.n)\nc = C(1)\n",
        "class C:\n    def __init__(self, n): self.n = n\n    def m(self): return ('new', self.n)\nc = C(2)\n",
        lambda m: (lambda c: lambda: (c.m(), c is m.c))(m.c),
        (("old", 1), True),
        (("new", 2), True),
    ),
    "a bound method that the module exports": Probe(
        *both("class C:\n    def m(self): return '@@'\n_c = C()\nm = _c.m\n"), lambda m: m.m, "old", "new"
    ),
    "a class attribute that holds a function of the module": Probe(
        *both("def g(self): return '@@'\nclass A:\n    h = g\n"), lambda m: m.A().h, "old", "new"
    ),
    "a pickle by name": Probe(
        *both("class A:\n    def m(self): return '@@'\n"),
        lambda m: (lambda data: lambda: pickle.loads(data).m())(pickle.dumps(m.A())),
        "old",
        "new",
    ),
    "a weak reference": Probe(*CLASS, lambda m: (lambda a, w: lambda: w() is a and w().m())(*(lambda a: (a, weakref.ref(a)))(m.A())), ("old", 1), ("new", 1)),
    "a weak method": Probe(*CLASS, lambda m: (lambda a: (lambda w: lambda: w()() if a else 0)(weakref.WeakMethod(a.m)))(m.A()), ("old", 1), ("new", 1)),
    "a copy": Probe(*CLASS, lambda m: (lambda a: lambda: copy.deepcopy(a).m())(m.A()), ("old", 1), ("new", 1)),
    "isinstance": Probe(*CLASS, lambda m: (lambda a, k: lambda: (isinstance(a, m.A), isinstance(m.A(), k), k is m.A))(m.A(), m.A), (True, True, True), (True, True, True)),
    "a type in a dispatch table": Probe(*CLASS, lambda m: (lambda t: lambda: t[type(m.A())])({m.A: "hit"}), "hit", "hit"),
    "annotations": Probe(
        "class K: pass\ndef f(x: int) -> K: ...\n",
        "class K: pass\ndef f(x: str) -> K: ...\n",
        lambda m: (lambda f: lambda: (f.__annotations__["x"].__name__, f.__annotations__["return"] is m.K))(m.f),
        ("int", True),
        ("str", True),
    ),
    "a signature": Probe(
        "def f(a): ...\n", "def f(a, b=2, *args, c, **kw): ...\n", lambda m: (lambda f: lambda: str(inspect.signature(f)))(m.f), "(a)", "(a, b=2, *args, c, **kw)"
    ),
    "an async function": Probe(
        *both("async def f(): return '@@'\n"), lambda m: (lambda f: lambda: _awaited(f()))(m.f), "old", "new"
    ),
    "an attribute of a function": Probe(
        *both("def f(): return f.mark\nf.mark = '@@'\n"), lambda m: m.f, "old", "new"
    ),
    "a base class with a new method": Probe(
        "class B: pass\nclass A(B): pass\n",
        "class B:\n    def hi(self): return 'new'\nclass A(B): pass\n",
        lambda m: (lambda a: lambda: getattr(a, "hi", lambda: "old")())(m.A()),
        "old",
        "new",
    ),
    "a class with other bases": Probe(
        "class X:\n    def who(self): return 'X'\nclass Y:\n    def who(self): return 'Y'\nclass A(X): pass\n",
        "class X:\n    def who(self): return 'X'\nclass Y:\n    def who(self): return 'Y'\nclass A(Y): pass\n",
        lambda m: (lambda a: lambda: (a.who(), isinstance(a, m.Y)))(m.A()),
        ("X", False),
        ("Y", True),
    ),
    "a class that gets a base": Probe(
        "class A:\n    def m(self): return 'old'\n",
        "class Mixin:\n    def extra(self): return 'mixed'\nclass A(Mixin):\n    def m(self): return self.extra()\n",
        lambda m: (lambda a: lambda: (a.m(), isinstance(a, m.A), type(a) is m.A))(m.A()),
        ("old", True, True),
        ("mixed", True, True),
    ),
}  # fmt: skip


def _caught(function, kind):
    try:
        function()
    except kind as error:
        return str(error)


def _awaited(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value


@pytest.mark.parametrize("kind", PROBES)
def test_what_is_held_follows_the_upgrade_and_the_rollback(package, kind):
    probe = PROBES[kind]
    module = package.load(probe.old, probe.new, sub=("def g(): return 'old'", "def g(): return 'new'"))
    held = probe.hold(module)
    assert held() == probe.before
    package.upgrade()
    assert held() == probe.after
    assert probe.hold(module)() == (probe.after if kind != "an lru cache around it" else ("new", 2))
    package.rollback()
    assert held() == probe.before
    assert probe.hold(module)() == probe.before
    package.again()
    assert held() == probe.after
    package.rollback()
    assert held() == probe.before


def test_a_generator_that_runs_ends_on_the_version_that_it_began_in(package):
    module = package.load(
        "def f():\n    yield 'old 1'\n    yield 'old 2'\n", "def f():\n    yield 'new 1'\n    yield 'new 2'\n"
    )
    running = module.f()
    assert next(running) == "old 1"
    package.upgrade()
    assert next(running) == "old 2"
    assert list(module.f()) == ["new 1", "new 2"]


def test_a_thread_in_a_loop_calls_the_new_version_from_its_next_call_on(package):
    module = package.load("def f(): return 'old'\n", "def f(): return 'new'\n")
    seen, stop = [], threading.Event()

    def loop(f=module.f):
        while not stop.is_set():
            seen.append(f())
            stop.wait(0.001)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        package.upgrade()
        while not seen or seen[-1] != "new":
            stop.wait(0.001)
    finally:
        stop.set()
        thread.join()
    assert seen == sorted(seen, reverse=True)


def test_a_traceback_shows_the_line_of_the_new_source(package):
    module = package.load(
        "def f():\n    raise ValueError\n", "\n\n# moved\ndef f():\n    raise ValueError  # new line\n"
    )
    package.upgrade()
    try:
        module.f()
    except ValueError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
    assert (frame.lineno, frame.line) == (5, "raise ValueError  # new line")
    assert frame.filename == str(package.folder / "2.0" / package.name / "__init__.py")


def test_what_is_imported_later_comes_from_the_new_version(package):
    module = package.load("", "", later=("", "who = 'new'\n"))
    package.upgrade()
    later = __import__(f"{package.name}.later", fromlist=["who"])
    assert later.who == "new"
    assert module.later is later


def test_a_module_that_the_new_version_does_not_have_is_gone_and_comes_back(package):
    module = package.load("from . import extra\n", "", extra=("x = 1\n", ""))
    extra = module.extra
    package.upgrade()
    assert f"{package.name}.extra" not in sys.modules
    assert not hasattr(module, "extra")
    package.rollback()
    assert sys.modules[f"{package.name}.extra"] is extra is module.extra


def test_a_module_that_is_new_is_there_after_the_commit_only(package):
    module = package.load("", "from . import fresh\nfresh_value = fresh.g()\n", fresh=("", "def g(): return 'fresh'\n"))
    package.stage()
    assert f"{package.name}.fresh" not in sys.modules
    package.upgrade()
    assert module.fresh.g() == "fresh"
    assert sys.modules[f"{package.name}.fresh"] is module.fresh
    package.rollback()
    assert f"{package.name}.fresh" not in sys.modules
    assert not hasattr(module, "fresh")


def test_functions_keep_their_identity_and_their_globals(package):
    module = package.load("x = 1\ndef f(): return x\n", "x = 2\ndef f(): return x + 1\n")
    f, namespace = module.f, vars(module)
    package.upgrade()
    assert module.f is f
    assert f.__globals__ is namespace
    module.x = 10
    assert f() == 11
    assert isinstance(f, types.FunctionType)
