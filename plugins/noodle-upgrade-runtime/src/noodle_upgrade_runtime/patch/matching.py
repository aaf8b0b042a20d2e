"""Matching the staged version with the live one: what keeps its identity, what is replaced, what is retired.

A class that CPython's layout rules do not let change in place is retired: a new class takes its names, whoever holds
the old class is told, and its instances move where their layout allows it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field, frozen

from noodle_upgrade_runtime.operations import Operation, Script
from noodle_upgrade_runtime.patch.classes import in_place_problem, own_slots
from noodle_upgrade_runtime.patch.correspondence import Correspondence
from noodle_upgrade_runtime.patch.functions import same_definition
from noodle_upgrade_runtime.patch.pairing import Pairing, own_items
from noodle_upgrade_runtime.patch.references import Holders
from noodle_upgrade_runtime.patch.translation import Translator

__all__ = ["Matching", "Retired", "match", "retire", "unchanged"]

Modules = dict[str, types.ModuleType]
Pair = tuple[Any, Any]

_CLASS_OWN = frozenset({"__dict__", "__weakref__", "_abc_impl", "__abstractmethods__", "__slots__", "__qualname__"})


@frozen
class Retired:
    """A live class that gives way to a staged one, and why it cannot change in place."""

    live: type
    staged: type
    reason: str


@define
class Matching:
    """The outcome: `pristine` maps ids of live objects to their twins in a fresh import of the old version."""

    links: Correspondence
    translator: Translator
    pairs: list[tuple[Any, Any]]
    replaced: list[tuple[Any, Any]]
    retired: list[Retired]
    pristine: dict[int, Any]
    moving: frozenset[int] = frozenset()
    """The ids of retired classes whose instances become instances of the new class."""
    warnings: list[str] = field(factory=list)
    blockers: list[str] = field(factory=list)

    def records(self) -> list[Any]:
        """Return the containers in which this and its parts remember objects of the program."""
        return [
            self.pairs,
            self.replaced,
            self.retired,
            *(vars(entry) if hasattr(entry, "__dict__") else () for entry in self.retired),
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
    shared: Sequence[tuple[types.ModuleType, types.ModuleType]] = (),
    views: Sequence[Pair] = (),
    others: tuple[Sequence[Pair], Sequence[Pair]] = ((), ()),
) -> Matching:
    """Match three loads of the same packages; `shared` are views of namespaces, each with the one it stands for.

    `views` are what stood for other objects of the process, each with its own. `others` belong together although no
    name need bind them: live objects with those of the old version, and with those of the new one.
    """
    base = Correspondence()
    for view, namespace in shared:
        base.link_modules(view, namespace)
    for view, real in views:
        base.link(view, real)
    first = Pairing(base, made=made, accepts=unchanged)
    first.modules(live, pristine)
    for mine, private in others[0]:
        first.offer(mine, private)
    known = first.live_ids()
    retired: dict[int, Retired] = {}
    while True:
        links = base.branch()
        second = Pairing(
            links,
            made=made,
            accepts=_acceptor(known, frozenset(retired)),
            replaces=_replacer(links),
        )
        second.modules(live, staged)
        for mine, private in others[1]:
            second.offer(mine, private)
        translator = Translator(links, made=made)
        found = [
            Retired(old, new, problem)
            for old, new in second.pairs
            if isinstance(old, type) and (problem := in_place_problem(old, new, translator.image))
        ]
        if not found:
            break
        retired |= {id(entry.live): entry for entry in found}
    twins = {id(old): private for old, private in first.pairs}
    return Matching(links, translator, second.pairs, second.replaced, list(retired.values()), twins)


def _acceptor(known: set[int], retired: frozenset[int]) -> Callable[[Any, Any], bool]:
    return lambda old, _: id(old) in known and id(old) not in retired


def unchanged(live: Any, private: Any) -> bool:
    """Return whether a live object still is what the old version's source made, as far as its code goes."""
    if type(private) is types.FunctionType:
        return type(live) is types.FunctionType and same_definition(live, private)
    if isinstance(private, type):
        return bool(live.__qualname__ == private.__qualname__ and live.__module__ == private.__module__)
    return True


def _replacer(links: Correspondence) -> Callable[[Any, Any], bool]:
    def replaces(live: types.FunctionType, staged: types.FunctionType) -> bool:
        return (
            live.__code__.co_freevars != staged.__code__.co_freevars
            or links.canonical(staged.__globals__) is not live.__globals__
        )

    return replaces


def retire(matching: Matching, heap: Sequence[Any], skip: Callable[[Any], bool]) -> Holders:
    """Plan that the holders of retired classes hold the new ones, and that instances move."""
    replacements: dict[int, tuple[Any, Any]] = {}
    own: set[int] = set()
    moving: set[int] = set()
    for entry in matching.retired:
        new = matching.translator.image(entry.staged)
        _carry_over(matching, entry, new)
        replacements[id(entry.live)] = (entry.live, new)
        own |= _own_parts(entry.live)
        instances = [value for value in heap if type(value) is entry.live]
        problem = _moving_problem(entry.live, new, instances)
        if not problem:
            moving.add(id(entry.live))
        elif instances:
            _instances_stay(matching, entry, len(instances), problem)
    matching.moving = frozenset(moving)
    holders = Holders(replacements, skip=lambda value: id(value) in own or skip(value), moving=frozenset(moving))
    holders.plan(heap)
    matching.blockers += [f"{what} holds a class that cannot change in place." for what in holders.stuck]
    return holders


def _carry_over(matching: Matching, entry: Retired, new: type) -> None:
    """Give the new class what the program has put into the one that it takes the place of; nobody sees it yet."""
    twin, links = matching.pristine.get(id(entry.live)), matching.links
    if not isinstance(twin, type):
        return
    skip = _CLASS_OWN | own_slots(entry.live) | own_slots(entry.staged)
    base, staged = own_items(twin), own_items(new)
    for name, value in own_items(entry.live).items():
        if name in skip or (name in base and links.alike(value, base[name])):
            continue
        fresh = name in staged and not links.alike(value, staged[name])
        if fresh and (name not in base or not links.alike(staged[name], base[name])):
            cls = f"{entry.live.__module__}.{entry.live.__qualname__}"
            matching.blockers.append(f"The program and the new version both changed {cls}.{name}.")
            continue
        type.__setattr__(new, name, value)


def _moving_problem(old: type, new: type, instances: Sequence[Any]) -> str:
    if not instances:
        return "there are none"
    first = instances[0]
    move = Operation((object.__setattr__, first, "__class__", new), (object.__setattr__, first, "__class__", old))
    try:
        Script([move]).trial()
    except TypeError as error:
        return str(error)
    return ""


def _instances_stay(matching: Matching, entry: Retired, count: int, problem: str) -> None:
    """Instances that cannot move go on with the old class, if the new version can use them as they are."""
    name = f"{entry.live.__module__}.{entry.live.__qualname__}"
    lost = _public(entry.staged) - _public(entry.live)
    if lost:
        matching.blockers.append(
            f"{count} live instances of {name} cannot become instances of the new class ({entry.reason}; {problem})"
            f" and lack {', '.join(sorted(lost)[:5])}."
        )
    else:
        matching.warnings.append(f"{count} live instances of {name} stay instances of the old class ({entry.reason}).")


def _public(cls: type) -> set[str]:
    return {name for base in cls.__mro__ for name in vars(base) if not name.startswith("_")}


def _own_parts(cls: type) -> set[int]:
    """Return the ids of what makes up a class: it must go on referring to itself."""
    found = {id(cls), id(cls.__mro__)}
    for value in own_items(cls).values():
        wrapped = isinstance(value, staticmethod | classmethod)
        parts = (value.fget, value.fset, value.fdel) if isinstance(value, property) else ()
        for part in parts or (value.__func__ if wrapped else value,):
            if isinstance(part, types.FunctionType):
                found |= {id(part), id(part.__closure__), *map(id, part.__closure__ or ())}
    return found
