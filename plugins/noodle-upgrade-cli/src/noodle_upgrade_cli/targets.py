"""What a person types after `plan` and `upgrade`, as requests of the control API."""

from __future__ import annotations

import getpass
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from noodle_upgrade_cli.completing import next_target
from noodle_upgrade_cli.failures import UsageMistakeError

__all__ = ["local_user", "parse_parameters", "parse_targets", "request_options", "requests_of"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

LEVELS = ("strict", "normal", "permissive")


class _Seconds(click.FloatRange):
    """A number of seconds: `nan` and `inf` are none, and no JSON either."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse what no clock can show."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return number


def parse_targets(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return `(component, version)` pairs from `a 2.0`, `a==2.0`, or several of either kind.

    A version may be a wheel's path; it becomes absolute, because the program has another working directory. Raises
    `UsageMistakeError` for a missing version, another specifier than `==`, a file that is not there, and a component
    that is named twice.
    """
    pairs: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, separator, version = word.partition("==")
        if not separator:
            _refuse_other_specifiers(word)
            if not rest:
                raise UsageMistakeError(
                    f"The version for {word!r} is missing.", hint=f"Write it as {word}==VERSION, or {word} VERSION."
                )
            name, version = word, rest.pop(0)
            if "==" in version:
                raise UsageMistakeError(
                    f"The version for {word!r} is missing.",
                    hint=f"Write it as {word}==VERSION: {version!r} names another component.",
                )
        name, version = name.strip(), version.strip()
        if not name or not version or version.startswith("="):
            raise UsageMistakeError(f"{word!r} is not COMPONENT==VERSION.", hint="Write it as markdown-it-py==3.0.0.")
        pairs.append((name, _absolute(version)))
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageMistakeError(f"{', '.join(twice)} is named twice.", hint="Name each component once.")
    return tuple(pairs)


def _refuse_other_specifiers(word: str) -> None:
    for operator in ("===", ">=", "<=", "~=", "!=", ">", "<"):
        if operator in word:
            name = word.partition(operator)[0]
            raise UsageMistakeError(
                f"{word!r} is a range; an upgrade goes to one version.",
                hint=f"Write {name}==VERSION, and `--constraint '{word[len(name) :]}'` to have the range checked.",
            )


def _absolute(version: str) -> str:
    if not version.endswith(".whl"):
        return version
    path = Path(version).expanduser()
    if not path.is_file():
        raise UsageMistakeError(f"There is no file {version!r}.", hint="Give the path of a wheel, or a version.")
    return str(path.absolute())


def parse_parameters(settings: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` words as typed parameters: a value that is JSON is that value, all else is text.

    So `bake=5` is a number, `bake='"5"'` and `name=careful` are text. A plain key is for the strategy, `judge.KEY` for
    the judge, and any other key with a dot for the plugin that it begins with. Raises `UsageMistakeError`.
    """
    parameters: dict[str, Any] = {}
    for word in settings:
        key, separator, text = word.partition("=")
        key = key.strip()
        if not separator or not all(part.replace("-", "_").isidentifier() for part in key.split(".")):
            raise UsageMistakeError(
                f"{word!r} is not KEY=VALUE.", hint="Write it as `--set bake=5`, or `--set judge.calls=20`."
            )
        if key in parameters:
            raise UsageMistakeError(f"{key!r} is set twice.", hint="Set each parameter once.")
        parameters[key] = _typed(key, text)
    return parameters


def _typed(key: str, text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise UsageMistakeError(f"{key}={constant} is not a number that can be used.", hint="Give a finite number.")

    try:
        value = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        refuse(text)
    return value


def request_options(function: _Function) -> _Function:
    """Add the arguments and options that make a request: the same for `plan` and `upgrade`."""
    options = [
        click.argument("targets", nargs=-1, required=True, metavar="COMPONENT VERSION…", shell_complete=next_target),
        click.option(
            "--strategy", metavar="NAME", help="How traffic moves: immediate, gradual, … (the settings' own)."
        ),
        click.option(
            "--set",
            "parameters",
            metavar="KEY=VALUE",
            multiple=True,
            help="A parameter: a plain KEY is the strategy's, judge.KEY the judge's, PLUGIN.KEY that plugin's.",
        ),
        click.option("--mechanism", metavar="NAME", help="Insist on a mechanism: patch, generation, …"),
        click.option("--constraint", "constraints", metavar="SPEC", multiple=True, help="The version must meet this."),
        click.option("--priority", type=click.IntRange(1, 10), metavar="1-10", help="Importance; 5 if not given."),
        click.option(
            "--timeout",
            type=_Seconds(min=0, min_open=True),
            metavar="SECONDS",
            help="Time limit of the upgrade, without the time that people take.",
        ),
        click.option("--level", type=click.Choice(LEVELS), help="Which findings stop it."),
        click.option("--no-rollback", is_flag=True, help="Keep no way back once it is done."),
        click.option("--current", metavar="VERSION", help="Refuse unless this version runs now."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def requests_of(targets: Sequence[str], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the requests for what `request_options` parsed.

    What was not said is left out, so that the program's own settings decide it.
    """
    pairs = parse_targets(targets)
    parameters = parse_parameters(asked.get("parameters") or ())
    if asked.get("mechanism"):
        if "runtime.mechanism" in parameters:
            raise UsageMistakeError(
                "The mechanism is given twice.", hint="Give --mechanism or `--set runtime.mechanism=…`, not both."
            )
        parameters["runtime.mechanism"] = asked["mechanism"]
    if asked.get("current") and len(pairs) > 1:
        raise UsageMistakeError("--current fits one component only.", hint="Upgrade one, or leave it out.")
    shared: dict[str, Any] = {
        "strategy": asked.get("strategy"),
        "parameters": parameters,
        "constraints": list(asked.get("constraints") or ()),
        "priority": asked.get("priority"),
        "timeout_seconds": asked.get("timeout"),
        "validation_level": asked.get("level"),
        "rollback_enabled": False if asked.get("no_rollback") else None,
        "current_version": asked.get("current"),
        "requested_by": local_user(),
    }
    kept = {key: value for key, value in shared.items() if value not in (None, {}, [], "")}
    return [{"component_name": name, "target_version": version, **kept} for name, version in pairs]


def local_user() -> str:
    """Return who runs this command; the program believes the connection, not this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        return ""
