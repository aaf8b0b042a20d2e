from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import httpx
import pytest
from raw import Raw
from shop import Door, Shop, client_of, good, refused, running, shop_settings

from noodle_upgrade_core import BlockingUpgrader, Upgrader
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_server import HttpServer, location, serve
from noodle_upgrade_server.errors import AlreadyServedError, ServeError

HERE = str(Path(__file__).parent)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def control_files(folder):
    return sorted(path.name for path in (folder / "state").iterdir() if "control" in path.name or path.name[0] == ".")


def pointer(folder):
    return json.loads((folder / "state" / "control.json").read_text())


def ask(control, path="health"):
    with client_of(control) as client:
        return good(client.get(f"/v1/{path}"))


# --- two lines -------------------------------------------------------------------------------------------------------


def test_two_lines_serve_a_threaded_program(tmp_path):
    with BlockingUpgrader.open(shop_settings(tmp_path)) as upgrader, serve(upgrader) as control:
        answer = ask(control)
    assert answer["pid"] == os.getpid()


@pytest.mark.parametrize("manner", ["async with", "with"])
def test_two_lines_serve_an_async_program_on_its_own_loop(tmp_path, manner):
    async def program():
        shop = Shop(lamp="1.0")
        async with Upgrader.open(shop_settings(tmp_path), plugins={"shop": shop}) as upgrader:
            if manner == "async with":
                async with serve(upgrader) as control:
                    await use(control)
            else:
                with serve(upgrader) as control:
                    await use(control)
        assert shop.goods == {"lamp": "1.1"}

    async def use(control):
        transport = httpx.AsyncHTTPTransport(uds=str(control.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
            body = {"requests": [{"component_name": "lamp", "target_version": "1.1"}], "approve": True}
            started = good(await client.post("/v1/upgrades", json=body), 202)
            state = good(await client.get(f"/v1/upgrades/{started['upgrade_id']}", params={"wait": "30"}))
            assert state["result"]["success"]

    asyncio.run(program())


def test_an_upgrader_is_handed_over_on_its_own_loop_or_not_at_all(shop):
    with pytest.raises(InvalidRequestError, match="event loop"):
        serve(shop.upgrader.upgrader)


def test_the_driver_http_serves_too(tmp_path):
    with BlockingUpgrader.open(shop_settings(tmp_path)) as upgrader:
        driver = upgrader.upgrader.drivers.make("servers", "http")
        assert type(driver) is HttpServer
        with driver.serve(upgrader, port=0) as control:
            assert control.url.startswith("http://127.0.0.1:")


def test_options_that_make_no_sense_together_are_refused(shop):
    with pytest.raises(InvalidRequestError):
        serve(shop.upgrader, token="0123456789abcdef0")
    with pytest.raises(InvalidRequestError):
        serve(shop.upgrader, socket="x.sock", port=0)


def test_no_signal_handler_is_touched_and_the_thread_has_a_name_and_goes(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with running(tmp_path):
        assert {number: signal.getsignal(number) for number in before} == before
        assert "noodle-control" in {thread.name for thread in threading.enumerate()}
    assert "noodle-control" not in {thread.name for thread in threading.enumerate()}


def test_the_loggers_of_the_programs_own_uvicorn_are_left_alone(tmp_path):
    handler = logging.NullHandler()
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access")]
    for one in loggers:
        one.addHandler(handler)
    before = [(one.level, one.propagate, list(one.handlers)) for one in loggers]
    with running(tmp_path) as shop:
        good(shop.get("health"))
    assert [(one.level, one.propagate, list(one.handlers)) for one in loggers] == before
    for one in loggers:
        one.removeHandler(handler)


# --- files -----------------------------------------------------------------------------------------------------------


def test_what_it_writes_is_for_this_user_only_and_gone_afterwards(tmp_path):
    old = os.umask(0)
    try:
        with running(tmp_path) as shop:
            assert control_files(tmp_path) == ["control.json", "control.lock", "control.sock"]
            assert {mode(tmp_path / "state" / name) for name in control_files(tmp_path)} == {0o600}
            said = pointer(tmp_path)
            health = good(shop.get("health"))
            assert said == {"socket": "control.sock", "pid": os.getpid(), "started_at": health["started_at"]}
    finally:
        os.umask(old)
    assert control_files(tmp_path) == []


def test_the_socket_is_closed_to_others_from_its_first_instant(tmp_path, monkeypatch):
    seen = []

    class Watched(socket.socket):
        def bind(self, address):
            super().bind(address)
            seen.append(("bound", mode(Path(address).parent)))

        def listen(self, *backlog):
            path = Path(self.getsockname())
            seen.append(("listens", mode(path), mode(path.parent)))
            super().listen(*backlog)

    monkeypatch.setattr(location.socket, "socket", Watched)
    old = os.umask(0)
    try:
        location.listen_unix(tmp_path, None).close()
    finally:
        os.umask(old)
    assert seen == [("bound", 0o700), ("listens", 0o600, 0o700)]


def test_on_tcp_the_pointer_names_the_url_and_the_tokens_file(tmp_path):
    with running(tmp_path, served={"port": 0}) as shop:
        said = pointer(tmp_path)
        assert said["url"] == shop.control.url
        assert said["token_file"] == "control.token"
        assert mode(tmp_path / "state" / "control.json") == 0o600
    assert control_files(tmp_path) == []


def test_a_state_directory_with_a_long_path_gets_a_short_socket_in_a_private_folder(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with running(deep) as shop:
        path = Path(pointer(deep)["socket"])
        assert len(os.fsencode(path)) <= 107
        assert mode(path.parent) == 0o700
        assert mode(path) == 0o600
        good(shop.get("health"))
    assert not path.parent.exists()


def test_a_socket_can_be_wished_for_elsewhere(tmp_path):
    wished = tmp_path / "mine.sock"
    with running(tmp_path, served={"socket": wished}) as shop:
        assert pointer(tmp_path)["socket"] == str(wished)
        assert mode(wished) == 0o600
        good(shop.get("health"))
    assert not wished.exists()


@pytest.mark.parametrize("place", ["nowhere/x.sock", "y" * 120])
def test_a_socket_where_none_can_be_is_refused_and_nothing_is_left(tmp_path, place):
    with pytest.raises(ServeError) as caught, running(tmp_path, served={"socket": tmp_path / place}):
        pass
    assert caught.value.hint
    assert control_files(tmp_path) == []


def test_a_file_that_is_no_socket_is_never_replaced(tmp_path):
    (tmp_path / "state").mkdir()
    precious = tmp_path / "state" / "control.sock"
    precious.write_text("do not lose me")
    with pytest.raises(ServeError, match="no socket"), running(tmp_path):
        pass
    assert precious.read_text() == "do not lose me"


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "state").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "state" / "control.lock").symlink_to(victim)
    with pytest.raises(ServeError, match="symbolic link"), running(tmp_path):
        pass
    assert victim.read_text() == "untouched"


# --- two servers, dead ones ------------------------------------------------------------------------------------------


def test_a_second_server_is_refused_and_the_first_goes_on(shop):
    for options in ({}, {"port": 0}):
        with pytest.raises(AlreadyServedError, match=str(os.getpid())) as caught:
            serve(shop.upgrader, **options).start()
        assert caught.value.hint
    good(shop.get("health"))
    assert pointer(shop.control.directory.parent)["socket"] == "control.sock"


def test_a_socket_that_another_living_server_has_is_refused(shop, tmp_path):
    with pytest.raises(AlreadyServedError), running(tmp_path / "other", served={"socket": shop.control.socket}):
        pass
    good(shop.get("health"))


PROGRAM = """
import os, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from shop import running
with running(pathlib.Path(sys.argv[2]), served=eval(sys.argv[3])) as shop:
    child = 0
    if sys.argv[4] == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
"""


def start(folder, served="{}", *, fork=False):
    """Another process that serves a folder; returns it and the process that it has forked."""
    asked = [sys.executable, "-W", "ignore", "-c", PROGRAM, HERE, str(folder), served, "fork" if fork else "alone"]
    other = subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return other, int(other.stdout.readline())


def fork():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside threads
        return os.fork()


def end(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


@pytest.mark.parametrize("served", ["{}", "{'port': 0}"])
def test_what_a_killed_server_left_behind_is_replaced(tmp_path, served):
    other, _ = start(tmp_path, served)
    left = pointer(tmp_path)
    end(other)
    assert left["pid"] == other.pid
    with running(tmp_path) as shop:
        good(shop.get("health"))
        assert control_files(tmp_path) == ["control.json", "control.lock", "control.sock"]
        assert pointer(tmp_path)["pid"] == os.getpid()


def test_a_killed_server_whose_forked_child_lives_on_with_its_sockets_is_replaced_too(tmp_path):
    other, child = start(tmp_path, fork=True)
    end(other)
    try:
        with running(tmp_path) as shop:
            assert good(shop.get("health"))["pid"] == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_lives_on_does_not_keep_a_closed_server_open(tmp_path):
    with running(tmp_path) as shop:
        asked, answer = os.pipe()
        child = fork()
        if child == 0:
            os.read(asked, 1)
            os._exit(0)
        try:
            shop.control.close()
            with serve(shop.upgrader) as again, client_of(again) as client:
                good(client.get("/v1/health"))
        finally:
            os.write(answer, b"x")
            os.waitpid(child, 0)
            os.close(asked)
            os.close(answer)


def test_a_forked_child_that_closes_what_it_inherited_leaves_its_parents_server_alone(tmp_path):
    with running(tmp_path) as shop:
        child = fork()
        if child == 0:
            shop.control.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert control_files(tmp_path) == ["control.json", "control.lock", "control.sock"]
        good(shop.get("health"))


def test_the_private_folder_of_a_killed_server_is_swept_away(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    other, _ = start(deep)
    left = Path(pointer(deep)["socket"])
    end(other)
    assert left.parent.exists()
    with running(deep) as shop:
        good(shop.get("health"))
        assert not left.parent.exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"socket": "/etc/passwd"}', '{"socket": 7}', '{"socket": "/tmp/noodle-x/control.sock"}']
)
def test_a_pointer_that_somebody_else_wrote_does_no_harm(tmp_path, text):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "control.json").write_text(text)
    with running(tmp_path) as shop:
        good(shop.get("health"))


def test_a_socket_that_somebody_else_has_put_in_its_place_is_left_to_them(tmp_path):
    with running(tmp_path) as shop, socket.socket(socket.AF_UNIX) as theirs:
        shop.control.socket.unlink()
        theirs.bind(str(shop.control.socket))
        shop.control.close()
        assert control_files(tmp_path) == ["control.sock"]


# --- closing ---------------------------------------------------------------------------------------------------------


def test_it_may_be_closed_twice_and_opened_again(tmp_path):
    with running(tmp_path) as shop:
        shop.control.close()
        shop.control.close()
        shop.control.start()
        with pytest.raises(ServeError, match="open already"):
            shop.control.start()
        with client_of(shop.control) as client:
            good(client.get("/v1/health"))


def test_a_request_under_way_gets_its_answer_before_the_server_closes(tmp_path):
    with running(tmp_path) as shop:
        door = shop.shop.hold["discover"] = Door()
        answers = []
        asking = threading.Thread(target=lambda: answers.append(shop.get("components")))
        asking.start()
        door.reached()
        closing = threading.Thread(target=shop.control.close)
        with Raw(shop.control) as idle:
            closing.start()
            assert idle.all() == b""  # what is idle is closed first
        door.open()
        for thread in (asking, closing):
            thread.join()
        good(answers[0])


def test_a_request_that_would_take_too_long_is_told_that_the_program_closes(tmp_path):
    with running(tmp_path) as shop:
        door = shop.shop.hold["discover"] = Door()
        answers = []
        asking = threading.Thread(target=lambda: answers.append(shop.get("components")))
        asking.start()
        door.reached()
        shop.control.close(grace=0.0)
        door.open()
        asking.join()
        assert refused(answers[0], 503)["code"] == "control.closing"


def test_closing_on_the_upgraders_own_loop_does_not_wait_for_what_only_that_loop_could_do(tmp_path):
    async def program():
        shop = Shop(lamp="1.0")
        shop.hold["discover"] = door = Door()
        door.open()
        async with Upgrader.open(shop_settings(tmp_path), plugins={"shop": shop}) as upgrader:
            shop.hold["discover"] = door = Door()
            control = serve(upgrader).start()
            with Raw(control) as raw:
                raw.send(b"GET /v1/components HTTP/1.1\r\nhost: localhost\r\n\r\n")
                await asyncio.to_thread(door.reached)
                control.close()
                assert raw.status() == 503
            door.open()

    asyncio.run(program())


def test_an_idle_connection_does_not_hold_up_the_end(tmp_path):
    with running(tmp_path) as shop:
        good(shop.get("health"))  # kept alive by the client
        with Raw(shop.control) as raw:
            raw.send(b"GET /v1/hea")
            shop.control.close()
            assert raw.all() == b""


def test_an_upgrader_that_closed_first_is_a_program_that_is_shutting_down(tmp_path):
    with BlockingUpgrader.open(shop_settings(tmp_path)) as upgrader:
        control = serve(upgrader).start()
    with contextlib.closing(control), client_of(control) as client:
        good(client.get("/v1/health"))
        assert refused(client.get("/v1/status"), 503)["code"] == "control.closing"
