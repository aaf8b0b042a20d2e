"""Expressions, by precedence climbing: the loosest operator that is still wanted decides when to stop."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn

from .cursor import Cursor, Unexpected
from .scopes import Scopes

__all__ = ["DEEPEST", "Expressions", "Node", "text_of"]

Node = tuple[Any, ...]

DEEPEST = 100
"""Brackets and blocks inside one another: what Python itself takes."""
LONGEST = 400
"""Operators, calls and members in a row that are one inside another: what later phases can follow by recursion."""

_POWERS = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, ">": 4, "<=": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_KINDS = ("", "or", "and", "compare", "compare", "binary", "binary")
_CONSTANTS = {"true": True, "false": False, "none": None}
_APPLIED = frozenset({"(", ".", "[", "::"})
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", "'": "'", '"': '"'}
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))")
_METHODS = frozenset({"init", "to_string"})
_PYTHONS_OWN = frozenset({"format", "format_map", "mro"})


def text_of(token: str) -> str:
    """Return the text that a string token stands for."""
    inner = token[1:-1]
    return _ESCAPE.sub(_unescaped, inner) if "\\" in inner else inner


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code else _ESCAPES[found[4]]


def _changes_nothing(sign: str, value: object) -> bool:
    return (value == 0 and sign in "+-") or (value == 1 and sign == "*")


class Expressions(Cursor):
    """Reads expressions; the names in them go to the scopes as they come."""

    __slots__ = ("depth", "is_foldable", "scopes")

    def __init__(self, *columns: Any) -> None:
        super().__init__(*columns)
        self.scopes = Scopes(self.problem)
        self.depth = 0
        self.is_foldable = False
        """Whether the function that is read has something to be done beforehand: an optimizer passes others by."""

    def expression(self, least: int = 1) -> Node:  # noqa: C901, PLR0912 - half of the parser's time goes by here
        """Return the expression that begins here, up to an operator that binds less than `least`."""
        first = self.next
        kinds = self.kinds
        if kinds[first] == "name":
            # As in `operand`, which is one call more, for half of all expressions.
            start, end, name = self.starts[first], self.ends[first], self.texts[first]
            if name not in self.scopes.live:
                self.scopes.use_later(name, start, end)
            left: Node = ("name", start, end, name)
            self.next = first + 1
            if kinds[first + 1] in _APPLIED:
                left = self._applied(left, start)
        else:
            left = self.operand()
        if kinds[self.next] not in _POWERS:
            return left
        power = _POWERS[kinds[self.next]]
        length = 0
        while power >= least:
            index = self.next
            self.next = index + 1
            right = self.expression(power + 1)
            if power == 3 or power == 4:  # noqa: PLR1714, PLR2004 - asked for each operator of a file
                left = ("compare", self.starts[first], self.ends[self.next - 1], kinds[index], left, right)
                if right[0] == "const" and left[4][0] == "const":
                    self.is_foldable = True
                if _POWERS.get(kinds[self.next], 0) == power:
                    self._chained()
            elif power > 4:  # noqa: PLR2004
                if right[0] == "const" and (left[0] == "const" or _changes_nothing(kinds[index], right[3])):
                    self.is_foldable = True
                left = ("binary", self.starts[first], self.ends[self.next - 1], kinds[index], left, right)
            else:
                kind = _KINDS[power]
                if left[0] == "const" or right[0] == "const":
                    self.is_foldable = True
                operands = (*left[3], right) if left[0] == kind and length else (left, right)
                left = (kind, self.starts[first], self.ends[self.next - 1], operands)
            length += 1
            if length > LONGEST:
                self.give_up("parser.long", f"An expression may have {LONGEST} operators in a row.", index)
            power = _POWERS.get(kinds[self.next], 0)
        return left

    def operand(self) -> Node:
        """Return an operand with what stands before it and what is done to it."""
        index = self.next
        kind = self.kinds[index]
        if kind == "name":
            self.next = index + 1
            start, end, name = self.starts[index], self.ends[index], self.texts[index]
            if name not in self.scopes.live:
                self.scopes.use_later(name, start, end)
            node: Node = ("name", start, end, name)
        elif kind == "int":
            self.next = index + 1
            node = ("const", self.starts[index], self.ends[index], int(self.texts[index]))
        elif kind == "string":
            self.next = index + 1
            node = ("const", self.starts[index], self.ends[index], text_of(self.texts[index]))
        else:
            node = self._other(index, kind)
            if node[0] in ("not", "negative", "await") and node[1] == self.starts[index]:
                return node
        return self._applied(node, self.starts[index]) if self.kinds[self.next] in _APPLIED else node

    def _other(self, index: int, kind: str) -> Node:
        start = self.starts[index]
        if kind == "float":
            self.next = index + 1
            return ("const", start, self.ends[index], float(self.texts[index]))
        if kind in _CONSTANTS:
            self.next = index + 1
            return ("const", start, self.ends[index], _CONSTANTS[kind])
        read = self._PREFIXES.get(kind)
        if read is None:
            self.unexpected("a value", "An expression")
        self.deeper(index)
        self.next = index + 1
        try:
            node: Node = read(self, start)
        except Unexpected:
            if kind == "{":
                # Its brace would close the block that it stands in.
                self.behind(index)
            raise
        self.depth -= 1
        return node

    def _bracketed(self, start: int) -> Node:
        node = self.expression()
        self.expect(")", "The bracket that was opened")
        if node[0] in ("not", "negative", "await"):
            # What follows a bracket is done to all of it.
            return self._applied(node, start) if self.kinds[self.next] in _APPLIED else node
        return node

    def _list(self, start: int) -> Node:
        items = self.items("]", "A list")
        return ("list", start, self.ends[self.next - 1], items)

    def _object(self, start: int) -> Node:
        pairs: list[tuple[Node, Node]] = []
        keys: set[str] = set()
        while self.kinds[self.next] != "}":
            index = self.next
            kind = self.kinds[index]
            if kind not in ("string", "name"):
                self.unexpected("a key or '}'", "An object")
            self.next = index + 1
            key = text_of(self.texts[index]) if kind == "string" else self.texts[index]
            if key in keys:
                self.problem(
                    "parser.key", f"The key {key!r} stands in this object twice.", self.starts[index], self.ends[index]
                )
            keys.add(key)
            self.expect(":", f"The key {key!r}")
            pairs.append((("const", self.starts[index], self.ends[index], key), self.expression()))
            if self.kinds[self.next] != ",":
                break
            self.next += 1
        self.expect("}", "An object")
        return ("object", start, self.ends[self.next - 1], tuple(pairs))

    def _not(self, start: int) -> Node:
        operand = self.operand()
        if operand[0] in ("const", "compare"):
            self.is_foldable = True
        return ("not", start, self.ends[self.next - 1], operand)

    def _negative(self, start: int) -> Node:
        operand = self.operand()
        end = self.ends[self.next - 1]
        if operand[0] == "const" and type(operand[3]) in (int, float) and self.kinds[self.next - 1] in ("int", "float"):
            return ("const", start, end, -operand[3])
        if operand[0] == "const":
            self.is_foldable = True
        return ("negative", start, end, operand)

    def _await(self, start: int) -> Node:
        if not self.scopes.is_async:
            self.problem("parser.await", "'await' stands outside of an async function.", start, start)
        operand = self.operand()
        return ("await", start, self.ends[self.next - 1], operand)

    _PREFIXES: ClassVar[Mapping[str, Callable[[Any, int], Node]]] = {
        "(": _bracketed, "[": _list, "{": _object, "!": _not, "-": _negative, "await": _await,
    }  # fmt: skip

    def _applied(self, node: Node, start: int) -> Node:
        """Return `node`, which begins at `start`, with the calls, members and indices behind it."""
        length = 0
        while True:
            index = self.next
            kind = self.kinds[index]
            if kind == "(":
                self.next = index + 1
                arguments: tuple[Node, ...] = ()
                if self.kinds[index + 1] != ")":
                    self.depth += 1
                    if self.depth > DEEPEST:
                        self.too_deep(index)
                    arguments = self.items(")", "A call")
                    self.depth -= 1
                else:
                    self.next += 1
                node = ("call", start, self.ends[self.next - 1], node, arguments)
            elif kind == "." or kind == "::":  # noqa: PLR1714 - asked for each member of a file
                self.next = index + 1
                index += 1
                if self.kinds[index] != "name" and not self.texts[index].isidentifier():
                    self.unexpected("a name", f"What follows '{kind}'")
                self.next = index + 1
                name = self.texts[index]
                if name in _PYTHONS_OWN:
                    self.member(index)
                node = ("member", start, self.ends[index], node, name)
            elif kind == "[":
                self.deeper(index)
                self.next = index + 1
                inside = self.expression()
                self.depth -= 1
                self.expect("]", "An index")
                node = ("index", start, self.ends[self.next - 1], node, inside)
            else:
                return node
            length += 1
            if length > LONGEST:
                self.give_up("parser.long", f"At most {LONGEST} calls and members may follow one another.", index)

    def member(self, index: int) -> str:
        """Return the name of a member as the tree has it, and refuse those that are Python's own."""
        name = self.texts[index]
        if name in _PYTHONS_OWN:
            self.problem("parser.member", f"{name!r} is no member in Noodle.", self.starts[index], self.ends[index])
        return name

    def field(self, index: int) -> None:
        """Refuse the name of a field, or of a member of an enumeration, that means a method everywhere."""
        if self.member(index) in _METHODS:
            told = f"{self.texts[index]!r} is a method: no field can be called so."
            self.problem("parser.member", told, self.starts[index], self.ends[index])

    def items(self, closing: str, where: str) -> tuple[Node, ...]:
        """Return expressions with commas between them, up to the closing bracket and over it; a last comma is fine."""
        kinds = self.kinds
        found: list[Node] = []
        while kinds[self.next] != closing:
            found.append(self.expression())
            if kinds[self.next] != ",":
                break
            self.next += 1
        if kinds[self.next] != closing:
            self.expect(closing, where)
        self.next += 1
        return tuple(found)

    # --- limits --------------------------------------------------------------------------------------------------

    def deeper(self, index: int) -> None:
        """Go one bracket or block deeper, which is not possible without end."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.too_deep(index)

    def too_deep(self, index: int) -> NoReturn:
        """Give up, for what stands here is deeper than it may be."""
        self.give_up("parser.deep", f"Brackets and blocks may be {DEEPEST} deep, and not more.", index)

    def _chained(self) -> None:
        index = self.next
        self.problem(
            "parser.chained",
            "Comparisons cannot be chained.",
            self.starts[index],
            self.ends[index],
            "Write a < b && b < c, or put brackets.",
        )
