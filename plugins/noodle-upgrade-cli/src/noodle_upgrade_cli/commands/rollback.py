"""`noodle rollback`."""

from __future__ import annotations

import click

from noodle_upgrade_cli.completing import component_names
from noodle_upgrade_cli.display import result_view
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.failures import UsageMistakeError
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.text import clean, when

__all__ = ["rollback"]


@click.command(cls=OwnCommand)
@click.argument("component", metavar="COMPONENT", shell_complete=component_names)
@click.option("--to", "rollback_id", metavar="ID", default="", help="A rollback point; else the last one.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_session
def rollback(session: Session, component: str, rollback_id: str, *, yes: bool) -> int:
    """Go back to the version before the last upgrade of a component.

    All components of that upgrade go back together. `noodle rollback-points` lists what can be gone back to.
    """
    if not yes and not session.out.asks:
        raise UsageMistakeError("There is no terminal to ask at.", hint="Add --yes to go back without a question.")
    with session.connected() as client:
        if not yes and not _agreed(session, client.rollback_points(component), component, rollback_id):
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


def _agreed(session: Session, points: list[dict[str, str]], component: str, rollback_id: str) -> bool:
    chosen = next((p for p in points if not rollback_id or p.get("rollback_id") == rollback_id), None)
    if chosen is None:
        # The program knows best why there is none, and says it.
        return session.out.confirm(f"Roll {clean(component)} back?")
    return session.out.confirm(
        f"Roll {clean(component)} back from {clean(chosen.get('to_version', '?'))} to"
        f" {clean(chosen.get('from_version', '?'))} (point of {when(chosen.get('created_at'))})?"
    )
