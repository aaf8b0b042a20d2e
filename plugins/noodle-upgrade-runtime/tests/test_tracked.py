import gc
import itertools
import threading

import pytest

from noodle_upgrade_runtime.heap import Heap, tracked


def tracked_with_tuples():
    return Heap(tracked()).whole().objects


class Thing:
    pass


def filling(stop, errors, filled):
    """Fill tuples item by item, again and again, as `tuple(rows())` does."""

    def rows():
        for number in range(40):
            # Other threads run while the tuple is not complete.
            stop.wait(0.0002)
            yield [number]

    while not stop.is_set():
        try:
            filled.append(len(tuple(rows())))
        except SystemError as error:
            errors.append(error)


@pytest.mark.parametrize("look", [tracked, tracked_with_tuples])
def test_a_thread_that_fills_a_tuple_goes_on_while_all_objects_are_held(look):
    stop, errors, filled = threading.Event(), [], []
    threads = [threading.Thread(target=filling, args=(stop, errors, filled)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            held = look()
            before = len(filled)
            while len(filled) < before + 2:
                stop.wait(0.001)
            del held
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert set(filled) == {40}


@pytest.mark.parametrize("look", [tracked, tracked_with_tuples])
def test_every_object_but_tuples_is_found_once(look):
    things = [Thing() for _ in range(2000)]
    gc.collect()
    young = [Thing() for _ in range(300)]
    found = [id(one) for one in look() if type(one) is Thing]
    assert len(found) == len(set(found))
    assert {*map(id, things), *map(id, young)} <= set(found)


def test_nothing_that_was_made_to_look_is_found():
    gc.collect()
    before = set(map(id, gc.get_objects()))
    kinds = {map, itertools.compress, itertools.chain, itertools.repeat, type(itertools.tee([])[0])}
    for look in (tracked, tracked_with_tuples):
        found = look()
        assert not [one for one in found if type(one) in kinds and id(one) not in before]
        # The list itself is none of its items.
        assert not any(one is found for one in found)


def test_tuples_that_something_holds_are_found_also_within_tuples():
    thing = Thing()
    inner = (thing, [])
    outer = (inner, thing)
    holder = {"key": outer}
    assert not any(one is outer or one is inner for one in tracked())
    found = tracked_with_tuples()
    assert sum(one is outer for one in found) == 1
    assert sum(one is inner for one in found) == 1
    assert holder


def test_the_collector_is_left_as_it_was():
    assert gc.isenabled()
    tracked()
    assert gc.isenabled()
    gc.disable()
    try:
        tracked()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_objects_that_were_frozen_are_found():
    class Frozen:
        pass

    held = Frozen()
    gc.freeze()
    try:
        assert any(one is held for one in tracked())
    finally:
        gc.unfreeze()
