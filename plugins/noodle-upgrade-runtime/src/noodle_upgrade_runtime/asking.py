"""What objects are and hold, asked so that no code of theirs runs: a metaclass may have a `__getattribute__`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import TypeIs

_T = TypeVar("_T")

__all__ = [
    "COMPILED",
    "HEAP_TYPE",
    "binding_of",
    "codes_of",
    "defaults_of",
    "deleter_of",
    "is_a",
    "is_class",
    "member_of",
    "mro_of",
    "namespace_of",
    "setter_of",
    "subclasses_of",
]


HEAP_TYPE = 1 << 9
"""The flag of a class that was made at run time (`Py_TPFLAGS_HEAPTYPE`)."""
COMPILED = frozenset({types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType})
"""What only a class that C code has made binds."""


@overload
def is_a(value: object, kind: type[_T]) -> TypeIs[_T]: ...
@overload
def is_a(value: object, kind: tuple[type[Any], ...]) -> TypeGuard[Any]: ...
def is_a(value: object, kind: Any) -> Any:
    """Return whether an object is of a class; `isinstance` asks it what it says that it is, as proxies do."""
    return issubclass(type(value), kind)


def is_class(value: object) -> TypeIs[type]:
    """Return whether an object is a class, and not only says so."""
    return issubclass(type(value), type)


def mro_of(cls: type) -> tuple[type, ...]:
    """Return a class with its bases."""
    found: tuple[type, ...] = type.__dict__["__mro__"].__get__(cls)
    return found


def namespace_of(cls: type) -> types.MappingProxyType[str, Any]:
    """Return what a class binds itself."""
    found: types.MappingProxyType[str, Any] = type.__getattribute__(cls, "__dict__")
    return found


def binding_of(cls: type, name: str) -> Any:
    """Return what the first of a class and its bases to bind a name binds it to, None where none does."""
    return next((space[name] for base in mro_of(cls) if name in (space := namespace_of(base))), None)


def codes_of(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and all those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


def defaults_of(function: types.FunctionType) -> dict[str, Any]:
    """Return the defaults of a function by the names of its parameters.

    A wrapper may have been given those of the function that it wraps: what no parameter takes is left out.
    """
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    count = min(len(names), len(values))
    keyword = function.__kwdefaults__ or {}
    return {**dict(zip(names[len(names) - count :], values[len(values) - count :], strict=True)), **keyword}


def member_of(cls: type, name: str) -> Any:
    """Return the descriptor of a slot, None where a class has none of this name."""
    found = (namespace_of(base).get(name) for base in mro_of(cls))
    return next((one for one in found if type(one) is types.MemberDescriptorType), None)


def subclasses_of(cls: type) -> list[type]:
    """Return the classes that derive from one, whichever way."""
    found: dict[int, type] = {}
    fresh: list[type] = type.__subclasses__(cls)
    while fresh:
        one = fresh.pop()
        if id(one) not in found:
            found[id(one)] = one
            fresh += type.__subclasses__(one)
    return list(found.values())


def setter_of(cls: type) -> Any:
    """Return the C function that sets an attribute of a class: that of its metaclass, where C code made that one.

    `type.__setattr__` refuses the classes of ctypes from CPython 3.13 on.
    """
    return _c_function(cls, "__setattr__")


def deleter_of(cls: type) -> Any:
    """Return the C function that takes an attribute of a class away, likewise."""
    return _c_function(cls, "__delattr__")


def _c_function(cls: type, name: str) -> Any:
    found = (namespace_of(kind).get(name) for kind in mro_of(type(cls)))
    return next(one for one in found if type(one) is types.WrapperDescriptorType)
