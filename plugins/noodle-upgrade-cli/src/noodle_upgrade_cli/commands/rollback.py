"""`noodle rollback`."""

from __future__ import annotations

import click

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.completing import component_names
from noodle_upgrade_cli.display import result_view
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.failures import UsageMistakeError
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.output import line
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import clean, when
from noodle_upgrade_core.errors import RollbackUnavailableError

__all__ = ["rollback"]


@click.command(cls=OwnCommand)
@click.argument("component", metavar="COMPONENT", shell_complete=component_names)
@click.option("--to", "rollback_id", metavar="ID", default="", help="A rollback point; else the last one.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_session
def rollback(session: Session, component: str, rollback_id: str, *, yes: bool) -> int:
    """Go back to the version before the last upgrade of a component.

    All components of that upgrade go back together. `noodle rollback-points` lists what can be gone back to. Without a
    terminal and without --yes it says what would go back, changes nothing and ends with 2.
    """
    with session.connected() as client:
        if not yes and not _agreed(session, client, component, rollback_id):
            session.out.note("Nothing was changed.")
            return Exit.INTERRUPTED
        session.out.note(f"Going back: {component} …")
        answer = client.rollback(component, rollback_id)
    result = answer.get("result") or {}
    error = result.get("error")
    if session.out.json:
        session.out.document(answer | ({"error": error} if error else {}))
    else:
        session.out.show(result_view({"result": result}))
    return Exit.OK if result.get("success") else Exit.FAILED


def _agreed(session: Session, client: ControlClient, component: str, rollback_id: str) -> bool:
    """Say what would go back, and ask a person whether it shall; without one raises `UsageMistakeError`."""
    points = client.rollback_points()
    running = next((str(one.get("version")) for one in client.components() if one.get("name") == component), "")
    # As the program chooses: the named point, else the newest that leads away from what runs.
    key, wanted = ("rollback_id", rollback_id) if rollback_id else ("to_version", running)
    chosen = next((p for p in points if p.get("component_name") == component and p.get(key) == wanted), None)
    if chosen is None:
        if session.out.asks:
            # The program knows best why there is none, and says it.
            return session.out.confirm(f"Roll {clean(component)} back?")
        raise RollbackUnavailableError(
            f"{component} has nothing to go back to"
            + (f" under {rollback_id!r}." if rollback_id else f" from {running or 'here'}."),
            hint="`noodle rollback-points` lists what is kept; `noodle upgrade` can go to any version.",
        )
    others = [p for p in points if p is not chosen and p.get("upgrade_id") == chosen.get("upgrade_id", "")]
    together = [chosen, *(other for other in others if other.get("component_name") != component)]
    moves = ", ".join(f"{p.get('component_name')} {p.get('to_version')} -> {p.get('from_version')}" for p in together)
    words = clean(f"{moves} (point {chosen.get('rollback_id')} of {when(chosen.get('created_at'))})")
    if session.out.asks:
        return session.out.confirm(f"Go back: {words}?")
    if not session.out.json:
        session.out.show(line(f"Would go back: {words}."))
    raise UsageMistakeError(
        "There is no terminal to ask at, so nothing was changed.",
        hint="Add --yes to go back without a question.",
        details={"rollback_points": together},
    )
