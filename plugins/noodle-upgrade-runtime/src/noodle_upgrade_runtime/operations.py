"""The unit of change: one C call with its inverse beside it, and the only code that carries lists of them out.

`deque(starmap(operator.call, calls), maxlen=0)` runs no bytecode between the calls, so that under the GIL no other
thread runs inside it: readers see everything before or everything after. That holds as long as every call is a C
function that runs no Python code: `setattr` on a plain module or type, `dict.__setitem__`, `list.__setitem__`, a slot
of a C type. The one who plans an operation answers for that.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import itertools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["Call", "Operation", "Script", "Tuning", "collector_paused", "gil_is_on", "held_for_undo"]

Call = tuple[Any, ...]
"""`(function, *arguments)`."""


class Operation(NamedTuple):
    """One binding: `do` carries it out, `undo` takes it back; `subject` names it for people.

    The values that a change replaces are held by `undo`, so that nothing is deallocated, and no finaliser runs, inside
    the atomic step.
    """

    do: Call
    undo: Call
    subject: str = ""


class Tuning(Operation):
    """An operation that changes nothing but how fast calls are: no part of a change, and carried out behind it."""

    __slots__ = ()


def gil_is_on() -> bool:
    """Whether this interpreter has a GIL: without one only a single pointer store is atomic."""
    probe: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return probe()


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No collection may start, and so no finaliser run, inside an atomic step."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _run(calls: Iterator[Call]) -> None:
    collections.deque(itertools.starmap(operator.call, calls), maxlen=0)


def held_for_undo(operations: Iterable[Operation]) -> set[int]:
    """Return the ids of all operations among these objects, and of what they hold: it must stay as it is.

    Whoever looks for the holders of an object finds the undo lists of every earlier change. A change is taken back only
    after every later one has been, and then finds what it holds as it left it. Of one change, those that are planned
    anew each time would be told by the others what must stand in their place, and put it back where it came from.
    """
    found: set[int] = set()
    for one in operations:
        found.update((id(one), id(one.do), id(one.undo)))
        for call in (one.do, one.undo):
            if call[0] in _FILLING and (call[0] is not list.__setitem__ or isinstance(call[2], slice)):
                found.update(map(id, call[2:]))
    return found


_FILLING = frozenset({
    list.__setitem__, dict.update, set.update, set.difference_update, collections.deque.extend,
    collections.OrderedDict.update,
})  # fmt: skip
"""What takes everything out of what it is given: that was made for it."""


class Script:
    """A list of operations, ready to be carried out and taken back; made once, because making it is the slow part.

    What only makes calls fast (`Tuning`) is no part of the atomic step: it is carried out behind it, by `tune`.
    """

    __slots__ = ("_applied", "_backward", "_forward", "_tuning", "operations")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = tuple(operations)
        bindings = [operation for operation in self.operations if type(operation) is not Tuning]
        self._tuning = [operation for operation in self.operations if type(operation) is Tuning]
        self._forward = [operation.do for operation in bindings]
        self._backward = [operation.undo for operation in reversed(bindings)]
        self._applied = False

    @property
    def applied(self) -> bool:
        """Whether the operations are in effect."""
        return self._applied

    def apply(self, *, tuned: bool = True) -> None:
        """Put all of them into effect, in order, in one atomic step; nothing when they already are.

        When one raises, which a trial should have shown before, those before it are taken back and the error goes on.
        Who is in a hurry has `tune` called later.
        """
        if self._applied:
            return
        calls = iter(self._forward)
        with collector_paused():
            try:
                _run(calls)
            except BaseException:
                self._take_back(len(self._forward) - operator.length_hint(calls) - 1)
                self.tune()
                raise
        self._applied = True
        if tuned:
            self.tune()

    def revert(self, *, tuned: bool = True) -> None:
        """Take all of them back, last first, in one atomic step; nothing when they are not in effect.

        When one raises, the others are taken back all the same, and the error goes on.
        """
        if not self._applied:
            return
        try:
            with collector_paused():
                self._take_back(len(self._forward))
            self._applied = False
        finally:
            if tuned or self._applied:
                self.tune()

    def tune(self) -> None:
        """Make calls as fast as they can be with what is in effect now."""
        _run(iter([one.do if self._applied else one.undo for one in self._tuning]))

    def trial(self) -> None:
        """Put them into effect and take them back within one atomic step, so that nobody sees it."""
        if self._applied:
            return
        calls = itertools.chain(forward := iter(self._forward), self._backward)
        try:
            with collector_paused():
                _run(calls)
        except BaseException:
            left = operator.length_hint(forward)
            # With some left it failed on the way there: those that were made go back. With none left it may have
            # failed on either way: every inverse is made again, which is harmless, since each sets a known value.
            with collector_paused():
                self._take_back(len(self._forward) - left - 1 if left else len(self._forward))
            raise
        finally:
            self.tune()

    def _take_back(self, made: int) -> None:
        """Make the inverses of the first `made` operations, last first, past any that raise; then raise the first."""
        first: BaseException | None = None
        calls = iter(self._backward[len(self._backward) - made :] if made else [])
        while True:
            try:
                _run(calls)
            except BaseException as error:  # noqa: BLE001 - an undo goes on to its end
                first = first or error
            else:
                break
        if first is not None:
            raise first
