"""Handles: what a service calls instead of the object of one version.

    from noodle_upgrade_runtime import handle
    renderer = handle("markdown-it-py", "markdown_it:MarkdownIt")
    renderer.render("# hi")

A handle's instance dictionary holds the bound methods of the current version's object, so that a call costs next to
nothing more than a direct one. A flip stores other methods there, all handles of a component in one atomic step.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import ComponentUnknownError, InvalidRequestError, StageError
from noodle_upgrade_runtime.links import Bound, Compare, Copying, Link
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.operations import Operation, gil_is_on
from noodle_upgrade_runtime.routing import Key
from noodle_upgrade_runtime.surface import SPECIAL_NAMES, Surface, surface_of
from noodle_upgrade_runtime.trees import member_of

__all__ = ["Bound", "Handle", "Handles", "Link", "entry_object", "handle", "process_handles"]


class _Forward:
    """A class attribute of a handle that stands for a data attribute of the current object."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return getattr(instance._noodle_.bound.target, self._name)


class Handle:
    """The base of all handles; each has a class of its own, made by `handle`.

    There is no `__getattr__` here unless the object behind has one: on Python 3.11 its mere presence makes every call
    through the handle half as dear again. Data attributes are forwarded by the class instead.
    """

    _noodle_: Link

    def __setattr__(self, name: str, value: Any) -> None:
        _forward_attributes(type(self), [name])
        setattr(self._noodle_.bound.target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._noodle_.bound.target, name)

    def __dir__(self) -> list[str]:
        return dir(self._noodle_.bound.target)

    def __repr__(self) -> str:
        link = self._noodle_
        return f"<handle of {link.component} {link.bound.version}: {link.entry_point}>"


class FunctionHandle(functools.partial[Any]):
    """A handle of a function: a partial without arguments is the one C object that can be re-aimed in one call."""

    _noodle_: Link

    def __repr__(self) -> str:
        link = self._noodle_
        return f"<handle of {link.component} {link.bound.version}: {link.entry_point}>"


def _special(name: str) -> Callable[..., Any]:
    def forward(self: Handle, *args: Any, **kwargs: Any) -> Any:
        try:
            method = self._noodle_.methods[name]
        except KeyError:
            raise TypeError(f"{self!r} has no {name} in this version") from None
        return method(*args, **kwargs)

    forward.__name__ = name
    return forward


def _dynamic(self: Handle, name: str) -> Any:
    if name == "_noodle_":  # a copy that is being made has none yet
        raise AttributeError(name)
    return getattr(self._noodle_.bound.target, name)


_DYNAMIC_IS_FREE = sys.version_info >= (3, 12)


def _forward_attributes(cls: type, names: Any) -> None:
    for name in names:
        if name not in cls.__dict__:
            setattr(cls, name, _Forward(name))


def extend(handle: Any, surface: Surface) -> None:
    """Prepare a handle for another version: what that one has besides can be reached once it is current."""
    cls = type(handle)
    if isinstance(handle, Handle):
        _forward_attributes(cls, surface.attributes - surface.methods.keys())
        for name in SPECIAL_NAMES.intersection(surface.methods):
            if name not in cls.__dict__:
                setattr(cls, name, _special(name))
        if (_DYNAMIC_IS_FREE or surface.dynamic) and "__getattr__" not in cls.__dict__:
            cls.__getattr__ = _dynamic


def _make(link: Link) -> Any:
    surface = link.bound.surface
    if surface.function is not None:
        made: Any = FunctionHandle(surface.function)
        made._noodle_ = link
        return made
    cls = type("Handle", (Handle,), {"__module__": __name__, "__doc__": surface.doc})
    one = cls()
    object.__setattr__(one, "_noodle_", link)
    extend(one, surface)
    for name, method in surface.methods.items():
        if name not in SPECIAL_NAMES:
            object.__setattr__(one, name, method)
    return one


def flip(
    handle: Any, old: Mapping[str, Any], new: Mapping[str, Any], *, before: Bound, after: Bound
) -> list[Operation]:
    """Return the operations that put other methods into a handle: from `old` of `before` to `new` of `after`."""
    link: Link = handle._noodle_
    subject = f"{link.component} {link.entry_point}"
    operations = [
        Operation((setattr, link, "bound", after), (setattr, link, "bound", before), subject),
        Operation((setattr, link, "methods", new), (setattr, link, "methods", old), subject),
    ]
    if isinstance(handle, FunctionHandle):
        return [*operations, _aim(handle, link, _function(old, before), _function(new, after), subject)]
    plain_old = {name: method for name, method in old.items() if name not in SPECIAL_NAMES}
    plain_new = {name: method for name, method in new.items() if name not in SPECIAL_NAMES}
    if not gil_is_on():
        # Without a GIL only one pointer store is atomic; it costs a little on each call.
        fresh, stale = {"_noodle_": link, **plain_new}, {"_noodle_": link, **plain_old}
        put = object.__setattr__
        return [*operations, Operation((put, handle, "__dict__", fresh), (put, handle, "__dict__", stale), subject)]
    return [*operations, *_stores(handle, plain_old, plain_new, subject)]


def _stores(handle: Any, old: Mapping[str, Any], new: Mapping[str, Any], subject: str) -> list[Operation]:
    put, drop = object.__setattr__, object.__delattr__
    made = []
    for name in {**old, **new}:
        do = (put, handle, name, new[name]) if name in new else (drop, handle, name)
        undo = (put, handle, name, old[name]) if name in old else (drop, handle, name)
        made.append(Operation(do, undo, f"{subject}.{name}"))
    return made


def _function(methods: Mapping[str, Any], bound: Bound) -> Callable[..., Any]:
    method = methods.get("__call__")
    if method is None:
        raise StageError(f"{bound.target!r} of version {bound.version} cannot be called, and its handle is.")
    return method  # type: ignore[no-any-return]


def _aim(handle: Any, link: Link, old: Any, new: Any, subject: str) -> Operation:
    # The dictionary goes with the function in the one call; a shared one would be emptied by it.
    state = {"_noodle_": link}
    put = functools.partial.__setstate__  # type: ignore[attr-defined]
    return Operation((put, handle, (new, (), {}, state)), (put, handle, (old, (), {}, state)), subject)


class Handles:
    """The handles of a program, by component; holds none of them alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, list[weakref.ref[Any]]] = {}
        self._made: dict[tuple[str, str], int] = {}
        self.locate: Callable[[str], tuple[Path, str, str] | None] = lambda _: None
        """Finds a component that is not importable: its folder, version and entry point. Set by the runtime plugin."""

    def add(self, made: Any) -> None:
        """Take note of a handle, and give it a name of its own where it has none. Raises `InvalidRequestError`."""
        link: Link = made._noodle_
        name = canonicalize_name(link.component)
        with self._lock:
            living = [one for ref in self._held.get(name, ()) if (one := ref()) is not None]
            taken = {one._noodle_.member for one in living}
            _check_free(link.component, link.member, taken)
            link.member = link.member or self._next_name(name, link.entry_point, taken)
            self._held[name] = [*map(weakref.ref, living), weakref.ref(made)]

    def check_free(self, component: str, member: str) -> None:
        """Raise `InvalidRequestError` when another living handle of the component has this name."""
        _check_free(component, member, {one._noodle_.member for one in self.of(component)})

    def _next_name(self, component: str, entry_point: str, taken: set[str]) -> str:
        while True:
            number = self._made[component, entry_point] = self._made.get((component, entry_point), 0) + 1
            if (name := f"{entry_point}#{number}") not in taken:
                return name

    def of(self, component: str) -> tuple[Any, ...]:
        """Return the living handles of a component, oldest first."""
        with self._lock:
            refs = tuple(self._held.get(canonicalize_name(component), ()))
        return tuple(one for ref in refs if (one := ref()) is not None)

    def components(self) -> tuple[str, ...]:
        """Return the names of the components that living handles stand for, as their handles spell them."""
        with self._lock:
            names = tuple(self._held)
        return tuple(found[0]._noodle_.component for name in names if (found := self.of(name)))


def _check_free(component: str, member: str, taken: set[str]) -> None:
    if member and member in taken:
        raise InvalidRequestError(
            f"There is a member {member!r} of {component} already.",
            hint="Give each handle a name of its own, or none: it is then named by its entry point and a number.",
            details={"component": component, "member": member, "members": sorted(taken)},
        )


# The one thing that this process shares: a handle is made by a module that is imported before any Upgrader exists, and
# the Upgrader has to find it.
_PROCESS = Handles()


def process_handles() -> Handles:
    """Return the handles that `handle` makes when it is not told otherwise."""
    return _PROCESS


def entry_object(module: ModuleType, entry_point: str, arguments: Mapping[str, Any] | None) -> Any:
    """Return what an entry point stands for in a loaded module.

    A class is instantiated once per version; a function is taken as it is, or called when there are `arguments` (it is
    then a factory); anything else is the object itself. Without `:object` it is the module.
    """
    _, _, path = entry_point.partition(":")
    found: Any = module
    for name in filter(None, path.split(".")):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise StageError(
                f"{entry_point}: {error}",
                hint="The entry point must exist under the same name in every version.",
                details={"entry_point": entry_point},
            ) from error
    if isinstance(found, type) or (arguments is not None and callable(found)):
        try:
            return found(**(arguments or {}))
        except Exception as error:
            raise StageError(
                f"{entry_point} could not be made: {type(error).__name__}: {error}",
                hint="Give what it needs with handle(…, arguments={…}).",
                details={"entry_point": entry_point, "error": type(error).__name__},
            ) from error
    return found


def handle(
    component: str,
    entry_point: str = "",
    *,
    arguments: Mapping[str, Any] | None = None,
    key: Key | None = None,
    member: str = "",
    domain: str = "",
    shadow: Iterable[str] | bool = (),
    compare: Compare | None = None,
    handles: Handles | None = None,
) -> Any:
    """Return a handle of a component's entry point, bound to the version that runs now.

    `entry_point` is `module:object`, or `module`; it may be left out for a component of the components directory that
    declares its own. `arguments` are keywords for the class or the factory, used once per version. `key` is called with
    a call's own arguments while a deployment moves traffic: calls with the same key stay on one version.

    `member` is this handle's name where a component has several, which an upgrade can then change one by one, and
    `domain` says which of them may fail together; without a name it is `entry_point#1`, `#2`. `shadow` names the
    methods of whose calls copies may be run on a new version to compare the answers; True means all, and nothing none.
    What such a method does outside of its object is then done twice. `compare(old, new)` says whether two answers are
    the same, where `==` does not.

    Raises `ComponentUnknownError` when nothing like it can be imported, `StageError` when its object cannot be made,
    `InvalidRequestError` for a name that another living handle of the component has, or a method that is not there.
    """
    held = _PROCESS if handles is None else handles
    if not isinstance(component, str) or not component.strip():
        raise InvalidRequestError(f"A handle needs the name of a component, got {component!r}.")
    if not isinstance(member, str) or not isinstance(domain, str):
        raise InvalidRequestError(f"Names of members and domains are text, got {member!r} and {domain!r}.")
    copying = Copying.of(shadow, compare)
    held.check_free(component, member)
    bound, entry = _first(component, entry_point, arguments, held)
    copying.check(bound.surface, entry)
    kept = None if arguments is None else dict(arguments)
    made = _make(Link(component, entry, kept, key, bound, member=member, domain=domain, copying=copying))
    held.add(made)
    return made


def _first(
    component: str, entry_point: str, arguments: Mapping[str, Any] | None, handles: Handles
) -> tuple[Bound, str]:
    # A handle of a component that was upgraded already is bound to what its other handles run for good.
    for other in handles.of(component):
        now = other._noodle_.base
        if now.space is not None:
            entry = entry_point or other._noodle_.entry_point
            return bind(now.space, now.version, entry, arguments), entry
    located = handles.locate(component)
    if located is not None and (not entry_point or not _importable(entry_point)):
        tree, version, declared = located
        entry = entry_point or declared
        return bind(Space([member_of(component, version, tree)]), version, entry, arguments), entry
    if not entry_point:
        raise ComponentUnknownError(
            f"There is no component {component!r} with an entry point of its own.",
            hint='Name the entry point: handle("' + component + '", "module:object").',
            details={"component": component},
        )
    try:
        module = importlib.import_module(entry_point.partition(":")[0])
    except ModuleNotFoundError as error:
        raise ComponentUnknownError(
            f"{component!r} cannot be imported: {error}",
            hint="Install it, or put it into the components directory.",
            details={"component": component, "entry_point": entry_point},
        ) from error
    target = entry_object(module, entry_point, arguments)
    return Bound(version="", target=target, surface=surface_of(target)), entry_point


def bind(space: Space, version: str, entry_point: str, arguments: Mapping[str, Any] | None) -> Bound:
    """Load an entry point in a private space and make its object."""
    if not entry_point:
        raise ComponentUnknownError(
            "This component declares no entry point.", hint="Put entry_point into its component.toml."
        )
    module = space.load(entry_point.partition(":")[0])
    target = entry_object(module, entry_point, arguments)
    return Bound(version=version, target=target, surface=surface_of(target), space=space)


def _importable(entry_point: str) -> bool:
    top = entry_point.partition(":")[0].partition(".")[0]
    return top in sys.modules or importlib.util.find_spec(top) is not None
