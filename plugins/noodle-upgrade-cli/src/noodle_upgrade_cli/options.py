"""The options that every command has, before or after the command's name; only click and the standard library here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from noodle_upgrade_cli.port import RunningProgram

__all__ = ["Options", "OwnCommand", "OwnGroup", "common_options", "share_options"]


class Options:
    """What the common options said, one per run of the command.

    It is click's `ctx.obj`, for commands of plugins too: what is documented here stays. They import nothing of this
    package for it.
    """

    __slots__ = ("color", "config", "json", "state", "token_file", "url", "verbose")

    def __init__(self) -> None:
        self.state: str = ""
        self.url: str = ""
        self.token_file: str = ""
        self.config: tuple[str, ...] = ()
        self.json: bool = False
        self.color: bool = True
        self.verbose: int = 0

    def connect(self, *, state: str = "", url: str = "", token_file: str = "") -> RunningProgram:
        """Return the running program that these options name; see `RunningProgram` for what it can be asked.

        The arguments replace what the options said. Raises `NotRunningError`, `ControlRefusedError`, `ProtocolError`:
        left alone they become words and an exit code, as for every command.
        """
        from noodle_upgrade_cli.port import RunningProgram  # noqa: PLC0415 - httpx takes 150 ms, which --help need not pay

        meant = Options()
        for name in Options.__slots__:
            setattr(meant, name, getattr(self, name))
        if state or url:
            # A program is named by one of them: the other, said before the command, named another one.
            meant.state, meant.url = state, url
        meant.token_file = token_file or self.token_file
        program = RunningProgram(meant)
        context = click.get_current_context(silent=True)
        if context is not None:
            context.call_on_close(program.close)
        return program


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> Any:
        # A default must not undo what was said before the command's name.
        if value not in (None, (), False, 0, ""):
            options = ctx.ensure_object(Options)
            if name == "color":
                options.color = False
            elif name == "config":
                options.config = (*options.config, *value)
            else:
                setattr(options, name, value)
        return value

    return keep


def common_options() -> list[click.Parameter]:
    """Return fresh parameters for `--json`, `--state`, `--url`, `--token-file`, `--config`, `--no-color`, `-v`."""

    def option(name: str, *declarations: str, **more: Any) -> click.Parameter:
        return click.Option(
            [*declarations, f"shared_{name}"], expose_value=False, callback=_keep(name), is_eager=True, **more
        )

    folder = click.Path(file_okay=False)
    file = click.Path(dir_okay=False)
    return [
        option("json", "--json", is_flag=True, help="One JSON document on stdout; progress goes to stderr."),
        option("state", "--state", metavar="DIR", type=folder, help="State directory of the program (else ./.noodle)."),
        option("url", "--url", metavar="URL", help="Address of a control API on TCP, in place of --state."),
        option("token_file", "--token-file", metavar="FILE", type=file, help="File with the token for --url."),
        option("config", "--config", metavar="FILE", type=file, multiple=True, help="Settings file; may be repeated."),
        option("color", "--no-color", is_flag=True, help="No colours; NO_COLOR does the same."),
        option("verbose", "-v", "--verbose", count=True, help="Say more."),
    ]


def share_options(command: click.Command) -> None:
    """Give a plugin's command the common options that it has not: one whose attribute `noodle_options` is true.

    The commands of such a group get them too.
    """
    if getattr(command, "noodle_options", False):
        _share(command)


def _share(command: click.Command) -> None:
    has = {word for parameter in command.params for word in parameter.opts}
    command.params += [one for one in common_options() if not has.intersection(one.opts)]
    if isinstance(command, click.Group) and "get_command" not in vars(command):
        found = command.get_command

        def shared(ctx: click.Context, cmd_name: str) -> click.Command | None:
            inner = found(ctx, cmd_name)
            if inner is not None:
                _share(inner)
            return inner

        # Not `commands`: a group may import its commands when they are asked for.
        command.get_command = shared  # type: ignore[method-assign]


class OwnCommand(click.Command):
    """A command of ours: with the common options at the end of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common_options()


class OwnGroup(click.Group):
    """A group of ours: its commands have the common options, and so has it."""

    command_class = OwnCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common_options()
