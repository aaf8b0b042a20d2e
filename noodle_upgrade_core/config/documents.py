"""Settings documents: JSON and TOML files, read strictly, with the line of a key where it can be told."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.errors import SettingsError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Document", "flaws", "read_document", "text_flaw"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_MAX_DOTS = 10_000_000
_LONGEST_KEY = 64


@frozen(kw_only=True)
class Document:
    """One settings file: its name as the user gave it, its root object, and its text to find lines in."""

    name: str
    data: Mapping[str, Any] = field(repr=False)
    text: str = field(repr=False)

    def line_of(self, key: str) -> int:
        """Return the line, from 1, on which the last part of a dotted key stands; 0 when it is there more than once."""
        last = re.sub(r"\[\d+\]$", "", key).rpartition(".")[2]
        if not last or len(last) > _LONGEST_KEY:
            return 0
        found = [m.start() for m in re.finditer(rf"(?<![\w-]){re.escape(last)}[\"']?\s*[:=.\]]", self.text)]
        return self.text.count("\n", 0, found[0]) + 1 if len(found) == 1 else 0


def read_document(path: str | os.PathLike[str]) -> Document:
    """Read one file: `.json` or `.toml`, any other name by its first character.

    Raises `SettingsError` for what cannot be read, is larger than 1 MiB, is not UTF-8, not well formed, not an object,
    nested deeper than 32 levels, has a key twice, or holds what JSON cannot (NaN, a date); each with file and line.
    """
    name = os.fspath(path)
    text = _text(name)
    suffix = Path(name).suffix.lower()
    is_json = suffix == ".json" or (suffix != ".toml" and text.lstrip().startswith("{"))
    try:
        data = _json(text, name) if is_json else _toml(text, name)
    except RecursionError:
        raise _refused(name, "is nested too deep", hint=f"{MAX_DEPTH} levels are allowed.") from None
    if not isinstance(data, dict):
        raise _refused(name, "is not an object of sections", hint='Write {"runtime_upgrade": {…}}.')
    document = Document(name=name, data=data, text=text)
    found = list(flaws(data))
    if found:
        key, problem, hint = found[0]
        raise _refused(name, f"{key}: {problem}" if key else problem, hint=hint, line=document.line_of(key), key=key)
    return document


def flaws(value: Any) -> Iterator[tuple[str, str, str]]:
    """Yield (key, problem, hint) for whatever no setting can be: not a JSON value, not finite, nested too deep."""
    pending: list[tuple[str, Any, int]] = [("", value, 1)]
    while pending:
        key, one, depth = pending.pop()
        if depth > MAX_DEPTH:
            yield key[:_LONGEST_KEY], "is nested too deep", f"{MAX_DEPTH} levels are allowed."
        elif isinstance(one, Mapping):
            for name, inner in one.items():
                if not isinstance(name, str) or (problem := text_flaw(name)):
                    yield key, "has a key that " + ("is no string" if not isinstance(name, str) else problem), ""
                else:
                    pending.append((f"{key}.{name}" if key else name, inner, depth + 1))
        elif isinstance(one, list | tuple):
            pending += [(f"{key}[{index}]", inner, depth + 1) for index, inner in enumerate(one)]
        elif isinstance(one, float) and not math.isfinite(one):
            yield key, "must be a finite number", ""
        elif isinstance(one, str) and (problem := text_flaw(one)):
            yield key, problem, ""
        elif not isinstance(one, str | int | float | os.PathLike | None):
            hint = 'Write dates and times as strings: "02:00".' if hasattr(one, "isoformat") else ""
            yield key, f"cannot be a {type(one).__name__}", hint


def text_flaw(text: str) -> str:
    """Return why a string can be neither a path nor written to a file, or an empty string."""
    if "\0" in text:
        return "holds a NUL character"
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return "holds half of a surrogate pair, which cannot be written as UTF-8"
    return ""


def _text(name: str) -> str:
    try:
        # MAX_BYTES + 1 also ends the reading of a device or a pipe that never does.
        with open(name, "rb") as file:  # noqa: PTH123 - a name such as /dev/fd/63 is as good as a path
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(name, "does not exist", hint="Check the name and the working directory.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(name, f"cannot be read: {reason}", hint="Give a readable JSON or TOML file.") from error
    if len(raw) > MAX_BYTES:
        raise _refused(name, "is larger than 1 MiB", hint="Settings are small; is it the right file?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refused(name, "is not UTF-8", hint="Save it as UTF-8.", line=line) from None


def _json(text: str, name: str) -> Any:
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                twice.append(key)
            made[key] = value
        return made

    try:
        data = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise _refused(name, f"is not JSON: {error.msg}", hint="Mend the file.", line=error.lineno) from None
    except ValueError as error:  # a number of more digits than Python turns into an int
        raise _refused(name, f"is not JSON: {error}", hint="Mend the file.") from None
    if twice:
        named = ", ".join(repr(key[:_LONGEST_KEY]) for key in dict.fromkeys(twice[:10]))
        lines = [match.start() for match in re.finditer(rf'"{re.escape(twice[0][:_LONGEST_KEY])}"\s*:', text)]
        line = text.count("\n", 0, lines[1]) + 1 if len(lines) == 2 else 0  # noqa: PLR2004 - then it is the second
        raise _refused(name, f"has a key twice: {named}", hint="Keep one of them.", line=line)
    return data


def _toml(text: str, name: str) -> Any:
    # The parser takes time in the square of the parts of a dotted key: a file of one such line would take hours.
    if sum(line.count(".") ** 2 for line in text.splitlines()) > _MAX_DOTS:
        raise _refused(name, "has keys of too many parts", hint=f"{MAX_DEPTH} levels are allowed.")
    import tomllib  # noqa: PLC0415 - a program with JSON settings, or none, does not pay for it

    try:
        return tomllib.loads(text)
    except ValueError as error:
        found = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        said = re.sub(r" \(at [^)]*\)$", "", str(error))
        line = int(found[1]) if found else text.rstrip().count("\n") + 1
        raise _refused(name, f"is not TOML: {said}", hint="Mend the file.", line=line) from None


def _refused(name: str, problem: str, *, hint: str, line: int = 0, key: str = "") -> SettingsError:
    origin = f"file {name}" + (f", line {line}" if line else "")
    place = f"{name}, line {line}," if line else name
    wire = {"key": key, "problem": problem, "hint": hint, "origin": origin}
    return SettingsError(
        f"The settings file {place} {problem}.", hint=hint, details={"problems": [wire], "file": name, "line": line}
    )
