"""Abstract classes, protocols, dispatch, generics and annotations."""

import abc
import functools
import inspect
import typing

from matrix.probing import Group, both

GROUP = Group("Abstract classes, protocols, dispatch, generics")


@GROUP.probe(
    "a user's class that implements an abstract one",
    old="import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n    def k(self): return ('old', self.m())\n",
    new="import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n    def k(self): return ('new', self.m())\n",
    before=("old", "mine"),
    after=("new", "mine"),
    sees="runs the new code around its own",
)
def _(m):
    return type("Mine", (m.B,), {"m": lambda self: "mine"})().k


@GROUP.probe(
    "an abstract method that comes",
    old="import abc\nclass B(abc.ABC):\n    def m(self): return 'old'\n",
    new="import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n",
    before=(False, True),
    after=(True, False),
    sees="makes the class abstract: it cannot be made any more",
)
def _(m):
    kind = m.B

    def made():
        try:
            return bool(kind())
        except TypeError:
            return False

    return lambda: (inspect.isabstract(kind), made())


@GROUP.probe(
    "a class that stops being abstract",
    old="import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n",
    new="import abc\nclass B(abc.ABC):\n    def m(self): return 'new'\n",
    before=(True, None),
    after=(False, "new"),
    sees="can be made",
)
def _(m):
    kind = m.B
    return lambda: (inspect.isabstract(kind), None if inspect.isabstract(kind) else kind().m())


@GROUP.probe(
    "a user's subclass, when an abstract method comes that it does not have",
    old="import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\nkind = 'old'\n",
    new="import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n    @abc.abstractmethod\n    def n(self): ...\nkind = 'new'\n",
    before=("mine", "old"),
    after=("mine", "new"),
    fresh=None,
    once=True,
    sees="can be made as before: CPython looks at that when a class is made",
)
def _(m):
    kind = type("Mine", (m.B,), {"m": lambda self: "mine"})
    return lambda: (kind().m(), m.kind)


@GROUP.probe(
    "a virtual subclass that the user has registered",
    old="import abc\nclass B(abc.ABC): pass\n",
    new="import abc\nclass B(abc.ABC):\n    x = 'new'\n",
    before=(True, True, None),
    after=(True, True, "new"),
    sees="is one of the class, still",
)
def _(m):
    m.B.register(int)
    kind = m.B
    return lambda: (isinstance(3, kind), issubclass(int, m.B), getattr(kind, "x", None))


@GROUP.probe(
    "a virtual subclass that the package registers",
    old="import abc\nclass B(abc.ABC): pass\nB.register(int)\n",
    new="import abc\nclass B(abc.ABC): pass\nB.register(str)\n",
    before=(True, False),
    after=(False, True),
    sees="is the new version's, whatever was asked before",
)
def _(m):
    kind = m.B
    return lambda: (isinstance(3, kind), isinstance("a", kind))


@GROUP.probe(
    "`__subclasshook__` and `__instancecheck__`",
    **both("""
    import abc
    class B(abc.ABC):
        @classmethod
        def __subclasshook__(cls, other): return hasattr(other, "@@")
    class Meta(type):
        def __instancecheck__(cls, one): return one == "@@"
    class C(metaclass=Meta): pass
    """),
    before=([True, False], [True, False]),
    after=([False, True], [False, True]),
    sees="are asked: the new ones; what `abc` remembers is forgotten",
)
def _(m):
    kind, checked = m.B, m.C
    old, new = type("O", (), {"old": 1}), type("N", (), {"new": 1})
    return lambda: (
        [issubclass(old, kind), issubclass(new, kind)],
        [isinstance("old", checked), isinstance("new", checked)],
    )


@GROUP.probe(
    "a protocol that is checked at run time",
    old="from typing import Protocol, runtime_checkable\n@runtime_checkable\nclass P(Protocol):\n    def read(self): ...\n",
    new="from typing import Protocol, runtime_checkable\n@runtime_checkable\nclass P(Protocol):\n    def read(self): ...\n    def close(self): ...\n",
    before=(True, True),
    after=(False, True),
    sees="asks for the new methods, whatever was asked before",
)
def _(m):
    kind = m.P
    one = type("One", (), {"read": lambda self: 1})()
    two = type("Two", (), {"read": lambda self: 1, "close": lambda self: 1})()
    return lambda: (isinstance(one, kind), isinstance(two, kind))


@GROUP.probe(
    "a user's class that derives from a protocol",
    **both("from typing import Protocol\nclass P(Protocol):\n    def m(self): return '@@'\n"),
    before="old",
    after="new",
    sees="runs the new code",
)
def _(m):
    return type("Mine", (m.P,), {})().m


@GROUP.probe(
    "`functools.singledispatch`, with the user's own and the package's",
    **both("""
    import functools
    @functools.singledispatch
    def f(x): return "@@"
    @f.register
    def _(x: int): return ("int", "@@")
    """),
    before=("old", ("int", "old"), "mine"),
    after=("new", ("int", "new"), "mine"),
    sees="runs the new code, and the user's",
)
def _(m):
    held = m.f
    held.register(list, mine)
    return lambda: (held("a"), held(1), held([]))


def mine(x):
    return "mine"


@GROUP.probe(
    "a dispatch on another type that comes",
    old="import functools\n@functools.singledispatch\ndef f(x): return 'old'\n",
    new="import functools\n@functools.singledispatch\ndef f(x): return 'new'\n@f.register\ndef _(x: int): return 'int'\n",
    before=("old", "old"),
    after=("new", "int"),
    sees="is found, whatever was asked before",
)
def _(m):
    held = m.f
    return lambda: (held("a"), held(1))


@GROUP.probe(
    "`functools.singledispatchmethod`",
    **both("""
    import functools
    class A:
        @functools.singledispatchmethod
        def m(self, x): return "@@"
        @m.register
        def _(self, x: int): return ("int", "@@")
    """),
    before=("old", ("int", "old")),
    after=("new", ("int", "new")),
    sees="runs the new code",
)
def _(m):
    one = m.A()
    return lambda: (one.m("a"), one.m(1))


@GROUP.probe(
    "a generic alias, and an instance made through it",
    **both("import typing\nT = typing.TypeVar('T')\nclass A(typing.Generic[T]):\n    def m(self): return '@@'\n"),
    before=("old", "old", True),
    after=("new", "new", True),
    sees="makes instances of the same class",
)
def _(m):
    alias, one = m.A[int], m.A[int]()
    return lambda: (alias().m(), one.m(), typing.get_origin(alias) is m.A)


@GROUP.probe(
    "a class that gains `Generic`",
    old="class A:\n    kind = 'old'\n",
    new="import typing\nT = typing.TypeVar('T')\nclass A(typing.Generic[T]):\n    kind = 'new'\n",
    before=("old", "-"),
    after=("new", "A[int]"),
    sees="can be subscripted",
)
def _(m):
    kind = m.A
    return lambda: (kind.kind, str(getattr(kind, "__class_getitem__", lambda t: "-")(int)).rpartition(".")[2])


@GROUP.probe(
    "`__class_getitem__`",
    **both("class A:\n    def __class_getitem__(cls, key): return ('@@', key)\n"),
    before=("old", int),
    after=("new", int),
    sees="is the new one",
)
def _(m):
    kind = m.A
    return lambda: kind[int]


@GROUP.probe(
    "`list[A]`, `A | None` and `typing.Optional[A]`",
    **both("class A:\n    kind = '@@'\n"),
    before=["old"] * 3,
    after=["new"] * 3,
    sees="have the same class in them",
)
def _(m):
    held = list[m.A], m.A | None, typing.Optional[m.A]  # noqa: UP045 - the old way is a kind of its own
    return lambda: [typing.get_args(each)[0].kind for each in held if typing.get_args(each)[0] is m.A]


@GROUP.probe(
    "a user's annotations with a class of the package",
    **both("class A:\n    kind = '@@'\n"),
    before=("old", True),
    after=("new", True),
    sees="lead to the same class, as text or not",
)
def _(m):
    def mine(a: m.A, b: "m.A") -> m.A: ...

    def look():
        hints = typing.get_type_hints(mine, localns={"m": m})
        return hints["return"].kind, hints["a"] is hints["b"] is m.A

    return look


@GROUP.probe(
    "a type variable, a new type, an alias of a type",
    old="import typing\nT = typing.TypeVar('T')\nId = typing.NewType('Id', int)\nJson = typing.Union[int, str]\n",
    new="import typing\nT = typing.TypeVar('T')\nId = typing.NewType('Id', str)\nJson = typing.Union[int, str, list]\n",
    before=(int, 2, True),
    after=(str, 3, True),
    sees="the variable is the same one; the new type and the alias are the new version's",
)
def _(m):
    held = m.T
    return lambda: (m.Id.__supertype__, len(typing.get_args(m.Json)), held is m.T)


@GROUP.probe(
    "`functools.wraps` around an abstract method of the package",
    **both("import abc\nclass B(abc.ABC):\n    @property\n    @abc.abstractmethod\n    def p(self): return '@@'\n"),
    before=("mine", "old"),
    after=("mine", "new"),
    sees="`super()` reaches the new one",
)
def _(m):
    class Mine(m.B):
        @property
        def p(self):
            return "mine", super().p

    one = Mine()
    return lambda: one.p


@GROUP.probe(
    "an abstract class made with a plain `ABCMeta`, and its name in `abc.get_cache_token`",
    **both("import abc\nclass B(metaclass=abc.ABCMeta):\n    kind = '@@'\n"),
    before=("old", True),
    after=("new", True),
    sees="is the same class",
)
def _(m):
    kind = m.B
    return lambda: (functools.partial(getattr, kind, "kind")(), type(kind) is abc.ABCMeta)
