"""From pairs to operations: what has to be done to each live object so that it is what its new counterpart says."""

from __future__ import annotations

import collections
import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from noodle_upgrade_core.errors import StateConflictError, SwapRefusedError
from noodle_upgrade_runtime.operations import Call, Operation
from noodle_upgrade_runtime.patch.classes import (
    attribute_calls,
    effective_new,
    generic_getitem,
    is_plain_new,
    new_calls,
    own_slots,
    same_items,
    wanted_bases,
)
from noodle_upgrade_runtime.patch.callversions import CallVersions
from noodle_upgrade_runtime.patch.closures import Closures, recoding
from noodle_upgrade_runtime.patch.correspondence import instance_dict, slot_values
from noodle_upgrade_runtime.patch.functions import forwarding_code
from noodle_upgrade_runtime.patch.matching import Matching
from noodle_upgrade_runtime.patch.pairing import own_items
from noodle_upgrade_runtime.patch.state import MISSING, Merge, merge_lists, merge_names, merge_sets

__all__ = ["Planner", "store_call"]

_FORCED = ("__spec__", "__loader__", "__cached__", "__file__", "__path__")
_KEPT = frozenset({"__warningregistry__", "__builtins__"})
_CLASS_SPECIAL = frozenset({"__dict__", "__weakref__", "_abc_impl", "__abstractmethods__"})


class Planner:
    """Plans the operations for pairs of (live, staged) objects; `again(live)` gives the twin of a live object in one more import."""

    def __init__(self, matching: Matching, again: Callable[[Any], Any], versions: CallVersions) -> None:
        self._matching = matching
        self._links = matching.links
        self._again = again
        self.versions = versions
        self.closures = Closures()
        self._translator = matching.translator
        self._pristine = matching.pristine
        self._image = matching.translator.image
        self.operations: list[Operation] = []
        self.first: list[Operation] = []
        self.conflicts: list[str] = []
        self.blockers: list[str] = []
        self.untried: list[Operation] = []

    def plan(self) -> list[Operation]:
        """Return all operations, classes' bases first; raises when state conflicts or a rule of CPython forbids it."""
        pairs, replaced = self._matching.pairs, self._matching.replaced
        self.closures = Closures()
        self.operations, self.first, self.conflicts, self.blockers, self.untried = [], [], [], [], []
        gone = {id(staged) for _, staged in replaced}
        for live, staged in pairs:
            if id(staged) not in gone:
                self._pair(live, staged)
        for live, staged in replaced:
            self._replace(live, staged)
        self._translator.finish()
        self.operations = [*self._translator.operations, *self.first, *self.operations]
        if self.blockers:
            raise SwapRefusedError(
                f"The change cannot be made in place: {self.blockers[0]}",
                hint="Use the generation mechanism for it, or restart.",
                details={"blockers": list(self.blockers)},
            )
        if self.conflicts:
            raise StateConflictError(
                f"The program and the new version both changed {', '.join(self.conflicts[:5])}.",
                hint="Take the program's change back, or restart on the new version.",
                details={"conflicts": list(self.conflicts), "blockers": [f"conflict: {c}" for c in self.conflicts]},
            )
        return self.operations

    def _add(self, do: Call, undo: Call, subject: str) -> None:
        self.operations.append(Operation(do, undo, subject))

    def _pair(self, live: Any, staged: Any) -> None:
        for kind, handler in _HANDLERS.items():
            if isinstance(live, kind):
                handler(self, live, staged)
                return
        _instance(self, live, staged)

    def _names(
        self, owner: Any, live: Mapping[Any, Any], staged: Mapping[Any, Any], base: Mapping[Any, Any], where: str
    ) -> Merge:
        merged = merge_names(self._links, base, live, staged)
        for conflict in merged.conflicts:
            again = self._again(owner)
            if again is not None and not self._links.alike(_part(again, conflict.key), base.get(conflict.key)):
                continue  # each import makes another value: it is this process's own
            self.conflicts.append(f"{where}.{conflict.key}")
        return merged

    def _conflict(self, live: Any, what: str) -> None:
        again = self._again(live)
        if again is None or self._links.alike(again, self._base(live)):
            self.conflicts.append(what)

    def _base(self, live: Any) -> Any:
        """The pristine twin, or the live object itself where there is none: then only the new version changed it."""
        return self._pristine.get(id(live), live)

    def _set_attribute(self, value: Any, name: str, new: Any, subject: str) -> None:
        old = getattr(value, name)
        if old is not new:
            self._add((setattr, value, name, new), (setattr, value, name, old), subject)

    def store(self, namespace: dict[Any, Any], key: Any, new: Any, subject: str) -> None:
        """Plan `namespace[key] = new`; `MISSING` takes the key away."""
        old = namespace.get(key, MISSING)
        self._add(store_call(namespace, key, new), store_call(namespace, key, old), subject)

    def _replace(self, live: types.FunctionType, staged: types.FunctionType) -> None:
        """The slots get another object: whoever holds the old one is passed on, or gets the same code."""
        name = f"{live.__module__}.{live.__qualname__}"
        image = self._image(staged)
        code = image.__code__
        same = code.co_freevars == live.__code__.co_freevars and image.__globals__ is live.__globals__
        wanted = code if same else forwarding_code(live.__code__, image)
        self.closures.learn(live.__code__, code)
        others = [
            Operation((setattr, live, attribute, new), (setattr, live, attribute, old), f"{name}.{attribute}")
            for attribute in ("__defaults__", "__kwdefaults__", "__doc__", "__annotations__")
            if (new := getattr(image, attribute)) is not (old := getattr(live, attribute))
        ]
        self.operations += recoding(live, wanted, name, self.versions, image if same else None, others)


def store_call(namespace: dict[Any, Any], key: Any, value: Any) -> Call:
    """Return the call that binds a key; `MISSING` takes it away, also when it is gone already."""
    return (dict.pop, namespace, key, None) if value is MISSING else (dict.__setitem__, namespace, key, value)


def _module(planner: Planner, live: types.ModuleType, staged: types.ModuleType) -> None:
    namespace, fresh = vars(live), vars(staged)
    base = planner._base(live)
    skip = _KEPT
    mine = {k: v for k, v in own_items(live).items() if k not in skip}
    theirs = {k: v for k, v in own_items(staged).items() if k not in skip}
    merged = planner._names(live, mine, theirs, own_items(base), live.__name__)
    for take in merged.takes:
        value = take.value if take.value is MISSING else planner._image(take.value)
        planner.store(namespace, take.key, value, f"{live.__name__}.{take.key}")
    for name in _FORCED:
        if name in fresh:
            planner.store(namespace, name, planner._image(fresh[name]), f"{live.__name__}.{name}")


def _class(planner: Planner, live: type, staged: type) -> None:
    name = f"{live.__module__}.{live.__qualname__}"
    base = planner._base(live)
    skip = _CLASS_SPECIAL | own_slots(live) | own_slots(staged)
    mine = {k: v for k, v in own_items(live).items() if k not in skip and not is_plain_new(v)}
    theirs = {k: v for k, v in own_items(staged).items() if k not in skip}
    merged = planner._names(live, mine, theirs, own_items(base), name)
    for take in merged.takes:
        value = take.value if take.value is MISSING else planner._image(take.value)
        _bind(planner, live, take.key, value, mine.get(take.key, MISSING), f"{name}.{take.key}")
    _bases(planner, live, staged, name)
    abstract = [vars(cls).get("__abstractmethods__", MISSING) for cls in (live, staged)]
    if abstract[0] != abstract[1]:
        _bind(planner, live, "__abstractmethods__", abstract[1], abstract[0], f"{name}.__abstractmethods__")


def _bind(planner: Planner, cls: type, key: str, new: Any, old: Any, subject: str) -> None:
    do, undo = attribute_calls(cls, key, new, old, MISSING)
    _calls(planner, do, undo, subject, tried=key != "__new__")


def _calls(planner: Planner, do: list[Call], undo: list[Call], subject: str, *, tried: bool) -> None:
    # Undo runs backwards: the calls that bring the old value back keep their own order.
    size = max(len(do), len(undo))
    nothing: Call = (id, None)
    do += [nothing] * (size - len(do))
    undo += [nothing] * (size - len(undo))
    for forward, backward in zip(do, reversed(undo), strict=True):
        planner._add(forward, backward, subject)
        if not tried:
            planner.untried.append(planner.operations[-1])


def _bases(planner: Planner, live: type, staged: type, name: str) -> None:
    bases = wanted_bases(live, planner._image(staged.__bases__))
    if typing.Generic in staged.__bases__ and typing.Generic not in bases and "__class_getitem__" not in vars(live):
        _bind(planner, live, "__class_getitem__", generic_getitem(), MISSING, f"{name}.__class_getitem__")
    before, after = effective_new(live.__mro__), effective_new(staged.__mro__)
    if not same_items(bases, live.__bases__):
        planner.first.append(
            Operation(
                (type.__setattr__, live, "__bases__", bases),
                (type.__setattr__, live, "__bases__", live.__bases__),
                f"{name}.__bases__",
            )
        )
        if (before is object.__new__) != (after is object.__new__):
            planner.untried.append(planner.first[-1])
    if "__new__" not in vars(staged) and ("__new__" not in vars(live) or is_plain_new(vars(live)["__new__"])):
        do, undo = new_calls(live, before, after)
        _calls(planner, do, undo, f"{name}.__new__", tried=False)


def _function(planner: Planner, live: types.FunctionType, staged: types.FunctionType) -> None:
    name = f"{live.__module__}.{live.__qualname__}"
    base = planner._base(live)
    others: list[Operation] = []
    for attribute in _FUNCTION_ATTRIBUTES:
        mine, theirs, pristine = (getattr(f, attribute) for f in (live, staged, base))
        merged = planner._names(live, {attribute: mine}, {attribute: theirs}, {attribute: pristine}, name)
        for take in merged.takes:
            image = planner._image(take.value)
            others.append(
                Operation((setattr, live, attribute, image), (setattr, live, attribute, mine), f"{name}.{attribute}")
            )
    if live.__code__ != staged.__code__:
        planner.closures.learn(live.__code__, staged.__code__)
        planner.operations += recoding(live, staged.__code__, name, planner.versions, staged, others)
    elif others:
        first, last = planner.versions.restoring(live), planner.versions.operation(live, live)
        planner.operations += [op for op in (first, *others, last) if op is not None]
    if live.__dict__ or staged.__dict__:
        merged = planner._names(live, live.__dict__, staged.__dict__, base.__dict__, name)
        for take in merged.takes:
            value = take.value if take.value is MISSING else planner._image(take.value)
            planner.store(live.__dict__, take.key, value, f"{name}.{take.key}")


_FUNCTION_ATTRIBUTES = [
    "__defaults__", "__kwdefaults__", "__doc__", "__annotations__", "__name__", "__qualname__", "__module__",
]  # fmt: skip
if sys.version_info >= (3, 12):
    _FUNCTION_ATTRIBUTES.append("__type_params__")


def _cell(planner: Planner, live: types.CellType, staged: types.CellType) -> None:
    contents = [_content(cell) for cell in (live, staged, planner._base(live))]
    live_now, new, base = ({} if c is MISSING else {"cell": c} for c in contents)
    for take in planner._names(live, live_now, new, base, "a closure").takes:
        if take.value is not MISSING and contents[0] is not MISSING:
            planner._set_attribute(live, "cell_contents", planner._image(take.value), "a closure")


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _wrapper(planner: Planner, live: Any, staged: Any) -> None:
    image = planner._image(staged.__func__)
    if image is not live.__func__:
        planner._add(
            (type(live).__init__, live, image), (type(live).__init__, live, live.__func__), f"{image.__qualname__}"
        )


def _property(planner: Planner, live: property, staged: property) -> None:
    old = (live.fget, live.fset, live.fdel, live.__doc__)
    new = (*(planner._image(part) for part in (staged.fget, staged.fset, staged.fdel)), staged.__doc__)
    if any(a is not b for a, b in zip(old, new, strict=True)) and not (old[:3] == new[:3] and old[3] == new[3]):
        planner._add((property.__init__, live, *new), (property.__init__, live, *old), "a property")


def _partial(planner: Planner, live: Any, staged: Any) -> None:
    old = (live.func, live.args, live.keywords, live.__dict__ or None)
    new = tuple(planner._image(part) for part in (staged.func, staged.args, staged.keywords, staged.__dict__ or None))
    if not planner._links.alike(old, new):
        planner._add((live.__setstate__, new), (live.__setstate__, old), "a partial")


def _dict(planner: Planner, live: dict[Any, Any], staged: dict[Any, Any]) -> None:
    base = planner._base(live)
    keyed = [{planner._links.canonical(k): v for k, v in dict.items(d)} for d in (base, live, staged)]
    merged = planner._names(live, keyed[1], keyed[2], keyed[0], "a mapping")
    if not merged.takes:
        return
    images = {k: planner._image(v) for k, v in keyed[2].items()}
    result = dict(live)
    for take in merged.takes:
        key = planner._image(take.key)
        if take.value is MISSING:
            result.pop(key, None)
        else:
            result[key] = images[take.key]
    ordered = _in_order_of(result, [planner._image(k) for k in keyed[2]], keyed[0])
    if list(ordered) == [k for k in live if k in ordered] + [k for k in ordered if k not in live] and all(
        k in ordered for k in live
    ):
        for take in merged.takes:
            planner.store(live, planner._image(take.key), ordered[planner._image(take.key)], "a mapping")
        return
    clear, update = _dict_methods(live)
    old = dict(live)
    planner._add((id, None), (update, live, old), "a mapping")
    planner._add((clear, live), (clear, live), "a mapping")
    planner._add((update, live, ordered), (id, None), "a mapping")


def _dict_methods(value: dict[Any, Any]) -> tuple[Any, Any]:
    kind = collections.OrderedDict if isinstance(value, collections.OrderedDict) else dict
    return kind.clear, kind.update


def _in_order_of(result: dict[Any, Any], order: list[Any], base: Mapping[Any, Any]) -> dict[Any, Any]:
    """Order as the new version has it; what the program added comes behind."""
    del base
    first = {key: result[key] for key in order if key in result}
    return first | {key: value for key, value in result.items() if key not in first}


def _part(value: Any, key: Any) -> Any:
    """Return what a value binds to a key, by the kind of the value."""
    if isinstance(value, type | types.ModuleType):
        return own_items(value).get(key, MISSING)
    if isinstance(value, dict):
        return value.get(key, MISSING)
    if isinstance(value, types.CellType):
        return _content(value)
    if isinstance(value, types.FunctionType) and key in _FUNCTION_ATTRIBUTES:
        return getattr(value, key)
    return ((instance_dict(value) or {}) | slot_values(value)).get(key, MISSING)


def _list(planner: Planner, live: list[Any], staged: list[Any]) -> None:
    base = planner._base(live)
    merged = merge_lists(planner._links, list(base), list(live), list(staged))
    if merged is None:
        planner._conflict(live, f"a list ({live!r:.60})")
        return
    new, old = [planner._image(item) for item in merged], list(live)
    if len(new) != len(old) or any(not planner._links.alike(a, b) for a, b in zip(old, new, strict=True)):
        planner._add(
            (list.__setitem__, live, slice(0, len(old)), new),
            (list.__setitem__, live, slice(0, len(new)), old),
            "a list",
        )


def _deque(planner: Planner, live: collections.deque[Any], staged: collections.deque[Any]) -> None:
    base = planner._base(live)
    merged = merge_lists(planner._links, list(base), list(live), list(staged))
    if merged is None:
        planner._conflict(live, "a queue")
        return
    new, old = [planner._image(item) for item in merged], list(live)
    if not planner._links.alike(old, new):
        planner._add((id, None), (live.extend, old), "a queue")
        planner._add((live.clear,), (live.clear,), "a queue")
        planner._add((live.extend, new), (id, None), "a queue")


def _set(planner: Planner, live: set[Any], staged: set[Any]) -> None:
    found = merge_sets(planner._links, planner._base(live), live, staged)
    if found is None:
        planner._conflict(live, "a set")
        return
    for value in found[0]:
        image = planner._image(value)
        planner._add((set.add, live, image), (set.discard, live, image), "a set")
    for value in found[1]:
        planner._add((set.discard, live, value), (set.add, live, value), "a set")


def _instance(planner: Planner, live: Any, staged: Any) -> None:
    base = planner._base(live)
    where = f"an instance of {type(live).__qualname__}"
    mine, theirs = instance_dict(live), instance_dict(staged)
    if mine is not None and theirs is not None:
        merged = planner._names(live, mine, theirs, instance_dict(base) or {}, where)
        for take in merged.takes:
            value = take.value if take.value is MISSING else planner._image(take.value)
            planner.store(mine, take.key, value, f"{where}.{take.key}")
    slots = slot_values(staged)
    if slots:
        merged = planner._names(live, slot_values(live), slots, slot_values(base), where)
        for take in merged.takes:
            descriptor = _slot(type(live), take.key)
            if descriptor is not None and take.value is not MISSING:
                planner._add(
                    (descriptor.__set__, live, planner._image(take.value)),
                    (descriptor.__set__, live, slot_values(live)[take.key]),
                    f"{where}.{take.key}",
                )


def _slot(cls: type, name: str) -> Any:
    for owner in cls.__mro__:
        found = vars(owner).get(name)
        if type(found) is types.MemberDescriptorType:
            return found
    return None


def _cache(planner: Planner, live: Any, staged: Any) -> None:
    """What a cache remembers is the other version's: it is emptied, and stays the object that it is."""
    planner._add((live.cache_clear,), (live.cache_clear,), f"the cache of {live.__qualname__}")
    _instance(planner, live, staged)


def _nothing(_planner: Planner, _live: Any, _staged: Any) -> None:
    return


_HANDLERS: dict[Any, Callable[[Planner, Any, Any], None]] = {
    types.ModuleType: _module,
    type: _class,
    types.FunctionType: _function,
    types.CellType: _cell,
    staticmethod: _wrapper,
    classmethod: _wrapper,
    property: _property,
    functools.partial: _partial,
    types.MethodType: _nothing,
    functools._lru_cache_wrapper: _cache,  # noqa: SLF001 - the type has no public name
    dict: _dict,
    list: _list,
    collections.deque: _deque,
    set: _set,
}
