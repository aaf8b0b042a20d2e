"""The verifier: no instruction of a file that lies is ever run."""

import pytest
from attrs import evolve

from noodle_upgrade_compiler.errors import NbcError
from noodle_upgrade_compiler.nbc.code import Code, Limits, Shape
from noodle_upgrade_compiler.nbc.machine import Machine
from noodle_upgrade_compiler.nbc.operations import BY_NAME
from noodle_upgrade_compiler.nbc.verifier import verify

END = (("CONST", 0), ("RETURN", 0))


def code(*instructions, **fields):
    made = {
        "name": "f", "parameters": (), "required": 0, "locals": (), "captured": (), "free": (), "flags": frozenset(),
        "constants": (None, 1, "x"), "names": ("print", "x", "__class__"), "positions": (), "codes": (), "shapes": (),
    }  # fmt: skip
    numbered = tuple((BY_NAME[name].number, argument) for name, argument in instructions)
    return Code(**{**made, **fields}, instructions=numbered)


def test_code_that_keeps_the_rules_is_let_through():
    verify(code(("CONST", 1), ("ITERATE", 0), ("NEXT", 5), ("POP", 0), ("JUMP", 2), *END))


@pytest.mark.parametrize(
    ("instructions", "told"),
    [
        ((), "no instruction"),
        ((("CONST", 0),), "past its end"),
        ((("POP", 0), *END), "takes more from the stack"),
        ((("CONST", 9), *END), "leads nowhere"),
        ((("JUMP", 7), *END), "leads nowhere"),
        ((("CONST", 1), ("JUMP_IF_FALSE", 3), ("CONST", 1), *END), "two different stacks"),
        ((("CONST", 1), ("JUMP", 0)), "two different stacks"),
        ((("CONST", 1), ("NEXT", 2), *END), "no iterator"),
        ((("CONST", 1), ("ITERATE", 0), ("CONST", 1), ("BINARY", 0), *END), "an iterator for a value"),
        ((("CONST", 1), ("ITERATE", 0), ("RETURN", 0)), "an iterator for a value"),
        ((("CONST", 1), ("BINARY", 9), *END), "leads nowhere"),
        ((("LOAD_LOCAL", 0), *END), "leads nowhere"),
        ((("LOAD_BUILTIN", 1), *END), "no built-in 'x'"),
        ((("CONST", 1), ("LOAD_MEMBER", 2), *END), "'__class__' is no name"),
        ((("STORE_GLOBAL", 2), *END), "no name"),
        ((("IMPORT", 2), *END), "no module"),
        ((("CONST", 1), ("YIELD", 0), *END), "no generator"),
        ((("CONST", 1), ("AWAIT", 0), ("POP", 0), *END), "not async"),
        ((("CONST", 1), ("CALL", 1 << 20), *END), "leads nowhere"),
        ((("MAKE_FUNCTION", 0), *END), "leads nowhere"),
        ((("MAKE_TYPE", 0), *END), "leads nowhere"),
    ],
)
def test_code_that_lies_is_refused_with_the_instruction(instructions, told):
    with pytest.raises(NbcError, match=told):
        verify(code(*instructions))
    with pytest.raises(NbcError):
        Machine().run(code(*instructions))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"locals": ("a", "a")}, "the same variable twice"),
        ({"locals": ("__import__",)}, "none may have"),
        ({"parameters": ("a",), "required": 1, "locals": ("b",)}, "not its first variables"),
        ({"required": 1}, "fewer parameters"),
        ({"captured": ("a",)}, "none of its own"),
        ({"free": ("a",)}, "nobody around it shares"),
        ({"shapes": (Shape("class", "A", False, 0, ("mro",)),)}, "none may have"),
        ({"shapes": (Shape("enum", "A", False, 0, ("a", "a")),)}, "a member twice"),
        ({"shapes": (Shape("struct", "A", False, 3, ("a",)),)}, "more defaults"),
        ({"positions": ((1, 0, 0), (0, 0, 0))}, "positions in no order"),
        ({"flags": frozenset({"async", "generator"})}, "not both"),
    ],
)
def test_a_function_that_says_what_cannot_be_is_refused(fields, told):
    inner = evolve(code(*END), **fields)
    with pytest.raises(NbcError, match=told):
        verify(code(("MAKE_FUNCTION", 0), ("POP", 0), *END, codes=(inner,)))


def test_a_module_is_no_function():
    with pytest.raises(NbcError, match="A module has no parameters"):
        verify(code(*END, flags=frozenset({"generator"})))


def test_a_stack_that_grows_with_every_turn_is_refused():
    with pytest.raises(NbcError, match="two different stacks"):
        verify(code(("CONST", 1), ("DUP", 0), ("JUMP", 1)))
    deep = [("CONST", 1)] * 20
    with pytest.raises(NbcError, match="more than 10 values"):
        verify(code(*deep, ("RETURN", 0)), Limits(stack=10))
