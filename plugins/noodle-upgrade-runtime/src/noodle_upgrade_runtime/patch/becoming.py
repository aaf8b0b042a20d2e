"""Objects that become instances of another class where they are: sentinels, default settings, other singletons."""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Callable
from typing import Any

from noodle_upgrade_runtime.asking import HEAP_TYPE, is_a, mro_of
from noodle_upgrade_runtime.operations import Call, Operation, Script
from noodle_upgrade_runtime.patch.correspondence import instance_dict, slot_values

__all__ = [
    "become_calls", "becoming_problem", "gives_way", "is_plain", "is_redefined", "may_become", "stands_for_itself",
]  # fmt: skip

_DEFINED = (types.FunctionType, type)
_CALLED = (*_DEFINED, types.MethodType, functools.partial, functools._lru_cache_wrapper)  # noqa: SLF001 - it has no public name
_WRAPPERS = (staticmethod, classmethod, property)
_set_class = vars(object)["__class__"].__set__


def is_plain(value: Any) -> bool:
    """Return whether an object is nothing but an instance of Python classes, or an `object()`."""
    order = mro_of(type(value))
    # A class of C may be made at run time, too; then it has a base or a module that says so, or a trial fails.
    return all(cls is object or cls.__flags__ & HEAP_TYPE for cls in order) and not is_a(
        value, (type, types.ModuleType)
    )


def may_become(live: Any, staged: Any) -> bool:
    """Return whether a live object may be paired with one of another class, as far as its kind goes."""
    return is_plain(live) and is_plain(staged)


def become_calls(live: Any, cls: type) -> tuple[Call, Call]:
    """Return the call that makes an object an instance of `cls`, and its inverse."""
    return (_set_class, live, cls), (_set_class, live, type(live))


def becoming_problem(live: Any, staged: Any, image: Callable[[Any], Any]) -> str:
    """Say why an object cannot become an instance of its counterpart's class, "" when it can, or is one already."""
    if not may_become(live, staged):
        return ""
    wanted = image(type(staged))
    if wanted is type(live):
        return ""
    try:
        Script([Operation(*become_calls(live, wanted))]).trial()
    except TypeError as error:
        return str(error)
    return ""


def gives_way(value: Any) -> bool:
    """Return whether an object that a name binds is one of its kind, so that its holders mean what the name means."""
    return is_plain(value) or is_a(value, (*_DEFINED, *_WRAPPERS, enum.Enum))


def is_redefined(live: Any, staged: Any) -> bool:
    """Return whether a function is a function again, or a class a class: these have ways of their own to change."""
    return any(is_a(live, kind) and is_a(staged, kind) for kind in _DEFINED)


def stands_for_itself(live: Any, staged: Any) -> bool:
    """Return whether a new object surely means what the old one did: both are objects of their own, or mere signs."""
    if is_plain(staged) or (is_a(live, enum.Enum) and is_a(staged, enum.Enum)):
        return True
    if is_a(live, _DEFINED):
        # A function that becomes a class, a wrapper or a partial is called as before.
        return is_a(staged, _CALLED)
    bare = not instance_dict(live) and not slot_values(live)
    return bare and is_a(staged, (type, str, enum.Enum))
