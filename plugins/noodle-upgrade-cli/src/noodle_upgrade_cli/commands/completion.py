"""`noodle completion`."""

from __future__ import annotations

import click

from noodle_upgrade_cli.options import OwnCommand
from noodle_upgrade_cli.session import Session, with_session

__all__ = ["completion"]

_HOW = {
    "bash": 'eval "$(noodle completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(noodle completion zsh)"   # in ~/.zshrc, after compinit',
    "fish": "noodle completion fish > ~/.config/fish/completions/noodle.fish",
}


@click.command(cls=OwnCommand)
@click.argument("shell", type=click.Choice(sorted(_HOW)))
@with_session
def completion(session: Session, shell: str) -> int:
    """Print the script that completes noodle's commands, options, components and upgrade ids.

    \b
      bash   eval "$(noodle completion bash)"   in ~/.bashrc
      zsh    eval "$(noodle completion zsh)"    in ~/.zshrc, after compinit
      fish   noodle completion fish > ~/.config/fish/completions/noodle.fish
    """  # noqa: D301 - \b is click's mark for text that must not be wrapped
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only this command needs it

    cls = get_completion_class(shell)
    if cls is None:
        raise click.UsageError(f"This click has no completion for {shell}.")
    source = cls(click.Command("noodle"), {}, "noodle", "_NOODLE_COMPLETE")
    # `source()` starts a bash to look at its version, which the shell that reads this has already.
    script = source.source_template % source.source_vars()
    if session.out.json:
        session.out.document({"shell": shell, "script": script, "install": _HOW[shell]})
    else:
        click.echo(script)
    return 0
