"""The surface of an object: what can be called on it, and which data attributes it may have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from attrs import frozen

__all__ = ["SPECIAL_NAMES", "Surface", "surface_of"]

SPECIAL_NAMES = frozenset(
    f"__{name}__"
    for name in (
        [
            "aenter",
            "aexit",
            "aiter",
            "anext",
            "await",
            "bool",
            "call",
            "contains",
            "delitem",
            "enter",
            "exit",
            "getitem",
            "iter",
            "len",
            "next",
            "reversed",
            "setitem",
        ]
    )
)
"""The special methods that a handle forwards: Python looks them up on the type, so its class has to have them."""

_NOT_METHODS = (type, ModuleType)


@frozen(kw_only=True)
class Surface:
    """Bound methods by name, the names of data attributes, and the function where the object is one."""

    methods: Mapping[str, Callable[..., Any]]
    attributes: frozenset[str] = frozenset()
    dynamic: bool = False
    """Whether the object answers for names that it does not have: only a `__getattr__` can follow that."""
    function: Callable[..., Any] | None = None
    doc: str = ""


def surface_of(target: Any) -> Surface:
    """Look at an object without running any of its code, but for descriptors that are methods."""
    doc = inspect.getdoc(target) or ""
    if isinstance(target, FunctionType | BuiltinFunctionType):
        return Surface(methods={"__call__": target}, function=target, doc=doc)
    if isinstance(target, ModuleType):
        return _module_surface(target, doc)
    cls = type(target)
    methods = {}
    attributes = set(_stored_names(cls))
    for name, raw in _class_members(cls):
        if name.startswith("__") and name not in SPECIAL_NAMES:
            continue
        if _is_method(raw):
            methods[name] = getattr(target, name)
        else:
            attributes.add(name)
    for name in getattr(target, "__dict__", {}):
        # An instance attribute hides a method of the class, and may be replaced at any time: never bound.
        methods.pop(name, None)
        attributes.add(name)
    return Surface(
        methods=methods,
        attributes=frozenset(attributes) - SPECIAL_NAMES,
        dynamic=hasattr(cls, "__getattr__") or any("__getattribute__" in vars(base) for base in cls.__mro__[:-1]),
        doc=doc,
    )


def _module_surface(module: ModuleType, doc: str) -> Surface:
    names = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    methods = {name: value for name, value in names.items() if isinstance(value, FunctionType | BuiltinFunctionType)}
    return Surface(
        methods=methods,
        attributes=frozenset(names.keys() - methods.keys()) | {"__version__"},
        dynamic="__getattr__" in vars(module),
        doc=doc,
    )


def _class_members(cls: type) -> Iterator[tuple[str, Any]]:
    seen = set()
    for base in cls.__mro__[:-1]:
        for name, raw in vars(base).items():
            if name not in seen:
                seen.add(name)
                yield name, raw


def _is_method(raw: Any) -> bool:
    """Whether a class's attribute gives something to call, known without asking it: no property is read here."""
    if isinstance(raw, staticmethod | classmethod):
        return callable(raw.__func__)
    if isinstance(raw, functools.partialmethod | functools.singledispatchmethod):
        return True
    return callable(raw) and hasattr(type(raw), "__get__") and not isinstance(raw, _NOT_METHODS)


def _stored_names(cls: type) -> Iterator[str]:
    """Yield the names that the methods of a class store into or read from objects: attributes that may yet come."""
    for _, raw in _class_members(cls):
        function = inspect.unwrap(raw) if callable(raw) else raw
        function = getattr(function, "__func__", getattr(function, "fget", function))
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType) and code.co_varnames[:1]:
            yield from (name for name in code.co_names if not name.startswith("__"))
