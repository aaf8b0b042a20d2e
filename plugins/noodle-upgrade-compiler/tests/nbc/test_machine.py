"""The stack machine: computes what Python does, and reaches nothing that is not listed."""

import contextlib
import io

import pytest

from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.nbc.format import loads
from noodle_upgrade_compiler.nbc.machine import Machine
from noodle_upgrade_compiler.support import NoodleError

COMPILER = Compiler()


def both(text):
    """Return what a program prints on Python and on the machine, its error at the end."""
    result = COMPILER.compile(text, "t.noodle", targets=("python", "nbc"))
    assert result.success, result.errors
    said = []
    for run in (
        lambda: exec(result.bytecode, {"__name__": "__main__"}),
        lambda: Machine().run(loads(result.nbc_bytecode)),
    ):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            try:
                run()
            except Exception as error:
                out.write(f"{type(error).__name__}: {error}")
        said.append(out.getvalue())
    return said


@pytest.mark.parametrize(
    "text",
    [
        "print(1 / 0);",
        'print("a" + 1);',
        "def f(a, b = 2) { return a; } f();",
        "def f(a, b = 2) { return a; } f(1, 2, 3);",
        "def f(a, b, c) { return a; } f(1);",
        "def f() { return 1; } f(1);",
        "def f(a) { return 1; } f(1, 2);",
        "def f(n) { return f(n + 1); } f(0);",
        "print([1][5]);",
        'print({"a": 1}["b"]);',
        "class A { } print(A().missing);",
        "class A { def init(self) { return 1; } } A();",
        "interface I { def f(self); } class A implements I { } A();",
        "interface I { def f(self); } class A implements I { def f(self) { return 3; } } print(A().f());",
        "struct P { x; y = 2; } print(P(1), P(1) == P(1, 2), P(1).y); P();",
        "enum E { A, B = 7, C } for e in E { print(e, e.value, e.name); } print(E.A == E.A);",
        "def f() { if false { let x = 1; } let g = 2; return g; } print(f());",
        'error("enough");',
        "def g() { yield 1; error(2); } for x in g() { print(x); }",
        "async def f() { await sleep(0); error(3); } run(f());",
        "print(sorted([3, 1, 2]), list(map(str, [1, 2])), max(1, 2), sum([1, 2]), list(zip([1], [2])));",
        'let s = "aXb"; print(s.upper(), s.split("X"), s.replace("X", "-"), s.to_string(), len(s));',
        "let a = [1]; let b = a; b.append(2); print(a, a == b, a.pop(), a.index(1));",
        'let o = {"a": 1}; o["b"] = 2; print(o, list(o.items()), o.get("c", 0));',
        "print(1 < 2, 1 == 1.0, !0, none == false, -7 % 3, 7 / 2, 2 * 3.5);",
        "let fs = []; for i in range(3) { def f() { return i; } fs.append(f); } for f in fs { print(f()); }",
        "def o() { let n = 0; def a() { n = n + 1; return n; } def b() { return n; } return [a, b]; }"
        " let p = o(); p[0](); p[0](); print(p[1]());",
        "def f(n) { while true { n = n - 1; if n < 3 { break; } for x in [1, 2] { if x == 2 { return n; } } } return 0; }"
        " print(f(9), f(2));",
        "class A { let n = 1; def f(self) { return self.n; } } class B extends A { let n = 2; }"
        " let f = B().f; print(f(), A().f() + B.n); A.n = 5; print(A().n);",
    ],
)
def test_programs_do_the_same_on_python_and_on_the_machine(text):
    python, machine = both(text)
    assert machine == python


@pytest.mark.parametrize(
    "text",
    [
        'print("".join.x);',
        "print(print.x);",
        "def f() { } print(f.gi_frame);",
        "def f() { yield 1; } print(f().gi_frame);",
        "async def f() { } let c = f(); print(c.cr_frame);",
        "print([1].sort.x);",
        "print((1).real);",
        "print(str.x);",
        "let d = object(); print(d.fromkeys);",
    ],
)
def test_nothing_of_python_is_reached_that_is_not_listed(text):
    result = COMPILER.compile(text, "t.noodle", targets=("nbc",))
    with pytest.raises(AttributeError):
        Machine().run(loads(result.nbc_bytecode))


@pytest.mark.parametrize("path", ["os", "sys", "subprocess", "builtins"])
def test_modules_of_python_are_not_imported(path):
    result = COMPILER.compile(f'import "{path}" as m; print(m);', "t.noodle", targets=("nbc",))
    with pytest.raises(ModuleNotFoundError):
        Machine().run(loads(result.nbc_bytecode))


def test_of_mathematics_what_is_listed_can_be_imported():
    result = COMPILER.compile('import "math" as m; let x = m.floor(m.pi);', "t.noodle", targets=("nbc",))
    assert Machine().run(loads(result.nbc_bytecode)).variables["x"] == 3


def test_a_program_may_be_given_so_many_instructions_and_no_more():
    result = COMPILER.compile("while true { }", "t.noodle", targets=("nbc",))
    with pytest.raises(NoodleError, match="used up"):
        Machine(budget=10_000).run(loads(result.nbc_bytecode))


def test_an_error_says_where_in_the_program_it_came_up():
    result = COMPILER.compile("def f(a) {\n  return a / 0;\n}\n\nprint(f(1));\n", "t.noodle", targets=("nbc",))
    with pytest.raises(ZeroDivisionError) as caught:
        Machine().run(loads(result.nbc_bytecode), path="t.noodle")
    assert caught.value.__notes__ == ["at t.noodle:2:10 in f", "at t.noodle:5:7 in <module>"]


def test_a_recursion_is_as_deep_as_it_may_be_and_takes_no_frame_of_pythons():
    result = COMPILER.compile(
        "def f(n) { if n == 0 { return 0; } return 1 + f(n - 1); } let x = f(5000);", "t.noodle", targets=("nbc",)
    )
    assert Machine(depth=6000).run(loads(result.nbc_bytecode)).variables["x"] == 5000
