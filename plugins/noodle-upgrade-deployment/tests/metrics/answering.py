"""A server over real HTTP that answers as a test wants it to, also in ways that no good server would."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import define, field


@define
class Server:
    """`answer` is given each request; `asked` keeps them: path, parameters, headers."""

    url: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(factory=list)
    answer: Callable[[Any], None] = field(default=lambda request: json_answer(request, {}))
    over: threading.Event = field(factory=threading.Event)


def json_answer(request: Any, told: Any, *, status: int = 200) -> None:
    raw_answer(request, json.dumps(told).encode(), status=status, content_type="application/json")


def raw_answer(
    request: Any, body: bytes, *, status: int = 200, content_type: str = "text/plain", **headers: str
) -> None:
    request.send_response(status)
    request.send_header("Content-Type", content_type)
    request.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def served() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            made.asked.append(
                (parts.path, {key: one[0] for key, one in parse_qs(parts.query).items()}, dict(self.headers))
            )
            with suppress(OSError):  # whoever asked has gone
                made.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    made.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        http.shutdown()
        http.server_close()
        thread.join()


def hang(server: Server) -> Callable[[Any], None]:
    """Let a request wait until the test is over."""
    return lambda request: server.over.wait(30) and None


def drip(server: Server) -> Callable[[Any], None]:
    """Send a body byte by byte, without an end."""

    def answer(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        while not server.over.wait(0.05):
            request.wfile.write(b" ")
            request.wfile.flush()

    return answer


def flood(request: Any) -> None:
    """Send a body that never ends, as fast as it goes."""
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" " * 65536)


def redirect_to(url: str) -> Callable[[Any], None]:
    return lambda request: raw_answer(request, b"", status=302, Location=url)
