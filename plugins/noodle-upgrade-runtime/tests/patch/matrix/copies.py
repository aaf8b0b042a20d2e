"""Copies, pickles, weak references, finalizers."""

import copy
import gc
import pickle
import weakref

from matrix.probing import Group, both

GROUP = Group("Copies, pickles, weak references, the end of an object")

A = both("""
    class A:
        def __init__(self): self.n = 1
        def m(self): return ("@@", self.n)
    """)


@GROUP.probe(
    "`__del__`",
    **both("seen = []\nclass A:\n    def __del__(self): seen.append('@@')\n"),
    before=["old"],
    after=["new"],
    sees="runs the new code, also for instances that live",
)
def _(m):
    held = [m.A() for _ in range(9)]

    def look():
        held.pop()
        gc.collect()
        found = list(m.seen)
        m.seen.clear()
        return found[:1]

    return look


@GROUP.probe(
    "a pickle that was made before",
    **both("class A:\n    def __init__(self): self.n = 1\n    def m(self): return ('@@', self.n)\n"),
    before=("old", 1),
    after=("new", 1),
    sees="is loaded as an instance of the same class, with its new code",
)
def _(m):
    data = pickle.dumps(m.A())
    return lambda: pickle.loads(data).m()


@GROUP.probe(
    "a pickle of a function and of a class, by name",
    **both("def f(): return '@@'\nclass A:\n    kind = '@@'\n"),
    before=("old", "old", True),
    after=("new", "new", True),
    sees="leads to what the program has",
)
def _(m):
    function, cls = pickle.dumps(m.f), pickle.dumps(m.A)
    return lambda: (pickle.loads(function)(), pickle.loads(cls).kind, pickle.loads(cls) is m.A)


@GROUP.probe(
    "a pickle with `__reduce__` and `__setstate__`",
    **both("""
    def build(n): return A(n, "@@ built")
    class A:
        def __init__(self, n, how): self.n, self.how = n, how
        def __reduce__(self): return build, (self.n,), {"n": 7}
        def __setstate__(self, state): self.n = (state["n"], "@@")
    """),
    before=((7, "old"), "old built"),
    after=((7, "new"), "new built"),
    sees="is loaded by the new ones",
)
def _(m):
    data = pickle.dumps(m.A(1, ""))

    def look():
        made = pickle.loads(data)
        return made.n, made.how

    return look


@GROUP.probe(
    "a copy and a deep copy, made before and made after",
    **A,
    before=[("old", 1)] * 4,
    after=[("new", 1)] * 4,
    sees="run the new code",
)
def _(m):
    one = m.A()
    made = copy.copy(one), copy.deepcopy(one)
    return lambda: [made[0].m(), made[1].m(), copy.copy(one).m(), copy.deepcopy(one).m()]


@GROUP.probe(
    "a weak reference, a weak method, a weak set",
    **A,
    before=[("old", 1)] * 3,
    after=[("new", 1)] * 3,
    sees="lead to the same instance, which runs the new code",
)
def _(m):
    one = m.A()
    ref, method, kept = weakref.ref(one), weakref.WeakMethod(one.m), weakref.WeakSet([one])
    return lambda: [ref().m(), method()(), *[each.m() for each in kept if each is one]]


@GROUP.probe(
    "`weakref.finalize` with a function of the package",
    **both("seen = []\ndef done(): seen.append('@@')\nclass A: pass\n"),
    before=["old"],
    after=["new"],
    sees="calls the new one",
)
def _(m):
    held = [m.A() for _ in range(9)]
    for each in held:
        weakref.finalize(each, m.done)

    def look():
        del held[-1:]
        gc.collect()
        found, m.seen[:] = list(m.seen), []
        return found[:1]

    return look


@GROUP.probe(
    "a weak reference's callback",
    **both("seen = []\ndef done(ref): seen.append('@@')\nclass A: pass\n"),
    before=["old"],
    after=["new"],
    sees="calls the new one",
)
def _(m):
    held = [m.A() for _ in range(9)]
    refs = [weakref.ref(each, m.done) for each in held]

    def look():
        del held[-1:]
        gc.collect()
        found, m.seen[:] = list(m.seen), []
        return refs and found[:1]

    return look
