"""What live instances have been given since a commit, so that going back takes it from them again."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping
from typing import Any

from noodle_upgrade_runtime.operations import Operation, Script
from noodle_upgrade_runtime.patch.correspondence import instance_dict

__all__ = ["Filled"]

_NOTHING: Any = object()


class Filled:
    """Notes the fields that come and go after the commit: `take_back` gives each instance those that it had.

    Instances are not kept alive by it; one that cannot be referred to weakly keeps its new fields.
    """

    def __init__(self) -> None:
        self._given: list[tuple[weakref.ref[Any], str, Any]] = []

    def note(self, instance: Any, name: str) -> None:
        """Note that an instance was given a field which it did not have."""
        self._note(instance, name, _NOTHING)

    def changed(self, instance: Any, before: Mapping[str, Any]) -> None:
        """Note which fields came and went since an instance had these.

        A field that it has all along may have changed for any reason: it stays as it is.
        """
        now = instance_dict(instance) or {}
        for name in {**before, **now}:
            if (name in before) != (name in now):
                self._note(instance, name, before.get(name, _NOTHING))

    def _note(self, instance: Any, name: str, old: Any) -> None:
        with contextlib.suppress(TypeError):
            self._given.append((weakref.ref(instance), name, old))

    def take_back(self) -> None:
        """Take from the instances what they were given, in one atomic step, and forget it."""
        given, self._given = self._given, []
        operations = []
        seen: set[tuple[int, str]] = set()
        alive = [(instance, name, old) for ref, name, old in given if (instance := ref()) is not None]
        for instance, name, old in alive:
            # Of several notes the first one knows what there was at the commit.
            if (id(instance), name) in seen:
                continue
            seen.add((id(instance), name))
            now = (instance_dict(instance) or {}).get(name, _NOTHING)
            if (now is _NOTHING) != (old is _NOTHING):
                operations.append(_binding(instance, name, new=old, old=now))
        Script(operations).apply()

    def clear(self) -> None:
        """Forget it: there is no way back any more."""
        self._given.clear()


def _binding(instance: Any, name: str, *, new: Any, old: Any) -> Operation:
    calls = [
        (object.__delattr__, instance, name) if value is _NOTHING else (object.__setattr__, instance, name, value)
        for value in (new, old)
    ]
    return Operation(calls[0], calls[1], f"{type(instance).__qualname__}.{name}")
