"""Values across a boundary: the control API, the journal, a file. Strict on the way in, plain JSON on the way out.

    wire = to_wire(request)                    # dicts, lists, strings, numbers, booleans, None
    request = from_wire(UpgradeRequest, wire)  # equal, or InvalidRequestError with the path of the fault

Times are ISO 8601 with their offset, enumerations go by value, sets become sorted lists, errors are what
`UpgradeError.to_wire` says. Nothing is converted silently: a number is no string, and `True` is no number.
"""

from __future__ import annotations

import difflib
import enum
import functools
import json
import math
import operator
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

import attrs

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["MAX_BYTES", "MAX_DEPTH", "dumps", "from_wire", "loads", "to_wire"]

MAX_BYTES = 16 * 1024 * 1024
"""The most that `loads` and `dumps` take, unless they are told otherwise."""
MAX_DEPTH = 64
"""How deep containers may lie within one another; far below what Python's own stack would bear."""

T = TypeVar("T")


# --- out ---------------------------------------------------------------------------------------------------------


def to_wire(value: Any) -> Any:
    """Return a value of the vocabulary as JSON values; `InvalidRequestError` names the path of what cannot be one."""
    try:
        return _out(value, 0)
    except _Unfit as unfit:
        where = "".join(reversed(unfit.places)).lstrip(".")
        message = f"{where}: {unfit.words}." if where else f"{unfit.words}."
        raise InvalidRequestError(message, details={"path": where}) from None


class _Unfit(Exception):  # noqa: N818 - never leaves this module
    """What is no JSON value; every container on the way out adds its place, innermost first."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words
        self.places: list[str] = []


_SIMPLE = frozenset({str, int, bool, type(None)})


@functools.cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(attribute.name for attribute in attrs.fields(cls))


@functools.cache
def _reader(cls: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Return the names of the fields, and what reads all of them at once."""
    names = _names(cls)
    getter = operator.attrgetter(*names)
    return names, getter if len(names) > 1 else lambda value: (getter(value),)


def _out(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _SIMPLE:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise _Unfit(f"{value!r} is not a finite number, and JSON has no other ones")
        return value
    if depth >= MAX_DEPTH:
        raise _Unfit(f"it lies deeper than {MAX_DEPTH} levels")
    usual = _USUAL.get(kind)
    if usual is not None:
        return usual(value, depth + 1)
    if hasattr(kind, "__attrs_attrs__"):
        return _object_out(value, cast("Hashable", kind), depth + 1)
    if isinstance(value, Mapping):
        return _mapping_out(value, depth + 1)
    return _out_rare(value, depth + 1)


def _object_out(value: Any, kind: Hashable, depth: int) -> dict[str, Any]:
    (names, read), name = _reader(kind), ""
    made: dict[str, Any] = dict(zip(names, read(value), strict=True))
    try:
        # Most fields are simple: only the others are worth a call.
        for name, item in made.items():
            if type(item) not in _SIMPLE:
                made[name] = _out(item, depth)
    except _Unfit as unfit:
        unfit.places.append(f".{name}")
        raise
    return made


def _mapping_out(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Unfit(f"the key {key!r} is not a string")
        try:
            made[str(key)] = _out(item, depth)
        except _Unfit as unfit:
            unfit.places.append(f".{key}")
            raise
    return made


def _list_out(value: Iterable[Any], depth: int) -> list[Any]:
    made: list[Any] = []
    try:
        for item in value:
            made.append(item if type(item) in _SIMPLE else _out(item, depth))  # noqa: PERF401 - see the handler
    except _Unfit as unfit:
        unfit.places.append(f"[{len(made)}]")
        raise
    return made


def _time_out(value: datetime, _: int) -> str:
    if value.utcoffset() is None:
        raise _Unfit(f"the time {value.isoformat()} has no offset; use aware datetimes")
    return value.isoformat()


_USUAL: Mapping[type, Callable[[Any, int], Any]] = {
    tuple: _list_out,
    list: _list_out,
    dict: _mapping_out,
    datetime: _time_out,
}
"""What needs no asking: looking whether a class is a mapping costs more than most values do."""


def _out_rare(value: Any, depth: int) -> Any:
    if isinstance(value, enum.Enum):
        return _out(value.value, depth)
    if isinstance(value, datetime):
        return _time_out(value, depth)
    if isinstance(value, UpgradeError):
        return _out(value.to_wire(), depth)
    if isinstance(value, set | frozenset):
        return sorted(_list_out(value, depth))
    if isinstance(value, list | tuple):
        return _list_out(value, depth)
    for base in (str, int, float):
        if isinstance(value, base):
            return _out(base(value), depth)
    raise _Unfit(f"a {type(value).__name__} is no JSON value")


def dumps(value: Any, *, max_bytes: int = MAX_BYTES, indent: int | None = None) -> str:
    """Return `to_wire(value)` as JSON text, compact unless `indent` is given; at most `max_bytes` long."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(to_wire(value), ensure_ascii=False, allow_nan=False, separators=separators, indent=indent)
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        # Half a surrogate pair, as in a file name that is not UTF-8: only an escape can carry it.
        text = json.dumps(to_wire(value), allow_nan=False, separators=separators, indent=indent)
        size = len(text)
    if size > max_bytes:
        raise InvalidRequestError(f"the value takes {size} bytes as JSON, and {max_bytes} are allowed.")
    return text


# --- in ----------------------------------------------------------------------------------------------------------


def loads(text: str | bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Return the JSON values of a text.

    Refused with `InvalidRequestError`: more than `max_bytes`, containers deeper than `max_depth`, a key that is given
    twice, NaN and infinities, whatever is not JSON or not UTF-8.
    """
    size = len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise InvalidRequestError(f"{size} bytes of JSON are more than the {max_bytes} that are taken.")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        data = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"this is not UTF-8: {error.reason} at byte {error.start}.") from error
    except json.JSONDecodeError as error:
        message = f"this is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise InvalidRequestError(message) from error
    except ValueError as error:
        # A number with more digits than Python converts.
        raise InvalidRequestError(f"this is not JSON that can be read: {error}.") from error
    except RecursionError as error:
        raise InvalidRequestError(f"the JSON is nested deeper than {max_depth} levels.") from error
    _check_depth(data, max_depth)
    return data


def _check_depth(data: Any, max_depth: int) -> None:
    layer = [data] if isinstance(data, dict | list) else []
    for _ in range(max_depth + 1):
        if not layer:
            return
        layer = [
            item
            for container in layer
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    raise InvalidRequestError(f"the JSON is nested deeper than {max_depth} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidRequestError(f"the key {twice!r} is given twice.")
    return made


def _constant(name: str) -> Any:
    raise InvalidRequestError(f"{name} is not a number that JSON knows.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidRequestError(f"{text} is larger than a number can be.")
    return number


def from_wire(cls: type[T], data: Any) -> T:
    """Return the value of `cls` that `to_wire` made `data` of.

    Fields with a default may be absent. `InvalidRequestError` names the first fault with its path, such as
    `steps[0].verdict.feasable: unknown key; did you mean 'feasible'?`; `details["problems"]` lists all of them.
    """
    if cls is UpgradeError:
        return cast("T", _error_in(data, cls))
    from cattrs.errors import BaseValidationError  # noqa: PLC0415 - costs 50 ms; a program that reads nothing never pays

    try:
        return _converter().structure(data, cls)
    except BaseValidationError as group:
        problems = tuple(_problems(group, ""))
    except (InvalidRequestError, ValueError, TypeError, KeyError) as error:
        problems = (("", _words(error)),)
    lines = [f"{path}: {words}" if path else words for path, words in problems]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    raise InvalidRequestError(f"{cls.__name__}: {lines[0]}{more}.", details={"problems": lines})


def _problems(group: BaseException, path: str) -> Iterator[tuple[str, str]]:
    """Yield (path, words) for every fault in a group of cattrs' errors."""
    from cattrs.errors import ForbiddenExtraKeysError  # noqa: PLC0415 - see from_wire

    if not isinstance(group, BaseExceptionGroup):
        yield path, _words(group)
        return
    for error in group.exceptions:
        here = path + _place(error)
        if isinstance(error, ForbiddenExtraKeysError):
            known = _names(error.cl) if error.cl is not None and attrs.has(error.cl) else ()
            for key in sorted(map(str, error.extra_fields)):
                yield f"{here}.{key}".lstrip("."), f"unknown key{_meant(key, known)}"
        else:
            yield from ((where.lstrip("."), words) for where, words in _problems(error, here))


def _place(error: BaseException) -> str:
    from cattrs.errors import AttributeValidationNote, IterableValidationNote  # noqa: PLC0415 - see from_wire

    place = ""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            place = f".{note.name}" + place
        elif isinstance(note, IterableValidationNote):
            place = f"[{note.index}]" + place
    return place


def _words(error: BaseException) -> str:
    if isinstance(error, UpgradeError):
        return error.message.rstrip(".")
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing" if error.args else "a key is missing"
    return str(error).rstrip(".")


def _meant(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}" if known else ""


# --- what cattrs is told -----------------------------------------------------------------------------------------


@functools.cache
def _converter() -> Converter:
    from cattrs import Converter  # noqa: PLC0415 - see from_wire

    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for base in (str, int, float, bool):
        converter.register_structure_hook(base, _exactly(base))
    converter.register_structure_hook(Any, lambda data, _: _json_in(data))
    converter.register_structure_hook(datetime, lambda data, _: _datetime_in(data))
    converter.register_structure_hook_func(_is_enum, _enum_in)
    converter.register_structure_hook_func(_is_error, _error_in)
    converter.register_structure_hook_factory(_is_sequence, lambda cls: _sequence_hook(cls, converter))
    converter.register_structure_hook_factory(_is_mapping, lambda cls: _mapping_hook(cls, converter))
    converter.register_structure_hook_factory(
        attrs.has, lambda cls: _object_hook(cls, converter.gen_structure_attrs_fromdict(cls))
    )
    return converter


def _exactly(base: type[Any]) -> Callable[[Any, Any], Any]:
    def structure(data: Any, cls: Any) -> Any:
        if _is_enum(cls):
            # cattrs takes an enumeration of strings for a string.
            return _enum_in(data, cls)
        if type(data) is base:
            if type(data) is float and not math.isfinite(data):
                raise InvalidRequestError(f"{data!r} is not a finite number")
            return data
        if base is float and type(data) is int:
            return _as_float(data)
        raise InvalidRequestError(f"{_wanted(base)} is needed here, got {_shown(data)}")

    return structure


def _as_float(data: int) -> float:
    try:
        return float(data)
    except OverflowError as error:
        raise InvalidRequestError("the number is too large") from error


def _wanted(base: type[Any]) -> str:
    return {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}[base]


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a line of a message


def _json_in(data: Any) -> Any:
    """Take JSON values as they are: what a caller holds on to must not be what the sender still changes."""
    return to_wire(data)


def _datetime_in(data: Any) -> datetime:
    if type(data) is not str:
        raise InvalidRequestError(f"a time in ISO 8601 is needed here, got {_shown(data)}")
    try:
        made = datetime.fromisoformat(data)
    except ValueError as error:
        raise InvalidRequestError(f"{_shown(data)} is not a time in ISO 8601") from error
    if made.utcoffset() is None:
        raise InvalidRequestError(f"the time {data!r} has no offset; write 2026-01-31T12:00:00+00:00")
    return made


def _is_enum(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, enum.Enum)


def _enum_in(data: Any, cls: type[enum.Enum]) -> enum.Enum:
    for member in cls:
        if data is member or (type(data) is type(member.value) and data == member.value):
            return member
    known = tuple(str(member.value) for member in cls)
    raise InvalidRequestError(f"{_shown(data)} is no {cls.__name__}{_meant(str(data), known)}")


def _is_error(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, UpgradeError)


def _error_in(data: Any, _: Any) -> UpgradeError:
    if not isinstance(data, Mapping):
        raise InvalidRequestError(f"an error as an object is needed here, got {_shown(data)}")
    known = ("code", "message", "hint", "safe", "details")
    for key in data:
        if key not in known:
            raise InvalidRequestError(f"unknown key {key!r} in an error{_meant(str(key), known)}")
    for key in known[:4]:
        if type(data.get(key, "")) is not str:
            raise InvalidRequestError(f"{key} of an error must be a string, got {_shown(data[key])}")
    if not isinstance(data.get("details", {}), Mapping):
        raise InvalidRequestError(f"details of an error must be an object, got {_shown(data['details'])}")
    return UpgradeError.from_wire(to_wire(data))


def _is_sequence(cls: Any) -> bool:
    return get_origin(cls) in {tuple, frozenset, list}


def _sequence_hook(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    origin = cast("type", get_origin(cls))
    item = get_args(cls)[0]

    def structure(data: Any, _: Any) -> Any:
        if not isinstance(data, list | tuple):
            raise InvalidRequestError(f"a list is needed here, got {_shown(data)}")
        return origin(_each(enumerate(data), item, converter, cls))

    return structure


def _is_mapping(cls: Any) -> bool:
    return get_origin(cls) in {dict, Mapping}


def _mapping_hook(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    item = get_args(cls)[1]

    def structure(data: Any, _: Any) -> Any:
        if not isinstance(data, Mapping):
            raise InvalidRequestError(f"an object is needed here, got {_shown(data)}")
        for key in data:
            if type(key) is not str:
                raise InvalidRequestError(f"the key {key!r} is not a string")
        return dict(zip(data, _each(data.items(), item, converter, cls), strict=True))

    return structure


def _each(pairs: Any, item: Any, converter: Converter, cls: Any) -> list[Any]:
    """Structure every item; raise all faults together, each with its place."""
    from cattrs.errors import IterableValidationError, IterableValidationNote  # noqa: PLC0415 - see from_wire

    made, faults = [], []
    for place, data in pairs:
        try:
            made.append(converter.structure(data, item))
        except Exception as error:  # noqa: BLE001 - collected with its place, and raised below
            error.add_note(IterableValidationNote(f"at {place!r}", place, item))
            faults.append(error)
    if faults:
        raise IterableValidationError(f"in {cls}", faults, cls)
    return made


def _object_hook(cls: Any, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def structure(data: Any, _: Any) -> Any:
        if not isinstance(data, Mapping):
            raise InvalidRequestError(f"an object ({cls.__name__}) is needed here, got {_shown(data)}")
        return inner(data, cls)

    return structure
