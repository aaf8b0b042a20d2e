"""What a handle knows of itself: its component, its member's name, what it is bound to, and what may be copied."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.staged import Member
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.routing import Key
from noodle_upgrade_runtime.surface import SPECIAL_NAMES, Surface

__all__ = ["Bound", "Compare", "Copying", "Link", "common_bound", "link_of"]

Compare = Callable[[Any, Any], bool]
"""Called with the old version's answer and the new one's; returns whether they are the same to the program."""

_ALL = "all"


@frozen(kw_only=True, eq=False)
class Bound:
    """One version behind one handle: its object, its callable surface, and the private space that it lives in."""

    version: str
    target: Any
    surface: Surface = field(repr=False)
    space: Space | None = None
    """None: the version was imported publicly, as the program's other imports see it."""


@frozen(kw_only=True)
class Copying:
    """Which methods of a handle a shadow may be given copies of calls of, and how answers are compared.

    None, where the handle does not say so: what a method does outside of its object (files, sockets, a payment) is done
    once more by a copy, and only who uses the component knows of it.
    """

    names: frozenset[str] = frozenset()
    every: bool = False
    compare: Compare | None = None

    @classmethod
    def of(cls, asked: Any, compare: Compare | None) -> Copying:
        """Read what `handle(shadow=…)` was given. Raises `InvalidRequestError`."""
        if compare is not None and not callable(compare):
            raise InvalidRequestError(f"compare is called with two answers, and {compare!r} cannot be called.")
        if asked is True or asked == _ALL:
            return cls(every=True, compare=compare)
        if asked is False:
            return cls(compare=compare)
        names = tuple(asked) if isinstance(asked, Iterable) and not isinstance(asked, str) else None
        if names is None or not all(isinstance(name, str) for name in names):
            raise InvalidRequestError(
                f"shadow takes names of methods, and got {asked!r}.",
                hint=f"Did you mean shadow=({asked!r},)?" if isinstance(asked, str) else 'Give ("render",), or "all".',
            )
        return cls(names=frozenset(names), compare=compare)

    def within(self, surface: Surface) -> frozenset[str]:
        """Return those that this version has. Those by which state moves are never called by a shadow."""
        own = {name for name in surface.methods if name not in SPECIAL_NAMES or name == "__call__"}
        chosen = own if self.every else self.names & surface.methods.keys()
        return frozenset(chosen - {"export_state", "import_state"})

    def check(self, surface: Surface, entry_point: str) -> None:
        """Raise `InvalidRequestError` for a method that is not there."""
        for name in sorted(self.names - surface.methods.keys()):
            meant = difflib.get_close_matches(name, surface.methods, n=1)
            raise InvalidRequestError(
                f"{entry_point} has no method {name!r} that a shadow could be given calls of.",
                hint=f"Did you mean {meant[0]!r}?" if meant else f"It has: {', '.join(sorted(surface.methods))}.",
                details={"method": name, "methods": sorted(surface.methods)},
            )


class Link:
    """What a handle knows of itself: which component, how to make its object, and what it is bound to now.

    `base` is what it is bound to for good: while a deployment runs, the version that was there before it. New handles
    begin there.
    """

    __slots__ = (
        "__weakref__", "arguments", "base", "bound", "component", "copying", "domain", "entry_point", "key", "member",
        "methods",
    )  # fmt: skip

    def __init__(
        self,
        component: str,
        entry_point: str,
        arguments: Mapping[str, Any] | None,
        key: Key | None,
        bound: Bound,
        *,
        member: str = "",
        domain: str = "",
        copying: Copying | None = None,
    ) -> None:
        self.component = component
        self.entry_point = entry_point
        self.arguments = arguments
        self.key = key
        self.bound = self.base = bound
        self.member = member
        self.domain = domain
        self.copying = Copying() if copying is None else copying
        self.methods: Mapping[str, Callable[..., Any]] = bound.surface.methods

    def as_member(self) -> Member:
        """Return who this is to a strategy."""
        return Member(name=self.member, domain=self.domain)


def link_of(handle: Any) -> Link:
    """Return what a handle knows of itself."""
    link: Link = handle._noodle_
    return link


def common_bound(links: Sequence[Link]) -> Bound:
    """Return the version that all handles of a component serve; where they differ, what they are bound to for good."""
    first = links[0]
    return first.bound if len({link.bound.version for link in links}) == 1 else first.base
