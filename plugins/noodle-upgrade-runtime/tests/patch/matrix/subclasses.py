"""Bases, subclasses of the user's, metaclasses."""

import types

from matrix.probing import Group, both

GROUP = Group("Subclasses and bases")

A = both("""
    class A:
        def m(self): return ("@@", type(self).__name__)
    """)


@GROUP.probe(
    "`isinstance`, `issubclass` and `type() is`, both directions",
    old="class Base: pass\nclass A(Base): pass\nkind = 'old'\n",
    new="class Base: pass\nclass A(Base): pass\nkind = 'new'\n",
    before=(True, True, True, True, "old"),
    after=(True, True, True, True, "new"),
    sees="are true for what was made before and what is made after",
)
def _(m):
    one, kind, base = m.A(), m.A, m.Base
    return lambda: (isinstance(one, m.A), isinstance(m.A(), kind), issubclass(m.A, base), type(one) is m.A, m.kind)


@GROUP.probe(
    "a user's subclass that overrides and calls `super()`",
    **A,
    before=("mine", ("old", "Mine")),
    after=("mine", ("new", "Mine")),
    sees="reaches the new code",
)
def _(m):
    class Mine(m.A):
        def m(self):
            return "mine", super().m()

    return Mine().m


@GROUP.probe(
    "`super()` with arguments in a function outside of any class",
    old="class Base:\n    def m(self): return 'old'\nclass A(Base):\n    def m(self): return 'not this'\n",
    new="class Base:\n    def m(self): return 'new'\nclass A(Base):\n    def m(self): return 'not this'\n",
    before="old",
    after="new",
    sees="reaches the new code",
)
def _(m):
    one, kind = m.A(), m.A
    return lambda: super(kind, one).m()


@GROUP.probe(
    "a super object that is held",
    old="class Base:\n    def m(self): return 'old'\nclass A(Base):\n    def m(self): return 'not this'\n",
    new="class Base:\n    def m(self): return 'new'\nclass A(Base):\n    def m(self): return 'not this'\n",
    before="old",
    after="new",
    sees="reaches the new code",
)
def _(m):
    above = super(m.A, m.A())
    return lambda: above.m()


@GROUP.probe(
    "a user's class that mixes two of the package's",
    **both("""
    class One:
        def m(self): return ["@@ one"]
    class Two:
        def m(self): return ["@@ two"]
    class Both(One, Two):
        def m(self): return [*One.m(self), *Two.m(self)]
    """),
    before=["old one", "old two"],
    after=["new one", "new two"],
    sees="runs the new code of both",
)
def _(m):
    return type("Mine", (m.Both, m.One), {})().m


@GROUP.probe(
    "cooperative methods through a user's mixed class",
    **both("""
    class Base:
        def m(self): return ["@@ base"]
    class One(Base):
        def m(self): return ["@@ one", *super().m()]
    class Two(Base):
        def m(self): return ["@@ two", *super().m()]
    """),
    before=["old one", "old two", "old base"],
    after=["new one", "new two", "new base"],
    sees="run in the order of the user's class",
)
def _(m):
    return type("Mine", (m.One, m.Two), {})().m


@GROUP.probe(
    "a class with other bases",
    old="class X:\n    def who(self): return 'X'\nclass Y:\n    def who(self): return 'Y'\nclass A(X): pass\n",
    new="class X:\n    def who(self): return 'X'\nclass Y:\n    def who(self): return 'Y'\nclass A(Y): pass\n",
    before=("X", False, ["A", "X", "object"]),
    after=("Y", True, ["A", "Y", "object"]),
    sees="inherits from the new ones",
)
def _(m):
    one = m.A()
    return lambda: (one.who(), isinstance(one, m.Y), [cls.__name__ for cls in type(one).__mro__])


@GROUP.probe(
    "a user's subclass of a class that gets a base",
    old="class A:\n    def m(self): return 'old'\n",
    new="class Mixin:\n    def extra(self): return 'mixed'\nclass A(Mixin):\n    def m(self): return self.extra()\n",
    before=("old", ["Mine", "A", "object"]),
    after=("mixed", ["Mine", "A", "Mixin", "object"]),
    sees="inherits from it too",
)
def _(m):
    one = type("Mine", (m.A,), {})()
    return lambda: (one.m(), [cls.__name__ for cls in type(one).__mro__])


@GROUP.probe(
    "a class that loses a base",
    old="class Mixin:\n    def m(self): return 'old'\nclass A(Mixin): pass\n",
    new="class A:\n    def m(self): return 'new'\n",
    before=("old", True),
    after=("new", False),
    fresh=("new", False),
    sees="does not inherit from it any more",
)
def _(m):
    one = m.A()
    return lambda: (one.m(), "Mixin" in [cls.__name__ for cls in type(one).__mro__])


@GROUP.probe(
    "a class that derives from a built-in type in the new version",
    old="class A: pass\n",
    new="class A(dict): pass\n",
    refused="1 live instance(s) of PKG.A cannot become instances of the new class",
)
def _(m):
    held = m.A()
    return lambda: type(held).__name__


@GROUP.probe(
    "a user's subclass of a class that cannot change in place",
    old="class A: pass\n",
    new="class A(dict): pass\n",
    refused="holds a class that cannot change in place: PKG.A",
    let_go=True,
)
def _(m):
    class Mine(m.A):
        pass

    return lambda: Mine.__name__


@GROUP.probe(
    "a class that nothing holds an instance of and that cannot change in place",
    old="class A:\n    kind = 'old'\n",
    new="class A(dict):\n    kind = 'new'\n",
    before=("old", False),
    after=("new", True),
    sees="whoever holds the class holds the new one",
)
def _(m):
    held = [m.A]
    return lambda: (held[0].kind, issubclass(held[0], dict))


@GROUP.probe(
    "`__init_subclass__`",
    **both("class A:\n    def __init_subclass__(cls, **given): cls.made = ('@@', given)\n"),
    before=(("old", {"n": 1}), ("old", {"n": 2})),
    after=(("old", {"n": 1}), ("new", {"n": 2})),
    fresh=(("new", {"n": 1}), ("new", {"n": 2})),
    later=(("new", {"n": 1}), ("old", {"n": 2})),
    sees="the new one is asked for new subclasses; what it gave to earlier ones stays",
    back="the old one is asked",
)
def _(m):
    before = types.new_class("S", (m.A,), {"n": 1})
    return lambda: (before.made, types.new_class("S", (m.A,), {"n": 2}).made)


@GROUP.probe(
    "a registry of subclasses that `__init_subclass__` fills",
    old="class A:\n    known = {}\n    def __init_subclass__(cls): A.known[cls.__name__] = ('old', cls)\nclass Own(A): pass\n",
    new="class A:\n    known = {}\n    def __init_subclass__(cls): A.known[cls.__name__] = ('new', cls)\nclass Own(A): pass\nclass Other(A): pass\n",
    before=(["Mine", "Own"], True, True),
    after=(["Mine", "Other", "Own"], True, True),
    sees="has the user's, and the new version's own",
)
def _(m):
    mine = m.A.known.get("Mine", (0, 0))[1] or type("Mine", (m.A,), {})
    return lambda: (sorted(m.A.known), m.A.known["Mine"][1] is mine, m.A.known["Own"][1] is m.Own)


@GROUP.probe(
    "`__subclasses__()`",
    old="class A: pass\nclass B(A): pass\n",
    new="class A: pass\nclass B(A): pass\nclass C(A): pass\n",
    before=["B", "Mine"],
    after=["B", "C", "Mine"],
    sees="names each class once, the user's too",
)
def _(m):
    mine = [one for one in m.A.__subclasses__() if one.__name__ == "Mine"] or [type("Mine", (m.A,), {})]
    return lambda: (mine and None) or sorted(one.__name__ for one in m.A.__subclasses__())


@GROUP.probe(
    "a metaclass: its methods, `__call__` and attributes",
    **both("""
    class Meta(type):
        mark = "@@"
        def hello(cls): return ("@@", cls.__name__)
        def __call__(cls): return ("@@ made", super().__call__())
        def __len__(cls): return len("@@ long") if "@@" == "old" else 1
    class A(metaclass=Meta):
        def __repr__(self): return "@@"
    """),
    before=(("old", "A"), "old made", "old", 8, "old"),
    after=(("new", "A"), "new made", "new", 1, "new"),
    sees="is the same metaclass, with the new code",
)
def _(m):
    held = m.A
    return lambda: (held.hello(), held()[0], repr(held()[1]), len(held), held.mark)


@GROUP.probe(
    "a class that gets a metaclass",
    old="class A:\n    kind = 'old'\n",
    new="class Meta(type):\n    def hello(cls): return 'hello'\nclass A(metaclass=Meta):\n    kind = 'new'\n",
    before=("old", False),
    after=("new", True),
    sees="is replaced, and whoever holds it holds the new one",
)
def _(m):
    held = {"A": m.A}
    return lambda: (held["A"].kind, hasattr(held["A"], "hello"))
