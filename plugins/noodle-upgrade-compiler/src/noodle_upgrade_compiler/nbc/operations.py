"""The operations of the stack machine: number, argument, and what each takes from the stack and leaves there.

The numbers are the format's: an operation is never given another one, a new one takes the next.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

__all__ = ["BINARY", "BY_NAME", "COMPARE", "OPERATIONS", "Operation"]

Argument = Literal[
    "none",
    "constant",
    "local",
    "cell",
    "name",
    "builtin",
    "path",
    "binary",
    "compare",
    "jump",
    "count",
    "code",
    "shape",
]
"""What the argument is an index of, or how many values the operation takes."""

BINARY = ("+", "-", "*", "/", "%")
COMPARE = ("==", "!=", "<", "<=", ">", ">=")


@frozen
class Operation:
    """One operation. `takes` and `leaves` are counts of values; -1 where the argument says how many it takes."""

    number: int
    name: str
    argument: Argument
    takes: int
    leaves: int
    help: str


_ROWS: tuple[tuple[str, Argument, int, int, str], ...] = (
    ("CONST", "constant", 0, 1, "push a constant"),
    ("LOAD_LOCAL", "local", 0, 1, "push a variable of the function"),
    ("STORE_LOCAL", "local", 1, 0, "give a variable of the function a value"),
    ("LOAD_CELL", "cell", 0, 1, "push a variable that functions share"),
    ("STORE_CELL", "cell", 1, 0, "give a shared variable a value"),
    ("LOAD_GLOBAL", "name", 0, 1, "push a variable of the module"),
    ("STORE_GLOBAL", "name", 1, 0, "give a variable of the module a value"),
    ("LOAD_BUILTIN", "builtin", 0, 1, "push a built-in function"),
    ("LOAD_MEMBER", "name", 1, 1, "replace an object by its member"),
    ("STORE_MEMBER", "name", 2, 0, "value, object: give a member a value"),
    ("LOAD_INDEX", "none", 2, 1, "object, index: push what is there"),
    ("STORE_INDEX", "none", 3, 0, "value, object, index: put it there"),
    ("BINARY", "binary", 2, 1, "left, right: push left (+ - * / %) right"),
    ("COMPARE", "compare", 2, 1, "left, right: push left (== != < <= > >=) right"),
    ("NOT", "none", 1, 1, "replace a value by whether it counts as false"),
    ("NEGATIVE", "none", 1, 1, "replace a number by its negative"),
    ("JUMP", "jump", 0, 0, "go on at an instruction"),
    ("JUMP_IF_FALSE", "jump", 1, 0, "take a value, and jump if it counts as false"),
    ("JUMP_IF_TRUE", "jump", 1, 0, "take a value, and jump if it counts as true"),
    ("JUMP_IF_FALSE_OR_POP", "jump", 1, 1, "jump and keep the value if it counts as false, else take it"),
    ("JUMP_IF_TRUE_OR_POP", "jump", 1, 1, "jump and keep the value if it counts as true, else take it"),
    ("CALL", "count", -1, 1, "function, arguments: push what it returns"),
    ("RETURN", "none", 1, 0, "leave the function with a value"),
    ("POP", "none", 1, 0, "take a value, or an iterator, away"),
    ("DUP", "none", 1, 2, "push the value on top once more"),
    ("BUILD_LIST", "count", -1, 1, "push a list of so many values"),
    ("BUILD_OBJECT", "count", -1, 1, "push an object of so many pairs of key and value"),
    ("ITERATE", "none", 1, 1, "replace a value by an iterator over it"),
    ("NEXT", "jump", 1, 2, "push what the iterator gives next; when it is at its end, take it away and jump"),
    ("MAKE_FUNCTION", "code", -1, 1, "defaults: push a function"),
    ("MAKE_TYPE", "shape", -1, 1, "bases, members: push a class, struct, interface or enumeration"),
    ("IMPORT", "path", 0, 1, "push a module"),
    ("YIELD", "none", 1, 0, "hand a value to whoever runs the generator"),
    ("AWAIT", "none", 1, 1, "replace what can be awaited by what comes of it"),
)
OPERATIONS = tuple(Operation(number, *row) for number, row in enumerate(_ROWS))

BY_NAME = {operation.name: operation for operation in OPERATIONS}
