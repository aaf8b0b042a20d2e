"""Several handles of one component change their version one by one, each with its own state."""

import asyncio
import gc
import itertools
import random
import sys
import threading
import time
import weakref

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noodle_upgrade_core.errors import DrainTimeoutError, InvalidRequestError, MigrationError, StageError
from noodle_upgrade_core.staged import COUNTS, MEMBERS, WEIGHTS, Member
from noodle_upgrade_runtime.handles import Handles, handle

WHO = """
class Service:
    def who(self): return __version__
    def both(self): return self.who(), inner()
    async def later(self):
        import asyncio
        first = inner()
        await asyncio.sleep(0)
        return first, inner()
def inner(): return __version__
"""

COUNTER = """
import asyncio
class Service:
    def __init__(self): self.total = 0; self.seen = set()
    def add(self, number=None):
        if number in self.seen: raise RuntimeError("ran twice")
        if number is not None: self.seen.add(number)
        self.total += 1
        return __version__
    async def add_later(self):
        await asyncio.sleep(0)
        self.total += 1
    async def add_slowly(self, leave):
        await leave.wait()
        self.total += 1
    def stay(self, inside, leave):
        inside.set()
        leave.wait(30)
        self.total += 1
        return __version__
    def count(self):
        yield self.total
        self.total += 1
    def export_state(self): return self.total, set(self.seen)
    def import_state(self, state): self.total, self.seen = state
"""


def members_of(fable, source, count, **kwargs):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(version, source)
    return [fable.handle(member=f"worker-{n}", domain=f"zone-{n % 2}", **kwargs) for n in range(count)]


def names_of(*numbers):
    return tuple(f"worker-{n}" for n in numbers)


# --- names ---------------------------------------------------------------------------------------------------------


def test_a_handle_without_a_name_is_named_by_its_entry_point_and_a_number_that_is_never_given_twice(fable):
    fable.run("1.0")
    fable.write("1.0", WHO)
    first, second = fable.handle(), fable.handle()
    assert [one._noodle_.member for one in (first, second)] == ["fable:Service#1", "fable:Service#2"]
    del second
    gc.collect()
    assert fable.handle()._noodle_.member == "fable:Service#3"
    taken = fable.handle(member="fable:Service#4")
    assert fable.handle()._noodle_.member == "fable:Service#5"
    assert taken._noodle_.member == "fable:Service#4"


def test_a_name_that_a_living_handle_has_is_refused_before_anything_is_made(fable):
    fable.run("1.0")
    fable.write("1.0", "made = []\nclass Service:\n    def __init__(self): made.append(1)\n")
    one = fable.handle(member="worker-1")
    with pytest.raises(InvalidRequestError, match="'worker-1'") as caught:
        fable.handle(member="worker-1")
    assert caught.value.details["members"] == ["worker-1"]
    import fable as module

    assert len(module.made) == 1
    del one
    gc.collect()
    assert fable.handle(member="worker-1")._noodle_.member == "worker-1"


@pytest.mark.parametrize(("member", "domain"), [(3, ""), ("a", None)])
def test_a_name_that_is_no_text_is_refused(member, domain):
    with pytest.raises(InvalidRequestError, match="text"):
        handle("json", "json:loads", member=member, domain=domain, handles=Handles())


# --- what can be done ----------------------------------------------------------------------------------------------


def test_a_plan_says_that_members_can_move_one_by_one_and_names_them(fable):
    held = members_of(fable, WHO, 2)
    verdict = fable.engine.assess(fable.change("1.0", "2.0"))
    assert verdict.capabilities == {COUNTS, WEIGHTS, MEMBERS}
    assert verdict.evidence["members"] == [
        {"name": "worker-0", "domain": "zone-0"},
        {"name": "worker-1", "domain": "zone-1"},
    ]
    assert "its 2 members can move one by one" in verdict.reasons
    swap = fable.stage("1.0", "2.0")
    assert swap.capabilities == verdict.capabilities
    assert swap.members() == (Member(name="worker-0", domain="zone-0"), Member(name="worker-1", domain="zone-1"))
    assert len(held) == 2


def test_a_single_handle_is_no_member_and_says_so(fable):
    (_held,) = members_of(fable, WHO, 1)
    swap = fable.stage("1.0", "2.0")
    assert MEMBERS not in swap.capabilities
    with pytest.raises(InvalidRequestError, match="members"):
        swap.shift_members(["worker-0"])


def test_handles_of_one_object_with_state_cannot_be_two_versions_at_once(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(version, COUNTER + "shared = Service()\n")
    _one, _two = fable.handle("fable:shared"), fable.handle("fable:shared")
    verdict = fable.engine.assess(fable.change("1.0", "2.0"))
    assert MEMBERS not in verdict.capabilities
    assert any("one object with state" in reason for reason in verdict.reasons)


def test_a_member_that_is_not_there_is_refused_with_those_that_are_and_nothing_has_changed(fable):
    workers = members_of(fable, WHO, 3)
    swap = fable.stage("1.0", "2.0")
    with pytest.raises(InvalidRequestError, match="'worker-7'") as caught:
        swap.shift_members(["worker-1", "worker-7"])
    assert "'worker-0', 'worker-1', 'worker-2'" in caught.value.hint
    assert [one.who() for one in workers] == ["1.0"] * 3
    assert [one.who.__func__.__qualname__ for one in workers] == ["Service.who"] * 3


# --- one by one ----------------------------------------------------------------------------------------------------


def test_exactly_those_members_serve_the_new_version_and_both_versions_are_counted(fable):
    workers = members_of(fable, WHO, 3)
    swap = fable.stage("1.0", "2.0")
    for names, seen in (
        (names_of(1), ["1.0", "2.0", "1.0"]),
        (names_of(0, 2), ["2.0", "1.0", "2.0"]),
        ((), ["1.0", "1.0", "1.0"]),
        (names_of(0, 1, 2), ["2.0", "2.0", "2.0"]),
    ):
        swap.shift_members(names)
        assert [one.who() for one in workers] == seen
        assert swap.running() == {"fable": "2.0" if len(names) == 3 else "1.0"}
        assert swap.measure().weight == pytest.approx(len(names) / 3)
    measured = swap.measure()
    assert (measured.old.calls, measured.new.calls) == (6, 6)


def test_data_attributes_follow_the_member(fable):
    workers = members_of(fable, "class Service:\n    def __init__(self): self.made = __version__\n", 2)
    swap = fable.stage("1.0", "2.0")
    swap.shift_members(names_of(1))
    assert [one.made for one in workers] == ["1.0", "2.0"]


@pytest.mark.parametrize("source", [WHO, COUNTER], ids=["stateless", "stateful"])
@pytest.mark.parametrize("end", ["revert", "commit", "commit-revert", "shift-0", "shift-1", "members-none"])
@pytest.mark.parametrize("mixture", [(), (1,), (0, 2), (0, 1, 2)], ids=str)
def test_from_any_mixture_there_is_a_way_to_either_version_and_plain_methods_afterwards(fable, source, end, mixture):
    workers = members_of(fable, source, 3)
    before = [dict(vars(one)) for one in workers]
    swap = fable.stage("1.0", "2.0")
    swap.shift_members(names_of(*mixture))
    for step in end.split("-") if end.startswith("commit") else [end]:
        match step:
            case "shift-0":
                swap.shift(0.0)
            case "shift-1":
                swap.shift(1.0)
            case "members-none":
                swap.shift_members(())
            case _:
                getattr(swap, step)()
    if end in ("shift-1", "commit"):
        assert swap.running() == {"fable": "2.0"}
        swap.commit()
        assert {one.add() if source is COUNTER else one.who() for one in workers} == {"2.0"}
        assert all(method.__self__ is one._noodle_.bound.target for one in workers for method in methods_of(one))
    else:
        swap.revert()
        assert [dict(vars(one)) for one in workers] == before
    assert swap.running() == {"fable": "2.0" if end in ("shift-1", "commit") else "1.0"}


def methods_of(one):
    return [value for name, value in vars(one).items() if name != "_noodle_"]


def test_from_members_to_shares_and_back_traffic_is_where_it_should_be(fable):
    workers = members_of(fable, WHO, 2)
    swap = fable.stage("1.0", "2.0")
    swap.shift_members(names_of(0))
    swap.shift(0.5)
    for one in workers:
        assert 90 < [one.who() for _ in range(200)].count("2.0") < 110
    swap.shift_members(names_of(1))
    assert [one.who() for one in workers] == ["1.0", "2.0"]
    swap.shift(1.0)
    assert [one.who() for one in workers] == ["2.0", "2.0"]


def test_handles_that_were_made_since_staging_join_on_the_old_version_and_those_that_died_do_not(fable):
    workers = members_of(fable, COUNTER, 3)
    swap = fable.stage("1.0", "2.0")
    swap.shift_members(names_of(0))
    late = fable.handle(member="worker-9")
    gone = weakref.ref(workers.pop())
    gc.collect()
    assert gone() is None
    assert late.add() == "1.0"
    assert [member.name for member in swap.members()] == ["worker-0", "worker-1", "worker-9"]
    swap.shift_members(names_of(0, 9))
    assert (late.add(), late.total, workers[1].add()) == ("2.0", 2, "1.0")
    with pytest.raises(InvalidRequestError, match="worker-2"):
        swap.shift_members(names_of(2))
    swap.commit()
    assert [one.add() for one in (*workers, late)] == ["2.0"] * 3
    assert late.total == 3
    fresh = fable.handle()
    assert fresh.add() == "2.0"


# --- state ---------------------------------------------------------------------------------------------------------


def test_the_state_of_a_member_moves_with_it_there_and_back_and_no_other_moves(fable):
    workers = members_of(fable, COUNTER, 3)
    for number, one in enumerate(workers):
        for _ in range(number + 1):
            one.add()
    swap = fable.stage("1.0", "2.0")
    assert swap.capabilities == {COUNTS, MEMBERS}
    swap.shift_members(names_of(1))
    assert [one.add() for one in workers] == ["1.0", "2.0", "1.0"]
    swap.shift_members(names_of(2))
    assert [one.add() for one in workers] == ["1.0", "1.0", "2.0"]
    swap.shift_members(names_of(0, 1, 2))
    swap.commit()
    assert [one.add() for one in workers] == ["2.0", "2.0", "2.0"]
    swap.revert()
    assert [one.total for one in workers] == [4, 5, 6]
    assert (swap.measure().old.calls, swap.measure().new.calls) == (4, 2)


def test_a_call_that_stays_in_one_member_holds_up_that_one_only(fable):
    workers = members_of(fable, COUNTER, 3)
    swap = fable.stage("1.0", "2.0", within=0.2)
    swap.shift_members(())
    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=workers[0].stay, args=(inside, leave), name="stayer")
    thread.start()
    inside.wait()
    try:
        swap.shift_members(names_of(1, 2))
        assert [one.add() for one in workers[1:]] == ["2.0", "2.0"]
        with pytest.raises(DrainTimeoutError, match="1 call in member 'worker-0'"):
            swap.shift_members(names_of(0, 1))
        assert [one.add() for one in workers] == ["1.0", "2.0", "2.0"]
    finally:
        leave.set()
        thread.join()
    swap.shift_members(names_of(0))
    assert (workers[0].total, workers[1].total) == (2, 2)


def test_a_call_from_before_traffic_moved_is_waited_for_whosever_it_is(fable):
    workers = members_of(fable, COUNTER, 2)
    swap = fable.stage("1.0", "2.0", within=0.2)
    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=workers[0].stay, args=(inside, leave), name="stayer")
    thread.start()
    inside.wait()
    try:
        with pytest.raises(DrainTimeoutError, match="stayer"):
            swap.shift_members(names_of(1))
    finally:
        leave.set()
        thread.join()
    swap.shift_members(names_of(1))
    assert [one.add() for one in workers] == ["1.0", "2.0"]


@pytest.mark.parametrize("kind", ["coroutine", "generator"])
def test_a_suspended_call_from_before_traffic_moved_is_waited_for_whosever_it_is(fable, kind):
    workers = members_of(fable, COUNTER, 2)
    swap = fable.stage("1.0", "2.0", within=0.2)
    call = workers[0].add_later() if kind == "coroutine" else workers[0].count()
    step = (lambda: call.send(None)) if kind == "coroutine" else (lambda: next(call))
    step()
    with pytest.raises(DrainTimeoutError, match="suspended call"):
        swap.shift_members(names_of(0, 1))
    with pytest.raises(StopIteration):
        step()
    swap.shift_members(names_of(0, 1))
    assert [one.total for one in workers] == [1, 0]


@pytest.mark.parametrize("kind", ["coroutine", "generator"])
def test_a_suspended_call_of_one_member_holds_up_that_one_only(fable, kind):
    workers = members_of(fable, COUNTER, 2)
    swap = fable.stage("1.0", "2.0", within=0.2)
    swap.shift_members(())
    call = workers[0].add_later() if kind == "coroutine" else workers[0].count()
    step = (lambda: call.send(None)) if kind == "coroutine" else (lambda: next(call))
    step()
    swap.shift_members(names_of(1))
    with pytest.raises(DrainTimeoutError, match="worker-0"):
        swap.shift_members(names_of(0, 1))
    with pytest.raises(StopIteration):
        step()
    swap.shift_members(names_of(0, 1))
    assert [one.total for one in workers] == [1, 0]


@pytest.mark.parametrize(
    "moves", [["members"], ["members", "commit"], ["members", "commit", "revert"], ["revert"], ["commit", "next"]]
)
def test_a_call_that_was_made_before_a_move_and_begins_after_it_is_not_lost(fable, moves):
    workers = members_of(fable, COUNTER, 2)
    swap = fable.stage("1.0", "2.0")
    swap.shift_members(names_of(1))
    calls = [workers[0].add_later(), workers[1].add_later()]
    generators = [workers[0].count(), workers[1].count()]
    for move in moves:
        if move == "next":
            fable.write("3.0", COUNTER)
            fable.stage("2.0", "3.0").commit()
        elif move == "members":
            swap.shift_members(names_of(0))
        else:
            getattr(swap, move)()
    for one in calls:
        asyncio.run(one)
    for one in generators:
        list(one)
    assert [one.total for one in workers] == [2, 2]


def test_a_state_that_cannot_move_leaves_every_member_where_it_was(fable):
    workers = members_of(fable, COUNTER, 2)
    fable.write("3.0", COUNTER.replace("self.total, self.seen = state", "1 // (3 - state[0])"))
    swap = fable.stage("1.0", "3.0")
    for _ in range(3):
        workers[1].add()
    with pytest.raises(MigrationError, match="ZeroDivisionError"):
        swap.shift_members(names_of(0, 1))
    assert [one.add() for one in workers] == ["1.0", "1.0"]
    swap.revert()
    assert [one.total for one in workers] == [1, 4]


def test_going_back_does_not_wait_for_ever_for_a_member_that_hangs(fable):
    workers = members_of(fable, COUNTER, 2)
    swap = fable.stage("1.0", "2.0", within=0.1)
    swap.shift_members(names_of(0))
    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=workers[0].stay, args=(inside, leave))
    thread.start()
    inside.wait()
    try:
        swap.revert()
        assert [one.add() for one in workers] == ["1.0", "1.0"]
    finally:
        leave.set()
        thread.join()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.sets(st.integers(0, 2)), st.sampled_from(["shift-0", "shift-1", "revert", "add"]))))
def test_whatever_the_order_of_moves_no_member_loses_or_gains_state(fable_of, steps):
    fable = fable_of()
    workers = members_of(fable, COUNTER, 3)
    swap, due = fable.stage("1.0", "2.0"), 0
    for step in steps:
        if step == "add":
            for one in workers:
                one.add()
            due += 1
        elif step == "revert":
            swap.revert()
        elif isinstance(step, str):
            swap.shift(float(step[-1]))
        else:
            swap.shift_members(names_of(*step))
            assert [one.add() for one in workers] == ["2.0" if n in step else "1.0" for n in range(3)]
            due += 1
    assert [one.total for one in workers] == [due] * 3
    swap.revert()
    assert [one.total for one in workers] == [due] * 3


@pytest.fixture
def fable_of(fable, tmp_path):
    """Return a maker of fresh fables: one property is tried on many."""
    numbers, path = itertools.count(), list(sys.path)

    def made():
        sys.path[:] = path
        for name in [name for name in sys.modules if name == "fable" or name.startswith("fable@")]:
            del sys.modules[name]
        return type(fable)(tmp_path / f"fable-{next(numbers)}")

    return made


# --- under load ----------------------------------------------------------------------------------------------------


def test_eight_threads_lose_no_call_and_see_no_two_versions_while_six_members_move_forth_and_back(fable):
    workers = members_of(fable, WHO, 6)
    swap, wrong, calls = fable.stage("1.0", "2.0"), [], [0] * 8
    stop, chance = threading.Event(), random.Random(3)

    def work(n):
        while not stop.is_set():
            try:
                one, other = workers[(n + calls[n]) % 6].both()
                if one != other:
                    wrong.append((one, other))
            except BaseException as error:
                wrong.append(error)
                raise
            calls[n] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        for number in range(200):
            if number % 20 == 19:
                swap.shift(chance.random())
            swap.shift_members(names_of(*chance.sample(range(6), chance.randrange(7))))
            time.sleep(0.001)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    measured = swap.measure()
    assert min(calls) > 0
    assert measured.old.calls + measured.new.calls <= sum(calls)
    assert min(measured.old.calls, measured.new.calls) > 100
    assert (measured.old.in_flight, measured.new.in_flight) == (0, 0)


def test_stateful_members_keep_every_call_of_eight_threads_while_they_move_two_hundred_times(fable):
    workers = members_of(fable, COUNTER, 6)
    swap, wrong, calls = fable.stage("1.0", "2.0", within=20.0), [], [[0] * 6 for _ in range(8)]
    stop, chance = threading.Event(), random.Random(5)

    def work(n):
        number = 0
        while not stop.is_set():
            one = (n + number) % 6
            try:
                workers[one].add((n, number))
            except BaseException as error:
                wrong.append(error)
                raise
            calls[n][one] += 1
            number += 1
            time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            swap.shift_members(names_of(*chance.sample(range(6), chance.randrange(7))))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    due = [sum(made[n] for made in calls) for n in range(6)]
    assert [one.total for one in workers] == due
    swap.revert()
    assert [one.total for one in workers] == due
    assert min(due) > 100


def test_stateful_members_keep_every_call_while_they_are_committed_and_gone_back_from(fable):
    workers = members_of(fable, COUNTER, 3)
    stop, wrong, calls = threading.Event(), [], [[0] * 3 for _ in range(4)]

    def work(n):
        number = 0
        while not stop.is_set():
            one = (n + number) % 3
            try:
                workers[one].add((n, number))
            except BaseException as error:
                wrong.append(error)
                raise
            calls[n][one] += 1
            number += 1
            if number % 7 == 0:
                time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            swap = fable.stage("1.0", "2.0", within=20.0)
            swap.shift_members(names_of(number % 3))
            swap.commit()
            swap.revert()
            swap.release()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert [one.total for one in workers] == [sum(made[n] for made in calls) for n in range(3)]


def test_async_members_keep_every_call_also_of_tasks_that_are_cancelled(fable):
    async def main():
        workers = members_of(fable, COUNTER, 4)
        swap = fable.stage("1.0", "2.0", within=20.0)
        stop, done = asyncio.Event(), [0] * 4

        async def work(n):
            while not stop.is_set():
                await workers[n].add_later()
                done[n] += 1

        async def cancelled(n):
            leave = asyncio.Event()
            while not stop.is_set():
                task = asyncio.create_task(workers[n].add_slowly(leave))
                await asyncio.sleep(0.001)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await asyncio.sleep(0.001)

        tasks = [asyncio.create_task(kind(n)) for n in range(4) for kind in (work, cancelled)]
        await asyncio.sleep(0.01)
        for turn in range(20):
            await asyncio.to_thread(swap.shift_members, names_of(turn % 4, (turn + 1) % 4))
            await asyncio.sleep(0.002)
        stop.set()
        await asyncio.gather(*tasks)
        assert [one.total for one in workers] == done
        assert min(done) > 0
        seen = swap.measure()
        assert (seen.old.in_flight, seen.new.in_flight, seen.old.errors, seen.new.errors) == (0, 0, 0, 0)

    asyncio.run(main())


def test_a_member_whose_version_cannot_be_made_joins_nothing(fable):
    workers = members_of(fable, "made = []\nclass Service:\n    def who(self): return __version__\n", 2)
    fable.write(
        "3.0",
        "made = []\nclass Service:\n    def __init__(self):\n        made.append(1)\n        if len(made) > 2: raise OSError('full')\n"
        "    def who(self): return __version__\n",
    )
    swap = fable.stage("1.0", "3.0")
    late = fable.handle(member="late")
    with pytest.raises(StageError, match="full"):
        swap.members()
    assert [one.who() for one in (*workers, late)] == ["1.0"] * 3
