"""What a program changes in a package: entries in its registries, its settings; and whether they are still there."""

from __future__ import annotations

import abc
import collections
import contextvars
import enum
import functools
import itertools
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fidelity.inside.modules import home_of, imported, is_ours

__all__ = ["Place", "Registration", "UsersChanges", "contexts", "places", "registrations", "survey"]

SIMPLE = (bool, int, float, str)
TABLES = (dict, collections.OrderedDict, collections.defaultdict)
ROWS = (list, collections.deque)
NOT_SETTINGS = frozenset({"TYPE_CHECKING", "_abc_impl"})


@dataclass(frozen=True)
class Place:
    """A name that is bound to something that can be changed: `owner` is a module, a class or an object."""

    path: str
    owner: Any
    name: str

    def value(self) -> Any:
        """Return what is there."""
        return vars(self.owner).get(self.name)


@dataclass(frozen=True)
class Registration:
    """A change that was made: `kept` says whether it is still in effect."""

    path: str
    kept: Callable[[], bool]


class UsersMark:
    """Something of the user's that was put somewhere."""


class UsersContext(UsersMark):
    """Something of the user's in a context variable, where proxies of the package ask it for what they stand for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: Any) -> Any:
        return self


def users_function(*args: Any, **kwargs: Any) -> Any:
    """Do what the user wants."""
    return (args, kwargs)


# --- where changes can be made ---------------------------------------------------------------------------------------


def places(tops: Sequence[str]) -> Iterator[Place]:
    """Yield every place of the package: in its modules, its classes, and the objects that modules bind."""
    modules = imported(tops)
    foreign = {
        id(value)
        for name, module in list(sys.modules.items())
        if isinstance(module, types.ModuleType) and name not in modules
        for value in list(vars(module).values())
    }
    seen: set[int] = set()
    for module_name, module in modules.items():
        for name, value in list(vars(module).items()):
            if _is_of_the_language(name) or isinstance(value, types.ModuleType):
                continue
            if type(value) in (*TABLES, *ROWS, set) and (id(value) in seen or id(value) in foreign):
                continue
            elsewhere = isinstance(value, type | types.FunctionType) and home_of(value) != module_name
            again = id(value) in seen  # a second name of the same class is the same place
            if not elsewhere:
                seen.add(id(value))
            yield Place(f"{module_name}:{name}", module, name)
            if again:
                continue
            if (isinstance(value, type) and home_of(value) == module_name and not isinstance(value, enum.EnumMeta)) or (
                is_ours(getattr(type(value), "__module__", None), tops)
                and isinstance(getattr(value, "__dict__", None), dict)
            ):
                yield from _inside(f"{module_name}:{name}", value, seen)


def _inside(path: str, owner: Any, seen: set[int]) -> Iterator[Place]:
    for name, value in list(vars(owner).items()):
        if not isinstance(name, str) or _is_of_the_language(name):
            continue
        if type(value) in (*TABLES, *ROWS, set):
            if id(value) in seen:
                continue  # a module has a name for it too: one change of it is enough
            seen.add(id(value))
        yield Place(f"{path}.{name}", owner, name)


def _is_of_the_language(name: str) -> bool:
    return (name.startswith("__") and name.endswith("__")) or name in NOT_SETTINGS


def survey(tops: Sequence[str]) -> dict[str, Any]:
    """Return what every place holds, as plain data, to tell what the new version changes itself.

    By path: the kind, and what a simple value is or where a class comes from; what a class may get has a path, too.
    """
    found: dict[str, Any] = {}
    for place in places(tops):
        value = place.value()
        told = home_of(value) if isinstance(value, type) else repr(value) if type(value) in SIMPLE else None
        found[place.path] = [type(value).__name__, told]
        if isinstance(value, abc.ABCMeta) and _takes_subclasses(value):
            found[f"{place.path}{_VIRTUAL}"] = ["class", None]
    return found | {f"{name}:": ["module", None] for name in imported(tops)}


# --- changing --------------------------------------------------------------------------------------------------------


class UsersChanges:
    """Changes everything that can be changed, but for what the new version changes itself, which is a conflict.

    `new` is the survey of the new version, `without` are paths to leave alone.
    """

    def __init__(self, tops: Sequence[str], new: Mapping[str, Any], without: Sequence[str] = ()) -> None:
        self.made: list[Registration] = []
        self.conflicts: list[str] = []
        self._new = new
        left_out = set(without)
        self._places = list(places(tops))
        for place in self._places:
            if place.path in new and place.path not in left_out:
                self._change(place)
        for registration in itertools.chain(registrations(tops, new), contexts(tops)):
            # What the new version does not have any more cannot keep anything.
            if registration.path not in left_out and registration.path.partition(" ")[0] in new:
                self.made.append(registration)
        # What a later change has undone is gone before anything happens.
        self.made = [one for one in self.made if _holds(one)]

    def lost(self) -> list[str]:
        """Return the changes that are not in effect any more."""
        return [one.path for one in self.made if not _holds(one)]

    def set_conflicts(self) -> list[Registration]:
        """Change what the new version changes itself: it cannot be both, and must not be lost without a word."""
        before = len(self.made)
        for path in self.conflicts:
            place = next(one for one in self._places if one.path == path)
            self._set(place, _other(place.value()))
        return self.made[before:]

    def _change(self, place: Place) -> None:
        value = place.value()
        kind = type(value)
        if kind in SIMPLE and isinstance(place.owner, types.ModuleType | type):
            if self._new[place.path] != [kind.__name__, repr(value)]:
                self.conflicts.append(place.path)
                return
            self._set(place, _other(value))
        elif self._new[place.path][0] != kind.__name__:
            return
        elif kind in TABLES:
            self._enter(place, value)
        elif kind in ROWS and value:
            mark = _like(value[-1])
            value.append(mark)
            self._note(place, lambda: any(one is mark for one in place.value()))
        elif kind is set and value:
            mark = _like(next(iter(value)))
            value.add(mark)
            self._note(place, lambda: mark in place.value())

    def _set(self, place: Place, value: Any) -> None:
        try:
            setattr(place.owner, place.name, value)
        except (AttributeError, TypeError):
            return
        self._note(place, lambda: place.value() is value or place.value() == value)

    def _enter(self, place: Place, table: Any) -> None:
        if not table:
            return
        first, one = next(iter(table.items()))
        key, mark = _like(first), _like(one)
        try:
            table[key] = mark
        except Exception:
            return
        self._note(place, lambda: place.value().get(key) is mark)

    def _note(self, place: Place, kept: Callable[[], bool]) -> None:
        self.made.append(Registration(place.path, _from_now(place, kept)))


def _from_now(place: Place, kept: Callable[[], bool]) -> Callable[[], bool]:
    """Look a class or object up by its name at the time of asking: that is what everybody finds."""
    module_name, _, path = place.path.partition(":")

    def look() -> bool:
        owner: Any = sys.modules.get(module_name)
        for part in path.split(".")[:-1]:
            owner = vars(owner).get(part)
        return owner is place.owner and kept()

    return look


def _holds(registration: Registration) -> bool:
    try:
        return registration.kept()
    except Exception:
        return False


def _other(value: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    return value + "~" if isinstance(value, str) else value + 1


def _like(value: Any) -> Any:
    """Return something of the user's that could be in the place of this value."""
    if isinstance(value, tuple | list):
        return type(value)([_like(one) for one in value]) if type(value) in {tuple, list} else UsersMark()
    if isinstance(value, bool | type(None)):
        return value
    samples: tuple[tuple[Any, Any], ...] = ((str, "noodle_user"), (int | float, 987_654), (type, UsersMark))
    found = next((sample for kind, sample in samples if isinstance(value, kind)), None)
    if found is not None:
        return found
    return users_function if callable(value) else UsersMark()


# --- registrations that harm no suite --------------------------------------------------------------------------------


def registrations(tops: Sequence[str], new: Mapping[str, Any] | None = None) -> Iterator[Registration]:
    """Register a class with every abstract class and every dispatching function, and add a name to every class.

    `new` is the survey of the new version: what this has from another package is not there to be changed.
    """
    seen: set[int] = set()
    for module_name, module in imported(tops).items():
        for name, value in list(vars(module).items()):
            path = f"{module_name}:{name}"
            if id(value) in seen or home_of(value) not in {module_name, type(value).__module__}:
                continue
            seen.add(id(value))
            if isinstance(value, type) and home_of(value) == module_name:
                if new is None or not _is_given_up(new.get(path), tops):
                    yield from _with_class(path, value, abstract=new is None or f"{path}{_VIRTUAL}" in new)
            elif isinstance(value, types.FunctionType) and home_of(value) == module_name:
                yield from _with_dispatcher(path, value)
        vars(module)["noodle_users_name"] = mark = UsersMark()
        yield Registration(f"{module_name}: + a name of the user's", _is_named(module_name, mark))


def contexts(tops: Sequence[str]) -> Iterator[Registration]:
    """Set every context variable that nobody has set: not where a suite runs, which would find a stranger in it."""
    found = {id(v): (f"{m}:{n}", v) for m, module in imported(tops).items() for n, v in list(vars(module).items())}
    for path, value in found.values():
        # Not by `isinstance`, which asks a proxy for the class of what it stands for: it asks the variables set here.
        if type(value) is contextvars.ContextVar and value.get(None) is None:
            yield from _with_variable(path, value)


def _is_given_up(told: Any, tops: Sequence[str]) -> bool:
    is_class = told is not None and told[1] is not None and told[0] not in {kind.__name__ for kind in SIMPLE}
    return is_class and not is_ours(told[1], tops)


def _is_named(module_name: str, mark: Any) -> Callable[[], bool]:
    return lambda: vars(sys.modules[module_name]).get("noodle_users_name") is mark


def _found(path: str) -> Any:
    module_name, _, name = path.partition(":")
    return vars(sys.modules[module_name]).get(name)


_VIRTUAL = " + a virtual subclass"


def _takes_subclasses(cls: abc.ABCMeta) -> bool:
    """Whether a class takes virtual subclasses, and says so: a protocol may take them, and answer nobody."""
    virtual = type("UsersVirtual", (), {})
    try:
        cls.register(virtual)
        return issubclass(virtual, cls)
    except Exception:
        return False


def _with_class(path: str, cls: type, *, abstract: bool) -> Iterator[Registration]:
    if isinstance(cls, enum.EnumMeta):
        return
    mark = UsersMark()
    try:
        type.__setattr__(cls, "noodle_users_attribute", mark)
    except TypeError:
        return
    yield Registration(f"{path} + an attribute", lambda: _found(path).noodle_users_attribute is mark)
    if isinstance(cls, abc.ABCMeta) and abstract:
        virtual = type("UsersVirtual", (), {})
        try:
            cls.register(virtual)
        except Exception:
            return
        yield Registration(f"{path}{_VIRTUAL}", lambda: issubclass(virtual, _found(path)))


def _with_dispatcher(path: str, function: Any) -> Iterator[Registration]:
    register = getattr(function, "register", None)
    if register is None or not hasattr(function, "dispatch"):
        return
    mark = type("UsersKind", (), {})

    def chosen(*args: Any) -> Any:
        return args

    register(mark, chosen)
    yield Registration(f"{path} + a dispatch", lambda: _found(path).dispatch(mark) is chosen)


def _with_variable(path: str, variable: contextvars.ContextVar[Any]) -> Iterator[Registration]:
    mark = UsersContext()
    variable.set(mark)
    yield Registration(f"{path} + a context", functools.partial(_has_context, path, mark))


def _has_context(path: str, mark: Any) -> bool:
    return _found(path).get(None) is mark
