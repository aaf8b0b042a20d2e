"""Whether a function has something that an optimizer could do beforehand; it passes those by that have nothing."""

from __future__ import annotations

from typing import Any

__all__ = ["is_foldable"]

Node = tuple[Any, ...]

_ENDS = frozenset({"return", "break", "continue"})


def is_foldable(body: tuple[Node, ...]) -> bool:
    """Return whether a body, with the functions in it, has constants to be computed, or what nothing reaches."""
    waiting: list[Any] = [body]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, tuple) or not one:
            continue
        if isinstance(one[0], str):
            # Names in a row are no node: behind the kind of one stands a position.
            if len(one) > 3 and type(one[1]) is int and _is_candidate(one):  # noqa: PLR2004 - kind, start, end, more
                return True
        elif any(isinstance(part, tuple) and part and part[0] in _ENDS for part in one[:-1]):
            return True
        waiting.extend(part for part in one if isinstance(part, tuple))
    return False


def _is_candidate(node: Node) -> bool:  # noqa: PLR0911 - one for each kind of node
    kind = node[0]
    if kind == "binary":
        sign, left, right = node[3:]
        return bool(right[0] == "const" and (left[0] == "const" or _changes_nothing(sign, right[3])))
    if kind == "compare":
        return bool(node[4][0] == "const" and node[5][0] == "const")
    if kind in ("and", "or"):
        return any(operand[0] == "const" for operand in node[3])
    if kind == "not":
        return node[3][0] in ("const", "compare")
    if kind == "negative":
        return bool(node[3][0] == "const")
    if kind == "if":
        return any(test[0] == "const" for test, _ in node[3])
    if kind == "while":
        return bool(node[3][0] == "const")
    if kind == "block":
        return not node[3]
    return kind == "let" and node[4] is not None


def _changes_nothing(sign: str, value: object) -> bool:
    return (value == 0 and sign in "+-") or (value == 1 and sign == "*")
