"""The lanes in front of a component's handles: laid when traffic begins to move, lifted when it no longer does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.handles import flip
from noodle_upgrade_runtime.operations import Operation, Script
from noodle_upgrade_runtime.routing import Lane
from noodle_upgrade_runtime.turns import Turn

__all__ = ["Lanes", "Paving"]

Methods = Mapping[str, Callable[..., Any]]
Paving = Callable[[Turn, Lane], Methods]
"""Makes the methods that a handle gets while its lane is laid."""


@frozen(eq=False)
class _Laid:
    turn: Turn
    lane: Lane
    methods: Methods


class Lanes:
    """Puts methods that choose a version, or copy calls, into handles, and the plain ones back.

    All handles change in one atomic step. A handle that has died is passed over.
    """

    def __init__(self, pave: Paving) -> None:
        self._pave = pave
        self._laid: dict[int, _Laid] = {}
        self._left: list[Lane] = []

    def __bool__(self) -> bool:
        return bool(self._laid)

    def of(self, turn: Turn) -> Lane:
        """Return the lane of a handle that has one."""
        return self._laid[id(turn)].lane

    def inside(self) -> int:
        """Return how many calls are inside: such that are watched, also of lanes that are gone."""
        self._left = [lane for lane in self._left if lane.inside]
        return sum(lane.inside for lane in (*self._left, *(laid.lane for laid in self._laid.values())))

    def lay(self, turns: Iterable[Turn]) -> None:
        """Lay lanes for handles that have none yet."""
        fresh, operations = [], []
        for turn in turns:
            handle = turn.handle
            if handle is None or id(turn) in self._laid:
                continue
            link = turn.link
            lane = Lane(link.member, methods=lambda link=link: link.methods, watched=turn.has_state)  # type: ignore[misc]
            laid = _Laid(turn, lane, self._pave(turn, lane))
            fresh.append(laid)
            operations += flip(handle, link.methods, laid.methods, before=link.bound, after=link.bound)
        if not fresh:
            return  # a share that changes while it is at work has this done at once
        Script(operations).apply()
        self._laid.update((id(laid.turn), laid) for laid in fresh)

    def lift(self) -> None:
        """Take all lanes away: the handles call the old version again, plainly."""
        operations = self.retiring()
        for laid in self._laid.values():
            turn, handle = laid.turn, laid.turn.handle
            if handle is not None:
                plain = turn.old.surface.methods
                operations += flip(handle, laid.methods, plain, before=turn.link.bound, after=turn.old)
        Script(operations).apply()
        self.forget()

    def retiring(self) -> list[Operation]:
        """Return what has late calls take the way that is current then; it is not taken back with the rest."""
        retire = [(setattr, laid.lane, "retired", True) for laid in self._laid.values()]
        return [Operation(call, call, "lane") for call in retire]

    def forget(self) -> None:
        """Keep nothing of the lanes but who is still on them: the handles hold other methods by now."""
        self._left += [laid.lane for laid in self._laid.values()]
        self._laid = {}
