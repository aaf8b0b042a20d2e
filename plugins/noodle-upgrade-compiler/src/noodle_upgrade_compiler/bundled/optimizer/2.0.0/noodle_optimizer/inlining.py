"""Small private functions and private constants in the place of their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from .folding import Folding, Node

__all__ = ["Inlining"]

_LARGEST = 16
"""Nodes of an expression that is put in the place of a call: a call costs about as much as so many operations."""
_OTHER_KINDS = frozenset({"async", "generator"})
_SIMPLE = frozenset({"name", "const", "binary", "compare", "not", "negative", "member", "index", "list"})


class Inlining(Folding):
    """Folds, with what is known of the file's own names."""

    def __init__(self, tree: Node) -> None:
        super().__init__()
        self._constants: dict[str, Node] = {}
        self._functions: dict[str, Node] = {}
        self._inside: list[frozenset[str]] = []
        self._expressions["name"] = self._name
        given = _given(tree[3])
        for node in tree[3]:
            name = _private_name(node)
            if name and given[name] == 1:
                if node[0] == "let" and node[5] is not None:
                    self._constants[name] = node
                elif node[0] == "def" and _is_small(node):
                    self._functions[name] = node

    def _def(self, node: Node) -> Node:
        self._inside.append(frozenset(node[8]))
        done = super()._def(node)
        self._inside.pop()
        if done is not node:
            # What was put into it may use what it has not used before.
            done = (*done[:7], tuple(flag for flag in done[7] if flag != "lean"), *done[8:])
        return done

    def _passes_by(self, node: Node) -> bool:
        # What the parser calls plain may use what is put in the place of names.
        return "plain" in node[7] and not self._constants and not self._functions

    def _is_own(self, name: str) -> bool:
        """Whether a name here is the file's: no function around declares another one."""
        return not any(name in declared for declared in self._inside)

    def _let(self, node: Node) -> Node:
        done = super()._let(node)
        name = node[3][3]
        if name in self._constants and self._constants[name] is node:
            # As it is now: what it is computed from may have been known.
            self._constants[name] = done
        return done

    def _name(self, node: Node) -> Node:
        known = self._constants.get(node[3])
        if known is None or known[2] > node[1] or known[5][0] != "const" or not self._is_own(node[3]):
            return node
        return ("const", node[1], node[2], known[5][3])

    def _call(self, node: Node) -> Node:
        done = super()._call(node)
        function = done[3]
        if function[0] != "name" or function[3] not in self._functions or not self._is_own(function[3]):
            return done
        definition = self._functions[function[3]]
        arguments = done[4]
        if definition[2] > done[1] or len(arguments) != len(definition[4]) or not all(map(_is_plain, arguments)):
            return done
        value = definition[6][0][3]
        if not all(self._is_own(name) for name in _free(value, definition)):
            return done
        parameters = dict(zip((parameter[3] for parameter in definition[4]), arguments, strict=True))
        put = _with(value, parameters, done[1], done[2])
        fold = self._expressions.get(put[0])
        return put if fold is None else fold(put)


def _private_name(node: Node) -> str:
    name = node[3][3] if node[0] == "let" else node[3] if node[0] == "def" else ""
    return name if name.startswith("_") else ""


def _given(statements: Any) -> Counter[str]:
    """Count how often each name is declared at the top level of the file or assigned anywhere in it."""
    found: Counter[str] = Counter()
    waiting: list[Any] = [statements]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, tuple) or not one:
            continue
        # Names in a row are no node: behind the kind of one stands a position.
        kind = one[0] if len(one) > 1 and type(one[1]) is int else ""
        if kind == "let":
            found[one[3][3]] += 1
        elif kind in ("def", "class", "struct", "interface", "enum"):
            found[one[3]] += 1
        elif kind == "assign":
            found.update(target[3] for target in one[3] if target[0] == "name")
        elif kind == "for":
            found[one[3][3]] += 1
        elif kind == "import":
            found[one[4]] += 1
        elif kind == "from":
            found.update(name for _, name in one[4])
        waiting.extend(part for part in one if isinstance(part, tuple))
    return found


def _is_small(definition: Node) -> bool:
    """Whether a function is one expression that can stand for a call: each parameter used, nothing done meanwhile."""
    _, _, _, _, parameters, _, body, flags, declared, outward = definition
    names = [parameter[3] for parameter in parameters]
    if not _OTHER_KINDS.isdisjoint(flags) or outward:
        return False
    if len(body) != 1 or body[0][0] != "return" or body[0][3] is None:
        return False
    if set(declared) != set(names) or any(parameter[5] is not None for parameter in parameters):
        return False
    nodes = list(_nodes(body[0][3]))
    used = {node[3] for node in nodes if node[0] == "name"}
    return len(nodes) <= _LARGEST and all(node[0] in _SIMPLE for node in nodes) and used.issuperset(names)


def _is_plain(node: Node) -> bool:
    """Whether an argument can be computed anywhere, and as often as one likes."""
    return node[0] in ("name", "const")


def _free(value: Node, definition: Node) -> Iterator[str]:
    names = {parameter[3] for parameter in definition[4]}
    return (node[3] for node in _nodes(value) if node[0] == "name" and node[3] not in names)


def _with(node: Any, given: dict[str, Node], start: int, end: int) -> Any:
    """Return an expression with arguments in the place of parameters; it stands where the call stood."""
    if not isinstance(node, tuple) or not node:
        return node
    if len(node) > 1 and type(node[1]) is int:
        if node[0] == "name" and node[3] in given:
            return given[node[3]]
        return (node[0], start, end, *(_with(part, given, start, end) for part in node[3:]))
    return tuple([_with(part, given, start, end) for part in node])


def _nodes(node: Node) -> Iterator[Node]:
    waiting: list[Any] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple) and one:
            if len(one) > 3 and type(one[1]) is int:  # noqa: PLR2004
                yield one
            waiting.extend(part for part in one if isinstance(part, tuple))
