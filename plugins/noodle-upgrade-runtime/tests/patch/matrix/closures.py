"""Closures and decorators."""

import functools
import inspect

from matrix.probing import Group, both

GROUP = Group("Closures and decorators")
SINCE = "one that was made since goes on with the new code"


@GROUP.probe(
    "a closure",
    **both("def make(a):\n    def inner(): return ('@@', a)\n    return inner\n"),
    before=("old", 7),
    after=("new", 7),
    sees="runs the new code with what it has closed over",
)
def _(m):
    return m.make(7)


@GROUP.probe(
    "a closure with a default argument",
    **both("def make(a):\n    def inner(b=a): return ('@@', b)\n    return inner\n"),
    before=("old", 7),
    after=("new", 7),
    sees="runs the new code with the value that it was made with",
)
def _(m):
    return m.make(7)


@GROUP.probe(
    "a closure that needs fewer free variables",
    old="def make(a, b):\n    def inner(): return ('old', a, b)\n    return inner\n",
    new="def make(a, b):\n    def inner(): return ('new', b)\n    return inner\n",
    before=("old", 7, 8),
    after=("new", 8),
    since=SINCE,
    sees="runs the new code: free variables are told by name, never by position",
)
def _(m):
    return m.make(7, 8)


@GROUP.probe(
    "a closure whose free variables come in another order",
    old="def make(a, b):\n    def inner(): return ('old', a, b)\n    return inner\n",
    new="def make(b, a):\n    def inner(): return ('new', a, b)\n    return inner\n",
    before=("old", "a", "b"),
    after=("new", "a", "b"),
    sees="runs the new code, each name with its value",
)
def _(m):
    return functools.partial(m.make(a="a", b="b"))


@GROUP.probe(
    "a closure that needs more than it has closed over",
    old="def make(a, b):\n    def inner(): return ('old', a)\n    return inner\n",
    new="def make(a, b):\n    def inner(): return ('new', a, b)\n    return inner\n",
    before=(("old", 7), ("old", 7)),
    after=(("old", 7), ("new", 7, 8)),
    fresh=(("new", 7, 8), ("new", 7, 8)),
    later=(("old", 7), ("old", 7)),
    told="it needs b of the function that made it",
    sees="goes on with its old code; the plan says so and why",
)
def _(m):
    held = m.make(7, 8)
    return lambda: (held(), m.make(7, 8)())


@GROUP.probe(
    "two closures that share a variable",
    **both("""
    def make():
        n = 0
        def up():
            nonlocal n
            n += 1
            return ("@@", n > 1)
        def get(): return ("@@", n > 0)
        return up, get
    """),
    before=(("old", True), ("old", True)),
    after=(("new", True), ("new", True)),
    sees="go on sharing it",
)
def _(m):
    up, get = m.make()
    up()
    return lambda: (up(), get())


@GROUP.probe(
    "a closure in a closure",
    **both(
        "def one(a):\n    def two(b):\n        def three(): return ('@@', a, b)\n        return three\n    return two\n"
    ),
    before=(("old", 1, 2), ("old", 1, 3)),
    after=(("new", 1, 2), ("new", 1, 3)),
    sees="runs the new code, whatever of it was made before",
)
def _(m):
    two = m.one(1)
    three = two(2)
    return lambda: (three(), two(3)())


@GROUP.probe(
    "a lambda and a comprehension with a free variable",
    **both("def make(a):\n    return lambda: [('@@', a, n) for n in range(1)]\n"),
    before=[("old", 7, 0)],
    after=[("new", 7, 0)],
    sees="run the new code",
)
def _(m):
    return m.make(7)


@GROUP.probe(
    "a generator expression that a function has returned",
    **both("def make(n):\n    return (('@@', i) for i in range(n))\n"),
    before=("old", "old"),
    after=("old", "new"),
    fresh=("new", "new"),
    later=("new", "old"),
    sees="goes on in its old code; the next one is made by the new",
    back="each goes on in the code that it began in",
)
def _(m):
    running = m.make(99)
    return lambda: (next(running)[0], next(m.make(1))[0])


@GROUP.probe(
    "a user's function under the package's decorator",
    **both(
        "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def wrapper(*a): return ('@@', f(*a))\n    return wrapper\n"
    ),
    before=("old", ("mine", 1)),
    after=("new", ("mine", 1)),
    sees="is wrapped by the new code",
)
def _(m):
    @m.deco
    def mine(n):
        return "mine", n

    return functools.partial(mine, 1)


@GROUP.probe(
    "a user's function under a decorator with arguments",
    **both(
        "def deco(tag):\n    def decorate(f):\n        def wrapper(): return ('@@', tag, f())\n        return wrapper\n    return decorate\n"
    ),
    before=("old", "t", "mine"),
    after=("new", "t", "mine"),
    sees="is wrapped by the new code, with its argument",
)
def _(m):
    return m.deco("t")(lambda: "mine")


@GROUP.probe(
    "a user's function under a decorator that is a class",
    **both(
        "class deco:\n    def __init__(self, f): self.f = f\n    def __call__(self): return ('@@', self.f())\n    def __get__(self, one, owner): return self\n"
    ),
    before=("old", "mine"),
    after=("new", "mine"),
    sees="is wrapped by the new code",
)
def _(m):
    return m.deco(lambda: "mine")


@GROUP.probe(
    "a user's method under the package's decorator",
    **both("def deco(f):\n    def wrapper(self): return ('@@', f(self))\n    return wrapper\n"),
    before=("old", 3),
    after=("new", 3),
    sees="is wrapped by the new code",
)
def _(m):
    return type("Mine", (), {"m": m.deco(lambda self: self.n), "n": 3})().m


@GROUP.probe(
    "a user's class under the package's class decorator",
    **both("def deco(cls):\n    def hello(self): return ('@@', self.n)\n    cls.hello = hello\n    return cls\n"),
    before=("old", 3),
    after=("new", 3),
    sees="what the decorator has put there runs the new code",
)
def _(m):
    return m.deco(type("Mine", (), {"n": 3}))().hello


@GROUP.probe(
    "a decorator that registers",
    **both(
        "KNOWN = {}\ndef register(f):\n    KNOWN[f.__name__] = f\n    return f\n@register\ndef own(): return '@@'\ndef run(name): return ('@@', KNOWN[name]())\n"
    ),
    before=(("old", "old"), ("old", "mine")),
    after=(("new", "new"), ("new", "mine")),
    sees="the registry has the new version's own, and the user's",
)
def _(m):
    m.register(mine)
    return lambda: (m.run("own"), m.run("mine"))


def mine():
    return "mine"


@GROUP.probe(
    "a decorated function of the package of which the decorator changes",
    old="def deco(f):\n    def wrapper(): return ('old deco', f())\n    return wrapper\n@deco\ndef f(): return 'same'\n",
    new="def deco(f):\n    def wrapper(): return ('new deco', f())\n    return wrapper\n@deco\ndef f(): return 'same'\n",
    before=("old deco", "same"),
    after=("new deco", "same"),
    sees="runs the new wrapper",
)
def _(m):
    return m.f


@GROUP.probe(
    "a decorated function of which the inner one changes",
    old="def deco(f):\n    def wrapper(): return ('same', f())\n    return wrapper\n@deco\ndef f(): return 'old'\n",
    new="def deco(f):\n    def wrapper(): return ('same', f())\n    return wrapper\n@deco\ndef f(): return 'new'\n",
    before=("same", "old"),
    after=("same", "new"),
    sees="runs the new inner one",
)
def _(m):
    return m.f


@GROUP.probe(
    "the `functools.lru_cache` of the package",
    **both("import functools\n@functools.lru_cache\ndef f(n): return ('@@', n)\n"),
    before=(("old", 1), True),
    after=(("new", 1), True),
    sees="is the same object, emptied: it never answers for the other version",
)
def _(m):
    held = m.f
    held(1)
    return lambda: (held(1), held.cache_info().currsize == 1)


@GROUP.probe(
    "the `lru_cache` of a method, and of a user's subclass",
    **both("import functools\nclass A:\n    @functools.lru_cache\n    def m(self, n): return ('@@', n)\n"),
    before=("old", 1),
    after=("new", 1),
    sees="is emptied",
)
def _(m):
    one = type("Mine", (m.A,), {})()
    one.m(1)
    return lambda: one.m(1)


@GROUP.probe(
    "a function that gets a cache",
    old="def f(): return 'old'\n",
    new="import functools\n@functools.cache\ndef f(): return 'new'\n",
    before="old",
    after="new",
    sees="calls the cached one",
)
def _(m):
    return m.f


@GROUP.probe(
    "a `functools.partial` of the package",
    old="import functools\ndef g(a, b=0): return ('old', a, b)\nf = functools.partial(g, 1)\n",
    new="import functools\ndef g(a, b=0): return ('new', a, b)\nf = functools.partial(g, 2, b=3)\n",
    before=("old", 1, 0),
    after=("new", 2, 3),
    sees="is the same object, with the new arguments",
)
def _(m):
    return m.f


@GROUP.probe(
    "a closure that keeps a class of the package",
    **both(
        "class A:\n    def m(self): return '@@'\ndef make(kind=A):\n    def inner(): return kind().m()\n    return inner\n"
    ),
    before=("old", True),
    after=("new", True),
    sees="has the same class, with the new code",
)
def _(m):
    held = m.make()
    return lambda: (held(), inspect.getclosurevars(held).nonlocals["kind"] is m.A)
