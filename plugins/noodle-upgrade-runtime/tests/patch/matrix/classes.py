"""Classes: their names, bases, subclasses, metaclasses."""

import functools
import inspect
import sys

from matrix.probing import Group, both, program

GROUP = Group("Classes")

A = both("""
    class A:
        kind = "@@"
        def m(self): return ("@@", type(self).__name__)
        @classmethod
        def c(cls): return ("@@", cls.__name__)
        @staticmethod
        def s(): return "@@"
    """)


@GROUP.probe(
    "an alias of a class",
    **A,
    before=("old", ("old", "A"), "old"),
    after=("new", ("new", "A"), "new"),
    sees="is the same class, with what the new one has",
)
def _(m):
    held = m.A
    return lambda: (held.kind, held().m(), held.s())


@GROUP.probe(
    "`from package import A as B` in another module",
    **A,
    before=(("old", "A"), True),
    after=(("new", "A"), True),
    sees="is the same class",
)
def _(m):
    return program(m, "import PKG\nfrom PKG import A as B\ndef call(): return B().m(), B is PKG.A\n").call


@GROUP.probe("a bound class method", **A, before=("old", "A"), after=("new", "A"), sees="runs the new code")
def _(m):
    return m.A.c


@GROUP.probe("a static method", **A, before="old", after="new", sees="runs the new code")
def _(m):
    return m.A.s


@GROUP.probe(
    "a method taken from the class", **A, before=("old", "int"), after=("new", "int"), sees="runs the new code"
)
def _(m):
    return functools.partial(m.A.m, 3)


@GROUP.probe(
    "a type as a key of a table",
    **A,
    before=("hit", "old"),
    after=("hit", "new"),
    sees="is found with a new instance",
)
def _(m):
    table = {m.A: "hit"}
    return lambda: (table[type(m.A())], m.A.kind)


@GROUP.probe(
    "a nested class",
    **both("class A:\n    class Inner:\n        def m(self): return '@@'\n"),
    before=("old", "A.Inner", True),
    after=("new", "A.Inner", True),
    sees="is the same class, with the new code",
)
def _(m):
    held, kind = m.A.Inner(), m.A.Inner
    return lambda: (held.m(), kind.__qualname__, kind is m.A.Inner)


@GROUP.probe(
    "a class that a function makes at each call",
    **both("def make():\n    class Local:\n        def m(self): return '@@'\n    return Local\n"),
    before="old",
    after="new",
    sees="its methods run the new code",
)
def _(m):
    return m.make()().m


@GROUP.probe(
    "what a class says of itself",
    old="class A:\n    '''Old.'''\n    x: int\n    __match_args__ = ('x',)\n",
    new="class A:\n    '''New.'''\n    y: str\n    __match_args__ = ('y', 'x')\n",
    before=("Old.", "A", "A", True, ["x"], ("x",)),
    after=("New.", "A", "A", True, ["y"], ("y", "x")),
    sees="`__doc__`, `__annotations__`, `__match_args__` are new; `__name__`, `__qualname__`, `__module__` what they were",
)
def _(m):
    held = m.A

    def look():
        own = inspect.get_annotations(held)
        return (
            held.__doc__,
            held.__name__,
            held.__qualname__,
            held.__module__ == m.__name__,
            list(own),
            held.__match_args__,
        )

    return look


@GROUP.probe(
    "a class attribute that the user has set",
    old="class A:\n    limit = 1\n    kind = 'old'\n",
    new="class A:\n    limit = 1\n    kind = 'new'\n",
    before=(99, "old"),
    after=(99, "new"),
    sees="stays",
)
def _(m):
    m.A.limit = 99
    held = m.A()
    return lambda: (held.limit, held.kind)


@GROUP.probe(
    "a class attribute that the user and the new version have both set",
    old="class A:\n    limit = 1\n",
    new="class A:\n    limit = 2\n",
    refused="The program and the new version both changed PKG.A.limit",
    let_go=False,
)
def _(m):
    m.A.limit = 99
    return lambda: m.A.limit


@GROUP.probe(
    "a method that a user has put in the place of one that changes",
    **A,
    refused="The program and the new version both changed PKG.A.m",
    let_go=False,
)
def _(m):
    m.A.m = lambda self: "mine"
    return m.A().m


@GROUP.probe(
    "a class that is renamed, with an alias for the old name",
    old="class Reader:\n    def m(self): return 'old'\n",
    new="class Loader:\n    def m(self): return 'new'\nReader = Loader\n",
    before=("old", True),
    after=("new", True),
    sees="is the new one under both names",
)
def _(m):
    one, kind = m.Reader(), m.Reader
    return lambda: (one.m(), isinstance(one, m.Reader) and kind is m.Reader)


@GROUP.probe(
    "a class that moves to a submodule",
    old="class A:\n    def m(self): return 'old'\n",
    new="from .sub import A\n",
    files={"sub": ("", "class A:\n    def m(self): return 'new'\n")},
    before=("old", True),
    after=("new", True),
    sees="is the one there",
)
def _(m):
    one = m.A()
    return lambda: (one.m(), isinstance(one, m.A))


@GROUP.probe(
    "a class that is gone",
    old="class Gone:\n    def m(self): return ('old', help())\ndef help(): return 'old'\n",
    new="def help(): return 'new'\n",
    before=("old", "old"),
    after=("old", "new"),
    once=True,
    sees="who has it goes on with it; it calls the new functions",
)
def _(m):
    return m.Gone().m


@GROUP.probe(
    "a class that `sys.modules` and its name lead to",
    **A,
    before=(True, "old"),
    after=(True, "new"),
    sees="is the same class",
)
def _(m):
    held = m.A
    return lambda: (getattr(sys.modules[held.__module__], held.__qualname__) is held, held.kind)


@GROUP.probe(
    "a function of the module that a class has as a method",
    **both("def g(self): return ('@@', self.n)\nclass A:\n    n = 1\n    h = g\n"),
    before=("old", 1),
    after=("new", 1),
    sees="runs the new code",
)
def _(m):
    return m.A().h


@GROUP.probe(
    "a method that a base class gets",
    old="class B: pass\nclass A(B): pass\n",
    new="class B:\n    def hi(self): return 'new'\nclass A(B): pass\n",
    before=None,
    after="new",
    sees="is inherited",
)
def _(m):
    one = m.A()
    return lambda: one.hi() if hasattr(one, "hi") else None


@GROUP.probe(
    "an object that a class binds, when a name of the module leads to another one in the new version",
    old="class Obj:\n    def __init__(self, n): self.n = n\nclass K:\n    X, Y = Obj('x'), Obj('y')\nDEFAULT = K.X\n",
    new="class Obj:\n    def __init__(self, n): self.n = n\nclass K:\n    X, Y = Obj('x'), Obj('y')\nDEFAULT = K.Y\n",
    before=("x", "x", "y"),
    after=("y", "x", "y"),
    sees="is the same one; the name leads to the other",
)
def _(m):
    one, two = m.K.X, m.K.Y
    return lambda: (m.DEFAULT.n, one.n, two.n)
