"""A tree of Noodle as code for a stack machine: NBC, as tuples that whoever writes the file encodes.

A code is `(name, parameters, required, locals, captured, free, flags, constants, names, instructions, positions, codes,
shapes)`; an instruction is `(operation, argument)`, a position `(index of the instruction, start, end)`. The reference
"NBC" says what each operation does to the stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .names import Names
from .peephole import shortened

__all__ = ["stack_code"]

Node = tuple[Any, ...]

_BINARY = {"+": 0, "-": 1, "*": 2, "/": 3, "%": 4}
_COMPARE = {"==": 0, "!=": 1, "<": 2, "<=": 3, ">": 4, ">=": 5}


def stack_code(tree: Node) -> Node:
    """Return the code of a module."""
    names = Names(None, frozenset(tree[4]), ())
    code = _Code("<module>", names)
    code.body(tree[3])
    code.add("CONST", code.constant(None), tree)
    code.add("RETURN", 0, tree)
    return code.done((), 0, ())


class _Code:
    """The code of one function, as it grows."""

    def __init__(self, name: str, names: Names) -> None:
        self._name = name
        self._names = names
        self._constants: list[Any] = []
        self._known: dict[tuple[type, str], int] = {}
        self._texts: dict[str, int] = {}
        self._instructions: list[list[Any]] = []
        self._positions: list[tuple[int, int, int]] = []
        self._codes: list[Node] = []
        self._shapes: list[Node] = []
        self._loops: list[_Loop] = []
        self._locals = {name: index for index, name in enumerate(names.local)}
        self._cells = {name: index for index, name in enumerate((*names.captured, *names.free))}
        self._expressions: dict[str, Callable[[Node], None]] = {
            "name": self._load, "const": self._const, "binary": self._binary, "compare": self._comparison,
            "and": self._logical, "or": self._logical, "not": self._not, "negative": self._negative, "call": self._call,
            "member": self._member, "index": self._index, "list": self._list, "object": self._object,
            "await": self._await,
        }  # fmt: skip
        self._statements: dict[str, Callable[[Node], None]] = {
            "let": self._let, "assign": self._assign, "expression": self._expression, "return": self._return,
            "yield": self._yield, "break": self._break, "continue": self._continue, "if": self._if,
            "while": self._while, "for": self._for, "match": self._match, "block": self._block, "def": self._def,
            "class": self._class, "struct": self._struct, "interface": self._interface, "enum": self._enum,
            "import": self._import, "from": self._from, "alias": self._nothing,
        }  # fmt: skip

    def done(self, parameters: tuple[str, ...], required: int, flags: tuple[str, ...]) -> Node:
        """Return the code as it is now, made as short as it can be."""
        instructions = tuple((operation, argument) for operation, argument in self._instructions)
        instructions, positions = shortened(instructions, tuple(self._positions))
        return (
            self._name, parameters, required, self._names.local, self._names.captured, self._names.free, flags,
            tuple(self._constants), tuple(self._texts), instructions, positions, tuple(self._codes),
            tuple(self._shapes),
        )  # fmt: skip

    # --- the pieces ----------------------------------------------------------------------------------------------

    def add(self, operation: str, argument: int, node: Node) -> int:
        """Append an instruction that belongs to a node; returns its index."""
        index = len(self._instructions)
        self._instructions.append([operation, argument])
        if not self._positions or self._positions[-1][1:] != node[1:3]:
            self._positions.append((index, node[1], node[2]))
        return index

    def constant(self, value: Any) -> int:
        """Return the index of a constant; 1, 1.0 and true are three, and so are 0.0 and -0.0."""
        key = (type(value), repr(value))
        if key not in self._known:
            self._known[key] = len(self._constants)
            self._constants.append(value)
        return self._known[key]

    def text(self, name: str) -> int:
        """Return the index of a name."""
        return self._texts.setdefault(name, len(self._texts))

    def _jump(self, operation: str, node: Node) -> int:
        """Append a jump whose end is not known yet; returns its index for `_land`."""
        return self.add(operation, 0, node)

    def _land(self, *jumps: int) -> None:
        """Let jumps end at the next instruction."""
        for index in jumps:
            self._instructions[index][1] = len(self._instructions)

    # --- names ---------------------------------------------------------------------------------------------------

    def _load(self, node: Node) -> None:
        name = node[3]
        place = self._names.place(name)
        if place == "local":
            self.add("LOAD_LOCAL", self._locals[name], node)
        elif place == "cell":
            self.add("LOAD_CELL", self._cells[name], node)
        else:
            self.add("LOAD_GLOBAL" if place == "global" else "LOAD_BUILTIN", self.text(name), node)

    def _store(self, name: str, node: Node) -> None:
        place = self._names.place(name)
        if place == "local":
            self.add("STORE_LOCAL", self._locals[name], node)
        elif place == "cell":
            self.add("STORE_CELL", self._cells[name], node)
        else:
            self.add("STORE_GLOBAL", self.text(name), node)

    # --- statements ----------------------------------------------------------------------------------------------

    def body(self, statements: tuple[Node, ...]) -> None:
        """Append statements."""
        for node in statements:
            self._statements[node[0]](node)

    def _nothing(self, node: Node) -> None:
        pass

    def _let(self, node: Node) -> None:
        self._push(node[5] or ("const", node[1], node[2], None))
        self._store(node[3][3], node[3])

    def _assign(self, node: Node) -> None:
        targets = node[3]
        self._push(node[4])
        for index, target in enumerate(targets):
            if index + 1 < len(targets):
                self.add("DUP", 0, target)
            if target[0] == "name":
                self._store(target[3], target)
            elif target[0] == "member":
                self._push(target[3])
                self.add("STORE_MEMBER", self.text(target[4]), target)
            else:
                self._push(target[3])
                self._push(target[4])
                self.add("STORE_INDEX", 0, target)

    def _expression(self, node: Node) -> None:
        self._push(node[3])
        self.add("POP", 0, node[3])

    def _return(self, node: Node) -> None:
        self._push(node[3] or ("const", node[1], node[2], None))
        self.add("RETURN", 0, node)

    def _yield(self, node: Node) -> None:
        self._push(node[3] or ("const", node[1], node[2], None))
        self.add("YIELD", 0, node)

    def _block(self, node: Node) -> None:
        self.body(node[3])

    def _if(self, node: Node) -> None:
        ends = []
        for test, body in node[3]:
            self._push(test)
            other = self._jump("JUMP_IF_FALSE", test)
            self.body(body)
            ends.append(self._jump("JUMP", node))
            self._land(other)
        self.body(node[4])
        self._land(*ends)

    def _while(self, node: Node) -> None:
        loop = _Loop(len(self._instructions), holds=0)
        self._push(node[3])
        out = self._jump("JUMP_IF_FALSE", node[3])
        self._loops.append(loop)
        self.body(node[4])
        self._loops.pop()
        self.add("JUMP", loop.start, node)
        self._land(out, *loop.breaks)

    def _for(self, node: Node) -> None:
        self._push(node[4])
        self.add("ITERATE", 0, node[4])
        loop = _Loop(len(self._instructions), holds=1)
        out = self._jump("NEXT", node[4])
        self._store(node[3][3], node[3])
        self._loops.append(loop)
        self.body(node[5])
        self._loops.pop()
        self.add("JUMP", loop.start, node)
        self._land(out, *loop.breaks)

    def _break(self, node: Node) -> None:
        loop = self._loops[-1]
        if loop.holds:
            self.add("POP", 0, node)
        loop.breaks.append(self._jump("JUMP", node))

    def _continue(self, node: Node) -> None:
        self.add("JUMP", self._loops[-1].start, node)

    def _match(self, node: Node) -> None:
        self._push(node[3])
        ends = []
        for patterns, body in node[4]:
            inside = []
            for pattern in patterns:
                self.add("DUP", 0, node[3])
                self._push(pattern)
                self.add("COMPARE", _COMPARE["=="], pattern)
                inside.append(self._jump("JUMP_IF_TRUE", pattern))
            other = self._jump("JUMP", node)
            self._land(*inside)
            self.add("POP", 0, node[3])
            self.body(body)
            ends.append(self._jump("JUMP", node))
            self._land(other)
        self.add("POP", 0, node[3])
        self.body(node[5])
        self._land(*ends)

    # --- functions -----------------------------------------------------------------------------------------------

    def _def(self, node: Node) -> None:
        self._function(node)
        self._store(node[3], node)

    def _function(self, node: Node) -> None:
        """Push a function: its defaults, then what it is made of."""
        _, start, end, name, parameters, _, body, flags, _, _ = node
        own = frozenset((*self._names.captured, *self._names.local)) if self._names.local else frozenset()
        around = (*self._names.around, own) if own else self._names.around
        inner = _Code(name, Names(node, self._names.module, around))
        inner.body(body)
        at = (node[0], end - 1, end)
        inner.add("CONST", inner.constant(None), at)
        inner.add("RETURN", 0, at)
        defaults = [parameter[5] for parameter in parameters if parameter[5] is not None]
        for default in defaults:
            self._push(default)
        self._codes.append(inner.done(tuple(p[3] for p in parameters), len(parameters) - len(defaults), _kept(flags)))
        self.add("MAKE_FUNCTION", len(self._codes) - 1, (node[0], start, start))

    # --- types ---------------------------------------------------------------------------------------------------

    def _shape(self, *shape: Any) -> int:
        self._shapes.append(shape)
        return len(self._shapes) - 1

    def _class(self, node: Node) -> None:
        _, _, _, name, base, interfaces, members = node
        for one in (base, *interfaces) if base is not None else interfaces:
            self._push(one)
        for member in members:
            if member[0] == "def":
                self._function(member)
            else:
                self._push(member[5] or ("const", member[1], member[2], None))
        shape = self._shape("class", name, base is not None, len(interfaces), tuple(member[3] for member in members))
        self.add("MAKE_TYPE", shape, node)
        self._store(name, node)

    def _struct(self, node: Node) -> None:
        _, _, _, name, fields = node
        given = [field[5] for field in fields if field[5] is not None]
        for default in given:
            self._push(default)
        shape = self._shape("struct", name, False, len(given), tuple(field[3] for field in fields))
        self.add("MAKE_TYPE", shape, node)
        self._store(name, node)

    def _interface(self, node: Node) -> None:
        _, _, _, name, methods = node
        shape = self._shape("interface", name, False, 0, tuple(method[3] for method in methods))
        self.add("MAKE_TYPE", shape, node)
        self._store(name, node)

    def _enum(self, node: Node) -> None:
        _, _, _, name, members = node
        for member in members:
            self._push(("const", member[1], member[2], member[4]))
        shape = self._shape("enum", name, False, 0, tuple(member[3] for member in members))
        self.add("MAKE_TYPE", shape, node)
        self._store(name, node)

    # --- imports -------------------------------------------------------------------------------------------------

    def _import(self, node: Node) -> None:
        self.add("IMPORT", self.text(node[3]), node)
        self._store(node[4], node)

    def _from(self, node: Node) -> None:
        self.add("IMPORT", self.text(node[3]), node)
        for name, local in node[4]:
            self.add("DUP", 0, node)
            self.add("LOAD_MEMBER", self.text(name), node)
            self._store(local, node)
        self.add("POP", 0, node)

    # --- expressions ---------------------------------------------------------------------------------------------

    def _push(self, node: Node) -> None:
        self._expressions[node[0]](node)

    def _const(self, node: Node) -> None:
        self.add("CONST", self.constant(node[3]), node)

    def _binary(self, node: Node) -> None:
        self._push(node[4])
        self._push(node[5])
        self.add("BINARY", _BINARY[node[3]], node)

    def _comparison(self, node: Node) -> None:
        self._push(node[4])
        self._push(node[5])
        self.add("COMPARE", _COMPARE[node[3]], node)

    def _logical(self, node: Node) -> None:
        operation = "JUMP_IF_FALSE_OR_POP" if node[0] == "and" else "JUMP_IF_TRUE_OR_POP"
        ends = []
        for operand in node[3][:-1]:
            self._push(operand)
            ends.append(self._jump(operation, operand))
        self._push(node[3][-1])
        self._land(*ends)

    def _not(self, node: Node) -> None:
        self._push(node[3])
        self.add("NOT", 0, node)

    def _negative(self, node: Node) -> None:
        self._push(node[3])
        self.add("NEGATIVE", 0, node)

    def _call(self, node: Node) -> None:
        self._push(node[3])
        for argument in node[4]:
            self._push(argument)
        self.add("CALL", len(node[4]), node)

    def _member(self, node: Node) -> None:
        self._push(node[3])
        self.add("LOAD_MEMBER", self.text(node[4]), node)

    def _index(self, node: Node) -> None:
        self._push(node[3])
        self._push(node[4])
        self.add("LOAD_INDEX", 0, node)

    def _list(self, node: Node) -> None:
        for item in node[3]:
            self._push(item)
        self.add("BUILD_LIST", len(node[3]), node)

    def _object(self, node: Node) -> None:
        for key, value in node[3]:
            self._push(key)
            self._push(value)
        self.add("BUILD_OBJECT", len(node[3]), node)

    def _await(self, node: Node) -> None:
        self._push(node[3])
        self.add("AWAIT", 0, node)


def _kept(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return what of a function's flags its code has."""
    return tuple(flag for flag in flags if flag in ("async", "generator"))


class _Loop:
    """A loop that is open: where it begins, what leaves it, and whether an iterator lies on the stack meanwhile."""

    def __init__(self, start: int, *, holds: int) -> None:
        self.start, self.holds = start, holds
        self.breaks: list[int] = []
