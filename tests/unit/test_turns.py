"""How soon threads take turns while an upgrade is at work."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core.turns import at_least, sooner


@pytest.fixture(autouse=True)
def interval():
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


def near(seconds: float) -> object:
    return pytest.approx(seconds, abs=1e-6)


def test_threads_take_turns_sooner_while_it_lasts_and_as_before_afterwards():
    with sooner():
        assert sys.getswitchinterval() == near(0.0005)
        with sooner():
            assert sys.getswitchinterval() == near(0.0005)
        assert sys.getswitchinterval() == near(0.0005)
    assert sys.getswitchinterval() == near(0.005)


def test_the_interval_does_not_creep_however_often_it_is_changed():
    for _ in range(1000):
        with sooner():
            pass
    assert sys.getswitchinterval() == near(0.005)


@pytest.mark.parametrize("seconds", [0.0001, 0.0005])
def test_a_program_that_has_them_take_turns_sooner_still_keeps_that(seconds):
    sys.setswitchinterval(seconds)
    with sooner():
        assert sys.getswitchinterval() == near(seconds)
    assert sys.getswitchinterval() == near(seconds)


def test_what_the_program_sets_meanwhile_stays():
    with sooner():
        sys.setswitchinterval(0.002)
    assert sys.getswitchinterval() == near(0.002)


def test_it_lasts_until_the_last_of_several_threads_is_done():
    both, go_on = threading.Barrier(2), threading.Event()

    def work():
        with sooner():
            both.wait(10)
            go_on.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    with sooner():
        both.wait(10)
    assert sys.getswitchinterval() == near(0.0005)
    go_on.set()
    thread.join()
    assert sys.getswitchinterval() == near(0.005)


def test_who_asks_for_more_goes_before_who_asks_for_less_in_whatever_order_they_come_and_go():
    with sooner(), at_least(0.05):
        assert sys.getswitchinterval() == near(0.05)
        with sooner(), at_least(0.1):
            assert sys.getswitchinterval() == near(0.1)
        assert sys.getswitchinterval() == near(0.05)
    first, second = at_least(0.05), sooner()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == near(0.0005)
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == near(0.005)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([sooner, at_least]), st.sampled_from([0.0001, 0.0005, 0.005, 0.3]), st.integers(0, 5)
        ),
        max_size=12,
    )
)
def test_whoever_comes_and_goes_the_program_has_its_own_interval_in_the_end(steps):
    sys.setswitchinterval(0.005)
    inside = []
    for ask, seconds, leaves in steps:
        inside.append(ask(seconds))
        inside[-1].__enter__()
        for _ in range(min(leaves, len(inside))):
            inside.pop(leaves % len(inside)).__exit__(None, None, None)
    for one in inside:
        one.__exit__(None, None, None)
    assert sys.getswitchinterval() == near(0.005)
