"""A package's whole object graph as it is at one moment, and what two moments differ in."""

from __future__ import annotations

import collections
import contextlib
import enum
import functools
import gc
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fidelity.inside.modules import imported, is_ours

__all__ = ["Snapshot", "changed", "differences", "grown", "take"]

ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), types.CodeType)
CONTAINERS = (list, tuple, set, frozenset, dict, collections.OrderedDict, collections.defaultdict, collections.deque)
PARTS: dict[type, tuple[str, ...]] = {
    types.FunctionType: (
        "__code__", "__defaults__", "__kwdefaults__", "__closure__", "__doc__", "__name__", "__qualname__",
        "__module__", "__annotations__",
    ),
    types.MethodType: ("__func__", "__self__"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel", "__doc__"),
    functools.partial: ("func", "args", "keywords"),
    functools.partialmethod: ("func", "args", "keywords"),
    functools.cached_property: ("func", "attrname"),
    types.GenericAlias: ("__origin__", "__args__"),
    types.UnionType: ("__args__",),
}  # fmt: skip


class Snapshot:
    """`seen` maps the id of an object to (the object, what it holds by name); it keeps all of them alive."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.process: dict[str, Any] = {}

    def lacks(self, place: tuple[int, str]) -> bool:
        """Return whether an object, by its id, was there and had no such part."""
        key, name = place
        return key in self.seen and name not in self.seen[key][1]


def take(tops: Sequence[str], roots: Iterable[Any] = ()) -> Snapshot:
    """Walk everything that the package's modules and some other roots lead to, as far as it is the package's."""
    gc.collect()
    shot = Snapshot()
    modules = imported(tops)
    shot.process = {
        "sys.path": tuple(sys.path),
        "sys.meta_path": tuple(map(id, sys.meta_path)),
        "modules": tuple((name, id(module)) for name, module in modules.items()),
    }
    waiting: list[Any] = [*modules.values(), *roots]
    while waiting:
        value = waiting.pop()
        if isinstance(value, ATOMS) or id(value) in shot.seen:
            continue
        parts = dict(_parts(value, tops))
        shot.seen[id(value)] = (value, {name: _token(part) for name, part in parts.items()})
        waiting += [part for part in parts.values() if not isinstance(part, _Order)]
    return shot


class _Order(str):
    """Says in which order something is; it leads nowhere."""

    __slots__ = ()


def _token(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return ("code", id(value))
    if isinstance(value, ATOMS):
        return (type(value).__name__, value if value == value else "nan")  # noqa: PLR0124 - a nan is not itself
    return id(value)


def _parts(value: Any, tops: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, by name."""
    kind = type(value)
    if kind is types.ModuleType:
        if is_ours(vars(value).get("__name__"), tops):
            yield from ((str(name), part) for name, part in list(vars(value).items()) if name not in _NOT_THE_MODULES)
    elif kind is types.CellType:
        yield from _contents(value)
    elif kind in PARTS:
        if kind is not types.FunctionType or _is_near(value, tops):
            yield from ((name, getattr(value, name, None)) for name in PARTS[kind])
            # The dict itself is made when it is asked for: what counts is what is in it.
            yield from ((f".{name}", part) for name, part in _own(value).items())
            yield "type", kind
    elif isinstance(value, type):
        if is_ours(value.__module__, tops) or value.__module__.startswith(("users_module", "fidelity.")):
            yield from _of_class(value)
    elif kind in CONTAINERS:
        yield from _of_container(value)
    elif is_ours(kind.__module__, tops) or kind.__module__.startswith("fidelity."):
        yield "type", kind
        yield from ((f".{name}", part) for name, part in _attributes(value))
        if isinstance(value, CONTAINERS):
            yield from _of_container(value)


# What the interpreter notes there by itself: the builtins, and which warnings it has given already.
_NOT_THE_MODULES = frozenset({"__builtins__", "__warningregistry__"})


def _own(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(value, "__dict__", None) or {}
    # A wrapper copies what a function has, some of it not before it is asked.
    return {name: part for name, part in found.items() if not name.startswith("__") or name == "__wrapped__"}


def _is_near(function: types.FunctionType, tops: Sequence[str]) -> bool:
    home = function.__globals__.get("__name__")
    return is_ours(home, tops) or is_ours(function.__module__, tops) or str(home).startswith("fidelity.")


def _contents(cell: types.CellType) -> Iterator[tuple[str, Any]]:
    try:
        yield "contents", cell.cell_contents
    except ValueError:
        yield "contents", _Order("(empty)")


def _of_class(cls: type) -> Iterator[tuple[str, Any]]:
    yield "the bases", cls.__bases__
    yield "the mro", _Order(str([id(one) for one in cls.__mro__]))
    yield "the subclasses", _Order(str(sorted(map(id, type.__subclasses__(cls)))))
    yield "the flags", _Order(str(cls.__flags__ & ~_CACHE_FLAGS))
    yield "the name", _Order(f"{cls.__module__}.{cls.__qualname__}")
    for name, part in list(vars(cls).items()):
        # The interpreter makes these anew, and keeps its own caches there.
        if not isinstance(part, types.GetSetDescriptorType | types.MemberDescriptorType) and name != "_abc_impl":
            yield name, part


_CACHE_FLAGS = 1 << 19  # Py_TPFLAGS_VALID_VERSION_TAG


def _of_container(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for number, (key, part) in enumerate(list(dict.items(value))):
            yield f"key {number}", key
            yield f"value {number}", part
        if isinstance(value, collections.defaultdict):
            yield "factory", value.default_factory
    elif isinstance(value, set | frozenset):
        yield "size", _Order(str(len(value)))
        for part in sorted(value, key=id):
            yield f"member {part!r}" if isinstance(part, ATOMS) else f"member {id(part)}", part
    else:
        yield from ((str(number), part) for number, part in enumerate(list(value)))


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, enum.Enum):
        return
    with contextlib.suppress(AttributeError, TypeError):
        yield from object.__getattribute__(value, "__dict__").items()
    for cls in type(value).__mro__:
        for name, slot in vars(cls).items():
            if isinstance(slot, types.MemberDescriptorType):
                try:
                    yield name, slot.__get__(value)
                except AttributeError:
                    yield name, _Order("(not set)")


def changed(before: Snapshot, after: Snapshot) -> dict[tuple[int, str], str]:
    """Return what is not as it was: the object and its part, each with a line that says so.

    The keys are good for as long as both snapshots live, which keep the objects alive.
    """
    found = {(0, name): f"{name} changed" for name in before.process if before.process[name] != after.process[name]}
    for key, (value, parts) in before.seen.items():
        now = after.seen.get(key)
        if now is None:
            continue  # whoever held it holds something else, which is a difference of its own
        for name in [*parts, *(name for name in now[1] if name not in parts)]:
            old, new = parts.get(name, "(absent)"), now[1].get(name, "(absent)")
            if old != new:
                found[key, name] = f"{_told(value)} / {name}: {_named(old, before)} became {_named(new, after)}"
    return found


def grown(before: Snapshot, after: Snapshot) -> set[int]:
    """Return the ids of the objects that have got more parts: a list that something appends to, a cache that fills."""
    return {key for key, name in changed(before, after) if before.lacks((key, name))}


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what is not as it was, a line each."""
    return list(changed(before, after).values())


def _told(value: Any) -> str:
    # Only what has a name of its own is asked for it: an instance may pass every question on, to nobody or to itself.
    if not isinstance(value, type | types.ModuleType | types.FunctionType):
        return type(value).__name__
    told = type.__getattribute__ if isinstance(value, type) else object.__getattribute__
    name = told(value, "__name__" if isinstance(value, types.ModuleType) else "__qualname__")
    home = "" if isinstance(value, types.ModuleType) else f"{told(value, '__module__')}."
    return f"{type(value).__name__} {home}{name}"


def _named(token: Any, shot: Snapshot) -> str:
    if isinstance(token, int) and token in shot.seen:
        return f"{_told(shot.seen[token][0])} at {token:x}"
    return str(token)[:80]
