"""Plugins: which are installed, which of them can be used, and the set that an Upgrader works with.

The set is a value. Plugins are found by metadata alone; those that the settings let in are imported and made, each on
its own, so that a broken one is reported and left out while the host lives.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import json
import logging
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import attrs
from attrs import evolve, field, frozen

from noodle_upgrade_core import graph
from noodle_upgrade_core.errors import InvalidRequestError, PluginBrokenError, UpgradeError
from noodle_upgrade_core.hookspecs import Host
from noodle_upgrade_core.isolation import attempt, blame, overdue
from noodle_upgrade_core.plugins.implementations import Implementation, hook_arguments, implementations_of
from noodle_upgrade_core.plugins.installed import canonical
from noodle_upgrade_core.plugins.selection import PluginFailure, PluginInfo, canonical_names, chosen, compatible, index

__all__ = [
    "Candidate",
    "Candidates",
    "Loaded",
    "MakeHost",
    "PluginFailure",
    "PluginInfo",
    "PluginSet",
    "collect",
    "index",
    "load",
]

IMPORT_SECONDS = 30.0
CLOSE_SECONDS = 10.0
TELL_SECONDS = 3.0
"""When somebody who waits for a plugin's import or making is told what is waited for."""

logger = logging.getLogger("noodle_upgrade")


MakeHost = Callable[[PluginInfo, str, "type[Any] | None"], Host]
"""Makes what a plugin is made with, from the name of its settings section and its settings class, if it has one."""


@frozen(kw_only=True)
class Loaded:
    """One plugin of a set: `object` is what holds its hooks."""

    info: PluginInfo
    object: Any
    settings: type[Any] | None = None
    section: str = ""


@frozen(kw_only=True)
class PluginSet:
    """The plugins that take part, in order, with what each implements. Immutable: to change it, load another one.

    A running upgrade keeps the set that it began with. `failures` are the plugins that were left out.
    """

    plugins: tuple[Loaded, ...] = ()
    failures: tuple[PluginFailure, ...] = ()
    _implementations: Mapping[str, tuple[Implementation, ...]] = field(factory=dict, repr=False, eq=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the plugins, in order."""
        return tuple(plugin.info.name for plugin in self.plugins)

    def implementations(self, hook: str) -> tuple[Implementation, ...]:
        """Return the implementations of a hook, in the order in which they are asked.

        Raises `ValueError` for a hook that is not specified.
        """
        if hook not in hook_arguments():
            raise ValueError(f"there is no hook {hook!r}")
        return self._implementations.get(hook, ())

    def hooks_of(self, name: str) -> tuple[str, ...]:
        """Return the hooks that a plugin implements, in the order of the specifications."""
        return tuple(h for h in hook_arguments() if any(i.plugin_name == name for i in self.implementations(h)))

    def info(self, name: str) -> PluginInfo:
        """Return what is known of a plugin, also of one that failed; raises `InvalidRequestError` for any other."""
        known = {plugin.info.name: plugin.info for plugin in self.plugins}
        known |= {failure.info.name: failure.info for failure in self.failures if failure.info.name not in known}
        if name not in known:
            meant = difflib.get_close_matches(name, known, n=1)
            raise InvalidRequestError(
                f"no plugin {name!r} is loaded; loaded: {', '.join(self.names) or 'none'}.",
                hint=f"Did you mean {meant[0]!r}?" if meant else "`noodle plugins list` shows what is installed.",
                details={"plugin": name},
            )
        return known[name]

    def digest(self) -> str:
        """Return the sha256 over the plugins' names and versions, in order: two equal sets have the same."""
        return hashlib.sha256(json.dumps(self.to_lock(), sort_keys=True).encode()).hexdigest()

    def to_lock(self) -> tuple[dict[str, str], ...]:
        """Return a row for each plugin, in order: `name`, `distribution`, `version`, `value`."""
        infos = [plugin.info for plugin in self.plugins]
        return tuple(
            {"name": i.name, "distribution": i.distribution, "version": i.version, "value": i.value} for i in infos
        )

    def close(self) -> tuple[PluginFailure, ...]:
        """Call `close()` of every plugin that has it, last first, each on its own; returns what failed."""
        failures = []
        for plugin in reversed(self.plugins):
            closer = _closer(plugin.object)
            if closer is None:
                continue
            tried = attempt(closer, limit=CLOSE_SECONDS, name=f"noodle {plugin.info.name}.close")
            if tried.hung:
                late = overdue(plugin=plugin.info.name, doing="close", limit=CLOSE_SECONDS)
                failures.append(PluginFailure(info=plugin.info, error=late))
            elif tried.error is not None:
                error = blame(tried.error, plugin=plugin.info.name, doing="close")
                failures.append(PluginFailure(info=plugin.info, error=error))
        return tuple(failures)


@frozen(kw_only=True)
class Candidate:
    """A plugin that is imported and not made yet: its settings class and the section that it reads."""

    info: PluginInfo
    source: Any
    settings: type[Any] | None
    section: str


@frozen(kw_only=True)
class _Fitted:
    """A plugin that is made, with its hooks checked and its wishes for a place."""

    loaded: Loaded
    implementations: tuple[Implementation, ...]
    before: frozenset[str]
    after: frozenset[str]


@frozen(kw_only=True)
class Candidates:
    """Plugins between import and making: the moment in which their settings can be read."""

    candidates: tuple[Candidate, ...]
    failures: tuple[PluginFailure, ...]
    required: tuple[str, ...] = ()
    limit: float = IMPORT_SECONDS

    @property
    def sections(self) -> Mapping[str, type[Any]]:
        """The settings class of each section that a plugin declares."""
        return {c.section: c.settings for c in self.candidates if c.settings is not None}

    def make(self, make_host: MakeHost) -> PluginSet:
        """Make every plugin and return the set. Raises the error of a required plugin that could not be made."""
        failures = list(self.failures)
        fitted: dict[str, _Fitted] = {}
        for candidate in self.candidates:
            name = candidate.info.name
            try:
                fitted[name] = _isolated(candidate.info, "its making", partial(_fit, candidate, make_host), self.limit)
            except UpgradeError as error:
                failures.append(PluginFailure(info=candidate.info, error=error))
        ordered, circular = _ordered(fitted)
        failures += circular
        _insist(self.required, failures)
        implementations: dict[str, list[Implementation]] = {}
        for plugin in ordered:
            for one in fitted[plugin.info.name].implementations:
                implementations.setdefault(one.hook, []).append(one)
        return PluginSet(
            plugins=ordered,
            failures=tuple(failures),
            implementations={h: tuple(sorted(ones, key=lambda i: i.rank)) for h, ones in implementations.items()},
        )


def load(
    infos: Iterable[PluginInfo],
    *,
    enabled: Iterable[str] = (),
    disabled: Iterable[str] = (),
    required: Iterable[str] = (),
    core_version: str,
    make_host: MakeHost,
    extra: Mapping[str, object] | None = None,
    import_limit: float = IMPORT_SECONDS,
) -> PluginSet:
    """Import and make the plugins that may take part; `collect` and `Candidates.make` in one.

    Raises the error of the first of the `required` plugins that cannot be used; others are in `failures`.
    """
    return collect(
        infos,
        enabled=enabled,
        disabled=disabled,
        required=required,
        core_version=core_version,
        extra=extra,
        import_limit=import_limit,
    ).make(make_host)


def collect(
    infos: Iterable[PluginInfo],
    *,
    enabled: Iterable[str] = (),
    disabled: Iterable[str] = (),
    required: Iterable[str] = (),
    core_version: str,
    extra: Mapping[str, object] | None = None,
    import_limit: float = IMPORT_SECONDS,
) -> Candidates:
    """Import the plugins that may take part.

    An empty `enabled` lets all in; `disabled` wins. `extra` are plugins of this very program by name: classes, modules
    or instances, which win over installed ones of the same name. Nothing that is not let in is imported.
    The import of each, and later its making, may take `import_limit` seconds.
    """
    required, disabled = tuple(required), tuple(disabled)
    extra = {name: own for name, own in (extra or {}).items() if canonical(name) not in canonical_names(disabled)}
    let_in, failures = chosen(tuple(infos), tuple(enabled), disabled, required, tuple(extra))
    candidates = []
    sections: dict[str, str] = {}
    sources: list[tuple[PluginInfo, object | None]] = [(info, None) for info in let_in]
    sources += [(PluginInfo(name=name, value=_path_of(own)), own) for name, own in extra.items()]
    for info, own in sorted(sources, key=lambda pair: pair[0].name):
        full = info
        try:
            full = compatible(info, core_version)
            candidate = _isolated(full, "its import", partial(_candidate, full, own), import_limit)
            _claim(sections, candidate)
        except UpgradeError as error:
            failures.append(PluginFailure(info=full, error=error))
        else:
            candidates.append(candidate)
    _insist(required, failures)
    return Candidates(candidates=tuple(candidates), failures=tuple(failures), required=required, limit=import_limit)


def _insist(required: tuple[str, ...], failures: Iterable[PluginFailure]) -> None:
    wanted = canonical_names(required)
    for failure in failures:
        if canonical(failure.info.name) in wanted:
            failure.error.details["required"] = True
            raise failure.error


# --- importing and making ----------------------------------------------------------------------------------------


def _isolated(info: PluginInfo, doing: str, function: Callable[[], Any], limit: float) -> Any:
    said = "waiting for the plugin %s: %s takes long, and may take %g s"
    patience = threading.Timer(TELL_SECONDS, logger.warning, (said, info.name, doing, limit))
    patience.daemon = True
    patience.start()
    try:
        tried = attempt(function, limit=limit, name=f"noodle {info.name}: {doing}")
    finally:
        patience.cancel()
    if tried.hung:
        raise overdue(plugin=info.name, doing=doing, limit=limit, setting="import_timeout")
    if tried.error is not None:
        raise blame(tried.error, plugin=info.name, doing=doing)
    return tried.value


def _imported(value: str) -> Any:
    module, _, path = value.partition("[")[0].strip().partition(":")
    found: Any = importlib.import_module(module.strip())
    for part in filter(None, path.strip().split(".")):
        found = getattr(found, part)
    return found


def _candidate(info: PluginInfo, own: object | None) -> Candidate:
    source: Any = _imported(info.value) if own is None else own
    if inspect.isroutine(source):
        raise PluginBrokenError(
            f"The plugin {info.name!r} is the function {info.value or source!r}.",
            hint="Point its entry point to a class, a module or an instance.",
            details={"plugin": info.name},
        )
    holder = source if inspect.isclass(source) or inspect.ismodule(source) else type(source)
    settings = inspect.getattr_static(holder, "settings", None)
    settings = settings if inspect.isclass(settings) else None
    if settings is not None and not attrs.has(settings):
        raise PluginBrokenError(
            f"The settings class {settings.__qualname__} of the plugin {info.name!r} is not an attrs class.",
            hint="Put @frozen from attrs before it.",
            details={"plugin": info.name},
        )
    section = getattr(holder, "section", None)
    section = section if isinstance(section, str) and section else info.name.replace("-", "_")
    return Candidate(info=info, source=source, settings=settings, section=section)


def _claim(sections: dict[str, str], candidate: Candidate) -> None:
    """Two plugins cannot read one section: strict settings would refuse each one's keys to the other."""
    if candidate.settings is None:
        return
    other = sections.setdefault(candidate.section, candidate.info.name)
    if other != candidate.info.name:
        raise PluginBrokenError(
            f"The plugins {other!r} and {candidate.info.name!r} both read the settings section {candidate.section!r}.",
            hint="Give one of them another `section`, or switch one off.",
            details={"plugin": candidate.info.name, "section": candidate.section},
        )


def _fit(candidate: Candidate, make_host: MakeHost) -> _Fitted:
    loaded = _made(candidate, make_host)
    found = implementations_of(loaded.object, name=candidate.info.name)
    if inspect.iscoroutinefunction(_closer(loaded.object)):
        raise PluginBrokenError(
            f"`close` of the plugin {candidate.info.name!r} is `async`; it must be a plain method.",
            hint="It is called in a thread of its own, so that it may block.",
            details={"plugin": candidate.info.name},
        )
    before, after = (_neighbours(loaded, attribute) for attribute in ("before", "after"))
    return _Fitted(loaded=loaded, implementations=found, before=before, after=after)


def _made(candidate: Candidate, make_host: MakeHost) -> Loaded:
    source, info = candidate.source, candidate.info
    loaded = Loaded(info=info, object=source, settings=candidate.settings, section=candidate.section)
    if not inspect.isclass(source):
        return loaded
    way = _host_parameter(source, info.name)
    # The settings of a plugin are checked at the start, also when its class does not ask for them.
    asked = way is not None or candidate.settings is not None
    host = make_host(info, candidate.section, candidate.settings) if asked else None
    make: Callable[..., Any] = source
    if way is None:
        return evolve(loaded, object=make())
    if way.kind is way.KEYWORD_ONLY:
        return evolve(loaded, object=make(**{way.name: host}))
    return evolve(loaded, object=make(host))


def _host_parameter(source: type[Any], name: str) -> inspect.Parameter | None:
    """Return the parameter that takes the Host: the only one that has no default, or else the one called `host`."""
    try:
        parameters = tuple(inspect.signature(source).parameters.values())
    except (TypeError, ValueError):
        return None
    plain = [p for p in parameters if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    needed = [p for p in plain if p.default is p.empty]
    if len(needed) > 1:
        raise PluginBrokenError(
            f"The class of the plugin {name!r} needs {len(needed)} arguments: {', '.join(p.name for p in needed)}.",
            hint="A plugin's class takes one argument, the Host, or none.",
            details={"plugin": name},
        )
    return next((p for p in (*needed, *plain) if p in needed or p.name == "host"), None)


def _path_of(own: object) -> str:
    if isinstance(own, types.ModuleType):
        return own.__name__
    holder = own if inspect.isclass(own) else type(own)
    return f"{holder.__module__}:{holder.__qualname__}"


# --- order and end -----------------------------------------------------------------------------------------------


def _ordered(fitted: Mapping[str, _Fitted]) -> tuple[tuple[Loaded, ...], list[PluginFailure]]:
    """Order by `before`, `after` and name; the plugins of a circle, and those alone, are left out."""
    failures: list[PluginFailure] = []
    rest = dict(fitted)
    while True:
        needs: dict[str, set[str]] = {name: set() for name in rest}
        by_canonical = {canonical(name): name for name in rest}
        for name, plugin in rest.items():
            needs[name] |= {by_canonical[other] for other in plugin.after if other in by_canonical}
            for other in plugin.before & by_canonical.keys():
                needs[by_canonical[other]].add(name)
        order, placeless = graph.order(needs)
        if not placeless:
            return tuple(rest[name].loaded for name in order), failures
        circle = graph.shortest_cycle(needs)
        for name in circle:
            circular = PluginBrokenError(
                f"The order of plugins is circular: {' after '.join((*circle, circle[0]))}.",
                hint="Change `before` or `after` of one of them, or switch one off.",
                details={"plugin": name, "cycle": list(circle)},
            )
            failures.append(PluginFailure(info=rest.pop(name).loaded.info, error=circular))


def _neighbours(plugin: Loaded, attribute: str) -> frozenset[str]:
    names = getattr(plugin.object, attribute, ())
    if isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(n, str) for n in names):
        raise PluginBrokenError(
            f"The attribute `{attribute}` of the plugin {plugin.info.name!r} must be a tuple of plugin names.",
            hint=f"For one name write `{attribute} = ({names!r},)`." if isinstance(names, str) else "",
            details={"plugin": plugin.info.name},
        )
    return frozenset(canonical_names(names))


def _closer(plugin: Any) -> Callable[[], Any] | None:
    closer = getattr(plugin, "close", None)
    if inspect.ismodule(plugin) and getattr(closer, "__module__", None) != plugin.__name__:
        # A module may have imported somebody else's `close`.
        return None
    return closer if callable(closer) else None
