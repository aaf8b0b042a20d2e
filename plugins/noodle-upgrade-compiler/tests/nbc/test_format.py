"""NBC files: what is written is read back, and what is anything else is an error."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_compiler.artifacts import digest_of
from noodle_upgrade_compiler.compiler import TRIAL, Compiler
from noodle_upgrade_compiler.errors import NbcError
from noodle_upgrade_compiler.nbc import format as nbc
from noodle_upgrade_compiler.nbc.code import Limits
from noodle_upgrade_compiler.nbc.verifier import verify

FILE = Compiler().compile(TRIAL, "trial.noodle", targets=("nbc",)).nbc_bytecode
HEAD = 22


def sealed(body):
    """A file with a digest that fits, whatever it holds."""
    return nbc.MARK + struct.pack("<H", nbc.VERSION) + nbc._digest(bytes(body)) + bytes(body)


def test_what_is_read_is_written_as_the_same_bytes():
    assert nbc.dumps(nbc.loads(FILE)) == FILE
    verify(nbc.loads(FILE))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no NBC file"),
        (b"PK\x03\x04" + FILE[4:], "no NBC file"),
        (FILE[:4] + b"\x02\x00" + FILE[6:], "version 2"),
        (FILE[:-1] + b"\x01", "damaged"),
        (FILE[:100], "damaged"),
        (sealed(FILE[HEAD:-1]), "too early"),
        (sealed(FILE[HEAD:] + b"\0"), "follows the end"),
        (sealed(b"\xff\xff\xff\xff\xff\xff"), "too large"),
        (sealed(b"\x80\x00"), "longer than it is"),
        (sealed(b"\x02\xff\xfe"), "UTF-8"),
        (sealed(b"\x00\xff\xff\xff\xff\x0f"), "items follow"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_reason(data, told):
    with pytest.raises(NbcError, match=told):
        nbc.loads(data)


def test_a_file_larger_than_the_limit_is_not_even_looked_at():
    with pytest.raises(NbcError, match="may have 10 bytes"):
        nbc.loads(FILE, Limits(bytes=10))


@given(st.lists(st.tuples(st.integers(0, len(FILE) - HEAD - 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=500)
def test_any_damage_is_an_error_or_a_file_that_can_be_run(changes):
    body = bytearray(FILE[HEAD:])
    for index, value in changes:
        body[index] = value
    try:
        code = nbc.loads(sealed(body))
        verify(code)
    except NbcError:
        return
    assert nbc.loads(nbc.dumps(code)) is not None


@given(st.binary(max_size=400))
@settings(max_examples=500)
def test_any_bytes_at_all_are_an_error_or_a_file(body):
    with contextlib.suppress(NbcError):
        verify(nbc.loads(sealed(body)))


def test_equal_parts_have_equal_digests_and_others_none_of_theirs():
    assert digest_of(b"ab", b"c") == digest_of(b"ab", b"c") != digest_of(b"a", b"bc")
