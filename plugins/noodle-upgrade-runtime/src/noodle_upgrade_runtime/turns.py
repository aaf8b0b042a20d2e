"""One handle's move from one version to the other."""

from __future__ import annotations

import weakref
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.handles import bind, extend
from noodle_upgrade_runtime.links import Bound, Link, link_of
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.state import Chain, has_state

__all__ = ["Turn", "turn_of"]


@frozen(kw_only=True, eq=False)
class Turn:
    """A handle's two versions, and the way of its state; a handle that nobody holds any more is not kept by it."""

    ref: weakref.ref[Any]
    link: Link
    change: Change
    old: Bound
    new: Bound
    chain: Chain

    @property
    def handle(self) -> Any:
        """The handle, or None when it has died."""
        return self.ref()

    @property
    def is_new(self) -> bool:
        """Whether the handle serves the new version."""
        return self.link.bound is self.new

    @property
    def has_state(self) -> bool:
        """Whether state goes from the old object to the new one."""
        return has_state(self.old.target)


def turn_of(handle: Any, change: Change, space: Space) -> Turn:
    """Make the new version's object for a handle, in a private space; nothing of it is visible."""
    link = link_of(handle)
    new = bind(space, change.to_version, link.entry_point, link.arguments)
    chain = Chain(change=change, entry_point=link.entry_point, old=link.bound, new=new)
    extend(handle, new.surface)
    return Turn(ref=weakref.ref(handle), link=link, change=change, old=link.bound, new=new, chain=chain)
