"""A tree of Noodle as Python's own `ast`, with exact positions, so that tracebacks, debuggers and coverage work.

Nodes are made by `__new__` and given their dictionary in one step: the constructors of `ast` take two to three times as
long, and there are ten nodes on a line. The dictionary of a node that there are many of has at most five entries, for
with six it takes twice the memory, whose first use is dear: an operator or a context is its class's, and `end_lineno`
is left out where it is the line that it begins on, which Python takes for granted then.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["IMPORTED", "python_tree"]

Node = tuple[Any, ...]

_MASK = (1 << 20) - 1
_LOAD, _STORE = ast.Load(), ast.Store()
_AND, _OR, _NOT, _MINUS = ast.And(), ast.Or(), ast.Not(), ast.USub()
_BINARY = {"+": ast.Add(), "-": ast.Sub(), "*": ast.Mult(), "/": ast.Div(), "%": ast.Mod()}
_COMPARE = {
    "==": [ast.Eq()], "!=": [ast.NotEq()], "<": [ast.Lt()], "<=": [ast.LtE()], ">": [ast.Gt()], ">=": [ast.GtE()],
}  # fmt: skip
_MEMBERS = {"init": "__init__", "to_string": "__str__"}
_BUILTINS = {"is_a": "isinstance", "object": "dict"}
SUPPORT = "noodle_upgrade_compiler.support"
IMPORTED = {
    "error": SUPPORT, "gather": "asyncio", "run": "asyncio", "sleep": "asyncio",
}  # fmt: skip
"""What Noodle knows without an import and Python does not, and where it comes from."""
_OTHERWISE = frozenset({*_BUILTINS, *IMPORTED, *_MEMBERS})
_KEYWORD = re.compile(rf"(?:{'|'.join(keyword.kwlist)})_*")
_TOP = 1 << 20

_new = ast.AST.__new__
_Constant, _Assign, _Expr = ast.Constant, ast.Assign, ast.Expr


def _kind_of(base: type[ast.AST], **fields: Any) -> Any:
    """Return a class of nodes that have some fields in common; it has the name that visitors go by."""
    return type(base.__name__, (base,), fields)


_Name, _NameStored = _kind_of(ast.Name, ctx=_LOAD), _kind_of(ast.Name, ctx=_STORE)
_Attribute, _Subscript = _kind_of(ast.Attribute, ctx=_LOAD), _kind_of(ast.Subscript, ctx=_LOAD)
_STORED = {
    _Name: _NameStored,
    _Attribute: _kind_of(ast.Attribute, ctx=_STORE),
    _Subscript: _kind_of(ast.Subscript, ctx=_STORE),
}
_Call = _kind_of(ast.Call, keywords=[])
_BinOps = {sign: _kind_of(ast.BinOp, op=operator) for sign, operator in _BINARY.items()}
_Compares = {sign: _kind_of(ast.Compare, ops=operators) for sign, operators in _COMPARE.items()}


class _Later(ast.FunctionDef):
    """A function whose body is made when Python's compiler asks for it, which it does once.

    The tree of a module is never there as a whole then: half of the memory is enough, and some of the time.
    """

    @property
    def body(self) -> list[Any]:  # type: ignore[override]
        made: list[Any] = self.__dict__["later"]()
        return made


def python_tree(tree: Node, *, later: bool = False) -> ast.Module:
    """Return a module of Python that does what the tree says; with `later` one that may be looked at once."""
    return _Emitter(tree, later=later).module()


def _declared_in(tree: Node) -> set[str]:
    """Return every name that a program declares anywhere."""
    found = set(tree[4])
    waiting: list[Any] = [tree[3]]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple) and one:
            if one[0] == "def" and len(one) == 10:  # noqa: PLR2004
                found.update(one[8])
            waiting.extend(part for part in one if isinstance(part, tuple))
    return found


def _make(kind: Any, start: int, end: int, /, **fields: Any) -> Any:
    node = _new(kind)
    fields["lineno"] = start >> 20
    fields["col_offset"] = start & _MASK
    fields["end_lineno"] = end >> 20
    fields["end_col_offset"] = end & _MASK
    node.__dict__ = fields
    return node


def _plain(kind: Any, /, **fields: Any) -> Any:
    node = _new(kind)
    node.__dict__ = fields
    return node


class _Names(dict[str, str]):
    """The name that Python knows a name of Noodle by: its keywords, and what it calls otherwise, are renamed.

    A name of the module is a member of it as well, and is called as members are.
    """

    def __init__(
        self, tree: Node, declared: Iterable[str], needed: dict[str, str], inner: frozenset[str] = frozenset()
    ) -> None:
        super().__init__()
        self._tree = tree
        self._declared = frozenset(declared)
        self._needed = needed
        self._inner = inner

    def __missing__(self, name: str) -> str:
        python = f"{name}_" if _KEYWORD.fullmatch(name) else name
        if name in _MEMBERS and name in self._tree[4] and name not in self._inner:
            python = _MEMBERS[name]
        elif name not in self._declared:
            if name in _BUILTINS:
                python = self._built_in(name)
            elif name in IMPORTED:
                self._needed[name] = IMPORTED[name]
        self[name] = python
        return python

    def _built_in(self, name: str) -> str:
        """Return what Python calls a built-in; where the program calls something else so, it is imported."""
        if _BUILTINS[name] not in _declared_in(self._tree):
            return _BUILTINS[name]
        self._needed[f"__{name}__"] = SUPPORT
        return f"__{name}__"

    def inside(self, declared: Iterable[str]) -> _Names:
        """Return the names inside of a function that declares some which mean something else outside."""
        return _Names(self._tree, {*self._declared, *declared}, self._needed, self._inner.union(declared))


class _Members(dict[str, str]):
    """The name that Python knows a member by."""

    def __missing__(self, name: str) -> str:
        self[name] = python = _MEMBERS.get(name) or (f"{name}_" if _KEYWORD.fullmatch(name) else name)
        return python


class _Emitter:
    """Turns one tree into Python's."""

    def __init__(self, tree: Node, *, later: bool) -> None:
        self._tree = tree
        self._is_later = later
        self._needed: dict[str, str] = {}
        self._names = _Names(tree, tree[4], self._needed)
        self._of = _Members()
        self._functions: tuple[frozenset[str], ...] = ()
        self._subjects = 0
        self._expressions: dict[str, Callable[[Node], Any]] = {
            "name": self._name, "const": self._const, "binary": self._binary, "compare": self._comparison,
            "call": self._call, "member": self._member, "index": self._index, "and": self._and, "or": self._or,
            "not": self._not, "negative": self._negative, "list": self._list, "object": self._object,
            "await": self._await, "among": self._among,
        }  # fmt: skip
        if not later:
            # As text, -5 is an operation: (-5).bit_length() is not -5 .bit_length().
            self._expressions["const"] = self._const_as_text
        self._statements: dict[str, Callable[[Node], Any]] = {
            "let": self._let, "assign": self._assign, "expression": self._expression, "def": self._def, "if": self._if,
            "for": self._for, "while": self._while, "return": self._return, "yield": self._yield, "break": self._break,
            "continue": self._continue, "match": self._match, "class": self._class, "struct": self._struct,
            "interface": self._interface, "enum": self._enum, "import": self._import, "from": self._from,
        }  # fmt: skip

    def module(self) -> ast.Module:
        body = self._body(self._tree[3], self._tree, pass_=False)
        first = [
            _make(ast.ImportFrom, _TOP, _TOP, module=module, names=[_alias(name.strip("_"), name)], level=0)
            for name, module in sorted(self._needed.items())
        ]
        return _plain(ast.Module, body=[*first, *body], type_ignores=[])  # type: ignore[no-any-return]

    # --- statements ----------------------------------------------------------------------------------------------

    def _body(self, statements: tuple[Node, ...], around: Node, *, pass_: bool = True) -> list[Any]:
        known, made = self._statements, []
        for node in statements:
            emit = known.get(node[0])
            if emit is not None:
                made.append(emit(node))
            elif node[0] == "block":
                made += self._body(node[3], node, pass_=False)
            elif node[0] != "alias":
                raise ValueError(f"There is no statement {node[0]!r} in a tree.")
        if not made and pass_:
            end = around[2]
            made.append(_make(ast.Pass, end - 1, end))
        return made

    def _let(self, node: Node) -> Any:
        _, start, end, target, _, value = node
        return self._assign(("assign", start, end, (target,), value or ("const", target[1], target[2], None)))

    def _assign(self, node: Node) -> Any:
        _, start, end, targets, value = node
        made = _new(_Assign)
        line = start >> 20
        made.__dict__ = fields = {
            "targets": [self._stored(target) for target in targets], "value": self._expressions[value[0]](value),
            "lineno": line, "col_offset": start & _MASK, "end_col_offset": end & _MASK,
        }  # fmt: skip
        if end >> 20 != line:
            fields["end_lineno"] = end >> 20
        return made

    def _stored(self, node: Node) -> Any:
        made = self._value(node)
        made.__class__ = _STORED[made.__class__]
        return made

    def _expression(self, node: Node) -> Any:
        inner = node[3]
        start, end = node[1], inner[2]
        made = _new(_Expr)
        line = start >> 20
        made.__dict__ = fields = {
            "value": self._expressions[inner[0]](inner),
            "lineno": line, "col_offset": start & _MASK, "end_col_offset": end & _MASK,
        }  # fmt: skip
        if end >> 20 != line:
            fields["end_lineno"] = end >> 20
        return made

    def _return(self, node: Node) -> Any:
        value = None if node[3] is None else self._value(node[3])
        return _make(ast.Return, node[1], node[2], value=value)

    def _yield(self, node: Node) -> Any:
        value = None if node[3] is None else self._value(node[3])
        return _make(ast.Expr, node[1], node[2], value=_make(ast.Yield, node[1], node[2], value=value))

    def _break(self, node: Node) -> Any:
        return _make(ast.Break, node[1], node[2])

    def _continue(self, node: Node) -> Any:
        return _make(ast.Continue, node[1], node[2])

    def _if(self, node: Node) -> Any:
        orelse = self._body(node[4], node, pass_=False)
        made = None
        for test, body in reversed(node[3]):
            made = _make(
                ast.If, node[1] if test is node[3][0][0] else test[1], node[2],
                test=self._value(test), body=self._body(body, node), orelse=orelse,
            )  # fmt: skip
            orelse = [made]
        return made

    def _for(self, node: Node) -> Any:
        target = self._stored(node[3])
        over, body = self._value(node[4]), self._body(node[5], node)
        return _make(ast.For, node[1], node[2], target=target, iter=over, body=body, orelse=[], type_comment=None)

    def _while(self, node: Node) -> Any:
        return _make(ast.While, node[1], node[2], test=self._value(node[3]), body=self._body(node[4], node), orelse=[])

    def _match(self, node: Node) -> Any:
        subject = node[3]
        made: list[Any] = []
        if not _stays(subject, node[4]):
            name = ("name", subject[1], subject[2], self._subject())
            made.append(self._assign(("assign", subject[1], subject[2], (name,), subject)))
            subject = name
        branches: list[Any] = []
        for patterns, body in node[4]:
            branches.append((_test(subject, patterns), body))
        if not branches:
            branches.append((("const", subject[1], subject[2], False), ()))
        made.append(self._if(("if", node[1], node[2], tuple(branches), node[5])))
        if len(made) == 1:
            return made[0]
        true = _make(_Constant, node[1], node[1], value=True, kind=None)
        return _make(ast.If, node[1], node[2], test=true, body=made, orelse=[])

    def _subject(self) -> str:
        self._subjects += 1
        return f"__subject_{self._subjects}__"  # no name of Noodle begins like this

    # --- functions -----------------------------------------------------------------------------------------------

    def _def(self, node: Node, named: str = "") -> Any:
        _, start, end, name, parameters, _returns, statements, flags, declared, outward = node
        names = self._names
        if not _OTHERWISE.isdisjoint(declared):
            self._names = names.inside(declared)
        inside, around = self._names, (*self._functions, frozenset(declared))

        def body() -> list[Any]:
            before = self._names, self._functions
            self._names, self._functions = inside, around
            made = [*self._outward(outward, node), *self._body(statements, node)]
            self._names, self._functions = before
            return made

        arguments = self._parameters(parameters)
        if name not in declared:
            self._names = names
        kind: type[ast.AST] = ast.AsyncFunctionDef if "async" in flags else ast.FunctionDef
        # Not where the module has to import something first for what is inside: it would be known too late.
        is_later = self._is_later and "lean" in flags and kind is ast.FunctionDef
        own = {"later": body} if is_later else {"body": body()}
        made = _make(
            _Later if is_later else kind, start, end, name=named or names[name], args=arguments, decorator_list=[],
            returns=None, type_comment=None, type_params=[], **own,
        )  # fmt: skip
        self._names = names
        return made

    def _outward(self, outward: tuple[str, ...], node: Node) -> Iterable[Any]:
        """Say which names of the functions around this one it assigns."""
        inner = [name for name in outward if any(name in declared for declared in self._functions[:-1])]
        outer = [name for name in outward if name not in inner]
        for kind, names in ((ast.Nonlocal, inner), (ast.Global, outer)):
            if names:
                yield _make(kind, node[1], node[1], names=[self._names[name] for name in names])

    def _parameters(self, parameters: tuple[Node, ...]) -> Any:
        names = self._names
        made = [_make(ast.arg, p[1], p[2], arg=names[p[3]], annotation=None, type_comment=None) for p in parameters]
        defaults = [self._value(p[5]) for p in parameters if p[5] is not None]
        return _plain(
            ast.arguments, posonlyargs=[], args=made, vararg=None, kwonlyargs=[], kw_defaults=[], kwarg=None,
            defaults=defaults,
        )  # fmt: skip

    # --- types ---------------------------------------------------------------------------------------------------

    def _class(self, node: Node) -> Any:
        _, start, end, name, base, interfaces, members = node
        bases = [self._value(one) for one in ((base, *interfaces) if base is not None else interfaces)]
        return self._type(start, end, name, bases=bases, body=self._members(members, node))

    def _type(self, start: int, end: int, name: str, *, bases: list[Any], body: list[Any]) -> Any:
        python = self._names[name]
        if python != name or self._functions:
            # It is printed as it is written.
            target = _make(_NameStored, start, start, id="__qualname__")
            value = _make(_Constant, start, start, value=name, kind=None)
            body = [_make(ast.Assign, start, start, targets=[target], value=value, type_comment=None), *body]
        return _make(
            ast.ClassDef, start, end, name=python, bases=bases, keywords=[], body=body, decorator_list=[],
            type_params=[],
        )  # fmt: skip

    def _members(self, members: tuple[Node, ...], around: Node) -> list[Any]:
        made: list[Any] = []
        for member in members:
            name = self._of[member[3]]
            if member[0] == "def":
                made.append(self._def(member, name))
            else:
                value = member[5] or ("const", member[1], member[2], None)
                target = _make(_NameStored, member[1], member[2], id=name)
                source = self._value(value)
                made.append(_make(ast.Assign, member[1], member[2], targets=[target], value=source, type_comment=None))
        return made or [_make(ast.Pass, around[2] - 1, around[2])]

    def _struct(self, node: Node) -> Any:
        _, start, end, name, fields = node
        body: list[Any] = []
        for field in fields:
            target = _make(_NameStored, field[1], field[2], id=self._of[field[3]])
            kind = _make(_Constant, field[1], field[2], value=None, kind=None)
            value = None if field[5] is None else self._value(field[5])
            body.append(_make(ast.AnnAssign, field[1], field[2], target=target, annotation=kind, value=value, simple=1))
        made = self._type(start, end, name, bases=[], body=body or [_make(ast.Pass, end - 1, end)])
        made.decorator_list = [self._helper("struct", start)]
        return made

    def _interface(self, node: Node) -> Any:
        _, start, end, name, methods = node
        body: list[Any] = []
        for method in methods:
            _, begin, stop, called, parameters, returns, flags = method
            declared = tuple(parameter[3] for parameter in parameters)
            empty = ("def", begin, stop, called, parameters, returns, (), flags, declared, ())
            made = self._def(empty, self._of[called])
            made.decorator_list = [self._helper("required", begin)]
            body.append(made)
        return self._type(
            start, end, name, bases=[self._helper("Interface", start)], body=body or [_make(ast.Pass, end - 1, end)]
        )

    def _enum(self, node: Node) -> Any:
        _, start, end, name, members = node
        body = [
            _make(
                ast.Assign, m[1], m[2], targets=[_make(_NameStored, m[1], m[2], id=self._of[m[3]])],
                value=_make(_Constant, m[1], m[2], value=m[4], kind=None), type_comment=None,
            )
            for m in members
        ]  # fmt: skip
        return self._type(
            start, end, name, bases=[self._helper("Enumeration", start)], body=body or [_make(ast.Pass, end - 1, end)]
        )

    def _helper(self, name: str, at: int) -> Any:
        """Return the name of something that comes from the library of the compiler, imported where the file begins."""
        name = f"__{name}__"
        self._needed[name] = SUPPORT
        return _make(_Name, at, at, id=name)

    # --- imports -------------------------------------------------------------------------------------------------

    def _import(self, node: Node) -> Any:
        module, name = node[3].replace("/", "."), self._names[node[4]]
        return _make(ast.Import, node[1], node[2], names=[_alias(module, name)])

    def _from(self, node: Node) -> Any:
        names = [_alias(self._of[one], self._names[other]) for one, other in node[4]]
        return _make(ast.ImportFrom, node[1], node[2], module=node[3].replace("/", "."), names=names, level=0)

    # --- expressions ---------------------------------------------------------------------------------------------

    def _value(self, node: Node) -> Any:
        return self._expressions[node[0]](node)

    def _name(self, node: Node) -> Any:
        _, start, end, name = node
        made = _new(_Name)
        line = start >> 20
        made.__dict__ = fields = {
            "id": self._names[name], "lineno": line, "col_offset": start & _MASK, "end_col_offset": end & _MASK,
        }  # fmt: skip
        if end >> 20 != line:
            fields["end_lineno"] = end >> 20
        return made

    def _const(self, node: Node) -> Any:
        _, start, end, value = node
        made = _new(_Constant)
        line = start >> 20
        made.__dict__ = fields = {
            "value": value, "lineno": line, "col_offset": start & _MASK, "end_col_offset": end & _MASK,
        }  # fmt: skip
        if end >> 20 != line:
            fields["end_lineno"] = end >> 20
        return made

    def _const_as_text(self, node: Node) -> Any:
        _, start, end, value = node
        if type(value) in (int, float) and str(value)[0] == "-":
            return _make(
                ast.UnaryOp, start, end, op=_MINUS, operand=_make(_Constant, start, end, value=-value, kind=None)
            )
        return self._const(node)

    def _binary(self, node: Node) -> Any:
        _, start, end, operator, left, right = node
        known = self._expressions
        made = _new(_BinOps[operator])
        line = start >> 20
        made.__dict__ = fields = {
            "left": known[left[0]](left), "right": known[right[0]](right),
            "lineno": line, "col_offset": start & _MASK, "end_col_offset": end & _MASK,
        }  # fmt: skip
        if end >> 20 != line:
            fields["end_lineno"] = end >> 20
        return made

    def _comparison(self, node: Node) -> Any:
        _, start, end, operator, left, right = node
        known = self._expressions
        made = _new(_Compares[operator])
        line = start >> 20
        made.__dict__ = fields = {
            "left": known[left[0]](left), "comparators": [known[right[0]](right)],
            "lineno": line, "col_offset": start & _MASK, "end_col_offset": end & _MASK,
        }  # fmt: skip
        if end >> 20 != line:
            fields["end_lineno"] = end >> 20
        return made

    def _among(self, node: Node) -> Any:
        _, start, end, subject, patterns = node
        among = _make(ast.Tuple, start, end, elts=[self._const(one) for one in patterns], ctx=_LOAD)
        return _make(ast.Compare, start, end, left=self._value(subject), ops=[ast.In()], comparators=[among])

    def _call(self, node: Node) -> Any:
        _, start, end, function, arguments = node
        known = self._expressions
        made = _new(_Call)
        line = start >> 20
        made.__dict__ = fields = {
            "func": known[function[0]](function), "args": [known[one[0]](one) for one in arguments],
            "lineno": line, "col_offset": start & _MASK, "end_col_offset": end & _MASK,
        }  # fmt: skip
        if end >> 20 != line:
            fields["end_lineno"] = end >> 20
        return made

    def _member(self, node: Node) -> Any:
        _, start, end, of, name = node
        made = _new(_Attribute)
        line = start >> 20
        made.__dict__ = fields = {
            "value": self._expressions[of[0]](of), "attr": self._of[name],
            "lineno": line, "col_offset": start & _MASK, "end_col_offset": end & _MASK,
        }  # fmt: skip
        if end >> 20 != line:
            fields["end_lineno"] = end >> 20
        return made

    def _index(self, node: Node) -> Any:
        return _make(_Subscript, node[1], node[2], value=self._value(node[3]), slice=self._value(node[4]))

    def _and(self, node: Node) -> Any:
        return _make(ast.BoolOp, node[1], node[2], op=_AND, values=[self._value(one) for one in node[3]])

    def _or(self, node: Node) -> Any:
        return _make(ast.BoolOp, node[1], node[2], op=_OR, values=[self._value(one) for one in node[3]])

    def _not(self, node: Node) -> Any:
        return _make(ast.UnaryOp, node[1], node[2], op=_NOT, operand=self._value(node[3]))

    def _negative(self, node: Node) -> Any:
        return _make(ast.UnaryOp, node[1], node[2], op=_MINUS, operand=self._value(node[3]))

    def _list(self, node: Node) -> Any:
        return _make(ast.List, node[1], node[2], elts=[self._value(one) for one in node[3]], ctx=_LOAD)

    def _object(self, node: Node) -> Any:
        keys = [self._value(key) for key, _ in node[3]]
        return _make(ast.Dict, node[1], node[2], keys=keys, values=[self._value(value) for _, value in node[3]])

    def _await(self, node: Node) -> Any:
        return _make(ast.Await, node[1], node[2], value=self._value(node[3]))


def _test(subject: Node, patterns: tuple[Node, ...]) -> Node:
    """Return what a case asks: one comparison, or whether the value is among constants."""
    start, end = patterns[0][1], patterns[-1][2]
    if len(patterns) > 1 and all(pattern[0] == "const" for pattern in patterns):
        return ("among", start, end, subject, patterns)
    tests = tuple(("compare", p[1], p[2], "==", subject, p) for p in patterns)
    return tests[0] if len(tests) == 1 else ("or", start, end, tests)


def _stays(subject: Node, cases: tuple[Any, ...]) -> bool:
    """Whether the subject of a match is the same for every pattern: none of them may change it meanwhile."""
    plain = all(pattern[0] in ("const", "name") for patterns, _ in cases for pattern in patterns)
    return subject[0] == "const" or (subject[0] == "name" and plain)


def _alias(name: str, asname: str | None = None) -> Any:
    asname = None if asname == name else asname
    return _make(ast.alias, _TOP, _TOP, name=name, asname=asname)
