from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest
from raw import Raw
from shop import Running, good, running

from noodle_upgrade_core import EventBus
from noodle_upgrade_server import Limits
from noodle_upgrade_server.streaming import Feed


class Stream:
    """A reader of the stream: `take(n)` gives the next n events, without heartbeats."""

    def __init__(self, shop: Running, **more) -> None:
        self._manager = shop.client.stream("GET", "/v1/events", **more)
        self.response = self._manager.__enter__()
        assert self.response.status_code == 200
        self._lines = self.response.iter_lines()
        self.heartbeats = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._manager.__exit__(*error)

    def connected(self):
        assert next(self._lines) == ": connected"
        return self

    def frames(self) -> Iterator[dict[str, str]]:
        frame: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                self.heartbeats += line == ": heartbeat"
            elif line:
                name, _, value = line.partition(": ")
                assert name not in frame
                frame[name] = value
            elif "data" in frame:
                frame["json"] = json.loads(frame["data"])
                yield frame
                frame = {}
            else:
                frame = {}

    def take(self, count):
        frames = self.frames()
        return [next(frames) for _ in range(count)]

    def rest(self):
        return list(self.frames())


def tell(shop, number, **more):
    for index in range(number):
        shop.upgrader.events.emit("test", message=str(index), **more)


def sequences(frames):
    return [int(frame["id"]) for frame in frames]


def messages(frames):
    return [frame["json"]["message"] for frame in frames]


def test_events_come_as_they_happen_with_their_number_kind_and_wire_form(shop):
    with Stream(shop).connected() as stream:
        event = shop.upgrader.events.emit("upgrade.phase", upgrade_id="up-1", message="it moves", data={"to": "done"})
        (frame,) = stream.take(1)
    assert (frame["id"], frame["event"]) == (str(event.sequence), "upgrade.phase")
    assert frame["json"]["data"] == {"to": "done"}
    assert frame["json"]["at"] == event.at.isoformat()
    assert stream.response.headers["content-type"].startswith("text/event-stream")


def test_the_phases_of_an_upgrade_come_in_their_order(shop):
    with Stream(shop, params={"after": "0"}) as stream:
        upgrade_id = shop.start()
        seen = []
        for frame in stream.frames():
            if frame["event"] == "upgrade.phase" and frame["json"]["upgrade_id"] == upgrade_id:
                seen.append(frame["json"]["data"]["to"])
                if seen[-1] == "done":
                    break
    assert seen == ["validated", "approved", "staged", "shifting", "committed", "done"]


def test_a_reader_without_a_place_begins_with_what_comes(shop):
    tell(shop, 3)
    with Stream(shop).connected() as stream:
        shop.upgrader.events.emit("test", message="new")
        assert messages(stream.take(1)) == ["new"]


def test_a_reader_resumes_exactly_after_its_last_event(shop):
    tell(shop, 10)
    with Stream(shop, params={"after": "0"}) as stream:
        every = stream.take(10)
    place = every[5]["id"]
    with Stream(shop, headers={"last-event-id": place}) as stream:
        assert sequences(stream.take(4)) == sequences(every)[6:]
    with Stream(shop, params={"after": "1"}, headers={"last-event-id": place}) as stream:
        assert sequences(stream.take(1)) == [int(place) + 1]
    with Stream(shop, params={"after": place}) as stream:
        assert sequences(stream.take(1)) == [int(place) + 1]


def test_a_stream_of_one_upgrade_has_no_other_events(shop):
    with Stream(shop, params={"upgrade_id": "up-2"}).connected() as stream:
        for number in (1, 2, 1, 2):
            shop.upgrader.events.emit("test", upgrade_id=f"up-{number}")
        assert [frame["json"]["upgrade_id"] for frame in stream.take(2)] == ["up-2", "up-2"]


def test_every_reader_sees_every_event_in_order_whoever_emits(shop):
    streams = [Stream(shop).connected() for _ in range(3)]
    threads = [threading.Thread(target=tell, args=(shop, 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for stream in streams:
        seen = sequences(stream.take(400))
        assert seen == list(range(seen[0], seen[0] + 400))
        stream.__exit__(None, None, None)
    for thread in threads:
        thread.join()


def test_an_event_that_an_observer_emits_meanwhile_keeps_its_place(shop):
    bus = shop.upgrader.events

    def echo(event):
        if event.kind == "cry":
            bus.emit("echo")

    stop = bus.subscribe(echo)
    with Stream(shop).connected() as stream:
        for _ in range(20):
            bus.emit("cry")
        frames = stream.take(40)
    stop()
    assert [frame["event"] for frame in frames] == ["cry", "echo"] * 20
    assert sequences(frames) == sorted(sequences(frames))


def test_a_plugin_cannot_forge_frames_by_the_names_of_its_events(shop):
    with Stream(shop).connected() as stream:
        shop.upgrader.events.emit("test\n\nevent: upgrade.phase\ndata: {}\n\n", message="a\r\n\r\nid: 99\n\n")
        shop.upgrader.events.emit("after")
        first, second = stream.take(2)
    assert "\n" not in first["event"]
    assert first["json"]["message"] == "a\r\n\r\nid: 99\n\n"
    assert second["event"] == "after"


@pytest.mark.parametrize(
    "thing",
    [object(), float("nan"), {1: 2}, "x" * 5000, "\ud800"],
    ids=["object", "nan", "key", "long", "half a character"],
)
def test_what_cannot_be_sent_is_left_out_and_the_event_comes_all_the_same(tmp_path, thing):
    with running(tmp_path, limits=Limits(event_bytes=2000)) as shop, Stream(shop).connected() as stream:
        shop.upgrader.events.emit("odd", message="look", data={"thing": thing})
        shop.upgrader.events.emit("after")
        first, second = stream.take(2)
        assert (first["event"], first["json"]["message"]) == ("odd", "look")
        assert "left_out" in first["json"]["data"] or thing == "\ud800"
        assert second["event"] == "after"


def test_a_place_that_is_no_longer_remembered_is_said_and_the_rest_comes(tmp_path):
    with running(tmp_path, limits=Limits(events=10)) as shop:
        tell(shop, 3)
        with Stream(shop, params={"after": "0"}) as stream:
            place = stream.take(3)[-1]["id"]
        with Stream(shop).connected() as stream:
            tell(shop, 50)
            stream.take(1)  # the feed has them by now
        with Stream(shop, headers={"last-event-id": place}) as stream:
            missed, *rest = stream.take(11)
        assert missed["event"] == "events.missed"
        assert "id" not in missed
        assert missed["json"]["data"] == {"missed": 40, "after": int(place)}
        assert sequences(rest)[0] == int(place) + 41


def test_a_place_ahead_of_this_process_is_that_of_another_one(shop):
    tell(shop, 2)
    with Stream(shop, headers={"last-event-id": "1000000"}) as stream:
        first, *rest = stream.take(3)
    assert first["event"] == "events.restarted"
    assert messages(rest) == ["0", "1"]


def test_a_reader_that_is_too_slow_is_told_and_loses_nothing_that_is_remembered_when_it_resumes(tmp_path):
    with running(tmp_path, limits=Limits(events=50)) as shop:
        with Raw(shop.control, receive_buffer=4096) as raw, Stream(shop).connected() as quick:
            raw.send(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            raw.socket.recv(10)
            # One that reads shows that the feed goes on, however far behind the other is.
            for _ in range(400):
                shop.upgrader.events.emit("test", data={"pad": "x" * 5000})
                quick.take(1)
            text = raw.all().decode()
        frames = [frame for frame in text.split("\n\n") if "data: " in frame]
        assert "event: lagged" in frames[-1]
        last = json.loads(frames[-1].split("data: ", 1)[1].split("\r\n")[0])
        with Stream(shop, headers={"last-event-id": str(last["data"]["after"])}) as stream:
            frames = stream.take(51)
        assert frames[0]["event"] == "events.missed"
        assert sequences(frames[1:]) == list(range(int(frames[1]["id"]), int(frames[1]["id"]) + 50))


def test_nothing_to_tell_is_told_by_heartbeats(tmp_path):
    with running(tmp_path, limits=Limits(heartbeat_seconds=0.05)) as shop, Stream(shop).connected() as stream:
        while next(stream._lines) != ": heartbeat":
            pass
        tell(shop, 1)
        assert messages(stream.take(1)) == ["0"]


def test_closing_the_server_ends_the_streams_with_all_that_was_emitted(tmp_path):
    with running(tmp_path) as shop:
        stream = Stream(shop).connected()
        tell(shop, 5)
        closing = threading.Thread(target=shop.control.close)
        closing.start()
        with stream:
            assert messages(stream.rest()) == [str(number) for number in range(5)]
        closing.join()


def test_a_reader_that_goes_leaves_nothing_behind(tmp_path):
    with running(tmp_path, limits=Limits(streams=1)) as shop:
        for _ in range(5):
            with Stream(shop).connected():
                pass
            while shop.get("events", params={"after": "x"}).status_code != 400:
                pass
            _until_free(shop)


def _until_free(shop):
    """The server notices that a reader has gone as soon as its loop turns; until then the place is taken."""
    for _ in range(1000):
        with shop.client.stream("GET", "/v1/events") as response:
            if response.status_code == 200:
                return
    pytest.fail("the place of a reader that went was never free again")


def test_fetching_from_several_places_at_once_keeps_every_event_once():
    async def several():
        bus = EventBus()
        feed = Feed(bus, Limits())
        for _ in range(300):
            bus.emit("test")
        await asyncio.gather(*(feed.fetch() for _ in range(20)))
        lost, frames = feed.after(0)
        return lost, [frame.sequence for frame in frames]

    assert asyncio.run(several()) == (0, list(range(1, 257)))


def test_a_bus_that_emits_while_nobody_serves_costs_nothing_and_is_caught_up_with(tmp_path):
    with running(tmp_path) as shop:
        tell(shop, 5)
        shop.control.close()
        tell(shop, 5)
        shop.control.start()
        with Stream(shop, params={"after": "0"}) as stream:
            assert messages(stream.take(10)) == [str(number % 5) for number in range(10)]
        good(shop.get("health"))


def test_events_before_the_server_opened_are_remembered(tmp_path):
    assert EventBus().recent() == ()
    with running(tmp_path) as shop:
        shop.control.close()
        tell(shop, 1)
        shop.control.start()
        with Stream(shop, params={"after": "0"}) as stream:
            assert messages(stream.take(1)) == ["0"]
