"""What others say, made fit to be kept: no evidence, however odd or large, keeps a change from being written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError
from noodle_upgrade_core.isolation import in_text
from noodle_upgrade_core.wire import to_wire

__all__ = ["MOST_EVIDENCE", "MOST_WORDS", "fitting", "in_short"]

MOST_EVIDENCE = 256 * 1024
"""The most characters of JSON that the evidence of one change may take."""
MOST_WORDS = 4000
"""The most characters that a reason may take."""
_MOST_DEEP = 24


def in_short(why: str) -> str:
    """Return a reason that is not longer than anybody reads."""
    return why if len(why) <= MOST_WORDS else f"{why[: MOST_WORDS - 2]} …"


def fitting(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return evidence as JSON values: what cannot be one as its text, what is too large left out by name."""
    try:
        made: dict[str, Any] = to_wire(dict(evidence))
    except InvalidRequestError:
        made = {str(name): _as_text(value, 0) for name, value in evidence.items()}
    sizes = {name: len(json.dumps(value)) for name, value in made.items()}
    if sum(sizes.values()) <= MOST_EVIDENCE:
        return made
    left, kept = MOST_EVIDENCE, {}
    for name in sorted(sizes, key=lambda one: sizes[one]):
        left -= sizes[name]
        if left >= 0:
            kept[name] = made[name]
    return {**kept, "left_out": {name: f"{size} characters" for name, size in sizes.items() if name not in kept}}


def _as_text(value: Any, depth: int) -> Any:
    """Return a value with what is no JSON value in it as text."""
    if depth >= _MOST_DEEP:
        return in_text(value)
    if isinstance(value, UpgradeError):
        value = value.to_wire()
    elif attrs.has(type(value)):
        value = {one.name: getattr(value, one.name) for one in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {str(name): _as_text(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_text(inner, depth + 1) for inner in value]
    try:
        return to_wire(value)
    except InvalidRequestError:
        return in_text(value)
