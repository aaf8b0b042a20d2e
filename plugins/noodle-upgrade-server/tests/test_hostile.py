from __future__ import annotations

import contextlib
import json
import select

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw import Raw
from shop import Shop, good, refused, running

from noodle_upgrade_core import ComponentDescriptor, hookimpl
from noodle_upgrade_server import Limits

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    limits = Limits(head_seconds=0.2, body_seconds=0.2, connections=8, streams=2, body_bytes=20_000)
    with running(tmp_path_factory.mktemp("hostile"), limits=limits) as made:
        yield made


@pytest.fixture(autouse=True)
def _goes_on(shop):
    yield
    good(shop.get("health"))
    assert shop.shop.goods == {"lamp": "1.0", "book": "1.0"}


def request_of(**changes):
    return json.dumps({"requests": [{"component_name": "lamp", "target_version": "1.1", **changes}]}).encode()


BODIES = {
    "not json": b"{requests}",
    "not utf-8": b'{"requests": "\xff"}',
    "half of it": b'{"requests": [',
    "deep": b'{"requests":' * 500 + b"1" + b"}" * 500,
    "deep lists": b"[" * 9_000 + b"]" * 9_000,
    "nan": b'{"requests": [{"component_name": "lamp", "target_version": "1.1", "timeout_seconds": NaN}]}',
    "infinite": b'{"requests": [{"component_name": "lamp", "target_version": "1.1", "timeout_seconds": 1e999}]}',
    "a number of 10,000 digits": b'{"requests": ' + b"9" * 10_000 + b"}",
    "a key twice": b'{"requests": [], "requests": []}',
    "a list": b"[]",
    "a string": b'"requests"',
    "null": b"null",
    "no requests": b"{}",
    "an empty list": b'{"requests": []}',
    "requests as an object": b'{"requests": {"component_name": "lamp"}}',
    "a request as a string": b'{"requests": ["lamp"]}',
    "a number as a name": request_of(component_name=1),
    "an empty name": request_of(component_name=" "),
    "true as a priority": request_of(priority=True),
    "a priority of 11": request_of(priority=11),
    "a negative time limit": request_of(timeout_seconds=-1),
    "a string as a time limit": request_of(timeout_seconds="1"),
    "an unknown level": request_of(validation_level="strickt"),
    "constraints as a string": request_of(constraints="<2"),
    "a time without an offset": request_of(requested_at="2031-01-01T00:00:00"),
    "an unknown key": b'{"requests": [], "aprove": true}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_makes_no_sense_is_refused_as_the_clients_fault(shop, body):
    error = refused(shop.client.post("/v1/plans", content=body, headers=JSON), 400)
    assert error["code"] == "request.invalid"


def test_a_misspelled_key_gets_the_right_one_suggested(shop):
    body = request_of(stratgey="immediate")
    assert (
        "did you mean 'strategy'" in refused(shop.client.post("/v1/plans", content=body, headers=JSON), 400)["message"]
    )
    body = b'{"plan_id": "x", "aprove": true}'
    assert (
        "did you mean 'approve'"
        in refused(shop.client.post("/v1/upgrades", content=body, headers=JSON), 400)["message"]
    )


@pytest.mark.parametrize(
    "body", [b"{}", b'{"plan_id": "a", "requests": [{"component_name": "b", "target_version": "1"}]}']
)
def test_starting_needs_either_a_plan_or_requests(shop, body):
    refused(shop.client.post("/v1/upgrades", content=body, headers=JSON), 400)


def test_approval_is_true_or_false_and_nothing_else(shop):
    refused(shop.post("upgrades", {"plan_id": "x", "approve": "yes"}), 400)
    refused(shop.post("upgrades", {"plan_id": "x", "approve": 1}), 400)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_a_web_page_could_send_is_refused_unread(shop, kind):
    headers = {"content-type": kind} if kind else {}
    error = refused(shop.client.post("/v1/plans", content=request_of(), headers=headers), 415)
    assert error["code"] == "control.media_type"


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(shop):
    with Raw(shop.control) as raw:
        raw.send(b"POST /v1/plans HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999999\r\n\r\n")
        answer = raw.all()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"control.too_large" in answer


def test_a_body_of_unknown_length_is_refused_at_the_first_byte_too_many(shop):
    def chunks():
        for _ in range(1000):
            yield b" " * 1000

    refused(shop.client.post("/v1/plans", content=chunks(), headers=JSON), 413)


def test_a_body_that_trickles_in_is_given_up(shop):
    with Raw(shop.control) as raw:
        raw.send(b"POST /v1/plans HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        assert raw.status() == 408


def test_a_head_that_never_ends_is_cut_off(shop):
    with Raw(shop.control) as raw:
        raw.send(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n")
        assert raw.all() == b""
    with Raw(shop.control) as raw:
        assert raw.all() == b""


def test_a_second_head_that_never_ends_is_cut_off_too(shop):
    with Raw(shop.control) as raw:
        raw.send(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /v1/health HTT")
        answer = raw.all()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_head_that_is_too_large_is_refused(shop):
    with Raw(shop.control) as raw:
        raw.send(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 40_000 + b"\r\n\r\n")
        assert raw.status() == 431


def test_a_head_that_comes_in_pieces_is_refused_before_it_ends(shop):
    with Raw(shop.control) as raw, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        raw.send(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\nx: ")
        for _ in range(10_000):
            raw.send(b"y" * 1000)
        pytest.fail("ten megabytes of a header were taken")


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100]
)
def test_what_is_not_http_is_refused(shop, data):
    with Raw(shop.control) as raw:
        raw.send(data)
        assert b" 200 " not in raw.all()


def test_a_request_to_become_a_web_socket_is_not_granted(shop):
    with Raw(shop.control) as raw:
        raw.send(
            b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert not raw.socket.recv(1000).startswith(b"HTTP/1.1 101")


def test_more_connections_than_allowed_are_told_so_and_those_there_go_on(shop):
    good(shop.get("health"))
    there = [Raw(shop.control) for _ in range(8)]
    try:
        answers = [one.all() for one in there[7:]]
        assert b"HTTP/1.1 503" in answers[0]
        assert b"control.too_many" in answers[0]
        good(shop.get("health"))
    finally:
        for one in there:
            one.socket.close()


def test_more_streams_than_allowed_are_refused_and_other_requests_still_served(shop):
    with shop.client.stream("GET", "/v1/events") as one, shop.client.stream("GET", "/v1/events") as two:
        assert (one.status_code, two.status_code) == (200, 200)
        assert refused(shop.get("events"), 503)["code"] == "control.too_many"
        good(shop.get("health"))


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/health", "/v1/health/", "/v1/upgrades/a/b/c", "/v1/../etc/passwd"])
def test_a_path_that_is_not_there_is_a_typed_error(shop, path):
    assert refused(shop.client.get(path), 404)["code"] == "control.route_unknown"


def test_a_wrong_method_names_the_right_one(shop):
    assert "POST" in refused(shop.client.delete("/v1/plans"), 405)["hint"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("status?upgrade=x", "Did you mean 'upgrade_id'?"),
        ("history?limit=1&limit=2", "given twice"),
        ("history?limit=0", "whole number"),
        ("history?limit=-1", "whole number"),
        ("history?limit=1e3", "whole number"),
        ("history?limit=٣", "whole number"),
        ("history?limit=99999999999999999999999", "whole number"),
        ("upgrades/x?wait=nan", "number of seconds"),
        ("upgrades/x?wait=-1", "number of seconds"),
        ("events?after=x", "whole number"),
        ("events?after=-1", "whole number"),
        ("health?verbose=1", "no parameter"),
    ],
)
def test_a_query_is_taken_strictly(shop, path, words):
    error = refused(shop.get(path), 400)
    assert words in error["message"] + error["hint"]


def test_a_last_event_id_that_is_no_number_is_refused(shop):
    refused(shop.get("events", headers={"last-event-id": "first"}), 400)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "requests",
                    "plan_id",
                    "approve",
                    "component_name",
                    "target_version",
                    "rollback_id",
                    "plan_digest",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["plans", "upgrades", "rollbacks", "upgrades/x/cancel", "upgrades/x/approve"]),
    body=values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200),
)
def test_no_body_whatever_is_the_servers_fault(shop, path, body):
    response = shop.client.post(f"/v1/{path}", content=body, headers=JSON)
    assert 400 <= response.status_code < 500, (path, body, response.text)
    refused(response, response.status_code)


class Attic(Shop):
    """Has so many goods that listing them fills every buffer on the way."""

    @hookimpl
    def discover(self):
        return [
            ComponentDescriptor(name=f"box-{number}", version="1.0", description="x" * 10_000) for number in range(500)
        ]


def test_a_client_that_does_not_read_its_answer_is_cut_off(tmp_path):
    with running(tmp_path, Attic(), limits=Limits(send_seconds=0.2)) as shop, Raw(shop.control) as raw:
        raw.send(b"GET /v1/components HTTP/1.1\r\nhost: localhost\r\n\r\n")
        # Only its being cut off can end the connection: nothing is read before.
        poller = select.poll()
        poller.register(raw.socket, select.POLLRDHUP)
        assert poller.poll(20_000)
        assert b'"box-499"' not in raw.all()
        good(shop.get("health"))


class Clumsy(Shop):
    @hookimpl
    def discover(self):
        return [ComponentDescriptor(name="odd", version="1.0", metadata={"set": {1, 2}, "thing": object()})]


def test_what_a_plugin_says_that_json_cannot_carry_is_an_error_and_not_a_broken_connection(tmp_path):
    with running(tmp_path, Clumsy()) as shop:
        response = shop.get("components")
        assert response.status_code >= 400
        assert response.json()["error"]["code"]
