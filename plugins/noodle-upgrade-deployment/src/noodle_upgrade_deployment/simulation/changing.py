"""How replicas change from one version to the other: so many at once, each in its own time, some in vain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from random import Random

from attrs import define, field

__all__ = ["BESIDE", "IN_PLACE", "Change", "Flux", "Starts", "State"]

BESIDE, IN_PLACE = 0, 1
"""How a replica changes: the next one is begun beside it, or after it has stopped."""
_ON_NEW = 1


@define
class Flux:
    """Replicas that are changing, by domain, and the most that ever were; `across` of more than one domain at once."""

    by_domain: list[int]
    now: int = 0
    most: int = 0
    across: int = 0

    def note(self) -> None:
        """Write down what is."""
        self.most = max(self.most, self.now)
        if self.now > self.across and sum(1 for count in self.by_domain if count) > 1:
            self.across = self.now


@define(kw_only=True)
class State:
    """Which version each replica is to serve, how many serve each, and how many may change at once in each way."""

    version: bytearray
    serving: list[int]
    free: list[int]
    flux: Flux
    failed: int = 0
    given_up: int = 0


@define(kw_only=True)
class Starts:
    """How long starts take, in ticks, and how often one of the new version fails."""

    shortest: float
    longer: float
    fails: float
    attempts: int
    rng: Random

    def ticks(self) -> int:
        """Return how many ticks the next one takes."""
        return 1 + int(self.shortest + self.longer * self.rng.random())

    def failing(self, to: int) -> bool:
        """Whether the next one of this version fails: the old one has shown that it can start."""
        return to == _ON_NEW and self.fails > 0.0 and self.rng.random() < self.fails


@define
class Change:
    """Replicas on their way to a version."""

    state: State
    starts: Starts
    to: int
    waiting: Iterator[int]
    given_up: int = 0
    _tick: int = 0
    _due: dict[int, list[tuple[int, int]]] = field(factory=lambda: defaultdict(list))
    _tries: dict[int, int] = field(factory=dict)
    _going_back: set[int] = field(factory=set)

    async def carry_out(
        self, pass_ticks: Callable[[int], Awaitable[None]], go_on: Callable[[], bool], moved: Callable[[], None]
    ) -> None:
        """Change all of them, and end when none is on its way any more.

        `moved` is told after each tick at which something changed. When `go_on` says no, no more are begun.
        """
        while True:
            if go_on():
                self._begin()
            self.state.flux.note()
            moved()
            if not self._due:
                return
            tick = min(self._due)
            await pass_ticks(tick - self._tick)
            self._tick = tick
            self._end(self._due.pop(tick))

    def _begin(self) -> None:
        """Begin as many as may be changing."""
        state, starts, domains = self.state, self.starts, self.state.flux.by_domain
        for way in (BESIDE, IN_PLACE):
            begun: Sequence[int] = list(islice(self.waiting, state.free[way]))
            state.free[way] -= len(begun)
            state.flux.now += len(begun)
            if way == IN_PLACE:
                state.serving[1 - self.to] -= len(begun)
            for number in begun:
                domains[number % len(domains)] += 1
                self._due[self._tick + starts.ticks()].append((number, way))

    def _end(self, replicas: Sequence[tuple[int, int]]) -> None:
        """Some are up, or have failed."""
        state, to = self.state, self.to
        domains, serving = state.flux.by_domain, state.serving
        for number, way in replicas:
            if number in self._going_back:
                serving[1 - to] += 1
            elif self.starts.failing(to):
                state.failed += 1
                if self._again(number, way):
                    self._due[self._tick + self.starts.ticks()].append((number, way))
                    continue
            else:
                state.version[number] = to
                serving[to] += 1
                if way == BESIDE:
                    serving[1 - to] -= 1
            domains[number % len(domains)] -= 1
            state.flux.now -= 1
            state.free[way] += 1

    def _again(self, number: int, way: int) -> bool:
        """Whether a replica that failed to start has to start once more: the new version, or in the end the old one."""
        tries = self._tries[number] = self._tries.get(number, 0) + 1
        if tries < self.starts.attempts:
            return True
        self.given_up += 1
        self.state.given_up += 1
        if way == BESIDE:
            return False
        self._going_back.add(number)
        return True
