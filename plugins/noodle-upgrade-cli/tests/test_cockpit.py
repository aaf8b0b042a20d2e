"""What the live view makes of events, states and keys, without a terminal."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from noodle_upgrade_cli.cockpit import frame_of
from noodle_upgrade_cli.course import Course
from noodle_upgrade_cli.steering import KEYS, Order, Steering

ID = "up-1"
PLAN = {"steps": [{"component": {"name": "greeter"}, "from_version": "1.0", "to_version": "2.0"}]}
COMPARED = {
    "old": 0.01, "new": 0.018, "ratio": 1.84, "low": 1.1, "high": 3.2, "harm": 0.45, "safe": -0.3, "calls_to_safe": 4200,
}  # fmt: skip


def drawn(course: Course, steering: Steering | None = None, *, width: int = 80, height: int = 24, plain=False) -> list:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    options = console.options.update_dimensions(width, height)
    lines = console.render_lines(frame_of(course, steering or Steering(), plain=plain), options, pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


def text(course: Course, **more: Any) -> str:
    return "\n".join(drawn(course, **more))


def course_of(**state: Any) -> Course:
    return Course.of(ID, {"upgrade_id": ID, "phase": "shifting", "plan": PLAN, "plan_digest": "d1", **state})


def event(kind: str, message: str = "", *, at: float = 0.0, upgrade_id: str = ID, **data: Any) -> dict[str, Any]:
    stamp = f"2031-05-04T10:{int(at // 60):02}:{at % 60:09.6f}+00:00"
    return {"kind": kind, "upgrade_id": upgrade_id, "message": message, "at": stamp, "data": data}


def measured(at: float, weight: float, old: int, new: int, **more: Any) -> dict[str, Any]:
    arms = {"old": {"version": "1.0", "calls": old, "errors": 0}, "new": {"version": "2.0", "calls": new, "errors": 0}}
    return event("upgrade.measured", at=at, weight=weight, **{**arms, **more})


# --- what was and what is ----------------------------------------------------------------------------------------


def test_the_share_measured_is_that_of_the_last_seconds_at_the_present_share():
    course = course_of()
    for second in range(20):
        course.take(measured(second, 0.1, 900 * second, 100 * second))
    assert course.traffic.share == pytest.approx(0.1)
    assert course.traffic.seconds == pytest.approx(5.0)
    assert "asked 10%, measured 10.0% of 5,000 calls in 5.0 s" in text(course)
    course.take(measured(20, 0.5, 18_000, 2_000))
    assert course.traffic is None, "calls at another share say nothing of this one"
    course.take(measured(21, 0.5, 18_500, 2_300))
    assert course.traffic.share == pytest.approx(300 / 800)
    course.take(measured(22, 0.5, 18_500, 2_300))
    course.take(measured(28, 0.5, 18_500, 2_300))
    assert "asked 50%, no calls for 6.0 s" in text(course)


def test_counts_that_begin_anew_are_not_compared_with_those_before():
    course = course_of()
    course.take(measured(10, 0.5, 1000, 1000))
    course.take(measured(5, 0.5, 10, 10))
    assert course.traffic is None
    course.take(measured(6, 0.5, 0, 0))
    assert (course.traffic.old, course.traffic.new) == (0, 0)


def test_the_steps_so_far_are_shown_with_the_present_one_in_full_and_nothing_of_the_future():
    course = course_of()
    for at, kind, words in (
        (0, "Shift", "shift to 5%"), (0, "Probe", "probe the new version"), (1, "Judge", "judge until safe, at most 300 s"),
        (9, "Shift", "shift to 25%"), (9, "Judge", "judge until safe, at most 300 s"),
    ):  # fmt: skip
        course.take(event("upgrade.step", words, at=at, step=kind, weight=0.05))
    course.take(measured(21.4, 0.25, 1, 1))
    lines = drawn(course)
    assert lines[2].rstrip() == "✓ shift to 5%  ✓ probe  ✓ judge  ✓ shift to 25%"
    assert lines[3].rstrip() == "◉ judge until safe, at most 300 s, for 12 s"


def test_many_steps_take_two_lines_and_say_that_there_were_more():
    course = course_of()
    for number in range(300):
        course.take(event("upgrade.step", f"shift to {number % 100}%", step="Shift"))
    lines = drawn(course)
    assert lines[2].startswith("…  ✓ shift to")
    assert lines[3].rstrip().endswith("◉ shift to 99%")
    assert "asked" in lines[4]


def test_the_same_step_several_times_in_a_row_is_one_with_its_count():
    course = course_of()
    for _ in range(3):
        course.take(event("upgrade.step", "wait 5 s", step="Wait"))
    assert "◉ wait 5 s x3" in text(course)


def test_who_comes_late_is_told_that_there_were_steps_before():
    course = course_of()
    course.take(event("events.missed", upgrade_id="", missed=7000))
    course.take(event("upgrade.step", "shift to 5%", step="Shift"))
    assert drawn(course)[2].startswith("…  ◉ shift to 5%")


def test_each_metrics_way_to_harm_and_to_safe_is_a_bar():
    course = course_of()
    course.take(measured(1, 0.5, 10, 10, evidence={"errors": COMPARED, "latency": COMPARED | {"harm": 0.999}}))
    (errors,) = (line for line in drawn(course) if line.startswith("errors"))
    assert errors.split() == ["errors", "1.84x", "1.1", "to", "3.2", "████░░░░", "45%", "░░░░░░░░", "0%", "4,200"]
    (latency,) = (line for line in drawn(course) if line.startswith("latency"))
    assert " 99% " in latency, "what is not reached is not called so"
    course.take(measured(2, 0.5, 20, 20, evidence={"errors": COMPARED | {"harm": 1.2, "high": None, "low": 0.4}}))
    (errors,) = (line for line in drawn(course) if line.startswith("errors"))
    assert "0.4 to ∞" in errors
    assert "████████ 100%" in errors


def test_the_numbers_of_any_other_judge_are_shown_as_it_calls_them():
    course = course_of()
    evidence = {"new_error_share": 0.0123456, "windows": {"failed": 1, "passed": 12345}, "why": ["a", None]}
    course.take(measured(1, 0.5, 10, 10, evidence=evidence))
    assert "new_error_share  0.01235" in text(course)
    assert "failed 1, passed 12,345" in text(course)
    assert "a, -" in text(course)


def test_metrics_that_have_no_room_are_counted():
    course = course_of()
    course.take(measured(1, 0.5, 10, 10, evidence={f"metric {number}": COMPARED for number in range(9)}))
    assert "and 4 more" in text(course)


def test_pauses_holds_gates_approvals_and_shadows_are_told_in_words():
    course = course_of(approvals=["alice"])
    course.take(event("upgrade.paused", by="bob"))
    assert "paused by bob, from the next increase on: space resumes" in text(course)
    course.take(event("upgrade.held", "held before shift to 50%: paused by bob", why="paused by bob"))
    assert "paused by bob: space resumes" in text(course)
    course.take(event("upgrade.resumed", by="bob"))
    course.take(event("upgrade.held", why="no traffic moves on Fridays"))
    assert "held: no traffic moves on Fridays" in text(course)
    course.take(event("upgrade.released"))
    assert "held:" not in "\n".join(line for line in drawn(course) if "upgrade." not in line)
    course.take(event("upgrade.approval_needed", gate="lunch", approvals=2))
    assert "waits for the gate 'lunch' of 2 people: y approves" in text(course)
    assert "approved by alice" in text(course)
    shadow = {"share": 0.5, "ran": 120, "different": 3, "skipped": 4, "last_difference": "1 is not 2"}
    course.take(measured(1, 0.0, 10, 10, shadow=shadow))
    said = "shadow of 50% of the calls: 120 ran, 3 answered differently, 4 left out; last: 1 is not 2"
    assert said in text(course, width=120)


def test_a_state_that_is_older_than_the_events_changes_nothing():
    course = course_of()
    course.take(event("upgrade.phase", to="committed"))
    course.learn({"phase": "shifting", "weight": 0.1, "approvals": ["mallory"]})
    assert (course.card.phase, course.approvals) == ("committed", ())
    course.learn({"phase": "rolling_back", "approvals": ["alice"]})
    assert (course.card.phase, course.approvals) == ("rolling_back", ("alice",))


def test_a_connection_that_is_lost_is_told_until_it_is_back():
    course = course_of()
    course.take(event("connection.lost", "It broke.", upgrade_id=""))
    assert "no connection, trying again: It broke." in text(course)
    course.take(event("connection.back", upgrade_id=""))
    assert "trying again:" not in text(course)


# --- keys --------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([*"pPayq? nyY\n", "esc"]), max_size=30))
def test_no_keys_abort_or_promote_in_full_unless_yes_follows_the_question_at_once(keys):
    steering, course = Steering(), course_of()
    asked = ""
    for key in keys:
        order = steering.press(key, course)
        if order in {Order.ABORT, Order.PROMOTE_FULL}:
            assert (asked, key) == ("a" if order is Order.ABORT else "P", "y")
        asked = key if steering.question else ""


def test_the_question_takes_the_last_line_whatever_was_said_before():
    steering, course = Steering(), course_of()
    steering.say("Paused.")
    steering.press("a", course)
    assert drawn(course, steering)[-1].startswith("Abort, with all traffic back to the old version?")
    assert drawn(course, steering, width=30, height=3)[-1].startswith("Abort, with all traffic")


def test_a_key_does_what_the_help_says():
    course = course_of()
    orders = {key: Steering().press(key, course) for key in ("p", " ", "q")}
    assert orders == {"p": Order.PROMOTE, " ": Order.PAUSE, "q": Order.LEAVE}
    course.take(event("upgrade.paused", by="bob"))
    assert Steering().press(" ", course) is Order.RESUME
    assert Steering().press("y", course) is None
    course.take(event("upgrade.approval_needed", gate="lunch"))
    assert Steering().press("y", course) is Order.APPROVE
    steering = Steering()
    assert steering.press("?", course) is None
    helped = text(course, steering=steering)
    assert [words for _, words in KEYS if words not in helped] == []
    steering.press("?", course)
    assert not steering.helping


# --- hostile -----------------------------------------------------------------------------------------------------

EVIL = "evil\x1b[2J\u202e[red]"


def test_no_text_of_anybody_moves_the_cursor_or_is_taken_for_markup():
    course = course_of(approvals=[EVIL], plan={"steps": [{"component": {"name": EVIL}}]})
    shadow = {"share": 0.5, "ran": EVIL, "different": 0, "last_difference": EVIL}
    new = {"version": EVIL, "calls": 1, "errors": 1, "last_error": EVIL}
    evidence = {EVIL: COMPARED, "other": EVIL, EVIL * 2: {EVIL: EVIL}}
    for one in (
        event("upgrade.step", EVIL, step=EVIL),
        event("upgrade.measured", weight=0.5, old={}, new=new, shadow=shadow, evidence=evidence, reasons=[EVIL]),
        event("upgrade.paused", by=EVIL),
        event("upgrade.held", why=EVIL),
        event("upgrade.approval_needed", EVIL, gate=EVIL),
        event(EVIL, EVIL, at=1),
        event("connection.lost", EVIL, upgrade_id=""),
    ):
        course.take(one)
    steering = Steering()
    steering.say(EVIL, failed=True)
    seen = text(course, steering=steering, width=400, height=60)
    assert seen.count("evil\\x1b[2J\\u202e[red]") >= 15
    assert not {"\x1b", "\u202e"}.intersection(seen)
    course.take(event("upgrade_failed", message=EVIL, hint=EVIL))
    assert not {"\x1b", "\u202e"}.intersection(text(course, width=400, height=60))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KINDS = st.sampled_from([
    "upgrade.step", "upgrade.measured", "upgrade.phase", "upgrade.approval_needed", "upgrade.held", "upgrade.paused",
    "upgrade.progress", "connection.lost", "events.missed", "upgrade_failed", "of.tomorrow",
])  # fmt: skip
NAMES = st.sampled_from([
    "weight", "old", "new", "evidence", "reasons", "shadow", "harm", "safe", "step", "gate", "approvals", "why", "by",
    "done", "total", "what", "to", "message", "awaits", "starved",
])  # fmt: skip
NUMBERS = st.dictionaries(
    st.sampled_from(["harm", "safe", "ratio", "low", "high", "calls_to_safe", "calls", "errors", "version", "share"]),
    JSON,
)
EVENTS = st.fixed_dictionaries(
    {"kind": KINDS | JSON, "data": st.dictionaries(NAMES, JSON | NUMBERS | st.dictionaries(st.text(), NUMBERS)) | JSON},
    optional={"message": JSON, "at": JSON, "upgrade_id": st.just(ID) | JSON},
)


@settings(max_examples=120, deadline=None)
@given(st.lists(EVENTS, max_size=8), st.integers(1, 130), st.integers(1, 40), st.booleans())
def test_whatever_an_event_holds_and_however_small_the_terminal_the_frame_fits_and_moves_no_cursor(
    events, width, height, plain
):
    course = course_of()
    for one in events:
        course.take(one)
    lines = drawn(course, width=width, height=height, plain=plain)
    assert len(lines) == height
    for line in lines:
        assert cell_len(line) <= width
        assert [c for c in line if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}] == []
