"""The stack machine: runs verified code. Values are Python's, so that both targets compute the same.

Calls between functions of the machine take no frame of Python's: the depth of a recursion is the machine's to limit.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from typing import Any

from attrs import evolve

from noodle_upgrade_compiler.nbc.builtins import BUILTINS, METHODS, MODULES
from noodle_upgrade_compiler.nbc.code import Code, Shape
from noodle_upgrade_compiler.nbc.operations import BY_NAME
from noodle_upgrade_compiler.nbc.verifier import verify
from noodle_upgrade_compiler.support import Enumeration, Interface, NoodleError, mangled, required, struct

__all__ = ["Machine", "Module"]

_MEMBERS = {"init": "__init__", "to_string": "__str__"}
_BINARY = (operator.add, operator.sub, operator.mul, operator.truediv, operator.mod)
_COMPARE = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
_ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "<absent>"})()
_SUSPENDED: Any = object()
(
    CONST, LOAD_LOCAL, STORE_LOCAL, LOAD_CELL, STORE_CELL, LOAD_GLOBAL, STORE_GLOBAL, LOAD_BUILTIN, LOAD_MEMBER,
    STORE_MEMBER, LOAD_INDEX, STORE_INDEX, BINARY, COMPARE, NOT, NEGATIVE, JUMP, JUMP_IF_FALSE, JUMP_IF_TRUE,
    JUMP_IF_FALSE_OR_POP, JUMP_IF_TRUE_OR_POP, CALL, RETURN, POP, DUP, BUILD_LIST, BUILD_OBJECT, ITERATE, NEXT,
    MAKE_FUNCTION, MAKE_TYPE, IMPORT, YIELD, AWAIT,
) = (operation.number for operation in BY_NAME.values())  # fmt: skip


class Module:
    """A module that runs, or has run: its variables are its members."""

    __slots__ = ("name", "path", "variables")

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.variables: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<module {self.name!r}>"


class Function:
    """A function of a program: its code, what it shares with others, and the module that it belongs to."""

    __slots__ = ("cells", "code", "defaults", "machine", "module")

    # Not for the machine, which calls these without Python: for built-ins that are given a function, as `map` is.
    def __init__(
        self, machine: Machine, code: Code, module: Module, defaults: tuple[Any, ...], cells: list[Any]
    ) -> None:
        self.machine, self.code, self.module, self.defaults, self.cells = machine, code, module, defaults, cells

    def __call__(self, *arguments: Any) -> Any:
        return self.machine.call(self, arguments)

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else Method(self, instance)

    def __repr__(self) -> str:
        return f"<function {self.code.name}>"


class Method:
    """A function and the object that it is called on."""

    __slots__ = ("function", "instance")

    def __init__(self, function: Function, instance: Any) -> None:
        self.function, self.instance = function, instance

    def __call__(self, *arguments: Any) -> Any:
        return self.function.machine.call(self.function, (self.instance, *arguments))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Method):
            return NotImplemented
        return self.function is other.function and self.instance is other.instance

    def __hash__(self) -> int:
        return hash((id(self.function), id(self.instance)))

    def __repr__(self) -> str:
        return f"<method {self.function.code.name}>"


class Frame:
    """A call: where it is in its code, and what it has."""

    __slots__ = ("awaited", "cells", "code", "is_making", "locals", "module", "next", "stack")

    def __init__(self, code: Code, module: Module, cells: list[Any]) -> None:
        self.code, self.module, self.cells = code, module, cells
        self.next = 0
        self.stack: list[Any] = []
        self.locals: list[Any] = [_ABSENT] * len(code.locals)
        self.awaited: Iterator[Any] | None = None
        self.is_making: Any = _ABSENT


class _Generator(Iterator[Any]):
    """A call that hands out values, and goes on when it is asked for the next."""

    __slots__ = ("_frame", "_machine")

    def __init__(self, machine: Machine, frame: Frame) -> None:
        self._machine, self._frame = machine, frame

    def __next__(self) -> Any:
        frame = self._frame
        if frame is _ABSENT:
            raise StopIteration
        try:
            done, value = self._machine.resume(frame)
        except BaseException:
            self._frame = _ABSENT
            raise
        if done:
            self._frame = _ABSENT
            raise StopIteration
        return value


class _Coroutine(Coroutine[Any, Any, Any]):
    """A call that waits for others; an event loop drives it."""

    __slots__ = ("_frame", "_machine")

    def __init__(self, machine: Machine, frame: Frame) -> None:
        self._machine, self._frame = machine, frame

    def send(self, value: Any) -> Any:
        if self._frame is _ABSENT:
            raise RuntimeError("cannot reuse already awaited coroutine")
        return self._go_on(lambda frame: self._machine.resume(frame, value))

    def throw(self, kind: Any, value: Any = None, _traceback: Any = None) -> Any:
        error = kind if isinstance(kind, BaseException) else value if value is not None else kind()
        return self._go_on(lambda frame: self._machine.resume(frame, error=error))

    def _go_on(self, resume: Callable[[Frame], tuple[bool, Any]]) -> Any:
        try:
            done, value = resume(self._frame)
        except BaseException:
            self._frame = _ABSENT
            raise
        if done:
            self._frame = _ABSENT
            raise StopIteration(value)
        return value

    def close(self) -> None:
        self._frame = _ABSENT

    def __await__(self) -> Generator[Any, Any, Any]:
        value = None
        while True:
            try:
                given = self.send(value)
            except StopIteration as stop:
                return stop.value
            value = yield given


class Machine:
    """Runs modules. `load(path)` gives the code of another module, None where there is no such one.

    `budget` is how many instructions it may run in all, None for any number; `depth` how many calls may lie inside one
    another, as many as Python's by default.
    """

    def __init__(
        self,
        load: Callable[[str], Code | None] = lambda _: None,
        *,
        budget: int | None = None,
        depth: int = 1000,
        builtins: Mapping[str, Callable[..., Any]] = BUILTINS,
    ) -> None:
        self._load = load
        self._left = budget if budget is not None else -1
        self._depth = depth
        self._calls = 0
        self._builtins = builtins
        self._modules: dict[str, Any] = {}

    def run(self, code: Code, *, name: str = "__main__", path: str = "") -> Module:
        """Verify a module's code and run it. Raises `NbcError`, and what the program raises."""
        verify(code)
        return self._run_module(code, name, path)

    def _run_module(self, code: Code, name: str, path: str) -> Module:
        module = Module(name, path)
        self._modules[name] = module
        try:
            self._finish(Frame(code, module, []))
        except BaseException:
            self._modules.pop(name, None)
            raise
        return module

    def call(self, function: Function, arguments: tuple[Any, ...]) -> Any:
        """Call a function of the program from outside of it."""
        frame = self._frame(function, list(arguments))
        return frame if not isinstance(frame, Frame) else self._finish(frame)

    def _finish(self, frame: Frame) -> Any:
        _, value = self.resume(frame)
        return value

    # --- calls ---------------------------------------------------------------------------------------------------

    def _frame(self, function: Function, arguments: list[Any]) -> Any:
        """Return the frame of a call; for generators and async functions what stands for it."""
        code = function.code
        missing = len(code.parameters) - len(arguments)
        if missing < 0 or missing > len(code.parameters) - code.required:
            raise TypeError(_arity(code, len(arguments)))
        frame = Frame(code, function.module, function.cells)
        given = arguments + list(function.defaults[len(function.defaults) - missing :]) if missing else arguments
        frame.locals[: len(given)] = given
        if code.captured:
            frame.cells = [*([_ABSENT] for _ in code.captured), *function.cells]
            for index, name in enumerate(code.captured):
                if (value := frame.locals[code.locals.index(name)]) is not _ABSENT:
                    frame.cells[index][0] = value
        if "generator" in code.flags:
            return _Generator(self, frame)
        if "async" in code.flags:
            return _Coroutine(self, frame)
        return frame

    def _called(self, callee: Any, arguments: list[Any]) -> Any:
        """Return a frame to run, or what the call gives."""
        if isinstance(callee, Function):
            return self._frame(callee, arguments)
        if isinstance(callee, Method):
            return self._frame(callee.function, [callee.instance, *arguments])
        if isinstance(callee, type) and isinstance(init := getattr(callee, "__init__", None), Function):
            made: Any = object.__new__(callee)
            frame = self._frame(init, [made, *arguments])
            if not isinstance(frame, Frame):
                raise TypeError("__init__() should return None, not a generator or coroutine")
            frame.is_making = made
            return frame
        return callee(*arguments)

    # --- running -------------------------------------------------------------------------------------------------

    def resume(self, frame: Frame, sent: Any = None, *, error: BaseException | None = None) -> tuple[bool, Any]:
        """Run a call until it returns (True, value), or hands a value out or waits (False, value)."""
        frames = [frame]
        self._calls += 1
        try:
            if frame.awaited is not None:
                waited = self._wait(frame, sent, error)
                if waited is not _ABSENT:
                    return False, waited
            elif error is not None:
                _raise(error)
            return self._run(frames)
        except BaseException as raised:
            _note(raised, frames)
            raise
        finally:
            self._calls -= len(frames)

    def _wait(self, frame: Frame, sent: Any, error: BaseException | None) -> Any:
        """Go on with what a frame waits for; returns what that hands out, `_ABSENT` when it has come to its end."""
        awaited: Any = frame.awaited
        try:
            if error is not None:
                return awaited.throw(error) if hasattr(awaited, "throw") else _raise(error)
            return awaited.send(sent) if hasattr(awaited, "send") else next(awaited)
        except StopIteration as stop:
            frame.awaited = None
            frame.stack.append(stop.value)
            return _ABSENT
        except BaseException:
            frame.awaited = None
            raise

    def _run(self, frames: list[Frame]) -> tuple[bool, Any]:  # noqa: C901, PLR0912, PLR0915 - one branch an operation
        frame = frames[-1]
        code, stack, cells, variables = frame.code, frame.stack, frame.cells, frame.locals
        instructions, at = code.instructions, frame.next
        while True:
            number, argument = instructions[at]
            frame.next = at
            at += 1
            if self._left >= 0:
                self._spend()
            if number == LOAD_LOCAL:
                value = variables[argument]
                if value is _ABSENT:
                    raise _unset(code.locals[argument])
                stack.append(value)
            elif number == CONST:
                stack.append(code.constants[argument])
            elif number == STORE_LOCAL:
                variables[argument] = stack.pop()
            elif number == LOAD_MEMBER:
                stack.append(_member(stack.pop(), code.names[argument]))
            elif number == BINARY:
                right = stack.pop()
                stack[-1] = _BINARY[argument](stack[-1], right)
            elif number == COMPARE:
                right = stack.pop()
                stack[-1] = _COMPARE[argument](stack[-1], right)
            elif number == JUMP_IF_FALSE:
                if not stack.pop():
                    at = argument
            elif number == JUMP:
                at = argument
            elif number == LOAD_GLOBAL:
                name = code.names[argument]
                value = frame.module.variables.get(name, _ABSENT)
                if value is _ABSENT:
                    raise NameError(f"name {name!r} is not defined")
                stack.append(value)
            elif number == LOAD_BUILTIN:
                stack.append(self._builtins[code.names[argument]])
            elif number == CALL:
                arguments = stack[len(stack) - argument :]
                del stack[len(stack) - argument :]
                result = self._called(stack.pop(), arguments)
                if isinstance(result, Frame):
                    frame.next = at
                    frames.append(result)
                    self._calls += 1
                    if self._calls > self._depth:
                        raise RecursionError("maximum recursion depth exceeded")
                    frame = result
                    code, stack, cells, variables = frame.code, frame.stack, frame.cells, frame.locals
                    instructions, at = code.instructions, 0
                else:
                    stack.append(result)
            elif number == RETURN:
                value = stack.pop()
                if frame.is_making is not _ABSENT:
                    if value is not None:
                        raise TypeError(f"__init__() should return None, not {type(value).__name__!r}")
                    value = frame.is_making
                if len(frames) == 1:
                    return True, value
                frames.pop()
                self._calls -= 1
                frame = frames[-1]
                code, stack, cells, variables = frame.code, frame.stack, frame.cells, frame.locals
                instructions, at = code.instructions, frame.next
                stack.append(value)
            elif number == POP:
                stack.pop()
            elif number == NEXT:
                value = next(stack[-1], _ABSENT)
                if value is _ABSENT:
                    stack.pop()
                    at = argument
                else:
                    stack.append(value)
            elif number == STORE_GLOBAL:
                frame.module.variables[code.names[argument]] = stack.pop()
            elif number == LOAD_INDEX:
                index = stack.pop()
                stack[-1] = stack[-1][index]
            elif number == STORE_INDEX:
                index, target = stack.pop(), stack.pop()
                target[index] = stack.pop()
            elif number == STORE_MEMBER:
                target = stack.pop()
                _set_member(target, code.names[argument], stack.pop())
            elif number == LOAD_CELL:
                value = cells[argument][0]
                if value is _ABSENT:
                    raise _unbound(code, argument)
                stack.append(value)
            elif number == STORE_CELL:
                cells[argument][0] = stack.pop()
            elif number == BUILD_LIST:
                items = stack[len(stack) - argument :]
                del stack[len(stack) - argument :]
                stack.append(items)
            elif number == JUMP_IF_FALSE_OR_POP:
                if stack[-1]:
                    stack.pop()
                else:
                    at = argument
            elif number == JUMP_IF_TRUE_OR_POP:
                if stack[-1]:
                    at = argument
                else:
                    stack.pop()
            elif number == NOT:
                stack[-1] = not stack[-1]
            elif number == ITERATE:
                stack[-1] = iter(stack[-1])
            elif number == BUILD_OBJECT:
                pairs = stack[len(stack) - 2 * argument :]
                del stack[len(stack) - 2 * argument :]
                stack.append(dict(zip(pairs[::2], pairs[1::2], strict=True)))
            elif number == NEGATIVE:
                stack[-1] = -stack[-1]
            elif number == JUMP_IF_TRUE:
                if stack.pop():
                    at = argument
            elif number == DUP:
                stack.append(stack[-1])
            elif number == MAKE_FUNCTION:
                stack.append(self._function(code.codes[argument], frame))
            elif number == MAKE_TYPE:
                stack.append(_type(code.shapes[argument], stack, frame.module))
            elif number == YIELD:
                frame.next = at
                return False, stack.pop()
            elif number == AWAIT:
                frame.next = at
                awaitable = stack.pop()
                frame.awaited = _awaited(awaitable)
                handed = self._wait(frame, None, None)
                if handed is not _ABSENT:
                    if len(frames) > 1:
                        raise RuntimeError("await outside of a coroutine")
                    return False, handed
            else:
                stack.append(self._import(code.names[argument]))

    def _spend(self) -> None:
        if self._left == 0:
            raise NoodleError("The program has used up the instructions that it was given.")
        self._left -= 1

    # --- making --------------------------------------------------------------------------------------------------

    def _function(self, code: Code, frame: Frame) -> Function:
        count = len(code.parameters) - code.required
        defaults = tuple(frame.stack[len(frame.stack) - count :]) if count else ()
        if count:
            del frame.stack[len(frame.stack) - count :]
        outer = (*frame.code.captured, *frame.code.free)
        cells = [frame.cells[outer.index(name)] for name in code.free]
        return Function(self, code, frame.module, defaults, cells)

    def _import(self, path: str) -> Any:
        name = path.replace("/", ".")
        if name in self._modules:
            return self._modules[name]
        if (code := self._load(path)) is not None:
            verify(code)
            return self._run_module(code, name, path)
        if path in MODULES:
            module = self._modules[name] = Module(name, path)
            source = importlib.import_module(name)
            module.variables = {member: getattr(source, member) for member in MODULES[path]}
            return module
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


# --- members ---------------------------------------------------------------------------------------------------------


class _Made(type):
    """The class of the classes that programs make: what has it may be looked into."""


class _MadeInterface(_Made, type(Interface)):  # type: ignore[misc]
    """The same for interfaces, and for classes that implement some."""


def _member(of: Any, name: str) -> Any:  # noqa: PLR0911 - one for each kind of value
    kind = type(of)
    if isinstance(kind, _Made) or isinstance(of, _Made):
        return getattr(of, _MEMBERS.get(name) or mangled(name))
    if kind is Module:
        value = of.variables.get(name, _ABSENT)
        if value is _ABSENT:
            raise AttributeError(f"module {of.name!r} has no attribute {name!r}")
        return value
    if isinstance(of, Enumeration) and name in ("name", "value"):
        return getattr(of, name)
    if isinstance(of, type) and issubclass(of, Enumeration):
        return of[name] if mangled(name) in of.__members__ else _absent(of, name)
    if name == "to_string":
        return of.__str__
    if kind is type and name in METHODS.get(of, ()):
        return getattr(of, name)  # str.upper, for map
    return getattr(of, name) if name in METHODS.get(kind, ()) else _absent(of, name)


def _set_member(of: Any, name: str, value: Any) -> None:
    kind = type(of)
    if isinstance(kind, _Made) or isinstance(of, _Made):
        setattr(of, _MEMBERS.get(name) or mangled(name), value)
    elif kind is Module:
        of.variables[name] = value
    else:
        raise AttributeError(f"{kind.__name__!r} object attribute {name!r} is read-only")


def _absent(of: Any, name: str) -> Any:
    raise AttributeError(f"{type(of).__name__!r} object has no attribute {name!r}")


def _type(shape: Shape, stack: list[Any], module: Module) -> Any:
    """Return the type that a shape and the values on the stack make."""
    count = shape.takes
    values = stack[len(stack) - count :] if count else []
    if count:
        del stack[len(stack) - count :]
    space: dict[str, Any] = {"__module__": module.name, "__qualname__": shape.name}
    if (name := mangled(shape.name)) != shape.name:
        shape = evolve(shape, name=name)
    names = [_MEMBERS.get(member) or mangled(member) for member in shape.members]
    if shape.kind == "class":
        bases = values[: shape.has_base + shape.given]
        if not all(isinstance(base, _Made) for base in bases):
            raise TypeError("a class can only extend and implement classes and interfaces of the program")
        space.update(zip(names, values[len(bases) :], strict=True))
        kind = _MadeInterface if any(isinstance(base, _MadeInterface) for base in bases) else _Made
        return kind(shape.name, tuple(bases), space)
    if shape.kind == "struct":
        space["__annotations__"] = dict.fromkeys(names, object)
        space.update(zip(names[len(names) - count :], values, strict=True))
        return struct(_Made(shape.name, (), space))
    if shape.kind == "interface":
        space.update((name, required(_nothing())) for name in names)
        return _MadeInterface(shape.name, (Interface,), space)
    if not all(type(value) is int for value in values):
        raise TypeError("the members of an enumeration are whole numbers")
    make: Any = Enumeration  # called with members it makes another class, which its type does not say
    return make(shape.name, list(zip(names, values, strict=True)), module=module.name)


def _nothing() -> Callable[..., None]:
    def missing(*_arguments: Any) -> None:
        """Stand for a method that a class has to have."""

    return missing


# --- words -----------------------------------------------------------------------------------------------------------


def _arity(code: Code, count: int) -> str:
    wanted = len(code.parameters)
    least = code.required
    if count < least:
        *names, last = [repr(name) for name in code.parameters[count:least]]
        comma = "," if names[1:] else ""
        listed = f"{', '.join(names)}{comma} and {last}" if names else last
        plural = "s" if names else ""
        return f"{code.name}() missing {least - count} required positional argument{plural}: {listed}"
    takes = str(wanted) if least == wanted else f"from {least} to {wanted}"
    plural = "" if takes == "1" else "s"
    return (
        f"{code.name}() takes {takes} positional argument{plural} but {count} {'was' if count == 1 else 'were'} given"
    )


def _unset(name: str) -> UnboundLocalError:
    return UnboundLocalError(f"cannot access local variable {name!r} where it is not associated with a value")


def _unbound(code: Code, argument: int) -> NameError:
    names = (*code.captured, *code.free)
    if argument < len(code.captured):
        return _unset(names[argument])
    told = f"cannot access free variable {names[argument]!r} where it is not associated with a value in enclosing scope"
    return NameError(told)


def _awaited(value: Any) -> Any:
    if isinstance(value, Coroutine):
        return value.__await__() if not isinstance(value, _Coroutine) else value
    if hasattr(type(value), "__await__"):
        return type(value).__await__(value)
    raise TypeError(f"object {type(value).__name__} can't be used in 'await' expression")


def _raise(error: BaseException) -> Any:
    raise error


def _note(error: BaseException, frames: list[Frame]) -> None:
    """Say where in the program an error came up, innermost call first, as a traceback would."""
    if isinstance(error, StopIteration):
        return
    for frame in reversed(frames):
        # A frame that waits for a call goes on behind it.
        line, column = frame.code.place(frame.next if frame is frames[-1] else frame.next - 1)
        where = f"{frame.module.path or frame.module.name}:{line}:{column}" if line else frame.module.name
        error.add_note(f"at {where} in {frame.code.name}")
