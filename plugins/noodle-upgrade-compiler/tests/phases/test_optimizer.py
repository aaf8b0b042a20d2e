"""The optimizer: less to do, and the same done."""

import contextlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_compiler.versions import Library

LIBRARY = Library()


def tree_of(text):
    found = LIBRARY.get("parser", "1.0.0").call(*LIBRARY.get("lexer", "1.0.0").call(text)[:4])
    assert not found.problems, found.problems
    return found.tree


def source_of(tree):
    return LIBRARY.get("bytecode_generator", "1.0.0").call(tree, "t.noodle", ("python_source",)).python_source


def optimized(text, version="1.0.0"):
    return source_of(LIBRARY.get("optimizer", version).call(tree_of(text)).tree).strip()


def warned(text):
    return [(problem[1], problem[2]) for problem in LIBRARY.get("optimizer", "1.0.0").call(tree_of(text)).problems]


def run(tree):
    code = LIBRARY.get("bytecode_generator", "1.0.0").call(tree, "t.noodle", ("python",)).python
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(code, {"__name__": "__main__"})
        except Exception as error:
            out.write(f"{type(error).__name__}: {error}")
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("let a = 2 * 3 + 4;", "a = 10"),
        ('let a = "x" + "y" * 2;', "a = 'xyy'"),
        ("let a = 1 < 2 && 3 >= 4;", "a = False"),
        ("let a = -(-3);", "a = 3"),
        ("let a = !true;", "a = False"),
        ("if false { print(1); } else { print(2); }", "print(2)"),
        ("if 1 > 2 { print(1); } else if true { print(2); } else { print(3); }", "print(2)"),
        ("while false { print(1); }", ""),
        ("def f() { return 1; print(2); }", "def f():\n    return 1"),
        ("def f(n) { let k = 0; for i in range(n) { k = i + 0; } return k * 1; }",
         "def f(n):\n    k = 0\n    for i in range(n):\n        k = i\n    return k"),
        ("def f(a) { let n = len(a); return !(n == 3); }", "def f(a):\n    n = len(a)\n    return n != 3"),
    ],
)  # fmt: skip
def test_what_is_sure_is_done_beforehand(text, expected):
    assert optimized(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "let a = 1 / 0;",
        'let a = "x" - 1;',
        'let a = "x" * 100000;',
        "let a = 10 % 0;",
        "def f(a) { return a + 0; }",
        "def f(a) { return !(a == 1); }",
        "let n = 1; def f() { return n + 0; }",
        "def len(a) { return a; } def f(a) { let n = len(a); return n + 0; }",
        "def f() { return 1; yield 2; }",
        "def f() { def g() { x = 1; } return g; let x = 0; }",
    ],
)
def test_what_is_not_sure_or_would_mean_another_thing_stays(text):
    tree = tree_of(text)
    assert LIBRARY.get("optimizer", "1.0.0").call(tree).tree == tree


def test_a_tree_in_which_nothing_changes_is_the_very_same():
    tree = tree_of("let a = 1; def f(x) { if x { return x + a; } return [x, {b: x}]; } print(f(a));")
    assert LIBRARY.get("optimizer", "1.0.0").call(tree).tree is tree


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("let a = 1 / 0;", "optimizer.fails"),
        ('let a = "x" - 1;', "optimizer.fails"),
        ("def f() { return 1; print(2); }", "optimizer.unreachable"),
        ('let a: int = "x";', "optimizer.type"),
        ("def f(b) { let a: string = len(b); }", "optimizer.type"),
    ],
)
def test_what_cannot_be_meant_is_warned_of(text, code):
    assert [found for found, _ in warned(text)] == [code]


VALUES = st.recursive(
    st.one_of(
        st.integers(-3, 9).map(str),
        st.sampled_from(["true", "false", "none", '"s"', '""', "1.5", "a", "b", "s"]),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+ - * / % == != < <= > >= && ||".split()), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        inner.map(lambda one: f"!{one}"),
        inner.map(lambda one: f"(-{one})"),
        st.tuples(inner, inner).map(lambda parts: f"[{parts[0]}, {parts[1]}]"),
    ),
    max_leaves=8,
)


@given(value=VALUES, test=VALUES)
@settings(max_examples=300)
def test_programs_do_the_same_with_and_without_it(value, test):
    text = (
        'def f(n) { let a = 2; let b = len("xyz"); let s = "text"; for i in range(n) { b = i; }'
        f" if {test} {{ print({value}); return a; }} else {{ print(b); }} return {value}; print(a); }}"
        " print(f(0)); print(f(3));"
    )
    tree = tree_of(text)
    for version in LIBRARY.versions("optimizer"):
        assert run(LIBRARY.get("optimizer", version).call(tree).tree) == run(tree)
