"""A double of the new version: loaded anew for a shadow, with objects and a copy of the state of its own.

When the shadow ends, all of it goes: what copies of calls did to the double's modules and objects is gone with them.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from noodle_upgrade_core.errors import StageError
from noodle_upgrade_core.staged import Arm, Shadow
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.handles import bind
from noodle_upgrade_runtime.lanes import Lanes
from noodle_upgrade_runtime.links import Bound
from noodle_upgrade_runtime.loading import Loading
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.routing import Lane, Router, routed_methods
from noodle_upgrade_runtime.shadow import Shadowing
from noodle_upgrade_runtime.state import Chain
from noodle_upgrade_runtime.taps import Tap
from noodle_upgrade_runtime.trees import member_of
from noodle_upgrade_runtime.turns import Turn

__all__ = ["Double"]

_MOST_LOADING_SECONDS = 30.0


class Double:
    """The new version of one component, run on copies of a share of the calls to those handles that allow it.

    Making it loads the version, which nobody sees. Then `take_state`, where there is any, and `lay`: copies are taken
    from then on. Raises `StageError` when it cannot be made, and has then left nothing behind.
    """

    def __init__(self, change: Change, turns: Sequence[Turn], router: Router, share: float) -> None:
        self._turns = [turn for turn in turns if turn.handle is not None and self._copied_names(turn)]
        self._change = change
        self._router = router
        self._space = Space([member_of(change.component.name, change.to_version, change.new_tree)])
        self._bounds: dict[int, Bound] = {}
        self._chains: list[Chain] = []
        self._lanes = Lanes(self._tapped)
        until = time.monotonic() + _MOST_LOADING_SECONDS
        try:
            loading = Loading(self._load, name="noodle shadow staging")
            loading.result(lambda: time.monotonic() > until)
        except BaseException:
            self._space.abandon()
            raise
        self._shadowing = Shadowing(
            {owner: bound.surface.methods for owner, bound in self._bounds.items()},
            version=change.to_version,
            share=share,
            name=f"{change.component.name} {change.to_version}",
        )

    @property
    def has_state(self) -> bool:
        """Whether a copy of state has to be taken first."""
        return any(turn.has_state for turn in self._turns)

    def take_state(self) -> None:
        """Give its objects copies of the state that the old ones have now. Raises `MigrationError`."""
        for chain in self._chains:
            chain.forward(copied=True)

    def lay(self) -> None:
        """Take copies of calls from now on."""
        self._lanes.lay(self._turns)

    def resize(self, share: float) -> None:
        """Take copies of another share of the calls."""
        self._shadowing.share = share

    def seen(self) -> tuple[Arm, Arm, Shadow]:
        """Return what the old version did with the calls that may be copied, the new one with copies, and these."""
        new, shadow = self._shadowing.seen()
        return self._router.arms()[0], new, shadow

    def end(self) -> None:
        """Take no more copies, and throw everything away."""
        self._lanes.lift()
        self._shadowing.end()
        for chain in self._chains:
            chain.release()
        self._chains, self._bounds = [], {}
        self._space.abandon()

    def _load(self) -> None:
        for turn in self._turns:
            link = turn.link
            try:
                arguments = copy.deepcopy(link.arguments)
            except Exception as error:
                raise StageError(
                    f"The arguments of {link.entry_point} cannot be copied for a shadow:"
                    f" {type(error).__name__}: {error}",
                    hint="Give the handle a factory that makes what it needs, or no shadow.",
                    details={"member": link.member},
                ) from error
            bound = bind(self._space, self._change.to_version, link.entry_point, arguments)
            self._bounds[id(turn)] = bound
            self._chains.append(Chain(change=self._change, entry_point=link.entry_point, old=turn.old, new=bound))

    def _copied_names(self, turn: Turn) -> frozenset[str]:
        return turn.link.copying.within(turn.old.surface)

    def _tapped(self, turn: Turn, lane: Lane) -> Mapping[str, Callable[..., Any]]:
        """Only calls that may be copied are counted, so that the two versions' counts can be compared."""
        plain, names = turn.old.surface.methods, self._copied_names(turn)
        counted = routed_methods({name: plain[name] for name in names}, {}, self._router, None, lane)
        compare, owner = turn.link.copying.compare, id(turn)
        taps = {name: Tap(shadowing=self._shadowing, owner=owner, name=name, compare=compare) for name in names}
        return {**plain, **{name: taps[name].on(counted[name]) for name in names}}
