"""NBC as a file: strict, bounded, without pickle. What is not as it should be is an error, and nothing else.

    89 4E 42 43     the mark
    version         u16, little-endian: 1
    digest          16 bytes of BLAKE2b over what follows
    module          a code

Numbers are LEB128 of at most 5 bytes. Text is its length in bytes, then UTF-8. A list is its length, then its items; no
length is more than the bytes that are left. A code is its fields in the order of `Code`.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from typing import TypeVar

from noodle_upgrade_compiler.errors import NbcError
from noodle_upgrade_compiler.nbc.code import Code, Constant, Limits, Shape
from noodle_upgrade_compiler.nbc.operations import OPERATIONS

__all__ = ["MARK", "VERSION", "dumps", "loads"]

MARK = b"\x89NBC"
VERSION = 1
_DIGEST = 16
_HEAD = len(MARK) + 2 + _DIGEST
_HAS_ARGUMENT = tuple(operation.argument != "none" for operation in OPERATIONS)
_FLAGS = ("async", "generator")
_KINDS = ("class", "struct", "interface", "enum")
_NONE, _FALSE, _TRUE, _INT, _NEGATIVE, _FLOAT, _TEXT = range(7)

_Item = TypeVar("_Item")


# --- writing ---------------------------------------------------------------------------------------------------------


def dumps(code: Code) -> bytes:
    """Return a module's code as the bytes of a file."""
    body = bytearray()
    _write_code(body, code)
    return MARK + struct.pack("<H", VERSION) + _digest(bytes(body)) + bytes(body)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST).digest()


def _write_code(out: bytearray, code: Code) -> None:
    _write_text(out, code.name)
    _write_texts(out, code.parameters)
    _write_number(out, code.required)
    for texts in (code.locals, code.captured, code.free):
        _write_texts(out, texts)
    _write_number(out, sum(1 << bit for bit, flag in enumerate(_FLAGS) if flag in code.flags))
    _write_number(out, len(code.constants))
    for constant in code.constants:
        _write_constant(out, constant)
    _write_texts(out, code.names)
    _write_number(out, len(code.instructions))
    for number, argument in code.instructions:
        out.append(number)
        if _HAS_ARGUMENT[number]:
            _write_number(out, argument)
    _write_number(out, len(code.positions))
    for position in code.positions:
        for part in (position[0], *(half for place in position[1:] for half in (place >> 20, place & 0xFFFFF))):
            _write_number(out, part)
    _write_number(out, len(code.codes))
    for inner in code.codes:
        _write_code(out, inner)
    _write_number(out, len(code.shapes))
    for shape in code.shapes:
        _write_number(out, _KINDS.index(shape.kind))
        _write_text(out, shape.name)
        _write_number(out, int(shape.has_base))
        _write_number(out, shape.given)
        _write_texts(out, shape.members)


def _write_number(out: bytearray, number: int) -> None:
    while number > 0x7F:  # noqa: PLR2004
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_text(out: bytearray, text: str) -> None:
    data = text.encode()
    _write_number(out, len(data))
    out += data


def _write_texts(out: bytearray, texts: tuple[str, ...]) -> None:
    _write_number(out, len(texts))
    for text in texts:
        _write_text(out, text)


def _write_constant(out: bytearray, value: Constant) -> None:
    if value is None or isinstance(value, bool):
        out.append({None: _NONE, False: _FALSE, True: _TRUE}[value])
    elif isinstance(value, int):
        out.append(_NEGATIVE if value < 0 else _INT)
        size = (abs(value).bit_length() + 7) // 8
        _write_number(out, size)
        out += abs(value).to_bytes(size, "little")
    elif isinstance(value, float):
        out.append(_FLOAT)
        out += struct.pack("<d", value)
    else:
        out.append(_TEXT)
        _write_text(out, value)


# --- reading ---------------------------------------------------------------------------------------------------------


def loads(data: bytes, limits: Limits = Limits()) -> Code:  # noqa: B008 - a frozen value
    """Return the code of a file. It has been read, and not verified: see `verify`.

    Raises `NbcError` for anything that is not such a file, in time and memory that grow with its size only.
    """
    if len(data) > limits.bytes:
        raise NbcError(f"An NBC file may have {limits.bytes:,} bytes, and this one has {len(data):,}.")
    if not data.startswith(MARK) or len(data) < _HEAD:
        raise NbcError("This is no NBC file.")
    (version,) = struct.unpack_from("<H", data, len(MARK))
    if version != VERSION:
        raise NbcError(
            f"The file is NBC version {version}, and only {VERSION} is known here.", hint="Compile its source again."
        )
    body = data[_HEAD:]
    if _digest(body) != data[_HEAD - _DIGEST : _HEAD]:
        raise NbcError("The file is damaged: its digest does not fit.", hint="Compile its source again.")
    reader = _Reader(body, limits)
    code = reader.code(0)
    reader.end()
    return code


class _Reader:
    """Reads a body from front to back; every length is held against what is left."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._data, self._limits, self._at = data, limits, 0

    def end(self) -> None:
        if self._at != len(self._data):
            raise NbcError("Something follows the end of the module.")

    def code(self, depth: int) -> Code:
        if depth > self._limits.nesting:
            raise NbcError(f"Functions lie more than {self._limits.nesting} deep inside one another.")
        return Code(
            self.text(),
            self.texts(),
            self.number(),
            self.texts(),
            self.texts(),
            self.texts(),
            self._flags(),
            self._several(self._constant),
            self.texts(),
            self._several(self._instruction),
            self._several(self._position),
            self._several(lambda: self.code(depth + 1)),
            self._several(self._shape),
        )

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self._bytes(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004
                if byte == 0 and shift:
                    raise NbcError("A number is written longer than it is.")
                if value > 0xFFFFFFFF:  # noqa: PLR2004
                    raise NbcError("A number is too large.")
                return value
            shift += 7
            if shift > 28:  # noqa: PLR2004
                raise NbcError("A number is too large.")

    def text(self) -> str:
        try:
            return self._bytes(self.number()).decode()
        except UnicodeDecodeError as error:
            raise NbcError(f"A text is not UTF-8: {error.reason}.") from None

    def texts(self) -> tuple[str, ...]:
        return self._several(self.text)

    def _several(self, read: Callable[[], _Item]) -> tuple[_Item, ...]:
        count = self.number()
        if count > len(self._data) - self._at:
            raise NbcError(f"It says that {count:,} items follow, and has fewer bytes than that.")
        return tuple([read() for _ in range(count)])

    def _bytes(self, count: int) -> bytes:
        begin, self._at = self._at, self._at + count
        if self._at > len(self._data):
            raise NbcError("The file ends too early.")
        return self._data[begin : self._at]

    def _flags(self) -> frozenset[str]:
        bits = self.number()
        if bits >> len(_FLAGS):
            raise NbcError("A function has a flag that nobody knows.")
        return frozenset(flag for bit, flag in enumerate(_FLAGS) if bits >> bit & 1)

    def _constant(self) -> Constant:
        kind = self._bytes(1)[0]
        if kind in (_NONE, _FALSE, _TRUE):
            return (None, False, True)[kind]
        if kind in (_INT, _NEGATIVE):
            return self._whole_number(negative=kind == _NEGATIVE)
        if kind == _FLOAT:
            value: float = struct.unpack("<d", self._bytes(8))[0]
            if math.isnan(value):
                raise NbcError("A constant is no number.")
            return value
        if kind == _TEXT:
            return self.text()
        raise NbcError(f"There is no kind {kind} of constants.")

    def _whole_number(self, *, negative: bool) -> int:
        size = self.number()
        if size > self._limits.digits:
            raise NbcError(f"A whole number has {size:,} bytes; {self._limits.digits:,} are allowed.")
        digits = self._bytes(size)
        if digits.endswith(b"\0") or (negative and not digits):
            raise NbcError("A number is written longer than it is.")
        value = int.from_bytes(digits, "little")
        return -value if negative else value

    def _instruction(self) -> tuple[int, int]:
        number = self._bytes(1)[0]
        if number >= len(OPERATIONS):
            raise NbcError(f"There is no operation {number}.")
        return number, self.number() if _HAS_ARGUMENT[number] else 0

    def _position(self) -> tuple[int, int, int]:
        index, line, column, end_line, end_column = (self.number() for _ in range(5))
        if max(line, end_line) >= 1 << 24 or max(column, end_column) >= 1 << 20:
            raise NbcError("A position lies outside of any file.")
        return index, line << 20 | column, end_line << 20 | end_column

    def _shape(self) -> Shape:
        kind = self.number()
        if kind >= len(_KINDS):
            raise NbcError(f"There is no kind {kind} of types.")
        name, has_base = self.text(), self.number()
        if has_base > 1:
            raise NbcError("A class has a base, or none.")
        return Shape(_KINDS[kind], name, bool(has_base), self.number(), self.texts())
