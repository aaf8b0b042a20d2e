"""What a program has taken of a version while it ran, and still holds when that is left.

Everything that existed before the change goes back with it, and needs nothing. But a closure that was made since has
the code of the version that is left, `from package import function` may have taken a function that only that version
has as an object of its own, and there may be instances and subclasses of a class that took the place of another.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field

from noodle_upgrade_runtime.asking import is_a
from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.operations import Operation, Script
from noodle_upgrade_runtime.patch.census import of_instances
from noodle_upgrade_runtime.patch.closures import recoding
from noodle_upgrade_runtime.patch.functions import forwarding_code
from noodle_upgrade_runtime.patch.matching import Matching
from noodle_upgrade_runtime.patch.pairing import own_items
from noodle_upgrade_runtime.patch.planner import Planner
from noodle_upgrade_runtime.patch.references import Holders
from noodle_upgrade_runtime.patch.retiring import moving_problem, own_parts

__all__ = ["Taken"]


@define(eq=False)
class Taken:
    """Leads what was taken of the version that is left to the one that runs."""

    matching: Matching
    planner: Planner
    _forwards: Script | None = None
    _staying: list[str] = field(factory=list)
    _others: list[tuple[Any, Any]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        told = {id(staged) for _, staged in (*self.matching.replaced, *self.matching.passing)}
        told |= {id(parted.staged) for parted in self.matching.parted}
        known = self.matching.links.knows
        self._others += [pair for pair in self._bound_by_both() if id(pair[1]) not in told and not known(pair[1])]

    def needs(self) -> bool:
        """Whether there can be anything."""
        return bool(
            self.matching.retired
            or self.matching.replaced
            or self.matching.parted
            or self.planner.closures.parts
            or self.planner.noted
            or self._others
        )

    def lead_back(
        self, heap: Heap, *, skip: Callable[[Any], bool], is_over: Callable[[], bool] = lambda: False
    ) -> tuple[str, ...] | None:
        """Do it, for the objects of `heap`; return what goes on with the version that is left.

        `skip` says of an object that it is ours, or a part of that version itself. When `is_over` says so others have
        run since the look at the heap: a list may be in another order by now. Then does nothing, and returns None.
        """
        self._staying.clear()
        back = self.planner.closures.reversed()
        known = {id(one) for one in back.among(heap) if skip(one)}
        operations = back.plan(heap, known, self.planner.versions)
        operations += self.planner.noted.lead_back(heap, skip=skip)
        holders = self._holders(heap, skip)
        forwards = self._passed_on()
        if is_over():
            return None
        Script([*operations, *holders.operations]).apply()
        self._forwards = Script(forwards)
        self._forwards.apply()
        left = "the version that was left"
        return (
            *(f"{name}, made under {left}, goes on as it is: {why}" for name, why in back.kept.items()),
            *self._staying,
            *(f"{what} goes on with what it has taken of {left}" for what, _ in holders.stuck),
        )

    def forget(self) -> None:
        """Give the functions of the new version their own code again, before it comes to run once more."""
        if self._forwards is not None and self._forwards.applied:
            self._forwards.revert()
        self._forwards = None

    def _passed_on(self) -> list[Operation]:
        """Return what has functions that only the version that is left has call those that take their place."""
        found = []
        image = self.matching.translator.image
        for live, staged in [*self.matching.replaced, *self._parted()]:
            theirs = image(staged)
            if callable(live) and type(theirs) is types.FunctionType and theirs is not live:
                name = f"{theirs.__module__}.{theirs.__qualname__}"
                code = forwarding_code(theirs.__code__, live)
                found += recoding(theirs, code, subject=name, versions=self.planner.versions)
        return found

    def _parted(self) -> Iterator[tuple[Any, Any]]:
        """Yield what gave way to an object that only the new version has.

        What it has from elsewhere, or in common with the old one, is held by others as well, who mean that by it.
        """
        for one in self.matching.parted:
            if self.matching.is_only_new(one):
                yield one.live, one.staged

    def _aliases(self) -> dict[int, tuple[Any, Any]]:
        """Return the functions that the new version has for what was another name of one, each with that one."""
        found: dict[int, list[tuple[Any, Any]]] = {}
        for live, theirs in self._others:
            made = self.matching.translator.image(theirs)
            found.setdefault(id(made), []).append((made, live))
        return {key: same[0] for key, same in found.items() if all(one[1] is same[0][1] for one in same)}

    def _bound_by_both(self) -> Iterator[tuple[Any, Any]]:
        """Yield the functions that modules and classes bind to a name in the old version, and in the new one."""
        for owner, staged in self.matching.pairs:
            if is_a(owner, (type, types.ModuleType)):
                mine = own_items(self.matching.pristine.get(id(owner), owner))
                for name, theirs in own_items(staged).items():
                    live = self.matching.links.canonical(mine.get(name))
                    if not type(live) is type(theirs) is types.FunctionType or live is theirs:
                        continue
                    # Not what comes from elsewhere: others mean that by it.
                    if self.matching.links.knows(theirs.__globals__) and self.matching.links.is_live(live):
                        yield live, theirs

    def _holders(self, heap: Heap, skip: Callable[[Any], bool]) -> Holders:
        """Plan for who holds a class, or an object of another kind, that took the place of one of the old version's."""
        image = self.matching.translator.image
        replacements: dict[int, tuple[Any, Any]] = {}
        own: set[int] = set()
        moving: set[int] = set()
        for entry in self.matching.retired:
            new = image(entry.staged)
            replacements[id(new)] = (new, entry.live)
            own |= own_parts(new)
            instances = [one for one in heap.of([new]) if not skip(one)]
            if problem := moving_problem(new, entry.live, instances):
                said = f"made by the version that was left stay what they are ({problem})"
                self._staying += [of_instances(new, len(instances), said)] if instances else []
            else:
                moving.add(id(new))
        for live, staged in self._parted():
            theirs = image(staged)
            if type(theirs) is not types.FunctionType and theirs is not live:
                replacements[id(theirs)] = (theirs, live)
        replacements |= self._aliases()
        own |= {id(self._others), *map(id, self._others)}
        holders = Holders(
            replacements,
            skip=lambda value: id(value) in own or skip(value),
            moving=frozenset(moving),
        )
        if replacements:
            holders.plan(heap)
        return holders
