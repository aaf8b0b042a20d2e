"""What the shell may complete from the running program: silent, quick, and empty when there is none."""

from __future__ import annotations

import os

import click

from noodle_upgrade_cli.options import Options

__all__ = ["component_names", "upgrade_ids"]


def component_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of components that begin with what was typed."""
    return _asked(ctx, "/v1/components", "components", "name", incomplete)


def upgrade_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of active upgrades that begin with what was typed."""
    return _asked(ctx, "/v1/status", "active", "upgrade_id", incomplete)


def _asked(ctx: click.Context, path: str, key: str, name: str, incomplete: str) -> list[str]:
    from noodle_upgrade_cli import locate  # noqa: PLC0415 - commands import this module; only completion runs it
    from noodle_upgrade_cli.client import ControlClient  # noqa: PLC0415 - likewise
    from noodle_upgrade_core.errors import UpgradeError  # noqa: PLC0415 - likewise

    options = ctx.find_object(Options) or Options()
    try:
        address = locate.find(options, os.environ, warn=lambda _: None)
        with ControlClient(address) as client:
            rows = client.get(path, limit=2.0).get(key) or []
    except UpgradeError:
        return []  # a shell that waits for a completion has no place for an error
    names = [str(row.get(name, "")) for row in rows if isinstance(row, dict)]
    return [text for text in names if text.startswith(incomplete) and text.isprintable()]
