"""`noodle compile --daemon`: the compiler as a program of its own, hosted by whatever `noodle run` is here."""

from __future__ import annotations

import os
import sys

import click

__all__ = ["serve"]


def serve(ctx: click.Context) -> int:
    """Become that program: this process is replaced, so that signals and exit codes are its own."""
    options = ctx.obj
    said = [f"--state={options.state}"] if getattr(options, "state", "") else []
    said += [f"--config={file}" for file in getattr(options, "config", ())]
    command = [sys.executable, "-m", "noodle_upgrade_cli", "run", *said, "-m", "noodle_upgrade_compiler.daemon"]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - a list, never a shell
