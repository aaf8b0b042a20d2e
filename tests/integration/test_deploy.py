"""Deployments by policy of a real service under real requests, asked for and steered by the real command."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from programs import Clients, Program, until

POLICIES = """
[deployment.upgrade_integration]
sync_interval = 0.2
upgrade_timeout = 120

[deployment.policies.quick]
upgrade_strategy = "immediate"

[deployment.policies.slow]
deployment_mode = "asynchronous"
upgrade_strategy = "canary"
judge = "killswitch"
on_restart = "{restart}"
[deployment.policies.slow.parameters]
steps = [25, 100]
budget = 3600

[deployment.policies.shut]
upgrade_strategy = "immediate"
deployment_mode = "asynchronous"
[[deployment.policies.shut.freezes]]
start = "2020-01-01"
end = "2120-01-01"
reason = "a very long holiday"
"""
NAME = "acme-greeting"


@pytest.fixture
def program(place, config, request):
    restart = getattr(request, "param", "rollback")
    folder, env = place("deployed")
    settings = config + POLICIES.replace("{restart}", restart)
    with Program(folder, "shares:app", config=settings, env=env) as running, Clients(running.port) as clients:
        clients.more(5)
        running.clients = clients
        yield running
        assert running.clients.take().failures == []


def deploy(program, *words, code=0):
    ran = program.noodle("deploy", *words, "--json")
    assert ran.code == code, ran
    return ran.json


def stage(program, name):
    return deploy(program, "show", name)["stage"]


def test_a_deployment_is_followed_to_its_end_and_told(program):
    ended = deploy(program, "start", NAME, "2.0", "-e", "quick", "--id", "dep-1", "--yes")
    assert (ended["stage"], ended["components"]) == ("succeeded", {NAME: "2.0"})
    assert program.serves() == {"g2.0"}
    shown = deploy(program, "show", "dep-1")
    assert [event["stage"] for event in shown["events"]][-1] == "succeeded"
    assert all(event["who"] and event["why"] for event in shown["events"])
    assert [one["deployment_id"] for one in deploy(program, "list")["deployments"]] == ["dep-1"]
    again = deploy(program, "start", NAME, "2.0", "-e", "quick", "--id", "dep-1", "--yes")
    assert again["upgrade_id"] == ended["upgrade_id"]
    program.healthy()


def test_both_versions_serve_in_one_process_until_somebody_promotes(program):
    deploy(program, "start", NAME, "2.0", "-e", "slow", "--id", "dep-1", "--yes", "--no-wait")
    until(lambda: deploy(program, "show", "dep-1")["weight"] == 0.25, "a quarter of the traffic")
    program.clients.take()
    program.clients.more(60)
    seen = program.clients.take()
    assert seen.versions == {frozenset({"g1.0"}), frozenset({"g2.0"})}
    assert seen.pids == {program.process.pid}
    deploy(program, "pause", "dep-1")
    deploy(program, "promote", "dep-1", "--full")
    until(lambda: stage(program, "dep-1") == "succeeded", "the end of it")
    assert program.serves() == {"g2.0"}


def test_an_abort_brings_the_old_version_back(program):
    deploy(program, "start", NAME, "2.0", "-e", "slow", "--id", "dep-1", "--yes", "--no-wait")
    until(lambda: deploy(program, "show", "dep-1")["weight"] == 0.25, "a quarter of the traffic")
    ended = deploy(program, "abort", "dep-1", "--why", "not today")
    assert (ended["stage"], ended["why"]) == ("rolled_back", "not today")
    program.clients.take()
    program.clients.more(20)
    assert program.clients.take().versions == {frozenset({"g1.0"})}


def test_what_stands_against_a_deployment_is_told_and_it_can_be_called_off(program):
    deploy(program, "start", NAME, "2.0", "-e", "shut", "--id", "dep-1", "--no-wait")
    waiting = until(lambda: deploy(program, "status")["pending_upgrades"], "it waits")
    until(lambda: "a very long holiday" in deploy(program, "status")["pending_upgrades"][0]["why"], "why it waits")
    assert waiting[0]["deployment_id"] == "dep-1"
    assert deploy(program, "abort", "dep-1")["stage"] == "cancelled"


@pytest.mark.parametrize(
    ("program", "ends"), [("rollback", "rolled_back"), ("resume", "judging")], indirect=["program"]
)
def test_kill_9_in_the_middle_rolls_back_or_resumes_as_the_policy_says(program, ends):
    deploy(program, "start", NAME, "2.0", "-e", "slow", "--id", "dep-1", "--yes", "--no-wait")
    until(lambda: deploy(program, "show", "dep-1")["weight"] == 0.25, "a quarter of the traffic")
    program.kill()
    program.start()
    until(lambda: stage(program, "dep-1") in {ends, "starved"}, lambda: deploy(program, "show", "dep-1"))
    shown = deploy(program, "show", "dep-1")
    assert shown["attempt"] == (1 if ends == "rolled_back" else 2)
    program.clients.more(5)
    program.clients.take()  # nobody answered while it was dead
    program.healthy()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["start", NAME, "2.0", "-e", "nowhere"], "deployment.environment_unknown", "slow"),
        (["start", NAME], "", "version for each"),
        (["show", "dep-7"], "deployment.unknown", "dep-7"),
        (
            ["start", NAME, "2.0", "-e", "quick", "--trigger", "deployment_succes"],
            "request.invalid",
            "deployment_success",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_could(program, words, code, said):
    ran = program.noodle("deploy", *words, "--json")
    assert ran.code != 0
    told = json.dumps(ran.json) if code else ran.out + ran.err
    assert said in told
    assert not code or ran.error == code


def test_policies_are_linted_and_explained_without_a_program(program):
    linted = deploy(program, "lint", code=1)
    assert linted["policies"] == ["quick", "shut", "slow"]
    (error,) = [one for one in linted["findings"] if one["severity"] == "error"]
    assert error["message"].startswith("shut: ")
    told = program.noodle("deploy", "explain", "shut")
    assert told.code == 0
    assert "a very long holiday" in told.out
    simulated = program.noodle("deploy", "simulate", "--policy", "slow", "--runs", "5", "--json")
    assert simulated.code == 0, simulated
