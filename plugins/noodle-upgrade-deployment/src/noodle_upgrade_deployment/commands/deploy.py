"""`noodle deploy`: ask for deployments, look at them, and say what becomes of them.

A command that speaks to the running program does so through what `noodle` gives every plugin's command (`ctx.obj`);
`lint`, `explain` and `simulate` need no program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

__all__ = ["deploy"]

_OK, _FAILED, _MISTAKE = 0, 1, 2
_ENDED_WELL = "succeeded"
_WAITING = frozenset({"pending", "queued"})
_ENDED = frozenset(
    {"rejected", "succeeded", "rolled_back", "rollback_failed", "superseded", "inconclusive", "cancelled"}
)


class _Group(click.Group):
    """The group: `noodle` gives it and its commands the common options."""

    noodle_options = True

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands, `simulate` last."""
        return [*super().list_commands(ctx), "simulate"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; the simulation is imported when it is asked for."""
        if cmd_name == "simulate":
            from noodle_upgrade_deployment.commands.simulate import simulate  # noqa: PLC0415 - see above

            return simulate
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Group)
def deploy() -> None:
    """Deploy by policy and evidence, and see why."""


def _program(ctx: click.Context) -> Any:
    return ctx.obj.connect()


def _id(function: Any) -> Any:
    return click.argument("deployment_id", metavar="ID", shell_complete=_ids)(function)


def _ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    try:
        found = _program(ctx).operate("deployment.list", {"limit": 100})
    except Exception:  # noqa: BLE001 - completion says nothing where there is nothing to say
        return []
    return [one["deployment_id"] for one in found["deployments"] if one["deployment_id"].startswith(incomplete)]


# --- asking ----------------------------------------------------------------------------------------------------------


@deploy.command(short_help="Ask for a deployment and follow it.")
@click.argument("what", nargs=-1, required=True, metavar="NAME VERSION [NAME VERSION]…")
@click.option("-e", "--environment", metavar="NAME", default="", help="Environment (else the program's own).")
@click.option("--id", "deployment_id", metavar="ID", default="", help="Its id; asking again with it is harmless.")
@click.option(
    "--trigger", metavar="NAME", default="manual", help="Wait for this to happen, such as deployment_success."
)
@click.option("--of", "trigger_of", metavar="NAME", default="", help="… to this component.")
@click.option("-y", "--yes", "approve", is_flag=True, help="Approve the plan as well, where the settings ask for that.")
@click.option("--again", is_flag=True, help="Also a version that was taken back here before.")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is asked for.")
@click.pass_context
def start(ctx: click.Context, /, what: tuple[str, ...], **said: Any) -> int:
    """Ask for a deployment, and follow it to its end; Ctrl-C leaves it, and it goes on.

    Several components are one deployment: committed whole or not at all.
    """
    if len(what) % 2:
        raise click.UsageError("Name a version for each component: noodle deploy start NAME VERSION.", ctx)
    pairs = list(zip(what[::2], what[1::2], strict=True))
    program, no_wait = _program(ctx), said.pop("no_wait")
    said["deployment_id"] = said["deployment_id"] or _made_id(pairs)
    requests = [{"component_name": name, "target_version": version} for name, version in pairs]
    asked = program.operate("deployment.start", {**said, "requests": requests})
    if no_wait or asked["stage"] == "pending":
        _answer(program, asked)
        return _OK
    return _followed(program, asked["deployment_id"])


def _made_id(pairs: Sequence[tuple[str, str]]) -> str:
    from noodle_upgrade_core.model import new_id  # noqa: PLC0415 - completion and help do not pay for the core

    return new_id("-".join(f"{name}-{version}" for name, version in pairs)[:60])


@deploy.command()
@_id
@click.pass_context
def trigger(ctx: click.Context, deployment_id: str) -> int:
    """Begin a deployment that waits for its trigger."""
    return _said(ctx, "trigger", deployment_id)


# --- looking ---------------------------------------------------------------------------------------------------------


@deploy.command()
@click.pass_context
def status(ctx: click.Context) -> int:
    """Show what is under way, and what waits."""
    program = _program(ctx)
    found = program.operate("deployment.status")
    if program.json:
        program.show_json(found)
        return _OK
    for one in (*found["active_deployments"], *found["pending_upgrades"]):
        program.show(_line(one))
    if not found["active_deployments"] and not found["pending_upgrades"]:
        program.show("Nothing is under way, and nothing waits.")
    policies = "1 policy" if found["policies_count"] == 1 else f"{found['policies_count']} policies"
    program.show(f"{policies}; {found['recent_events_24h']} changes in the last 24 hours.")
    return _OK


@deploy.command("list")
@click.option("-e", "--environment", metavar="NAME", default="", help="Only of this environment.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
@click.pass_context
def list_(ctx: click.Context, environment: str, limit: int) -> int:
    """List deployments, newest first."""
    program = _program(ctx)
    found = program.operate("deployment.list", {"environment": environment, "limit": limit})
    if program.json:
        program.show_json(found)
        return _OK
    for one in found["deployments"]:
        program.show(_line(one))
    if not found["deployments"]:
        program.show("There are no deployments yet: `noodle deploy start` asks for one.")
    return _OK


@deploy.command(short_help="Show a deployment and what became of it.")
@_id
@click.pass_context
def show(ctx: click.Context, deployment_id: str) -> int:
    """Show a deployment and what became of it: when, who, why, and the evidence with --json."""
    program = _program(ctx)
    found = program.operate("deployment.show", {"deployment_id": deployment_id})
    if program.json:
        program.show_json(found)
        return _OK
    program.show(_line(found))
    for event in found["events"]:
        at = datetime.fromisoformat(event["at"]).astimezone()
        program.show(f"  {at:%m-%d %H:%M:%S}  {event['stage']:<12} {event['who']}: {event['why']}")
    return _OK


@deploy.command(short_help="Follow a deployment live.")
@_id
@click.pass_context
def watch(ctx: click.Context, deployment_id: str) -> int:
    """Follow a deployment live until it has ended; in a terminal, keys promote, pause and abort it."""
    return _followed(_program(ctx), deployment_id)


# --- saying ----------------------------------------------------------------------------------------------------------


@deploy.command(short_help="Go on without waiting for evidence.")
@_id
@click.option("--full", is_flag=True, help="Past all waits that are left, not only the present one.")
@click.pass_context
def promote(ctx: click.Context, deployment_id: str, full: bool) -> int:  # noqa: FBT001 - click's way
    """Go on without waiting for evidence; a version that does harm is taken back all the same."""
    return _said(ctx, "promote", deployment_id, full=full)


@deploy.command()
@_id
@click.pass_context
def pause(ctx: click.Context, deployment_id: str) -> int:
    """Let no more traffic move until it is resumed."""
    return _said(ctx, "pause", deployment_id)


@deploy.command()
@_id
@click.pass_context
def resume(ctx: click.Context, deployment_id: str) -> int:
    """End a pause."""
    return _said(ctx, "resume", deployment_id)


@deploy.command()
@_id
@click.pass_context
def approve(ctx: click.Context, deployment_id: str) -> int:
    """Approve the plan, or open the gate that it stands at."""
    return _said(ctx, "approve", deployment_id)


@deploy.command()
@_id
@click.option("--why", metavar="TEXT", default="", help="The reason, which is written down.")
@click.pass_context
def abort(ctx: click.Context, deployment_id: str, why: str) -> int:
    """End a deployment: what was moved goes back. Beats everything else."""
    return _said(ctx, "abort", deployment_id, why=why)


def _said(ctx: click.Context, name: str, deployment_id: str, **more: Any) -> int:
    program = _program(ctx)
    _answer(program, program.operate(f"deployment.{name}", {"deployment_id": deployment_id, **more}))
    return _OK


def _answer(program: Any, state: dict[str, Any]) -> None:
    if program.json:
        program.show_json(state)
    else:
        program.show(_line(state))


def _line(state: dict[str, Any]) -> str:
    changes = ", ".join(f"{name} {version}" for name, version in state["components"].items())
    share = f" at {state['weight']:.0%}" if state["weight"] and state["stage"] not in _ENDED else ""
    environment = f" in {state['environment']}" if state["environment"] else ""
    return f"{state['deployment_id']}: {changes}{environment}, {state['stage']}{share}. {state['why']}".rstrip()


# --- following -------------------------------------------------------------------------------------------------------


def _followed(program: Any, deployment_id: str) -> int:
    """Show a deployment until it has ended: its waiting in words, its upgrade in the live view."""
    for state in _states(program, deployment_id):
        if state["stage"] in _ENDED:
            _answer(program, state)
            return _OK if state["stage"] == _ENDED_WELL else _FAILED
        if program.json:
            continue
        if state["upgrade_id"] and state["stage"] not in _WAITING:
            if program.watch(state["upgrade_id"]) is None:
                return _OK  # whoever looked has left; it goes on
        else:
            program.note(_line(state))
    return _FAILED


def _states(program: Any, deployment_id: str) -> Iterator[dict[str, Any]]:
    """Yield a deployment as it is, and again whenever that has changed, until it has ended.

    It is looked at whenever something is told of it, and at every beat of the stream: nothing is missed by that what
    happened before the stream was open.
    """
    last: tuple[Any, ...] = ()
    for event in program.events(beats=True):
        if event is not None and (event.get("data") or {}).get("deployment_id") != deployment_id:
            continue
        state = program.operate("deployment.show", {"deployment_id": deployment_id})
        here = (state["stage"], state["why"], state["upgrade_id"])
        if here != last:
            last = here
            yield state
            if state["stage"] in _ENDED:
                return


# --- policies --------------------------------------------------------------------------------------------------------


@deploy.command(short_help="Say what is wrong or odd with the policies.")
@click.pass_context
def lint(ctx: click.Context) -> int:
    """Say what is wrong, or odd, with the policies of the settings; ends with 1 when no deployment could succeed."""
    from noodle_upgrade_core.drivers import Drivers  # noqa: PLC0415
    from noodle_upgrade_core.wire import dumps, to_wire  # noqa: PLC0415
    from noodle_upgrade_deployment.commands.settings import deployment_settings  # noqa: PLC0415
    from noodle_upgrade_deployment.policies.lint import lint as check  # noqa: PLC0415

    section = deployment_settings(ctx)
    found = check(section, Drivers())
    bad = [one for one in found if one.severity == "error"]
    if getattr(ctx.obj, "json", False):
        click.echo(dumps({"findings": to_wire(found), "policies": sorted(section.policies)}))
        return _FAILED if bad else _OK
    for one in found:
        click.echo(f"{one.severity}: {one.message}{' ' + one.hint if one.hint else ''}")
    count = len(section.policies)
    click.echo(f"{count} polic{'y' if count == 1 else 'ies'}: {len(bad)} errors, {len(found) - len(bad)} warnings.")
    return _FAILED if bad else _OK


@deploy.command(short_help="Say in plain words what a policy means.")
@click.argument("environment", required=False, default="")
@click.option("--at", metavar="TIME", default="", help="At this moment, in ISO form with an offset (else now).")
@click.pass_context
def explain(ctx: click.Context, environment: str, at: str) -> int:
    """Say in plain words what an environment's policy means: when, what is checked, step by step, and when back."""
    from noodle_upgrade_core.wire import dumps  # noqa: PLC0415
    from noodle_upgrade_deployment.commands.settings import deployment_settings  # noqa: PLC0415
    from noodle_upgrade_deployment.policies.explain import explain as told  # noqa: PLC0415

    try:
        moment = datetime.fromisoformat(at) if at else datetime.now(UTC)
    except ValueError:
        raise click.UsageError(f"--at must be a time such as 2026-12-24T02:00+01:00, got {at!r}.", ctx) from None
    section = deployment_settings(ctx)
    meant = told(section, environment or section.environment, moment)
    if getattr(ctx.obj, "json", False):
        click.echo(dumps(meant.to_wire()))
    else:
        click.echo(str(meant))
    return _OK
