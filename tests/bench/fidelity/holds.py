"""Comparing what references lead to with what the same references lead to in a process that was started so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

__all__ = ["HeldComparison", "compare_held"]


@frozen(kw_only=True)
class HeldComparison:
    """`gone` is what the other version does not have, so that nothing can be asked of a reference to it."""

    right: int
    wrong: dict[str, Any]
    gone: int


def compare_held(control: Mapping[str, Any], live: Mapping[str, Any]) -> HeldComparison:
    """Compare two looks at everything that is held."""
    wrong: dict[str, Any] = {}
    right = gone = 0
    for key, found in live.items():
        if key not in control:
            gone += 1
        elif _agree(control[key], found):
            right += 1
        else:
            wrong[key] = _difference(control[key], found)
    return HeldComparison(right=right, wrong=wrong, gone=gone)


def _agree(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict) and "subset" in wanted and "subset" in found:
        # An instance that lives has kept what the old constructor gave it as well.
        return set(wanted["subset"]) <= set(found["subset"])
    return bool(wanted == found)


def _difference(wanted: Any, found: Any) -> dict[str, Any]:
    if isinstance(wanted, dict) and isinstance(found, dict) and "subset" not in wanted:
        keys = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
        return {key: {"wanted": wanted.get(key), "found": found.get(key)} for key in keys[:20]}
    return {"wanted": wanted, "found": found}
