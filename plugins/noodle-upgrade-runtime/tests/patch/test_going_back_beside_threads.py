"""Going back while other threads of the program go on."""

from __future__ import annotations

import threading

from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.swap import Quiet, RuntimeSwap


def test_a_list_that_turns_round_loses_nothing_when_what_it_has_taken_of_a_version_is_led_back(package):
    module = package.load("class A:\n    __slots__ = ('x',)\n", "class A:\n    __slots__ = ('x', 'y')\n")
    part, old = package.stage(), module.A
    quiet = Quiet(names=Names({package.name}))
    swap = RuntimeSwap([part], versions={package.name: ("1.0", "2.0")}, quiet=quiet, ledger={})
    swap.commit()
    ring, stop = [module.A, *map(str, range(10))], threading.Event()
    others = [[module.A] for _ in range(20_000)]  # so that it takes a while to plan for all of them

    def turn():
        while not stop.is_set():
            ring.append(ring.pop(0))

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        swap.revert()
    finally:
        stop.set()
        thread.join()
    assert module.A is old
    assert sorted(map(str, ring)) == sorted([str(old), *map(str, range(10))])
    assert all(one == [old] for one in others)
