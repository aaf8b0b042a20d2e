"""Readings from a function of the program: `shop.metrics:queue_depth`, called with a version."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.isolation import attempt, in_words

__all__ = ["Function", "function_of"]

_IMPORT_SECONDS = 30.0


@frozen
class Function:
    """A source that calls a function with the version; the function may be `async`."""

    function: Callable[[str], float | Awaitable[float]] = field()

    @function.validator
    def _takes_a_version(self, _: Any, function: Any) -> None:
        try:
            inspect.signature(function).bind("1.0")
        except TypeError as error:
            name = getattr(function, "__qualname__", function)
            raise InvalidRequestError(
                f"the function {name!r} cannot be called with a version: {error}.",
                hint="A metric's function takes one argument, the version, and returns its number.",
            ) from error
        except ValueError:
            return  # some that are written in C do not tell what they take

    def read(self, version: str) -> float | Awaitable[float]:
        """Call it."""
        return self.function(version)


def function_of(path: str) -> Callable[..., Any]:
    """Return what `module:function` names, a dotted name after the colon too.

    The module is imported if it is not yet. Raises `InvalidRequestError` when there is no such thing, or it cannot be
    called.
    """
    module, colon, name = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not (module and colon and name):
        raise InvalidRequestError(f"a function is written as module:function, got {path!r}.")
    tried = attempt(lambda: importlib.import_module(module), limit=_IMPORT_SECONDS, name=f"noodle import {module}")
    if tried.hung:
        raise InvalidRequestError(f"the module of {path!r} was still being imported after {_IMPORT_SECONDS:g} s.")
    if tried.error is not None:
        raise InvalidRequestError(
            f"the module of {path!r} cannot be imported: {in_words(tried.error)}.",
            hint="It must be importable where the program runs.",
        ) from tried.error
    found = tried.value
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        problem = "there is no" if found is None else "nobody can call"
        raise InvalidRequestError(f"{problem} {name!r} in the module {module!r}.", hint="Check its spelling.")
    return found  # type: ignore[no-any-return]
