"""Finding who holds an object, anywhere in the process, and planning that they hold another one instead.

Most holders follow because what they hold keeps its identity. This is for the rest: a class whose layout cannot change
in place, and what immutable holders (tuples, bound methods, aliases) keep of it.
"""

from __future__ import annotations

import collections
import contextvars
import functools
import gc
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from noodle_upgrade_runtime.asking import is_a, namespace_of, setter_of
from noodle_upgrade_runtime.heap import Heap
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.patch.classes import bases_problem
from noodle_upgrade_runtime.patch.contexts import bind, is_node, may_be_bound
from noodle_upgrade_runtime.patch.correspondence import instance_dict, slot_values
from noodle_upgrade_runtime.patch.frames import LocalsTold, locals_of, running
from noodle_upgrade_runtime.patch.weak import is_list_of_subclasses, renewed
from noodle_upgrade_runtime.quiescence import frame_of

__all__ = ["Holders"]


class Holders:
    """Plans that every holder of an old object holds its replacement.

    `replacements` maps the id of an old object to (old, new); `moving` are the ids of classes whose instances become
    instances of the replacement; `parts` are those of an earlier plan. What cannot be told another object is named in
    `stuck`, with the id of what it holds; a context that another thread is in only where it is told at once, by `now`.
    `alike` has, by the ids of classes that give way, the bases of what comes instead, where nothing goes on as an
    instance of the old one. Local variables stay with the objects of the ids `staying`: those which nobody could lead
    them back to.
    """

    def __init__(
        self,
        replacements: dict[int, tuple[Any, Any]],
        *,
        skip: Callable[[Any], bool],
        moving: frozenset[int] = frozenset(),
        parts: Sequence[tuple[Any, int]] = (),
        now: bool = True,
        staying: frozenset[int] = frozenset(),
        alike: Mapping[int, tuple[type, ...]] = types.MappingProxyType({}),
    ) -> None:
        self._new = dict(replacements)
        self.roots = [old for old, _ in replacements.values()]
        self._skip = skip
        self._moving = moving
        self.now = now
        self._staying = staying
        self._alike = alike
        self._made_alike: set[int] = set()
        self.operations: list[Operation] = []
        self._causes = {old: old for old in replacements} | {id(part): cause for part, cause in parts}
        self._parts = {id(part): part for part, _ in parts}
        self._classes: dict[int, type] | None = None
        self.stuck: list[tuple[str, int]] = []
        self._renew_references()

    def _renew_references(self) -> None:
        for old, new in list(self._new.values()):
            for reference in weakref.getweakrefs(old):
                made = renewed(reference, new)
                self._causes[id(reference)] = id(old)
                if made is None:
                    kind = type(reference)
                    self.stuck.append((f"an object of type {kind.__module__}.{kind.__qualname__}", id(old)))
                else:
                    self._new[id(reference)] = (reference, made)

    def plan(self, heap: Heap) -> list[Operation]:
        """Return the operations; immutable holders are built again once somebody holds them, and told in turn."""
        found: dict[int, Any] = {}
        own = {*map(id, (self._new, self._parts, found, self.roots)), *map(id, self._new.values())}
        wanted = [old for old, _ in self._new.values()] + list(self._parts.values())
        while wanted:
            known = set(found) | self._parts.keys() | self._new.keys()
            holders = [one for one in heap.holders(wanted) if id(one) not in own | known and not self._skip(one)]
            own.add(id(holders))
            found |= {id(one): one for one in holders}
            wanted = [one for one in holders if is_node(one) or _is_built_again(one, self._new)]
            own.add(id(wanted))
            for part in wanted:
                self._causes[id(part)] = self._cause(part)
                if not is_node(part):
                    self._parts[id(part)] = part
        self._patch_all(found, own, heap)
        if self.now:
            for frame in running():
                self.tell_locals(frame)
        return self.operations

    def _patch_all(self, found: dict[int, Any], own: set[int], heap: Heap) -> None:
        # Some do not show that they hold their class: see `shows_instances`.
        moving = heap.of([old for old in self.roots if id(old) in self._moving])
        found |= {id(one): one for one in moving if id(one) not in own and not self._skip(one)}
        for one in found.values():
            if type(one) is Operation:
                # It stays as it is, with the calls that it is made of.
                for part in (one, one.do, one.undo):
                    self._parts.pop(id(part), None)
        for one in [*found.values()]:
            if is_node(one) or _is_built_again(one, self._new):
                continue
            if not self._skip(holder := self._as_told(one, heap)):
                self._patch(holder)

    def tell_locals(self, frame: types.FrameType | None) -> None:
        """Plan it for the local variables of a call. Whoever goes back looks for the calls that there are by then."""
        if frame is None or not self.now:
            return
        pairs = [(n, v, self.new(v)) for n, v in locals_of(frame).items() if id(v) not in self._staying]
        if changes := [pair for pair in pairs if pair[1] is not pair[2]]:
            self.add((LocalsTold(frame, changes),), (id, None), "local variables")

    def parts(self) -> list[tuple[Any, int]]:
        """Return the immutable holders that were built again, each with the id of what it holds in the end.

        For the next plan, which finds at its first look whoever holds them.
        """
        return [(old, self._causes[key]) for key, (old, _) in self._new.items() if _is_built_again(old, self._new)]

    def _as_told(self, holder: Any, heap: Heap) -> Any:
        """Return the class whose names a dict has: the interpreter keeps in a cache what it has found in a class."""
        if type(holder) is not dict:
            return holder
        if self._classes is None:
            self._classes = _classes_by_namespace(heap)
        return self._classes.get(id(holder), holder)

    def new(self, value: Any) -> Any:
        """Return what stands for a value from now on."""
        if id(value) in self._parts:
            # Not before: what nobody holds may be a tuple that another thread is still filling.
            part = self._parts.pop(id(value))
            self._new[id(value)] = (part, self._rebuild(part))
        found = self._new.get(id(value))
        return value if found is None else found[1]

    def _rebuild(self, holder: Any) -> Any:
        kind = type(holder)
        if is_a(holder, tuple):
            items = tuple.__getitem__(holder, slice(None))
            return tuple.__new__(kind, [self.new(item) for item in items])
        if kind is frozenset:
            made = self.keyed([(item, None) for item in holder])
            return holder if made is None else frozenset(made)
        if kind is types.MethodType:
            return types.MethodType(self.new(holder.__func__), self.new(holder.__self__))
        if kind is types.GenericAlias:
            return types.GenericAlias(self.new(holder.__origin__), self.new(holder.__args__))
        return functools.reduce(lambda a, b: a | b, [self.new(a) for a in holder.__args__])

    def _patch(self, holder: Any) -> None:
        patch = next((patch for kind, patch in _PATCH.items() if is_a(holder, kind)), None)
        if patch is not None:
            patch(self, holder)
        if patch is None or type(holder) not in _PATCH:
            self._attributes(holder, must=patch is None)

    def _cause(self, holder: Any) -> int:
        """Return the id of what a holder holds in the end, of all that gives way."""
        return self._cause_among(gc.get_referents(holder))

    def _cause_among(self, held: Sequence[Any]) -> int:
        return next(self._causes[id(one)] for one in held if id(one) in self._causes)

    def refuse(self, holder: Any, what: str = "") -> None:
        """Note a holder that cannot be told."""
        kind = type(holder)
        self.stuck.append((what or f"an object of type {kind.__module__}.{kind.__qualname__}", self._cause(holder)))

    def keyed(self, items: Sequence[tuple[Any, Any]]) -> dict[Any, Any] | None:
        """Return what a table holds from now on; None, and a note, where a key becomes what cannot be one."""
        try:
            return {self.new(key): self.new(value) for key, value in items}
        except TypeError as error:
            what = f"a table or a set, in which its successor cannot be ({error}),"
            self.stuck.append((what, self._cause_among([key for key, _ in items])))
            return None

    def bases_problem(self, holder: type, bases: tuple[type, ...], new_bases: tuple[type, ...]) -> str:
        """Say why a class cannot derive from what comes instead of its bases, "" when it can.

        CPython compares what the two derive from: a class that gives way to one of other bases (a protocol, say) gets
        those first, which then leave no difference.
        """
        problem = bases_problem(holder, new_bases)
        if not problem:
            return ""
        given = {
            id(old): Operation(
                (setter_of(old), old, "__bases__", wanted), (setter_of(old), old, "__bases__", old.__bases__), ""
            )
            for old, new in zip(bases, new_bases, strict=True)
            if old is not new and (wanted := self._alike.get(id(old), old.__bases__)) != old.__bases__
        }
        if not given or bases_problem(holder, new_bases, after=list(given.values())):
            return problem
        self.operations += [one for key, one in given.items() if key not in self._made_alike]
        self._made_alike |= given.keys()
        return ""

    def add(self, do: tuple[Any, ...], undo: tuple[Any, ...], subject: str) -> None:
        """Plan one call."""
        self.operations.append(Operation(do, undo, subject))

    def _attributes(self, holder: Any, *, must: bool) -> None:
        done = False
        own = instance_dict(holder)
        for name, value in list((own or {}).items()):
            new = self.new(value)
            if new is not value and own is not None:
                self.add((dict.__setitem__, own, name, new), (dict.__setitem__, own, name, value), _where(holder, name))
                done = True
        for name, value in slot_values(holder).items():
            new = self.new(value)
            if new is not value:
                descriptor = next(vars(c)[name] for c in type(holder).__mro__ if name in vars(c))
                self.add((descriptor.__set__, holder, new), (descriptor.__set__, holder, value), _where(holder, name))
                done = True
        if id(type(holder)) in self._moving:
            old, new = type(holder), self.new(type(holder))
            # First of all its operations, because the others may be slots of the new class.
            self.add((object.__setattr__, holder, "__class__", new), (object.__setattr__, holder, "__class__", old), "")
            done = True
        if must and not done and self.new(type(holder)) is type(holder):
            self.refuse(holder)


_BUILT_AGAIN = frozenset({frozenset, types.MethodType, types.GenericAlias, types.UnionType})


def _is_built_again(holder: Any, new: Mapping[int, Any]) -> bool:
    """Whether nobody can change an object, so that its holders hold another one."""
    if is_a(holder, tuple):
        return id(type(holder)) not in new and instance_dict(holder) is None
    return type(holder) in _BUILT_AGAIN


def _classes_by_namespace(heap: Heap) -> dict[int, type]:
    """Return the classes by the id of the dict that they bind their names in."""
    found = {}
    for cls in heap.classes():
        namespace = gc.get_referents(namespace_of(cls))
        found.update({id(namespace[0]): cls} if namespace else {})
    return found


def _where(holder: Any, name: Any) -> str:
    return f"{type(holder).__qualname__}.{name}"


def _dict(holders: Holders, holder: dict[Any, Any]) -> None:
    items = list(dict.items(holder))
    if is_a(holder, collections.defaultdict):
        factory = holder.default_factory
        if (made := holders.new(factory)) is not factory:
            setter = vars(collections.defaultdict)["default_factory"].__set__
            holders.add((setter, holder, made), (setter, holder, factory), "a mapping")
    if any(is_list_of_subclasses(holder, old) for old in holders.roots):
        return
    if any(holders.new(key) is not key for key, _ in items):
        if is_a(holder, collections.OrderedDict):
            # It has an order of its own, which no single C call keeps for a key that changes.
            holders.refuse(holder)
            return
        fresh = holders.keyed(items)
        if fresh is None:
            return
        old = dict(items)
        holders.add((id, None), (dict.update, holder, old), "a mapping")
        holders.add((dict.clear, holder), (dict.clear, holder), "a mapping")
        holders.add((dict.update, holder, fresh), (id, None), "a mapping")
        return
    for key, value in items:
        new = holders.new(value)
        if new is not value:
            holders.add((dict.__setitem__, holder, key, new), (dict.__setitem__, holder, key, value), f"{key}")


def _list(holders: Holders, holder: list[Any]) -> None:
    for index, value in enumerate(list.__iter__(holder)):
        new = holders.new(value)
        if new is not value:
            holders.add((list.__setitem__, holder, index, new), (list.__setitem__, holder, index, value), "a list")


def _deque(holders: Holders, holder: collections.deque[Any]) -> None:
    for index, value in enumerate(list(collections.deque.__iter__(holder))):
        new = holders.new(value)
        if new is not value:
            store = collections.deque.__setitem__
            holders.add((store, holder, index, new), (store, holder, index, value), "a queue")


def _set(holders: Holders, holder: set[Any]) -> None:
    for value in list(set.__iter__(holder)):
        new = holders.new(value)
        if new is not value and holders.keyed([(value, None)]) is not None:
            holders.add((set.discard, holder, value), (set.add, holder, value), "a set")
            holders.add((set.add, holder, new), (set.discard, holder, new), "a set")


def _context(holders: Holders, holder: contextvars.Context) -> None:
    for variable, value in holder.items():
        new = holders.new(value)
        if new is value:
            continue
        if holders.now and not may_be_bound(holder):
            holders.refuse(holder, "a context that another thread is in")
            return
        holders.add((bind, holder, variable, new), (bind, holder, variable, value), "a context variable")


def _suspended(holders: Holders, holder: Any) -> None:
    holders.tell_locals(frame_of(holder))


def _cell(holders: Holders, holder: types.CellType) -> None:
    old = holder.cell_contents
    holders.add(
        (setattr, holder, "cell_contents", holders.new(old)), (setattr, holder, "cell_contents", old), "a closure"
    )


def _function(holders: Holders, holder: types.FunctionType) -> None:
    for name in ("__defaults__", "__kwdefaults__", "__annotations__"):
        value = getattr(holder, name)
        new = holders.new(value)
        if new is not value:
            holders.add((setattr, holder, name, new), (setattr, holder, name, value), f"{holder.__qualname__}.{name}")


def _type(holders: Holders, holder: type) -> None:
    bases = holder.__bases__
    new_bases = tuple(holders.new(base) for base in bases)
    if any(a is not b for a, b in zip(bases, new_bases, strict=True)):
        if problem := holders.bases_problem(holder, bases, new_bases):
            holders.refuse(holder, f"class {holder.__module__}.{holder.__qualname__} ({problem})")
            return
        holders.add(
            (setter_of(holder), holder, "__bases__", new_bases),
            (setter_of(holder), holder, "__bases__", bases),
            f"{holder.__qualname__}.__bases__",
        )
    for name, value in list(vars(holder).items()):
        new = holders.new(value)
        if new is not value and name not in {"__dict__", "__weakref__"}:
            holders.add(
                (setter_of(holder), holder, name, new), (setter_of(holder), holder, name, value), _where(holder, name)
            )


def _property(holders: Holders, holder: property) -> None:
    old = (holder.fget, holder.fset, holder.fdel, holder.__doc__)
    new = tuple(holders.new(part) for part in old)
    holders.add((property.__init__, holder, *new), (property.__init__, holder, *old), "a property")


def _wrapper(holders: Holders, holder: Any) -> None:
    old = holder.__func__
    holders.add((type(holder).__init__, holder, holders.new(old)), (type(holder).__init__, holder, old), "a wrapper")


def _partial(holders: Holders, holder: Any) -> None:
    old = (holder.func, holder.args, holder.keywords, holder.__dict__ or None)
    new = tuple(holders.new(part) for part in old)
    if any(a is not b for a, b in zip(old, new, strict=True)):
        holders.add((holder.__setstate__, new), (holder.__setstate__, old), "a partial")


def _nothing(_holders: Holders, _holder: Any) -> None:
    return


_PATCH: dict[Any, Callable[[Holders, Any], None]] = {
    types.FrameType: Holders.tell_locals,
    types.ModuleType: _nothing,
    type: _type,
    types.FunctionType: _function,
    types.CellType: _cell,
    dict: _dict,
    list: _list,
    set: _set,
    collections.deque: _deque,
    property: _property,
    staticmethod: _wrapper,
    classmethod: _wrapper,
    functools.partial: _partial,
    contextvars.Context: _context,
    types.BuiltinFunctionType: _nothing,
    types.MemberDescriptorType: _nothing,
    types.GetSetDescriptorType: _nothing,
    types.WrapperDescriptorType: _nothing,
    types.CodeType: _nothing,
    weakref.ref: _nothing,
    types.GeneratorType: _suspended,
    types.CoroutineType: _suspended,
    types.AsyncGeneratorType: _suspended,
}
