"""From what Lark has read to the tree of the phases. Takes no recursion: a source may be as deep as it likes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from lark import Token, Tree

__all__ = ["Trees"]

Node = tuple[Any, ...]
Problem = tuple[str, str, str, int, int, str]

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", "'": "'", '"': '"'}
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))")
_METHODS = frozenset({"init", "to_string"})
_PYTHONS_OWN = frozenset({"format", "format_map", "mro"})
_DEEPEST = 100
_LONGEST = 400
_DEEPER = frozenset(
    {
        "bracketed",
        "list",
        "object",
        "not_",
        "negative",
        "await_",
        "block",
        "match",
        "class_",
        "call",
        "index",
        "type",
    }
)
"""What stands in brackets of its own, or begins with an operator."""
_BEHIND = frozenset({"call", "index"})
"""Of these the first part stands before the brackets."""


def text_of(token: str) -> str:
    """Return the text that a string token stands for."""
    inner = token[1:-1]
    return _ESCAPE.sub(_unescaped, inner) if "\\" in inner else inner


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code else _ESCAPES[found[4]]


class Trees:
    """Builds nodes from the leaves up; what a node stands for decides its method."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._lengths: dict[int, int] = {}
        """How many operators, calls and members follow one another in a node, by its identity: all of them live on."""

    def statements(self, read: Tree[Any]) -> Iterator[Node]:
        """Yield the statements of a file."""
        values: dict[int, Any] = {}
        order: list[tuple[Tree[Any], int]] = []
        waiting: list[tuple[Tree[Any], int]] = [(read, 0)]
        while waiting:
            tree, depth = waiting.pop()
            parts = [child for child in tree.children if tree.data != "type" or isinstance(child, Tree)]
            inside = depth + (tree.data in _DEEPER and len(parts) > 0)
            if inside > _DEEPEST:
                told = f"Brackets and blocks may be {_DEEPEST} deep, and not more."
                self._fault("parser.deep", told, tree.meta.start_pos, tree.meta.start_pos)
                return iter(())
            order.append((tree, depth))
            for index, child in enumerate(tree.children):
                if isinstance(child, Tree):
                    is_before = index == 0 and tree.data in _BEHIND
                    waiting.append((child, depth if is_before else inside))
        for tree, _ in reversed(order):
            children = [values.pop(id(child)) if isinstance(child, Tree) else child for child in tree.children]
            values[id(tree)] = self._built(tree, children)
        return iter(values[id(read)])

    def _built(self, tree: Tree[Any], children: list[Any]) -> Any:
        build: Callable[[int, int, list[Any]], Any] = getattr(self, f"_{tree.data}")
        if tree.meta.empty:
            return build(0, 0, children)
        return build(tree.meta.start_pos, tree.meta.end_pos, children)

    def _fault(self, code: str, message: str, start: int, end: int, hint: str = "") -> None:
        self._problems.append(("error", code, message, start, end, hint))

    def _longer(self, node: Node, before: Node, what: str = "operators") -> Node:
        """Return a node that has one more in a row than what it begins with."""
        self._lengths[id(node)] = length = self._lengths.get(id(before), 0) + 1
        if length == _LONGEST + 1:
            self._too_many(what, node)
        return node

    def _too_many(self, what: str, node: Node) -> None:
        self._fault("parser.long", f"At most {_LONGEST} {what} may follow one another.", node[1], node[2])

    # --- statements ----------------------------------------------------------------------------------------------

    def _start(self, _start: int, _end: int, children: list[Any]) -> tuple[Node, ...]:
        return _nodes(children)

    def _block(self, start: int, end: int, children: list[Any]) -> Node:
        return ("block", start, end, _nodes(children))

    def _let(self, start: int, end: int, children: list[Any]) -> Node:
        return ("let", start, end, _name(children[1]), children[3], children[5])

    def _assign(self, start: int, end: int, children: list[Any]) -> Node:
        *targets, value = _nodes(children)
        for target in targets:
            if target[0] not in ("name", "member", "index"):
                self._fault("parser.target", "This cannot be assigned to.", target[1], target[2], "'==' compares.")
        return ("assign", start, end, tuple(targets), value)

    def _expression_statement(self, start: int, end: int, children: list[Any]) -> Node:
        return ("expression", start, end, children[0])

    def _return_(self, start: int, end: int, children: list[Any]) -> Node:
        return ("return", start, end, children[1])

    def _yield_(self, start: int, end: int, children: list[Any]) -> Node:
        return ("yield", start, end, children[1])

    def _break_(self, start: int, end: int, _children: list[Any]) -> Node:
        return ("break", start, end)

    def _continue_(self, start: int, end: int, _children: list[Any]) -> Node:
        return ("continue", start, end)

    def _if_(self, start: int, end: int, children: list[Any]) -> Node:
        branches, otherwise = [], ()
        parts = list(_nodes(children))
        while parts:
            first = parts.pop(0)
            if first[0] == "block":
                otherwise = first[3]
            else:
                branches.append((first, parts.pop(0)[3]))
        node = ("if", start, end, tuple(branches), otherwise)
        if len(branches) > _LONGEST:
            self._too_many("branches", node)
        return node

    def _while_(self, start: int, end: int, children: list[Any]) -> Node:
        return ("while", start, end, children[1], children[2][3])

    def _for_(self, start: int, end: int, children: list[Any]) -> Node:
        return ("for", start, end, _name(children[1]), children[3], children[4][3])

    def _match(self, start: int, end: int, children: list[Any]) -> Node:
        subject, *parts = _nodes(children)
        cases: list[Any] = []
        default: tuple[Node, ...] | None = None
        for part in parts:
            if part[0] == "case":
                if default is not None:
                    told = "No case may follow the default."
                    self._fault("parser.default", told, part[1], part[1], "Move the default to the end.")
                cases.append(part[3:])
            elif default is not None:
                self._fault("parser.default", "There is a default already.", part[1], part[1])
            else:
                default = part[3]
        node = ("match", start, end, subject, tuple(cases), default or ())
        if len(cases) > _LONGEST:
            self._too_many("cases", node)
        return node

    def _case(self, start: int, end: int, children: list[Any]) -> Node:
        *patterns, block = _nodes(children)
        return ("case", start, end, tuple(patterns), block[3])

    def _default(self, start: int, end: int, children: list[Any]) -> Node:
        return ("default", start, end, children[1][3])

    # --- declarations --------------------------------------------------------------------------------------------

    def _def_(self, start: int, end: int, children: list[Any]) -> Node:
        is_async, _, name, _, parameters, _, _, returns, block = children
        flags = ("async",) if is_async is not None else ()
        return ("def", start, end, str(name), parameters or (), returns, block[3], flags, (), ())

    def _parameters(self, _start: int, _end: int, children: list[Any]) -> tuple[Node, ...]:
        parameters = _nodes(children)
        self._check_order(parameters, "parameter")
        return parameters

    def _parameter(self, start: int, end: int, children: list[Any]) -> Node:
        self._check_default(children[4], "parameter")
        return ("parameter", start, end, str(children[0]), children[2], children[4])

    def _check_default(self, value: Any, of: str) -> None:
        if value is not None and value[0] != "const":
            told = f"The default of a {of} is a number, a string, true, false or none."
            self._fault("parser.default", told, value[1], value[2], "Give it in the body.")

    def _check_order(self, parts: tuple[Node, ...], of: str) -> None:
        for before, part in pairwise(parts):
            if part[5] is None and before[5] is not None:
                told = f"A {of} without a default cannot follow one with a default."
                self._fault("parser.parameter", told, part[1], part[1])

    def _check_once(self, parts: tuple[Node, ...]) -> None:
        lines: dict[str, int] = {}
        for part in parts:
            if part[3] in lines:
                told = f"{part[3]} is declared already, on line {lines[part[3]] >> 20}."
                self._fault("parser.declared", told, part[1], part[2])
            lines.setdefault(part[3], part[1])

    def _class_(self, start: int, end: int, children: list[Any]) -> Node:
        base, interfaces, members, kind = None, [], [], ""
        for child in children[2:]:
            if isinstance(child, Token):
                kind = child.type if child.type != "COMMA" else kind
            elif child is not None and child[0] in ("def", "field"):
                members.append(child)
            elif child is not None and kind == "EXTENDS":
                base = child
            elif child is not None:
                interfaces.append(child)
        self._check_once(tuple(members))
        for member in members:
            self._check_text(member[3], member)
            if member[0] == "def" and not member[4]:
                told = "A method has the object that it is called on as its first parameter."
                self._fault("parser.method", told, member[1], member[1], f"Write def {member[3]}(self).")
        return ("class", start, end, str(children[1]), base, tuple(interfaces), tuple(members))

    def _field(self, start: int, end: int, children: list[Any]) -> Node:
        self._check_field(children[1])
        self._check_default(children[5], "field")
        return ("field", start, end, str(children[1]), children[3], children[5])

    def _struct(self, start: int, end: int, children: list[Any]) -> Node:
        fields = _nodes(children)
        self._check_once(fields)
        self._check_order(fields, "field")
        return ("struct", start, end, str(children[1]), fields)

    def _struct_field(self, start: int, end: int, children: list[Any]) -> Node:
        self._check_field(children[0])
        self._check_default(children[4], "field")
        return ("field", start, end, str(children[0]), children[2], children[4])

    def _interface(self, start: int, end: int, children: list[Any]) -> Node:
        methods = _nodes(children)
        self._check_once(methods)
        return ("interface", start, end, str(children[1]), methods)

    def _signature(self, start: int, end: int, children: list[Any]) -> Node:
        is_async, _, name, _, parameters, _, _, returns, _ = children
        flags = ("async",) if is_async is not None else ()
        self._check_member(name)
        return ("signature", start, end, str(name), parameters or (), returns, flags)

    def _enum(self, start: int, end: int, children: list[Any]) -> Node:
        members: list[Node] = []
        value = 0
        for _, begin, stop, name, given in _nodes(children):
            if given is not None:
                if given[0] == "const" and type(given[3]) is int:
                    value = given[3]
                else:
                    self._fault("parser.enum", "The value of a member is a whole number.", given[1], given[2])
            self._check_value(members, value, name, begin)
            members.append(("member", begin, stop, name, value))
            value += 1
        self._check_once(tuple(members))
        return ("enum", start, end, str(children[1]), tuple(members))

    def _check_value(self, members: list[Node], value: int, name: str, at: int) -> None:
        """Refuse a member that Python would take for another one, or for something of its own."""
        if name.startswith("_") and name.endswith("_"):
            self._fault("parser.member", f"{name!r} is no member in Noodle.", at, at + len(name.encode()))
        for member in members:
            if member[4] == value:
                told = f"{name} would be {member[3]}: it has the same value, {value}."
                self._fault("parser.enum", told, at, at + len(name.encode()))
                return

    def _enum_member(self, start: int, end: int, children: list[Any]) -> Node:
        self._check_field(children[0])
        return ("member", start, end, str(children[0]), children[2])

    def _alias(self, start: int, end: int, children: list[Any]) -> Node:
        return ("alias", start, end, str(children[1]), children[3])

    def _import_(self, start: int, end: int, children: list[Any]) -> Node:
        return ("import", start, end, self._path(children[1]), str(children[3]))

    def _from_(self, start: int, end: int, children: list[Any]) -> Node:
        names = tuple(part[3:] for part in _nodes(children))
        return ("from", start, end, self._path(children[1]), names)

    def _imported(self, start: int, end: int, children: list[Any]) -> Node:
        return ("imported", start, end, str(children[0]), str(children[2] or children[0]))

    def _path(self, token: Token) -> str:
        path = text_of(str(token))
        if not all(part.isidentifier() and not part.startswith("__") for part in path.split("/")):
            told = f"{path!r} is no module: names with '/' between them are."
            self._fault("parser.path", told, token.start_pos or 0, token.end_pos or 0, 'For example "shapes/circle".')
        return path

    def _type(self, start: int, end: int, children: list[Any]) -> Node:
        name = ".".join(str(child) for child in children if isinstance(child, Token) and child.type in ("NAME", "NONE"))
        return ("type", start, end, name, _nodes(children))

    def _place(self, start: int, _end: int, children: list[Any]) -> Node:
        names = [child for child in children if isinstance(child, Token) and child.type in ("NAME", "WORD")]
        node = _name(names[0])
        for token in names[1:]:
            self._check_member(token)
            node = ("member", start, token.end_pos, node, str(token))
        return node

    # --- expressions ---------------------------------------------------------------------------------------------

    def _name(self, _start: int, _end: int, children: list[Any]) -> Node:
        return _name(children[0])

    def _int(self, start: int, end: int, children: list[Any]) -> Node:
        return ("const", start, end, int(children[0]))

    def _float(self, start: int, end: int, children: list[Any]) -> Node:
        return ("const", start, end, float(children[0]))

    def _string(self, start: int, end: int, children: list[Any]) -> Node:
        return ("const", start, end, text_of(str(children[0])))

    def _true(self, start: int, end: int, _children: list[Any]) -> Node:
        return ("const", start, end, True)

    def _false(self, start: int, end: int, _children: list[Any]) -> Node:
        return ("const", start, end, False)

    def _none(self, start: int, end: int, _children: list[Any]) -> Node:
        return ("const", start, end, None)

    def _bracketed(self, _start: int, _end: int, children: list[Any]) -> Node:
        node: Node = children[1]
        self._lengths.pop(id(node), None)
        return node

    def _list(self, start: int, end: int, children: list[Any]) -> Node:
        return ("list", start, end, children[1] or ())

    def _items(self, _start: int, _end: int, children: list[Any]) -> tuple[Node, ...]:
        return _nodes(children)

    def _object(self, start: int, end: int, children: list[Any]) -> Node:
        return ("object", start, end, children[1] or ())

    def _pairs(self, _start: int, _end: int, children: list[Any]) -> tuple[Node, ...]:
        pairs = _nodes(children)
        keys: set[str] = set()
        for key, _ in pairs:
            if key[3] in keys:
                self._fault("parser.key", f"The key {key[3]!r} stands in this object twice.", key[1], key[2])
            keys.add(key[3])
        return pairs

    def _pair(self, _start: int, _end: int, children: list[Any]) -> Node:
        token = children[0]
        key = text_of(str(token)) if token.type == "STRING" else str(token)
        return ("const", token.start_pos, token.end_pos, key), children[2]

    def _call(self, start: int, end: int, children: list[Any]) -> Node:
        return self._longer(("call", start, end, children[0], children[2] or ()), children[0], "calls and members")

    def _index(self, start: int, end: int, children: list[Any]) -> Node:
        return self._longer(("index", start, end, children[0], children[2]), children[0], "calls and members")

    def _member(self, start: int, end: int, children: list[Any]) -> Node:
        self._check_member(children[2])
        return self._longer(("member", start, end, children[0], str(children[2])), children[0], "calls and members")

    def _check_member(self, token: Token) -> None:
        if token in _PYTHONS_OWN:
            told = f"{str(token)!r} is no member in Noodle."
            self._fault("parser.member", told, token.start_pos or 0, token.end_pos or 0)

    def _check_field(self, token: Token) -> None:
        self._check_member(token)
        if token in _METHODS:
            told = f"{str(token)!r} is a method: no field can be called so."
            self._fault("parser.member", told, token.start_pos or 0, token.end_pos or 0)

    def _check_text(self, name: str, at: Node) -> None:
        if at[0] == "def" and name in _PYTHONS_OWN:
            self._fault("parser.member", f"{name!r} is no member in Noodle.", at[1], at[2])

    def _binary(self, start: int, end: int, children: list[Any]) -> Node:
        left, sign, right = children
        return self._longer(("binary", start, end, str(sign), left, right), left)

    def _compare(self, start: int, end: int, children: list[Any]) -> Node:
        left, sign, right = children
        if sign is None:
            return left  # type: ignore[no-any-return]
        return self._longer(("compare", start, end, str(sign), left, right), left)

    def _and_(self, start: int, end: int, children: list[Any]) -> Node:
        return self._joined("and", start, end, _nodes(children))

    def _or_(self, start: int, end: int, children: list[Any]) -> Node:
        return self._joined("or", start, end, _nodes(children))

    def _joined(self, kind: str, start: int, end: int, operands: tuple[Node, ...]) -> Node:
        if len(operands) == 1:
            return operands[0]
        node = (kind, start, end, operands)
        if len(operands) > _LONGEST + 1:
            self._too_many("operators", node)
        return node

    def _not_(self, start: int, end: int, children: list[Any]) -> Node:
        return ("not", start, end, children[1])

    def _negative(self, start: int, end: int, children: list[Any]) -> Node:
        operand = children[1]
        # A number in brackets ends before its bracket does.
        if operand[0] == "const" and type(operand[3]) in (int, float) and operand[2] == end:
            return ("const", start, end, -operand[3])
        return ("negative", start, end, operand)

    def _await_(self, start: int, end: int, children: list[Any]) -> Node:
        return ("await", start, end, children[1])


def _nodes(children: list[Any]) -> tuple[Node, ...]:
    """Return what is no token among some children, and is there."""
    return tuple(child for child in children if child is not None and not isinstance(child, Token))


def _name(token: Token) -> Node:
    return ("name", token.start_pos, token.end_pos, str(token))
