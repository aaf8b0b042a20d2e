"""A zoo of plugins that misbehave in every hook, while a service answers in the same process.

A plugin is trusted code in the same process. What it raises, where it hangs and what it answers is kept from others.
What it does to the process itself (patches builtins, changes the path, ends the process) nobody can undo for it: for
that there is only the promise that the upgrade and the service go on, or that a restart comes back on the old version.
"""

import asyncio
import builtins
import contextlib
import gc
import http.client
import locale
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
from pathlib import Path

import pytest

from noodle_upgrade_core import Phase
from noodle_upgrade_core.errors import UpgradeError

from .environments import Environment
from .shelf import ask, fill, opened, until

NAME = "a-zoo"  # before the shelf: it is asked first
LONGEST = 2.0
"""Seconds within which every request is answered, also on a busy machine."""
LIMIT = 0.5
"""Seconds that a plugin has which never ends; what is in order must fit in them, too, on a busy machine."""
ENDLESS = ("hangs", "waits for ever")

STARTS = ("restore", "opened")
ENDS = {
    "discover": Phase.REJECTED,  # a warning, and requests are strict
    "assess": Phase.ABORTED,
    "validate": Phase.REJECTED,
    "decide": Phase.REJECTED,
    "swap": Phase.ABORTED,
    "recompile": Phase.ABORTED,
    "deploy": Phase.ROLLED_BACK,
    "rollback": Phase.STUCK,
    "observe": Phase.DONE,  # it is only told
}
"""Where an upgrade ends when this hook fails."""

PLAIN = {
    "raises": "raise KeyError('boom')",
    "raises a base exception": "raise type('Odd', (BaseException,), {})('boom')",
    "raises what cannot be printed": "raise type('Odd', (Exception,), {'__str__': None})('boom')",
    "exits": "sys.exit(3)",
    "interrupts": "raise KeyboardInterrupt",
    "recurses": "def deeper(): return deeper()\nreturn deeper()",
    "hangs": "sys.zoo.go.wait(30)\nraise KeyError('late')",
    "answers with itself": "answer = []; answer.append(answer); return answer",
    "answers with a giant": "return ['x' * 1000] * 200_000",
    "answers without end": "return itertools.count()",
    "answers with a type": "return int",
}
LATER = {
    "raises later": "await asyncio.sleep(0); raise KeyError('boom')",
    "exits later": "await asyncio.sleep(0); sys.exit(3)",
    "recurses later": "async def deeper(): return await deeper()\nreturn await deeper()",
    "waits for ever": "await asyncio.Event().wait()",
    "cancels its own task": "asyncio.current_task().cancel(); await asyncio.sleep(0)",
    "answers with a type later": "await asyncio.sleep(0); return int",
}
UPSIDE_DOWN = {
    "leaks threads": "for _ in range(10): threading.Thread(target=sys.zoo.go.wait, daemon=True).start()",
    "floods": """
        for number in range(500):
            print(number); print(number, file=sys.stderr); logging.getLogger("zoo").warning("%d", number)
        """,
    "patches print": "builtins.print = None",
    "patches open": "builtins.open = None",
    "changes the path": "sys.path[:] = [one for one in sys.path if 'site' in one]",
    "changes the environment": "os.environ.clear()",
    "changes the folder": "os.chdir('/')",
    "changes the locale": "locale.setlocale(locale.LC_ALL, 'C')",
    "stops the collector": "gc.disable()",
    "takes a signal": """
        try: signal.signal(signal.SIGTERM, signal.SIG_IGN)
        except ValueError: pass  # in a thread
        """,
}
BLOCKS = {"blocks the loop": "time.sleep(0.1)"}

HEAD = """
import asyncio, builtins, gc, itertools, locale, logging, os, signal, sys, threading, time
from noodle_upgrade_core import Verdict, hookimpl

class Plugin:
"""


def source(deed, *, later=False):
    """A plugin that does its deed in the hooks that `sys.zoo.hooks` names, and does nothing in all others."""
    parts = [HEAD]
    for hook in (*STARTS, *ENDS):
        # Only who can change a component is asked to swap it.
        idle = "return Verdict(feasible=True, mechanism='zoo') if 'swap' in sys.zoo.hooks else None"
        lines = [
            "@hookimpl",
            f"{'async ' if later and hook != 'observe' else ''}def {hook}(self):",
            f"    if {hook!r} not in sys.zoo.hooks: {idle if hook == 'assess' else 'return None'}",
            # What is told of events is plain.
            textwrap.indent(textwrap.dedent(deed if not later or hook != "observe" else "pass").strip("\n"), "    "),
        ]
        parts.append(textwrap.indent("\n".join(lines), "    ") + "\n")
    return "\n".join(parts)


class Service:
    """Answers over HTTP on the program's own event loop; a client in a thread asks all the time."""

    def __init__(self):
        self.answers = []
        self.failures = []
        self.ended = threading.Event()

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    def ask(self, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while not self.ended.is_set():
            began = time.monotonic()
            try:
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"ok"
            except Exception as error:
                self.failures.append(error)
                return
            self.answers.append(time.monotonic() - began)
            time.sleep(0.002)
        connection.close()

    @contextlib.asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        client = threading.Thread(target=self.ask, args=(server.sockets[0].getsockname()[1],))
        client.start()
        try:
            await until(lambda: self.answers or self.failures)
            yield self
        finally:
            self.ended.set()
            await asyncio.to_thread(client.join)
            server.close()
        assert self.failures == []
        assert max(self.answers) < LONGEST


class Process:
    """What a plugin may turn upside down, as it was before."""

    def __init__(self):
        self.kept = (builtins.open, builtins.print, list(sys.path), dict(os.environ), Path.cwd(), gc.isenabled())
        self.handler, self.locale = signal.getsignal(signal.SIGTERM), locale.setlocale(locale.LC_ALL)

    def mend(self):
        builtins.open, builtins.print = self.kept[:2]
        sys.path[:] = self.kept[2]
        os.environ.clear()
        os.environ.update(self.kept[3])
        os.chdir(self.kept[4])
        (gc.enable if self.kept[5] else gc.disable)()
        signal.signal(signal.SIGTERM, self.handler)
        locale.setlocale(locale.LC_ALL, self.locale)


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """An environment for plugins; all that they may have changed in the process is as before afterwards."""
    environment, process = Environment(tmp_path / "site"), Process()
    monkeypatch.setattr(sys, "zoo", types.SimpleNamespace(hooks=(), go=threading.Event()), raising=False)
    yield environment
    calm(process)
    environment.close()


def calm(process=None):
    """Let the animal rest: what hangs goes on, and what it changed is mended."""
    sys.zoo.hooks = ()
    sys.zoo.go.set()
    sys.zoo.go = threading.Event()
    if process is not None:
        process.mend()


def program(tmp_path):
    """A folder with a lamp in as many versions as there are hooks."""
    folder = fill(tmp_path / "program")
    for number in range(2, 30):
        (folder / "components" / "lamp" / f"1.{number}.py").write_text(f"__version__ = '1.{number}'\n")
    return folder


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def beside(folder, limit=30.0):
    return opened(
        folder,
        runtime_upgrade__plugins__enabled=["shelf", NAME],
        runtime_upgrade__plugins__hook_timeout=limit,
        runtime_upgrade__hot_swap__swap_timeout=limit,
    )


def limit_of(deed):
    return LIMIT if deed in ENDLESS else 30.0


async def tried(upgrader, hook, version, limit=30.0):
    """Upgrade while the animal is at work in a hook; what runs is what the journal and the result say."""
    before = upgrader.shelf.versions["lamp"]
    sys.zoo.hooks = (hook,)
    if hook == "rollback":
        upgrader.shelf.fail["validate after"] = RuntimeError("clumsy")
    # The request's own limit is that of a deployment and of what is rebuilt.
    limit = 2 * limit if hook in {"recompile", "deploy"} else 30.0
    result = await upgrader.upgrade(ask(version, timeout_seconds=limit))
    runs = upgrader.shelf.versions["lamp"]
    assert runs == (version if result.success else before)
    active = upgrader.journal.active_of("lamp")
    assert active is None or active.version == runs
    assert upgrader.journal.record(result.upgrade_id).phase is result.phase
    assert result.success is (result.error is None)
    return result


async def well_again(upgrader, version, phase):
    """The animal is gone: the same upgrade succeeds, and nothing is left of the failed one."""
    upgrader.shelf.fail.clear()
    if phase is Phase.STUCK:
        (await upgrader.rollback("lamp")).raise_for_error()
    if upgrader.shelf.versions["lamp"] != version:
        assert (await upgrader.upgrade(ask(version))).raise_for_error().success
    assert upgrader.shelf.versions["lamp"] == upgrader.journal.active_of("lamp").version == version
    assert not await upgrader.doctor()


@pytest.mark.parametrize("deed", [*PLAIN, *LATER])
def test_a_plugin_that_fails_in_any_hook_is_named_and_what_runs_is_what_the_journal_says(zoo, tmp_path, deed):
    later = deed in LATER
    zoo.plugin(NAME, source(LATER[deed] if later else PLAIN[deed], later=later))

    async def story():
        async with Service().running(), beside(program(tmp_path), limit_of(deed)) as upgrader:
            assert NAME in upgrader.plugins.names
            tasks = asyncio.all_tasks()
            for number, (hook, end) in enumerate(ENDS.items(), start=1):
                if later and hook == "observe":
                    continue
                result = await tried(upgrader, hook, f"1.{number}", limit_of(deed))
                assert (hook, result.phase) == (hook, end)
                if hook != "observe":
                    assert isinstance(result.error, UpgradeError)
                    assert NAME in str(result.error.to_wire())
                elif deed != "hangs" and "answers" not in deed:
                    await until(lambda: any("failed in observe" in one.message for one in upgrader.events.recent()))
                if deed == "hangs" and hook != "observe":
                    behind = [found for found in await upgrader.doctor() if found.code == "plugin.left_behind"]
                    assert any(f"noodle {NAME}.{hook}" in found.message for found in behind)
                calm()
                await until(lambda: not upgrader._runner.left_behind)
                # The look at what runs, which comes now and then, may have met the animal, too.
                await until(lambda: asyncio.all_tasks() <= tasks)
                await well_again(upgrader, f"1.{number}", result.phase)

    run(story())


@pytest.mark.parametrize("deed", [*PLAIN, *LATER])
def test_a_plugin_that_fails_while_the_program_starts_is_named_in_the_log_and_keeps_nothing_from_starting(
    zoo, tmp_path, deed, caplog
):
    later = deed in LATER
    zoo.plugin(NAME, source(LATER[deed] if later else PLAIN[deed], later=later))

    async def story():
        sys.zoo.hooks = STARTS
        async with Service().running(), beside(program(tmp_path), limit_of(deed)) as upgrader:
            for hook in STARTS:
                # Nobody looks at what `opened` answers.
                named = any(NAME in line and hook in line for line in caplog.messages)
                assert named or (hook == "opened" and "answers" in deed)
            calm()
            await until(lambda: not upgrader._runner.left_behind)
            await well_again(upgrader, "1.1", Phase.DONE)

    run(story())


@pytest.mark.parametrize("deed", [*UPSIDE_DOWN, *BLOCKS])
def test_a_plugin_that_turns_the_process_upside_down_keeps_no_upgrade_and_no_request_from_its_end(zoo, tmp_path, deed):
    zoo.plugin(NAME, source({**UPSIDE_DOWN, **BLOCKS}[deed], later=deed in BLOCKS))
    process = Process()
    # It stages nothing where it promised to, and it goes back where it is asked to.
    ends = {"swap": Phase.ABORTED, "rollback": Phase.ROLLED_BACK}

    async def story():
        async with Service().running(), beside(program(tmp_path)) as upgrader:
            for number, hook in enumerate(ENDS, start=1):
                result = await tried(upgrader, hook, f"1.{number}")
                calm(process)
                # Without `open` others fail whose turn comes later, and are named in its stead.
                assert deed == "patches open" or result.phase is ends.get(hook, Phase.DONE)
                await well_again(upgrader, f"1.{number}", result.phase)

    run(story())


def test_a_plugin_that_is_slow_to_import_keeps_no_request_waiting(zoo, tmp_path):
    zoo.plugin(NAME, "import time; time.sleep(1.0)\n" + source("return None"))

    async def story():
        service = Service()
        async with service.running(), beside(program(tmp_path)) as upgrader:
            await well_again(upgrader, "1.1", Phase.DONE)
        assert max(service.answers) < 0.9

    run(story())


DEADLY = {"ends the process": "os._exit(3)", "crashes": "os.kill(os.getpid(), signal.SIGSEGV)"}


@pytest.mark.parametrize(("deed", "hook"), [("ends the process", "deploy"), ("crashes", "rollback")])
def test_a_plugin_that_ends_the_process_leaves_a_journal_that_the_next_one_goes_on_from(tmp_path, deed, hook, zoo):
    zoo.plugin(NAME, source(DEADLY[deed]))
    folder = program(tmp_path)
    lines = f"import sys; sys.path.insert(0, {str(zoo.folder)!r})\nfrom {__name__} import die; die({str(folder)!r}, {hook!r})"
    done = subprocess.run([sys.executable, "-c", lines], cwd=Path(__file__).parents[2], timeout=30, check=False)
    assert done.returncode in {3, -signal.SIGSEGV}

    async def story():
        async with opened(folder) as upgrader:
            assert upgrader.shelf.versions["lamp"] == "1.0"
            await well_again(upgrader, "1.1", Phase.DONE)

    run(story())


def die(folder, hook):
    """Upgrade beside a plugin that ends this process; what the next one finds is what is looked at."""
    sys.zoo = types.SimpleNamespace(hooks=(), go=threading.Event())

    async def story():
        async with beside(Path(folder)) as upgrader:
            await tried(upgrader, hook, "1.1")

    run(story())
