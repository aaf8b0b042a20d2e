"""What a plugin's command may use of `noodle`: the running program, asked and shown as by our own commands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Self, overload

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.commands.watch import show_upgrade
from noodle_upgrade_cli.following import Follower
from noodle_upgrade_cli.options import Options
from noodle_upgrade_cli.output import Output
from noodle_upgrade_cli.session import Session

__all__ = ["RunningProgram"]


class RunningProgram:
    """The program that the common options name, found and asked who it is.

    Made by `ctx.obj.connect()`; closed by `with`, and at the end of the command. What its methods raise may be left to
    `noodle`, which prints it with what to do, as JSON where that was asked for, and ends with the exit code for it.
    """

    def __init__(self, options: Options) -> None:
        self._out = Output(options)
        with contextlib.ExitStack() as opened:
            self._client: ControlClient = opened.enter_context(Session(options).connected())
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; may be called twice."""
        self._opened.close()

    # --- asking --------------------------------------------------------------------------------------------------

    def operate(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Ask a plugin of the program for one of its operations, and return its JSON value.

        `arguments` are JSON values. The plugin is told who asks by the connection. Raises what the operation raised,
        and an error with the code `operation.unknown` where no plugin there has it.
        """
        return self._client.operate(name, arguments)

    def operations(self) -> list[dict[str, Any]]:
        """Return what plugins of the program can be asked for: `name`, `help`, `changes`, `seconds`."""
        return self._client.operations()

    def upgrade(self, upgrade_id: str = "") -> dict[str, Any]:
        """Return one upgrade as the control API says it, or all active ones with counts."""
        return self._client.upgrade(upgrade_id) if upgrade_id else self._client.status()

    @overload
    def events(
        self, *, upgrade_id: str = ..., after: int | None = ..., patience: float = ..., beats: Literal[False] = ...
    ) -> Iterator[dict[str, Any]]: ...

    @overload
    def events(
        self, *, upgrade_id: str = ..., after: int | None = ..., patience: float = ..., beats: Literal[True]
    ) -> Iterator[dict[str, Any] | None]: ...

    def events(
        self, *, upgrade_id: str = "", after: int | None = None, patience: float = 60.0, beats: bool = False
    ) -> Iterator[dict[str, Any] | None]:
        """Yield the program's events, as the control API has them, until the caller stops.

        `after` is the number of the last event that is known, None for what happens from now on, 0 for the oldest that
        is remembered. A connection that drops is taken up again for `patience` seconds. With `beats` None comes too,
        whenever a state is worth a look: once the stream is open, so that nothing is missed that happened before, at
        each heartbeat, and after a reconnect.
        """
        follower = Follower(client=self._client, upgrade_id=upgrade_id, after=after, patience=patience)
        for event in follower.events():
            if event is not None or beats:
                yield event

    # --- showing -------------------------------------------------------------------------------------------------

    @property
    def json(self) -> bool:
        """Whether `--json` was said: then stdout is for one JSON document."""
        return self._out.json

    def show_json(self, value: Any) -> None:
        """Print JSON values as the one document of stdout."""
        self._out.document(value)

    def show(self, text: Any) -> None:
        """Print a line to stdout; control characters in it are shown as escapes."""
        self._out.line(text)

    def note(self, text: Any) -> None:
        """Print a line to stderr: what is not the answer."""
        self._out.note(text)

    def watch(self, upgrade_id: str, *, patience: float = 60.0) -> int | None:
        """Show an upgrade until it has ended, as `noodle watch ID` does, and return the exit code for it.

        None where somebody left before by the key for that: the upgrade goes on.
        """
        code = show_upgrade(self._out, self._client, upgrade_id, patience=patience)
        return None if code is None else int(code)
