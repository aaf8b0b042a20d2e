"""Whatever comes in: a clear error with a code, nothing changed, and the service goes on answering."""

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import greetings
import installing
from programs import Clients, Program, until
from wheels import make_wheel

GREETING, FAREWELL = "acme-greeting", "acme-farewell"
OLD, NEW = "1.0", "2.0"
LIMITS = """
[runtime_upgrade.limits]
max_artifact_bytes = 20000

[runtime_upgrade.hot_swap]
swap_timeout = 3.0

[runtime_upgrade.plugins]
hook_timeout = 8.0
"""


def started_program(folder, env, config, target="greeter:app"):
    return Program(folder, target, config=config, env=env)


@pytest.fixture(scope="module")
def service(place, config, tmp_path_factory):
    """A service with two more libraries, which need one another, and with a plugin of many moods."""
    ring = tmp_path_factory.mktemp("ring")
    for name, other in (("acme-ring", "acme-rung"), ("acme-rung", "acme-ring")):
        module = name.replace("-", "_")
        wheel = make_wheel(ring, name, OLD, {f"{module}.py": f"__version__ = {OLD!r}\n"}, requires=[other])
        greetings.install(ring, wheel)
    moody = installing.plugin(tmp_path_factory.mktemp("moody"), "acme-moody", MOODY, "Moody")
    folder, env = place("service", moody, ring)
    text = (folder / "greeter.py").read_text()
    (folder / "greeter.py").write_text(f"{text}\nimport acme_ring\nimport acme_rung\n")
    env["ACME_MOOD"] = str(folder / "mood")
    (folder / "mood").write_text("")
    with started_program(folder, env, config + LIMITS) as program:
        yield program


@pytest.fixture
def live(service):
    """The service under requests; whatever is done to it, it is as it was afterwards."""
    (service.folder / "mood").write_text("")
    with Clients(service.port) as clients:
        service.clients = clients
        yield service
        (service.folder / "gate").unlink(missing_ok=True)
        clients.more(5)
        seen = clients.take()
    assert (seen.failures, seen.torn) == ([], [])
    assert seen.versions == {frozenset({"g1.0", "f1.0"})}
    assert seen.pids == {service.process.pid}
    assert service.active() == []
    assert service.versions()[GREETING] == OLD
    assert [found for found in service.api("doctor")["findings"] if found["severity"] == "error"] == []


# --- what is asked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ((["acme-greting", NEW]), 2, "component.unknown"),
        ((["acme_nothing", NEW]), 2, "component.unknown"),
        (([GREETING, "9.9"]), 2, "version.unknown"),
        (([GREETING, "new"]), 2, "version.invalid"),
        (([GREETING, OLD]), 7, "version.running"),
        (([GREETING, NEW, "--current", "1.5"]), 4, "version.mismatch"),
        (([GREETING, NEW, "--constraint", "<2"]), 4, "constraint.unmet"),
        (([GREETING, NEW, "--constraint", "under 2"]), 2, "version.invalid"),
        (([GREETING, NEW, "--strategy", "carefull"]), 2, "driver.unknown"),
        (([GREETING, NEW, "--set", "bak=1"]), 2, "request.invalid"),
        (([GREETING, NEW, "--set", "bake=soon"]), 2, "request.invalid"),
        (([GREETING, NEW, "--mechanism", "magic"]), 4, "swap.refused"),
        (([GREETING]), 2, "usage"),
        (([GREETING, "nowhere.whl"]), 2, "usage"),
        (([f"{GREETING}=={NEW}", f"{GREETING}==3.0"]), 2, "usage"),
        ((["acme-ring", NEW]), 4, "dependency.cycle"),
        (([FAREWELL, NEW]), 4, "validation.failed"),
        (([GREETING, "2.5"]), 4, "validation.failed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_for_is_refused_with_its_code(live, wheels, words, code, error):
    if words[0] == "acme-ring":
        make_wheel(wheels, "acme-ring", NEW, {"acme_ring.py": ""}, requires=["acme-rung"])
    ran = live.noodle("upgrade", *words, "--yes", "--json")
    assert (ran.code, ran.error) == (code, error), ran
    assert ran.json["error"]["message"]


def test_a_circle_is_named_in_its_order(live, wheels):
    make_wheel(wheels, "acme-ring", NEW, {"acme_ring.py": ""}, requires=["acme-rung"])
    ran = live.noodle("plan", "acme-ring", NEW, "--json")
    assert ran.json["error"]["code"] == "dependency.cycle"
    assert ran.json["error"]["details"]["cycle"][:2] == ["acme-ring", "acme-rung"]


def test_an_unmet_need_names_what_is_needed_and_the_way_out(live):
    ran = live.noodle("plan", FAREWELL, NEW)
    assert ran.code == 4
    assert "acme-greeting>=2, which is 1.0" in ran.out
    assert "Upgrade both in one plan" in ran.out
    ran = live.noodle("plan", GREETING, "2.5")
    assert "pip install 'acme-nowhere>=1'" in ran.out


def test_a_command_that_no_program_hears_says_how_to_start_one(tmp_path, live):
    ran = live.noodle("status", "--state", tmp_path, "--json")
    assert (ran.code, ran.error) == (3, "control.not_running")
    assert "noodle run" in ran.json["error"]["hint"]


# --- wheels ------------------------------------------------------------------------------------------------------


def tampered(files):
    files["acme_greeting/words.py"] += b"# put in on the way\n"


def damaged(folder):
    return greetings.greeting(folder, "2.20", change=tampered)


def truncated(folder):
    path = greetings.greeting(folder, "2.21")
    path.write_bytes(path.read_bytes()[:-200])
    return path


def too_large(folder):
    return greetings.greeting(folder, "2.22", files={"acme_greeting/big.bin": os.urandom(40_000)})


def of_windows(folder):
    return greetings.greeting(folder, "2.23", tag="cp311-cp311-win_amd64")


def of_another_python(folder):
    return greetings.greeting(folder, "2.24", requires_python=">=4")


def with_an_extension(folder):
    return greetings.greeting(folder, "2.25", files={"acme_greeting/fast.abi3.so": b"\x7fELF"})


def of_another_library(folder):
    return make_wheel(folder, "acme-other", NEW, {"acme_other.py": ""})


def climbing(folder):
    return greetings.greeting(folder, "2.26", files={"../../climbed.py": "raise SystemExit\n"})


@pytest.mark.parametrize(
    ("make", "code", "error"),
    [
        (damaged, 4, "artifact.damaged"),
        (truncated, 4, "artifact.damaged"),
        (climbing, 4, "artifact.damaged"),
        (too_large, 4, "artifact.too_large"),
        (of_windows, 4, "artifact.incompatible"),
        (of_another_python, 4, "artifact.incompatible"),
        (with_an_extension, 4, "artifact.incompatible"),
        (of_another_library, 2, "request.invalid"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wheel_that_cannot_be_used_is_refused_and_nothing_of_it_is_kept(live, tmp_path, make, code, error):
    kept = stored(live)
    ran = live.noodle("upgrade", GREETING, make(tmp_path), "--yes", "--json")
    assert (ran.code, ran.error) == (code, error), ran
    if make is not with_an_extension:
        assert stored(live) == kept
    assert not list(live.folder.rglob("climbed.py"))


def stored(program):
    return sorted(path.name for path in (program.folder / ".noodle" / "store").rglob("*"))


# --- versions that do not work -----------------------------------------------------------------------------------


def test_a_version_that_fails_at_import_is_refused_by_the_plan_with_its_own_words(live):
    ran = live.noodle("upgrade", GREETING, "2.1", "--yes", "--json")
    assert (ran.code, ran.error) == (4, "stage.failed")
    assert "published by mistake" in str(ran.json["error"]["details"])


def test_a_version_that_hangs_at_import_is_refused_by_the_plan(live):
    (live.folder / "gate").touch()
    ran = live.noodle("upgrade", GREETING, "2.2", "--yes", "--json")
    assert (ran.code, ran.error) == (4, "stage.timeout")
    assert "did not end within 3 s" in str(ran.json["error"]["details"])


def test_a_version_that_hangs_only_while_it_is_staged_is_given_up_in_time(live):
    upgrade_id = live.noodle("upgrade", GREETING, "2.2", "--json").json["upgrade_id"]
    (live.folder / "gate").touch()
    assert live.noodle("approve", upgrade_id).code == 0
    ended = until(lambda: (found := live.api(f"upgrades/{upgrade_id}?wait=20"))["result"] and found, "the end")
    assert (ended["phase"], ended["result"]["error"]["code"]) == ("aborted", "stage.timeout")


def test_a_change_that_cannot_be_made_safely_is_refused_with_the_reason(live):
    ran = live.noodle("upgrade", GREETING, "2.4", "--yes", "--json")
    assert (ran.code, ran.error) == (4, "swap.refused")
    assert "Badge" in str(ran.json["error"])


def test_an_upgrade_that_takes_too_long_is_ended(live):
    words = ("--strategy", "immediate", "--set", "bake=60", "--timeout", "1")
    ran = live.noodle("upgrade", GREETING, NEW, *words, "--yes", "--json")
    assert (ran.code, ran.error) == (1, "upgrade.timeout"), ran
    assert ran.json["result"]["phase"] == "rolled_back"
    live.clients.more(5)
    live.clients.take()


# --- plugins -----------------------------------------------------------------------------------------------------

MOODY = """
import os
import time

from noodle_upgrade_core import hookimpl


class Moody:
    def _mood(self):
        with open(os.environ["ACME_MOOD"]) as file:
            return file.read()

    @hookimpl
    def validate(self, plan, stage):
        match self._mood():
            case "raise":
                raise ValueError("moody")
            case "hang":
                while self._mood() == "hang":
                    time.sleep(0.01)
            case "exit":
                raise SystemExit(7)
            case "nonsense":
                return 42

    @hookimpl
    def decide(self, plan):
        if self._mood() == "veto":
            raise ValueError("moody")

    @hookimpl
    def observe(self, event):
        raise RuntimeError("an observer that never works")
"""
BAD_PLUGINS = {
    "acme-raises": ("raise RuntimeError('at import')\n", "plugin.broken"),
    "acme-exits": ("raise SystemExit(3)\n", "plugin.broken"),
    "acme-missing": ("Other = 1\n", "plugin.broken"),
    "acme-misfit": (
        "from noodle_upgrade_core import hookimpl\n\n\nclass Plugin:\n    @hookimpl\n"
        "    def validate(self, plan, colour):\n        pass\n",
        "plugin.broken",
    ),
    "acme-future": ("class Plugin:\n    pass\n", "plugin.incompatible"),
}


def zoo(folder):
    for name, (source, _) in BAD_PLUGINS.items():
        needs = "noodle-upgrade-core>=9" if name == "acme-future" else "noodle-upgrade-core>=0.1,<0.2"
        installing.plugin(folder, name, source, "Plugin", requires=needs)
    return folder


def test_nothing_is_upgraded_past_plugins_that_do_not_load_until_they_are_left_out(place, config, tmp_path):
    folder, env = place("zoo", zoo(tmp_path))
    with started_program(folder, env, config + LIMITS) as program, Clients(program.port) as clients:
        answer = program.api("plugins")
        assert {one["name"]: one["error"]["code"] for one in answer["failures"]} == {
            name: error for name, (_, error) in BAD_PLUGINS.items()
        }
        assert {one["name"] for one in answer["plugins"]} == {"compiler", "runtime", "deployment"}
        ran = program.noodle("plugins", "doctor", "--json")
        assert ran.code == 6
        assert {row["name"] for row in ran.json["plugins"] if row["error"]} == set(BAD_PLUGINS)
        ran = program.noodle("upgrade", GREETING, NEW, "--yes", "--json")
        assert (ran.code, ran.error) == (4, "validation.failed"), ran
        assert {one["source"] for one in ran.json["plan"]["findings"] if one["severity"] == "error"} == set(BAD_PLUGINS)
        assert {one["source"] for one in program.api("doctor")["findings"]} == set(BAD_PLUGINS)
        clients.more(5)
        assert not clients.take().failures
        assert program.versions()[GREETING] == OLD
    without = f"[runtime_upgrade.plugins]\ndisabled = {list(BAD_PLUGINS)}\n"
    with started_program(folder, env, config + without) as program:
        ran = program.noodle("upgrade", GREETING, NEW, "--yes", "--json")
        assert ran.code == 0, ran


@pytest.mark.parametrize("mood", ["raise", "hang", "exit", "nonsense"])
def test_a_plugin_whose_check_does_not_work_stops_the_upgrade_in_its_name(live, mood):
    (live.folder / "mood").write_text(mood)
    ran = live.noodle("upgrade", GREETING, NEW, "--yes", "--json")
    assert (ran.code, ran.error) == (4, "validation.failed"), ran
    (finding,) = [one for one in ran.json["plan"]["findings"] if one["severity"] == "error"]
    assert finding["source"] == "acme-moody"


def test_a_plugin_whose_vote_fails_has_vetoed(live):
    (live.folder / "mood").write_text("veto")
    ran = live.noodle("upgrade", GREETING, NEW, "--yes", "--json")
    assert (ran.code, ran.error) == (4, "decision.rejected")
    assert "acme-moody" in ran.json["error"]["message"]


def test_a_required_plugin_that_does_not_load_keeps_the_program_from_starting(place, config, tmp_path):
    source, _ = BAD_PLUGINS["acme-raises"]
    folder, env = place("required", installing.plugin(tmp_path, "acme-raises", source, "Plugin"))
    assert refusal(folder, env, config + '[runtime_upgrade.plugins]\nrequired = ["acme-raises"]\n') == [
        2,
        "acme-raises",
    ]


# --- settings ----------------------------------------------------------------------------------------------------


def refusal(folder, env, config, *names):
    """Start a program that must not start; returns its exit code, and which of the names its words hold."""
    program = started_program(folder, env, config)
    program.spawn()
    try:
        code = program.process.wait(30)
    finally:
        program.stop()
    said = program.log.read_text()
    return [code, *(name for name in (*names, "acme-raises") if name in said)]


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("[runtime_upgrade]\nenabeld = true\n", "runtime_upgrade.enabeld", "'enabled'"),
        ('[runtime_upgrade]\nupgrade_timeout = "soon"\n', "runtime_upgrade.upgrade_timeout", "'soon'"),
        ("[runtime]\nquiesce = -1\n", "runtime.quiesce", "at least 0"),
        ("[runtime_upgrade\n", "noodle.toml", "not TOML"),
    ],
)
def test_settings_that_cannot_be_used_are_named_before_anything_starts(place, text, key, meant):
    folder, env = place("settings")
    assert refusal(folder, env, text, key, meant) == [2, key, meant]
    program = started_program(folder, env, text)
    ran = program.noodle("config", "check", "noodle.toml", "--json")
    assert (ran.code, ran.error) == (2, "settings.invalid")


def test_a_variable_that_cannot_be_used_is_named(place, config):
    folder, env = place("settings", NOODLE_UPGRADE_TIMEOUT="soon")
    assert refusal(folder, env, config, "NOODLE_UPGRADE_TIMEOUT") == [2, "NOODLE_UPGRADE_TIMEOUT"]


# --- the disk ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder):
    """Put the state directory on a file system of a megabyte."""
    state = folder / ".noodle"
    state.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1M,mode=700", "none", str(state)], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("this user cannot mount a small file system")
    try:
        yield state
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


def fill(path):
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)


def test_on_a_full_disk_an_upgrade_is_refused_and_succeeds_when_there_is_room_again(place, config):
    folder, env = place("full")
    with small_disk(folder) as state, started_program(folder, env, config) as program, Clients(program.port) as clients:
        fill(state / "ballast")
        ran = program.noodle("upgrade", GREETING, NEW, "--yes", "--strategy", "immediate", "--json")
        assert ran.code != 0
        assert "No space left" in ran.json["error"]["message"]
        assert program.versions()[GREETING] == OLD
        (state / "ballast").unlink()
        ran = program.noodle("upgrade", GREETING, NEW, "--yes", "--strategy", "immediate", "--json")
        assert ran.code == 0, ran
        clients.more()
        assert clients.take().failures == []
        program.healthy()


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_program_that_starts_on_a_full_disk_serves_what_was_active_and_is_managed_once_there_is_room(
    place, config, end
):
    folder, env = place("full-at-start")
    with small_disk(folder) as state, started_program(folder, env, config) as program:
        assert program.noodle("upgrade", GREETING, NEW, "--yes", "--strategy", "immediate").code == 0
        program.kill() if end == "killed" else program.stop()
        fill(state / "ballast")
        program.start()
        assert f"g{NEW}" in program.serves()
        assert "no control yet" in program.log.read_text()
        assert program.noodle("status").code != 0
        (state / "ballast").unlink()
        until(lambda: program.noodle("upgrade", GREETING, OLD, "--yes", "--strategy", "immediate").code == 0, "managed")
        assert f"g{OLD}" in program.serves()
        program.healthy()


def test_a_program_that_was_never_managed_starts_on_a_full_disk_without_upgrades(place, config):
    folder, env = place("full-at-first")
    with small_disk(folder) as state:
        fill(state / "ballast")
        with started_program(folder, env, config) as program:
            assert f"g{OLD}" in program.serves()
            assert "full" in program.log.read_text()


@contextlib.contextmanager
def failing_disk(program):
    """Let every write beyond the first pages of a file fail."""
    resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


@pytest.fixture(scope="module")
def failed(place, config):
    """A service whose disk has failed during an upgrade; what that command said."""
    folder, env = place("failing")
    with started_program(folder, env, config) as program, Clients(program.port) as clients:
        # The bytes are there already: what fails is the journal.
        assert program.noodle("plan", GREETING, NEW).code == 0
        with failing_disk(program):
            program.ran = program.noodle("upgrade", GREETING, NEW, "--yes", "--strategy", "immediate", "--json")
        program.clients = clients
        yield program


def test_when_the_disk_fails_the_upgrade_ends_with_the_old_version_and_says_what_to_do(failed):
    assert (failed.ran.code, failed.ran.error) == (1, "journal.failed"), failed.ran
    assert "restart" in failed.ran.json["error"]["hint"]
    failed.clients.more()
    seen = failed.clients.take()
    assert (seen.failures, seen.versions) == ([], {frozenset({"g1.0", "f1.0"})})


def test_after_the_disk_has_failed_a_new_upgrade_is_refused_because_of_the_journal(failed):
    ran = failed.noodle("upgrade", GREETING, NEW, "--yes", "--json")
    assert ran.error == "journal.failed", ran


def test_after_the_disk_has_failed_the_doctor_says_so(failed):
    assert failed.noodle("doctor", "--json").code == 6


def test_after_the_disk_has_failed_a_restart_recovers(failed):
    failed.clients.__exit__()
    failed.kill()
    failed.healthy()
    failed.start()
    assert failed.versions()[GREETING] == OLD
    assert failed.noodle("upgrade", GREETING, NEW, "--yes", "--strategy", "immediate").code == 0
    failed.healthy()


# --- the journal -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def schema(path, version):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (before,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")
    yield
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {before}")


@pytest.fixture
def stopped(place, config):
    """A program that has stopped with version 2.0 committed."""
    folder, env = place("stopped")
    program = started_program(folder, env, config)
    with program:
        assert program.noodle("upgrade", GREETING, NEW, "--yes", "--strategy", "immediate").code == 0
    program.log.write_text("")
    return program


def test_a_journal_of_a_newer_schema_is_left_alone_and_named(stopped):
    path = stopped.folder / ".noodle" / "journal.db"
    with schema(path, 51):
        before = path.read_bytes()
        ran = stopped.noodle("doctor", "--json")
        assert (ran.code, ran.json["findings"][0]["code"]) == (6, "journal.schema")
        with stopped:
            assert stopped.versions()[GREETING] == NEW
            refused = stopped.noodle("plan", GREETING, "3.0", "--json")
            assert refused.error == "journal.schema"
        assert "schema 51" in stopped.log.read_text()
        assert path.read_bytes() == before
    with stopped:
        assert stopped.versions()[GREETING] == NEW


def test_a_damaged_journal_is_named_and_not_touched(stopped):
    path = stopped.folder / ".noodle" / "journal.db"
    good = path.read_bytes()
    path.write_bytes(b"garbage" * 1000)
    ran = stopped.noodle("doctor", "--json")
    assert (ran.code, ran.json["findings"][0]["code"]) == (6, "journal.corrupt")
    stopped.spawn()
    try:
        assert stopped.process.wait(30) == 2
    finally:
        stopped.stop()
    assert "is damaged" in stopped.log.read_text()
    assert path.read_bytes() == b"garbage" * 1000
    path.write_bytes(good)
    with stopped:
        assert stopped.versions()[GREETING] == NEW


# --- state -------------------------------------------------------------------------------------------------------

TALLY = """
class Tally:
    def __init__(self):
        self.{field} = 0

    def hit(self):
        self.{field} += 1
        return f"{version}: {{self.{field}}}"

    def export_state(self):
        return {{"{field}": self.{field}}}

    def import_state(self, state):
        self.{field} = state["{field}"]


def migrate_state(state, from_version, to_version):
    {migration}
"""
BOTH_WAYS = """(number,) = state.values()
    return {"hits" if to_version == "1.0" else "count": number}"""


def tally(folder, version, field, migration):
    place = folder / "runtime_components" / "tally" / version
    place.mkdir(parents=True)
    (place / "tally.py").write_text(TALLY.format(field=field, version=version, migration=migration))
    (place / "component.toml").write_text('entry_point = "tally:Tally"\n')


@pytest.fixture
def counting(place):
    folder, env = place("counting")
    tally(folder, "1.0", "hits", BOTH_WAYS)
    with Program(folder, "counter:app", env=env) as program:
        program.ask()
        tally(folder, "1.1", "count", BOTH_WAYS)
        tally(folder, "1.2", "count", 'raise KeyError("no way from here")')
        tally(folder, "1.3", "count", 'return {"nonsense": 1}')
        yield program


def test_state_moves_there_and_back(counting):
    assert counting.ask()["parts"] == ["1.0: 2"]
    ran = counting.noodle("upgrade", "tally", "1.1", "--yes", "--strategy", "immediate")
    assert ran.code == 0, ran
    assert counting.ask()["parts"] == ["1.1: 3"]
    assert counting.noodle("rollback", "tally", "--yes").code == 0
    assert counting.ask()["parts"] == ["1.0: 4"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_version_that_cannot_take_the_state_over_is_refused_and_the_state_stays(counting, version):
    ran = counting.noodle("upgrade", "tally", version, "--yes", "--json")
    assert (ran.code, ran.error) == (4, "stage.migration"), ran
    assert ran.json["result"]["phase"] == "aborted"
    assert counting.ask()["parts"] == ["1.0: 2"]


def test_a_version_that_was_refused_does_not_run_after_a_restart(counting):
    assert counting.noodle("upgrade", "tally", "1.3", "--yes").code == 4
    counting.kill()
    counting.start()
    assert counting.ask()["parts"] == ["1.0: 1"]
