"""Comparing what references lead to with what the same references lead to in a process that was started so."""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping
from typing import Any

from attrs import frozen

__all__ = ["HeldComparison", "Told", "compare_held"]

_OF_INSTANCES = ("instance", "isinstance", "type of an instance", "fields", "bound ")
_SLOT = "member_descriptor"
_ABSTRACT = (["abc", "ABC", True], ["abc", "ABCMeta", True])


@frozen(kw_only=True)
class HeldComparison:
    """`gone` is what nothing can be asked of: the other version does not have it, or its constructor makes something else.

    `told` are differences that the plan has told beforehand.
    """

    right: int
    wrong: dict[str, Any]
    gone: int
    told: tuple[str, ...] = ()


@frozen(kw_only=True)
class Told:
    """What the engine says that is not as in a fresh process.

    `shared` has the names that a class binds because all its living instances gain the same value; `abstract` are the
    classes that become abstract and keep their metaclass; instances of `unslotted` keep a dict for what the new
    version has slots for.
    """

    shared: Mapping[str, Collection[str]]
    abstract: Collection[str] = ()
    unslotted: Collection[str] = ()
    parted: Collection[str] = ()

    @classmethod
    def by(cls, evidence: Mapping[str, Any] | None) -> Told:
        """Read it from the evidence of an upgrade."""
        said = evidence or {}
        abstract = said.get("abstract", ()) if said.get("plain") else ()
        return cls(
            shared=said.get("shared", {}),
            abstract=abstract,
            unslotted=said.get("unslotted", ()),
            parted=[one.partition(":")[0] for one in said.get("parted", ())],
        )

    def excuses(self, key: str, wanted: Any, found: Any) -> bool:
        """Whether a difference is just what was told."""
        symbol, _, kind = key.partition("|")
        if symbol.replace(":", ".") in self.parted and isinstance(found, list) and found[:1] == ["function"]:
            return True
        shared = set(self.shared.get(symbol.replace(":", "."), ()))
        if kind == "shape" and isinstance(wanted, dict) and isinstance(found, dict):
            without = {name: value for name, value in found.items() if name not in shared or name in wanted}
            if symbol.replace(":", ".") in self.unslotted:
                wanted = {name: value for name, value in wanted.items() if value != _SLOT or name in found}
            return _agree(self._plain(wanted), without)
        if self.abstract and kind.startswith("super().") and wanted == ["raises", "TypeError"]:
            return True  # an instance of a class that has methods to be given is not refused
        return bool(self.abstract) and self._plain(wanted) == found

    def _plain(self, value: Any) -> Any:
        """Return a look without `abc.ABC`, where classes have kept their metaclass."""
        if not self.abstract:
            return value
        if isinstance(value, dict):
            return {key: self._plain(held) for key, held in value.items()}
        if isinstance(value, list):
            return [self._plain(held) for held in value if held not in _ABSTRACT]
        return value


_NOTHING = Told(shared={})


def compare_held(
    control: Mapping[str, Any],
    live: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
    told: Told = _NOTHING,
) -> HeldComparison:
    """Compare two looks at everything that is held; `before` is what a process of the other version saw that held it."""
    wrong: dict[str, Any] = {}
    excused = []
    right = gone = 0
    aliases = _aliases(before or {})
    made_otherwise = _made_otherwise(before or {}, control)
    for key, found in live.items():
        if key not in control or _is_of(key, made_otherwise):
            gone += 1
        elif any(_agree(control[one], found) for one in (key, *aliases.get(key, ())) if one in control):
            right += 1
        elif told.excuses(key, control[key], found):
            excused.append(key)
        else:
            wrong[key] = _difference(control[key], found)
    return HeldComparison(right=right, wrong=wrong, gone=gone, told=tuple(excused))


def _aliases(before: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the other names under which a class bound the very function that is held: it may be any of them now."""
    same: dict[Any, list[str]] = collections.defaultdict(list)
    for key, value in before.items():
        symbol, _, kind = key.partition("|")
        if kind.startswith(("unbound ", "bound ")):
            same[symbol, kind.partition(" ")[0], repr(value)].append(key)
    return {key: tuple(keys) for keys in same.values() if len(keys) > 1 for key in keys}


def _made_otherwise(before: Mapping[str, Any], control: Mapping[str, Any]) -> frozenset[str]:
    """Return the classes whose constructor makes an instance of another class now: one that lives stays what it is."""
    return frozenset(
        key.partition("|")[0]
        for key, value in before.items()
        if key.endswith("|type of an instance") and key in control and control[key][:3] != value[:3]
    )


def _is_of(key: str, symbols: Collection[str]) -> bool:
    symbol, _, kind = key.partition("|")
    return symbol in symbols and kind.startswith(_OF_INSTANCES)


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
