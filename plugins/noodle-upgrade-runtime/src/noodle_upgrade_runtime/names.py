"""Which module names belong to a component: whole packages, or parts of a namespace that it shares with others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import field, frozen

__all__ = ["Names"]


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen
class Names:
    """The names that a component is imported by, and all below them: `jinja2`, or `zope.event`, which `zope` is not."""

    roots: frozenset[str] = field(default=frozenset(), converter=_names)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.roots))

    def __bool__(self) -> bool:
        return bool(self.roots)

    def __or__(self, other: Iterable[str]) -> Names:
        return Names(self.roots | frozenset(other))

    def root_of(self, name: str) -> str:
        """Return the root that a module lies below, or is; "" for what does not belong here."""
        while name:
            if name in self.roots:
                return name
            name = name.rpartition(".")[0]
        return ""

    def __contains__(self, name: object) -> bool:
        """Whether a module belongs here, by the name that it has in its own source."""
        return isinstance(name, str) and bool(self.root_of(str(name)))

    def namespaces(self) -> frozenset[str]:
        """Return the packages above the roots: others have modules in them, too."""
        found = set()
        for root in self.roots:
            above = root.rpartition(".")[0]
            while above:
                found.add(above)
                above = above.rpartition(".")[0]
        return frozenset(found)
