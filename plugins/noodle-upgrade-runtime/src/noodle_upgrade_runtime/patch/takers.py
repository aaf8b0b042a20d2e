"""Values that the program has taken by `from package import NAME`: such a name goes on with the value that it has.

What is one of its kind (a function, a class, a table) keeps its identity, and who has taken it has the new one. A
number or a string equals others of its value, so that nobody can tell whose it is.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence

from noodle_upgrade_runtime.asking import binding_of, is_a, is_class, namespace_of
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.patch.correspondence import ATOMS, instance_dict
from noodle_upgrade_runtime.patch.matching import Matching
from noodle_upgrade_runtime.patch.pairing import own_items

__all__ = ["takers_of", "values_that_change"]

_MOST = 5


def values_that_change(matching: Matching) -> list[str]:
    """Return the names of modules whose value the new version changes, and that nobody else is told of."""
    told = {id(live) for live, _ in matching.pairs} | {id(one.live) for one in matching.parted}
    told |= {id(one.live) for one in matching.retired}
    found = []
    for owner, staged in matching.pairs:
        if not is_a(owner, types.ModuleType):
            continue
        mine, theirs = own_items(owner), own_items(staged)
        found += [
            f"{owner.__name__}.{name}"
            for name in mine.keys() & theirs.keys()
            if not name.startswith("__")
            and id(mine[name]) not in told
            and not matching.links.alike(mine[name], theirs[name])
        ]
    return sorted(found)


def takers_of(values: Sequence[str], names: Names) -> tuple[str, ...]:
    """Say which modules of the program have taken such a value, as far as it can be seen."""
    found = []
    for value in values:
        home, _, name = value.rpartition(".")
        module = sys.modules.get(home)
        if module is None or name not in vars(module):
            continue
        held = vars(module)[name]
        if _is_imported(held, names):
            continue
        takers = sorted({f"{other.__name__}.{own}" for other in _others(names) for own in _bound(other, name, held)})
        if takers:
            more = f" and {len(takers) - _MOST} more" if len(takers) > _MOST else ""
            found.append(f"{', '.join(takers[:_MOST])}{more} took the value of {value}, and keep it: it changes.")
    return tuple(found)


def _is_imported(value: object, names: Names) -> bool:
    """Whether a value is one that these packages have from elsewhere themselves, as everybody else may have it."""
    if type(value) in ATOMS:
        return False
    home = _home_of(value)
    if not is_a(home, str) or home in names:
        return False
    module = sys.modules.get(home)
    return is_a(module, types.ModuleType) and any(one is value for one in list(vars(module).values()))


def _home_of(value: object) -> object:
    """Return what an object says of the module that it comes of, without running any code of its own."""
    if is_a(value, (types.FunctionType, types.BuiltinFunctionType)):
        return value.__module__
    if is_class(value):
        return namespace_of(value).get("__module__")
    return (instance_dict(value) or {}).get("__module__", binding_of(type(value), "__module__"))


def _others(names: Names) -> list[types.ModuleType]:
    return [
        module
        for name, module in list(sys.modules.items())
        if is_a(module, types.ModuleType) and name not in names and module.__name__ == name
    ]


def _bound(module: types.ModuleType, name: str, held: object) -> list[str]:
    own = vars(module)
    if type(held) in ATOMS:
        return [name] if name in own and own[name] is held else []
    return [key for key, value in list(own.items()) if value is held]
