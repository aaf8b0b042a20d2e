"""`noodle approve`, `pause`, `resume`, `promote` and `cancel`: what a person says to an upgrade that runs."""

from __future__ import annotations

from typing import Any

import click

from noodle_upgrade_cli.choosing import chosen_upgrade
from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.completing import upgrade_ids
from noodle_upgrade_cli.display import plan_view, progress_of
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.failures import UsageMistakeError
from noodle_upgrade_cli.following import has_ended
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.output import line
from noodle_upgrade_cli.session import Session, with_session

__all__ = ["approve", "cancel", "pause", "promote", "resume"]

_upgrade_or_the_only_one = click.argument(
    "upgrade_id", metavar="[ID]", required=False, default="", shell_complete=upgrade_ids
)


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
@_upgrade_or_the_only_one
@with_session
def pause(session: Session, upgrade_id: str) -> int:
    """Let no more traffic of an upgrade move, until it is resumed.

    What has moved stays where it is and goes on being judged: a version that does harm is taken back all the same. The
    time of a pause does not count. Without ID it is the only active upgrade.
    """
    with session.connected() as client:
        upgrade_id = _running(client, upgrade_id)
        answer = client.pause(upgrade_id)
    _say(session, upgrade_id, answer, f"Paused {upgrade_id}. `noodle resume {upgrade_id}` lets it go on.")
    return Exit.OK


@click.command(cls=OwnCommand)
@_upgrade_or_the_only_one
@with_session
def resume(session: Session, upgrade_id: str) -> int:
    """End a pause.

    Without ID it is the only active upgrade.
    """
    with session.connected() as client:
        upgrade_id = _running(client, upgrade_id)
        answer = client.resume(upgrade_id)
    _say(session, upgrade_id, answer, f"Resumed {upgrade_id}. `noodle watch {upgrade_id}` follows it.")
    return Exit.OK


@click.command(cls=OwnCommand)
@_upgrade_or_the_only_one
@click.option("--full", is_flag=True, help="Past all waits that are left, not the present one only.")
@with_session
def promote(session: Session, upgrade_id: str, *, full: bool) -> int:
    """Go on with an upgrade without waiting for evidence.

    A wait that is under way ends, and one that comes is left out. A version that does harm is taken back all the same,
    and gates stay for those who may open them. It ends a pause. Without ID it is the only active upgrade.
    """
    with session.connected() as client:
        upgrade_id = _running(client, upgrade_id)
        answer = client.promote(upgrade_id, full=full)
    how = "past all waits that are left" if full else "past one wait"
    _say(session, upgrade_id, answer, f"Promoted {upgrade_id} {how}. `noodle watch {upgrade_id}` follows it.")
    return Exit.OK


def _running(client: ControlClient, upgrade_id: str) -> str:
    """Return the id of an upgrade that has not ended; raises `UsageMistakeError` for one that has."""
    upgrade_id = chosen_upgrade(client, upgrade_id)
    if has_ended(client.upgrade(upgrade_id)):
        raise UsageMistakeError(f"{upgrade_id} has ended.", hint="See `noodle history`.")
    return upgrade_id


def _say(session: Session, upgrade_id: str, answer: dict[str, Any], words: str) -> None:
    if session.out.json:
        session.out.document({"upgrade_id": upgrade_id, **answer})
    else:
        session.out.show(line(words))


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
