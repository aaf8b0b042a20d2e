"""Which fields a new constructor gives to its instances that the old one did not, and how to make them afterwards.

Read from the source of the constructors: `self.name = expression`, where the expression needs only what an instance,
its module or the parameters' defaults already have. Dataclasses and attrs classes say it themselves.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.patch.functions import plain_function

__all__ = ["AddedField", "added_fields", "definition_of", "removed_fields"]

_CONSTRUCTORS = ("__init__", "__post_init__", "__attrs_post_init__")
_CONSTANTS = (str, bytes, int, float, complex, bool, type(None))


@frozen(eq=False)
class AddedField:
    """A field that live instances lack.

    Exactly one of: `same` (a one-tuple with the value that all share), `make` (called with the instance), or `problem`,
    which says why it cannot be derived; `conditional` when the constructor itself does not always give it.
    """

    name: str
    same: tuple[Any, ...] = ()
    make: Callable[[Any], Any] | None = None
    problem: str = ""
    conditional: bool = False


def added_fields(old: type, new: type, namespace: dict[str, Any]) -> tuple[AddedField, ...]:
    """Return the fields that instances of `new` have and those of `old` do not, in the order of their assignment.

    `namespace` is where expressions find their global names when they are evaluated.
    """
    found = _declared(old, new)
    given = {
        name
        for constructor in _constructors(old)
        for name, field in _from_source(constructor, set(), namespace)
        if not field.conditional
    }
    known = given | {name for cls in old.__mro__ for name in vars(cls)} | {f.name for f in found}
    # What other methods assign an instance may have or not: whoever lacks it can be given it, where it can be derived.
    perhaps = {name for cls in _own_mro(old) for name in _assigned_anywhere(cls)} - known
    bound = {name for cls in new.__mro__ for name in vars(cls)}
    there = known | perhaps  # what an expression may read, with what is found as we go
    for constructor in _constructors(new):
        for name, field in _from_source(constructor, there, namespace):
            if name in known or name in bound or (name in perhaps and (field.problem or field.conditional)):
                continue
            known.add(name)
            there.add(name)
            found.append(field)
    return tuple(found)


def removed_fields(old: type, new: type) -> tuple[str, ...]:
    """Return the names that methods of the old class assigned and those of the new one do not."""
    before, after = ({n for base in _own_mro(cls) for n in _assigned_anywhere(base)} for cls in (old, new))
    return tuple(sorted(before - after))


def _own_mro(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base is not object]


@frozen
class _Builder:
    """A function that fills an instance: a constructor, or a method that one calls on its instance.

    `owner` is the class that defines it, by whose name its private names are mangled. `certain` is whether it always
    runs, `bare` whether it is called without arguments: only then its parameters have their defaults.
    """

    function: Any
    owner: type
    certain: bool = True
    bare: bool = True


def _constructors(cls: type) -> Iterator[_Builder]:
    pending = []
    for name in _CONSTRUCTORS:
        function = plain_function(vars(cls).get(name))
        if function is not None:
            pending.append(_Builder(function, cls))
    seen = set()
    while pending:
        builder = pending.pop(0)
        if id(builder.function) not in seen:
            seen.add(id(builder.function))
            yield builder
            pending += _called(builder, cls)


def _called(builder: _Builder, cls: type) -> Iterator[_Builder]:
    """Yield the methods that a constructor calls on its instance: `self._reset()`."""
    node = definition_of(builder.function)
    if node is None or not (arguments := [*node.args.posonlyargs, *node.args.args]):
        return
    me = arguments[0].arg
    certain = {id(statement.value) for statement in node.body if isinstance(statement, ast.Expr)}
    for call in ast.walk(node):
        match call:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=written)) if name == me:
                method = _mangled(written, builder.owner)
                owner = next((base for base in cls.__mro__ if method in vars(base)), cls)
                function = plain_function(vars(owner).get(method))
                if function is not None and function.__module__ == cls.__module__:
                    always = builder.certain and id(call) in certain
                    yield _Builder(function, owner, always, builder.bare and not call.args and not call.keywords)


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


@functools.lru_cache(maxsize=64)
def _parsed(path: str, _modified: int) -> ast.Module | None:
    try:
        return ast.parse(Path(path).read_bytes(), filename=path)
    except (OSError, SyntaxError, ValueError):
        return None


def definition_of(function: types.FunctionType) -> ast.FunctionDef | None:
    """Return the part of its file's syntax tree that defines a function, None when the file is not there."""
    path = function.__code__.co_filename
    try:
        modified = Path(path).stat().st_mtime_ns
    except OSError:
        return None
    tree = _parsed(path, modified)
    line, name = function.__code__.co_firstlineno, function.__code__.co_name
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.FunctionDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first == line:
                return node
    return None


def _assigned_anywhere(cls: type) -> Iterator[str]:
    """Yield the names that the methods of a class assign to their first parameter."""
    for value in vars(cls).values():
        function = plain_function(value)
        if function is not None and function.__module__ == cls.__module__:
            node = definition_of(function)
            yield from (_mangled(name, cls) for name, _, _ in _assignments(node)) if node is not None else ()
    yield from getattr(cls, "__dataclass_fields__", ())
    yield from (attribute.name for attribute in getattr(cls, "__attrs_attrs__", ()))


def _assignments(node: ast.FunctionDef) -> Iterator[tuple[str, ast.expr | None, bool]]:
    """Yield (name, expression, unconditional) for each assignment to an attribute of the first parameter."""
    arguments = [*node.args.posonlyargs, *node.args.args]
    if not arguments:
        return
    me = arguments[0].arg
    certain = {id(statement) for statement in node.body}
    for statement in ast.walk(node):
        if isinstance(statement, ast.Assign):
            targets: list[ast.expr] = statement.targets
        elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
            targets = [statement.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == me:
                yield target.attr, statement.value, id(statement) in certain
            elif isinstance(target, ast.Tuple):
                for part in target.elts:
                    if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == me:
                        yield part.attr, None, False


def _from_source(builder: _Builder, known: set[str], namespace: dict[str, Any]) -> Iterator[tuple[str, AddedField]]:
    function, cls = builder.function, builder.owner
    node = definition_of(function)
    if node is None:
        return
    local = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for written, expression, certain in list(_assignments(node)):
        name = _mangled(written, cls)
        if expression is None or not (certain and builder.certain):
            yield name, AddedField(name, problem="it is assigned under a condition", conditional=True)
            continue
        problem = _missing_for(expression, node, builder, local, known | {name})
        if problem:
            yield name, AddedField(name, problem=problem)
        elif isinstance(expression, ast.Constant) and isinstance(expression.value, _CONSTANTS):
            yield name, AddedField(name, same=(expression.value,))
        else:
            yield name, AddedField(name, make=_compiled(expression, node, function, cls, namespace))


def _mangled(name: str, cls: type) -> str:
    if name.startswith("__") and not name.endswith("__"):
        stripped = cls.__name__.lstrip("_")
        return f"_{stripped}{name}" if stripped else name
    return name


def _defaults(function: types.FunctionType) -> dict[str, Any]:
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    return dict(zip(names, values, strict=True)) | (function.__kwdefaults__ or {})


def _missing_for(
    expression: ast.expr, node: ast.FunctionDef, builder: _Builder, local: set[str], known: set[str]
) -> str:
    """Say what an expression needs that an instance does not have, "" when it has everything."""
    me = [*node.args.posonlyargs, *node.args.args][0].arg
    function, given = builder.function, _defaults(builder.function) if builder.bare else {}
    parameters = set(function.__code__.co_varnames[: _parameter_count(function.__code__)])
    inner = {n.id for n in ast.walk(expression) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    inner |= {a.arg for n in ast.walk(expression) if isinstance(n, ast.Lambda) for a in n.args.args}
    for part in ast.walk(expression):
        if isinstance(part, ast.Await | ast.Yield | ast.YieldFrom):
            return "it is awaited"
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == me:
            if _mangled(part.attr, builder.owner) not in known:
                return f"it needs self.{part.attr}"
        elif isinstance(part, ast.Name) and part.id != me and part.id not in inner:
            if part.id in parameters and part.id not in given:
                return f"it needs the argument {part.id}"
            if part.id in local or part.id in function.__code__.co_freevars:
                return f"it needs the local variable {part.id}"
            if part.id not in parameters and part.id not in function.__globals__ and not hasattr(builtins, part.id):
                return f"it needs the name {part.id}"
    return ""


def _parameter_count(code: types.CodeType) -> int:
    stars = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + stars


def _compiled(
    expression: ast.expr, node: ast.FunctionDef, function: types.FunctionType, cls: type, namespace: dict[str, Any]
) -> Callable[[Any], Any]:
    """Compile an expression of a constructor into a function of the instance; parameters have their defaults."""
    me = [*node.args.posonlyargs, *node.args.args][0].arg
    defaults = _defaults(function)
    names = [me, *(name for name in defaults if name != me)]
    arguments = ast.arguments(
        posonlyargs=[], args=[ast.arg(arg=name) for name in names], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    make = ast.Assign(targets=[ast.Name("make", ast.Store())], value=ast.Lambda(args=arguments, body=expression))
    # In a class of the same name, so that private names are mangled alike.
    body = ast.parse(f"class {cls.__name__}: pass")
    holder = body.body[0]
    if isinstance(holder, ast.ClassDef):
        holder.body = [make]
    code = compile(ast.fix_missing_locations(body), function.__code__.co_filename, "exec", dont_inherit=True)
    made: dict[str, Any] = {}
    exec(code, namespace, made)  # noqa: S102 - text of the new version's own constructor
    evaluate = vars(made[cls.__name__])["make"]
    return lambda instance: evaluate(instance, **{name: defaults[name] for name in names[1:]})
