"""What is installed by metadata alone: plugins, drivers, and the distributions that bring them. None is imported."""

from __future__ import annotations

from typing import Any

import attrs

from noodle_upgrade_cli.failures import UsageMistakeError
from noodle_upgrade_core.drivers import GROUPS, Drivers
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.plugins import PluginInfo
from noodle_upgrade_core.plugins import loading as plugin_sets
from noodle_upgrade_core.plugins.installed import Catalogue, canonical

__all__ = ["InstalledDriver", "Inventory"]


@attrs.frozen(kw_only=True)
class InstalledDriver:
    """A driver's name in its group; several distributions, and an `error`, where more than one claims it."""

    group: str
    name: str
    distributions: tuple[str, ...]
    version: str = ""
    value: str = ""
    error: UpgradeError | None = None

    @classmethod
    def of(cls, installed: Drivers, group: str, name: str) -> InstalledDriver:
        """Look one up."""
        try:
            info = installed.info(group, name)
        except UpgradeError as error:  # claimed by two distributions: a line of the list, and no reason to stop
            claims = tuple(map(str, error.details.get("distributions", ())))
            return cls(group=group, name=name, distributions=claims, error=error)
        return cls(group=group, name=name, distributions=(info.distribution,), version=info.version, value=info.value)

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "group": self.group,
            "distribution": ", ".join(self.distributions),
            "version": self.version,
            "value": self.value,
        }


@attrs.frozen(kw_only=True)
class Inventory:
    """Plugins and drivers, each sorted by name."""

    plugins: tuple[PluginInfo, ...]
    drivers: tuple[InstalledDriver, ...]

    @classmethod
    def taken(cls) -> Inventory:
        """Look at everything that is installed."""
        catalogue = Catalogue()
        installed = Drivers(catalogue=catalogue)
        return cls(
            plugins=plugin_sets.index(catalogue=catalogue, requirements=True),
            drivers=tuple(
                InstalledDriver.of(installed, group, name) for group in GROUPS for name in installed.names(group)
            ),
        )

    def named(self, name: str) -> Inventory:
        """Return what has this name: a plugin's, a driver's, `group:driver`, or that of the distribution.

        Raises `UsageMistakeError` where nothing has it.
        """
        wanted = canonical(name)
        found = Inventory(
            plugins=tuple(p for p in self.plugins if wanted in {canonical(p.name), canonical(p.distribution)}),
            drivers=tuple(
                driver
                for driver in self.drivers
                if wanted in {canonical(one) for one in (driver.name, *driver.distributions)}
                or name == f"{driver.group}:{driver.name}"
            ),
        )
        if found.plugins or found.drivers:
            return found
        import difflib  # noqa: PLC0415 - only a wrong name pays for it

        close = difflib.get_close_matches(name, self._names(), n=1)
        raise UsageMistakeError(
            f"No plugin, driver or distribution {name!r} is installed.",
            hint=f"Did you mean {close[0]!r}?" if close else "See `noodle plugins list`.",
        )

    def _names(self) -> list[str]:
        names = [name for plugin in self.plugins for name in (plugin.name, plugin.distribution)]
        names += [name for driver in self.drivers for name in (driver.name, *driver.distributions)]
        return list(dict.fromkeys(names))

    def __or__(self, other: Inventory) -> Inventory:
        """Return both together, each part once."""
        return Inventory(
            plugins=tuple(dict.fromkeys((*self.plugins, *other.plugins))),
            drivers=(*self.drivers, *(driver for driver in other.drivers if driver not in self.drivers)),
        )
