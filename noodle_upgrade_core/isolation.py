"""Calls into other people's code that can neither hang nor end the host, and errors that name who failed."""

from __future__ import annotations

import contextvars
import json
import reprlib
import threading
from collections.abc import Callable
from typing import Any

from attrs import frozen

from noodle_upgrade_core.errors import InternalError, PluginBrokenError, PluginTimeoutError, UpgradeError

__all__ = ["Attempt", "attempt", "blame", "blame_ourselves", "in_text", "in_words", "overdue"]

_LONGEST_TEXT = 2000


@frozen(kw_only=True)
class Attempt:
    """How a call ended: with a value, with whatever it raised, or not at all within its time (`hung`)."""

    value: Any = None
    error: BaseException | None = None
    hung: bool = False


def attempt(function: Callable[[], Any], *, limit: float, name: str) -> Attempt:
    """Call in a daemon thread of its own and wait at most `limit` seconds; never raises.

    A call that hangs is left behind in its thread, which `name` names. It does not keep the interpreter from exiting.
    """
    ended = threading.Event()
    result = Attempt(hung=True)
    context = contextvars.copy_context()

    def work() -> None:
        nonlocal result
        try:
            result = Attempt(value=context.run(function))
        except BaseException as error:  # noqa: BLE001 - also SystemExit: the caller says what becomes of it
            result = Attempt(error=error)
        ended.set()

    threading.Thread(target=work, name=name, daemon=True).start()
    return result if ended.wait(limit) else Attempt(hung=True)


def in_words(error: BaseException) -> str:
    """Return `ValueError: what it says`; holds also for an exception whose own text cannot be made."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - the text is the plugin's own code
        said = "(its message cannot be printed)"
    return f"{type(error).__name__}: {said[:_LONGEST_TEXT]}" if said else type(error).__name__


def blame(error: BaseException, *, plugin: str, doing: str, who: str = "") -> UpgradeError:
    """Return what a plugin raised as an error that names the plugin and what it was doing.

    `who` are the words for it where it is not the plugin itself but something that it gave. An `UpgradeError` goes
    through as it is, with `details["plugin"]` and `details["hook"]` added.
    """
    if isinstance(error, UpgradeError) and _well_formed(error):
        if type(error) is PluginBrokenError and repr(plugin) not in error.message and not who:
            # A wrong answer, say: what a finding or a vote shows of it are its words alone.
            error.message = f"The plugin {plugin!r}: {error.message}"
        named = {"plugin": plugin, "hook": doing, **error.details}
        # Details cross the journal and the control API: what is no JSON value becomes its text here.
        error.details = json.loads(json.dumps(named, default=in_text, skipkeys=True))
        return error
    broken = PluginBrokenError(
        f"{who or f'The plugin {plugin!r}'} failed in {doing}: {in_words(error)}",
        hint="Update the plugin, or switch it off in the settings (runtime_upgrade.plugins.disabled).",
        details={"plugin": plugin, "hook": doing, "exception": type(error).__name__, "where": _where(error)},
    )
    broken.__cause__ = error
    return broken


def blame_ourselves(error: BaseException) -> InternalError:
    """Return an error that no plugin can be named for, as one of ours."""
    made = InternalError(
        f"Something failed that cannot: {in_words(error)}",
        hint="Please report it with the log.",
        details={"exception": type(error).__name__, "where": _where(error)},
    )
    made.__cause__ = error
    return made


def overdue(
    *, plugin: str, doing: str, limit: float, who: str = "", setting: str = "hook_timeout"
) -> PluginTimeoutError:
    """Return the error of a plugin that was still busy at its time limit, in seconds; `who` as in `blame`.

    `setting` is the name of the time limit under `runtime_upgrade.plugins`.
    """
    return PluginTimeoutError(
        f"{who or f'The plugin {plugin!r}'} was still busy in {doing} after {limit:g} s; it was left behind.",
        hint=f"Raise the time limit (runtime_upgrade.plugins.{setting}), or switch the plugin off.",
        details={"plugin": plugin, "hook": doing, "limit": limit},
    )


class _Shortened(reprlib.Repr):
    """Makes text of the first items of a collection: that of a giant one would stop all threads while it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 20
        self.maxstring = self.maxother = _LONGEST_TEXT

    def repr_instance(self, x: Any, level: int) -> str:  # noqa: ARG002 - that of the base class
        return repr(x)


_shortened = _Shortened()


def in_text(value: object) -> str:
    """Return a value as text, shortened when it is long, also when its own `__repr__` fails."""
    try:
        return _shortened.repr(value)[:_LONGEST_TEXT]
    except Exception:  # noqa: BLE001 - the text is the plugin's own code
        return f"<{type(value).__name__}>"


def _well_formed(error: UpgradeError) -> bool:
    """A subclass may have skipped the constructor; nothing that reads the error later must trip over that."""
    texts = (getattr(error, name, None) for name in ("message", "hint", "safe"))
    return all(isinstance(text, str) for text in texts) and isinstance(getattr(error, "details", None), dict)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
