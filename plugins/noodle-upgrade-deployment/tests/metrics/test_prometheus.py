import asyncio
import gzip
import time
import traceback

import pytest
from answering import drip, flood, hang, json_answer, raw_answer, redirect_to, served
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError
from noodle_upgrade_deployment.fetching import FetchError
from noodle_upgrade_deployment.metrics import MetricUnreadableError
from noodle_upgrade_deployment.metrics.metric import number_of
from noodle_upgrade_deployment.metrics.prometheus import Prometheus, range_seconds

QUERY = 'sum(queue_depth{version="{version}"})'


def success(kind, result):
    return {"status": "success", "data": {"resultType": kind, "result": result}}


def vector(*values):
    return success("vector", [{"metric": {"pod": str(at)}, "value": [1.0, one]} for at, one in enumerate(values)])


def read(server, version="2.0", **more):
    async def reading():
        return number_of(await Prometheus(query=QUERY, url=server.url, **more).read(version))

    return asyncio.run(reading())


def answers(told, **more):
    return lambda request: json_answer(request, told, **more)


def test_the_query_is_asked_with_the_version_in_it(server):
    server.answer = answers(vector("12.5"))
    assert read(server, timeout=3.0) == 12.5
    path, parameters, _ = server.asked[0]
    assert path == "/api/v1/query"
    assert parameters == {"query": 'sum(queue_depth{version="2.0"})', "timeout": "3000ms"}


def test_a_server_below_a_path_is_asked_below_it(server):
    server.answer = answers(success("scalar", [1.0, "7"]))
    query = Prometheus(query=QUERY, url=f"{server.url}/prom/")
    assert asyncio.run(query.read("2.0")) == 7.0
    assert server.asked[0][0] == "/prom/api/v1/query"


def test_a_version_cannot_get_out_of_its_quotes(server):
    server.answer = answers(vector("1"))
    read(server, '1"} or up{job="x\\')
    assert server.asked[0][1]["query"] == 'sum(queue_depth{version="1\\"} or up{job=\\"x\\\\"})'


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (vector(), "there are no data of the version 2.0"),
        (vector("1", "2"), "gives 2 series"),
        (vector("NaN"), "it gave nan"),
        (vector("+Inf"), "it gave inf"),
        (vector("many"), "no number where one belongs"),
        (vector(5), "no number where one belongs"),
        (success("vector", [{"metric": {}, "histogram": [1.0, {}]}]), "no number where one belongs"),
        (success("vector", ["no"]), "no number where one belongs"),
        (success("matrix", []), "gives a matrix"),
        (success("string", [1.0, "7"]), "gives a string"),
        ({"status": "success"}, "gives a None"),
        ({"status": "success", "data": []}, "gives a None"),
        ([], "not in JSON"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, "bad_data: parse error"),
    ],
)
def test_what_is_not_one_number_is_no_reading(server, told, problem):
    server.answer = answers(told)
    with pytest.raises(MetricUnreadableError, match=problem):
        read(server)


@pytest.mark.parametrize("status", [400, 401, 422, 500, 503])
def test_an_error_of_the_server_is_no_reading_whatever_else_it_says(server, status):
    server.answer = answers(vector("1"), status=status)
    with pytest.raises(MetricUnreadableError, match=f"status {status}"):
        read(server)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b'{"status":', b"\xff\xfe", b"NaN"])
def test_what_is_not_json_is_no_reading(server, body):
    server.answer = lambda request: raw_answer(request, body)
    with pytest.raises(MetricUnreadableError, match="not in JSON"):
        read(server)


def test_a_long_error_is_shortened(server):
    server.answer = answers({"status": "error", "error": "x" * 100_000}, status=400)
    with pytest.raises(MetricUnreadableError) as caught:
        read(server)
    assert len(caught.value.message) < 500


def test_a_body_that_never_ends_is_given_up_after_a_megabyte(server):
    server.answer = flood
    with pytest.raises(FetchError, match="more than 1048576 bytes"):
        read(server, timeout=10.0)


def test_a_compressed_body_is_refused_for_nobody_knows_how_long_it_gets(server):
    server.answer = lambda request: raw_answer(request, gzip.compress(b" " * 10_000_000), Content_Encoding="gzip")
    with pytest.raises(FetchError, match="compressed"):
        read(server)


@pytest.mark.parametrize("slow", [hang, drip])
def test_a_server_that_hangs_or_drips_is_given_up_in_time(server, slow):
    server.answer = slow(server)
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"did not answer within 0\.3 s"):
        read(server, timeout=0.3)
    assert time.monotonic() - began < 3.0


def test_nobody_at_the_address_is_no_reading():
    with served() as gone:
        pass
    with pytest.raises(FetchError, match="could not be asked"):
        read(gone)


def test_a_redirect_is_not_followed_and_takes_no_token_along(server, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret")
    with served() as other:
        server.answer = redirect_to(f"{other.url}/api/v1/query")
        with pytest.raises(MetricUnreadableError, match="status 302"):
            read(server, token_file=token)
        assert other.asked == []


def test_a_token_is_sent_and_read_anew_each_time(server, tmp_path):
    server.answer, token = answers(vector("1")), tmp_path / "token"
    for secret in ("first\n", "second\n"):
        token.write_text(secret)
        read(server, token_file=token)
    assert [headers["Authorization"] for _, _, headers in server.asked] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("secret", [b"s3cret\r\nX-Evil: 1", b"s3cret more", "s3cr\u00e9t".encode(), b"  \n"])
def test_a_token_that_cannot_be_one_is_not_sent_and_not_shown(server, tmp_path, secret):
    token = tmp_path / "token"
    token.write_bytes(secret)
    with pytest.raises(MetricUnreadableError, match="token") as caught:
        read(server, token_file=token)
    shown = "".join(traceback.format_exception(caught.value)) + repr(
        Prometheus(query=QUERY, url=server.url, token_file=token)
    )
    assert "s3cr" not in shown
    assert server.asked == []


def test_a_token_is_never_shown_when_the_server_fails(tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret")
    with served() as gone:
        pass
    with pytest.raises(UpgradeError) as caught:
        read(gone, token_file=token)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_without_its_token_a_metric_is_not_read(server, tmp_path):
    with pytest.raises(MetricUnreadableError, match="cannot be read"):
        read(server, token_file=tmp_path / "none")
    assert server.asked == []


def test_proxies_of_the_environment_take_no_part(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.answer = answers(vector("3"))
    assert read(server) == 3.0


@pytest.mark.parametrize(
    "url", ["", "prometheus:9090", "ftp://host", "http://", "http://[", "http://host:port", None, 7]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidRequestError, match="http://"):
        Prometheus(query=QUERY, url=url)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(InvalidRequestError) as caught:
        Prometheus(query=QUERY, url="http://me:s3cret@host:9090")
    assert "s3cret" not in str(caught.value)


def test_a_query_without_a_version_is_refused():
    with pytest.raises(InvalidRequestError, match=r"must have \{version\}"):
        Prometheus(query="up", url="http://host")


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("up", 0.0),
        ("rate(x[5m])", 300.0),
        ("rate(x[1h30m]) / rate(y[90s])", 5400.0),
        ("max_over_time(rate(x[5m])[1d:1m])", 86_400.0),
        ("x{path=~'[5m]'}", 0.0),
        ('x{path="a\\"[1h]"}', 0.0),
        ("rate(x[250ms])", 0.25),
    ],
)
def test_how_far_a_query_looks_back_is_its_longest_range(query, seconds):
    assert range_seconds(query) == seconds


@given(st.text(max_size=200))
def test_no_query_is_too_strange_to_ask_how_far_it_looks_back(query):
    assert range_seconds(query) >= 0.0
