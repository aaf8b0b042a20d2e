"""`noodle plan`."""

from __future__ import annotations

from typing import Any

import click

from noodle_upgrade_cli.display import plan_view
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.session import Session, with_session
from noodle_upgrade_cli.targets import request_options, requests_of

__all__ = ["plan"]


@click.command(cls=OwnCommand)
@request_options
@with_session
def plan(session: Session, targets: tuple[str, ...], **asked: Any) -> int:
    """Say what an upgrade would do, how, and what cannot be done. Nothing that runs is changed.

    Targets are COMPONENT VERSION, COMPONENT==VERSION, or several of these: they are then one plan, committed whole or
    not at all. VERSION may be the path of a wheel.

    \b
      noodle plan markdown-it-py 3.0.0
      noodle plan jinja2==3.1.4 markupsafe==2.1.5
      noodle plan mylib ./dist/mylib-2.0-py3-none-any.whl
      noodle plan mylib 2.0 --strategy gradual --set bake=5 --set judge.calls=20 --set runtime.mechanism=patch

    --set with a plain name is for the strategy, judge.NAME for the judge, PLUGIN.NAME for that plugin; a value that is
    JSON is that value, any other is text.

    Ends with 0 when the plan can be carried out, with 4 when it cannot.
    """  # noqa: D301 - \b is click's mark for text that must not be wrapped
    requests = requests_of(targets, asked)
    with session.connected() as client:
        answer = client.plan(requests)
    if session.out.json:
        session.out.document(answer)
    else:
        session.out.show(plan_view(answer))
    return Exit.OK if answer.get("feasible") else Exit.REFUSED
