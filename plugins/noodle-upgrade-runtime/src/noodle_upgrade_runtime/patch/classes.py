"""Changing a live class in place: CPython's rules for it, and the calls that do it."""

from __future__ import annotations

import gc
import types
from typing import Any

from noodle_upgrade_runtime.operations import Call, Operation, Script

__all__ = ["attribute_calls", "bases_problem", "metaclass_binds", "own_slots"]


def bases_problem(cls: type, bases: tuple[type, ...]) -> str:
    """Say why CPython would not give `cls` these bases, "" when it would.

    CPython itself is asked: the bases are assigned and taken back within one atomic step, so that nobody sees it.
    """
    operation = Operation((type.__setattr__, cls, "__bases__", bases), (type.__setattr__, cls, "__bases__", cls.__bases__))
    try:
        Script([operation]).trial()
    except TypeError as error:
        return str(error)
    return ""


def metaclass_binds(cls: type, name: str) -> bool:
    """Return whether the metaclass has a data descriptor of this name, so that `setattr` would not reach the class."""
    for meta in type(cls).__mro__:
        found = vars(meta).get(name)
        if found is not None:
            return hasattr(type(found), "__set__") or hasattr(type(found), "__delete__")
    return False


_TYPE_HANDLES = frozenset({"__doc__", "__module__", "__annotations__", "__abstractmethods__", "__type_params__"})
"""Data descriptors of `type` whose setter stores the value in the class's dict: `type.__setattr__` is right for them."""


def attribute_calls(cls: type, name: str, new: Any, old: Any, missing: Any) -> tuple[list[Call], list[Call]]:
    """Return the calls that bind `name` in the class to `new`, and those that bring `old` back; `missing` unbinds."""
    if name not in _TYPE_HANDLES and metaclass_binds(cls, name):
        return _dict_calls(cls, name, new, missing), _dict_calls(cls, name, old, missing)
    return _calls(cls, name, new, missing), _calls(cls, name, old, missing)


def _calls(cls: type, name: str, value: Any, missing: Any) -> list[Call]:
    if value is not missing:
        return [(type.__setattr__, cls, name, value)]
    # Bound first, so that taking it away cannot fail when the program has done so already.
    bound: Any = frozenset() if name == "__abstractmethods__" else None
    return [(type.__setattr__, cls, name, bound), (type.__delattr__, cls, name)]


def _dict_calls(cls: type, name: str, value: Any, missing: Any) -> list[Call]:
    namespace = gc.get_referents(type.__getattribute__(cls, "__dict__"))[0]
    store: Call = (dict.pop, namespace, name, None) if value is missing else (dict.__setitem__, namespace, name, value)
    # Storing an attribute that is there already tells the interpreter that the class has changed.
    touch: Call = (type.__setattr__, cls, "__module__", cls.__module__)
    return [store, touch]


def own_slots(cls: type) -> set[str]:
    """Return the names of the slots that a class itself adds."""
    return {
        name
        for name, value in type.__getattribute__(cls, "__dict__").items()
        if type(value) is types.MemberDescriptorType and value.__objclass__ is cls
    }
