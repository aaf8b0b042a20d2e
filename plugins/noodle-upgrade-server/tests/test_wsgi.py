from __future__ import annotations

import asyncio
import io
import threading

import httpx
import pytest

from noodle_upgrade_core.traffic import Gauge
from noodle_upgrade_server.wsgi import WsgiAdapter


def call(app, method="GET", path="/", **more):
    """One request through the adapter."""

    async def ask():
        adapter = WsgiAdapter(app, threads=2)
        try:
            transport = httpx.ASGITransport(app=adapter, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop.example:81") as client:
                return await client.request(method, path, **more)
        finally:
            await asyncio.to_thread(adapter.close)

    return asyncio.run(ask())


def test_the_variables_are_those_of_pep_3333():
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        start_response("204 No Content", [])
        return []

    headers = [("x-twice", "1"), ("x-twice", "2"), ("X_Forged", "admin"), ("content-type", "text/x")]
    answer = call(app, "PUT", "/caf%C3%A9/a%2Fb?q=1%20+2", headers=headers, content=b"12345")
    assert answer.status_code == 204
    wanted = {
        "REQUEST_METHOD": "PUT",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/caf\xc3\xa9/a/b",
        "QUERY_STRING": "q=1%20+2",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "81",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "5",
        "HTTP_X_TWICE": "1,2",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
    }
    assert {name: seen[name] for name in wanted} == wanted
    assert not [name for name in seen if "FORGED" in name]
    assert all(type(value) is str for name, value in seen.items() if name.isupper())


def test_a_body_is_read_as_the_application_likes():
    def app(environ, start_response):
        body = environ["wsgi.input"]
        parts = [body.readline(), body.read(3), b"|", *body, b"|", body.read()]
        start_response("200 OK", [])
        return [b"".join(parts)]

    async def chunks():
        for part in (b"a\nb", b"", b"cdef", b"\ng"):
            yield part

    assert call(app, "POST", content=chunks()).content == b"a\nbcd|ef\ng|"


def test_a_body_is_sent_piece_by_piece_and_closed():
    closed = []

    class Body:
        def __iter__(self):
            yield b""
            yield b"one "
            yield b"two"

        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("200 OK", [("X-Thing", "caf\xe9")])(b"zero ")
        return Body()

    answer = call(app)
    assert answer.content == b"zero one two"
    assert answer.headers.raw[0] == (b"x-thing", b"caf\xe9")
    assert closed == [True]


def test_an_error_after_the_head_was_chosen_but_not_sent_may_still_become_an_error_page():
    def app(environ, start_response):
        start_response("200 OK", [])
        error = ValueError("late")
        start_response("500 Oh", [], (type(error), error, error.__traceback__))
        return [b"sorry"]

    answer = call(app)
    assert (answer.status_code, answer.content) == (500, b"sorry")


def silent(environ, start_response):
    return [b"no head"]


def twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def late(environ, start_response):
    start_response("200 OK", [])(b"gone")
    error = ValueError("too late")
    start_response("500 Oh", [], (type(error), error, None))
    return []


def raising(environ, start_response):
    raise ValueError("at once")


@pytest.mark.parametrize(
    ("app", "error"), [(silent, AssertionError), (twice, AssertionError), (late, ValueError), (raising, ValueError)]
)
def test_an_application_that_breaks_the_rules_fails_loudly(app, error):
    with pytest.raises(error):
        call(app)


def test_a_body_is_closed_also_when_it_raises():
    closed = []

    class Body:
        def __iter__(self):
            yield b"one"
            raise ValueError("midway")

        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("200 OK", [])
        return Body()

    with pytest.raises(ValueError, match="midway"):
        call(app)
    assert closed == [True]


def test_a_client_that_goes_midway_is_an_error_for_who_reads():
    def app(environ, start_response):
        with pytest.raises(ConnectionError):
            environ["wsgi.input"].read()
        assert environ["wsgi.input"].read() == b""
        start_response("200 OK", [])
        return []

    async def ask():
        messages = iter([{"type": "http.request", "body": b"ha", "more_body": True}, {"type": "http.disconnect"}])

        async def receive():
            return next(messages)

        sent = []

        async def send(message):
            sent.append(message["type"])

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "http_version": "1.1",
            "headers": [],
        }
        adapter = WsgiAdapter(app, threads=1)
        await adapter(scope, receive, send)
        adapter.close()
        return sent

    assert asyncio.run(ask()) == ["http.response.start", "http.response.body"]


def test_only_http_is_served():
    async def ask():
        adapter = WsgiAdapter(silent, threads=1)
        try:
            with pytest.raises(RuntimeError, match="websocket"):
                await adapter({"type": "websocket"}, None, None)
        finally:
            adapter.close()

    asyncio.run(ask())


def test_requests_run_at_once_as_far_as_the_threads_go_and_are_counted():
    gauge = Gauge()
    counting = gauge.count("1", "2")
    both = threading.Barrier(2, timeout=30)

    def app(environ, start_response):
        both.wait()
        start_response("503 Full", [])
        return [io.BytesIO(b"x").read()]

    async def ask():
        adapter = WsgiAdapter(gauge.wsgi(app), threads=2)
        transport = httpx.ASGITransport(app=adapter)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await asyncio.gather(client.get("/"), client.get("/"))
        adapter.close()

    asyncio.run(ask())
    counted = counting.measure(0.0, 0.0)
    assert (counted.old.calls, counted.old.errors, gauge.under_way) == (2, 2, 0)
