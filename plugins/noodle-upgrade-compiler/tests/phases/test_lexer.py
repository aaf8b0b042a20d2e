"""The lexer: every token where it stands, everything else told, in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_compiler.checking import fault_in_problems, fault_in_tokens
from noodle_upgrade_compiler.versions import Library

VERSIONS = Library().versions("lexer")
LIKELY = st.text(alphabet="abé_ 0129.eE+-*/%=!<>&|:;,(){}[]\"'\\n#\n\t\r@$xX\U0001d518\u00a0", max_size=60)


@pytest.fixture(params=VERSIONS)
def lexer(request, library):
    return library.get("lexer", request.param)


def kinds(lexer, text):
    tokens = lexer.call(text)
    assert not tokens.problems
    return " ".join(tokens.kinds)


def placed(text, start, end):
    """What stands between two positions of a text."""
    assert start >> 20 == end >> 20
    line = text.split("\n")[(start >> 20) - 1].encode()
    return line[start & 0xFFFFF : end & 0xFFFFF].decode()


@given(text=st.one_of(LIKELY, st.text(max_size=60)))
@pytest.mark.parametrize("version", VERSIONS)
def test_it_never_raises_and_its_tokens_are_what_a_parser_can_read(version, text):
    tokens = Library().get("lexer", version).call(text)
    assert not fault_in_tokens(tokens)
    assert not fault_in_problems(tokens.problems)


@given(text=LIKELY)
def test_each_token_stands_where_it_says(text):
    tokens = Library().get("lexer", "1.0.0").call(text)
    if not tokens.problems:
        for token, start, end in zip(tokens.texts[:-1], tokens.starts, tokens.ends, strict=False):
            assert placed(text, start, end) == token


@given(text=LIKELY)
def test_nothing_of_a_source_is_lost_but_blanks_and_comments(text):
    tokens = Library().get("lexer", "1.0.0").call(text)
    if not tokens.problems and "#" not in text:
        assert "".join(tokens.texts) == "".join(text.split()) or '"' in text or "'" in text


@given(text=LIKELY)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_of_lines_gives_the_tokens_of_the_whole(version, text):
    module = __import__("sys").modules[Library().get("lexer", version).module]
    whole = module.scan(text)
    parts = list(module.stream(text.splitlines(keepends=True) if "\n" in text else [text]))
    lines_agree = text.count("\n") == len([one for one in text.splitlines(keepends=True) if one.endswith("\n")])
    if lines_agree and "\r" not in text:
        assert sum((part.kinds for part in parts), ())[:-1] == whole.kinds[:-1]
        assert sum((part.starts for part in parts), ())[:-1] == whole.starts[:-1]


def test_keywords_operators_and_literals_have_kinds_of_their_own(lexer):
    assert kinds(lexer, "let x: int = 1 + 2.5e-3;") == "let name : name = int + float ; end"
    assert (
        kinds(lexer, "a->b::c==d!=e<=f>=g&&h||!i")
        == "name -> name :: name == name != name <= name >= name && name || ! name end"
    )
    assert kinds(lexer, "'a' \"b\" letter lets_go") == "string string name name end"


def test_comments_and_blank_lines_are_no_tokens(lexer):
    assert kinds(lexer, "# all of it\n\n  \t\n x # the rest\n#") == "name end"


def test_a_hash_inside_of_a_string_begins_no_comment(lexer):
    assert lexer.call('"a # b"').texts[0] == '"a # b"'


def test_columns_count_bytes_behind_characters_that_are_no_ascii(lexer):
    tokens = lexer.call('é = "ü"; x')
    assert [start & 0xFFFFF for start in tokens.starts[:-1]] == [0, 3, 5, 9, 11]


@pytest.mark.parametrize(
    ("text", "code", "kind"),
    [
        ('"abc', "lexer.string", "string"),
        ("'abc\\'", "lexer.string", "string"),
        ('"a\\q"', "lexer.escape", "string"),
        ('"\\u{110000}"', "lexer.escape", "string"),
        ("12ab", "lexer.number", "int"),
        ("1.2.3", "lexer.number", None),
        ("007", "lexer.number", "int"),
        ("9" * 5000, "lexer.number", "int"),
        ("@", "lexer.character", None),
        ("a & b", "lexer.character", None),
        ("\u00a0", "lexer.character", None),
        ("\U0001d518nicode", "lexer.name", "name"),
        ("__class__", "lexer.name", "name"),
    ],
)
def test_what_is_no_token_is_told_and_the_parser_can_go_on(lexer, text, code, kind):
    tokens = lexer.call(text)
    if kind is not None or text != "1.2.3":
        assert tokens.problems[0][1] == code
    if kind:
        assert tokens.kinds[0] == kind


def test_a_character_that_means_nothing_is_told_once_however_often_it_stands_there(lexer):
    assert len(lexer.call("@" * 10_000).problems) == 1


def test_a_line_that_is_longer_than_a_position_can_tell_is_refused(lexer):
    (problem,) = lexer.call("x" * (1 << 20)).problems
    assert problem[1] == "lexer.size"
    assert not lexer.call("x;" * (1 << 10)).problems


def test_newer_lexers_read_numbers_of_other_bases_in_groups(library):
    text = "0xff 0b1010 0o17 1_000_000 1_0.2_5e3"
    assert library.get("lexer", "1.0.0").call(text).problems
    tokens = library.get("lexer", "1.1.0").call(text)
    assert not tokens.problems
    assert tokens.texts[:-1] == ("255", "10", "15", "1000000", "10.25e3")
    assert tokens.ends[0] == tokens.starts[0] + 4


@pytest.mark.parametrize(
    "text", ['"' * 200_000, "'" + "\\" * 200_000, "(" * 200_000, "1" * 200_000, "#" * 200_000, "a." * 100_000]
)
def test_time_grows_with_the_length_and_not_faster(lexer, text):
    def cpu(source):
        begun = time.process_time()
        lexer.call(source)
        return time.process_time() - begun

    # Far from quadratic, for which it would be 16 times: no measurement, a guard against hanging.
    assert cpu(text) < 40 * cpu(text[: len(text) // 4]) + 0.5
