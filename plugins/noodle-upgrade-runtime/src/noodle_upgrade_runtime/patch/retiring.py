"""What gives way to a new object: classes and sentinels that cannot change in place, and who is told of it.

Whoever holds the old object holds the new one from the commit on; instances of a class move where their layout allows.
"""

from __future__ import annotations

import abc
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define

from noodle_upgrade_runtime.asking import HEAP_TYPE, is_a, is_class, setter_of
from noodle_upgrade_runtime.heap import Heap, untracked_in
from noodle_upgrade_runtime.operations import Operation, Script
from noodle_upgrade_runtime.patch.census import of_instances
from noodle_upgrade_runtime.patch.classes import fields_problem, own_slots
from noodle_upgrade_runtime.patch.matching import Matching, Parted, Retired, Unfit
from noodle_upgrade_runtime.patch.pairing import own_items
from noodle_upgrade_runtime.patch.references import Holders
from noodle_upgrade_runtime.patch.weak import caches_of_abstract_classes, registered_with

__all__ = ["moving_problem", "own_parts", "retire", "staying"]

_CLASS_OWN = frozenset({
    "__dict__", "__weakref__", "_abc_impl", "__abstractmethods__", "__slots__", "__qualname__",
    "__attrs_attrs__", "__dataclass_fields__",
})  # fmt: skip
"""What a class has by the way it is made; what decorators note of its fields is nobody's setting either."""


@define(eq=False)
class _Kept:
    """Tells which holders stay as they are: parts of what gives way, caches of abstract classes, what `skip` says."""

    own: set[int]
    skip: Callable[[Any], bool]
    heap: Heap
    _caches: set[int] | None = None

    def __call__(self, value: Any) -> bool:
        if type(value) is set and self._caches is None:
            self._caches = caches_of_abstract_classes(self.heap)  # only where there is one to be told from
        is_cache = type(value) is set and id(value) in (self._caches or ())
        return id(value) in self.own or is_cache or self.skip(value)


def retire(matching: Matching, heap: Heap, skip: Callable[[Any], bool], *, now: bool) -> Holders:
    """Plan that the holders of what gives way hold what comes instead, and that instances move.

    `now` says that it is done at once, by this thread.
    """
    replacements: dict[int, tuple[Any, Any]] = {}
    reasons: dict[int, str] = {}
    own: set[int] = set()
    moving: set[int] = set()
    alike: dict[int, tuple[type, ...]] = {}
    matching.taken_off.clear()
    matching.left.clear()
    for entry in matching.retired:
        new = matching.translator.image(entry.staged)
        _carry_over(matching, entry, new)
        _carry_registered(matching, entry, new)
        replacements[id(entry.live)] = (entry.live, new)
        name = f"{entry.live.__module__}.{entry.live.__qualname__}"
        reasons[id(entry.live)] = f"a class that cannot change in place: {name} ({entry.reason})"
        own |= own_parts(entry.live)
        instances = heap.of([entry.live])
        problem = moving_problem(entry.live, new, instances)
        if not problem:
            moving.add(id(entry.live))
        if not problem or not instances:
            matching.taken_off += _taken_off(matching, entry)
            alike[id(entry.live)] = matching.translator.image(entry.staged.__bases__)
        else:
            _instances_stay(matching, entry, len(instances), problem)
    for parted in matching.parted:
        if is_class(parted.live):
            own |= own_parts(parted.live)
            _check_given_up(matching, parted, len(heap.of([parted.live])))
        replacements[id(parted.live)] = (parted.live, matching.translator.image(parted.staged))
        reasons[id(parted.live)] = f"{parted.name}, which is another object in the new version ({parted.reason})"
    matching.moving = frozenset(moving)
    holders = Holders(
        replacements,
        skip=_Kept(own, skip, heap),
        moving=frozenset(moving),
        parts=matching.rebuilt,
        now=now,
        alike=alike,
        # Going back, others mean something by what the new version has from elsewhere.
        staying=frozenset(id(one.live) for one in matching.parted if not matching.is_only_new(one)),
    )
    if matching.is_about_untracked():
        heap = Heap([*heap.objects, *untracked_in(heap.objects)])
    holders.plan(heap)
    matching.rebuilt[:] = holders.parts()
    # A function passes its calls on: whoever cannot be told has what comes instead all the same.
    passed_on = {id(parted.live) for parted in matching.parted if is_a(parted.live, types.FunctionType)}
    given_up = {id(parted.live) for parted in matching.parted if is_class(parted.live)}
    for what, cause in holders.stuck:
        if cause in given_up:
            # The class goes on by itself: it is only no longer what the package means by its name.
            matching.warnings.append(f"{what} goes on with {reasons[cause]}.")
        elif cause in passed_on:
            matching.warnings.append(f"{what} goes on with {reasons[cause]}: the function passes its calls on.")
        else:
            matching.blockers.append(f"{what} holds {reasons[cause]}.")
    return holders


def _taken_off(matching: Matching, entry: Retired) -> list[tuple[Any, Any]]:
    """Return the functions and properties of a class with what takes their place: somebody may have taken them off it.

    Not where instances stay: those go on with the class and its methods as they are.
    """
    twin = matching.pristine.get(id(entry.live))
    if not is_class(twin):
        return []
    found = []
    base, staged = own_items(twin), own_items(entry.staged)
    for name, value in own_items(entry.live).items():
        parts = [_inner(one.get(name)) for one in (base, staged)]
        mine = _inner(value)
        if not is_a(mine, (types.FunctionType, property)) or any(type(p) is not type(mine) for p in parts):
            continue
        if matching.links.alike(mine, parts[0]):
            found.append((mine, parts[1]))
    return found


def _inner(value: Any) -> Any:
    return value.__func__ if is_a(value, (staticmethod, classmethod)) else value


def _carry_over(matching: Matching, entry: Retired, new: type) -> None:
    """Give the new class what the program has put into the one that it takes the place of; nobody sees it yet."""
    twin, links = matching.pristine.get(id(entry.live)), matching.links
    if not is_class(twin):
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
        setter_of(new)(new, name, value)


def _carry_registered(matching: Matching, entry: Retired, new: type) -> None:
    """Register with the new class the virtual subclasses that the program has registered with the old one."""
    twin = matching.pristine.get(id(entry.live))
    if not is_a(entry.live, abc.ABCMeta) or not is_a(twin, abc.ABCMeta):
        return
    ours = {id(matching.links.canonical(one)) for one in registered_with(twin)}
    for one in registered_with(entry.live):
        if id(one) in ours:
            continue
        if problem := _register(new, one):
            name = f"{entry.live.__module__}.{entry.live.__qualname__}"
            what = f"The program has registered {one.__module__}.{one.__qualname__} with {name}"
            matching.blockers.append(f"{what}, which the new version does not allow ({problem}).")


def _register(cls: type, virtual: type) -> str:
    """Register a virtual subclass; say why it cannot be, "" when it is."""
    if not is_a(cls, abc.ABCMeta):
        return "it is not an abstract class"
    try:
        abc.ABCMeta.register(cls, virtual)
    except Exception as error:  # noqa: BLE001 - a hook of the new version's may raise what it likes
        return str(error) or type(error).__name__
    return ""


def _check_given_up(matching: Matching, parted: Parted, instances: int) -> None:
    """Note what is lost of a class that gives way to something that is not the package's: it must not be changed."""
    cls, twin = parted.live, matching.pristine.get(id(parted.live))
    base = own_items(twin) if is_class(twin) else {}
    mine = {name: value for name, value in own_items(cls).items() if name not in _CLASS_OWN | own_slots(cls)}
    for name, value in mine.items():
        if name not in base or not matching.links.alike(value, base[name]):
            matching.blockers.append(f"The program has set {parted.name}.{name}, and {parted.reason}.")
    if instances:
        matching.warnings.append(of_instances(cls, instances, f"stay what they are: {parted.reason}."))


def moving_problem(old: type, new: type, instances: Sequence[Any]) -> str:
    """Say why instances of a class cannot become instances of another one, "" when they can."""
    if not instances:
        return "there are none"
    if problem := fields_problem(old, new):
        return problem
    first = instances[0]
    move = Operation((object.__setattr__, first, "__class__", new), (object.__setattr__, first, "__class__", old))
    try:
        Script([move]).trial()
    except TypeError as error:
        return str(error)
    return ""


def _instances_stay(matching: Matching, entry: Retired, count: int, problem: str) -> None:
    """Instances that cannot move go on with the old class, if the new version can use them as they are."""
    if unfit := _unfit(entry, problem):
        matching.unfit.append(Unfit(entry.live, count, unfit, exactly=True))
    else:
        matching.left.append(entry.live)
        what = f"stay instances of the old class ({entry.reason})."
        matching.warnings.append(of_instances(entry.live, count, what))


def _unfit(entry: Retired, problem: str) -> str:
    lost = _public(entry.staged) - _public(entry.live)
    if entry.staged.__dictoffset__ and not entry.live.__dictoffset__:
        lost = {"a __dict__"}
    if not lost:
        return ""
    missing = ", ".join(sorted(lost)[:5])
    return f"cannot become instances of the new class ({entry.reason}; {problem}) and lack {missing}"


def staying(matching: Matching, entry: Retired) -> str:
    """Say what instances of a retired class would be if there were any that the new version could not work with."""
    if inspect.isabstract(entry.live):
        return ""
    try:
        # Only its layout counts: nothing that a constructor gives it.
        sample = _layout_base(entry.live).__new__(entry.live)
    except TypeError as error:
        return _unfit(entry, str(error))
    problem = moving_problem(entry.live, matching.translator.image(entry.staged), [sample])
    return _unfit(entry, problem) if problem else ""


def _layout_base(cls: type) -> Any:
    """Return the built-in class whose `__new__` makes an instance of this one."""
    return next(base for base in cls.__mro__ if not base.__flags__ & HEAP_TYPE)


def _public(cls: type) -> set[str]:
    return {name for base in cls.__mro__ for name in vars(base) if not name.startswith("_")}


def own_parts(cls: type) -> set[int]:
    """Return the ids of what makes up a class: it must go on referring to itself."""
    found = {id(cls), id(cls.__mro__)}
    for value in own_items(cls).values():
        wrapped = is_a(value, (staticmethod, classmethod))
        parts = (value.fget, value.fset, value.fdel) if is_a(value, property) else ()
        for part in parts or (value.__func__ if wrapped else value,):
            if is_a(part, types.FunctionType):
                found |= {id(part), id(part.__closure__), *map(id, part.__closure__ or ())}
    return found
