import threading
import types

import pytest

from noodle_upgrade_core.errors import RollbackUnavailableError, SwapRefusedError
from noodle_upgrade_core.staged import COUNTS, WEIGHTS
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.swap import Quiet, RuntimeSwap


class Part:
    """A small real engine's part: it swaps the entries of a dictionary."""

    mechanism = "entries"
    warnings = ()

    def __init__(self, name, table, *, capabilities=(), fails=False):
        self.component_names = (name,)
        self.capabilities = frozenset(capabilities)
        self.name, self.table, self.fails = name, table, fails
        self.evidence = {"entries": 1}
        self.settled = self.released = 0
        self.routed = []

    def operations(self):
        if self.fails:
            raise SwapRefusedError("the process has changed")
        put = dict.__setitem__
        return [Operation((put, self.table, self.name, "2.0"), (put, self.table, self.name, "1.0"))]

    def route(self, weight):
        if self.fails and weight:
            raise SwapRefusedError("cannot route")
        self.routed.append(weight)

    def arms(self):
        return None

    def settle(self):
        self.settled += 1

    def running(self):
        return {self.name: self.table[self.name]}

    def release(self):
        self.released += 1


def swap_of(*parts, table=None, **kwargs):
    versions = {part.name: ("1.0", "2.0") for part in parts}
    return RuntimeSwap(parts, versions=versions, quiet=kwargs.pop("quiet", Quiet()), ledger={}, **kwargs)


@pytest.fixture
def table():
    return {"a": "1.0", "b": "1.0"}


def test_when_one_part_refuses_at_the_last_moment_none_has_changed(table):
    swap = swap_of(Part("a", table), Part("b", table, fails=True))
    with pytest.raises(SwapRefusedError):
        swap.shift(0.1)
    assert table == {"a": "1.0", "b": "1.0"}
    swap.revert()
    assert swap.running() == table


def test_when_one_part_cannot_route_the_others_go_back_to_their_share(table):
    parts = Part("a", table, capabilities=[WEIGHTS]), Part("b", table, capabilities=[WEIGHTS])
    swap = swap_of(*parts)
    swap.shift(0.2)
    parts[1].fails = True
    with pytest.raises(SwapRefusedError):
        swap.shift(0.5)
    assert parts[0].routed == [0.2, 0.5, 0.2]


def test_parts_of_several_engines_change_in_one_step_and_back(table):
    seen = []
    parts = Part("a", table), Part("b", table, capabilities=[WEIGHTS, COUNTS])
    swap = swap_of(*parts)
    assert swap.capabilities == frozenset()
    swap.shift(0.01)
    seen.append(dict(table))
    swap.commit()
    assert [part.settled for part in parts] == [1, 1]
    swap.revert()
    assert seen == [{"a": "2.0", "b": "2.0"}]
    assert table == {"a": "1.0", "b": "1.0"}


def test_counting_can_be_switched_off(table):
    swap = swap_of(Part("a", table, capabilities=[WEIGHTS, COUNTS]), counting=False)
    assert swap.capabilities == {WEIGHTS}
    assert swap.measure() is None


def test_a_commit_without_a_shift_changes_everything(table):
    told = []
    swap = swap_of(Part("a", table), committed=told.append)
    swap.commit()
    assert table["a"] == "2.0"
    assert told == [swap]


def test_after_its_release_a_swap_can_do_nothing_any_more(table):
    part = Part("a", table)
    swap = swap_of(part)
    swap.commit()
    assert swap.release() == ()
    assert swap.release() == ()
    assert part.released == 1
    for step in (swap.revert, swap.commit, lambda: swap.shift(1.0)):
        with pytest.raises(RollbackUnavailableError):
            step()
    assert table["a"] == "2.0"


def test_a_change_that_is_forced_tells_who_was_inside(table):
    module = types.ModuleType("stayer_of_swap")
    exec("def stay(inside, leave):\n    inside.set()\n    leave.wait()\n", module.__dict__)
    inside, leave, told = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=module.stay, args=(inside, leave), name="worker-9")
    thread.start()
    inside.wait()
    quiet = Quiet(names=Names({"stayer_of_swap"}), within=0.01, force=True, forced=told.append)
    try:
        swap_of(Part("a", table), quiet=quiet).shift(1.0)
    finally:
        leave.set()
        thread.join()
    assert table["a"] == "2.0"
    assert "worker-9" in told[0][0]
