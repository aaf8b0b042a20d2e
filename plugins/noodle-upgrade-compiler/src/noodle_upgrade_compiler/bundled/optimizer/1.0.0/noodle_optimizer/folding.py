"""One walk over a tree: expressions are folded on the way up, statements that nothing reaches are left out."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from .types import Types

__all__ = ["Folding", "Problem"]

Node = tuple[Any, ...]
Problem = tuple[str, str, str, int, int, str]

_ENDS = frozenset({"return", "break", "continue"})
_PLAIN = frozenset({int, float, str, bool})
_FOLDED: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MOST_BITS = 512
_LONGEST = 4096
"""What is computed here is carried along in the program: what is larger stays an operation."""


class Folding:
    """Walks one tree."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._types: Types | None = None
        self._body: tuple[Node, ...] = ()
        self._parameters: tuple[Node, ...] = ()
        self._hidden: frozenset[str] = frozenset()
        self._is_module = True
        self._expressions: dict[str, Callable[[Node], Node]] = {
            "binary": self._binary, "compare": self._binary, "call": self._call, "member": self._member,
            "index": self._index, "and": self._logical, "or": self._logical, "not": self._not,
            "negative": self._negative, "list": self._list, "object": self._object, "await": self._await,
        }  # fmt: skip
        self._statements: dict[str, Callable[[Node], Node | None]] = {
            "let": self._let, "assign": self._assign, "expression": self._single, "return": self._single,
            "yield": self._single, "def": self._def, "if": self._if, "for": self._for, "while": self._while,
            "match": self._match, "class": self._class, "block": self._block,
        }  # fmt: skip

    def module(self, tree: Node) -> Node:
        """Return the whole tree, folded."""
        self._body, self._hidden = tree[3], frozenset(tree[4])
        body = self.body(tree[3])
        return tree if body is tree[3] else (*tree[:3], body, *tree[4:])

    # --- statements ----------------------------------------------------------------------------------------------

    def body(self, statements: tuple[Node, ...]) -> tuple[Node, ...]:
        """Return the statements that are reached, folded; the very same tuple where nothing changes."""
        known = self._statements
        made: list[Node] | None = None
        for index, node in enumerate(statements):
            fold = known.get(node[0])
            done = node if fold is None else fold(node)
            if done is not node and made is None:
                made = list(statements[:index])
            if made is not None and done is not None:
                made.append(done)
            if done is not None and done[0] in _ENDS and index + 1 < len(statements):
                rest = statements[index + 1 :]
                if self._may_go(rest):
                    start, end = rest[0][1], rest[-1][2]
                    self._warn("optimizer.unreachable", f"Nothing comes here after '{done[0]}'.", start, end)
                    return tuple(made) if made is not None else statements[: index + 1]
        return statements if made is None else tuple(made)

    def _may_go(self, statements: tuple[Node, ...]) -> bool:
        """Whether leaving statements out changes nothing else: a yield makes a generator, a name may be a cell."""
        declares = False
        for node in _nodes(statements):
            if node[0] == "yield":
                return False
            declares = declares or node[0] in ("let", "def", "class", "for", "struct", "enum", "interface")
        return not declares or not any(node[0] == "def" for node in _nodes(self._body))

    def _let(self, node: Node) -> Node:
        value = node[5]
        if value is None:
            return node
        fold = self._expressions.get(value[0])
        done = value if fold is None else fold(value)
        if node[4] is not None:
            self._check(node[4], done)
        return node if done is value else (*node[:5], done)

    def _check(self, declared: Node, value: Node) -> None:
        """Warn where a value is surely of another type than the one that is declared."""
        found = self._types_here().of(value)
        if found and not self._types_here().fits(declared[3], found):
            self._warn("optimizer.type", f"This is declared as {declared[3]} and given {found}.", value[1], value[2])

    def _assign(self, node: Node) -> Node:
        targets, value = self._all(node[3]), self._value(node[4])
        return node if targets is node[3] and value is node[4] else (*node[:3], targets, value)

    def _single(self, node: Node) -> Node:
        value = node[3]
        if value is None:
            return node
        fold = self._expressions.get(value[0])
        done = value if fold is None else fold(value)
        return node if done is value else (*node[:3], done)

    def _def(self, node: Node) -> Node:
        if "plain" in node[7]:
            return node
        outer = self._types, self._body, self._parameters, self._hidden, self._is_module
        self._types, self._body, self._parameters, self._is_module = None, node[6], node[4], False
        self._hidden = self._hidden.union(node[8])
        body = self.body(node[6])
        self._types, self._body, self._parameters, self._hidden, self._is_module = outer
        return node if body is node[6] else (*node[:6], body, *node[7:])

    def _if(self, node: Node) -> Node | None:
        branches, otherwise = [], node[4]
        changed = False
        for index, (test, body) in enumerate(node[3]):
            done = self._value(test)
            sure = _truth(done)
            if sure is False and self._may_go(body):
                changed = True
                continue
            inside = self.body(body)
            if sure is True:
                rest = [statement for _, other in node[3][index + 1 :] for statement in other]
                if self._may_go((*rest, *otherwise)):
                    otherwise, changed = inside, True
                    break
            changed = changed or done is not test or inside is not body
            branches.append((done, inside))
        else:
            done_otherwise = self.body(otherwise)
            changed = changed or done_otherwise is not otherwise
            otherwise = done_otherwise
        if not changed:
            return node
        if branches:
            return (*node[:3], tuple(branches), otherwise)
        return ("block", node[1], node[2], otherwise) if otherwise else None

    def _while(self, node: Node) -> Node | None:
        test = self._value(node[3])
        if _truth(test) is False and self._may_go(node[4]):
            return None
        body = self.body(node[4])
        return node if test is node[3] and body is node[4] else (*node[:3], test, body)

    def _for(self, node: Node) -> Node:
        over, body = self._value(node[4]), self.body(node[5])
        return node if over is node[4] and body is node[5] else (*node[:4], over, body)

    def _match(self, node: Node) -> Node:
        subject, default = self._value(node[3]), self.body(node[5])
        cases = tuple((self._all(patterns), self.body(body)) for patterns, body in node[4])
        same = all(a[0] is b[0] and a[1] is b[1] for a, b in zip(cases, node[4], strict=True))
        if same and subject is node[3] and default is node[5]:
            return node
        return (*node[:3], subject, cases, default)

    def _class(self, node: Node) -> Node:
        members = tuple(self._def(member) if member[0] == "def" else member for member in node[6])
        same = all(a is b for a, b in zip(members, node[6], strict=True))
        return node if same else (*node[:6], members)

    def _block(self, node: Node) -> Node | None:
        body = self.body(node[3])
        if not body:
            return None
        return node if body is node[3] else (*node[:3], body)

    # --- expressions ---------------------------------------------------------------------------------------------

    def _value(self, node: Node) -> Node:
        fold = self._expressions.get(node[0])
        return node if fold is None else fold(node)

    def _all(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        known = self._expressions
        made: list[Node] | None = None
        for index, node in enumerate(nodes):
            fold = known.get(node[0])
            if fold is None:
                continue
            done = fold(node)
            if done is not node:
                if made is None:
                    made = list(nodes)
                made[index] = done
        return nodes if made is None else tuple(made)

    def _binary(self, node: Node) -> Node:
        kind, start, end, sign, left, right = node
        known = self._expressions
        fold = known.get(left[0])
        new_left = left if fold is None else fold(left)
        fold = known.get(right[0])
        new_right = right if fold is None else fold(right)
        if new_right[0] == "const":
            if new_left[0] == "const":
                return self._computed(node, new_left, new_right)
            if new_right[3] == 0 or new_right[3] == 1:  # True and 0.0 are told apart below
                kept = self._neutral(sign, new_left, new_right[3])
                if kept is not None:
                    return (*kept[:1], start, end, *kept[3:])
        if new_left is left and new_right is right:
            return node
        return (kind, start, end, sign, new_left, new_right)

    def _computed(self, node: Node, left: Node, right: Node) -> Node:
        _, start, end, sign, *_ = node
        one, other = left[3], right[3]
        if type(one) in _PLAIN and type(other) in _PLAIN and not _too_large(sign, one, other):
            try:
                value = _FOLDED[sign](one, other)
            except ArithmeticError as error:
                self._warn("optimizer.fails", f"This always fails: {error}.", start, end)
            except (TypeError, ValueError) as error:
                self._warn("optimizer.fails", f"This always fails: {error}.", start, end)
            else:
                if type(value) in _PLAIN and _is_small(value):
                    return ("const", start, end, value)
        return node if left is node[4] and right is node[5] else (*node[:4], left, right)

    def _neutral(self, sign: str, node: Node, value: Any) -> Node | None:
        """Return the other operand where it is surely a whole number and this one changes nothing."""
        if type(value) is not int or not ((value == 0 and sign in "+-") or (value == 1 and sign == "*")):
            return None
        return node if node[0] in ("name", "call", "binary") and self._types_here().of(node) == "int" else None

    def _types_here(self) -> Types:
        if self._types is None:
            # What a module has may be assigned from another one: there no name is sure.
            self._types = Types(() if self._is_module else self._body, self._parameters, self._hidden)
        return self._types

    def _logical(self, node: Node) -> Node:
        """Leave out what is decided: operands behind a sure one are never reached, sure ones before decide nothing."""
        operands = self._all(node[3])
        ends = node[0] == "or"
        kept: list[Node] = []
        for index, operand in enumerate(operands):
            sure = _truth(operand)
            last = index == len(operands) - 1
            if sure is ends:
                kept.append(operand)
                break
            if sure is None or last:
                kept.append(operand)
        if len(kept) == 1:
            return (kept[0][0], node[1], node[2], *kept[0][3:])
        return node if len(kept) == len(node[3]) and operands is node[3] else (*node[:3], tuple(kept))

    def _not(self, node: Node) -> Node:
        operand = self._value(node[3])
        sure = _truth(operand)
        if sure is not None:
            return ("const", node[1], node[2], not sure)
        if operand[0] == "compare":
            types = self._types_here()
            left, right = types.of(operand[4]), types.of(operand[5])
            if left == right == "int" or left == right == "string":
                return ("compare", node[1], node[2], _OPPOSITE[operand[3]], *operand[4:])
        return node if operand is node[3] else (*node[:3], operand)

    def _negative(self, node: Node) -> Node:
        operand = self._value(node[3])
        if operand[0] == "const" and type(operand[3]) in (int, float):
            return ("const", node[1], node[2], -operand[3])
        return node if operand is node[3] else (*node[:3], operand)

    def _call(self, node: Node) -> Node:
        function, arguments = self._value(node[3]), self._all(node[4])
        return node if function is node[3] and arguments is node[4] else (*node[:3], function, arguments)

    def _member(self, node: Node) -> Node:
        of = self._value(node[3])
        return node if of is node[3] else (*node[:3], of, node[4])

    def _index(self, node: Node) -> Node:
        of, at = self._value(node[3]), self._value(node[4])
        return node if of is node[3] and at is node[4] else (*node[:3], of, at)

    def _list(self, node: Node) -> Node:
        items = self._all(node[3])
        return node if items is node[3] else (*node[:3], items)

    def _object(self, node: Node) -> Node:
        pairs = tuple((key, self._value(value)) for key, value in node[3])
        same = all(a[1] is b[1] for a, b in zip(pairs, node[3], strict=True))
        return node if same else (*node[:3], pairs)

    def _await(self, node: Node) -> Node:
        value = self._value(node[3])
        return node if value is node[3] else (*node[:3], value)

    def _warn(self, code: str, message: str, start: int, end: int) -> None:
        self.problems.append(("warning", code, message, start, end, ""))


def _truth(node: Node) -> bool | None:
    """Return whether a value counts as true, where that is sure."""
    return bool(node[3]) if node[0] == "const" else None


def _too_large(sign: str, one: Any, other: Any) -> bool:
    if sign == "%":
        return isinstance(one, str)  # a format may ask for any width
    if sign != "*":
        return False
    if isinstance(one, str) or isinstance(other, str):
        text, count = (one, other) if isinstance(one, str) else (other, one)
        return not isinstance(count, int) or not isinstance(text, str) or len(text) * count > _LONGEST
    return isinstance(one, int) and isinstance(other, int) and one.bit_length() + other.bit_length() > _MOST_BITS


def _is_small(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST
    if isinstance(value, float):
        return math.isfinite(value)
    return value.bit_length() <= _MOST_BITS  # type: ignore[no-any-return]


def _nodes(parts: Any) -> Any:
    """Yield every node below, in no order to rely on."""
    waiting = [parts]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple):
            # Names in a row are no node: behind the kind of one stands a position.
            if len(one) > 2 and type(one[1]) is int:  # noqa: PLR2004
                yield one
            waiting.extend(part for part in one if isinstance(part, tuple))
