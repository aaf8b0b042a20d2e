"""What constructors give to their instances, as their source says: which fields, and whether always."""

from __future__ import annotations

import ast
import dis
import types
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.asking import codes_of, is_a, is_class
from noodle_upgrade_runtime.patch.functions import plain_function
from noodle_upgrade_runtime.patch.sources import definition_of, once

__all__ = [
    "CONSTRUCTORS",
    "Builder",
    "always_given",
    "assigned_anywhere",
    "assigned_in",
    "builders",
    "calls_in",
    "declared_fields",
    "first_parameter",
    "is_name",
    "mangled",
    "method_called",
    "name_of",
    "targets_of",
]

CONSTRUCTORS = ("__init__", "__post_init__", "__attrs_post_init__")


@frozen
class Builder:
    """A function that fills an instance: a constructor, or a method that one calls on its instance.

    `owner` is the class that defines it, by whose name its private names are mangled; `root` is the constructor that it
    serves, None for a constructor; `certain` is whether it always runs.
    """

    function: Any
    owner: type
    root: Builder | None = None
    certain: bool = True


def builders(cls: type, others: Collection[str] = ()) -> Sequence[Builder]:
    """Return the constructors of a class, each followed by what it calls on its instance: methods and constructors.

    `others` are the names of classes whose constructors are not followed.
    """
    return tuple(_builders(cls, others)) if others else _all_builders(cls)


@once
def _all_builders(cls: type) -> Sequence[Builder]:
    return tuple(_builders(cls, ()))


def _builders(cls: type, others: Collection[str]) -> Iterator[Builder]:
    pending = []
    for name in CONSTRUCTORS:
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        function = plain_function(vars(owner)[name]) if owner is not None else None
        if owner is not None and function is not None and (owner is cls or name_of(owner) not in others):
            pending.append(Builder(function, owner))
    seen = set()
    while pending:
        builder = pending.pop(0)
        if id(builder.function) not in seen:
            seen.add(id(builder.function))
            yield builder
            pending += _called(builder, cls, others)


def name_of(cls: type) -> str:
    """Return the qualified name of a class with that of its module."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _called(builder: Builder, cls: type, others: Collection[str]) -> Iterator[Builder]:
    node = definition_of(builder.function)
    if node is None or not (me := first_parameter(node)):
        return
    certain = {id(statement.value) for statement in node.body if isinstance(statement, ast.Expr)}
    for call in calls_in(node):
        found = method_called(call, me, builder, cls)
        if found is not None and not (found.function.__name__ in CONSTRUCTORS and name_of(found.owner) in others):
            always = builder.certain and id(call) in certain
            yield Builder(found.function, found.owner, builder.root or builder, always)


@once
def calls_in(node: ast.FunctionDef) -> Sequence[ast.Call]:
    """Return the calls that a function makes, as they are written."""
    return tuple(one for one in ast.walk(node) if isinstance(one, ast.Call))


@frozen
class Called:
    """A method that is called on the instance; `explicit` when that is its first argument: `Base.method(self)`."""

    function: Any
    owner: type
    explicit: bool = False


def method_called(call: ast.Call, me: str, of: Builder, cls: type) -> Called | None:
    """Return the method of the class's own package that a call leads to: `self.x()`, `super().x()`, `Base.x(self)`."""
    mro: Sequence[type] = cls.__mro__
    explicit = False
    match call.func:
        case ast.Attribute(value=ast.Name(id=name), attr=written) if name == me:
            pass
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super"), args=given), attr=written) if _plain(
            given, me, of
        ):
            mro = mro[mro.index(of.owner) + 1 :] if of.owner in mro else ()
        case ast.Attribute(value=ast.Name(id=name), attr=written) if call.args and is_name(call.args[0], me):
            base = of.function.__globals__.get(name)
            mro, explicit = (base.__mro__ if is_class(base) and base in mro else ()), True
        case _:
            return None
    method = mangled(written, of.owner)
    owner = next((base for base in mro if method in vars(base)), None)
    function = plain_function(vars(owner)[method]) if owner is not None else None
    if owner is None or function is None:
        return None
    ours = str(function.__module__).partition(".")[0] == str(cls.__module__).partition(".")[0]
    return Called(function, owner, explicit) if ours else None


def _plain(given: Sequence[ast.expr], me: str, of: Builder) -> bool:
    """Whether `super` is asked for what comes behind the method's own class: `super()`, `super(Class, self)`."""
    return not given or (
        len(given) == len(("class", "self")) and is_name(given[0], of.owner.__name__) and is_name(given[1], me)
    )


def first_parameter(node: ast.FunctionDef) -> str:
    """Return what a method calls its instance, "" when it takes nothing."""
    arguments = [*node.args.posonlyargs, *node.args.args]
    return arguments[0].arg if arguments else ""


@once
def always_given(cls: type) -> frozenset[str]:
    """Return the fields that the constructors of a class give to every instance."""
    return frozenset(
        mangled(name, builder.owner)
        for builder in builders(cls)
        if builder.certain and (node := definition_of(builder.function)) is not None
        for name in _certain(node.body, first_parameter(node))
    )


def _certain(statements: Sequence[ast.stmt], me: str) -> set[str]:
    """Return what attributes of `me` statements assign whichever way they go."""
    found: set[str] = set()
    for statement in statements:
        match statement:
            case ast.If(body=body, orelse=orelse):
                found |= _certain(body, me) & _certain(orelse, me)
            case ast.With(body=body):
                found |= _certain(body, me)
            case ast.Try(body=body, handlers=handlers, finalbody=finalbody):
                ways = [_certain(body, me), *(_certain(h.body, me) for h in handlers if not _leaves(h.body))]
                found |= set.intersection(*ways) | _certain(finalbody, me)
            case _:
                found.update(attribute.attr for attribute in targets_of(statement, me))
    return found


def _leaves(statements: Sequence[ast.stmt]) -> bool:
    return bool(statements) and isinstance(statements[-1], ast.Raise | ast.Return)


def targets_of(statement: ast.stmt, me: str) -> Iterator[ast.Attribute]:
    """Yield the attributes of `me` that a simple statement assigns."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign) or (isinstance(statement, ast.AnnAssign) and statement.value is not None):
        targets = [statement.target]
    for target in targets:
        for part in ast.walk(target):
            if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and is_name(part.value, me):
                yield part


def is_name(node: ast.AST, name: str) -> bool:
    """Return whether a node is just this name."""
    return isinstance(node, ast.Name) and node.id == name


@once
def assigned_in(node: ast.FunctionDef) -> Sequence[str]:
    """Return the names that a function assigns to its first parameter, in the order of its text, once each."""
    me = first_parameter(node)
    places: list[tuple[Any, str]] = []
    for part in ast.walk(node):
        if isinstance(part, ast.stmt):
            places += [(place, place.attr) for place in targets_of(part, me)]
        heads: list[ast.AST] = []
        if isinstance(part, ast.For):
            heads = [part.target]
        elif isinstance(part, ast.withitem) and part.optional_vars is not None:
            heads = [part.optional_vars]
        places += [
            (one, one.attr)
            for one in (n for head in heads for n in ast.walk(head))
            if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and is_name(one.value, me)
        ]
        places += [(part, name) for name in _given_by_name(part, me)]
    return tuple(dict.fromkeys(name for _, name in sorted(places, key=lambda one: (one[0].lineno, one[0].col_offset))))


def _given_by_name(node: ast.AST, me: str) -> Iterator[str]:
    """Yield the attributes that are given by their written names: `setattr(self, "name", 1)`."""
    match node:
        case ast.Call(func=func, args=[ast.Name(id=name), ast.Constant(value=str(written)), _]) if name == me:
            called = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            yield from [written] if called in {"setattr", "__setattr__"} else ()
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(value=ast.Name(id=name), attr="__dict__"), attr="update")
        ) if name == me:
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)
        case ast.Subscript(
            value=ast.Attribute(value=ast.Name(id=name), attr="__dict__"),
            slice=ast.Constant(value=str(written)),
            ctx=ast.Store(),
        ) if name == me:
            yield written


@once
def assigned_anywhere(cls: type) -> frozenset[str]:
    """Return the names that the methods of a class assign to their first parameter, and those that it declares."""
    found = set(declared_fields(cls))
    for function in _functions_of(cls):
        ours = function.__module__ == cls.__module__ and _assigns(function.__code__)
        if ours and (node := definition_of(function)) is not None:
            found.update(mangled(name, cls) for name in assigned_in(node))
    return frozenset(found)


def _assigns(code: types.CodeType) -> bool:
    """Whether code may assign an attribute; most methods do not, and need not be read."""
    return any(_STORE in one.co_code[::2] or not _GIVING.isdisjoint(one.co_names) for one in codes_of(code))


_STORE = dis.opmap["STORE_ATTR"]
_GIVING = frozenset({"setattr", "__setattr__", "__dict__"})


def declared_fields(cls: type) -> frozenset[str]:
    """Return the fields that a dataclass or a class of attrs says that it has."""
    attributes = getattr(cls, "__attrs_attrs__", ())
    return frozenset({*getattr(cls, "__dataclass_fields__", ()), *(attribute.name for attribute in attributes)})


def _functions_of(cls: type) -> Iterator[types.FunctionType]:
    """Yield the functions of a class: those that set a property as well as those that get it."""
    for value in list(vars(cls).values()):
        parts = (value.fget, value.fset, value.fdel) if is_a(value, property) else (value,)
        yield from filter(None, map(plain_function, parts))


def mangled(name: str, cls: type) -> str:
    """Return a name as the compiler writes it into the code of a class."""
    if name.startswith("__") and not name.endswith("__"):
        stripped = cls.__name__.lstrip("_")
        return f"_{stripped}{name}" if stripped else name
    return name
