"""What a command works with: the options, the output, and a connection to the running program."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from noodle_upgrade_cli.options import Options
from noodle_upgrade_cli.output import Output

if TYPE_CHECKING:
    from noodle_upgrade_cli.client import ControlClient
    from noodle_upgrade_core.config import Settings

__all__ = ["Session", "with_session"]

_Answer = TypeVar("_Answer")


class Session:
    """One run of one command."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.out = Output(options)

    def settings_files(self) -> tuple[str, ...]:
        """Return the settings files: `--config`, or `noodle.toml` and `noodle.json` in this directory."""
        from noodle_upgrade_core.config import default_files  # noqa: PLC0415 - only what reads settings pays for it

        return self.options.config or tuple(str(path) for path in default_files())

    def settings(self) -> Settings:
        """Return the core's settings from the files, the variables and `--state`; raises `SettingsError`."""
        from noodle_upgrade_core.config import load_settings  # noqa: PLC0415 - likewise

        overrides = {"runtime_upgrade.state_directory": self.options.state} if self.options.state else {}
        return load_settings(self.settings_files(), overrides=overrides)

    @contextlib.contextmanager
    def connected(self) -> Iterator[ControlClient]:
        """Connect to the running program, which is asked who it is.

        Raises `NotRunningError`, `ControlRefusedError`, `ProtocolError`.
        """
        from noodle_upgrade_cli import locate  # noqa: PLC0415 - httpx takes 150 ms; only what connects pays for it
        from noodle_upgrade_cli.client import ControlClient  # noqa: PLC0415 - likewise

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
