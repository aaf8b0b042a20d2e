"""`noodle run`: a program that need not know about upgrades, hosted so that it can be upgraded.

The order is what matters: what a crash left behind is recovered, and the versions that the journal names are put in
place, before the first line of the program is imported.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import thread as pools
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType

import uvicorn
from attrs import field, frozen
from starlette.types import ASGIApp

from noodle_upgrade_core.blocking import BlockingUpgrader
from noodle_upgrade_core.config import Settings
from noodle_upgrade_core.errors import JournalFullError
from noodle_upgrade_core.traffic import Gauge
from noodle_upgrade_server.control import serve
from noodle_upgrade_server.errors import NoRoomError, ServeError
from noodle_upgrade_server.later import Later
from noodle_upgrade_server.target import (
    Interface,
    Kind,
    Target,
    TargetError,
    import_folder,
    interface_of,
    load_app,
    run_main,
)
from noodle_upgrade_server.wsgi import WsgiAdapter

__all__ = ["Host"]

logger = logging.getLogger("noodle_upgrade")

_SIGNALLED = 128
_FAILED = 1
_PATIENCE_SECONDS = 5.0
"""How long threads of the program may take to end after it was asked to, and everything of ours was closed."""
_OURS = Path(__file__).parent


@frozen(kw_only=True)
class _Managed:
    """What the program is given: where its requests are counted, and the words that say where it is controlled."""

    gauge: Gauge
    control: str


@frozen(kw_only=True)
class Host:
    """Runs one program under an Upgrader.

    `host` and `port` are where an application is served; `control_port` puts the control API on TCP. `graceful` is how
    many seconds requests under way have at the end, `threads` how many WSGI requests run at once. `say` prints a line.
    """

    target: Target
    settings: Settings
    say: Callable[[str], None]
    host: str = "127.0.0.1"
    port: int = 8000
    control_port: int | None = None
    interface: Interface = Interface.AUTO
    factory: bool = False
    access_log: bool = False
    graceful: int = 30
    threads: int = field(factory=lambda: min(32, (os.cpu_count() or 1) * 4))

    def run(self) -> None:
        """Run the program to its end, and leave as it leaves: its exit code is the process's.

        Raises `TargetError` for a program that is not there, `ServeError` for an address that is taken, and what
        opening an Upgrader raises; `SystemExit` with 128 and the signal's number when a signal ended it.
        """
        logger.setLevel(self.settings.runtime_upgrade.log_level)
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(_bound(self.host, self.port)) if self.target.kind is Kind.APP else None
            stack.enter_context(_terminating())
            sys.path.insert(0, import_folder(self.target))
            with _killable():
                managed = self._manage(stack)
            with _in_this_process():
                self._program(managed, listening)

    def _manage(self, stack: contextlib.ExitStack) -> _Managed:
        """Open the Upgrader and its control API.

        Also where the settings switch upgrades off: what was committed stays in place, and can be taken back.
        """
        enabled, origin = self.settings.enabled
        if not enabled:
            self.say(f"Upgrades are switched off (by {origin}): plans and upgrades are refused.")
        try:
            upgrader = stack.enter_context(BlockingUpgrader.open(self.settings))
        except JournalFullError as full:
            # The program must not stay down for it; with no journal at all there is no version to bring back either.
            self.say(f"{full.message} {full.hint} Until then, and a restart, nothing can be upgraded.")
            return _Managed(gauge=Gauge(), control="no control")
        for problem in upgrader.settings.problems():
            logger.warning("settings: %s", problem)
        control = serve(upgrader, port=self.control_port, program=self.target.shown)
        try:
            stack.enter_context(control)
        except NoRoomError as full:
            self.say(f"{full.message} It opens as soon as there is room.")
            stack.enter_context(Later(control, self.say))
            return _Managed(gauge=upgrader.gauge, control="no control yet")
        return _Managed(gauge=upgrader.gauge, control=f"control at {control.shown}")

    # --- the program ---------------------------------------------------------------------------------------------

    def _program(self, managed: _Managed, listening: socket.socket | None) -> None:
        try:
            if listening is not None:
                self._serve_app(managed, listening)
            else:
                self.say(f"{self.target.shown}; {managed.control}; process {os.getpid()}")
                run_main(self.target)
                _join_threads()
        except (SystemExit, TargetError):
            raise
        except KeyboardInterrupt:
            raise SystemExit(_SIGNALLED + signal.SIGINT) from None
        except BaseException as error:  # noqa: BLE001 - the program's own failure, told as Python tells it
            error.__traceback__ = _own_part(error.__traceback__)
            sys.excepthook(type(error), error, error.__traceback__)
            raise SystemExit(_FAILED) from None

    def _serve_app(self, managed: _Managed, listening: socket.socket) -> None:
        app, gauge = load_app(self.target, factory=self.factory), managed.gauge
        with contextlib.ExitStack() as stack:
            wsgi = interface_of(app, self.interface) is Interface.WSGI
            if wsgi:
                adapter = WsgiAdapter(gauge.wsgi(app), threads=self.threads)
                stack.callback(adapter.close)
                served: ASGIApp = adapter
            else:
                served = gauge.asgi(app)
            config = uvicorn.Config(
                served,
                interface="asgi3",
                lifespan="off" if wsgi else "auto",
                log_level="info" if self.access_log else "warning",
                access_log=self.access_log,
                timeout_graceful_shutdown=self.graceful,
            )
            words = f"{self.target.shown} at {_url(listening)}; {managed.control}; process {os.getpid()}"
            _AppServer(config, lambda: self.say(words)).run(sockets=[listening])


class _AppServer(uvicorn.Server):
    """uvicorn, saying where it listens once it answers."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Give a socket that has its address, and listens only when the program does."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # The protocol by its number: asyncio turns Nagle's delay off only where a socket says that it is TCP.
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise ServeError(f"{host}:{port} is no address here: {error}.", hint="Choose another --host.") from error
    with made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
        except OSError as error:
            hint = "Another program may have the port: choose another one with --port, or 0 for a free one."
            raise ServeError(f"The program cannot be served at {host}:{port}: {error}.", hint=hint) from error
        yield made


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _own_part(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames above the program's: ours, and those of `runpy` and `importlib`."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (file.startswith("<frozen ") or Path(file).parent == _OURS or Path(file).name == "runpy.py"):
            break
        trace = trace.tb_next
    return trace


# --- processes, threads, signals ---------------------------------------------------------------------------------


def _join_threads() -> None:
    """Wait as Python does at the end of a script: the threads that it has left running are the program, too."""
    idle = pools._worker  # noqa: SLF001 - Python itself ends these when a script ends; to be joined is not in them
    for thread in threading.enumerate():
        if thread.daemon or thread is threading.current_thread() or getattr(thread, "_target", None) is idle:
            continue
        thread.join()


@contextlib.contextmanager
def _in_this_process() -> Iterator[None]:
    """Leave a forked child at once when it comes out here: the Upgrader and its files are its parent's."""
    here = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != here:
            _exit_child(error)
        raise
    if os.getpid() != here:
        _exit_child(None)


def _exit_child(error: BaseException | None) -> None:
    code = error.code if isinstance(error, SystemExit) else None
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else _FAILED if code else 0)


@contextlib.contextmanager
def _killable() -> Iterator[None]:
    """Let signals end the process at once while it is opened: nothing of the program runs, and a journal bears it.

    A plugin that hangs at its import would keep everybody waiting who wants to stop it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # else it was set by other than Python code, and cannot be put back
                signal.signal(number, handler)


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Let SIGTERM end the program as `sys.exit` would, so that everything is closed; a program's own handler wins."""
    unset = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or not unset:
        yield
        return
    leaving = threading.Event()
    handler = partial(_leave, os.getpid(), leaving)
    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if leaving.is_set():
            # Everything of ours is closed. Python now waits for the program's threads, and one that hangs would keep a
            # process that serves nothing any more: it ends as a program ends that has no handler.
            last = threading.Timer(_PATIENCE_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
            last.daemon = True
            last.start()


def _leave(pid: int, leaving: threading.Event, number: int, _: FrameType | None) -> None:
    # A second signal, while everything is being closed, ends the process at once: the journal can bear it.
    signal.signal(number, signal.SIG_DFL)
    leaving.set()
    if os.getpid() != pid:
        os.kill(os.getpid(), number)
    raise SystemExit(_SIGNALLED + number)
