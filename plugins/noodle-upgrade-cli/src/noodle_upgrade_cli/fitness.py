"""Whether a driver is what its group needs. Imports it, so this is only ever used in a process of its own."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from typing import Any

import attrs
import click

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import PluginBrokenError, UpgradeError

__all__ = ["DriverUnfitError", "look_at"]

_METHODS: Mapping[str, tuple[str, ...]] = {
    "deciders": ("combine",),
    "engines": ("assess", "stage"),
    "journals": ("open", "active", "begin", "commit", "recover"),
    "judges": ("observe",),
    "servers": ("serve",),
    "sources": ("fetch", "versions"),
    "strategies": ("rollout",),
}
_MADE_WITHOUT_ARGUMENTS = ("deciders", "engines", "judges", "servers")
_TAKES: Mapping[str, tuple[str, ...]] = {
    "journals": ("path",),
    "sources": ("store", "locations", "index", "pip_timeout", "registry_path"),
}


class DriverUnfitError(PluginBrokenError):
    """A driver that can be imported, and that its group cannot use."""

    code = "driver.unfit"


def look_at(installed: Drivers, group: str, name: str) -> dict[str, Any]:
    """Load a driver and return a row about it, JSON values only: `error` says what is wrong with it, if anything."""
    row: dict[str, Any] = {"name": name, "group": group, "distribution": "", "version": "", "value": "", "error": None}
    started = time.perf_counter()
    try:
        row |= attrs.asdict(installed.info(group, name))
        driver = installed.get(group, name)
        row |= {
            "seconds": round(time.perf_counter() - started, 4),
            "summary": (inspect.getdoc(driver) or "").partition("\n")[0],
            "parameters": _parameters(driver) if group != "commands" else [],
        }
        _check(installed, group, name, driver)
    except UpgradeError as error:
        row["error"] = error.to_wire()
    return row


def _parameters(driver: Any) -> list[str]:
    try:
        return [str(one) for one in inspect.signature(driver).parameters.values() if one.kind is not one.VAR_KEYWORD]
    except (TypeError, ValueError):  # what cannot be called, and some classes that are written in C
        return []


def _check(installed: Drivers, group: str, name: str, driver: Any) -> None:
    if group == "commands":
        if not isinstance(driver, click.Command):
            raise _unfit(driver, "is no click command", "Point its entry point to a click command.")
        return
    if not callable(driver):
        raise _unfit(driver, "is not a class or a function that makes one", "Point its entry point to the class.")
    made = installed.make(group, name) if group in _MADE_WITHOUT_ARGUMENTS else None
    # What a function makes is known only where it can be made here.
    whole = driver if isinstance(driver, type) else made
    wanted = _METHODS.get(group, ())
    missing = [method for method in wanted if not callable(getattr(whole, method, None))]
    if whole is not None and missing:
        raise _unfit(driver, f"has no {', '.join(missing)}", f"A driver of {group} needs {', '.join(wanted)}.")
    _check_arguments(group, driver)


def _check_arguments(group: str, driver: Any) -> None:
    """The Upgrader makes these with arguments of its own: they must be taken."""
    try:
        signature = inspect.signature(driver)
    except (TypeError, ValueError):
        return
    takes = _TAKES.get(group, ())
    try:
        if takes:
            signature.bind(**dict.fromkeys(takes))
    except TypeError as error:
        hint = f"A driver of {group} is made with {', '.join(takes)}; take those that it does not use as **others."
        raise _unfit(driver, f"cannot be made: {error}", hint) from error


def _unfit(driver: Any, problem: str, hint: str) -> DriverUnfitError:
    named = driver if hasattr(driver, "__qualname__") else type(driver)
    return DriverUnfitError(f"{named.__module__}:{named.__qualname__} {problem}.", hint=hint)
