"""Which live object an object of a privately loaded version stands for, and whether two objects mean the same.

The pristine old version and the staged new one are both held against the live one, so an object of either is compared
with one of the other through the live object that both stand for.
"""

from __future__ import annotations

import collections
import functools
import re
import types
from collections.abc import Callable
from typing import Any

from noodle_upgrade_runtime.asking import is_a

__all__ = ["ATOMS", "FIELD_GETTER", "STANDARD", "Correspondence", "instance_dict", "slot_values"]

ATOMS: frozenset[type] = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), range, slice,
        types.CodeType,
        types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType,
    }
)  # fmt: skip
"""Types whose instances hold nothing of a version."""

_getattr = object.__getattribute__


def instance_dict(value: Any) -> dict[str, Any] | None:
    """Return an instance's own dict without running any of its code; None when it has none."""
    try:
        found = _getattr(value, "__dict__")
    except (AttributeError, TypeError):
        return None  # a class that was given the names of another has the way to the dicts of that one's instances
    return found if is_a(found, dict) else None


def slot_values(value: Any) -> dict[str, Any]:
    """Return the filled slots of an instance by name; what C code shows as its members is no slot."""
    found: dict[str, Any] = {}
    for cls in type(value).__mro__:
        if "__slots__" not in vars(cls):
            continue
        for name, descriptor in vars(cls).items():
            if type(descriptor) is types.MemberDescriptorType and descriptor.__objclass__ is cls and name not in found:
                try:
                    found[name] = descriptor.__get__(value, type(value))
                except AttributeError:
                    continue
    return found


FIELD_GETTER: type = type(vars(collections.namedtuple("Any", "field"))["field"])  # noqa: PYI024 - nothing else has one
"""What reads a field of a named tuple: nothing but its place."""


class Correspondence:
    """Maps private objects to live ones; one live object has at most one counterpart in each version.

    `canonical` gives the live object for a private one, and any other object itself. Objects that are mapped are kept
    alive, so that their ids stay theirs.
    """

    def __init__(self) -> None:
        self._live: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._ids: set[int] = set()
        self.opened: Callable[[Any, Any], None] | None = None
        """Where somebody wants to know: told of two objects before they are looked into to compare them."""

    def branch(self) -> Correspondence:
        """Return another one that begins with what this one knows."""
        made = Correspondence()
        made._live, made._kept, made._ids = dict(self._live), list(self._kept), set(self._ids)
        return made

    def records(self) -> list[Any]:
        """Return the containers in which this remembers objects of the program."""
        return [self._live, self._kept]

    def link(self, private: Any, live: Any) -> None:
        """Record that `private` stands for `live`."""
        self._live[id(private)] = live
        self._kept.append(private)
        self._ids.add(id(live))

    def is_live(self, value: Any) -> bool:
        """Return whether a private object stands for this one."""
        return id(value) in self._ids

    def link_modules(self, private: types.ModuleType, live: types.ModuleType) -> None:
        """Record that a module and its names stand for a live one and its names."""
        self.link(private, live)
        self.link(vars(private), vars(live))

    def knows(self, private: Any) -> bool:
        """Return whether an object stands for a live one."""
        return id(private) in self._live

    def canonical(self, value: Any) -> Any:
        """Return the live object that this one stands for, or itself."""
        return self._live.get(id(value), value)

    def alike(self, left: Any, right: Any) -> bool:
        """Return whether two objects of whichever versions mean the same; runs no code of the packages."""
        return _alike(self, left, right, {})

    def contents_alike(self, left: Any, right: Any) -> bool:
        """Return whether two objects hold the same, also when both stand for the same live object."""
        if type(left) is not type(right):
            return False
        if self.opened is not None:
            self.opened(left, right)
        compare = _COMPARE.get(type(left)) or _compare_for(left)
        return compare(self, left, right, {})


def _alike(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
    left, right = links.canonical(left), links.canonical(right)
    if left is right:
        return True
    kind, other = links.canonical(type(left)), links.canonical(type(right))
    if kind is not other:
        return False
    if type(left) in ATOMS:
        return _same_atom(left, right)
    if links.opened is not None:
        links.opened(left, right)
    key = (id(left), id(right))
    if key in seen:
        return seen[key]
    seen[key] = True  # a cycle is the same as long as nothing else differs
    compare = _COMPARE.get(type(left))
    if compare is None:
        compare = _compare_for(left)
    seen[key] = result = compare(links, left, right, seen)
    return result


_Compare = Callable[[Correspondence, Any, Any, dict[tuple[int, int], bool]], bool]


def _same_atom(left: Any, right: Any) -> bool:
    if is_a(left, (float, complex)):
        return repr(left) == repr(right)
    return bool(left == right)


def _sequences(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
    return len(left) == len(right) and all(_alike(links, a, b, seen) for a, b in zip(left, right, strict=True))


def _mappings(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
    if len(left) != len(right):
        return False
    return all(
        _alike(links, a, b, seen) and _alike(links, x, y, seen)
        for (a, x), (b, y) in zip(dict.items(left), dict.items(right), strict=True)
    )


def _key(links: Correspondence, value: Any) -> Any:
    """Give a value of a set a key that is equal for values that mean the same."""
    value = links.canonical(value)
    if type(value) in ATOMS:
        return (type(value), value)
    if type(value) in {tuple, frozenset}:
        return (type(value), type(value)(_key(links, item) for item in value))
    return (object, id(value))


def _sets(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
    del seen
    return {_key(links, a) for a in left} == {_key(links, b) for b in right}


def _functions(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
    return (
        left.__code__ == right.__code__
        and links.canonical(left.__globals__) is links.canonical(right.__globals__)
        and _alike(links, left.__defaults__, right.__defaults__, seen)
        and _alike(links, left.__kwdefaults__, right.__kwdefaults__, seen)
        and _sequences(links, left.__closure__ or (), right.__closure__ or (), seen)
    )


def _cells(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
    try:
        return _alike(links, left.cell_contents, right.cell_contents, seen)
    except ValueError:  # an empty cell
        return not any(_filled(cell) for cell in (left, right))


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading raises
    except ValueError:
        return False
    return True


def _attributes(*names: str) -> _Compare:
    def compare(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
        return all(_alike(links, getattr(left, n, None), getattr(right, n, None), seen) for n in names)

    return compare


def _never(*_: Any) -> bool:
    return False


def _equality(kind: type) -> Any:
    return kind.__eq__


def _compare_for(value: Any) -> _Compare:
    kind = type(value)
    if issubclass(kind, type):
        return _classes
    if issubclass(kind, types.ModuleType):
        return _never
    if kind.__module__ in STANDARD and _equality(kind) is not _equality(object) and instance_dict(value) is None:
        return _by_value
    return _instances


STANDARD = frozenset(
    {"builtins", "re", "datetime", "decimal", "fractions", "pathlib", "uuid", "ipaddress", "types", "typing", "struct"}
)


def _by_value(_links: Correspondence, left: Any, right: Any, _seen: dict[tuple[int, int], bool]) -> bool:
    return bool(left == right)


def _classes(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
    if left.__qualname__ != right.__qualname__ or left.__module__ != right.__module__:
        return False
    skip = {"__dict__", "__weakref__", "_abc_impl"}
    mine = {k: v for k, v in vars(left).items() if k not in skip}
    theirs = {k: v for k, v in vars(right).items() if k not in skip}
    return _sequences(links, left.__bases__, right.__bases__, seen) and _mappings(links, mine, theirs, seen)


def _instances(links: Correspondence, left: Any, right: Any, seen: dict[tuple[int, int], bool]) -> bool:
    """Compare by everything that Python can see of the two; what is opaque is never the same."""
    mine, theirs = instance_dict(left), instance_dict(right)
    if (mine is None) != (theirs is None):
        return False
    if mine is not None and theirs is not None and not _named(links, mine, theirs, seen):
        return False
    slots, others = slot_values(left), slot_values(right)
    if not _named(links, slots, others, seen):
        return False
    for base, compare in _CONTAINERS.items():
        if issubclass(type(left), base):
            return compare(links, left, right, seen)
    if is_a(left, (int, str, bytes, float)):
        return _same_atom(_plain(left), _plain(right))
    return mine is not None or bool(slots)


def _plain(value: Any) -> Any:
    for base in (int, str, bytes, float):
        if is_a(value, base):
            return base.__repr__(value)
    return value


def _named(
    links: Correspondence, left: dict[str, Any], right: dict[str, Any], seen: dict[tuple[int, int], bool]
) -> bool:
    return left.keys() == right.keys() and all(_alike(links, left[k], right[k], seen) for k in left)


_CONTAINERS: dict[type, _Compare] = {
    tuple: lambda links, a, b, seen: _sequences(
        links, tuple.__getitem__(a, slice(None)), tuple.__getitem__(b, slice(None)), seen
    ),
    collections.deque: _sequences,
    list: lambda links, a, b, seen: _sequences(
        links, list.__getitem__(a, slice(None)), list.__getitem__(b, slice(None)), seen
    ),
    dict: _mappings,
    set: _sets,
    frozenset: _sets,
}

_COMPARE: dict[type, _Compare] = {
    FIELD_GETTER: lambda links, a, b, seen: _alike(links, a.__reduce__()[1], b.__reduce__()[1], seen),
    tuple: _sequences,
    list: _sequences,
    dict: _mappings,
    set: _sets,
    frozenset: _sets,
    types.FunctionType: _functions,
    types.CellType: _cells,
    types.MethodType: _attributes("__func__", "__self__"),
    types.BuiltinFunctionType: _attributes("__self__", "__name__"),
    types.MethodWrapperType: _attributes("__self__", "__name__"),
    functools.partial: _attributes("func", "args", "keywords"),
    staticmethod: _attributes("__func__"),
    classmethod: _attributes("__func__"),
    property: _attributes("fget", "fset", "fdel", "__doc__"),
    types.GenericAlias: _attributes("__origin__", "__args__"),
    types.MemberDescriptorType: _attributes("__name__", "__objclass__"),
    types.GetSetDescriptorType: _attributes("__name__", "__objclass__"),
    re.Match: _attributes("re", "string", "pos", "endpos", "regs"),
    types.MappingProxyType: lambda links, a, b, seen: _named(links, dict(a), dict(b), seen),
}
