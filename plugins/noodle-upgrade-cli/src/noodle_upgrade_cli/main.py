"""The command line's root: finds a command by name and imports it only when it is called."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from noodle_upgrade_cli import catalogue
from noodle_upgrade_cli.exits import MEANINGS, Exit
from noodle_upgrade_cli.options import Options, common_options, share_options

__all__ = ["LazyGroup", "cli", "execute", "main"]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class LazyGroup(click.Group):
    """A group whose commands are named by the catalogue; listing them, help included, imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return our commands in the catalogue's order, then those of plugins."""
        return [*catalogue.own_commands(), *sorted(catalogue.foreign_commands())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; what cannot be imported is an error of this command only."""
        own = catalogue.own_commands().get(cmd_name)
        if own is not None:
            return _imported(own.target)
        foreign = catalogue.foreign_commands().get(cmd_name) or catalogue.slow_lookup(cmd_name)
        return None if foreign is None else _adopted(ctx, foreign)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say what was probably meant and what has to be installed."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is not None:
            return name, command, args[1:]
        if ctx.resilient_parsing:
            return None, None, args[1:]
        import difflib  # noqa: PLC0415 - only a wrong name pays for it

        from noodle_upgrade_cli.failures import UsageMistakeError  # noqa: PLC0415 - likewise

        if name in catalogue.SERVED_BY:
            wanted = catalogue.SERVED_BY[name]
            raise UsageMistakeError(
                f"`noodle {name}` is brought by {wanted}, which is not installed.",
                hint=f"Install it with `pip install {wanted}`.",
            )
        close = difflib.get_close_matches(name, [*self.list_commands(ctx), *catalogue.SERVED_BY], n=1)
        raise UsageMistakeError(
            f"There is no command {name!r}.",
            hint=f"Did you mean {close[0]!r}?" if close else "See `noodle --help`.",
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write our commands by purpose, then those of plugins with the distribution that brings them."""
        for title, entries in catalogue.OWN.items():
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.help) for entry in entries])
        foreign = catalogue.foreign_commands()
        rows = [
            (name, f"from {found.distribution} {found.version}".rstrip()) for name, found in sorted(foreign.items())
        ]
        rows += [(n, f"needs {d}: pip install {d}") for n, d in catalogue.SERVED_BY.items() if n not in foreign]
        with formatter.section("From plugins"):
            formatter.write_dl([(_shown(name), _shown(text)) for name, text in rows])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), words) for code, words in MEANINGS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete a command's name from the catalogue, without importing any command."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion pays for it

        words = {entry.name: entry.help for entries in catalogue.OWN.values() for entry in entries}
        words |= {name: f"from {found.distribution}" for name, found in catalogue.foreign_commands().items()}
        items: list[Any] = [
            CompletionItem(name, help=text) for name, text in words.items() if name.startswith(incomplete)
        ]
        return items + (click.Command.shell_complete(self, ctx, incomplete) if incomplete.startswith("-") else [])


def _imported(target: str) -> click.Command:
    import importlib  # noqa: PLC0415 - next to free, and kept with its use

    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not isinstance(found, click.Command):
        raise TypeError(f"{target} is a {type(found).__name__}, not a click command")
    return found


def _adopted(ctx: click.Context, foreign: catalogue.Foreign) -> click.Command:
    """Import a plugin's command and hand it what was said before its name, as the defaults of its own options."""
    try:
        command = _imported(foreign.target)
    except (Exception, SystemExit) as error:
        from noodle_upgrade_cli.failures import UsageMistakeError  # noqa: PLC0415 - only a failure pays for it

        source = f"{foreign.distribution} {foreign.version}".strip()
        raise UsageMistakeError(
            f"The command {foreign.name!r} of {source} could not be loaded: {type(error).__name__}: {error}.",
            hint=f"Reinstall it with `pip install --force-reinstall {foreign.distribution}`, or uninstall it.",
        ) from error
    share_options(command)
    said = ctx.find_object(Options) or Options()
    defaults: dict[str, Any] = {}
    for parameter in command.params:
        for option, value in (("--state", said.state), ("--config", said.config), ("--json", said.json)):
            if value and option in parameter.opts and parameter.name:
                defaults[parameter.name] = value
    if defaults:
        ctx.default_map = {**(ctx.default_map or {}), foreign.name: defaults}
    return command


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 35 ms

    for name in ("noodle-upgrade-cli", "noodle-upgrade-core"):
        try:
            click.echo(f"{name} {version(name)}")
        except PackageNotFoundError:
            click.echo(f"{name} (not installed as a distribution)")
    ctx.exit()


@click.command(
    cls=LazyGroup,
    params=[
        *common_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print versions.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Change any part of a running Python program live, gated and reversible.

    A running program is found by its state directory: --state, NOODLE_STATE_DIRECTORY, or ./.noodle.
    """
    ctx.ensure_object(Options)


def execute(args: Sequence[str]) -> int:
    """Run the command line and return its exit code; errors are printed, never raised."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by whoever began this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - as long as the process
    options, stdout = Options(), sys.stdout
    try:
        return _ran(args, options)
    except BrokenPipeError:
        return _gone()
    except SystemExit:
        # click answers a broken pipe by putting something silent in place of stdout, and an exit.
        if sys.stdout is not stdout:
            return _gone()
        raise
    except OSError as error:
        return _unwritable(error)


def _ran(args: Sequence[str], options: Options) -> int:
    """Run it, and report what it raises; raises `OSError` where what is printed cannot be written."""
    try:
        answer = cli.main(args=list(args), prog_name="noodle", standalone_mode=False, obj=options)
    except BrokenPipeError:
        raise
    except Exception as error:
        # The last frame: every error becomes words and an exit code, but that they cannot be written.
        if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
            raise
        # What was printed before comes first; whatever it was, it is no matter any more if it cannot be written.
        sys.stdout.flush()
        from noodle_upgrade_cli.failures import report  # noqa: PLC0415 - only a failure pays for it

        answer = report(error, options=options, args=args)
    sys.stdout.flush()
    return answer if isinstance(answer, int) else 0


def _gone() -> int:
    """Nobody reads any more."""
    _write_nothing_more(1, 2)
    return int(Exit.BROKEN_PIPE)


def _unwritable(error: OSError) -> int:
    """The disk is full, or whatever else stdout leads to does not take it."""
    _write_nothing_more(1)
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"Error: The output could not be written: {error.strerror or error}.", err=True)
    return int(Exit.FAILED)


def _write_nothing_more(*descriptors: int) -> None:
    """Let what is still to be written go nowhere: Python would complain about it once more while it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in descriptors:
            os.dup2(nowhere, descriptor)


def main() -> None:
    """Run `noodle` with the arguments of this process."""
    sys.exit(execute(sys.argv[1:]))


if __name__ == "__main__":
    main()
