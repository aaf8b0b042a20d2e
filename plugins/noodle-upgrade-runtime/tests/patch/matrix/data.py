"""Classes that are generated from their fields, and their instances."""

import copy
import dataclasses
import pickle

import attrs

from matrix.probing import Group, both

GROUP = Group("Dataclasses, attrs, named tuples, typed dicts")


@GROUP.probe(
    "a dataclass that gets a field with a default",
    old="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n",
    new="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n    b: int = 5\n",
    before=("D(a=2)", True, ["a"]),
    after=("D(a=2, b=5)", True, ["a", "b"]),
    sees="instances that live have it; `repr`, `==` and `fields` are new",
)
def _(m):
    one = m.D(2)
    return lambda: (repr(one), one == m.D(2), [field.name for field in dataclasses.fields(one)])


@GROUP.probe(
    "a dataclass that gets a field with a factory",
    old="from dataclasses import dataclass, field\n@dataclass\nclass D:\n    a: int = 1\n",
    new="from dataclasses import dataclass, field\n@dataclass\nclass D:\n    a: int = 1\n    b: list = field(default_factory=list)\n",
    before=("D(a=2)", {"a": 2}),
    after=("D(a=2, b=[])", {"a": 2, "b": []}),
    sees="instances that live get one each",
)
def _(m):
    one = m.D(2)
    return lambda: (repr(one), dataclasses.asdict(one))


@GROUP.probe(
    "a dataclass that gets a field without a default",
    old="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int\n",
    new="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int\n    b: int\n",
    refused="1 live instance(s) of PKG.D would lack b (it has no default)",
)
def _(m):
    one = m.D(2)
    return lambda: repr(one)


@GROUP.probe(
    "a dataclass that loses a field",
    old="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n    b: int = 2\n",
    new="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n",
    before=("D(a=3, b=2)", True),
    after=("D(a=3)", True),
    sees="instances keep it, unused; `repr` and `==` leave it out",
)
def _(m):
    one = m.D(3)
    return lambda: (repr(one), one == m.D(3))


@GROUP.probe(
    "a frozen dataclass, in a set and as a key",
    old="from dataclasses import dataclass\n@dataclass(frozen=True)\nclass D:\n    a: int\n    def m(self): return ('old', self.a)\n",
    new="from dataclasses import dataclass\n@dataclass(frozen=True)\nclass D:\n    a: int\n    def m(self): return ('new', self.a)\n",
    before=(("old", 2), True, True),
    after=(("new", 2), True, True),
    sees="is found there, and runs the new code",
)
def _(m):
    one = m.D(2)
    kept, table = {one}, {one: 1}
    return lambda: (one.m(), m.D(2) in kept, m.D(2) in table)


@GROUP.probe(
    "a frozen dataclass with a field that comes, in a set",
    old="from dataclasses import dataclass\n@dataclass(frozen=True)\nclass D:\n    a: int\n",
    new="from dataclasses import dataclass\n@dataclass(frozen=True)\nclass D:\n    a: int\n    b: int = 5\n",
    before=("D(a=2)", True, True),
    refused="are keys of tables, which would not find them",
)
def _(m):
    one = m.D(2)
    kept = {one}
    return lambda: (repr(one), one in kept, m.D(2) in kept)


@GROUP.probe(
    "a dataclass with slots",
    old="from dataclasses import dataclass\n@dataclass(slots=True)\nclass D:\n    a: int\n    def m(self): return ('old', self.a)\n",
    new="from dataclasses import dataclass\n@dataclass(slots=True)\nclass D:\n    a: int\n    def m(self): return ('new', self.a)\n",
    before=(("old", 2), True),
    after=(("new", 2), True),
    sees="runs the new code",
)
def _(m):
    one, kind = m.D(2), m.D
    return lambda: (one.m(), kind is m.D and isinstance(one, kind))


@GROUP.probe(
    "a dataclass with slots that gets a field, with instances that live",
    old="from dataclasses import dataclass\n@dataclass(slots=True)\nclass D:\n    a: int\n",
    new="from dataclasses import dataclass\n@dataclass(slots=True)\nclass D:\n    a: int\n    b: int = 5\n",
    refused="1 live instance(s) of PKG.D cannot become instances of the new class (it gains the slots b and its layout is fixed",
)
def _(m):
    one = m.D(2)
    return lambda: repr(one)


@GROUP.probe(
    "a dataclass whose order or equality changes",
    old="from dataclasses import dataclass, field\n@dataclass\nclass D:\n    a: int\n    b: int = 0\n",
    new="from dataclasses import dataclass, field\n@dataclass(order=True)\nclass D:\n    a: int\n    b: int = field(default=0, compare=False)\n",
    before=(False, False),
    after=(True, True),
    sees="is compared by the new rule",
)
def _(m):
    one, two = m.D(1, 1), m.D(1, 2)
    return lambda: (one == two, "__lt__" in vars(type(one)) and one < m.D(2))


@GROUP.probe(
    "a user's dataclass that derives from the package's",
    old="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n    def m(self): return ('old', self.a)\n",
    new="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n    def m(self): return ('new', self.a)\n",
    before=(("old", 4), "Mine(a=4, mine=9)"),
    after=(("new", 4), "Mine(a=4, mine=9)"),
    sees="runs the new code",
)
def _(m):
    @dataclasses.dataclass
    class Mine(m.D):
        mine: int = 9

    one = Mine(4)
    return lambda: (one.m(), repr(one).rpartition(".")[2])


@GROUP.probe(
    "`dataclasses.replace`, a copy and a pickle of one",
    old="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n",
    new="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n    b: int = 5\n",
    before=["D(a=3)", "D(a=2)", "D(a=2)"],
    after=["D(a=3, b=5)", "D(a=2, b=5)", "D(a=2, b=5)"],
    sees="have the new fields",
)
def _(m):
    one = m.D(2)
    return lambda: [repr(dataclasses.replace(one, a=3)), repr(copy.copy(one)), repr(pickle.loads(pickle.dumps(one)))]


@GROUP.probe(
    "a pickle of a dataclass that was made before a field came",
    old="from dataclasses import dataclass, field\n@dataclass\nclass D:\n    a: int = 1\n",
    new="from dataclasses import dataclass, field\n@dataclass\nclass D:\n    a: int = 1\n    b: int = 5\n",
    before="D(a=2)",
    after="D(a=2, b=5)",
    sees="is loaded with the default that the class has",
)
def _(m):
    data = pickle.dumps(m.D(2))
    return lambda: repr(pickle.loads(data))


@GROUP.probe(
    "`InitVar`, `ClassVar` and `__post_init__`",
    **both("""
    from dataclasses import dataclass, InitVar
    from typing import ClassVar
    @dataclass
    class D:
        n: InitVar[int]
        kind: ClassVar[str] = "@@"
        made: object = None
        def __post_init__(self, n): self.made = ("@@", n)
    """),
    before=("old", ("old", 3)),
    after=("new", ("new", 3)),
    sees="are the new ones for what is made from then on",
)
def _(m):
    kind = m.D
    return lambda: (kind.kind, kind(3).made)


@GROUP.probe(
    "an attrs class that gets a field",
    old="import attrs\n@attrs.define(slots=False)\nclass D:\n    a = attrs.field(default=1)\n",
    new="import attrs\n@attrs.define(slots=False)\nclass D:\n    a = attrs.field(default=1)\n    b = attrs.field(factory=list)\n",
    before=("D(a=2)", True, ["a"]),
    after=("D(a=2, b=[])", True, ["a", "b"]),
    sees="instances that live have it; `repr`, `==` and `attrs.fields` are new",
)
def _(m):
    one = m.D(2)
    return lambda: (repr(one), one == m.D(2), [field.name for field in attrs.fields(type(one))])


@GROUP.probe(
    "an attrs class with slots, its validators and converters",
    **both("""
    import attrs
    @attrs.define
    class D:
        a = attrs.field(converter=lambda value: ("@@", value))
        @a.validator
        def _check(self, attribute, value):
            if value[1] == "bad": raise ValueError("@@")
        def m(self): return ("@@", self.a)
    """),
    before=("old", ("old", 3), "old"),
    after=("new", ("new", 3), "new"),
    sees="are the new ones, also when a field is set",
)
def _(m):
    one = m.D(0)

    def look():
        one.a = 3
        try:
            one.a = "bad"
        except ValueError as error:
            return one.m()[0], one.a, str(error)

    return look


@GROUP.probe(
    "an attrs class with slots that gets a field, with instances that live",
    old="import attrs\n@attrs.define\nclass D:\n    a = attrs.field(default=1)\n",
    new="import attrs\n@attrs.define\nclass D:\n    a = attrs.field(default=1)\n    b = attrs.field(default=2)\n",
    refused="1 live instance(s) of PKG.D cannot become instances of the new class (it gains the slots b and its layout is fixed",
)
def _(m):
    one = m.D(2)
    return lambda: repr(one)


@GROUP.probe(
    "a frozen attrs class and `attrs.evolve`",
    old="import attrs\n@attrs.frozen\nclass D:\n    a = attrs.field(default=1)\n    def m(self): return ('old', self.a)\n",
    new="import attrs\n@attrs.frozen\nclass D:\n    a = attrs.field(default=1)\n    def m(self): return ('new', self.a)\n",
    before=(("old", 2), ("old", 3), True),
    after=(("new", 2), ("new", 3), True),
    sees="follow",
)
def _(m):
    one = m.D(2)
    kept = {one}
    return lambda: (one.m(), attrs.evolve(one, a=3).m(), m.D(2) in kept)


@GROUP.probe(
    "a `NamedTuple` with a method",
    **both(
        "from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\n    def m(self): return ('@@', self.a)\n"
    ),
    before=(("old", 1), True, "N(a=1)"),
    after=(("new", 1), True, "N(a=1)"),
    sees="runs the new code",
)
def _(m):
    one = m.N()
    return lambda: (one.m(), one == m.N(1) == (1,), repr(one))


@GROUP.probe(
    "a `NamedTuple` that gets a field, with instances that live",
    old="from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\n",
    new="from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\n    b: int = 2\n",
    refused="1 live instance(s) of PKG.N cannot become instances of the new class (its instances are tuples, whose fields go by their places",
)
def _(m):
    one = m.N()
    return lambda: repr(one)


@GROUP.probe(
    "a `NamedTuple` that gets a field, with no instance",
    old="from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\n",
    new="from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\n    b: int = 2\n",
    before=("N(a=1)", ("a",)),
    after=("N(a=1, b=2)", ("a", "b")),
    sees="whoever has the class makes the new ones",
)
def _(m):
    kind = m.N
    return lambda: (repr(kind()), kind._fields)


@GROUP.probe(
    "a `collections.namedtuple` whose fields are in another order, with instances that live",
    old="import collections\nN = collections.namedtuple('N', 'a b')\n",
    new="import collections\nN = collections.namedtuple('N', 'b a')\n",
    before=(1, ("a", "b"), True),
    after=(1, ("b", "a"), False),
    fresh=(2, ("b", "a"), True),
    since="an instance that was made since stays one of the new class",
    told="stay instances of the old class",
    sees="they stay instances of the old class, each field with its value; the plan says so",
)
def _(m):
    one = m.N(1, 2)
    return lambda: (one.a, m.N._fields, isinstance(one, m.N))


@GROUP.probe(
    "a `TypedDict`",
    old="from typing import TypedDict\nclass T(TypedDict):\n    a: int\n",
    new="from typing import TypedDict\nclass T(TypedDict, total=False):\n    a: int\n    b: str\n",
    before=(["a"], True, {"a": 1}),
    after=(["a", "b"], False, {"a": 1}),
    sees="has the new keys; its values are dicts, as ever",
)
def _(m):
    kind = m.T
    one = kind(a=1)
    return lambda: (list(kind.__annotations__), kind.__total__, one)


@GROUP.probe(
    "pattern matching by `__match_args__`",
    old="from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\n    b: int = 2\n",
    new="from dataclasses import dataclass\n@dataclass\nclass D:\n    b: int = 2\n    a: int = 1\n",
    before=(1, ("a", "b")),
    after=(2, ("b", "a")),
    sees="goes by the new order",
)
def _(m):
    one, kind = m.D(), m.D

    def look():
        match one:
            case kind(first):
                return first, kind.__match_args__

    return look
