"""The code of a function as a value, and the limits that any file must keep."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from noodle_upgrade_compiler.nbc.operations import BY_NAME

__all__ = ["Code", "Limits", "Shape", "code_of"]

Constant = int | float | str | bool | None


@frozen
class Limits:
    """What a file may ask for at most: a hostile one costs no more than this."""

    bytes: int = 16 << 20
    digits: int = 4096
    """Bytes of one whole number."""
    nesting: int = 100
    """Functions inside functions."""
    stack: int = 1 << 18
    """Values on the stack of one call."""


@frozen
class Shape:
    """What a type is made of: `kind` is class, struct, interface or enum; `given` counts interfaces, or defaults."""

    kind: str
    name: str
    has_base: bool
    given: int
    members: tuple[str, ...]

    @property
    def takes(self) -> int:
        """How many values it takes from the stack."""
        if self.kind == "class":
            return self.has_base + self.given + len(self.members)
        return {"struct": self.given, "interface": 0, "enum": len(self.members)}[self.kind]


@frozen(eq=False)
class Code:
    """The code of one function, or of a module. `instructions` are pairs of an operation's number and its argument."""

    name: str
    parameters: tuple[str, ...]
    required: int
    locals: tuple[str, ...]
    captured: tuple[str, ...]
    free: tuple[str, ...]
    flags: frozenset[str]
    constants: tuple[Constant, ...]
    names: tuple[str, ...]
    instructions: tuple[tuple[int, int], ...]
    positions: tuple[tuple[int, int, int], ...] = field(repr=False)
    codes: tuple[Code, ...] = field(repr=False)
    shapes: tuple[Shape, ...] = field(repr=False)

    def place(self, index: int) -> tuple[int, int]:
        """Return the line and the column of an instruction, both from 1; zeros where nothing is known."""
        found = 0
        for begins, start, _ in self.positions:
            if begins > index:
                break
            found = start
        return (found >> 20, (found & ((1 << 20) - 1)) + 1) if found else (0, 0)


def code_of(made: tuple[Any, ...]) -> Code:
    """Return the code that a generator has made, as the phases exchange it: names in place of numbers."""
    (
        name,
        parameters,
        required,
        local,
        captured,
        free,
        flags,
        constants,
        names,
        instructions,
        positions,
        codes,
        shapes,
    ) = made
    return Code(
        name=name,
        parameters=parameters,
        required=required,
        locals=local,
        captured=captured,
        free=free,
        flags=frozenset(flags),
        constants=constants,
        names=names,
        instructions=tuple((BY_NAME[operation].number, argument) for operation, argument in instructions),
        positions=positions,
        codes=tuple(code_of(inner) for inner in codes),
        shapes=tuple(Shape(*shape) for shape in shapes),
    )
