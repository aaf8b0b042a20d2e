"""The kinds of references that programs hold, each with how it is made and what it leads to when it is looked at.

A maker takes the thing and returns a look: a function that says, as plain data, what the reference leads to now. The
same is made in the process that was started on the other version, and has to lead to the same there.
"""

from __future__ import annotations

import abc
import collections
import contextvars
import copy
import enum
import functools
import inspect
import pickle
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

from fidelity.inside.building import instance_of
from fidelity.inside.prints import bases_of, current, lead, shape

__all__ = ["CLASS_KINDS", "FUNCTION_KINDS", "INSTANCE_KIND", "LOOSE_CLASS_KINDS", "OBJECT_KINDS", "Look"]

Look = Callable[[], Any]
Maker = Callable[[Any], Look]


class User:
    """Somebody's class, whose instances hold things."""


def _holding(thing: Any) -> dict[str, Look]:
    """Return what any object can be held by: containers of all kinds, attributes, variables, closures, defaults."""
    a_list, a_dict, a_tuple = [thing], {"k": thing}, (0, (thing,))
    nested, queue = {"k": [(thing,)]}, collections.deque([thing])
    user, holder = User(), types.ModuleType("users_module")
    user.held = thing  # type: ignore[attr-defined]
    holder.held = thing  # type: ignore[attr-defined]
    owner = type("Owner", (), {"held": a_tuple})
    slotted = type("Slotted", (), {"__slots__": ("held",)})()
    slotted.held = thing
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("users_variable")
    variable.set(thing)

    def closure() -> Any:
        return thing

    def default(given: Any = thing) -> Any:
        return given

    def keyword(*, given: Any = thing) -> Any:
        return given

    def waiting() -> typing.Iterator[Any]:
        kept = thing
        yield None
        yield kept

    generator = waiting()
    next(generator)
    named: Any = collections.namedtuple("named", "held")(thing)  # noqa: PYI024 - the untyped one is what is held here
    return {
        "list": lambda: lead(a_list[0]),
        "dict value": lambda: lead(a_dict["k"]),
        "tuple": lambda: lead(a_tuple[1][0]),
        "nested": lambda: lead(nested["k"][0][0]),
        "deque": lambda: lead(queue[0]),
        "namedtuple": lambda: lead(named.held),
        "instance attribute": lambda: lead(user.held),  # type: ignore[attr-defined]
        "module attribute": lambda: lead(holder.held),
        "class attribute": lambda: lead(owner.held[1][0]),  # type: ignore[attr-defined]
        "slot": lambda: lead(slotted.held),
        "context variable": lambda: lead(variable.get()),
        "closure": lambda: lead(closure()),
        "default": lambda: lead(default()),
        "keyword default": lambda: lead(keyword()),
        "suspended generator": lambda: lead(_second(generator)),
        "cell": lambda: lead(closure.__closure__[0].cell_contents),  # type: ignore[index]
    }


def _held_loosely(thing: Any) -> dict[str, Look]:
    """Return a few simple holders, for a class that another one has to be put in the place of."""
    a_list, a_dict, a_tuple, user = [thing], {"k": thing}, (0, (thing,)), User()
    user.held = thing  # type: ignore[attr-defined]
    return {
        "list": lambda: lead(a_list[0]),
        "dict value": lambda: lead(a_dict["k"]),
        "tuple": lambda: lead(a_tuple[1][0]),
        "instance attribute": lambda: lead(user.held),  # type: ignore[attr-defined]
    }


def _second(generator: Any) -> Any:
    # Not by going on with it: it is looked at again after the way back.
    return generator.gi_frame.f_locals["kept"]


def _hashed(thing: Any) -> dict[str, Look]:
    a_set, frozen, keys = {thing}, frozenset([thing]), {thing: 1}
    weak = weakref.WeakKeyDictionary({thing: 1})
    return {
        "set": lambda: lead(next(iter(a_set))),
        "frozenset": lambda: lead(next(iter(frozen))),
        "dict key": lambda: [lead(next(iter(keys))), keys.get(next(iter(keys)))],
        "weak key": lambda: [lead(one) for one in weak],
    }


def _weak(thing: Any) -> dict[str, Look]:
    reference, values = weakref.ref(thing), weakref.WeakValueDictionary({"k": thing})
    return {"weak reference": lambda: lead(reference()), "weak value": lambda: lead(values.get("k"))}


def _pickled(thing: Any) -> dict[str, Look]:
    data = pickle.dumps(thing)
    return {"pickle": lambda: lead(pickle.loads(data)), "pickle anew": lambda: lead(pickle.loads(pickle.dumps(thing)))}


def _copied(thing: Any) -> dict[str, Look]:
    return {"copy": lambda: lead(copy.copy(thing))}


# --- functions -------------------------------------------------------------------------------------------------------


def _wrapping(function: Any) -> dict[str, Look]:
    @functools.wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    part, cached = functools.partial(function, 1), functools.lru_cache(function)
    deep = functools.partial(part, 2)
    return {
        "decorated": lambda: lead(decorated.__wrapped__),
        "partial": lambda: lead(part),
        "partial of partial": lambda: lead(deep),
        "lru_cache": lambda: lead(cached.__wrapped__),
        "signature": lambda: _signature(function),
    }


def _in_a_class(function: Any) -> dict[str, Look]:
    class Uses:
        method = function
        static = staticmethod(function)
        of_class: Any = classmethod(function)
        prop = property(function)
        part = functools.partialmethod(function, 1)
        lazy = functools.cached_property(function)

    bound = Uses().method
    made = types.MethodType(function, User())
    return {
        "method of a user's class": lambda: lead(Uses.__dict__["method"]),
        "bound method of a user's class": lambda: lead(bound),
        "method made by hand": lambda: lead(made),
        "staticmethod": lambda: lead(Uses.__dict__["static"]),
        "classmethod": lambda: lead(Uses.__dict__["of_class"]),
        "property": lambda: lead(Uses.__dict__["prop"]),
        "partialmethod": lambda: lead(Uses.__dict__["part"]),
        "cached_property": lambda: lead(Uses.__dict__["lazy"]),
    }


def _dispatched(function: Any) -> dict[str, Look]:
    @functools.singledispatch
    def dispatcher(_: Any) -> Any:
        return None

    dispatcher.register(int, function)
    return {"singledispatch": lambda: lead(dispatcher.dispatch(bool))}


# --- classes ---------------------------------------------------------------------------------------------------------


def _subclass(cls: Any) -> dict[str, Look]:
    made = types.new_class("UsersSubclass", (cls,), exec_body=lambda body: body.update(__module__="users_module"))
    looks: dict[str, Look] = {
        "subclass": lambda: [issubclass(made, cls), lead(made.__bases__[0])],
        "mro of a subclass": lambda: bases_of(made)[1:],
    }
    methods = _methods(cls)
    for name in methods:
        looks[f"super().{name}"] = _super_look(made, name)
    return looks


def _super_look(made: Any, name: str) -> Look:
    def look() -> Any:
        found: Any = next((vars(c)[name] for c in made.__mro__[1:] if name in vars(c)), None)
        through = getattr(super(made, object.__new__(made)), name, None) if made.__new__ is object.__new__ else found
        return lead(getattr(through, "__func__", through))

    return look


def _methods(cls: type) -> list[str]:
    return [n for n, v in vars(cls).items() if isinstance(v, types.FunctionType) and not n.startswith("__")]


def _of_class(cls: Any) -> dict[str, Look]:
    looks: dict[str, Look] = {
        "shape": lambda: shape(cls),
        "type[...]": lambda: lead(type[cls]),
        "list[...]": lambda: lead(list[cls]),
        "dict[str, ...]": lambda: lead(dict[str, cls]),
    }
    optional, either, table = typing.Optional[cls], cls | None, {"x": cls}  # noqa: UP045 - both forms are held
    held_alias = list[cls]

    def annotated(x: Any) -> None:
        """Have a signature that names the class."""

    annotated.__annotations__ = table
    looks |= {
        "Optional": lambda: lead(optional),
        "union": lambda: lead(either),
        "generic alias": lambda: lead(held_alias),
        "annotation": lambda: lead(typing.get_type_hints(annotated)["x"]),
        "partial": (lambda part: lambda: lead(part))(functools.partial(cls)),
        "signature": lambda: _signature(cls),
    }
    if hasattr(cls, "__class_getitem__"):
        looks["subscript"] = lambda: lead(cls[int])
    for name, value in vars(cls).items():
        if name.startswith("__"):
            continue
        held = getattr(cls, name) if isinstance(value, classmethod | staticmethod) else value
        kind = "unbound" if isinstance(value, types.FunctionType) else type(value).__name__
        if isinstance(value, property) or _is_own(held, cls):
            looks[f"{kind} {name}"] = (lambda got: lambda: lead(got))(held)
    return looks


def _is_own(value: Any, cls: type) -> bool:
    """Return whether something is a method of this package: one that it has from elsewhere cannot change with it."""
    function = getattr(value, "__func__", value)
    own = isinstance(function, types.FunctionType) and isinstance(function.__module__, str)
    return own and function.__module__.partition(".")[0] == cls.__module__.partition(".")[0]


def _registered(cls: Any) -> dict[str, Look]:
    @functools.singledispatch
    def dispatcher(_: Any) -> str:
        return "default"

    def chosen(_: Any) -> str:
        return "chosen"

    dispatcher.register(cls, chosen)
    looks: dict[str, Look] = {"dispatched class": lambda: dispatcher.dispatch(cls) is chosen}
    if isinstance(cls, abc.ABCMeta):
        virtual = type("Virtual", (), {})
        cls.register(virtual)
        looks["virtual subclass"] = lambda: issubclass(virtual, cls)
    return looks


def _members(cls: Any) -> dict[str, Look]:
    if not isinstance(cls, enum.EnumMeta):
        return {}
    held: dict[str, Any] = dict(cls.__members__)
    return {f"member {name}": _member_look(cls, name, one) for name, one in held.items()}


def _member_look(cls: Any, name: str, one: Any) -> Look:
    return lambda: [cls.__members__.get(name) is one, isinstance(one, cls)]


def _instances(cls: Any) -> dict[str, Look]:
    """Return looks through an instance: one that was built, where that takes nothing, or else a bare one."""
    made, built = instance_of(cls)
    where = (cls.__module__, cls.__qualname__)
    looks: dict[str, Look] = {
        "instance": lambda: lead(made),
        "isinstance": lambda: [isinstance(made, cls), isinstance(made, _as_class(current(*where)))],
        "type of an instance": lambda: lead(type(made)),
    }
    for name in _methods(cls):
        if (bound := _bound(made, name)) is not None:
            looks[f"bound {name}"] = (lambda got: lambda: lead(got))(bound)
    if built:
        looks["fields"] = lambda: {"subset": [n for n in _fields(cls, made) if _has(made, n)]}
        looks |= _try(_pickled, made, "instance ") | _try(_copied, made, "instance ")
    return looks


def _as_class(found: Any) -> Any:
    return found if isinstance(found, type) else ()


def _bound(made: Any, name: str) -> Any:
    try:
        found = object.__getattribute__(made, name)
    except AttributeError:
        return None
    return found if isinstance(found, types.MethodType) else None


def _fields(cls: type, made: Any) -> list[str]:
    """Return the names of what an instance that is built now has, the one that is held not asked."""
    try:
        names = set(vars(cls())) | set(getattr(made, "__dict__", {}))
    except (Exception, SystemExit):
        return []
    return sorted(name for name in names if isinstance(name, str))


def _has(made: Any, name: str) -> bool:
    try:
        object.__getattribute__(made, name)
    except AttributeError:
        return False
    return True


def _signature(value: Any) -> str:
    try:
        return "|".join(f"{one.name}:{one.kind}" for one in inspect.signature(value).parameters.values())
    except (TypeError, ValueError) as error:
        return type(error).__name__


def _try(kind: Callable[[Any], dict[str, Look]], thing: Any, prefix: str = "") -> dict[str, Look]:
    """Make what can be made of this thing: not everything can be pickled, hashed or subclassed."""
    try:
        return {prefix + name: look for name, look in kind(thing).items()}
    except Exception:
        return {}


FUNCTION_KINDS = (_holding, _hashed, _weak, _pickled, _copied, _wrapping, _in_a_class, _dispatched)
CLASS_KINDS = (_holding, _hashed, _weak, _pickled, _subclass, _of_class, _registered, _members)
INSTANCE_KIND = _instances
LOOSE_CLASS_KINDS = (_held_loosely, _weak, _pickled, _of_class, _members)
OBJECT_KINDS = (_holding,)
