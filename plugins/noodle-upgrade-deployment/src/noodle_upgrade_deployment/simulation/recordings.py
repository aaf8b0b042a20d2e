"""Calls that were recorded, read from a file that nobody vouches for.

One call is `at` (seconds on any clock, or an ISO 8601 time; UTC where it names no zone), `seconds` (how long it took),
and `error` (true or false) or `status` (500 and above is an error). `version` says which version answered, `key` who
called: whoever has a key stays at a version. As CSV the first line names the columns, in any order; as JSON lines there
is one object a line:

    at,seconds,status,key                   {"at": "2026-03-01T12:00:00Z", "seconds": 0.012, "error": false}
    1772366400.2,0.012,200,alice            {"at": "2026-03-01T12:00:01Z", "seconds": 1.25, "error": true}

An access log is read as it is when its name ends in `.log`: the common or combined format with the duration as the last
word, in seconds with a point (nginx: `$request_time`) or in whole microseconds (Apache: `%D`). Its clients are the
keys, and calls of the same second are spread over it. From another log such a file is written with one line of awk:

    awk 'BEGIN { print "at,seconds,status" } { print $1 "," $2 "," $3 }' other.log > calls.csv
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from attrs import frozen

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.settings import suggestion

__all__ = ["Recording", "RecordingError", "read_recording"]

MOST_CALLS = 5_000_000
MOST_LINE = 65_536
"""Bytes; a line of calls is a hundred."""
_LONGEST_KEY = 256
_LONGEST_CALL = 86_400.0
_MOST_NAMED = 20
_FAILED, _STATUS = 500, range(100, 1000)
_SHORTEST_SPAN = 1.0
_LONGEST_SPAN = 366 * 86_400.0
_FIELDS = ("at", "seconds", "error", "status", "version", "key")
_NEEDED = ("at", "seconds")
_BOOLS = {"true": True, "false": False, "1": True, "0": False}
_SUFFIXES = {".csv": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".log": "log"}
_LOGGED = re.compile(
    r'(\S+) \S+ \S+ \[([^\]]+)\] "(?:[^"\\]|\\.)*" ([0-9]{3}) \S+(?: "(?:[^"\\]|\\.)*"){0,2} ([0-9]+(?:\.[0-9]+)?)'
)
_LOGGED_AT = "%d/%b/%Y:%H:%M:%S %z"


class RecordingError(InvalidRequestError):
    """A file of recorded calls that cannot be read, with the line at fault."""


class _Call(NamedTuple):
    at: float
    seconds: float
    error: bool
    version: str
    key: str


@frozen(eq=False)
class Recording:
    """Calls in the order in which they began.

    `at` is in seconds since the first, `seconds` how long each took, `bad` has a byte of 1 for each that failed. `key`
    has the number of who made each, from 0 to `keys` - 1; it is empty, and `keys` is 0, where nobody has a key.
    """

    at: array[float]
    seconds: array[float]
    bad: bytes
    key: array[int]
    keys: int

    def __len__(self) -> int:
        return len(self.at)

    @property
    def span(self) -> float:
        """How long all of it takes, with a pause at the end of the usual length."""
        return self.at[-1] * len(self) / (len(self) - 1)


def read_recording(path: Path, *, version: str = "") -> Recording:
    """Read recorded calls: those of one version where they name several, then `version` must say which.

    Raises `RecordingError` for a file that cannot be read or is not what it must be, with the number of the line.
    """
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise RecordingError(
            f"{path.name!r} ends in none of {', '.join(_SUFFIXES)}.",
            hint="Name it by what it holds, CSV or JSON lines.",
        )
    try:
        with path.open("rb") as file:
            return _recording(_READERS[kind](_lines(file)), version)
    except OSError as error:
        raise RecordingError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield lines of text; a byte-order mark is no part of the first."""
    for number in itertools.count(1):
        line = file.readline(MOST_LINE + 1)
        if not line:
            return
        if len(line) > MOST_LINE:
            _refuse(number, f"is longer than {MOST_LINE} bytes")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            _refuse(number, "is no text in UTF-8")


def _refuse(number: int, problem: str, hint: str = "") -> NoReturn:
    raise RecordingError(
        f"Line {number} {problem}.", hint=hint or "See `noodle deploy simulate --help` for the format."
    )


def _from_csv(lines: Iterator[str]) -> Iterator[_Call]:
    rows = csv.reader(lines, strict=True)
    try:
        columns = [name.strip() for name in next(rows, [])]
        _check_names(1, columns)
        for row in rows:
            if not row:
                continue
            if len(row) != len(columns):
                _refuse(rows.line_num, f"has {len(row)} fields, and the first line names {len(columns)}")
            given = {name: value for name, value in zip(columns, row, strict=True) if value}
            yield _call(rows.line_num, given)
    except csv.Error as error:
        _refuse(rows.line_num, f"is no CSV: {error}")


def _from_json(lines: Iterator[str]) -> Iterator[_Call]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=list, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            _refuse(number, "is no JSON")
        if not line.lstrip().startswith("{"):
            _refuse(number, "is no JSON object")
        _check_names(number, [name for name, _ in pairs])
        yield _call(number, dict(pairs))


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


def _check_names(number: int, names: list[str]) -> None:
    """Refuse names that there are not, that come twice, or that are wanting."""
    for name in names:
        if name not in _FIELDS:
            near = suggestion(name, _FIELDS)
            _refuse(number, f"names {name[:50]!r}, which is none of {', '.join(_FIELDS)}", hint=near)
    if len(set(names)) < len(names):
        _refuse(number, "names a field twice")
    if missing := [name for name in _NEEDED if name not in names]:
        _refuse(number, f"does not name {' and '.join(missing)}")
    if ("error" in names) == ("status" in names):
        _refuse(number, "must name error or status, one of them")


def _call(number: int, given: Mapping[str, Any]) -> _Call:
    try:
        return _Call(
            at=_moment(given.get("at")),
            seconds=_number(given.get("seconds"), 0.0, _LONGEST_CALL),
            error=_bool(given["error"]) if "error" in given else _status(given.get("status")) >= _FAILED,
            version=_text(given.get("version", "")),
            key=_text(given.get("key", "")),
        )
    except (ValueError, OverflowError) as error:
        _refuse(number, f"makes no sense: {error}")


def _moment(value: Any) -> float:
    try:
        return _number(value, -1e12, 1e12)
    except ValueError:
        if not isinstance(value, str):
            raise
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"at is {_shown(value)}, neither seconds nor an ISO time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{_shown(value)} is no number")  # noqa: TRY004 - what is in a file has no type
    try:
        # Python would take 1_000, and the digits of every script.
        number = float("" if isinstance(value, str) and ("_" in value or not value.isascii()) else value)
    except (ValueError, OverflowError):
        raise ValueError(f"{_shown(value)} is no number") from None
    if not math.isfinite(number) or not least <= number <= most:
        raise ValueError(f"{_shown(value)} is not from {least:g} to {most:g}")
    return number


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLS:
        return _BOOLS[value.lower()]
    raise ValueError(f"error is {_shown(value)}, neither true nor false")


def _status(value: Any) -> int:
    number = _number(value, _STATUS.start, _STATUS.stop - 1)
    if number != int(number):
        raise ValueError(f"{_shown(value)} is no status")
    return int(number)


def _text(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or len(str(value)) > _LONGEST_KEY:
        raise ValueError(f"{_shown(value)} is no text of at most {_LONGEST_KEY} characters")
    return str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}…"  # noqa: PLR2004 - as much as a line of a message bears


def _from_log(lines: Iterator[str]) -> Iterator[_Call]:
    logged = (_logged(number, line) for number, line in enumerate(lines, 1) if line.strip())
    for second, calls in itertools.groupby(logged, key=lambda call: call.at):
        several = list(itertools.islice(calls, MOST_CALLS + 1))
        for place, call in enumerate(several):
            yield call._replace(at=second + place / len(several))


def _logged(number: int, line: str) -> _Call:
    found = _LOGGED.fullmatch(line.strip())
    if found is None:
        _refuse(number, "is not in the common or combined format with a duration at the end")
    client, at, status, took = found.groups()
    try:
        moment = datetime.strptime(at, _LOGGED_AT).timestamp()  # noqa: DTZ007 - the format has the zone
    except (ValueError, OverflowError):
        _refuse(number, f"has no time that can be read: {_shown(at)}")
    # Apache's are whole microseconds; nginx writes seconds, always with a point.
    seconds = took if "." in took else float(took) / 1e6
    return _call(number, {"at": moment, "seconds": seconds, "status": status, "key": client})


_READERS: Mapping[str, Callable[[Iterator[str]], Iterable[_Call]]] = {
    "csv": _from_csv,
    "json": _from_json,
    "log": _from_log,
}


def _recording(calls: Iterable[_Call], version: str) -> Recording:
    at, seconds, key, bad = array("d"), array("d"), array("q"), bytearray()
    keys: dict[str, int] = {}
    versions: set[str] = set()
    for count, call in enumerate(calls):
        if count >= MOST_CALLS:
            raise RecordingError(f"There are more than {MOST_CALLS:,} calls.", hint="Give a shorter time of them.")
        if len(versions) < _MOST_NAMED:
            versions.add(call.version)
        if version in {"", call.version}:
            at.append(call.at)
            seconds.append(call.seconds)
            bad.append(call.error)
            key.append(keys.setdefault(call.key, len(keys)) if call.key else -1)
    _check(at, version, sorted(versions))
    order = sorted(range(len(at)), key=at.__getitem__)
    return Recording(
        at=array("d", [at[one] - at[order[0]] for one in order]),
        seconds=array("d", [seconds[one] for one in order]),
        bad=bytes(bad[one] for one in order),
        key=array("q", [key[one] for one in order] if keys else ()),
        keys=len(keys),
    )


def _check(at: array[float], version: str, versions: list[str]) -> None:
    named = [one for one in versions if one]
    if version and not at:
        near = suggestion(version, named)
        raise RecordingError(f"No call is of version {version!r}; there are: {', '.join(named) or 'none'}.", hint=near)
    if not version and len(versions) > 1:
        raise RecordingError(
            f"The calls are of several versions: {', '.join(named[:_MOST_NAMED])}.",
            hint="Say which one is to be replaced.",
        )
    span = max(at) - min(at) if at else 0.0
    if span < _SHORTEST_SPAN:
        raise RecordingError(
            f"The {len(at)} calls span less than {_SHORTEST_SPAN:g} s: they tell of no rate.",
            hint="Record for a while.",
        )
    if span > _LONGEST_SPAN:
        raise RecordingError("The calls span more than a year.", hint="Are all moments on the same clock?")
