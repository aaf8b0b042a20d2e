"""The hook implementations of one plugin, checked against the specifications.

The only module that makes a pluggy manager.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pluggy
from attrs import evolve, frozen

from noodle_upgrade_core.errors import PluginBrokenError
from noodle_upgrade_core.hookspecs import PROJECT, UpgradeHooks
from noodle_upgrade_core.isolation import in_text

__all__ = ["Implementation", "hook_arguments", "implementations_of", "marked_hooks"]

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@frozen(kw_only=True)
class Implementation:
    """One plugin's function for one hook; `argnames` are the arguments of the hook that it takes.

    `rank` is -1 for `hookimpl(tryfirst=True)`, 1 for `trylast=True`, else 0: it goes before the order of the plugins.
    `limit` is how many seconds the plugin asks for, None for what the settings say.
    """

    hook: str
    plugin_name: str
    function: Callable[..., Any]
    argnames: tuple[str, ...]
    asynchronous: bool = False
    rank: int = 0
    limit: float | None = None


@functools.cache
def hook_arguments() -> Mapping[str, tuple[str, ...]]:
    """Return every hook with the names of its arguments, in the order of the specifications."""
    return {
        name: tuple(inspect.signature(function).parameters)[1:]
        for name, function in vars(UpgradeHooks).items()
        if hasattr(function, f"{PROJECT}_spec")
    }


def implementations_of(plugin: object, *, name: str) -> tuple[Implementation, ...]:
    """Return what a plugin implements.

    Raises `PluginBrokenError` for a hook or an argument that does not exist, for a wrapper (the phases have none), for
    an `async` implementation of `observe`, and for a plugin that implements nothing.
    """
    # One manager for each plugin: pluggy refuses a plugin that equals another one, and a refusal must touch no other.
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(UpgradeHooks)
    limits = _time_limits(plugin, name)
    marked = _marked(manager, plugin)
    if not marked:
        raise PluginBrokenError(
            f"The plugin {name!r} implements no hook.", hint=_unmarked(plugin), details={"plugin": name}
        )
    wanted = {attribute: _checked(options, attribute, name) for attribute, options in marked.items()}
    _register(manager, plugin, name)
    found = []
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.name in wanted.values():
            made = [_implementation(caller.name, one, name) for one in caller.get_hookimpls()]
            found += [evolve(one, limit=limits.get(one.hook)) for one in made]
    return tuple(found)


def _time_limits(plugin: object, name: str) -> Mapping[str, float]:
    """Return how many seconds a plugin asks for, by hook."""
    asked = getattr(plugin, "time_limits", {})
    valid = isinstance(asked, Mapping) and all(
        hook in hook_arguments() and isinstance(s, int | float) and not isinstance(s, bool) and 0 < s < float("inf")
        for hook, s in asked.items()
    )
    if not valid:
        raise PluginBrokenError(
            f"The plugin {name!r} has time_limits that are no mapping of hooks to seconds: {in_text(asked)[:200]}",
            hint=f"The hooks are: {', '.join(hook_arguments())}.",
            details={"plugin": name},
        )
    return dict(asked)


def marked_hooks(plugin: object) -> tuple[str, ...]:
    """Return the hooks that a class, a module or an instance is marked to implement, without making anything of it."""
    marked = _marked(pluggy.PluginManager(PROJECT), plugin)
    wanted = {options.get("specname") or attribute for attribute, options in marked.items()}
    return tuple(hook for hook in hook_arguments() if hook in wanted)


def _marked(manager: pluggy.PluginManager, plugin: object) -> dict[str, Mapping[str, Any]]:
    names = [attribute for attribute in dir(plugin) if not attribute.startswith("__")]
    return {attribute: options for attribute in names if (options := _options(manager, plugin, attribute))}


def _options(manager: pluggy.PluginManager, plugin: object, attribute: str) -> Mapping[str, Any] | None:
    options: Any = manager.parse_hookimpl_opts(plugin, attribute)
    return options if isinstance(options, dict) else None


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    try:
        manager.register(plugin, name=name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginBrokenError(
            f"The hooks of the plugin {name!r} do not fit: {error}",
            hint="Compare its hooks with the reference of noodle_upgrade_core.hookspecs.",
            details={"plugin": name},
        ) from error


def _checked(options: Mapping[str, Any], attribute: str, plugin: str) -> str:
    """Return the hook that a marked function is for, or "" for one that need not exist."""
    hook = options.get("specname") or attribute
    if options.get("hookwrapper") or options.get("wrapper"):
        raise PluginBrokenError(
            f"The plugin {plugin!r} wraps the hook {hook!r}; hooks here cannot be wrapped.",
            hint="Implement it without `wrapper`: every implementation is called on its own.",
            details={"plugin": plugin, "hook": hook},
        )
    if hook in hook_arguments():
        return str(hook)
    if options.get("optionalhook"):
        return ""
    valid = ", ".join(hook_arguments())
    meant = difflib.get_close_matches(hook, hook_arguments(), n=1)
    raise PluginBrokenError(
        f"The plugin {plugin!r} implements the hook {hook!r}, which does not exist.",
        hint=f"Did you mean {meant[0]!r}? The hooks are: {valid}." if meant else f"The hooks are: {valid}.",
        details={"plugin": plugin, "hook": hook, "valid": list(hook_arguments())},
    )


def _implementation(hook: str, made: pluggy.HookImpl, plugin: str) -> Implementation:
    asynchronous = inspect.iscoroutinefunction(made.function) or inspect.isasyncgenfunction(made.function)
    if asynchronous and hook == "observe":
        raise PluginBrokenError(
            f"The plugin {plugin!r} implements 'observe' with `async def`; it must be a plain function.",
            hint="It is called in a thread of its own, so that it may block.",
            details={"plugin": plugin, "hook": hook},
        )
    return Implementation(
        hook=hook,
        plugin_name=plugin,
        function=made.function,
        argnames=_accepted(hook, made.function, plugin),
        asynchronous=asynchronous,
        rank=-1 if made.tryfirst else 1 if made.trylast else 0,
    )


def _accepted(hook: str, function: Callable[..., Any], plugin: str) -> tuple[str, ...]:
    """Return the arguments of a hook that a function takes, also those with a default, which pluggy leaves out."""
    valid = hook_arguments()[hook]
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return valid
    for parameter in parameters:
        named = parameter.kind in _NAMED and parameter.name in valid
        optional = parameter.kind is parameter.VAR_POSITIONAL or parameter.default is not parameter.empty
        if not named and not optional:
            meant = difflib.get_close_matches(parameter.name, valid, n=1)
            takes = f"{hook!r} has: {', '.join(valid) or 'none'}."
            raise PluginBrokenError(
                f"The plugin {plugin!r} wants an argument {parameter.name!r} in {hook!r}, which has no such argument.",
                hint=f"Did you mean {meant[0]!r}? {takes}" if meant else takes,
                details={"plugin": plugin, "hook": hook, "argument": parameter.name, "valid": list(valid)},
            )
    return tuple(parameter.name for parameter in parameters if parameter.name in valid and parameter.kind in _NAMED)


def _unmarked(plugin: object) -> str:
    """Say which methods look like hooks and are not marked: that is how most such plugins come about."""
    alike = [hook for hook in hook_arguments() if callable(inspect.getattr_static(plugin, hook, None))]
    if alike:
        return f"Put @hookimpl from noodle_upgrade_core before: {', '.join(alike)}."
    return f"Mark its functions with @hookimpl from noodle_upgrade_core; the hooks are: {', '.join(hook_arguments())}."
