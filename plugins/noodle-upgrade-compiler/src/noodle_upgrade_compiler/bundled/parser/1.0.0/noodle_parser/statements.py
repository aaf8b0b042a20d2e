"""Statements and declarations, by recursive descent; after a fault it goes on with the next statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .cursor import Unexpected
from .expressions import LONGEST, Expressions, Node, text_of

__all__ = ["Statements"]

MOST_LOOPS = 20
"""Loops inside one another: what Python itself takes."""
_ENDS = frozenset({"return", "break", "continue"})
_TARGETS = frozenset({"name", "member", "index"})


class Statements(Expressions):
    """Reads a file."""

    __slots__ = ()

    def module(self) -> Node:
        """Return the tree of the whole file."""
        body: list[Node] = []
        while self.kinds[self.next] != "end":
            if self.kinds[self.next] == "}":
                index = self.next
                self.problem("parser.brace", "This '}' closes nothing.", self.starts[index], self.ends[index])
                self.next += 1
                continue
            self._into(body)
        declared = self.scopes.close_module()
        return ("module", self.starts[0], self.ends[self.next], tuple(body), declared)

    def _into(self, body: list[Node]) -> None:
        """Read one statement into a body, or say what is wrong with it and go behind it."""
        first = self.next
        kinds = self.kinds
        depth = self.depth
        try:
            kind = kinds[first]
            read = self._STATEMENTS.get(kind)
            if read is not None:
                self.next = first + 1
                body.append(read(self, first))
            elif kind == ";":
                self.next = first + 1
            else:
                body.append(self._simple(first))
        except Unexpected:
            self.depth = depth
            self.scopes.forget_uses(self.starts[first])
            self.skip_statement(first)

    def block(self, where: str) -> tuple[Node, ...]:
        """Return the statements of a block in braces; what it declares ends with it."""
        self.scopes.open_block()
        try:
            return self._body(where)
        finally:
            self.scopes.close_block()

    def _body(self, where: str) -> tuple[Node, ...]:
        opened = self.expect("{", where)
        self.deeper(opened)
        body: list[Node] = []
        kinds = self.kinds
        while kinds[self.next] != "}":
            if kinds[self.next] == "end":
                told = "This '{' is never closed."
                self.problem("parser.brace", told, self.starts[opened], self.ends[opened], "Put '}' where it ends.")
                break
            if body and body[-1][0] in _ENDS:
                self.is_foldable = True
            self._into(body)
        else:
            self.next += 1
        self.depth -= 1
        return tuple(body)

    # --- simple statements ---------------------------------------------------------------------------------------

    def _simple(self, first: int) -> Node:
        """Read an expression, or the assignment of one."""
        start = self.starts[first]
        node = self.expression()
        if self.kinds[self.next] != "=":
            return ("expression", start, self.semicolon("A statement"), node)
        targets = []
        while self.kinds[self.next] == "=":
            targets.append(self._target(node))
            self.next += 1
            node = self.expression()
        return ("assign", start, self.semicolon("An assignment"), tuple(targets), node)

    def _target(self, node: Node) -> Node:
        if node[0] not in _TARGETS:
            self.problem("parser.target", "This cannot be assigned to.", node[1], node[2], "'==' compares.")
        elif node[0] == "name":
            self.scopes.assign(node[3], node[1], node[2])
        elif node[0] == "member" and node[3][0] == "name":
            self.scopes.check_member(node[3][3], node[4], node[1], node[2])
        return node

    def _let(self, first: int) -> Node:
        index = self.expect("name", "'let'")
        target = ("name", self.starts[index], self.ends[index], self.texts[index])
        type_: Node | None = None
        try:
            type_ = self._type() if self._is_next(":") else None
            value = self.expression() if self._is_next("=") else None
        finally:
            # Also where its value cannot be read: uses of it would be errors that are none.
            self.is_foldable = self.is_foldable or type_ is not None
            self.scopes.declare(target[3], target[1], target[2])
        return ("let", self.starts[first], self.semicolon("'let'"), target, type_, value)

    def _return(self, first: int) -> Node:
        start = self.starts[first]
        if not self.scopes.is_inside_function:
            self.problem("parser.return", "'return' stands outside of a function.", start, self.ends[first])
        value = None if self.kinds[self.next] in (";", "}") else self.expression()
        return ("return", start, self.semicolon("'return'"), value)

    def _yield(self, first: int) -> Node:
        start = self.starts[first]
        if not self.scopes.is_inside_function:
            self.problem("parser.yield", "'yield' stands outside of a function.", start, self.ends[first])
        if self.scopes.is_async:
            told = "'yield' stands in an async function."
            self.problem("parser.yield", told, start, self.ends[first], "A function is async or a generator, not both.")
        self.scopes.note_yield()
        value = None if self.kinds[self.next] == ";" else self.expression()
        return ("yield", start, self.semicolon("'yield'"), value)

    def _leave(self, first: int) -> Node:
        kind = self.kinds[first]
        if not self.scopes.loops:
            self.problem("parser.loop", f"'{kind}' stands outside of a loop.", self.starts[first], self.ends[first])
        return (kind, self.starts[first], self.semicolon(f"'{kind}'"))

    def _is_next(self, kind: str) -> bool:
        if self.kinds[self.next] != kind:
            return False
        self.next += 1
        return True

    # --- compound statements -------------------------------------------------------------------------------------

    def _if(self, first: int) -> Node:
        branches = []
        otherwise: tuple[Node, ...] = ()
        start = self.starts[first]
        while True:
            test = self.expression()
            if test[0] == "const":
                self.is_foldable = True
            branches.append((test, self.block("'if'")))
            self._check_length(len(branches), "branches", first)
            if not self._is_next("else"):
                break
            if not self._is_next("if"):
                otherwise = self.block("'else'")
                break
        return ("if", start, self.ends[self.next - 1], tuple(branches), otherwise)

    def _check_length(self, count: int, what: str, first: int) -> None:
        if count > LONGEST:
            self.give_up("parser.long", f"At most {LONGEST} {what} may follow one another.", first)

    def _begin_loop(self, first: int) -> None:
        self.scopes.loops += 1
        if self.scopes.loops > MOST_LOOPS:
            told = f"Loops may be {MOST_LOOPS} deep in one function, and not more."
            self.problem(
                "parser.deep", told, self.starts[first], self.ends[first], "Put the inner ones into a function."
            )

    def _while(self, first: int) -> Node:
        test = self.expression()
        if test[0] == "const":
            self.is_foldable = True
        self._begin_loop(first)
        try:
            body = self.block("'while'")
        finally:
            self.scopes.loops -= 1
        return ("while", self.starts[first], self.ends[self.next - 1], test, body)

    def _for(self, first: int) -> Node:
        index = self.expect("name", "'for'")
        self.expect("in", "'for'")
        over = self.expression()
        self.scopes.open_block()
        self.scopes.declare(self.texts[index], self.starts[index], self.ends[index])
        self._begin_loop(first)
        try:
            body = self._body("'for'")
        finally:
            self.scopes.loops -= 1
            self.scopes.close_block()
        target = ("name", self.starts[index], self.ends[index], self.texts[index])
        return ("for", self.starts[first], self.ends[self.next - 1], target, over, body)

    def _match(self, first: int) -> Node:
        subject = self.expression()
        opened = self.expect("{", "'match'")
        cases: list[Any] = []
        default: tuple[Node, ...] = ()
        depth = self.depth
        self.deeper(opened)
        try:
            default = self._cases(first, cases)
        except Unexpected:
            self.behind(opened)
        self.depth = depth
        return ("match", self.starts[first], self.ends[self.next - 1], subject, tuple(cases), default)

    def _cases(self, first: int, cases: list[Any]) -> tuple[Node, ...]:
        """Read the cases of a match, up to its end; returns the default."""
        default: tuple[Node, ...] | None = None
        while not self._is_next("}"):
            index = self.next
            if self._is_next("default"):
                if default is not None:
                    self.problem("parser.default", "There is a default already.", self.starts[index], self.ends[index])
                default = self.block("'default'")
                continue
            if default is not None and self.kinds[index] == "case":
                told = "No case may follow the default."
                self.problem(
                    "parser.default", told, self.starts[index], self.ends[index], "Move the default to the end."
                )
            self.expect("case", "'match'")
            patterns = [self.expression()]
            while self._is_next(","):
                patterns.append(self.expression())
            cases.append((tuple(patterns), self.block("'case'")))
            self._check_length(len(cases), "cases", first)
        return default or ()

    def _bare(self, first: int) -> Node:
        self.next = first
        body = self.block("A block")
        if not body:
            self.is_foldable = True
        return ("block", self.starts[first], self.ends[self.next - 1], body)

    # --- functions -----------------------------------------------------------------------------------------------

    def _def(self, first: int) -> Node:
        return self._function(first, is_async=False)

    def _async(self, first: int) -> Node:
        self.expect("def", "'async'")
        return self._function(first, is_async=True)

    def _function(self, first: int, *, is_async: bool, is_member: bool = False) -> Node:
        index = self._name_of_function()
        name = self.texts[index]
        if is_member:
            self.member(index)
        else:
            self.scopes.declare(name, self.starts[index], self.ends[index])
        self.scopes.open_function(is_async=is_async)
        names: tuple[Any, ...] = ((), ())
        outer, self.is_foldable = self.is_foldable, False
        try:
            parameters: tuple[Node, ...] = ()
            returns = None
            try:
                parameters, returns = self._signature()
                if self.kinds[self.next] != "{":
                    self.unexpected("'{'", "A function")
            except Unexpected:
                self._skip_to_body()
            body = self._body("A function")
            yields = self.scopes.yields
        finally:
            names = self.scopes.close_function()
        flags = ("async",) * is_async + ("generator",) * yields + ("plain",) * (not self.is_foldable)
        flags += ("lean",) * self.scopes.was_lean
        self.is_foldable = outer or self.is_foldable
        end = self.ends[self.next - 1]
        return ("def", self.starts[first], end, name, parameters, returns, body, flags, *names)

    def _signature(self) -> tuple[tuple[Node, ...], Node | None]:
        self.expect("(", "A function")
        parameters: list[Node] = []
        while self.kinds[self.next] != ")":
            index = self.expect("name", "A parameter")
            self.scopes.declare(self.texts[index], self.starts[index], self.ends[index])
            type_ = self._type() if self._is_next(":") else None
            default = self._default("parameter") if self._is_next("=") else None
            if default is None and parameters and parameters[-1][5] is not None:
                told = "A parameter without a default cannot follow one with a default."
                self.problem("parser.parameter", told, self.starts[index], self.ends[index])
            end = self.ends[self.next - 1]
            parameters.append(("parameter", self.starts[index], end, self.texts[index], type_, default))
            if not self._is_next(","):
                break
        self.expect(")", "A function")
        return tuple(parameters), self._type() if self._is_next("->") else None

    def _name_of_function(self) -> int:
        """Step over the name of a function; where it was forgotten its signature is read all the same."""
        index = self.next
        if self.kinds[index] == "(":
            told = "'def' needs a name here, and not '('."
            self.problem("parser.expected", told, self.starts[index], self.ends[index])
            return index - 1
        return self.expect("name", "'def'")

    def _skip_to_body(self) -> None:
        """Go to the brace at the end of the line of a signature that could not be read: the body can be."""
        line = self.starts[self.next] >> 20
        index = self.next
        while self.kinds[index] != "end" and self.starts[index] >> 20 == line:
            if self.kinds[index] == "{" and self.starts[index + 1] >> 20 != line:
                self.next = index
                return
            index += 1
        raise Unexpected

    def _default(self, of: str) -> Node:
        """Read a default: a plain value, for it is made once and not for each call or object."""
        value = self.expression()
        if value[0] != "const":
            told = f"The default of a {of} is a number, a string, true, false or none."
            self.problem("parser.default", told, value[1], value[2], "Give it in the body.")
        return value

    def _type(self) -> Node:
        index = self.next
        if self._is_next("none"):
            return ("type", self.starts[index], self.ends[index], "none", ())
        self.expect("name", "A type")
        name, start = self.texts[index], self.starts[index]
        is_own = True
        while self.kinds[self.next] in (".", "::"):
            self.next += 1
            name += f".{self.texts[self.expect('name', 'A type')]}"
            is_own = False
        if is_own:
            self.scopes.use_type(name, start, self.ends[index])
        arguments: list[Node] = []
        if self._is_next("["):
            self.deeper(index)
            arguments.append(self._type())
            while self._is_next(","):
                arguments.append(self._type())
            self.depth -= 1
            self.expect("]", "A type")
        return ("type", start, self.ends[self.next - 1], name, tuple(arguments))

    # --- declarations of types -----------------------------------------------------------------------------------

    def _named(self, what: str) -> str:
        index = self.expect("name", what)
        self.scopes.declare(self.texts[index], self.starts[index], self.ends[index])
        return self.texts[index]

    def _class(self, first: int) -> Node:
        index = self.expect("name", "'class'")
        name = self.texts[index]
        base = self._reference("'extends'") if self._is_next("extends") else None
        interfaces = []
        if self._is_next("implements"):
            interfaces.append(self._reference("'implements'"))
            while self._is_next(","):
                interfaces.append(self._reference("'implements'"))
        self.scopes.declare(name, self.starts[index], self.ends[index])
        members = self._members("A class")
        return ("class", self.starts[first], self.ends[self.next - 1], name, base, tuple(interfaces), members)

    def _reference(self, where: str) -> Node:
        """Read the name of a class, which may be a member of a module."""
        index = self.expect("name", where)
        start, name = self.starts[index], self.texts[index]
        if name not in self.scopes.live:
            self.scopes.use_later(name, start, self.ends[index])
        self.scopes.extend(name, start, self.ends[index])
        node: Node = ("name", start, self.ends[index], name)
        while self.kinds[self.next] in (".", "::"):
            self.next += 1
            index = self.expect("name", where)
            node = ("member", start, self.ends[index], node, self.member(index))
        return node

    def _members(self, where: str) -> tuple[Node, ...]:
        self.scopes.open_function(is_class=True)
        try:
            return self._members_inside(where)
        finally:
            self.scopes.close_function()

    def _members_inside(self, where: str) -> tuple[Node, ...]:
        opened = self.expect("{", where)
        self.deeper(opened)
        members: list[Node] = []
        names: dict[str, int] = {}
        while not self._is_next("}"):
            first, depth = self.next, self.depth
            if self.kinds[first] == "end":
                told = "This '{' is never closed."
                self.problem("parser.brace", told, self.starts[opened], self.ends[opened], "Put '}' where it ends.")
                break
            try:
                member = self._member_of_class(first, where)
            except Unexpected:
                self.depth = depth
                self.skip_statement(first)
                continue
            if member[3] in names:
                told = f"{member[3]} is declared already, on line {names[member[3]] >> 20}."
                self.problem("parser.declared", told, member[1], member[2])
            names.setdefault(member[3], member[1])
            members.append(member)
        self.depth -= 1
        return tuple(members)

    def _member_of_class(self, first: int, where: str) -> Node:
        kind = self.kinds[first]
        self.next = first + 1
        if kind == "def":
            return self._method(first, is_async=False)
        if kind == "async":
            self.expect("def", "'async'")
            return self._method(first, is_async=True)
        if kind == "let":
            index = self.expect("name", "'let'")
            self.field(index)
            type_ = self._type() if self._is_next(":") else None
            default = self._default("field") if self._is_next("=") else None
            return ("field", self.starts[first], self.semicolon("A field"), self.texts[index], type_, default)
        self.next = first
        return self.unexpected("'def', 'let' or '}'", where)

    def _method(self, first: int, *, is_async: bool) -> Node:
        node = self._function(first, is_async=is_async, is_member=True)
        if not node[4]:
            told = "A method has the object that it is called on as its first parameter."
            self.problem("parser.method", told, node[1], node[1], f"Write def {node[3]}(self).")
        return node

    def _interface(self, first: int) -> Node:
        name = self._named("'interface'")
        self.scopes.note_type()
        opened = self.expect("{", "An interface")
        methods: list[Node] = []
        try:
            self._signatures(methods)
        except Unexpected:
            self.behind(opened)
        return ("interface", self.starts[first], self.ends[self.next - 1], name, tuple(methods))

    def _signatures(self, methods: list[Node]) -> None:
        while not self._is_next("}"):
            index = self.next
            is_async = self._is_next("async")
            self.expect("def", "An interface")
            named = self.expect("name", "'def'")
            self.member(named)
            self.scopes.open_function(is_async=is_async)
            try:
                parameters, returns = self._signature()
            finally:
                self.scopes.close_function()
            end = self.semicolon("A method of an interface")
            flags = ("async",) * is_async
            if any(method[3] == self.texts[named] for method in methods):
                self.problem(
                    "parser.declared", f"{self.texts[named]} is declared already.", self.starts[named], self.ends[named]
                )
            methods.append(("signature", self.starts[index], end, self.texts[named], parameters, returns, flags))

    def _struct(self, first: int) -> Node:
        name = self._named("'struct'")
        self.scopes.note_type()
        opened = self.expect("{", "A struct")
        fields: list[Node] = []
        try:
            self._fields(fields)
        except Unexpected:
            self.behind(opened)
        return ("struct", self.starts[first], self.ends[self.next - 1], name, tuple(fields))

    def _fields(self, fields: list[Node]) -> None:
        while not self._is_next("}"):
            index = self.expect("name", "A struct")
            if any(field[3] == self.texts[index] for field in fields):
                told = f"{self.texts[index]} is declared already."
                self.problem("parser.declared", told, self.starts[index], self.ends[index])
            self.field(index)
            type_ = self._type() if self._is_next(":") else None
            default = self._default("field") if self._is_next("=") else None
            if default is None and fields and fields[-1][5] is not None:
                told = "A field without a default cannot follow one with a default."
                self.problem("parser.parameter", told, self.starts[index], self.ends[index])
            end = self.semicolon("A field")
            fields.append(("field", self.starts[index], end, self.texts[index], type_, default))

    def _enum(self, first: int) -> Node:
        name = self._named("'enum'")
        self.scopes.note_type()
        opened = self.expect("{", "An enum")
        members: list[Node] = []
        try:
            self._enumerated(members)
        except Unexpected:
            self.behind(opened)
        return ("enum", self.starts[first], self.ends[self.next - 1], name, tuple(members))

    def _enumerated(self, members: list[Node]) -> None:
        value = 0
        while not self._is_next("}"):
            index = self.expect("name", "An enum")
            self.field(index)
            if any(member[3] == self.texts[index] for member in members):
                told = f"{self.texts[index]} is declared already."
                self.problem("parser.declared", told, self.starts[index], self.ends[index])
            if self._is_next("="):
                given = self._default("member")
                if given[0] == "const" and type(given[3]) is int:
                    value = given[3]
                else:
                    self.problem("parser.enum", "The value of a member is a whole number.", given[1], given[2])
            self._check_value(members, value, index)
            members.append(("member", self.starts[index], self.ends[self.next - 1], self.texts[index], value))
            value += 1
            if not self._is_next(","):
                self.expect("}", "An enum")
                break

    def _check_value(self, members: list[Node], value: int, index: int) -> None:
        """Refuse a member that Python would take for another one, or for something of its own."""
        name = self.texts[index]
        if name.startswith("_") and name.endswith("_"):
            told = f"{name!r} is no member in Noodle."
            self.problem("parser.member", told, self.starts[index], self.ends[index])
        for member in members:
            if member[4] == value:
                told = f"{name} would be {member[3]}: it has the same value, {value}."
                self.problem("parser.enum", told, self.starts[index], self.ends[index])
                return

    def _alias(self, first: int) -> Node:
        name = self._named("'type'")
        self.expect("=", "'type'")
        type_ = self._type()
        return ("alias", self.starts[first], self.semicolon("'type'"), name, type_)

    # --- imports -------------------------------------------------------------------------------------------------

    def _import(self, first: int) -> Node:
        self._only_at_top(first)
        path = self._path("'import'")
        self.expect("as", "'import'")
        name = self._named("'as'")
        self.scopes.note_module(name)
        return ("import", self.starts[first], self.semicolon("'import'"), path, name)

    def _from(self, first: int) -> Node:
        self._only_at_top(first)
        path = self._path("'from'")
        self.expect("import", "'from'")
        names: list[tuple[str, str]] = []
        while True:
            index = self.expect("name", "'import'")
            local = index
            if self._is_next("as"):
                local = self.expect("name", "'as'")
            self.scopes.declare(self.texts[local], self.starts[local], self.ends[local])
            names.append((self.texts[index], self.texts[local]))
            if not self._is_next(","):
                break
        return ("from", self.starts[first], self.semicolon("'from'"), path, tuple(names))

    def _only_at_top(self, first: int) -> None:
        if not self.scopes.is_at_top:
            told = "Imports stand at the top level of a file."
            self.problem("parser.import", told, self.starts[first], self.ends[first])

    def _path(self, where: str) -> str:
        """Read what is imported: names with '/' between them, never a way out of the folder of the program."""
        index = self.expect("string", where)
        path = text_of(self.texts[index])
        if not all(part.isidentifier() and not part.startswith("__") for part in path.split("/")):
            told = f"{path!r} is no module: names with '/' between them are."
            self.problem("parser.path", told, self.starts[index], self.ends[index], 'For example "shapes/circle".')
        return path

    _STATEMENTS: ClassVar[Mapping[str, Callable[[Any, int], Node]]] = {
        "let": _let, "return": _return, "yield": _yield, "break": _leave, "continue": _leave, "if": _if,
        "while": _while, "for": _for, "match": _match, "{": _bare, "def": _def, "async": _async, "class": _class,
        "interface": _interface, "struct": _struct, "enum": _enum, "type": _alias, "import": _import, "from": _from,
    }  # fmt: skip
