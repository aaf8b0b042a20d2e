"""Functions: who holds one, whatever it becomes."""

import functools
import inspect
import operator
import types
import typing
import unittest.mock

from matrix.probing import Group, both, program

GROUP = Group("Functions")

F = both("def f(x='@@ default'): return ('@@', x)\n")
SEEN = {"before": ("old", "old default"), "after": ("new", "new default")}


@GROUP.probe("an alias", **F, **SEEN, sees="is the same object, with the new code and defaults")
def _(m):
    return m.f


@GROUP.probe("`from package import f as g` in another module", **F, **SEEN, sees="calls the new one")
def _(m):
    return program(m, "from PKG import f as g\ndef call(): return g()\n").call


@GROUP.probe("`from package import *` in another module", **F, **SEEN, sees="calls the new one")
def _(m):
    return program(m, "from PKG import *\ndef call(): return f()\n").call


@GROUP.probe("`import package` inside of a function", **F, **SEEN, sees="calls the new one")
def _(m):
    return program(m, "def call():\n    import PKG\n    return PKG.f()\n").call


@GROUP.probe("a script's own names (`__main__`)", **F, **SEEN, sees="call the new one")
def _(m):
    names = {"__name__": "__main__"}
    exec(f"from {m.__name__} import f\ncalls = [f for _ in range(2)]\n", names)
    return lambda: names["f"]() == names["calls"][1]() and names["f"]()


@GROUP.probe(
    "a function in a list, a tuple, a dict, a set",
    **F,
    before=[("old", "old default")] * 4,
    after=[("new", "new default")] * 4,
    sees="is the new one, found under its old key",
)
def _(m):
    one, two, three, four = [m.f], (m.f,), {m.f: m.f}, {m.f}
    return lambda: [one[0](), two[0](), three[m.f](), (m.f in four) and next(iter(four))()]


@GROUP.probe(
    "a default argument of a user's function",
    **F,
    **SEEN,
    sees="calls the new one",
)
def _(m):
    def mine(call=m.f):
        return call()

    return mine


@GROUP.probe(
    "`functools.partial`",
    **both("def f(x): return ('@@', x)\n"),
    before=("old", 5),
    after=("new", 5),
    sees="calls the new one with its own arguments",
)
def _(m):
    return functools.partial(m.f, 5)


@GROUP.probe(
    "a user's wrapper with `functools.wraps`",
    **F,
    before=(("old", "old default"), "f"),
    after=(("new", "new default"), "f"),
    sees="calls the new one",
)
def _(m):
    @functools.wraps(m.f)
    def wrapper(*args, call=m.f):
        return call(*args)

    return lambda: (wrapper(), inspect.unwrap(wrapper).__name__)


@GROUP.probe(
    "a user's `functools.cache` around it",
    **both("def f(x): return ('@@', x)\n"),
    before=[("old", 1)],
    after=[("old", 1), ("new", 2)],
    fresh=[("new", 1), ("new", 2)],
    later=[("new", 1)],
    sees="keeps what it remembers: that is the program's; what it does not know is computed by the new one",
    back="keeps what it remembers",
)
def _(m):
    cached = functools.cache(m.f)
    cached(1)

    def look():
        seen = [cached(1)]
        return seen if m.f(0)[0] == "old" else [*seen, cached(2)]

    return look


@GROUP.probe(
    "`operator.attrgetter` and `methodcaller` of the module",
    **F,
    before=("old", "old default"),
    after=("new", "new default"),
    sees="call the new one",
)
def _(m):
    get, call = operator.attrgetter("f"), operator.methodcaller("f")
    return lambda: get(m)() == call(m) and call(m)


@GROUP.probe(
    "a function with other parameters",
    old="def f(a=1): return ('old', a)\n",
    new="def f(b=3, /, *rest, c=4, **more): return ('new', b, rest, c, more)\n",
    before=(("old", 1), "(a=1)"),
    after=(("new", 3, (), 4, {}), "(b=3, /, *rest, c=4, **more)"),
    sees="takes the new ones, and `inspect.signature` says so",
)
def _(m):
    held = m.f
    return lambda: (held(), str(inspect.signature(held)))


@GROUP.probe(
    "what a function says of itself",
    old="def f():\n    '''Old.'''\n",
    new="def f():\n    '''New.'''\n",
    before=("Old.", "f", "f", True),
    after=("New.", "f", "f", True),
    sees="`__doc__` is new; `__name__`, `__qualname__` and `__module__` are what they were",
)
def _(m):
    held = m.f
    return lambda: (held.__doc__, held.__name__, held.__qualname__, held.__module__ == m.__name__)


@GROUP.probe(
    "an attribute of a function",
    old="def f(): return f.mark\nf.mark = 'old'\nf.gone = 1\n",
    new="def f(): return f.mark\nf.mark = 'new'\nf.come = 1\n",
    before=("old", True, False),
    after=("new", False, True),
    sees="is the new one's",
)
def _(m):
    held = m.f
    return lambda: (held(), hasattr(held, "gone"), hasattr(held, "come"))


@GROUP.probe(
    "an attribute that the user has set on a function",
    **F,
    before=("old", "mine"),
    after=("new", "mine"),
    sees="stays",
)
def _(m):
    m.f.mine = "mine"
    return lambda: (m.f()[0], m.f.mine)


@GROUP.probe(
    "annotations and type hints",
    old="class K: pass\nclass L: pass\ndef f(x: 'int') -> K: ...\n",
    new="class K: pass\nclass L: pass\ndef f(x: 'L') -> K: ...\n",
    before=("int", True),
    after=("L", True),
    sees="are evaluated to the new ones; classes are those that the program has",
)
def _(m):
    held, kind = m.f, m.K
    return lambda: (typing.get_type_hints(held)["x"].__name__, typing.get_type_hints(held)["return"] is kind)


@GROUP.probe(
    "lambdas of one name",
    old="table = [lambda: 'old 1', lambda: 'old 2']\n",
    new="table = [lambda: 'new 1', lambda: 'new 2']\n",
    before=["old 1", "old 2"],
    after=["new 1", "new 2"],
    sees="are the new ones, in their order",
)
def _(m):
    table = m.table
    return lambda: [one() for one in table]


@GROUP.probe(
    "a function that a user has put in the place of one",
    **both("def f(): return '@@'\ndef g(): return ('@@', f())\n"),
    refused="The program and the new version both changed PKG.f",
    let_go=False,
)
def _(m):
    m.f = lambda: "mine"
    return m.g


@GROUP.probe(
    "a function that a user has put in the place of one that stays as it is",
    old="def f(): return 'same'\ndef g(): return ('old', f())\n",
    new="def f(): return 'same'\ndef g(): return ('new', f())\n",
    before=("old", "mine"),
    after=("new", "mine"),
    once=True,
    sees="stays, and the new version calls it",
)
def _(m):
    m.f = lambda: "mine"
    return m.g


@GROUP.probe(
    "`unittest.mock.patch` in force",
    **both("def f(): return '@@'\ndef g(): return ('@@', f())\n"),
    refused="The program and the new version both changed PKG.f",
)
def _(m):
    patch = unittest.mock.patch(f"{m.__name__}.f", return_value="mock")
    patch.start()
    yield m.g
    patch.stop()


@GROUP.probe(
    "a recursive function",
    old="def f(n): return ('old',) if n == 0 else (*f(n - 1), 'old')\n",
    new="def f(n): return ('new',) if n == 0 else (*f(n - 1), 'new')\n",
    before=("old", "old"),
    after=("new", "new"),
    sees="calls its new self",
)
def _(m):
    return functools.partial(m.f, 1)


@GROUP.probe(
    "a name that a function imports when it is called",
    **both("def f():\n    from .sub import g\n    return ('@@', g())\n"),
    files={"sub": ("def g(): return 'old'\n", "def g(): return 'new'\n")},
    before=("old", "old"),
    after=("new", "new"),
    sees="is the new one",
)
def _(m):
    return m.f


@GROUP.probe(
    "`types.MethodType` of a function and a user's object",
    **both("def f(self): return ('@@', self)\n"),
    before=("old", 3),
    after=("new", 3),
    sees="calls the new one",
)
def _(m):
    return types.MethodType(m.f, 3)


@GROUP.probe(
    "a user's class that has it as a method",
    **both("def f(self): return ('@@', self.n)\n"),
    before=("old", 3),
    after=("new", 3),
    sees="calls the new one",
)
def _(m):
    return type("Mine", (), {"n": 3, "m": m.f})().m
