"""Slots, which decide the layout of instances."""

from matrix.probing import Group, both

GROUP = Group("Slots")

S = both(
    "class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n    def m(self): return ('@@', self.a)\n"
)


@GROUP.probe("an instance with slots", **S, before=("old", 1), after=("new", 1), sees="runs the new code on its slots")
def _(m):
    return m.S().m


@GROUP.probe(
    "the descriptor of a slot",
    **S,
    before=(1, True, ("old", 1)),
    after=(1, True, ("new", 1)),
    sees="is the same, and reads old and new instances",
)
def _(m):
    held, one = m.S.a, m.S()
    return lambda: (held.__get__(one), held is m.S.a, m.S().m())


@GROUP.probe(
    "a slot that comes, with instances that live",
    old="class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n",
    new="class S:\n    __slots__ = ('a', 'b')\n    def __init__(self): self.a, self.b = 1, 2\n",
    refused="1 live instance(s) of PKG.S cannot become instances of the new class (it gains the slots b and its layout is fixed",
)
def _(m):
    one = m.S()
    return lambda: one.a


@GROUP.probe(
    "a slot that comes, with no instance",
    old="class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n",
    new="class S:\n    __slots__ = ('a', 'b')\n    def __init__(self): self.a, self.b = 1, 2\n",
    before=["a"],
    after=["a", "b"],
    later=["a"],
    sees="is there; whoever holds the class holds the new one",
)
def _(m):
    return lambda: [name for name in ("a", "b") if hasattr(m.S(), name)]


@GROUP.probe(
    "a slot that goes, with instances that live",
    old="class S:\n    __slots__ = ('a', 'b')\n    def __init__(self): self.a, self.b = 1, 2\n",
    new="class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n    def m(self): return 'new'\n",
    before=(1, False),
    after=(1, True),
    sees="the instances keep it, unused",
)
def _(m):
    one = m.S()
    return lambda: (one.a, hasattr(one, "m"))


@GROUP.probe(
    "slots in another order",
    old="class S:\n    __slots__ = ('a', 'b')\n    def __init__(self): self.a, self.b = 'a', 'b'\n    def m(self): return ('old', self.a, self.b)\n",
    new="class S:\n    __slots__ = ('b', 'a')\n    def __init__(self): self.a, self.b = 'a', 'b'\n    def m(self): return ('new', self.a, self.b)\n",
    before=("old", "a", "b"),
    after=("new", "a", "b"),
    sees="each has its own value",
)
def _(m):
    return m.S().m


@GROUP.probe(
    "a class that gets slots, with instances that live",
    old="class S:\n    def __init__(self): self.a = 1\n    def m(self): return ('old', self.a)\n",
    new="class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n    def m(self): return ('new', self.a)\n",
    before=("old", 1),
    after=("new", 1),
    told="keep a __dict__",
    sees="they keep their `__dict__`; the plan says so",
)
def _(m):
    return m.S().m


@GROUP.probe(
    "a class that loses its slots, with instances that live",
    old="class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n",
    new="class S:\n    def __init__(self): self.a = 1\n",
    refused="1 live instance(s) of PKG.S cannot become instances of the new class (its instances gain a __dict__ and their layout is fixed",
)
def _(m):
    one = m.S()
    return lambda: one.a


@GROUP.probe(
    "a user's subclass of a class that gets a slot",
    old="class S:\n    __slots__ = ('a',)\n",
    new="class S:\n    __slots__ = ('a', 'b')\n",
    refused="holds a class that cannot change in place: PKG.S (it gains the slots b and its layout is fixed)",
)
def _(m):
    mine = type("Mine", (m.S,), {})
    return lambda: mine.__name__


@GROUP.probe(
    "a slot that becomes a property, with instances that live",
    old="class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1\n",
    new="class S:\n    __slots__ = ('_a',)\n    def __init__(self): self._a = 2\n    @property\n    def a(self): return self._a\n",
    before=(1, 1, True),
    after=(1, 2, False),
    fresh=(2, 2, True),
    since="an instance that was made since stays one of the new class",
    told="stay instances of the old class",
    sees="they stay instances of the old class, and work; the plan says so",
)
def _(m):
    one = m.S()
    return lambda: (one.a, m.S().a, isinstance(one, m.S))


@GROUP.probe(
    "`__slots__` with a weak reference that comes",
    old="class S:\n    __slots__ = ('a',)\n",
    new="class S:\n    __slots__ = ('a', '__weakref__')\n",
    before=(False, True),
    after=(True, False),
    fresh=(True, True),
    since="an instance that was made since stays one of the new class",
    told="stay instances of the old class",
    sees="instances that live stay instances of the old class; the plan says so",
)
def _(m):
    one = m.S()
    return lambda: (hasattr(m.S(), "__weakref__"), isinstance(one, m.S))
