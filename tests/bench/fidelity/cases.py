"""What is upgraded: the cases of a file, each one published package from one version to another."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import fields, frozen
from packaging.specifiers import InvalidSpecifier, SpecifierSet

__all__ = ["Case", "CaseError", "canonical", "read_cases"]


class CaseError(ValueError):
    """A file of cases that says something else than cases do."""


def canonical(name: str) -> str:
    """Return the one spelling of a distribution's name, as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@frozen(kw_only=True)
class Case:
    """One package, and what its suites need besides it.

    `import_name` may have dots: then it lies in a namespace that others share. `pytest_args` go to both suites.
    `without_instances` names classes, `module.Class`, of which programs keep no instances between requests. `python` says
    which Pythons both versions run on at all, as a specifier such as `<3.13`: on others there is nothing to upgrade.
    """

    package: str
    import_name: str
    old: str
    new: str
    test_requirements: tuple[str, ...] = ()
    pytest_args: tuple[str, ...] = ()
    without_instances: tuple[str, ...] = ()
    python: str = ""

    @property
    def name(self) -> str:
        """What `--only` takes, and folders are called."""
        return canonical(self.package)

    def runs_on(self, python: str) -> bool:
        """Return whether both versions run on a Python of this version."""
        return SpecifierSet(self.python).contains(python, prereleases=True)

    @property
    def key(self) -> str:
        """What tells this case from every other one."""
        return f"{self.name}-{self.old}-{self.new}"


# `from` is a keyword of the language, so that a field cannot be called like the key in the file.
_KEYS = {{"old": "from", "new": "to"}.get(one.name, one.name): one.name for one in fields(Case)}
_OPTIONAL = frozenset({"python"})
_LISTS = frozenset({"test_requirements", "pytest_args", "without_instances"})


def read_cases(path: Path) -> tuple[Case, ...]:
    """Read a file of cases; raises `CaseError` with the place and what is wrong there."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise CaseError(f"{path}: {error}") from error
    if unknown := sorted(set(told) - {"case"}):
        raise CaseError(f"{path}: unknown {_named(unknown, ['case'])}: a file of cases has tables [[case]] only")
    entries = told.get("case", [])
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise CaseError(f"{path}: no [[case]] in it")
    return tuple(_case(entry, f"{path}, case {number}") for number, entry in enumerate(entries, 1))


def _case(entry: Mapping[str, Any], where: str) -> Case:
    where = f"{where} ({entry.get('package', 'without a package')})"
    if unknown := sorted(set(entry) - set(_KEYS)):
        raise CaseError(f"{where}: unknown {_named(unknown, _KEYS)}; there are {', '.join(_KEYS)}")
    if missing := [key for key in _KEYS if key not in entry and key not in _LISTS | _OPTIONAL]:
        raise CaseError(f"{where}: {', '.join(missing)} is missing")
    values: dict[str, Any] = {}
    for key, value in entry.items():
        is_list = key in _LISTS
        items = value if is_list and isinstance(value, list) else [value]
        if (is_list and not isinstance(value, list)) or not all(isinstance(item, str) for item in items):
            raise CaseError(f"{where}: {key} must be {'a list of strings' if is_list else 'a string'}")
        if key == "python":
            _check_specifier(value, where)
        values[_KEYS[key]] = tuple(items) if is_list else value
    return Case(**values)


def _check_specifier(value: str, where: str) -> None:
    try:
        SpecifierSet(value)
    except InvalidSpecifier:
        raise CaseError(f"{where}: python must be a specifier such as '<3.13', not {value!r}") from None


def _named(unknown: Iterable[str], known: Iterable[str]) -> str:
    """Return keys that nobody knows, each with the one that was meant, where that can be guessed."""
    meant = {key: difflib.get_close_matches(key, list(known), n=1) for key in unknown}
    return ", ".join(f"{key} (did you mean {guess[0]}?)" if guess else key for key, guess in meant.items())
