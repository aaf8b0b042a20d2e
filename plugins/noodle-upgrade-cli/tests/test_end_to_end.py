"""The command line against a real program: a real Upgrader behind the real control server, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hosting import Hosted
from installing import install_core

pytest.importorskip("noodle_upgrade_server")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    site = tmp_path_factory.mktemp("site")
    install_core(site)
    hosted = Hosted(tmp_path_factory.mktemp("program"), site)
    yield hosted
    hosted.end()


@pytest.fixture
def at(noodle, host, monkeypatch):
    """Run `noodle` where the program's state directory is ./.noodle, the program being on version 1.0."""
    monkeypatch.chdir(host.directory)
    monkeypatch.syspath_prepend(str(host.site))
    while (running := noodle("components", "--json").json["components"][0]["version"]) != "1.0":
        assert noodle("rollback", "greeter", "--yes").code == 0, running
    return noodle


def version(at) -> str:
    return at("components", "--json").json["components"][0]["version"]


def test_a_plan_shows_and_changes_nothing(at):
    ran = at("plan", "greeter", "2.0")
    assert ran.code == 0
    assert "a number can be replaced" in ran.out
    assert at("plan", "greeter", "9.0").code == 4
    assert version(at) == "1.0"


def test_an_upgrade_and_its_rollback(at):
    ran = at("upgrade", "greeter", "2.0", "--yes", "--set", "bake=0.05", "--set", "percentage=50")
    assert ran.code == 0, ran
    assert "done: greeter 1.0 -> 2.0" in ran.out
    phases = [line.split()[-1] for line in ran.err.splitlines() if "upgrade.phase" in line]
    assert phases == ["validated", "approved", "staged", "shifting", "committed", "done"]
    assert version(at) == "2.0"
    assert at("rollback-points", "--json").json["rollback_points"][0]["from_version"] == "1.0"
    ran = at("rollback", "greeter")
    assert ran.code == 2
    assert "Would go back: greeter 2.0 -> 1.0 (point " in ran.out
    ran = at("rollback", "greeter", "--yes", "--json")
    assert (ran.code, ran.json["result"]["success"]) == (0, True)
    assert at("rollback", "greeter").code == 4
    assert version(at) == "1.0"


def test_a_version_that_fails_under_traffic_is_taken_back_and_ends_with_1(at):
    ran = at("upgrade", "greeter", "2.13", "--yes", "--set", "bake=0.5", "--json")
    assert ran.code == 1, ran
    assert ran.json["error"]["code"] == "deploy.harm"
    assert ran.json["result"]["status"] == "rolled_back"
    assert version(at) == "1.0"
    history = at("history", "--limit", "1", "--json").json["history"]
    assert history[0]["phase"] == "rolled_back"
    assert "2.13" in at("history").out


def test_a_version_that_fails_validation_is_refused_with_4(at):
    ran = at("upgrade", "greeter", "2.99", "--yes")
    assert ran.code == 4
    assert "Too ugly." in ran.out + ran.err
    ran = at("upgrade", "greeter", "2.0", "--current", "1.5", "--yes", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (4, "version.mismatch")


def test_unknown_things_end_with_2_and_a_hint(at):
    for words, code in (
        (("plan", "greter", "2.0"), "component.unknown"),
        (("plan", "greeter", "7.0"), "version.unknown"),
        (("plan", "greeter", "2.0", "--strategy", "gradul"), "driver.unknown"),
        (("status", "up-nothing"), "upgrade.unknown"),
        (("cancel", "up-nothing"), "upgrade.unknown"),
    ):
        ran = at(*words, "--json")
        assert (ran.code, ran.json["error"]["code"]) == (2, code), words


def test_without_yes_it_waits_until_somebody_approves_and_watch_sees_the_end(at):
    ran = at("upgrade", "greeter", "2.0", "--set", "bake=0.05", "--json")
    assert (ran.code, ran.json["waiting_for_approval"]) == (5, True)
    upgrade_id = ran.json["upgrade_id"]
    assert "waits" in at("status", upgrade_id).out
    ran = at("upgrade", "greeter", "3.0", "--yes", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (4, "upgrade.busy")
    assert at("approve", upgrade_id, "--digest", "0" * 64).code == 4
    assert at("approve", upgrade_id).code == 0
    ran = at("watch", upgrade_id, "--json")
    assert ran.code == 0
    assert ran.lines[-1]["data"]["to"] == "done"
    assert version(at) == "2.0"
    assert at("approve", upgrade_id).code == 2


def test_a_gate_of_the_strategy_is_named_wherever_one_looks_and_an_approval_opens_it(at):
    ran = at("upgrade", "greeter", "2.0", "--yes", "--strategy", "gated", "--no-wait", "--json")
    upgrade_id = ran.json["upgrade_id"]
    until = time.monotonic() + 20
    while not (awaits := at("status", upgrade_id, "--json").json["awaits"]) and time.monotonic() < until:
        time.sleep(0.02)
    assert awaits == "the gate 'after lunch'"
    assert awaits in at("status").out
    assert f"waits for {awaits}: noodle approve {upgrade_id}" in at("status", upgrade_id).out
    with subprocess.Popen(
        [sys.executable, "-m", "noodle_upgrade_cli", "watch", upgrade_id], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout
        seen = ""
        while f"waits for {awaits}: noodle approve" not in seen:
            seen += (line := watching.stdout.readline())
            assert line, seen
        ran = at("approve", upgrade_id)
        assert f"It waited for {awaits}." in ran.out
        watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert version(at) == "2.0"


def test_a_cancelled_upgrade_leaves_the_old_version(at):
    upgrade_id = at("upgrade", "greeter", "2.0", "--json").json["upgrade_id"]
    assert at("cancel", upgrade_id).code == 0
    assert at("watch", upgrade_id).code == 1
    assert version(at) == "1.0"


def test_after_kill_9_it_comes_back_on_one_version_and_the_doctor_agrees(at, host):
    ran = at("upgrade", "greeter", "2.0", "--yes", "--set", "bake=30", "--no-wait", "--json")
    upgrade_id = ran.json["upgrade_id"]
    seen = []

    def watch() -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "noodle_upgrade_cli", "watch", upgrade_id, "--json"],
            cwd=host.directory, env=host.environ, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout
            for line in process.stdout:
                seen.append(line)
                if '"shifting"' in line:
                    shifting.set()
        seen.append(process.returncode)

    shifting = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    assert shifting.wait(30)
    host.kill()
    assert at("status").code == 3
    assert "is gone" in at("status").err
    assert at("doctor").code == 0
    host.start()
    watcher.join(60)
    assert not watcher.is_alive()
    # The watcher took the connection up again, and ended with the upgrade's own code.
    assert seen[-1] == 1
    assert any("program.restarted" in str(line) for line in seen)
    assert version(at) == "1.0"
    ran = at("doctor", "--json")
    assert (ran.code, ran.json["ok"]) == (0, True)
