"""The part of a constructor that gives one field, as a function of an instance that lives already.

Everything in the constructor that the field's value does not depend on is left out: what is left needs only what the
instance has, what its module has, and arguments whose value is known. Conditions and loops stay, and so do the
methods that the constructor calls on its instance and that have a part in the field.
"""

from __future__ import annotations

import ast
import builtins
import copy
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from noodle_upgrade_runtime.patch.constructors import (
    Builder,
    first_parameter,
    is_name,
    mangled,
    method_called,
    targets_of,
)
from noodle_upgrade_runtime.patch.doubts import ADDING, Doubts, loads_of_comprehension
from noodle_upgrade_runtime.patch.sources import definition_of

__all__ = ["Argument", "Slice", "slice_of"]

_VALUE = "_noodle_value_"
_OTHER = "_noodle_other_"
_CALL = "_noodle_call_{}"
_DEEPEST = 8
_NOT_FOLLOWED = (ast.AsyncFor, ast.AsyncWith, ast.Match, ast.TryStar, ast.Global, ast.Nonlocal)
_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_NEVER = object()


@frozen
class Argument:
    """What is known of a constructor's parameter: the attribute that it was stored under, or else its value."""

    attribute: str = ""
    value: Any = None


@frozen(eq=False)
class Slice:
    """How a field is made: `make` of an instance raises AttributeError when it would not have been given the field.

    `problem` says why there is no such function; `constant` is a one-tuple with the value when it is one.
    """

    make: Callable[[Any], Any] | None = None
    constant: tuple[Any, ...] = ()
    problem: str = ""


def slice_of(
    root: Builder,
    cls: type,
    name: str,
    *,
    available: Collection[str],
    arguments: Mapping[str, Argument],
    namespace: dict[str, Any],
) -> Slice:
    """Return what gives the field `name` in the constructor `root` of a class.

    `available` are the attributes that an instance has, `arguments` the parameters of which something is known; global
    names are looked up in `namespace`.
    """
    sliced = _Function(root.function, cls, root.owner, name, available, namespace)
    sliced.follow(known=frozenset(arguments))
    if sliced.problem:
        return Slice(problem=sliced.problem)
    match sliced.kept:
        case [ast.Assign(targets=[_], value=ast.Constant(value=constant))] | [
            ast.AnnAssign(value=ast.Constant(value=constant))
        ]:
            return Slice(constant=(constant,))
    evaluate = sliced.compiled(arguments)

    def make(instance: Any) -> Any:
        value = evaluate(instance)
        if value is _NEVER:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {name!r}")
        return value

    return Slice(make=make)


@define(eq=False)
class _Function:
    """The slice of one function: of the constructor, or of a method that it calls."""

    function: Any
    cls: type
    owner: type
    name: str
    available: Collection[str]
    namespace: dict[str, Any]
    depth: int = 0
    problem: str = ""
    doubted: bool = False
    under_way: bool = True
    calls_itself: bool = False
    # Every method is followed once: those of a parser call each other in all ways.
    _all: dict[str, _Function] = field(factory=dict)
    kept: list[ast.stmt] = field(factory=list)
    _wanted: set[str] = field(factory=set)
    calls: dict[str, _Function] = field(factory=dict)
    _node: ast.FunctionDef | None = None
    me: str = ""
    _early: frozenset[int] = frozenset()
    _is_early: bool = False
    """What is looked at comes before the field is given anew: only variables matter of it."""
    _locals: frozenset[str] = frozenset()

    # --- what belongs to it --------------------------------------------------------------------------------------

    def follow(self, *, known: Collection[str]) -> None:
        """Find the statements that the field depends on; `known` are the parameters that have a value."""
        node = definition_of(self.function)
        if node is None or not (me := first_parameter(node)):
            self.problem = "its source is not there"
            return
        self._node, self.me = node, me
        code = self.function.__code__
        self._locals = frozenset({*code.co_varnames[1:], *code.co_cellvars}) - {me}
        earlier, later = self._parted(node.body)
        self._early = frozenset(id(n) for one in earlier for n in ast.walk(one))
        if not self._kept_of(earlier, later):
            self._early = frozenset()
            self._kept_of([], node.body)
        self.problem = self._not_followed() or self._missing(known) or self._doubted()
        if not self.problem:
            self.kept = [self._rewritten(self._shared(copy.deepcopy(statement))) for statement in self.kept]
            self.problem = next(self._not_alike(), "")

    def _parted(self, body: Sequence[ast.stmt]) -> tuple[Sequence[ast.stmt], Sequence[ast.stmt]]:
        """Part a constructor where it gives the field anew; nothing comes earlier where the field is read before."""
        given = [place for place, one in enumerate(body) if self._gives_anew(one)]
        if not given or self.depth:
            return [], body
        earlier = body[: given[-1]]
        is_read = any(
            self.is_field(node) and isinstance(getattr(node, "ctx", None), ast.Load) for node in _outer(*earlier)
        )
        return ([], body) if is_read else (earlier, body[given[-1] :])

    def _gives_anew(self, statement: ast.stmt) -> bool:
        targets = statement.targets if isinstance(statement, ast.Assign) else ()
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        return len(targets) == 1 and self.is_field(targets[0])

    def _kept_of(self, earlier: Sequence[ast.stmt], later: Sequence[ast.stmt]) -> bool:
        """Find the statements that matter; of the `earlier` ones those alone that give variables their values.

        Returns whether those do not need the instance: it may not be what it was when they were carried out.
        """
        self._wanted.clear()
        size = -1
        while size != len(self._wanted):
            size = len(self._wanted)
            self._is_early = True
            before, _ = self._pruned(earlier)
            self._is_early = False
            after, _ = self._pruned(later)
            self.kept = [*before, *after]
            self._wanted |= {n for one in self.kept for n in _loaded(one) if n in self._locals}
        return not any(is_name(node, self.me) for one in before for node in ast.walk(one))

    def _doubted(self) -> str:
        code = self.function.__code__
        doubts = Doubts(
            self._body(),
            self.kept,
            self._wanted,
            code.co_varnames[: _parameter_count(code)],
            self.me,
            self.name,
            self.function.__globals__,
            self.is_field,
            self._sets_it,
        )
        found = doubts.found()
        self.doubted = bool(found)
        return found

    def _pruned(self, statements: Sequence[ast.stmt]) -> tuple[list[ast.stmt], bool]:
        """Return what is left of statements, and whether any of that matters."""
        kept: list[ast.stmt] = []
        matters = False
        for statement in statements:
            if isinstance(statement, ast.Break | ast.Continue):
                kept.append(statement)
                continue
            if isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try):
                shorter, counts, steers = self._shorter(statement)
                if counts or steers:
                    kept.append(shorter)
                matters |= counts
            elif self._counts(statement):
                kept.append(statement)
                matters = True
        return kept, matters

    def _shorter(self, statement: Any) -> tuple[Any, bool, bool]:
        """Return a compound statement without what does not matter; whether it matters, and whether it ends a loop."""
        counts, steers = self._binds(statement), False
        parts: dict[str, Any] = {}
        for part in ("body", "orelse", "finalbody"):
            if hasattr(statement, part):
                kept, matters = self._pruned(getattr(statement, part))
                counts |= matters
                steers |= bool(kept) and not matters
                parts[part] = kept or ([ast.Pass()] if part == "body" else [])
        if isinstance(statement, ast.Try):
            handlers = []
            for handler in statement.handlers:
                kept, matters = self._pruned(handler.body)
                counts |= matters
                handlers.append(ast.ExceptHandler(type=handler.type, name=handler.name, body=kept or [ast.Pass()]))
            parts["handlers"] = handlers
            if not parts["finalbody"] and not handlers:
                parts["finalbody"] = [ast.Pass()]
        fields = {name: getattr(statement, name, None) for name in statement._fields}
        loop = isinstance(statement, ast.For | ast.While)
        return type(statement)(**{**fields, **parts}), counts, steers and not loop

    def _binds(self, statement: ast.stmt) -> bool:
        """Whether a loop or a `with` gives a value itself to what the field depends on."""
        heads: list[ast.AST] = []
        if isinstance(statement, ast.For):
            heads = [statement.target, statement.iter]
        elif isinstance(statement, ast.With):
            heads = list(statement.items)
        elif isinstance(statement, ast.If | ast.While):
            heads = [statement.test]
        stored = [n for head in heads for n in ast.walk(head) if isinstance(getattr(n, "ctx", None), ast.Store)]
        return any(self._is_value(n) or self._inside(n) for n in stored)

    def _counts(self, statement: ast.stmt) -> bool:
        """Whether the field depends on what a simple statement does."""
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            return statement.name in self._wanted
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return any((a.asname or a.name.partition(".")[0]) in self._wanted for a in statement.names)
        if not self._is_early and any(self.is_field(target) for target in targets_of(statement, self.me)):
            return True
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            return self._fills(statement.value)
        return any(
            (isinstance(n, ast.Name) and n.id in self._wanted and isinstance(n.ctx, ast.Store | ast.Del))
            or (isinstance(n, ast.Subscript | ast.Attribute) and not isinstance(n.ctx, ast.Load) and self._inside(n))
            for n in _outer(statement)
        )

    def takes_self(self, call: ast.Call) -> bool:
        """Return whether a method is called as one of its class, with the instance as the first argument."""
        found = method_called(call, self.me, self._builder(), self.cls)
        return found is not None and found.explicit

    def _fills(self, call: ast.Call) -> bool:
        """Whether a call that stands alone may change what the field holds: its own method, or it is an argument."""
        if method_called(call, self.me, self._builder(), self.cls):
            sets_it = not self._is_early and self.part_of(call) is not None
            return sets_it or any(map(self._is_value, _arguments(call)))
        if self._inside(call.func):
            return True
        if isinstance(call.func, ast.Attribute) and call.func.attr in ADDING:
            # It would be done once more to what it is called on, and does nothing to what it is given.
            return False
        return not is_name(call.func, "print") and any(map(self._is_value, _arguments(call)))

    def _inside(self, node: ast.AST) -> bool:
        """Whether this is a part of the field's value, or of a variable that it depends on."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
            if self._is_value(node):
                return True
        return False

    def _is_value(self, node: ast.AST) -> bool:
        is_variable = isinstance(node, ast.Name) and node.id in self._wanted
        return is_variable or (not self._is_early and self.is_field(node))

    def is_field(self, node: ast.AST) -> bool:
        """Return whether this is the field: `self.name`."""
        ours = isinstance(node, ast.Attribute) and is_name(node.value, self.me)
        return ours and isinstance(node, ast.Attribute) and mangled(node.attr, self.owner) == self.name

    def _builder(self) -> Builder:
        return Builder(self.function, self.owner)

    def part_of(self, call: ast.Call) -> _Function | None:
        """Return the slice of a method that is called on the instance, None when it has no part in the field."""
        found = method_called(call, self.me, self._builder(), self.cls)
        if found is None or self.depth >= _DEEPEST:
            return None
        key = f"{id(found.function)}"
        if key not in self.calls:
            if key not in self._all:
                inner = self._all[key] = _Function(
                    found.function,
                    self.cls,
                    found.owner,
                    self.name,
                    self.available,
                    self.namespace,
                    depth=self.depth + 1,
                    all=self._all,
                )
                inner.follow(known=frozenset(found.function.__code__.co_varnames))
                inner.under_way = False
                if inner.calls_itself and (inner.kept or inner.doubted):
                    inner.problem = "a method sets it that calls itself"
            if self._all[key].under_way:
                self._all[key].calls_itself = True
                return None
            self.calls[key] = self._all[key]
        return self.calls[key] if self.calls[key].kept or self.calls[key].problem else None

    # --- what it needs -------------------------------------------------------------------------------------------

    def _not_followed(self) -> str:
        """Say what of the constructor cannot be followed, "" when all can."""
        if not self.kept:
            return "" if self.depth else "it is assigned under a condition"
        last = max(getattr(one, "lineno", 0) for statement in self.kept for one in ast.walk(statement))
        before = [node for node in _outer(*self._body()) if getattr(node, "lineno", 0) <= last]
        alone = {id(n.value) for n in before if isinstance(n, ast.Expr)}
        if any(isinstance(node, _NOT_FOLLOWED) and self._touched(node) for node in before):
            return "it is assigned under a condition"
        if any(isinstance(node, ast.Return) for node in before):
            return "its constructor may return before"
        if any(isinstance(n, ast.Call) and id(n) not in alone and self._sets_it(n) for n in before):
            return "a method sets it whose result is used"
        return next(
            (inner.problem for inner in self.calls.values() if inner.problem and (inner.kept or inner.doubted)), ""
        )

    def _sets_it(self, call: ast.Call) -> bool:
        """Return whether a method is called that has a part in the field, and not before that is given anew."""
        return id(call) not in self._early and self.part_of(call) is not None

    def _not_alike(self) -> Iterator[str]:
        """Yield what would do something else outside of the constructor."""
        for node in (n for statement in self.kept for n in ast.walk(statement)):
            if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom):
                yield "it is awaited"
            if isinstance(node, ast.Name) and node.id in {"super", "__class__"}:
                yield f"it needs {node.id}"

    def _body(self) -> Sequence[ast.stmt]:
        return self._node.body if self._node is not None else ()

    def _touched(self, node: ast.AST) -> bool:
        return any(self._is_value(one) for one in ast.walk(node))

    def _missing(self, known: Collection[str]) -> str:
        """Say what it needs and an instance does not have, "" when everything is there."""
        for node in (n for statement in self.kept for n in ast.walk(statement)):
            if isinstance(node, ast.Attribute) and is_name(node.value, self.me) and isinstance(node.ctx, ast.Load):
                name = mangled(node.attr, self.owner)
                if name != self.name and name not in self.available:
                    return f"it needs self.{node.attr}"
        names = dict.fromkeys(name for statement in self.kept for name in _loaded(statement))
        return next(filter(None, (self._unknown(name, known) for name in names if name != self.me)), "")

    def _unknown(self, name: str, known: Collection[str]) -> str:
        """Say what a name stands for, when nobody knows its value."""
        code = self.function.__code__
        if name in code.co_varnames[: _parameter_count(code)]:
            return "" if name in known else f"it needs the argument {name}"
        if name in code.co_freevars:
            return f"it needs the local variable {name}"
        if name in self._locals:
            return "" if name in self._given() else f"it needs the local variable {name}"
        there = name in self.function.__globals__ or hasattr(builtins, name)
        return "" if there else f"it needs the name {name}"

    def _given(self) -> set[str]:
        """Return the variables to which what was kept gives a value."""
        given: set[str] = set()
        for node in (n for statement in self.kept for n in ast.walk(statement)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                given.add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
                given.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                given |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        return given

    def _shared(self, statement: ast.stmt) -> ast.stmt:
        """Take what an instance has already: `self.a = self.b = []` is one list."""
        for one in (
            n for n in ast.walk(statement) if isinstance(n, ast.Assign) and not isinstance(n.value, ast.Constant)
        ):
            fields = [t for t in one.targets if isinstance(t, ast.Attribute) and is_name(t.value, self.me)]
            there = [t for t in fields if not self.is_field(t) and mangled(t.attr, self.owner) in self.available]
            if there and len(fields) > len(there):
                one.value = ast.copy_location(
                    ast.Attribute(ast.Name(self.me, ast.Load()), there[0].attr, ast.Load()), one
                )
        return statement

    # --- making it a function ------------------------------------------------------------------------------------

    def _rewritten(self, statement: ast.stmt) -> ast.stmt:
        rewritten: ast.stmt = _Rewriter(self).visit(statement)
        return rewritten

    def compiled(self, arguments: Mapping[str, Argument]) -> Callable[..., Any]:
        """Return it as a function of the instance; the slice of a method takes the method's parameters as well."""
        inner = {_CALL.format(key): one.compiled({}) for key, one in self.calls.items() if one.kept}
        values = {name: argument.value for name, argument in arguments.items() if not argument.attribute}
        extra = {_VALUE: _NEVER, **inner, **values}
        kwdefaults = {} if self.depth == 0 else self.function.__kwdefaults__ or {}
        body: list[ast.stmt] = [
            *(_stored(name, self.me, one.attribute) for name, one in arguments.items() if one.attribute),
            *self.kept,
            ast.Return(ast.Name(_VALUE, ast.Load())),
        ]
        # In a class of the same name, so that private names are mangled alike.
        module = ast.parse(f"class {self.owner.__name__}:\n    def make(): pass")
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef):
                node.args, node.body = self._signature(extra), body
        file = self.function.__code__.co_filename
        code = compile(ast.fix_missing_locations(module), file, "exec", dont_inherit=True)
        made: dict[str, Any] = {}
        exec(code, self.namespace, made)  # noqa: S102 - text of the new version's own constructor
        result: types.FunctionType = vars(made[self.owner.__name__])["make"]
        result.__defaults__ = self.function.__defaults__ if self.depth else None
        result.__kwdefaults__ = {**kwdefaults, **extra}
        return result

    def _signature(self, extra: Collection[str]) -> ast.arguments:
        """Return the parameters, with None for each default: the real ones are put into the function."""
        nothing: ast.expr = ast.Constant(None)
        if self.depth == 0 or self._node is None:
            found = ast.arguments(
                posonlyargs=[], args=[ast.arg(arg=self.me)], kwonlyargs=[], kw_defaults=[], defaults=[]
            )
        else:
            found = copy.deepcopy(self._node.args)
            found.defaults = [nothing for _ in found.defaults]
            found.kw_defaults = [default and nothing for default in found.kw_defaults]
        stars = [star for star in (found.vararg, found.kwarg) if star is not None]
        for argument in (*found.posonlyargs, *found.args, *found.kwonlyargs, *stars):
            argument.annotation = None
        found.kwonlyargs += [ast.arg(arg=name) for name in extra]
        found.kw_defaults += [nothing for _ in extra]
        return found


def _stored(name: str, me: str, attribute: str) -> ast.stmt:
    value = ast.Attribute(ast.Name(me, ast.Load()), attribute, ast.Load())
    return ast.Assign(targets=[ast.Name(name, ast.Store())], value=value)


class _Rewriter(ast.NodeTransformer):
    """Puts a variable in the place of the field, and the slices of methods in the place of their calls."""

    def __init__(self, sliced: _Function) -> None:
        self._of = sliced

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Replace the field, and what else is unpacked beside it."""
        if self._of.is_field(node):
            return ast.copy_location(ast.Name(_VALUE, node.ctx), node)
        if is_name(node.value, self._of.me) and isinstance(node.ctx, ast.Store):
            return ast.copy_location(ast.Name(_OTHER, ast.Store()), node)
        return self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Leave what is looked up when it is called, and not now."""
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Leave what is looked up when it is called, and not now."""
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """Replace a method's call by its slice, which takes the value so far and returns it."""
        call = node.value
        inner = self._of.part_of(call) if isinstance(call, ast.Call) else None
        if inner is None or not isinstance(call, ast.Call):
            return self.generic_visit(node)
        key = next(key for key, one in self._of.calls.items() if one is inner)
        visited = self.generic_visit(copy.deepcopy(call))
        if isinstance(visited, ast.Call):
            visited.func = ast.Name(_CALL.format(key), ast.Load())
            visited.args = [ast.Name(self._of.me, ast.Load()), *visited.args[self._of.takes_self(call) :]]
            visited.keywords.append(ast.keyword(arg=_VALUE, value=ast.Name(_VALUE, ast.Load())))
            return ast.copy_location(ast.Assign(targets=[ast.Name(_VALUE, ast.Store())], value=visited), node)
        return node


# --- names -------------------------------------------------------------------------------------------------------


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _outer(*nodes: ast.AST) -> Iterator[ast.AST]:
    """Walk without going into functions and classes, whose statements are not the constructor's own."""
    for node in nodes:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _outer(*ast.iter_child_nodes(node))


def _loaded(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node reads, but for those that are variables of its own inner scopes."""
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load):
            yield node.id
        return
    if isinstance(node, (*_SCOPES, ast.FunctionDef)):
        own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        own |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
        yield from (name for outer in loads_of_comprehension(node) for name in _loaded(outer))
        yield from (name for child in ast.iter_child_nodes(node) for name in _loaded(child) if name not in own)
        return
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
    for child in ast.iter_child_nodes(node):
        yield from _loaded(child)


def _parameter_count(code: types.CodeType) -> int:
    stars = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return code.co_argcount + code.co_kwonlyargcount + stars
