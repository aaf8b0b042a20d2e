"""Closures that have noted how many arguments the function takes that they wrap.

Such a wrapper tries, keeps in variables of its own (`nonlocal`) what has worked, and passes so many arguments on from
then on. Where that function takes others in the other version, what was noted is wrong: the wrapper begins anew, as it
was when it was made. Everything else that closures keep is the program's, and stays.
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field

from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.operations import Operation

__all__ = ["Noted"]

Code = types.CodeType
_NUMBERS = (bool, int)
_PARTS = frozenset({"BUILD_SLICE", "BINARY_SLICE", "BINARY_SUBSCR"})
_CONSTANTS = frozenset({"LOAD_CONST", "LOAD_SMALL_INT"})
_NEAR = 3
_BEFORE = 2


@define(eq=False)
class Noted:
    """What such wrappers begin with, by the ids of their code, and the functions that take other arguments."""

    _first: dict[int, tuple[Code, Mapping[str, Any]]] = field(factory=dict)
    _changed: dict[int, Any] = field(factory=dict)
    _planned: dict[int, Operation] = field(factory=dict)

    @classmethod
    def of(cls, pairs: Iterable[tuple[Any, Any]]) -> Noted:
        """Find both in functions and what takes their place, before anything has changed."""
        functions = [pair for pair in pairs if all(type(one) is types.FunctionType for one in pair)]
        found = cls()
        for live, staged in functions:
            for maker in (live.__code__, staged.__code__):
                found._first |= _wrappers(maker)
        if found._first:
            found._changed = {
                id(live): live
                for live, staged in functions
                if _parameters(live.__code__) != _parameters(staged.__code__)
            }
        return found

    def __bool__(self) -> bool:
        return bool(self._first and self._changed)

    def records(self) -> list[Any]:
        """Return the containers in which this remembers objects of the program."""
        return [self._first, self._changed, self._planned]

    def among(self, heap: Heap) -> list[types.FunctionType]:
        """Return the wrappers of functions that take other arguments."""
        if not self:
            return []
        functions = heap.of([types.FunctionType])
        return [one for one in functions if id(one.__code__) in self._first and self._wraps(one)]

    def codes(self) -> list[Code]:
        """Return the code of which such wrappers are made."""
        return [code for code, _ in self._first.values()] if self else []

    def plan(self, heap: Heap) -> list[Operation]:
        """Return what has these wrappers begin anew; their inverses bring back what they have noted by now."""
        self._planned = self._operations(self.among(heap))
        return list(self._planned.values())

    def lead_back(self, heap: Heap, *, skip: Callable[[Any], bool]) -> list[Operation]:
        """Return what has those begin anew that were made since: for when the change has been taken back."""
        made = self._operations([one for one in self.among(heap) if not skip(one)])
        return [operation for cell, operation in made.items() if cell not in self._planned]

    def _operations(self, functions: Sequence[types.FunctionType]) -> dict[int, Operation]:
        cells: dict[int, Operation] = {}
        for function in functions:
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                first = self._first[id(function.__code__)][1].get(name)
                now = _content(cell)
                if first is not None and type(now) in _NUMBERS:
                    subject = f"{function.__module__}.{function.__qualname__}: {name}"
                    do, undo = (setattr, cell, "cell_contents", first), (setattr, cell, "cell_contents", now)
                    cells[id(cell)] = Operation(do, undo, subject)
        return cells

    def _wraps(self, function: types.FunctionType, deepest: int = 4) -> bool:
        """Return whether a function passes its arguments on to one that takes others, if need be past more like it."""
        for cell in function.__closure__ or ():
            held = _content(cell)
            one: Any = held.__func__ if type(held) is types.MethodType else held
            if id(one) in self._changed:
                return True
            passes_on = type(one) is types.FunctionType and one.__code__.co_flags & inspect.CO_VARARGS
            if passes_on and deepest and self._wraps(one, deepest - 1):
                return True
        return False


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _parameters(code: Code) -> tuple[int, ...]:
    more = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, more


def _wrappers(maker: Code) -> dict[int, tuple[Code, Mapping[str, Any]]]:
    """Return the wrappers that a function makes, with what it gives to the variables in which they note numbers."""
    found: dict[int, tuple[Code, Mapping[str, Any]]] = {}
    inner = [one for one in maker.co_consts if isinstance(one, Code)]
    for code in inner:
        found |= _wrappers(code)
    wrapping = [code for code in inner if code.co_freevars and code.co_flags & inspect.CO_VARARGS]
    if not wrapping:
        return found
    given = _given(maker)
    for code in wrapping:
        first = {name: given[name] for name in _assigned(code) if name in given}
        if any(name in first and type(first[name]) is int for name in _chosen_by(code)):
            found[id(code)] = (code, first)
    return found


def _given(maker: Code) -> dict[str, Any]:
    """Return the variables that a function gives a number once, as it stands there, to keep for inner ones."""
    found: dict[str, Any] = {}
    several: set[str] = set()
    values: list[Any] = []
    for step in dis.get_instructions(maker):
        if step.opname == "STORE_DEREF":
            value = values.pop() if values else None
            several |= {step.argval} & found.keys()
            found[step.argval] = value
        elif step.opname == "UNPACK_SEQUENCE" and values and type(values[-1]) is tuple:
            values += reversed(values.pop())
        else:
            values = [step.argval] if step.opname in _CONSTANTS else []
    return {name: value for name, value in found.items() if type(value) in _NUMBERS and name not in several}


def _assigned(code: Code) -> list[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_DEREF"}
    return sorted(names & set(code.co_freevars))


def _chosen_by(code: Code) -> Iterator[str]:
    """Yield the variables by which a function takes a part of its arguments; of another sequence it is a place."""
    arguments = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
    steps = list(dis.get_instructions(code))
    for place, step in enumerate(steps):
        if step.opname == "LOAD_DEREF" and any(one.opname in _PARTS for one in steps[place + 1 : place + 1 + _NEAR]):
            before = steps[max(0, place - _BEFORE) : place]
            if any(arguments in _loaded(one) for one in before):
                yield step.argval


def _loaded(step: dis.Instruction) -> Sequence[Any]:
    if not step.opname.startswith("LOAD_"):
        return ()
    # From 3.13 on one step may load two variables.
    return step.argval if type(step.argval) is tuple and step.opname not in _CONSTANTS else (step.argval,)
