"""What each hook may answer, and the check that it did."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any

from noodle_upgrade_core.errors import PluginBrokenError
from noodle_upgrade_core.hookspecs import Operation, Outcome, Receipt
from noodle_upgrade_core.isolation import in_text
from noodle_upgrade_core.model import ArtifactRef, ComponentDescriptor, Finding, Verdict, Vote

__all__ = ["MOST_ANSWERS", "checked", "gathered"]

MOST_ANSWERS = 100_000
"""An implementation that yields more than this is broken: it would fill the memory before its time limit."""

_MANY: Mapping[str, type[Any]] = {
    "discover": ComponentDescriptor,
    "operations": Operation,
    "recompile": ArtifactRef,
    "restore": Finding,
    "validate": Finding,
}
_ONE: Mapping[str, type[Any]] = {
    "assess": Verdict,
    "decide": Vote,
    "deploy": Outcome,
    "rollback": Receipt,
}
_SWAP_METHODS = ("shift", "commit", "revert", "measure", "running")


def checked(hook: str, value: Any) -> Any:
    """Return the answer to a hook, with an iterable one as a tuple (None as an empty one).

    Runs the plugin's code where the answer is a generator, so it belongs inside the isolated call. Raises
    `PluginBrokenError` that says what came and what was due.
    """
    if hook in _MANY:
        return _many(hook, value)
    if hook in _ONE:
        return value if value is None else _one(hook, value, _ONE[hook])
    if hook == "swap" and value is not None:
        _check_swap(value)
    return value


async def gathered(hook: str, values: AsyncIterable[Any]) -> tuple[Any, ...]:
    """Return what an asynchronous generator yields, checked as it comes."""
    if hook not in _MANY:
        raise _wrong(hook, values, _due(hook))
    found: list[Any] = []
    async for value in values:
        found.append(_one(hook, value, _MANY[hook]))
        if len(found) > MOST_ANSWERS:
            raise _endless(hook)
    return tuple(found)


def _many(hook: str, value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _wrong(hook, value, _due(hook))
    found = tuple(_one(hook, one, _MANY[hook]) for one in itertools.islice(value, MOST_ANSWERS + 1))
    if len(found) > MOST_ANSWERS:
        raise _endless(hook)
    return found


def _one(hook: str, value: Any, due: type[Any]) -> Any:
    if not isinstance(value, due):
        raise _wrong(hook, value, _due(hook))
    return value


def _check_swap(value: Any) -> None:
    absent = [name for name in _SWAP_METHODS if not callable(getattr(value, name, None))]
    capabilities = getattr(value, "capabilities", None)
    if not isinstance(capabilities, frozenset | set) or not all(isinstance(c, str) for c in capabilities):
        absent.append("capabilities (a frozenset of strings)")
    if absent:
        raise _wrong("swap", value, f"a StagedSwap; it lacks {', '.join(absent)}")


def _due(hook: str) -> str:
    if hook in _MANY:
        return f"an iterable of {_MANY[hook].__name__}"
    return f"{_ONE[hook].__name__} or None" if hook in _ONE else "a StagedSwap or None"


def _wrong(hook: str, value: Any, due: str) -> PluginBrokenError:
    return PluginBrokenError(
        f"{hook!r} must answer with {due}; it answered {type(value).__name__}: {in_text(value)[:200]}",
        hint="Compare its return type with the reference of noodle_upgrade_core.hookspecs.",
        details={"came": type(value).__name__, "due": due},
    )


def _endless(hook: str) -> PluginBrokenError:
    return PluginBrokenError(f"{hook!r} yielded more than {MOST_ANSWERS} answers without coming to an end.")
