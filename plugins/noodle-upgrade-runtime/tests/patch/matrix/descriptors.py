"""Descriptors and properties."""

import functools
import inspect

from matrix.probing import Group, both

GROUP = Group("Descriptors and properties")

P = both("""
    class A:
        def __init__(self): self._p = 1
        @property
        def p(self): return ("@@", self._p)
        @p.setter
        def p(self, value): self._p = ("@@ set", value)
    """)


@GROUP.probe("a property of an instance", **P, before=("old", 1), after=("new", 1), sees="is the new one")
def _(m):
    one = m.A()
    return lambda: one.p


@GROUP.probe(
    "the property object itself",
    **P,
    before=(("old", 1), True),
    after=(("new", 1), True),
    sees="is the same object, with the new functions",
)
def _(m):
    held, one = m.A.p, m.A()
    return lambda: (held.__get__(one), held is m.A.p)


@GROUP.probe(
    "a property's setter",
    **P,
    before=("old", ("old set", 5)),
    after=("new", ("new set", 5)),
    sees="is the new one",
)
def _(m):
    one = m.A()

    def look():
        one.p = 5
        return one.p

    return look


@GROUP.probe(
    "a property that a user's subclass extends",
    **both("class A:\n    @property\n    def p(self): return '@@'\n"),
    before=("mine", "old"),
    after=("mine", "new"),
    sees="reaches the new one",
)
def _(m):
    class Mine(m.A):
        @property
        def p(self):
            return "mine", super().p

    one = Mine()
    return lambda: one.p


@GROUP.probe(
    "a property that becomes a method",
    old="class A:\n    @property\n    def p(self): return 'old'\n",
    new="class A:\n    def p(self): return 'new'\n",
    before="old",
    after="new",
    sees="is the method on instances that live",
)
def _(m):
    one = m.A()
    return lambda: one.p() if callable(one.p) else one.p


@GROUP.probe(
    "a property that becomes a cached one",
    old="class A:\n    n = 0\n    @property\n    def p(self): return 'old'\n",
    new="import functools\nclass A:\n    n = 0\n    @functools.cached_property\n    def p(self):\n        self.n += 1\n        return ('new', self.n)\n",
    before="old",
    after=("new", 1),
    sees="is computed once",
)
def _(m):
    one = m.A()
    return lambda: (one.p, one.p)[1]


@GROUP.probe(
    "a cached property that becomes a plain one",
    old="import functools\nclass A:\n    @functools.cached_property\n    def p(self): return 'old'\n",
    new="class A:\n    @property\n    def p(self): return 'new'\n",
    before="old",
    after="new",
    sees="is computed by the new one, whatever was cached",
)
def _(m):
    one = m.A()
    return lambda: one.p


@GROUP.probe(
    "a cached property that nobody has read yet",
    **both("import functools\nclass A:\n    @functools.cached_property\n    def p(self): return '@@'\n"),
    before="old",
    after="new",
    later="old",
    sees="is computed by the new code",
)
def _(m):
    kind = m.A
    return lambda: kind().p


@GROUP.probe(
    "a cached property that was read before",
    **both("import functools\nclass A:\n    @functools.cached_property\n    def p(self): return '@@'\n"),
    before=("old", "old"),
    after=("old", "new"),
    fresh=("new", "new"),
    later=("new", "old"),
    sees="keeps what it had on that instance: it is a field of it like any other",
    back="keeps what it had",
)
def _(m):
    one = m.A()
    one.p  # noqa: B018 - reading it is what caches it
    return lambda: (one.p, m.A().p)


@GROUP.probe(
    "a descriptor with `__get__`, `__set__`, `__set_name__`",
    **both("""
    class Field:
        def __set_name__(self, owner, name): self.name = "@@ " + name
        def __get__(self, one, owner): return ("@@", self.name, vars(one).get("raw") if one else None)
        def __set__(self, one, value): vars(one)["raw"] = ("@@", value)
    class A:
        f = Field()
    """),
    before=("old", "old f", ("old", 1)),
    after=("new", "new f", ("new", 1)),
    sees="is the new one, under the name that it was given",
)
def _(m):
    one = m.A()

    def look():
        one.f = 1
        return one.f

    return look


@GROUP.probe(
    "the package's descriptor in a user's class",
    **both(
        "class Field:\n    def __set_name__(self, owner, name): self.name = name\n    def __get__(self, one, owner): return ('@@', self.name)\n"
    ),
    before=("old", "mine"),
    after=("new", "mine"),
    sees="runs the new code",
)
def _(m):
    one = type("Mine", (), {"mine": m.Field()})()
    return lambda: one.mine


@GROUP.probe(
    "a descriptor that becomes a data descriptor",
    old="class Field:\n    def __get__(self, one, owner): return 'old'\nclass A:\n    f = Field()\n",
    new="class Field:\n    def __get__(self, one, owner): return 'new'\n    def __set__(self, one, value): raise AttributeError\nclass A:\n    f = Field()\n",
    before=("old", "mine"),
    after=("new", "new"),
    sees="wins over the field of an instance that lives",
)
def _(m):
    one, two = m.A(), m.A()
    vars(two)["f"] = "mine"
    return lambda: (one.f, two.f)


@GROUP.probe(
    "a static method that becomes a class method",
    old="class A:\n    @staticmethod\n    def f(): return 'old'\n",
    new="class A:\n    @classmethod\n    def f(cls): return ('new', cls.__name__)\n",
    before=("old", "old"),
    after=(("new", "A"), "old"),
    fresh=(("new", "A"), ("new", "A")),
    later=("old", ("new", "A")),
    told="PKG.A.f is another object: who holds the old one goes on with it",
    sees="is the class method; who took the function off the class goes on with that, and the plan says so",
    back="is the static method; who took the other one goes on with that",
)
def _(m):
    one, held = m.A(), m.A.f
    return lambda: (one.f(), held())


@GROUP.probe(
    "a method that becomes a static one",
    old="class A:\n    def f(self): return 'old'\n",
    new="class A:\n    @staticmethod\n    def f(): return 'new'\n",
    before="old",
    after="new",
    sees="is called without the instance",
)
def _(m):
    one = m.A()
    return lambda: one.f()


@GROUP.probe(
    "a bound method of a method that becomes a static one",
    old="class A:\n    def f(self): return 'old'\n",
    new="class A:\n    @staticmethod\n    def f(): return 'new'\n",
    before=("old", "old"),
    after=("old", "new"),
    fresh=("new", "new"),
    later=("new", "old"),
    told="PKG.A.f is another object: who holds the old one goes on with it",
    sees="goes on in its old code, and the plan says so; taken anew it is the static one",
    back="each goes on with what it is",
)
def _(m):
    held = m.A().f
    return lambda: (held(), m.A().f())


@GROUP.probe(
    "a class method that becomes a plain one",
    old="class A:\n    @classmethod\n    def f(cls): return ('old', cls.__name__)\n",
    new="class A:\n    def f(self): return ('new', type(self).__name__)\n",
    before=("old", "A"),
    after=("new", "A"),
    sees="is called with the instance",
)
def _(m):
    one = m.A()
    return lambda: one.f()


@GROUP.probe(
    "`inspect.getattr_static` and a method's `__wrapped__`",
    **both(
        "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def wrapper(self): return ('@@ deco', f(self))\n    return wrapper\nclass A:\n    @deco\n    def m(self): return '@@'\n"
    ),
    before=(("old deco", "old"), "old"),
    after=(("new deco", "new"), "new"),
    sees="lead to the new ones",
)
def _(m):
    held, one = inspect.getattr_static(m.A, "m"), m.A()
    return lambda: (held(one), functools.partial(held.__wrapped__, one)())
