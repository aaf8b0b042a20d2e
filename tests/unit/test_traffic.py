import asyncio
import threading
import time

import pytest

from noodle_upgrade_core.traffic import ArmCounter, Gauge


def test_counts_from_many_threads_are_all_there():
    counter = ArmCounter("1")

    def work():
        for index in range(1000):
            started = counter.enter()
            counter.leave(started, "bad" if index % 10 == 0 else "")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arm = counter.snapshot()
    assert (arm.calls, arm.errors, arm.in_flight) == (4000, 400, 0)
    assert sum(arm.latency) == 4000
    assert arm.last_error == "bad"


def test_nothing_is_counted_when_no_deployment_runs():
    assert Gauge().counters == ()


def test_calls_are_counted_for_the_version_that_was_live_when_they_began():
    gauge = Gauge()
    counting = gauge.count("1", "2")
    (first,) = gauge.counters
    started = first.enter()
    counting.turn(to_new=True)
    first.leave(started)
    (second,) = gauge.counters
    second.leave(second.enter(), "boom")
    seen = counting.measure(1.0, 1.0)
    assert (seen.old.version, seen.old.calls, seen.old.errors) == ("1", 1, 0)
    assert (seen.new.version, seen.new.calls, seen.new.errors) == ("2", 1, 1)
    counting.stop()
    assert gauge.counters == ()
    counting.turn(to_new=False)
    assert gauge.counters == ()


def test_deployments_at_the_same_time_each_count_every_call_for_themselves():
    gauge = Gauge()
    lamp, book = gauge.count("1", "2"), gauge.count("7", "8")
    lamp.turn(to_new=True)

    async def app(scope, receive, send):
        raise ValueError("broken")

    async def ask():
        with pytest.raises(ValueError, match="broken"):
            await gauge.asgi(app)({"type": "http"}, None, None)

    asyncio.run(ask())
    book.stop()
    asyncio.run(ask())
    gauge.wsgi(lambda environ, start_response: [])({}, None).close()
    seen, other = lamp.measure(0, 1), book.measure(0, 0)
    assert [(seen.old.calls, seen.old.errors), (seen.new.calls, seen.new.errors)] == [(0, 0), (3, 2)]
    assert [(other.old.calls, other.old.errors), (other.new.calls, other.new.errors)] == [(1, 1), (0, 0)]


async def respond(status, send):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_an_asgi_request_that_raises_or_answers_5xx_is_an_error():
    gauge = Gauge()
    counting = gauge.count("1", "2")

    async def app(scope, receive, send):
        if scope["path"] == "/raise":
            raise ValueError("broken")
        await respond(503 if scope["path"] == "/503" else 404, send)

    async def run():
        wrapped = gauge.asgi(app)

        async def send(message):
            pass

        await wrapped({"type": "http", "path": "/"}, None, send)
        await wrapped({"type": "http", "path": "/503"}, None, send)
        with pytest.raises(ValueError, match="broken"):
            await wrapped({"type": "http", "path": "/raise"}, None, send)

    asyncio.run(run())
    arm = counting.measure(0, 0).old
    assert (arm.calls, arm.errors, arm.last_error) == (3, 2, "ValueError: broken")
    assert gauge.under_way == 0


def test_a_quiet_moment_has_no_request_half_way_and_holds_new_ones_back():
    gauge = Gauge()
    events = []

    async def app(scope, receive, send):
        events.append(f"begin {scope['path']}")
        await asyncio.sleep(0.02)
        events.append(f"end {scope['path']}")

    async def run():
        wrapped = gauge.asgi(app)
        first = asyncio.create_task(wrapped({"type": "http", "path": "first"}, None, None))
        await asyncio.sleep(0.005)
        async with gauge.quiet(5.0) as under_way:
            second = asyncio.create_task(wrapped({"type": "http", "path": "second"}, None, None))
            await asyncio.sleep(0.01)
            events.append("change")
            assert under_way() == 0
        await asyncio.gather(first, second)

    asyncio.run(run())
    assert events == ["begin first", "end first", "change", "begin second", "end second"]


def test_a_request_that_does_not_end_does_not_hold_the_others_for_longer_than_allowed():
    gauge = Gauge()

    async def run():
        leave = asyncio.Event()

        async def app(scope, receive, send):
            if scope["path"] == "slow":
                await leave.wait()

        wrapped = gauge.asgi(app)
        slow = asyncio.create_task(wrapped({"type": "http", "path": "slow"}, None, None))
        await asyncio.sleep(0)
        async with gauge.quiet(0.01) as under_way:
            assert under_way() == 1
            await asyncio.wait_for(wrapped({"type": "http", "path": "quick"}, None, None), 5)
        leave.set()
        await slow

    asyncio.run(run())
    assert gauge.under_way == 0


def test_calls_that_take_longer_than_a_change_would_wait_are_counted_and_nobody_is_held_back():
    gauge = Gauge()

    async def run():
        leave = asyncio.Event()

        async def app(scope, receive, send):
            if scope["path"] == "slow":
                await leave.wait()

        async def call(path):
            await gauge.asgi(app)({"type": "http", "path": path}, None, None)

        assert await gauge.lingering(5.0) == 0
        slow = [asyncio.create_task(call("slow")) for _ in range(3)]
        await asyncio.sleep(0)
        looks = [asyncio.create_task(gauge.lingering(0.05)) for _ in range(2)]
        await asyncio.sleep(0)
        late = asyncio.create_task(call("slow"))
        await asyncio.wait_for(call("quick"), 5)
        assert await asyncio.gather(*looks) == [3, 3]
        assert gauge.under_way == 4
        leave.set()
        await asyncio.gather(*slow, late)
        assert await gauge.lingering(5.0) == 0
        assert gauge.under_way == 0

    asyncio.run(run())


def test_a_wsgi_request_ends_when_its_body_is_closed():
    gauge = Gauge()
    counting = gauge.count("1", "2")

    def app(environ, start_response):
        start_response("500 Oops", [])
        return iter([b"a", b"b"])

    body = gauge.wsgi(app)({}, lambda status, headers: None)
    assert gauge.under_way == 1
    assert b"".join(body) == b"ab"
    body.close()
    body.close()
    assert gauge.under_way == 0
    arm = counting.measure(0, 0).old
    assert (arm.calls, arm.errors) == (1, 1)


def test_a_wsgi_application_that_raises_leaves_nothing_under_way():
    gauge = Gauge()

    def app(environ, start_response):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        gauge.wsgi(app)({}, lambda status, headers: None)
    assert gauge.under_way == 0


def test_wsgi_threads_wait_outside_a_quiet_moment():
    gauge = Gauge()
    order = []

    def app(environ, start_response):
        order.append("request")
        return []

    async def run():
        async with gauge.quiet(1.0):
            thread = threading.Thread(target=lambda: gauge.wsgi(app)({}, None).close())
            thread.start()
            await asyncio.sleep(0.02)
            order.append("change")
        return thread

    asyncio.run(run()).join()
    assert order == ["change", "request"]


def test_a_call_measures_the_time_that_it_took():
    counter = ArmCounter("1")
    started = counter.enter()
    counter.leave(started - 500_000_000)
    slow = [index for index, count in enumerate(counter.snapshot().latency) if count]
    counter.leave(time.perf_counter_ns())
    assert slow[0] > 18  # above a quarter of a second


def test_a_request_that_ends_the_program_is_an_error_and_one_that_was_cancelled_is_none():
    gauge = Gauge()
    counting = gauge.count("1", "2")

    def app(raised):
        async def answer(scope, receive, send):
            raise raised

        return gauge.asgi(answer)

    async def ask(raised):
        with pytest.raises(type(raised)):
            await app(raised)({"type": "http"}, None, None)

    for raised in (SystemExit(1), asyncio.CancelledError(), KeyboardInterrupt("mine")):
        asyncio.run(_outlived(ask(raised)))
    arm = counting.measure(0, 0).old
    assert (arm.calls, arm.errors, arm.last_error) == (3, 2, "KeyboardInterrupt: mine")


async def _outlived(coroutine):
    await coroutine


def test_calls_that_nobody_answers_are_seen_to_stall_and_a_stream_is_answered_when_it_begins():
    counter = ArmCounter("1")
    assert counter.snapshot().stalled == 0
    first = counter.enter()
    time.sleep(0.02)
    assert counter.snapshot().stalled >= 0.02
    counter.answer()
    assert counter.snapshot().stalled == 0
    assert counter.snapshot().in_flight == 1
    counter.leave(first, answered=True)
    second = counter.enter()
    counter.leave(second)
    assert (counter.snapshot().stalled, counter.snapshot().calls) == (0, 2)


def test_a_change_that_takes_long_does_not_hold_requests_for_longer_than_allowed():
    gauge = Gauge()

    async def app(scope, receive, send):
        pass

    async def run():
        async with gauge.quiet(0.02) as under_way:
            assert under_way() == 0
            began = time.monotonic()
            await asyncio.wait_for(gauge.asgi(app)({"type": "http"}, None, None), 5)
            assert time.monotonic() - began >= 0.01
        assert gauge._holders == 0

    asyncio.run(run())
