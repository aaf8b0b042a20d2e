"""Modules and what they bind: constants, tables, submodules."""

import importlib
import sys

from matrix.probing import Group, both, program

GROUP = Group("Modules and what they bind")


@GROUP.probe(
    "a constant, through the module",
    old="N = 'old'\n",
    new="N = 'new'\n",
    before="old",
    after="new",
    sees="is the new one",
)
def _(m):
    return lambda: m.N


@GROUP.probe(
    "a constant that another module has imported by value",
    old="N = 'old limit'\n",
    new="N = 'new limit'\n",
    before=("old limit", "old limit"),
    after=("old limit", "new limit"),
    fresh=("new limit", "new limit"),
    later=("new limit", "old limit"),
    sees="stays what it is there: nobody can tell whose it is; the plan names the module",
    back="stays what it is",
)
def _(m):
    mine = program(m, "from PKG import N\n")
    return lambda: (mine.N, m.N)


@GROUP.probe(
    "a module-level dict",
    old="D = {'a': 1, 'gone': 1}\n",
    new="D = {'a': 2, 'come': 3}\n",
    before={"a": 1, "gone": 1},
    after={"a": 2, "come": 3},
    sees="is the same dict with the new contents",
)
def _(m):
    held = m.D
    return lambda: dict(held) if held is m.D else None


@GROUP.probe(
    "a module-level dict that the user has put something into",
    old="D = {'a': 1}\n",
    new="D = {'a': 2}\n",
    before={"a": 1, "mine": 9},
    after={"a": 2, "mine": 9},
    sees="has the new contents, and the user's",
)
def _(m):
    m.D["mine"] = 9
    held = m.D
    return lambda: dict(held)


@GROUP.probe(
    "an entry of a dict that the user and the new version have both changed",
    old="D = {'a': 1}\n",
    new="D = {'a': 2}\n",
    refused="The program and the new version both changed PKG.D.a",
    let_go=False,
)
def _(m):
    m.D["a"] = 9
    return lambda: dict(m.D)


@GROUP.probe(
    "a module-level list, tuple, set, frozenset",
    old="L, T, S, F = [1], (1,), {1}, frozenset({1})\n",
    new="L, T, S, F = [1, 2], (1, 2), {1, 2}, frozenset({1, 2})\n",
    before=([1], {1}, (1,), {1}),
    after=([1, 2], {1, 2}, (1, 2), {1, 2}),
    sees="lists and sets are the same objects with the new contents; the module has the new tuples",
)
def _(m):
    one, two = m.L, m.S
    return lambda: (list(one), set(two), m.T, set(m.F))


@GROUP.probe(
    "a list that the user has appended to",
    old="L = ['old']\n",
    new="L = ['new', 'more']\n",
    before=["old", "mine"],
    after=["new", "more", "mine"],
    once=True,
    sees="has the new contents, and the user's",
)
def _(m):
    m.L.append("mine")
    held = m.L
    return lambda: list(held)


@GROUP.probe(
    "an iterator over a dict of the module that is under way",
    old="D = {'a': 'old', 'b': 'old', 'c': 'old'}\n",
    new="D = {'a': 'new', 'b': 'new', 'c': 'new'}\n",
    before="old",
    after="new",
    sees="goes on, with the new values",
)
def _(m):
    def endless():
        while True:
            yield from m.D.values()

    running = endless()
    next(running)
    return lambda: next(running)


@GROUP.probe(
    "a value of a class of the package's that is a `str`",
    old="class Version(str): pass\nV = Version('old one')\n",
    new="class Version(str): pass\nV = Version('new one')\n",
    before=("old one", "old one", True),
    after=("new one", "old one", True),
    fresh=("new one", "new one", True),
    later=("old one", "new one", True),
    sees="is the new one in the module; who took the value keeps it, as with any other",
    back="is the old one in the module; who took the value keeps it",
)
def _(m):
    held, kind = m.V, m.Version
    return lambda: (m.V, held, isinstance(held, kind) and kind is m.Version)


@GROUP.probe(
    "a view of the keys of a dict",
    old="D = {'a': 1}\nkind = 'old'\n",
    new="D = {'a': 1, 'b': 2}\nkind = 'new'\n",
    before=["a"],
    after=["a", "b"],
    sees="shows the new ones",
)
def _(m):
    view = m.D.keys()
    return lambda: list(view)


@GROUP.probe(
    "`collections.OrderedDict`, `defaultdict`, `Counter`, `deque`, `ChainMap`",
    **both("""
    import collections
    O = collections.OrderedDict(a="@@")
    D = collections.defaultdict(lambda: "@@")
    C = collections.Counter({"@@": 1})
    Q = collections.deque(["@@"])
    M = collections.ChainMap({"a": "@@"}, O)
    """),
    before=["old", "old", {"old": 1}, ["old"], "old"],
    after=["new", "new", {"new": 1}, ["new"], "new"],
    sees="are the same objects with the new contents",
)
def _(m):
    o, d, c, q, chain = m.O, m.D, m.C, m.Q, m.M

    def look():
        missing = d["missing"]
        del d["missing"]
        return [o["a"], missing, dict(c), list(q), chain["a"]]

    return look


@GROUP.probe(
    "a table of the package's functions",
    **both("def f(): return '@@ f'\ndef g(): return '@@ g'\nTABLE = {'f': f, 'g': [g], 'both': (f, g)}\n"),
    before=["old f", "old g", "old f"],
    after=["new f", "new g", "new f"],
    sees="has the same functions, with the new code",
)
def _(m):
    held = m.TABLE
    return lambda: [held["f"](), held["g"][0](), held["both"][0]()]


@GROUP.probe(
    "a table of the package's functions that the user has added to",
    old="def f(): return 'old'\nTABLE = {'f': f}\n",
    new="def f(): return 'new'\ndef g(): return 'more'\nTABLE = {'f': f, 'g': g}\n",
    before=("old", "mine", None),
    after=("new", "mine", "more"),
    sees="has the new version's and the user's",
)
def _(m):
    m.TABLE["mine"] = mine
    held = m.TABLE
    return lambda: (held["f"](), held["mine"](), held["g"]() if "g" in held else None)


def mine():
    return "mine"


@GROUP.probe(
    "a sentinel",
    old="MISSING = object()\ndef f(x=MISSING): return ('old', x is MISSING)\n",
    new="MISSING = object()\ndef f(x=MISSING): return ('new', x is MISSING)\n",
    before=(("old", True), ("old", True), True),
    after=(("new", True), ("new", True), True),
    sees="keeps its identity, also as a default",
)
def _(m):
    held = m.MISSING
    return lambda: (m.f(held), m.f(), held is m.MISSING)


@GROUP.probe(
    "a global counter that calls have changed",
    **both("n = 0\ndef up():\n    global n\n    n = min(n + 1, 2)\n    return ('@@', n == 2)\n"),
    before=("old", True),
    after=("new", True),
    sees="goes on from where it was",
)
def _(m):
    m.up(), m.up()
    return m.up


@GROUP.probe(
    "a module-level `__getattr__` and `__dir__`",
    **both(
        "def __getattr__(name):\n    if name == 'lazy': return '@@'\n    raise AttributeError(name)\ndef __dir__(): return ['@@']\n"
    ),
    before=("old", ["old"]),
    after=("new", ["new"]),
    sees="are asked: the new ones",
)
def _(m):
    return lambda: (m.lazy, dir(m))


@GROUP.probe(
    "`__all__`, for a star import that is made later",
    old="__all__ = ['a']\na = b = 'old'\n",
    new="__all__ = ['a', 'b']\na = b = 'new'\n",
    before=("old", None),
    after=("new", "new"),
    sees="is the new one",
)
def _(m):
    def look():
        made = {}
        exec(f"from {m.__name__} import *", made)
        return made.get("a"), made.get("b")

    return look


@GROUP.probe(
    "`__version__`, `__doc__` and `__file__` of the module",
    old='"""Old."""\n__version__ = "1.0"\n',
    new='"""New."""\n__version__ = "2.0"\n',
    before=("Old.", "1.0", "1.0"),
    after=("New.", "2.0", "2.0"),
    sees="are the new ones",
)
def _(m):
    return lambda: (m.__doc__, m.__version__, m.__file__.split("/")[-3])


@GROUP.probe(
    "a module alias, and `sys.modules`",
    **both("kind = '@@'\n"),
    before=("old", True),
    after=("new", True),
    sees="are the same module",
)
def _(m):
    mine = program(m, "import PKG as alias\n")
    return lambda: (mine.alias.kind, mine.alias is sys.modules[m.__name__] is m)


@GROUP.probe(
    "a submodule that only the new version has",
    old="",
    new="",
    files={"fresh": ("", "kind = 'new'\n")},
    before=None,
    after="new",
    sees="can be imported, and is the new version's",
    back="is gone",
)
def _(m):
    return lambda: imported(f"{m.__name__}.fresh", "kind")


@GROUP.probe(
    "a submodule that the new version does not have",
    old="from . import extra\n",
    new="",
    files={"extra": ("kind = 'old'\n", "")},
    before=("old", True, True),
    after=("old", False, False),
    fresh=None,
    once=True,
    sees="is gone from the package; who has it goes on with it",
)
def _(m):
    held = m.extra
    return lambda: (held.kind, hasattr(m, "extra"), f"{m.__name__}.extra" in sys.modules)


@GROUP.probe(
    "a submodule that is imported for the first time after the commit",
    **both("def load():\n    from . import late\n    return late.kind\nwho = '@@'\n"),
    files={"late": ("", "")},
    before="old",
    after="new",
    sees="is the new version's",
)
def _(m):
    return lambda: m.who


@GROUP.probe(
    "a submodule that becomes a package",
    old="from . import sub\n",
    new="from . import sub\n",
    files={"sub": ("kind = 'old'\n", "kind = 'new'\n")},
    before="old",
    after="new",
    sees="has the new contents",
)
def _(m):
    held = m.sub
    return lambda: held.kind


@GROUP.probe(
    "a name that is an alias of another module's object",
    old="from json import dumps as write\n",
    new="from json import loads as write\n",
    before='"1"',
    after=1,
    sees="is the other one",
)
def _(m):
    return lambda: m.write("1")


@GROUP.probe(
    "`importlib.import_module` and `__import__` by name",
    **both("def f(): return '@@'\n"),
    before=("old", "old"),
    after=("new", "new"),
    sees="lead to the same module",
)
def _(m):
    return lambda: (importlib.import_module(m.__name__).f(), __import__(m.__name__).f())


@GROUP.probe(
    "an object that holds a table that changes",
    sees="the new table, and the old one again",
    **both("RULES = ['@@']\nclass Lexer:\n    def __init__(self): self.rules = RULES\n"),
    before=["old"],
    after=["new"],
)
def _(m):
    one = m.Lexer()
    return lambda: list(one.rules)


@GROUP.probe(
    "an object whose constructor has copied from a table whose rows have another form",
    old="RULES = ['a']\nclass Lexer:\n    def __init__(self): self.rules = [one for one in RULES]\n",
    new="RULES = [('a', 1)]\nclass Lexer:\n    def __init__(self): self.rules = [one for one in RULES]\n",
    refused="of PKG.Lexer were built from PKG.RULES, which differs in the new version",
)
def _(m):
    one = m.Lexer()
    return lambda: one.rules == ["a"]


@GROUP.probe(
    "a container that becomes another kind, and that the user has put something into",
    old="R = {}\n",
    new="class Registry: pass\nR = Registry()\n",
    refused="The program and the new version both changed PKG.R",
    let_go=False,
)
def _(m):
    m.R["mine"] = 1
    return lambda: len(m.R)


def imported(name, attribute):
    try:
        return getattr(importlib.import_module(name), attribute)
    except ImportError:
        return None
