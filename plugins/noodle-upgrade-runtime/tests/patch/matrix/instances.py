"""Instances that live: their methods, fields, operators."""

import functools
import operator

from matrix.probing import Group, both

GROUP = Group("Instances")

A = both("""
    class A:
        def __init__(self): self.n = 1
        def m(self): return ("@@", self.n)
        def __call__(self): return "@@"
    """)


@GROUP.probe("a bound method", **A, before=("old", 1), after=("new", 1), sees="runs the new code on the same instance")
def _(m):
    return m.A().m


@GROUP.probe(
    "a bound method in a table of callbacks", **A, before=("old", 1), after=("new", 1), sees="runs the new code"
)
def _(m):
    table = {"event": [m.A().m]}
    return lambda: table["event"][0]()


@GROUP.probe(
    "`operator.methodcaller` and an instance", **A, before=("old", 1), after=("new", 1), sees="runs the new code"
)
def _(m):
    one, call = m.A(), operator.methodcaller("m")
    return lambda: call(one)


@GROUP.probe("a callable instance", **A, before="old", after="new", sees="runs the new code")
def _(m):
    return m.A()


@GROUP.probe(
    "a callable instance that stops being one",
    old="class A:\n    def __call__(self): return 'old'\n",
    new="class A: pass\n",
    before=(True, "old"),
    after=(False, None),
    sees="is none any more: a call raises `TypeError`",
)
def _(m):
    one = m.A()
    return lambda: (callable(one), one() if callable(one) else None)


@GROUP.probe(
    "operators",
    **both("""
    class A:
        def __add__(self, o): return ("@@", "add")
        def __radd__(self, o): return ("@@", "radd")
        def __lt__(self, o): return "@@"
        def __getitem__(self, k): return ("@@", k)
        def __contains__(self, k): return k == "@@"
        def __iter__(self): return iter(["@@"])
        def __bool__(self): return "@@" == "old"
        def __enter__(self): return "@@"
        def __exit__(self, *e): return None
        def __str__(self): return "@@"
        def __format__(self, s): return "@@" + s
        def __getattr__(self, n): return ("@@", n)
    """),
    before=[("old", "add"), ("old", "radd"), "old", ("old", 1), True, ["old"], True, "old", "old!", ("old", "any")],
    after=[("new", "add"), ("new", "radd"), "new", ("new", 1), False, ["new"], False, "new", "new!", ("new", "any")],
    sees="are the new ones",
)
def _(m):
    a = m.A()
    return lambda: [a + 1, 1 + a, a < 1, a[1], "old" in a, list(a), bool(a), str(a), f"{a:!}", a.any]


@GROUP.probe(
    "operators that come and go",
    old="class A:\n    def __len__(self): return 1\n",
    new="class A:\n    def __iter__(self): return iter('new')\n    def __eq__(self, o): return True\n    __hash__ = None\n",
    before=(True, False, False, True),
    after=(False, True, True, False),
    sees="are there or not as in the new version",
)
def _(m):
    a = m.A()
    kind = type(a)

    def hashable():
        try:
            return bool(hash(a)) or True
        except TypeError:
            return False

    return lambda: (hasattr(kind, "__len__"), hasattr(kind, "__iter__"), a == 5, hashable())


@GROUP.probe(
    "instances as keys of a dict, of which `__eq__` changes and the hash does not",
    old="class K:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return 1\n    def __eq__(self, o): return self.n == o.n\n",
    new="class K:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return 1\n    def __eq__(self, o): return abs(self.n) == abs(o.n)\n",
    before=(True, False),
    after=(True, True),
    sees="are found by the new rule",
)
def _(m):
    table = {m.K(1): "one"}
    return lambda: (m.K(1) in table, m.K(-1) in table)


@GROUP.probe(
    "instances as keys of a dict, of which the hash changes",
    old="class K:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return hash(self.n)\n    def __eq__(self, o): return self.n == o.n\n",
    new="class K:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return hash((self.n, 'new'))\n    def __eq__(self, o): return self.n == o.n\n",
    before=(True, False),
    refused="are keys of tables, which would not find them",
)
def _(m):
    key = m.K(1)
    table = {key: "one"}
    return lambda: (key in table and m.K(1) in table, hash(key) == hash((1, "new")))


@GROUP.probe(
    "a field that the new constructor sets to a constant",
    old="class A:\n    def __init__(self): self.n = 1\n    def m(self): return ('old', self.n)\n",
    new="class A:\n    def __init__(self):\n        self.n = 1\n        self.extra = []\n    def m(self): return ('new', self.n, self.extra)\n",
    before=("old", 1, {"n": 1}),
    after=("new", 1, [], {"n": 1, "extra": []}),
    later=("old", 1, {"n": 1, "extra": []}),
    sees="is there on instances that live, each with its own",
    back="is gone from those that lived before; those made since keep it, unused",
)
def _(m):
    a, b = m.A(), m.A()

    def look():
        seen = (*a.m(), *(b.m() and ()))
        assert seen[0] == "old" or a.extra is not b.extra
        return (*seen, dict(vars(a)))

    return look


@GROUP.probe(
    "a field that the new constructor computes from another one",
    old="class A:\n    def __init__(self, name): self.name = name\n    def m(self): return self.name\n",
    new="class A:\n    def __init__(self, name):\n        self.name = name\n        self.loud = self.name.upper()\n    def m(self): return self.loud\n",
    before="ann",
    after="ANN",
    sees="is computed for instances that live",
)
def _(m):
    return m.A("ann").m


@GROUP.probe(
    "a field that only a new argument of the constructor gives",
    old="class A:\n    def __init__(self, name): self.name = name\n    def m(self): return self.name\n",
    new="class A:\n    def __init__(self, name, unit):\n        self.name = name\n        self.unit = unit\n    def m(self): return self.unit\n",
    refused="1 live instance(s) of PKG.A would lack unit (it needs the argument unit)",
)
def _(m):
    return m.A("ann").m


@GROUP.probe(
    "a field that the user has put on an instance",
    **A,
    before=(("old", 1), "mine"),
    after=(("new", 1), "mine"),
    sees="stays",
)
def _(m):
    one = m.A()
    one.mine = "mine"
    return lambda: (one.m(), one.mine)


@GROUP.probe(
    "a method that the user has put on an instance",
    **A,
    before=("mine", "old"),
    after=("mine", "new"),
    sees="stays",
)
def _(m):
    one = m.A()
    one.m = lambda: "mine"
    return lambda: (one.m(), one())


@GROUP.probe(
    "a method that becomes a property",
    old="class A:\n    def size(self): return 'old'\n",
    new="class A:\n    @property\n    def size(self): return 'new'\n",
    before="old",
    after="new",
    sees="is the property on instances that live",
)
def _(m):
    one = m.A()
    return lambda: one.size() if callable(one.size) else one.size


@GROUP.probe(
    "a field that becomes a property",
    old="class A:\n    def __init__(self): self.size = 'old'\n",
    new="class A:\n    def __init__(self): self._size = 'new'\n    @property\n    def size(self): return self._size\n",
    before=("old", "old"),
    after=("new", "new"),
    sees="is the property, of which the field is there",
)
def _(m):
    one = m.A()
    return lambda: (one.size, m.A().size)


@GROUP.probe(
    "`__getattr__`, `__getattribute__` and `__setattr__` that come",
    old="class A:\n    def __init__(self): self.n = 1\n",
    new="class A:\n    def __init__(self): self.n = 1\n    def __getattr__(self, name): return ('got', name)\n"
    "    def __setattr__(self, name, value): object.__setattr__(self, name, value)\n",
    before=(1, None),
    after=(1, ("got", "missing")),
    sees="are asked for instances that live",
)
def _(m):
    one = m.A()
    return lambda: (one.n, getattr(one, "missing", None))


@GROUP.probe(
    "an instance that the module binds",
    old="class C:\n    def __init__(self, n): self.n = n\n    def m(self): return ('old', self.n)\nc = C(1)\n",
    new="class C:\n    def __init__(self, n): self.n = n\n    def m(self): return ('new', self.n)\nc = C(2)\n",
    before=(("old", 1), True),
    after=(("new", 2), True),
    sees="is the same one, with the new version's contents",
)
def _(m):
    one = m.c
    return lambda: (one.m(), one is m.c)


@GROUP.probe(
    "a bound method that the module exports",
    **both("class C:\n    def m(self): return '@@'\n_c = C()\nm = _c.m\n"),
    before="old",
    after="new",
    sees="runs the new code",
)
def _(m):
    return m.m


@GROUP.probe(
    "a partial of a method that an instance keeps",
    **both(
        "import functools\nclass C:\n    def __init__(self): self.call = functools.partial(self.m, 1)\n    def m(self, n): return ('@@', n)\n"
    ),
    before=("old", 1),
    after=("new", 1),
    sees="runs the new code",
)
def _(m):
    one = m.C()
    return lambda: one.call()


@GROUP.probe(
    "a sorted container of instances",
    **both(
        "class A:\n    def __init__(self, n): self.n = n\n    def __lt__(self, o): return self.n < o.n if '@@' == 'old' else self.n > o.n\n"
    ),
    before=[1, 2],
    after=[2, 1],
    sees="is sorted by the new rule when it is sorted again",
)
def _(m):
    held = [m.A(1), m.A(2)]
    return lambda: [each.n for each in sorted(held)]


@GROUP.probe(
    "`functools.total_ordering` and `functools.partialmethod`",
    **both("""
    import functools
    @functools.total_ordering
    class A:
        def __init__(self, n): self.n = n
        def __eq__(self, o): return self.n == o.n
        def __lt__(self, o): return self.n < o.n if "@@" == "old" else self.n > o.n
        def m(self, a, b): return ("@@", a, b)
        p = functools.partialmethod(m, "@@ bound")
    """),
    before=(True, ("old", "old bound", 2)),
    after=(False, ("new", "new bound", 2)),
    sees="follow",
)
def _(m):
    one, two = m.A(1), m.A(2)
    return lambda: (one <= two, functools.partial(one.p, 2)())
