"""Telling context variables: what a context holds can be bound anew by whoever may enter it.

The tree in which a context keeps its variables is immutable; its nodes are no holders of their own.
"""

from __future__ import annotations

import contextvars
from typing import Any

__all__ = ["bind", "is_node", "may_be_bound"]

_PROBE: contextvars.ContextVar[object] = contextvars.ContextVar("noodle_upgrade_probe")
_NODES = frozenset({"hamt", "hamt_bitmap_node", "hamt_array_node", "hamt_collision_node"})


def is_node(value: Any) -> bool:
    """Return whether an object is a part of the tree of a context."""
    kind = type(value)
    return kind.__module__ == "builtins" and kind.__name__ in _NODES


def may_be_bound(context: contextvars.Context) -> bool:
    """Return whether this thread can bind a variable there: not while another one is in the context."""
    try:
        context.run(int)
    except RuntimeError:
        return _is_current(context)
    return True


def bind(context: contextvars.Context, variable: contextvars.ContextVar[Any], value: Any) -> None:
    """Bind a variable in a context; one that another thread has entered since is left as it is."""
    try:
        context.run(variable.set, value)
    except RuntimeError:
        if _is_current(context):
            variable.set(value)


def _is_current(context: contextvars.Context) -> bool:
    """Return whether this thread is in just this context: equal ones are many."""
    mark = object()
    token = _PROBE.set(mark)
    try:
        return context.get(_PROBE) is mark
    finally:
        _PROBE.reset(token)
