"""The lexer of Noodle: text to tokens, in linear time.

Since 1.1 whole numbers may be hexadecimal, octal and binary, and all may be grouped: `0xff`, `1_000_000`.

One call of `findall` cuts the source into parts, blanks and comments included; where they begin and what kind they are
is computed by built-in functions over whole lists. A loop over matches takes several times as long.

Tokens are columns of equal length, plain values that any version of the parser can read:

    kinds   "name", "int", "float", "string", "end", or for keywords, operators and brackets the text itself
    texts   the token as it stands in the source, numbers in decimal digits
    starts  where it begins, packed: line << 20 | column; lines count from 1, columns are UTF-8 bytes from 0
    ends    where it ends, the same way

What cannot be a token is told in `problems` (severity, code, message, start, end, hint) and left out, so that the
parser goes on behind it.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import accumulate, compress, count
from typing import NamedTuple

__version__ = "1.1.0"
__hot_swappable__ = True
__critical__ = True

KEYWORDS = frozenset(
    "let def return if else for in while break continue import from as class struct interface implements extends"
    " type enum match case default async await yield true false none".split()
)
OPERATORS = ("->", "::", "==", "!=", "<=", ">=", "&&", "||", "+", "-", "*", "/", "%", "=", "<", ">", "!")
BRACKETS = ("(", ")", "[", "]", "{", "}", ",", ";", ":", ".")

LINE = 20
LONGEST_LINE = (1 << LINE) - 1
"""Bytes: a column has to fit beside the line in a position."""
MOST_LINES = 1 << 24
LONGEST_NUMBER = 4000
"""Digits: Python converts no longer ones."""

_ONE = (
    r"(?:[a-zA-Z_][a-zA-Z0-9_]*+(?![^\x00-\x7f])|[(){}\[\],;.]"
    r"|->|::|[=!<>]=|&&|\|\|"
    r"|0[xob]\w*+"
    r"|\d\w*+(?:\.\d\w*+)?(?:(?<=[eE])[+-]\d\w*+)?"
    r'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+(?:"|\\?)'
    r"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+(?:'|\\?)"
    r"|[^\W\d]\w*+|[^\s#]|[^\S \t\r\f\n])"
)
_BLANKS = r"[ \t\r\f\n]*+(?:#.*+[ \t\r\f\n]*+)*+"
_PART = re.compile(_ONE + _BLANKS)
"""A token and what stands behind it up to the next one: blanks, comments, ends of lines."""
_BARE = re.compile(_ONE)
_SPACES = " \t\r\f\n"
_FIRST = re.compile(_BLANKS)
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_INT = re.compile(_DIGITS)
_FLOAT = re.compile(rf"{_DIGITS}(?:\.{_DIGITS})?(?:[eE][+-]?{_DIGITS})?")
_MOST_BITS = 13_000
_OTHER_BASE = re.compile(r"0(?:x[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|o[0-7]+(?:_[0-7]+)*|b[01]+(?:_[01]+)*)")
MOST_PROBLEMS = 100
_ESCAPE = re.compile(r"\\(?:[nrt0\\'\"]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]{1,6}\}|(.?))")
_FIXED = {text: text for text in (*KEYWORDS, *OPERATORS, *BRACKETS)}
_LIKELY = {"&": "&&", "|": "||"}

Problem = tuple[str, str, str, int, int, str]


class Tokens(NamedTuple):
    """The columns of a file, or of a line of it."""

    kinds: tuple[str, ...]
    texts: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    problems: tuple[Problem, ...]


class _Wrong(NamedTuple):
    """What is no token: what is said of it, and the token that stands in its place, for the parser to go on with."""

    code: str
    message: str
    hint: str = ""
    kind: str = ""
    text: str = ""


class _Parts(dict[str, int]):
    """The different parts of a source by number, and what is to be known of each: columns that a number looks up.

    A part is looked into when it is first met; there are few different ones. Number 0 is the end of the file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kinds = ["end"]
        """With "" for what is no token."""
        self.texts = [""]
        self.sizes = [0]
        """Bytes, with the blanks."""
        self.lengths = [0]
        """Bytes of the token."""
        self.breaks = [0]
        """Ends of lines."""
        self.wrong: dict[str, _Wrong] = {}
        self.decimal: dict[str, str] = {}

    def __missing__(self, part: str) -> int:
        bare = part.rstrip(_SPACES)
        if "#" in bare:
            found = _BARE.match(bare)
            bare = bare if found is None else found[0]
        judged: str | _Wrong = _FIXED.get(bare, "")
        if not judged:
            plain = bare.isascii() and bare.isidentifier() and bare[:2] != "__"
            judged = "name" if plain else _judge(bare)
        if isinstance(judged, _Wrong):
            self.wrong[bare] = judged
            judged = ""
        elif judged == "int" and not bare.isdecimal():
            # Parsers know whole numbers in decimal digits only.
            self.decimal[bare] = str(int(bare, 0))
        elif judged == "float" and "_" in bare:
            self.decimal[bare] = bare.replace("_", "")
        number = self[part] = len(self.kinds)
        self.kinds.append(judged)
        self.texts.append(bare)
        self.sizes.append(_bytes_of(part))
        self.lengths.append(_bytes_of(bare))
        self.breaks.append(part.count("\n"))
        return number


def scan(text: str) -> Tokens:
    """Return the tokens of a whole file; there is always one of the kind "end" behind the last."""
    told = _beyond_limits(text)
    if told:
        return Tokens(("end",), ("",), (1 << LINE,), (1 << LINE,), told)
    return _cut(text, 1, _Parts())


def stream(lines: Iterable[str]) -> Iterator[Tokens]:
    """Yield the tokens of each line that has some, for whoever reads a file bit by bit; "end" comes at the end."""
    known, number, last = _Parts(), 0, ""
    for number, last in enumerate(lines, 1):
        if told := _beyond_limits(last, number):
            yield Tokens((), (), (), (), told)
            return
        tokens = _cut(last.removesuffix("\n"), number, known)
        if len(tokens.kinds) > 1 or tokens.problems:
            kinds, texts, starts, ends, problems = tokens
            yield Tokens(kinds[:-1], texts[:-1], starts[:-1], ends[:-1], problems)
    end = (number + 1) << LINE if last.endswith("\n") else max(1, number) << LINE | _bytes_of(last)
    yield Tokens(("end",), ("",), (end,), (end,), ())


def _cut(text: str, first: int, known: _Parts) -> Tokens:
    """Return the tokens of some lines, of which the first has this number, and the end behind them."""
    lead = _FIRST.match(text)
    begin = lead.end() if lead is not None else 0
    numbers = [*map(known.__getitem__, _PART.findall(text, begin)), 0]
    # An item getter of two items or more returns a tuple.
    get = operator.itemgetter(*numbers) if len(numbers) > 1 else lambda column: (column[0],)
    texts: tuple[str, ...] = get(known.texts)
    starts = _starts(text, first, begin, get(known.sizes), get(known.breaks))
    if known.wrong:
        tokens = _repaired(texts, get(known.kinds), starts, known.wrong)
    else:
        tokens = Tokens(get(known.kinds), texts, starts, tuple(map(operator.add, starts, get(known.lengths))), ())
    if known.decimal:
        decimal = known.decimal
        tokens = tokens._replace(texts=tuple([decimal.get(text, text) for text in tokens.texts]))
    return tokens


def _starts(text: str, first: int, begin: int, sizes: tuple[int, ...], breaks: tuple[int, ...]) -> tuple[int, ...]:
    """Return where each part begins: a position is the one before and the part's bytes, but where a line ends."""
    whole = text if text.isascii() else text.encode(errors="surrogatepass")
    lengths = map(len, whole.split("\n") if isinstance(whole, str) else whole.split(b"\n"))
    begins = list(accumulate(lengths, initial=0))
    """Where each line begins, ends of lines not counted: in bytes from the beginning of the text."""
    steps = list(sizes)
    at = line = text.count("\n", 0, begin)
    for index in compress(count(), breaks):
        more = breaks[index]
        # One line further is 1 << LINE, and its columns begin at 0 again.
        steps[index] += more * ((1 << LINE) - 1) - begins[line + more] + begins[line]
        line += more
    position = (first + at) << LINE | (_bytes_of(text[:begin]) - begins[at] - at)
    return tuple(accumulate(steps[:-1], initial=position))


def _bytes_of(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _judge(text: str) -> str | _Wrong:
    """Return the kind of a token that is no keyword or operator, or what is wrong with it."""
    first = text[0]
    if first in "\"'":
        return _judged_string(text, first)
    if first.isdigit():
        return _judged_number(text)
    if first == "_" or first.isalpha() or text.isidentifier():
        return _judged_name(text)
    shown = f"U+{ord(first):04X}" if not first.isprintable() else repr(first)
    likely = _LIKELY.get(text)
    hint = f"Did you mean {likely}?" if likely else ""
    return _Wrong("lexer.character", f"{shown} means nothing in Noodle.", hint, likely or "", likely or "")


def _judged_string(text: str, quote: str) -> str | _Wrong:
    if len(text) < 2 or text[-1] != quote or not _is_closed(text):  # noqa: PLR2004
        told = "The string does not end on its line."
        return _Wrong("lexer.string", told, f"Close it with {quote}.", "string", '""')
    if "\\" in text:
        for found in _ESCAPE.finditer(text):
            if found[1] is not None:
                hint = "There are \\n \\r \\t \\0 \\\\ \\' \\\" \\x41 \\u00e9 \\u{1F35C}."
                return _Wrong("lexer.escape", f"There is no escape {found[0]} in strings.", hint, "string", '""')
            if not _is_character(found[0]):
                return _Wrong("lexer.escape", f"There is no character {found[0]}.", "", "string", '""')
    if any("\ud800" <= character <= "\udfff" for character in text):
        return _Wrong("lexer.character", "The string holds a character that no file may have.", "", "string", '""')
    return "string"


def _is_character(escape: str) -> bool:
    """Whether an escape stands for a character: halves of surrogate pairs are none."""
    if escape[1] not in "xu":
        return True
    code = int(escape[3:-1] if escape[2] == "{" else escape[2:], 16)
    return code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF  # noqa: PLR2004 - where Unicode ends, and those halves


def _is_closed(text: str) -> bool:
    """Whether the last quote is one, and not escaped."""
    backslashes = len(text) - 1 - len(text[:-1].rstrip("\\"))
    return backslashes % 2 == 0


def _judged_number(text: str) -> str | _Wrong:  # noqa: PLR0911 - one for each form
    if len(text) > LONGEST_NUMBER:
        told = f"A number may have {LONGEST_NUMBER:,} digits, and not {len(text):,}."
        return _Wrong("lexer.number", told, "", "int", "0")
    if _OTHER_BASE.fullmatch(text):
        if int(text, 0).bit_length() > _MOST_BITS:
            told = f"A number may have {LONGEST_NUMBER:,} decimal digits, and this one has more."
            return _Wrong("lexer.number", told, "", "int", "0")
        return "int"
    if _INT.fullmatch(text):
        if text[0] == "0" and text.strip("0_"):
            return _Wrong("lexer.number", f"{text} begins with 0.", "Leave the zeros out.", "int", "0")
        return "int"
    if text[0] == "0" and text[1:2] not in (".", "e", "E"):
        return _Wrong("lexer.number", f"{_short(text)} begins with 0.", "Leave the zeros out.", "float", "0.0")
    if _FLOAT.fullmatch(text):
        return "float"
    return _Wrong("lexer.number", f"{_short(text)} is no number.", "A name cannot begin with a digit.", "int", "0")


def _judged_name(text: str) -> str | _Wrong:
    if not text.isascii() and (plain := unicodedata.normalize("NFKC", text)) != text:
        told = f"{_short(text)} is written with look-alike characters."
        return _Wrong("lexer.name", told, f"Write {_short(plain)}.", "name", plain if plain.isidentifier() else "_")
    if not text.isidentifier():
        return _Wrong("lexer.name", f"{_short(text)} is no name.", "", "name", "_")
    if text.startswith("__"):
        told = f"{_short(text)}: names that begin with two underscores are Python's own."
        return _Wrong("lexer.name", told, "", "name", text)
    return "name"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}…"  # noqa: PLR2004


def _repaired(
    parts: tuple[str, ...], found: tuple[str, ...], starts: tuple[int, ...], wrong: dict[str, _Wrong]
) -> Tokens:
    """Return the tokens with others in the place of those that are none; one fault many times in a row is told once."""
    told: list[Problem] = []
    made: list[tuple[str, str, int, int]] = []
    for part, kind, start in zip(parts, found, starts, strict=False):
        end = start + _bytes_of(part)
        if kind:
            made.append((kind, part, start, end))
        elif (fault := wrong.get(part)) is not None:
            if fault.kind:
                made.append((fault.kind, fault.text, start, end))
            if told and told[-1][1:3] == fault[:2] and told[-1][4] == start:
                told[-1] = (*told[-1][:4], end, fault.hint)
            elif len(told) < MOST_PROBLEMS:
                told.append(("error", fault.code, fault.message, start, end, fault.hint))
    kinds, texts, at, ends = tuple(zip(*made, strict=True)) if made else ((), (), (), ())
    return Tokens(kinds, texts, at, ends, tuple(told))


def _beyond_limits(text: str, first: int = 1) -> tuple[Problem, ...]:
    """Say what is too long for a position to tell: nothing, for nearly every file."""
    if len(text) <= LONGEST_LINE // 4 and first < MOST_LINES // 2:
        return ()
    for number, line in enumerate(text.split("\n"), first):
        if number >= MOST_LINES or (len(line) > LONGEST_LINE // 4 and _bytes_of(line) > LONGEST_LINE):
            return (_too_long(number, number << LINE),)
    return ()


def _too_long(number: int, at: int) -> Problem:
    if number >= MOST_LINES:
        return "error", "lexer.size", f"A file may have {MOST_LINES - 1:,} lines.", at, at, ""
    return "error", "lexer.size", f"A line may have {LONGEST_LINE:,} bytes, and not more.", at, at, "Break the line."
