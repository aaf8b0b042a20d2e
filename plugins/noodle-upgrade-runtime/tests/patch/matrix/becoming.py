"""Functions that become another kind of thing, move, are renamed or go."""

import inspect

from matrix.probing import Group

GROUP = Group("Functions that become something else")


@GROUP.probe(
    "a function that gets a decorator",
    old="def f(): return 'old'\n",
    new="import functools\ndef deco(g):\n    @functools.wraps(g)\n    def wrapper(): return ('wrapped', g())\n    return wrapper\n@deco\ndef f(): return 'new'\n",
    before="old",
    after=("wrapped", "new"),
    sees="is the decorated one",
)
def _(m):
    return m.f


@GROUP.probe(
    "a function that loses its decorator",
    old="def deco(g):\n    def wrapper(): return ('wrapped', g())\n    return wrapper\n@deco\ndef f(): return 'old'\n",
    new="def f(): return 'new'\n",
    before=("wrapped", "old"),
    after="new",
    sees="is the plain one",
)
def _(m):
    return m.f


@GROUP.probe(
    "a function that becomes a generator",
    old="def f(): return ['old']\n",
    new="def f(): yield 'new'\n",
    before=(["old"], False),
    after=(["new"], True),
    sees="is one, and `inspect` says so",
)
def _(m):
    held = m.f
    return lambda: (list(held()), inspect.isgeneratorfunction(held))


@GROUP.probe(
    "a generator that becomes a function",
    old="def f(): yield 'old'\n",
    new="def f(): return ['new']\n",
    before=(["old"], True),
    after=(["new"], False),
    sees="is one, and `inspect` says so",
)
def _(m):
    held = m.f
    return lambda: (list(held()), inspect.isgeneratorfunction(held))


@GROUP.probe(
    "a function that becomes `async`",
    old="def f(): return 'old'\n",
    new="async def f(): return 'new'\n",
    before=("old", False),
    after=("new", True),
    sees="is one, and `inspect` says so",
)
def _(m):
    held = m.f
    return lambda: (finished(held()), inspect.iscoroutinefunction(held))


@GROUP.probe(
    "an `async` function that becomes a plain one",
    old="async def f(): return 'old'\n",
    new="def f(): return 'new'\n",
    before=("old", True),
    after=("new", False),
    sees="is one, and `inspect` says so",
)
def _(m):
    held = m.f
    return lambda: (finished(held()), inspect.iscoroutinefunction(held))


@GROUP.probe(
    "a function that becomes a class",
    old="def thing(n): return ('old', n)\n",
    new="class thing(tuple):\n    def __new__(cls, n): return tuple.__new__(cls, ('new', n))\n",
    before=("old", 1),
    after=("new", 1),
    sees="makes instances of the class",
)
def _(m):
    held = [m.thing]
    return lambda: tuple(held[0](1))


@GROUP.probe(
    "a class that becomes a function",
    old="class thing:\n    def __new__(cls, n): return ('old', n)\n",
    new="def thing(n): return ('new', n)\n",
    before=("old", 1),
    after=("new", 1),
    sees="is the function",
)
def _(m):
    held = [m.thing]
    return lambda: held[0](1)


@GROUP.probe(
    "a function that becomes a `functools.partial`",
    old="def f(): return 'old'\n",
    new="import functools\nf = functools.partial(str, 'new')\n",
    before="old",
    after="new",
    sees="calls the partial",
)
def _(m):
    return m.f


@GROUP.probe(
    "a function that is renamed",
    old="def load(): return 'old'\n",
    new="def read(): return 'new'\nload = read\n",
    before="old",
    after="new",
    sees="is the one that the old name is bound to",
)
def _(m):
    return m.load


@GROUP.probe(
    "a function that is gone",
    old="def helper(): return 'old'\ndef f(): return helper()\n",
    new="def other(): return 'new'\ndef f(): return other()\n",
    before=("old", "old", True),
    after=("old", "new", False),
    once=True,
    sees="who has it goes on with it; the module has no such name",
)
def _(m):
    held = m.helper
    return lambda: (held(), m.f(), hasattr(m, "helper"))


@GROUP.probe(
    "a function that moves to a submodule",
    old="def f(): return 'old'\n",
    new="from .sub import f\n",
    files={"sub": ("", "def f(): return 'new'\n")},
    before="old",
    after="new",
    sees="is the one there",
)
def _(m):
    return m.f


def finished(value):
    """Return what a coroutine that waits for nothing returns, and anything else as it is."""
    if not inspect.iscoroutine(value):
        return value
    try:
        value.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError
