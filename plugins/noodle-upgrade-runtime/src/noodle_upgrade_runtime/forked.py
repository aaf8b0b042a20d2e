"""Copies of the builtins that follow the real ones.

The code of a private version looks builtins up in a dict of its own, for the sake of one entry. What the program, a
debugger or a test sets in `builtins` later must be there, too: `builtins.print = ...`, `mock.patch("builtins.input")`.
So for as long as there are copies, the module notes what is set. What is written into its dict past it
(`gettext.install`) is seen by copies that are made later.
"""

from __future__ import annotations

import builtins
import importlib
import threading
import weakref
from types import ModuleType
from typing import Any

__all__ = ["Forked"]


class Forked:
    """A copy of the builtins: `entries` are its own, and keep their value whatever `builtins` gets."""

    def __init__(self, **entries: Any) -> None:
        self._own = frozenset(entries)
        self.names: dict[str, Any] = {}
        """What functions look their builtins up in: an exact dict, which the interpreter's caches rely on."""
        with _lock:
            if not isinstance(builtins, _Watched):
                _watch(type(builtins))
            _copies.add(self)
            self.names |= {**vars(builtins), **entries}
        weakref.finalize(self, _unwatch).atexit = False

    def note(self, name: str, *value: Any) -> None:
        """Note that the builtins have another value for this name, or none."""
        if name in self._own:
            return
        if value:
            self.names[name] = value[0]
        else:
            self.names.pop(name, None)


class _Watched(ModuleType):
    """The module, where it tells the copies what is set."""

    is_like: type[ModuleType]
    """What it is while there are none."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        for copy in _living():
            copy.note(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever pickles modules by their kind (cloudpickle) does not know this one.
        return importlib.import_module, (self.__name__,)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        for copy in _living():
            copy.note(name)


_lock = threading.RLock()  # a copy may be collected, and another be made, by the thread that holds it
_copies: weakref.WeakSet[Forked] = weakref.WeakSet()


def _living() -> tuple[Forked, ...]:
    with _lock:
        return tuple(_copies)


def _watch(kind: type[ModuleType]) -> None:
    watched = type(kind.__name__, (_Watched, kind), {"__module__": kind.__module__, "is_like": kind})
    builtins.__class__ = watched


def _unwatch() -> None:
    with _lock:
        if not _living() and isinstance(builtins, _Watched):
            kind: Any = builtins.is_like
            builtins.__class__ = kind
