"""How settings are declared, checked and shown: frozen attrs classes whose fields name their own variables.

    @frozen(kw_only=True)
    class AuditSettings:
        folder: str = setting("audit", env="NOODLE_AUDIT_FOLDER", help="Where the reports go.", blank=False)
        keep_days: int = setting(30, env="NOODLE_AUDIT_KEEP_DAYS", ge=1, le=3650)
        token: str = setting("", env="NOODLE_AUDIT_TOKEN", secret=True)

A plugin names such a class as its `settings`; the core fills it from files, variables and arguments. A field may be of
`bool`, `int`, `float`, `str`, `Path`, an enumeration, `Literal[…]`, `tuple[T, …]`, `frozenset[T]`, `Mapping[str, T]`,
another settings class, any of these `| None`, or `Any`. A class may have a method `problems()` that yields `Problem`s
of severity warning about values that are allowed and yet not sensible together; what is not allowed raises
`ValueError` in `__attrs_post_init__`.
"""

from __future__ import annotations

import enum
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
from attrs import NOTHING, frozen

from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_core.model import Severity

__all__ = [
    "MASK",
    "Meta",
    "Problem",
    "SettingRow",
    "constraint",
    "meta_of",
    "problems_of",
    "rows_of",
    "setting",
    "settings_error",
    "shown",
    "suggestion",
    "wire_of",
]

MASK = "***"
_METADATA = "noodle_setting"
_PREFIX = re.compile(r"NOODLE_[A-Z0-9_]+")
_MOST_SHOWN = 60
_MOST_LISTED = 20


@frozen(kw_only=True)
class Problem:
    """Something that is wrong with a setting (error), or has no effect or an odd one (warning).

    `key` is dotted and empty where a whole file or variable is meant; `origin` says where the value comes from.
    """

    key: str
    problem: str
    hint: str = ""
    origin: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        if self.origin.startswith("NOODLE_"):
            subject = f"{self.origin} (for {self.key})" if self.key else self.origin
        else:
            subject = " ".join(part for part in (self.key, f"({self.origin})" if self.origin else "") if part)
        return f"{subject} {self.problem}.{' ' + self.hint if self.hint else ''}"

    def to_wire(self) -> dict[str, str]:
        """Return `{key, problem, hint, origin}`."""
        return {"key": self.key, "problem": self.problem, "hint": self.hint, "origin": self.origin}


@frozen(kw_only=True)
class SettingRow:
    """One effective value: JSON values only, secrets masked.

    `origin` is `default`, `file NAME`, the name of a variable, or `argument`.
    """

    key: str
    value: Any
    origin: str
    variables: tuple[str, ...] = ()
    help: str = ""


@frozen(kw_only=True)
class Meta:
    """What a field says of itself besides its type and default."""

    variables: tuple[str, ...] = ()
    help: str = ""
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    choices: tuple[Any, ...] = ()
    blank: bool = True
    secret: bool = False


_NO_META = Meta()


def setting(
    default: Any = NOTHING,
    *,
    factory: Callable[[], Any] | None = None,
    env: str | Iterable[str] = (),
    help: str = "",  # noqa: A002 - the word that people look for
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    choices: Iterable[Any] = (),
    blank: bool = True,
    secret: bool = False,
) -> Any:
    """Declare a field of a settings class; without a default it must be given.

    `env` names its variable, or several of which the first that is set counts; each begins with `NOODLE_`. `gt`, `ge`,
    `lt`, `le` bound a number, `choices` lists what is allowed, `blank=False` forbids an empty string or list; of a
    list or a mapping they hold for each item. A `secret` is shown as `***` everywhere. Raises `ValueError` for a
    declaration that makes no sense, `SettingsError` when an object is made with a value that is not allowed.
    """
    variables = (env,) if isinstance(env, str) else tuple(env)
    for name in variables:
        if not _PREFIX.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a variable: it must be NOODLE_ and capitals.")
    allowed = tuple(choices)
    meta = Meta(variables=variables, help=help, gt=gt, ge=ge, lt=lt, le=le, choices=allowed, blank=blank, secret=secret)
    return attrs.field(
        default=default,
        factory=factory,
        metadata={_METADATA: meta},
        validator=_validate,
        repr=(lambda value: repr(MASK if value else value)) if secret else True,
        kw_only=True,
    )


def meta_of(attribute: attrs.Attribute[Any]) -> Meta:
    """Return what `setting` stored; a field that was declared otherwise has nothing special."""
    found = attribute.metadata.get(_METADATA, _NO_META)
    return found if isinstance(found, Meta) else _NO_META


def _validate(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    meta = meta_of(attribute)
    refused = constraint(value, meta)
    if refused:
        problem = Problem(key=attribute.name, problem=refused[0], hint=refused[1])
        raise settings_error([problem])


def constraint(value: Any, meta: Meta) -> tuple[str, str] | None:
    """Return (problem, hint) when a value of the right type is not allowed."""
    if not meta.blank and (value.strip() if isinstance(value, str) else value) in ("", (), frozenset(), {}):
        return "must not be empty", ""
    if isinstance(value, tuple | frozenset | Mapping):
        items = value.values() if isinstance(value, Mapping) else value
        return next((found for item in items if (found := constraint(item, meta))), None)
    if value is None:
        return None
    if meta.choices and value not in meta.choices:
        allowed = ", ".join(str(choice) for choice in meta.choices)
        return f"must be one of {allowed}, not {shown(value, meta)}", suggestion(value, meta.choices)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _range(value, meta)
    return None


def _range(value: float, meta: Meta) -> tuple[str, str] | None:
    tests: tuple[tuple[float | None, str, Callable[[float, float], bool]], ...] = (
        (meta.gt, "greater than", operator.gt),
        (meta.ge, "at least", operator.ge),
        (meta.lt, "less than", operator.lt),
        (meta.le, "at most", operator.le),
    )
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number", ""
    if all(test(value, bound) for bound, _, test in tests if bound is not None):
        return None
    wanted = " and ".join(f"{words} {bound:g}" for bound, words, _ in tests if bound is not None)
    return f"must be {wanted}, not {shown(value, meta)}", ""


# --- words -------------------------------------------------------------------------------------------------------


def shown(value: Any, meta: Meta = _NO_META) -> str:
    """Return a value as people write it, short; a secret never."""
    if meta.secret:
        return "what was given"
    match value:
        case bool() | None:
            text = {True: "true", False: "false", None: "null"}[value]
        case Mapping():
            text = "a table"
        case list() | tuple():
            text = "a list"
        case int() if abs(value) > 1 << 64:
            text = "so large a number"
        case str():
            text = repr(str(value[: _MOST_SHOWN * 2]))
        case _:
            text = repr(value)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def suggestion(word: Any, names: Iterable[Any], *, cutoff: float = 0.6) -> str:
    """Return `Did you mean 'x'?` for the nearest name, or an empty string."""
    if not isinstance(word, str) or not 0 < len(word) <= _MOST_SHOWN:
        return ""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    options = {str(name).lower(): str(name) for name in names}
    near = difflib.get_close_matches(word.lower(), options, n=1, cutoff=cutoff)
    return f"Did you mean {options[near[0]]!r}?" if near else ""


def settings_error(problems: Iterable[Problem], *, more: int = 0) -> SettingsError:
    """Make one error of all problems; the message lists the first 20, `details["problems"]` all of them.

    `more` counts those that are not even in `problems`.
    """
    found = list(problems)
    details = {"problems": [problem.to_wire() for problem in found], "more": more}
    if len(found) == 1:
        only = attrs.evolve(found[0], hint="")
        return SettingsError(str(only), hint=found[0].hint, details=details)
    lines = [f"  {problem}" for problem in found[:_MOST_LISTED]]
    count = len(found) + more
    if count > _MOST_LISTED:
        lines.append(f"  … and {count - _MOST_LISTED} more.")
    return SettingsError("\n".join([f"{count} settings cannot be used:", *lines]), details=details)


# --- walking over an object of a settings class ------------------------------------------------------------------


def rows_of(value: Any, key: str, origins: Mapping[str, str]) -> Iterator[SettingRow]:
    """Yield a row for every value under `key`, in the order of the classes."""
    yield from _rows(value, key, origins, _NO_META)


def _rows(value: Any, key: str, origins: Mapping[str, str], meta: Meta) -> Iterator[SettingRow]:
    if attrs.has(type(value)) and not meta.secret:
        for attribute in attrs.fields(type(value)):
            yield from _rows(getattr(value, attribute.name), f"{key}.{attribute.name}", origins, meta_of(attribute))
    elif isinstance(value, Mapping) and value and not meta.secret:
        for name, inner in value.items():
            yield from _rows(inner, f"{key}.{name}", origins, meta)
    else:
        plain = (MASK if value else wire_of(value)) if meta.secret else wire_of(value)
        origin = _origin(key, origins)
        yield SettingRow(key=key, value=plain, origin=origin, variables=meta.variables, help=meta.help)


def _origin(key: str, origins: Mapping[str, str]) -> str:
    while key not in origins and "." in key:
        key = key.rpartition(".")[0]
    return origins.get(key, "default")


def wire_of(value: Any, *, reveal: bool = False) -> Any:  # noqa: PLR0911 - one for each shape
    """Return JSON values that load to an equal object; secrets are left out unless `reveal`."""
    match value:
        case enum.Enum():
            return value.value
        case Mapping():
            return {str(name): wire_of(inner, reveal=reveal) for name, inner in value.items()}
        case frozenset():
            return sorted(wire_of(inner, reveal=reveal) for inner in value)
        case tuple() | list():
            return [wire_of(inner, reveal=reveal) for inner in value]
        case os.PathLike():
            return os.fspath(value)
        case _ if attrs.has(type(value)):
            kept = [a for a in attrs.fields(type(value)) if a.init and (reveal or not meta_of(a).secret)]
            return {a.name: wire_of(getattr(value, a.name), reveal=reveal) for a in kept}
        case _:
            return value


def problems_of(value: Any, key: str) -> Iterator[Problem]:
    """Yield what the objects under `key` say of themselves by their method `problems()`, with whole keys."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from problems_of(inner, f"{key}.{name}")
        return
    if not attrs.has(type(value)):
        return
    own = getattr(value, "problems", None)
    for problem in own() if callable(own) else ():
        yield attrs.evolve(problem, key=f"{key}.{problem.key}" if problem.key else key)
    for attribute in attrs.fields(type(value)):
        yield from problems_of(getattr(value, attribute.name), f"{key}.{attribute.name}")
