"""`noodle watch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.completing import upgrade_ids
from noodle_upgrade_cli.display import result_view
from noodle_upgrade_cli.exits import Exit, exit_of_upgrade
from noodle_upgrade_cli.following import Follower, follow_upgrade, has_ended
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.progress import Progress
from noodle_upgrade_cli.session import Session, with_session

__all__ = ["watch"]


@click.command(cls=OwnCommand)
@click.argument("upgrade_id", metavar="[ID]", required=False, default="", shell_complete=upgrade_ids)
@click.option(
    "--patience", type=click.FloatRange(0), default=60.0, metavar="SECONDS", help="How long the program may be away."
)
@with_session
def watch(session: Session, upgrade_id: str, patience: float) -> int:
    """Follow all upgrades live, or one until it has ended.

    On a terminal a board is shown; else each event is a line on stdout, with --json a line of JSON. A connection that
    drops is taken up again where it was: events named connection.lost, connection.back and program.restarted are this
    command's own. Ctrl-C ends the watching and leaves upgrades running. With an ID the exit code is the upgrade's.
    """
    with session.connected() as client:
        try:
            with Progress(session.out, answer=True) as progress:
                show = session.out.event if session.out.json else progress.take
                if upgrade_id:
                    return _one(session, client, upgrade_id, progress=progress, show=show, patience=patience)
                return _all(client, progress, show, patience)
        except KeyboardInterrupt:
            session.out.note("The watching has ended; upgrades go on.", "yellow")
            raise


def _one(
    session: Session,
    client: ControlClient,
    upgrade_id: str,
    *,
    progress: Progress,
    show: Callable[[Mapping[str, Any]], None],
    patience: float,
) -> int:
    state = client.upgrade(upgrade_id)
    progress.begin({"upgrade_id": upgrade_id, **state})
    if not has_ended(state):
        state = follow_upgrade(client, upgrade_id, on_event=show, patience=patience)
    progress.close()
    if not session.out.json:
        session.out.show(result_view({"upgrade_id": upgrade_id, **state}))
    return exit_of_upgrade(state.get("result") or state)


def _all(client: ControlClient, progress: Progress, show: Callable[[Mapping[str, Any]], None], patience: float) -> int:
    for state in client.status().get("active") or ():
        progress.begin(state)
    for event in Follower(client=client, after=None, patience=patience).events():
        if event is not None:
            show(event)
    return Exit.OK
