"""What is suspended across the commit: generators, coroutines, context managers."""

import asyncio

from matrix.probing import Group, both

GROUP = Group("Suspended across the commit")
BEGAN = {"before": ("old", "old"), "after": ("old", "new"), "fresh": ("new", "new"), "later": ("new", "old")}
EACH = "each goes on in the code that it began in"


@GROUP.probe(
    "a generator that runs",
    **both("def f():\n    while True:\n        yield '@@'\n"),
    **BEGAN,
    sees="goes on in its old code; the next one is new",
    back=EACH,
)
def _(m):
    running = m.f()
    next(running)
    return lambda: (next(running), next(m.f()))


@GROUP.probe(
    "what a generator that runs calls",
    **both("def helper(): return '@@'\ndef f():\n    while True:\n        yield helper()\n"),
    before="old",
    after="new",
    sees="is the new one",
)
def _(m):
    running = m.f()
    next(running)
    return lambda: next(running)


@GROUP.probe(
    "a generator that was made and not begun",
    **both("def f():\n    while True:\n        yield '@@'\n"),
    **BEGAN,
    sees="runs its old code: a generator has it from when it was made",
    back=EACH,
)
def _(m):
    waiting = m.f()
    return lambda: (next(waiting), next(m.f()))


@GROUP.probe(
    "a coroutine that is suspended",
    **both(
        "import types\n@types.coroutine\ndef pause(): yield\nasync def helper(): return 'by @@'\nasync def f(seen):\n    while True:\n        seen.append(('@@', await helper()))\n        await pause()\n"
    ),
    before=("old", "by old"),
    after=("old", "by new"),
    fresh=("new", "by new"),
    later=("new", "by old"),
    sees="goes on in its old code, and awaits new functions",
    back="goes on in its code, and awaits old functions",
)
def _(m):
    seen = []
    running = m.f(seen)
    running.send(None)

    def look():
        running.send(None)
        return seen[-1]

    yield look
    running.close()


@GROUP.probe(
    "an asynchronous generator",
    **both("async def f():\n    while True:\n        yield '@@'\n"),
    **BEGAN,
    sees="goes on in its old code; the next one is new",
    back=EACH,
)
def _(m):
    loop = asyncio.new_event_loop()
    running = m.f()

    async def first(it):
        found = await anext(it)
        if it is not running:
            await it.aclose()
        return found

    yield lambda: (loop.run_until_complete(first(running)), loop.run_until_complete(first(m.f())))
    loop.run_until_complete(running.aclose())
    loop.close()


@GROUP.probe(
    "a context manager that is entered",
    **both(
        "seen = []\nclass C:\n    def __enter__(self): seen.append('enter @@')\n    def __exit__(self, *e): seen.append('exit @@')\n"
    ),
    before=["enter old", "exit old"],
    after=["enter old", "exit new"],
    fresh=["enter new", "exit new"],
    later=["enter new", "exit old"],
    sees="is left by the new `__exit__`",
    back="is left by the old one",
)
def _(m):
    stack = [enter(m) for _ in range(9)]

    def look():
        entered, one = stack.pop()
        one.__exit__(None, None, None)
        found = m.seen.pop()
        return [entered, found]

    return look


def enter(m):
    one = m.C()
    one.__enter__()
    return m.seen.pop(), one


@GROUP.probe(
    "a `contextlib.contextmanager` that is entered",
    **both("import contextlib\n@contextlib.contextmanager\ndef c(seen):\n    yield\n    seen.append('@@')\n"),
    before=("old", "old"),
    after=("old", "new"),
    fresh=("new", "new"),
    later=("new", "old"),
    sees="is left by its old code: it is a generator that runs",
    back=EACH,
)
def _(m):
    seen = []
    entered = [m.c(seen) for _ in range(9)]
    for each in entered:
        each.__enter__()

    def look():
        entered.pop().__exit__(None, None, None)
        with m.c(seen):
            pass
        return seen[-2], seen[-1]

    return look


@GROUP.probe(
    "a task of asyncio that sleeps",
    **both(
        "import asyncio\ndef helper(): return 'by @@'\nasync def f(seen):\n    while True:\n        await asyncio.sleep(0)\n        seen.append(('@@', helper()))\n"
    ),
    before=("old", "by old"),
    after=("old", "by new"),
    fresh=("new", "by new"),
    later=("new", "by old"),
    sees="goes on in its old code, and calls new functions",
    back="goes on in its code, and calls old functions",
)
def _(m):
    loop, seen = asyncio.new_event_loop(), []
    task = loop.create_task(m.f(seen))

    def look():
        seen.clear()
        while not seen:
            loop.call_soon(loop.stop)
            loop.run_forever()
        return seen[-1]

    yield look
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
