"""The command `noodle run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

__all__ = ["CannotRunError", "RunCommand", "run"]


class CannotRunError(click.ClickException):
    """The program was not begun."""

    exit_code = 2


class RunCommand(click.Command):
    """A command whose options may follow an application, and may not follow a script: those are the script's own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the target first; what it is says to whom the words after it belong."""
        ctx.allow_interspersed_args = False
        values, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        ctx.allow_interspersed_args = not values.get("module") and _names_app(values.get("target"))
        return super().parse_args(ctx, args)


def _names_app(text: object) -> bool:
    return isinstance(text, str) and ":" in text and not text.endswith(".py")


@click.command(cls=RunCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="TARGET")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]…")
@click.option("-m", "module", is_flag=True, help="TARGET is a module or package to run as __main__.")
@click.option("--state", metavar="DIR", type=click.Path(file_okay=False), help="State directory (else ./.noodle).")
@click.option(
    "--config", metavar="FILE", multiple=True, type=click.Path(dir_okay=False), help="Settings file; may be repeated."
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Where an application listens.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--control-port", type=click.IntRange(0, 65535), metavar="PORT", help="Control on loopback TCP, with a token."
)
@click.option(
    "--interface",
    type=click.Choice(["auto", "asgi", "wsgi"]),
    default="auto",
    show_default=True,
    help="How an application is called.",
)
@click.option("--factory", is_flag=True, help="TARGET is a function that returns the application.")
@click.option("--threads", type=click.IntRange(1, 1000), metavar="N", help="WSGI requests at once.")
@click.option("--access-log", is_flag=True, help="Log every request.")
@click.option(
    "--graceful",
    type=click.IntRange(0, 3600),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Time for requests under way at the end.",
)
def run(target: str, args: tuple[str, ...], *, module: bool, **options: Any) -> None:
    """Host a program, so that it can be upgraded while it runs.

    TARGET is module:app (an ASGI or WSGI application), script.py, or with -m a module. The program need not know about
    upgrades. Versions that the journal names are in place before the program is imported. What follows a script or a
    module belongs to it. The exit code is the program's; 2 when there is nothing to run or the settings are wrong.
    """
    from noodle_upgrade_core.errors import UpgradeError  # noqa: PLC0415 - `--help` pays for none of these
    from noodle_upgrade_server.target import parse_target  # noqa: PLC0415 - see above

    try:
        _host(parse_target(target, module=module, args=args), options)
    except UpgradeError as error:
        raise CannotRunError(f"{error.message}\n{error.hint}".rstrip()) from error


def _host(target: Any, options: dict[str, Any]) -> None:
    from noodle_upgrade_core.config import default_files, load_settings  # noqa: PLC0415 - see above
    from noodle_upgrade_server.host import Host  # noqa: PLC0415 - see above
    from noodle_upgrade_server.target import Interface  # noqa: PLC0415 - see above

    files: Sequence[Any] = options.pop("config") or default_files()
    state = options.pop("state")
    overrides = {"runtime_upgrade.state_directory": state} if state else {}
    if options["threads"] is None:
        del options["threads"]
    interface = Interface(options.pop("interface"))
    Host(
        target=target,
        settings=load_settings(files, overrides=overrides),
        say=lambda line: click.echo(f"noodle: {line}", err=True),
        interface=interface,
        **options,
    ).run()
