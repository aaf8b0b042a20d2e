"""The module behind an object that stands in its place: `sys.modules[__name__] = Lazy(__name__)`.

Its names are the globals of whatever its code has defined, and nothing in `sys.modules` leads to them.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator, Mapping
from typing import Any

from noodle_upgrade_runtime.asking import is_a, is_class, mro_of, namespace_of
from noodle_upgrade_runtime.patch.correspondence import instance_dict
from noodle_upgrade_runtime.patch.functions import plain_function

__all__ = ["behind", "pairs_behind"]


def pairs_behind(live: Mapping[str, Any], private: Mapping[str, types.ModuleType]) -> list[tuple[Any, Any]]:
    """Return the modules behind objects of a process, each with the one that a private load has executed.

    `live` has the objects by the names of their modules. Where nobody keeps such a module, its names alone stand for
    both.
    """
    found = []
    for name, module in private.items():
        kept = behind(live[name], name) if name in live else None
        if kept is not None:
            found.append((kept, vars(module) if is_a(kept, dict) else module))
    return found


def behind(stands: Any, name: str) -> types.ModuleType | dict[str, Any] | None:
    """Return the module, or the names, of the code that has put this object in the place of the module of that name."""
    own = instance_dict(stands)
    kept = next((one for one in (own or {}).values() if type(one) is types.ModuleType and one.__name__ == name), None)
    if kept is not None:
        return kept  # as one that passes on what it is asked for
    names = next((one for one in _globals(stands) if one is not own and one.get("__name__") == name), None)
    if names is None:
        return None
    kept = next((one for one in names.values() if _is_of(one, names)), None)
    return kept or next((one for one in gc.get_referrers(names) if _is_of(one, names)), None) or names


def _is_of(value: Any, names: dict[str, Any]) -> bool:
    return is_a(value, types.ModuleType) and vars(value) is names


def _globals(stands: Any) -> Iterator[dict[str, Any]]:
    """Yield the globals of the functions of an object, of its classes, and of the classes that it binds."""
    own = list((instance_dict(stands) or {}).values())
    classes = [*mro_of(type(stands)), *(one for one in own if is_class(one))]
    for value in (*(one for cls in classes for one in namespace_of(cls).values()), *own):
        if (function := plain_function(value)) is not None:
            yield function.__globals__
