"""Classes and objects that give way and that local variables hold."""

import asyncio
import gc
import threading
import weakref

OLD, NEW = (
    f"from collections import namedtuple\nSpec = namedtuple('Spec', '{fields}')\n" for fields in ("a b", "a b c")
)


def fields(found):
    return found._fields


def test_generators_and_coroutines_that_wait_hold_the_new_class_and_the_old_one_afterwards(package):
    module = package.load(OLD, NEW)

    def generator(held):
        several = [held]
        while True:
            yield fields(held), fields(several[0])

    async def coroutine(held):
        await asyncio.sleep(0)
        return fields(held)

    async def agenerator(held):
        while True:
            yield fields(held)

    async def main():
        running, arunning = generator(module.Spec), agenerator(module.Spec)
        next(running)
        await anext(arunning)
        waiting = coroutine(module.Spec)
        waiting.send(None)
        package.upgrade()
        try:
            waiting.send(None)
        except StopIteration as ended:
            new = (next(running), ended.value, await anext(arunning))
        package.rollback()
        package.prepared.went_back()
        return new, next(running)

    abc, ab = ("a", "b", "c"), ("a", "b")
    assert asyncio.run(main()) == (((abc, abc), abc, abc), (ab, ab))


def test_a_call_that_runs_in_another_thread_holds_the_new_class_from_then_on(package):
    module = package.load(OLD, NEW)
    turns, found = [threading.Event() for _ in range(3)], []

    def run():
        held = closed = module.Spec

        def inner():
            return closed

        for turn in turns:
            turn.wait()
            found.append((fields(held), fields(inner())))

    thread = threading.Thread(target=run)
    thread.start()

    def see(number):
        turns[number].set()
        while len(found) <= number:
            threading.Event().wait(0.001)

    see(0)
    package.upgrade()
    see(1)
    package.rollback()
    package.prepared.went_back()
    see(2)
    thread.join()
    assert found == [(("a", "b"), ("a", "b")), (("a", "b", "c"), ("a", "b", "c")), (("a", "b"), ("a", "b"))]


def test_the_caller_of_the_change_holds_the_new_class(package):
    held = package.load(OLD, NEW).Spec
    old = fields(held)
    package.upgrade()
    assert (old, fields(held)) == (("a", "b"), ("a", "b", "c"))
    package.rollback()
    package.prepared.went_back()
    assert fields(held) == ("a", "b")


def test_what_a_variable_was_bound_to_since_stays(package):
    module = package.load(OLD, NEW)

    def generator(held):
        while True:
            held = (yield held) or held

    running = generator(module.Spec)
    next(running)
    package.upgrade()
    assert (
        fields(running.send(int.__class__ and tuple.__class__)) is not None if False else next(running) is module.Spec
    )
    assert running.send(str) is str
    package.rollback()
    package.prepared.went_back()
    assert next(running) is str


class Big:
    pass


def test_a_call_that_was_told_lets_go_of_what_it_has_when_it_ends(package):
    module = package.load(OLD, NEW)

    def generator(held, big):
        yield held
        yield big

    big = Big()
    gone = weakref.ref(big)
    running = generator(module.Spec, big)
    next(running)
    del big
    package.upgrade()
    del running
    gc.collect()
    assert gone() is None
