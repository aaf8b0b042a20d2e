"""`noodle upgrade`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.display import plan_view, result_view, stopping_findings, waits_for
from noodle_upgrade_cli.exits import Exit, exit_of_upgrade
from noodle_upgrade_cli.following import follow_upgrade, has_ended, waits_for_approval
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.output import line
from noodle_upgrade_cli.progress import Progress
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.targets import request_options, requests_of
from noodle_upgrade_cli.text import clean, counted
from noodle_upgrade_core.errors import UpgradeError, ValidationFailedError

__all__ = ["upgrade"]


@click.command(cls=OwnCommand)
@request_options
@click.option("-y", "--yes", is_flag=True, help="Approve the plan without a question.")
@click.option("--wait/--no-wait", default=None, help="Stay until it has ended (the default), or only start it.")
@with_session
def upgrade(session: Session, targets: tuple[str, ...], *, yes: bool, wait: bool | None, **asked: Any) -> int:
    """Upgrade components of the running program, and stay until that has ended.

    Targets are as for `noodle plan`. On a terminal the plan is shown and a question asked, which --yes answers. Without
    a terminal and without --yes the upgrade is started and waits for somebody else's `noodle approve`: the command
    then ends with 5 as soon as it waits, or stays with --wait. Where the settings approve by themselves it goes on.

    \b
      noodle upgrade markdown-it-py 3.0.0
      noodle upgrade mylib 2.0 --strategy gradual --set bake=5 --set judge.calls=20 --yes

    Ctrl-C leaves the upgrade running; `noodle watch` and `noodle cancel` take its id.
    """  # noqa: D301 - \b is click's mark for text that must not be wrapped
    requests = requests_of(targets, asked)
    with session.connected() as client:
        answer = client.plan(requests)
        if not answer.get("feasible"):
            return _refused(session, answer)
        approved = yes
        if not yes and session.out.asks:
            session.out.show(plan_view(answer))
            if not session.out.confirm("Upgrade the running program now?"):
                session.out.note("Nothing was started.")
                return Exit.INTERRUPTED
            approved = True
        upgrade_id = client.start(str((answer.get("plan") or {}).get("plan_id", "")), approve=approved)
        return _stay(session, client, upgrade_id, approved=approved, wait=wait)


def _refused(session: Session, answer: Mapping[str, Any]) -> int:
    """Say why a plan is not even started: here nothing can have changed."""
    plan = answer.get("plan") or {}
    error = _refusal(plan.get("steps") or ())
    if error is None:
        findings = stopping_findings(plan)
        many = len(findings) != 1
        error = ValidationFailedError(
            f"{counted(len(findings), 'finding')} {'stop' if many else 'stops'} this upgrade.",
            hint=f"Mend what {'they name' if many else 'it names'}, or lower --level after reading.",
            details={"findings": [f"{f.get('severity')}: {f.get('message')}" for f in findings]},
        )
    if session.out.json:
        session.out.document({"upgrade_id": None, **answer, "result": None, "error": error.to_wire()})
        return Exit.REFUSED
    session.out.show(plan_view(answer))
    raise error


def _refusal(steps: Iterable[Mapping[str, Any]]) -> UpgradeError | None:
    """Return what the program would refuse the plan with for its verdicts, as the program itself words it."""
    # Of the core only where a plan was refused: it takes time to import.
    from noodle_upgrade_core.gates import refusal  # noqa: PLC0415
    from noodle_upgrade_core.model import Verdict  # noqa: PLC0415

    verdicts = {}
    for step in steps:
        said = step.get("verdict") or {}
        verdicts[clean((step.get("component") or {}).get("name", ""))] = Verdict(
            feasible=bool(said.get("feasible", True)),
            mechanism=str(said.get("mechanism") or ""),
            blockers=tuple(map(str, said.get("blockers") or ())),
            code=str(said.get("code") or ""),
            hint=str(said.get("hint") or ""),
        )
    return refusal(verdicts)


def _stay(session: Session, client: ControlClient, upgrade_id: str, *, approved: bool, wait: bool | None) -> int:
    if wait is False and approved:
        _finish(session, {"upgrade_id": upgrade_id, "phase": "received"}, waiting=False)
        return Exit.OK

    def enough(state: Mapping[str, Any]) -> bool:
        # Nobody here can approve: whoever waits for the exit code must be told so, not kept.
        if waits_for_approval(state) and not approved and wait is not True:
            return True
        return wait is False and str(state.get("phase")) not in {"received", "validated"}

    try:
        with Progress(session.out) as progress:
            state = follow_upgrade(client, upgrade_id, on_event=progress.take, stop=enough)
    except KeyboardInterrupt:
        session.out.note(
            f"The upgrade goes on. `noodle watch {upgrade_id}` follows it, `noodle cancel {upgrade_id}` stops it.",
            "yellow",
        )
        raise
    waiting = waits_for_approval(state)
    _finish(session, {"upgrade_id": upgrade_id, **state}, waiting=waiting)
    if has_ended(state):
        return exit_of_upgrade(state.get("result") or state)
    return Exit.WAITING if waiting else Exit.OK


def _finish(session: Session, state: Mapping[str, Any], *, waiting: bool) -> None:
    upgrade_id = state["upgrade_id"]
    if session.out.json:
        result = state.get("result")
        error = (result or {}).get("error") or state.get("error")
        document = {
            "upgrade_id": upgrade_id,
            "phase": state.get("phase"),
            "waiting_for_approval": waiting,
            "awaits": str(state.get("awaits") or ""),
            "result": result,
        }
        session.out.document(document | ({"error": error} if error else {}))
    elif waiting:
        session.out.show(line(f"{upgrade_id} {waits_for(state)}"))
    elif has_ended(state):
        session.out.show(result_view(state))
    else:
        session.out.show(f"{upgrade_id} has started: noodle watch {upgrade_id}")
