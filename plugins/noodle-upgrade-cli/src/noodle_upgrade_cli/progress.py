"""Show upgrades while they run: a moving board on a terminal, plain lines elsewhere.

To a command that changes something its progress is a remark, which goes to stderr. To `watch` the events are the
answer: they go to stdout, and a board is shown only where no program reads them there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from noodle_upgrade_cli.board import STEPS, Board, Card
from noodle_upgrade_cli.display import arms_rows, error_view, event_line, stands_still, waits_for
from noodle_upgrade_cli.following import waits_for_approval
from noodle_upgrade_cli.output import Output, grid
from noodle_upgrade_cli.text import clean

__all__ = ["Progress", "board_view"]

_BAR = 30
_QUIET = frozenset({"upgrade.measured", "upgrade.progress"})


class Progress:
    """Takes events and shows them until it is closed; with `--json` it shows nothing.

    `answer` says that they are what the command was called for.
    """

    def __init__(self, out: Output, *, answer: bool = False) -> None:
        self._out = out
        self._board_fits = out.live and (sys.stdout.isatty() or not answer)
        self._say = out.line if answer else out.note
        self.board = Board()
        self._live: Live | None = None
        self._weight: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self._board_fits:
            console = self._out.console(sys.stderr)
            self._live = Live(
                console=console,
                refresh_per_second=8,
                transient=True,
                get_renderable=lambda: board_view(self.board, console),
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the moving display away; what comes after it can be printed. May be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin(self, state: Mapping[str, Any]) -> None:
        """Show an upgrade that has begun already."""
        self.board.begin(state)
        if self._live is None and not self._out.json and waits_for_approval(state):
            self._say(f"{state.get('upgrade_id', '')} {waits_for(state)}", "yellow")

    def take(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        self.board.take(event)
        if self._live is not None or self._out.json:
            return
        if str(event.get("kind")) not in _QUIET or self._out.verbose:
            self._say(event_line(event))
            if event.get("kind") == "upgrade.approval_needed" and event.get("upgrade_id"):
                self._out.note(f"`noodle approve {event['upgrade_id']}` lets it go on.", "yellow")
        elif text := self._new_measure(event):
            self._say(text)

    def _new_measure(self, event: Mapping[str, Any]) -> str:
        """A measurement every 200 ms would drown a log: one line for each share of traffic, and for each harm."""
        data = event.get("data")
        if event.get("kind") != "upgrade.measured" or not isinstance(data, Mapping):
            return ""
        mark = (data.get("weight"), data.get("harm"), data.get("safe"))
        upgrade_id = str(event.get("upgrade_id", ""))
        if self._weight.get(upgrade_id) == mark:
            return ""
        self._weight[upgrade_id] = mark
        return event_line(event)


def board_view(board: Board, console: Console) -> RenderableType:
    """Return the whole board: a card for each upgrade, then the last events."""
    plain = console.options.ascii_only
    parts: list[RenderableType] = []
    for card in board.cards.values():
        parts += [*_card_view(card, plain=plain), Text("")]
    if not board.cards:
        parts += [Text("No upgrade is active. Waiting for events; Ctrl-C ends.", style="dim"), Text("")]
    parts += [Text(event_line(event), style="dim", no_wrap=True, overflow="ellipsis") for event in board.tail]
    return Group(*parts)


def _card_view(card: Card, *, plain: bool) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text.assemble((clean(card.title or "upgrade"), "bold"), "  ", (clean(card.upgrade_id), "dim")),
        stepper(card, plain=plain),
    ]
    if card.phase in {"shifting", "committed", "soaking", "rolling_back"} or card.weight:
        parts.append(_bar("traffic on the new version", card.weight, plain=plain))
    if card.total:
        parts.append(_bar(card.doing, min(1.0, card.done / card.total), plain=plain))
    elif card.doing and not card.ended:
        parts.append(Text(f"now: {clean(card.doing)}"))
    rows = arms_rows(card.measured)
    if rows:
        table = grid(["", "Version", "Calls", "Errors", "Share", "p50", "p99", "In flight"], rows)
        parts.append(table)
    if card.judged:
        words = {
            "harm": ("harm", "red"),
            "safe": ("safe", "green"),
            "starved": ("too little traffic to judge", "yellow"),
        }
        text, style = words[card.judged]
        parts.append(Text.assemble("judge: ", (text, style)))
    if card.waiting and not card.ended:
        parts.append(
            Text(f"waits for {clean(card.waiting)}: noodle approve {clean(card.upgrade_id)}", style="yellow bold")
        )
    if held := stands_still({"paused": card.paused, "held": card.held}):
        parts.append(Text(held, style="yellow bold"))
    if card.error:
        parts.append(error_view(card.error))
    return parts


def stepper(card: Card, *, plain: bool = False) -> Text:
    """Return the phases as a line: those passed, the present one, those to come; a way that ended badly says so."""
    passed, present, ahead, bad = ("+", "*", "-", "x") if plain else ("●", "◉", "○", "✕")
    gap = " " if plain else "\N{NO-BREAK SPACE}"
    at = STEPS.index(card.reached)
    text = Text(no_wrap=False)
    for index, phase in enumerate(STEPS):
        here = index == at
        if index < at or (here and card.phase == "done"):
            mark, style = passed, "green"
        elif here and card.phase == card.reached:
            mark, style = present, "bold cyan"
        elif here:
            mark, style = passed, "yellow"
        else:
            mark, style = ahead, "dim"
        text.append(f"{mark}{gap}{phase}  ", style=style)
        if here and card.phase != card.reached:
            style = "bold yellow" if card.phase == "rolling_back" else "bold red"
            text.append(f"{bad} {clean(card.phase).replace('_', ' ')}  ", style=style)
            break
    return text


def _bar(label: str, share: float, *, plain: bool) -> Text:
    full = round(share * _BAR)
    filled, empty = ("#", ".") if plain else ("█", "░")
    return Text.assemble((filled * full, "cyan"), (empty * (_BAR - full), "dim"), f" {share:.0%} {clean(label)}")
