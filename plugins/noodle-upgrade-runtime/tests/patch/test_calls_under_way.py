"""What calls hold that are under way while a version is staged goes with them: it does not stand against the change."""

from __future__ import annotations

import contextlib
import threading

import pytest

from noodle_upgrade_core.errors import SwapRefusedError
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.quiescence import at_quiescence

WORK = """
        def work():
            mine = A(5)
            for _ in range(100_000):
                pass
            return mine
"""
CHANGES = {
    "a field that needs an argument": (
        f"""
        class A:
            def __init__(self, size):
                self.size = size
        {WORK}
        """,
        f"""
        class A:
            def __init__(self, size, unit):
                self.size = size
                self.unit = unit
        {WORK.replace("A(5)", "A(5, 5)")}
        """,
    ),
    "a table that it is built from": (
        f"""
        RULES = ["a", "b"]
        class A:
            def __init__(self, size):
                self.rules = [rule * size for rule in RULES]
        {WORK}
        """,
        f"""
        RULES = {{"a": 1, "b": 2}}
        class A:
            def __init__(self, size):
                self.rules = [rule * size for rule in RULES]
        {WORK}
        """,
    ),
    "a layout that it cannot move to": (
        f"""
        class A:
            __slots__ = ("size", "__weakref__")
            def __init__(self, size):
                self.size = size
        {WORK}
        """,
        f"""
        class A:
            def __init__(self, size):
                self.size = size
                self.unit = size
            def label(self):
                return self.unit
        {WORK}
        """,
    ),
}


@contextlib.contextmanager
def under_way(module, *, threads=3):
    """Have threads call `work`, with hardly a pause: at most moments one of them is inside, with an instance."""
    over, failed = threading.Event(), []

    def loop():
        while not over.wait(0.001):
            try:
                module.work()
            except Exception as error:
                failed.append(error)

    workers = [threading.Thread(target=loop) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield failed
    finally:
        over.set()
        for worker in workers:
            worker.join()


@pytest.mark.parametrize("what", CHANGES)
def test_what_calls_make_and_let_go_of_does_not_stand_against_a_change(package, what):
    module = package.load(*CHANGES[what])
    with under_way(module) as failed:
        package.stage()
    script = Script(package.prepared.operations())
    script.apply()
    assert not failed
    assert vars(module.work()) in ({"size": 5, "unit": 5}, {"rules": ["aaaaa", "bbbbb"]})


@pytest.mark.parametrize("what", CHANGES)
def test_what_lives_on_beside_such_calls_does(package, what):
    module = package.load(*CHANGES[what])
    kept = module.work()
    with under_way(module) as failed, pytest.raises(SwapRefusedError, match=r"1 live instance\(s\) of .*A"):
        package.stage()
    assert not failed
    assert kept is not None


def test_such_a_change_is_made_between_calls_while_they_keep_coming(package):
    module = package.load(*CHANGES["a field that needs an argument"])
    with under_way(module, threads=1) as failed:
        prepared = package.stage()

        def change():
            package.script = Script(prepared.operations())
            package.script.apply()

        at_quiescence(change, Names([package.name]), within=30)
        assert module.work().unit == 5
    assert not failed


def test_an_instance_that_has_come_to_stay_since_the_staging_is_found_by_the_commit(package):
    module = package.load(*CHANGES["a field that needs an argument"])
    with under_way(module):
        package.stage()
    kept = module.work()
    with pytest.raises(SwapRefusedError, match=r"1 live instance\(s\) of .*A would lack unit"):
        package.prepared.operations()
    assert kept.size == 5
