"""Making functions: in the live globals with the new code, and code that passes every call on to another function."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Sequence
from typing import Any

from noodle_upgrade_runtime.asking import is_a
from noodle_upgrade_runtime.patch.correspondence import instance_dict

__all__ = ["born", "forwarding_code", "is_dispatcher", "plain_function", "same_definition"]

_CAN_BE_BUILT = sys.version_info < (3, 13)
"""From 3.13 on calls of a function that `FunctionType` made are never specialised: only `def` makes a fast one."""


def same_definition(left: types.FunctionType, right: types.FunctionType) -> bool:
    """Return whether two functions have the same code and free variables; where their files lie does not count."""
    return left.__code__ == right.__code__ and left.__code__.co_freevars == right.__code__.co_freevars


def plain_function(value: Any) -> types.FunctionType | None:
    """Return the function in a method, a property or a decorated function; runs no code of the packages.

    `inspect.unwrap` and `getattr` would: `six` has objects that import something whatever they are asked for.
    """
    seen: set[int] = set()
    while id(value) not in seen:
        seen.add(id(value))
        if is_a(value, (staticmethod, classmethod, types.MethodType)):
            value = value.__func__
        elif is_a(value, property):
            value = value.fget
        else:
            value = (instance_dict(value) or {}).get("__wrapped__", value)
    return value if is_a(value, types.FunctionType) else None


_DISPATCHERS = frozenset(
    constant for constant in functools.singledispatch.__code__.co_consts if is_a(constant, types.CodeType)
)


def is_dispatcher(function: types.FunctionType) -> bool:
    """Return whether this is a function that `functools.singledispatch` made."""
    return function.__code__ in _DISPATCHERS and "_clear_cache" in function.__dict__


def born(
    code: types.CodeType,
    namespace: dict[str, Any],
    *,
    closure: Sequence[types.CellType] = (),
    defaults: tuple[Any, ...] = (),
    kwdefaults: dict[str, Any] | None = None,
) -> types.FunctionType:
    """Make a function as a `def` in `namespace` would, so that the interpreter specialises its calls."""
    named = dict(kwdefaults or {})
    if _CAN_BE_BUILT or not all(name.isidentifier() for name in named):
        made = types.FunctionType(code, namespace, code.co_name, defaults or None, tuple(closure) or None)
        made.__kwdefaults__ = named or None
    else:
        maker = _maker(len(closure), len(defaults), tuple(named))
        constants = tuple(code if is_a(c, types.CodeType) else c for c in maker.co_consts)
        outer = types.FunctionType(maker.replace(co_consts=constants), namespace, closure=tuple(closure) or None)
        made = outer(*defaults, *named.values())
    made.__qualname__ = code.co_qualname
    return made


@functools.lru_cache(maxsize=256)
def _maker(free: int, defaults: int, named: tuple[str, ...]) -> types.CodeType:
    """Compile a function that defines a function with so many free variables, defaults and keyword defaults."""
    cells = [f"_noodle_{i:04}" for i in range(free)]
    values = [f"d_noodle_{i:04}" for i in range(defaults)]
    keys = [f"k_noodle_{i:04}" for i in range(len(named))]
    inner = [f"a_{value}={value}" for value in values]
    if named:
        inner += ["*", *(f"{name}={key}" for name, key in zip(named, keys, strict=True))]
    source = (
        f"def outer({', '.join(cells)}):\n"
        f"  def maker({', '.join(values + keys)}):\n"
        f"    def made({', '.join(inner)}): {'; '.join(cells) or 'pass'}\n"
        f"    return made\n"
    )
    return _inner(_inner(compile(source, "<def>", "exec", dont_inherit=True)))


def _inner(code: types.CodeType) -> types.CodeType:
    return next(c for c in code.co_consts if is_a(c, types.CodeType))


_TARGET = "noodle: the function that calls are passed on to"


def forwarding_code(old: types.CodeType, target: Any) -> types.CodeType:
    """Return code for a function that was compiled from `old`: it calls `target` and has its true signature.

    The code has as many free variables as `old`, which is what a function's closure is tied to.
    """
    shape: Any = getattr(target, "__code__", None)
    plain = is_a(target, types.FunctionType) and all(n.isidentifier() for n in shape.co_varnames)
    parameters, call = _signature(shape, old.co_freevars) if plain else ("*args, **kwargs", "*args, **kwargs")
    callee = f"({_TARGET!r} if 1 else 0)"
    cells = [f"_noodle_{i:04}" for i in range(len(old.co_freevars))]
    source = (
        f"def outer({', '.join(cells)}):\n"
        f"  {'async ' if _is_async(target) else ''}def forward({parameters}):\n"
        f"    if 0: {'; '.join(cells) or 'pass'}\n"
        f"    {_body(target, f'{callee}({call})')}\n"
    )
    module = compile(source, old.co_filename, "exec", dont_inherit=True)
    code = _inner(_inner(module))
    constants = tuple(target if c == _TARGET and is_a(c, str) else c for c in code.co_consts)
    return code.replace(
        co_consts=constants,
        co_freevars=old.co_freevars,
        co_name=getattr(shape, "co_name", old.co_name),
        co_qualname=getattr(shape, "co_qualname", old.co_qualname),
        co_firstlineno=old.co_firstlineno,
    )


def _is_async(target: Any) -> bool:
    return inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)


def _body(target: Any, call: str) -> str:
    if inspect.iscoroutinefunction(target):
        return f"return await {call}"
    if inspect.isasyncgenfunction(target):
        return f"async for item in {call}: yield item"
    if inspect.isgeneratorfunction(target):
        return f"return (yield from {call})"
    return f"return {call}"


def _signature(code: types.CodeType, taken: tuple[str, ...]) -> tuple[str, str]:
    """Return the parameter list of `code` and the arguments that pass every one of them on."""
    names = list(code.co_varnames)
    if any(name in taken or name.startswith("_noodle_") for name in names):
        return "*args, **kwargs", "*args, **kwargs"
    positional, keyword = names[: code.co_argcount], names[code.co_argcount :][: code.co_kwonlyargcount]
    rest = names[code.co_argcount + code.co_kwonlyargcount :]
    parameters, call = list(positional), list(positional)
    if code.co_posonlyargcount:
        parameters.insert(code.co_posonlyargcount, "/")
    if code.co_flags & inspect.CO_VARARGS:
        star = rest.pop(0)
        parameters.append(f"*{star}")
        call.append(f"*{star}")
    elif keyword:
        parameters.append("*")
    parameters += keyword
    call += [f"{name}={name}" for name in keyword]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        double = rest.pop(0)
        parameters.append(f"**{double}")
        call.append(f"**{double}")
    return ", ".join(parameters), ", ".join(call)
