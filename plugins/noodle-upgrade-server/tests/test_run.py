from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from shop import good

from noodle_upgrade_server.command import run
from noodle_upgrade_server.target import Interface, TargetError, interface_of

NOODLE_RUN = [sys.executable, "-c", "from noodle_upgrade_server.command import run; run(prog_name='noodle run')"]

SERVICE = """
import asyncio, json, os, sys, time

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    if scope["path"] == "/slow":
        print("slow", flush=True)
        await asyncio.sleep(0.5)
    body = json.dumps({"pid": os.getpid(), "path": sys.path[0]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode(), b" ", environ["wsgi.input"].read()]

def make():
    return wsgi

class Holder:
    app = staticmethod(app)

number = 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "service.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(folder, text, name="script.py"):
    (folder / name).write_text(textwrap.dedent(text))
    return name


class Hosted:
    """`noodle run …` in a process of its own, until its first line."""

    def __init__(self, *words, **environ):
        self.process = subprocess.Popen(
            [*NOODLE_RUN, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ},
        )
        self.line = self.process.stderr.readline()
        if not self.line.startswith("noodle: "):
            pytest.fail(self.line + self.process.communicate()[1])

    @property
    def url(self):
        return self.line.split(" at ", 1)[1].split(";")[0]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.out, self.err = self.process.communicate()


def finished(*words, **environ):
    return subprocess.run(
        [*NOODLE_RUN, *map(str, words)], capture_output=True, text=True, check=False, env={**os.environ, **environ}
    )


def control(folder, path="health"):
    uds = str(folder / ".noodle" / "control.sock")
    with httpx.Client(transport=httpx.HTTPTransport(uds=uds), base_url="http://localhost") as client:
        return good(client.get(f"/v1/{path}"))


def refused(*words):
    answer = CliRunner().invoke(run, [str(word) for word in words])
    assert answer.exit_code == 2, (answer.output, answer.exception)
    return answer.output


# --- applications ----------------------------------------------------------------------------------------------------


def test_an_application_is_served_and_controlled_until_it_is_asked_to_end(folder):
    with Hosted("service:app", "--port", "0") as hosted:
        answer = httpx.get(hosted.url).json()
        assert answer == {"pid": hosted.process.pid, "path": str(folder)}
        health = control(folder)
        assert (health["pid"], health["program"]) == (hosted.process.pid, "service:app")
        assert hosted.line.startswith("noodle: service:app at http://127.0.0.1:")
        assert str(folder / ".noodle" / "control.sock") in hosted.line
        assert hosted.end() == 128 + signal.SIGTERM
    assert (hosted.out, hosted.err) == ("", "")
    assert not [file for file in (folder / ".noodle").iterdir() if file.name.startswith("control")]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("service:app", "service:app is an application already. Leave --factory out."),
        ("service:wsgi", "service:wsgi is an application already. Leave --factory out."),
        ("service:Holder.app", "service:Holder.app is an application already. Leave --factory out."),
        ("service:one", "service:one needs an argument that nobody gives it: 'name'."),
        ("service:number", "service:number is of type int, and cannot be called."),
    ],
)
def test_what_is_no_factory_is_not_called_and_told_what_it_is(folder, target, words):
    (folder / "service.py").write_text(SERVICE + "\ndef one(name, more=1):\n    raise SystemExit('called')\n")
    said = finished(target, "--factory", "--port", "0")
    assert said.returncode == 2, said
    assert words in " ".join(said.stderr.split())
    assert "Traceback" not in said.stderr


def test_what_a_factory_raises_is_the_programs_own_failure(folder):
    (folder / "service.py").write_text("def make():\n    raise TypeError('not today')\n")
    said = finished("service:make", "--factory", "--port", "0")
    assert said.returncode == 1
    assert "TypeError: not today" in said.stderr


def test_a_driver_that_is_not_there_keeps_a_program_from_starting_as_any_wrong_setting(folder):
    (folder / "noodle.toml").write_text('[stack]\ndecider = "unanimos"\n')
    said = finished("service:app", "--port", "0")
    assert said.returncode == 2
    assert "stack.decider cannot be used: no decider 'unanimos'" in said.stderr
    assert "Did you mean 'unanimous'?" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_request_under_way_is_answered_before_the_end(folder):
    with Hosted("service:app", "--port", "0") as hosted:
        url = httpx.URL(hosted.url)
        with socket.create_connection((url.host, url.port)) as raw:
            raw.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert hosted.process.stdout.readline() == "slow\n"
            hosted.process.send_signal(signal.SIGINT)
            answer = b""
            while part := raw.recv(4096):
                answer += part
        assert b" 200 " in answer.split(b"\r\n")[0]
        assert hosted.process.wait(30) == 128 + signal.SIGINT


@pytest.mark.parametrize(
    "words", [["service:wsgi"], ["service:make", "--factory"], ["service:make", "--factory", "--interface", "wsgi"]]
)
def test_a_wsgi_application_is_seen_as_such_and_served_in_threads(folder, words):
    with Hosted(*words, "--port", "0") as hosted:
        assert httpx.post(hosted.url, content=b"x" * 100_000).text == "POST " + "x" * 100_000
        assert control(folder)["program"] == words[0]


def test_the_control_api_can_listen_at_a_port(folder):
    with Hosted("service:Holder.app", "--port", "0", "--control-port", "0", "--state", "elsewhere"):
        said = json.loads((folder / "elsewhere" / "control.json").read_text())
        token = (folder / "elsewhere" / said["token_file"]).read_text().strip()
        good(httpx.get(f"{said['url']}/v1/health", headers={"authorization": f"Bearer {token}"}))


WITNESS = """
import pathlib
from noodle_upgrade_core import hookimpl

class Witness:
    @hookimpl
    def restore(self, active):
        with open("order.txt", "a") as file:
            file.write("restored\\n")
"""


def test_what_the_journal_names_is_restored_before_the_program_is_imported(folder, monkeypatch):
    site = folder / "site"
    info = site / "witness-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[noodle_upgrade.plugins]\nwitness = witness:Witness\n")
    (site / "witness.py").write_text(WITNESS)
    script(folder, "open('order.txt', 'a').write('imported\\n')", "late.py")
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    assert finished("late.py", PYTHONPATH=path, PYTHONWARNINGS="ignore").returncode == 0
    assert (folder / "order.txt").read_text().split() == ["restored", "imported"]


def test_switched_off_the_program_runs_as_ever_and_only_plans_and_upgrades_are_refused(folder):
    with Hosted("service:app", "--port", "0", NOODLE_RUNTIME_UPGRADE_ENABLED="0") as hosted:
        assert "switched off (by NOODLE_RUNTIME_UPGRADE_ENABLED)" in hosted.line
        hosted.line = hosted.process.stderr.readline()
        assert httpx.get(hosted.url).status_code == 200
        assert control(folder, "status")["enabled"] is False
        assert hosted.end() == 128 + signal.SIGTERM


# --- scripts and modules ---------------------------------------------------------------------------------------------


def test_a_script_runs_as_python_would_run_it_with_its_own_arguments(folder):
    place = folder / "deep"
    place.mkdir()
    (place / "neighbour.py").write_text("name = 'neighbour'")
    script(
        place,
        """
        import json, os, sys, threading, time
        import neighbour

        def later():
            time.sleep(0.2)
            print(json.dumps({"later": os.path.exists(".noodle/control.sock")}))

        served = os.path.exists(".noodle/control.sock")
        print(json.dumps({"argv": sys.argv, "name": __name__, "path": sys.path[0], "served": served}))
        threading.Thread(target=later).start()
        """,
    )
    done = finished("deep/script.py", "--port", "x", "-m", "--state=y", "--help")
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {
        "argv": ["deep/script.py", "--port", "x", "-m", "--state=y", "--help"],
        "name": "__main__",
        "path": str(place),
        "served": True,
    }
    assert second == {"later": True}


def test_a_module_runs_with_its_own_arguments(folder):
    package = folder / "thing"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys; print(sys.argv[1:], __name__, __package__); sys.exit(4)")
    done = finished("-m", "thing", "--state", "1")
    assert (done.returncode, done.stdout) == (4, "['--state', '1'] __main__ thing\n")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('too bad')", 1, "too bad\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)", 128 + signal.SIGINT, ""),
    ],
)
def test_the_exit_code_is_the_programs(folder, text, code, words):
    done = finished(script(folder, text))
    assert (done.returncode, done.stderr.partition("\n")[2]) == (code, words)
    assert not (folder / ".noodle" / "control.sock").exists()


def test_what_a_program_raises_is_told_as_python_tells_it(folder):
    done = finished(script(folder, "def f():\n    1 / 0\nf()\n"))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "noodle_upgrade_server" not in done.stderr
    assert "runpy" not in done.stderr
    script(folder, "import there_is_no_such_thing", "broken.py")
    done = finished("broken:app", "--port", "0")
    assert done.returncode == 1
    assert "No module named 'there_is_no_such_thing'" in done.stderr
    assert "noodle_upgrade_server" not in done.stderr


def test_a_programs_own_handler_of_sigterm_wins(folder):
    text = """
    import os, signal, sys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert finished(script(folder, text)).returncode == 9


def test_a_forked_child_that_comes_to_its_end_leaves_the_parents_server_alone(folder):
    text = """
    import os, sys, warnings
    warnings.simplefilter("ignore")
    child = os.fork()
    if child == 0:
        sys.exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.path.exists(".noodle/control.sock"))
    child = os.fork()
    if child == 0:
        1 / 0
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.path.exists(".noodle/control.sock"))
    """
    done = finished(script(folder, text))
    assert done.stdout == "3 True\n1 True\n"
    assert done.returncode == 0


def test_an_executor_that_a_script_leaves_idle_does_not_keep_it_from_ending(folder):
    text = """
    from concurrent.futures import ThreadPoolExecutor
    import sys
    pool = sys.kept_for_ever = ThreadPoolExecutor(2)
    print(pool.submit(max, 1, 2).result())
    """
    done = finished(script(folder, text))
    assert (done.returncode, done.stdout) == (0, "2\n")


# --- what cannot be run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "Write module:app, script.py, or -m package."),
        (["servce.py"], "Did you mean 'service.py'?"),
        (["service:app", "surplus"], "takes no arguments"),
        (["service:app", "--prot", "1"], "No such option"),
        (["service:app", "--port", "99999"], "--port"),
        (["service:app", "--host", "no.such.host.invalid"], "is no address here"),
        (["service:app", "--config", "gone.toml"], "gone.toml"),
        ([], "Missing argument"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_opened(folder, words, said):
    assert said in refused(*words)
    assert not (folder / ".noodle").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["servce:app"], "There is no module 'servce'.\nDid you mean 'service'?"),
        (["service.deep:app"], "There is no module 'service.deep'."),
        (["service:ap"], "service has no 'ap'.\nDid you mean 'app'?"),
        (["service:number"], "no application"),
        (["service:make"], "ASGI or WSGI"),
        (["-m", "no_such_package"], "There is no module 'no_such_package'."),
    ],
)
def test_a_target_that_is_not_there_is_named_with_what_was_meant(folder, monkeypatch, words, said):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    sys.modules.pop("service", None)
    assert said in refused("--port", "0", *words)
    assert not (folder / ".noodle" / "control.sock").exists()


def test_a_port_that_is_taken_is_said_before_the_program_is_imported(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused("service:app", "--port", taken.getsockname()[1])
    assert "choose another one with --port" in said
    assert not (folder / ".noodle").exists()


def test_wrong_settings_are_named_all_at_once(folder):
    (folder / "noodle.toml").write_text("[runtime_upgrade]\nenabeld = true\nupgrade_timeout = 'x'\n")
    said = refused("service:app")
    assert "enabeld" in said
    assert "upgrade_timeout" in said


def test_a_state_directory_that_another_program_manages_is_refused(folder):
    with Hosted("service:app", "--port", "0"):
        said = refused("service:app", "--port", "0")
    assert "manages" in said


def test_the_help_says_what_belongs_to_whom():
    answer = CliRunner().invoke(run, ["--help"])
    assert answer.exit_code == 0
    assert "exit code is the program's" in " ".join(answer.output.split())


# --- which interface -------------------------------------------------------------------------------------------------


class AsgiObject:
    async def __call__(self, scope, receive, send): ...


class PlainAsgi:
    def __call__(self, scope, receive, send): ...


class WsgiObject:
    def __call__(self, environ, start_response, extra=None): ...


class WsgiClass:
    def __init__(self, environ, start_response): ...


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (AsgiObject(), Interface.ASGI),
        (PlainAsgi(), Interface.ASGI),
        (AsgiObject().__call__, Interface.ASGI),
        (WsgiObject(), Interface.WSGI),
        (WsgiClass, Interface.WSGI),
        (lambda environ, start_response: [], Interface.WSGI),
    ],
)
def test_asgi_and_wsgi_are_told_apart(app, interface):
    assert interface_of(app) is interface


@pytest.mark.parametrize("app", [AsgiObject, lambda: None, lambda scope: None, print, PlainAsgi])
def test_what_is_neither_for_certain_is_asked_for(app):
    with pytest.raises(TargetError, match="ASGI or WSGI"):
        interface_of(app)
    assert interface_of(app, Interface.WSGI) is Interface.WSGI


def test_the_command_is_announced_to_the_command_line():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'run = "noodle_upgrade_server.command:run"' in text


def test_a_program_whose_threads_never_end_ends_all_the_same_when_it_is_asked_to(folder):
    (folder / "endless.py").write_text(
        "import threading, time\nthreading.Thread(target=threading.Event().wait).start()\nwhile True: time.sleep(0.1)\n"
    )
    with Hosted("endless.py") as hosted:
        assert hosted.end() in {-signal.SIGTERM, 128 + signal.SIGTERM}
    assert not (folder / ".noodle" / "control.json").exists()


# --- while it is opened ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_plugin_that_hangs_at_its_import_is_named_and_does_not_keep_the_process_from_ending(folder, number):
    script(folder, "print('never')")
    site = folder / "site"
    (site / "stuck-1.0.dist-info").mkdir(parents=True)
    (site / "stuck-1.0.dist-info" / "METADATA").write_text("Name: stuck\nVersion: 1.0\n")
    (site / "stuck-1.0.dist-info" / "entry_points.txt").write_text("[noodle_upgrade.plugins]\nstuck = stuck:Plugin\n")
    (site / "stuck.py").write_text("import time\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [*NOODLE_RUN, "script.py"], stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(site)}
    )
    assert "waiting for the plugin stuck: its import" in process.stderr.readline()
    process.send_signal(number)
    assert process.wait(5) == -number
    process.stderr.close()
