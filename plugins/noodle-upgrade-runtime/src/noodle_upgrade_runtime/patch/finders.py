"""Finders and hooks of the import system that a package puts there itself: `six` does, with lazy modules behind it."""

from __future__ import annotations

import collections
import importlib
import importlib.machinery
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from noodle_upgrade_runtime.asking import is_a
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.patch.surroundings import Item

__all__ = ["belongs", "counterparts", "gone_operations", "hooks_of", "spec_by"]

_bootstrap: Any = importlib._bootstrap  # noqa: SLF001 - the import system itself


def belongs(finder: Any, owns: Callable[[object], bool]) -> bool:
    """Return whether a finder or a hook is a package's: an object of its classes, or one of its definitions."""
    kind = type(finder)
    home = finder if is_a(finder, (type, types.FunctionType)) else kind
    if is_a(finder, types.MethodType):
        return belongs(finder.__self__, owns)
    return owns(type.__getattribute__(kind, "__module__")) if home is kind else owns(home.__module__)


def hooks_of(lists: Sequence[list[Any]], owns: Callable[[object], bool]) -> list[Item]:
    """Return what a package has in the lists of the import system now."""
    return [Item(real, one, in_front=False) for real in lists for one in list(real) if belongs(one, owns)]


def spec_by(finder: Any, name: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Ask a finder for a module as the import system of this Python does."""
    if hasattr(finder, "find_spec"):
        found: importlib.machinery.ModuleSpec | None = finder.find_spec(name, path, None)
        return found
    legacy = getattr(_bootstrap, "_find_spec_legacy", None)  # up to Python 3.11
    return legacy(finder, name, path) if legacy is not None and hasattr(finder, "find_module") else None


def counterparts(live: Sequence[Item], private: Sequence[Item]) -> Iterator[tuple[Any, Any]]:
    """Pair what no name need bind, finders and handlers: in order by their class, where there are enough.

    What a package puts somewhere when it is imported comes before what the program adds.
    """
    mine, theirs = _by_class(live), _by_class(private)
    for key, values in theirs.items():
        if len(mine.get(key, ())) >= len(values):
            yield from zip(mine[key], values, strict=False)


def _by_class(items: Sequence[Item]) -> dict[tuple[int, str, str], list[Any]]:
    found = collections.defaultdict(list)
    for item in items:
        kind = type(item.value)
        found[id(item.sequence), kind.__module__, kind.__qualname__].append(item.value)
    return dict(found)


def gone_operations(
    live: Sequence[Item], old: Sequence[Item], new: Sequence[Item], *, image: Callable[[Any], Any]
) -> list[Operation]:
    """Plan that those leave which the old version puts there when it is imported, and the new one does not."""
    put = [image(item.value) for item in old]
    stay = [image(item.value) for item in new]
    return [
        Operation(
            (list.remove, item.sequence, item.value),
            (list.insert, item.sequence, place, item.value),
            "a finder or a handler",
        )
        for item in live
        for place, one in enumerate(item.sequence)
        if one is item.value and any(one is other for other in put) and not any(one is other for other in stay)
    ]
