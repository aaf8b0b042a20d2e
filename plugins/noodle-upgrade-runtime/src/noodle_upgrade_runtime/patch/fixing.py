"""Changing staged objects where they are, so that what they hold is what shall stand for it."""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from noodle_upgrade_runtime.asking import is_a, member_of, namespace_of, setter_of
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.patch.classes import bases_problem
from noodle_upgrade_runtime.patch.correspondence import instance_dict, slot_values

if TYPE_CHECKING:
    from noodle_upgrade_runtime.patch.translation import Translator

__all__ = ["fix"]


def fix(translator: Translator, value: Any) -> None:
    """Put right what one staged object holds; nobody else can see it yet."""
    for kind, change in _FIX.items():
        if is_a(value, kind):
            change(translator, value)
            if kind in _COMPLETE:
                return
    _fix_attributes(translator, value)


def _fix_dict(translator: Translator, value: dict[Any, Any]) -> None:
    items = list(dict.items(value))
    images = [(translator.image(k), translator.image(v)) for k, v in items]
    if any(a is not k for (a, _), (k, _) in zip(items, images, strict=True)):
        dict.clear(value)
        for key, held in images:
            _store(value, key, held)
    else:
        for (_, held), (key, image) in zip(items, images, strict=True):
            if held is not image:
                dict.__setitem__(value, key, image)
    if is_a(value, collections.defaultdict):
        image = translator.image(value.default_factory)
        if image is not value.default_factory:
            vars(collections.defaultdict)["default_factory"].__set__(value, image)


def _store(value: dict[Any, Any], key: Any, held: Any) -> None:
    kind = collections.OrderedDict if is_a(value, collections.OrderedDict) else dict
    kind.__setitem__(value, key, held)


def _fix_list(translator: Translator, value: list[Any]) -> None:
    for index, held in enumerate(list.__iter__(value)):
        image = translator.image(held)
        if image is not held:
            list.__setitem__(value, index, image)


def _fix_deque(translator: Translator, value: collections.deque[Any]) -> None:
    for index, held in enumerate(list(value)):
        image = translator.image(held)
        if image is not held:
            collections.deque.__setitem__(value, index, image)


def _fix_set(translator: Translator, value: set[Any]) -> None:
    items = list(set.__iter__(value))
    images = [translator.image(item) for item in items]
    if any(a is not b for a, b in zip(items, images, strict=True)):
        set.clear(value)
        set.update(value, images)


def _fix_cell(translator: Translator, value: types.CellType) -> None:
    try:
        held = value.cell_contents
    except ValueError:  # an empty cell stays so
        return
    image = translator.image(held)
    if image is not held:
        value.cell_contents = image


def _fix_function(translator: Translator, value: types.FunctionType) -> None:
    for cell in value.__closure__ or ():
        translator.image(cell)
    for name in ("__defaults__", "__kwdefaults__", "__annotations__"):
        held = getattr(value, name)
        if not held:
            continue
        image = translator.image(held)
        if image is not held:
            setattr(value, name, image)


def _fix_wrapper(translator: Translator, value: Any) -> None:
    image = translator.image(value.__func__)
    if image is not value.__func__:
        type(value).__init__(value, image)


def _fix_property(translator: Translator, value: property) -> None:
    parts = (value.fget, value.fset, value.fdel)
    images = [translator.image(part) for part in parts]
    if any(a is not b for a, b in zip(parts, images, strict=True)):
        property.__init__(value, images[0], images[1], images[2], value.__doc__)


def _fix_partial(translator: Translator, value: functools.partial[Any]) -> None:
    state = (value.func, value.args, value.keywords, value.__dict__ or None)
    image = tuple(translator.image(part) for part in state)
    if any(a is not b for a, b in zip(state, image, strict=True)):
        value.__setstate__(image)  # type: ignore[attr-defined]


def _fix_attributes(translator: Translator, value: Any) -> None:
    _fix_kind(translator, value)
    own = instance_dict(value)
    if own:
        _fix_dict(translator, own)
    if is_a(value, types.FunctionType):
        return  # its members are what it was born with
    for name, held in slot_values(value).items():
        new = translator.image(held)
        if new is not held:
            try:
                member_of(type(value), name).__set__(value, new)
            except (AttributeError, TypeError) as error:
                raise translator.refuse(value, f"cannot be told what its {name} is now: {error}") from None


def _fix_kind(translator: Translator, value: Any) -> None:
    kind = type(value)
    image = translator.image(kind)
    if image is not kind:
        try:
            vars(object)["__class__"].__set__(value, image)
        except TypeError as error:
            raise translator.refuse(value, f"cannot become one of the live class: {error}") from None


def _fix_class(translator: Translator, value: type) -> None:
    _fix_kind(translator, value)
    for name, held in list(namespace_of(value).items()):
        if name in {"__dict__", "__weakref__"}:
            continue
        image = translator.image(held)
        if image is not held:
            setter_of(value)(value, name, image)
    bases = value.__bases__
    images = translator.image(bases)
    if images is not bases:
        if "layout" in bases_problem(value, images):
            _rebase_above(translator, value)
        translator.operations.append(_rebased(value, images))


def _rebase_above(translator: Translator, value: type) -> None:
    """Give the classes that this one is derived from, and that live ones stand for, the live bases first.

    CPython takes two classes for alike only where the nearest one above them with a layout of its own is the same. Each
    once: on the way back they must not have theirs before everything below them has.
    """
    done = {id(operation.do[1]) for operation in translator.operations}
    for above in reversed(value.__mro__[1:]):
        images = translator.image(above.__bases__)
        if id(above) not in done and translator.image(above) is not above and images is not above.__bases__:
            translator.operations.append(_rebased(above, images))


def _rebased(value: type, bases: tuple[type, ...]) -> Operation:
    do, undo = ((setter_of(value), value, "__bases__", wanted) for wanted in (bases, value.__bases__))
    return Operation(do, undo, f"bases of {value.__module__}.{value.__qualname__}")


def _fix_module(translator: Translator, value: types.ModuleType) -> None:
    _fix_dict(translator, vars(value))


_FIX: dict[Any, Callable[[Translator, Any], None]] = {
    type: _fix_class,
    types.ModuleType: _fix_module,
    types.FunctionType: _fix_function,
    types.CellType: _fix_cell,
    staticmethod: _fix_wrapper,
    classmethod: _fix_wrapper,
    property: _fix_property,
    functools.partial: _fix_partial,
    dict: _fix_dict,
    list: _fix_list,
    collections.deque: _fix_deque,
    set: _fix_set,
}
_COMPLETE = {type, types.ModuleType, types.CellType, functools.partial}
"""What holds nothing but what was put right with its kind."""
