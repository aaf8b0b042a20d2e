"""What a command works with: the options, the output, and a connection to the running program."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from noodle_upgrade_cli import locate
from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.options import Options
from noodle_upgrade_cli.output import Output

__all__ = ["Session", "with_session"]

_Answer = TypeVar("_Answer")


class Session:
    """One run of one command."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.out = Output(options)

    @contextlib.contextmanager
    def connected(self) -> Iterator[ControlClient]:
        """Connect to the running program, which is asked who it is.

        Raises `NotRunningError`, `ControlRefusedError`, `ProtocolError`.
        """
        address = locate.find(self.options, os.environ, warn=lambda text: self.out.note(text, "yellow"))
        with ControlClient(address) as client:
            health = client.health()
            if warning := locate.version_warning(health):
                self.out.note(warning, "yellow")
            if self.options.verbose:
                self.out.note(f"connected to {address.shown}, process {health.get('pid')}")
            yield client


def with_session(function: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """Call a command's function with a `Session` as its first argument."""

    @click.pass_context
    def called(ctx: click.Context, /, *args: Any, **kwargs: Any) -> _Answer:
        return function(Session(ctx.ensure_object(Options)), *args, **kwargs)

    return functools.update_wrapper(called, function)
