"""Classes and objects that give way and that context variables hold."""

import asyncio
import contextvars
import sys
import threading

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

SPEC = "from collections import namedtuple\nSpec = namedtuple('Spec', 'FIELDS')\n"
OLD, NEW = SPEC.replace("FIELDS", "a b"), SPEC.replace("FIELDS", "a b c")


def fields(found):
    return found._fields


def test_a_context_variable_holds_the_class_that_takes_the_place_of_another_and_the_old_one_afterwards(package):
    module = package.load(OLD, NEW)
    variable = contextvars.ContextVar("held")
    context = contextvars.copy_context()
    context.run(variable.set, {"inside": module.Spec})
    others = [contextvars.ContextVar(f"other {number}") for number in range(40)]  # a tree of several nodes
    for other in others:
        context.run(other.set, module.Spec)
    old = id(module.Spec)
    variable.set(module.Spec)
    package.upgrade()
    assert variable.get() is module.Spec
    assert id(module.Spec) != old
    assert {context[other] for other in others} == {context[variable]["inside"]} == {module.Spec}
    assert fields(module.Spec) == ("a", "b", "c")
    package.rollback()
    assert id(module.Spec) == old
    assert {context[other] for other in others} == {context[variable]["inside"], variable.get()} == {module.Spec}


def test_contexts_of_other_threads_and_of_tasks_that_wait_are_told(package):
    module = package.load(OLD, NEW)
    variable = contextvars.ContextVar("held")
    begun, go_on, found = threading.Event(), threading.Event(), []

    def wait():
        variable.set(module.Spec)
        begun.set()
        go_on.wait()
        found.append(fields(variable.get()))

    async def task():
        variable.set([module.Spec])
        variable.set(module.Spec)
        await asyncio.sleep(0.05)
        found.append(fields(variable.get()))

    async def main():
        waiting = asyncio.create_task(task())
        await asyncio.sleep(0.01)
        package.upgrade()
        await waiting

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    asyncio.run(main())
    go_on.set()
    thread.join()
    assert found == [("a", "b", "c")] * 2


def test_the_context_that_the_change_is_made_in_is_told(package):
    module = package.load(OLD, NEW)
    variable = contextvars.ContextVar("held")

    def inside():
        variable.set(module.Spec)
        package.upgrade()
        new = fields(variable.get())
        package.rollback()
        return new, fields(variable.get())

    assert contextvars.copy_context().run(inside) == (("a", "b", "c"), ("a", "b"))


def test_a_context_that_another_thread_is_in_is_refused_by_name(package):
    module = package.load(OLD, NEW)
    variable = contextvars.ContextVar("held")
    begun, go_on = threading.Event(), threading.Event()

    def inside():
        variable.set(module.Spec)
        begun.set()
        go_on.wait()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(inside,))
    thread.start()
    begun.wait()
    prepared = package.stage()
    try:
        with pytest.raises(SwapRefusedError, match=r"a context that another thread is in holds .*Spec"):
            prepared.operations()
    finally:
        go_on.set()
        thread.join()
    package.upgrade()
    assert fields(sys.modules[package.name].Spec) == ("a", "b", "c")
