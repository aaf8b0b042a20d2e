"""Which name is known where.

A name is known from its declaration to the end of the block that it stands in. A block inside a function may not
declare a name again that its function knows there (as in Java): a variable is the function's, one cell for each name,
which is what Python has. Functions see the names of the functions around them, also those that are declared later, for
they are called later. `Scopes.live` are the names of the innermost function that are known now: the parser looks there
before it asks for more.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

__all__ = ["BUILTINS", "Scopes"]

BUILTINS = frozenset(
    "abs all any bool chr enumerate error filter float gather input int is_a len list map max min object ord print"
    " range repr reversed round run sleep sorted str sum zip".split()
)
"""What every file knows without an import."""
OTHERWISE = frozenset("error gather is_a object run sleep".split())
"""Those of them that Python does not know, or calls otherwise: a generator has to do something for them beforehand."""
TYPES = frozenset("any bool float function int list none object string".split())

_MOST_LOOKED = 20_000
"""Names that are looked through for hints, in one file."""

_Use = tuple[str, int, int, bool, bool]
"""Name, start, end, whether it is assigned, and whether that happens later: in a function that is called later."""


class _Function:
    """The names of one function, or of the module."""

    __slots__ = (
        "assigned",
        "blocks",
        "declared",
        "ended",
        "has_types",
        "is_async",
        "is_class",
        "live",
        "loops",
        "uses",
        "yields",
    )

    def __init__(self, *, is_async: bool = False, is_class: bool = False) -> None:
        self.live: dict[str, int] = {}
        self.declared: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.blocks: list[tuple[list[str], int]] = [([], 0)]
        self.uses: list[_Use] = []
        self.assigned: set[str] = set()
        self.loops = 0
        self.yields = False
        self.has_types = False
        self.is_async = is_async
        self.is_class = is_class


class Scopes:
    """The functions that are open, outermost first."""

    def __init__(self, problem: Callable[..., None]) -> None:
        self._problem = problem
        self._open = [_Function()]
        self._types: list[tuple[str, int, int]] = []
        self._bases: list[tuple[str, int, int]] = []
        self._everywhere: set[str] = set()
        self.live = self._open[-1].live
        self._modules: set[str] = set()
        self._looked = 0
        self.was_lean = False
        """Whether the function that was closed last uses none of `OTHERWISE`, and declares no types."""

    # --- what is declared ----------------------------------------------------------------------------------------

    def declare(self, name: str, start: int, end: int) -> None:
        """Note a declaration in the block that is open."""
        function = self._open[-1]
        if name in function.live:
            before = function.live[name]
            inner = "" if name in function.blocks[-1][0] else " in a block around this one"
            self._problem(
                "parser.declared",
                f"{name} is declared already, on line {before >> 20}{inner}.",
                start,
                end,
                f"Without 'let' it is assigned: {name} = …",
            )
            return
        function.live[name] = start
        function.declared[name] = start
        self._everywhere.add(name)
        function.blocks[-1][0].append(name)

    def note_module(self, name: str) -> None:
        """Note that a name of the file is a module that it imports as a whole."""
        self._modules.add(name)

    def check_member(self, name: str, member: str, start: int, end: int) -> None:
        """Refuse to assign what is private to another module: an optimizer may have put it in the place of its name."""
        if not member.startswith("_"):
            return
        known = next((function for function in reversed(self._open) if name in function.live), None)
        if known is self._open[0] and name in self._modules:
            told = f"{member} is private to the module {name}, and assigned there only."
            self._problem("parser.private", told, start, end, "Have a function of that module do it.")

    def use_later(self, name: str, start: int, end: int) -> None:
        """Note the use of a name that is not live: an outer function's, one that comes later, or nobody's."""
        self._open[-1].uses.append((name, start, end, False, False))

    def assign(self, name: str, start: int, end: int) -> None:
        """Note that a name is given a value."""
        function = self._open[-1]
        if function.uses and function.uses[-1][1] == start:
            # It was read as an expression, before '=' came.
            function.uses.pop()
        if name not in function.live:
            function.uses.append((name, start, end, True, False))
            function.assigned.add(name)

    def use_type(self, name: str, start: int, end: int) -> None:
        """Note the name of a type."""
        if name not in TYPES:
            self._types.append((name, start, end))

    def extend(self, name: str, start: int, end: int) -> None:
        """Note the base of a class, which can be no built-in."""
        if name in BUILTINS:
            self._bases.append((name, start, end))

    def forget_uses(self, start: int) -> None:
        """Forget the names of a statement that could not be read: what is unknown there is told when it can be."""
        uses = self._open[-1].uses
        while uses and uses[-1][1] >= start:
            uses.pop()

    # --- blocks and functions ------------------------------------------------------------------------------------

    def open_block(self) -> None:
        """Begin a block of the function that is open."""
        function = self._open[-1]
        function.blocks.append(([], len(function.uses)))

    def close_block(self) -> None:
        """End a block: what it declared is known no more."""
        function = self._open[-1]
        names, mark = function.blocks.pop()
        self._settle(function, mark)
        for name in names:
            function.ended[name] = function.live.pop(name)

    def open_function(self, *, is_async: bool = False, is_class: bool = False) -> None:
        """Begin a function, or the body of a class."""
        self._open.append(_Function(is_async=is_async, is_class=is_class))
        self.live = self._open[-1].live

    def close_function(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """End a function; return the names that it declares, and those of others that it assigns, both sorted."""
        inner = self._open.pop()
        outer = self._open[-1]
        self.live = outer.live
        self._settle(inner, 0)
        outer.has_types = outer.has_types or inner.has_types
        self.was_lean = not inner.has_types and OTHERWISE.isdisjoint([use[0] for use in inner.uses])
        for name, start, end, is_assigned, is_later in inner.uses:
            if name in inner.ended and not inner.is_class:
                self._ended(inner, name, start, end)
            elif name not in outer.live:
                # The body of a class runs at once; that of a function when it is called.
                outer.uses.append((name, start, end, is_assigned, is_later or not inner.is_class))
        return tuple(sorted(inner.declared)), tuple(sorted(inner.assigned - inner.declared.keys()))

    def close_module(self) -> tuple[str, ...]:
        """End the module: what nobody has declared by now is unknown. Return the names that it declares, sorted."""
        module = self._open[0]
        self._settle(module, 0)
        for name, start, end, is_assigned, _ in module.uses:
            if name in module.ended:
                self._ended(module, name, start, end)
            elif name not in BUILTINS or is_assigned:
                self._unknown(name, start, end, is_assigned=is_assigned)
        for name, start, end in self._bases:
            if name not in self._everywhere:
                self._problem("parser.base", f"{name} is built in: no class extends it.", start, end)
        for name, start, end in self._types:
            if name not in self._everywhere:
                hint = self._likely(name, {*TYPES, *self._everywhere})
                self._problem("parser.type", f"There is no type {name}.", start, end, hint)
        return tuple(sorted(module.declared))

    def _settle(self, function: _Function, mark: int) -> None:
        """Answer the uses since `mark` whose names have been declared since, before what declares them is forgotten."""
        if len(function.uses) == mark:
            return
        live, kept = function.live, []
        for use in function.uses[mark:]:
            name, start, end, _, is_later = use
            if name not in live or function.is_class:
                kept.append(use)
            elif not is_later:
                told = f"{name} is declared further down, on line {live[name] >> 20}."
                self._problem("parser.early", told, start, end, "Move the declaration up.")
        function.uses[mark:] = kept

    def _ended(self, function: _Function, name: str, start: int, end: int) -> None:
        told = f"{name} was declared on line {function.ended[name] >> 20}, in a block that does not reach here."
        self._problem("parser.ended", told, start, end, "Declare it before that block.")

    def _unknown(self, name: str, start: int, end: int, *, is_assigned: bool) -> None:
        if is_assigned:
            hint = f"Declare it: let {name} = …"
        else:
            hint = self._likely(name, {*BUILTINS, *self._open[0].declared})
        self._problem("parser.unknown", f"{name} is not declared.", start, end, hint)

    def _likely(self, name: str, known: set[str]) -> str:
        """Return a hint at what may be meant. To look for it is dear: not for whom everything is unknown."""
        self._looked += len(known)
        if self._looked > _MOST_LOOKED:
            return ""
        found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
        return f"Did you mean {found[0]}?" if found else ""

    # --- what a function is --------------------------------------------------------------------------------------

    @property
    def is_async(self) -> bool:
        """Whether the innermost function is async."""
        return self._open[-1].is_async

    @property
    def is_inside_function(self) -> bool:
        """Whether a function is open."""
        return len(self._open) > 1 and not self._open[-1].is_class

    @property
    def is_at_top(self) -> bool:
        """Whether this is the module, outside of any block."""
        return len(self._open) == 1 and len(self._open[0].blocks) == 1

    @property
    def loops(self) -> int:
        """How many loops of the innermost function are open."""
        return self._open[-1].loops

    @loops.setter
    def loops(self, count: int) -> None:
        self._open[-1].loops = count

    def note_type(self) -> None:
        """Note that the innermost function declares a struct, an interface or an enum."""
        self._open[-1].has_types = True

    def note_yield(self) -> None:
        """Make the innermost function a generator."""
        self._open[-1].yields = True

    @property
    def yields(self) -> bool:
        """Whether the innermost function is a generator."""
        return self._open[-1].yields
