"""Three-way merge of what a program may have changed since import: names, settings, registries.

Three versions of one value: as the old version was imported (`base`), as it is now (`live`), as the new version was
imported (`staged`). What the program changed stays, what the new version changed comes, and both is a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.patch.correspondence import Correspondence
from noodle_upgrade_runtime.patch.keys import keys_of

__all__ = ["MISSING", "Conflict", "Merge", "Take", "merge_lists", "merge_names", "merge_sets"]

MISSING: Any = type("Missing", (), {"__repr__": lambda _: "(absent)"})()
"""Stands for a name that a version does not bind."""


@frozen
class Take:
    """Bind `key` to the staged `value`; `MISSING` takes the name away."""

    key: Any
    value: Any


@frozen
class Conflict:
    """The program and the new version both changed what `key` is bound to."""

    key: Any


@frozen
class Merge:
    """What has to be done to the live mapping, and what could not be decided."""

    takes: tuple[Take, ...]
    conflicts: tuple[Conflict, ...]


def merge_names(
    links: Correspondence, base: Mapping[Any, Any], live: Mapping[Any, Any], staged: Mapping[Any, Any]
) -> Merge:
    """Merge three mappings whose keys are plain values, or tokens that stand for others."""
    takes: list[Take] = []
    conflicts: list[Conflict] = []
    for key in [*staged, *(key for key in live if key not in staged)]:
        found = _decide(links, base.get(key, MISSING), live.get(key, MISSING), staged.get(key, MISSING))
        if found is True:
            takes.append(Take(key, staged.get(key, MISSING)))
        elif found is None:
            conflicts.append(Conflict(key))
    return Merge(tuple(takes), tuple(conflicts))


def _decide(links: Correspondence, base: Any, live: Any, staged: Any) -> bool | None:
    """Return True to take the staged value, False to keep the live one, None when both sides changed it."""
    if live is staged or (live is not MISSING and staged is not MISSING and links.alike(live, staged)):
        return False
    if base is MISSING:
        # Bound by the program alone, or by the new version alone, or by both.
        return None if live is not MISSING and staged is not MISSING else live is MISSING
    if live is not MISSING and links.alike(live, base):
        return True
    if staged is MISSING:
        # The program changed it and nothing of the new version reads it: leaving it does no harm.
        return False
    return False if links.alike(staged, base) else None


def merge_sets(links: Correspondence, base: Any, live: Any, staged: Any) -> tuple[list[Any], list[Any]]:
    """Return the staged members to add and the live ones to take away."""
    before, after, mine = (dict(zip(keys_of(links, values), values, strict=True)) for values in (base, staged, live))
    add = [value for key, value in after.items() if key not in before and key not in mine]
    remove = [value for key, value in mine.items() if key in before and key not in after]
    return add, remove


def merge_lists(links: Correspondence, base: list[Any], live: list[Any], staged: list[Any]) -> list[Any] | None:
    """Return the merged list, None when both sides changed it in a way that has no one order.

    What the program put in front or behind stays there.
    """
    if _same(links, live, base):
        return staged
    if _same(links, staged, base) or _same(links, live, staged):
        return live
    size = len(base)
    if len(live) > size and _same(links, live[:size], base):
        return [*staged, *live[size:]]
    if len(live) > size and _same(links, live[len(live) - size :], base):
        return [*live[: len(live) - size], *staged]
    return None


def _same(links: Correspondence, left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(links.alike(a, b) for a, b in zip(left, right, strict=True))
