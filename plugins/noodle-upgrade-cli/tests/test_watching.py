from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from noodle_upgrade_cli.board import STEPS, Board, Card
from noodle_upgrade_cli.progress import board_view, stepper


def phase(upgrade_id: str, to: str) -> dict:
    return {
        "kind": "upgrade.phase",
        "upgrade_id": upgrade_id,
        "message": f"greeter 1.0 -> 2.0: {to}",
        "data": {"to": to},
    }


def shown(board: Board, *, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=120, force_terminal=True, no_color=True)
    console.print(board_view(board, console))
    stream.flush()
    raw = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    return re.sub(r"\x1b\[[0-9;]*m", "", raw)


def test_a_board_shows_phase_weight_and_both_versions():
    board = Board()
    for to in ("validated", "approved", "staged", "shifting"):
        board.take(phase("up-1", to))
    arm = {"calls": 1000, "errors": 10, "in_flight": 3, "p50_ms": 1.5, "p99_ms": 20.0}
    board.take(
        {
            "kind": "upgrade.measured",
            "upgrade_id": "up-1",
            "data": {"weight": 0.25, "starved": True, "old": arm | {"version": "1.0"}, "new": arm | {"version": "2.0"}},
        }
    )
    text = shown(board)
    for words in (
        "greeter 1.0 -> 2.0",
        "◉ shifting",
        "○ committed",
        "25% traffic",
        "1,000",
        "1.00%",
        "20 ms",
        "too little",
    ):
        assert words in text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_terminal_without_unicode_gets_plain_characters():
    board = Board()
    board.take(phase("up-1", "shifting"))
    text = shown(board, encoding="ascii")
    assert "* shifting" in text
    assert "#" in text or "." in text


def test_a_way_back_is_shown_where_it_left_the_way_there():
    card = Card(upgrade_id="up-1")
    for to in ("validated", "approved", "staged", "shifting", "rolling_back", "rolled_back"):
        card.take(phase("up-1", to))
    assert stepper(card, plain=True).plain.split("  ")[-3:-1] == ["+ shifting", "x rolled back"]
    assert card.ended
    assert card.weight == 0.0


def test_a_board_names_the_gate_that_is_waited_at_until_it_is_passed(program):
    program.begin("up-1", {})
    program.move("up-1", "shifting")
    program.wait_at_a_gate("up-1", "after lunch")
    board = Board()
    for event in program.events:
        board.take(event)
    assert "waits for the gate 'after lunch': noodle approve up-1" in shown(board)
    program.pass_the_gate("up-1")
    board.take(program.events[-1])
    assert "waits for" not in shown(board).partition("upgrade.phase")[0]


def test_a_board_says_who_paused_and_what_holds_until_traffic_moves_on(program):
    board = Board()
    board.take(phase("up-1", "shifting"))
    board.take({"kind": "upgrade.paused", "upgrade_id": "up-1", "data": {"by": "bob"}})
    assert "paused by bob, from the next increase on" in shown(board)
    board.take({"kind": "upgrade.held", "upgrade_id": "up-1", "data": {"why": "paused by bob"}})
    assert "paused by bob" in [line.strip() for line in shown(board).splitlines()]
    board.take({"kind": "upgrade.promoted", "upgrade_id": "up-1", "data": {"by": "bob"}})
    board.take({"kind": "upgrade.released", "upgrade_id": "up-1", "data": {}})
    assert "paused by" not in shown(board).partition("upgrade.paused")[0].partition("upgrade.phase")[0]
    assert (board.cards["up-1"].paused, board.cards["up-1"].held) == ("", "")


def test_a_finished_upgrade_has_all_steps_behind_it():
    card = Card(upgrade_id="up-1")
    for to in STEPS[1:]:
        card.take(phase("up-1", to))
    assert stepper(card, plain=True).plain.count("+ ") == len(STEPS)


def test_what_still_runs_is_never_pushed_out_by_what_came_later():
    board = Board(most=2)
    board.take(phase("up-running", "shifting"))
    for number in range(5):
        board.take(phase(f"up-{number}", "done"))
    assert list(board.cards) == ["up-running", "up-4"]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"kind": None, "upgrade_id": 7, "data": "x"},
        {"kind": "upgrade.measured", "upgrade_id": "u", "data": {"weight": "much", "old": 1, "new": {"calls": "x"}}},
        {"kind": "upgrade.measured", "upgrade_id": "u", "data": {"weight": True}},
        {"kind": "upgrade.progress", "upgrade_id": "u", "data": {"done": -1, "total": "x"}},
        {"kind": "upgrade.phase", "upgrade_id": "u", "data": {"to": "\x1b[2J[red]"}},
        {"kind": "upgrade_failed", "upgrade_id": "u", "data": {"message": "\x1b]0;title\x07"}},
    ],
)
def test_an_event_of_any_shape_is_shown_and_moves_no_cursor(event):
    board = Board()
    board.take(event)
    text = shown(board)
    assert "\x1b" not in text
    assert "\x07" not in text


def test_json_lines_are_one_event_each_and_the_exit_code_is_the_upgrades(noodle, program):
    program.begin("up-1", {})

    def go() -> None:
        program.wait_for_a_watcher()
        program.go_well("up-1")

    threading.Thread(target=go, daemon=True).start()
    ran = noodle("watch", "up-1", "--json")
    assert ran.code == 0
    phases = [event["data"]["to"] for event in ran.lines if event["kind"] == "upgrade.phase"]
    assert phases == ["validated", "approved", "staged", "shifting", "committed", "done"]


def test_watching_what_has_ended_says_how_it_ended(noodle, program):
    program.begin("up-1", {})
    program.finish("up-1", "rolled_back", {"code": "deploy.harm", "message": "errors", "safe": "", "hint": ""})
    ran = noodle("watch", "up-1")
    assert ran.code == 1
    assert "rolled back" in ran.out
    assert noodle("watch", "up-7").code == 2


def test_watching_without_a_terminal_says_what_is_waited_for_and_how_it_goes_on(noodle, program):
    program.begin("up-1", {})
    program.move("up-1", "shifting")
    program.wait_at_a_gate("up-1", "after lunch")
    ran: list = []
    watcher = threading.Thread(target=lambda: ran.append(noodle("watch", "up-1")))
    watcher.start()
    program.wait_for_a_watcher()
    program.pass_the_gate("up-1")
    program.finish("up-1")
    watcher.join(30)
    assert ran[0].code == 0
    assert "up-1 waits for the gate 'after lunch': noodle approve up-1" in ran[0].out


def test_the_events_are_the_output_of_watch_where_there_is_no_terminal(noodle, program):
    program.begin("up-1", {})

    def go() -> None:
        program.wait_for_a_watcher()
        program.wait_for_approval("up-1")
        program.go_well("up-1")

    threading.Thread(target=go, daemon=True).start()
    ran = noodle("watch", "up-1")
    assert ran.code == 0
    assert [line.split()[-1] for line in ran.out.splitlines() if "upgrade.phase" in line] == [
        "validated", "validated", "approved", "staged", "shifting", "committed", "done"
    ]  # fmt: skip
    assert "upgrade.approval_needed" in ran.out
    assert ran.err == "`noodle approve up-1` lets it go on.\n"


def test_a_pipe_gets_the_events_also_where_the_other_stream_is_a_terminal(program, tmp_path):
    program.begin("up-1", {})
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "noodle_upgrade_cli", "watch"],
        cwd=tmp_path, stdin=slave, stdout=subprocess.PIPE, stderr=slave, text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("NOODLE_")} | {"TERM": "xterm"},
    ) as watching:  # fmt: skip
        program.wait_for_a_watcher()
        program.move("up-1", "shifting")
        assert watching.stdout
        try:
            assert select.select([watching.stdout], [], [], 20)[0], "nothing came"
            assert "greeter 1.0 -> 2.0: shifting" in watching.stdout.readline()
        finally:
            watching.send_signal(signal.SIGINT)
    os.close(slave)
    os.close(master)


class Terminal:
    """A real process on a real pseudo-terminal."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("NOODLE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "noodle_upgrade_cli", *words],
            cwd=directory,
            env=environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def until(self, words: str) -> str:
        end = time.monotonic() + 30
        while words not in self.seen:
            assert time.monotonic() < end, self.seen
            ready, _, _ = select.select([self.master], [], [], 1)
            if ready and not self._read():
                break
        assert words in self.seen, self.seen
        return self.seen

    def _read(self) -> bool:
        try:
            chunk = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += chunk.decode(errors="replace")
        return bool(chunk)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(30)

    def clean_up(self) -> None:
        self.process.kill()
        self.process.wait(30)
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(tmp_path, *words))
        return opened[-1]

    yield start
    for one in opened:
        one.clean_up()


def test_on_a_terminal_the_plan_is_shown_and_a_yes_starts_it(program, terminal):
    shell = terminal("upgrade", "greeter", "2.0")
    shell.until("Upgrade the running program now? [y/N]")
    assert "why: every binding can be replaced" in shell.seen
    assert not program.upgrades
    shell.type("y\n")
    assert shell.end() == 0
    assert ("POST", "/v1/upgrades", {"plan_id": "plan-1", "approve": True}) in program.asked
    assert "done" in shell.seen


def test_on_a_terminal_anything_but_yes_starts_nothing(program, terminal):
    shell = terminal("upgrade", "greeter", "2.0")
    shell.until("[y/N]")
    shell.type("\n")
    assert shell.end() == 130
    assert not program.upgrades


def test_control_c_leaves_the_upgrade_running_and_says_so(program, terminal):
    program.on_start = lambda upgrade_id: program.move(upgrade_id, "shifting")
    shell = terminal("upgrade", "greeter", "2.0", "--yes")
    shell.until("shifting")
    shell.process.send_signal(signal.SIGINT)
    assert shell.end() == 130
    assert "The upgrade goes on" in shell.seen
    assert "noodle cancel up-1" in shell.seen
    assert not any("cancel" in where for _, where, _ in program.asked)


def test_watch_on_a_terminal_shows_a_live_board_until_control_c(program, terminal):
    program.begin("up-1", {"steps": [{"component": {"name": "greeter"}, "from_version": "1.0", "to_version": "2.0"}]})
    shell = terminal("watch")
    shell.until("received")
    program.move("up-1", "shifting")
    shell.until("shifting")
    shell.process.send_signal(signal.SIGINT)
    assert shell.end() == 130
    assert "upgrades go on" in shell.seen
