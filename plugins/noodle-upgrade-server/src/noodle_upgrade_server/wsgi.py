"""A WSGI application as an ASGI one: each request in a thread of a pool, bodies streamed both ways, never gathered."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from starlette.types import Receive, Scope, Send

__all__ = ["WsgiAdapter", "WsgiApp"]

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | None


class WsgiAdapter:
    """Serves HTTP requests with a WSGI application, at most `threads` at a time; close it when the server has ended."""

    def __init__(self, app: WsgiApp, *, threads: int) -> None:
        self._app = app
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"WSGI knows HTTP only, not {scope['type']}.")
        call = _Call(scope, receive, send, asyncio.get_running_loop())
        await asyncio.get_running_loop().run_in_executor(self._pool, call.run, self._app)

    def close(self) -> None:
        """Wait for the requests under way, and end the threads."""
        self._pool.shutdown()


class _Call:
    """One request, on a thread of the pool."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._loop = loop
        self._head: MutableMapping[str, Any] | None = None
        self._head_sent = False

    def run(self, app: WsgiApp) -> None:
        """Call the application and send what it gives."""
        environ = _environ(self._scope, io.BufferedReader(_Input(self._next)))
        body = app(environ, self._start)
        try:
            for chunk in body:
                # The head goes with the first bytes: until then the application may still turn it into an error.
                if chunk:
                    self._write(chunk)
        finally:
            closer = getattr(body, "close", None)
            if closer is not None:
                closer()
        self._write(b"", more=False)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo = None) -> Callable[[bytes], None]:
        if self._head is not None and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info")
        if self._head_sent and exc_info is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        self._head = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        return self._write

    def _write(self, chunk: bytes, *, more: bool = True) -> None:
        if not self._head_sent:
            if self._head is None:
                raise AssertionError("the application sent a body before it called start_response")
            self._head_sent = True
            self._wait(self._send(self._head))
        self._wait(self._send({"type": "http.response.body", "body": chunk, "more_body": more}))

    def _next(self) -> MutableMapping[str, Any]:
        message: MutableMapping[str, Any] = self._wait(self._receive())
        return message

    def _wait(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result()


class _Input(io.RawIOBase):
    """The body of a request, fetched as the application reads it."""

    def __init__(self, fetch: Callable[[], MutableMapping[str, Any]]) -> None:
        super().__init__()
        self._fetch = fetch
        self._left = b""
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there is something; 0 at the end. Raises `ConnectionError` when the client goes."""
        while not self._left and self._more:
            message = self._fetch()
            if message["type"] == "http.disconnect":
                self._more = False
                raise ConnectionError("the client has gone before its whole request had come")
            self._left = message.get("body", b"")
            self._more = message.get("more_body", False)
        taken = self._left[: len(buffer)]
        buffer[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        return len(taken)


def _environ(scope: Scope, body: io.BufferedReader) -> dict[str, Any]:
    """Return the variables of PEP 3333 for a request."""
    script = scope.get("root_path", "").encode().decode("latin-1")
    server = scope.get("server") or ("localhost", 80)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script,
        "PATH_INFO": scope["path"].encode().decode("latin-1").removeprefix(script),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope["client"][0], str(scope["client"][1])
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name:
            continue  # in a variable it could not be told from the name with a dash, which a proxy may vouch for
        key = name.upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ
