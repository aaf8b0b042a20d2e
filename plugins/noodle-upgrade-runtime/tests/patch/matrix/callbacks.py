"""What comes back to the package later, from elsewhere: threads, callbacks, hooks, contexts."""

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import signal
import sys
import threading
import types

from matrix.probing import Group, both

GROUP = Group("Scheduled, registered, in other threads")


@GROUP.probe(
    "an `ExitStack` with callbacks of the package",
    **both("seen = []\ndef done(): seen.append('@@')\n"),
    before="old",
    after="new",
    sees="calls the new ones",
)
def _(m):
    stacks = [contextlib.ExitStack() for _ in range(9)]
    for each in stacks:
        each.callback(m.done)

    def look():
        stacks.pop().close()
        return m.seen.pop()

    return look


@GROUP.probe(
    "a thread in a loop of the program's that calls the package",
    **both("def f(): return '@@'\n"),
    before="old",
    after="new",
    sees="calls the new one from its next call on",
)
def _(m):
    thread = Turns(m.f)
    yield thread.turn
    thread.end()


@GROUP.probe(
    "a thread in a loop inside of the package",
    **both(
        "def step(): return '@@'\ndef serve(turns):\n    for answer in turns:\n        answer(('@@ loop', step()))\n"
    ),
    before=("old loop", "old"),
    after=("old loop", "new"),
    fresh=("new loop", "new"),
    later=("new loop", "old"),
    sees="stays in its old loop, and calls new functions (a change waits for such a thread first, and is refused if it stays)",
    back="stays in its loop, and calls old functions",
)
def _(m):
    thread = Turns(m.serve, loops=True)
    yield thread.turn
    thread.end()


class Turns:
    """A thread that takes one turn at a time, when it is asked to."""

    def __init__(self, function, *, loops=False):
        self.asked, self.answered = threading.Semaphore(0), threading.Semaphore(0)
        self.seen, self.over = [], False
        body = (lambda: function(self.turns())) if loops else (lambda: [a(function()) for a in self.turns()])
        self.thread = threading.Thread(target=body, daemon=True)
        self.thread.start()

    def turns(self):
        while True:
            assert self.asked.acquire(timeout=20)
            if self.over:
                return
            yield self.seen.append
            self.answered.release()

    def turn(self):
        self.asked.release()
        assert self.answered.acquire(timeout=20)
        return self.seen[-1]

    def end(self):
        self.over = True
        self.asked.release()
        self.thread.join(20)


@GROUP.probe(
    "a `threading.Thread` and a `Timer` that are not started",
    **both("seen = []\nclass Job:\n    def run(self): seen.append('@@')\ndef done(): seen.append('@@')\n"),
    before=["old", "old"],
    after=["new", "new"],
    sees="run the new code",
)
def _(m):
    threads = [(threading.Thread(target=m.Job().run), threading.Timer(0, m.done)) for _ in range(9)]

    def look():
        for each in threads.pop():
            each.start()
            each.join()
        found, m.seen[:] = list(m.seen), []
        return found

    return look


@GROUP.probe(
    "an entry in the queue of an executor",
    **both("class Job:\n    def run(self): return '@@'\n"),
    before="old",
    after="new",
    sees="runs the new code",
)
def _(m):
    free = threading.Semaphore(0)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    queued = []
    for _ in range(9):
        pool.submit(free.acquire)
        queued.insert(0, pool.submit(m.Job().run))

    def look():
        free.release()
        return queued.pop().result(20)

    yield look
    free.release(20)
    pool.shutdown()


@GROUP.probe(
    "a callback on a future",
    **both("seen = []\ndef done(future): seen.append('@@')\n"),
    before="old",
    after="new",
    sees="is the new one",
)
def _(m):
    futures = [concurrent.futures.Future() for _ in range(9)]
    for each in futures:
        each.add_done_callback(m.done)

    def look():
        futures.pop().set_result(1)
        return m.seen.pop()

    return look


@GROUP.probe(
    "`loop.call_later` and `call_soon` with a bound method",
    **both("class Job:\n    def __init__(self): self.seen = []\n    def run(self): self.seen.append('@@')\n"),
    before="old",
    after="new",
    sees="run the new code",
)
def _(m):
    loop = asyncio.new_event_loop()
    jobs = []
    for number in range(9):
        jobs.insert(0, m.Job())
        loop.call_later(number * 1e9, jobs[0].run)
    times = iter(range(9))
    loop.time = lambda now=[0.0]: now[0]
    began = min(handle.when() for handle in loop._scheduled)

    def look():
        now = began + next(times) * 1e9 + 1
        loop.time = lambda: now
        loop.call_soon(loop.stop)
        loop.run_forever()
        return jobs.pop().seen.pop()

    yield look
    loop.close()


@GROUP.probe(
    "`atexit`, a signal handler, `sys.excepthook`, `threading.excepthook`",
    **both("seen = []\ndef handler(*args): seen.append('@@')\n"),
    before=["old"] * 3,
    after=["new"] * 3,
    sees="are the same functions, with the new code",
)
def _(m):
    was = signal.signal(signal.SIGUSR2, m.handler), sys.excepthook, threading.excepthook
    sys.excepthook = threading.excepthook = m.handler
    atexit.register(m.handler)

    def look():
        signal.raise_signal(signal.SIGUSR2)
        sys.excepthook(ValueError, ValueError(), None)
        threading.excepthook(types.SimpleNamespace())
        found, m.seen[:] = list(m.seen), []
        return found

    yield look
    signal.signal(signal.SIGUSR2, was[0])
    sys.excepthook, threading.excepthook = was[1:]
    atexit.unregister(m.handler)


@GROUP.probe(
    "a context variable: its value, its token, a copied context",
    **both(
        "import contextvars\nclass V:\n    def m(self): return '@@'\nvariable = contextvars.ContextVar('variable')\ndef read(): return ('@@', variable.get('none'))\n"
    ),
    before=("old", "mine", "old"),
    after=("new", "mine", "new"),
    sees="is the same variable with the program's value, which runs the new code",
)
def _(m):
    held = m.V()
    context = contextvars.copy_context()
    context.run(m.variable.set, held)

    def look():
        who, value = context.run(m.read)
        return who, "mine" if value is held else value, context[m.variable].m()

    return look


@GROUP.probe(
    "a context variable of which the default changes",
    **both(
        "import contextvars\nvariable = contextvars.ContextVar('variable', default='@@')\ndef read(): return ('@@', variable.get())\n"
    ),
    before=("old", "old"),
    after=("new", "old"),
    told="'variable' keeps the default",
    sees="keeps its default; the plan says so",
)
def _(m):
    return m.read


@GROUP.probe(
    "thread locals",
    **both(
        "import threading\nlocal = threading.local()\nclass Local(threading.local):\n    kind = '@@'\n    n = 0\nmine = Local()\ndef read(): return ('@@', local.value, mine.n, mine.kind)\n"
    ),
    before=("old", 5, 6, "old"),
    after=("new", 5, 6, "new"),
    sees="are the same, with what each thread has put there",
)
def _(m):
    m.local.value, m.mine.n = 5, 6
    return m.read


@GROUP.probe(
    "a lock that is held",
    **both("import threading\nlock = threading.RLock()\ndef read():\n    with lock: return '@@'\n"),
    before=("old", True),
    after=("new", True),
    sees="is the same lock, and held",
)
def _(m):
    lock = m.lock
    lock.acquire()
    yield lambda: (m.read(), lock is m.lock and lock._is_owned())
    lock.release()
