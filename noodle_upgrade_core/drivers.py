"""Drivers: what a name in the settings or in a request stands for. The only module that imports stevedore."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.errors import DriverUnknownError, InvalidRequestError, PluginBrokenError, UpgradeError
from noodle_upgrade_core.isolation import attempt, blame, in_words, overdue
from noodle_upgrade_core.plugins.installed import Catalogue, InstalledEntry

__all__ = ["GROUPS", "DriverInfo", "Drivers"]

GROUPS: Mapping[str, str] = {
    "commands": "noodle_upgrade.commands",
    "deciders": "noodle_upgrade.deciders",
    "engines": "noodle_upgrade.engines",
    "journals": "noodle_upgrade.journals",
    "judges": "noodle_upgrade.judges",
    "metrics": "noodle_upgrade.metrics",
    "runners": "noodle_upgrade.runners",
    "servers": "noodle_upgrade.servers",
    "sources": "noodle_upgrade.sources",
    "strategies": "noodle_upgrade.strategies",
}
"""The groups, and what each is called as a group of entry points."""

_LOAD_SECONDS = 30.0


@frozen(kw_only=True)
class DriverInfo:
    """Where a driver comes from; `distribution` and `version` are empty for one that the program itself gave."""

    name: str
    group: str
    distribution: str
    version: str
    value: str


def _copied(extra: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    for group in extra:
        _full_name(group)
    return {group: dict(named) for group, named in extra.items()}


@frozen
class Drivers:
    """The drivers that may be used: a value, to be handed on.

    `allow` and `deny` hold names, or `group:name` for a name in one group only; an empty `allow` allows all. Both are
    applied before anything is imported. `extra` adds drivers of this very program, by group and name, and wins over
    installed ones: `Drivers(extra={"strategies": {"careful": Careful}})`.
    """

    allow: tuple[str, ...] = field(default=(), converter=tuple, kw_only=True)
    deny: tuple[str, ...] = field(default=(), converter=tuple, kw_only=True)
    extra: Mapping[str, Mapping[str, Any]] = field(factory=dict, converter=_copied, kw_only=True)
    catalogue: Catalogue = field(factory=Catalogue, kw_only=True, eq=False, repr=False)

    def names(self, group: str) -> tuple[str, ...]:
        """Return the names in a group that may be used, sorted; nothing is imported."""
        installed = {entry.name for entry in self.catalogue.entries(_full_name(group))}
        return tuple(sorted(n for n in installed | self.extra.get(group, {}).keys() if self._allows(group, n)))

    def info(self, group: str, name: str) -> DriverInfo:
        """Say where a driver comes from; nothing is imported. Raises as `get` does."""
        if name in self._extra_of(group):
            own = self.extra[group][name]
            value = f"{getattr(own, '__module__', '')}:{getattr(own, '__qualname__', type(own).__name__)}"
            return DriverInfo(name=name, group=group, distribution="", version="", value=value)
        entry = self._entry(group, name)
        return DriverInfo(
            name=name, group=group, distribution=entry.distribution, version=entry.version, value=entry.value
        )

    def get(self, group: str, name: str) -> Any:
        """Return the class or factory that a name stands for.

        Raises `DriverUnknownError` for a name that is not installed or not allowed, and `PluginBrokenError` for one
        that two distributions claim, or that cannot be imported.
        """
        if name in self._extra_of(group):
            return self.extra[group][name]
        entry = self._entry(group, name)
        doing = f"the import of its {_SINGULAR[group]} {name!r}"
        tried = attempt(lambda: _load(entry), limit=_LOAD_SECONDS, name=f"noodle driver {group}:{name}")
        if tried.hung:
            raise overdue(plugin=entry.distribution, doing=doing, limit=_LOAD_SECONDS)
        if tried.error is not None:
            raise blame(tried.error, plugin=entry.distribution, doing=doing)
        return tried.value

    def make(self, group: str, name: str, **arguments: Any) -> Any:
        """Return a new instance, made with these keywords.

        Raises what `get` raises; `InvalidRequestError` for a keyword that the driver does not take or one that it
        lacks; `PluginBrokenError` for what its constructor raises, other than an `UpgradeError`.
        """
        factory = self.get(group, name)
        what = f"{_SINGULAR[group]} {name!r}"
        if not callable(factory):
            raise PluginBrokenError(
                f"The {what} is {type(factory).__name__}, not a class or a function that makes one.",
                hint="Point its entry point to the class.",
            )
        _check_arguments(what, factory, arguments)
        try:
            return factory(**arguments)
        except UpgradeError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginBrokenError(
                f"The {what} could not be made: {in_words(error)}",
                hint="Check its parameters, or choose another one.",
                details={"driver": name, "group": group, "arguments": sorted(arguments)},
            ) from error

    def _allows(self, group: str, name: str) -> bool:
        both = {name, f"{group}:{name}"}
        return (not self.allow or not both.isdisjoint(self.allow)) and both.isdisjoint(self.deny)

    def _extra_of(self, group: str) -> Mapping[str, Any]:
        _full_name(group)
        return {name: own for name, own in self.extra.get(group, {}).items() if self._allows(group, name)}

    def _entry(self, group: str, name: str) -> InstalledEntry:
        found = [entry for entry in self.catalogue.entries(_full_name(group)) if entry.name == name]
        what = _SINGULAR[group]
        if not self._allows(group, name) and (found or name in self.extra.get(group, {})):
            raise DriverUnknownError(
                f"the {what} {name!r} is installed, but the settings do not allow it.",
                hint=f"Allowed: {', '.join(self.names(group)) or 'none'}.",
                details={"group": group, "name": name},
            )
        if not found:
            names = self.names(group)
            meant = difflib.get_close_matches(name, names, n=1)
            raise DriverUnknownError(
                f"no {what} {name!r}; installed: {', '.join(names) or 'none'}.",
                hint=f"Did you mean {meant[0]!r}?" if meant else f"Install the plugin that brings this {what}.",
                details={"group": group, "name": name, "installed": list(names)},
            )
        if len({(entry.distribution, entry.value) for entry in found}) > 1:
            claims = [f"{entry.distribution} {entry.version} ({entry.value})" for entry in found]
            raise PluginBrokenError(
                f"the {what} {name!r} is claimed more than once: by {' and by '.join(claims)}.",
                hint="Uninstall all but one of them.",
                details={"group": group, "name": name, "distributions": [entry.distribution for entry in found]},
            )
        return found[0]


_SINGULAR = {
    "commands": "command",
    "deciders": "decider",
    "engines": "engine",
    "journals": "journal",
    "judges": "judge",
    "metrics": "metric",
    "runners": "runner",
    "servers": "server",
    "sources": "source",
    "strategies": "strategy",
}


def _full_name(group: str) -> str:
    try:
        return GROUPS[group]
    except KeyError:
        raise DriverUnknownError(
            f"there is no group of drivers {group!r}.", hint=f"The groups are: {', '.join(GROUPS)}."
        ) from None


def _load(entry: InstalledEntry) -> Any:
    # Both cost tens of milliseconds: a program that asks for no driver does not pay for them.
    from importlib.metadata import EntryPoint  # noqa: PLC0415

    from stevedore.driver import DriverManager  # noqa: PLC0415

    class OneDriver(DriverManager):  # type: ignore[misc, type-arg, unused-ignore]
        # stevedore's own list comes from a cache on the disk that it writes at will and that outlives an upgrade.
        def list_entry_points(self) -> list[EntryPoint]:
            return [EntryPoint(name=entry.name, value=entry.value, group=entry.group)]

    def failed(_manager: object, _entry: object, error: BaseException) -> None:
        raise error

    manager: Any = OneDriver(
        namespace=entry.group, name=entry.name, invoke_on_load=False, on_load_failure_callback=failed
    )
    return manager.extensions[0].plugin


def _check_arguments(what: str, factory: Any, arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        # Some classes that are written in C have none: their own TypeError must do.
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        accepted = [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]
        unknown = sorted(arguments.keys() - set(accepted))
        meant = difflib.get_close_matches(unknown[0], accepted, n=1) if unknown else []
        problem = f"has no parameter {unknown[0]!r}" if unknown else f"needs more: {error}"
        takes = f"It takes: {', '.join(accepted) or 'nothing'}."
        raise InvalidRequestError(
            f"the {what} {problem}.",
            hint=f"Did you mean {meant[0]!r}? {takes}" if meant else takes,
            details={"unknown": unknown, "accepted": accepted},
        ) from error
