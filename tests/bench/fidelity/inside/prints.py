"""What something leads to, as plain data: equal in two processes when the same definition is reached."""

from __future__ import annotations

import functools
import hashlib
import sys
import types
import typing
import weakref
from typing import Any

__all__ = ["bases_of", "code_print", "current", "lead", "shape"]

_DEEPEST = 6
_MISSING = object()


def code_print(code: types.CodeType) -> str:
    """Return a short text that is equal for equal code; where its file lies does not count."""
    return hashlib.sha256(repr(_code(code)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _code(code: types.CodeType) -> tuple[Any, ...]:
    return (
        code.co_code,
        tuple(_constant(one) for one in code.co_consts),
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        code.co_qualname,
        code.co_firstlineno,
        code.co_linetable,
        code.co_exceptiontable,
    )


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    if isinstance(value, frozenset):
        return ("frozenset", sorted(repr(_constant(one)) for one in value))
    if isinstance(value, tuple):
        return tuple(_constant(one) for one in value)
    return (type(value).__name__, repr(value))


def lead(value: Any, depth: int = 0) -> Any:
    """Return what is reached through something callable, a wrapper or a reference."""
    if depth > _DEEPEST:
        return ["deep"]
    if isinstance(value, types.FunctionType):
        return _function(value, depth)
    if isinstance(value, type):
        return ["class", value.__module__, value.__qualname__, is_current(value)]
    parts = _parts(value)
    if parts is not None:
        return [type(value).__name__, *[lead(part, depth + 1) for part in parts]]
    if value is None or isinstance(value, bool | int | str):
        return ["value", value]
    return ["object", type(value).__module__, type(value).__qualname__, is_current(type(value))]


def _parts(value: Any) -> list[Any] | None:
    """Return what a wrapper, an alias or a sequence leads on to; None for anything else."""
    for kinds, names in _WRAPPERS:
        if isinstance(value, kinds):
            return [getattr(value, name, None) for name in names]
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, types.GenericAlias) or (type(value).__module__ == "typing" and hasattr(value, "__origin__")):
        return [value.__origin__, *getattr(value, "__args__", ())]
    wrapped = _wrapped(value)
    return None if wrapped is None else [wrapped]


_WRAPPERS: tuple[tuple[tuple[type, ...], tuple[str, ...]], ...] = (
    ((types.MethodType,), ("__func__",)),
    ((staticmethod, classmethod), ("__func__",)),
    ((property,), ("fget", "fset", "fdel")),
    ((functools.partial, functools.partialmethod, functools.cached_property), ("func",)),
    ((types.UnionType,), ("__args__",)),
)


def _wrapped(value: Any) -> Any:
    try:
        return object.__getattribute__(value, "__wrapped__")
    except AttributeError:
        return None


def _function(value: types.FunctionType, depth: int) -> Any:
    # A function that can keep its identity only by passing calls on has the one that it passes them to in its code.
    for constant in value.__code__.co_consts:
        if isinstance(constant, types.FunctionType):
            return lead(constant, depth + 1)
    found: list[Any] = ["function", value.__module__, code_print(value.__code__)]
    found.append([_plain(one) for one in value.__defaults__ or ()])
    found.append({name: _plain(one) for name, one in sorted((value.__kwdefaults__ or {}).items())})
    if (wrapped := vars(value).get("__wrapped__")) is not None:
        found.append(lead(wrapped, depth + 1))
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, type):
        return [value.__module__, value.__qualname__, is_current(value)]
    return [type(value).__module__, type(value).__qualname__, is_current(type(value))]


def current(module: str, qualname: str) -> Any:
    """Return what the process has under a name now, or a value that is nothing else."""
    found: Any = sys.modules.get(module, _MISSING)
    for part in qualname.split("."):
        namespace = getattr(found, "__dict__", {})
        found = namespace.get(part, _MISSING) if part in namespace else getattr(found, part, _MISSING)
    return found


def is_current(cls: type) -> bool | None:
    """Return whether a class is the one that its name leads to; None where nothing leads to it by that name."""
    found = current(cls.__module__, cls.__qualname__)
    return None if found is _MISSING or not isinstance(found, type) else found is cls


def shape(cls: type) -> dict[str, Any]:
    """Return what a class consists of: its definitions, bases and layout."""
    found: dict[str, Any] = {}
    for name, value in vars(cls).items():
        if (
            name in _OF_THE_INTERPRETER
            or name.startswith("noodle_users_")
            or isinstance(value, weakref.ref | types.GetSetDescriptorType)
        ):
            continue
        found[name] = lead(value) if callable(value) or isinstance(value, _DEFINED) else type(value).__name__
    found["the bases"] = bases_of(cls)
    return found


def bases_of(cls: type) -> list[Any]:
    """Return the classes that a class consists of, in their order.

    `Generic` is passed over: a class that gains it keeps its layout and gets `__class_getitem__` instead. What that is
    for, subscripting, is looked at by itself.
    """
    return [
        [base.__module__, base.__qualname__, is_current(base)] for base in cls.__mro__ if base is not typing.Generic
    ]


_DEFINED = (staticmethod, classmethod, property, functools.cached_property, functools.partialmethod)
_OF_THE_INTERPRETER = frozenset(
    {"__dict__", "__weakref__", "_abc_impl", "__slotnames__", "__subclasshook__", "__static_attributes__", "__firstlineno__",
     "__annotations__", "__annotate__", "__doc__",
     "__class_getitem__", "__orig_bases__", "__parameters__"}
)  # fmt: skip
