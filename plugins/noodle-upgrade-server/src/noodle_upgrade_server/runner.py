"""The server's own event loop, in the server's own thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from noodle_upgrade_server.bridge import Bridge
from noodle_upgrade_server.errors import ServeError
from noodle_upgrade_server.limits import Limits
from noodle_upgrade_server.protocol import ControlProtocol
from noodle_upgrade_server.streaming import Feed

__all__ = ["Runner"]

logger = logging.getLogger("noodle_upgrade")

_LAST_SECONDS = 1.0
_LOOK_SECONDS = 0.01
_ACCEPT_TURNS = 10


class Runner:
    """Serves an application at a socket until it is told to stop.

    uvicorn's protocol without uvicorn's `Server`: that one is made for a process of its own, with its logging, its
    signals and its tenth of a second between looks.
    """

    def __init__(self, app: ASGIApp, listening: socket.socket, *, bridge: Bridge, feed: Feed, limits: Limits) -> None:
        self._app = app
        self._listening = listening
        self._bridge = bridge
        self._feed = feed
        self._limits = limits
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False
        self._grace = 0.0

    def run(self) -> None:
        """Serve: the whole life of the thread."""
        try:
            # The program's own choice of an event loop is not for this thread.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error
            logger.exception("the control server ended")
        finally:
            self._ready.set()

    def wait_until_ready(self, seconds: float) -> None:
        """Return when connections are answered; raises `ServeError`."""
        if not self._ready.wait(seconds) or self._failure is not None:
            raise ServeError(f"The control server did not start: {self._failure or 'it takes too long'}.")

    def stop(self, grace: float) -> None:
        """Ask it to end, from any thread; requests under way have `grace` seconds."""
        self._grace = grace
        self._stopping = True
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(stop.set)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self._feed.fetch()
        fetching = asyncio.create_task(self._feed.run(), name="noodle-feed")
        state = ServerState()
        server = await self._loop.create_server(self._factory(state), sock=self._listening)
        self._ready.set()
        try:
            if not self._stopping:
                await self._stop.wait()
        finally:
            # asyncio forgets, open, what it is accepting at the moment in which a server closes: so accept no more,
            # let those in, and close it then.
            self._loop.remove_reader(self._listening.fileno())
            for _ in range(_ACCEPT_TURNS):
                await asyncio.sleep(0)
            server.close()
            await self._wind_up(state)
            fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await fetching

    def _factory(self, state: ServerState) -> Callable[[], ControlProtocol]:
        limits = self._limits
        config = uvicorn.Config(
            self._app,
            http=ControlProtocol,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=limits.idle_seconds,
            h11_max_incomplete_event_size=limits.head_bytes,
        )
        config.load()

        def connect() -> ControlProtocol:
            return ControlProtocol(limits=limits, config=config, server_state=state, app_state={}, _loop=self._loop)

        return connect

    async def _wind_up(self, state: ServerState) -> None:
        """Answer what is under way as far as the time goes, and end the rest."""
        await self._feed.close()
        for connection in tuple(state.connections):
            connection.shutdown()
        await _until(lambda: self._bridge.idle, self._grace)
        self._bridge.close()
        await _until(lambda: not state.connections and not state.tasks, _LAST_SECONDS)
        for connection in tuple(state.connections):
            connection.transport.abort()
        for task in tuple(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


async def _until(true: Callable[[], bool], seconds: float) -> None:
    until = asyncio.get_running_loop().time() + seconds
    while not true() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - uvicorn rings no bell
        await asyncio.sleep(_LOOK_SECONDS)
