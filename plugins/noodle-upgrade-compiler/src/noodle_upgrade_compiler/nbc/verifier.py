"""Whether a module's code can be run: nothing of a file is executed before every instruction of it has been followed.

Each code is walked along all of its paths once. At every instruction there is one stack: how deep it is and which of
its places hold iterators. Where two paths meet it must be the same one.
"""

from __future__ import annotations

from itertools import pairwise

from noodle_upgrade_compiler.errors import NbcError
from noodle_upgrade_compiler.nbc.builtins import BUILTINS
from noodle_upgrade_compiler.nbc.code import Code, Limits
from noodle_upgrade_compiler.nbc.operations import BINARY, BY_NAME, COMPARE, OPERATIONS

__all__ = ["is_member", "is_name", "is_path", "verify"]

_REFUSED = frozenset({"format", "format_map", "mro"})
_JUMPS = frozenset(operation.number for operation in OPERATIONS if operation.argument == "jump")
_RETURN, _JUMP, _NEXT, _POP, _ITERATE, _DUP = (
    BY_NAME[name].number for name in ("RETURN", "JUMP", "NEXT", "POP", "ITERATE", "DUP")
)
_OR_POP = frozenset({BY_NAME["JUMP_IF_FALSE_OR_POP"].number, BY_NAME["JUMP_IF_TRUE_OR_POP"].number})
_LAST = frozenset({_RETURN, _JUMP})


def is_name(text: str) -> bool:
    """Whether something may be called so: an identifier that does not begin with two underscores."""
    return text.isidentifier() and not text.startswith("__")


def is_member(text: str) -> bool:
    """Whether a member may be called so: a name that is none of Python's own."""
    return is_name(text) and text not in _REFUSED


def is_path(text: str) -> bool:
    """Whether a module may be called so: names with "/" between them."""
    return all(map(is_name, text.split("/")))


def verify(code: Code, limits: Limits = Limits()) -> None:  # noqa: B008 - a frozen value
    """Raise `NbcError` unless this is the code of a module that can be run."""
    if code.parameters or code.locals or code.captured or code.free or code.flags:
        raise NbcError("A module has no parameters, no variables of a function and no flags.")
    _verify(code, (), limits)


def _verify(code: Code, around: tuple[str, ...], limits: Limits) -> None:
    _check_names(code, around)
    _Walk(code, limits).run()
    for inner in code.codes:
        _verify(inner, (*code.captured, *code.free), limits)


def _check_names(code: Code, around: tuple[str, ...]) -> None:
    variables = (*code.locals, *code.free)
    _demand(code, all(map(is_name, variables)), "a variable with a name that none may have")
    _demand(code, len(set(variables)) == len(variables), "the same variable twice")
    _demand(code, code.locals[: len(code.parameters)] == code.parameters, "parameters that are not its first variables")
    _demand(code, code.required <= len(code.parameters), "fewer parameters than it needs")
    _demand(code, set(code.captured) <= set(code.locals), "shared variables that are none of its own")
    _demand(code, len(set(code.captured)) == len(code.captured), "the same shared variable twice")
    _demand(code, set(code.free) <= set(around), "variables from outside that nobody around it shares")
    for shape in code.shapes:
        good = is_name(shape.name) and all(map(is_member, shape.members))
        _demand(code, good, f"a type {shape.name!r} with a name that none may have")
        _demand(code, len(set(shape.members)) == len(shape.members), f"a type {shape.name!r} with a member twice")
        is_filled = shape.kind != "struct" or shape.given <= len(shape.members)
        _demand(code, is_filled, f"a struct {shape.name!r} with more defaults than fields")
    indices = [index for index, _, _ in code.positions]
    in_order = all(one < other for one, other in pairwise(indices))
    _demand(code, in_order and all(index < len(code.instructions) for index in indices), "positions in no order")


def _demand(code: Code, is_so: bool, otherwise: str) -> None:  # noqa: FBT001 - what is demanded
    if not is_so:
        raise NbcError(f"The function {code.name!r} has {otherwise}.")


class _Stack:
    """What lies on the stack: the place on top, and the stack below it. Equal ones are the same object."""

    __slots__ = ("below", "depth", "is_iterator", "on")

    def __init__(self, below: _Stack | None, *, is_iterator: bool) -> None:
        self.below = below
        self.is_iterator = is_iterator
        self.depth: int = 0 if below is None else below.depth + 1
        self.on: dict[bool, _Stack] = {}

    def push(self, *, is_iterator: bool = False) -> _Stack:
        found = self.on.get(is_iterator)
        if found is None:
            found = self.on[is_iterator] = _Stack(self, is_iterator=is_iterator)
        return found


class _Walk:
    """Follows the paths through one code."""

    def __init__(self, code: Code, limits: Limits) -> None:
        self._code, self._limits = code, limits
        self._seen: dict[int, _Stack] = {}
        self._waiting: list[int] = []
        self._counts = {
            "constant": len(code.constants),
            "local": len(code.locals),
            "cell": len(code.captured) + len(code.free),
            "name": len(code.names),
            "builtin": len(code.names),
            "path": len(code.names),
            "binary": len(BINARY),
            "compare": len(COMPARE),
            "jump": len(code.instructions),
            "count": limits.stack,
            "code": len(code.codes),
            "shape": len(code.shapes),
        }

    def run(self) -> None:
        if not self._code.instructions:
            raise self._wrong(0, "there is no instruction")
        self._reach(0, _Stack(None, is_iterator=False))
        while self._waiting:
            index = self._waiting.pop()
            self._follow(index, self._seen[index])

    def _reach(self, index: int, stack: _Stack) -> None:
        if index >= len(self._code.instructions):
            raise self._wrong(index - 1, "it runs past its end")
        if stack.depth > self._limits.stack:
            raise self._wrong(index, f"more than {self._limits.stack:,} values lie on the stack")
        known = self._seen.get(index)
        if known is None:
            self._seen[index] = stack
            self._waiting.append(index)
        elif known is not stack:
            raise self._wrong(index, "it is reached with two different stacks")

    def _follow(self, index: int, stack: _Stack) -> None:
        number, argument = self._code.instructions[index]
        operation = OPERATIONS[number]
        if operation.argument != "none" and argument >= self._counts[operation.argument]:
            raise self._wrong(index, f"the argument {argument:,} leads nowhere")
        self._check(index, operation.name, argument)
        takes = operation.takes if operation.takes >= 0 else self._taken(operation.name, argument)
        if number == _NEXT:
            if stack.depth < 1 or not stack.is_iterator:
                raise self._wrong(index, "there is no iterator on top of the stack")
            assert stack.below is not None  # noqa: S101 - its depth says so
            self._reach(argument, stack.below)
            self._reach(index + 1, stack.push())
            return
        if number in _OR_POP:
            self._reach(argument, self._popped(index, stack, 1).push())
            self._reach(index + 1, self._popped(index, stack, 1))
            return
        is_iterator = number == _POP and stack.depth > 0 and stack.is_iterator
        below = stack.below if is_iterator else self._popped(index, stack, takes)
        assert below is not None  # noqa: S101 - its depth says so
        after = below
        for _ in range(operation.leaves):
            after = after.push(is_iterator=number == _ITERATE)
        if number in _JUMPS:
            self._reach(argument, after)
        if number not in _LAST:
            self._reach(index + 1, after)

    def _taken(self, name: str, argument: int) -> int:
        if name == "MAKE_FUNCTION":
            inner = self._code.codes[argument]
            return len(inner.parameters) - inner.required
        if name == "MAKE_TYPE":
            return self._code.shapes[argument].takes
        return {"CALL": argument + 1, "BUILD_LIST": argument, "BUILD_OBJECT": 2 * argument}[name]

    def _popped(self, index: int, stack: _Stack, count: int) -> _Stack:
        """Return the stack without the values on top, none of which may be an iterator."""
        if stack.depth < count:
            raise self._wrong(index, "it takes more from the stack than lies there")
        for _ in range(count):
            if stack.is_iterator:
                raise self._wrong(index, "it takes an iterator for a value")
            assert stack.below is not None  # noqa: S101 - its depth says so
            stack = stack.below
        return stack

    def _check(self, index: int, name: str, argument: int) -> None:
        """Check what an operation may do in this code, beside its indices."""
        code = self._code
        allowed = {"LOAD_GLOBAL": is_name, "STORE_GLOBAL": is_name, "LOAD_MEMBER": is_member, "STORE_MEMBER": is_member}
        if name in allowed and not allowed[name](code.names[argument]):
            raise self._wrong(index, f"{code.names[argument]!r} is no name")
        if name == "LOAD_BUILTIN" and code.names[argument] not in BUILTINS:
            raise self._wrong(index, f"there is no built-in {code.names[argument]!r}")
        if name == "IMPORT" and not is_path(code.names[argument]):
            raise self._wrong(index, f"{code.names[argument]!r} is no module")
        if name == "YIELD" and "generator" not in code.flags:
            raise self._wrong(index, "it is no generator")
        if name == "AWAIT" and "async" not in code.flags:
            raise self._wrong(index, "it is not async")
        if code.flags == {"async", "generator"}:
            raise self._wrong(index, "a function is async or a generator, and not both")

    def _wrong(self, index: int, what: str) -> NbcError:
        line, _ = self._code.place(index)
        where = f" (line {line})" if line else ""
        return NbcError(f"The function {self._code.name!r} cannot be run: at instruction {index}{where} {what}.")
