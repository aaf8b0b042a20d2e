"""Planning for definitions: modules, classes, functions and what wraps them."""

from __future__ import annotations

import abc
import functools
import sys
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from noodle_upgrade_runtime.asking import is_a, setter_of
from noodle_upgrade_runtime.operations import Call, Operation
from noodle_upgrade_runtime.patch.classes import (
    attribute_calls,
    effective_new,
    generic_getitem,
    is_plain_new,
    new_calls,
    own_slots,
    paired_calls,
    same_items,
    wanted_bases,
)
from noodle_upgrade_runtime.patch.closures import recoding
from noodle_upgrade_runtime.patch.correspondence import instance_dict
from noodle_upgrade_runtime.patch.functions import forwarding_code, is_dispatcher
from noodle_upgrade_runtime.patch.pairing import own_items
from noodle_upgrade_runtime.patch.state import MISSING
from noodle_upgrade_runtime.patch.weakly import forgotten, registered

if TYPE_CHECKING:
    from noodle_upgrade_runtime.patch.planner import Planner

__all__ = ["FUNCTION_ATTRIBUTES", "HANDLERS", "keep", "pass_on", "replace", "taken_off"]

_FORCED = ("__spec__", "__loader__", "__cached__", "__file__", "__path__")
_KEPT = frozenset({"__warningregistry__", "__builtins__"})
_LINE = "__firstlineno__"
_CLASS_SPECIAL = frozenset({"__dict__", "__weakref__", "_abc_impl", "__abstractmethods__"})


def _module(planner: Planner, live: types.ModuleType, staged: types.ModuleType) -> None:
    namespace, fresh, name = vars(live), vars(staged), live.__name__
    mine = {k: v for k, v in own_items(live).items() if k not in _KEPT}
    theirs = {k: v for k, v in own_items(staged).items() if k not in _KEPT}
    for take in planner.merge(live, mine, theirs, own_items(planner.twin(live)), name).takes:
        planner.store(namespace, take.key, planner.present(take.value), f"{name}.{take.key}")
    for key in _FORCED:
        if key in fresh:
            planner.store(namespace, key, planner.image(fresh[key]), f"{name}.{key}")
    if "__path__" in vars(planner.twin(live)) and "__path__" not in fresh:
        planner.store(namespace, "__path__", MISSING, f"{name}.__path__")  # it is no package any more


def _class(planner: Planner, live: type, staged: type) -> None:
    name = f"{live.__module__}.{live.__qualname__}"
    skip = _CLASS_SPECIAL | own_slots(live) | own_slots(staged)
    mine = {k: v for k, v in own_items(live).items() if k not in skip and not is_plain_new(v)}
    theirs = {k: v for k, v in own_items(staged).items() if k not in skip}
    takes = {take.key: take for take in planner.merge(live, mine, theirs, own_items(planner.twin(live)), name).takes}
    if "__module__" in takes and _LINE in mine:
        # Setting the module takes the line away, from 3.13 on.
        keys = ("__module__", _LINE)
        do, undo = ([(setter_of(live), live, k, side.get(k, mine[k])) for k in keys] for side in (theirs, mine))
        planner.operations += paired_calls(do, undo, f"{name}.__module__")
        takes = {key: take for key, take in takes.items() if key not in keys}
    for take in takes.values():
        value = planner.present(take.value)
        _bind(planner, live, take.key, new=value, old=mine.get(take.key, MISSING))
    for key in ("__name__", "__qualname__"):
        # A class of another name, where the old one leads to it as well.
        now, new, base = (type.__getattribute__(cls, key) for cls in (live, staged, planner.twin(live)))
        if new != now == base:
            planner.add((setter_of(live), live, key, new), (setter_of(live), live, key, now), f"{name}.{key}")
    _bases(planner, live, staged, name)
    abstract = [vars(cls).get("__abstractmethods__", MISSING) for cls in (live, staged)]
    if abstract[0] != abstract[1]:
        _bind(planner, live, "__abstractmethods__", new=abstract[1], old=abstract[0])
    if is_a(live, abc.ABCMeta) and is_a(staged, abc.ABCMeta):
        registered(planner, live, staged)
        forgotten(planner, live)


def _bind(planner: Planner, cls: type, key: str, *, new: Any, old: Any) -> None:
    subject = f"{cls.__module__}.{cls.__qualname__}.{key}"
    do, undo = attribute_calls(cls, key, new, old, MISSING)
    _calls(planner, do, undo, subject, tried=key != "__new__")


def _calls(planner: Planner, do: list[Call], undo: list[Call], subject: str, *, tried: bool) -> None:
    made = paired_calls(do, undo, subject)
    planner.operations += made
    if not tried:
        planner.untried += made


def _subscript_is_generic(live: type, staged: type) -> bool:
    """Whether a class is subscripted as `Generic` does it, and not as another base does: `list`, say."""
    owner = next((cls for cls in staged.__mro__ if "__class_getitem__" in vars(cls)), None)
    return owner is typing.Generic and "__class_getitem__" not in vars(live)


def _bases(planner: Planner, live: type, staged: type, name: str) -> None:
    bases = wanted_bases(live, planner.image(staged.__bases__))
    if typing.Generic in staged.__bases__ and typing.Generic not in bases and _subscript_is_generic(live, staged):
        _bind(planner, live, "__class_getitem__", new=generic_getitem(), old=MISSING)
    before, after = effective_new(live.__mro__), effective_new(staged.__mro__)
    if not same_items(bases, live.__bases__):
        planner.first.append(
            Operation(
                (setter_of(live), live, "__bases__", bases),
                (setter_of(live), live, "__bases__", live.__bases__),
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
    base = planner.twin(live)
    others: list[Operation] = []
    for attribute in FUNCTION_ATTRIBUTES:
        mine, theirs = getattr(live, attribute), getattr(staged, attribute)
        if mine is theirs or _is_plainly_same(mine, theirs):
            continue
        pristine = getattr(base, attribute)
        merged = planner.merge(live, {attribute: mine}, {attribute: theirs}, {attribute: pristine}, name)
        for take in merged.takes:
            image = planner.image(take.value)
            calls: tuple[Call, Call] = (setattr, live, attribute, image), (setattr, live, attribute, mine)
            others.append(Operation(*calls, f"{name}.{attribute}"))
    if live.__code__ != staged.__code__:
        planner.learn(live.__code__, staged.__code__)
        planner.operations += recoding(
            live, staged.__code__, subject=name, versions=planner.versions, made=staged, others=others
        )
    elif others:
        tuning = planner.versions.tuning(live, live)
        planner.operations += [*others, *([] if tuning is None else [tuning])]
    if is_dispatcher(live):
        _forget(planner, live)
    if live.__dict__ or staged.__dict__:
        for take in planner.merge(live, live.__dict__, staged.__dict__, base.__dict__, name).takes:
            planner.store(live.__dict__, take.key, planner.present(take.value), f"{name}.{take.key}")


def _forget(planner: Planner, live: types.FunctionType) -> None:
    """What `functools.singledispatch` remembers is found anew, in either version."""
    remembered = live.__dict__["_clear_cache"].__self__.data
    planner.add((dict.clear, remembered), (dict.clear, remembered), f"the cache of {live.__qualname__}")


def _is_plainly_same(mine: Any, theirs: Any) -> bool:
    """Whether two attributes are the same, as most are: plain values, or tuples and dicts of such."""
    kind = type(mine)
    if kind is not type(theirs):
        return False
    if kind is tuple or kind is dict:
        parts = (mine, theirs) if kind is tuple else (mine.values(), theirs.values())
        plain = _PLAIN.issuperset(map(type, parts[0])) and list(map(type, parts[0])) == list(map(type, parts[1]))
        return plain and (kind is tuple or list(mine) == list(theirs)) and list(parts[0]) == list(parts[1])
    return kind in _PLAIN and bool(mine == theirs)


_PLAIN = frozenset({str, bytes, int, bool, type(None)})

FUNCTION_ATTRIBUTES = [
    "__defaults__", "__kwdefaults__", "__doc__", "__annotations__", "__name__", "__qualname__", "__module__",
]  # fmt: skip
if sys.version_info >= (3, 12):
    FUNCTION_ATTRIBUTES.append("__type_params__")


def taken_off(planner: Planner, live: Any, staged: Any) -> None:
    """Plan for a function or a property of a class that gives way: it calls what takes its place."""
    if is_a(live, property):
        _property(planner, live, staged)
        for name in ("fget", "fset", "fdel"):
            mine, theirs = getattr(live, name), getattr(staged, name)
            if type(mine) is types.FunctionType and type(theirs) is types.FunctionType:
                taken_off(planner, mine, theirs)
    else:
        # What it knows as its class (`super()`) is the one that gives way.
        replace(planner, live, staged, passed_on=bool(live.__closure__))


def keep(planner: Planner, live: types.FunctionType, staged: types.FunctionType) -> None:
    """Plan for a function that keeps its identity, because somebody holds it, and passes every call on."""
    image = planner.hidden(staged)
    replace(planner, live, staged, image=image)
    name = f"{live.__module__}.{live.__qualname__}"
    for attribute in ("__name__", "__qualname__", "__module__"):
        mine, theirs = getattr(live, attribute), getattr(image, attribute)
        if mine != theirs:
            planner.add((setattr, live, attribute, theirs), (setattr, live, attribute, mine), f"{name}.{attribute}")
    base = planner.twin(live)
    for take in planner.merge(live, live.__dict__, staged.__dict__, base.__dict__, name).takes:
        planner.store(live.__dict__, take.key, planner.present(take.value), f"{name}.{take.key}")


def replace(
    planner: Planner,
    live: types.FunctionType,
    staged: types.FunctionType,
    *,
    passed_on: bool = False,
    image: Any = None,
) -> None:
    """Plan for a function whose names get another object: who holds the old one is passed on, or gets the same code."""
    name = f"{live.__module__}.{live.__qualname__}"
    image = planner.image(staged) if image is None else image
    code = image.__code__
    same = code.co_freevars == live.__code__.co_freevars and image.__globals__ is live.__globals__ and not passed_on
    wanted = code if same else forwarding_code(live.__code__, image)
    planner.learn(live.__code__, code)
    others = [
        Operation((setattr, live, attribute, new), (setattr, live, attribute, old), f"{name}.{attribute}")
        for attribute in ("__defaults__", "__kwdefaults__", "__doc__", "__annotations__")
        if (new := getattr(image, attribute)) is not (old := getattr(live, attribute))
    ]
    planner.operations += recoding(
        live, wanted, subject=name, versions=planner.versions, made=image if same else None, others=others
    )


def pass_on(planner: Planner, live: types.FunctionType, staged: Any) -> None:
    """Plan for a function that gives way to another kind of thing: calls of the old one are calls of that."""
    wanted = forwarding_code(live.__code__, planner.image(staged))
    planner.operations += recoding(
        live, wanted, subject=f"{live.__module__}.{live.__qualname__}", versions=planner.versions
    )


def _wrapper(planner: Planner, live: Any, staged: Any) -> None:
    image = planner.image(staged.__func__)
    if image is not live.__func__:
        start = type(live).__init__
        planner.add((start, live, image), (start, live, live.__func__), f"{image.__qualname__}")
        planner.initialised.append(id(live))


def _property(planner: Planner, live: property, staged: property) -> None:
    # The text that it was given, and not the one that it has: that may be the getter's, or its own dict's.
    text = vars(property)["__doc__"].__get__
    old = (live.fget, live.fset, live.fdel, text(live))
    new = (*(planner.image(part) for part in (staged.fget, staged.fset, staged.fdel)), text(staged))
    own, theirs = instance_dict(live), instance_dict(staged) or {}
    kept = own is None or own.get("__doc__", MISSING) == theirs.get("__doc__", MISSING)
    if not (same_items(old[:3], new[:3]) and old[3] == new[3] and kept):
        do: list[Call] = [(property.__init__, live, *new)]
        undo: list[Call] = [(property.__init__, live, *old)]
        if own is not None:
            # One of a subclass keeps its text in its dict, where being initialised puts the getter's.
            do.append(_put(own, "__doc__", theirs.get("__doc__", MISSING)))
            undo.append(_put(own, "__doc__", own.get("__doc__", MISSING)))
        planner.operations += paired_calls(do, undo, "a property")
        planner.initialised.append(id(live))


def _put(namespace: dict[str, Any], name: str, value: Any) -> Call:
    return (dict.pop, namespace, name, None) if value is MISSING else (dict.__setitem__, namespace, name, value)


def _partial(planner: Planner, live: Any, staged: Any) -> None:
    old = (live.func, live.args, live.keywords, live.__dict__ or None)
    new = tuple(planner.image(part) for part in (staged.func, staged.args, staged.keywords, staged.__dict__ or None))
    if not planner.links.alike(old, new):
        planner.add((live.__setstate__, new), (live.__setstate__, old), "a partial")


def _nothing(_planner: Planner, _live: Any, _staged: Any) -> None:
    """Bound methods follow their function."""


HANDLERS: dict[Any, Callable[[Planner, Any, Any], None]] = {
    types.ModuleType: _module,
    type: _class,
    types.FunctionType: _function,
    staticmethod: _wrapper,
    classmethod: _wrapper,
    property: _property,
    functools.partial: _partial,
    types.MethodType: _nothing,
}
"""How an object of each kind is planned for: `(planner, live, staged)`."""
