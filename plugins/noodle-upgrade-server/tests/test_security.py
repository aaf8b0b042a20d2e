from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest
from raw import Raw
from shop import client_of, good, refused, running, shop_settings

from noodle_upgrade_core import BlockingUpgrader
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_server import serve
from noodle_upgrade_server.errors import ServeError
from noodle_upgrade_server.security import is_loopback


@pytest.fixture(scope="module")
def tcp(tmp_path_factory):
    with running(tmp_path_factory.mktemp("tcp"), served={"port": 0}) as made:
        yield made


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with running(tmp_path_factory.mktemp("unix")) as made:
        yield made


def token_of(shop):
    return shop.control.token_file.read_text().strip()


def test_on_tcp_nothing_is_answered_without_the_token(tcp):
    for path in ("health", "status", "nowhere", "events"):
        response = tcp.get(path)
        assert refused(response, 401)["code"] == "control.unauthorized"
        assert response.headers["www-authenticate"] == "Bearer"
    refused(tcp.post("plans"), 401)


def test_on_tcp_the_token_that_was_made_opens_it(tcp):
    with client_of(tcp.control, authorization=f"Bearer {token_of(tcp)}") as client:
        assert good(client.get("/v1/health"))["status"] == "ok"


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t + "x", str.swapcase, lambda t: "x" * len(t)])
def test_a_token_that_is_nearly_right_is_wrong(tcp, change):
    wrong = change(token_of(tcp))
    refused(tcp.get("health", headers={"authorization": f"Bearer {wrong}"}), 401)


def test_a_token_counts_only_as_a_bearers_and_only_once(tcp):
    token = token_of(tcp)
    refused(tcp.get("health", headers={"authorization": token}), 401)
    refused(tcp.get("health", headers={"authorization": f"Basic {token}"}), 401)
    refused(tcp.get("health", headers=[("authorization", f"Bearer {token}")] * 2), 401)
    refused(tcp.get("health", params={"token": token}), 401)
    refused(tcp.get("health", headers=[(b"authorization", b"Bearer \xff\xfe")]), 401)


def test_the_token_is_new_each_time_readable_by_this_user_only_and_gone_afterwards(tmp_path):
    seen = []
    for _ in range(2):
        with running(tmp_path, served={"port": 0}) as shop:
            file = shop.control.token_file
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            seen.append(token_of(shop))
        assert not file.exists()
    assert seen[0] != seen[1]
    assert min(map(len, seen)) >= 40


def test_a_token_that_the_program_gives_is_used_and_written_nowhere(tmp_path):
    given = "0123456789abcdef-and-more"
    with running(tmp_path, served={"port": 0, "token": given}) as shop:
        assert shop.control.token_file is None
        good(shop.get("health", headers={"authorization": f"Bearer {given}"}))
        state = tmp_path / "state"
        assert not any(given in f.read_text(errors="replace") for f in state.rglob("*") if f.is_file())


@pytest.mark.parametrize(
    "weak", ["", "short", "with a space in it, so", "ümlaute-sind-nicht-gut", "x" * 600, "a\nb" * 8]
)
def test_a_token_that_is_weak_or_cannot_be_sent_is_refused(shop, weak):
    with pytest.raises(InvalidRequestError):
        serve(shop.upgrader, port=0, token=weak)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]", "0.0.0.0"]
)
@pytest.mark.parametrize("where", ["tcp", "shop"])
def test_a_name_that_is_not_this_machines_is_refused_even_with_the_token(request, where, host):
    program = request.getfixturevalue(where)
    headers = {"host": host}
    if where == "tcp":
        headers["authorization"] = f"Bearer {token_of(program)}"
    refused(program.get("health", headers=headers), 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "127.9.9.9", "[::1]", "[::1]:8765"])
def test_every_name_of_this_machine_is_served_so_that_a_tunnel_works(shop, host):
    good(shop.get("health", headers={"host": host}))


def test_a_request_without_or_with_two_hosts_is_not_served(shop):
    for hosts in (b"", b"host: localhost\r\nhost: evil.example\r\n"):
        with Raw(shop.control) as raw:
            raw.send(b"GET /v1/health HTTP/1.1\r\n" + hosts + b"connection: close\r\n\r\n")
            assert raw.status() in {400, 403}
    with Raw(shop.control) as raw:
        raw.send(b"GET /v1/health HTTP/1.0\r\n\r\n")
        assert raw.status() == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null"])
def test_no_web_page_is_served_of_whatever_origin(shop, origin):
    response = shop.get("health", headers={"origin": origin})
    assert refused(response, 403)["code"] == "control.forbidden"
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_answers_are_not_kept_by_anybody(shop):
    assert shop.get("status").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.com", ""])
def test_an_address_that_others_could_reach_is_never_bound(tmp_path, host):
    with BlockingUpgrader.open(shop_settings(tmp_path)) as upgrader, pytest.raises(ServeError, match="loopback"):
        serve(upgrader, host=host, port=0).start()


@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("localhost.evil", False),
        ("127.1", False),
        ("2130706433", False),
    ],
)
def test_only_whole_names_and_addresses_count_as_loopback(host, right):
    assert is_loopback(host) is right


AS_ANOTHER_USER = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(b"GET /v1/health HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n")
    data = b""
    while part := s.recv(65536):
        data += part
print(data.decode())
"""


@pytest.fixture
def open_folder():
    """A folder that other users can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_even_where_the_socket_was_opened_to_all(open_folder):
    with running(open_folder) as shop:
        shop.control.directory.chmod(0o711)
        asked = [sys.executable, "-c", AS_ANOTHER_USER, str(shop.control.socket), "65534"]
        shut = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert "PermissionError" in shut.stderr
        shop.control.socket.chmod(0o666)
        answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        assert answer.startswith("HTTP/1.1 403 ")
        assert "control.forbidden" in answer


AS_ANOTHER_PROGRAM = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
from shop import shop_settings
from noodle_upgrade_core import BlockingUpgrader
from noodle_upgrade_server import serve
# Opened as root: the other user may not be able to read this installation.
with BlockingUpgrader.open(shop_settings(pathlib.Path(sys.argv[2]))) as upgrader:
    os.chown(upgrader.upgrader.directory, 65534, 65534)
    os.seteuid(65534)
    with serve(upgrader) as control:
        print(control.socket, flush=True)
        sys.stdin.read()
    os.seteuid(0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_is_served_by_a_program_of_another_user(open_folder):
    asked = [sys.executable, "-c", AS_ANOTHER_PROGRAM, str(Path(__file__).parent), str(open_folder)]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as theirs:
        path = theirs.stdout.readline().strip()
        assert Path(path).stat().st_uid == 65534
        with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://localhost") as client:
            good(client.get("/v1/health"))
        theirs.communicate()
    assert theirs.returncode == 0
