"""What type a value surely has, from what is assigned in the function that it is used in."""

from __future__ import annotations

from typing import Any

__all__ = ["Types"]

Node = tuple[Any, ...]

_CONSTANTS = {bool: "bool", int: "int", float: "float", str: "string", type(None): "none"}
_RETURNED = {
    "len": "int",
    "str": "string",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "ord": "int",
    "chr": "string",
}
_DECLARES = frozenset({"def", "class", "struct", "interface", "enum"})
_ANY_INT = ("const", 0, 0, 0)
_ARITHMETIC = {
    ("int", "int"): "int", ("int", "float"): "float", ("float", "int"): "float", ("float", "float"): "float",
}  # fmt: skip
_BUILTIN_TYPES = frozenset("bool float function int list none object string".split())
_UNSURE = ""


class Types:
    """The types of one function's names: sure where all that a name is ever given is of one type."""

    def __init__(self, body: tuple[Node, ...], parameters: tuple[Node, ...], hidden: frozenset[str]) -> None:
        """`hidden` are the names that the program declares here or around here, so that they are no built-ins."""
        self._hidden = hidden
        self._given: dict[str, list[Node | None]] = {parameter[3]: [None] for parameter in parameters}
        self._known: dict[str, str] = {}
        self._under_way: set[str] = set()
        self._read(body)

    def of(self, node: Node) -> str:  # noqa: PLR0911 - one for each kind of node
        """Return the type of an expression, "" where it is not sure."""
        kind = node[0]
        if kind == "const":
            return _CONSTANTS.get(type(node[3]), _UNSURE)
        if kind == "name":
            return self._of_name(node[3])
        if kind in ("compare", "not"):
            # Classes may answer `==` with anything.
            sure = kind == "not" or {self.of(node[4]), self.of(node[5])} <= {"int", "float", "string", "bool"}
            return "bool" if sure else _UNSURE
        if kind == "binary":
            return self._of_binary(node)
        if kind == "negative":
            found = self.of(node[3])
            return found if found in ("int", "float") else _UNSURE
        if kind == "call" and node[3][0] == "name" and node[3][3] not in self._hidden:
            return _RETURNED.get(node[3][3], _UNSURE)
        return {"list": "list", "object": "object"}.get(kind, _UNSURE)

    def fits(self, declared: str, found: str) -> bool:
        """Whether a value of a type may be given to a name that is declared so."""
        if declared not in _BUILTIN_TYPES or declared == found:
            return True
        return (declared == "float" and found == "int") or found == "none"

    def _of_name(self, name: str) -> str:
        if name in self._known:
            return self._known[name]
        given = self._given.get(name)
        if not given or None in given or name in self._under_way:
            return _UNSURE
        self._under_way.add(name)
        found = {self.of(value) for value in given if value is not None}
        self._under_way.discard(name)
        sure = found.pop() if len(found) == 1 else _UNSURE
        if not self._under_way:
            self._known[name] = sure
        return sure

    def _is_range(self, node: Node) -> bool:
        return node[0] == "call" and node[3][0] == "name" and node[3][3] == "range" and "range" not in self._hidden

    def _of_binary(self, node: Node) -> str:
        left, right = self.of(node[4]), self.of(node[5])
        sign = node[3]
        if sign == "+" and left == right == "string":
            return "string"
        found = _ARITHMETIC.get((left, right), _UNSURE)
        return "float" if sign == "/" and found else found

    def _read(self, statements: Any) -> None:
        """Note what each name is given; what cannot be followed makes it unsure."""
        waiting = [statements]
        while waiting:
            one = waiting.pop()
            if not isinstance(one, tuple) or not one:
                continue
            if one[0] in _DECLARES:
                self._give(one[3], None)
                for name in _assigned_outside(one) if one[0] in ("def", "class") else ():
                    # A function inside assigns it: from there on nobody knows.
                    self._give(name, None)
                continue
            self._read_statement(one)
            waiting.extend(part for part in one if isinstance(part, tuple))

    def _read_statement(self, node: Node) -> None:
        if node[0] == "let":
            self._give(node[3][3], node[5] or ("const", 0, 0, None))
        elif node[0] == "for":
            self._give(node[3][3], _ANY_INT if self._is_range(node[4]) else None)
        elif node[0] == "assign":
            for target in node[3]:
                if target[0] == "name":
                    self._give(target[3], node[4])

    def _give(self, name: str, value: Node | None) -> None:
        self._given.setdefault(name, []).append(value)


def _assigned_outside(declaration: Node) -> set[str]:
    """Return the names that a function, or one inside of it, assigns and does not declare."""
    found: set[str] = set()
    waiting: list[Any] = [declaration]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple) and one:
            if one[0] == "def" and len(one) == 10:  # noqa: PLR2004
                found.update(one[9])
            waiting.extend(part for part in one if isinstance(part, tuple))
    return found
