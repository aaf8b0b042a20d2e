"""Which objects were made by private loads."""

import gc

from noodle_upgrade_runtime.patch.inventory import Inventory


class Thing:
    """Something that the collector tracks."""


def test_what_is_made_during_a_watch_is_known_and_what_was_there_is_not():
    inventory, before = Inventory(), Thing()
    with inventory.watch(gc.get_objects()):
        during = Thing()
        assert inventory.made(during)
        assert not inventory.made(before)
    assert inventory.made(during)
    assert not inventory.made(before)


def test_what_is_made_after_a_watch_is_never_taken_for_a_private_object():
    inventory = Inventory()
    with inventory.watch(gc.get_objects()):
        pass
    assert not any(inventory.made(thing) for thing in [Thing() for _ in range(10_000)])


def test_what_is_spared_counts_as_there_before():
    inventory = Inventory()
    with inventory.watch(gc.get_objects()):
        spared = Thing()
        inventory.spare([spared])
        assert not inventory.made(spared)
    assert not inventory.made(spared)


def test_a_second_watch_adds_to_the_first():
    inventory = Inventory()
    with inventory.watch(gc.get_objects()):
        first = Thing()
    with inventory.watch(gc.get_objects()):
        second = Thing()
    assert inventory.made(first)
    assert inventory.made(second)


def test_a_watch_within_a_watch_leaves_the_outer_one_open():
    inventory = Inventory()
    with inventory.watch(gc.get_objects()):
        with inventory.watch(gc.get_objects()):
            inner = Thing()
        outer = Thing()
        assert inventory.made(inner)
        assert inventory.made(outer)
    assert inventory.made(inner)
    assert inventory.made(outer)
