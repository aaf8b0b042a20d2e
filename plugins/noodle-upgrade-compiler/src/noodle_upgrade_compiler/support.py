"""What compiled programs take from here: structs, interfaces, enumerations, and built-ins that Python has otherwise.

It is imported by every program that uses one of them: nothing else is imported here, and nothing runs.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import keyword
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

__all__ = [
    "Enumeration",
    "Interface",
    "NoodleError",
    "error",
    "is_a",
    "mangled",
    "object",
    "plain",
    "required",
    "struct",
]

_Made = TypeVar("_Made")

is_a = isinstance
object = dict  # noqa: A001 - what Noodle calls it


@functools.cache
def mangled(name: str) -> str:
    """Return a name as Python can have it: its keywords get a `_` more, and so does what would be mistaken for one."""
    return f"{name}_" if keyword.iskeyword(name.rstrip("_")) else name


@functools.cache
def plain(name: str) -> str:
    """Return a name as it is written in Noodle: what `mangled` has made another of."""
    return name[:-1] if name.endswith("_") and keyword.iskeyword(name.rstrip("_")) else name


class NoodleError(Exception):
    """A program gave up by itself: `error("…")`."""


def error(message: Any = "") -> NoReturn:
    """Give up with this message."""
    raise NoodleError(message)


def struct(cls: type[_Made]) -> type[_Made]:
    """Make a class of a struct: made by position, equal by value, printed as it is written."""
    cls.__repr__ = _written  # type: ignore[method-assign]
    return dataclasses.dataclass(slots=True, repr=False)(cls)


def _written(self: Any) -> str:
    fields = (f"{plain(field.name)}={getattr(self, field.name)!r}" for field in dataclasses.fields(self))
    return f"{plain(type(self).__name__)}({', '.join(fields)})"


class Interface(abc.ABC):  # noqa: B024 - those that derive from it have the methods
    """The base of interfaces: a class that lacks one of their methods cannot be made objects of."""

    __slots__ = ()


def required(method: Callable[..., Any]) -> Any:
    """Mark a method of an interface."""
    return abc.abstractmethod(method)


class _EnumerationType(enum.EnumMeta):
    def __getitem__(cls, name: str) -> Any:
        return super().__getitem__(mangled(name))


class Enumeration(enum.Enum, metaclass=_EnumerationType):
    """The base of enumerations: members have the names that they were written with."""

    @enum.property
    def name(self) -> str:
        """The name of a member."""
        return plain(self._name_)

    def __str__(self) -> str:
        return f"{plain(type(self).__name__)}.{plain(self._name_)}"

    def __repr__(self) -> str:
        return f"<{self}: {self._value_!r}>"
