import sys
import threading
import time
import types

import pytest

from noodle_upgrade_core.errors import DrainTimeoutError
from noodle_upgrade_runtime import quiescence
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.quiescence import Alone, at_quiescence, blockers, in_one_go, stayers


def make_module(name, source):
    module = types.ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def test_a_thread_that_never_leaves_the_component_is_named_and_nothing_changes():
    module = make_module("stayer", "def stay(inside, leave):\n    inside.set()\n    leave.wait()\n")
    inside, leave, changed = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=module.stay, args=(inside, leave), name="worker-7")
    thread.start()
    try:
        inside.wait()
        assert [blocker.thread for blocker in blockers(Names({"stayer"}))] == ["worker-7"]
        with pytest.raises(DrainTimeoutError, match=r"worker-7.*stay") as caught:
            at_quiescence(lambda: changed.append(1), Names({"stayer"}), within=0.02)
        assert not changed
        assert "force" in caught.value.hint
        forced = at_quiescence(lambda: changed.append(1), Names({"stayer"}), within=0.0, force=True)
        assert [blocker.thread for blocker in forced] == ["worker-7"]
        assert changed == [1]
    finally:
        leave.set()
        thread.join()


def test_no_call_sees_two_versions_when_the_change_is_made_at_quiescence():
    # Each call reads the version many times while other threads push it off the processor: a change in the middle of a
    # call shows as two different readings.
    module = make_module(
        "reader",
        "version = 0\n"
        "def call():\n"
        "    first = version\n"
        "    for _ in range(20000):\n"
        "        if version != first:\n"
        "            return 'torn'\n"
        "    return first\n",
    )
    torn, stop, calls = [], threading.Event(), [0]

    def work():
        while not stop.is_set():
            if module.call() == "torn":
                torn.append(1)
            calls[0] += 1
            time.sleep(0)

    threads = [threading.Thread(target=work) for _ in range(2)]
    usual = sys.getswitchinterval()
    before = 0.0001  # so that calls are pushed off the processor half-way
    sys.setswitchinterval(before)
    for thread in threads:
        thread.start()
    try:
        for version in range(1, 31):
            at_quiescence(lambda v=version: setattr(module, "version", v), Names({"reader"}), within=30)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        after = sys.getswitchinterval()
        sys.setswitchinterval(usual)
    assert module.version == 30
    assert calls[0] > 0
    assert not torn
    assert after == pytest.approx(before)


def test_the_thread_that_makes_the_change_does_not_block_itself():
    module = make_module("own", "def run(change, go, names):\n    return go(change, names, within=0.0)\n")
    changed = []
    assert module.run(lambda: changed.append(1), at_quiescence, Names({"own"})) == ()
    assert changed == [1]


def test_a_thread_that_stays_at_one_place_is_told_from_one_that_passes_through():
    module = make_module("resident", "def stay(inside, leave):\n    inside.set()\n    leave.wait()\n")
    assert stayers(Names({"resident"}), within=30) == ()
    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=module.stay, args=(inside, leave), name="resident-1")
    thread.start()
    inside.wait()
    try:
        assert [one.thread for one in stayers(Names({"resident"}), within=0.1)] == ["resident-1"]
    finally:
        leave.set()
        thread.join()


def test_a_version_that_hangs_while_it_is_staged_is_not_inside_what_runs():
    live = make_module("double", "def stay(inside, leave):\n    inside.set()\n    leave.wait()\n")
    staged = make_module("double", "def stay(inside, leave):\n    inside.set()\n    leave.wait()\n")
    sys.modules["double"] = live
    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=staged.stay, args=(inside, leave))
    thread.start()
    inside.wait()
    try:
        assert blockers(Names({"double"})) == ()
    finally:
        del sys.modules["double"]
        leave.set()
        thread.join()


def test_a_loop_inside_is_found_also_where_it_does_something_else_at_each_look_and_calls_that_come_and_go_are_not():
    module = make_module(
        "looper",
        "def step(number):\n    for _ in range(1000): pass\n"
        "def other():\n    step(1)\n"
        "def loop(leave):\n    while not leave.is_set():\n        step(1)\n        other()\n",
    )
    leave = threading.Event()

    def visit():
        while not leave.is_set():
            module.other()

    threads = [
        threading.Thread(target=module.loop, args=(leave,), name="stays"),
        threading.Thread(target=visit, name="visits"),
    ]
    for thread in threads:
        thread.start()
    try:
        found = stayers(Names({"looper"}), within=0.3)
        assert [one.thread for one in found] == ["stays"]
        assert "loop" in found[0].where
    finally:
        leave.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("seconds", [0.03, 0.2])
def test_nobody_else_runs_as_long_as_the_time_alone_is_not_over(seconds):
    over, counts = threading.Event(), [0, 0, 0]

    def spin():
        while not over.is_set():
            counts[0] += 1

    def breathe():
        while not over.is_set():
            counts[1] += 1
            time.sleep(0)

    def sleep():
        while not over.is_set():
            counts[2] += 1
            time.sleep(0.0001)

    threads = [threading.Thread(target=target) for target in (spin, breathe, sleep)]
    for thread in threads:
        thread.start()
    moved, interval = [], sys.getswitchinterval()
    try:
        for _ in range(10):
            with Alone(seconds) as alone:
                before, until = list(counts), time.perf_counter() + 0.7 * seconds
                while time.perf_counter() < until:
                    sum(range(50))
                after = list(counts)
                if not alone.is_over():
                    moved.append([last - first for first, last in zip(before, after, strict=True)])
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert moved
    assert moved == [[0, 0, 0]] * len(moved)
    assert sys.getswitchinterval() == pytest.approx(interval, abs=1e-6)


def test_a_change_that_took_too_long_to_be_planned_is_tried_again_with_more_time():
    tries, alone = [], Alone(0.004)

    def change():
        began = time.perf_counter()
        while time.perf_counter() < began + 0.02:
            pass
        tries.append(alone.is_over())
        return not tries[-1]

    in_one_go(change, alone)
    assert tries[0]
    assert not tries[-1]
    assert alone.seconds >= 0.02
    tries.clear()
    alone.seconds = 0.004
    # Nobody is inside: how long it may wait for that has nothing to do with it.
    assert at_quiescence(change, Names({"nobody"}), within=0, alone=alone) == ()
    assert tries[0]
    assert not tries[-1]


@pytest.mark.parametrize("go", [in_one_go, lambda change, alone: at_quiescence(change, Names(), within=0, alone=alone)])
def test_a_change_that_lacks_time_however_much_it_has_is_given_up(go):
    tries = []
    with pytest.raises(DrainTimeoutError, match="Other threads ran"):
        go(lambda: bool(tries.append(1)), Alone(0.0001))
    assert len(tries) == quiescence._MOST_TRIES


def test_a_change_that_takes_long_has_enough_time_at_the_second_try():
    alone, tries = Alone(0.005), []

    def change():
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass
        tries.append(alone.is_over())
        return not tries[-1]

    at_quiescence(change, Names(), within=0, alone=alone)
    assert tries[0]
    assert len(tries) < 4
