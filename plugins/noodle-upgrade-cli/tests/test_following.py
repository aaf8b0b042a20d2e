from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from control_program import Program, serving

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.failures import ConnectionLostError, NotRunningError
from noodle_upgrade_cli.following import Follower, follow_upgrade
from noodle_upgrade_cli.locate import Address


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def client_of(directory: Path) -> ControlClient:
    return ControlClient(Address(socket=str(directory / "control.sock"), pid=os.getpid()))


def kinds(events):
    return [(event["kind"], event["sequence"]) for event in events]


def test_a_dropped_stream_is_taken_up_where_it_was_with_no_event_twice_or_missing(directory):
    program = Program()
    for number in range(1, 8):
        program.emit(f"k{number}", "up-1")
    program.drop_stream_after = [3, 2, 1]
    with serving(program, directory), client_of(directory) as client:
        seen = []
        for event in Follower(client=client, pause=lambda _: None).events():
            if event is not None:
                seen.append(event)
            if len(seen) == 7:
                break
    assert kinds(seen) == [(f"k{n}", n) for n in range(1, 8)]


def test_events_that_are_sent_again_are_not_shown_again(directory):
    program = Program()
    for number in range(1, 6):
        program.emit(f"k{number}")
    program.overlap = 2
    program.drop_stream_after = [3, 4]
    with serving(program, directory), client_of(directory) as client:
        seen = []
        for event in Follower(client=client, pause=lambda _: None).events():
            if event is not None:
                seen.append(event)
            if seen and seen[-1]["kind"] == "k5":
                break
    assert kinds(seen) == [(f"k{n}", n) for n in range(1, 6)]


def test_after_a_restart_the_events_are_counted_from_one_again(directory):
    first, second = Program(), Program()
    second.pid = first.pid + 1
    for number in range(1, 4):
        first.emit(f"old{number}")
    second.emit("new1")
    served = serving(first, directory)
    served.__enter__()
    restarted = threading.Event()

    def pause(_: float) -> None:
        if not restarted.is_set():
            restarted.set()
            again.__enter__()

    again = serving(second, directory)
    seen = []
    try:
        with client_of(directory) as client:
            for event in Follower(client=client, pause=pause).events():
                if event is not None:
                    seen.append(event["kind"])
                if seen[-1:] == ["old3"]:
                    served.__exit__(None, None, None)
                if seen[-1:] == ["new1"]:
                    break
    finally:
        again.__exit__(None, None, None)
    assert seen[:3] == ["old1", "old2", "old3"]
    assert "program.restarted" in seen
    assert seen[-1] == "new1"


def test_a_program_that_stays_away_ends_the_following_with_an_error(directory):
    program = Program()
    program.emit("k1")
    served = serving(program, directory)
    served.__enter__()
    moments = iter(range(0, 1000, 10))

    def follow(client: ControlClient) -> None:
        for event in Follower(client=client, patience=60, pause=lambda _: None, clock=lambda: next(moments)).events():
            if event and event["kind"] == "k1":
                served.__exit__(None, None, None)

    with client_of(directory) as client, pytest.raises((NotRunningError, ConnectionLostError)):
        follow(client)


def test_an_end_that_was_missed_is_found_by_asking(directory):
    program = Program()
    program.begin("up-1", {})
    program.finish("up-1")
    program.events.clear()
    program.emit("something.else", "up-2")
    with serving(program, directory), client_of(directory) as client:
        state = follow_upgrade(client, "up-1", on_event=lambda _: None)
    assert state["result"]["success"] is True


def test_an_end_without_a_result_is_an_end(directory):
    program = Program()
    program.begin("up-1", {})
    program.finish("up-1", "aborted")
    program.upgrades["up-1"]["result"] = None
    with serving(program, directory), client_of(directory) as client:
        state = follow_upgrade(client, "up-1", on_event=lambda _: None)
    assert state["phase"] == "aborted"
