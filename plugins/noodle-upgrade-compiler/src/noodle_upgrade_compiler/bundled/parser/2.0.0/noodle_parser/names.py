"""Names resolved over a tree that is there already, in the order in which they stand in the source."""

from __future__ import annotations

from typing import Any

from .plainness import is_foldable
from .scopes import Scopes

__all__ = ["Names"]

Node = tuple[Any, ...]
Problem = tuple[str, str, str, int, int, str]


class Names:
    """Walks a tree with the scopes that parser 1.0 has while it reads."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._scopes = Scopes(self._fault)

    def _fault(self, code: str, message: str, start: int, end: int, hint: str = "") -> None:
        self.problems.append(("error", code, message, start, end, hint))

    def resolved(self, module: Node) -> Node:
        """Return the module with the names that each function declares and assigns."""
        body = self._body(module[3])
        return (*module[:3], body, self._scopes.close_module())

    def _body(self, statements: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple([self._statement(node) for node in statements])

    def _block(self, statements: tuple[Node, ...]) -> tuple[Node, ...]:
        self._scopes.open_block()
        done = self._body(statements)
        self._scopes.close_block()
        return done

    def _statement(self, node: Node) -> Node:
        handler = self._bare if node[0] == "block" else getattr(self, f"_{node[0]}", None)
        if handler is not None:
            done: Node = handler(node)
            return done
        self._uses(node[3:])
        return node

    # --- statements ----------------------------------------------------------------------------------------------

    def _let(self, node: Node) -> Node:
        self._type_of(node[4])
        self._uses(node[5])
        self._declare(node[3][3], node[3])
        return node

    def _declare(self, name: str, at: Node) -> None:
        self._scopes.declare(name, at[1], at[2])

    def _type_of(self, node: Node | None) -> None:
        waiting = [] if node is None else [node]
        while waiting:
            _, start, end, name, arguments = waiting.pop()
            if "." not in name and name != "none":
                self._scopes.use_type(name, start, end)
            waiting.extend(arguments)

    def _assign(self, node: Node) -> Node:
        for target in node[3]:
            if target[0] == "name":
                self._scopes.assign(target[3], target[1], target[2])
            else:
                if target[0] == "member" and target[3][0] == "name":
                    self._scopes.check_member(target[3][3], target[4], target[1], target[2])
                self._uses(target)
        self._uses(node[4])
        return node

    def _return(self, node: Node) -> Node:
        if not self._scopes.is_inside_function:
            self._fault("parser.return", "'return' stands outside of a function.", node[1], node[2])
        self._uses(node[3])
        return node

    def _yield(self, node: Node) -> Node:
        if not self._scopes.is_inside_function:
            self._fault("parser.yield", "'yield' stands outside of a function.", node[1], node[2])
        if self._scopes.is_async:
            told = "'yield' stands in an async function."
            self._fault("parser.yield", told, node[1], node[2], "A function is async or a generator, not both.")
        self._scopes.note_yield()
        self._uses(node[3])
        return node

    def _break(self, node: Node) -> Node:
        if not self._scopes.loops:
            self._fault("parser.loop", f"'{node[0]}' stands outside of a loop.", node[1], node[2])
        return node

    _continue = _break

    def _bare(self, node: Node) -> Node:
        return (*node[:3], self._block(node[3]))

    def _if(self, node: Node) -> Node:
        branches = []
        for test, body in node[3]:
            self._uses(test)
            branches.append((test, self._block(body)))
        return (*node[:3], tuple(branches), self._block(node[4]))

    def _while(self, node: Node) -> Node:
        self._uses(node[3])
        self._scopes.loops += 1
        body = self._block(node[4])
        self._scopes.loops -= 1
        return (*node[:4], body)

    def _for(self, node: Node) -> Node:
        self._uses(node[4])
        self._scopes.open_block()
        self._declare(node[3][3], node[3])
        self._scopes.loops += 1
        body = self._body(node[5])
        self._scopes.loops -= 1
        self._scopes.close_block()
        return (*node[:5], body)

    def _match(self, node: Node) -> Node:
        self._uses(node[3])
        cases = []
        for patterns, body in node[4]:
            self._uses(patterns)
            cases.append((patterns, self._block(body)))
        return (*node[:4], tuple(cases), self._block(node[5]))

    # --- declarations --------------------------------------------------------------------------------------------

    def _def(self, node: Node, *, is_member: bool = False) -> Node:
        if not is_member:
            self._scopes.declare(node[3], node[1], node[2])
        is_async = "async" in node[7]
        self._scopes.open_function(is_async=is_async)
        self._signature(node[4], node[5])
        body = self._body(node[6])
        flags = (*node[7], *("generator",) * self._scopes.yields, *("plain",) * (not is_foldable(body)))
        names = self._scopes.close_function()
        return (*node[:6], body, (*flags, *("lean",) * self._scopes.was_lean), *names)

    def _signature(self, parameters: tuple[Node, ...], returns: Node | None) -> None:
        for parameter in parameters:
            self._declare(parameter[3], parameter)
            self._type_of(parameter[4])
        self._type_of(returns)

    def _class(self, node: Node) -> Node:
        for base in (*((node[4],) if node[4] is not None else ()), *node[5]):
            self._uses(base)
            if base[0] == "name":
                self._scopes.extend(base[3], base[1], base[2])
        self._scopes.declare(node[3], node[1], node[2])
        self._scopes.open_function(is_class=True)
        members = []
        for member in node[6]:
            if member[0] == "def":
                members.append(self._def(member, is_member=True))
            else:
                self._type_of(member[4])
                members.append(member)
        self._scopes.close_function()
        return (*node[:6], tuple(members))

    def _struct(self, node: Node) -> Node:
        self._scopes.note_type()
        self._scopes.declare(node[3], node[1], node[2])
        for field in node[4]:
            self._type_of(field[4])
        return node

    def _interface(self, node: Node) -> Node:
        self._scopes.note_type()
        self._scopes.declare(node[3], node[1], node[2])
        for method in node[4]:
            self._scopes.open_function(is_async="async" in method[6])
            self._signature(method[4], method[5])
            self._scopes.close_function()
        return node

    def _enum(self, node: Node) -> Node:
        self._scopes.note_type()
        self._scopes.declare(node[3], node[1], node[2])
        return node

    def _alias(self, node: Node) -> Node:
        self._scopes.declare(node[3], node[1], node[2])
        self._type_of(node[4])
        return node

    def _import(self, node: Node) -> Node:
        self._check_top(node)
        self._scopes.declare(node[4], node[1], node[2])
        self._scopes.note_module(node[4])
        return node

    def _from(self, node: Node) -> Node:
        self._check_top(node)
        for _, name in node[4]:
            self._scopes.declare(name, node[1], node[2])
        return node

    def _check_top(self, node: Node) -> None:
        if not self._scopes.is_at_top:
            self._fault("parser.import", "Imports stand at the top level of a file.", node[1], node[2])

    # --- expressions ---------------------------------------------------------------------------------------------

    def _uses(self, parts: Any) -> None:
        """Note the names in an expression, in the order in which they stand there."""
        waiting = [parts]
        while waiting:
            one = waiting.pop()
            if not isinstance(one, tuple) or not one:
                continue
            if one[0] == "name" and len(one) == 4:  # noqa: PLR2004
                if one[3] not in self._scopes.live:
                    self._scopes.use_later(one[3], one[1], one[2])
            elif one[0] != "const":
                if one[0] == "await" and not self._scopes.is_async:
                    self._fault("parser.await", "'await' stands outside of an async function.", one[1], one[1])
                waiting.extend(part for part in reversed(one) if isinstance(part, tuple))
