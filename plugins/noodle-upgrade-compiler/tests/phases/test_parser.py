"""The parser: trees with exact places, several errors in one run, names that are known where they are used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_compiler.checking import fault_in_problems, fault_in_tree
from noodle_upgrade_compiler.versions import Library

WORDS = st.sampled_from(
    "let x y z f def return if else for in while break continue import from as class struct interface implements"
    " extends type enum match case default async await yield true false none ( ) [ ] { } , ; : . = == + - * / ! && ||"
    ' -> :: 1 2.5 "a" print range'.split()
)


def parsed(text, version="1.0.0"):
    library = Library()
    return library.get("parser", version).call(*library.get("lexer", "1.0.0").call(text)[:4])


def told(text):
    return [(problem[1], problem[3] >> 20, (problem[3] & 0xFFFFF) + 1) for problem in parsed(text).problems]


def expression(text):
    found = parsed(f"let a = 1; let b = 2; let c = 3; {text};")
    assert not found.problems, found.problems
    return shape(found.tree[3][3][3])


def shape(node):
    """A node without its places."""
    if isinstance(node, tuple) and node and isinstance(node[0], str) and len(node) > 2 and type(node[1]) is int:
        return (node[0], *(shape(part) for part in node[3:]))
    return tuple(shape(part) for part in node) if isinstance(node, tuple) else node


@given(words=st.lists(WORDS, max_size=60))
def test_any_tokens_at_all_end_in_a_tree_or_in_problems(words):
    found = parsed(" ".join(words))
    assert not fault_in_problems(found.problems)
    if not found.problems:
        assert not fault_in_tree(found.tree)


def test_operators_bind_as_the_grammar_says():
    assert expression("a + b * c") == ("binary", "+", ("name", "a"), ("binary", "*", ("name", "b"), ("name", "c")))
    assert expression("a - b - c") == ("binary", "-", ("binary", "-", ("name", "a"), ("name", "b")), ("name", "c"))
    assert expression("a || b && c == 1") == (
        "or",
        (("name", "a"), ("and", (("name", "b"), ("compare", "==", ("name", "c"), ("const", 1))))),
    )
    assert expression("!a.b(c)[1]") == (
        "not",
        ("index", ("call", ("member", ("name", "a"), "b"), (("name", "c"),)), ("const", 1)),
    )
    assert expression("-a * b") == ("binary", "*", ("negative", ("name", "a")), ("name", "b"))
    assert expression("(a + b) * c") == ("binary", "*", ("binary", "+", ("name", "a"), ("name", "b")), ("name", "c"))
    assert expression("(-a).b") == ("member", ("negative", ("name", "a")), "b")


def test_a_bracket_belongs_to_the_place_of_what_it_is_part_of():
    node = parsed("let a = (1 + 2) * 3;").tree[3][0][5]
    assert (node[1] & 0xFFFFF, node[2] & 0xFFFFF) == (8, 19)


def test_words_of_the_language_can_be_members():
    assert expression("a.match.type(b)") == (
        "call",
        ("member", ("member", ("name", "a"), "match"), "type"),
        (("name", "b"),),
    )


def test_several_errors_are_told_in_one_run_each_where_it_is():
    text = "let x = (1;\nlet y 2;\nprint(x y);\ndef f( { return 1; }\nlet z = 3"
    found = told(text)
    assert [(code, line) for code, line, _ in found] == [
        ("parser.expected", 1), ("parser.expected", 2), ("parser.expected", 3), ("parser.expected", 4),
        ("parser.semicolon", 5),
    ]  # fmt: skip


def test_a_name_that_could_not_be_given_its_value_is_declared_all_the_same():
    assert told("let x = ;\nprint(x);") == [("parser.expected", 1, 9)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("print(x);", "parser.unknown"),
        ("x = 1;", "parser.unknown"),
        ("print = 1;", "parser.unknown"),
        ("let x = 1; let x = 2;", "parser.declared"),
        ("let x = 1; if x { let x = 2; }", "parser.declared"),
        ("if 1 { let x = 1; } print(x);", "parser.ended"),
        ("print(x); let x = 1;", "parser.early"),
        ("let x: Missing = 1;", "parser.type"),
        ("1 = 2;", "parser.target"),
        ("print(1 < 2 < 3);", "parser.chained"),
        ("break;", "parser.loop"),
        ("for i in range(3) { def f() { continue; } }", "parser.loop"),
        ("return 1;", "parser.return"),
        ("yield 1;", "parser.yield"),
        ("async def f() { yield 1; }", "parser.yield"),
        ("await sleep(1);", "parser.await"),
        ("}", "parser.brace"),
        ("if 1 {", "parser.brace"),
        ("match 1 { default { } default { } }", "parser.default"),
        ("match 1 { default { } case 1 { } }", "parser.default"),
        ("def f(a = [1]) { }", "parser.default"),
        ("def f(a = 1, b) { }", "parser.parameter"),
        ("class A { def m() { } }", "parser.method"),
        ('print({"a": 1, a: 2});', "parser.key"),
        ('print("a".format(1));', "parser.member"),
        ('enum E { A = "x" }', "parser.enum"),
        ("enum E { A, A }", "parser.declared"),
        ('if 1 { import "a" as a; }', "parser.import"),
        ('import "../a" as a;', "parser.path"),
        ("(" * 101 + "1" + ")" * 101 + ";", "parser.deep"),
        ("let x = 1" + " + 1" * 401 + ";", "parser.long"),
    ],
)
def test_what_is_no_program_is_told_with_its_code(text, code):
    assert [problem[1] for problem in parsed(text).problems] == [code]


@pytest.mark.parametrize(
    "text",
    [
        "def f() { return g(); } def g() { return 1; } print(f());",
        "def f() { def g() { return later; } let later = 1; return g(); }",
        "if 1 { def f() { return g(); } def g() { return 1; } print(f()); }",
        "if 1 { let x = 1; } else { let x = 2; } for i in range(2) { let x = i; }",
        "let x = 1; def f() { x = 2; } def g(x) { x = 3; return x; }",
        "class A { def m(self) { return B(); } } class B { }",
        "def f(n) { if n { return f(n - 1); } return 0; }",
        "let len = 1; print(len);",
        "while true { for i in range(2) { continue; } break; }",
    ],
)
def test_names_are_known_where_they_can_be_reached(text):
    assert parsed(text).problems == ()


def test_a_function_tells_what_it_declares_and_what_of_others_it_assigns():
    (_, outer) = parsed("let x = 1; def f(a) { let y = 2; def g() { y = x; x = a; return a; } return g; }").tree[3]
    assert outer[8:] == (("a", "g", "y"), ())
    inner = outer[6][1]
    assert inner[8:] == ((), ("x", "y"))


@pytest.mark.parametrize(
    "opening",
    ["(", "[", "{", "f(", "-", "!", "if 1 {", "x = ", "a.", "def f() {", "class A { def f(a) {", "match 1 { case 1 {"],
)
def test_a_hundred_thousand_of_anything_end_in_an_error_and_not_in_a_crash(opening):
    found = parsed("let a = 1; let x = 1; def f(b) { } " + f"{opening}\n" * 100_000)
    assert found.problems
    assert len(found.problems) <= 101


LIMITS = {
    "brackets": (lambda n: f"let x = {'(' * n}1{')' * n};", 100, "parser.deep"),
    "lists": (lambda n: f"let x = {'[' * n}1{']' * n};", 100, "parser.deep"),
    "objects": (lambda n: f"let x = {'{a: ' * n}1{'}' * n};", 100, "parser.deep"),
    "calls in one another": (lambda n: f"let x = {'print(' * n}1{')' * n};", 100, "parser.deep"),
    "indices in one another": (lambda n: f"let y = [1]; let x = {'y[' * n}1{']' * n};", 100, "parser.deep"),
    "operators before an operand": (lambda n: f"let y = 1; let x = {'!' * n}y;", 100, "parser.deep"),
    "types": (lambda n: f"let x: {'list[' * n}int{']' * n} = [];", 100, "parser.deep"),
    "blocks": (lambda n: "{" * n + "let x = 1;" + "}" * n, 100, "parser.deep"),
    "functions": (lambda n: "".join(f"def f{i}() {{" for i in range(n)) + "}" * n, 100, "parser.deep"),
    "matches": (lambda n: "match 1 { case 1 {" * n + "}}" * n, 50, "parser.deep"),
    "classes": (lambda n: "".join(f"class A{i} {{ def f(s) {{" for i in range(n)) + "}}" * n, 50, "parser.deep"),
    "operators": (lambda n: f"let x = 1{' + 1' * n};", 400, "parser.long"),
    "operands of a logical operator": (lambda n: f"let x = true{' && true' * n};", 400, "parser.long"),
    "calls": (lambda n: f"let x = print{'()' * n};", 400, "parser.long"),
    "members": (lambda n: f"let y = 1; let x = y{'.a' * n};", 400, "parser.long"),
    "branches": (lambda n: f"if 1 {{}}{' else if 1 {}' * (n - 1)}", 400, "parser.long"),
    "cases": (lambda n: f"match 1 {{{''.join(f'case {i} {{}}' for i in range(n))}}}", 400, "parser.long"),
}


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
@pytest.mark.parametrize(("text", "most", "code"), LIMITS.values(), ids=LIMITS)
def test_a_limit_is_where_it_is_said_to_be_in_every_parser(text, most, code, version):
    assert parsed(text(most), version).problems == ()
    assert parsed(text(most + 1), version).problems[0][1] == code


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('import "m" as m; m._a = 1;', "parser.private"),
        ('import "m" as m; def f() { m._a = 1; }', "parser.private"),
        ("enum E { A = 1, B = 1 }", "parser.enum"),
        ("enum E { A, B, C = 1 }", "parser.enum"),
        ("enum E { _a_ }", "parser.member"),
        ("let x = 1\nlet y = 2;", "parser.semicolon"),
        ("let x = 1; print(1 < x < 3);", "parser.chained"),
    ],
)
def test_every_parser_refuses_it_with_the_same_code(text, code, version):
    assert [problem[1] for problem in parsed(text, version).problems] == [code]


@pytest.mark.parametrize(
    "text",
    [
        'import "m" as m; m.a = 1; print(m._a);',
        'import "m" as m; def f(m) { m._a = 1; }',
        "def f(self) { self._a = 1; }",
    ],
)
def test_what_is_private_to_an_object_or_only_read_is_fine(text):
    assert parsed(text).problems == ()


def test_what_is_assigned_and_not_declared_is_told_how_it_is_declared():
    assert [problem[5] for problem in parsed("x = 5;").problems] == ["Declare it: let x = …"]


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_however_much_is_wrong_a_hundred_things_are_told(version):
    known = "".join(f"let name_{n} = {n};\n" for n in range(1000))
    unknown = "".join(f"print(name_{n}_{n});\n" for n in range(1000))
    assert len(parsed(known + unknown, version).problems) == 100
    scanned = Library().get("lexer", "1.0.0").call("let x = 1;\n@\n" * 1000)
    assert len(scanned.problems) == 100


def test_a_member_of_something_in_brackets_begins_where_the_bracket_does():
    for version in ("1.0.0", "2.0.0"):
        node = parsed("let y = 1; let x = (-y).z;", version).tree[3][1][5]
        assert (node[0], node[1] & 0xFFFFF) == ("member", 19)
