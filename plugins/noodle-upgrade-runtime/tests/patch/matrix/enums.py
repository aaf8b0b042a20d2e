"""Enumerations and their members."""

import copy
import pickle

from matrix.probing import Group, both

GROUP = Group("Enumerations")


@GROUP.probe(
    "a member",
    old="import enum\nclass E(enum.Enum):\n    A = 1\n    def say(self): return ('old', self.name)\n",
    new="import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\n    def say(self): return ('new', self.name)\n",
    before=(("old", "A"), True, True, True),
    after=(("new", "A"), True, True, True),
    sees="is the same member, by name, by value and in the list",
)
def _(m):
    held = m.E.A
    return lambda: (held.say(), held is m.E.A, held is m.E(1) is m.E["A"], held in list(m.E))


@GROUP.probe(
    "a member as a key, in a set, in a `match`",
    **both("import enum\nclass E(enum.Enum):\n    A = 1\nkind = '@@'\n"),
    before=("old", 1, True, "matched"),
    after=("new", 1, True, "matched"),
    sees="is found",
)
def _(m):
    table, kept, held = {m.E.A: 1}, {m.E.A}, m.E.A

    def matched():
        match held:
            case m.E.A:
                return "matched"

    return lambda: (m.kind, table[m.E.A], m.E(1) in kept, matched())


@GROUP.probe(
    "a member that comes",
    old="import enum\nclass E(enum.Enum):\n    A = 1\n",
    new="import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\n",
    before=(["A"], 1, None),
    after=(["A", "B"], 2, "B"),
    sees="is one of the class that the program has",
)
def _(m):
    kind = m.E
    return lambda: (
        [e.name for e in kind],
        len(kind),
        kind(2).name if len(kind) > 1 and isinstance(kind(2), kind) else None,
    )


@GROUP.probe(
    "a member that goes, and that nobody has",
    old="import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\n",
    new="import enum\nclass E(enum.Enum):\n    A = 1\n",
    before=(["A", "B"], True, True),
    after=(["A"], False, False),
    sees="is gone, by name and by value",
)
def _(m):
    kind = m.E
    return lambda: ([e.name for e in kind], hasattr(kind, "B"), 2 in kind._value2member_map_)


@GROUP.probe(
    "a member that goes, and that the program has",
    old="import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\n    def say(self): return ('old', self.name)\n",
    new="import enum\nclass E(enum.Enum):\n    A = 1\n    def say(self): return ('new', self.name)\n",
    before=(("old", "B"), True),
    after=(("new", "B"), False),
    once=True,
    sees="stays an instance of the class that it was a member of, and is none any more",
)
def _(m):
    held, kind = m.E.B, m.E
    return lambda: (held.say(), held in list(kind))


@GROUP.probe(
    "a member whose value changes",
    old="import enum\nclass E(enum.Enum):\n    A = 1\n",
    new="import enum\nclass E(enum.Enum):\n    A = 10\n",
    before=(1, True, True),
    after=(10, True, True),
    sees="is the same member with the new value",
)
def _(m):
    held = m.E.A
    return lambda: (held.value, held is m.E.A, m.E(held.value) is held)


@GROUP.probe(
    "a member of a `str` or an `int` enumeration whose value changes",
    old="import enum\nclass I(enum.IntEnum):\n    A = 1\nclass S(str, enum.Enum):\n    A = 'old'\n",
    new="import enum\nclass I(enum.IntEnum):\n    A = 10\nclass S(str, enum.Enum):\n    A = 'new'\n",
    before=(1, True, "old", True, True),
    after=(10, True, "new", True, True),
    sees="whoever has it has the new member: a number cannot become another one",
)
def _(m):
    one, two = [m.I.A], {"key": m.S.A}
    return lambda: (one[0] + 0, one[0] is m.I.A, two["key"] + "", two["key"] is m.S.A, two["key"] is m.S(two["key"]))


@GROUP.probe(
    "a member that is renamed",
    old="import enum\nclass E(enum.Enum):\n    A = 1\n    OLD = 2\n",
    new="import enum\nclass E(enum.Enum):\n    A = 1\n    NEW = 2\n",
    before=("OLD", ["A", "OLD"]),
    after=("NEW", ["A", "NEW"]),
    sees="is found by its value, under the new name",
)
def _(m):
    kind = m.E
    return lambda: (kind(2).name, list(kind.__members__))


@GROUP.probe(
    "a renamed member with an alias for the old name",
    old="import enum\nclass E(enum.Enum):\n    A = 1\n    OLD = 2\n",
    new="import enum\nclass E(enum.Enum):\n    A = 1\n    NEW = 2\n    OLD = 2\n",
    before=("OLD", True, True),
    after=("NEW", True, True),
    later=("OLD", True, True),
    sees="is one member under both names",
)
def _(m):
    held = m.E.OLD
    return lambda: (m.E.OLD.name, held is m.E(2), held is m.E.OLD)


@GROUP.probe(
    "a `str` and an `int` enumeration",
    old="import enum\nclass S(str, enum.Enum):\n    A = 'a'\nclass I(enum.IntEnum):\n    A = 1\n",
    new="import enum\nclass S(str, enum.Enum):\n    A = 'a'\n    B = 'b'\n    def up(self): return self.value.upper()\nclass I(enum.IntEnum):\n    A = 1\n    B = 2\n",
    before=(["-"], [1], True),
    after=(["A", "B"], [1, 2], True),
    sees="follow like others",
)
def _(m):
    held = m.S.A
    return lambda: (
        [getattr(e, "up", lambda: "-")() for e in m.S],
        [e + 0 for e in m.I],
        held is m.S("a") and held == "a",
    )


@GROUP.probe(
    "a flag that gets a member",
    old="import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2\n",
    new="import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2\n    C = 4\n",
    before=(2, "F.A|B", True, True, None),
    after=(3, "F.A|B", True, True, 7),
    sees="combines it with what the program has",
)
def _(m):
    kind, both_set = m.F, m.F.A | m.F.B

    def look():
        more = (both_set | kind.C).value if hasattr(kind, "C") else None
        return len(kind), str(both_set), kind.A in both_set, kind(3) is both_set, more

    return look


@GROUP.probe(
    "`auto()` values that move because a member is put between",
    old="import enum\nclass E(enum.Enum):\n    A = enum.auto()\n    C = enum.auto()\n",
    new="import enum\nclass E(enum.Enum):\n    A = enum.auto()\n    B = enum.auto()\n    C = enum.auto()\n",
    before=(2, ["A", "C"], "C"),
    after=(3, ["A", "B", "C"], "B"),
    sees="each member keeps its identity and has its new value, in the new order",
)
def _(m):
    held, kind = m.E.C, m.E
    return lambda: (held.value, [e.name for e in kind], kind(2).name)


@GROUP.probe(
    "`_missing_`, a property and a class method of an enumeration",
    **both(
        "import enum\nclass E(enum.Enum):\n    A = 1\n    @classmethod\n    def _missing_(cls, value): return cls.A if value == '@@' else None\n    @property\n    def p(self): return '@@'\n    @classmethod\n    def c(cls): return ('@@', cls.__name__)\n"
    ),
    before=("A", "old", ("old", "E")),
    after=("A", "new", ("new", "E")),
    sees="are the new ones",
)
def _(m):
    held, kind = m.E.A, m.E
    return lambda: (kind(held.p).name, held.p, kind.c())


@GROUP.probe(
    "a pickle and a copy of a member",
    **both("import enum\nclass E(enum.Enum):\n    A = 1\n    def say(self): return '@@'\n"),
    before=("old", True, True),
    after=("new", True, True),
    sees="are the member itself",
)
def _(m):
    held, data = m.E.A, pickle.dumps(m.E.A)
    return lambda: (held.say(), pickle.loads(data) is held, copy.deepcopy(held) is held)


@GROUP.probe(
    "a class of constants that becomes an enumeration",
    old="class E:\n    A = 1\n    kind = 'old'\n",
    new="import enum\nclass E(enum.IntEnum):\n    A = 1\n    kind = 2\n",
    before=(1, "old"),
    after=(1, 2),
    sees="whoever has the class has the enumeration",
)
def _(m):
    held = [m.E]
    return lambda: (held[0].A, held[0].kind)


@GROUP.probe(
    "a global that is a member's alias",
    old="import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nDEFAULT = E.A\ndef f(x=DEFAULT): return x.name\n",
    new="import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nDEFAULT = E.B\ndef f(x=DEFAULT): return x.name\n",
    before=("A", "A", True, ("A", 1), True),
    after=("B", "B", True, ("A", 1), True),
    sees="is the other member; who has a member has the same one",
)
def _(m):
    held, kind = m.E.A, m.E
    now = lambda: kind["A" if m.f() == "A" else "B"]  # noqa: E731
    return lambda: (m.DEFAULT.name, m.f(), m.DEFAULT is now(), (held.name, held.value), held is m.E.A is kind(1))
