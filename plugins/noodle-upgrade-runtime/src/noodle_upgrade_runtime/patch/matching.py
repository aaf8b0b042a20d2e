"""Matching the staged version with the live one: what keeps its identity, what is replaced, what is retired.

A class that CPython's layout rules do not let change in place is retired: a new class takes its names, whoever holds
the old class is told, and its instances move where their layout allows it. An object that a module or a class binds and
that is of another class in the new version becomes an instance of that; where it cannot, whoever holds it is told, too.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from noodle_upgrade_runtime.asking import is_a, is_class
from noodle_upgrade_runtime.patch.becoming import (
    becoming_problem,
    gives_way,
    is_redefined,
    may_become,
    stands_for_itself,
)
from noodle_upgrade_runtime.patch.classes import in_place_problem
from noodle_upgrade_runtime.patch.correspondence import Correspondence
from noodle_upgrade_runtime.patch.functions import same_definition
from noodle_upgrade_runtime.patch.pairing import Pairing, own_items
from noodle_upgrade_runtime.patch.translation import Translator

__all__ = ["Matching", "Parted", "Retired", "Unfit", "match", "unchanged"]

Modules = dict[str, types.ModuleType]
Pair = tuple[Any, Any]


@frozen
class Retired:
    """A live class that gives way to a staged one, and why it cannot change in place."""

    live: type
    staged: type
    reason: str


@frozen
class Parted:
    """A live object that gives way to a staged one of another class, by the name that binds both, and why it does."""

    live: Any
    staged: Any
    name: str
    reason: str


@frozen
class Unfit:
    """Instances of a class that the new version could not work with, and what they are: "would lack …".

    `exactly` leaves instances of subclasses out, `given` is what the constructor gives every instance. `count` is how
    many there are at this moment, those that a running call makes and lets go of among them.
    """

    cls: type
    count: int
    what: str
    exactly: bool = False
    given: frozenset[str] = frozenset()


@define
class Matching:
    """The outcome: `pristine` maps ids of live objects to their twins in a fresh import of the old version."""

    links: Correspondence
    translator: Translator
    pairs: list[tuple[Any, Any]]
    replaced: list[tuple[Any, Any]]
    retired: list[Retired]
    pristine: dict[int, Any]
    passing: list[Pair] = field(factory=list)
    """Functions that something holds and whose code cannot become the new one: they pass every call on."""
    left: list[type] = field(factory=list)
    parted: list[Parted] = field(factory=list)
    taken_off: list[Pair] = field(factory=list)
    """Functions and properties of retired classes, each with its new counterpart."""
    rebuilt: list[tuple[Any, int]] = field(factory=list)
    """What is immutable, holds what gives way, and was built again: see `Holders.parts`."""
    moving: frozenset[int] = frozenset()
    """The ids of retired classes whose instances become instances of the new class."""
    warnings: list[str] = field(factory=list)
    blockers: list[str] = field(factory=list)
    unfit: list[Unfit] = field(factory=list)
    """Instances that stand against the change if they are still there when it is made."""
    split: list[str] = field(factory=list)
    """What stands against the change whatever lives: blockers that are found once."""

    def giving_way(self) -> list[Any]:
        """Return the live objects that give way to others, so that who holds them has to be told."""
        return [*(one.live for one in self.retired), *(one.live for one in self.parted)]

    def is_only_new(self, parted: Parted) -> bool:
        """Return whether what an object gives way to is only the new version's, and nobody else's."""
        return self.translator.is_made(parted.staged) and not self.links.knows(parted.staged)

    def is_about_untracked(self) -> bool:
        """Return whether something gives way that the collector does not track, as what holds it need not be."""
        return not all(map(gc.is_tracked, self.giving_way()))

    def records(self) -> list[Any]:
        """Return the containers in which this and its parts remember objects of the program."""
        return [
            self.pairs,
            self.replaced,
            self.passing,
            self.retired,
            self.parted,
            self.taken_off,
            self.rebuilt,
            self.pristine,
            *self.links.records(),
            *self.translator.records(),
        ]


def match(
    live: Modules,
    pristine: Modules,
    staged: Modules,
    *,
    made: Callable[[Any], bool],
    several: Callable[[types.FunctionType], bool],
    shared: Sequence[tuple[types.ModuleType, types.ModuleType]] = (),
    views: Sequence[Pair] = (),
    behind: tuple[Sequence[Pair], Sequence[Pair]] = ((), ()),
    others: tuple[Sequence[Pair], Sequence[Pair]] = ((), ()),
    elsewhere: Callable[[Sequence[Any]], set[int]] = lambda _: set(),
) -> Matching:
    """Match three loads of the same packages; `shared` are views of namespaces, each with the one it stands for.

    `views` are what stood for other objects of the process, each with its own. `behind` are modules whose code has put
    another object in their place, `others` belong together although no name need bind them: both are live objects with
    those of the old version, and with those of the new one. `elsewhere` tells the ids of the functions that something
    holds besides the modules that bind them.
    """
    base = Correspondence()
    for view, namespace in shared:
        base.link_modules(view, namespace)
    for view, real in views:
        base.link(view, real)
    first = Pairing(base, made=made, accepts=unchanged, several=several)
    first.modules(live, pristine, behind[0])
    for mine, private in others[0]:
        first.offer(mine, private)
    known = first.live_ids()
    retired: dict[int, Retired] = {}
    apart: dict[int, str] = {}
    asked: dict[int, bool] = {}
    while True:
        links = base.branch()
        second = Pairing(
            links,
            made=made,
            accepts=_acceptor(known, frozenset(retired) | frozenset(apart)),
            replaces=_replacer(links),
            becomes=may_become,
            opens=_opener(frozenset(retired)),
            several=several,
            keeps=frozenset(one for one, keeps in asked.items() if keeps),
        )
        second.modules(live, staged, behind[1])
        for mine, private in others[1]:
            second.offer(mine, private)
        translator = Translator(links, made=made)
        found = [
            Retired(old, new, problem)
            for old, new in second.pairs
            if is_class(old) and (problem := in_place_problem(old, new, translator.image))
        ]
        fixed = {id(old): why for old, new in second.pairs if (why := becoming_problem(old, new, translator.image))}
        open_ones = [old for old, _ in second.replaced if id(old) not in asked]
        if open_ones:
            held = elsewhere(open_ones)
            asked |= {id(old): id(old) in held for old in open_ones}
            if held:
                continue
        if not found and not fixed:
            break
        retired |= {id(entry.live): entry for entry in found}
        apart |= fixed
    twins = {id(old): private for old, private in first.pairs}
    made_matching = Matching(links, translator, second.pairs, second.replaced, list(retired.values()), twins)
    made_matching.passing += second.passing
    made_matching.warnings += [
        f"Instances of {old.__module__}.{old.__qualname__} keep a __dict__, which the new version's would not have."
        for old, new in second.pairs
        if is_class(old) and old.__dictoffset__ and not new.__dictoffset__
    ]
    _part(made_matching, second.live_ids(), apart)
    return made_matching


def _part(matching: Matching, paired: set[int], problems: Mapping[int, str]) -> None:
    """Find the objects that a name binds and that give way to an object of another class."""
    twins, links = matching.pristine, matching.links
    found: dict[int, Parted] = {}
    for owner, staged in matching.pairs:
        if not is_a(owner, (type, types.ModuleType)) or id(owner) not in twins:
            continue
        mine, theirs, base = own_items(owner), own_items(staged), own_items(twins[id(owner)])
        for name in mine.keys() & theirs.keys():
            live, new = mine[name], theirs[name]
            # The program may have bound something of its own.
            ours = gives_way(live) and id(live) in twins and base.get(name, live) is twins[id(live)]
            if not ours or id(live) in paired or links.alike(live, new):
                continue
            if is_redefined(live, new) and not _is_of_another(live, new):
                continue
            where = f"{owner.__module__}.{owner.__qualname__}" if is_class(owner) else owner.__name__
            kind = f"{new.__module__}.{new.__qualname__}" if is_class(new) else type(new).__qualname__
            reason = problems.get(id(live), f"it becomes {kind}")
            if not stands_for_itself(live, new):
                matching.warnings.append(f"{where}.{name} is another object: who holds the old one goes on with it.")
            elif not (id(live) in found and links.alike(found[id(live)].staged, new)):
                if id(live) in found:
                    matching.split.append(f"{found[id(live)].name} and {where}.{name} are not one any more.")
                found[id(live)] = Parted(live, new, f"{where}.{name}", reason)
    matching.parted += found.values()


def _is_of_another(live: Any, new: Any) -> bool:
    """Whether a class of the package gives way to one of another package, or of the language."""
    both = is_class(live) and is_class(new)
    return both and live.__module__.partition(".")[0] != new.__module__.partition(".")[0]


def _opener(retired: frozenset[int]) -> Callable[[type], bool]:
    return lambda live: id(live) in retired


def _acceptor(known: set[int], retired: frozenset[int]) -> Callable[[Any, Any], bool]:
    return lambda old, _: id(old) in known and id(old) not in retired


def unchanged(live: Any, private: Any) -> bool:
    """Return whether a live object still is what the old version's source made, as far as its code goes."""
    if type(private) is types.FunctionType:
        return type(live) is types.FunctionType and same_definition(live, private)
    if is_class(private):
        return bool(live.__qualname__ == private.__qualname__ and live.__module__ == private.__module__)
    return True


def _replacer(links: Correspondence) -> Callable[[Any, Any], bool]:
    def replaces(live: types.FunctionType, staged: types.FunctionType) -> bool:
        return (
            live.__code__.co_freevars != staged.__code__.co_freevars
            or links.canonical(staged.__globals__) is not live.__globals__
        )

    return replaces
