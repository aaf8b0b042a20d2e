"""Changing a live class in place: CPython's rules for it, and the calls that do it."""

from __future__ import annotations

import gc
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from noodle_upgrade_runtime.asking import HEAP_TYPE, deleter_of, is_a, namespace_of, setter_of
from noodle_upgrade_runtime.operations import Call, Operation, Script

__all__ = [
    "attribute_calls",
    "bases_problem",
    "effective_new",
    "fields_problem",
    "generic_getitem",
    "in_place_problem",
    "is_plain_new",
    "metaclass_binds",
    "new_calls",
    "own_slots",
    "paired_calls",
    "same_items",
    "wanted_bases",
]


def bases_problem(cls: type, bases: tuple[type, ...], *, after: Sequence[Operation] = ()) -> str:
    """Say why CPython would not give `cls` these bases, `after` these operations, "" when it would.

    CPython itself is asked: the bases are assigned and taken back within one atomic step, so that nobody sees it. Where
    that would leave a trace (see `plain_new`), a class of the same layout is asked.
    """
    subject = cls if effective_new(cls.__mro__) is effective_new((cls, *bases[0].__mro__)) else _clone(cls)
    if subject is None:
        return "a `__new__` comes or goes, and a base's `__init_subclass__` forbids a trial"
    move = [setter_of(subject), subject, "__bases__"]
    try:
        Script([*after, Operation((*move, bases), (*move, cls.__bases__))]).trial()
    except TypeError as error:
        return str(error)
    finally:
        if subject is not cls:
            move.clear()
            del subject
            gc.collect(0)
    return ""


def _clone(cls: type) -> type | None:
    if any("__init_subclass__" in vars(base) for base in cls.__mro__[1:] if base.__flags__ & HEAP_TYPE):
        return None
    return type.__new__(type(cls), cls.__name__, cls.__bases__, {"__slots__": (), "__module__": __name__})


def effective_new(order: Iterable[type]) -> Any:
    """Return the `__new__` that the first class of this resolution order would use."""
    for base in order:
        if "__new__" in vars(base):
            found = vars(base)["__new__"]
            return object.__new__ if is_plain_new(found) else found
    return object.__new__


def is_plain_new(value: Any) -> bool:
    """Return whether a `__new__` is one that `plain_new` made."""
    function = value.__func__ if is_a(value, staticmethod) else None
    return is_a(function, types.FunctionType) and function.__code__ is _PLAIN_NEW.__func__.__code__


def metaclass_binds(cls: type, name: str) -> bool:
    """Return whether the metaclass has a data descriptor of this name, so that `setattr` would not reach the class."""
    for meta in type.mro(type(cls)):
        found = vars(meta).get(name)
        if found is not None:
            return hasattr(type(found), "__set__") or hasattr(type(found), "__delete__")
    return False


_TYPE_HANDLES = frozenset({"__doc__", "__module__", "__annotations__", "__abstractmethods__", "__type_params__"})
"""Data descriptors of `type` that store the value in the class's dict: `type.__setattr__` is right for them."""


def attribute_calls(cls: type, name: str, new: Any, old: Any, missing: Any) -> tuple[list[Call], list[Call]]:
    """Return the calls that bind `name` in the class to `new`, and those that bring `old` back; `missing` unbinds."""
    if name not in _TYPE_HANDLES and metaclass_binds(cls, name):
        return _dict_calls(cls, name, new, missing), _dict_calls(cls, name, old, missing)
    return _calls(cls, name, new, missing), _calls(cls, name, old, missing)


def paired_calls(do: list[Call], undo: list[Call], subject: str) -> list[Operation]:
    """Return operations that make the calls of `do` in order, and those of `undo` in order when they are taken back."""
    size = max(len(do), len(undo))
    nothing: Call = (id, None)
    forward = do + [nothing] * (size - len(do))
    backward = reversed(undo + [nothing] * (size - len(undo)))
    return [Operation(go, back, subject) for go, back in zip(forward, backward, strict=True)]


def _calls(cls: type, name: str, value: Any, missing: Any) -> list[Call]:
    if name == "__new__" and value is missing and effective_new(cls.__mro__[1:]) is object.__new__:
        value = plain_new(cls)
    if value is not missing:
        return [(setter_of(cls), cls, name, value)]
    # Bound first, so that taking it away cannot fail when the program has done so already.
    bound: Any = frozenset() if name == "__abstractmethods__" else None
    return [(setter_of(cls), cls, name, bound), (deleter_of(cls), cls, name)]


def plain_new(cls: type) -> Any:
    """Return a `__new__` that does what having none does.

    Once a class has had a `__new__`, CPython goes on calling `object.__new__` with all arguments, which refuses them.
    """

    def __new__(kind: type, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it stands for the real one
        inherited = super(cls, kind).__new__  # type: ignore[arg-type]  # mypy wants a literal class
        if inherited is not object.__new__:
            return inherited(kind, *args, **kwargs)
        if (args or kwargs) and kind.__init__ is object.__init__:  # type: ignore[misc]  # identity only
            raise TypeError(f"{kind.__name__}() takes no arguments")
        return object.__new__(kind)

    __new__.__module__, __new__.__qualname__ = cls.__module__, f"{cls.__qualname__}.__new__"
    return staticmethod(__new__)


_PLAIN_NEW = plain_new(object)


def new_calls(cls: type, before: Any, after: Any) -> tuple[list[Call], list[Call]]:
    """Return the calls that an inherited `__new__` needs that comes (`before` is that of `object`) or goes."""
    bind: list[Call] = [(setter_of(cls), cls, "__new__", plain_new(cls))]
    # Bound first, so that taking it away cannot fail.
    unbind: list[Call] = [(setter_of(cls), cls, "__new__", object.__new__), (deleter_of(cls), cls, "__new__")]
    if before is object.__new__ and after is not object.__new__:
        return unbind, bind
    if before is not object.__new__ and after is object.__new__:
        return bind, unbind
    return [], []


def _dict_calls(cls: type, name: str, value: Any, missing: Any) -> list[Call]:
    namespace = gc.get_referents(namespace_of(cls))[0]
    store: Call = (dict.pop, namespace, name, None) if value is missing else (dict.__setitem__, namespace, name, value)
    # Storing an attribute that is there already tells the interpreter that the class has changed. Not `__module__`:
    # from 3.13 on that takes `__firstlineno__` away.
    touch: Call = (setter_of(cls), cls, "__doc__", namespace.get("__doc__"))
    return [store, touch]


def own_slots(cls: type) -> set[str]:
    """Return the names of the slots that a class itself adds."""
    return {
        name
        for name, value in namespace_of(cls).items()
        if type(value) is types.MemberDescriptorType and value.__objclass__ is cls
    }


def same_items(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Return whether two sequences hold the same objects."""
    return len(left) == len(right) and all(a is b for a, b in zip(left, right, strict=True))


def wanted_bases(live: type, bases: tuple[type, ...]) -> tuple[type, ...]:
    """Return the bases that the live class shall have.

    `Generic` adds nothing to instances: a class that gains only that keeps its bases and gets the subscript by itself.
    """
    if typing.Generic in bases and typing.Generic not in live.__mro__:
        rest = tuple(base for base in bases if base is not typing.Generic) or (object,)
        if same_items(rest, live.__bases__):
            return rest
    return bases


def generic_getitem() -> Any:
    """Return a `__class_getitem__` that does for any class what that of `Generic` does for its subclasses."""
    inner = getattr(typing, "_generic_class_getitem", None)
    return vars(typing.Generic)["__class_getitem__"] if inner is None else classmethod(inner)


def fields_problem(live: type, staged: type) -> str:
    """Say why instances of a named tuple cannot be what those of the staged one are, "" when they can."""
    fields = [getattr(cls, "_fields", None) if issubclass(cls, tuple) else None for cls in (live, staged)]
    return "its instances are tuples, whose fields go by their places" if fields[0] != fields[1] else ""


def in_place_problem(live: type, staged: type, image: Callable[[Any], Any]) -> str:
    """Say why the live class cannot become what the staged one is, "" when it can."""
    if image(type(staged)) is not type(live):
        return f"its metaclass changes from {type(live).__name__} to {type(staged).__name__}"
    for offset, what in (("__dictoffset__", "a __dict__"), ("__weakrefoffset__", "room for weak references")):
        if getattr(staged, offset) and not getattr(live, offset):
            return f"its instances gain {what} and their layout is fixed"
    if problem := fields_problem(live, staged):
        return problem
    added = own_slots(staged) - own_slots(live)
    if added and not live.__dictoffset__:
        return f"it gains the slots {', '.join(sorted(added))} and its layout is fixed"
    bases = wanted_bases(live, image(staged.__bases__))
    if not same_items(bases, live.__bases__):
        problem = bases_problem(live, bases)
        if problem and "MRO" not in problem and "method resolution" not in problem:
            return problem
    return ""
