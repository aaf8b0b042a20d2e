"""Look at a stack from inside: imports its plugins, so it is only ever run in a process of its own.

`python -c` with `main()` reads a request from its arguments and writes a report to an open file; a plugin that prints,
hangs, exits or crashes spoils neither the report of the others nor the command that asked.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from noodle_upgrade_cli.fitness import look_at
from noodle_upgrade_core import __version__ as core_version
from noodle_upgrade_core.config import Settings, load_settings
from noodle_upgrade_core.config.documents import read_document
from noodle_upgrade_core.config.sections import PluginSettings, RuntimeUpgradeSettings
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import DriverUnknownError, SettingsError, UpgradeError
from noodle_upgrade_core.hookspecs import Host
from noodle_upgrade_core.model import Finding, Severity
from noodle_upgrade_core.plugins import Candidates, PluginInfo, PluginSet
from noodle_upgrade_core.plugins import loading as plugin_sets
from noodle_upgrade_core.plugins.installed import canonical
from noodle_upgrade_core.plugins.selection import chosen as selected
from noodle_upgrade_core.settings import Problem, meta_of, suggestion
from noodle_upgrade_core.wire import to_wire

__all__ = ["examine", "examine_drivers", "main"]


def examine(files: Sequence[str], *, only: Sequence[str] = (), load: bool = True, make: bool = True) -> dict[str, Any]:
    """Load what these settings files say, and report: JSON values only.

    `only` names the plugins to look at, whatever the settings say. Without `load` no plugin is imported. Without `make`
    they are imported, for their settings classes, and not made; drivers are then looked up and not imported. The report
    has `plugins`, `drivers`, `findings`, `settings`, `problems`, `digest`, and `refused`: whether the settings cannot
    be read, so that those in it are defaults.
    """
    report: dict[str, Any] = {"plugins": [], "drivers": [], "findings": [], "settings": [], "problems": []}
    findings: list[Finding] = []
    refusal: SettingsError | None = None
    settings: Settings | None
    try:
        settings = load_settings(files)
    except SettingsError as error:
        # The plugins' sections are looked at all the same: who mends a file wants to know all that is wrong with it.
        refusal, settings = error, _choice(files)
        load = load and settings is not None
    settings = settings or Settings()
    started = time.perf_counter()
    candidates = _collected(settings, only) if load else Candidates(candidates=(), failures=())
    seconds = time.perf_counter() - started
    try:
        settings = load_settings(files, sections=candidates.sections)
    except SettingsError as error:
        refusal = error
    if refusal is not None:
        findings.append(finding_of(refusal, subject=", ".join(files)))
        report["problems"] = _errors(refusal)
    else:
        problems = [*settings.problems(), *([] if make or only else _not_installed(settings))]
        report["problems"] = [{**one.to_wire(), "severity": one.severity.value} for one in problems]
    if make:
        chosen = _made(candidates, settings)
        required = settings.runtime_upgrade.plugins.required
        findings += _plugin_findings(chosen, required)
        findings += [] if only else _gaps(chosen)
        report["plugins"] = [_plugin(chosen, info, seconds) for info in _infos(chosen)]
        chosen.close()
    else:
        # Those that are not installed are problems already, by the setting that names them.
        failures = [failure for failure in candidates.failures if "installed" not in failure.error.details]
        findings += [finding_of(failure.error, subject=failure.info.name) for failure in failures]
    if make and not only:
        report["drivers"], found = _drivers(settings)
        findings += found
    report["settings"] = [attrs.asdict(row) for row in settings.explain()]
    report["digest"] = settings.digest()
    report["refused"] = refusal is not None
    report["findings"] = to_wire(findings)
    return report


def examine_drivers(names: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Load drivers, each given by group and name, and report: `drivers` has a row for each, in order."""
    installed = Drivers()
    return {"drivers": [look_at(installed, group, name) for group, name in names]}


def _choice(files: Sequence[str]) -> Settings | None:
    """Return default settings with the plugins that the files name; None where a file cannot be read at all."""
    chosen = PluginSettings()
    for file in files:
        try:
            data = read_document(file).data
        except SettingsError:
            return None
        core, stack = _table(data, "runtime_upgrade"), _table(data, "stack")
        lists = {**_table(core, "plugins"), **({"enabled": stack["plugins"]} if "plugins" in stack else {})}
        chosen = attrs.evolve(
            chosen,
            enabled=_names(lists.get("enabled"), chosen.enabled),
            disabled=_names(lists.get("disabled"), chosen.disabled),
        )
    return Settings(runtime_upgrade=RuntimeUpgradeSettings(plugins=chosen))


def _names(value: Any, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else otherwise


def finding_of(error: UpgradeError, *, subject: str) -> Finding:
    """Return an error as a finding."""
    return Finding(
        severity=Severity.ERROR,
        code=error.code,
        message=error.message,
        subject=subject,
        hint=error.hint,
        source="check",
    )


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _errors(error: SettingsError) -> list[dict[str, Any]]:
    return [{**problem, "severity": "error"} for problem in error.details["problems"]]


def _collected(settings: Settings, only: Sequence[str]) -> Candidates:
    chosen = settings.runtime_upgrade.plugins
    infos = plugin_sets.index()
    candidates = plugin_sets.collect(
        infos,
        enabled=only or (*chosen.enabled, *(chosen.required if chosen.enabled else ())),
        disabled=() if only else chosen.disabled,
        core_version=core_version,
    )
    if only or chosen.enabled:
        return candidates
    # Where all take part, those that are required and not there are not among them.
    _, missing = selected(infos, (), (), chosen.required, ())
    known = {failure.info.name for failure in candidates.failures}
    return attrs.evolve(
        candidates, failures=(*candidates.failures, *(one for one in missing if one.info.name not in known))
    )


def _made(candidates: Candidates, settings: Settings) -> PluginSet:
    def host(place: Path, info: PluginInfo, section: str, cls: type[Any] | None) -> Host:
        folder = place / info.name
        folder.mkdir(parents=True, exist_ok=True)
        # Where the section itself is wrong that has been found already: the plugin is looked at with its defaults.
        own = None if cls is None else settings.sections.get(section) or cls()
        return Host(
            settings=own,
            core=settings.runtime_upgrade,
            directory=folder,
            store=place,
            drivers=Drivers(),
            emit=lambda *_, **__: None,
        )

    with tempfile.TemporaryDirectory(prefix="noodle-check-") as place:
        return candidates.make(partial(host, Path(place)))


def _infos(chosen: PluginSet) -> Iterable[PluginInfo]:
    seen = {plugin.info.name: plugin.info for plugin in chosen.plugins}
    return [*seen.values(), *(f.info for f in chosen.failures if f.info.name not in seen)]


def _plugin_findings(chosen: PluginSet, required: Sequence[str]) -> list[Finding]:
    must = {canonical(name) for name in required}
    found = []
    for failure in chosen.failures:
        finding = finding_of(failure.error, subject=failure.info.name)
        if canonical(failure.info.name) in must:
            finding = attrs.evolve(finding, message=f"(required) {finding.message}")
        found.append(finding)
    return found


def _gaps(chosen: PluginSet) -> list[Finding]:
    """Say what this set can never do: nothing is broken, and nothing would work."""
    gaps = {
        "discover": "finds components, so there is nothing to upgrade",
        "assess": "can say how a component would be changed, so every plan is refused",
        "swap": "can change a component, so every upgrade is refused",
    }
    return [
        Finding(
            severity=Severity.WARNING,
            code=f"stack.no_{hook}",
            message=f"No plugin of this set {words}.",
            hint="Add one that does, such as noodle-upgrade-runtime.",
        )
        for hook, words in gaps.items()
        if not chosen.implementations(hook)
    ]


def _plugin(chosen: PluginSet, info: PluginInfo, seconds: float) -> dict[str, Any]:
    loaded = next((plugin for plugin in chosen.plugins if plugin.info.name == info.name), None)
    failure = next((f for f in chosen.failures if f.info.name == info.name), None)
    row: dict[str, Any] = {
        "name": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "value": info.value,
        "requires_core": info.requires_core,
        "seconds": round(seconds, 4),
        "error": failure.error.to_wire() if failure else None,
    }
    if loaded is None:
        return row
    return row | {
        "hooks": list(chosen.hooks_of(info.name)),
        "before": list(getattr(loaded.object, "before", ())),
        "after": list(getattr(loaded.object, "after", ())),
        "section": loaded.section if loaded.settings is not None else "",
        "settings": [] if loaded.settings is None else _settings_of(loaded.settings),
        "summary": (getattr(loaded.object, "__doc__", "") or "").strip().partition("\n")[0],
    }


def _settings_of(cls: type[Any]) -> list[dict[str, Any]]:
    rows = []
    for attribute in attrs.fields(cls):
        meta = meta_of(attribute)
        rows.append({"key": attribute.name, "variables": list(meta.variables), "help": meta.help})
    return rows


def _wanted(settings: Settings) -> list[tuple[str, str, str]]:
    """Return the drivers that settings name: the setting, the group, the name."""
    groups = {"decider": "deciders", "judge": "judges", "journal": "journals", "strategy": "strategies"}
    return [
        *(
            (_setting(settings, key, f"drivers.{key}"), group, getattr(settings.drivers, key))
            for key, group in groups.items()
        ),
        *(("runtime_upgrade.sources.order", "sources", name) for name in settings.runtime_upgrade.sources.order),
    ]


def _setting(settings: Settings, in_stack: str, in_core: str) -> str:
    """Return the setting that says something: the stack's wins."""
    return f"stack.{in_stack}" if getattr(settings.stack, in_stack) else f"runtime_upgrade.{in_core}"


def _not_installed(settings: Settings) -> list[Problem]:
    """Return the names in the settings that nothing here has: of drivers as errors, of plugins as warnings.

    A program begins without a plugin that is not there, and does not begin without a driver.
    """
    problems = []

    def complain(key: str, what: str, hint: str, severity: Severity = Severity.WARNING) -> None:
        problems.append(
            Problem(
                key=key,
                problem=what,
                hint=hint,
                origin=settings.origins.get(key, "default"),
                severity=severity,
            )
        )

    installed = Drivers()
    for key, group, name in _wanted(settings):
        what = "source" if group == "sources" else key.rpartition(".")[2]
        try:
            installed.info(group, name)
        except DriverUnknownError as error:
            complain(key, f"names the {what} {name!r}, which is not installed", error.hint, Severity.ERROR)
        except UpgradeError as error:
            complain(key, f"names the {what} {name!r}, which is claimed more than once", error.hint, Severity.ERROR)
    chosen = settings.runtime_upgrade.plugins
    names = sorted({info.name for info in plugin_sets.index()})
    known = {canonical(name) for name in names}
    lists = [
        (_setting(settings, "plugins", "plugins.enabled"), chosen.enabled),
        ("runtime_upgrade.plugins.required", chosen.required),
    ]
    for key, listed in lists:
        for name in listed:
            if canonical(name) not in known:
                hint = suggestion(name, names) or f"Installed: {', '.join(names) or 'none'}."
                complain(key, f"names the plugin {name!r}, which is not installed", hint)
    for name in chosen.disabled:
        # To switch off what is not there is no mistake, unless something else was meant.
        if canonical(name) not in known and (hint := suggestion(name, names, cutoff=0.8)):
            complain("runtime_upgrade.plugins.disabled", f"names the plugin {name!r}, which is not installed", hint)
    return problems


def _drivers(settings: Settings) -> tuple[list[dict[str, str]], list[Finding]]:
    installed, rows, findings = Drivers(), [], []
    for _, group, name in _wanted(settings):
        row = look_at(installed, group, name)
        if row["value"]:
            rows.append({key: row[key] for key in ("name", "group", "distribution", "version", "value")})
        if row["error"] is not None:
            findings.append(
                Finding(
                    severity=Severity.ERROR,
                    code=row["error"]["code"],
                    message=row["error"]["message"],
                    subject=f"{group}: {name}",
                    hint=row["error"]["hint"],
                    source="check",
                )
            )
    return rows, findings


def main() -> None:
    """Examine as the arguments say, and write the report to the open file that they name."""
    request = json.loads(sys.argv[1])
    # What the asking process sees is what is looked at, also where it was started in a special way.
    sys.path[:] = request.pop("path")
    descriptor = request.pop("answer")
    try:
        report = examine_drivers(request["names"]) if "names" in request else examine(**request)
    except UpgradeError as error:
        report = {"error": error.to_wire()}
    with os.fdopen(descriptor, "w", encoding="utf-8") as answer:
        json.dump(report, answer, default=str)
    sys.stdout.flush()
    # A plugin's thread that never ends must not keep this process.
    os._exit(0)
