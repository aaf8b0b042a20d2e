"""What the shell may complete from the running program: silent, quick, and empty when there is none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from noodle_upgrade_cli.options import Options

__all__ = ["component_names", "next_target", "upgrade_ids"]

_SECONDS = 2.0


def component_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of components that begin with what was typed."""
    return _asked(ctx, "/v1/components", "components", "name", incomplete)


def next_target(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return what may come next of `COMPONENT VERSION` or `COMPONENT==VERSION`: names, or the versions of one."""
    words = [word for word in ctx.params.get("targets") or () if "==" not in word]
    name, separator, begun = incomplete.partition("==")
    if separator:
        # To bash `==` is a word of its own: the name is then the word before it.
        component = name or (words or [""])[-1]
        return [f"{name}=={version}" for version in _versions(ctx, component, begun)]
    if len(words) % 2:
        return _versions(ctx, words[-1], incomplete)
    return _asked(ctx, "/v1/components", "components", "name", incomplete)


def _versions(ctx: click.Context, component: str, incomplete: str) -> list[str]:
    """Return versions, newest first: what the program can list without asking an index."""
    found = _answer(ctx, "/v1/versions", {"component": component}).get("versions")
    listed = [text for text in reversed(found) if isinstance(text, str)] if isinstance(found, list) else []
    return [text for text in listed if text.startswith(incomplete) and text.isprintable()]


def upgrade_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of active upgrades that begin with what was typed."""
    return _asked(ctx, "/v1/status", "active", "upgrade_id", incomplete)


def _asked(ctx: click.Context, path: str, key: str, name: str, incomplete: str) -> list[str]:
    rows = _answer(ctx, path).get(key) or []
    names = [str(row.get(name, "")) for row in rows if isinstance(row, dict)]
    return [text for text in names if text.startswith(incomplete) and text.isprintable()]


def _answer(ctx: click.Context, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
    from noodle_upgrade_cli import locate  # noqa: PLC0415 - commands import this module; only completion runs it
    from noodle_upgrade_cli.client import ControlClient  # noqa: PLC0415 - likewise
    from noodle_upgrade_core.errors import UpgradeError  # noqa: PLC0415 - likewise

    options = ctx.find_object(Options) or Options()
    try:
        address = locate.find(options, os.environ, warn=lambda _: None)
        with ControlClient(address) as client:
            return client.get(path, query, limit=_SECONDS)
    except UpgradeError:
        return {}  # a shell that waits for a completion has no place for an error
