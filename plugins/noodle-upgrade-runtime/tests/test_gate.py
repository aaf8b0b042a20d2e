"""State moves from version to version without losing what a single call does to it."""

import asyncio
import contextlib
import itertools
import threading
import time

import pytest

from noodle_upgrade_core.errors import DrainTimeoutError
from noodle_upgrade_runtime.gate import Gate
from noodle_upgrade_runtime.heap import tracked
from noodle_upgrade_runtime.swap import Quiet, RuntimeSwap

COUNTER = """
import time
class Service:
    def __init__(self): self.total = 0
    def add(self):
        self.total += 1
        return self.total
    async def add_later(self):
        import asyncio
        await asyncio.sleep(0)
        self.total += 1
        return self.total
    async def count_up(self):
        while True:
            sent = yield self.total
            self.total += sent or 1
    def export_state(self):
        total = self.total
        time.sleep(0.01)  # what every real one does in some way: it gives the interpreter away
        return total
    def import_state(self, total): self.total = total
"""


@pytest.fixture
def counter(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0", "3.0"):
        fable.write(version, COUNTER)
    fable.service = fable.handle()
    return fable


def test_no_call_of_any_thread_is_lost_while_the_state_moves_there_and_back(counter):
    service, stop, made = counter.service, threading.Event(), []

    def work():
        calls = 0
        while not stop.is_set():
            service.add()
            calls += 1
            time.sleep(0.0002)
        made.append(calls)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for old, new in (("1.0", "2.0"), ("2.0", "3.0")):
        swap = counter.stage(old, new)
        swap.shift(1.0)
        time.sleep(0.02)
        swap.revert()
        time.sleep(0.02)
        swap.shift(1.0)
        swap.commit()
    stop.set()
    for thread in threads:
        thread.join()
    assert service.total == sum(made)
    assert sum(made) > 100


def test_no_async_call_is_lost_while_the_state_moves(counter):
    async def main():
        stop, made = asyncio.Event(), 0

        async def work():
            nonlocal made
            while not stop.is_set():
                await counter.service.add_later()
                made += 1

        tasks = [asyncio.create_task(work()) for _ in range(4)]
        swap = await asyncio.to_thread(counter.stage, "1.0", "2.0")
        await asyncio.sleep(0.02)
        await asyncio.to_thread(swap.shift, 1.0)
        await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(*tasks)
        assert swap.running() == {"fable": "2.0"}
        return made

    assert asyncio.run(main()) == counter.service.total


@contextlib.asynccontextmanager
async def calls_on_the_loop(counter, pause):
    """Call plainly, so many seconds apart; yields what was answered."""
    stop, made = asyncio.Event(), []

    async def work():
        while not stop.is_set():
            made.append(counter.service.add())
            await asyncio.sleep(pause)

    task = asyncio.create_task(work())
    try:
        yield made
    finally:
        stop.set()
        await task


def test_plain_calls_on_an_event_loop_are_let_through_and_counted_in(counter):
    async def main():
        async with calls_on_the_loop(counter, 0.05) as made:
            swap = await asyncio.to_thread(counter.stage, "1.0", "2.0")
            await asyncio.to_thread(swap.shift, 1.0)
        return len(made)

    assert asyncio.run(main()) == counter.service.total


def test_calls_on_an_event_loop_that_fall_due_during_every_look_at_the_heap_do_not_hold_the_change_off(counter):
    ballast = [[] for _ in range(1_000_000)]
    begun = time.perf_counter()
    assert sum(type(one) is list for one in tracked()) >= len(ballast)
    look = time.perf_counter() - begun

    async def main():
        async with calls_on_the_loop(counter, look / 2) as made:
            swap = await asyncio.to_thread(counter.stage, "1.0", "2.0", within=60.0)
            await asyncio.to_thread(swap.shift, 1.0)
        return len(made)

    assert asyncio.run(main()) == counter.service.total


def test_when_calls_that_cannot_wait_never_pause_the_change_is_refused_and_nothing_is_lost(counter):
    async def main():
        async with calls_on_the_loop(counter, 0.001) as made:
            swap = await asyncio.to_thread(counter.stage, "1.0", "2.0", within=0.1)
            with pytest.raises(DrainTimeoutError, match="could not wait"):
                await asyncio.to_thread(swap.shift, 1.0)
            assert swap.running() == {"fable": "1.0"}
        return len(made)

    assert asyncio.run(main()) == counter.service.total


def test_a_gate_that_opens_without_a_change_leaves_the_handles_as_they_were(counter):
    before = dict(counter.service._noodle_.methods)
    with Gate([counter.service], within=1.0):
        assert dict(counter.service._noodle_.methods) != before
    assert dict(counter.service._noodle_.methods) == before
    assert counter.service.add.__self__ is counter.service._noodle_.bound.target
    assert counter.service.add() == 1


def test_calls_wait_at_a_gate_and_go_on_in_order_of_nothing_but_their_threads(counter):
    done = []
    with Gate([counter.service], within=10.0):
        threads = [threading.Thread(target=lambda: done.append(counter.service.add())) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        assert done == []
    for thread in threads:
        thread.join()
    assert sorted(done) == [1, 2, 3]


def test_calls_that_entered_before_and_are_counted_by_others_are_counted_here_too(counter):
    with Gate([counter.service], within=0.02, entered=lambda: 2) as gate:
        assert gate.mark == (0, 2)


def test_a_call_does_not_wait_for_ever(counter):
    with Gate([counter.service], within=0.02) as gate:
        thread = threading.Thread(target=counter.service.add)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        assert gate.mark == (1, 0)


def test_an_async_generator_that_begins_at_a_gate_is_sent_what_its_caller_sends(counter):
    async def main():
        with Gate([counter.service], within=10.0):
            running = counter.service.count_up()
            first = asyncio.create_task(anext(running))
            await asyncio.sleep(0.02)
            assert not first.done()
        assert await first == 0
        assert await running.asend(5) == 5
        await running.aclose()

    asyncio.run(main())


def test_a_version_whose_calls_hang_can_be_gone_back_from_and_who_was_inside_is_told(fable):
    fable.run("1.0")
    fable.write("1.0", "class Service:\n    def serve(self, inside, leave): return __version__\n")
    fable.write(
        "2.0",
        "class Service:\n    def serve(self, inside, leave):\n        inside.set()\n        leave.wait(30)\n",
    )
    service, told = fable.handle(), []
    part = fable.engine.stage((fable.change("1.0", "2.0"),), cancelled=lambda: False)
    from noodle_upgrade_runtime.names import Names

    quiet = Quiet(names=Names(["fable"]), within=0.05, forced=told.append)
    swap = RuntimeSwap([part], versions={"fable": ("1.0", "2.0")}, quiet=quiet, ledger={})
    swap.shift(1.0)
    swap.commit()
    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=service.serve, args=(inside, leave), name="hung-request")
    thread.start()
    inside.wait()
    try:
        swap.revert()
        assert service.serve(inside, leave) == "1.0"
        assert "hung-request" in told[0][0]
    finally:
        leave.set()
        thread.join()


def test_waiting_for_a_suspended_call_does_not_stop_the_rest_of_the_program(counter):
    async def main():
        call = counter.service.add_later()
        call.send(None)
        ballast = [[[]] for _ in range(300_000)]
        swap = await asyncio.to_thread(counter.stage, "1.0", "2.0", within=1.0)
        beats, stop = [], threading.Event()

        def beat():
            while not stop.is_set():
                beats.append(time.perf_counter())
                time.sleep(0.001)

        thread = threading.Thread(target=beat)
        thread.start()
        with pytest.raises(DrainTimeoutError, match="suspended"):
            await asyncio.to_thread(swap.shift, 1.0)
        stop.set()
        thread.join()
        del ballast
        with pytest.raises(StopIteration):
            call.send(None)
        return [b - a for a, b in itertools.pairwise(beats)]

    gaps = asyncio.run(main())
    # Not a measurement: that the program gets most of the time, where it got a tenth.
    assert sum(gap for gap in gaps if gap > 0.05) < 0.5 * sum(gaps)
