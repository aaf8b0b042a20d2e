"""What stands in `sys.modules` for the modules of a version that has been left, while calls are still inside.

The module itself would keep the version in the process for ever. Taken out, code that still runs would find nothing:
the standard library looks modules up there at any time (`typing.get_type_hints`, dataclasses, pickle), and the import
system does in the middle of an import. A shade leads to the module for as long as somebody else holds that, and goes
with it.
"""

from __future__ import annotations

import sys
import weakref
from types import ModuleType
from typing import Any

__all__ = ["put_shade", "solid"]


class Shade(ModuleType):
    """Looks like a module that it does not keep."""

    __slots__ = ("_noodle_of",)

    def __init__(self, module: ModuleType, name: str) -> None:
        super().__init__(name)

        def gone(_: object, modules: dict[str, ModuleType] = sys.modules) -> None:  # `sys` may be empty at the end
            if modules.get(name) is self:
                del modules[name]

        _OF.__set__(self, weakref.ref(module, gone))

    def __getattribute__(self, name: str) -> Any:
        module = _OF.__get__(self)()
        return object.__getattribute__(self, name) if module is None else getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        module = _OF.__get__(self)()
        if module is not None:
            setattr(module, name, value)

    def __delattr__(self, name: str) -> None:
        module = _OF.__get__(self)()
        if module is not None:
            delattr(module, name)


_OF: Any = vars(Shade)["_noodle_of"]


def put_shade(name: str, module: Any) -> None:
    """Put a shade in the place that `sys.modules` has a module at; an object that cannot have one is taken away."""
    if type(module) is Shade:
        return
    if isinstance(module, ModuleType):
        sys.modules[name] = Shade(module, name)
    else:
        sys.modules.pop(name, None)


def solid(module: Any) -> Any:
    """Return the module that a shade leads to; anything else is itself. One that has gone leaves an empty module."""
    if type(module) is not Shade:
        return module
    found = _OF.__get__(module)()
    return module if found is None else found
