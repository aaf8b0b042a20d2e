"""`noodle watch`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.completing import upgrade_ids
from noodle_upgrade_cli.display import result_view
from noodle_upgrade_cli.exits import Exit, exit_of_upgrade
from noodle_upgrade_cli.following import Follower, follow_upgrade, has_ended
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.output import Output
from noodle_upgrade_cli.progress import Progress
from noodle_upgrade_cli.session import Session, with_session

if TYPE_CHECKING:
    from noodle_upgrade_cli.keyboard import Keyboard

__all__ = ["show_upgrade", "watch"]

_LEFT = "The watching has ended; upgrades go on."


@click.command(cls=OwnCommand)
@click.argument("upgrade_id", metavar="[ID]", required=False, default="", shell_complete=upgrade_ids)
@click.option(
    "--patience", type=click.FloatRange(0), default=60.0, metavar="SECONDS", help="How long the program may be away."
)
@with_session
def watch(session: Session, upgrade_id: str, patience: float) -> int:
    """Follow all upgrades live, or one until it has ended.

    On a terminal one upgrade gets a live view with keys: promote, pause and resume, approve, abort, leave; `?` explains
    them. Without ID that is the only active upgrade, and where there are none or several a board shows all. Elsewhere
    each event is a line on stdout, with --json a line of JSON. A connection that drops is taken up again where it was:
    events named connection.lost, connection.back and program.restarted are this command's own. Ctrl-C, or q, ends the
    watching and leaves upgrades running. With an ID the exit code is the upgrade's, or 0 after q.
    """
    with session.connected() as client:
        try:
            chosen = upgrade_id or (_only_one(client) if session.out.interactive else "")
            if chosen:
                code = show_upgrade(session.out, client, chosen, patience=patience)
                return Exit.OK if code is None else code
            return _all(session.out, client, patience)
        except KeyboardInterrupt:
            session.out.note(_LEFT, "yellow")
            raise


def show_upgrade(out: Output, client: ControlClient, upgrade_id: str, *, patience: float) -> int | None:
    """Show one upgrade until it has ended, and how it ended; returns its exit code, or None when somebody left before.

    `patience` is how many seconds the program may be away.
    """
    state: Mapping[str, Any] | None = {"upgrade_id": upgrade_id, **client.upgrade(upgrade_id)}
    if not has_ended(state or {}):
        keyboard = _keyboard(out)
        if keyboard is None:
            state = _lines(out, client, state or {}, patience=patience)
        else:
            state = _live(out, client, state or {}, keyboard=keyboard, patience=patience)
    if state is None:
        out.note(_LEFT, "yellow")
        return None
    if not out.json:
        out.show(result_view({"upgrade_id": upgrade_id, **state}))
    return exit_of_upgrade(state.get("result") or state)


def _only_one(client: ControlClient) -> str:
    active = [row for row in client.status().get("active") or () if isinstance(row, Mapping)]
    return str(active[0].get("upgrade_id") or "") if len(active) == 1 else ""


def _keyboard(out: Output) -> Keyboard | None:
    """Return the keys of the terminal; None where the view would not be seen, or nobody could press them."""
    if not out.interactive:
        return None
    from noodle_upgrade_cli.keyboard import Keyboard  # noqa: PLC0415 - what has no terminals may not have termios either

    return Keyboard.here()


def _live(
    out: Output, client: ControlClient, state: Mapping[str, Any], *, keyboard: Keyboard, patience: float
) -> dict[str, Any] | None:
    from noodle_upgrade_cli.live import Killed, LiveView  # noqa: PLC0415 - as for the keyboard

    view = LiveView(
        client=client,
        keyboard=keyboard,
        console=out.console(sys.stdout),
        upgrade_id=str(state["upgrade_id"]),
        state=state,
        patience=patience,
    )
    try:
        return view.run()
    except Killed as killed:
        killed.die()
        raise


def _lines(out: Output, client: ControlClient, state: Mapping[str, Any], *, patience: float) -> dict[str, Any]:
    with Progress(out, answer=True) as progress:
        progress.begin(state)
        show = out.event if out.json else progress.take
        return follow_upgrade(client, str(state["upgrade_id"]), on_event=show, patience=patience)


def _all(out: Output, client: ControlClient, patience: float) -> int:
    with Progress(out, answer=True) as progress:
        for state in client.status().get("active") or ():
            progress.begin(state)
        show = out.event if out.json else progress.take
        for event in Follower(client=client, after=None, patience=patience).events():
            if event is not None:
                show(event)
    return Exit.OK
