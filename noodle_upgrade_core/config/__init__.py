"""Settings from files, variables and arguments: strict, with the origin of every value."""

from noodle_upgrade_core.config.loading import (
    DriverSettings,
    RuntimeUpgradeSettings,
    Settings,
    StackSettings,
    default_files,
    load_settings,
)

__all__ = [
    "DriverSettings",
    "RuntimeUpgradeSettings",
    "Settings",
    "StackSettings",
    "default_files",
    "load_settings",
]
