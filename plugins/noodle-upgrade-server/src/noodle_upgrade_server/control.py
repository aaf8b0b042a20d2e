"""The control server of a program: two lines open it, and closing it leaves nothing behind.

with BlockingUpgrader.open(settings) as upgrader, serve(upgrader):
    run_my_program()

async with Upgrader.open(settings) as upgrader, serve(upgrader):
    await run_my_program()
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import frozen

import noodle_upgrade_core
from noodle_upgrade_core.blocking import BlockingUpgrader
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.model import now
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_server.app import ControlApi, Identity, control_app
from noodle_upgrade_server.bridge import Bridge
from noodle_upgrade_server.errors import ServeError
from noodle_upgrade_server.limits import Limits
from noodle_upgrade_server.location import (
    TOKEN,
    Listener,
    Lock,
    listen_tcp,
    listen_unix,
    remove_pointer,
    write_pointer,
    write_private,
)
from noodle_upgrade_server.runner import Runner
from noodle_upgrade_server.security import Policy, checked_token, new_token, peers_can_be_told
from noodle_upgrade_server.streaming import Feed

__all__ = ["ControlServer", "HttpServer", "serve"]

logger = logging.getLogger("noodle_upgrade")

THREAD = "noodle-control"
_GRACE_SECONDS = 2.0
_START_SECONDS = 30.0


def serve(
    upgrader: Upgrader | BlockingUpgrader,
    *,
    socket: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    program: str = "",
    limits: Limits | None = None,
) -> ControlServer:
    """Return the control server of an Upgrader; it serves inside its `with` (or `async with`) block.

    It listens at the Unix socket `control.sock` in the state directory, or at `socket`; with a `port` (0 for a free
    one) at a loopback address, where `token` is asked for, or one that is made and written to `control.token`. It runs
    on a thread and an event loop of its own and touches no signal handler. An `Upgrader` is handed over on its own
    event loop. Raises `InvalidRequestError` for options that make no sense together; entering raises `ServeError`, and
    `AlreadyServedError` where a living process serves already.
    """
    if port is None and token is not None:
        raise InvalidRequestError(
            "A token is for TCP; on a Unix socket the system says who it is.", hint="Give a port, or no token."
        )
    if port is not None and socket is not None:
        raise InvalidRequestError("Give either a socket or a port.", hint="Open a second server for the other one.")
    if isinstance(upgrader, BlockingUpgrader):
        inner, loop = upgrader.upgrader, upgrader.loop
    else:
        inner, loop = upgrader, _present_loop()
    return ControlServer(
        inner,
        loop,
        place=_Place(
            socket=None if socket is None else Path(socket),
            host=host,
            port=port,
            token=None if token is None else checked_token(token),
        ),
        program=program or Path(sys.argv[0]).name or "python",
        limits=limits or Limits(),
    )


def _present_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise InvalidRequestError(
            "serve(upgrader) must be called on the event loop that its Upgrader was opened on.",
            hint="A program with threads uses BlockingUpgrader.",
        ) from None


@frozen(kw_only=True)
class _Place:
    """Where to listen, as it was asked for."""

    socket: Path | None
    host: str
    port: int | None
    token: str | None


class HttpServer:
    """The driver `http` of the group `noodle_upgrade.servers`."""

    def serve(self, upgrader: Upgrader | BlockingUpgrader, **options: Any) -> ControlServer:
        """Do what the function `serve` does."""
        return serve(upgrader, **options)


class ControlServer:
    """One open control API; made by `serve`. `socket` or `url` say where it listens while it is open."""

    def __init__(
        self, upgrader: Upgrader, loop: asyncio.AbstractEventLoop, *, place: _Place, program: str, limits: Limits
    ) -> None:
        self.directory = upgrader.directory
        self.socket: Path | None = None
        self.url = ""
        self._upgrader = upgrader
        self._loop = loop
        self._place = place
        self._limits = limits
        self._identity = Identity(program=program, started_at=now(), core_version=_core_version())
        self._lock = Lock(self.directory)
        self._pid = 0
        self._listener: Listener | None = None
        self._runner: Runner | None = None
        self._thread: threading.Thread | None = None
        self._unsubscribe = _nothing

    @property
    def shown(self) -> str:
        """Where it listens, in words."""
        return str(self.socket) if self.socket is not None else self.url

    @property
    def token_file(self) -> Path | None:
        """The file with the token that was made, on TCP without a token of the caller's."""
        return self.directory / TOKEN if self._place.port is not None and self._place.token is None else None

    # --- opening -------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Open it, and return when it answers."""
        if self._thread is not None:
            raise ServeError("This control server is open already.")
        self._pid = os.getpid()
        self._lock.acquire()
        try:
            self._open()
        except BaseException:
            self.close(grace=0.0)
            raise
        return self

    def _open(self) -> None:
        place = self._place
        token = place.token
        if place.port is not None:
            self._listener = listen_tcp(place.host, place.port)
            token = token or new_token()
        elif peers_can_be_told():
            self._listener = listen_unix(self.directory, place.socket)
        else:
            raise ServeError(
                "This system does not say which user is on the other end of a Unix socket.", hint="Give a port."
            )
        # What a server that was killed has left here opens nothing any more.
        (self.directory / TOKEN).unlink(missing_ok=True)
        if self.token_file is not None and token is not None:
            write_private(self.token_file, token + "\n")
        self.socket, self.url = self._listener.path, self._listener.url
        feed = Feed(self._upgrader.events, self._limits)
        bridge = Bridge(self._upgrader, self._loop)
        api = ControlApi(bridge=bridge, feed=feed, identity=self._identity, limits=self._limits)
        self._unsubscribe = self._upgrader.events.subscribe(feed.ring)
        app = control_app(api, policy=Policy(token=token), limits=self._limits)
        self._runner = Runner(app, self._listener.socket, bridge=bridge, feed=feed, limits=self._limits)
        self._thread = threading.Thread(target=self._runner.run, name=THREAD, daemon=True)
        self._thread.start()
        self._runner.wait_until_ready(_START_SECONDS)
        write_pointer(self.directory, self._pointer())

    def _pointer(self) -> dict[str, Any]:
        health = {"pid": self._pid, "started_at": self._identity.started_at.isoformat()}
        if self.socket is None:
            named = {"token_file": TOKEN} if self.token_file is not None else {}
            return {"url": self.url, **named, **health}
        # Without the folder where it lies there: the state directory may be mounted elsewhere for the client.
        here = self.socket.parent == self.directory.absolute()
        return {"socket": self.socket.name if here else str(self.socket), **health}

    # --- closing -------------------------------------------------------------------------------------------------

    def close(self, *, grace: float = _GRACE_SECONDS) -> None:
        """Stop listening, end the streams, and let requests under way have `grace` seconds; may be called twice."""
        if os.getpid() != self._pid:
            return  # never opened, or a forked child has come out of its parent's block: nothing here is its own
        if self._on_the_loop():
            grace = 0.0  # what those requests wait for can only go on when this returns
        self._unsubscribe()
        if self._runner is not None and self._thread is not None:
            self._runner.stop(grace)
            self._thread.join(grace + _START_SECONDS)
            if self._thread.is_alive():
                logger.error("the control server did not end; its thread is left behind")
        if self._listener is not None:
            remove_pointer(self.directory)
            self._listener.close()
            if self.token_file is not None:
                self.token_file.unlink(missing_ok=True)
        self._lock.release()
        self._listener = self._runner = self._thread = None
        self._unsubscribe = _nothing

    def _on_the_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


def _nothing() -> None:
    """Stand for what there is not to undo."""


def _core_version() -> str:
    try:
        return version("noodle-upgrade-core")
    except PackageNotFoundError:
        return str(getattr(noodle_upgrade_core, "__version__", ""))
