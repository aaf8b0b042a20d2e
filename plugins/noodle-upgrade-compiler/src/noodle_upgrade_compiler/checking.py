"""Whether what a phase gave back is what the next one can read.

A good version is never checked: it costs as much as a phase. When a later phase cannot go on, what it was given is
looked at, and the version that made it is named.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any

from noodle_upgrade_compiler.contract import Tree

__all__ = ["SHAPES", "fault_in_generated", "fault_in_problems", "fault_in_tokens", "fault_in_tree"]

_KINDS = frozenset({"name", "int", "float", "string", "end"})
_BINARY = frozenset("+ - * / %".split())
_COMPARE = frozenset("== != < <= > >=".split())
_CONSTANTS = (type(None), bool, int, float, str)

SHAPES: dict[str, tuple[str, ...]] = {
    # Expressions.
    "name": ("text",),
    "const": ("constant",),
    "binary": ("binary", "expression", "expression"),
    "compare": ("compare", "expression", "expression"),
    "and": ("expressions",),
    "or": ("expressions",),
    "not": ("expression",),
    "negative": ("expression",),
    "call": ("expression", "expressions"),
    "member": ("expression", "text"),
    "index": ("expression", "expression"),
    "list": ("expressions",),
    "object": ("pairs",),
    "await": ("expression",),
    # Statements.
    "let": ("name", "type?", "expression?"),
    "assign": ("targets", "expression"),
    "expression": ("expression",),
    "return": ("expression?",),
    "yield": ("expression?",),
    "break": (),
    "continue": (),
    "block": ("statements",),
    "if": ("branches", "statements"),
    "while": ("expression", "statements"),
    "for": ("name", "expression", "statements"),
    "match": ("expression", "cases", "statements"),
    "def": ("text", "parameters", "type?", "statements", "texts", "texts", "texts"),
    "class": ("text", "expression?", "expressions", "members"),
    "struct": ("text", "fields"),
    "interface": ("text", "signatures"),
    "enum": ("text", "numbered"),
    "alias": ("text", "type"),
    "import": ("text", "text"),
    "from": ("text", "imported"),
    # Parts of them.
    "module": ("statements", "texts"),
    "parameter": ("text", "type?", "expression?"),
    "field": ("text", "type?", "expression?"),
    "signature": ("text", "parameters", "type?", "texts"),
    "type": ("text", "types"),
}
"""The fields of each kind of node behind `(kind, start, end, …)`."""

_EXPRESSIONS = frozenset(list(SHAPES)[:14])
_STATEMENTS = frozenset(list(SHAPES)[14:34])


def fault_in_problems(problems: Any) -> str:
    """Return what is wrong with a list of problems, "" for nothing."""
    if not isinstance(problems, tuple | list):
        return "its problems are no sequence"
    for problem in problems:
        if not isinstance(problem, tuple) or len(problem) != 6:  # noqa: PLR2004
            return "a problem is not (severity, code, message, start, end, hint)"
        if problem[0] not in ("error", "warning") or not all(isinstance(problem[i], str) for i in (1, 2, 5)):
            return f"a problem has no severity, or no text: {problem!r:.80}"
        if not all(type(problem[i]) is int and problem[i] >= 0 for i in (3, 4)):
            return "a problem has no position"
    return ""


def fault_in_tokens(tokens: Any) -> str:
    """Return what is wrong with tokens, "" for nothing."""
    columns = [getattr(tokens, name, None) for name in ("kinds", "texts", "starts", "ends")]
    if not all(isinstance(column, tuple | list) for column in columns):
        return "it gave no columns of kinds, texts, starts and ends"
    kinds, texts, starts, ends = columns
    if not len(kinds) == len(texts) == len(starts) == len(ends):  # type: ignore[arg-type]
        return "its columns are not of equal length"
    if not kinds or kinds[-1] != "end":
        return "its last token is not the end"
    before = 0
    for kind, text, start, end in zip(kinds, texts, starts, ends, strict=True):  # type: ignore[arg-type]
        if not isinstance(kind, str) or not isinstance(text, str) or (kind not in _KINDS and kind != text):
            return f"there is no kind of tokens {kind!r:.40}"
        if type(start) is not int or type(end) is not int or not before <= start <= end:
            return "its positions are not in order"
        before = start
    return ""


def fault_in_tree(tree: Any) -> str:
    """Return what is wrong with a tree, "" for nothing. Takes no recursion: a tree may be as deep as it likes."""
    if not isinstance(tree, tuple) or not tree or tree[0] != "module":
        return "it gave no module"
    waiting: list[Tree] = [tree]
    while waiting:
        node = waiting.pop()
        inside: list[Tree] = []
        if fault := _fault_in_node(node, inside):
            return fault
        for one in inside:
            # Those without a position are told of when it is their turn.
            if len(one) > 2 and type(one[1]) is type(one[2]) is int and not node[1] <= one[1] <= one[2] <= node[2]:  # noqa: PLR2004
                return (
                    f"a node {one[0]!r:.40} on line {one[1] >> 20} is not inside of the {node[0]!r} that it is part of"
                )
        waiting += inside
    return ""


def _fault_in_node(node: Any, waiting: list[Tree]) -> str:
    if not isinstance(node, tuple) or len(node) < 3 or not isinstance(node[0], str):  # noqa: PLR2004
        return f"{node!r:.60} is no node"
    kind = node[0]
    fields = SHAPES.get(kind)
    if fields is None:
        return f"there is no kind of nodes {kind!r:.40}"
    if len(node) != 3 + len(fields):
        return f"a node {kind!r} has {len(node) - 3} fields and not {len(fields)}"
    if type(node[1]) is not int or type(node[2]) is not int or not 0 <= node[1] <= node[2]:
        return f"a node {kind!r} has no position"
    for field, value in zip(fields, node[3:], strict=True):
        if fault := _CHECKS[field](value, waiting):
            return f"in a node {kind!r} on line {node[1] >> 20}: {fault}"
    return ""


def _among(kinds: frozenset[str], what: str) -> Callable[[Any, list[Tree]], str]:
    def check(value: Any, waiting: list[Tree]) -> str:
        if not isinstance(value, tuple) or not value or value[0] not in kinds:
            return f"{value!r:.40} is no {what}"
        waiting.append(value)
        return ""

    return check


def _optional(check: Callable[[Any, list[Tree]], str]) -> Callable[[Any, list[Tree]], str]:
    return lambda value, waiting: "" if value is None else check(value, waiting)


def _several(check: Callable[[Any, list[Tree]], str]) -> Callable[[Any, list[Tree]], str]:
    def checked(value: Any, waiting: list[Tree]) -> str:
        if not isinstance(value, tuple):
            return f"{value!r:.40} is no sequence"
        return next((fault for one in value if (fault := check(one, waiting))), "")

    return checked


def _pair(*checks: Callable[[Any, list[Tree]], str]) -> Callable[[Any, list[Tree]], str]:
    def checked(value: Any, waiting: list[Tree]) -> str:
        if not isinstance(value, tuple) or len(value) != len(checks):
            return f"{value!r:.40} is no pair"
        return next((fault for check, one in zip(checks, value, strict=True) if (fault := check(one, waiting))), "")

    return checked


def _text(value: Any, _waiting: list[Tree]) -> str:
    return "" if isinstance(value, str) and value else f"{value!r:.40} is no name"


def _constant(value: Any, _waiting: list[Tree]) -> str:
    return "" if isinstance(value, _CONSTANTS) else f"{value!r:.40} is no constant"


def _sign(signs: frozenset[str]) -> Callable[[Any, list[Tree]], str]:
    return lambda value, _waiting: "" if value in signs else f"there is no operator {value!r:.20}"


def _numbered(value: Any, _waiting: list[Tree]) -> str:
    good = isinstance(value, tuple) and len(value) == 5 and value[0] == "member" and type(value[4]) is int  # noqa: PLR2004
    return "" if good else f"{value!r:.40} is no member of an enumeration"


_expression = _among(_EXPRESSIONS, "expression")
_statements = _several(_among(_STATEMENTS, "statement"))
_type_ = _among(frozenset({"type"}), "type")
_name = _among(frozenset({"name"}), "name")
_CHECKS: dict[str, Callable[[Any, list[Tree]], str]] = {
    "text": _text,
    "texts": _several(_text),
    "constant": _constant,
    "binary": _sign(_BINARY),
    "compare": _sign(_COMPARE),
    "expression": _expression,
    "expression?": _optional(_expression),
    "expressions": _several(_expression),
    "targets": _several(_among(frozenset({"name", "member", "index"}), "target")),
    "pairs": _several(_pair(_expression, _expression)),
    "statements": _statements,
    "branches": _several(_pair(_expression, _statements)),
    "cases": _several(_pair(_several(_expression), _statements)),
    "name": _name,
    "type": _type_,
    "type?": _optional(_type_),
    "types": _several(_type_),
    "parameters": _several(_among(frozenset({"parameter"}), "parameter")),
    "members": _several(_among(frozenset({"def", "field"}), "member")),
    "fields": _several(_among(frozenset({"field"}), "field")),
    "signatures": _several(_among(frozenset({"signature"}), "method of an interface")),
    "numbered": _several(_numbered),
    "imported": _several(_pair(_text, _text)),
}


def fault_in_generated(made: Any, targets: tuple[str, ...]) -> str:
    """Return what is wrong with what a generator made, "" for nothing."""
    kinds: dict[str, type] = {"python": CodeType, "python_source": str, "nbc": tuple, "source_map": str}
    for target in targets:
        if not isinstance(getattr(made, target, None), kinds[target]):
            return f"it was asked for {target} and gave {type(getattr(made, target, None)).__name__}"
    return ""
