"""Where versions come from: folders, wheels, the package index, and what is installed."""

from noodle_upgrade_core.sources.chain import (
    DirectorySource,
    InstalledSource,
    Source,
    Sources,
    WheelSource,
    names_file,
)

__all__ = [
    "DirectorySource",
    "InstalledSource",
    "Source",
    "Sources",
    "WheelSource",
    "names_file",
]
