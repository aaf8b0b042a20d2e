"""Who holds a function besides the modules of its own package, so that its identity matters to somebody."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterable, Sequence
from typing import Any

from noodle_upgrade_runtime.asking import is_a
from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.operations import Operation, held_for_undo

__all__ = ["held_elsewhere"]

_NOBODY = (types.FrameType, types.CodeType)


def held_elsewhere(functions: Sequence[Any], heap: Heap, modules: Iterable[Any]) -> set[int]:
    """Return the ids of the functions that a module binds and that something else than `modules` holds as well."""
    spaces = [vars(module) for module in modules if is_a(module, types.ModuleType)]
    bound = {id(value) for space in spaces for value in space.values()}
    wanted = {id(one) for one in functions} & bound
    ours = {id(space) for space in spaces}
    undo = held_for_undo(heap.of([Operation])) if wanted else set()
    found: set[int] = set()
    for holder in heap.holders([one for one in functions if id(one) in wanted]):
        if id(holder) not in ours and id(holder) not in undo and not is_a(holder, _NOBODY):
            found |= wanted.intersection(map(id, gc.get_referents(holder)))
    return found
