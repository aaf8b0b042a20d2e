"""The live view: a person at a real terminal steers a real upgrade of a real program."""

from __future__ import annotations

import os
import signal
import termios
import time
from collections.abc import Callable, Iterator

import pytest
from hosting import Hosted
from installing import install_core
from terminals import Screen, noodle_words

pytest.importorskip("noodle_upgrade_server")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    site = tmp_path_factory.mktemp("site")
    install_core(site)
    hosted = Hosted(tmp_path_factory.mktemp("program"), site, "steered.py")
    yield hosted
    hosted.end()


@pytest.fixture
def at(noodle, host, monkeypatch):
    """Run `noodle` where the program is, with nothing active and the number at 1.0."""
    monkeypatch.chdir(host.directory)
    monkeypatch.syspath_prepend(str(host.site))
    for row in noodle("status", "--json").json["active"]:
        noodle("cancel", row["upgrade_id"])
    while noodle("components", "--json").json["components"][0]["version"] != "1.0":
        assert noodle("rollback", "greeter", "--yes").code == 0
    return noodle


def begun(at, version: str = "2.0", *more: str) -> str:
    ran = at("upgrade", "greeter", version, "--yes", "--strategy", "stepwise", "--no-wait", "--json", *more)
    return ran.json["upgrade_id"]


def state(at, upgrade_id: str) -> dict:
    return at("status", upgrade_id, "--json").json


@pytest.fixture
def screen(host) -> Iterator[Callable[..., Screen]]:
    opened: list[Screen] = []

    def start(*command: str, columns: int = 80, rows: int = 24, environ: dict | None = None) -> Screen:
        environ = host.environ | (environ or {})
        made = Screen(*command, directory=host.directory, environ=environ, columns=columns, rows=rows)
        opened.append(made)
        return made

    yield start
    for one in opened:
        one.close()


def test_a_person_takes_an_upgrade_from_the_first_step_to_its_end_with_keys_alone(at, screen):
    upgrade_id = begun(at)
    view = screen(*noodle_words("watch", upgrade_id))
    view.until("asked 25%", "judge until safe, at most 300 s", "to HARM")
    assert view.silent
    view.type(" ")
    view.until("paused by", "space resumes")
    assert state(at, upgrade_id)["paused"]
    view.type("p")
    view.until("✓ shift to 25%", "asked 50%")
    assert not state(at, upgrade_id)["paused"], "a promotion ends a pause"
    view.type("p")
    view.until("waits for the gate 'after lunch': y approves")
    view.type("y")
    view.until("asked 100%", "measured 100.0%")
    view.type("P")
    view.until("Promote in full, past all waits that are left?")
    view.type("y")
    assert view.end() == 0
    assert "done: greeter 1.0 -> 2.0" in view.said
    assert view.restored


def test_every_frame_of_a_terminal_of_80_by_24_is_whole(at, screen):
    begun(at, "2.13")
    view = screen(*noodle_words("watch"))
    text = view.until("asked 25%", "errors", "last error of the new version", "for 2 s")
    for frame in view.frames:
        lines = frame.replace("\r\n", "\n").split("\n")
        assert len(lines) == 24
        assert all(len(line) <= 80 for line in lines)
    lines = text.splitlines()
    assert "p promote" in lines[-1]
    assert "? help" in lines[-1]
    for words in ("old  1.0", "new  2.13", "Calls left", "0.5 to ∞", "judge: not sure yet", "approved by"):
        assert words in text
    asked, measured = text.partition("measured ")[::2]
    assert asked
    assert 15.0 < float(measured.partition("%")[0]) < 35.0
    view.type("?")
    assert "leave: the upgrade goes on" in view.until("abort: all traffic back")
    view.type("?")
    view.until("asked 25%")


def test_an_abort_needs_a_second_key_and_brings_the_old_version_back(at, screen):
    upgrade_id = begun(at)
    view = screen(*noodle_words("watch", upgrade_id))
    view.until("asked 25%")
    view.type("a")
    view.until("Abort, with all traffic back to the old version?")
    view.type("n")
    view.until("Nothing was done.")
    assert state(at, upgrade_id)["result"] is None
    view.type("a")
    view.until("Abort, with all traffic back to the old version?")
    view.type("y")
    assert view.end() == 1
    assert view.restored
    assert state(at, upgrade_id)["phase"] == "rolled_back"
    assert at("components", "--json").json["components"][0]["version"] == "1.0"


@pytest.mark.parametrize("keys", ["ay", "Py", "a\ny\n", "\x1bOP", "\x1b[Ay", "pppyyy", "äy"])
def test_what_is_pasted_or_begins_a_function_key_neither_aborts_nor_promotes_in_full(at, screen, keys):
    upgrade_id = begun(at)
    view = screen(*noodle_words("watch", upgrade_id))
    view.until("asked 25%")
    view.press(keys)
    if keys[0] in "aP":
        assert "any other key: no" in view.lines[-1]
        view.press("n")
    view.until("asked 50%" if keys == "pppyyy" else "asked 25%")
    assert state(at, upgrade_id)["result"] is None
    assert state(at, upgrade_id)["phase"] == "shifting"


def test_who_leaves_leaves_the_upgrade_running_and_the_terminal_as_it_was(at, screen):
    upgrade_id = begun(at)
    view = screen(*noodle_words("watch", upgrade_id))
    view.until("asked 25%")
    view.type("q")
    assert view.end() == 0
    assert view.restored
    assert "upgrades go on" in view.said
    assert state(at, upgrade_id)["result"] is None


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGHUP, -1), (signal.SIGQUIT, -3)],
)
def test_a_signal_ends_the_watching_and_the_terminal_is_as_it_was(at, screen, number, code):
    upgrade_id = begun(at)
    view = screen(*noodle_words("watch", upgrade_id))
    view.until("asked 25%")
    view.process.send_signal(number)
    assert view.end() == code
    assert view.restored
    assert "Traceback" not in view.seen
    assert state(at, upgrade_id)["result"] is None


def test_control_c_from_the_keyboard_ends_the_watching(at, screen):
    begun(at)
    view = screen(*noodle_words("watch"))
    view.until("asked 25%")
    view.type("\x03")
    assert view.end() == 130
    assert view.restored
    assert "upgrades go on" in view.said


def test_control_z_gives_the_terminal_back_and_going_on_takes_it_again(at, screen):
    upgrade_id = begun(at)
    watch = " ".join(noodle_words("watch", upgrade_id))
    view = screen("sh", "-c", f"set -m; {watch}; echo STOPPED; read line; echo GOING ON WITH $line; fg")
    view.until("asked 25%")
    before = view.before
    view.type("\x1a")
    view.until_said("STOPPED")
    view.wait_for(lambda: view.seen.rfind("\x1b[?1049l") > view.seen.rfind("\x1b[?1049h"), "the shell's own screen")
    assert termios.tcgetattr(view.slave) == before
    view.type("it\n")
    view.until_said("GOING ON WITH it")
    view.wait_for(lambda: view.silent, "keys without echo")
    view.seen = ""
    view.until("asked 25%", "p promote")
    view.type("p")
    view.until("asked 50%")
    view.type("q")
    view.end()
    assert view.restored


def test_a_terminal_that_goes_away_ends_the_watching_and_not_the_upgrade(at, screen):
    upgrade_id = begun(at)
    view = screen(*noodle_words("watch", upgrade_id))
    view.until("asked 25%")
    os.close(view.slave)
    os.close(view.master)
    assert view.process.wait(30) != 0
    assert state(at, upgrade_id)["result"] is None


def test_what_the_program_refuses_is_said_and_the_view_goes_on(at, screen):
    upgrade_id = begun(at)
    view = screen(*noodle_words("watch", upgrade_id))
    view.until("asked 25%")
    view.type("y")
    view.until("It waits for nobody's approval just now.")
    assert state(at, upgrade_id)["phase"] == "shifting"


def test_a_program_that_dies_is_waited_for_on_the_screen_and_then_is_an_error_with_the_terminal_restored(
    at, screen, host
):
    upgrade_id = begun(at)
    view = screen(*noodle_words("watch", upgrade_id, "--patience", "2"))
    view.until("asked 25%")
    host.kill()
    try:
        view.until("no connection, trying again")
        assert view.end() == 3
        assert view.restored
        assert "Error: " in view.said
    finally:
        host.start()


def test_several_upgrades_or_none_get_the_board_and_no_keys(at, screen):
    view = screen(*noodle_words("watch"))
    view.until_said("No upgrade is active.")
    assert not view.silent
    assert "\x1b[?1049h" not in view.seen
    view.type("\x03")
    assert view.end() == 130


@pytest.mark.parametrize("words", [("--json",), ()])
def test_without_a_terminal_on_stdout_or_with_json_no_key_is_read(at, screen, words, tmp_path):
    upgrade_id = begun(at)
    out = tmp_path / "out"
    command = " ".join(noodle_words("watch", upgrade_id, *words))
    view = screen("sh", "-c", f"{command} > {out}" if not words else f"{command} | tee {out}")
    view.wait_for(lambda: out.exists() and "shift to 25%" in out.read_text(), "lines")
    assert not view.silent
    view.type("p")
    view.type("a")
    view.type("y")
    time.sleep(0.5)
    assert state(at, upgrade_id)["weight"] == 0.25
    view.type("\x03")
    view.end()
    assert view.restored


def test_in_the_background_nothing_is_taken_from_the_terminal(at, screen):
    upgrade_id = begun(at)
    watch = " ".join(noodle_words("watch", upgrade_id))
    view = screen("sh", "-c", f"set -m; {watch} & echo BEGUN; wait")
    view.until_said("shifting")
    assert not view.silent
    assert "\x1b[?1049h" not in view.seen
    assert at("cancel", upgrade_id).code == 0
    view.end()


def test_a_terminal_that_knows_ascii_only_gets_no_other_character(at, screen):
    begun(at, "2.13")
    view = screen(*noodle_words("watch"), environ={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"})
    assert view.until("asked 25%", "to HARM", "* judge").isascii()


@pytest.mark.parametrize(("columns", "rows"), [(40, 12), (20, 5), (200, 60)])
def test_whatever_the_size_the_keys_are_the_last_line(at, screen, columns, rows):
    begun(at)
    view = screen(*noodle_words("watch"), columns=columns, rows=rows)
    view.until("p promote")
    assert len(view.lines) == rows
    assert "p promote" in view.lines[-1]
    assert all(len(line) <= columns for line in view.lines)


def test_pause_resume_and_promote_have_commands_too(at):
    upgrade_id = begun(at)
    paused = at("pause", "--json").json
    assert (paused["upgrade_id"], paused["paused"]) == (upgrade_id, True)
    assert "paused by" in at("status").out
    assert "paused by" in at("status", upgrade_id).out
    assert at("promote", upgrade_id).code == 0
    assert not state(at, upgrade_id)["paused"]
    assert at("resume", upgrade_id).code == 0
    assert at("promote", "--full", "--json").json["full"] is True
    end = time.monotonic() + 20
    while not state(at, upgrade_id)["awaits"] and time.monotonic() < end:
        time.sleep(0.02)
    assert at("approve", upgrade_id).code == 0
    assert at("watch", upgrade_id).code == 0
    audit = str(state(at, upgrade_id)["audit"])
    said = ["paused", "promoted by a step", "resumed", "promoted in full"]
    assert sorted(said, key=audit.index) == said
    assert at("pause", upgrade_id).code == 2
    assert at("pause").code == 2
