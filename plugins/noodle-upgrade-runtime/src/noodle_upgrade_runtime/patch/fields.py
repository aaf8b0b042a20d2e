"""Which fields a new constructor gives to its instances that the old one did not, and how to make them afterwards.

Read from the source of the constructors: what gives a field its value, where that needs only what an instance, its
module or the parameters' defaults already have. Dataclasses and attrs classes say it themselves.
"""

from __future__ import annotations

import ast
import collections
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.asking import defaults_of, is_a
from noodle_upgrade_runtime.patch.constructors import (
    CONSTRUCTORS,
    Builder,
    always_given,
    assigned_anywhere,
    assigned_in,
    builders,
    calls_in,
    declared_fields,
    first_parameter,
    is_name,
    mangled,
    method_called,
    name_of,
)
from noodle_upgrade_runtime.patch.doubts import Doubts
from noodle_upgrade_runtime.patch.functions import plain_function
from noodle_upgrade_runtime.patch.slicing import Argument, Slice, slice_of
from noodle_upgrade_runtime.patch.sources import definition_of, once

__all__ = ["AddedField", "added_fields", "given_fields", "removed_fields", "stores_of"]

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
    names = {name for name, _ in _assigned(new, ())}
    if names <= known and names.isdisjoint(bound):
        return tuple(found)  # as with most classes
    # What other methods assign an instance may have or not: whoever lacks it can be given it, where it can be derived.
    perhaps = {name for cls in _own_mro(old) for name in assigned_anywhere(cls)} - known
    there = known | perhaps | bound  # what an expression may read, with what is found as we go
    seen, certain = set(known), always_given(new)
    before = {name_of(cls) for cls in old.__mro__[1:]}
    if _builds_otherwise(old, new, before):
        before = set()
    arguments: dict[int, Mapping[str, Argument]] = {}  # by constructor: to know them, all methods are looked through
    for name, root in _assigned(new, before):
        if name in seen or name in bound:
            for kept in [k for k in _kept_by_property(new, name) if k not in there]:
                there.add(kept)
                found.append(AddedField(kept, problem=f"the property {name} gives it", certain=name in certain))
            continue
        seen.add(name)
        key = id(root.function)
        if key not in arguments:
            arguments[key] = _arguments(old, root.function)
        sliced = slice_of(root, new, name, available=there, arguments=arguments[key], namespace=namespace)
        if not sliced.problem and _wrapper_touches(root, name):
            sliced = Slice(problem="a decorator of its constructor may change it")
        if sliced.problem and name in perhaps:
            continue
        there.add(name)
        if sliced.constant and is_a(sliced.constant[0], _CONSTANTS):
            found.append(AddedField(name, same=sliced.constant))
        else:
            always = name in certain
            found.append(AddedField(name, make=sliced.make, problem=sliced.problem, certain=always))
    return tuple(found)


def given_fields(cls: type) -> frozenset[str]:
    """Return the fields that every instance has on which the constructors of a class were run."""
    return always_given(cls) | declared_fields(cls)


def removed_fields(old: type, new: type) -> tuple[str, ...]:
    """Return the names that methods of the old class assigned and those of the new one do not."""
    before, after = ({n for base in _own_mro(cls) for n in assigned_anywhere(base)} for cls in (old, new))
    return tuple(sorted(before - after))


def _own_mro(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base is not object]


# --- classes that declare their fields ---------------------------------------------------------------------------


def _declared(old: type, new: type) -> list[AddedField]:
    found = []
    had = declared_fields(old)
    for name, field in getattr(new, "__dataclass_fields__", {}).items():
        if name not in had and _changed_afterwards(new, name):
            found.append(AddedField(name, problem="it is changed after its default was given"))
        elif name not in had and not hasattr(new, name):
            found.append(_from_factory(name, field.default_factory, missing=_dataclass_missing()))
    attributes = [a for a in getattr(new, "__attrs_attrs__", ()) if a.name not in had and not hasattr(new, a.name)]
    for attribute in attributes:
        if _changed_afterwards(new, attribute.name):
            found.append(AddedField(attribute.name, problem="it is changed after its default was given"))
        else:
            found.append(_from_attrs(attribute))
    return found


def _changed_afterwards(cls: type, name: str) -> bool:
    """Whether what runs after the fields have got their defaults may change one of them."""
    for builder in builders(cls):
        node = definition_of(builder.function)
        if node is None or (builder.root or builder).function.__name__ == "__init__":
            continue
        me = first_parameter(node)

        def is_field(one: ast.AST, me: str = me, owner: type = builder.owner) -> bool:
            ours = isinstance(one, ast.Attribute) and is_name(one.value, me)
            return ours and isinstance(one, ast.Attribute) and mangled(one.attr, owner) == name

        names, space = builder.function.__code__.co_varnames, builder.function.__globals__
        doubts = Doubts(node.body, (), (), names, me, name, space, is_field, lambda _: False)
        if name in {mangled(given, builder.owner) for given in assigned_in(node)} or doubts.found():
            return True
    return False


def _dataclass_missing() -> Any:
    import dataclasses  # noqa: PLC0415 - only where a dataclass changes

    return dataclasses.MISSING


def _from_factory(name: str, factory: Any, *, missing: Any) -> AddedField:
    if factory is missing:
        return AddedField(name, problem="it has no default")
    return AddedField(name, make=lambda _: factory())


def _from_attrs(attribute: Any) -> AddedField:
    default = attribute.default
    if attribute.converter is not None and type(default).__name__ != "_Nothing":
        return AddedField(attribute.name, problem="its default is converted")
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


def _kept_by_property(cls: type, name: str) -> Iterator[str]:
    """Yield the attributes in which the property `name` keeps what a constructor assigns to it."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    found = vars(owner)[name] if owner is not None else None
    function = plain_function(found.fset) if is_a(found, property) else None
    node = definition_of(function) if function is not None else None
    if node is not None and owner is not None:
        yield from (mangled(given, owner) for given in assigned_in(node))


def _wrapper_touches(constructor: Builder, name: str) -> bool:
    """Whether a decorator has put something around a constructor that names the field."""
    value = vars(constructor.owner).get(constructor.function.__name__)
    while is_a(value, types.FunctionType) and value is not constructor.function:
        node = definition_of(value)
        if node is not None and any(isinstance(one, ast.Attribute) and one.attr == name for one in ast.walk(node)):
            return True
        value = value.__dict__.get("__wrapped__")
    return False


def _builds_otherwise(old: type, new: type, bases: Collection[str]) -> bool:
    """Whether instances of a class get other values from its bases' constructors than those of the bases themselves.

    It may give them arguments that it did not give, have a method of its own that they call, or give a field twice.
    """
    found = list(builders(new))
    if any(
        one.owner is new
        and one.function.__name__ not in CONSTRUCTORS
        and any(name_of(base) in bases and one.function.__name__ in vars(base) for base in new.__mro__[1:])
        for one in found
    ):
        return True
    if _base_calls(new, bases) - _base_calls(old, bases):
        return True
    givers: dict[str, set[str]] = {}
    known = always_given(old)
    for one in found:
        node = definition_of(one.function)
        for name in assigned_in(node) if node is not None and name_of(one.owner) in bases else ():
            givers.setdefault(mangled(name, one.owner), set()).add(name_of(one.owner))
    return any(len(owners) > 1 and name not in known for name, owners in givers.items())


def _base_calls(cls: type, bases: Collection[str]) -> set[str]:
    """Return how the constructors of a class call those of its bases, as they are written."""
    found = set()
    for one in builders(cls, bases):
        node = definition_of(one.function)
        if one.owner is cls and node is not None:
            for call in calls_in(node):
                called = method_called(call, first_parameter(node), one, cls)
                if called is not None and name_of(called.owner) in bases and called.function.__name__ in CONSTRUCTORS:
                    found.add(ast.unparse(call))
    return found


def _arguments(old: type, constructor: types.FunctionType) -> Mapping[str, Argument]:
    """Return what is known of the arguments with which the instances were made that live.

    A parameter that the old version did not have has its default. What an instance was given for another one is known
    where the old constructor stored it as it came.
    """
    defaults = defaults_of(constructor)
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
    stores = stores_of(cls)
    changed = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    for statement in node.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Attribute(value=holder, attr=written)], value=ast.Name(id=name))
                | ast.AnnAssign(target=ast.Attribute(value=holder, attr=written), value=ast.Name(id=name))
            ) if is_name(holder, me) and name not in changed and name in function.__code__.co_varnames:
                # Where anything else assigns it as well, it may hold something else by now.
                attribute = mangled(written, cls)
                if stores[attribute] == 1 and not _transforms(cls, attribute):
                    yield name, attribute


@once
def stores_of(cls: type) -> collections.Counter[str]:
    """Return how many statements in the methods of a class, and of its bases, assign each attribute."""
    found: collections.Counter[str] = collections.Counter()
    for base in _own_mro(cls):
        for value in vars(base).values():
            function = plain_function(value)
            node = definition_of(function) if function is not None and function.__module__ == base.__module__ else None
            if node is not None:
                for one in ast.walk(node):
                    if isinstance(one, ast.Attribute) and not isinstance(one.ctx, ast.Load):
                        found[mangled(one.attr, base)] += is_name(one.value, first_parameter(node))
    return found


def _transforms(cls: type, attribute: str) -> bool:
    """Whether a class may keep something else than what is assigned to an attribute."""
    bound = next((vars(base)[attribute] for base in cls.__mro__ if attribute in vars(base)), None)
    kept = is_a(bound, types.MemberDescriptorType) or not hasattr(type(bound), "__set__")
    return not kept or any("__setattr__" in vars(base) for base in _own_mro(cls))
