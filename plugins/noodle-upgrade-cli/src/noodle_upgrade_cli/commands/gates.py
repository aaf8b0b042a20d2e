"""`noodle approve` and `noodle cancel`: what a person says to an upgrade that runs."""

from __future__ import annotations

import click

from noodle_upgrade_cli.completing import upgrade_ids
from noodle_upgrade_cli.display import plan_view, progress_of
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.failures import UsageMistakeError
from noodle_upgrade_cli.following import has_ended
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.output import line
from noodle_upgrade_cli.session import Session, with_session

__all__ = ["approve", "cancel"]


@click.command(cls=OwnCommand)
@click.argument("upgrade_id", metavar="ID", shell_complete=upgrade_ids)
@click.option("--digest", metavar="SHA256", default="", help="Approve only if the plan still has this digest.")
@with_session
def approve(session: Session, upgrade_id: str, digest: str) -> int:
    """Approve an upgrade that waits for a person, or open the gate that it waits at.

    The plan that is approved is shown. An approval is for that plan only: --digest names the one that was read, from
    `noodle status ID --json`.
    """
    with session.connected() as client:
        state = client.upgrade(upgrade_id)
        if has_ended(state):
            raise UsageMistakeError(
                f"{upgrade_id} has ended, so there is nothing to approve.", hint="See `noodle history`."
            )
        seen = str(state.get("plan_digest") or "")
        if not session.out.json and state.get("plan"):
            session.out.show(plan_view({"plan": state["plan"], "feasible": True}))
        client.approve(upgrade_id, digest or seen)
    awaited = str(state.get("awaits") or "")
    if session.out.json:
        said = {"upgrade_id": upgrade_id, "approved": True, "awaits": awaited, "plan_digest": digest or seen}
        session.out.document(said)
        return Exit.OK
    session.out.show(line(f"Approved {upgrade_id}: {progress_of(state)}."))
    if awaited:
        session.out.show(line(f"It waited for {awaited}. `noodle watch {upgrade_id}` follows it."))
    else:
        session.out.note(f"It waits for nobody just now. `noodle watch {upgrade_id}` follows it.", "yellow")
    return Exit.OK


@click.command(cls=OwnCommand)
@click.argument("upgrade_id", metavar="ID", shell_complete=upgrade_ids)
@with_session
def cancel(session: Session, upgrade_id: str) -> int:
    """Stop an upgrade, and stay until it has stopped.

    Before traffic moves nothing has happened, and it ends as aborted. After that, also while it soaks, the old version
    comes back. One that has ended is undone with `noodle rollback`.
    """
    with session.connected() as client:
        answer = client.cancel(upgrade_id)
    status = str(answer.get("status", ""))
    if session.out.json:
        session.out.document({"upgrade_id": upgrade_id, **answer})
    else:
        session.out.show(line(f"{upgrade_id}: {status.replace('_', ' ')}"))
    # It was too late when it is done all the same.
    return Exit.FAILED if status in {"completed", "failed"} else Exit.OK
