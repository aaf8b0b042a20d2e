"""What `noodle run` runs: `module:app`, `script.py`, or `-m package`."""

from __future__ import annotations

import contextlib
import difflib
import enum
import importlib
import importlib.util
import inspect
import runpy
import sys
from pathlib import Path
from typing import Any

from attrs import frozen

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError

__all__ = ["Interface", "Kind", "Target", "TargetError", "interface_of", "load_app", "parse_target", "run_main"]


class TargetError(InvalidRequestError):
    """There is nothing that could be run under this name."""

    default_safe = ""


class Kind(enum.StrEnum):
    """How a program is run."""

    APP = "app"
    SCRIPT = "script"
    MODULE = "module"


class Interface(enum.StrEnum):
    """How an application is called."""

    AUTO = "auto"
    ASGI = "asgi"
    WSGI = "wsgi"


@frozen(kw_only=True)
class Target:
    """A program: `name` is a module or a path, `attribute` the application in it, `args` are the program's own."""

    kind: Kind
    name: str
    attribute: str = ""
    args: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The program as people write it."""
        return f"{self.name}:{self.attribute}" if self.kind is Kind.APP else self.name


def parse_target(text: str, *, module: bool = False, args: tuple[str, ...] = ()) -> Target:
    """Read what was typed; raises `TargetError` for what names nothing."""
    if module:
        return Target(kind=Kind.MODULE, name=text, args=args)
    if Path(text).is_file():
        return Target(kind=Kind.SCRIPT, name=text, args=args)
    name, separator, attribute = text.partition(":")
    if separator and name and attribute and "/" not in name:
        if args:
            raise TargetError(
                f"An application takes no arguments, and {args[0]!r} is one.", hint="See `noodle run --help`."
            )
        return Target(kind=Kind.APP, name=name, attribute=attribute)
    if text.endswith(".py"):
        raise TargetError(f"There is no file {text!r}.", hint=_near(text, _neighbours(text)))
    raise TargetError(f"{text!r} is nothing that can be run.", hint="Write module:app, script.py, or -m package.")


def _neighbours(text: str) -> list[str]:
    folder = Path(text).parent
    with contextlib.suppress(OSError):
        return [str(folder / file.name) for file in folder.iterdir() if file.suffix == ".py"]
    return []


def _near(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else "Check the name and the folder."


# --- applications ------------------------------------------------------------------------------------------------


def load_app(target: Target, *, factory: bool = False) -> Any:
    """Import an application; raises `TargetError` where the module or the name is not there.

    What the module raises while it is imported goes on as it is: that is the program's own failure.
    """
    try:
        found: Any = importlib.import_module(target.name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and (target.name == missing or target.name.startswith(f"{missing}.")):
            known = [file.stem for file in Path.cwd().iterdir() if file.suffix == ".py" or file.is_dir()]
            raise TargetError(f"There is no module {missing!r}.", hint=_near(missing, known)) from error
        raise
    for part in target.attribute.split("."):
        if not hasattr(found, part):
            hint = _near(part, [name for name in dir(found) if not name.startswith("_")])
            raise TargetError(f"{target.name} has no {target.attribute!r}.", hint=hint)
        found = getattr(found, part)
    if factory:
        found = _made(found, target)
    if not callable(found):
        raise TargetError(
            f"{target.shown} is a {type(found).__name__}, no application.", hint="It must be an ASGI or WSGI callable."
        )
    return found


def _made(factory: Any, target: Target) -> Any:
    """Call what should make the application; what it raises itself goes on as it is."""
    if not callable(factory):
        raise TargetError(
            f"{target.shown} is of type {type(factory).__name__}, and cannot be called.",
            hint="--factory takes a function that returns the application.",
        )
    if needed := _needed(factory):
        if _is_application(factory):
            raise TargetError(f"{target.shown} is an application already.", hint="Leave --factory out.")
        raise TargetError(
            f"{target.shown} needs an argument that nobody gives it: {needed[0]!r}.",
            hint="--factory takes a function without arguments that returns the application.",
        )
    return factory()


def _is_application(found: Any) -> bool:
    try:
        interface_of(found)
    except TargetError:
        return False
    return True


def _needed(function: Any) -> list[str]:
    """Return the names of the arguments that a call must have, as far as that can be seen."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    bare = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is inspect.Parameter.empty and one.kind not in bare]


def interface_of(app: Any, asked: Interface = Interface.AUTO) -> Interface:
    """Return how an application is called; raises `TargetError` when that cannot be seen.

    ASGI is called with three arguments and awaited, WSGI with two.
    """
    if asked is not Interface.AUTO:
        return asked
    if not inspect.isclass(app) and (inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(_call_of(app))):
        return Interface.ASGI
    try:
        parameters = tuple(inspect.signature(app).parameters.values())
    except (TypeError, ValueError):
        parameters = ()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in plain and p.default is inspect.Parameter.empty]
    if len(needed) == 2:  # noqa: PLR2004 - environ and start_response
        return Interface.WSGI
    if len(needed) == 3 and not inspect.isclass(app):  # noqa: PLR2004 - scope, receive and send
        return Interface.ASGI
    raise TargetError(
        "It cannot be seen whether this application is ASGI or WSGI.",
        hint="Say it with --interface; a function that makes the application needs --factory.",
    )


def _call_of(app: Any) -> Any:
    return getattr(app, "__call__", None)  # noqa: B004 - the method itself is looked at, not whether there is one


# --- scripts and modules -----------------------------------------------------------------------------------------


def run_main(target: Target) -> None:
    """Run a script or a module as `__main__`, with its arguments, as `python` would."""
    sys.argv = [target.name, *target.args]
    if target.kind is Kind.SCRIPT:
        _run_script(target.name)
        return
    try:
        there = importlib.util.find_spec(target.name) is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        raise TargetError(f"There is no module {target.name!r}.", hint="Check the name, and what is installed.")
    runpy.run_module(target.name, run_name="__main__", alter_sys=True)


def _run_script(name: str) -> None:
    """Run a script; what is no Python by what is installed for files with its ending."""
    ending = Path(name).suffix.removeprefix(".")
    if ending not in {"", "py", "pyc", "pyw"}:
        drivers = Drivers()
        if ending in drivers.names("runners"):
            drivers.get("runners", ending)(name)
            return
    runpy.run_path(name, run_name="__main__")


def import_folder(target: Target) -> str:
    """Return the folder that comes first on `sys.path`, as `python` has it."""
    return str(Path(target.name).resolve().parent) if target.kind is Kind.SCRIPT else str(Path.cwd())
