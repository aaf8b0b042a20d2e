"""What objects have only looked up once: values that a property has made and kept.

Such a value is made of the old version's code and data. It goes with them, and is made anew when somebody asks.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from noodle_upgrade_runtime.asking import is_a, mro_of, namespace_of
from noodle_upgrade_runtime.patch.correspondence import instance_dict

__all__ = ["cached_names", "made_by_properties"]


def cached_names(cls: type) -> frozenset[str]:
    """Return the attributes under which a class keeps in an instance what its cached properties have returned."""
    return frozenset(name for name, value in _attributes(cls) if _keeps(value))


def made_by_properties(instance: Any) -> dict[str, Any]:
    """Return what a private copy of an object holds when all its properties were read; it is as before afterwards."""
    own = instance_dict(instance)
    if own is None:
        return {}
    before = dict(own)
    for name in [n for n, value in _attributes(type(instance)) if is_a(value, property) or _keeps(value)]:
        # Whatever one of them raises, it has kept nothing.
        with contextlib.suppress(Exception):
            getattr(instance, name)
    made = dict(own)
    own.clear()
    own.update(before)
    return made


def _keeps(value: Any) -> bool:
    # Several packages have one of their own, which does the same.
    return is_a(value, functools.cached_property) or "cached_property" in type(value).__name__


def _attributes(cls: type) -> Iterator[tuple[str, Any]]:
    for base in reversed(mro_of(cls)):
        yield from list(namespace_of(base).items())
