import asyncio
import inspect
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_runtime.routing import Router, routed_methods


def router(weight=0.0):
    made = Router(old_version="1.0", new_version="2.0", salt="fable 2.0")
    made.route(weight)
    return made


class Old:
    def call(self, fail=False):
        if fail:
            raise ValueError("old fails")
        return "old"

    def gone(self):
        return "old"

    async def later(self, gate=None):
        if gate is not None:
            await gate.wait()
        return "old"

    def count(self, n):
        got = yield from range(n)
        return got

    async def stream(self, n):
        for i in range(n):
            sent = yield i
            if sent:
                yield sent


class New(Old):
    gone = None

    def call(self, fail=False):
        if fail:
            raise ValueError("new fails")
        return "new"

    async def later(self, gate=None):
        return "new"


def methods(one):
    return {n: getattr(one, n) for n in ("call", "gone", "later", "count", "stream") if getattr(one, n) is not None}


def routed(made, key=None):
    return routed_methods(methods(Old()), methods(New()), made, key)


def test_no_weight_and_full_weight_are_exact():
    made = router()
    call = routed(made)["call"]
    assert {call() for _ in range(1000)} == {"old"}
    made.route(1.0)
    assert {call() for _ in range(1000)} == {"new"}
    old, new = made.arms()
    assert (old.calls, new.calls) == (1000, 1000)


@given(st.floats(min_value=0.001, max_value=0.999))
def test_any_share_is_met_within_a_few_calls_at_any_time(weight):
    made = router(weight)
    sent = 0
    for number in range(1, 400):
        sent += made.arm(None, (), {})
        assert abs(sent - weight * number) < 4


@given(st.lists(st.text(), min_size=1), st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_a_growing_share_never_moves_a_key_back(users, weights):
    made = router()
    seen = dict.fromkeys(users, 0)
    for weight in sorted(weights):
        made.route(weight)
        for user in users:
            arm = made.arm(lambda user: user, (user,), {})
            assert arm >= seen[user]
            assert made.arm(lambda user: user, (user,), {}) == arm
            seen[user] = arm


def test_keys_split_by_the_share_and_differently_for_the_next_upgrade():
    one = router(0.3)
    other = Router(old_version="2.0", new_version="3.0", salt="fable 3.0")
    other.route(0.3)
    users = [f"user-{n}" for n in range(2000)]
    first = {u for u in users if one.arm(lambda u: u, (u,), {})}
    second = {u for u in users if other.arm(lambda u: u, (u,), {})}
    assert 500 < len(first) < 700
    assert len(first & second) < 0.6 * len(first)


def test_an_error_counts_for_the_version_that_raised_it_and_reaches_the_caller():
    made = router(1.0)
    with pytest.raises(ValueError, match="new fails"):
        routed(made)["call"](fail=True)
    old, new = made.arms()
    assert (old.calls, old.errors, new.calls, new.errors) == (0, 0, 1, 1)
    assert new.last_error == "ValueError: new fails"


def test_a_method_that_only_one_version_has_is_missing_in_the_other_only():
    made = router()
    gone = routed(made)["gone"]
    assert gone() == "old"
    made.route(1.0)
    with pytest.raises(AttributeError, match="gone"):
        gone()
    assert made.arms()[1].errors == 1


def test_a_coroutine_stays_in_its_version_and_its_call_ends_when_it_ends():
    async def main():
        made = router()
        later = routed(made)["later"]
        assert inspect.iscoroutinefunction(later)
        gate = asyncio.Event()
        waiting = asyncio.create_task(later(gate))
        await asyncio.sleep(0)
        assert (made.arms()[0].in_flight, made.arms()[0].calls) == (1, 0)
        made.route(1.0)
        assert await later() == "new"
        gate.set()
        assert await waiting == "old"
        assert (made.arms()[0].in_flight, made.arms()[0].calls) == (0, 1)
        made.route(0.0)
        cancelled = asyncio.create_task(later(asyncio.Event()))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert (made.arms()[0].in_flight, made.arms()[0].errors) == (0, 0)

    asyncio.run(main())


def test_a_generator_takes_what_is_sent_and_its_call_ends_when_it_ends_or_is_closed():
    made = router()
    count = routed(made)["count"]
    whole = count(2)
    assert (next(whole), made.arms()[0].in_flight) == (0, 1)
    assert list(whole) == [1]
    closed = count(5)
    next(closed)
    closed.close()
    never = count(5)
    never.close()
    old = made.arms()[0]
    assert (old.calls, old.errors, old.in_flight) == (2, 0, 0)


def test_an_async_generator_takes_what_is_sent_and_is_counted():
    async def main():
        made = router()
        stream = routed(made)["stream"](2)
        assert await anext(stream) == 0
        assert await stream.asend("sent") == "sent"
        assert [item async for item in stream] == [1]
        half = routed(made)["stream"](5)
        await anext(half)
        await half.aclose()
        old = made.arms()[0]
        assert (old.calls, old.errors, old.in_flight) == (2, 0, 0)

    asyncio.run(main())


def test_a_plain_function_that_hands_out_a_coroutine_is_counted_until_that_ends():
    async def main():
        made = router()
        call = routed_methods({"f": lambda: Old().later()}, {"f": lambda: New().later()}, made, None)["f"]
        running = call()
        assert made.arms()[0].in_flight == 1
        assert await running == "old"
        assert made.arms()[0].in_flight == 0

    asyncio.run(main())


def test_no_call_is_lost_or_counted_twice_under_threads():
    made = router(0.5)
    call = routed(made)["call"]
    threads = [threading.Thread(target=lambda: [call() for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    old, new = made.arms()
    assert old.calls + new.calls == 8000
    assert sum(old.latency) + sum(new.latency) == 8000
    assert abs(old.calls - new.calls) <= 8
