"""What needs what: an order with needs first, and the shortest circle where there is no such order.

A graph is a mapping from each node to the nodes that it needs; every node that is needed is a key itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping

__all__ = ["order", "shortest_cycle"]

Graph = Mapping[str, Collection[str]]

_VISITS = 2_000_000  # edges looked at before the shortest circle found so far is taken: about a second


def order(needs: Graph) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the nodes, needs first and else by name, and those without a place because of a circle.

    The second part holds the circles and all that needs them. The answer depends on the graph alone, not on the order
    in which it was put together.
    """
    waiting = {node: len(set(wanted)) for node, wanted in needs.items()}
    needed_by = _reverse(needs)
    ready = [node for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    found: list[str] = []
    while ready:
        node = heapq.heappop(ready)
        found.append(node)
        for other in needed_by[node]:
            waiting[other] -= 1
            if waiting[other] == 0:
                heapq.heappush(ready, other)
    return tuple(found), frozenset(needs).difference(found)


def shortest_cycle(needs: Graph) -> tuple[str, ...]:
    """Return a circle, each node needing the next and the last the first, beginning with the least name; or ().

    It is a shortest one, unless the graph is so large and so tangled that looking on would take seconds: it is then
    the shortest that was found in a bounded search.
    """
    circles = _Circles(needs)
    best: tuple[str, ...] = ()
    visits = 0
    for start in sorted(needs):
        if visits >= _VISITS or len(best) == 1:
            break
        if start in circles.needs:
            way, looked_at = _back_to(start, circles.needs, limit=len(best) - 1 if best else len(needs))
            visits += looked_at
            best = way or best
            # A circle that is shorter than the best through this node does not touch it, so the node can go. The nodes
            # go in the order of their names, so every circle begins with its least one.
            circles.drop(start)
    return best


def _reverse(needs: Graph) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {node: [] for node in needs}
    for node, wanted in needs.items():
        for other in set(wanted):
            found[other].append(node)
    return found


class _Circles:
    """What is left of a graph when all that needs nothing in it, or is needed by nothing in it, is gone."""

    def __init__(self, needs: Graph) -> None:
        self.needs = {node: set(wanted) for node, wanted in needs.items()}
        self._needed_by = {node: set(users) for node, users in _reverse(needs).items()}
        for node in [node for node in needs if self._loose(node)]:
            self.drop(node)

    def drop(self, node: str) -> None:
        """Take a node out, and all that is loose without it."""
        going = [node]
        while going:
            gone = going.pop()
            wanted, users = self.needs.pop(gone, None), self._needed_by.pop(gone, None)
            for other in (wanted or set()) - {gone}:
                self._needed_by[other].discard(gone)
            for other in (users or set()) - {gone}:
                self.needs[other].discard(gone)
            going += [other for other in (wanted or set()) | (users or set()) if self._loose(other)]

    def _loose(self, node: str) -> bool:
        return node in self.needs and not (self.needs[node] and self._needed_by[node])


def _back_to(start: str, graph: Mapping[str, set[str]], *, limit: int) -> tuple[tuple[str, ...], int]:
    """Return the shortest circle through `start` of at most `limit` nodes, or (), and how many edges it looked at."""
    came_from: dict[str, str] = {}
    edge = [start]
    visits = 0
    for _ in range(limit):
        following: list[str] = []
        for here in edge:
            for there in sorted(graph[here]):
                visits += 1
                if there == start:
                    way = [here]
                    while way[-1] != start:
                        way.append(came_from[way[-1]])
                    return tuple(reversed(way)), visits
                if there not in came_from:
                    came_from[there] = here
                    following.append(there)
        edge = following
    return (), visits
