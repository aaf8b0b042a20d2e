"""What compiled programs take from here: structs, interfaces, enumerations, and the built-in `error`.

It is imported by every program that uses one of them: nothing else is imported here, and nothing runs.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

__all__ = ["Enumeration", "Interface", "NoodleError", "error", "required", "struct"]

_Made = TypeVar("_Made")


class NoodleError(Exception):
    """A program gave up by itself: `error("…")`."""


def error(message: object = "") -> NoReturn:
    """Give up with this message."""
    raise NoodleError(message)


def struct(cls: type[_Made]) -> type[_Made]:
    """Make a class of a struct: made by position, equal by value, printed as it is written."""
    return dataclasses.dataclass(slots=True)(cls)


class Interface(abc.ABC):  # noqa: B024 - those that derive from it have the methods
    """The base of interfaces: a class that lacks one of their methods cannot be made objects of."""

    __slots__ = ()


def required(method: Callable[..., Any]) -> Any:
    """Mark a method of an interface."""
    return abc.abstractmethod(method)


class Enumeration(enum.Enum):
    """The base of enumerations."""
