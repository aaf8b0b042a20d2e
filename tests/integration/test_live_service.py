"""A real service under real requests: upgraded, watched, approved, cancelled, taken back, and killed."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import installing
from programs import Clients, Program, until

OLD, NEW = "1.0", "2.0"
GREETING, FAREWELL = "acme-greeting", "acme-farewell"
BOTH_OLD, BOTH_NEW = frozenset({"g1.0", "f1.0"}), frozenset({"g2.0", "f2.0"})
NEW_GREETING = frozenset({"g2.0", "f1.0"})


@pytest.fixture(scope="module")
def service(place, config):
    folder, env = place("service")
    with Program(folder, config=config, env=env) as program:
        yield program


@pytest.fixture
def live(service):
    """The service on version 1.0 of everything, with clients; nothing may fail or be torn while a test runs."""
    for one in service.active():
        service.noodle("cancel", one["upgrade_id"])
    back_to_old(service)
    with Clients(service.port) as clients:
        service.clients = clients
        clients.more(5)
        yield service
        clients.more(5)
        seen = clients.take()
    assert (seen.failures, seen.torn) == ([], [])
    assert seen.pids <= {service.process.pid}
    assert service.api("doctor")["findings"] == []


def back_to_old(program):
    while (running := program.versions())[GREETING] != OLD or running[FAREWELL] != OLD:
        name = GREETING if running[GREETING] != OLD else FAREWELL
        ran = program.noodle("rollback", name, "--yes")
        assert ran.code == 0, ran


def started(program, *words):
    """Start an upgrade and leave it; returns its id."""
    ran = program.noodle("upgrade", *words, "--no-wait", "--json")
    assert ran.code in {0, 5}, ran
    return ran.json["upgrade_id"]


class Watcher:
    """`noodle watch --json` in a process of its own; its lines as they come."""

    def __init__(self, program, *words):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "noodle_upgrade_cli", "watch", *words, "--json"],
            cwd=program.folder, env=program.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        self.lines.extend(json.loads(line) for line in self.process.stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self.thread.join(30)
        self.process.stdout.close()

    @property
    def phases(self):
        return [line["data"]["to"] for line in self.lines if line["kind"] == "upgrade.phase"]

    def code(self):
        return self.process.wait(60)


# --- a set, people, a second terminal ----------------------------------------------------------------------------


def test_a_library_is_upgraded_and_taken_back_under_requests_and_none_fails_or_sees_two_versions(live):
    before = live.ask()
    ran = live.noodle("upgrade", GREETING, NEW, "--yes", "--set", "bake=0.2", "--json")
    assert (ran.code, ran.json["result"]["success"]) == (0, True), ran
    live.clients.more()
    assert live.versions()[GREETING] == NEW
    after = live.ask()
    assert after["parts"][1] == f"Hello/g{NEW} sun!/g{NEW}"
    assert (after["pid"], after["answered"] > before["answered"]) == (before["pid"], True)
    ran = live.noodle("rollback", GREETING, "--yes", "--json")
    assert (ran.code, ran.json["result"]["to_version"]) == (0, OLD)
    assert live.ask()["parts"][1] == f"Hello/g{OLD} sun!/g{OLD}"
    assert live.clients.take().versions == {BOTH_OLD, NEW_GREETING}


def test_a_set_changes_in_one_step_and_goes_back_in_one(live):
    ran = live.noodle("plan", f"{FAREWELL}=={NEW}", f"{GREETING}=={NEW}", "--json")
    assert [step["component"]["name"] for step in ran.json["plan"]["steps"]] == [GREETING, FAREWELL]
    ran = live.noodle("upgrade", f"{FAREWELL}=={NEW}", f"{GREETING}=={NEW}", "--yes", "--set", "bake=0.2", "--json")
    assert ran.code == 0, ran
    assert sorted(ran.json["result"]["components"]) == [FAREWELL, GREETING]
    live.clients.more()
    assert live.noodle("rollback", GREETING, "--yes").code == 0
    live.clients.more()
    # No request ever saw the one library new and the other old.
    assert live.clients.take().versions == {BOTH_OLD, BOTH_NEW}
    assert {live.versions()[name] for name in (GREETING, FAREWELL)} == {OLD}


def test_an_upgrade_waits_until_a_second_terminal_approves_it_and_a_watcher_sees_it_to_its_end(live):
    ran = live.noodle("upgrade", GREETING, NEW, "--set", "bake=0.2", "--json")
    assert (ran.code, ran.json["waiting_for_approval"]) == (5, True)
    upgrade_id = ran.json["upgrade_id"]
    with Watcher(live, upgrade_id) as watcher:
        assert live.versions()[GREETING] == OLD
        (waiting,) = live.active()
        ran = live.noodle("approve", upgrade_id, "--digest", waiting["plan_digest"], "--json")
        assert (ran.code, ran.json["approved"]) == (0, True)
        assert watcher.code() == 0
    assert watcher.phases[-1] == "done"
    assert live.versions()[GREETING] == NEW
    (row, *_) = live.noodle("history", "--json").json["history"]
    assert row["upgrade_id"] == upgrade_id
    assert any(one["who"] for one in row["audit"])


def test_an_approval_of_another_plan_is_none(live):
    upgrade_id = started(live, GREETING, NEW)
    ran = live.noodle("approve", upgrade_id, "--digest", "0" * 64, "--json")
    assert (ran.code, ran.error) == (4, "decision.approval_required")
    assert live.versions()[GREETING] == OLD
    assert live.noodle("cancel", upgrade_id).code == 0


def test_watch_without_an_id_shows_what_others_do(live):
    with Watcher(live) as watcher:
        until(lambda: _subscribed(live, watcher), "the watcher sees something")
        live.noodle("upgrade", GREETING, NEW, "--yes", "--set", "bake=0.2")
        until(lambda: "done" in watcher.phases, "the watcher sees the end")
    assert watcher.phases[-6:] == ["validated", "approved", "staged", "shifting", "committed", "done"]
    assert all(line["kind"] and line["upgrade_id"] for line in watcher.lines)


def _subscribed(program, watcher):
    # A watcher shows what happens from when it connects: something has to happen until it does.
    program.noodle("cancel", started(program, GREETING, NEW))
    return watcher.lines


def test_cancelled_before_traffic_moves_nothing_has_happened(live):
    upgrade_id = started(live, GREETING, NEW)
    ran = live.noodle("cancel", upgrade_id, "--json")
    assert (ran.code, ran.json["status"]) == (0, "cancelled")
    assert live.noodle("status", upgrade_id, "--json").json["phase"] == "aborted"
    assert live.clients.take().versions == {BOTH_OLD}


def test_cancelled_in_the_middle_of_its_traffic_the_old_version_comes_back(live):
    upgrade_id = started(live, GREETING, NEW, "--yes", "--strategy", "immediate", "--set", "bake=60")
    live.in_phase("shifting")
    until(lambda: NEW_GREETING in live.clients.tally.versions, "the new version answers")
    assert live.noodle("cancel", upgrade_id).code == 0
    live.clients.take()
    live.clients.more()
    assert live.clients.take().versions == {BOTH_OLD}
    assert live.noodle("status", upgrade_id, "--json").json["phase"] == "rolled_back"


def test_cancelled_while_it_soaks_the_old_version_comes_back(live):
    upgrade_id = started(live, GREETING, NEW, "--yes", "--strategy", "immediate", "--set", "soak=60")
    live.in_phase("soaking")
    assert live.noodle("cancel", upgrade_id).code == 0
    assert live.versions()[GREETING] == OLD
    assert live.noodle("status", upgrade_id, "--json").json["phase"] == "rolled_back"


def test_of_two_upgrades_of_one_component_at_once_the_second_is_refused(live):
    upgrade_id = started(live, GREETING, NEW, "--yes", "--strategy", "immediate", "--set", "bake=60")
    live.in_phase("shifting")
    ran = live.noodle("upgrade", GREETING, "3.0", "--yes", "--json")
    assert (ran.code, ran.error) == (4, "upgrade.busy"), ran
    assert upgrade_id in ran.json["error"]["message"]
    ran = live.noodle("rollback", GREETING, "--yes", "--json")
    assert ran.code == 4, ran
    assert live.noodle("cancel", upgrade_id).code == 0


def test_the_same_upgrade_once_more_meanwhile_is_refused_as_busy(live):
    upgrade_id = started(live, GREETING, NEW, "--yes", "--strategy", "immediate", "--set", "bake=60")
    live.in_phase("shifting")
    ran = live.noodle("upgrade", GREETING, NEW, "--yes", "--json")
    assert live.noodle("cancel", upgrade_id).code == 0
    assert (ran.code, ran.error) == (4, "upgrade.busy"), ran


def test_two_upgrades_of_two_components_run_at_once(live):
    first = started(live, GREETING, NEW, "--yes", "--strategy", "immediate", "--set", "bake=60")
    live.in_phase("shifting")
    ran = live.noodle("upgrade", FAREWELL, "1.1", "--yes", "--strategy", "immediate", "--json")
    assert ran.code == 0, ran
    assert live.versions() | {GREETING: NEW, FAREWELL: "1.1"} == live.versions()
    live.clients.more()
    assert live.noodle("cancel", first).code == 0
    live.clients.more()
    assert live.versions()[FAREWELL] == "1.1"
    assert live.versions()[GREETING] == OLD


def test_a_version_that_fails_under_requests_is_taken_back_by_itself(live):
    live.clients.take()
    ran = live.noodle("upgrade", GREETING, "2.3", "--yes", "--strategy", "immediate", "--set", "bake=30", "--json")
    assert (ran.code, ran.error) == (1, "deploy.harm"), ran
    assert "this version cannot greet" in ran.json["error"]["message"]
    # What the broken version answered is its own; from the moment that it was taken back nothing fails.
    live.clients.take()
    live.clients.more()
    assert live.versions()[GREETING] == OLD


# --- kill -9 -----------------------------------------------------------------------------------------------------


HOLD = """
import os
import time

from noodle_upgrade_core import hookimpl

FOLDER = os.environ["ACME_HOLD"]


class Hold:
    def _wait(self, where):
        while os.path.exists(os.path.join(FOLDER, where)):
            time.sleep(0.01)

    @hookimpl
    def validate(self, stage, context):
        if context.upgrade_id:
            self._wait(f"validate-{stage}")

    @hookimpl
    def recompile(self):
        self._wait("recompile")

    @hookimpl
    def rollback(self):
        self._wait("rollback")
"""


@pytest.fixture
def killed(holding):
    """The service with nothing under way, whatever an earlier test left behind."""
    holding.release()
    if holding.process.poll() is not None or holding.active():
        holding.stop()
        holding.start()
    return holding


@pytest.fixture(scope="module")
def holding(place, config, tmp_path_factory):
    """A service with a plugin that stops upgrades where the test wants it."""
    plugin = installing.plugin(tmp_path_factory.mktemp("hold"), "acme-hold", HOLD, "Hold")
    holds = tmp_path_factory.mktemp("holds")
    folder, env = place("killed", plugin, ACME_HOLD=holds)
    with Program(folder, config=config, env=env) as program:
        program.holds = holds
        program.release = lambda: [hold.unlink() for hold in holds.iterdir()]
        yield program


def upgrade_until(program, phase):
    """Start an upgrade and bring it into a phase, in which it stays."""
    words = [GREETING, NEW, "--strategy", "immediate"]
    hold = {"received": "validate-before", "approved": "recompile", "rolling_back": "rollback"}.get(phase)
    if hold:
        (program.holds / hold).touch()
    if phase == "validated":
        return started(program, *words)
    if phase == "received":
        # The command itself waits until it is known whether somebody has to approve.
        ran = program.noodle("upgrade", *words, "--yes", "--no-wait", "--json")
        return ran.json["upgrade_id"]
    extra = {"soaking": "soak=6", "approved": "bake=0"}.get(phase, "bake=60")
    upgrade_id = started(program, *words, "--yes", "--set", extra)
    if phase == "rolling_back":
        program.in_phase("shifting")
        with subprocess.Popen(
            [sys.executable, "-m", "noodle_upgrade_cli", "cancel", upgrade_id], cwd=program.folder, env=program.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as cancel:  # fmt: skip
            program.in_phase(phase)
            cancel.kill()
    return upgrade_id


UNSEEN = {"upgrade.unknown", "aborted"}
"""What nobody could see need not have reached the journal; where it has, it was aborted."""

ENDS = {
    "received": (UNSEEN, OLD),
    "validated": (UNSEEN, OLD),
    "approved": (UNSEEN, OLD),
    "shifting": ({"rolled_back"}, OLD),
    "rolling_back": ({"rolled_back"}, OLD),
    "soaking": ({"soaking", "done"}, NEW),
}


def became(program, upgrade_id):
    """Return the phase of an upgrade, or the error that says that there is none."""
    ran = program.noodle("status", upgrade_id, "--json")
    return ran.json.get("phase") or ran.error


@pytest.mark.parametrize("phase", ENDS)
def test_after_kill_9_in_any_phase_it_comes_back_on_exactly_one_version(killed, phase):
    ends, version = ENDS[phase]
    upgrade_id = upgrade_until(killed, phase)
    killed.in_phase(phase)
    killed.kill()
    killed.healthy()
    killed.release()
    killed.start()
    with Clients(killed.port) as clients:
        clients.more()
        seen = clients.take()
        assert seen.versions == {frozenset({f"g{version}", "f1.0"})}
        assert (seen.failures, seen.torn) == ([], [])
        assert killed.versions()[GREETING] == version
        assert became(killed, upgrade_id) in ends
        assert killed.api("doctor")["findings"] == []
        if version == NEW:
            until(lambda: became(killed, upgrade_id) == "done", "the soak that goes on has its end")
            assert killed.noodle("rollback", GREETING, "--yes").code == 0
        # The very same upgrade succeeds now.
        ran = killed.noodle("upgrade", GREETING, NEW, "--strategy", "immediate", "--yes", "--json")
        assert (ran.code, ran.json["result"]["success"]) == (0, True), ran
        assert killed.noodle("rollback", GREETING, "--yes").code == 0
        clients.more()
        seen = clients.take()
        assert (seen.failures, seen.torn) == ([], [])
    assert killed.api("doctor")["findings"] == []


def test_an_upgrade_that_soaks_on_after_a_restart_can_be_cancelled(killed):
    upgrade_id = started(killed, GREETING, NEW, "--strategy", "immediate", "--yes", "--set", "soak=6")
    killed.in_phase("soaking")
    killed.kill()
    killed.start()
    try:
        assert killed.noodle("cancel", upgrade_id).code == 0
        assert killed.versions()[GREETING] == OLD
    finally:
        until(lambda: became(killed, upgrade_id) != "soaking", "the soak has its end")
        if killed.versions()[GREETING] == NEW:
            killed.noodle("rollback", GREETING, "--yes")


def test_while_nothing_runs_the_commands_say_so_and_the_doctor_reads_the_files(killed):
    killed.kill()
    try:
        ran = killed.noodle("status", "--json")
        assert (ran.code, ran.error) == (3, "control.not_running")
        killed.healthy()
    finally:
        killed.start()


def test_a_second_program_on_the_same_state_is_refused_and_the_first_goes_on(killed):
    second = Program(killed.folder, env=killed.env, options=["--config", "noodle.toml"])
    second.log = killed.folder / "second.log"
    second.spawn()
    assert second.process.wait(30) != 0
    assert str(killed.process.pid) in second.log.read_text()
    assert killed.versions()[GREETING] == OLD


def test_a_program_that_ends_in_good_order_takes_an_unfinished_upgrade_back(killed):
    started(killed, GREETING, NEW, "--yes", "--strategy", "immediate", "--set", "bake=60")
    killed.in_phase("shifting")
    killed.stop()
    killed.healthy()
    killed.start()
    assert killed.versions()[GREETING] == OLD
    (row, *_) = killed.noodle("history", "--json").json["history"]
    assert row["phase"] == "rolled_back"


# --- shares ------------------------------------------------------------------------------------------------------


def test_behind_a_handle_both_versions_serve_while_the_share_rises_and_the_way_back_is_one_flip(place, config):
    folder, env = place("shares")
    with Program(folder, "shares:app", config=config, env=env) as program, Clients(program.port) as clients:
        plan = program.noodle("plan", GREETING, NEW, "--json").json["plan"]
        assert plan["steps"][0]["verdict"]["mechanism"] == "generation"
        upgrade_id = started(program, GREETING, NEW, "--yes", "--set", "percentage=50", "--set", "bake=5")
        half = until(lambda: next((one for one in program.active() if one["weight"] == 0.5), None), "half the traffic")
        assert half["upgrade_id"] == upgrade_id
        clients.take()
        clients.more(60)
        assert clients.take().versions == {frozenset({"g1.0"}), frozenset({"g2.0"})}
        with Watcher(program, upgrade_id) as watcher:
            assert watcher.code() == 0
        clients.take()
        clients.more()
        assert clients.take().versions == {frozenset({"g2.0"})}
        assert program.versions()[GREETING] == NEW
        assert program.noodle("rollback", GREETING, "--yes").code == 0
        clients.take()
        clients.more()
        seen = clients.take()
        assert seen.versions == {frozenset({"g1.0"})}
        assert (seen.failures, seen.torn) == ([], [])
        program.healthy()


def test_behind_a_handle_a_version_that_fails_is_taken_back_at_its_first_share(place, config):
    folder, env = place("shares")
    with Program(folder, "shares:app", config=config, env=env) as program, Clients(program.port) as clients:
        ran = program.noodle(
            "upgrade", GREETING, "2.3", "--yes", "--set", "percentage=20", "--set", "bake=30", "--json"
        )
        assert (ran.code, ran.error) == (1, "deploy.harm"), ran
        assert clients.tally.versions == {frozenset({"g1.0"})}
        steps = ran.json["result"]["operations"]
        assert [step for step in steps if step.startswith("shift")] == ["shift to 20%"]
        clients.take()
        clients.more()
        assert clients.take().failures == []


# --- a library from the index ------------------------------------------------------------------------------------

TABLES = """
import tabulate
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

ROWS = [["a", 1], ["b", 22]]


def serve(_):
    return JSONResponse({"version": tabulate.__version__, "text": tabulate.tabulate(ROWS, tablefmt="asciidoc")})


app = Starlette(routes=[Route("/", serve)])
"""


@pytest.mark.network
def test_a_published_library_is_fetched_from_the_index_upgraded_live_and_taken_back(tmp_path, place):
    old, new = "0.8.10", "0.9.0"
    installing.from_index(tmp_path / "site", f"tabulate=={old}")
    folder, env = place("tables", tmp_path / "site")
    (folder / "tables.py").write_text(TABLES)
    with Program(folder, "tables:app", env=env) as program:
        first = program.ask()
        assert first["version"] == old
        ran = program.noodle("upgrade", "tabulate", new, "--yes", "--strategy", "immediate", "--json")
        assert ran.code == 0, ran
        assert program.ask()["version"] == new
        assert program.noodle("rollback", "tabulate", "--yes").code == 0
        assert program.ask() == first
        ran = program.noodle("upgrade", "tabulate", "0.0.99", "--yes", "--json")
        assert (ran.code, ran.error) == (2, "version.unknown"), ran
        program.healthy()
