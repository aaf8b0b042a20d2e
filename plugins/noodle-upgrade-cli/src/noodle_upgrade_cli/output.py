"""Where answers go: one JSON document or readable text on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from noodle_upgrade_cli.options import Options
from noodle_upgrade_cli.text import clean

__all__ = ["Output", "grid", "line"]


def line(value: Any, style: str = "") -> Text:
    """Return other people's text as a piece of output: no markup is read, no control character survives."""
    return Text(clean(value), style=style, end="")


def grid(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> Table:
    """Return a table; cells are other people's text, or renderables made here."""
    table = Table(title=Text(clean(title)) if title else None, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        # Breaking a version or an id in two would make it useless for the next command.
        table.add_column(Text(heading, style="bold"), overflow="fold")
    for row in rows:
        table.add_row(*[cell if isinstance(cell, Text | Table) else line(cell) for cell in row])
    return table


class _Pipe(Console):
    """A console whose reader may go away: that is not the program's failure."""

    def on_broken_pipe(self) -> None:
        """Say so as Python does; rich itself would end the process with 1."""
        raise BrokenPipeError


class Output:
    """One run's stdout and stderr."""

    def __init__(self, options: Options) -> None:
        self.json = options.json
        self.verbose = options.verbose
        self._plain = not options.color or bool(os.environ.get("NO_COLOR"))

    def console(self, stream: IO[str]) -> Console:
        """Return a console on a stream; what is not a terminal is never wrapped to a terminal's width."""
        width = None if stream.isatty() or os.environ.get("COLUMNS") else 160
        return _Pipe(
            file=stream, no_color=self._plain, highlight=False, markup=False, emoji=False, width=width, soft_wrap=False
        )

    @property
    def live(self) -> bool:
        """Whether a moving display makes sense: stderr is a terminal, and JSON is not asked for."""
        return not self.json and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def interactive(self) -> bool:
        """Whether a person sees what is drawn on stdout and can press keys."""
        return self.live and sys.stdout.isatty() and sys.stdin.isatty()

    @property
    def asks(self) -> bool:
        """Whether there is a person to ask."""
        return not self.json and sys.stdin.isatty() and sys.stderr.isatty()

    def document(self, value: Any) -> None:
        """Print the one JSON document."""
        click.echo(json.dumps(value, indent=2, default=str))

    def event(self, value: Any) -> None:
        """Print one JSON document of several, on a line of its own, at once."""
        sys.stdout.write(json.dumps(value, separators=(",", ":"), default=str) + "\n")
        sys.stdout.flush()

    def show(self, *parts: RenderableType) -> None:
        """Print text, tables and other renderables to stdout."""
        console = self.console(sys.stdout)
        for part in parts:
            console.print(Text(part) if isinstance(part, str) else part)

    def line(self, text: Any, style: str = "") -> None:
        """Print one line to stdout at once: somebody may wait for it at the other end of a pipe."""
        self.console(sys.stdout).print(Text(clean(text), style=style), soft_wrap=True)
        sys.stdout.flush()

    def note(self, text: Any, style: str = "") -> None:
        """Print one line to stderr: progress, warnings, what to do next."""
        self.console(sys.stderr).print(Text(clean(text), style=style), soft_wrap=True)

    def confirm(self, question: str) -> bool:
        """Ask a person, on stderr; anything but yes is no."""
        return click.confirm(question, default=False, err=True)
