"""Some members of a component on their way between two versions, while the others go on as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from noodle_upgrade_runtime.bystanders import MemberLooks
from noodle_upgrade_runtime.gate import Gate
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.routing import Lane, Router, Table
from noodle_upgrade_runtime.turns import Turn

__all__ = ["Crossing"]


class Crossing:
    """One step after which just the handles of `new` serve the new version: ready to be made, and nothing changed yet.

    `lanes` are those of the handles that serve, which all have the routed methods already: what changes is one table.
    """

    def __init__(self, lanes: Mapping[Turn, Lane], router: Router, new: frozenset[str]) -> None:
        self._router = router
        self._lanes = lanes
        self._new = new
        self._moving = [turn for turn in lanes if turn.is_new != (turn.link.member in new)]

    @property
    def carries_state(self) -> bool:
        """Whether a member with state changes its version."""
        return any(turn.has_state for turn in self._moving)

    def gate(self, within: float) -> Gate:
        """Return a gate that keeps new calls from those whose state moves, and from no others."""
        handles = [turn.handle for turn in self._moving if turn.has_state]
        return Gate([handle for handle in handles if handle is not None], within=within)

    def carry(self) -> None:
        """Carry the state of each to the version that it goes to. Raises `MigrationError`: none has moved then."""
        for turn in self._moving:
            if turn.is_new:
                turn.chain.backward()
            else:
                turn.chain.forward()

    def looks(self, names: Names, suspended: Names) -> MemberLooks:
        """Return who is inside of those that move."""
        return MemberLooks(names, suspended, [self._lanes[turn] for turn in self._moving if turn.has_state])

    def operations(self) -> Sequence[Operation]:
        """Return the step itself."""
        before, share = self._router.table, len(self._new) / max(1, len(self._lanes))
        after = Table(share, 0, self._new)
        steps = [Operation((setattr, self._router, "table", after), (setattr, self._router, "table", before), "table")]
        for turn in self._moving:
            # Data attributes follow.
            old, new = turn.link.bound, turn.old if turn.is_new else turn.new
            steps.append(Operation((setattr, turn.link, "bound", new), (setattr, turn.link, "bound", old), "bound"))
        return steps
