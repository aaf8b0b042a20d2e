"""Classes that become abstract: CPython cannot give a class that lives the metaclass `ABCMeta`.

Such a class is replaced where everybody who holds it can be told. Where not (a program's subclass, an instance), the
new version's class is made without `abc.ABC`: it keeps `type` as its metaclass, and refuses to be instantiated while it
has abstract methods, as before. What it then cannot do is told: register virtual subclasses, and check the abstract
methods of classes that derive from it later.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable
from typing import Any

from attrs import define, field

from noodle_upgrade_runtime.asking import setter_of

__all__ = ["ClassBuilder"]

_MISSING = object()


@define(eq=False)
class ClassBuilder:
    """Stands for `__build_class__` in one thread, while a new version is loaded.

    `counterpart` returns the live class of a module and a qualified name, if there is one. `gained` are the names of
    those that become abstract; with `plain` they are made without it.
    """

    counterpart: Callable[[str, str], Any]
    plain: bool
    gained: list[str] = field(factory=list)
    _kept: set[int] = field(factory=set)

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return what takes the place of the real one, for the thread that asks for it."""
        thread, get_ident, build = threading.get_ident(), threading.get_ident, self._build

        def build_class(body: Any, name: str, /, *bases: Any, **keywords: Any) -> Any:
            if get_ident() != thread:
                return real(body, name, *bases, **keywords)
            return build(real, body, name, bases, keywords)

        return build_class

    def _build(self, real: Any, body: Any, name: str, bases: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        home, qualified = body.__globals__.get("__name__", ""), body.__qualname__
        live = self.counterpart(str(home), qualified)
        plain = bases
        if isinstance(live, type) and not isinstance(live, abc.ABCMeta):
            # A metaclass that becomes one of abstract classes stays what it is, too.
            is_meta = issubclass(live, type) and not issubclass(live, abc.ABCMeta)
            plain = tuple(type if base is abc.ABCMeta and is_meta else base for base in bases if base is not abc.ABC)
        metaclass = keywords.get("metaclass", _MISSING)
        drops = plain is not bases and metaclass is abc.ABCMeta
        if not drops and all(a is b for a, b in zip(plain, bases, strict=False)) and len(plain) == len(bases):
            made = real(body, name, *bases, **keywords)
            return self._abstract(made) if any(id(base) in self._kept for base in bases) else made
        self.gained.append(f"{home}.{qualified}")
        if not self.plain:
            return real(body, name, *bases, **keywords)
        rest = {key: value for key, value in keywords.items() if not (drops and key == "metaclass")}
        return self._abstract(real(body, name, *plain, **rest))

    def _abstract(self, cls: Any) -> Any:
        """Note which methods a class has still to be given, as `ABCMeta` does for its own."""
        if isinstance(cls, type) and not isinstance(cls, abc.ABCMeta) and not issubclass(cls, type):
            self._kept.add(id(cls))
            names = [*vars(cls), *(name for base in cls.__bases__ for name in getattr(base, "__abstractmethods__", ()))]
            found = frozenset(n for n in names if getattr(getattr(cls, n, None), "__isabstractmethod__", False))
            setter_of(cls)(cls, "__abstractmethods__", found)
        return cls
