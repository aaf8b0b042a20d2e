"""Which objects were made by private loads: the only ones that may be changed before the commit."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Inventory"]


class Inventory:
    """Tells what was made while a `watch` was on. Objects that the collector does not track count as made.

    While a watch is on, everything that existed before is held, so that no id is used twice.
    """

    def __init__(self) -> None:
        self._made: set[int] = set()
        self._before: set[int] | None = None

    def made(self, value: Any) -> bool:
        """Return whether an object was made by a private load."""
        if self._before is not None:
            return id(value) not in self._before or id(value) in self._made
        return id(value) in self._made or not gc.is_tracked(value)

    @contextmanager
    def watch(self, heap: Sequence[Any]) -> Iterator[None]:
        """Take note of what is made from now on; `heap` are the objects that there are now, and is held meanwhile.

        A watch within a watch changes nothing: the outer one sees what the inner one would.
        """
        if self._before is not None:
            yield
            return
        self._before = set(map(id, heap))
        self._before.add(id(heap))
        try:
            yield
        finally:
            before, self._before = self._before, None
            self._made.update(found for found in map(id, gc.get_objects()) if found not in before)

    def spare(self, values: Iterable[Any]) -> None:
        """Count these as there before."""
        if self._before is not None:
            self._before.update(map(id, values))
