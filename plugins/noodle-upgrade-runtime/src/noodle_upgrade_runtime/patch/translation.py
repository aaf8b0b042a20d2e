"""Making what was staged fit to live: references to objects that have a live counterpart become the counterpart.

Staged objects that nobody else can see are changed where they are; what cannot change is built again. Functions are
born again in the live module's globals. What would touch a live object is left to the commit, as an operation.
"""

from __future__ import annotations

import functools
import gc
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

from noodle_upgrade_core.errors import SwapRefusedError
from noodle_upgrade_runtime.asking import is_a, member_of
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.patch.becoming import is_plain
from noodle_upgrade_runtime.patch.correspondence import ATOMS, Correspondence, instance_dict, slot_values
from noodle_upgrade_runtime.patch.fixing import fix
from noodle_upgrade_runtime.patch.functions import born
from noodle_upgrade_runtime.patch.views import ModulesView

__all__ = ["Translator"]

_SKIPPED = ATOMS | {types.BuiltinFunctionType, types.MethodWrapperType, weakref.ref, types.MappingProxyType}
_AS_THEY_ARE = ATOMS | {types.MemberDescriptorType, types.GetSetDescriptorType}


class Translator:
    """Gives the image of staged objects: what stands for them in the live process.

    `made` says whether an object was made while staging. `operations` collects what has to wait for the commit.
    """

    def __init__(self, links: Correspondence, *, made: Callable[[Any], bool]) -> None:
        self._links = links
        self._made = made
        self._images: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._queue: list[Any] = []
        self._open: set[int] = set()
        self.functions: list[types.FunctionType] = []
        self.operations: list[Operation] = []

    def is_made(self, value: Any) -> bool:
        """Return whether an object was made while staging, and is not one of others."""
        return self._made(value)

    def records(self) -> list[Any]:
        """Return the containers in which this remembers objects of the program."""
        return [self._images, self._kept, self._queue]

    def image(self, value: Any) -> Any:
        """Return what stands for `value`; its own contents are put right by the next `finish`."""
        kind = type(value)
        if kind in _AS_THEY_ARE:
            return value
        live = self._links.canonical(value)
        if live is not value:
            return live
        if id(value) in self._images:
            return self._images[id(value)]
        if not self._made(value):
            return value
        build = _BUILD.get(kind) or _build_for(value)
        made = value if build is None else build(self, value)
        self._images[id(value)] = made
        self._images.setdefault(id(made), made)
        self._kept += (value, made)
        if made is value and kind not in _SKIPPED:
            self._queue.append(value)
        return made

    def remember(self, value: Any, made: Any) -> None:
        """Record an image before it is complete, because its parts may lead back to it."""
        self._images[id(value)] = made
        self._kept += (value, made)

    def fix_later(self, made: Any) -> None:
        """Have the contents of an object put right by the next `finish`."""
        self._queue.append(made)

    def finish(self) -> None:
        """Put right the contents of everything that `image` gave out, and of what that holds."""
        while self._queue:
            value = self._queue.pop()
            try:
                fix(self, value)
            except SwapRefusedError:
                raise
            except Exception as error:
                # Keys and members of sets may have an `__eq__` of their own, which meets objects of both versions here.
                raise self.refuse(value, f"cannot be put right: {type(error).__name__}: {error}") from error

    def function(self, value: types.FunctionType) -> types.FunctionType:
        """Return a function's image: born again where its globals, or cells of its closure, are live ones."""
        home = self._links.canonical(value.__globals__)
        closure = [self.image(cell) for cell in value.__closure__ or ()]
        if home is value.__globals__:
            self.image(value.__globals__)
            if all(a is b for a, b in zip(closure, value.__closure__ or (), strict=True)):
                return value
        if id(value) in self._open:
            # A default of it leads back to it: it has none until these are known.
            made = born(value.__code__, home, closure=closure, defaults=(), kwdefaults={})
            self.remember(value, made)
            return made
        self._open.add(id(value))
        defaults = self.image(value.__defaults__ or ())
        keywords = {k: self.image(v) for k, v in (value.__kwdefaults__ or {}).items()}
        self._open.discard(id(value))
        if id(value) in self._images:
            made = self._images[id(value)]
            made.__defaults__, made.__kwdefaults__ = defaults or None, keywords or None
        else:
            made = born(value.__code__, home, closure=closure, defaults=defaults, kwdefaults=keywords)
        self.functions.append(made)
        self.remember(value, made)
        made.__name__, made.__qualname__ = value.__name__, value.__qualname__
        made.__module__, made.__doc__ = value.__module__, value.__doc__
        if value.__annotations__:
            made.__annotations__.update({k: self.image(v) for k, v in value.__annotations__.items()})
        made.__dict__.update({k: self.image(v) for k, v in value.__dict__.items()})
        if sys.version_info >= (3, 12) and value.__type_params__:
            made.__type_params__ = self.image(value.__type_params__)
        return made

    def refuse(self, value: Any, why: str) -> SwapRefusedError:
        """Return the error for an object that cannot be carried over."""
        sentence = f"An object of type {type(value).__module__}.{type(value).__qualname__} {why}."
        return SwapRefusedError(
            sentence, hint="Use the generation mechanism, or restart.", details={"blockers": [sentence]}
        )


# --- what cannot change, and is built again ----------------------------------------------------------------------


def _tuple(translator: Translator, value: tuple[Any, ...]) -> Any:
    items = tuple.__getitem__(value, slice(None))
    images = tuple([translator.image(item) for item in items])
    same = all(a is b for a, b in zip(items, images, strict=True))
    if type(value) is tuple:
        return value if same else images
    kind = translator.image(type(value))
    if same and kind is type(value):
        return value
    made = tuple.__new__(kind, images)
    own = instance_dict(value)
    if own:
        instance_dict(made).update(own)  # type: ignore[union-attr]
        translator.remember(value, made)
        translator.fix_later(made)
    return made


def _sized(translator: Translator, value: Any) -> Any:
    """A number, or bytes, of a class of its own: CPython gives an object of no fixed size no other class."""
    kind = type(value)
    image = translator.image(kind)
    if image is kind:
        return value
    plain = int.__add__(value, 0) if is_a(value, int) else bytes.__getitem__(value, slice(None))
    made = type(plain).__new__(image, plain)
    translator.remember(value, made)
    own, theirs = instance_dict(value), instance_dict(made)
    if own and theirs is not None:
        theirs.update(own)
        translator.fix_later(made)
    return made


def _slotted(translator: Translator, value: Any) -> Any:
    """An object of a class with slots: CPython takes hardly any two of these for alike, so that it is made again."""
    kind = type(value)
    image, slots = translator.image(kind), slot_values(value)
    if image is kind or not slots:
        return value
    members = {name: member_of(image, name) for name in slots}
    if None in members.values():
        return value
    made, own = object.__new__(image), instance_dict(value)
    theirs = instance_dict(made)
    if own and theirs is None:
        return value
    translator.remember(value, made)
    for name, held in slots.items():
        members[name].__set__(made, held)
    if own and theirs is not None:
        theirs.update(own)
    translator.fix_later(made)
    return made


def _frozenset(translator: Translator, value: frozenset[Any]) -> Any:
    images = [translator.image(item) for item in value]
    if all(a is b for a, b in zip(value, images, strict=True)):
        return value
    return frozenset(images)


def _method(translator: Translator, value: types.MethodType) -> Any:
    function, owner = translator.image(value.__func__), translator.image(value.__self__)
    if function is value.__func__ and owner is value.__self__:
        return value
    return types.MethodType(function, owner)


def _builtin_method(translator: Translator, value: Any) -> Any:
    owner = value.__self__
    if owner is None or is_a(owner, types.ModuleType):
        return value
    image = translator.image(owner)
    return value if image is owner else getattr(image, value.__name__)


def _generic_alias(translator: Translator, value: types.GenericAlias) -> Any:
    origin, args = translator.image(value.__origin__), translator.image(value.__args__)
    if origin is value.__origin__ and args is value.__args__:
        return value
    return types.GenericAlias(origin, args)


def _union(translator: Translator, value: types.UnionType) -> Any:
    args = translator.image(value.__args__)
    if args is value.__args__:
        return value
    return functools.reduce(lambda a, b: a | b, args)


def _proxy(translator: Translator, value: types.MappingProxyType[Any, Any]) -> Any:
    inner = gc.get_referents(value)[0]
    image = translator.image(inner)
    return value if image is inner else types.MappingProxyType(image)


def _reference(translator: Translator, value: weakref.ref[Any]) -> Any:
    target = value()
    if target is None:
        return value
    image = translator.image(target)
    return value if image is target else weakref.ref(image, value.__callback__)


def _cached(translator: Translator, value: Any) -> Any:
    """An lru cache: its function is out of reach, so that it is made again, empty."""
    inner = value.__wrapped__
    image = translator.image(inner)
    if image is inner:
        return value
    parameters = value.cache_parameters()
    made = functools.lru_cache(maxsize=parameters["maxsize"], typed=parameters["typed"])(image)
    for name, held in vars(value).items():
        made.__dict__[name] = translator.image(held)
    return made


def _type_variable(translator: Translator, value: Any) -> Any:
    held = [value.__bound__, getattr(value, "__constraints__", ())]
    images = [translator.image(item) for item in held]
    if all(a is b for a, b in zip(held, images, strict=True)):
        return value
    made = type(value)(
        value.__name__,
        *images[1],
        bound=images[0],
        covariant=value.__covariant__,
        contravariant=value.__contravariant__,
    )
    made.__module__ = value.__module__
    return made


def _reduced(translator: Translator, value: Any) -> Any:
    """Build a C object with hidden contents again from what it says of itself."""
    try:
        made, arguments = value.__reduce__()[:2]
    except TypeError:
        return value
    images = translator.image(tuple(arguments))
    return (
        value if images is arguments or all(a is b for a, b in zip(images, arguments, strict=True)) else made(*images)
    )


def _view(_translator: Translator, value: ModulesView) -> Any:
    return value.real


_Build = Callable[[Translator, Any], Any]

_BUILD: dict[type, _Build] = {
    tuple: _tuple,
    frozenset: _frozenset,
    types.FunctionType: Translator.function,
    types.MethodType: _method,
    types.BuiltinFunctionType: _builtin_method,
    types.MethodWrapperType: _builtin_method,
    types.GenericAlias: _generic_alias,
    types.UnionType: _union,
    types.MappingProxyType: _proxy,
    weakref.ref: _reference,
    functools._lru_cache_wrapper: _cached,  # noqa: SLF001 - the type has no public name
    typing.TypeVar: _type_variable,
    ModulesView: _view,
}


def _build_for(value: Any) -> _Build | None:
    kind = type(value)
    if is_a(value, tuple):
        return _tuple
    if is_a(value, (int, bytes)):
        return _sized
    if kind.__module__ in {"operator", "itertools"}:
        return _reduced
    return _slotted if is_plain(value) else None
