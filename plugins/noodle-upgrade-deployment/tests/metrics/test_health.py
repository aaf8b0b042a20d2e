import asyncio
import json
import subprocess
import sys
import threading
import time

import pytest
from answering import drip, flood, hang, raw_answer, redirect_to, served
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import Severity
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.health import HealthCheck, HealthChecks, Http


def check(of, **more) -> HealthCheck:
    return HealthCheck(**{"name": "shop", "of": of, "kind": "live", "every": 0, "failures": 1} | more)


def asked(of, times=1, **more):
    """What is found after so many times."""

    async def ask():
        health = HealthChecks([check(of, **more)])
        return [await health.ask(more.get("kind", "live")) for _ in range(times)][-1]

    return asyncio.run(ask())


def raising(error):
    def raise_it():
        raise error

    return raise_it


def async_of(function):
    async def asynchronous():
        await asyncio.sleep(0)
        return function()

    return asynchronous


both = pytest.mark.parametrize("as_given", [lambda one: one, async_of])


@both
@pytest.mark.parametrize("value", [None, True])
def test_a_function_says_that_all_is_well_by_true_or_nothing(as_given, value):
    assert asked(as_given(lambda: value)) == ()


@both
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: False, "said that it is not well"),
        (lambda: float("nan"), "returned nan, which is neither true nor false"),
        (lambda: 1, "returned 1, which is neither"),
        (lambda: "ok", "returned 'ok', which is neither"),
        (lambda: [0] * 10**6, "which is neither"),
        (raising(OSError("no database")), "failed: OSError: no database"),
        (raising(SystemExit(3)), "failed: SystemExit: 3"),
        (raising(KeyboardInterrupt()), "failed: KeyboardInterrupt"),
        (raising(BaseException("odd")), "failed: BaseException: odd"),
        (raising(asyncio.CancelledError()), "failed: CancelledError"),
        (raising(StopIteration()), "failed: "),
    ],
)
def test_whatever_else_a_function_does_is_not_well_and_ends_nobody_else(as_given, function, words):
    (found,) = asked(as_given(function))
    assert (found.severity, found.code, found.subject) == (Severity.ERROR, "health.failed", "shop")
    assert words in found.message
    assert len(found.message) < 400


def test_a_plain_function_that_returns_something_to_await_is_awaited():
    assert asked(lambda: async_of(lambda: True)()) == ()
    assert asked(lambda: async_of(lambda: False)()) != ()


def test_plain_functions_hold_nobody_up_and_all_are_asked_at_once():
    over = threading.Event()

    async def ask():
        health = HealthChecks([check(lambda: over.wait(0.3), name=str(number), timeout=5.0) for number in range(20)])
        ticks, began = 0, time.monotonic()
        asking = asyncio.ensure_future(health.ask("live"))
        while not asking.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return len(await asking), ticks, time.monotonic() - began

    found, ticks, seconds = asyncio.run(ask())
    assert found == 20
    assert ticks > 5
    assert seconds < 2.0


def test_a_function_that_hangs_has_one_thread_and_is_not_called_again():
    over, calls = threading.Event(), []

    def hangs():
        calls.append(1)
        over.wait(30)

    async def ask():
        health = HealthChecks([check(hangs, timeout=0.05, failures=2)])
        return [await health.ask("live") for _ in range(5)]

    try:
        found = asyncio.run(ask())
        assert [len(one) for one in found] == [0, 1, 1, 1, 1]
        assert "has not come back from the time before" in found[-1][0].message
        assert len(calls) == 1
    finally:
        over.set()


def test_one_that_takes_no_notice_of_being_cancelled_holds_nobody_up():
    async def ask():
        stubborn_ended = asyncio.Event()

        async def stubborn():
            while not stubborn_ended.is_set():
                try:
                    await stubborn_ended.wait()
                except asyncio.CancelledError:
                    continue

        health, began = HealthChecks([check(stubborn, timeout=0.05)]), time.monotonic()
        found = [await health.ask("live") for _ in range(2)]
        took = time.monotonic() - began
        stubborn_ended.set()
        await asyncio.sleep(0.01)
        return found, took

    found, took = asyncio.run(ask())
    assert "took longer than 0.05 s" in found[0][0].message
    assert took < 1.0


def test_a_program_ends_although_a_check_hangs():
    program = """
import asyncio, threading
from noodle_upgrade_deployment.health import HealthCheck, HealthChecks
check = HealthCheck(name="hangs", of=lambda: threading.Event().wait(), kind="live", timeout=0.1, failures=1)
print(len(asyncio.run(HealthChecks([check]).ask("live"))))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_whoever_gives_up_asking_leaves_nothing_behind():
    async def ask():
        ended = asyncio.Event()

        async def slow():
            try:
                await asyncio.sleep(30)
            finally:
                ended.set()

        asking = asyncio.ensure_future(HealthChecks([check(slow, timeout=30)]).ask("live"))
        await asyncio.sleep(0.02)
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.wait_for(ended.wait(), 2)

    asyncio.run(ask())


# --- over HTTP -------------------------------------------------------------------------------------------------------


def test_an_address_is_well_when_it_answers_with_the_status_that_is_expected(server):
    server.answer = lambda request: raw_answer(request, b"fine", status=204)
    assert asked(Http(f"{server.url}/ready", expect=204)) == ()
    (found,) = asked(Http(f"{server.url}/ready"))
    assert "answered with status 204, not 200" in found.message
    assert server.asked[0][0] == "/ready"


def test_a_redirect_is_not_followed(server):
    with served() as other:
        server.answer = redirect_to(other.url)
        (found,) = asked(Http(server.url))
        assert "status 302" in found.message
        assert other.asked == []


def test_a_huge_body_is_not_read(server):
    server.answer = flood
    began = time.monotonic()
    assert asked(Http(server.url), timeout=5.0) == ()
    assert time.monotonic() - began < 3.0


def test_a_body_that_drips_is_not_waited_for(server):
    server.answer = drip(server)
    assert asked(Http(server.url), timeout=2.0) == ()


def test_a_server_that_hangs_is_given_up_in_time(server):
    server.answer = hang(server)
    began = time.monotonic()
    (found,) = asked(Http(server.url), timeout=0.2)
    assert "did not answer within 0.2 s" in found.message
    assert time.monotonic() - began < 3.0


def test_nobody_at_the_address_and_what_is_no_http_are_not_well():
    with served() as gone:
        pass
    (found,) = asked(Http(gone.url))
    assert "could not be asked" in found.message


def test_an_answer_that_is_not_http_is_not_well(server):
    server.answer = lambda request: request.connection.sendall(b"\x00\xff what? \r\n\r\n")
    (found,) = asked(Http(server.url))
    assert "could not be asked" in found.message


# --- in a row --------------------------------------------------------------------------------------------------------


def course(results, **more):
    """Whether it is healthy after each of these results."""

    async def ask():
        left = iter(results)
        health = HealthChecks([check(lambda: next(left), **more)])
        return [await health.ask(more.get("kind", "live")) == () for _ in results]

    return asyncio.run(ask())


def test_three_failures_in_a_row_make_it_unhealthy_and_not_four():
    assert course([False, False, False, True], failures=3) == [True, True, False, True]
    assert course([False, False, True, False, False, True], failures=3) == [True] * 6


def test_two_successes_in_a_row_make_it_healthy_again():
    assert course([False, True, False, True, True], failures=1, successes=2) == [False, False, False, False, True]


def test_what_is_not_known_yet_is_not_ready_and_has_not_started_but_lives():
    assert course([False, True, False], kind="ready", failures=2) == [False, True, True]
    assert course([True, True], kind="ready", successes=2) == [False, True]
    assert course([False], kind="startup", failures=9) == [False]
    assert course([False], kind="live", failures=9) == [True]


def test_what_has_started_is_not_asked_again():
    assert course([True, False, False], kind="startup", failures=1) == [True, True, True]


@given(st.lists(st.booleans(), max_size=20), st.integers(1, 4), st.integers(1, 4))
def test_in_a_row_means_in_a_row(results, failures, successes):
    healthy, expected, row = True, [], []
    for one in results:
        row = [*row, one] if row and row[-1] == one else [one]
        if len(row) >= (successes if one else failures):
            healthy = one
        expected.append(healthy)
    assert course(results, failures=failures, successes=successes) == expected


def test_asking_more_often_than_every_so_many_seconds_counts_no_failure_twice():
    now, calls = [100.0], []

    async def ask():
        health = HealthChecks([check(lambda: calls.append(1) or False, every=10, failures=2)], clock=lambda: now[0])
        found = []
        for at in (100.0, 101.0, 109.9, 110.0, 111.0):
            now[0] = at
            found.append(len(await health.ask("live")))
        return found

    assert asyncio.run(ask()) == [0, 0, 0, 1, 1]
    assert len(calls) == 2


def test_two_who_ask_at_once_carry_a_check_out_once():
    calls = []

    async def ask():
        health = HealthChecks([check(lambda: calls.append(1), every=10)])
        await asyncio.gather(*(health.ask("live") for _ in range(5)))

    asyncio.run(ask())
    assert len(calls) == 1


# --- written down ----------------------------------------------------------------------------------------------------


def test_only_checks_of_the_kind_are_asked_and_each_says_its_name(server):
    server.answer = lambda request: raw_answer(request, b"", status=503)
    table = {
        "front": {"http": f"{server.url}/ready", "kind": "ready", "expect": 200, "timeout": 2},
        "loads": {"callable": "json:loads", "kind": "live", "every": 0, "failures": 1},
    }
    health = HealthChecks(json.loads(json.dumps(table)))
    (ready,) = asyncio.run(health.ask("ready"))
    assert ready.message == "the check 'front' (ready): answered with status 503, not 200 (1 in a row)."
    (live,) = asyncio.run(health.ask("live"))
    assert "TypeError" in live.message
    assert asyncio.run(health.ask("startup")) == ()
    assert [one.name for one in health.checks] == ["front", "loads"]


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        ("json:loads", "must be a table", '"http"'),
        ({}, "callable or http", '"http"'),
        ({"http": "http://h", "callable": "m:f"}, "callable or http", '"http"'),
        ({"http": "h:80"}, "http://", "http://"),
        ({"http": "http://me:pw@h"}, "user's name", "Leave it out"),
        ({"http": "http://h", "expect": 99}, "expect must be", ""),
        ({"http": "http://h", "expect": "200"}, "expect must be", ""),
        ({"http": "http://h", "knd": "live"}, "no setting 'knd'", "'kind'"),
        ({"http": "http://h", "kind": "redy"}, "kind must be one of", "'ready'"),
        ({"http": "http://h", "kind": ["live"]}, "kind must be one of", ""),
        ({"http": "http://h", "failures": 0}, "failures must be", ""),
        ({"http": "http://h", "successes": 1.5}, "successes must be", ""),
        ({"http": "http://h", "timeout": 0}, "timeout must be", ""),
        ({"http": "http://h", "every": -1}, "every must be", ""),
        ({"callable": "json:loads", "expect": 200}, "no setting 'expect'", "Only an address"),
        ({"callable": "json:nothing"}, "there is no 'nothing'", ""),
        ({"callable": "no_such_module_at_all:f"}, "cannot be imported", ""),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused_with_the_checks_name(entry, message, hint):
    with pytest.raises(InvalidRequestError, match="the health check 'front'") as refused:
        HealthChecks({"front": entry})
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_a_kind_that_there_is_not_is_refused_and_so_are_two_of_one_name():
    with pytest.raises(InvalidRequestError, match="kind must be one of"):
        asyncio.run(HealthChecks([]).ask("alive"))
    with pytest.raises(InvalidRequestError, match="one name"):
        HealthChecks([check(print), check(print)])
