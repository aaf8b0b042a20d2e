"""Which objects were made by private loads: the only ones that may be changed before the commit."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterable
from typing import Any, Self

from noodle_upgrade_runtime.asking import HEAP_TYPE, is_class
from noodle_upgrade_runtime.heap import Since, tracked

__all__ = ["Inventory"]


class Inventory:
    """Tells what was made while it watched: `with inventory.watch(): ...`.

    While it watches, everything that existed before is held, so that no id is used twice; tuples are not, and are what
    they hold. Objects that the collector does not track count as made.
    """

    def __init__(self) -> None:
        self._made: set[int] = set()
        self._before: set[int] = set()
        self._heap: list[Any] = []
        self._depth = 0
        self._since = Since()
        self._was_on = False

    def made(self, value: Any) -> bool:
        """Return whether an object was made by a private load."""
        if is_class(value) and not value.__flags__ & HEAP_TYPE:
            return False  # the interpreter's own, which the collector does not track either
        if type(value) is tuple:
            return any(map(self.made, value)) or not gc.is_tracked(value)
        if self._depth:
            return id(value) not in self._before or id(value) in self._made
        return id(value) in self._made or not gc.is_tracked(value)

    def made_in(self, roots: Iterable[Any]) -> set[int]:
        """Return the ids of what was made and is reached from `roots` now: ids are used again."""
        found: set[int] = set()
        fresh = [one for one in roots if self._is_kept(one)]
        while fresh:
            found.update(map(id, fresh))
            # Modules are not asked: see `Heap.holders`.
            held = gc.get_referents(*(vars(one) if type(one) is types.ModuleType else one for one in fresh))
            fresh = list({id(one): one for one in held if id(one) not in found and self._is_kept(one)}.values())
        return found

    def _is_kept(self, value: Any) -> bool:
        """Whether an object was made by a private load, and not only counts as made."""
        return id(value) in self._made or (type(value) is tuple and any(map(self._is_kept, value)))

    def watch(self, heap: list[Any] | None = None) -> Self:
        """Take note, within the context that this is, of what is made from now on; `heap` is what there is now.

        A watch within a watch changes nothing, and looks at nothing: the outer one sees what the inner one would.
        """
        if not self._depth:
            heap = tracked() if heap is None else heap
            self._heap, self._before = heap, set(map(id, heap))
            self._before.add(id(heap))
        return self

    def __enter__(self) -> Self:
        if not self._depth:
            self._was_on = gc.isenabled()
            gc.disable()
            # Noted where no object of ours is made by it, whose id would soon be another one's.
            self._before.update((id(self._since), id(vars(self._since))))
            self._since.begin()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            # What was made is young, unless somebody has let the collector run.
            young = self._since.young()
            now = tracked() if young is None else young
            if self._was_on:
                gc.enable()
            # What this class needs for itself would leave its ids to objects of the program.
            self._before.update((id(self._before), id(self._made)))
            self._made.update(set(map(id, now)) - self._before)
            self._heap, self._before = [], set()

    def give_up(self) -> None:
        """Let go of what is held, and let the collector go on: an import that hangs would keep both for ever."""
        self._heap.clear()
        if self._depth and self._was_on:
            gc.enable()

    def spare(self, values: Iterable[Any]) -> None:
        """Count these as there before."""
        if self._depth:
            self._before.update(map(id, values))
