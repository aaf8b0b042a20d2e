"""Exceptions, tracebacks, source lines, warnings and logging."""

import inspect
import linecache
import logging
import traceback
import warnings

from matrix.probing import Group, both

GROUP = Group("Exceptions, tracebacks, source, logging")


@GROUP.probe(
    "`except Error` with the class that was imported before",
    **both("class Error(Exception):\n    def __str__(self): return '@@'\ndef f(): raise Error\n"),
    before="old",
    after="new",
    sees="catches what the new code raises",
)
def _(m):
    kind, f = m.Error, m.f

    def look():
        try:
            f()
        except kind as error:
            return str(error)

    return look


@GROUP.probe(
    "an exception that is held",
    **both(
        "class Error(Exception):\n    def __init__(self, n): self.n = n\n    def __str__(self): return f'@@ {self.n}'\n"
    ),
    before=("old 3", True),
    after=("new 3", True),
    sees="is an instance of the same class, with the new code",
)
def _(m):
    held, kind = m.Error(3), m.Error
    return lambda: (str(held), isinstance(held, m.Error) and kind is m.Error)


@GROUP.probe(
    "`except Base` when an exception gets another base",
    old="class One(Exception): pass\nclass Two(Exception): pass\nclass Error(One): pass\ndef f(): raise Error\n",
    new="class One(Exception): pass\nclass Two(Exception): pass\nclass Error(Two): pass\ndef f(): raise Error\n",
    before="one",
    after="two",
    sees="catches by the new bases",
)
def _(m):
    one, two, f = m.One, m.Two, m.f

    def look():
        try:
            f()
        except one:
            return "one"
        except two:
            return "two"

    return look


@GROUP.probe(
    "a user's exception that derives from the package's",
    **both(
        "class Error(Exception):\n    def __str__(self): return '@@'\ndef call(f):\n    try: f()\n    except Error as error: return ('@@ caught', str(error))\n"
    ),
    before=("old caught", "old"),
    after=("new caught", "new"),
    sees="is caught by the new code",
)
def _(m):
    kind = type("Mine", (m.Error,), {})

    def fail():
        raise kind

    return lambda: m.call(fail)


@GROUP.probe(
    "the line of a traceback",
    old="def f():\n    raise ValueError  # old line\n",
    new="\n\n# moved\ndef f():\n    raise ValueError  # new line\n",
    before=(2, "raise ValueError  # old line", "1.0"),
    after=(5, "raise ValueError  # new line", "2.0"),
    sees="is that of the new source, in the new file",
)
def _(m):
    f = m.f

    def look():
        try:
            f()
        except ValueError as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            return last.lineno, last.line, last.filename.split("/")[-3]

    return look


@GROUP.probe(
    "a traceback that was kept from before",
    old="def f():\n    raise ValueError  # old line\nkind = 'old'\n",
    new="\n\n# moved\ndef f():\n    raise ValueError  # new line\nkind = 'new'\n",
    before=("raise ValueError  # old line", "old"),
    after=("raise ValueError  # old line", "new"),
    fresh=("raise ValueError  # new line", "new"),
    later=("raise ValueError  # new line", "old"),
    sees="shows the line that it was raised at",
    back="shows the line that it was raised at",
)
def _(m):
    try:
        m.f()
    except ValueError as error:
        kept = error.__traceback__
    return lambda: (traceback.extract_tb(kept)[-1].line, m.kind)


@GROUP.probe(
    "`inspect.getsource`, `getsourcefile` and `linecache`",
    old="def f():\n    return 'old'\nclass A:\n    kind = 'old'\n",
    new="# moved\ndef f():\n    return 'new'\nclass A:\n    kind = 'new'\n",
    before=("def f():\n    return 'old'\n", "class A:\n    kind = 'old'\n", "1.0", 1),
    after=("def f():\n    return 'new'\n", "class A:\n    kind = 'new'\n", "2.0", 2),
    sees="show the new source",
)
def _(m):
    f, cls = m.f, m.A
    linecache.getlines(m.__file__)
    return lambda: (
        inspect.getsource(f),
        inspect.getsource(cls),
        inspect.getsourcefile(f).split("/")[-3],
        f.__code__.co_firstlineno,
    )


@GROUP.probe(
    "`inspect.getsource` of a closure that was made before",
    old="def make():\n    def inner():\n        return 'old'\n    return inner\n",
    new="# moved\ndef make():\n    def inner():\n        return 'new'\n    return inner\n",
    before="return 'old'",
    after="return 'new'",
    sees="shows the new source",
)
def _(m):
    held = m.make()
    return lambda: inspect.getsource(held).splitlines()[1].strip()


@GROUP.probe(
    "a warning of the package",
    **both("import warnings\nclass Old(UserWarning): pass\ndef f(): warnings.warn('@@', Old)\n"),
    before=("old", True),
    after=("new", True),
    sees="is of the class that a filter of the program names",
)
def _(m):
    f, kind = m.f, m.Old

    def look():
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", kind)
            f()
        return str(seen[0].message), seen[0].category is m.Old

    return look


@GROUP.probe(
    "a logger of the package, with the program's level and handlers",
    **both("import logging\nlog = logging.getLogger(__name__)\ndef f(): log.debug('@@')\n"),
    before=("old", True),
    after=("new", True),
    sees="is the same logger, as the program has set it",
)
def _(m):
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    m.log.addHandler(handler)
    m.log.setLevel(logging.DEBUG)
    held = m.log

    def look():
        m.f()
        return seen[-1], held is m.log is logging.getLogger(m.__name__)

    yield look
    held.removeHandler(handler)


@GROUP.probe(
    "a logging handler, filter and formatter of the package in the program's logger",
    **both("""
    import logging
    seen = []
    class Handler(logging.Handler):
        def emit(self, record): seen.append(("@@", self.format(record)))
    class Formatter(logging.Formatter):
        def format(self, record): return "@@ " + record.getMessage()
    def allow(record): return True
    """),
    before=("old", "old hello"),
    after=("new", "new hello"),
    sees="run the new code",
)
def _(m):
    logger, handler = logging.getLogger(f"program_of_{m.__name__}"), m.Handler()
    handler.setFormatter(m.Formatter())
    handler.addFilter(m.allow)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def look():
        logger.info("hello")
        return m.seen.pop()

    return look


@GROUP.probe(
    "an exception group and `except*`",
    **both(
        "class Error(Exception):\n    def __str__(self): return '@@'\ndef f(): raise ExceptionGroup('g', [Error(), ValueError()])\n"
    ),
    before=["old"],
    after=["new"],
    sees="catches what the new code raises",
)
def _(m):
    kind, f = m.Error, m.f

    def look():
        seen = []
        try:
            try:
                f()
            except* kind as group:
                seen = [str(each) for each in group.exceptions]
        except* ValueError:
            pass
        return seen

    return look


@GROUP.probe(
    "an exception that becomes another one, with an alias for the old name",
    old="class Error(Exception): pass\ndef f(): raise Error('old')\n",
    new="class NewError(Exception): pass\nError = NewError\ndef f(): raise NewError('new')\n",
    before="old",
    after="new",
    sees="is caught under the old name",
)
def _(m):
    kind, f = m.Error, m.f

    def look():
        try:
            f()
        except kind as error:
            return str(error)

    return look


@GROUP.probe(
    "a traceback of a line that has not changed, in a file that has",
    old="def g(): pass\ndef f():\n    raise ValueError  # the line\n",
    new="def f():\n    raise ValueError  # the line\ndef g(): return 'new'\n",
    before=(3, "raise ValueError  # the line"),
    after=(2, "raise ValueError  # the line"),
    sees="has the new number",
)
def _(m):
    f = m.f

    def look():
        try:
            f()
        except ValueError as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            return last.lineno, last.line

    return look
