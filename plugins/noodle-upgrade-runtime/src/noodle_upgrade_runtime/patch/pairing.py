"""Pairing the definitions of a privately loaded version with the live ones, by name, one to one.

Modules pair by name; what they, classes, closures, wrappers and containers bind pairs by the name that binds it. Values
that are only compared (numbers, tuples, patterns) are not paired.
"""

from __future__ import annotations

import collections
import enum
import functools
import gc
import re
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from noodle_upgrade_runtime.asking import defaults_of, is_a, is_class, mro_of, namespace_of
from noodle_upgrade_runtime.patch.becoming import is_plain
from noodle_upgrade_runtime.patch.correspondence import ATOMS, FIELD_GETTER, Correspondence, instance_dict, slot_values
from noodle_upgrade_runtime.patch.keys import is_plain_key
from noodle_upgrade_runtime.patch.weak import WEAK

__all__ = ["MODULE_PLUMBING", "Pairing", "own_items"]

MODULE_PLUMBING = frozenset({"__builtins__", "__spec__", "__loader__", "__cached__", "__file__", "__path__"})
"""Names that the import system puts into a module; they never pair."""

_CLASS_PLUMBING = frozenset({"__dict__", "__weakref__", "_abc_impl"})
_VALUES = (tuple, frozenset, types.GenericAlias, types.UnionType, re.Match, FIELD_GETTER)

Pair = tuple[Any, Any]


class Pairing:
    """Pairs private objects (`made` says whether an object was made by the private load) with live ones.

    `accepts(live, private)` is asked for each pair of the same kind. `replaces(live, private)` says that a function
    will be replaced by a new object rather than keep its identity: it is paired in `replaced`, not linked; those whose
    ids are in `keeps` are linked, and in `passing`.
    `becomes(live, private)` says that an object which a module or a class binds may become one of another class,
    `opens(live)` that what a class binds pairs although the class does not. `several(private)` says that a function's
    name was bound to others before it.
    """

    def __init__(
        self,
        links: Correspondence,
        *,
        made: Callable[[Any], bool],
        accepts: Callable[[Any, Any], bool],
        replaces: Callable[[Any, Any], bool] | None = None,
        becomes: Callable[[Any, Any], bool] | None = None,
        opens: Callable[[type], bool] | None = None,
        several: Callable[[types.FunctionType], bool] | None = None,
        keeps: frozenset[int] = frozenset(),
    ) -> None:
        self._links = links
        self._made = made
        self._accepts = accepts
        self._replaces = replaces
        self._becomes = becomes
        self._opens = opens
        self._several = several
        self._keeps = keeps
        self._taken: set[int] = set()
        self._opened: set[int] = set()
        self._queue: collections.deque[tuple[Any, Any, bool]] = collections.deque()
        self._later: collections.deque[tuple[Any, Any, bool]] = collections.deque()
        self.pairs: list[Pair] = []
        self.replaced: list[Pair] = []
        self.passing: list[Pair] = []
        self.images: dict[int, Any] = {}
        self._first: dict[int, int] = {}

    def live_ids(self) -> set[int]:
        """Return the ids of all live objects that have a counterpart."""
        return set(self._taken)

    def modules(
        self,
        live: dict[str, types.ModuleType],
        private: dict[str, types.ModuleType],
        behind: Iterable[Pair] = (),
    ) -> None:
        """Pair the modules of the same name, then everything below them; first what is `behind` some of them."""
        behind = list(behind)
        self._first |= _first_bound([*private.values(), *(module for _, module in behind)])
        for mine, module in behind:
            if self._fits(mine, module):
                self._link(mine, module)
        for name, module in private.items():
            if name not in live or self._links.knows(module) or not self._made(module):
                continue
            if is_a(module, types.ModuleType) and is_a(live[name], types.ModuleType):
                if id(live[name]) not in self._taken:
                    self._link(live[name], module)
            else:
                self._queue.append((live[name], module, False))
        self._drain()

    def offer(self, live: Any, private: Any) -> None:
        """Pair two objects, if they are of one kind, and what is below them."""
        self._queue.append((live, private, False))
        self._drain()

    def _drain(self) -> None:
        while self._queue or self._later:
            last = not self._queue
            live, private, named = self._later.popleft() if last else self._queue.popleft()
            if not last and self._is_told_later(private, named=named):
                self._later.append((live, private, named))
            elif self._fits(live, private, named=named):
                self._link(live, private)
            elif self._opens is not None and is_class(live) and is_class(private):
                self._open(live, private, self._opens)

    def _is_told_later(self, private: Any, *, named: bool) -> bool:
        """Return whether what else pairs tells which live object this one is.

        A view is one of a mapping that pairs. A name that several functions were bound to in turn (`_`, by who
        registers them) says less of them than what they were registered with.
        """
        if type(private) is types.FunctionType:
            return named and self._several is not None and self._several(private)
        return type(private) is types.MappingProxyType

    def _open(self, live: type, private: type, opens: Callable[[type], bool]) -> None:
        """Pair what two classes bind that do not pair themselves: containers, objects and classes, but no methods."""
        if id(live) not in self._opened and opens(live) and self._made(private):
            self._opened.add(id(live))
            for mine, theirs in _namespace(live, private):
                if is_a(theirs, _HELD) or is_plain(theirs):
                    self._queue.append((mine, theirs, True))

    def _fits(self, live: Any, private: Any, *, named: bool = False) -> bool:
        if live is private or not _can_pair(private) or is_class(private) != is_class(live):
            return False
        if id(live) in self._taken or self._links.knows(private) or not self._made(private):
            return False
        if type(private) is types.MappingProxyType:
            return type(live) is types.MappingProxyType and self._views_one(_viewed(live), _viewed(private))
        fit = is_class(private) or self._same_kind(live, private)
        if not fit and named and self._becomes is not None:
            fit = self._becomes(live, private)
        other = _is_another_value(live, private) or _is_another_member(live, private)
        return fit and not other and self._accepts(live, private)

    def _views_one(self, live: Any, private: Any) -> bool:
        # The mapping of a class pairs with it, never by itself: to write to it would go past the interpreter's caches.
        if "__module__" not in private and self._fits(live, private):
            self._link(live, private)
        return self._links.canonical(private) is live

    def _same_kind(self, live: Any, private: Any) -> bool:
        kind, other = type(live), type(private)
        if self._links.canonical(other) is kind:
            return True
        if kind.__qualname__ == other.__qualname__ and kind.__module__ == other.__module__ and self._fits(kind, other):
            # A class that no name binds, found through its instance.
            self._link(kind, other)
            return self._links.canonical(other) is kind
        return False

    def _pair_names(self, live: types.FunctionType, private: types.FunctionType) -> None:
        """Pair what two functions know as their globals, where no module leads to it: `exec` was given a dict."""
        mine, theirs = live.__globals__, private.__globals__
        if "__spec__" not in mine and "__spec__" not in theirs and self._fits(mine, theirs):
            self._link(mine, theirs)

    def _link(self, live: Any, private: Any) -> None:
        self._taken.add(id(live))
        if type(private) is types.FunctionType:
            self._pair_names(live, private)
        self.pairs.append((live, private))
        other = self._replaces is not None and type(private) is types.FunctionType and self._replaces(live, private)
        if other and id(live) in self._keeps:
            self.passing.append((live, private))
            self._links.link(private, live)
        elif other:
            self.replaced.append((live, private))
        elif is_a(private, types.ModuleType):
            self._links.link_modules(private, live)
        else:
            self._links.link(private, live)
        named = is_a(private, (type, types.ModuleType))
        for mine, theirs in _below(live, private):
            # Another name of an object says less of it than the one that it was bound to first, or where it is defined.
            alias = named and (
                self._first.get(id(theirs), id(private)) != id(private)
                or _is_defined_elsewhere(mine, live)
                or _is_defined_elsewhere(theirs, private)
            )
            (self._later if alias else self._queue).append((mine, theirs, named))


def _first_bound(modules: Iterable[Any]) -> dict[int, int]:
    """Return, by their ids, which module or class bound each object first, in the order of their execution."""
    found: dict[int, int] = {}
    pending = [module for module in modules if is_a(module, types.ModuleType)]
    for module in pending:
        _bind_first(module, found, str(vars(module).get("__name__")))
    return found


def _bind_first(owner: Any, found: dict[int, int], module: str) -> None:
    for value in own_items(owner).values():
        if is_class(value):
            # The body of a class is over before its name is bound.
            if id(value) not in found and type.__getattribute__(value, "__module__") == module:
                found[id(value)] = id(owner)
                _bind_first(value, found, module)
        elif is_plain(value):
            found.setdefault(id(value), id(owner))


def _is_defined_elsewhere(value: Any, owner: Any) -> bool:
    """Return whether a function says that it comes from another module than the one that binds it."""
    if type(value) is not types.FunctionType:
        return False
    own = namespace_of(owner) if is_class(owner) else vars(owner)
    home = own.get("__module__" if is_class(owner) else "__name__")
    return bool(value.__module__ != home)


def _viewed(view: Any) -> Any:
    """Return the mapping that a read-only view is one of."""
    return gc.get_referents(view)[0]


_PAIRABLE = (
    types.FunctionType, types.ModuleType, type, types.CellType, types.MethodType, staticmethod, classmethod, property,
    functools.partial, functools.partialmethod, functools.cached_property, dict, list, set, collections.deque,
    types.MappingProxyType,
)  # fmt: skip


_HELD = (dict, list, set, collections.deque, type)


def _can_pair(value: Any) -> bool:
    """Whether an object is one of its kind, and not a value that equals others."""
    if type(value) in ATOMS or type(value) in _VALUES:
        return False
    if is_a(value, _PAIRABLE) or instance_dict(value) is not None:
        return True
    if is_a(value, (tuple, frozenset)):
        return False
    return bool(slot_values(value)) or getattr(type(value), "__eq__", None) is getattr(object, "__eq__", None)


_FIXED = (str, bytes, int, float, complex, tuple, frozenset)


def _is_another_value(live: Any, private: Any) -> bool:
    """Return whether two objects, whatever else they have, are values of which neither can become the other."""
    order = mro_of(type(private))
    kind: Any = next((kind for kind in _FIXED if kind in order), None)
    if kind is None:
        return False
    if not is_a(live, kind):
        return True
    if kind is tuple or kind is frozenset:
        each: Any = kind.__iter__
        mine, theirs = list(each(live)), list(each(private))
        same = len(mine) == len(theirs) and all(a is b or _same_atom(a, b) for a, b in zip(mine, theirs, strict=True))
        return not same
    return bool(kind.__repr__(live) != kind.__repr__(private))


def _is_another_member(live: Any, private: Any) -> bool:
    """Return whether a member of an enumeration is not the one that its class has by the name of the live one.

    Any name may be bound to another member in the new version: a default, an entry of a table.
    """
    if not (is_a(live, enum.Enum) and is_a(private, enum.Enum)):
        return False
    members = namespace_of(type(private)).get("_member_map_", {})
    name = (instance_dict(live) or {}).get("_name_")
    return members.get(name, private) is not private


def _same_atom(left: Any, right: Any) -> bool:
    return type(left) is type(right) and type(left) in ATOMS and bool(left == right)


def own_items(value: Any) -> dict[str, Any]:
    """Return the names that a module or a class binds itself, without the plumbing."""
    if is_class(value):
        return {k: v for k, v in namespace_of(value).items() if k not in _CLASS_PLUMBING}
    return {k: v for k, v in object.__getattribute__(value, "__dict__").items() if k not in MODULE_PLUMBING}


_WITHOUT_NAMES = (type, types.ModuleType, *WEAK)


def _below(live: Any, private: Any) -> Iterator[Pair]:
    kind = type(private)
    children = _CHILDREN.get(kind) or next((c for base, c in _CHILDREN.items() if is_a(private, base)), None)
    if children is not None:
        yield from children(live, private)
    else:
        yield from _named(slot_values(live), slot_values(private))
    if kind is types.FunctionType:
        yield from _named(live.__dict__, private.__dict__)
    elif not is_a(private, _WITHOUT_NAMES):
        yield from _named(instance_dict(live) or {}, instance_dict(private) or {})


def _named(live: dict[Any, Any], private: dict[Any, Any]) -> Iterator[Pair]:
    for name, value in private.items():
        if isinstance(name, str | int | bytes | tuple) and is_plain_key(name) and name in live:
            yield live[name], value


def _mapping(live: Any, private: Any) -> Iterator[Pair]:
    yield from _named(live, private)
    if is_a(live, collections.defaultdict) and is_a(private, collections.defaultdict):
        yield live.default_factory, private.default_factory
    # By classes of others, as what dispatches on types does.
    for key, value in dict.items(private):
        if is_class(key) and key in live:
            yield dict.__getitem__(live, key), value


def _weak_mapping(live: Any, private: Any) -> Iterator[Pair]:
    yield from _named(dict(live), dict(private))


def _namespace(live: Any, private: Any) -> Iterator[Pair]:
    yield from _named(own_items(live), own_items(private))


def _function(live: types.FunctionType, private: types.FunctionType) -> Iterator[Pair]:
    if private.__closure__:
        mine = dict(zip(live.__code__.co_freevars, live.__closure__ or (), strict=True))
        yield from _named(mine, dict(zip(private.__code__.co_freevars, private.__closure__, strict=True)))
    if private.__defaults__ or private.__kwdefaults__:
        yield from _named(defaults_of(live), defaults_of(private))


def _cell(live: types.CellType, private: types.CellType) -> Iterator[Pair]:
    try:
        yield live.cell_contents, private.cell_contents
    except ValueError:  # an empty cell pairs, what it will hold does not
        return


def _parts(*names: str) -> Callable[[Any, Any], Iterator[Pair]]:
    def children(live: Any, private: Any) -> Iterator[Pair]:
        for name in names:
            yield getattr(live, name, None), getattr(private, name, None)

    return children


def _elements(live: Any, private: Any) -> Iterator[Pair]:
    """Definitions in a list or a set pair by their qualified name where that is unique."""
    mine, theirs = _definitions(live), _definitions(private)
    yield from _named(mine, theirs)


def _definitions(values: Any) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for value in values:
        if is_a(value, (types.FunctionType, type)):
            found.setdefault(f"{value.__module__}.{value.__qualname__}", []).append(value)
    return {name: same[0] for name, same in found.items() if len(same) == 1}


def _no_children(_live: Any, _private: Any) -> Iterator[Pair]:
    return iter(())


_CHILDREN: dict[Any, Callable[[Any, Any], Iterator[Pair]]] = {
    types.MappingProxyType: _no_children,
    weakref.WeakSet: _no_children,
    weakref.WeakKeyDictionary: _weak_mapping,
    weakref.WeakValueDictionary: _weak_mapping,
    types.ModuleType: _namespace,
    type: _namespace,
    types.FunctionType: _function,
    types.CellType: _cell,
    staticmethod: _parts("__func__"),
    classmethod: _parts("__func__"),
    property: _parts("fget", "fset", "fdel"),
    functools.partial: _parts("func"),
    types.MethodType: _parts("__func__", "__self__"),
    dict: _mapping,
    list: _elements,
    set: _elements,
}
