"""How a check says that a plugin does not conform."""

from __future__ import annotations

__all__ = ["ConformanceError", "insist"]


class ConformanceError(AssertionError):
    """A plugin does not keep a rule; the message says which, what was seen, and what to do."""


def insist(holds: object, message: str, hint: str = "") -> None:
    """Raise `ConformanceError` unless it holds."""
    if not holds:
        raise ConformanceError(f"{message} {hint}".rstrip())
