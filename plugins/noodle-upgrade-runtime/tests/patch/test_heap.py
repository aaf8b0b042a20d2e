"""Looking through the heap of a program that runs."""

import gc
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import pytest

from noodle_upgrade_runtime.heap import Heap, Moment, UnknownTupleError, tracked

SEARCHING = """
import asyncio, gc, resource, threading
from noodle_upgrade_runtime.heap import Heap

resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
stop = threading.Event()

async def wait_for_futures():
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        await future

thread = threading.Thread(target=asyncio.run, args=(wait_for_futures(),))
thread.start()
for _ in range(200):
    Heap(gc.get_objects()).holders([object()])
stop.set()
thread.join()
print("alive")
"""


def test_searching_the_heap_never_touches_what_compiled_modules_have_freed():
    ran = subprocess.run([sys.executable, "-c", SEARCHING], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "alive"), ran.stderr[-2000:]


class Held:
    """Something that others hold."""


class Named(NamedTuple):
    held: object


def test_asking_who_holds_something_finds_whoever_looking_at_everything_finds():
    one, cls = Held(), type("Own", (Held,), {})
    kept = [[one], {"key": one}, {one}, frozenset([one]), lambda: one, cls(), cls, Named(one)]
    cls.note = one
    everything, moment = Heap(tracked()).whole(), Moment([one, cls])
    ours = {id(held) for value in kept for held in (value, *gc.get_referents(value))}
    for targets in ([one], [cls], [one, cls]):
        told = [where.holders(targets) for where in (everything, moment)]
        found = [{id(holder) for holder in some if type(holder) is not tuple} & ours for some in told]
        assert found[0] == found[1] != set()
    assert moment.of([cls]) == [kept[5]]
    assert cls in moment.classes()


def test_a_tuple_that_is_not_known_is_told_where_it_matters():
    one, other = Held(), Held()
    kept = [(one, 1), (other, 1)]
    known = {id(kept[0])}
    assert Moment([one], known).has_holders_of([one])
    with pytest.raises(UnknownTupleError):
        Moment([one, other], known)
    with pytest.raises(UnknownTupleError):
        Moment([one], known).holders([other])
    assert not any(type(holder) is tuple for holder in Moment([one, other]).objects)
    kept.append([other])
    moment = Moment([one], known, others=[other])
    assert moment.has_holders_of([one, other])
    assert any(holder is kept[2] for holder in moment.holders([other]))


def test_of_what_was_not_asked_for_it_is_asked_then():
    one, other = Held(), Held()
    kept = [[one], [other]]
    moment = Moment([one])
    assert moment.has_holders_of([one])
    assert not moment.has_holders_of([one, other])
    assert any(holder is kept[1] for holder in moment.holders([other]))


def test_kinds_are_told_apart_whatever_their_metaclass_says_of_them():
    class Meta(type):
        def __hash__(cls):
            raise RuntimeError("asked")

        def __eq__(cls, other):
            raise RuntimeError("asked")

    odd = Meta("Odd", (), {})
    kept = [odd(), Held()]
    heap = Heap(kept)
    assert heap.of([odd]) == [kept[0]]
    assert heap.of([Held, odd]) == kept
    assert [id(kind) for kind in heap.kinds_below(odd)] == [id(odd)]


def test_a_tuple_that_a_thread_is_just_filling_is_left_to_it():
    over, failed = threading.Event(), []

    def fill():
        while not over.is_set():
            try:
                made = tuple(Held if number % 7 else Held() for number in range(400))
            except SystemError as error:
                failed.append(error)
                return
            assert len(made) == 400

    threads = [threading.Thread(target=fill) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        held = Moment([Held])
        assert not any(type(one) is tuple for one in held.objects)
        time.sleep(0.001)
        del held
    over.set()
    for thread in threads:
        thread.join()
    assert failed == []
