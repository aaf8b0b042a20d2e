"""Which keys of two versions mean the same, without asking the packages' own `__eq__` and `__hash__`.

Those would meet objects of the other version, which no code of a package was written for, and in a commit they would
run Python code between its calls.
"""

from __future__ import annotations

import collections
import types
from collections.abc import Callable, Iterable
from typing import Any

from noodle_upgrade_runtime.asking import binding_of, is_a
from noodle_upgrade_runtime.patch.correspondence import ATOMS, STANDARD, Correspondence, instance_dict, slot_values

__all__ = ["Token", "by_key", "is_plain_key", "key_of", "keys_of"]

_DEEPEST = 4
_BY_IDENTITY = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


class Token:
    """Stands for a key with a `__hash__` of its own: equal for keys that mean the same."""

    __slots__ = ("form", "key")

    def __init__(self, form: Any, key: Any) -> None:
        self.form = form
        self.key = key

    def __eq__(self, other: object) -> bool:
        return is_a(other, Token) and bool(self.form == other.form)

    def __hash__(self) -> int:
        return hash(self.form)

    def __repr__(self) -> str:
        return f"<{type(self.key).__qualname__}>"


def key_of(links: Correspondence, key: Any) -> Any:
    """Return what stands for a key in a merge: the live key itself where it is a plain one."""
    live = links.canonical(key)
    return live if is_plain_key(live, links) else Token(_form(links, live, _DEEPEST), live)


def keys_of(links: Correspondence, keys: Iterable[Any]) -> list[Any]:
    """Return what stands for each key of one container: keys that look alike are told apart by their order."""
    seen: collections.Counter[Token] = collections.Counter()
    found = []
    for key in keys:
        one = key_of(links, key)
        if type(one) is Token:
            seen[one] += 1
            if seen[one] > 1:
                one = Token((one.form, seen[one]), one.key)
        found.append(one)
    return found


def by_key(links: Correspondence, items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the values of a mapping, given its items, by what stands for their keys."""
    held = list(items)
    return dict(zip(keys_of(links, [key for key, _ in held]), [value for _, value in held], strict=True))


def is_plain_key(key: Any, links: Correspondence | None = None) -> bool:
    """Return whether a key may be asked whether it equals another: that runs no code of any package."""
    kind = type(key)
    if kind in ATOMS:
        return True
    if links is not None and links.canonical(key) is not key:
        return False
    if kind in {tuple, frozenset}:
        # Inside, what lives and what stands for it must both be told by a token.
        return not any(links is not None and links.is_live(item) for item in key) and all(
            is_plain_key(item, links) for item in key
        )
    if kind.__module__ in STANDARD:
        return True
    return binding_of(kind, "__eq__") in _EQUALS and binding_of(kind, "__hash__") in _HASHES


def _has_identity(kind: type) -> bool:
    return binding_of(kind, "__eq__") is object.__eq__


_VALUES = (object, str, bytes, int, float)
_EQUALS = frozenset(vars(kind)["__eq__"] for kind in _VALUES)
_HASHES = frozenset(vars(kind)["__hash__"] for kind in _VALUES)


def _form(links: Correspondence, value: Any, depth: int) -> Any:
    value = links.canonical(value)
    kind = type(value)
    if kind in ATOMS:
        return (kind, value)
    if links.is_live(value) or is_a(value, _BY_IDENTITY) or not depth or _is_itself(value, depth):
        return ("one", id(value))
    if kind in {tuple, list}:
        return (kind, tuple([_form(links, item, depth - 1) for item in value]))
    if kind in {set, frozenset}:
        return (kind, frozenset([_form(links, item, depth - 1) for item in value]))
    if kind is dict:
        return (kind, tuple([(_form(links, k, depth - 1), _form(links, v, depth - 1)) for k, v in value.items()]))
    return _form_of_instance(links, value, depth)


def _form_of_instance(links: Correspondence, value: Any, depth: int) -> Any:
    own = {**(instance_dict(value) or {}), **slot_values(value)}
    parts: list[Any] = [(name, _form(links, own[name], depth - 1)) for name in sorted(own)]
    plain = next((plain for base, plain in _PLAIN.items() if is_a(value, base)), None)
    if plain is not None:
        # At the same depth: what it is made into is new each time, and must not be told by what it is.
        parts.append(_form(links, plain(value), depth))
    elif not own:
        return ("one", id(value))
    return (id(links.canonical(type(value))), tuple(parts))


def _is_itself(value: Any, depth: int) -> bool:
    """Return whether an object equals only itself, and is no mere record inside a key."""
    return _has_identity(type(value)) and (depth == _DEEPEST or not _is_record(value))


def _is_record(value: Any) -> bool:
    """Return whether an object is nothing but named values: a part of a key that means what another like it means."""
    own = [*(instance_dict(value) or {}).values(), *slot_values(value).values()]
    return bool(own) and all(map(_is_value, own))


def _is_value(value: Any) -> bool:
    return type(value) in ATOMS or (type(value) in {tuple, frozenset} and all(map(_is_value, value)))


_PLAIN: dict[type, Callable[[Any], Any]] = {
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    frozenset: frozenset.copy,
    str: lambda value: str.__getitem__(value, slice(None)),
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    int: int.__pos__,
    float: float.__pos__,
}
"""How to get what an instance of a subclass is besides its attributes."""
