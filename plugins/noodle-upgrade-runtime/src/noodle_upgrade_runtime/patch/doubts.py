"""What a slice of a constructor cannot be sure of: the rest may change a field's value in a way that was not followed.

A slice leaves out what assigns neither the field nor what that is made of. But a value may be changed under another
name, by a call whose result is used, or by what a `try` would have raised. Then the slice has to say so: a field that
cannot be made is refused by name, one with a wrong value is not seen by anybody.
"""

from __future__ import annotations

import ast
import builtins
import collections
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field

from noodle_upgrade_runtime.asking import is_class
from noodle_upgrade_runtime.patch.constructors import is_name
from noodle_upgrade_runtime.patch.sources import definition_of

__all__ = ["ADDING", "Doubts", "loads_of_comprehension"]

_MUTABLE = (list, dict, set, bytearray, collections.deque)
_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_PLAIN = (str, bytes, int, float, complex, bool, tuple, frozenset)
_SETTERS = {"setattr", "delattr", "__setattr__", "__delattr__"}
_OPAQUE = {"locals", "vars", "dir", "eval", "exec", "globals"}
# fmt: off
_HARMLESS = frozenset({
    "len", "str", "repr", "int", "float", "bool", "bytes", "tuple", "list", "dict", "set", "frozenset", "sorted",
    "isinstance", "issubclass", "any", "all", "sum", "min", "max", "enumerate", "zip", "range", "reversed", "print",
    "hash", "id", "type", "callable", "hasattr", "getattr", "format", "ascii", "abs", "round", "map", "filter",
})
# fmt: on
# fmt: off
_READING = frozenset({
    "get", "items", "keys", "values", "copy", "index", "count", "upper", "lower", "strip", "lstrip", "rstrip",
    "title", "split", "rsplit", "splitlines", "join", "format", "startswith", "endswith", "replace", "encode",
    "decode", "partition", "rpartition", "isdigit", "find", "rfind", "union", "intersection", "difference",
    "issubset", "issuperset", "group", "groups", "match", "search", "fullmatch", "is_file", "is_dir", "exists",
    "casefold", "capitalize", "zfill",
})
# fmt: on
# fmt: off
ADDING = frozenset({
    "append", "add", "insert", "extend", "update", "setdefault", "remove", "discard", "appendleft", "put",
    "put_nowait", "debug", "info", "warning", "error", "exception", "critical", "log", "warn", "write", "index",
    "count", "startswith", "endswith",
})
# fmt: on
"""Methods that change at most the object that they are called on, and not what they are given."""


@define(eq=False)
class Doubts:
    """Looks at a constructor, or at a method that it calls, for what a slice of it may have missed.

    `kept` are the statements of the slice, `wanted` the variables that they need; `is_field` says of a node that it is
    the field, `has_part` of a call that it leads to a method which has a part in it.
    """

    body: Sequence[ast.stmt]
    kept: Sequence[ast.stmt]
    wanted: Collection[str]
    parameters: Collection[str]
    me: str
    name: str
    namespace: Mapping[str, Any]
    is_field: Callable[[ast.AST], bool]
    has_part: Callable[[ast.Call], bool]
    _aliases: set[str] = field(factory=set)
    _ids: set[int] = field(factory=set)

    def found(self) -> str:
        """Return what makes the slice unsure, "" when nothing does."""
        self._ids = {id(node) for statement in self.kept for node in ast.walk(statement)}
        units = list(_units(self.body))
        dropped = [unit for unit in units if id(unit) not in self._ids]
        self._aliases = {name for name in self.wanted if name not in self.parameters} | self._tables()
        self._find_aliases(units)
        if any(self._may_change(unit) for unit in dropped):
            return "something else in its constructor may change it"
        if any(self._gives_by_name(node) for unit in dropped for node in ast.walk(unit)):
            return "it may be given by its name"
        if any(isinstance(n, ast.Call) and self.has_part(n) for unit in dropped for n in ast.walk(unit)):
            return "a method sets it whose result is used"
        if not self.kept:
            return ""
        return self._in_what_is_kept(dropped)

    def _in_what_is_kept(self, dropped: Sequence[ast.AST]) -> str:
        if any(self._tries(node) for statement in self.kept for node in ast.walk(statement)):
            return "it depends on what its constructor tries"
        if self._changes_meanwhile(dropped):
            return "what it is made of changes in its constructor"
        if any(self._is_opaque(node) for statement in self.kept for node in ast.walk(statement)):
            return "it depends on the constructor's variables"
        if self._is_shared(dropped):
            return "its value is shared with others"
        return ""

    # --- other names ---------------------------------------------------------------------------------------------

    def _tables(self) -> set[str]:
        """Return the names of the module's containers that the slice reads."""
        names = {n.id for one in self.kept for n in ast.walk(one) if isinstance(n, ast.Name)}
        return {n for n in names if isinstance(self.namespace.get(n), _MUTABLE)} - {*self.parameters}

    def _find_aliases(self, units: Sequence[ast.AST]) -> None:
        """Find under which other names there are what the field depends on, or parts of it."""
        size = -1
        while size != len(self._aliases):
            size = len(self._aliases)
            for unit in units:
                for targets, value in _bindings(unit):
                    if self._leads_to_it(value):
                        self._aliases.update(key for target in targets for key in self._keys(target))

    def _keys(self, target: ast.expr) -> Iterator[str]:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Attribute) and is_name(node.value, self.me) and isinstance(node.ctx, ast.Store):
                yield f"{self.me}.{node.attr}"

    def _is_it(self, node: ast.AST) -> bool:
        """Whether a node is the field, or something that may be the same object, or have it."""
        if self.is_field(node):
            return True
        if isinstance(node, ast.Attribute) and is_name(node.value, self.me):
            return f"{self.me}.{node.attr}" in self._aliases
        return isinstance(node, ast.Name) and node.id in self._aliases

    def _leads_to_it(self, node: ast.AST) -> bool:
        """Whether an expression's value may be the same object, or a part of it."""
        if self._is_it(node):
            return True
        if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred | ast.NamedExpr):
            return self._leads_to_it(node.value)
        parts: list[ast.expr] = []
        if isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        elif isinstance(node, ast.BoolOp):
            parts = node.values
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = node.elts
        elif isinstance(node, ast.Call):
            # What goes through it, or looks at it: `iter(x)`, `x.items()`, `nullcontext(x)`.
            parts = [node.func, *node.args]
        return any(map(self._leads_to_it, parts))

    # --- changes -------------------------------------------------------------------------------------------------

    def _may_change(self, unit: ast.AST) -> bool:
        for node in ast.walk(unit):
            if isinstance(node, ast.Call) and self._call_may_change(node):
                return True
            if isinstance(node, ast.Nonlocal) and any(name in self._aliases for name in node.names):
                return True
            if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
                changed = self._leads_to_it(node.value)
            else:
                changed = isinstance(node, ast.AugAssign) and self._is_it(node.target)
            if changed:
                return True
        return False

    def _call_may_change(self, call: ast.Call) -> bool:
        func = call.func
        if isinstance(func, ast.Attribute):
            if self._leads_to_it(func.value) and not self._is_call_of_self(func):
                return func.attr not in _READING
        elif isinstance(func, ast.Name) and (func.id in self._aliases or func.id in _HARMLESS):
            return func.id in self._aliases
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if isinstance(func, ast.Attribute) and func.attr in ADDING | _READING:
            return False
        return any(self._is_it(one) and self._is_changeable(one) for one in given)

    def _is_call_of_self(self, func: ast.Attribute) -> bool:
        return is_name(func.value, self.me)

    def _is_changeable(self, node: ast.AST) -> bool:
        """Whether a value is one that a function could change: of nothing else we say so."""
        key = ast.unparse(node)
        for unit in _units(self.body):
            for targets, value in _bindings(unit):
                if key in {ast.unparse(target) for target in targets} and self._is_made_anew(value):
                    return True
        return False

    def _is_made_anew(self, value: ast.AST) -> bool:
        if isinstance(value, _DISPLAYS):
            return True
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            what = self.namespace.get(value.func.id, getattr(builtins, value.func.id, None))
            return what is iter or (is_class(what) and not issubclass(what, _PLAIN))
        return False

    def _gives_by_name(self, node: ast.AST) -> bool:  # noqa: PLR0911 - one for each way
        """Whether this may assign the field in another way than by writing it down."""
        if isinstance(node, ast.Attribute) and node.attr == self.name and not isinstance(node.ctx, ast.Load):
            return not is_name(node.value, self.me) and not self.is_field(node)
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load) and self._is_own_dict(node.value):
            return self._may_be_its_name(node.slice)
        if not isinstance(node, ast.Call):
            return False
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in _SETTERS:
            texts = [one for one in node.args if not is_name(one, self.me)][:1]
            ours = len(texts) < len(node.args) or "super" in ast.unparse(node.func)
            return ours and any(map(self._may_be_its_name, texts))
        if isinstance(node.func, ast.Attribute) and self._is_own_dict(node.func.value):
            if called == "update" and not node.args:
                return any(keyword.arg in {None, self.name} for keyword in node.keywords)
            return called not in _READING
        return self._is_given_self(node) and self._function_touches(node)

    def _is_own_dict(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr == "__dict__" and is_name(node.value, self.me)
        return (
            isinstance(node, ast.Call)
            and is_name(node.func, "vars")
            and len(node.args) == 1
            and is_name(node.args[0], self.me)
        )

    def _may_be_its_name(self, node: ast.AST) -> bool:
        return not isinstance(node, ast.Constant) or node.value == self.name

    def _is_given_self(self, call: ast.Call) -> bool:
        return any(is_name(one, self.me) for one in (*call.args, *(k.value for k in call.keywords)))

    def _function_touches(self, call: ast.Call) -> bool:
        """Whether a function of the module that is given the instance does something with the field."""
        function = self.namespace.get(call.func.id) if isinstance(call.func, ast.Name) else None
        node = definition_of(function) if isinstance(function, types.FunctionType) else None
        return node is not None and any(
            isinstance(one, ast.Attribute) and one.attr == self.name for one in ast.walk(node)
        )

    # --- what is kept --------------------------------------------------------------------------------------------

    def _tries(self, node: ast.AST) -> bool:
        """Whether what was left out could have led to a handler that goes on."""
        if isinstance(node, ast.Try):
            if not node.handlers or all(isinstance(h.body[-1], ast.Raise) for h in node.handlers):
                return False
        elif not (isinstance(node, ast.With) and any("suppress" in ast.unparse(i.context_expr) for i in node.items)):
            return False
        whole = next((one for one in _statements(self.body) if _same_place(one, node)), None)
        if whole is None:
            return True
        return any(id(unit) not in self._ids and not _cannot_raise(unit) for unit in _units(whole.body))

    def _changes_meanwhile(self, dropped: Sequence[ast.AST]) -> bool:
        """Whether something that the slice reads is given another value later, or by every instance."""
        read: dict[str, list[int]] = collections.defaultdict(list)
        for node in (n for one in self.kept for n in ast.walk(one)):
            if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Load):
                read[ast.unparse(node)].append(node.lineno)
            elif isinstance(node, ast.Call) and is_name(node.func, "getattr") and len(node.args) > 1:
                read[f"{ast.unparse(node.args[0])}.{getattr(node.args[1], 'value', '')}"].append(node.lineno)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                read[node.id].append(node.lineno)
        loops = [one for one in _statements(self.body) if isinstance(one, ast.For | ast.While)]
        for unit in dropped:
            for node in ast.walk(unit):
                if not isinstance(node, ast.Attribute | ast.Subscript) or isinstance(node.ctx, ast.Load):
                    continue
                lines = read.get(ast.unparse(node), ())
                if lines and not self._is_its_own(node):
                    return True
                if any(line < node.lineno for line in lines) or any(
                    _within(loop, node.lineno) and any(_within(loop, line) for line in lines) for loop in loops
                ):
                    return True
        named = {n for one in _statements(self.body) if isinstance(one, ast.Global) for n in one.names}
        return any(name in read for name in named)

    def _is_its_own(self, node: ast.AST) -> bool:
        """Whether this is the instance's: what belongs to the class or the module, each instance changes."""
        text = ast.unparse(node)
        return text.startswith(f"{self.me}.") and "__class__" not in text

    def _is_opaque(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _OPAQUE

    def _is_shared(self, dropped: Sequence[ast.AST]) -> bool:
        """Whether an object that is a part of the value is one of something else of the instance as well."""
        own = [n for name in self.wanted if name not in self.parameters for n in (ast.Name(name, ast.Load()),)]
        made = {one.id for one in own if self._is_changeable(one)}
        if not made:
            return False
        into = {n for one in self.kept for n in self._passed(one, only_field=True)} & made
        return bool(into and any(into & {*self._passed(unit, only_field=False)} for unit in dropped))

    def _passed(self, unit: ast.AST, *, only_field: bool) -> Iterator[str]:
        """Yield the variables that become, or may become, a part of what a unit assigns to an instance."""
        for targets, value in (b for node in ast.walk(unit) for b in _bindings(node)):
            if only_field and not any(self.is_field(n) for t in targets for n in ast.walk(t)):
                continue
            if not any(isinstance(t, ast.Attribute) for t in targets):
                continue
            yield from self._parts(value)

    def _parts(self, value: ast.AST) -> Iterator[str]:
        if isinstance(value, ast.Name):
            yield value.id
        elif isinstance(value, ast.Tuple | ast.List | ast.Set):
            for one in value.elts:
                yield from self._parts(one)
        elif isinstance(value, ast.Call) and not (isinstance(value.func, ast.Name) and value.func.id in _HARMLESS):
            for one in (*value.args, *(k.value for k in value.keywords)):
                yield from self._parts(one)


# --- the parts of a function -------------------------------------------------------------------------------------


def _statements(body: Sequence[ast.stmt]) -> Iterator[Any]:
    """Yield statements and those in them, but for what is in functions and classes."""
    for one in body:
        yield one
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(one, part, ()))
            for handler in (*getattr(one, "handlers", ()), *getattr(one, "cases", ())):
                yield from _statements(handler.body)


def _units(body: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the simple statements, and what the compound ones evaluate themselves."""
    for one in _statements(body):
        if isinstance(one, ast.If | ast.While):
            yield one.test
        elif isinstance(one, ast.For | ast.AsyncFor):
            yield one.iter
            yield one.target
            yield _Loop(one.target, one.iter)
        elif isinstance(one, ast.With | ast.AsyncWith):
            yield from one.items
        elif isinstance(one, ast.Match):
            yield one.subject
        elif not isinstance(one, ast.Try | ast.TryStar):
            yield one


class _Loop(ast.AST):
    """What a loop binds."""

    _fields = ()

    def __init__(self, target: ast.expr, iterated: ast.expr) -> None:
        super().__init__()
        self.pair = ([target], iterated)


def _bindings(node: ast.AST) -> Iterator[tuple[list[ast.expr], ast.expr]]:
    if isinstance(node, ast.Assign):
        yield node.targets, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield [node.target], node.value
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield [node.optional_vars], node.context_expr
    elif isinstance(node, _Loop):
        yield node.pair
    for inner in ast.walk(node):
        if isinstance(inner, ast.NamedExpr):
            yield [inner.target], inner.value


def loads_of_comprehension(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return what a comprehension evaluates outside of its own scope."""
    return (
        (node.generators[0].iter,)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
        else ()
    )


def _same_place(one: ast.AST, other: ast.AST) -> bool:
    """Whether a statement is the one that another was made from: these share their parts."""
    if isinstance(one, ast.Try) and isinstance(other, ast.Try):
        types_of = [(a.type, b.type) for a, b in zip(one.handlers, other.handlers, strict=False)]
        return (
            len(one.handlers) == len(other.handlers)
            and bool(types_of)
            and all(a is b for a, b in types_of if a is not None or b is not None)
            and any(a is not None for a, _ in types_of)
        )
    if isinstance(one, ast.With) and isinstance(other, ast.With):
        return one.items is other.items
    return False


def _cannot_raise(unit: ast.AST) -> bool:
    if isinstance(unit, ast.Pass | _Loop | ast.Store | ast.FunctionDef):
        return True
    return isinstance(unit, ast.Assign) and isinstance(unit.value, ast.Constant | ast.Name)


def _within(loop: Any, line: int) -> bool:
    return bool(loop.lineno <= line <= loop.end_lineno)
