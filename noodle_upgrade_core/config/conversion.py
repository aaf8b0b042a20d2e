"""One value of a setting: from JSON, from an argument or from the text of a variable to the type of its field."""

from __future__ import annotations

import enum
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noodle_upgrade_core.config.documents import text_flaw
from noodle_upgrade_core.settings import Meta, shown, suggestion

__all__ = ["RefusedValueError", "from_text", "frozen_value", "scalar", "without_none"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")


class RefusedValueError(Exception):
    """A value that does not fit: (problem, hint)."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint


def without_none(kind: Any) -> tuple[Any, bool]:
    """Return a type without its `| None`, and whether it had one; raises `TypeError` for any other union."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(kind) if one is not type(None)]
        if len(rest) == 1:
            return rest[0], True
        raise TypeError(f"no setting can be of the type {kind!r}.")
    return kind, False


def from_text(kind: Any, text: str, meta: Meta) -> Any:
    """Return the JSON value that a variable's text means for a field of this type."""
    kind, _ = without_none(kind)
    if typing.get_origin(kind) in (tuple, frozenset):
        item = typing.get_args(kind)[0]
        return [from_text(item, part.strip(), meta) for part in text.split(",") if part.strip()]
    bare = text.strip()
    unset = "Unset it for the default." if not bare else ""
    if kind is bool:
        if bare.lower() in _TRUE | _FALSE:
            return bare.lower() in _TRUE
        raise RefusedValueError(f"must be 1 or 0 (or true, false, yes, no, on, off), not {shown(text, meta)}", unset)
    if kind is int:
        if _WHOLE.fullmatch(bare):
            return int(bare)
        raise RefusedValueError(f"must be a whole number, not {shown(text, meta)}", unset)
    if kind is float:
        if _NUMBER.fullmatch(bare):
            return float(bare)
        raise RefusedValueError(f"must be a number, not {shown(text, meta)}", unset)
    choices: Sequence[Any] = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        choices = [member.value for member in kind]
    bare = next((choice for choice in choices if str(choice) == bare), bare)
    return text if kind is str and not meta.choices else bare


def scalar(kind: Any, value: Any, meta: Meta) -> Any:
    """Return a JSON value as `kind`; raises `RefusedValueError`, and `TypeError` for a type that no setting has."""
    if typing.get_origin(kind) is typing.Literal:
        return _one_of(typing.get_args(kind), value, meta)
    if kind is Any or kind is object:
        return frozen_value(value)
    if not isinstance(kind, type):
        raise TypeError(f"no setting can be of the type {kind!r}.")
    if issubclass(kind, enum.Enum):
        raw = value.value if isinstance(value, kind) else value
        return kind(_one_of([member.value for member in kind], raw, meta))
    convert = _SCALARS.get(kind)
    if convert is None:
        raise TypeError(f"no setting can be of the type {kind.__name__}.")
    return convert(value, meta)


def _one_of(allowed: Sequence[Any], value: Any, meta: Meta) -> Any:
    for choice in allowed:
        if type(choice) is type(value) and choice == value:
            return choice
    listed = ", ".join(str(choice) for choice in allowed)
    raise RefusedValueError(f"must be one of {listed}, not {shown(value, meta)}", suggestion(value, allowed))


def _bool(value: Any, meta: Meta) -> bool:
    if isinstance(value, bool):
        return value
    raise RefusedValueError(f"must be true or false, not {shown(value, meta)}")


def _int(value: Any, meta: Meta) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise RefusedValueError(f"must be a whole number, not {shown(value, meta)}", _without_quotes(value, _WHOLE, meta))


def _float(value: Any, meta: Meta) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            made = float(value)
        except OverflowError:
            made = math.inf
        if math.isfinite(made):
            return made
        raise RefusedValueError("must be a finite number")
    raise RefusedValueError(f"must be a number, not {shown(value, meta)}", _without_quotes(value, _NUMBER, meta))


def _without_quotes(value: Any, pattern: re.Pattern[str], meta: Meta) -> str:
    fits = isinstance(value, str) and len(value) < 20 and pattern.fullmatch(value)  # noqa: PLR2004 - no number is longer
    return f"Write {value}, without quotes." if fits and not meta.secret else ""


def _str(value: Any, meta: Meta) -> str:
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        raise RefusedValueError(f"must be a string, not {shown(value, meta)}")
    if problem := text_flaw(value):
        raise RefusedValueError(problem)
    return value


def _path(value: Any, meta: Meta) -> Path:
    return Path(_str(value, meta))


_SCALARS: Mapping[type[Any], Callable[[Any, Meta], Any]] = types.MappingProxyType(
    {bool: _bool, int: _int, float: _float, str: _str, Path: _path}
)


def frozen_value(value: Any) -> Any:
    """Return JSON values that nobody can change: lists as tuples, objects as read-only mappings."""
    if isinstance(value, Mapping):
        return types.MappingProxyType({name: frozen_value(inner) for name, inner in value.items()})
    if isinstance(value, list | tuple):
        return tuple(frozen_value(inner) for inner in value)
    return value
