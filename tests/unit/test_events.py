import logging

from noodle_upgrade_core.events import EventBus


def test_a_subscriber_that_raises_stops_neither_the_others_nor_the_emitter(caplog):
    bus, seen = EventBus(), []

    def broken(event):
        raise RuntimeError("observer is broken")

    bus.subscribe(broken)
    bus.subscribe(seen.append)
    with caplog.at_level(logging.ERROR):
        bus.emit("upgrade_started", message="go")
        bus.emit("upgrade_completed")
    assert [event.kind for event in seen] == ["upgrade_started", "upgrade_completed"]
    assert "observer" in caplog.text


def test_sequences_grow_by_one_and_only_the_newest_are_kept():
    bus = EventBus(memory=3)
    for number in range(5):
        bus.emit(f"kind {number}")
    assert [event.sequence for event in bus.recent()] == [3, 4, 5]
    assert [event.sequence for event in bus.recent(after=4)] == [5]


def test_an_unsubscribed_observer_hears_nothing_more():
    bus, seen = EventBus(), []
    leave = bus.subscribe(seen.append)
    bus.emit("one")
    leave()
    leave()
    bus.emit("two")
    assert [event.kind for event in seen] == ["one"]


def test_a_subscriber_may_emit():
    bus, seen = EventBus(), []

    def echo(event):
        if event.kind == "call":
            bus.emit("echo")

    bus.subscribe(echo)
    bus.subscribe(seen.append)
    bus.emit("call")
    assert {event.kind for event in seen} == {"call", "echo"}
