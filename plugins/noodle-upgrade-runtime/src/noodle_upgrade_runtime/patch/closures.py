"""Functions that the program made by calling into a package: closures, decorated functions, methods of local classes.

No name binds them, so nothing pairs them. They are found by their code, which is a part of the code of a function that
changes, and get the part of the new code with the same qualified name, if their free variables allow it.
"""

from __future__ import annotations

import inspect
import sys
import types
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.operations import Call, Operation
from noodle_upgrade_runtime.patch.callversions import CallVersions
from noodle_upgrade_runtime.patch.functions import born, forwarding_code

__all__ = ["Closures", "matching_parts", "recoding"]

Code = types.CodeType


def matching_parts(old: Code, new: Code) -> dict[int, tuple[Code, Code | None]]:
    """Map the ids of the code objects inside `old` to (itself, its counterpart in `new`).

    By qualified name; several of one name (lambdas) by equal code, then in order if there are as many; else None.
    """
    found: dict[int, tuple[Code, Code | None]] = {}
    before, after = _by_name(old), _by_name(new)
    for name, parts in before.items():
        others = after.get(name, [])
        for part, counterpart in zip(parts, _ordered(parts, others), strict=True):
            found[id(part)] = (part, counterpart)
            if counterpart is not None:
                found |= matching_parts(part, counterpart)
    return found


def _by_name(code: Code) -> dict[str, list[Code]]:
    found: dict[str, list[Code]] = {}
    for constant in code.co_consts:
        if isinstance(constant, Code):
            found.setdefault(constant.co_name, []).append(constant)
    return found


def _ordered(parts: Sequence[Code], others: Sequence[Code]) -> list[Code | None]:
    if len(parts) == len(others):
        return list(others)
    return [next((other for other in others if _same(part, other)), None) for part in parts]


def _same(left: Code, right: Code) -> bool:
    return left.co_code == right.co_code and left.co_consts == right.co_consts and left.co_names == right.co_names


@define
class Closures:
    """Plans new code for such functions; `kept` names those that go on with the old one, and why."""

    parts: Mapping[int, tuple[Code, Code | None]] = field(factory=dict)
    kept: dict[str, str] = field(factory=dict)

    def codes(self) -> list[Code]:
        """Return the code of which a call may have made functions that get new code."""
        return [old for old, _ in self.parts.values()]

    def reversed(self) -> Closures:
        """Return what finds the functions that were made of the new code, and gives them the old."""
        pairs = [(old, new) for old, new in self.parts.values() if new is not None and new != old]
        return Closures({id(new): (new, old) for old, new in pairs})

    def learn(self, old: Code, new: Code) -> None:
        """Take in what is inside a function's old and new code."""
        if old is not new:
            self.parts = {**self.parts, **matching_parts(old, new)}

    def among(self, heap: Heap) -> list[Any]:
        """Return the functions that a plan is about."""
        if not self.parts:
            return []
        return [one for one in heap.of([types.FunctionType]) if id(one.__code__) in self.parts]

    def plan(self, heap: Heap, known: set[int], versions: CallVersions) -> list[Operation]:
        """Return the operations for the functions of `heap`; `known` are the ids of those that are planned already."""
        functions = {id(one): one for one in self.among(heap) if id(one) not in known}
        return [
            operation
            for function in functions.values()
            for operation in self._renew(function, self.parts[id(function.__code__)][1], versions)
        ]

    def _renew(self, function: types.FunctionType, code: Code | None, versions: CallVersions) -> list[Operation]:
        name = f"{function.__module__}.{function.__qualname__}"
        if code is None:
            self.kept[name] = "the new version has no such function"
            return []
        if code == function.__code__:
            return []
        if not _same_defaults(function, code):
            self.kept[name] = "its parameters with defaults changed, and their values are only known where it is made"
            return []
        free, had = code.co_freevars, function.__code__.co_freevars
        if not set(free) <= set(had):
            self.kept[name] = f"it needs {', '.join(sorted(set(free) - set(had)))} of the function that made it"
            return []
        cells = dict(zip(had, function.__closure__ or (), strict=True))
        made = born(
            code,
            function.__globals__,
            closure=[cells[n] for n in free],
            defaults=function.__defaults__ or (),
            kwdefaults=function.__kwdefaults__,
        )
        wanted = code if free == had else forwarding_code(function.__code__, made)
        source = made if free == had else None
        return recoding(function, wanted, subject=name, versions=versions, made=source)


def _same_defaults(function: types.FunctionType, code: Code) -> bool:
    old = function.__code__
    count = len(function.__defaults__ or ())
    names = [c.co_varnames[max(0, c.co_argcount - count) : c.co_argcount] for c in (old, code)]
    keywords = [c.co_varnames[c.co_argcount : c.co_argcount + c.co_kwonlyargcount] for c in (old, code)]
    return names[0] == names[1] and keywords[0] == keywords[1]


def recoding(
    live: types.FunctionType,
    code: Code,
    *,
    subject: str,
    versions: CallVersions,
    made: types.FunctionType | None = None,
    others: Sequence[Operation] = (),
) -> list[Operation]:
    """Return the operations that give a function new code, and `others` that change it; calls stay fast.

    `made` is a function that `def` made from the same code.
    """
    quiet = _quiet() if sys.version_info >= (3, 13) and _kind(code) != _kind(live.__code__) else ()
    found: list[Operation | None] = [*quiet[:2]]
    found.append(Operation((setattr, live, "__code__", code), (setattr, live, "__code__", live.__code__), subject))
    found += others
    if versions.needed:
        found.append(versions.tuning(live, made or born(code, {}, closure=_cells(code))))
    return [operation for operation in (*found, *quiet[2:]) if operation is not None]


def _kind(code: Code) -> int:
    return code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)


def _quiet() -> tuple[Operation, ...]:
    """Return what silences CPython's warning of another kind of code, around it: a warning may run any code."""
    silence = ("ignore", None, DeprecationWarning, None, 0)
    on: tuple[Call, Call] = (list.insert, warnings.filters, 0, silence), (warnings._filters_mutated,)  # type: ignore[attr-defined]  # noqa: SLF001 - it keeps caches of them
    off: tuple[Call, Call] = (list.remove, warnings.filters, silence), on[1]
    return (
        Operation(on[0], off[1], "warnings"),
        Operation(on[1], off[0], "warnings"),
        Operation(off[0], on[1], "warnings"),
        Operation(off[1], on[0], "warnings"),
    )


def _cells(code: Code) -> list[types.CellType]:
    return [types.CellType() for _ in code.co_freevars]
