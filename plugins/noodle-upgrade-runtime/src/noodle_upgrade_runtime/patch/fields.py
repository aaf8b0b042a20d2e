"""Which fields a new constructor gives to its instances that the old one did not, and how to make them afterwards.

Read from the source of the constructors: what gives a field its value, where that needs only what an instance, its
module or the parameters' defaults already have. Dataclasses and attrs classes say it themselves.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.patch.constructors import (
    Builder,
    always_given,
    assigned_anywhere,
    assigned_in,
    builders,
    definition_of,
    first_parameter,
    is_name,
    mangled,
    name_of,
)
from noodle_upgrade_runtime.patch.slicing import Argument, slice_of

__all__ = ["AddedField", "added_fields", "given_fields", "removed_fields"]

_CONSTANTS = (str, bytes, int, float, complex, bool, type(None))


@frozen(eq=False)
class AddedField:
    """A field that live instances lack.

    Exactly one of: `same` (a one-tuple with the value that all share), `make` (called with the instance), or `problem`,
    which says why it cannot be derived. `certain` is whether the constructor gives it to every instance.
    """

    name: str
    same: tuple[Any, ...] = ()
    make: Callable[[Any], Any] | None = None
    problem: str = ""
    certain: bool = True


def added_fields(old: type, new: type, namespace: dict[str, Any]) -> tuple[AddedField, ...]:
    """Return the fields that instances of `new` have and those of `old` do not, in the order of their assignment.

    `namespace` is where expressions find their global names when they are evaluated.
    """
    found = _declared(old, new)
    bound = {name for cls in new.__mro__ for name in vars(cls)}
    # What the old class binds itself counts only while the new one does: else it goes, and instances have nothing.
    known = {*always_given(old)} | {f.name for f in found}
    # What other methods assign an instance may have or not: whoever lacks it can be given it, where it can be derived.
    perhaps = {name for cls in _own_mro(old) for name in assigned_anywhere(cls)} - known
    there = known | perhaps | bound  # what an expression may read, with what is found as we go
    seen, certain = set(known), always_given(new)
    before = {name_of(cls) for cls in old.__mro__[1:]}
    for name, root in _assigned(new, before):
        if name in seen or name in bound:
            continue
        seen.add(name)
        sliced = slice_of(
            root, new, name, available=there, arguments=_arguments(old, root.function), namespace=namespace
        )
        if sliced.problem and name in perhaps:
            continue
        there.add(name)
        if sliced.constant and isinstance(sliced.constant[0], _CONSTANTS):
            found.append(AddedField(name, same=sliced.constant))
        else:
            always = name in certain
            found.append(AddedField(name, make=sliced.make, problem=sliced.problem, certain=always))
    return tuple(found)


def given_fields(cls: type) -> frozenset[str]:
    """Return the fields that every instance has on which the constructors of a class were run."""
    return always_given(cls) | {
        *getattr(cls, "__dataclass_fields__", ()),
        *(a.name for a in getattr(cls, "__attrs_attrs__", ())),
    }


def removed_fields(old: type, new: type) -> tuple[str, ...]:
    """Return the names that methods of the old class assigned and those of the new one do not."""
    before, after = ({n for base in _own_mro(cls) for n in assigned_anywhere(base)} for cls in (old, new))
    return tuple(sorted(before - after))


def _own_mro(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base is not object]


# --- classes that declare their fields ---------------------------------------------------------------------------


def _declared(old: type, new: type) -> list[AddedField]:
    found = []
    had = set(getattr(old, "__dataclass_fields__", ())) | {a.name for a in getattr(old, "__attrs_attrs__", ())}
    for name, field in getattr(new, "__dataclass_fields__", {}).items():
        if name not in had and not hasattr(new, name):
            found.append(_from_factory(name, field.default_factory, missing=_dataclass_missing()))
    attributes = [a for a in getattr(new, "__attrs_attrs__", ()) if a.name not in had and not hasattr(new, a.name)]
    return [*found, *map(_from_attrs, attributes)]


def _dataclass_missing() -> Any:
    import dataclasses  # noqa: PLC0415 - only where a dataclass changes

    return dataclasses.MISSING


def _from_factory(name: str, factory: Any, *, missing: Any) -> AddedField:
    if factory is missing:
        return AddedField(name, problem="it has no default")
    return AddedField(name, make=lambda _: factory())


def _from_attrs(attribute: Any) -> AddedField:
    default = attribute.default
    if type(default).__name__ == "Factory":
        if default.takes_self:
            return AddedField(attribute.name, make=default.factory)
        return AddedField(attribute.name, make=lambda _: default.factory())
    if type(default).__name__ == "_Nothing":
        return AddedField(attribute.name, problem="it has no default")
    return AddedField(attribute.name, same=(default,))


# --- classes that assign them ------------------------------------------------------------------------------------


def _assigned(cls: type, others: Collection[str]) -> Iterator[tuple[str, Builder]]:
    """Yield each field that the constructors of a class assign, with the constructor in or through which they do."""
    for builder in builders(cls, others):
        node = definition_of(builder.function)
        if node is not None:
            for name in assigned_in(node):
                yield mangled(name, builder.owner), builder.root or builder


def _arguments(old: type, constructor: types.FunctionType) -> Mapping[str, Argument]:
    """Return what is known of the arguments with which the instances were made that live.

    A parameter that the old version did not have has its default. What an instance was given for another one is known
    where the old constructor stored it as it came.
    """
    code, values = constructor.__code__, constructor.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    defaults = dict(zip(names, values, strict=True)) | (constructor.__kwdefaults__ or {})
    before: set[str] = set()
    stored: dict[str, str] = {}
    for builder in builders(old):
        function = builder.function
        if builder.root is None and function.__name__ == constructor.__name__:
            taken = function.__code__.co_argcount + function.__code__.co_kwonlyargcount
            before |= set(function.__code__.co_varnames[:taken])
            stored |= _stored(builder.owner, function)
    new = {name: Argument(value=value) for name, value in defaults.items() if name not in before}
    return new | {name: Argument(attribute=attribute) for name, attribute in stored.items()}


def _stored(cls: type, function: types.FunctionType) -> Iterator[tuple[str, str]]:
    """Yield (parameter, attribute) for what a constructor stores as it was given: `self.name = name`."""
    node = definition_of(function)
    if node is None:
        return
    me = first_parameter(node)
    changed = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    for statement in node.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Attribute(value=holder, attr=written)], value=ast.Name(id=name))
                | ast.AnnAssign(target=ast.Attribute(value=holder, attr=written), value=ast.Name(id=name))
            ) if is_name(holder, me) and name not in changed and name in function.__code__.co_varnames:
                yield name, mangled(written, cls)
