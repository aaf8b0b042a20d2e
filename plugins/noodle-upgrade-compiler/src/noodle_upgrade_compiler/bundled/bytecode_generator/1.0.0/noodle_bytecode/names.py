"""Where the names of a function live: in its own cells, in those of a function around it, in the module, nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["Names", "inner_functions", "used"]

Node = tuple[Any, ...]


def used(function: Node) -> frozenset[str]:
    """Return the names that a function, or one inside of it, takes from outside."""
    own: set[str] = set(function[9])
    for node in _own_nodes(function[6]):
        if node[0] == "name":
            own.add(node[3])
        elif node[0] == "def":
            own |= used(node)
    return frozenset(own.difference(function[8]))


def inner_functions(body: Any) -> Iterator[Node]:
    """Yield the functions that stand in a body, and not those inside of them."""
    return (node for node in _own_nodes(body) if node[0] == "def")


def _own_nodes(parts: Any) -> Iterator[Node]:
    """Yield the nodes of a body; of functions in it the definition only."""
    waiting = [parts]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, tuple) or not one:
            continue
        # Names in a row are no node: behind the kind of one stands a position.
        if len(one) > 1 and type(one[1]) is int:
            yield one
            if one[0] == "def":
                continue
        waiting.extend(part for part in one if isinstance(part, tuple))


class Names:
    """The names of one function: which are cells, and where the others are."""

    def __init__(self, function: Node | None, module: frozenset[str], around: tuple[frozenset[str], ...]) -> None:
        self.around = around
        self.module = module
        if function is None:
            self.local: tuple[str, ...] = ()
            self.captured: tuple[str, ...] = ()
            self.free: tuple[str, ...] = ()
            return
        declared = frozenset(function[8])
        wanted: set[str] = set()
        for inner in inner_functions(function[6]):
            wanted |= used(inner)
        outside = used(function)
        self.captured = tuple(sorted(declared & wanted))
        self.free = tuple(sorted(name for name in outside if any(name in names for names in around)))
        parameters = tuple(parameter[3] for parameter in function[4])
        self.local = (*parameters, *sorted(declared.difference(parameters)))

    def place(self, name: str) -> str:
        """Return "cell", "local", "global" or "builtin"."""
        if name in self.captured or name in self.free:
            return "cell"
        if name in self.local:
            return "local"
        return "global" if name in self.module else "builtin"
