"""The live view of one upgrade, a frame of a terminal: whatever its size, the keys and a question stay in sight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from noodle_upgrade_cli.board import STEPS
from noodle_upgrade_cli.course import Course, SeenStep
from noodle_upgrade_cli.display import arms_rows, error_view, event_line, stands_still
from noodle_upgrade_cli.evidence import bar, evidence_view
from noodle_upgrade_cli.steering import KEYS, Steering
from noodle_upgrade_cli.text import clean

__all__ = ["Frame", "frame_of"]

_BAR = 20
_LONGEST_PASSED = 20
_STEP_LINES = 2
_JUDGED = {
    "harm": ("HARM", "red bold"),
    "safe": ("SAFE", "green bold"),
    "starved": ("too little traffic to judge", "yellow"),
}


@frozen(kw_only=True)
class Frame:
    """A screenful: `head` from the top, the end of `tail` as far as there is room, and `foot` as the last line."""

    head: Sequence[RenderableType]
    tail: Sequence[RenderableType]
    foot: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw exactly as many lines as there are, none of them wrapped by the terminal."""
        height = max(1, options.height or console.height)
        free = options.update(height=None)
        lines = console.render_lines(Group(*self.head), free, pad=False)[: height - 1]
        room = height - 1 - len(lines)
        tail = console.render_lines(Group(*self.tail), free, pad=False) if self.tail and room else []
        lines += tail[-room:] if room else []
        lines += [[] for _ in range(height - 1 - len(lines))]
        lines += console.render_lines(self.foot, free, pad=False)[:1]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line


def frame_of(course: Course, steering: Steering, *, plain: bool = False) -> Frame:
    """Return the frame that shows where an upgrade stands; `plain` is for terminals that know ASCII only."""
    head: list[RenderableType] = [_title(course), _phases(course, plain=plain)]
    if course.steps or course.unseen:
        head.append(_Steps(course, plain=plain))
    if course.card.weight or course.card.phase in {"shifting", "rolling_back"}:
        head.append(_traffic(course, plain=plain))
    head += [*_doing(course, plain=plain), Text(""), *_versions(course)]
    if course.evidence:
        head += [Text(""), *evidence_view(course.evidence, plain=plain)]
    head += [*_judgement(course), *_people(course)]
    if course.card.error:
        head.append(error_view(course.card.error))
    if course.lost:
        head.append(_one_line(f"no connection, trying again: {course.lost}", "yellow bold"))
    if steering.helping:
        tail = [Text.assemble((f"{key:>6}", "bold"), f"  {words}") for key, words in KEYS]
        return Frame(head=head[:2], tail=[*tail, Text("")], foot=_foot(steering))
    tail = [_event(event, course) for event in course.tail]
    return Frame(head=[*head, Text("")], tail=tail, foot=_foot(steering))


def _one_line(words: str, style: str = "") -> Text:
    return Text(clean(words), style=style, no_wrap=True, overflow="ellipsis")


def _event(event: Mapping[str, Any], course: Course) -> Text:
    """Return an event without what the whole screen is about anyway."""
    message = str(event.get("message") or "")
    about = course.card.title
    if about and message.startswith(about):
        message = message.removeprefix(about).lstrip(": ")
    return _one_line(event_line({**event, "upgrade_id": "", "message": message}), "dim")


def _title(course: Course) -> Text:
    card, title = course.card, Text(no_wrap=True, overflow="ellipsis")
    return title.append(clean(card.title or "upgrade"), "bold").append(f"  {clean(card.upgrade_id)}", "dim")


def _phases(course: Course, *, plain: bool) -> Text:
    """Return the phases as marks, with the name of the present one: all their names are wider than many terminals."""
    passed, present, ahead = ("+", "*", "-") if plain else ("●", "◉", "○")
    card = course.card
    at = STEPS.index(card.reached)
    on_the_way = card.phase == card.reached
    marks = Text.assemble((passed * at, "green"), (present, "bold cyan" if on_the_way else "bold red"))
    marks.append(ahead * (len(STEPS) - at - 1), "dim")
    words = card.reached if on_the_way else f"{card.reached}, then {card.phase}"
    return marks.append(f"  {clean(words).replace('_', ' ')}", "bold" if on_the_way else "bold yellow")


@frozen
class _Steps:
    """The steps of the strategy so far, the newest at the right: what is to come only the strategy knows."""

    course: Course
    plain: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        dots = Text("..." if self.plain else "…", style="dim")
        kept: list[Text] = []
        for step in reversed(self.course.steps):
            more = [self._marked(step), *kept]
            if kept and len(_in_lines([dots, *more], options.max_width)) > _STEP_LINES:
                break
            kept = more
        if len(kept) < len(self.course.steps) or self.course.unseen:
            kept = [dots, *kept]
        yield from _in_lines(kept, options.max_width)

    def _marked(self, step: SeenStep) -> Text:
        passed, present = ("+", "*") if self.plain else ("✓", "◉")
        if step is self.course.present:
            return Text(f"{present} {_named(step, in_full=True)}{self._since()}", style="bold cyan")
        return Text(f"{passed} {_named(step)}", style="green")

    def _since(self) -> str:
        seconds = self.course.stepping_seconds
        return f", for {seconds:.0f} s" if seconds is not None and seconds >= 1.0 else ""


def _in_lines(words: Sequence[Text], width: int) -> list[Text]:
    """Return texts side by side, on as many lines as they need; none of them is broken."""
    lines: list[Text] = []
    for text in words:
        if lines and lines[-1].cell_len + 2 + text.cell_len <= width:
            lines[-1].append("  ").append_text(text)
        else:
            lines.append(Text(no_wrap=True, overflow="ellipsis").append_text(text))
    return lines


def _named(step: SeenStep, *, in_full: bool = False) -> str:
    text = clean(step.text or step.kind.lower(), limit=200)
    if not in_full and len(text) > _LONGEST_PASSED:
        text = clean(step.kind.lower(), limit=40) or f"{text[:_LONGEST_PASSED]}"
    return text if step.times == 1 else f"{text} x{step.times}"


def _traffic(course: Course, *, plain: bool) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append_text(bar(course.card.weight, _BAR, "cyan", plain=plain))
    line.append(f"  asked {course.card.weight:.0%}", "bold")
    seen = course.traffic
    if seen is not None and seen.share is not None:
        line.append(f", measured {seen.share:.1%} of {seen.old + seen.new:,} calls in {seen.seconds:.1f} s")
    elif seen is not None:
        line.append(f", no calls for {seen.seconds:.1f} s", "yellow")
    return line


def _doing(course: Course, *, plain: bool) -> list[RenderableType]:
    card = course.card
    if card.total:
        share = min(1.0, card.done / card.total)
        return [bar(share, _BAR, "cyan", plain=plain).append(f"  {share:.0%} {clean(card.doing)}")]
    if card.doing and not card.ended and not course.present:
        return [_one_line(f"now: {card.doing}")]
    return []


def _versions(course: Course) -> list[RenderableType]:
    rows = arms_rows(course.card.measured)
    if not rows:
        return [Text("No calls are counted yet.", style="dim")]
    table = Table(box=None, pad_edge=False)
    for heading in ("", "Version", "Calls", "Errors", "Share", "p50", "p99", "In flight"):
        table.add_column(Text(heading, style="bold"), no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    parts: list[RenderableType] = [table]
    new, shadow = (course.card.measured.get(key) for key in ("new", "shadow"))
    if isinstance(new, dict) and new.get("last_error"):
        parts.append(_one_line(f"last error of the new version: {new['last_error']}", "red"))
    if isinstance(shadow, dict):
        parts.append(_one_line(_shadow_words(shadow)))
    return parts


def _shadow_words(shadow: dict[str, object]) -> str:
    share = shadow.get("share")
    part = f"{share:.0%}" if isinstance(share, int | float) else "some"
    words = f"shadow of {part} of the calls: {shadow.get('ran')} ran, {shadow.get('different')} answered differently"
    words += f", {shadow.get('skipped')} left out" if shadow.get("skipped") else ""
    return f"{words}; last: {shadow['last_difference']}" if shadow.get("last_difference") else words


def _judgement(course: Course) -> list[RenderableType]:
    if not course.card.measured or course.card.phase not in {"shifting", "soaking", "committed"}:
        return []
    word, style = _JUDGED.get(course.card.judged, ("not sure yet", ""))
    line = Text("judge: ", no_wrap=True, overflow="ellipsis").append(word, style)
    return [line.append(f"  {clean('; '.join(course.reasons))}", "dim") if course.reasons else line]


def _people(course: Course) -> list[RenderableType]:
    card, parts = course.card, []
    if card.waiting and not card.ended:
        several = f" of {course.needed} people" if course.needed > 1 else ""
        parts.append(_one_line(f"waits for {card.waiting}{several}: y approves", "yellow bold"))
    if course.approvals:
        parts.append(_one_line(f"approved by {', '.join(course.approvals)}", "green"))
    if held := stands_still({"paused": card.paused, "held": card.held}):
        parts.append(_one_line(f"{held}: space resumes" if card.paused else held, "yellow bold"))
    return list(parts)


def _foot(steering: Steering) -> Text:
    foot = Text(no_wrap=True, overflow="ellipsis")
    if steering.question:
        return foot.append(steering.question, "yellow bold reverse")
    if steering.message:
        return foot.append(clean(steering.message), "red" if steering.failed else "bold")
    words = {"P": "full", "p": "promote", "space": "pause", "a": "abort", "y": "approve", "q": "leave", "?": "help"}
    for key, _ in KEYS:
        foot.append(f"{key} ", "bold").append(f"{words[key]}   ", "dim")
    return foot
