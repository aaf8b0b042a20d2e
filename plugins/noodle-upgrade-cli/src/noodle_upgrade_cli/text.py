"""Text that comes from elsewhere, made safe to print: a name must not move the cursor or hide a word."""

from __future__ import annotations

import unicodedata
from typing import Any

__all__ = ["clean", "clean_lines", "count", "counted", "milliseconds", "seconds", "sentence", "span", "when"]

# Cc: control, Cf: format (bidirectional overrides, zero width), Cs: lone surrogates, Co/Cn: no agreed glyph,
# Zl/Zp: line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_OPENINGS = frozenset({"a", "an", "it", "no", "the", "there", "this"})


def clean(value: Any, *, limit: int = 4000) -> str:
    """Return one line of text without control characters: each is shown as its escape, line ends as spaces."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text) - limit} more characters)"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def clean_lines(value: Any, *, limit: int = 20_000) -> str:
    """Return text of several lines, each of them clean."""
    return "\n".join(clean(line, limit=limit) for line in str(value)[:limit].split("\n"))


def sentence(value: Any) -> str:
    """Return a message as clean lines that begin like a sentence and end in one full stop, whatever made it."""
    text = clean_lines(value).rstrip()
    if text.partition(" ")[0] in _OPENINGS:  # any other word may be a name, which is written as it is
        text = text[0].upper() + text[1:]
    if text.endswith("..") and not text.endswith("..."):
        return text[:-1]
    return text if not text or text.endswith((".", "!", "?", "…")) else f"{text}."


def counted(number: int, word: str) -> str:
    """Return `1 warning`, `2 warnings`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _visible(character: str) -> str:
    if character in "\n\t":
        return " "
    if unicodedata.category(character) in _UNSAFE:
        return character.encode("unicode_escape").decode("ascii")
    return character


def count(value: Any) -> str:
    """Return a whole number with separators, or a dash for none."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else "-"


def milliseconds(value: Any) -> str:
    """Return a number of milliseconds for people, or a dash for none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"  # noqa: PLR2004 - ms in a second


def seconds(value: Any) -> str:
    """Return a number of seconds for people, or a dash for none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return milliseconds(value * 1000)


def when(value: Any) -> str:
    """Return an ISO 8601 time of the API as `2031-05-04 10:20:30Z`, or the text as it is."""
    text = clean(value or "-", limit=64)
    date, separator, clock = text.partition("T")
    if not separator:
        return text
    zone = "Z" if clock.endswith(("+00:00", "Z")) else clock[8:].lstrip(".0123456789")
    return f"{date} {clock[:8]}{zone}"


def span(start: Any, end: Any) -> float | None:
    """Return the seconds between two ISO 8601 times, or None where either is missing or not a time."""
    from datetime import datetime  # noqa: PLC0415 - used by a few tables only

    try:
        return (datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))).total_seconds()
    except (ValueError, TypeError):
        return None
