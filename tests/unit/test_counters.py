import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import counters
from noodle_upgrade_core.counters import ArmCounter
from noodle_upgrade_core.staged import LATENCY_BOUNDS, bucket_of


@given(
    nanoseconds=st.integers(0, 10**13)
    | st.sampled_from([1000 * 2**power + off for power in range(28) for off in (-1, 0, 1)])
)
def test_a_call_falls_into_the_bucket_of_its_length(nanoseconds):
    counter = ArmCounter("1")
    moments = iter([0, nanoseconds, 0, 0])
    real, counters._now = counters._now, lambda: next(moments)
    try:
        counter.leave(counter.enter())
        counted = counter.snapshot()
    finally:
        counters._now = real
    assert counted.latency.index(1) == bucket_of(nanoseconds / 1e9)
    assert len(counted.latency) == len(LATENCY_BOUNDS) + 1


def test_no_call_of_any_thread_is_lost_and_what_is_read_meanwhile_makes_sense():
    counter, threads, odd = ArmCounter("1"), 8, []

    def call():
        for number in range(5_000):
            counter.leave(counter.enter(), "boom" if number % 10 == 0 else "")

    working = [threading.Thread(target=call) for _ in range(threads)]
    for thread in working:
        thread.start()
    before = counter.snapshot()
    while any(thread.is_alive() for thread in working):
        now = counter.snapshot()
        if now.errors > now.calls or now.in_flight < 0 or now.calls < before.calls or now.in_flight > threads:
            odd.append(now)
        before = now
    assert not odd
    last = counter.snapshot()
    assert (last.calls, last.errors, last.in_flight) == (threads * 5_000, threads * 500, 0)
    assert last.last_error == "boom"


def test_very_many_threads_one_after_the_other_need_no_more_room_than_those_at_once():
    counter = ArmCounter("1")
    for _ in range(300):
        thread = threading.Thread(target=lambda: counter.leave(counter.enter()))
        thread.start()
        thread.join()
    assert counter.snapshot().calls == 300
    assert len(counter._cells) < 100


def test_a_call_that_ends_in_another_thread_than_it_began_in_is_one_call():
    counter = ArmCounter("1")
    started = counter.enter()
    thread = threading.Thread(target=counter.leave, args=(started,))
    thread.start()
    thread.join()
    counted = counter.snapshot()
    assert (counted.calls, counted.in_flight, counted.stalled) == (1, 0, 0.0)


def test_calls_stall_as_long_as_none_of_them_is_answered_whoever_else_comes_in():
    counter = ArmCounter("1")
    counter.enter()
    for _ in range(5):
        time.sleep(0.02)
        thread = threading.Thread(target=counter.enter)
        thread.start()
        thread.join()
    assert counter.snapshot().stalled >= 0.1
    counter.answer()
    assert counter.snapshot().stalled < 0.1
