from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from control_program import Program, serving
from starlette.responses import JSONResponse, PlainTextResponse

from noodle_upgrade_cli import client as client_module
from noodle_upgrade_cli import locate
from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.failures import ConnectionLostError, ProtocolError
from noodle_upgrade_cli.locate import Address


def test_without_a_program_it_says_how_to_start_one_and_ends_with_3(noodle):
    ran = noodle("status")
    assert ran.code == 3
    assert "No running program was found in .noodle" in ran.err
    assert "noodle run module:app" in ran.err


def test_a_program_that_died_is_named_with_its_process(noodle, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        gone = ended.pid
    (state / "control.json").write_text(json.dumps({"socket": "control.sock", "pid": gone}))
    ran = noodle("status", "--state", state)
    assert ran.code == 3
    assert f"process {gone}) is gone" in ran.err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_a_program_that_was_killed_and_that_nobody_has_waited_for_yet_is_gone(noodle, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as killed:
        assert locate.is_alive(killed.pid)
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        (state / "control.json").write_text(json.dumps({"socket": "control.sock", "pid": killed.pid}))
        assert not locate.is_alive(killed.pid)
        assert f"process {killed.pid}) is gone" in noodle("status", "--state", state).err


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": 1}', "[" * 50_000, "\xff"])
def test_a_damaged_pointer_file_is_an_error_that_names_it(noodle, tmp_path, content):
    (tmp_path / ".noodle").mkdir()
    (tmp_path / ".noodle" / "control.json").write_text(content, encoding="latin-1")
    ran = noodle("status")
    assert ran.code == 3
    assert "control.json" in ran.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_pointer_file_of_another_user_is_not_believed(tmp_path, monkeypatch):
    (tmp_path / "control.json").write_text('{"socket": "control.sock"}')
    os.chown(tmp_path / "control.json", 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    options = locate.Options()
    options.state = str(tmp_path)
    with pytest.raises(locate.ControlRefusedError, match="not believed"):
        locate.find(options, {}, warn=print)


def test_the_state_directory_is_the_option_then_the_variable_then_the_file_then_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, warnings = locate.Options(), []

    def found(environ: dict[str, str]) -> str:
        return str(locate.state_directory(options, environ, warn=warnings.append))

    assert found({}) == ".noodle"
    Path("noodle.toml").write_text('[runtime_upgrade]\nstate_directory = "from-default-file"')
    assert found({}) == "from-default-file"
    Path("mine.json").write_text('{"runtime_upgrade": {"state_directory": "from-file"}}')
    options.config = ("mine.json",)
    assert found({}) == "from-file"
    assert found({"NOODLE_STATE_DIRECTORY": "from-variable"}) == "from-variable"
    options.state = "from-option"
    assert found({"NOODLE_STATE_DIRECTORY": "from-variable"}) == "from-option"
    assert warnings == []


def test_settings_that_cannot_be_read_only_warn_here(noodle, program, tmp_path):
    (tmp_path / "noodle.toml").write_text("[[[")
    ran = noodle("status")
    assert ran.code == 0
    assert "noodle.toml could not be read" in ran.err


def test_options_count_before_and_after_the_command(noodle, tmp_path):
    program = Program()
    state = tmp_path / "elsewhere"
    state.mkdir()
    with serving(program, state):
        assert noodle("--state", state, "--json", "status").json["enabled"] is True
        assert noodle("status", "--json", "--state", state).json["enabled"] is True
        assert noodle("--state", tmp_path, "status", "--state", state).code == 0


def test_tcp_needs_the_token_and_the_token_file_gives_it(noodle, tmp_path, monkeypatch):
    program = Program()
    program.token = "s3cret"
    (tmp_path / "token").write_text("s3cret\n")
    with serving(program, tmp_path, tcp=True) as served:
        ran = noodle("status", "--url", served.url)
        assert ran.code == 4
        assert "--token-file" in ran.err
        assert noodle("status", "--url", served.url, "--token-file", tmp_path / "token").code == 0
        monkeypatch.setenv("NOODLE_TOKEN", "s3cret")
        assert noodle("status", "--url", served.url).code == 0


@pytest.mark.parametrize(
    "url",
    ["http://10.1.2.3:1", "http://example.org", "ftp://127.0.0.1", "127.0.0.1:80", "http://", "http://a:b@127.0.0.1/"],
)
def test_a_token_is_never_sent_where_others_could_read_it(noodle, monkeypatch, url):
    monkeypatch.setenv("NOODLE_TOKEN", "s3cret")
    assert noodle("status", "--url", url).code == 2


def test_a_token_with_a_line_end_in_it_is_refused_before_it_becomes_a_header(noodle, monkeypatch):
    monkeypatch.setenv("NOODLE_TOKEN", "a\r\nX-Other: b")
    ran = noodle("status", "--url", "http://127.0.0.1:9")
    assert ran.code == 2
    assert "token" in ran.err


def test_a_token_file_that_is_missing_is_named(noodle):
    ran = noodle("status", "--url", "http://127.0.0.1:9", "--token-file", "nowhere")
    assert "nowhere" in ran.err
    assert ran.code == 4


def test_a_token_shows_in_no_representation():
    assert "s3cret" not in repr(Address(token="s3cret"))


def test_a_pointer_cannot_have_any_file_read_as_a_token(noodle, tmp_path):
    (tmp_path / ".noodle").mkdir()
    (tmp_path / "elsewhere").write_text("private")
    pointer = {"url": "http://127.0.0.1:9", "token_file": "../elsewhere"}
    (tmp_path / ".noodle" / "control.json").write_text(json.dumps(pointer))
    ran = noodle("status")
    assert ran.code == 4
    assert "outside" in ran.err


def test_a_server_of_something_else_is_recognised(noodle, program):
    program.answers["/v1/status"] = lambda: PlainTextResponse("hello")
    assert noodle("status").code == 3
    program.answers["/v1/status"] = lambda: PlainTextResponse("no", status_code=404)
    ran = noodle("status")
    assert ran.code == 3
    assert "another version" in ran.err


def test_an_error_of_a_newer_program_keeps_its_code(noodle, program):
    error = {"code": "future.trouble", "message": "Something new.", "hint": "Wait.", "safe": "All is.", "details": {}}
    program.answers["/v1/status"] = lambda: JSONResponse({"error": error}, status_code=422)
    ran = noodle("status", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "future.trouble")


def test_another_release_series_is_warned_about_and_served(noodle, program, monkeypatch):
    monkeypatch.setattr(locate, "core_version", "0.1.7")
    program.core_version = "0.2.0"
    ran = noodle("status")
    assert ran.code == 0
    assert "noodle-upgrade-core 0.2.0, this command 0.1.7" in ran.err
    program.core_version = "0.1.1"
    assert noodle("status").err == ""


def test_an_answer_without_an_end_is_refused(tmp_path, monkeypatch):
    program = Program()
    program.answers["/v1/status"] = lambda: JSONResponse({"x": "x" * 4096})
    monkeypatch.setattr(client_module, "MOST_BYTES", 1024)
    with (
        serving(program, tmp_path),
        ControlClient(Address(socket=str(tmp_path / "control.sock"))) as client,
        pytest.raises(ProtocolError),
    ):
        client.status()


def test_a_program_that_does_not_answer_in_time_is_an_error_that_says_what_may_have_happened(tmp_path):
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(tmp_path / "control.sock"))
    silent.listen()
    try:
        with ControlClient(Address(socket=str(tmp_path / "control.sock"))) as client:
            with pytest.raises(ConnectionLostError) as caught:
                client.get("/v1/status", limit=0.05)
            assert caught.value.safe == "Nothing was asked of the program."
            with pytest.raises(ConnectionLostError) as caught:
                client.post("/v1/rollbacks", {}, limit=0.05)
            assert "may have happened" in caught.value.safe
    finally:
        silent.close()


def test_a_connection_that_breaks_in_an_answer_is_an_error(tmp_path):
    broken = socket.socket(socket.AF_UNIX)
    broken.bind(str(tmp_path / "control.sock"))
    broken.listen()

    def answer() -> None:
        connection, _ = broken.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with (
            ControlClient(Address(socket=str(tmp_path / "control.sock"))) as client,
            pytest.raises(ConnectionLostError),
        ):
            client.status()
    finally:
        thread.join()
        broken.close()
