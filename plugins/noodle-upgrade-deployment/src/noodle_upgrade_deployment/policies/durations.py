"""Seconds in words."""

from __future__ import annotations

from typing import Final

__all__ = ["duration"]

_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60))


def duration(seconds: float) -> str:
    """Return seconds as people say them: `1.5 s`, `5 minutes`, `1 hour`, `2 days 12 hours`."""
    parts, rest = [], round(seconds)
    for word, length in _UNITS:
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {word}{'s' * (count != 1)}")
    if rest or not parts:
        parts.append(f"{rest if parts else round(seconds, 3):g} s")
    return " ".join(parts)
