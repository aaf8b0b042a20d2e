"""Which plugins are installed, and which of them may take part: by metadata and lists of names, before any import."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from attrs import evolve, field, frozen

from noodle_upgrade_core.errors import PluginBrokenError, PluginIncompatibleError, UpgradeError
from noodle_upgrade_core.plugins.installed import Catalogue, InstalledEntry, canonical

__all__ = ["GROUP", "PluginFailure", "PluginInfo", "canonical_names", "chosen", "compatible", "index"]

GROUP = "noodle_upgrade.plugins"
CORE = "noodle-upgrade-core"


@frozen(kw_only=True)
class PluginInfo:
    """An installed plugin, or one that the program gave itself (without distribution and version).

    `requires_core` is the specifier that its distribution has for the core; it is read by `load`, and by `index` on
    demand, because reading a distribution's METADATA is what costs time.
    """

    name: str
    distribution: str = ""
    version: str = ""
    value: str = ""
    requires_core: str = ""
    entry: InstalledEntry | None = field(default=None, eq=False, repr=False)


@frozen(kw_only=True)
class PluginFailure:
    """A plugin that could not be used, and why."""

    info: PluginInfo
    error: UpgradeError


def index(*, catalogue: Catalogue | None = None, requirements: bool = False) -> tuple[PluginInfo, ...]:
    """Return the installed plugins by metadata, sorted by name; nothing is imported.

    With `requirements`, also what each one needs of the core, which reads one more file for each.
    """
    entries = (catalogue or Catalogue()).entries(GROUP)
    infos = tuple(
        PluginInfo(name=e.name, distribution=e.distribution, version=e.version, value=e.value, entry=e) for e in entries
    )
    return tuple(_with_requirement(info) for info in infos) if requirements else infos


def canonical_names(names: Iterable[str]) -> set[str]:
    """Return names as they are compared."""
    return {canonical(name) for name in names}


def chosen(
    infos: tuple[PluginInfo, ...],
    enabled: tuple[str, ...],
    disabled: tuple[str, ...],
    required: tuple[str, ...],
    extra: tuple[str, ...],
) -> tuple[list[PluginInfo], list[PluginFailure]]:
    """Apply the lists to names alone, and sort out names that are missing or claimed twice."""
    off, own = canonical_names(disabled), canonical_names(extra)
    wanted = canonical_names(enabled) | canonical_names(required) if enabled else canonical_names(i.name for i in infos)
    by_name: dict[str, list[PluginInfo]] = {}
    for info in infos:
        by_name.setdefault(canonical(info.name), []).append(info)
    let_in: list[PluginInfo] = []
    failures: list[PluginFailure] = []
    for name in sorted((wanted | canonical_names(required)) - own):
        found = by_name.get(name, [])
        if name in off:
            if name in canonical_names(required):
                failures.append(_failure(name, f"The plugin {name!r} is required and disabled at once.", "Choose one."))
        elif not found:
            failures.append(_missing(name, infos))
        elif len({(info.distribution, info.value) for info in found}) > 1:
            failures.append(_claimed_twice(found))
        else:
            let_in.append(found[0])
    return let_in, failures


def _failure(name: str, message: str, hint: str, **details: Any) -> PluginFailure:
    error = PluginBrokenError(message, hint=hint, details={"plugin": name, **details})
    return PluginFailure(info=PluginInfo(name=name), error=error)


def _missing(name: str, infos: tuple[PluginInfo, ...]) -> PluginFailure:
    installed = sorted({info.name for info in infos})
    meant = difflib.get_close_matches(name, installed, n=1)
    hint = f"Did you mean {meant[0]!r}?" if meant else f"Installed: {', '.join(installed) or 'none'}."
    return _failure(name, f"The plugin {name!r} is asked for, and is not installed.", hint, installed=installed)


def _claimed_twice(found: list[PluginInfo]) -> PluginFailure:
    claims = [f"{info.distribution} {info.version} ({info.value})" for info in found]
    return _failure(
        found[0].name,
        f"The name of the plugin {found[0].name!r} is claimed more than once: by {' and by '.join(claims)}.",
        "Uninstall all but one of them.",
        distributions=[info.distribution for info in found],
    )


def _with_requirement(info: PluginInfo) -> PluginInfo:
    """Read what the distribution needs of the core: only for plugins that are let in."""
    if info.entry is None or info.requires_core or canonical(info.distribution) == CORE:
        return info
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - a start without plugins goes without

    specifiers = []
    for line in info.entry.requirements():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            # A requirement on anything else that cannot be read is for pip to complain about.
            continue
        if canonical(requirement.name) != CORE:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            specifiers.append(str(requirement.specifier))
    return evolve(info, requires_core=",".join(filter(None, specifiers)))


def compatible(info: PluginInfo, core_version: str) -> PluginInfo:
    """Return the plugin with what it needs of the core; raises `PluginIncompatibleError` when this is another one."""
    full = _with_requirement(info)
    if not full.requires_core:
        return full
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - likewise

    if SpecifierSet(full.requires_core).contains(core_version, prereleases=True):
        return full
    raise PluginIncompatibleError(
        f"The plugin {info.name!r} ({info.distribution} {info.version}) needs {CORE} {full.requires_core};"
        f" this is {core_version}.",
        hint=f"Install a version of {info.distribution} that fits: pip install --upgrade {info.distribution}.",
        details={"plugin": info.name, "requires": full.requires_core, "core_version": core_version},
    )
