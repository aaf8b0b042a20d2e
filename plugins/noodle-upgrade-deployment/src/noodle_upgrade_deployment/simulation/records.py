"""What is written down over time, and never more than is wanted: of a long course every second note, or fourth."""

from __future__ import annotations

from typing import Any

__all__ = ["Record"]


class Record:
    """At most `most` notes with their moments, spread evenly over all that came, and always the last one.

    `wants` says whether the next note would be kept, for notes that cost something to make. With `most` 0 none is.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[float, Any]] = []
        self._every, self._came = 1, 0
        self._last: tuple[float, Any] | None = None

    @property
    def wants(self) -> bool:
        """Whether the next note would be kept."""
        return self._most > 0 and self._came % self._every == 0

    def add(self, at: float, value: Any) -> None:
        """Note something."""
        if self.wants:
            self._kept.append((at, value))
            if len(self._kept) >= max(2, self._most):
                self._kept = self._kept[::2]
                self._every *= 2
        self._came += 1
        self._last = (at, value) if self._most else None

    def skip(self) -> None:
        """Something came that was not worth making a note of."""
        self._came += 1

    def notes(self) -> tuple[tuple[float, Any], ...]:
        """Return what was kept, in its order."""
        if self._last is None or (self._kept and self._kept[-1] == self._last):
            return tuple(self._kept)
        return (*self._kept, self._last)
