"""Events as server-sent events: kept once for all readers, in order, bounded; a slow reader is told and resumes."""

from __future__ import annotations

import asyncio
import bisect
import collections
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from attrs import evolve
from starlette.types import Receive, Scope, Send

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.events import Event, EventBus
from noodle_upgrade_core.wire import dumps
from noodle_upgrade_server.errors import TooManyError
from noodle_upgrade_server.limits import Limits

__all__ = ["EventStream", "Feed", "Frame"]

_AT_ONCE = 256


class Frame:
    """One event as it goes over the wire, made once for all readers."""

    __slots__ = ("_event", "_limit", "_text", "sequence", "upgrade_id")

    def __init__(self, event: Event, *, limit: int) -> None:
        self.sequence = event.sequence
        self.upgrade_id = event.upgrade_id
        self._event: Event | None = event
        self._limit = limit
        self._text = b""

    @property
    def text(self) -> bytes:
        """The frame: `id`, `event` and `data` lines."""
        if self._event is not None:
            event, self._event = self._event, None
            try:
                data = dumps(event, max_bytes=self._limit)
            except InvalidRequestError as error:
                # A plugin has put something into its event that JSON cannot carry, or too much of it.
                clean = evolve(event, kind=_line(event.kind), message=event.message[:1000], data={})
                data = dumps({**_plain(clean), "data": {"left_out": error.message}})
            self._text = f"id: {event.sequence}\nevent: {_line(event.kind)}\ndata: {data}\n\n".encode()
        return self._text


def _plain(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "sequence": event.sequence,
        "at": event.at,
        "upgrade_id": event.upgrade_id,
        "component_name": event.component_name,
        "message": event.message,
    }


def _line(text: str) -> str:
    """A field of a frame is one line, whatever a plugin names its events."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def notice(kind: str, message: str, **data: Any) -> bytes:
    """Return a frame of the server's own: without an id, so that a reader's place stays where it is."""
    body = {
        "kind": kind,
        "sequence": 0,
        "at": None,
        "upgrade_id": "",
        "component_name": "",
        "message": message,
        "data": data,
    }
    return f"event: {kind}\ndata: {dumps(body)}\n\n".encode()


class Feed:
    """The newest events of a bus, for readers on one event loop.

    Whoever emits only rings a bell; the events are fetched from the bus in the bus's own order. So an emitter never
    waits for a reader, and memory is bounded by the ring, not by the number of readers.
    """

    def __init__(self, bus: EventBus, limits: Limits) -> None:
        self._bus = bus
        self._limits = limits
        self._ring: collections.deque[Frame] = collections.deque(maxlen=limits.events)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell = asyncio.Event()
        self._fetching = asyncio.Lock()
        self._rung = False
        self._last = 0
        self._readers: set[asyncio.Event] = set()
        self.closed = False

    @property
    def last(self) -> int:
        """The sequence of the newest event that was fetched."""
        return self._last

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    def ring(self, _: Event) -> None:
        """Say that there is news: from any thread, in next to no time."""
        loop = self._loop
        if self._rung or loop is None:
            return
        self._rung = True
        with contextlib.suppress(RuntimeError):  # the loop has just been closed
            loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._rung = False
        self._bell.set()

    async def run(self) -> None:
        """Fetch events until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._bell.clear()
                await self.fetch()
                await self._bell.wait()
        finally:
            self._loop = None

    async def fetch(self) -> None:
        """Take over what is new on the bus; its lock is waited for in a thread, never on the loop."""
        async with self._fetching:
            fresh = await asyncio.to_thread(self._bus.recent, after=self._last)
            for event in fresh:
                self._ring.append(Frame(event, limit=self._limits.event_bytes))
                self._last = event.sequence
        if fresh:
            self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.set()

    async def close(self) -> None:
        """End all streams, with all that was emitted until now."""
        await self.fetch()
        self.closed = True
        self._wake()

    @contextlib.contextmanager
    def reader(self) -> Iterator[asyncio.Event]:
        """Give an `asyncio.Event` that is set whenever there is news; raises `TooManyError`."""
        if len(self._readers) >= self._limits.streams:
            raise TooManyError(
                f"{len(self._readers)} streams of events are open already.", hint="Close a `noodle watch`."
            )
        news = asyncio.Event()
        self._readers.add(news)
        try:
            yield news
        finally:
            self._readers.discard(news)

    def after(self, sequence: int) -> tuple[int, list[Frame]]:
        """Return how many events after `sequence` are lost for good, and the next ones that are not, without a gap."""
        start = bisect.bisect_right(self._ring, sequence, key=lambda frame: frame.sequence)
        frames = list(itertools.islice(self._ring, start, start + _AT_ONCE))
        if not frames:
            return 0, []
        first = frames[0].sequence
        whole = [frame for place, frame in enumerate(frames) if frame.sequence == first + place]
        return first - sequence - 1, whole


class EventStream:
    """An ASGI response: the events after `after`, then those that come; None begins with those that come.

    Its own frames: `events.missed` where the reader's place is no longer remembered, `events.restarted` where it is
    ahead of this process, `lagged` as the last one for a reader that could not keep up: it resumes by `Last-Event-ID`.
    """

    def __init__(self, feed: Feed, *, after: int | None, upgrade_id: str, limits: Limits) -> None:
        self._feed = feed
        self._limits = limits
        self._upgrade_id = upgrade_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send until the reader goes, lags, or the server closes."""
        with self._feed.reader() as news:
            # What was emitted before the reader came is before its place.
            await self._feed.fetch()
            gone = asyncio.create_task(_until_gone(receive))
            gone.add_done_callback(lambda _: news.set())
            try:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                async for chunk in self._chunks(news, gone.done):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if not gone.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone

    async def _chunks(self, news: asyncio.Event, gone: Callable[[], bool]) -> AsyncIterator[bytes]:
        cursor, begun = self._begin()
        yield begun
        reading = False
        while not gone():
            news.clear()
            lost, frames = self._feed.after(cursor)
            if lost and reading:
                yield notice("lagged", "You read too slowly: ask again with Last-Event-ID.", missed=lost, after=cursor)
                return
            if lost and cursor:
                yield notice("events.missed", f"{lost} events are no longer remembered.", missed=lost, after=cursor)
            reading = True
            if frames:
                cursor = frames[-1].sequence
                if text := b"".join(f.text for f in frames if self._upgrade_id in {"", f.upgrade_id}):
                    yield text
            elif self._feed.closed:
                return
            elif not await _rings(news, self._limits.heartbeat_seconds):
                yield b": heartbeat\n\n"

    def _begin(self) -> tuple[int, bytes]:
        hello = b": connected\nretry: 1000\n\n"
        if self._after is None:
            return self._feed.last, hello
        if self._after > self._feed.last:
            words = "The program was restarted, and numbers its events anew."
            return 0, hello + notice("events.restarted", words, last=self._feed.last)
        return self._after, hello


_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
    (b"x-content-type-options", b"nosniff"),
]


async def _rings(news: asyncio.Event, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await news.wait()
    except TimeoutError:
        return False
    return True


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
