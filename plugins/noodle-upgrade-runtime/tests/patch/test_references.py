"""What the reference matrix does not show: when a change is seen, and what of modules and globals is the same."""

from __future__ import annotations

import sys
import threading
import traceback
import types


def test_a_generator_that_runs_ends_on_the_version_that_it_began_in(package):
    module = package.load(
        "def f():\n    yield 'old 1'\n    yield 'old 2'\n", "def f():\n    yield 'new 1'\n    yield 'new 2'\n"
    )
    running = module.f()
    assert next(running) == "old 1"
    package.upgrade()
    assert next(running) == "old 2"
    assert list(module.f()) == ["new 1", "new 2"]


def test_a_thread_in_a_loop_calls_the_new_version_from_its_next_call_on(package):
    module = package.load("def f(): return 'old'\n", "def f(): return 'new'\n")
    seen, stop = [], threading.Event()

    def loop(f=module.f):
        while not stop.is_set():
            seen.append(f())
            stop.wait(0.001)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        package.upgrade()
        while not seen or seen[-1] != "new":
            stop.wait(0.001)
    finally:
        stop.set()
        thread.join()
    assert seen == sorted(seen, reverse=True)


def test_a_traceback_shows_the_line_of_the_new_source(package):
    module = package.load(
        "def f():\n    raise ValueError\n", "\n\n# moved\ndef f():\n    raise ValueError  # new line\n"
    )
    package.upgrade()
    try:
        module.f()
    except ValueError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
    assert (frame.lineno, frame.line) == (5, "raise ValueError  # new line")
    assert frame.filename == str(package.folder / "2.0" / package.name / "__init__.py")


def test_what_is_imported_later_comes_from_the_new_version(package):
    module = package.load("", "", later=("", "who = 'new'\n"))
    package.upgrade()
    later = __import__(f"{package.name}.later", fromlist=["who"])
    assert later.who == "new"
    assert module.later is later


def test_a_module_that_the_new_version_does_not_have_is_gone_and_comes_back(package):
    module = package.load("from . import extra\n", "", extra=("x = 1\n", ""))
    extra = module.extra
    package.upgrade()
    assert f"{package.name}.extra" not in sys.modules
    assert not hasattr(module, "extra")
    package.rollback()
    assert sys.modules[f"{package.name}.extra"] is extra is module.extra


def test_a_module_that_is_new_is_there_after_the_commit_only(package):
    module = package.load("", "from . import fresh\nfresh_value = fresh.g()\n", fresh=("", "def g(): return 'fresh'\n"))
    package.stage()
    assert f"{package.name}.fresh" not in sys.modules
    package.upgrade()
    assert module.fresh.g() == "fresh"
    assert sys.modules[f"{package.name}.fresh"] is module.fresh
    package.rollback()
    assert f"{package.name}.fresh" not in sys.modules
    assert not hasattr(module, "fresh")


def test_functions_keep_their_identity_and_their_globals(package):
    module = package.load("x = 1\ndef f(): return x\n", "x = 2\ndef f(): return x + 1\n")
    f, namespace = module.f, vars(module)
    package.upgrade()
    assert module.f is f
    assert f.__globals__ is namespace
    module.x = 10
    assert f() == 11
    assert isinstance(f, types.FunctionType)
