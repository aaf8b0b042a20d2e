"""Planning for what is held: containers, closures' cells and instances, by three-way merge."""

from __future__ import annotations

import collections
import contextvars
import functools
import sys
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from noodle_upgrade_runtime.asking import is_a, is_class, member_of
from noodle_upgrade_runtime.operations import Call
from noodle_upgrade_runtime.patch.becoming import become_calls, may_become
from noodle_upgrade_runtime.patch.classes import paired_calls
from noodle_upgrade_runtime.patch.correspondence import Correspondence, instance_dict, slot_values
from noodle_upgrade_runtime.patch.keys import by_key, is_plain_key
from noodle_upgrade_runtime.patch.lazily import cached_names, made_by_properties
from noodle_upgrade_runtime.patch.pairing import own_items
from noodle_upgrade_runtime.patch.state import MISSING, merge_lists, merge_names, merge_sets

if TYPE_CHECKING:
    from noodle_upgrade_runtime.patch.planner import Planner

__all__ = ["HANDLERS", "instance", "part_of"]


def part_of(value: Any, key: Any, links: Correspondence) -> Any:
    """Return what a value binds to a key, by the kind of the value; `MISSING` when it does not."""
    if is_a(value, (type, types.ModuleType)):
        return own_items(value).get(key, MISSING)
    if is_a(value, dict):
        return by_key(links, dict.items(value)).get(key, MISSING)
    if is_a(value, types.CellType):
        return _content(value)
    if is_a(value, types.FunctionType) and is_a(key, str) and key in dir(types.FunctionType):
        return getattr(value, key)
    return ((instance_dict(value) or {}) | slot_values(value)).get(key, MISSING)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _cell(planner: Planner, live: types.CellType, staged: types.CellType) -> None:
    now, new, base = (_content(cell) for cell in (live, staged, planner.twin(live)))
    if now is MISSING or new is MISSING:
        return
    merged = planner.merge(live, {"cell": now}, {"cell": new}, {} if base is MISSING else {"cell": base}, "a closure")
    for take in merged.takes:
        image = planner.image(take.value)
        planner.add((setattr, live, "cell_contents", image), (setattr, live, "cell_contents", now), "a closure")


def _dict(planner: Planner, live: dict[Any, Any], staged: dict[Any, Any]) -> None:
    links = planner.links
    if is_a(live, collections.defaultdict) and is_a(staged, collections.defaultdict):
        _factory(planner, live, staged)
    held = dict(dict.items(live))  # at one moment: while a change is staged the program goes on
    base, now, new = (by_key(links, dict.items(one)) for one in (planner.twin(live), held, staged))
    known = len(planner.conflicts)
    takes = planner.merge(live, now, new, base, "a mapping").takes
    if len(planner.conflicts) > known and (name := _name_of(planner, live)):
        planner.conflicts[known:] = [what.replace("a mapping", name, 1) for what in planner.conflicts[known:]]
    if not takes:
        return
    keys = dict(zip(new, map(planner.image, dict.keys(staged)), strict=True))
    keys |= dict(zip(now, held, strict=True))
    result = dict(now)
    for take in takes:
        if take.value is MISSING:
            result.pop(take.key, None)
        else:
            result[take.key] = planner.image(take.value)
    ordered = _in_order_of(result, list(new))
    plain = all(is_plain_key(key) for key in keys.values())
    if plain and list(ordered) == [*now, *(key for key in ordered if key not in now)]:
        for take in takes:
            planner.store(live, keys[take.key], ordered.get(take.key, MISSING), f"a mapping's {keys[take.key]!r:.40}")
        return
    # Built beside it: a commit that only copies it asks no key anything.
    try:
        made = {keys[key]: value for key, value in ordered.items()}
    except Exception as error:
        # An `__eq__` of their own meets keys of both versions here, and may not know the other's.
        raise planner.refused(live, f"has keys that cannot be compared: {type(error).__name__}: {error}") from error
    kind = collections.OrderedDict if is_a(live, collections.OrderedDict) else dict
    do: list[Call] = [(kind.clear, live), (kind.update, live, made)]
    planner.operations += paired_calls(do, _dict_undo(live, held, made, kind), "a mapping")


def _name_of(planner: Planner, value: Any) -> str:
    """Return the name that a module of the component, or a class of it, has for an object; "" when none does."""
    for module in list(sys.modules.values()):
        if planner.twin(module) is not module:
            classes = [one for one in own_items(module).values() if is_class(one)]
            owners = {module.__name__: module} | {f"{one.__module__}.{one.__qualname__}": one for one in classes}
            for where, owner in owners.items():
                for name, held in own_items(owner).items():
                    if held is value:
                        return f"{where}.{name}"
    return ""


def _factory(planner: Planner, live: Any, staged: Any) -> None:
    now, base = live.default_factory, planner.twin(live)
    name = "a mapping's default_factory"
    had = {"default_factory": base.default_factory} if is_a(base, collections.defaultdict) else {}
    for take in planner.merge(
        live, {"default_factory": now}, {"default_factory": staged.default_factory}, had, name
    ).takes:
        setter = vars(collections.defaultdict)["default_factory"].__set__
        planner.add((setter, live, planner.image(take.value)), (setter, live, now), name)


def _dict_undo(live: dict[Any, Any], old: dict[Any, Any], new: dict[Any, Any], kind: Any) -> list[Call]:
    """Return the calls that bring the old contents back, and leave what the program adds after the commit."""
    changed = [key for key in old if key not in new or new[key] is not old[key]]
    target: dict[Any, Any] = live
    calls: list[Call] = []
    in_order = [key for key in new if key in old] == list(old)
    if not in_order:
        # Built beside it in the old order, then put in its place.
        target = dict(old)
        calls.append((dict.update, target, live))
    calls += [(dict.pop if target is not live else kind.pop, target, key, None) for key in new if key not in old]
    calls += [((dict if target is not live else kind).__setitem__, target, key, old[key]) for key in changed]
    return calls if in_order else [*calls, (kind.clear, live), (kind.update, live, target)]


def _in_order_of(result: dict[Any, Any], order: Sequence[Any]) -> dict[Any, Any]:
    """Order as the new version has it; what the program added comes behind."""
    first = {key: result[key] for key in order if key in result}
    return first | {key: value for key, value in result.items() if key not in first}


def _list(planner: Planner, live: list[Any], staged: list[Any]) -> None:
    merged = merge_lists(planner.links, list(planner.twin(live)), list(live), list(staged))
    if merged is None:
        planner.conflict(live, _name_of(planner, live) or f"a list ({live!r:.60})", staged)
        return
    new, old = [planner.image(item) for item in merged], list(live)
    if not planner.links.alike(old, new):
        # By length, not as a whole: what the program appends after the commit stays when it is taken back.
        do = (list.__setitem__, live, slice(0, len(old)), new)
        planner.add(do, (list.__setitem__, live, slice(0, len(new)), old), "a list")


def _deque(planner: Planner, live: collections.deque[Any], staged: collections.deque[Any]) -> None:
    merged = merge_lists(planner.links, list(planner.twin(live)), list(live), list(staged))
    if merged is None:
        planner.conflict(live, _name_of(planner, live) or "a queue", staged)
        return
    new, old = [planner.image(item) for item in merged], list(live)
    if not planner.links.alike(old, new):
        kind = collections.deque
        do: list[Call] = [(kind.clear, live), (kind.extend, live, new)]
        undo: list[Call] = [(kind.clear, live), (kind.extend, live, old)]
        planner.operations += paired_calls(do, undo, "a queue")


def _set(planner: Planner, live: set[Any], staged: set[Any]) -> None:
    add, remove = merge_sets(planner.links, planner.twin(live), live, staged)
    if not all(is_plain_key(value) for value in (*live, *add)):
        _set_at_once(planner, live, add, remove)
        return
    for value in add:
        image = planner.image(value)
        planner.add((set.add, live, image), (set.discard, live, image), "a set")
    for value in remove:
        planner.add((set.discard, live, value), (set.add, live, value), "a set")


def _set_at_once(planner: Planner, live: set[Any], add: list[Any], remove: list[Any]) -> None:
    """Plan for a set whose members have a `__hash__` of their own: a copy of one asks no member."""
    if add or remove:
        gone = {id(value) for value in remove}
        made = {value for value in live if id(value) not in gone} | {planner.image(value) for value in add}
        do: list[Call] = [(set.clear, live), (set.update, live, made)]
        undo: list[Call] = [(set.difference_update, live, made - live), (set.update, live, set(remove))]
        planner.operations += paired_calls(do, undo, "a set")


def instance(planner: Planner, live: Any, staged: Any) -> None:
    """Plan for any other object: what its dict and its slots hold."""
    base = planner.twin(live)
    where = f"an instance of {type(live).__qualname__}"
    _own_dict(planner, live, staged, base, where)
    kind, moves = planner.image(type(staged)), planner.moves(live)
    slots, now = slot_values(staged), slot_values(live)
    for take in planner.merge(live, now, slots, slot_values(base), where).takes if slots else ():
        # What moves with its class has done so by then.
        descriptor = member_of(kind if moves else type(live), take.key)
        if descriptor is None or take.value is MISSING:
            continue
        do = (descriptor.__set__, live, planner.image(take.value))
        unset = take.key not in now
        undo = (descriptor.__delete__, live) if unset else (descriptor.__set__, live, now[take.key])
        planner.add(do, undo, f"{where}.{take.key}")
    if kind is not type(live) and may_become(live, staged) and not moves:
        planner.add(*become_calls(live, kind), f"the class of {where}")


def _own_dict(planner: Planner, live: Any, staged: Any, base: Any, where: str) -> None:
    mine, theirs, before = instance_dict(live), instance_dict(staged), instance_dict(base) or {}
    if mine is None or theirs is None:
        return
    conflicts = merge_names(planner.links, before, mine, theirs).conflicts if base is not live else ()
    if conflicts:
        # Perhaps nobody has set it: the old version's own properties may have, when they were read.
        made = made_by_properties(base)
        before = before | {
            one.key: made[one.key]
            for one in conflicts
            if one.key in made and planner.links.alike(mine.get(one.key, MISSING), made[one.key])
        }
    old, new = cached_names(type(base)), cached_names(type(staged))
    now = _without(mine, old | new)
    before, theirs = _without(before, old | new), _without(theirs, new)
    takes = planner.merge(live, now, theirs, before, where).takes
    for take in takes:
        planner.store(mine, take.key, planner.present(take.value), f"{where}.{take.key}")
    for name in (old | new) - {take.key for take in takes}:
        # What was made of the one version's data is no answer of the other: made anew when somebody asks.
        planner.store(mine, name, MISSING, f"{where}.{name}")


def _without(namespace: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in namespace.items() if name not in names}


def _cache(planner: Planner, live: Any, staged: Any) -> None:
    """What a cache remembers is the other version's: it is emptied, and stays the object that it is."""
    planner.add((live.cache_clear,), (live.cache_clear,), f"the cache of {live.__qualname__}")
    instance(planner, live, staged)


def _view(_planner: Planner, _live: Any, _staged: Any) -> None:
    """A view shows what its mapping is merged to."""


def _context_variable(planner: Planner, live: Any, staged: Any) -> None:
    """It keeps its values, which are the program's; CPython lets nobody change its default."""
    if not planner.links.alike(_default(planner.twin(live)), _default(staged)):
        planner.warn(f"The context variable {live.name!r} keeps the default that it has.")


def _default(variable: contextvars.ContextVar[Any]) -> Any:
    try:
        return contextvars.Context().run(variable.get)
    except LookupError:
        return MISSING


HANDLERS: dict[Any, Callable[[Planner, Any, Any], None]] = {
    contextvars.ContextVar: _context_variable,
    types.MappingProxyType: _view,
    types.CellType: _cell,
    functools._lru_cache_wrapper: _cache,  # noqa: SLF001 - the type has no public name
    dict: _dict,
    list: _list,
    collections.deque: _deque,
    set: _set,
}
"""How an object of each kind is planned for: `(planner, live, staged)`."""
