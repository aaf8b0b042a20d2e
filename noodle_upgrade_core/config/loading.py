"""The settings of the core, and how files, `NOODLE_*` variables and arguments become one frozen object.

    settings = load_settings(["noodle.toml"], overrides={"runtime_upgrade.validation.level": "normal"})
    settings.runtime_upgrade.hot_swap.enabled
    for row in settings.explain():
        print(row.key, row.value, row.origin)

An argument wins over a variable, a variable over a file, a later file over an earlier one, a file over the default;
objects merge by key, lists replace. A section belongs to the core (`runtime_upgrade`, `stack`) or to a plugin.
"""

from __future__ import annotations

import hashlib
import json
import os
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from noodle_upgrade_core.config.conversion import frozen_value
from noodle_upgrade_core.config.documents import flaws, read_document
from noodle_upgrade_core.config.layering import Builder, Fragment, Layer, Rank, merged
from noodle_upgrade_core.config.sections import DriverSettings, RuntimeUpgradeSettings, StackSettings
from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_core.model import Severity
from noodle_upgrade_core.settings import (
    Problem,
    SettingRow,
    problems_of,
    rows_of,
    settings_error,
    suggestion,
    wire_of,
)

__all__ = ["DriverSettings", "RuntimeUpgradeSettings", "Settings", "StackSettings", "default_files", "load_settings"]

_GROUP = "noodle_upgrade.plugins"


_CORE: Mapping[str, type[Any]] = types.MappingProxyType(
    {"runtime_upgrade": RuntimeUpgradeSettings, "stack": StackSettings}
)
_STACK: Mapping[str, str] = types.MappingProxyType(
    {
        "plugins": "plugins.enabled",
        "decider": "drivers.decider",
        "strategy": "drivers.strategy",
        "journal": "drivers.journal",
        "judge": "drivers.judge",
    }
)

# --- what belongs to plugins that may not be installed -----------------------------------------------------------

_OF_PLUGINS: Mapping[str, str] = types.MappingProxyType(
    {
        "ai_agents": "noodle-upgrade-agents",
        "compiler": "noodle-upgrade-compiler",
        "deployment": "noodle-upgrade-deployment",
        "runtime": "noodle-upgrade-runtime",
        "self_improvement": "noodle-upgrade-self-improvement",
    }
)
# The longest that fits counts: one variable of self_improvement begins like those of runtime.
_PREFIXES: Mapping[str, str] = types.MappingProxyType(
    {
        "NOODLE_AI_": "ai_agents",
        "NOODLE_COMPILER_": "compiler",
        "NOODLE_DEPLOYMENT_": "deployment",
        "NOODLE_RUNTIME_": "runtime",
        "NOODLE_RUNTIME_UPGRADE_TRIGGERS": "self_improvement",
        "NOODLE_SELF_IMPROVEMENT_": "self_improvement",
        "NOODLE_UPGRADE_DEPLOYMENT_": "deployment",
    }
)
# Read by clients of the control API, before and without any settings.
_OF_CLIENTS = frozenset({"NOODLE_TOKEN"})


# --- the whole ---------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class _Sources:
    """What an object of settings was made from, so that a plugin that is loaded later can claim its section."""

    layers: tuple[Layer, ...] = ()
    environ: Mapping[str, str] = field(factory=dict)
    installed: frozenset[str] | None = frozenset()
    classes: Mapping[str, type[Any]] = field(factory=dict)

    def sections_installed(self) -> frozenset[str]:
        """Return the sections of installed plugins: as given, or by the names of the entry points, importing none."""
        if self.installed is not None:
            return self.installed
        from importlib.metadata import entry_points  # noqa: PLC0415 - only a section that is not the core's needs it

        return frozenset(_section_name(point.name) for point in entry_points(group=_GROUP))


def _read_only(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return types.MappingProxyType(dict(mapping))


def _names_only(sections: Mapping[str, Any]) -> str:
    return f"<{', '.join(sorted(sections)) or 'none'}>"


@frozen(kw_only=True)
class Settings:
    """All effective values, and where each comes from. `Settings()` has the defaults and reads no variable.

    `sections` holds the plugins' objects by section name; `unclaimed` the raw values of sections whose plugin is not
    loaded: they have no effect, and may hold secrets, so nothing shows them.
    """

    runtime_upgrade: RuntimeUpgradeSettings = field(factory=RuntimeUpgradeSettings)
    stack: StackSettings = field(factory=StackSettings)
    sections: Mapping[str, Any] = field(factory=dict, converter=_read_only)
    unclaimed: Mapping[str, Mapping[str, Any]] = field(factory=dict, converter=frozen_value, repr=_names_only)
    origins: Mapping[str, str] = field(factory=dict, converter=_read_only, repr=False, eq=False)
    _remarks: tuple[Problem, ...] = field(default=(), repr=False, eq=False)
    _sources: _Sources = field(factory=_Sources, repr=False, eq=False)

    def section(self, name: str) -> Any:
        """Return the object of one section; raises `SettingsError` when no loaded plugin has it."""
        if name in _CORE:
            return getattr(self, name)
        if name in self.sections:
            return self.sections[name]
        known = [*_CORE, *self.sections]
        hint = _install_hint(name) if name in _OF_PLUGINS else suggestion(name, known)
        raise SettingsError(f"No settings of a section {name!r} are loaded.", hint=hint, details={"sections": known})

    @property
    def drivers(self) -> DriverSettings:
        """The effective drivers: those of the stack before those of `runtime_upgrade.drivers`, none of them empty."""
        drivers = self.runtime_upgrade.drivers
        if drivers.decider:
            return drivers
        return attrs.evolve(drivers, decider="unanimous" if self.runtime_upgrade.approval.automatic else "approval")

    @property
    def enabled(self) -> tuple[bool, str]:
        """Whether upgrades may run at all, and what says so."""
        return self.runtime_upgrade.enabled, self.origins.get("runtime_upgrade.enabled", "default")

    @property
    def request_defaults(self) -> Mapping[str, Any]:
        """What a request gets where it does not say: JSON values, by the names of `UpgradeRequest`."""
        core = self.runtime_upgrade
        return {
            "strategy": self.drivers.strategy,
            "timeout_seconds": core.upgrade_timeout,
            "validation_level": core.validation.level.value,
            "rollback_enabled": core.rollback.enabled,
        }

    def explain(self) -> tuple[SettingRow, ...]:
        """Return every effective value with its origin, in the order of the classes; secrets are masked."""
        whole = {"runtime_upgrade": self.runtime_upgrade, "stack": self.stack, **self.sections}
        return tuple(row for name, value in whole.items() for row in rows_of(value, name, self.origins))

    def problems(self) -> tuple[Problem, ...]:
        """Return what is allowed and yet has no effect, or an odd one; each of severity warning."""
        found = [*self._remarks, *(self._no_effect(name) for name in sorted(self.unclaimed))]
        for name, value in {"runtime_upgrade": self.runtime_upgrade, "stack": self.stack, **self.sections}.items():
            found += [attrs.evolve(one, severity=Severity.WARNING) for one in problems_of(value, name)]
        return tuple(
            one if one.origin or not one.key else attrs.evolve(one, origin=self.origins.get(one.key, ""))
            for one in found
        )

    def claim(self, sections: Mapping[str, type[Any]]) -> Settings:
        """Return these settings with the sections of plugins that are loaded by now.

        Everything is built anew from the same files, variables and arguments. Raises `SettingsError` when a section
        does not fit its class, `TypeError` when a class has a field that no setting can be.
        """
        return _resolve(attrs.evolve(self._sources, classes={**self._sources.classes, **sections}), [])

    def to_wire(self, *, reveal: bool = False) -> dict[str, Any]:
        """Return a document that loads to equal settings: JSON values only.

        Without `reveal` it leaves out secrets, and the sections that nothing claims, which could hold some.
        """
        whole = {"runtime_upgrade": self.runtime_upgrade, "stack": self.stack, **self.sections}
        wire = {name: wire_of(value, reveal=reveal) for name, value in whole.items()}
        if reveal:
            wire.update({name: wire_of(value) for name, value in self.unclaimed.items()})
        return wire

    def digest(self) -> str:
        """Return the sha256 of the effective values, in hexadecimal; secrets and origins do not count."""
        return hashlib.sha256(json.dumps(self.to_wire(), sort_keys=True).encode()).hexdigest()

    def _no_effect(self, name: str) -> Problem:
        origin = next((one.origin for one in reversed(self._sources.layers) if name in one.data), "")
        if name in self._sources.sections_installed():
            hint = "Enable it, or see `noodle plugins doctor`."
            return _remark(name, "has no effect: its plugin is installed and not loaded", origin, hint)
        return _remark(name, "has no effect: its plugin is not installed", origin, _install_hint(name))


def default_files(directory: str | os.PathLike[str] = ".") -> tuple[Path, ...]:
    """Return `noodle.toml` and `noodle.json`, as far as they are files in this very directory, in this order."""
    return tuple(path for name in ("noodle.toml", "noodle.json") if (path := Path(directory) / name).is_file())


def load_settings(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    sections: Mapping[str, type[Any]] | None = None,
    installed: Iterable[str] | None = None,
) -> Settings:
    """Read files, variables and arguments into settings; with no files, variables and defaults.

    `files` come weakest first. `environ` is the process environment when absent. `overrides` maps dotted keys to
    values of the right type. `sections` maps section names to the settings classes of loaded plugins; the sections of
    plugins that are installed but not loaded yet (`installed`, by default looked up by entry point) are kept for
    `Settings.claim`. Raises `SettingsError` with all problems at once in `details["problems"]`.
    """
    problems: list[Problem] = []
    layers = [*_file_layers(files, problems), *_argument_layers(overrides or {}, problems)]
    sources = _Sources(
        layers=tuple(layers),
        environ={k: v for k, v in (os.environ if environ is None else environ).items() if k.startswith("NOODLE_")},
        installed=None if installed is None else frozenset(_section_name(name) for name in installed),
        classes=dict(sections or {}),
    )
    return _resolve(sources, problems)


def _file_layers(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], problems: list[Problem]
) -> Iterable[Layer]:
    for file in (files,) if isinstance(files, str | os.PathLike) else files:
        try:
            document = read_document(file)
        except SettingsError as error:
            problems += [Problem(**wire) for wire in error.details["problems"]]
        else:
            yield Layer(origin=f"file {document.name}", rank=Rank.FILE, data=document.data, document=document)


def _argument_layers(overrides: Mapping[str, Any], problems: list[Problem]) -> Iterable[Layer]:
    for dotted, value in overrides.items():
        found = next(flaws({dotted: value}), None) if isinstance(dotted, str) else ("", "is no dotted key", "")
        if found:
            problems.append(Problem(key=str(dotted), problem=found[1], hint=found[2], origin="argument"))
            continue
        data = frozen_value(value)
        for part in reversed(dotted.split(".")):
            data = {part: data}
        yield Layer(origin="argument", rank=Rank.ARGUMENT, data=data)


# --- from layers to settings -------------------------------------------------------------------------------------


def _resolve(sources: _Sources, problems: list[Problem]) -> Settings:
    taken = sorted(_CORE.keys() & sources.classes.keys())
    if taken:
        raise SettingsError(f"The section {taken[0]!r} belongs to the core.", hint="Give the plugin another one.")
    builder = Builder(sources.environ)
    builder.problems += problems
    classes = {**_CORE, **sources.classes}
    _check_sections(sources, classes, builder)
    made = {name: builder.build(cls, name, sources.layers) for name, cls in classes.items()}
    if builder.problems:
        raise settings_error(builder.problems, more=builder.dropped)
    core, stack, remarks = _with_stack(made.pop("runtime_upgrade"), made.pop("stack"), builder)
    if builder.problems:
        raise settings_error(builder.problems)
    raw: Mapping[str, Any] = {}
    for layer in sources.layers:
        raw = merged(raw, {name: value for name, value in layer.data.items() if name not in classes})
    return Settings(
        runtime_upgrade=core,
        stack=stack,
        sections=made,
        unclaimed=raw,
        origins=builder.origins,
        remarks=(*remarks, *_variable_remarks(sources, builder)),
        sources=sources,
    )


def _check_sections(sources: _Sources, classes: Mapping[str, type[Any]], builder: Builder) -> None:
    installed: frozenset[str] | None = None
    for layer in sources.layers:
        for name, value in layer.data.items():
            if name in classes:
                continue
            if name not in _OF_PLUGINS:
                if installed is None:
                    installed = sources.sections_installed()
                if name not in installed:
                    known = sorted({*classes, *_OF_PLUGINS, *installed})
                    builder.unknown(name, known, Fragment(value, layer), classes)
                    continue
            builder.check_table(name, Fragment(value, layer))


def _with_stack(
    core: RuntimeUpgradeSettings, stack: StackSettings, builder: Builder
) -> tuple[RuntimeUpgradeSettings, StackSettings, list[Problem]]:
    """Make both places say the same: what the stack says, unless something stronger than its file says otherwise."""
    remarks = []
    for name, target in _STACK.items():
        ours, theirs = f"stack.{name}", f"runtime_upgrade.{target}"
        said = getattr(stack, name)
        if not said:
            continue
        group, _, attribute = target.partition(".")
        other = getattr(getattr(core, group), attribute)
        wins = theirs not in builder.ranks or builder.ranks[ours] >= builder.ranks[theirs]
        if theirs in builder.ranks and other != said:
            loser, winner = (theirs, ours) if wins else (ours, theirs)
            remarks.append(_remark(loser, f"has no effect: {winner} wins", builder.origins[loser]))
        if not wins:
            stack = attrs.evolve(stack, **{name: other})
            builder.origins[ours] = builder.origins[theirs]
            continue
        try:
            core = attrs.evolve(core, **{group: attrs.evolve(getattr(core, group), **{attribute: said})})
        except ValueError as error:
            builder.complain(ours, f"cannot be used: {error}")
        builder.origins[theirs] = builder.origins[ours]
    return core, stack, remarks


def _variable_remarks(sources: _Sources, builder: Builder) -> list[Problem]:
    remarks = []
    for name in sorted(sources.environ):
        if name in builder.variables or name in _OF_CLIENTS:
            continue
        fitting = [prefix for prefix in _PREFIXES if name.startswith(prefix)]
        section = _PREFIXES[max(fitting, key=len)] if fitting else ""
        if section and section not in sources.classes:
            # A slip in the name of a switch of the core must not pass for the variable of some plugin.
            hint = suggestion(name, builder.variables, cutoff=0.95) or f"Install {_OF_PLUGINS[section]}, or enable it."
            remarks.append(_remark("", f"has no effect without the plugin {_OF_PLUGINS[section]}", name, hint))
        else:
            hint = suggestion(name, builder.variables, cutoff=0.8)
            remarks.append(_remark("", "is a variable that nothing here reads", name, hint))
    return remarks


def _remark(key: str, problem: str, origin: str, hint: str = "") -> Problem:
    return Problem(key=key, problem=problem, hint=hint, origin=origin, severity=Severity.WARNING)


def _install_hint(name: str) -> str:
    return f"Install {_OF_PLUGINS.get(name, f'the plugin that has a section {name!r}')}."


def _section_name(plugin: str) -> str:
    return plugin.replace("-", "_")
